/*
 * native.c - the merged stack of an event: walk, comparison with the remembered stack, nodes.
 *
 * Runs in the program, in hooks, on the thread whose stack it is; a handler may jump out at any instruction: `depth` is 0
 * while the remembered stack changes.
 *
 * Budget: 1 ns for a frame that is compared, 6 ns for one that is stepped, 3 ns for one whose node is computed.
 */
#include "native.h"

#include "native_announce.h"
#include "patch.h"
#include "python.h"
#include "python_walk.h"
#include "unwinder.h"

#include <dlfcn.h>
#include <string.h>

hl_native_data hl_native;

/* What all threads remember together. The first threads have more room than most need; where there are very many, each
 * begins with little. It grows by doubling, where a stack needs it. */
enum {
    FIRST_BYTES = 24 << 10, /* 190 frames */
    SMALL_BYTES =
        12 << 10, /* 142 frames, and few twigs; so 1,000 threads have their 12 MiB, or 24 with 330 frames each */
    MOST_FRAMES = 1 << 14,
    GENEROUS_MAPPED = 1 << 20,
    MOST_MAPPED = 28 << 20,
};

typedef enum stack_end { END_OUTERMOST, END_BROKEN, END_CUT } stack_end;

/* The end of a stack: C frames inside the innermost loop, by the words that they were found in. While one Python frame runs,
 * its loop and what called it stay; what it calls in C comes and goes, and comes again. */
enum { TWIGS = 64, FEW_TWIGS = 16, TWIG_WORDS = 9 };
typedef struct twig {
    uint64_t pc, sp, fp; /* of the innermost frame */
    uint64_t python_node;
    uint64_t node;
    uint32_t epoch;
    uint16_t words;
    bool fp_matters;
    struct {
        uint64_t place, value;
    } word[TWIG_WORDS];
} twig;
_Static_assert(sizeof(twig) == 192, "three cache lines");

/* What a writer remembers; frames[0] is the outermost. The frames of the present walk come in at the other end of the room,
 * innermost last. */
struct hl_native_memory { /* opaque to ring.h */
    uint32_t depth, room;
    uint32_t generation; /* of loaded objects, when the stack was remembered */
    stack_end end;
    uint64_t end_pc;      /* of the frame that could not be followed */
    uint64_t python_node; /* of the Python stack alone */
    uint64_t base;        /* the node that the outermost frame is called by */
    hl_own_stack own;
    uint64_t bytes; /* of this mapping */
    uint32_t walks; /* what hl_remembered.walks was */
    uint32_t epoch; /* of the twigs: another one whenever the running Python frame is another */
    twig *twigs;    /* behind the frames */
    uint64_t last_twig;
    _Alignas(64) hl_walked_frame frames[];
};

void hl_native_set_loop(const void *function)
{
    uint64_t begin, end;
    if (function && hl_unwind_function((uint64_t)function, &begin, &end)) {
        hl_native.loop_from = begin;
        hl_native.loop_bytes = end - begin;
    }
}

/* -------------------------------------------------------------------------------------------------------- memory */

static hl_native_memory *map(uint64_t bytes, uint64_t twigs)
{
    if (atomic_fetch_add(&hl_native.mapped_bytes, bytes) + bytes > MOST_MAPPED) {
        atomic_fetch_sub(&hl_native.mapped_bytes, bytes);
        return NULL;
    }
    hl_native_memory *memory = hl_os_pages(bytes);
    if (!memory) {
        atomic_fetch_sub(&hl_native.mapped_bytes, bytes);
        return NULL;
    }
    memory->bytes = bytes;
    memory->room = (uint32_t)((bytes - sizeof *memory - twigs * sizeof(twig)) / sizeof(hl_walked_frame));
    memory->twigs = (twig *)(void *)(memory->frames + memory->room);
    memory->last_twig = twigs - 1;
    return memory;
}

static void unmap(hl_native_memory *memory)
{
    atomic_fetch_sub(&hl_native.mapped_bytes, memory->bytes);
    hl_os_give_back(memory, memory->bytes);
}

static hl_native_memory *memory_of(hl_wire_writer *w)
{
    hl_native_memory **place = &hl_writer_private_of(w)->native;
    if (HL_LIKELY(*place != NULL))
        return *place;
    if (w == hl_tracker.shared) { /* its private part is wiped for each thread; this memory goes from one to the next */
        static hl_native_memory *shared;
        if (!shared)
            shared = map(FIRST_BYTES, TWIGS);
        if (shared) {
            shared->depth = 0;
            shared->own = (hl_own_stack){0};
        }
        *place = shared;
    } else {
        uint64_t mapped = atomic_load_explicit(&hl_native.mapped_bytes, memory_order_relaxed);
        *place = mapped < GENEROUS_MAPPED ? map(FIRST_BYTES, TWIGS) : map(SMALL_BYTES, FEW_TWIGS);
    }
    return *place;
}

/* The last of `n` fresh frames: the outermost. */
static HL_ALWAYS hl_walked_frame *last_fresh(hl_native_memory *memory, uint32_t n)
{
    return &memory->frames[memory->room - n];
}

/* Twice the room, with `n` fresh frames kept; the remembered stack is forgotten. NULL: there is no more. */
static HL_COLD hl_native_memory *grow(hl_wire_writer *w, hl_native_memory *old, uint32_t n)
{
    if (old->room >= MOST_FRAMES || w == hl_tracker.shared)
        return NULL;
    hl_native_memory *memory = map(old->bytes * 2, old->last_twig + 1);
    if (!memory)
        return NULL;
    memcpy(last_fresh(memory, n), last_fresh(old, n), n * sizeof *memory->frames);
    memory->own = old->own;
    memory->walks = old->walks;
    memory->epoch = old->epoch + 1;
    hl_writer_private_of(w)->native = memory;
    unmap(old);
    return memory;
}

void hl_native_thread_ended(hl_wire_writer *w)
{
    hl_native_memory *memory = hl_writer_private_of(w)->native;
    hl_writer_private_of(w)->native = NULL;
    if (memory && w != hl_tracker.shared)
        unmap(memory);
}

/* -------------------------------------------------------------------------------------------------------- stacks */

static bool is_on(const hl_cfi_stack *stack, uint64_t sp) { return sp >= stack->low && sp < stack->high; }

/* ---------------------------------------------------------------------------------------------------------- walk */

/* How much of the remembered stack stands from frames[n - 1] outwards, which the walk has reached: n, all of it, or how many
 * frames lie outside the innermost that does not. The words that they were found in must be what they were; they are looked
 * at from the inside, each after all inside it has been found unchanged, so they are where they were. But a loop that runs a
 * Python frame of the same activation as before has not returned, and so neither has what called it. */
static HL_ALWAYS uint32_t standing(const hl_native_memory *memory, uint32_t n, uint32_t same)
{
    for (const hl_walked_frame *f = &memory->frames[n - 1];;) {
        if ((f->to && f->from < same) || f == memory->frames)
            return n;
        f--;
        if (HL_AT(uint64_t, f->pc_place, 0) != f->pc ||
            (f->fp_matters && f->fp_place && HL_AT(uint64_t, f->fp_place, 0) != f->fp))
            return (uint32_t)(f - memory->frames);
    }
}

typedef enum meeting { NOT_HERE, HERE, BEHIND } meeting;

/* Whether the walk, at `at`, has met the remembered stack: all of frames[..*cursor] stand, `at` being the innermost of them
 * (HERE), or being called by it (BEHIND). `*cursor`: remembered frames that the walk has not passed yet. */
static HL_ALWAYS meeting meet(const hl_native_memory *memory, const hl_unwound *at, uint32_t same, uint32_t *cursor)
{
    while (*cursor && memory->frames[*cursor - 1].sp < at->at.sp)
        --*cursor;
    if (!*cursor)
        return NOT_HERE;
    const hl_walked_frame *f = &memory->frames[*cursor - 1];
    if (f->sp != at->at.sp)
        return NOT_HERE;
    if (f->pc == at->at.pc && (!f->fp_matters || f->fp == at->at.fp)) {
        uint32_t n = standing(memory, *cursor, same);
        if (n == *cursor)
            return HERE;
        *cursor = n;
    } else if (f->to && f->from < same) { /* the same loop at another call */
        --*cursor;
        return BEHIND;
    }
    return NOT_HERE;
}

/* The loader's, where the kernel put it: its first function, from which constructors of libraries are called, has no unwind
 * information, and nothing calls it. */
extern void *__libc_stack_end __attribute__((weak)); // NOLINT(bugprone-reserved-identifier): the loader's
static HL_COLD bool is_start_of_program(uint64_t sp)
{
    enum { NEAR = 64 }; /* it aligns its stack pointer, and old ones put two words on the stack */
    return &__libc_stack_end && sp - ((uint64_t)__libc_stack_end - NEAR) <= 2 * NEAR;
}

typedef struct walk {
    hl_native_memory *memory;
    hl_cfi_stack stack; /* where it ended */
    uint32_t kept, fresh;
    bool crossed;  /* it is on two stacks: not to be compared with */
    uint32_t same; /* of the remembered Python frames, from the outermost: the same activations */
    stack_end end;
    uint64_t end_pc;
} walk;

/* From `at`, the innermost frame that is not ours, outwards. */
static void walk_native(hl_wire_writer *w, hl_native_memory *memory, hl_unwound at, hl_cfi_stack stack, uint32_t same,
                        walk *result)
{
    uint32_t cursor = memory->generation == hl_unwind_generation() ? memory->depth : 0, n = 0;
    bool broken = false, crossed = false;
    *result = (walk){.end = END_OUTERMOST, .same = same};
    memory->depth = 0;
    atomic_signal_fence(memory_order_seq_cst);
    for (;;) {
        meeting met = crossed ? NOT_HERE : meet(memory, &at, same, &cursor);
        if (met != NOT_HERE) {
            result->kept = cursor;
            result->end = memory->end;
            result->end_pc = memory->end_pc;
        }
        if (met == HERE)
            break;
        if (HL_UNLIKELY(cursor + n >= memory->room)) {
            hl_native_memory *larger = grow(w, memory, n);
            memory = larger ? larger : memory;
            cursor = result->kept = 0; /* what is remembered gives way */
            met = NOT_HERE;
            if (n == memory->room) {
                result->end = END_CUT;
                break;
            }
        }
        *last_fresh(memory, ++n) = (hl_walked_frame){
            .pc = at.at.pc,
            .sp = at.at.sp,
            .fp = at.at.fp,
            .pc_place = at.from.pc,
            .fp_place = at.from.fp,
            .interrupted = at.interrupted,
        };
        if (met == BEHIND)
            break;
        if (HL_UNLIKELY(!is_on(&stack, at.at.sp))) { /* a handler's own stack has been left; or only a known part */
            hl_cfi_stack next = hl_unwind_stack(&memory->own, at.at.sp);
            bool further = stack.foreign && next.foreign && at.at.sp >= stack.high &&
                           hl_unwind_reach(&stack, at.at.sp + sizeof at.at.sp);
            crossed |= !further;
            stack = further ? stack : next;
        }
        if (!hl_unwind_step(&at, &stack, &broken)) {
            result->end = broken && !is_start_of_program(at.at.sp) ? END_BROKEN : END_OUTERMOST;
            result->end_pc = at.at.pc;
            last_fresh(memory, n)->interrupted |= !broken && hl_unwind_is_context_start(at.at.pc);
            break;
        }
        last_fresh(memory, n)->by_fp = at.by_fp;
    }
    result->crossed = crossed;
    result->memory = memory;
    result->stack = stack;
    result->fresh = n;
}

/* --------------------------------------------------------------------------------------------------------- nodes */

/* The evaluation loops of the thread, innermost first, as the C stack is gone through. */
typedef struct loops {
    const hl_python_frame *frames; /* the remembered Python stack */
    int64_t top;                   /* its innermost frame that no loop has been found for; -1: none */
    uint64_t record;               /* the loop's record on the C stack, where there are such */
    uint32_t outside;              /* the outermost C frames, that belong to other stacks than this one; else 0 */
    hl_cfi_stack stack;
} loops;

static void begin_loops(loops *l, hl_wire_writer *w, const hl_cfi_stack *stack, uint64_t python_node)
{
    *l = (loops){.top = -1, .stack = *stack};
    const hl_layout *L = hl_python.layout;
    const hl_remembered *python = hl_remembered_of(w);
    if (!hl_native.python_walk || python_node == hl_tracker.live.root || !python->depth)
        return;
    l->frames = python->frames;
    l->top = (int64_t)python->depth - 1;
    if (L->loops && python->own)
        l->record = HL_AT(uint64_t, python->own, L->loops);
}

static HL_ALWAYS int64_t loop_begin(const loops *l)
{
    int64_t from = l->top - (int64_t)l->frames[l->top].loop; /* NOLINT(clang-analyzer-core.NullDereference): top >= 0 */
    return from < 0 ? 0 : from;
}

/* Whether the C frame [sp, end) is the loop of the frame at l->top. */
static HL_ALWAYS bool is_loop(loops *l, uint64_t pc, uint64_t sp, uint64_t end)
{
    const hl_layout *L = hl_python.layout;
    if (L->loop_form == HL_LOOP_SHIM) {
        int64_t from = loop_begin(l);
        return from > 0 && (uint64_t)l->frames[from - 1].address - sp < end - sp;
    }
    if (L->loops) {
        while (l->record && l->record < sp && l->record >= l->stack.low)
            l->record = HL_AT(uint64_t, l->record, L->loops_next);
        if (l->record - sp >= end - sp)
            return false;
        l->record = HL_AT(uint64_t, l->record, L->loops_next); // NOLINT(clang-analyzer-core.NullDereference): not NULL
        return true;
    }
    return pc - hl_native.loop_from < hl_native.loop_bytes;
}

/* Whether a greenlet's stack begins with a frame. Greenlets take turns on one C stack: behind the first function of one,
 * which is of their module, there is whatever the others have there now, not what has called it. It is known by that no
 * Python frame lies further out; what switches to it has some. */
static HL_ALWAYS bool begins_greenlet(const loops *l, const hl_walked_frame *f)
{
    return f->pc - hl_native.greenlet_from < hl_native.greenlet_bytes && l->top < 0;
}

/* Finds the loops' frames, from the innermost outwards, until everything further out is as it was. Returns the outermost
 * frame whose node may have changed; `stopped`: what calls it is as it was, too. */
static uint32_t find_loops(loops *l, hl_native_memory *memory, uint32_t depth, uint32_t kept, uint32_t same,
                           bool *stopped)
{
    uint32_t changed = kept;
    *stopped = false;
    if (!hl_native.python_walk) /* there never was one */
        return changed;
    for (uint32_t i = depth; i > 0; i--) {
        hl_walked_frame *f = &memory->frames[i - 1];
        uint64_t end = i > 1 ? memory->frames[i - 2].sp : l->stack.high;
        if (l->top < 0 || !is_loop(l, f->pc, f->sp, end)) {
            if (f->to && i <= kept)
                changed = i - 1;
            f->to = 0;
            if (HL_UNLIKELY(begins_greenlet(l, f) && i > 1)) {
                l->outside = i - 1;
                return 0;
            }
            continue;
        }
        uint32_t from = (uint32_t)loop_begin(l), to = (uint32_t)l->top + 1;
        uint64_t python_node = l->frames[l->top].node;
        if (i <= kept) {
            if (f->to == to && f->from == from && f->python_node == python_node) {
                *stopped = true;
                return changed;
            }
            changed = i - 1;
        }
        f->from = from;
        f->to = to & (HL_FRAMES_MOST * 2 - 1);
        f->python_node = python_node;
        if (from < same && i - 1 <= kept) { /* what calls it is the same activation */
            *stopped = true;
            return changed;
        }
        l->top = (int64_t)from - 1;
        while (l->top >= 0 && l->frames[l->top].version == HL_SHIM)
            l->top--;
    }
    return changed;
}

/* Python frames [from..to) below `parent`. */
static uint64_t add_python(hl_wire_writer *w, const hl_python_frame *frames, uint32_t from, uint32_t to,
                           uint64_t parent)
{
    for (const hl_python_frame *r = &frames[from], *end = &frames[to]; r < end; r++) {
        if (r->version == HL_SHIM || r->node == r->parent) /* it does not count */
            continue;
        uint64_t node = hl_wire_mix(parent, hl_walk_identity(r, *hl_python.layout), r->version);
        if (HL_UNLIKELY(!hl_node_is_known(node)))
            hl_python_announce_frame(w, r, node, parent);
        parent = node;
    }
    return parent;
}

static uint64_t base_of(hl_wire_writer *w, const loops *l, stack_end end, uint64_t end_pc)
{
    uint64_t base = hl_tracker.live.root;
    if (l->frames && hl_remembered_of(w)->cut) {
        base = hl_python_cut_node();
        hl_python_announce_cut(w);
    }
    if (l->top >= 0) /* their loops were not found */
        base = add_python(w, l->frames, 0, (uint32_t)l->top + 1, base);
    if (end != END_OUTERMOST)
        base = hl_native_announce_end(w, base, end == END_CUT ? 0 : end_pc);
    return base;
}

static uint64_t merge(hl_wire_writer *w, const walk *walked, uint64_t python_node)
{
    hl_native_memory *memory = walked->memory;
    uint32_t depth = walked->kept + walked->fresh, kept = walked->kept;
    const hl_walked_frame *fresh = last_fresh(memory, walked->fresh);
    for (uint32_t i = 0; i < walked->fresh; i++) {
        hl_walked_frame *f = &memory->frames[kept + i]; /* never behind the one it is taken from */
        *f = fresh[i];
        f->fp_matters = f->by_fp || (kept + i > 0 && !f[-1].fp_place && f[-1].fp_matters);
    }

    loops l;
    begin_loops(&l, w, &walked->stack, python_node);
    bool stopped;
    uint32_t first = find_loops(&l, memory, depth, kept, walked->same, &stopped);
    /* A node is announced below one that the collector knows: what has been forgotten is announced again. */
    while (first > 0 && !hl_node_is_known(memory->frames[first - 1].node))
        first--;
    if (first == 0 && stopped) {
        begin_loops(&l, w, &walked->stack, python_node);
        find_loops(&l, memory, depth, 0, 0, &stopped);
    }
    stack_end end = walked->end;
    if (HL_UNLIKELY(l.outside)) {
        depth -= l.outside;
        memmove(memory->frames, memory->frames + l.outside, depth * sizeof *memory->frames);
        end = END_OUTERMOST;
        first = 0;
    }
    if (!stopped) {
        uint64_t base = base_of(w, &l, end, walked->end_pc);
        first = base == memory->base ? first : 0;
        memory->base = base;
    }
    uint64_t parent = first ? memory->frames[first - 1].node : memory->base;
    uint32_t version = hl_unwind_generation() + 1;
    for (hl_walked_frame *f = &memory->frames[first], *behind = &memory->frames[depth]; f < behind; f++) {
        if (f->to) {
            parent = add_python(w, l.frames, f->from, f->to, parent);
        } else if (HL_LIKELY(f->pc - hl_native.own_from >=
                             hl_native.own_bytes)) { /* else: a hook, whose call allocates */
            uint64_t pc = f->pc - !f->interrupted;   /* the address before a return address lies in the call */
            uint64_t node = hl_wire_mix(parent, pc, version);
            if (HL_UNLIKELY(!hl_node_is_known(node)))
                hl_native_announce(w, node, parent, pc, version);
            parent = node;
        }
        f->node = parent;
    }
    memory->generation = version - 1;
    memory->end = end;
    memory->end_pc = walked->end_pc;
    memory->python_node = python_node;
    atomic_signal_fence(memory_order_seq_cst);
    memory->depth = walked->crossed ? 0 : depth;
    return depth ? parent : memory->base;
}

static HL_ALWAYS twig *twig_of(hl_native_memory *memory, const hl_unwound *at)
{
    return &memory->twigs[((at->at.pc ^ at->at.sp << 1) * UINT64_C(0x9e3779b97f4a7c15)) >> 58 & memory->last_twig];
}
_Static_assert(TWIGS == 1 << (64 - 58), "twig_of takes at most 6 bits");

/* The node of a stack whose end is remembered; 0: it is not. */
static HL_ALWAYS uint64_t node_of_twig(const twig *t, const hl_native_memory *memory, const hl_unwound *at,
                                       uint64_t python_node)
{
    if (t->pc != at->at.pc || t->sp != at->at.sp || (t->fp_matters && t->fp != at->at.fp) ||
        t->python_node != python_node || t->epoch != memory->epoch)
        return 0;
    for (uint32_t i = 0; i < t->words; i++) {
        if (HL_AT(uint64_t, t->word[i].place, 0) != t->word[i].value)
            return 0;
    }
    return hl_node_is_known(t->node) ? t->node : 0;
}

/* Remembers the end of the stack that has just been merged, if it is short. */
static void keep_twig(hl_native_memory *memory, const hl_unwound *at, uint64_t python_node, uint64_t node)
{
    if (!memory->depth)
        return;
    twig *t = twig_of(memory, at);
    t->epoch = 0; /* not valid while it changes */
    atomic_signal_fence(memory_order_seq_cst);
    uint32_t n = 0;
    for (const hl_walked_frame *f = &memory->frames[memory->depth - 1]; !f->to;) {
        if (f == memory->frames || n + 2 > TWIG_WORDS)
            return;
        f--;
        t->word[n].place = f->pc_place;
        t->word[n++].value = f->pc;
        if (f->fp_matters && f->fp_place) {
            t->word[n].place = f->fp_place;
            t->word[n++].value = f->fp;
        }
    }
    t->pc = at->at.pc;
    t->sp = at->at.sp;
    t->fp = at->at.fp;
    t->python_node = python_node;
    t->node = node;
    t->words = (uint16_t)n;
    t->fp_matters = memory->frames[memory->depth - 1].fp_matters;
    atomic_signal_fence(memory_order_seq_cst);
    t->epoch = memory->epoch;
}

/* Where there is no memory to remember C frames in. */
static HL_COLD uint64_t python_alone(hl_wire_writer *w, uint64_t python_node)
{
    const hl_cfi_stack none = {0};
    loops l;
    begin_loops(&l, w, &none, python_node);
    return base_of(w, &l, END_CUT, 0);
}

/* hl_tracker.walk. */
static uint64_t walk_merged(hl_wire_writer *w, bool epoch_changed)
{
    uint64_t *frame = __builtin_frame_address(0);
    uint64_t python_node = hl_tracker.live.root;
    uint32_t same = 0;
    hl_native_memory *memory = memory_of(w);
    if (hl_native.python_walk) {
        hl_remembered *python = hl_remembered_of(w);
        bool in_step =
            memory && memory->walks == python->walks++; /* a handler may have jumped out of the walk before */
        python->same = UINT32_MAX;
        python_node = hl_native.python_walk(w, epoch_changed);
        same = in_step && python_node != hl_tracker.live.root ? python->same : 0;
        if (memory)
            memory->walks = python->walks;
    }
    if (HL_UNLIKELY(!memory))
        return python_alone(w, python_node);
    hl_unwound at = {.at = {.pc = frame[1], .sp = (uint64_t)__builtin_dwarf_cfa(), .fp = frame[0]}};
    hl_cfi_stack stack = memory->own.stack;
    if (HL_UNLIKELY(!is_on(&stack, at.at.sp)))
        stack = hl_unwind_stack(&memory->own, at.at.sp);
    bool broken = false, more = true;
    while (more && at.at.pc - hl_native.own_from < hl_native.own_bytes)
        more = hl_unwind_step(&at, &stack, &broken);
    walk walked = {.memory = memory, .stack = stack, .end = END_BROKEN};
    if (HL_UNLIKELY(!more))
        return merge(w, &walked, python_node);

    if (HL_UNLIKELY(stack.foreign) && memory->depth) { /* what was remembered there may be gone */
        uint64_t outermost = memory->frames[0].pc_place + sizeof(uint64_t);
        if (outermost < at.at.sp || (outermost > stack.high && !hl_unwind_reach(&stack, outermost)))
            memory->depth = 0;
    }
    uint32_t depth = memory->depth;
    bool running = same == UINT32_MAX && !stack.foreign && memory->generation == hl_unwind_generation() && depth;
    if (running) {
        uint64_t node = node_of_twig(twig_of(memory, &at), memory, &at, python_node);
        if (HL_LIKELY(node != 0))
            return node;
    } else {
        memory->epoch += memory->epoch == UINT32_MAX ? 2 : 1; /* 0 is that of no twig */
    }
    const hl_walked_frame *top = &memory->frames[depth - 1];
    if (HL_LIKELY(depth > 1) && at.at.sp == top->sp && at.at.pc == top->pc &&
        (!top->fp_matters || at.at.fp == top->fp) && python_node == memory->python_node &&
        memory->generation == hl_unwind_generation() && standing(memory, depth, same) == depth &&
        hl_node_is_known(top->node))
        return top->node;
    walk_native(w, memory, at, stack, same, &walked);
    uint64_t node = merge(w, &walked, python_node);
    if (same == UINT32_MAX && !stack.foreign)
        keep_twig(walked.memory, &at, python_node, node);
    return node;
}

/* An object may be gone, and another come where it was: what was learnt of its code is forgotten. dlopen needs no hook: new
 * addresses are new. (A hook of it would change whose RPATH is searched.) */
HL_EXPORT int dlclose(void *handle)
{
    hl_real_find();
    if (!hl_tracker.real.dlclose)
        return -1; /* no libc is without it */
    int result = hl_tracker.real.dlclose(handle);
    if (hl_native.on)
        hl_unwind_forget();
    hl_patch_look();
    return result;
}

void hl_native_join(void)
{
    hl_native.on = hl_tracker.session->native == HL_NATIVE_ALWAYS || !hl_python_is_here();
    if (!hl_native.on)
        return;
    hl_object own;
    hl_unwind_start(&hl_tracker.confined);
    if (hl_unwind_object((uint64_t)&walk_merged, &own)) {
        hl_native.own_from = own.from;
        hl_native.own_bytes = own.to - own.from;
    }
    hl_tracker.walk = walk_merged;
}
