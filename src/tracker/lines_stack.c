/*
 * lines_stack.c - the rare cases of lines_stack.h, and what is told of a stack of lines.
 *
 * Runs in the program, in callbacks of the interpreter; hl_lines_tell in hooks, below a writer's mark.
 */
#include "lines_stack.h"

#include <string.h>

__thread hl_line_stack *hl_line_self __attribute__((tls_model("initial-exec")));

enum { FIRST_BYTES = 4096, WALK_MOST = 1 << 16, TOLD_AT_ONCE = 64 };

static size_t bytes_of(uint32_t room) { return sizeof(hl_line_stack) + room * sizeof(hl_line_entry); }

HL_COLD hl_line_stack *hl_line_stack_ready(hl_wire_writer **w)
{
    if (!hl_tracker.live.lines)
        return NULL;
    if (!*w) { /* the thread's first event of all */
        hl_wire_writer *entered = hl_enter(0);
        if (!entered)
            return NULL;
        hl_leave(entered);
        *w = (hl_wire_writer *)((uintptr_t)hl_self & hl_tracker.live.on);
    }
    if (!*w || *w == &hl_tracker.no_writer)
        return NULL;
    hl_line_stack *s = hl_line_self;
    if (!s) {
        s = hl_os_pages(FIRST_BYTES);
        if (!s)
            return NULL;
        s->room = (FIRST_BYTES - sizeof *s) / sizeof *s->entries;
        hl_line_self = s;
    }
    if (s->recording != hl_tracker.live.lines) {
        s->depth = s->told = s->same = 0;
        s->recording = hl_tracker.live.lines;
    }
    return s;
}

HL_COLD hl_line_stack *hl_line_stack_grow(hl_line_stack *s)
{
    if (s->room >= HL_LINE_ENTRIES_MOST)
        return NULL;
    uint32_t room = s->room * 4 < HL_LINE_ENTRIES_MOST ? s->room * 4 : HL_LINE_ENTRIES_MOST;
    hl_line_stack *larger = hl_os_pages(bytes_of(room));
    if (!larger)
        return NULL;
    memcpy(larger, s, bytes_of(s->room));
    larger->room = room;
    hl_line_self = larger;
    atomic_signal_fence(memory_order_seq_cst);
    hl_os_give_back(s, bytes_of(s->room));
    return larger;
}

void hl_lines_thread_ended(void)
{
    hl_line_stack *s = hl_line_self;
    hl_line_self = NULL;
    if (s)
        hl_os_give_back(s, bytes_of(s->room));
}

void hl_lines_new_writer(hl_wire_writer *w)
{
    hl_line_stack *s = hl_line_self;
    if (!s || s->recording != hl_tracker.live.lines || w->lane)
        return;
    s->told = s->same = 0;
    if (s->depth)
        hl_line_changed(s, w, 0);
}

void hl_line_stack_forked(void)
{
    hl_line_stack *s = hl_line_self;
    if (!s)
        return;
    s->told = s->same = 0;
    s->recording = hl_tracker.live.lines;
}

void hl_line_forget(const hl_line_code *c)
{
    hl_wire_writer *w;
    hl_line_stack *s = hl_line_stack_here(&w);
    for (uint32_t i = 0; s && i < s->depth; i++) {
        if (s->entries[i].code == c) {
            s->depth = i;
            hl_line_changed(s, w, i);
        }
    }
}

/* Whether `frame` was called, however far below, by `caller`. */
static bool is_called_by(const char *frame, const char *caller)
{
    const uint16_t previous = hl_python.layout->previous;
    for (uint32_t steps = 0; frame && steps < WALK_MOST; steps++) {
        if (frame == caller)
            return true;
        frame = *(char *const *)(frame + previous);
    }
    return false;
}

bool hl_line_stack_find(hl_line_stack *s, hl_wire_writer *w, char *frame)
{
    uint32_t depth = s->depth;
    while (depth && !is_called_by(frame, s->entries[depth - 1].frame))
        depth--;
    if (HL_UNLIKELY(depth != s->depth)) {
        s->depth = depth;
        hl_line_changed(s, w, depth);
    }
    return depth && s->entries[depth - 1].frame == frame;
}

/* ------------------------------------------------------------------------------------------------------- telling */

static bool is_ready(hl_line_entry *e, hl_wire_writer *w)
{
    return atomic_load_explicit(&e->code->recording, memory_order_relaxed) == hl_tracker.live.lines ||
           hl_line_code_begin(e->code, w);
}

static uint32_t id_of(const hl_line_entry *e)
{
    return e->code->pieces[e->line / HL_LINES_A_PIECE].first_id + e->line % HL_LINES_A_PIECE;
}

HL_COLD void hl_lines_tell(hl_wire_writer *w)
{
    hl_line_stack *s = hl_line_self;
    if (!s) { /* cannot be: each thread changes its own writer only */
        w->order_seen = 0;
        return;
    }
    uint32_t depth = s->depth < HL_LINE_DEPTH_MOST ? s->depth : HL_LINE_DEPTH_MOST;
    uint32_t same = s->same < depth ? s->same : depth;
    same = same < s->told ? same : s->told;
    for (uint32_t i = same; i < depth; i++) {
        if (!is_ready(&s->entries[i], w)) {
            depth = i; /* no room for its counters */
            s->depth = i;
        }
    }
    while (same < depth || same < s->told) {
        uint32_t count = depth - same < TOLD_AT_ONCE ? depth - same : TOLD_AT_ONCE;
        uint64_t *at = hl_reserve(w, TOLD_AT_ONCE);
        if (!at)
            break; /* the recording has ended */
        if (!count)
            *at++ = HL_WORD(HL_WORD_LINE, (uint64_t)same << 32);
        for (uint32_t i = same; i < same + count; i++)
            *at++ = HL_WORD(HL_WORD_LINE, (uint64_t)i << 32 | (id_of(&s->entries[i]) + 1));
        hl_publish(w, at);
        atomic_signal_fence(memory_order_seq_cst);
        same += count;
        s->told = same;
    }
    s->same = same;
    w->order_seen = s->order;
}
