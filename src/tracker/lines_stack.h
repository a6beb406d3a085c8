/*
 * lines_stack.h - the calling thread's stack of lines: of each call of a profiled function that has begun and is not
 * suspended, the line at which it is. And what is counted when a line begins.
 *
 * An entry is known by the interpreter's frame. An event may have been missed (a profile hook or a debugger that stops the
 * interpreter's events, a greenlet that was left), so an entry is believed only while its frame is the present one or one that
 * the present one was called by; others go when that is found out.
 *
 * What must hold for handlers of signals that allocate in between: an entry is changed before `same` says so, and `same`
 * before order_seen.
 */
#ifndef HL_TRACKER_LINES_STACK_H
#define HL_TRACKER_LINES_STACK_H

#include "lines_private.h"

typedef struct hl_line_entry {
    char *frame;
    hl_line_code *code;
    uint32_t line; /* - first_line */
    uint32_t spare;
} hl_line_entry;

typedef struct hl_line_stack {
    uint32_t depth, room;
    uint32_t told;      /* entries that the collector knows of */
    uint32_t same;      /* of these, from the bottom, unchanged since */
    uint64_t recording; /* hl_tracker.live.lines of which they are */
    uint64_t order;     /* what HL_LINES_CHANGED stands for */
    hl_line_entry entries[];
} hl_line_stack;
enum { HL_LINE_ENTRIES_MOST = 1 << 16 };

/* With the GIL held: the frame that runs; NULL: none. */
static HL_ALWAYS char *hl_line_present_frame(void)
{
    char *state = hl_python.state_getter();
    if (hl_python.layout->cframe)
        state = *(char **)(state + hl_python.layout->cframe);
    return *(char **)(state + hl_python.layout->frame);
}

/* NULL: the thread has had no line yet. */
extern __attribute__((visibility("hidden"), tls_model("initial-exec"))) __thread hl_line_stack *hl_line_self;

/* The rare cases. */
hl_line_stack *hl_line_stack_ready(hl_wire_writer **w);
hl_line_stack *hl_line_stack_grow(hl_line_stack *s);
/* The entry of `frame` becomes the top one if there is one; else those go that it was not called by. */
bool hl_line_stack_find(hl_line_stack *s, hl_wire_writer *w, char *frame);
void hl_line_look_at_memory(hl_line_stack *s);
/* The calling thread is in no line of that function any more; and: it is a forked child's only one. */
void hl_line_forget(const hl_line_code *c);
void hl_line_stack_forked(void);

/* The thread's stack, and its writer; NULL: nothing is to be kept. */
static HL_ALWAYS hl_line_stack *hl_line_stack_here(hl_wire_writer **w)
{
    *w = (hl_wire_writer *)((uintptr_t)hl_self & hl_tracker.live.on);
    hl_line_stack *s = hl_line_self;
    if (HL_UNLIKELY(!*w) || HL_UNLIKELY(!s) || HL_UNLIKELY(s->recording != hl_tracker.live.lines))
        return hl_line_stack_ready(w);
    return s;
}

/* Entries from `from` on have changed. */
static HL_ALWAYS void hl_line_changed(hl_line_stack *s, hl_wire_writer *w, uint32_t from)
{
    atomic_signal_fence(memory_order_seq_cst);
    if (s->same > from)
        s->same = from;
    if (w->order_seen != HL_LINES_CHANGED) {
        s->order = w->order_seen;
        atomic_signal_fence(memory_order_seq_cst);
        w->order_seen = HL_LINES_CHANGED;
    }
}

static HL_ALWAYS void hl_line_count(hl_line_code *c, uint32_t line)
{
    _Atomic uint64_t *hits = &c->pieces[line / HL_LINES_A_PIECE].counters[line % HL_LINES_A_PIECE].hits;
    if (HL_UNLIKELY(hl_lines.atomic))
        atomic_fetch_add_explicit(hits, 1, memory_order_relaxed);
    else
        atomic_store_explicit(hits, atomic_load_explicit(hits, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* The execution of the top entry's line ends. */
static HL_ALWAYS void hl_line_end_execution(hl_line_stack *s)
{
    if (HL_UNLIKELY(atomic_load_explicit(&s->entries[s->depth - 1].code->flags, memory_order_relaxed) & HL_LINES_RSS))
        hl_line_look_at_memory(s);
}

/* `frame`, of code `c`, is at that line from here on. */
static HL_ALWAYS void hl_line_enter(hl_line_code *c, char *frame, uint32_t line)
{
    hl_wire_writer *w;
    hl_line_stack *s = hl_line_stack_here(&w);
    if (HL_UNLIKELY(!s))
        return;
    if (HL_LIKELY(s->depth) && HL_LIKELY(s->entries[s->depth - 1].frame == frame)) {
        hl_line_end_execution(s);
        s->entries[s->depth - 1].code = c;
        s->entries[s->depth - 1].line = line;
        hl_line_changed(s, w, s->depth - 1);
        return;
    }
    if (s->depth && hl_line_stack_find(s, w, frame)) {
        s->entries[s->depth - 1].code = c;
        s->entries[s->depth - 1].line = line;
        hl_line_changed(s, w, s->depth - 1);
        return;
    }
    if (HL_UNLIKELY(s->depth == s->room) && !(s = hl_line_stack_grow(s)))
        return;
    s->entries[s->depth] = (hl_line_entry){.frame = frame, .code = c, .line = line};
    atomic_signal_fence(memory_order_seq_cst);
    s->depth++;
    hl_line_changed(s, w, s->depth - 1);
}

/* `frame` is left: it returns, raises, or is suspended. */
static HL_ALWAYS void hl_line_leave(char *frame)
{
    hl_wire_writer *w;
    hl_line_stack *s = hl_line_stack_here(&w);
    if (HL_UNLIKELY(!s) || !s->depth)
        return;
    if (HL_UNLIKELY(s->entries[s->depth - 1].frame != frame) && !hl_line_stack_find(s, w, frame))
        return;
    hl_line_end_execution(s);
    s->depth--;
    hl_line_changed(s, w, s->depth);
}

#endif
