/*
 * part.c - which blocks are in a process's part (part.h), and what they add up to. Runs on the collector's one thread.
 *
 * Whether a block is in it is told from its birth: the number that its allocation had among those of its thread. The peak is
 * kept as that of a process is: shares of it are saved, row by row, before a row changes after the peak was left.
 */
#include "books.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------- begin and end */

static uint32_t *counts(const hl_books *books, uint32_t *into)
{
    into = hl_resized(into, books->thread_count * sizeof *into);
    for (uint32_t i = 0; i < books->thread_count; i++)
        into[i] = books->threads[i].allocations;
    return into;
}

static uint32_t base_of(const hl_books *books, uint32_t group)
{
    return books->groups[group].base ? books->groups[group].base : group;
}

static void forget_rows(hl_part *part)
{
    for (uint32_t i = 0; i < part->count; i++)
        part->of_row[part->row[i].row] = 0;
    part->count = 0;
}

void hl_part_begin(hl_books *books, hl_process *process, uint32_t only_thread)
{
    if (!process->part)
        process->part = hl_zeroed(sizeof *process->part);
    hl_part *part = process->part;
    forget_rows(part);
    part->number++;
    part->open = true;
    part->rising = false;
    part->group = only_thread ? base_of(books, hl_thread_group(books, only_thread, process)) : 0;
    part->heap = part->blocks = part->peak = part->peak_blocks = 0;
    part->allocations = part->allocated = part->temporary = part->temporary_bytes = 0;
    part->start_ns = part->peak_ns = books->now_ns;
    part->start_ms = books->now_ms;
    part->peak_number = 1;
    part->begun = counts(books, part->begun);
    part->begun_count = books->thread_count;
}

static void leave_peak(hl_part *part)
{
    part->rising = false;
    part->peak_number++;
}

void hl_part_close(hl_books *books, hl_process *process)
{
    hl_part *part = process->part;
    if (!part || !part->open)
        return;
    if (part->rising)
        leave_peak(part);
    part->open = false;
    part->closed = counts(books, part->closed);
    part->closed_count = books->thread_count;
}

void hl_part_end(hl_process *process)
{
    hl_part *part = process->part;
    if (!part)
        return;
    hl_part_finish_job(part);
    free(part->begun);
    free(part->closed);
    free(part->row);
    free(part->of_row);
    free(part);
    process->part = NULL;
}

/* ----------------------------------------------------------------------------------------------------------- events */

static uint32_t row_now(const hl_books *books, uint32_t row)
{
    while (books->rows.row[row].stamp == HL_STAMP_FORWARD)
        row = books->rows.key[row].forward;
    return row;
}

static bool is_of_thread(const hl_books *books, const hl_part *part, uint32_t row)
{
    return !part->group || base_of(books, books->rows.key[row].thread) == part->group;
}

/* Numbers of allocations wrap: what counts is how long ago they were. */
static bool is_in(const hl_books *books, const hl_part *part, const hl_block *block, uint32_t row)
{
    uint32_t thread = hl_block_thread(block), now = books->threads[thread].allocations, age = now - block->count;
    if (block->born_ms < part->start_ms || (thread < part->begun_count && age >= now - part->begun[thread]))
        return false;
    if (!part->open && (thread >= part->closed_count || age < now - part->closed[thread]))
        return false;
    return is_of_thread(books, part, row);
}

/* The part's share of a row, made if need be; its share of the peak is saved before it changes. */
static hl_part_row *touch(hl_books *books, hl_part *part, uint32_t row)
{
    if (row >= part->of_row_count) {
        uint32_t count = row + row / 2 + 1024;
        part->of_row = hl_resized(part->of_row, count * sizeof *part->of_row);
        memset(part->of_row + part->of_row_count, 0, (count - part->of_row_count) * sizeof *part->of_row);
        part->of_row_count = count;
    }
    if (!part->of_row[row]) {
        if (part->count == part->room) {
            part->room = part->room ? 2 * part->room : 64;
            part->row = hl_resized(part->row, part->room * sizeof *part->row);
        }
        memset(&part->row[part->count], 0, sizeof *part->row);
        part->row[part->count].row = row;
        part->row[part->count].peak_number = part->peak_number;
        part->of_row[row] = ++part->count;
    }
    hl_part_row *r = &part->row[part->of_row[row] - 1];
    if (r->peak_number != part->peak_number) {
        r->peak = r->live;
        r->peak_blocks = r->live_blocks;
        r->peak_number = part->peak_number;
    }
    return r;
}

static void change(const hl_books *books, hl_part *part, uint64_t less, uint64_t more)
{
    part->heap += more - less;
    if (part->open && part->heap > part->peak) {
        part->peak = part->heap;
        part->peak_blocks = part->blocks;
        part->peak_ns = books->now_ns;
        part->rising = true;
    } else if (part->rising) {
        leave_peak(part);
    }
}

static void count_in(hl_books *books, hl_part *part, uint32_t row, uint64_t size)
{
    hl_part_row *r = touch(books, part, row);
    part->allocations++;
    part->allocated += size;
    r->allocations++;
    r->allocated += size;
    r->live += size;
    r->live_blocks++;
    if (size > r->largest)
        r->largest = size;
    r->histograms.sizes[hl_power_bucket(size)]++;
}

/* `sign` -1: what was counted was not so. */
static void count_out(hl_books *books, hl_part *part, uint32_t row, const hl_block *block, uint64_t size,
                      uint32_t later, uint32_t died_ms, int sign)
{
    hl_part_row *r = touch(books, part, row);
    uint32_t one = (uint32_t)sign;
    uint64_t bytes = sign < 0 ? 0 - size : size;
    r->live -= bytes;
    r->live_blocks -= (uint64_t)(int64_t)sign;
    r->histograms.lifetimes[hl_power_bucket(died_ms - block->born_ms)] += one;
    if (later > 1024 || !hl_block_thread(block))
        return;
    unsigned bucket = hl_temporary_bucket(later);
    r->histograms.temporary[bucket].count += one;
    r->histograms.temporary[bucket].bytes += bytes;
    if (later <= 1) {
        part->temporary += (uint64_t)(int64_t)sign;
        part->temporary_bytes += bytes;
    }
}

static uint32_t later_of(const hl_books *books, const hl_block *block)
{
    return books->threads[hl_block_thread(block)].allocations - block->count;
}

void hl_part_charge(hl_books *books, hl_process *process, uint32_t row, uint64_t size)
{
    hl_part *part = process->part;
    row = row_now(books, row);
    if (!part->open || !is_of_thread(books, part, row))
        return;
    part->blocks++;
    change(books, part, 0, size);
    count_in(books, part, row, size);
}

void hl_part_release(hl_books *books, hl_process *process, const hl_block *block, uint64_t size)
{
    hl_part *part = process->part;
    uint32_t row = row_now(books, hl_block_row(block));
    if (!is_in(books, part, block, row))
        return;
    part->blocks--;
    change(books, part, size, 0);
    count_out(books, part, row, block, size, later_of(books, block), books->now_ms, 1);
}

void hl_part_move(hl_books *books, hl_process *process, const hl_block *old, uint64_t old_size, uint32_t row,
                  uint64_t size)
{
    hl_part *part = process->part;
    uint32_t old_row = row_now(books, hl_block_row(old));
    row = row_now(books, row);
    bool was = is_in(books, part, old, old_row), is = part->open && is_of_thread(books, part, row);
    if (!was && !is)
        return;
    part->blocks += (uint64_t)is - (uint64_t)was;
    change(books, part, was ? old_size : 0, is ? size : 0);
    if (was)
        count_out(books, part, old_row, old, old_size, later_of(books, old), books->now_ms, 1);
    if (is)
        count_in(books, part, row, size);
}

void hl_part_shrink(hl_books *books, hl_process *process, const hl_block *block, uint64_t bytes)
{
    hl_part *part = process->part;
    uint32_t row = row_now(books, hl_block_row(block));
    if (!is_in(books, part, block, row))
        return;
    change(books, part, bytes, 0);
    touch(books, part, row)->live -= bytes;
}

void hl_part_take_back(hl_books *books, hl_process *process, const hl_block *block, uint64_t bytes, bool whole,
                       uint32_t later, uint32_t died_ms)
{
    hl_part *part = process->part;
    uint32_t row = row_now(books, hl_block_row(block));
    if (!is_in(books, part, block, row))
        return;
    part->blocks += whole;
    change(books, part, 0, bytes);
    if (whole)
        count_out(books, part, row, block, bytes, later, died_ms, -1);
    else
        touch(books, part, row)->live += bytes;
}

/* ---------------------------------------------------------------------------------------------------- forwarded rows */

static void add_up(hl_part_row *to, const hl_part_row *from)
{
    to->allocations += from->allocations;
    to->allocated += from->allocated;
    to->live += from->live;
    to->live_blocks += from->live_blocks;
    to->peak += from->peak;
    to->peak_blocks += from->peak_blocks;
    if (from->largest > to->largest)
        to->largest = from->largest;
    for (int i = 0; i < HL_TEMPORARY_BUCKETS; i++) {
        to->histograms.temporary[i].count += from->histograms.temporary[i].count;
        to->histograms.temporary[i].bytes += from->histograms.temporary[i].bytes;
    }
    for (int i = 0; i < HL_POWER_BUCKETS; i++) {
        to->histograms.sizes[i] += from->histograms.sizes[i];
        to->histograms.lifetimes[i] += from->histograms.lifetimes[i];
    }
}

void hl_parts_settle(hl_books *books)
{
    for (uint32_t p = books->first_running; p < books->process_count; p++) {
        hl_part *part = books->processes[p]->part;
        for (uint32_t i = 0; part && i < part->count; i++) {
            uint32_t row = part->row[i].row, now = row ? row_now(books, row) : 0;
            if (now == row)
                continue;
            part->of_row[row] = 0;
            if (now < part->of_row_count && part->of_row[now]) {
                hl_part_row *to = touch(books, part, now), *from = &part->row[i];
                if (from->peak_number != part->peak_number) {
                    from->peak = from->live;
                    from->peak_blocks = from->live_blocks;
                }
                add_up(to, from);
            } else {
                hl_part_row *to = touch(books, part, now); /* it may move them all */
                *to = part->row[i];
                to->row = now;
            }
            part->row[i].row = 0;
        }
    }
}
