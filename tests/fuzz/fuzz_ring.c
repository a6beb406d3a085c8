/*
 * fuzz_ring.c - rings, slots and headers with anything in them, read by the collector's books.
 *
 * The input's first byte chooses. Even: its bytes are the words of two threads' rings, published as a tracker would, in
 * pieces. Odd: it pokes values into process slots, writer slots, chunks and the pool between passes, as a program would
 * that has damaged the session's memory. Whatever comes, the books must add up and the collector must go on.
 */
#include "../unit/ring_writer.h"
#include "books.h"
#include "checkpoint.h"

#include <stdio.h>

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static uint64_t take(input *in, size_t bytes)
{
    uint64_t value = 0;
    if (bytes > in->left)
        bytes = in->left;
    memcpy(&value, in->at, bytes);
    in->at += bytes;
    in->left -= bytes;
    return value;
}

static void check(hl_books *books, hl_batch *batch)
{
    books->coarsened = true;
    hl_batch_clear(batch);
    hl_books_fill(books, batch, false, false);
    for (size_t i = 0; i < batch->processes.n; i++) {
        const hl_batch_process *p = &batch->processes.row[i];
        uint64_t allocated = 0, freed = 0, allocations = 0, frees = 0, peak = 0;
        for (size_t k = 0; k < batch->stats.n; k++) {
            const hl_batch_stat *s = &batch->stats.row[k];
            if (s->process != p->id)
                continue;
            allocated += s->allocated;
            freed += s->freed;
            allocations += s->allocations;
            frees += s->frees;
            peak += (uint64_t)s->peak;
        }
        if (allocated != p->allocated || freed != p->freed || allocations != p->allocations || frees != p->frees ||
            peak != p->peak) {
            fprintf(stderr, "process %u does not add up\n", p->id);
            abort();
        }
    }
    for (size_t i = 0; i < batch->lines.n; i++) {
        const hl_batch_line *l = &batch->lines.row[i];
        bool of = false;
        for (size_t k = 0; k < batch->line_functions.n; k++)
            of |= batch->line_functions.row[k].id == l->function &&
                  l->line >= batch->line_functions.row[k].first_line &&
                  l->line <= batch->line_functions.row[k].last_line;
        if (!of || l->highest > l->allocated || l->largest > l->allocated || l->temporary > l->freed) {
            fprintf(stderr, "line %d is wrong\n", l->line);
            abort();
        }
    }
}

/* A chunk of counters, and a function with 100 lines in it. */
static uint32_t counters(ring_process *p, ring_writer *w)
{
    hl_wire_chunk *c = ring_pop(p->session);
    atomic_fetch_add(&p->session->out, 1);
    memset(c->words, 0, HL_CHUNK_WORDS * 8);
    atomic_store(&c->owner, HL_OWNER_LINES | p->index);
    uint32_t id = c->index * HL_LINES_A_CHUNK;
    const uint64_t words[] = {HL_WORD(HL_WORD_LINES, 0x1000), UINT64_C(1) << 32 | id, UINT64_C(100) << 32 | 10, 1, 'f'};
    ring_words(w, words, sizeof words / sizeof *words);
    return id;
}

static void words(hl_books *books, ring_process *p, input *in, uint64_t *now_ns)
{
    ring_writer w[2] = {ring_begin(p, 1), ring_begin(p, 2)};
    ring_code(&w[0], 0x1000, "a.py", "f");
    ring_node(&w[0], ring_root(&w[0]), 0x1000, 2, true);
    uint32_t lines = counters(p, &w[0]);
    while (in->left) {
        uint64_t piece[128];
        size_t n = 1 + take(in, 1) % 64;
        ring_writer *writer = &w[n % 2];
        for (size_t i = 0; i < n; i++) {
            piece[i] = take(in, 8);
            /* Kinds as they come are nearly all invalid; most are made one of those that exist. */
            if (piece[i] % 8)
                piece[i] = (piece[i] & HL_PAYLOAD) | (piece[i] >> HL_KIND_SHIFT) % HL_WORD_KINDS << HL_KIND_SHIFT;
            if (piece[i] % 5 == 0) /* few addresses, so that frees meet their blocks */
                piece[i] = (piece[i] & ~(HL_ADDRESS_MASK << HL_SIZE_BITS)) | (1 + piece[i] / 5 % 50) << HL_SIZE_BITS;
            if (piece[i] % 7 == 0) /* lines: most of a function that is known, at small depths */
                piece[i] = HL_WORD(HL_WORD_LINE,
                                   (piece[i] >> 8) % 20 << 32 | (piece[i] % 3 ? lines + (piece[i] >> 16) % 110 : 0));
            if (piece[i] % 11 == 0 && i + 4 < n) { /* an announcement that is nearly right */
                piece[i++] = HL_WORD(HL_WORD_LINES, 0x1000);
                piece[i++] = lines + take(in, 2) % 3000;
                piece[i++] = take(in, 2) % 1100 << 32 | take(in, 1);
                piece[i] = take(in, 1) % 16;
            }
        }
        ring_words(writer, piece, n);
        *now_ns += 3000000;
        hl_ticks_advance(books, *now_ns);
        hl_books_pass(books, *now_ns);
    }
}

static void pokes(hl_books *books, hl_session *s, ring_process *p, input *in, uint64_t *now_ns)
{
    ring_writer w[2] = {ring_begin(p, 1), ring_begin(p, 2)};
    uint64_t in_line = HL_WORD(HL_WORD_LINE, counters(p, &w[0]) + 1);
    ring_words(&w[0], &in_line, 1);
    for (int i = 0; i < 20; i++)
        ring_malloc(&w[i % 2], 0x10000 + (uint64_t)i * 16, 10);
    while (in->left) {
        uint64_t op = take(in, 1), where = take(in, 2), value = take(in, 8);
        if (op & 64) /* an address in the session, perhaps a chunk's */
            value = p->slot->base + HL_CHUNKS_AT + value % ((uint64_t)s->chunks * HL_CHUNK_BYTES + 64) / 8 * 8;
        uint64_t *slot = NULL;
        switch (op % 8) {
        case 0:
            slot = (uint64_t *)hl_session_process(s, (uint32_t)(where >> 8) % 4) + where % 24;
            break;
        case 1:
        case 2:
            slot = (uint64_t *)hl_session_writer(s, (uint32_t)(where >> 8) % 4) + where % 32;
            break;
        case 3:
            slot = (uint64_t *)hl_session_chunk(s, (uint32_t)(where >> 8) % s->chunks) + where % 8;
            break;
        case 4:
            atomic_store(&s->processes_used, (uint32_t)value % 6);
            atomic_store(&s->writers_used, (uint32_t)where % 6);
            break;
        case 5:
            *now_ns += value % 50000000;
            hl_ticks_advance(books, *now_ns);
            hl_books_pass(books, *now_ns);
            break;
        case 6:
            hl_books_reclaim(books);
            break;
        case 7:
            hl_processes_check(books);
            if (value % 16 == 0)
                hl_fold(books);
            break;
        }
        if (slot)
            __atomic_store_n(slot, value, __ATOMIC_RELAXED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    hl_session *s;
    int fd;
    hl_session_options options = {.pool_bytes = 16 * HL_CHUNK_BYTES};
    if (hl_session_create(&s, &fd, &options))
        abort();
    hl_books *books = calloc(1, sizeof *books);
    hl_books_init(books, s, 10);
    hl_session *mapped = ring_map(fd, s);
    uint64_t now_ns = 0;
    ring_process p = ring_join(mapped, getpid(), getppid(), 0);
    input in = {data + 1, size - 1};
    hl_batch batch = {0};
    if (data[0] % 2 == 0) {
        if (in.left > 200000) /* the pool holds it without waiting */
            in.left = 200000;
        words(books, &p, &in, &now_ns);
    } else {
        pokes(books, s, &p, &in, &now_ns);
    }
    for (int i = 0; i < 3; i++)
        hl_books_pass(books, now_ns += 20000000);
    hl_processes_check(books);
    check(books, &batch);
    hl_fold(books);
    check(books, &batch);
    hl_batch_release(&batch);
    hl_books_release(books);
    free(books);
    munmap(mapped, s->bytes);
    munmap(s, s->bytes);
    close(fd);
    return 0;
}
