/*
 * ring_writer.h - for tests of the collector: a writer that follows wire.h to the letter, with no program around it.
 *
 * What the tracker does in a program, in a few lines: process slots, writer slots, chunks, epochs, words in front. The
 * session is mapped a second time, so that the program's addresses differ from the collector's.
 */
#ifndef HL_TESTS_RING_WRITER_H
#define HL_TESTS_RING_WRITER_H

#include "collector.h"
#include "wire.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef struct ring_process {
    hl_session *session; /* as the program has it mapped */
    hl_wire_process *slot;
    uint32_t index;
} ring_process;

typedef struct ring_writer {
    ring_process *process;
    hl_wire_writer *slot;
    uint64_t stack; /* node id of what comes next */
} ring_writer;

static inline hl_session *ring_map(int fd, const hl_session *session)
{
    void *p = mmap(NULL, session->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

static inline uint64_t ring_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline ring_process ring_join(hl_session *mapped, int32_t pid, int32_t parent, uint32_t born_by)
{
    ring_process r = {.session = mapped};
    for (uint32_t i = 0;; i++) {
        uint32_t used = atomic_load(&mapped->processes_used);
        if (i == used)
            atomic_compare_exchange_strong(&mapped->processes_used, &used, used + 1);
        uint32_t is_free = HL_PROCESS_FREE;
        r.slot = hl_session_process(mapped, i);
        r.index = i;
        if (atomic_compare_exchange_strong(&r.slot->state, &is_free, HL_PROCESS_JOINING))
            break;
    }
    atomic_store(&r.slot->order, UINT64_C(1) << 16);
    r.slot->pid = pid;
    r.slot->parent_pid = parent;
    r.slot->seed = atomic_fetch_add(&mapped->seeds, 1);
    r.slot->born_by = born_by;
    r.slot->base = (uint64_t)mapped;
    r.slot->start_ns = ring_now_ns();
    strcpy(r.slot->command, "test");
    atomic_store(&r.slot->recording, HL_RECORDING_OBJECTS);
    atomic_fetch_add(&r.slot->facts, 1);
    atomic_store(&r.slot->state, HL_PROCESS_RUNNING);
    return r;
}

static inline ring_writer ring_begin(ring_process *process, int32_t tid)
{
    hl_session *s = process->session;
    hl_wire_writer *w = NULL;
    for (uint32_t i = 0; !w; i++) {
        uint32_t used = atomic_load(&s->writers_used), is_free = HL_WRITER_FREE;
        if (i == used)
            atomic_compare_exchange_strong(&s->writers_used, &used, used + 1);
        w = hl_session_writer(s, i);
        if (!atomic_compare_exchange_strong(&w->state, &is_free, HL_WRITER_USED))
            w = NULL;
        else
            w->id = i + 1;
    }
    w->process = process->index;
    w->tid = tid;
    w->lane = 0;
    w->thread = (uint32_t)tid; /* a test that uses a tid again says otherwise */
    w->order_seen = 0;
    atomic_store(&w->open, 0);
    atomic_store(&w->head, 0);
    atomic_store(&w->restart, 0);
    atomic_store(&w->left, 0);
    atomic_store(&w->waited_ns, 0);
    memset(w->stacks, 0, sizeof w->stacks);
    return (ring_writer){process, w, HL_ROOT_NODE(process->slot->seed) & HL_PAYLOAD};
}

static inline void ring_end(ring_writer *w) { atomic_store(&w->slot->state, HL_WRITER_ENDED); }

static inline hl_wire_chunk *ring_pop(hl_session *s)
{
    uint64_t top = atomic_load(&s->pool);
    while ((uint32_t)top) {
        hl_wire_chunk *c = hl_session_chunk(s, (uint32_t)top - 1);
        uint64_t next = ((top >> 32) + 1) << 32 | (uint32_t)atomic_load(&c->next);
        if (atomic_compare_exchange_weak(&s->pool, &top, next))
            return c;
    }
    return NULL;
}

/* Called while the pool is empty: a single-threaded test reads the rings there. Null: waits for another thread's pass. */
static void (*ring_when_full)(void);

static inline uint64_t *ring_reserve(ring_writer *w, size_t words)
{
    hl_wire_writer *slot = w->slot;
    hl_session *s = w->process->session;
    uint64_t head = atomic_load_explicit(&slot->head, memory_order_relaxed);
    if (head + words * 8 <= atomic_load_explicit(&slot->end, memory_order_relaxed))
        return (uint64_t *)head;
    hl_wire_chunk *c;
    while (!(c = ring_pop(s))) {
        if (ring_when_full) {
            ring_when_full();
        } else {
            atomic_fetch_add(&s->waiting, 1);
            sched_yield();
            atomic_fetch_sub(&s->waiting, 1);
        }
    }
    atomic_fetch_add(&s->out, 1);
    atomic_store(&c->next, 0);
    atomic_store(&c->used, 0);
    atomic_store(&c->owner, slot->id);
    head = atomic_load(&slot->head);
    if (atomic_load(&slot->end)) {
        hl_wire_chunk *old = hl_session_chunk(s, (uint32_t)((head - 8 - (uint64_t)s - HL_CHUNKS_AT) / HL_CHUNK_BYTES));
        atomic_store(&old->used, head);
        atomic_store(&old->next, (uint64_t)c);
    } else {
        atomic_store(&slot->left, head);
        atomic_store(&slot->restart, (uint64_t)c);
    }
    atomic_store(&slot->head, (uint64_t)c->words);
    atomic_store(&slot->end, (uint64_t)c + HL_CHUNK_BYTES);
    return c->words;
}

static inline void ring_publish(ring_writer *w, uint64_t *end)
{
    atomic_store_explicit(&w->slot->head, (uint64_t)end, memory_order_release);
}

/* How long a hook takes from its words to their publication, in turns of a loop: a wide window for what reads it meanwhile. */
static unsigned ring_dawdle;

/* One event with all that belongs in front. `has_stack`: with the writer's present stack. */
static inline void ring_put(ring_writer *w, uint64_t word, bool has_stack, uint64_t size, const uint64_t *more,
                            unsigned n)
{
    atomic_store(&w->slot->open, 0x7000); /* a hook is at work */
    uint64_t *at = ring_reserve(w, 4 + n);
    uint64_t seen = atomic_load(&w->process->slot->order);
    if (seen != w->slot->order_seen) {
        while ((seen & 0xffff) != w->slot->id) {
            uint64_t mine = ((seen >> 16) + 1) << 16 | w->slot->id;
            if (atomic_compare_exchange_weak(&w->process->slot->order, &seen, mine))
                seen = mine;
        }
        *at++ = HL_WORD(HL_WORD_EPOCH, seen >> 16);
    }
    uint64_t *slot = &w->slot->stacks[w->stack % HL_STACK_SLOTS];
    if (has_stack && *slot != w->stack)
        *at++ = HL_WORD(HL_WORD_STACK, w->stack);
    if (size >= HL_SIZE_MAX)
        *at++ = HL_WORD(HL_WORD_SIZE, size);
    *at++ = word | (has_stack ? HL_IN_SLOT(w->stack) : 0);
    for (unsigned i = 0; i < n; i++)
        *at++ = more[i];
    for (volatile unsigned turns = ring_dawdle; turns; turns--)
        ;
    ring_publish(w, at);
    w->slot->order_seen = seen;
    if (has_stack)
        *slot = w->stack;
    atomic_store(&w->slot->open, 0);
}

static inline void ring_alloc(ring_writer *w, unsigned kind, uint64_t address, uint64_t size)
{
    ring_put(w, HL_BLOCK(kind, address, size < HL_SIZE_MAX ? size : HL_SIZE_MAX), true, size, NULL, 0);
}
static inline void ring_malloc(ring_writer *w, uint64_t address, uint64_t size)
{
    ring_alloc(w, HL_WORD_ALLOC + HL_MALLOC, address, size);
}
static inline void ring_free(ring_writer *w, uint64_t address)
{
    ring_put(w, HL_BLOCK(HL_WORD_FREE, address, 0), false, 0, NULL, 0);
}
static inline void ring_move(ring_writer *w, uint64_t old)
{
    ring_put(w, HL_BLOCK(HL_WORD_MOVE, old, 0), false, 0, NULL, 0);
}
static inline void ring_map_word(ring_writer *w, unsigned kind, uint64_t address, unsigned map_class, uint64_t bytes)
{
    ring_put(w, HL_MAPPING(kind, address, map_class), kind == HL_WORD_MAP || kind == HL_WORD_COMMIT, 0, &bytes, 1);
}

/* Words with no place in the order. */
static inline void ring_words(ring_writer *w, const uint64_t *words, size_t n)
{
    uint64_t *at = ring_reserve(w, n);
    memcpy(at, words, n * 8);
    ring_publish(w, at + n);
}

static inline void ring_text(ring_writer *w, hl_text_kind kind, const char *text)
{
    uint64_t words[64] = {0};
    size_t bytes = strlen(text);
    words[0] = HL_WORD(HL_WORD_TEXT, (uint64_t)kind << 32 | bytes);
    memcpy(words + 1, text, bytes);
    ring_words(w, words, 1 + (bytes + 7) / 8);
}

/* A code object without a line table, at `address`, version 1. */
static inline void ring_code(ring_writer *w, uint64_t address, const char *file, const char *name)
{
    uint64_t words[64] = {0};
    hl_wire_code head = {.python_version = 0x30d,
                         .first_line = 1,
                         .file_bytes = (uint32_t)strlen(file),
                         .name_bytes = (uint32_t)strlen(name)};
    uint64_t bytes = sizeof head + head.file_bytes + head.name_bytes;
    words[0] = HL_WORD(HL_WORD_CODE, address);
    words[1] = UINT64_C(1) << 32 | bytes;
    words[2] = bytes;
    char *to = (char *)(words + 3);
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, file, head.file_bytes);
    memcpy(to + sizeof head + head.file_bytes, name, head.name_bytes);
    ring_words(w, words, 3 + (bytes + 7) / 8);
}

static inline uint64_t ring_root(const ring_writer *w) { return HL_ROOT_NODE(w->process->slot->seed) & HL_PAYLOAD; }

/* The id of the node (parent, code at `address`, offset); announced if `announce`. */
static inline uint64_t ring_node(ring_writer *w, uint64_t parent, uint64_t address, uint32_t offset, bool announce)
{
    uint64_t id = hl_wire_mix(parent, address + offset, 1);
    uint64_t words[4] = {HL_WORD(HL_WORD_NODE, id), parent, address, UINT64_C(1) << 32 | offset};
    if (announce)
        ring_words(w, words, 4);
    return id;
}

#endif
