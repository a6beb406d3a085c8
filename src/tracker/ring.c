/*
 * ring.c - the rare cases of ring.h: a thread's first event and its end, nested hooks, the next chunk, words in front.
 *
 * Runs in the program, in the thread that makes the event. Slots and chunks are taken with signals blocked, so that no
 * jump out of a handler can lose one.
 */
#include "ring.h"

#include "lines.h"
#include "native.h"
#include "python.h"

#include <errno.h>
#include <string.h>

enum {
    SLICE_NS = 1000000,              /* how long one sleep for a chunk lasts: the collector's death is seen after it; */
    LONGEST_SLICE_NS = 50 * 1000000, /* longer where so many wait that they would keep the collector from its work */
    CROWDED_NS = 10 * 1000000,       /* how long no writer slot is looked for when all were in use */
    EXIT_ROUNDS = 4,                 /* PTHREAD_DESTRUCTOR_ITERATIONS of glibc and musl */
    SPINS = 100,                     /* tries for the shared writer before the thread yields */
};
#define STALLED_NS (UINT64_C(10) * 1000000000) /* a collector that takes nothing for so long is given up */

/* ------------------------------------------------------------------------------------------------- writers */

/* A free slot in [from, to), or NULL. `*hint`: below it there is none, nor one that the collector will soon make free. */
static hl_wire_writer *take_writer(hl_session *s, uint32_t from, uint32_t to, uint32_t *hint)
{
    bool some_ended = false;
    for (uint32_t i = from; i < to; i++) {
        hl_wire_writer *w = hl_session_writer(s, i);
        uint32_t state = atomic_load_explicit(&w->state, memory_order_relaxed);
        if (state == HL_WRITER_FREE && atomic_compare_exchange_strong(&w->state, &state, HL_WRITER_USED)) {
            if (!some_ended)
                *hint = i + 1;
            return w;
        }
        if (state == HL_WRITER_ENDED && !some_ended) {
            some_ended = true;
            *hint = i;
        }
    }
    if (!some_ended)
        *hint = to;
    return NULL;
}

/* A slot of its own for thread number `thread`, or for its lane number `lane`; NULL: all are in use. `end` is 0 in a free slot, and
 * the collector looks at the others only when it is not, so they may be filled after the slot has been taken. */
static hl_wire_writer *claim_writer(uint32_t thread, uint32_t lane)
{
    hl_session *s = hl_tracker.session;
    hl_wire_writer *w;
    uint32_t hint = atomic_load(&hl_tracker.next_writer), used;
    while (!(w = take_writer(s, hint, used = atomic_load(&s->writers_used), &hint))) {
        if (used < HL_MAX_WRITERS) {
            atomic_compare_exchange_strong(&s->writers_used, &used, used + 1);
            continue;
        }
        /* Only now are those looked for that other processes have left. */
        uint64_t now_ns = hl_os_now_ns();
        if (now_ns < atomic_load(&hl_tracker.no_writer_until_ns))
            return NULL;
        atomic_store(&hl_tracker.no_writer_until_ns, now_ns + CROWDED_NS);
        if (!(w = take_writer(s, 0, HL_MAX_WRITERS, &hint)))
            return NULL;
        break;
    }
    atomic_store(&hl_tracker.next_writer, hint);
    w->id = (uint32_t)(((char *)w - (char *)s - HL_WRITERS_AT) / HL_WRITER_BYTES) + 1;
    w->process = hl_tracker.process_index;
    w->tid = hl_os_thread_id();
    w->lane = lane;
    w->thread = thread;
    w->order_seen = 0;
    atomic_store(&w->open, 0);
    atomic_store(&w->head, 0);
    atomic_store(&w->restart, 0);
    atomic_store(&w->left, 0);
    atomic_store(&w->waited_ns, 0);
    memset(w->tracker_hot, 0, sizeof w->tracker_hot);
    memset(w->stacks, 0, sizeof w->stacks);
    memset(w->tracker_private, 0, HL_WRITER_BYTES - offsetof(hl_wire_writer, tracker_private));
    return w;
}

static void end_writer(hl_wire_writer *w)
{
    hl_python_thread_ended(w);
    hl_native_thread_ended(w);
    if (atomic_exchange(&w->open, 0) == HL_LEFT && w->lane == 0)
        hl_left_by_thread(w);
    atomic_store(&w->state, HL_WRITER_ENDED);
    uint32_t next = atomic_load(&hl_tracker.next_writer);
    while (w->id - 1 < next && !atomic_compare_exchange_weak(&hl_tracker.next_writer, &next, w->id - 1)) {}
}

static HL_COLD hl_wire_writer *begin_thread(uintptr_t here)
{
    uint64_t signals;
    int saved = errno;
    hl_os_block_signals(&signals);
    bool main_thread = hl_os_thread_id() == hl_tracker.pid;
    hl_wire_writer *w = claim_writer(main_thread ? 0 : atomic_fetch_add(&hl_tracker.threads, 1) + 1, 0);
    if (w) {
        atomic_store(&w->open, here | HL_BELOW_FOREIGN); /* what pthread_setspecific allocates is ours */
        hl_self = w;
        pthread_setspecific(hl_tracker.exit_key, w);
        uint64_t mine = here | HL_BELOW_FOREIGN;
        atomic_compare_exchange_strong(&w->open, &mine, 0);
        if (HL_UNLIKELY(!hl_tracker.live.on || !hl_writer_is_current(w))) { /* it was stopped meanwhile */
            hl_self = NULL;
            end_writer(w);
            w = NULL;
        } else {
            hl_lines_new_writer(w);
        }
    } else {
        hl_self = w = &hl_tracker.no_writer;
        atomic_store(&hl_tracker.crowded, true);
    }
    hl_os_restore_signals(&signals);
    errno = saved;
    return w;
}

/* Destructor of the thread-specific key. Other destructors still free, so the last round is waited for; what comes later
 * goes through the shared writer. */
void hl_end_thread(void *value)
{
    hl_wire_writer *w = value;
    if (w != hl_self || w == &hl_tracker.no_writer) /* a forked child's memory of its parent */
        return;
    hl_writer_private *mine = hl_writer_private_of(w);
    uint64_t signals;
    hl_os_block_signals(&signals);
    bool stopped = atomic_load(&w->open) == HL_LEFT || !hl_writer_is_current(w);
    if (!stopped && ++mine->exit_rounds < EXIT_ROUNDS) {
        atomic_store(&w->open, hl_os_stack_pointer() | HL_BELOW_FOREIGN);
        pthread_setspecific(hl_tracker.exit_key, w);
        atomic_store(&w->open, 0);
    } else {
        hl_self = &hl_tracker.no_writer;
        hl_lines_thread_ended();
        for (hl_wire_writer *next; w; w = next) {
            next = hl_writer_private_of(w)->lane;
            end_writer(w);
        }
    }
    hl_os_restore_signals(&signals);
}

hl_wire_writer *hl_claim_shared_writer(void)
{
    uint64_t signals;
    hl_os_block_signals(&signals);
    hl_wire_writer *w = claim_writer(0, 0);
    if (w)
        w->tid = hl_tracker.pid;
    hl_os_restore_signals(&signals);
    return w;
}

/* The writer that threads without one of their own share; its mark is the lock. */
static HL_COLD hl_wire_writer *enter_shared(uintptr_t mark, uintptr_t here)
{
    hl_wire_writer *w = hl_tracker.shared;
    int32_t me = hl_os_thread_id();
    uint64_t since_ns = 0;
    for (unsigned tries = 1;; tries++) {
        uint64_t open = 0;
        if (atomic_compare_exchange_strong_explicit(&w->open, &open, here | mark, memory_order_acquire,
                                                    memory_order_relaxed))
            break;
        /* The holder's mark, too, must be the one that stands there: another thread may be just past the exchange. */
        if (atomic_load(&hl_tracker.shared_holder) == me && atomic_load(&hl_tracker.shared_mark) == open) {
            if (open & HL_BELOW && here < open)
                return NULL;
            if (hl_os_mark_is_live(open & ~(uint64_t)HL_MARK_BITS, here)) { /* a handler inside a hook */
                hl_tracker_lose(1);
                return NULL;
            }
            atomic_store(&w->open, here | mark); /* left open by a jump */
            break;
        }
        if (tries % SPINS)
            continue;
        if (atomic_load(&hl_tracker.state) != HL_RECORDING)
            return NULL;
        uint64_t now_ns = hl_os_now_ns();
        if (!since_ns)
            since_ns = now_ns;
        if (now_ns - since_ns > STALLED_NS) {
            hl_tracker_lose(1);
            return NULL;
        }
        hl_os_yield();
    }
    atomic_store(&hl_tracker.shared_mark, here | mark);
    atomic_store(&hl_tracker.shared_holder, me);
    /* The walker's memory is another thread's. */
    memset(w->tracker_hot, 0, sizeof w->tracker_hot);
    memset(w->tracker_private, 0, HL_WRITER_BYTES - offsetof(hl_wire_writer, tracker_private));
    if (atomic_load_explicit(&hl_tracker.crowded, memory_order_relaxed) &&
        atomic_exchange(&hl_tracker.crowded, false)) {
        static const char note[] = "more threads at once than heapline has places for: "
                                   "what the further ones did is counted under the main thread";
        hl_put_text(w, HL_TEXT_NOTE, note, sizeof note - 1);
    }
    return w;
}

/* A further writer for hooks inside a hook of `w`. */
static HL_COLD hl_wire_writer *claim_lane(hl_wire_writer *w)
{
    hl_writer_private *mine = hl_writer_private_of(w);
    uint64_t signals;
    hl_os_block_signals(&signals);
    if (!mine->lane)
        mine->lane = claim_writer(w->thread, w->lane + 1);
    hl_os_restore_signals(&signals);
    if (!mine->lane)
        hl_tracker_lose(1);
    return mine->lane;
}

HL_COLD hl_wire_writer *hl_enter_slowly(uintptr_t mark, uintptr_t here)
{
    if (!hl_tracker.live.on) {
        uint32_t state = atomic_load(&hl_tracker.state);
        if (state == HL_OUTSIDE)
            hl_tracker_join();
        else if (state == HL_RECORDING && !hl_tracker_is_own_process())
            hl_tracker_forked();
        if (!hl_tracker.live.on)
            return NULL;
    }
    hl_wire_writer *w = hl_self;
    if (w && w != &hl_tracker.no_writer && HL_UNLIKELY(!hl_writer_is_current(w))) {
        uint64_t left = HL_LEFT; /* else a hook of this thread is at work that began before the stop: it may go on */
        if (atomic_compare_exchange_strong(&w->open, &left, 0))
            hl_left_by_thread(w);
        hl_self = w = NULL;
    }
    bool is_first = !w;
    if (is_first)
        w = begin_thread(here);
    if (!w)
        return NULL;
    if (w == &hl_tracker.no_writer)
        return hl_tracker.shared ? enter_shared(mark, here) : NULL;
    uint64_t open;
    while ((open = atomic_load_explicit(&w->open, memory_order_relaxed)) != 0) {
        if (open & HL_BELOW && here < open) /* called by the real function: counted above it */
            return NULL;
        if (!hl_os_mark_is_live(open & ~(uint64_t)HL_MARK_BITS, here))
            break; /* a jump left it open */
        hl_wire_writer *lane = hl_writer_private_of(w)->lane;
        w = lane ? lane : claim_lane(w);
        if (!w)
            return NULL;
    }
    atomic_store_explicit(&w->open, here | mark, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    if (is_first)
        hl_python_tell_name(w);
    return w;
}

/* -------------------------------------------------------------------------------------------------- chunks */

static void wake_collector(hl_session *s)
{
    if (atomic_load(&s->sleeping) && atomic_exchange(&s->sleeping, 0))
        hl_os_wake(&s->sleeping, 1);
}

static hl_wire_chunk *pop_chunk(hl_session *s)
{
    uint64_t top = atomic_load(&s->pool);
    for (;;) {
        uint32_t index = (uint32_t)top;
        if (!index || index > s->chunks)
            return NULL;
        hl_wire_chunk *c = hl_session_chunk(s, index - 1);
        uint64_t next = ((top >> 32) + 1) << 32 | (uint32_t)atomic_load(&c->next);
        if (atomic_compare_exchange_weak(&s->pool, &top, next))
            return c;
    }
}

hl_wire_chunk *hl_take_chunk(uint64_t wait_ns)
{
    hl_session *s = hl_tracker.session;
    uint32_t freed = atomic_load(&s->freed);
    hl_wire_chunk *c = pop_chunk(s);
    if (c) {
        if (atomic_fetch_add(&s->out, 1) + 1 >= s->wake_at)
            wake_collector(s);
        return c;
    }
    atomic_fetch_add(&s->waiting, 1);
    wake_collector(s);
    hl_os_wait(&s->freed, freed, wait_ns);
    atomic_fetch_sub(&s->waiting, 1);
    return NULL;
}

static hl_wire_chunk *chunk_before(uint64_t head) /* head may stand at the chunk's very end */
{
    uint64_t chunks = (uint64_t)hl_tracker.session + HL_CHUNKS_AT;
    return (hl_wire_chunk *)(chunks + (head - 8 - chunks) / HL_CHUNK_BYTES * HL_CHUNK_BYTES);
}

/* The new chunk follows the old one; or there is none, or the collector has asked for it: then it finds the new one by
 * `restart`. `end` is stored last: while it is 0 the collector does not look at `head`. */
static void go_on_to(hl_wire_writer *w, hl_wire_chunk *c)
{
    atomic_store(&c->next, 0);
    atomic_store(&c->used, 0);
    atomic_store(&c->owner, w->id);
    uint64_t head = atomic_load_explicit(&w->head, memory_order_relaxed);
    if (atomic_load(&w->end)) {
        hl_wire_chunk *old = chunk_before(head);
        atomic_store(&old->used, head);
        atomic_store(&old->next, (uint64_t)c);
    } else {
        atomic_store(&w->left, head);
        atomic_store(&w->restart, (uint64_t)c);
    }
    atomic_store(&w->head, (uint64_t)c->words);
    atomic_store(&w->end, (uint64_t)c + HL_CHUNK_BYTES);
}

/* A thread that waits holds no chunk: else as many threads as there are chunks, each with a full one, would wait for each
 * other for ever. The collector takes it once it is read. Not while it has still to find the chunk in `restart`. */
static void let_go(hl_wire_writer *w)
{
    if (atomic_load(&w->restart))
        return;
    atomic_store(&w->left, atomic_load_explicit(&w->head, memory_order_relaxed) | 1);
    atomic_store(&w->end, 0);
}

/* Whether nothing is to be recorded any more. The kernel has marked the life sign of a collector that died. */
static bool is_over(hl_session *s)
{
    if (atomic_load(&s->collector) & FUTEX_OWNER_DIED)
        atomic_store(&s->ended, 1);
    if (atomic_load(&s->ended))
        hl_tracker_quit();
    return atomic_load(&hl_tracker.state) != HL_RECORDING;
}

HL_COLD uint64_t *hl_next_chunk(hl_wire_writer *w)
{
    hl_session *s = hl_tracker.session;
    uint64_t since_ns = 0, seen_progress = 0;
    if (HL_UNLIKELY(
            !hl_writer_is_current(w))) { /* a hook that began before a stop: the thread's next one finds another */
        hl_tracker_lose(1);
        if (hl_self == w)
            hl_self = NULL;
        return NULL;
    }
    while (!is_over(s)) {
        uint64_t signals;
        hl_os_block_signals(&signals);
        uint32_t freed = atomic_load(&s->freed);
        hl_wire_chunk *c = pop_chunk(s);
        if (c) {
            uint32_t out = atomic_fetch_add(&s->out, 1) + 1;
            go_on_to(w, c);
            hl_os_restore_signals(&signals);
            if (out >= s->wake_at)
                wake_collector(s);
            return c->words;
        }
        let_go(w);
        uint64_t from_ns = hl_os_now_ns();
        uint64_t slice_ns = SLICE_NS * (uint64_t)(1 + atomic_fetch_add(&s->waiting, 1) / 8);
        wake_collector(s);
        hl_os_wait(&s->freed, freed, slice_ns < LONGEST_SLICE_NS ? slice_ns : LONGEST_SLICE_NS);
        atomic_fetch_sub(&s->waiting, 1);
        uint64_t now_ns = hl_os_now_ns(), progress = atomic_load(&s->progress);
        atomic_fetch_add(&w->waited_ns, now_ns - from_ns);
        hl_os_restore_signals(&signals);
        if (!since_ns || progress != seen_progress) {
            since_ns = now_ns;
            seen_progress = progress;
        } else if (now_ns - since_ns > STALLED_NS) {
            hl_tracker_stalled();
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------- words in front */

/* Makes this writer the last one and puts the epoch in front. Returns what order_seen becomes with the publishing. */
static uint64_t put_epoch(hl_wire_writer *w, uint64_t **at, uint64_t seen)
{
    while ((seen & 0xffff) != w->id) {
        uint64_t mine = ((seen >> 16) + 1) << 16 | w->id;
        if (atomic_compare_exchange_weak(hl_tracker.live.order, &seen, mine))
            seen = mine;
    }
    *(*at)++ = HL_WORD(HL_WORD_EPOCH, seen >> 16);
    return seen;
}

__attribute__((noinline)) void hl_put_with_front(hl_wire_writer *w, uint64_t *at, uint64_t seen, uint64_t stack,
                                                 uint64_t word, uint64_t size)
{
    uint64_t *slot = &w->stacks[stack % HL_STACK_SLOTS];
    if (seen != w->order_seen)
        seen = put_epoch(w, &at, seen);
    if (stack && stack != *slot)
        *at++ = HL_WORD(HL_WORD_STACK, stack);
    if (size >= HL_SIZE_MAX)
        *at++ = HL_WORD(HL_WORD_SIZE, size);
    *at++ = word;
    hl_publish(w, at);
    atomic_signal_fence(memory_order_seq_cst); /* a handler may jump out before */
    w->order_seen = seen;
    if (stack)
        *slot = stack;
}

void hl_put_event(hl_wire_writer *w, uint64_t stack, uint64_t word, const uint64_t *more, unsigned count)
{
    if (w->order_seen == HL_LINES_CHANGED)
        hl_lines_tell(w);
    uint64_t *at = hl_reserve(w, 3 + count);
    if (!at)
        return;
    uint64_t seen = hl_order_now();
    uint64_t *slot = &w->stacks[stack % HL_STACK_SLOTS];
    if (seen != w->order_seen)
        seen = put_epoch(w, &at, seen);
    if (stack && stack != *slot)
        *at++ = HL_WORD(HL_WORD_STACK, stack);
    *at++ = word;
    for (unsigned i = 0; i < count; i++)
        *at++ = more[i];
    hl_publish(w, at);
    atomic_signal_fence(memory_order_seq_cst);
    w->order_seen = seen;
    if (stack)
        *slot = stack;
}

void hl_put_bytes(hl_wire_writer *w, uint64_t word, const char *text, size_t bytes)
{
    enum { LONGEST = 4096 };
    if (bytes > LONGEST)
        bytes = LONGEST;
    size_t words = (bytes + 7) / 8;
    uint64_t *at = hl_reserve(w, 1 + words);
    if (!at)
        return;
    at[0] = word | bytes;
    at[words] = words ? 0 : at[0]; /* the padding */
    memcpy(at + 1, text, bytes);
    hl_publish(w, at + 1 + words);
}

void hl_put_text(hl_wire_writer *w, hl_text_kind kind, const char *text, size_t bytes)
{
    hl_put_bytes(w, HL_WORD(HL_WORD_TEXT, (uint64_t)kind << 32), text, bytes);
}
