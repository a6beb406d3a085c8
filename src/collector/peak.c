/*
 * peak.c - the heap of the whole tree, and its peak. Runs on the collector's one thread.
 *
 * Events are applied for one process at a time ("at work"), and meanwhile the others stand still. So when a process is put
 * to work it is told the heap of its own above which the tree's peak is passed (`tree_line`), and an event compares with
 * one number (`line`), whatever the number of processes. The tree's peaks have numbers as a process's have; the stamp of the
 * process at work changes with each, those of the others when they are next put to work: before that their rows cannot
 * change.
 *
 * With one process the tree's peak is its own, and nothing of this is in use.
 */
#include "books.h"

static uint64_t blocks_of(const hl_process *process) { return process->allocations - process->frees; }

static void close_peaks(hl_books *books, hl_process *process, unsigned which)
{
    process->rising &= (uint8_t)~which;
    process->peak_number += which & HL_RISING;
    if (which & HL_TREE_RISING)
        process->tree_seen = ++books->tree_number;
    hl_process_stamp(process);
}

void hl_process_close_peaks(hl_books *books, hl_process *process) { close_peaks(books, process, process->rising); }

void hl_process_rise(hl_books *books, hl_process *process)
{
    uint64_t blocks = process->allocations - process->frees; /* callers have counted this one already */
    unsigned risen = 0;
    if (process->heap > process->high) {
        process->high = process->heap;
        if (process->heap > process->peak) {
            process->peak = process->heap;
            process->peak_blocks = blocks;
            process->peak_ns = books->now_ns;
            risen = HL_RISING;
        }
    }
    if (process->heap > process->tree_line) {
        process->tree_line = process->heap;
        process->tree_line_blocks = blocks;
        risen |= HL_TREE_RISING;
    }
    process->line = process->high < process->tree_line ? process->high : process->tree_line;
    unsigned over = process->rising & ~risen;
    process->rising |= (uint8_t)risen;
    if (over)
        close_peaks(books, process, over);
}

static void rest(hl_books *books)
{
    hl_process *process = books->at_work;
    books->at_work = NULL;
    if (!process || !books->tree_on || process->left)
        return;
    if (books->tree_heap + process->tree_line > books->tree_peak) {
        books->tree_peak = books->tree_heap + process->tree_line;
        books->tree_peak_blocks = books->tree_blocks + process->tree_line_blocks;
        books->tree_peak_ns = books->now_ns;
    }
    books->tree_heap += process->heap;
    books->tree_blocks += blocks_of(process);
    books->tree_rising = (process->rising & HL_TREE_RISING) != 0;
    process->rising &= (uint8_t)~HL_TREE_RISING;
}

hl_process *hl_books_put_to_work(hl_books *books, hl_process *process)
{
    hl_process *before = books->at_work;
    if (before == process)
        return before;
    rest(books);
    books->at_work = process;
    if (!process)
        return before;
    process->tree_line = UINT64_MAX;
    if (books->tree_on && !process->left) {
        books->tree_heap -= process->heap;
        books->tree_blocks -= blocks_of(process);
        process->tree_line = books->tree_peak - books->tree_heap; /* at least its heap: no sum is above the peak */
        if (books->tree_rising)
            process->rising |= HL_TREE_RISING;
        if (process->tree_seen != books->tree_number) {
            process->tree_seen = books->tree_number;
            hl_process_stamp(process);
        }
    }
    process->line = process->high < process->tree_line ? process->high : process->tree_line;
    return before;
}

void hl_tree_peak_begin(hl_books *books)
{
    hl_process *first = books->processes[0], *working = hl_books_put_to_work(books, NULL);
    if (first->left && first->rising)
        close_peaks(books, first, HL_RISING);
    books->tree_on = true;
    books->tree_heap = first->left ? 0 : first->heap;
    books->tree_blocks = first->left ? 0 : blocks_of(first);
    books->tree_peak = first->peak;
    books->tree_peak_ns = first->peak_ns;
    books->tree_peak_blocks = first->peak_blocks;
    books->tree_rising = first->rising != 0;
    books->tree_number++;
    first->end_tree_number = books->tree_number; /* in case it has left */
    for (uint32_t row = 1; row < books->rows.count; row++) {
        hl_row *r = &books->rows.row[row];
        if (!books->rows.key[row].process || r->stamp == HL_STAMP_FORWARD || first->rising ||
            r->peak_number != first->peak_number)
            continue; /* its share is what it has alive */
        r->tree_peak = r->peak;
        r->tree_blocks = r->peak_blocks;
        r->tree_number = books->tree_number;
    }
    hl_books_put_to_work(books, working);
}

void hl_process_leave_tree(hl_books *books, hl_process *process)
{
    if (process->left)
        return;
    hl_process *working = hl_books_put_to_work(books, NULL);
    if (books->tree_rising) { /* it has its share of this one */
        books->tree_rising = false;
        books->tree_number++;
    }
    if (books->tree_on) {
        books->tree_heap -= process->heap;
        books->tree_blocks -= blocks_of(process);
    }
    process->left = true;
    process->end_tree_number = books->tree_number;
    books->tick_left_high += hl_process_high(process);
    hl_books_put_to_work(books, working);
}
