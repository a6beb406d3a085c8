/*
 * ring.h - how a thread's words get to the collector (wire.h has the layout, and why the order comes out right).
 *
 * A hook does:   hl_wire_writer *w = hl_enter(0);         NULL: pass through
 *                hl_put_alloc(w, kind, p, size_bytes);     after the real call; frees before it: hl_put_address
 *                hl_leave(w);
 *
 * hl_enter marks the writer as "a hook is at work" with the hook's stack address. A hook that finds a mark runs inside
 * another hook of its thread, in a signal handler, and gets a further writer (lane); or the mark was left by a longjmp
 * and is stepped over. A mark with HL_BELOW says that a real allocator is being called: what it calls passes through.
 *
 * Budget: 1 ns for enter and leave, 1 ns for a word. One load of the order word, one compare, one store of the word, one
 * of `head`; no fence, no lock, no call outside libheapline.
 */
#ifndef HL_TRACKER_RING_H
#define HL_TRACKER_RING_H

#include "tracker.h"

enum {
    HL_BELOW = 1,         /* mark: the real PyMem function is being called; its mappings are arenas */
    HL_BELOW_FOREIGN = 3, /* mark: a real malloc that is not libc's is being called; its mappings are its own matter */
    HL_HIDDEN =
        5, /* mark: the tracker itself has the interpreter do something. What that allocates is not the program's; what it
                      frees may be. Its mappings are arenas. */
    HL_MARK_BITS = 7,
    HL_LEFT = 8, /* in place of a mark: the recording was stopped; its thread takes another writer in the next one */
};

/* What the tracker keeps in a writer's slot behind the wire's fields; `tracker_hot` and `python` are the walker's. All
 * zero in a fresh writer, and, in one that threads share, at each hl_enter. */
typedef struct hl_writer_private {
    hl_wire_writer *lane; /* the next one of this thread, or NULL */
    uint32_t exit_rounds;
    uint32_t spare;
    struct hl_native_memory *native; /* native.c's; NULL: nothing is remembered */
    uint64_t unused;
    uint64_t python[];
} hl_writer_private;
enum { HL_WRITER_PYTHON_BYTES = HL_WRITER_BYTES - offsetof(hl_wire_writer, tracker_private) - 32 };

static HL_ALWAYS hl_writer_private *hl_writer_private_of(hl_wire_writer *w)
{
    return (hl_writer_private *)(void *)w->tracker_private;
}

/* The rare cases, out of line. */
hl_wire_writer *hl_enter_slowly(uintptr_t mark, uintptr_t here);
uint64_t *hl_next_chunk(hl_wire_writer *w);
/* A chunk that holds no words (lines.c), with signals blocked: whose it is has to be said at once. NULL: there was none, and
 * so long was waited. */
hl_wire_chunk *hl_take_chunk(uint64_t wait_ns);
void hl_put_with_front(hl_wire_writer *w, uint64_t *at, uint64_t seen, uint64_t stack, uint64_t word, uint64_t size);

/* In order_seen: the thread's stack of lines has changed since it was last told. No order word is that, so events need no
 * further test for it. hl_lines_tell (lines.c) puts its words, and order_seen as it was. */
#define HL_LINES_CHANGED UINT64_C(1)
void hl_lines_tell(hl_wire_writer *w);

static HL_ALWAYS hl_wire_writer *hl_enter(uintptr_t mark)
{
    hl_wire_writer *w = (hl_wire_writer *)((uintptr_t)hl_self & hl_tracker.live.on);
    uintptr_t here = hl_os_stack_pointer();
    if (HL_UNLIKELY(!w) || HL_UNLIKELY(atomic_load_explicit(&w->open, memory_order_relaxed)))
        return hl_enter_slowly(mark, here);
    atomic_store_explicit(&w->open, here | mark, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    return w;
}

static HL_ALWAYS void hl_leave(hl_wire_writer *w)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&w->open, 0, memory_order_release); /* for the shared writer it is the unlocking */
}

/* Room for `words` (at most HL_CHUNK_WORDS) at the writer's head; NULL: recording has ended. */
static HL_ALWAYS uint64_t *hl_reserve(hl_wire_writer *w, size_t words)
{
    uint64_t head = atomic_load_explicit(&w->head, memory_order_relaxed);
    if (HL_UNLIKELY(head + words * 8 > atomic_load_explicit(&w->end, memory_order_relaxed)))
        return hl_next_chunk(w);
    return (uint64_t *)head;
}

/* Publishes everything up to `end`. Only after it may be remembered that something has been written. */
static HL_ALWAYS void hl_publish(hl_wire_writer *w, uint64_t *end)
{
    atomic_store_explicit(&w->head, (uint64_t)end, memory_order_release);
}

static HL_ALWAYS uint64_t hl_order_now(void)
{
    return atomic_load_explicit(hl_tracker.live.order, memory_order_acquire);
}

static HL_ALWAYS uint64_t hl_stack_node(hl_wire_writer *w, bool epoch_changed)
{
    hl_walker *walk = hl_tracker.walk;
    return walk ? walk(w, epoch_changed) : hl_tracker.live.root;
}

/* A block exists: HL_WORD_ALLOC + allocator, or HL_WORD_MOVED_*. Call it after the real function has returned `p` and
 * before the hook does. */
static HL_ALWAYS void hl_put_alloc(hl_wire_writer *w, unsigned kind, const void *p, size_t size_bytes)
{
    uint64_t seen = hl_order_now();
    if (HL_UNLIKELY(seen != w->order_seen) && HL_UNLIKELY(w->order_seen == HL_LINES_CHANGED))
        hl_lines_tell(w);
    uint64_t stack = hl_stack_node(w, seen != w->order_seen); /* may announce, so the room is asked for afterwards */
    uint64_t *at = hl_reserve(w, 4);
    if (HL_UNLIKELY(!at))
        return;
    uint64_t size = size_bytes < HL_SIZE_MAX ? size_bytes : HL_SIZE_MAX;
    uint64_t word = HL_BLOCK(kind, p, size) | HL_IN_SLOT(stack);
    if (HL_UNLIKELY(seen != w->order_seen) || HL_UNLIKELY(size == HL_SIZE_MAX)) {
        hl_put_with_front(w, at, seen, stack, word, size_bytes);
        return;
    }
    uint64_t *slot = &w->stacks[stack % HL_STACK_SLOTS];
    if (HL_LIKELY(stack == *slot)) {
        at[0] = word;
        hl_publish(w, at + 1);
    } else {
        at[0] = HL_WORD(HL_WORD_STACK, stack);
        at[1] = word;
        hl_publish(w, at + 2);
        *slot = stack;
    }
}

/* An event with nothing but an address: HL_WORD_FREE and HL_WORD_MOVE before the real call, HL_WORD_MOVE_FAILED. */
static HL_ALWAYS void hl_put_address(hl_wire_writer *w, unsigned kind, const void *p)
{
    uint64_t *at = hl_reserve(w, 2);
    if (HL_UNLIKELY(!at))
        return;
    uint64_t seen = hl_order_now();
    if (HL_UNLIKELY(seen != w->order_seen)) {
        if (HL_UNLIKELY(w->order_seen == HL_LINES_CHANGED)) {
            hl_lines_tell(w);
            at = hl_reserve(w, 2);
            if (!at)
                return;
        }
        hl_put_with_front(w, at, seen, 0, HL_BLOCK(kind, p, 0), 0);
        return;
    }
    at[0] = HL_BLOCK(kind, p, 0);
    hl_publish(w, at + 1);
}

/* hidden.c, where hl_enter has given no writer and hl_tracker.hiding says that some thread is below a mark HL_HIDDEN. A block was
 * made. And `p` is freed: where that is below such a mark it is told, unless it was made there; the mark is HL_BELOW_FOREIGN then,
 * for what is freed further below, until hl_hidden_freed; else NULL. */
void hl_hidden_made(const void *p);
hl_wire_writer *hl_hidden_free(const void *p);
static HL_ALWAYS void hl_hidden_freed(hl_wire_writer *w)
{
    uint64_t open = atomic_load_explicit(&w->open, memory_order_relaxed) & ~(uint64_t)HL_MARK_BITS;
    atomic_store_explicit(&w->open, open | HL_HIDDEN, memory_order_relaxed);
}
void hl_hidden_forked(void);

/* Any other event: `word`, then `count` (at most 64) further words. `stack` 0: it has none; else put HL_IN_SLOT(stack)
 * into the word where it belongs. Takes its place in the order like an allocation. */
void hl_put_event(hl_wire_writer *w, uint64_t stack, uint64_t word, const uint64_t *more, unsigned count);

/* HL_WORD_TEXT; what is longer than 4,096 bytes is cut. */
void hl_put_text(hl_wire_writer *w, hl_text_kind kind, const char *text, size_t bytes);

/* HL_WORD_EXEC and such: payload = bytes, then the bytes. Cut like a text. */
void hl_put_bytes(hl_wire_writer *w, uint64_t word, const char *text, size_t bytes);

#endif
