/* rows.c - makes, finds and frees rows, and counts what does not fit into a row's own bucket. */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_of(const hl_key *key)
{
    uint64_t h = ((uint64_t)key->node << 32 | key->thread) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= (uint64_t)key->allocator * UINT64_C(0xc2b2ae3d27d4eb4f);
    return (uint32_t)((h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 32);
}

void hl_rows_init(hl_rows *rows)
{
    *rows = (hl_rows){.count = 1, .histograms = 1, .index_mask = 1023};
    rows->index = hl_zeroed((rows->index_mask + 1) * sizeof *rows->index);
}

void hl_rows_release(hl_rows *rows)
{
    hl_area_release(&rows->row_area);
    hl_area_release(&rows->key_area);
    hl_area_release(&rows->histogram_area);
    free(rows->index);
    free(rows->free);
    free(rows->free_histogram);
    free(rows->forwarded);
    free(rows->dirty);
    *rows = (hl_rows){0};
}

static void push(uint32_t **list, uint32_t *count, uint32_t *room, uint32_t value)
{
    if (*count == *room) {
        *room = *room ? 2 * *room : 256;
        *list = hl_resized(*list, *room * sizeof **list);
    }
    (*list)[(*count)++] = value;
}

/* Where the key stands in the index, or the empty place where it would. */
static uint32_t place_of(const hl_rows *rows, const hl_key *key)
{
    uint32_t at = hash_of(key) & rows->index_mask;
    for (uint32_t row; (row = rows->index[at]); at = (at + 1) & rows->index_mask) {
        const hl_key *k = &rows->key[row];
        if (k->node == key->node && k->thread == key->thread && k->allocator == key->allocator)
            break;
    }
    return at;
}

static void grow_index(hl_rows *rows)
{
    uint32_t *old = rows->index, old_mask = rows->index_mask;
    rows->index_mask = old_mask * 2 + 1;
    rows->index = hl_zeroed(((size_t)rows->index_mask + 1) * sizeof *rows->index);
    for (uint32_t i = 0; i <= old_mask; i++) {
        if (old[i])
            rows->index[place_of(rows, &rows->key[old[i]])] = old[i];
    }
    free(old);
}

static void add_to_index(hl_rows *rows, uint32_t row)
{
    rows->index[place_of(rows, &rows->key[row])] = row;
    if (++rows->indexed > rows->index_mask / 2)
        grow_index(rows);
}

static void remove_from_index(hl_rows *rows, uint32_t row)
{
    uint32_t i = place_of(rows, &rows->key[row]);
    for (uint32_t j = (i + 1) & rows->index_mask; rows->index[j]; j = (j + 1) & rows->index_mask) {
        uint32_t home = hash_of(&rows->key[rows->index[j]]) & rows->index_mask;
        if (((j - home) & rows->index_mask) >= ((j - i) & rows->index_mask)) {
            rows->index[i] = rows->index[j];
            i = j;
        }
    }
    rows->index[i] = 0;
    rows->indexed--;
}

/* The row of the list that has this key; 0: there is none. */
static uint32_t search(hl_rows *rows, uint32_t *first, const hl_key *key)
{
    enum { LONG_LIST = 8 };
    if (*first & HL_ROWS_INDEXED)
        return rows->index[place_of(rows, key)];
    uint32_t length = 0;
    for (uint32_t row = *first; row; row = rows->key[row].next, length++) {
        if (rows->key[row].thread == key->thread && rows->key[row].allocator == key->allocator)
            return row;
    }
    if (length < LONG_LIST)
        return 0;
    for (uint32_t row = *first; row; row = rows->key[row].next)
        add_to_index(rows, row);
    *first |= HL_ROWS_INDEXED;
    return 0;
}

static void put_in_front(hl_rows *rows, uint32_t *first, uint32_t row)
{
    uint32_t flag = *first & HL_ROWS_INDEXED;
    rows->key[row].next = *first & ~HL_ROWS_INDEXED;
    *first = row | flag;
    rows->kept++;
    if (flag)
        add_to_index(rows, row);
}

uint32_t hl_rows_find(hl_rows *rows, uint32_t *first, uint32_t node, uint32_t process, uint32_t thread,
                      unsigned allocator, bool *made)
{
    hl_key key = {.node = node, .process = process, .thread = thread, .allocator = (uint8_t)allocator};
    uint32_t row = search(rows, first, &key);
    *made = !row;
    if (row)
        return row;

    row = rows->free_count ? rows->free[--rows->free_count] : rows->count++;
    hl_area_grow(&rows->row_area, ((size_t)row + 1) * sizeof(hl_row));
    hl_area_grow(&rows->key_area, ((size_t)row + 1) * sizeof(hl_key));
    rows->row = (hl_row *)(void *)rows->row_area.at;
    rows->key = (hl_key *)(void *)rows->key_area.at;
    rows->row[row] =
        (hl_row){.size_bucket = HL_NO_BUCKET, .life_bucket = HL_NO_BUCKET, .temporary_bucket = HL_NO_BUCKET};
    rows->key[row] = key;
    put_in_front(rows, first, row);
    return row;
}

uint32_t hl_rows_take(hl_rows *rows, uint32_t *first)
{
    uint32_t all = *first & ~HL_ROWS_INDEXED;
    bool indexed = *first & HL_ROWS_INDEXED;
    for (uint32_t row = all; row; row = rows->key[row].next) {
        rows->kept--;
        if (indexed)
            remove_from_index(rows, row);
    }
    *first = 0;
    return all;
}

uint32_t hl_rows_put(hl_rows *rows, uint32_t *first, uint32_t row)
{
    uint32_t other = search(rows, first, &rows->key[row]);
    if (other)
        return other;
    put_in_front(rows, first, row);
    return row;
}

void hl_rows_take_all(hl_rows *rows)
{
    if (rows->indexed)
        memset(rows->index, 0, ((size_t)rows->index_mask + 1) * sizeof *rows->index);
    rows->indexed = rows->kept = 0;
}

void hl_rows_free(hl_rows *rows, uint32_t row)
{
    rows->key[row] = (hl_key){0}; /* process 0: not in use */
    push(&rows->free, &rows->free_count, &rows->free_room, row);
}

void hl_rows_mark_dirty(hl_rows *rows, uint32_t row)
{
    if (rows->row[row].dirty)
        return;
    rows->row[row].dirty = 1;
    push(&rows->dirty, &rows->dirty_count, &rows->dirty_room, row);
}

static hl_histograms *block_of(hl_rows *rows, hl_row *row)
{
    if (!row->histograms) {
        if (rows->free_histogram_count) {
            row->histograms = rows->free_histogram[--rows->free_histogram_count];
        } else {
            row->histograms = rows->histograms++;
            hl_area_grow(&rows->histogram_area, (size_t)rows->histograms * sizeof(hl_histograms));
            rows->histogram = (hl_histograms *)(void *)rows->histogram_area.at;
        }
        rows->histogram[row->histograms] = (hl_histograms){0};
    }
    return &rows->histogram[row->histograms];
}

void hl_row_size_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket)
{
    if (row->size_bucket == HL_NO_BUCKET) {
        row->size_bucket = (uint8_t)bucket;
        row->size_count = 1;
    } else {
        block_of(rows, row)->sizes[bucket]++;
    }
}

void hl_row_life_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket)
{
    if (row->life_bucket == HL_NO_BUCKET) {
        row->life_bucket = (uint8_t)bucket;
        row->life_count = 1;
    } else {
        block_of(rows, row)->lives[bucket]++;
    }
}

void hl_row_temporary_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket, uint64_t size)
{
    if (row->temporary_bucket == HL_NO_BUCKET) {
        row->temporary_bucket = (uint8_t)bucket;
        row->temporary_count = 1;
        row->temporary_bytes = size;
    } else {
        hl_histograms *block = block_of(rows, row);
        block->temporary_count[bucket]++;
        block->temporary_bytes[bucket] += size;
    }
}

void hl_row_uncount_free(hl_rows *rows, hl_row *row, uint64_t ms, uint32_t later, uint64_t size)
{
    unsigned life = hl_power_bucket(ms);
    if (row->life_bucket == life)
        row->life_count--;
    else
        block_of(rows, row)->lives[life]--;
    if (later > 1024)
        return;
    unsigned bucket = hl_temporary_bucket(later);
    if (row->temporary_bucket == bucket) {
        row->temporary_count--;
        row->temporary_bytes -= size;
    } else {
        hl_histograms *block = block_of(rows, row);
        block->temporary_count[bucket]--;
        block->temporary_bytes[bucket] -= size;
    }
}

static void add_up(hl_rows *rows, uint32_t to, uint32_t from)
{
    hl_row *t = &rows->row[to], *f = &rows->row[from];
    t->allocated += f->allocated;
    t->freed += f->freed;
    t->allocations += f->allocations;
    t->frees += f->frees;
    t->peak += f->peak;
    t->peak_blocks += f->peak_blocks;
    t->tree_peak += f->tree_peak;
    t->tree_blocks += f->tree_blocks;
    t->old_live += f->old_live;
    t->old_blocks += f->old_blocks;
    if (f->largest > t->largest)
        t->largest = f->largest;

    if (f->size_bucket != HL_NO_BUCKET || f->life_bucket != HL_NO_BUCKET || f->temporary_bucket != HL_NO_BUCKET) {
        bool block_needed = f->histograms || (f->size_bucket != HL_NO_BUCKET && f->size_bucket != t->size_bucket) ||
                            (f->life_bucket != HL_NO_BUCKET && f->life_bucket != t->life_bucket) ||
                            (f->temporary_bucket != HL_NO_BUCKET && f->temporary_bucket != t->temporary_bucket);
        if (block_needed)
            block_of(rows, t);
        hl_histograms *block = &rows->histogram[t->histograms]; /* not used when there is none */
        if (f->size_bucket == t->size_bucket)
            t->size_count += f->size_count;
        else if (f->size_bucket != HL_NO_BUCKET)
            block->sizes[f->size_bucket] += f->size_count;
        if (f->life_bucket == t->life_bucket)
            t->life_count += f->life_count;
        else if (f->life_bucket != HL_NO_BUCKET)
            block->lives[f->life_bucket] += f->life_count;
        if (f->temporary_bucket == t->temporary_bucket) {
            t->temporary_count += f->temporary_count;
            t->temporary_bytes += f->temporary_bytes;
        } else if (f->temporary_bucket != HL_NO_BUCKET) {
            block->temporary_count[f->temporary_bucket] += f->temporary_count;
            block->temporary_bytes[f->temporary_bucket] += f->temporary_bytes;
        }
    }
    if (f->histograms) {
        hl_histograms *a = block_of(rows, t), *b = &rows->histogram[f->histograms];
        for (int i = 0; i < HL_POWER_BUCKETS; i++) {
            a->sizes[i] += b->sizes[i];
            a->lives[i] += b->lives[i];
        }
        for (int i = 0; i < HL_TEMPORARY_BUCKETS; i++) {
            a->temporary_count[i] += b->temporary_count[i];
            a->temporary_bytes[i] += b->temporary_bytes[i];
        }
        push(&rows->free_histogram, &rows->free_histogram_count, &rows->free_histogram_room, f->histograms);
        f->histograms = 0;
    }
}

void hl_rows_forward(hl_rows *rows, uint32_t from, uint32_t to)
{
    hl_row *f = &rows->row[from];
    add_up(rows, to, from);
    rows->key[from].waiting = (uint32_t)(f->allocations - f->frees);
    rows->key[from].forward = to;
    f->stamp = HL_STAMP_FORWARD;
    push(&rows->forwarded, &rows->forwarded_count, &rows->forwarded_room, from);
    hl_rows_mark_dirty(rows, to);
}
