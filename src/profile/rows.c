/*
 * rows.c - the growable arrays of a batch. Used by the collector's thread that fills it and by the writer's that reads
 * it, never by both at once.
 */
#include "batch.h"

#include <errno.h>
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

enum { TEMPORARY, SIZES, LIFETIMES };

static bool add_bucket(hl_batch *b, hl_batch_stat *stat, unsigned histogram, unsigned bucket, uint32_t count,
                       uint64_t bytes)
{
    if (!count && !bytes)
        return true;
    hl_batch_bucket *to = HL_ROWS_ADD(b->buckets);
    if (!to)
        return false;
    *to = (hl_batch_bucket){(uint8_t)histogram, (uint8_t)bucket, count, bytes};
    stat->buckets++;
    return true;
}

int hl_batch_pack(hl_batch *b, hl_batch_stat *stat, const hl_batch_histograms *from)
{
    bool fits = true;
    stat->buckets_at = (uint32_t)b->buckets.n;
    stat->buckets = 0;
    for (unsigned i = 0; i < HL_TEMPORARY_BUCKETS && fits; i++)
        fits = add_bucket(b, stat, TEMPORARY, i, from->temporary[i].count, from->temporary[i].bytes);
    for (unsigned i = 0; i < HL_POWER_BUCKETS && fits; i++)
        fits = add_bucket(b, stat, SIZES, i, from->sizes[i], 0);
    for (unsigned i = 0; i < HL_POWER_BUCKETS && fits; i++)
        fits = add_bucket(b, stat, LIFETIMES, i, from->lifetimes[i], 0);
    return fits ? 0 : -ENOMEM;
}

void hl_batch_unpack(const hl_batch *b, const hl_batch_stat *stat, hl_batch_histograms *to)
{
    memset(to, 0, sizeof *to);
    if ((uint64_t)stat->buckets_at + stat->buckets > b->buckets.n)
        return;
    for (uint32_t i = 0; i < stat->buckets; i++) {
        const hl_batch_bucket *from = &b->buckets.row[stat->buckets_at + i];
        if (from->histogram == TEMPORARY && from->bucket < HL_TEMPORARY_BUCKETS) {
            to->temporary[from->bucket].count = from->count;
            to->temporary[from->bucket].bytes = from->bytes;
        } else if (from->histogram != TEMPORARY && from->bucket < HL_POWER_BUCKETS) {
            (from->histogram == SIZES ? to->sizes : to->lifetimes)[from->bucket] = from->count;
        }
    }
}

void hl_batch_clear(hl_batch *b)
{
    memset(&b->meta, 0, sizeof b->meta);
    b->complete = false;
    b->processes.n = b->threads.n = b->codes.n = b->nodes.n = b->stats.n = 0;
    b->buckets.n = b->ticks.n = b->cells.n = b->marks.n = b->notes.n = b->line_functions.n = b->lines.n = 0;
}

void hl_batch_release(hl_batch *b)
{
    free(b->processes.row);
    free(b->threads.row);
    free(b->codes.row);
    free(b->nodes.row);
    free(b->stats.row);
    free(b->buckets.row);
    free(b->ticks.row);
    free(b->cells.row);
    free(b->marks.row);
    free(b->notes.row);
    free(b->line_functions.row);
    free(b->lines.row);
    memset(b, 0, sizeof *b);
}
