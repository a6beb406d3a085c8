/*
 * cells.h - blocks by the ticks in which they were born and died, for each stat row.
 *
 * Only blocks that outlive the tick they were born in have a cell; so a program that churns makes none, and the sums at
 * tick boundaries are exact. Ticks here have a length of their own: it doubles when there are too many cells, and is never
 * shorter than the curve's. Doubling happens only when the number of the tick that begins is even, or nothing was born in
 * the tick before it, so that no block's birth moves into the tick at hand.
 */
#ifndef HL_COLLECTOR_CELLS_H
#define HL_COLLECTOR_CELLS_H

#include "memory.h"

#include <stdbool.h>
#include <stdint.h>

enum { HL_CELL_ALIVE = 0xffff, HL_CELLS_KEPT = 256 << 10 };

typedef struct hl_cell {
    uint64_t key; /* row << 32 | tick born << 16 | tick died or HL_CELL_ALIVE */
    uint64_t bytes;
    uint32_t blocks, dirty;
} hl_cell;

typedef struct hl_cells {
    hl_cell *cell; /* cell 0 is not used */
    uint32_t count, room;
    uint32_t *index, index_mask;
    uint32_t *dirty, dirty_count, dirty_room;
    uint64_t recent_key[2]; /* where the last two were found */
    uint32_t recent[2];
    uint32_t tick_ms;
    uint32_t tick;     /* the one at hand */
    uint32_t start_ms; /* when it began */
    uint32_t budget;
} hl_cells;

void hl_cells_init(hl_cells *cells, uint32_t tick_ms);
void hl_cells_release(hl_cells *cells);

/* Adds (or, with negative numbers, takes away) blocks of `row` born in tick `born` and dead in `died`. */
void hl_cells_add(hl_cells *cells, uint32_t row, uint32_t born, uint32_t died, int64_t blocks, int64_t bytes);

/* Time goes on: `now_ms` may lie in a later tick. */
static inline bool hl_cells_tick_over(const hl_cells *cells, uint32_t now_ms)
{
    return now_ms - cells->start_ms >= cells->tick_ms;
}
void hl_cells_advance(hl_cells *cells, uint32_t now_ms);

/* Merges pairs of ticks; allowed when the tick at hand has an even number, or the one before it no blocks. */
void hl_cells_double(hl_cells *cells);

/* Rows were folded: `row_of` says which row has taken over. */
void hl_cells_renumber(hl_cells *cells, uint32_t (*row_of)(void *argument, uint32_t row), void *argument);

#endif
