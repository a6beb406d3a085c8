/* cells.c - a hash of cells that is rebuilt, smaller, whenever its ticks double or its rows fold. */
#include "cells.h"

#include <stdlib.h>

static uint64_t key_of(uint32_t row, uint32_t born, uint32_t died) { return (uint64_t)row << 32 | born << 16 | died; }

static uint32_t home(uint64_t key, uint32_t mask)
{
    uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)((h ^ h >> 31) >> 16) & mask;
}

void hl_cells_init(hl_cells *cells, uint32_t tick_ms)
{
    *cells = (hl_cells){.count = 1, .index_mask = 1023, .tick_ms = tick_ms, .budget = HL_CELLS_KEPT};
    cells->index = hl_zeroed((cells->index_mask + 1) * sizeof *cells->index);
}

void hl_cells_release(hl_cells *cells)
{
    free(cells->cell);
    free(cells->index);
    free(cells->dirty);
    *cells = (hl_cells){0};
}

static void put(hl_cells *cells, uint32_t cell)
{
    uint32_t at = home(cells->cell[cell].key, cells->index_mask);
    while (cells->index[at])
        at = (at + 1) & cells->index_mask;
    cells->index[at] = cell;
}

static uint32_t find(hl_cells *cells, uint64_t key)
{
    uint32_t at = home(key, cells->index_mask);
    for (uint32_t i; (i = cells->index[at]); at = (at + 1) & cells->index_mask) {
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): an index is of a cell that there is
        if (cells->cell[i].key == key)
            return i;
    }
    if (cells->count >= cells->room) {
        cells->room = cells->room ? cells->room + cells->room / 2 : 512;
        cells->cell = hl_resized(cells->cell, cells->room * sizeof *cells->cell);
    }
    uint32_t made = cells->count++;
    cells->cell[made] = (hl_cell){.key = key};
    cells->index[at] = made;
    if (cells->count > cells->index_mask / 2) {
        free(cells->index);
        cells->index_mask = cells->index_mask * 2 + 1;
        cells->index = hl_zeroed(((size_t)cells->index_mask + 1) * sizeof *cells->index);
        for (uint32_t i = 1; i < cells->count; i++)
            put(cells, i);
    }
    return made;
}

void hl_cells_add(hl_cells *cells, uint32_t row, uint32_t born, uint32_t died, int64_t blocks, int64_t bytes)
{
    uint64_t key = key_of(row, born, died);
    unsigned way = died != HL_CELL_ALIVE; /* deaths come in pairs of cells: each has its own memory */
    if (cells->recent_key[way] != key) {
        cells->recent[way] = find(cells, key);
        cells->recent_key[way] = key;
    }
    hl_cell *cell = &cells->cell[cells->recent[way]];
    cell->blocks += (uint32_t)blocks; // NOLINT(clang-analyzer-core.NullDereference): the same
    cell->bytes += (uint64_t)bytes;
    if (!cell->dirty) {
        cell->dirty = 1;
        if (cells->dirty_count == cells->dirty_room) {
            cells->dirty_room = cells->dirty_room ? 2 * cells->dirty_room : 256;
            cells->dirty = hl_resized(cells->dirty, cells->dirty_room * sizeof *cells->dirty);
        }
        cells->dirty[cells->dirty_count++] = cells->recent[way];
    }
}

/* Takes all cells out and adds them again under the key that `change` gives; 0 drops the cell. */
static void rebuild(hl_cells *cells, uint64_t (*change)(void *argument, uint64_t key), void *argument)
{
    hl_cells old = *cells;
    cells->cell = NULL;
    cells->count = 1;
    cells->room = 0;
    cells->index_mask = 1023;
    cells->index = hl_zeroed((cells->index_mask + 1) * sizeof *cells->index);
    cells->recent_key[0] = cells->recent_key[1] = 0;
    cells->dirty_count = 0;
    for (uint32_t i = 1; i < old.count; i++) {
        const hl_cell *c = &old.cell[i];
        uint64_t key = c->blocks || c->bytes ? change(argument, c->key) : 0;
        if (key)
            hl_cells_add(cells, (uint32_t)(key >> 32), (uint32_t)(key >> 16) & 0xffff, (uint32_t)key & 0xffff,
                         c->blocks, (int64_t)c->bytes);
    }
    free(old.cell);
    free(old.index);
}

static uint64_t half(void *argument, uint64_t key)
{
    uint32_t born = ((uint32_t)(key >> 16) & 0xffff) / 2, died = (uint32_t)key & 0xffff;
    if (died != HL_CELL_ALIVE)
        died /= 2;
    return born == died ? 0 : key_of((uint32_t)(key >> 32), born, died);
}

void hl_cells_double(hl_cells *cells)
{
    rebuild(cells, half, NULL);
    if (cells->tick % 2)
        cells->start_ms -= cells->tick_ms;
    cells->tick_ms *= 2;
    cells->tick /= 2;
}

void hl_cells_advance(hl_cells *cells, uint32_t now_ms)
{
    uint32_t ticks = (now_ms - cells->start_ms) / cells->tick_ms;
    cells->tick += ticks;
    cells->start_ms += ticks * cells->tick_ms;
}

struct renumbering {
    uint32_t (*row_of)(void *argument, uint32_t row);
    void *argument;
};

static uint64_t renumber(void *argument, uint64_t key)
{
    struct renumbering *r = argument;
    return (uint64_t)r->row_of(r->argument, (uint32_t)(key >> 32)) << 32 | (uint32_t)key;
}

void hl_cells_renumber(hl_cells *cells, uint32_t (*row_of)(void *argument, uint32_t row), void *argument)
{
    rebuild(cells, renumber, &(struct renumbering){row_of, argument});
}
