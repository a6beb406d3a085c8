/*
 * ticks.c - time: the curve of each process, and what is known of the tree only by ticks.
 *
 * A tick's row holds the heap at its end and its extremes within. Ticks in which nothing happened have no row. There are
 * never more than TICKS of them: then pairs are merged and a tick is twice as long.
 */
#include "books.h"

#include <string.h>

enum { TICKS = 2000, MOST_ROWS = 200000 };

static void new_tick(hl_process *process)
{
    uint64_t high = process->high; /* without what came before a reset */
    if (high > process->asked_peak)
        process->asked_peak = high;
    process->high_before = 0;
    process->high = process->low = process->heap;
    process->events_seen = process->allocations + process->frees;
    process->arena_seen = process->maps[HL_MAP_ARENA].live;
    process->sample = (hl_tick){0, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0, 0, 0};
}

void hl_tick_close(hl_books *books, hl_process *process)
{
    bool events = process->allocations + process->frees != process->events_seen ||
                  process->heap != hl_process_high(process) || process->maps[HL_MAP_ARENA].live != process->arena_seen;
    hl_tick row = process->sample;
    bool sampled = process->sampled;
    process->sampled = false;
    if (!events && !sampled)
        return;
    row.tick = books->tick;
    row.heap = process->heap;
    row.low = process->low;
    row.high = hl_process_high(process);
    row.arena = process->maps[HL_MAP_ARENA].live;
    if (!sampled)
        row.rss_kib = row.anon_kib = row.file_kib = row.shmem_kib = row.pss_kib = row.pool_kib = UINT32_MAX;
    if (process->tick_count && process->ticks[process->tick_count - 1].tick == books->tick)
        process->tick_count--; /* closed once more: at its end */
    if (process->tick_count == process->tick_room) {
        process->tick_room = process->tick_room ? 2 * process->tick_room : 16;
        process->ticks = hl_resized(process->ticks, process->tick_room * sizeof *process->ticks);
    }
    process->ticks[process->tick_count++] = row;
    books->tick_rows++;
    if (events)
        process->changed = true;
    new_tick(process);
}

/* Twice as long: the second of a pair has the last word, extremes are of both. */
static void merge_pairs(hl_process *process)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < process->tick_count; i++) {
        hl_tick row = process->ticks[i];
        row.tick /= 2;
        if (kept && process->ticks[kept - 1].tick == row.tick) {
            hl_tick *first = &process->ticks[kept - 1];
            if (first->low < row.low)
                row.low = first->low;
            if (first->high > row.high)
                row.high = first->high;
            if (row.rss_kib == UINT32_MAX) {
                row.rss_kib = first->rss_kib;
                row.anon_kib = first->anon_kib;
                row.file_kib = first->file_kib;
                row.shmem_kib = first->shmem_kib;
                row.pss_kib = first->pss_kib; /* all of one sample, or PSS could be above RSS */
                row.pool_kib = first->pool_kib;
            }
            kept--;
        }
        process->ticks[kept++] = row;
    }
    process->tick_count = kept;
}

static void double_cells(hl_books *books)
{
    hl_cells_double(&books->cells);
    for (uint32_t i = 1; i < books->rows.count; i++)
        books->rows.row[i].old_tick /= 2;
    books->coarsened = true;
}

static void double_ticks(hl_books *books)
{
    books->tick_rows = 0;
    for (uint32_t i = 0; i < books->process_count; i++) {
        merge_pairs(books->processes[i]);
        books->tick_rows += books->processes[i]->tick_count;
    }
    books->tick_ms *= 2;
    books->tick /= 2;
    books->tick_start_ms = books->tick * books->tick_ms;
    books->coarsened = true;
}

/* What the tree holds at the end of the tick, and what it may have held within at most. */
static void look_at_tree(hl_books *books)
{
    uint64_t bound = books->tick_left_high, arena = 0, rss = 0, pool = 0;
    books->tick_left_high = 0;
    for (uint32_t i = books->first_running; i < books->process_count; i++) {
        const hl_process *p = books->processes[i];
        if (!p->left)
            bound += hl_process_high(p);
        if (p->ended)
            continue;
        arena += p->maps[HL_MAP_ARENA].live;
        if (p->last_rss_kib != UINT32_MAX)
            rss += (uint64_t)p->last_rss_kib * 1024;
        pool += (uint64_t)p->last_pool_kib * 1024;
    }
    if (bound > books->tree_bound)
        books->tree_bound = bound;
    if (arena > books->arena_peak)
        books->arena_peak = arena;
    if (rss > books->rss_peak)
        books->rss_peak = rss;
    if (pool > books->pool_peak)
        books->pool_peak = pool;
}

void hl_ticks_close(hl_books *books)
{
    look_at_tree(books);
    for (uint32_t i = books->first_running; i < books->process_count; i++) {
        if (!books->processes[i]->ended)
            hl_tick_close(books, books->processes[i]);
    }
}

void hl_ticks_advance(hl_books *books, uint64_t now_ns)
{
    uint32_t now_ms = (uint32_t)(now_ns / 1000000);
    if (now_ms - books->tick_start_ms >= books->tick_ms) {
        uint32_t over = (now_ms - books->tick_start_ms) / books->tick_ms;
        if (over > 1) { /* the sample is of now, and not of the tick that ended some time ago */
            hl_ticks_close(books);
            books->tick += over - 1;
        }
        hl_sample(books, now_ns);
        hl_ticks_close(books);
        books->tick++;
        books->tick_start_ms += over * books->tick_ms;
        while (books->tick >= TICKS || (books->tick_rows > MOST_ROWS && books->tick % 2 == 0))
            double_ticks(books);
    }
    if (hl_cells_tick_over(&books->cells, now_ms)) {
        uint32_t before = books->cells.tick; /* nothing was born or died in those after it */
        hl_cells_advance(&books->cells, now_ms);
        /* Doubling must not make the tick at hand one with the last before it: its number is even, or ticks were skipped.
         * A doubling that is overdue waits for the next tick. Numbers do not run out: before the curve's ticks have
         * doubled there are never more than some thousand of these, unless so many were skipped. */
        while (books->cells.tick && (books->cells.tick % 2 == 0 || books->cells.tick - before > 1) &&
               (books->cells.tick_ms < books->tick_ms || books->cells.count > books->cells.budget)) {
            double_cells(books);
            before /= 2;
        }
        hl_books_new_epoch(books);
    }
}
