/* books_fixture.h - a session, its books, and the sums that must always hold between them. */
#ifndef HL_TESTS_BOOKS_FIXTURE_H
#define HL_TESTS_BOOKS_FIXTURE_H

#include "books.h"
#include "checkpoint.h"
#include "ring_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

typedef struct fixture {
    hl_session *session, *mapped;
    int fd;
    hl_books *books;
    uint64_t now_ns; /* test time: goes on only when the test says so */
    hl_batch batch;
} fixture;

static fixture *the_fixture;

static inline void pass(fixture *f)
{
    hl_ticks_advance(f->books, f->now_ns);
    hl_books_pass(f->books, f->now_ns);
}
static inline void pass_the_fixture(void)
{
    pass(the_fixture);
    hl_books_reclaim(the_fixture->books);
}
/* Until nothing is left: a pass that only finds a new image applies nothing of it. */
static inline void read_all(fixture *f)
{
    for (int idle = 0; idle < 2;) {
        hl_ticks_advance(f->books, f->now_ns);
        idle = hl_books_pass(f->books, f->now_ns) ? 0 : idle + 1;
    }
}

static inline void open_fixture(fixture *f, uint32_t pool_bytes)
{
    memset(f, 0, sizeof *f);
    hl_session_options options = {.python_objects = true, .children = HL_CHILDREN_PYTHON, .pool_bytes = pool_bytes};
    assert_int_equal(hl_session_create(&f->session, &f->fd, &options), 0);
#if defined(__SANITIZE_THREAD__)
    f->mapped = f->session; /* ThreadSanitizer knows memory by its address: through two it sees no synchronization */
#else
    f->mapped = ring_map(f->fd, f->session);
#endif
    f->books = calloc(1, sizeof *f->books);
    hl_books_init(f->books, f->session, 10);
    f->books->start_ns = ring_now_ns();
    the_fixture = f;
    ring_when_full = pass_the_fixture;
}

static inline void close_fixture(fixture *f)
{
    if (f->mapped != f->session)
        munmap(f->mapped, f->session->bytes);
    munmap(f->session, f->session->bytes);
    close(f->fd);
    hl_books_release(f->books);
    free(f->books);
    hl_batch_release(&f->batch);
    ring_when_full = NULL;
}

/* Everything that the books hold, as the profile would get it. */
static inline hl_batch *all_rows(fixture *f)
{
    f->books->coarsened = true;
    hl_batch_clear(&f->batch);
    hl_books_fill(f->books, &f->batch, false, false);
    return &f->batch;
}

static inline hl_batch_histograms histograms_of(const hl_batch *b, size_t stat)
{
    hl_batch_histograms h;
    hl_batch_unpack(b, &b->stats.row[stat], &h);
    return h;
}

/* What docs/semantics.md promises of any profile: rows add up to their process, to the byte; cells to what is alive. */
static inline void assert_adds_up(fixture *f)
{
    hl_batch *b = all_rows(f);
    for (size_t i = 0; i < b->processes.n; i++) {
        const hl_batch_process *p = &b->processes.row[i];
        hl_batch_stat sum = {0};
        uint64_t sizes = 0, lives = 0, temporaries = 0;
        for (size_t k = 0; k < b->stats.n; k++) {
            const hl_batch_stat *s = &b->stats.row[k];
            if (s->process != p->id)
                continue;
            const hl_batch_histograms histograms = histograms_of(b, k);
            sum.allocations += s->allocations;
            sum.allocated += s->allocated;
            sum.frees += s->frees;
            sum.freed += s->freed;
            sum.live += s->live;
            sum.live_blocks += s->live_blocks;
            sum.peak += s->peak;
            sum.peak_blocks += s->peak_blocks;
            for (int h = 0; h < HL_POWER_BUCKETS; h++) {
                sizes += histograms.sizes[h];
                lives += histograms.lifetimes[h];
            }
            for (int h = 0; h < HL_TEMPORARY_BUCKETS; h++)
                temporaries += histograms.temporary[h].count;
        }
        assert_int_equal(sum.allocations, p->allocations);
        assert_int_equal(sum.allocated, p->allocated);
        assert_int_equal(sum.frees, p->frees);
        assert_int_equal(sum.freed, p->freed);
        assert_int_equal(sum.live, p->live);
        assert_int_equal(sum.live_blocks, p->live_blocks);
        assert_int_equal(sum.peak, p->peak);
        assert_int_equal(sum.peak_blocks, p->peak_blocks);
        assert_int_equal(sizes, p->allocations);
        assert_int_equal(lives, p->frees);
        assert_true(temporaries <= p->frees);
    }
    /* Of each row: what is alive was born before the tick at hand, and has a cell, or in it. */
    uint32_t tick = f->books->cells.tick;
    struct {
        uint64_t alive, blocks;
    } *of_row = calloc(f->books->rows.count + 1, sizeof *of_row);
    for (size_t i = 0; i < b->cells.n; i++) {
        const hl_batch_cell *c = &b->cells.row[i];
        if (c->died != -1)
            continue;
        assert_true(c->born <= tick && c->stat <= f->books->rows.count);
        of_row[c->stat].alive += c->bytes;
        of_row[c->stat].blocks += c->blocks;
    }
    for (size_t k = 0; k < b->stats.n; k++) {
        const hl_batch_stat *s = &b->stats.row[k];
        const hl_row *r = &f->books->rows.row[s->id];
        assert_int_equal(of_row[s->id].alive, r->old_live);
        assert_int_equal(of_row[s->id].blocks, r->old_blocks);
        assert_true(of_row[s->id].alive <= (uint64_t)s->live);
    }
    free(of_row);
    /* A parent's number is below its children's. */
    for (size_t i = 0; i < b->nodes.n; i++)
        assert_true(b->nodes.row[i].id == 0 || b->nodes.row[i].parent < b->nodes.row[i].id);
}

static inline const hl_process *first_process(fixture *f) { return f->books->processes[0]; }

#endif
