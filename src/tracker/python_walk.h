/*
 * python_walk.h - the walk of the calling thread's Python stack, as a template: python_walk.c makes one function of it for
 * each layout, in which every offset is a constant.
 *
 * The writer remembers the stack of its last event: frames with their addresses, instructions and nodes. Three ways,
 * cheapest first: nothing has changed; the leaf stands at another instruction and carries a mark; the general walk, which
 * finds the first remembered frame, verifies from there outwards up to a marked frame and computes nodes again from the
 * outermost change inwards.
 *
 * What must hold:
 *   - A remembered frame is read only after the frame inside it has been found to point to it: frames' memory may be gone.
 *   - A frame that carries a mark and is remembered is the activation that was remembered. So only the writer that
 *     remembers a frame marks it, and a thread's further lanes neither mark nor trust marks. A shim never counts as marked:
 *     it lies on the C stack, and its mark's field holds what lay there before, values of our own calls too.
 *   - Code objects are told apart by (address, version). A new one at an old address was allocated later; where objects
 *     are recorded, that event of this thread renewed the remembered stack, or it was another thread's and changed the
 *     order word. So versions are compared when the order word has changed since they last were, and always where
 *     objects are not recorded.
 *   - HL_HOT_TOP is set last, after the nodes have been announced: a handler that jumps out leaves nothing half known.
 *
 * Budget: 2 to 4 ns for an unchanged stack whose leaf is marked; 0.6 ns for each frame that has to be compared.
 */
#ifndef HL_TRACKER_PYTHON_WALK_H
#define HL_TRACKER_PYTHON_WALK_H

#include "python_private.h"

#define HL_AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

enum { HL_PUSHED = 32 }; /* new frames that one walk adds without starting again */

typedef uint64_t hl_walk_rest(hl_wire_writer *w, char *leaf, bool strict, uint64_t mark);

static HL_ALWAYS uint64_t hl_walk_instruction(const char *frame, const hl_layout L)
{
    return L.form == HL_AT_POINTER ? HL_AT(uint64_t, frame, L.instruction)
                                   : (uint64_t)(int64_t)HL_AT(int32_t, frame, L.instruction);
}

static HL_ALWAYS char *hl_walk_code(const char *frame, const hl_layout L)
{
    uint64_t code = HL_AT(uint64_t, frame, L.code);
    return (char *)(L.code_tagged ? code & ~UINT64_C(3) : code);
}

static HL_ALWAYS uint32_t hl_walk_version(const char *code, const hl_layout L)
{
    uint32_t version = L.version ? HL_AT(uint32_t, code, L.version) : 0;
    return HL_LIKELY(version != 0) ? version : hl_python_generation(code);
}

static HL_ALWAYS bool hl_walk_marked(const char *frame, uint64_t mark, const hl_layout L)
{
    if (L.mark_form == HL_MARK_LOCALS)
        return HL_AT(uint64_t, frame, L.mark) == mark;
    if (L.mark_form != HL_MARK_NONE)
        return HL_AT(uint8_t, frame, L.mark) == (uint8_t)mark;
    return false;
}

static HL_ALWAYS void hl_walk_set_mark(char *frame, uint64_t mark, const hl_layout L)
{
    if (L.mark_form == HL_MARK_LOCALS) {
        if (!HL_AT(uint64_t, frame, L.mark))
            HL_AT(uint64_t, frame, L.mark) = mark;
    } else if (L.mark_form != HL_MARK_NONE) {
        if (HL_AT(uint8_t, frame, L.mark) == 1 && !(L.mark_unless && HL_AT(uint64_t, frame, L.mark_unless)))
            HL_AT(uint8_t, frame, L.mark) = (uint8_t)mark;
    }
}

/* Whether a remembered frame, reached by the walk, carries the mark. */
static HL_ALWAYS bool hl_walk_is_marked(const hl_python_frame *r, uint64_t mark, const hl_layout L)
{
    return hl_walk_marked(r->address, mark, L) && r->version != HL_SHIM;
}

/* Whether a frame still stands where it stood. A pointer to an instruction implies the code object; f_lasti does not. */
static HL_ALWAYS bool hl_walk_stands(const hl_python_frame *r, const char *frame, const hl_layout L)
{
    return hl_walk_instruction(frame, L) == r->instruction &&
           (L.form == HL_AT_POINTER || hl_walk_code(frame, L) == r->code);
}

static HL_ALWAYS bool hl_walk_same_code(const hl_python_frame *r, const hl_layout L)
{
    char *code = hl_walk_code(r->address, L);
    return code == r->code && (r->version == HL_SHIM || hl_walk_version(code, L) == r->version);
}

/* The instruction's identity in a node: equal for equal (code, instruction) only. */
static HL_ALWAYS uint64_t hl_walk_identity(const hl_python_frame *r, const hl_layout L)
{
    if (L.form != HL_AT_POINTER)
        return (uint64_t)r->code + r->instruction * UINT64_C(0xd6e8feb86659fd93);
    return L.tlbc ? r->instruction + (uint64_t)r->to_shared : r->instruction;
}

static HL_ALWAYS uint32_t hl_walk_copy(const char *frame, const hl_layout L)
{
    return L.tlbc ? HL_AT(uint32_t, frame, L.tlbc_index) & UINT32_C(0x7fffffff) : 0;
}

/* Whether a frame has begun: before that (cells and generators are being made) its caller is charged. */
static HL_ALWAYS bool hl_walk_counts(const hl_python_frame *r, const hl_layout L)
{
    uint64_t instruction = L.tlbc ? r->instruction + (uint64_t)r->to_shared : r->instruction;
    return L.form != HL_AT_POINTER || HL_LIKELY(instruction - (uint64_t)r->code >= r->first);
}

/* What is constant for a code object, and for its copy. */
static HL_ALWAYS void hl_walk_learn_code(hl_python_frame *r, char *code, uint32_t version, const hl_layout L)
{
    r->code = code;
    r->version = version;
    if (L.form != HL_AT_POINTER)
        return;
    uint64_t start = (uint64_t)(code + L.bytecode);
    if (L.tlbc) {
        r->copy = hl_walk_copy(r->address, L);
        uint64_t *copies = __atomic_load_n(&HL_AT(uint64_t *, code, L.tlbc), __ATOMIC_ACQUIRE); /* count, addresses */
        uint64_t own = r->copy && copies && r->copy < copies[0] ? copies[1 + r->copy] : start;
        r->to_shared = (int64_t)(start - own);
    }
    r->first = (uint32_t)(L.bytecode + 2 * (uint32_t)HL_AT(int32_t, code, L.first_traceable));
    r->markable = HL_AT(uint32_t, code, L.flags) & 1; /* CO_OPTIMIZED */
}

/* Whether a frame is the first of its evaluation loop: a C function, which runs Python calls itself since 3.11. */
static HL_ALWAYS bool hl_walk_enters_loop(const hl_remembered *memory, const hl_python_frame *r, const hl_layout L)
{
    if (L.loop_form == HL_LOOP_EACH || r == memory->frames)
        return true;
    return L.loop_form == HL_LOOP_FLAG ? HL_AT(uint8_t, r->address, L.loop) != 0 : r[-1].version == HL_SHIM;
}

/* Computes frames[from..depth-1] again from the interpreter's frames, and marks those. */
static HL_ALWAYS void hl_walk_refresh(hl_remembered *memory, uint32_t from, uint32_t depth, uint64_t mark,
                                      const hl_layout L)
{
    hl_python_frame *r = &memory->frames[from], *end = &memory->frames[depth];
    uint64_t parent = from                               ? r[-1].node
                      : HL_UNLIKELY(memory->cut != NULL) ? hl_python_cut_node()
                                                         : hl_tracker.live.root;
    bool marking = L.mark_form != HL_MARK_NONE && mark != HL_NO_MARK;
    for (; r < end; r++) {
        char *frame = r->address, *code = hl_walk_code(frame, L);
        uint8_t owner = L.owner ? HL_AT(uint8_t, frame, L.owner) : 0;
        r->instruction = hl_walk_instruction(frame, L);
        r->parent = parent;
        r->loop = hl_walk_enters_loop(memory, r, L) ? 0 : r[-1].loop + 1;
        if (L.owner && HL_UNLIKELY(owner >= 3)) {
            r->code = code;
            r->version = HL_SHIM;
        } else {
            uint32_t version = hl_walk_version(code, L);
            if (code != r->code || version != r->version || (L.tlbc && r->copy != hl_walk_copy(frame, L)))
                hl_walk_learn_code(r, code, version, L);
            if (owner == 1 || hl_walk_counts(r, L)) {
                parent = hl_wire_mix(parent, hl_walk_identity(r, L), version);
                if (marking && (L.mark_form != HL_MARK_LOCALS || (owner == 0 && r->markable)))
                    hl_walk_set_mark(frame, mark, L);
            }
        }
        r->node = parent;
    }
}

static HL_ALWAYS uint64_t hl_walk_done(hl_wire_writer *w, hl_remembered *memory, uint32_t depth, bool strict)
{
    uint64_t node = memory->frames[depth - 1].node;
    memory->depth = depth;
    if (HL_UNLIKELY(!hl_node_is_known(node)))
        hl_python_announce(w, depth - 1);
    atomic_signal_fence(memory_order_seq_cst);
    hl_python_frame *top = &memory->frames[depth - 1];
    w->tracker_hot[HL_HOT_TOP] = top->version != HL_SHIM ? (uint64_t)top : 0; /* so the commonest walk need not ask */
    if (strict)
        w->tracker_hot[HL_HOT_ORDER] = hl_python.compare_always ? ~UINT64_C(0) : w->order_seen;
    return node;
}

/* The walk when the stack is not exactly the remembered one. `mark`: what marked frames have, or HL_NO_MARK. */
static HL_ALWAYS uint64_t hl_walk_rest_of(hl_wire_writer *w, char *leaf, bool strict, uint64_t mark, const hl_layout L)
{
    hl_remembered *memory = hl_remembered_of(w);
    hl_python_frame *r = memory->frames;
    int64_t j = (int64_t)memory->depth - 1;
    w->tracker_hot[HL_HOT_TOP] = 0;

    /* The same activation at another instruction: nothing outside it can have changed. */
    if (L.mark_form != HL_MARK_NONE && j >= 0 && leaf == r[j].address && hl_walk_is_marked(&r[j], mark, L) &&
        (!L.tlbc || r[j].copy == hl_walk_copy(leaf, L))) {
        hl_python_frame *top = &r[j];
        memory->depth = 0;
        atomic_signal_fence(memory_order_seq_cst);
        top->instruction = hl_walk_instruction(leaf, L);
        top->node =
            hl_walk_counts(top, L) ? hl_wire_mix(top->parent, hl_walk_identity(top, L), top->version) : top->parent;
        return hl_walk_done(w, memory, (uint32_t)j + 1, strict);
    }

    char *pushed[HL_PUSHED];
    uint32_t n = 0, changed, depth;
    memory->same = 0;
    memory->depth = 0; /* invalid while it changes: a handler may jump out */
    atomic_signal_fence(memory_order_seq_cst);
    char *f = leaf;
    for (; f && j >= 0 && n < HL_PUSHED; f = HL_AT(char *, f, L.previous)) {
        for (int64_t k = 0; k < 4 && k <= j; k++)
            if (r[j - k].address == f) {
                j -= k;
                goto found;
            }
        pushed[n++] = f;
    }
    goto all;

found:
    changed = (uint32_t)j + 1; /* frames from here on are computed again */
    for (int64_t i = j;; i--) {
        f = r[i].address;
        if (!hl_walk_stands(&r[i], f, L) || (strict && !hl_walk_same_code(&r[i], L)))
            changed = (uint32_t)i;
        if (hl_walk_is_marked(&r[i], mark, L)) {
            memory->same = (uint32_t)i + 1;
            break;
        }
        char *previous = HL_AT(char *, f, L.previous);
        if (i == 0) {
            if (previous != memory->cut)
                goto all;
            break;
        }
        if (previous != r[i - 1].address)
            goto all;
    }
    depth = (uint32_t)j + 1 + n;
    if (HL_UNLIKELY(depth > memory->room)) {
        uint32_t kept = hl_python_make_room(w, (uint32_t)j + 1, n);
        if (kept != (uint32_t)j + 1)
            changed = memory->same = 0; /* their places have changed */
        depth = kept + n;
        r = memory->frames;
    }
    for (uint32_t i = 0; i < n; i++)
        r[depth - 1 - i].address = pushed[i];
    hl_walk_refresh(memory, changed, depth, mark, L);
    return hl_walk_done(w, memory, depth, strict);

all:
    depth = 0;
    for (f = leaf; f; f = HL_AT(char *, f, L.previous))
        depth++;
    if (HL_UNLIKELY(depth > memory->room))
        hl_python_make_room(w, 0, depth);
    uint32_t kept = depth <= memory->room ? depth : memory->room / 2;
    r = memory->frames;
    f = leaf;
    for (uint32_t i = kept; i > 0; f = HL_AT(char *, f, L.previous))
        r[--i].address = f;
    memory->cut = f;
    hl_walk_refresh(memory, 0, kept, mark, L);
    return hl_walk_done(w, memory, kept, strict);
}

/* Whether the frames outside a leaf that stands unmarked stand too. */
static HL_ALWAYS uint64_t hl_walk_compare(hl_wire_writer *w, char *leaf, bool strict, uint64_t mark, hl_walk_rest *rest,
                                          const hl_layout L)
{
    hl_python_frame *top = (hl_python_frame *)w->tracker_hot[HL_HOT_TOP], *first = hl_remembered_of(w)->frames;
    for (hl_python_frame *r = top;;) {
        if (HL_UNLIKELY(strict) && !hl_walk_same_code(r, L))
            return rest(w, leaf, strict, mark);
        char *previous = HL_AT(char *, r->address, L.previous);
        if (r == first) {
            if (HL_UNLIKELY(previous != hl_remembered_of(w)->cut))
                return rest(w, leaf, strict, mark);
            hl_remembered_of(w)->same = 0;
            break;
        }
        r--;
        if (previous != r->address || !hl_walk_stands(r, previous, L))
            return rest(w, leaf, strict, mark);
        if (hl_walk_is_marked(r, mark, L)) {
            hl_remembered_of(w)->same = (uint32_t)(r - first) + 1;
            break;
        }
    }
    if (strict)
        w->tracker_hot[HL_HOT_ORDER] = hl_python.compare_always ? ~UINT64_C(0) : w->order_seen;
    return top->node;
}

static HL_ALWAYS uint64_t hl_walk_from_state(hl_wire_writer *w, bool epoch_changed, char *state, hl_walk_rest *compare,
                                             hl_walk_rest *rest, const hl_layout L)
{
    char *leaf = state;
    if (L.cframe) {
        leaf = HL_AT(char *, state, L.cframe);
        if (HL_UNLIKELY(!leaf))
            return hl_tracker.live.root;
    }
    leaf = HL_AT(char *, leaf, L.frame);
    if (HL_UNLIKELY(!leaf))
        return hl_tracker.live.root;

    hl_python_frame *top = (hl_python_frame *)w->tracker_hot[HL_HOT_TOP];
    uint64_t mark = w->tracker_hot[HL_HOT_MARK];
    bool strict = epoch_changed | (w->order_seen != w->tracker_hot[HL_HOT_ORDER]);
    if (L.mark_form != HL_MARK_NONE && HL_UNLIKELY(HL_AT(char *, state, L.tracefunc) != NULL) &&
        HL_AT(char *, state, L.tracefunc) != hl_python.line_trace)
        return rest(w, leaf, true, HL_NO_MARK); /* a debugger may set the line of a frame that has not returned */
    if (HL_UNLIKELY(!top) || leaf != top->address || !hl_walk_stands(top, leaf, L))
        return rest(w, leaf, strict, mark);
    if (HL_LIKELY(hl_walk_marked(leaf, mark, L)))
        return top->node;
    return compare(w, leaf, strict, mark);
}

/* The calling thread's node: the remembered one if every frame still stands where and as it stood. The rarer ways are
 * functions of their own, so that this one needs no stack frame. */
static HL_ALWAYS uint64_t hl_walk_stack(hl_wire_writer *w, bool epoch_changed, hl_walker *elsewhere,
                                        hl_walk_rest *compare, hl_walk_rest *rest, const hl_layout L)
{
    char **variable = (char **)w->tracker_hot[HL_HOT_STATE];
    if (HL_UNLIKELY(!variable))
        return elsewhere(w, epoch_changed);
    char *state = __atomic_load_n(variable, __ATOMIC_RELAXED);
    if (HL_UNLIKELY(!state))
        return elsewhere(w, epoch_changed);
    if (L.has_global_state) { /* the state of whoever holds the GIL */
        hl_remembered *memory = hl_remembered_of(w);
        if (HL_UNLIKELY(state != memory->own) || HL_UNLIKELY(HL_AT(uint64_t, state, L.thread_id) != memory->self))
            return elsewhere(w, epoch_changed);
    }
    return hl_walk_from_state(w, epoch_changed, state, compare, rest, L);
}

/* The same where the thread has no current state, or its place is not known. */
static HL_ALWAYS uint64_t hl_walk_elsewhere(hl_wire_writer *w, bool epoch_changed, hl_walk_rest *compare,
                                            hl_walk_rest *rest, const hl_layout L)
{
    char *state = hl_python_state(w);
    return state ? hl_walk_from_state(w, epoch_changed, state, compare, rest, L) : hl_tracker.live.root;
}

#endif
