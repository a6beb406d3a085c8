/* The books against a plain model, and rule by rule of docs/semantics.md. One thread, a writer that follows the wire. */
#include "books_fixture.h"

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

#define AT(n) (UINT64_C(0x7f0000000000) + (uint64_t)(n)*16)

/* Random events with all kinds of sizes and stacks, reallocs that fail or move, time that goes on. */
static void random_events_agree_with_a_model(void **state)
{
    (void)state;
    enum { BLOCKS = 4000, EVENTS = 400000 };
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, getpid());
    ring_code(&w, 0x1000, "a.py", "f");
    uint64_t nodes[40], node = ring_root(&w);
    for (int i = 0; i < 40; i++)
        nodes[i] = node = ring_node(&w, i % 7 ? node : ring_root(&w), 0x1000, (uint32_t)i * 2, true);
    static uint64_t size[BLOCKS];
    static bool live[BLOCKS];
    memset(live, 0, sizeof live);
    uint64_t heap = 0, peak = 0, peak_blocks = 0, blocks = 0, allocations = 0, allocated = 0, frees = 0, unknown = 0;
    for (int i = 0; i < EVENTS; i++) {
        uint64_t r = next_random();
        unsigned at = (unsigned)(r >> 8) % BLOCKS;
        uint64_t bytes = (r >> 24) % 100   ? (r >> 32) % 3000
                         : (r >> 32) % 100 ? (r >> 32) % 10000000
                                           : UINT64_C(1) << 41;
        w.stack = nodes[(r >> 3) % 40];
        if (!live[at]) {
            if (r % 50 == 0) { /* made before the recording */
                ring_free(&w, AT(at));
                unknown++;
                continue;
            }
            ring_alloc(&w, HL_WORD_ALLOC + (unsigned)(r % 7), AT(at), bytes);
            live[at] = true;
            size[at] = bytes;
            heap += bytes;
            blocks++;
            allocations++;
            allocated += bytes;
        } else if (r % 10 < 7) {
            ring_free(&w, AT(at));
            live[at] = false;
            heap -= size[at];
            blocks--;
            frees++;
        } else if (r % 10 < 8) {
            ring_move(&w, AT(at));
            ring_put(&w, HL_BLOCK(HL_WORD_MOVE_FAILED, 0, 0), false, 0, NULL, 0);
        } else {
            unsigned to = (at + (r % 3)) % BLOCKS; /* the same place, or another */
            if (to != at && live[to])
                continue;
            ring_move(&w, AT(at));
            ring_alloc(&w, HL_WORD_MOVED_REALLOC, AT(to), bytes);
            live[at] = false;
            live[to] = true;
            heap += bytes - size[at];
            size[to] = bytes;
            frees++;
            allocations++;
            allocated += bytes;
        }
        if (heap > peak) {
            peak = heap;
            peak_blocks = blocks;
        }
        if (r >> 40 == 0 || i % 1000 == 0) {
            f.now_ns += (r >> 20) % 30000000;
            pass(&f);
        }
    }
    read_all(&f);
    const hl_process *process = first_process(&f);
    assert_int_equal(process->heap, heap);
    assert_int_equal(process->peak, peak);
    assert_int_equal(process->peak_blocks, peak_blocks);
    assert_int_equal(process->allocations, allocations);
    assert_int_equal(process->allocated, allocated);
    assert_int_equal(process->frees, frees);
    assert_int_equal(process->unknown_frees, unknown);
    assert_int_equal(process->lost, 0);
    assert_int_equal(f.books->images[0]->live.count, blocks);
    assert_adds_up(&f);
    close_fixture(&f);
}

static void block_freed_by_the_next_word_counts_for_the_peak(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_malloc(&w, AT(1), 100);
    ring_malloc(&w, AT(2), 1000);
    ring_free(&w, AT(2));
    ring_malloc(&w, AT(3), 500);
    read_all(&f);
    const hl_process *process = first_process(&f);
    assert_int_equal(process->peak, 1100);
    assert_int_equal(process->peak_blocks, 2);
    assert_int_equal(process->heap, 600);
    assert_int_equal(f.books->images[0]->live.count, 2);
    assert_adds_up(&f);
    hl_batch *b = all_rows(&f);
    assert_int_equal(b->stats.n, 1);
    assert_int_equal(histograms_of(b, 0).temporary[0].count, 1);
    assert_int_equal(histograms_of(b, 0).temporary[0].bytes, 1000);
    assert_int_equal(histograms_of(b, 0).sizes[10], 1); /* 512 .. 1023 */
    assert_int_equal(b->stats.row[0].largest, 1000);
    close_fixture(&f);
}

static void of_equal_peaks_the_first_counts(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, 0x1000, "a.py", "f");
    uint64_t one = ring_node(&w, ring_root(&w), 0x1000, 2, true), two = ring_node(&w, ring_root(&w), 0x1000, 4, true);
    w.stack = one;
    ring_malloc(&w, AT(1), 1000);
    w.stack = two;
    ring_malloc(&w, AT(2), 0); /* not higher: not part of the peak */
    ring_free(&w, AT(1));
    ring_malloc(&w, AT(3), 1000); /* as high again */
    read_all(&f);
    assert_int_equal(first_process(&f)->peak_blocks, 1);
    hl_batch *b = all_rows(&f);
    for (size_t i = 0; i < b->stats.n; i++)
        assert_int_equal(b->stats.row[i].peak, b->stats.row[i].allocations == 1 ? 1000 : 0);
    assert_adds_up(&f);
    close_fixture(&f);
}

/* The profile keeps what it was told of a row until it is told anew. */
static void new_peak_takes_back_shares_of_rows_that_nobody_touches(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, 0x1000, "a.py", "f");
    uint64_t one = ring_node(&w, ring_root(&w), 0x1000, 2, true), two = ring_node(&w, ring_root(&w), 0x1000, 4, true);
    int64_t told[3] = {0}; /* shares of the peak by row */
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        w.stack = checkpoint ? two : one;
        ring_malloc(&w, AT(1 + checkpoint), checkpoint ? 3000 : 1000);
        ring_free(&w, AT(1 + checkpoint));
        read_all(&f);
        hl_batch_clear(&f.batch);
        hl_books_fill(f.books, &f.batch, false, false);
        for (size_t i = 0; i < f.batch.stats.n; i++) {
            assert_in_range(f.batch.stats.row[i].id, 1, 2);
            told[f.batch.stats.row[i].id] = f.batch.stats.row[i].peak;
            assert_int_equal(f.batch.stats.row[i].tree_peak, f.batch.stats.row[i].peak);
        }
        assert_int_equal(told[1] + told[2], first_process(&f)->peak);
    }
    close_fixture(&f);
}

static void every_checkpoint_has_all_that_is_alive_in_cells(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, 0x1000, "a.py", "f");
    w.stack = ring_node(&w, ring_root(&w), 0x1000, 2, true);
    ring_malloc(&w, AT(1), 1000);
    ring_malloc(&w, AT(2), 500);
    read_all(&f);
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) { /* within the tick in which the blocks were born */
        hl_batch_clear(&f.batch);
        hl_books_fill(f.books, &f.batch, checkpoint, false);
        assert_int_equal(f.batch.cells.n, 1);
        assert_int_equal(f.batch.cells.row[0].died, -1);
        assert_int_equal(f.batch.cells.row[0].bytes, first_process(&f)->heap);
        ring_free(&w, AT(2));
        read_all(&f);
    }
    close_fixture(&f);
}

static void realloc_never_has_both_blocks_in_the_heap(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1), other = ring_begin(&p, 2);
    ring_malloc(&w, AT(1), 1000);
    ring_move(&w, AT(1));
    ring_malloc(&other, AT(1), 10); /* libc has given the old address away before realloc returned */
    ring_alloc(&w, HL_WORD_MOVED_REALLOC, AT(5), 1500);
    read_all(&f);
    const hl_process *process = first_process(&f);
    assert_int_equal(process->peak, 1510);
    assert_int_equal(process->heap, 1510);
    assert_int_equal(process->allocations, 3);
    assert_int_equal(process->frees, 1);
    assert_int_equal(process->lost, 0);
    assert_adds_up(&f);
    close_fixture(&f);
}

static void realloc_of_an_unknown_block_is_an_unknown_free(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_move(&w, AT(1));
    ring_put(&w, HL_BLOCK(HL_WORD_MOVE_FAILED, 0, 0), false, 0, NULL, 0);
    ring_move(&w, AT(1));
    ring_alloc(&w, HL_WORD_MOVED_PYMEM, AT(2), 64);
    read_all(&f);
    assert_int_equal(first_process(&f)->unknown_frees, 1);
    assert_int_equal(first_process(&f)->heap, 64);
    close_fixture(&f);
}

static void block_of_a_thread_that_ended_within_realloc_is_still_there(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1), other = ring_begin(&p, 2);
    ring_malloc(&w, AT(1), 1000);
    ring_malloc(&other, AT(2), 10);
    ring_move(&w, AT(1));
    ring_end(&w);
    read_all(&f);
    assert_int_equal(f.books->active_count, 1);
    assert_int_equal(first_process(&f)->heap, 1010);
    ring_free(&other, AT(1));
    read_all(&f);
    assert_int_equal(first_process(&f)->heap, 10);
    assert_int_equal(first_process(&f)->unknown_frees, 0);
    assert_adds_up(&f);
    close_fixture(&f);
}

/* realloc had freed the block before a jump left its hook, and another thread got its address. */
static void block_of_an_abandoned_realloc_gives_way_to_a_newer_one(void **state)
{
    (void)state;
    static const uint64_t sizes[][2] = {{1000, 70}, {UINT64_C(1) << 41, UINT64_C(1) << 42}, {1000, UINT64_C(1) << 42}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int end = 0; end < 2; end++) {
            fixture f;
            open_fixture(&f, 0);
            ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
            ring_writer w = ring_begin(&p, 1), other = ring_begin(&p, 2);
            ring_malloc(&w, AT(1), sizes[i][0]);
            ring_move(&w, AT(1));
            ring_malloc(&other, AT(1), sizes[i][1]);
            read_all(&f);
            assert_int_equal(first_process(&f)->heap, sizes[i][0] + sizes[i][1]);
            if (end)
                ring_end(&w);
            else
                ring_move(&w, AT(9));
            read_all(&f);
            assert_int_equal(first_process(&f)->heap, sizes[i][1]);
            assert_int_equal(first_process(&f)->lost, 1);
            assert_int_equal(f.books->images[0]->live.count, 1);
            assert_adds_up(&f);
            ring_free(&other, AT(1));
            read_all(&f);
            assert_int_equal(first_process(&f)->heap, 0);
            assert_int_equal(first_process(&f)->frees, 2);
            assert_int_equal(first_process(&f)->unknown_frees, 0);
            assert_int_equal(f.books->images[0]->live.huge_count, 0);
            assert_adds_up(&f);
            close_fixture(&f);
        }
    }
}

/* The ring of a thread that has ended is still being read when another thread gets its tid. */
static void a_tid_that_is_used_again_is_another_thread(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer first = ring_begin(&p, 7);
    first.slot->thread = 1;
    ring_text(&first, HL_TEXT_PYTHON_NAME, "first");
    ring_malloc(&first, AT(1), 100);
    ring_end(&first);
    ring_writer second = ring_begin(&p, 7), lane = ring_begin(&p, 7);
    second.slot->thread = lane.slot->thread = 2;
    lane.slot->lane = 1;
    ring_text(&second, HL_TEXT_PYTHON_NAME, "second");
    ring_malloc(&second, AT(2), 20);
    ring_malloc(&lane, AT(3), 3);
    read_all(&f);
    assert_int_equal(f.books->active_count, 2);
    hl_batch *b = all_rows(&f);
    assert_int_equal(b->stats.n, 2);
    for (size_t i = 0; i < b->stats.n; i++) {
        const hl_batch_stat *s = &b->stats.row[i];
        hl_text name = f.books->groups[s->thread].name;
        assert_int_equal(f.books->groups[s->thread].tid, 7);
        assert_int_equal(s->allocated, s->allocations == 1 ? 100 : 23);
        assert_memory_equal(name.at, s->allocations == 1 ? "first" : "second", name.bytes);
    }
    assert_adds_up(&f);
    close_fixture(&f);
}

static void temporaries_are_counted_by_later_allocations_of_their_thread(void **state)
{
    (void)state;
    static const struct {
        uint32_t later;
        unsigned bucket;
    } cases[] = {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 3}, {5, 4}, {8, 4}, {9, 5}, {1024, 11}, {1025, 99}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        open_fixture(&f, 0);
        ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
        ring_writer w = ring_begin(&p, 1), other = ring_begin(&p, 2);
        ring_code(&w, 0x1000, "a.py", "f");
        uint64_t node = ring_node(&w, ring_root(&w), 0x1000, 2, true);
        w.stack = node;
        ring_malloc(&w, AT(1), 77);
        w.stack = ring_root(&w);
        for (uint32_t k = 0; k < cases[i].later; k++)
            ring_malloc(&w, AT(100 + k), 1);
        for (uint32_t k = 0; k < 5; k++) /* another thread's allocations do not count */
            ring_malloc(&other, AT(5000 + k), 1);
        ring_free(i % 2 ? &other : &w, AT(1)); /* any thread may free */
        read_all(&f);
        hl_batch *b = all_rows(&f);
        uint64_t found = 0;
        for (size_t k = 0; k < b->stats.n; k++) {
            for (unsigned n = 0; n < HL_TEMPORARY_BUCKETS; n++) {
                found += histograms_of(b, k).temporary[n].count;
                if (histograms_of(b, k).temporary[n].count)
                    assert_int_equal(n, cases[i].bucket);
            }
        }
        assert_int_equal(found, cases[i].bucket < HL_TEMPORARY_BUCKETS);
        close_fixture(&f);
    }
}

static void lifetimes_and_cells_follow_time(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    f.now_ns = 5 * 1000000;
    ring_malloc(&w, AT(1), 100); /* tick 0, outlives it */
    ring_malloc(&w, AT(2), 200); /* tick 0, dies in it */
    pass(&f);
    pass(&f);
    f.now_ns = 8 * 1000000;
    ring_free(&w, AT(2));
    pass(&f);
    pass(&f);
    f.now_ns = 47 * 1000000;
    ring_malloc(&w, AT(3), 300); /* tick 4 */
    pass(&f);
    f.now_ns = 69 * 1000000;
    ring_free(&w, AT(1)); /* tick 6 */
    pass(&f);
    pass(&f);
    assert_adds_up(&f);
    hl_batch *b = all_rows(&f);
    bool died = false, alive = false;
    for (size_t i = 0; i < b->cells.n; i++) {
        const hl_batch_cell *c = &b->cells.row[i];
        if (!c->blocks)
            continue;
        if (c->died == 6) {
            assert_int_equal(c->born, 0);
            assert_int_equal(c->bytes, 100);
            died = true;
        } else {
            assert_int_equal(c->died, -1);
            assert_int_equal(c->born, 4);
            assert_int_equal(c->bytes, 300);
            alive = true;
        }
    }
    assert_true(died && alive);
    assert_int_equal(histograms_of(b, 0).lifetimes[2], 1); /* 3 ms: [2, 4) */
    assert_int_equal(histograms_of(b, 0).lifetimes[7], 1); /* 64 ms */
    assert_true(b->ticks.n >= 2);
    close_fixture(&f);
}

static void a_coarser_tick_has_no_pss_of_another_sample(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    for (int tick = 0; tick < 2100; tick++) { /* in turn 60 MB and 59 of PSS, and 16 MB without */
        ring_malloc(&w, AT(tick), 100);
        pass(&f);
        hl_process *process = f.books->process_count ? f.books->processes[0] : NULL;
        if (process) {
            process->sample_next_ns = UINT64_MAX; /* no other samples */
            process->sample.rss_kib = tick % 2 ? 16 << 10 : 60 << 10;
            process->sample.pss_kib = tick % 2 ? UINT32_MAX : 59 << 10;
            process->sampled = true;
        }
        f.now_ns += 10000000;
    }
    read_all(&f);
    hl_batch *b = all_rows(&f);
    assert_true(f.books->tick_ms > 10);
    size_t small = 0;
    for (size_t i = 0; i < b->ticks.n; i++) {
        const hl_batch_tick *t = &b->ticks.row[i];
        small += t->rss == 16 << 20;
        assert_true(t->pss <= t->rss);
    }
    assert_true(small > 900);
    close_fixture(&f);
}

static void time_coarsens_and_stays_exact(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.books->cells.budget = 300;
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, 0x1000, "a.py", "f");
    uint64_t nodes[8];
    for (int i = 0; i < 8; i++)
        nodes[i] = ring_node(&w, ring_root(&w), 0x1000, (uint32_t)i * 2, true);
    static bool live[500];
    memset(live, 0, sizeof live);
    for (int i = 0; i < 60000; i++) {
        uint64_t r = next_random();
        unsigned at = (unsigned)(r >> 8) % 500;
        w.stack = nodes[r % 8];
        if (live[at])
            ring_free(&w, AT(at));
        else
            ring_malloc(&w, AT(at), (r >> 30) % 5000);
        live[at] = !live[at];
        f.now_ns += 900000;
        pass(&f);
        if (i % 5000 == 0)
            assert_adds_up(&f);
    }
    read_all(&f);
    assert_adds_up(&f);
    hl_batch *b = all_rows(&f);
    assert_true(b->ticks.n <= 2001);
    assert_true(f.books->tick_ms > 10);
    assert_true(f.books->cells.tick_ms > f.books->tick_ms);
    assert_true(b->cells.n <= 700); /* the budget, and what came before the next even tick */
    uint64_t high = 0;
    for (size_t i = 0; i < b->ticks.n; i++) {
        assert_true(b->ticks.row[i].heap_low <= b->ticks.row[i].heap &&
                    b->ticks.row[i].heap <= b->ticks.row[i].heap_high);
        assert_true(i == 0 || b->ticks.row[i - 1].tick < b->ticks.row[i].tick);
        if (b->ticks.row[i].heap_high > high)
            high = b->ticks.row[i].heap_high;
    }
    assert_int_equal(high, first_process(&f)->peak);
    close_fixture(&f);
}

/* More ticks at once than a cell's key has numbers for, and an odd number of them: the collector was stopped. */
static void time_may_stand_still_for_hours(void **state)
{
    (void)state;
    for (uint64_t skipped = 65000; skipped < 30000000; skipped = skipped * 3 + 1) {
        fixture f;
        open_fixture(&f, 0);
        ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
        ring_writer w = ring_begin(&p, 1);
        for (uint64_t i = 0; i < 8; i++) {
            ring_malloc(&w, AT(i), 1 + i);
            f.now_ns += 25000000;
            pass(&f);
        }
        read_all(&f);
        uint64_t before_ms = f.now_ns / 1000000;
        f.now_ns += skipped * 10000000;
        read_all(&f);
        for (uint64_t i = 0; i < 8; i++) { /* of each tick one dies soon, one later, and one is born */
            ring_malloc(&w, AT(100 + i), 1000);
            if (i % 2)
                ring_free(&w, AT(i));
            ring_free(&w, AT(100 + i));
            ring_malloc(&w, AT(200 + i), 100 * (1 + i));
            f.now_ns += (uint64_t)f.books->cells.tick_ms * 1500000;
            pass(&f);
            assert_true(f.books->cells.tick < HL_CELL_ALIVE);
            assert_true(f.books->cells.tick_ms >= f.books->tick_ms);
            assert_adds_up(&f);
        }
        read_all(&f);
        hl_batch *b = all_rows(&f);
        uint64_t old = 0, dead = 0, young = 0, tick_ms = f.books->cells.tick_ms;
        assert_true(f.books->tick < 2001 && tick_ms >= 320);
        for (size_t i = 0; i < b->cells.n; i++) {
            const hl_batch_cell *c = &b->cells.row[i];
            if (c->born * tick_ms > before_ms)
                young += c->bytes;
            else if (c->died == -1)
                old += c->bytes;
            else
                dead += c->bytes;
            if (c->died != -1)
                assert_true(c->died * tick_ms > before_ms && c->died <= (int64_t)f.books->cells.tick);
        }
        assert_int_equal(old, 1 + 3 + 5 + 7);
        assert_int_equal(dead, 2 + 4 + 6 + 8);
        assert_int_equal(young, 3600);
        close_fixture(&f);
    }
}

static void invalid_words_end_their_writer_only(void **state)
{
    (void)state;
    static const uint64_t bad[] = {
        0,
        HL_WORD(31, 0),
        HL_WORD(HL_WORD_SIZE, UINT64_C(1) << 50),
        HL_WORD(HL_WORD_TEXT, UINT64_C(1) << 32 | 60000), /* longer than what is published */
        HL_WORD(HL_WORD_MAP, UINT64_C(0x7f000) << 3 | 7), /* no such class */
        HL_WORD(HL_WORD_CHILD, UINT64_C(9) << 32 | 1),
        HL_WORD(HL_WORD_EPOCH, 1 << 30), /* nobody has begun it */
        HL_WORD(HL_WORD_NODE, 5),        /* cut short */
        HL_BLOCK(HL_WORD_FREE, 0, 0),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fixture f;
        open_fixture(&f, 0);
        ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
        ring_writer w = ring_begin(&p, 1), other = ring_begin(&p, 2);
        ring_malloc(&w, AT(1), 10);
        read_all(&f);
        ring_words(&w, &bad[i], 1);
        ring_malloc(&other, AT(2), 20);
        read_all(&f);
        ring_malloc(&other, AT(3), 20);
        read_all(&f);
        assert_int_equal(f.books->broken_writers, 1);
        assert_int_equal(first_process(&f)->heap, 50);
        assert_int_equal(f.books->note_count, 1);
        close_fixture(&f);
    }
}

static void a_broken_writer_does_not_keep_the_pool(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 8 * HL_CHUNK_BYTES);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1), other = ring_begin(&p, 2);
    uint64_t bad = HL_WORD(31, 0);
    ring_words(&w, &bad, 1);
    read_all(&f);
    for (uint64_t i = 0; i < 300000; i++) { /* 2.4 MB each, through 256 KiB */
        ring_malloc(&w, AT(i), 10);
        ring_malloc(&other, AT(1000000 + i), 20);
        ring_free(&other, AT(1000000 + i));
    }
    ring_end(&w);
    ring_end(&other);
    read_all(&f);
    assert_int_equal(first_process(&f)->allocations, 300000);
    assert_int_equal(first_process(&f)->heap, 0);
    assert_int_equal(f.books->active_count, 0);
    assert_int_equal(atomic_load(&f.session->out), 0);
    close_fixture(&f);
}

static void announcements_may_come_after_their_use(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    uint64_t outer = ring_node(&w, ring_root(&w), 0x1000, 2, false), inner = ring_node(&w, outer, 0x1000, 8, false);
    w.stack = inner;
    ring_malloc(&w, AT(1), 10);
    read_all(&f);
    assert_adds_up(&f);
    ring_node(&w, outer, 0x1000, 8, true); /* the child before its parent, both before their code */
    ring_node(&w, ring_root(&w), 0x1000, 2, true);
    ring_malloc(&w, AT(2), 10);
    read_all(&f);
    ring_code(&w, 0x1000, "a.py", "f");
    ring_malloc(&w, AT(3), 10);
    read_all(&f);
    assert_adds_up(&f);
    hl_batch *b = all_rows(&f);
    assert_int_equal(b->stats.n, 1);
    assert_int_equal(b->stats.row[0].allocations, 3);
    const hl_node *n = &f.books->tree.node[b->stats.row[0].node];
    assert_int_equal(n->kind, HL_NODE_PYTHON);
    assert_int_equal(n->instruction, 8);
    assert_int_equal(f.books->tree.node[n->parent].instruction, 2);
    close_fixture(&f);
}

static void a_node_may_have_many_rows(void **state)
{
    (void)state;
    enum { WRITERS = 40 };
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        w[i] = ring_begin(&p, 1 + i);
    ring_code(&w[0], 0x1000, "a.py", "f");
    uint64_t known = ring_node(&w[0], ring_root(&w[0]), 0x1000, 2, true),
             late = ring_node(&w[0], ring_root(&w[0]), 0x2000, 4, false);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < WRITERS; i++) {
            w[i].stack = known;
            ring_malloc(&w[i], AT(1000 * round + 10 * i), 8);
            ring_alloc(&w[i], HL_WORD_ALLOC + HL_PYOBJ, AT(1000 * round + 10 * i + 1), 16);
            w[i].stack = late;
            ring_malloc(&w[i], AT(1000 * round + 10 * i + 2), 24);
        }
        f.now_ns += 20000000; /* another tick: each row is looked up again */
        read_all(&f);
        assert_adds_up(&f);
    }
    assert_int_equal(all_rows(&f)->stats.n, 3 * WRITERS);
    /* Now both names mean the same instruction, and one node. */
    uint64_t words[4] = {HL_WORD(HL_WORD_NODE, late), ring_root(&w[0]), 0x1000, UINT64_C(1) << 32 | 2};
    ring_words(&w[0], words, 4);
    for (int i = 0; i < WRITERS; i++)
        ring_malloc(&w[i], AT(10 * i + 3), 24);
    f.now_ns += 20000000;
    read_all(&f);
    assert_adds_up(&f);
    hl_batch *b = all_rows(&f);
    assert_int_equal(b->stats.n, 2 * WRITERS);
    for (size_t i = 0; i < b->stats.n; i++) {
        assert_int_equal(b->stats.row[i].node, b->stats.row[0].node);
        assert_int_equal(b->stats.row[i].allocations, b->stats.row[i].allocator == HL_PYOBJ ? 3 : 7);
    }
    close_fixture(&f);
}

static void equal_code_in_two_processes_is_one_node(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0), q = ring_join(f.mapped, getppid(), 1, 0);
    ring_writer v = ring_begin(&p, 1), w = ring_begin(&q, 2);
    ring_code(&v, 0x1000, "a.py", "f");
    ring_code(&w, 0x777000, "a.py", "f");
    v.stack = ring_node(&v, ring_root(&v), 0x1000, 6, true);
    w.stack = ring_node(&w, ring_root(&w), 0x777000, 6, true);
    assert_true(v.stack != w.stack);
    ring_malloc(&v, AT(1), 10);
    ring_malloc(&w, AT(1), 20); /* the same address, in another process */
    read_all(&f);
    assert_adds_up(&f);
    hl_batch *b = all_rows(&f);
    assert_int_equal(b->processes.n, 2);
    assert_int_equal(b->stats.n, 2);
    assert_int_equal(b->stats.row[0].node, b->stats.row[1].node);
    assert_int_equal(f.books->tree.codes, 2);
    close_fixture(&f);
}

static void forked_childs_frees_of_inherited_blocks_are_apart(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getppid(), 1, 0),
                 child = ring_join(f.mapped, getpid(), getppid(), HL_CHILD_FORK);
    ring_writer v = ring_begin(&p, 1), w = ring_begin(&child, 2);
    ring_malloc(&v, AT(1), 10);
    ring_free(&w, AT(1));
    ring_malloc(&w, AT(1), 5);
    read_all(&f);
    assert_int_equal(f.books->processes[0]->heap, 10);
    assert_int_equal(f.books->processes[1]->heap, 5);
    assert_int_equal(f.books->processes[1]->inherited_frees, 1);
    assert_int_equal(f.books->processes[1]->unknown_frees, 0);
    assert_int_equal(f.books->processes[1]->parent, 1);
    close_fixture(&f);
}

static void exec_releases_what_the_image_had(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer v = ring_begin(&p, 1);
    ring_malloc(&v, AT(1), 1000);
    ring_map_word(&v, HL_WORD_MAP, 0x10000, HL_MAP_HEAP, 8192);
    ring_move(&v, AT(1));
    read_all(&f);
    ring_process q = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&q, 1);
    ring_malloc(&w, AT(1), 30);
    pass(&f);
    hl_processes_check(f.books);
    read_all(&f);
    hl_processes_check(f.books);
    assert_int_equal(f.books->process_count, 1);
    const hl_process *process = first_process(&f);
    assert_int_equal(process->heap, 30);
    assert_int_equal(process->peak, 9192);
    assert_int_equal(process->frees, 2);
    assert_int_equal(f.books->image_count, 1);
    assert_int_equal(atomic_load(&f.session->out), 1); /* the first image's chunk is back */
    assert_adds_up(&f);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_events_agree_with_a_model),
        cmocka_unit_test(block_freed_by_the_next_word_counts_for_the_peak),
        cmocka_unit_test(of_equal_peaks_the_first_counts),
        cmocka_unit_test(new_peak_takes_back_shares_of_rows_that_nobody_touches),
        cmocka_unit_test(every_checkpoint_has_all_that_is_alive_in_cells),
        cmocka_unit_test(realloc_never_has_both_blocks_in_the_heap),
        cmocka_unit_test(realloc_of_an_unknown_block_is_an_unknown_free),
        cmocka_unit_test(block_of_a_thread_that_ended_within_realloc_is_still_there),
        cmocka_unit_test(block_of_an_abandoned_realloc_gives_way_to_a_newer_one),
        cmocka_unit_test(a_tid_that_is_used_again_is_another_thread),
        cmocka_unit_test(temporaries_are_counted_by_later_allocations_of_their_thread),
        cmocka_unit_test(lifetimes_and_cells_follow_time),
        cmocka_unit_test(a_coarser_tick_has_no_pss_of_another_sample),
        cmocka_unit_test(time_coarsens_and_stays_exact),
        cmocka_unit_test(time_may_stand_still_for_hours),
        cmocka_unit_test(invalid_words_end_their_writer_only),
        cmocka_unit_test(a_broken_writer_does_not_keep_the_pool),
        cmocka_unit_test(announcements_may_come_after_their_use),
        cmocka_unit_test(a_node_may_have_many_rows),
        cmocka_unit_test(equal_code_in_two_processes_is_one_node),
        cmocka_unit_test(forked_childs_frees_of_inherited_blocks_are_apart),
        cmocka_unit_test(exec_releases_what_the_image_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
