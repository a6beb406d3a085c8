/*
 * rows.c - the growable arrays of a batch. Used by the collector's thread that fills it and by the writer's that reads
 * it, never by both at once.
 */
#include "batch.h"

#include <stdlib.h>
#include <string.h>

typedef HL_ROWS(void) any_rows;

void *hl_rows_add(void *rows, size_t row_bytes)
{
    any_rows *r = rows;
    if (r->n == r->room) {
        size_t room = r->room ? r->room * 2 : 64;
        if (room > SIZE_MAX / 2 / row_bytes)
            return NULL;
        void *grown = realloc(r->row, room * row_bytes);
        if (!grown)
            return NULL;
        r->row = grown;
        r->room = room;
    }
    return memset((char *)r->row + r->n++ * row_bytes, 0, row_bytes);
}

void hl_batch_clear(hl_batch *b)
{
    memset(&b->meta, 0, sizeof b->meta);
    b->complete = false;
    b->processes.n = b->threads.n = b->codes.n = b->nodes.n = b->stats.n = 0;
    b->ticks.n = b->cells.n = b->marks.n = b->notes.n = 0;
}

void hl_batch_release(hl_batch *b)
{
    free(b->processes.row);
    free(b->threads.row);
    free(b->codes.row);
    free(b->nodes.row);
    free(b->stats.row);
    free(b->ticks.row);
    free(b->cells.row);
    free(b->marks.row);
    free(b->notes.row);
    memset(b, 0, sizeof *b);
}
