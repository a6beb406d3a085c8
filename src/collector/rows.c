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
    *rows = (hl_rows){.count = 1, .bucket_units = 1, .tables = 1, .index_mask = 1023};
    rows->index = hl_zeroed((rows->index_mask + 1) * sizeof *rows->index);
}

void hl_rows_release(hl_rows *rows)
{
    hl_area_release(&rows->row_area);
    hl_area_release(&rows->key_area);
    hl_area_release(&rows->bucket_area);
    hl_area_release(&rows->table_area);
    free(rows->index);
    free(rows->free);
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

/* ------------------------------------------------------------------------------------------------------ histograms */

/* NULL before the first list of any row. */
static hl_bucket *list_of(const hl_rows *rows, const hl_row *row)
{
    return rows->bucket ? &rows->bucket[(size_t)row->more * HL_BUCKET_UNIT] : NULL;
}

static void give_list(hl_rows *rows, hl_row *row)
{
    list_of(rows, row)->count = rows->free_list[row->more_class];
    rows->free_list[row->more_class] = row->more;
    row->more = 0;
    row->more_class = row->more_count = 0;
}

static void take_list(hl_rows *rows, hl_row *row, unsigned class)
{
    row->more_class = (uint8_t) class;
    if ((row->more = rows->free_list[class])) {
        rows->free_list[class] = list_of(rows, row)->count;
        return;
    }
    row->more = rows->bucket_units;
    rows->bucket_units += 1u << class;
    hl_area_grow(&rows->bucket_area, (size_t)rows->bucket_units * HL_BUCKET_UNIT * sizeof(hl_bucket));
    rows->bucket = (hl_bucket *)(void *)rows->bucket_area.at;
}

static __attribute__((noinline)) void lengthen(hl_rows *rows, hl_row *row)
{
    if (!row->more) {
        take_list(rows, row, 0);
        return;
    }
    hl_row old = *row;
    take_list(rows, row, old.more_class + 1u);
    memcpy(list_of(rows, row), list_of(rows, &old), old.more_count * sizeof(hl_bucket));
    give_list(rows, &old);
}

static void give_table(hl_rows *rows, hl_row *row)
{
    rows->table[row->more].sizes[0] = rows->free_table;
    rows->free_table = row->more;
    row->more = 0;
    row->more_class = row->more_count = 0;
}

/* The row gets a table for its list. */
static __attribute__((noinline)) void make_table(hl_rows *rows, hl_row *row)
{
    uint32_t at = rows->free_table;
    if (at) {
        rows->free_table = rows->table[at].sizes[0];
    } else {
        at = rows->tables++;
        hl_area_grow(&rows->table_area, (size_t)rows->tables * sizeof(hl_histograms));
        rows->table = (hl_histograms *)(void *)rows->table_area.at;
    }
    hl_histograms *table = &rows->table[at];
    *table = (hl_histograms){0};
    const hl_bucket *list = list_of(rows, row);
    for (unsigned i = 0; i < row->more_count; i++) {
        switch ((hl_histogram)list[i].histogram) {
        case HL_SIZES:
            table->sizes[list[i].bucket] = list[i].count;
            break;
        case HL_LIVES:
            table->lives[list[i].bucket] = list[i].count;
            break;
        case HL_TEMPORARY:
            table->temporary_count[list[i].bucket] = list[i].count;
            table->temporary_bytes[list[i].bucket] = list[i].bytes;
            break;
        }
    }
    give_list(rows, row);
    row->more = at;
    row->more_class = HL_IN_TABLE;
}

/* Adds to a bucket in the row's list. */
static __attribute__((noinline)) void count_in_list(hl_rows *rows, hl_row *row, hl_histogram histogram, unsigned bucket,
                                                    uint32_t blocks, uint64_t bytes)
{
    enum { BUSY = 2048 }; /* allocations */
    hl_bucket *list = list_of(rows, row);
    unsigned at = 0;
    while (at < row->more_count && !(list[at].bucket == bucket && list[at].histogram == histogram))
        at++;
    if (at == row->more_count) {
        if (!row->more || row->more_count == HL_BUCKET_UNIT << row->more_class)
            lengthen(rows, row);
        list = list_of(rows, row);
        list[row->more_count++] = (hl_bucket){.histogram = (uint8_t)histogram, .bucket = (uint8_t)bucket};
    }
    list[at].count += blocks;
    list[at].bytes += bytes;
    if (row->allocations >= BUSY)
        make_table(rows, row);
}

static inline void count_size(hl_rows *rows, hl_row *row, unsigned bucket, uint32_t blocks)
{
    if (row->size_bucket == HL_NO_BUCKET)
        row->size_bucket = (uint8_t)bucket;
    if (row->size_bucket == bucket)
        row->size_count += blocks;
    else if (__builtin_expect(row->more_class == HL_IN_TABLE, 1))
        rows->table[row->more].sizes[bucket] += blocks;
    else
        count_in_list(rows, row, HL_SIZES, bucket, blocks, 0);
}

static inline void count_life(hl_rows *rows, hl_row *row, unsigned bucket, uint32_t blocks)
{
    if (row->life_bucket == HL_NO_BUCKET)
        row->life_bucket = (uint8_t)bucket;
    if (row->life_bucket == bucket)
        row->life_count += blocks;
    else if (__builtin_expect(row->more_class == HL_IN_TABLE, 1))
        rows->table[row->more].lives[bucket] += blocks;
    else
        count_in_list(rows, row, HL_LIVES, bucket, blocks, 0);
}

static inline void count_temporary(hl_rows *rows, hl_row *row, unsigned bucket, uint32_t blocks, uint64_t bytes)
{
    if (row->temporary_bucket == HL_NO_BUCKET)
        row->temporary_bucket = (uint8_t)bucket;
    if (row->temporary_bucket == bucket) {
        row->temporary_count += blocks;
        row->temporary_bytes += bytes;
    } else if (__builtin_expect(row->more_class == HL_IN_TABLE, 1)) {
        rows->table[row->more].temporary_count[bucket] += blocks;
        rows->table[row->more].temporary_bytes[bucket] += bytes;
    } else {
        count_in_list(rows, row, HL_TEMPORARY, bucket, blocks, bytes);
    }
}

void hl_row_size_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket) { count_size(rows, row, bucket, 1); }
void hl_row_life_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket) { count_life(rows, row, bucket, 1); }
void hl_row_temporary_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket, uint64_t size)
{
    count_temporary(rows, row, bucket, 1, size);
}

void hl_row_uncount_free(hl_rows *rows, hl_row *row, uint64_t ms, uint32_t later, uint64_t size)
{
    count_life(rows, row, hl_power_bucket(ms), UINT32_MAX); /* minus one */
    if (later <= 1024)
        count_temporary(rows, row, hl_temporary_bucket(later), UINT32_MAX, 0 - size);
}

unsigned hl_row_further(const hl_rows *rows, const hl_row *row, hl_bucket to[HL_BUCKETS])
{
    if (!row->more)
        return 0;
    if (row->more_class != HL_IN_TABLE) {
        memcpy(to, list_of(rows, row), row->more_count * sizeof *to);
        return row->more_count;
    }
    const hl_histograms *table = &rows->table[row->more];
    unsigned n = 0;
    for (unsigned i = 0; i < HL_TEMPORARY_BUCKETS; i++) {
        if (table->temporary_count[i] || table->temporary_bytes[i])
            to[n++] = (hl_bucket){HL_TEMPORARY, (uint8_t)i, 0, table->temporary_count[i], table->temporary_bytes[i]};
    }
    for (unsigned i = 0; i < HL_POWER_BUCKETS; i++) {
        if (table->sizes[i])
            to[n++] = (hl_bucket){HL_SIZES, (uint8_t)i, 0, table->sizes[i], 0};
        if (table->lives[i])
            to[n++] = (hl_bucket){HL_LIVES, (uint8_t)i, 0, table->lives[i], 0};
    }
    return n;
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

    if (f->size_bucket != HL_NO_BUCKET)
        count_size(rows, t, f->size_bucket, f->size_count);
    if (f->life_bucket != HL_NO_BUCKET)
        count_life(rows, t, f->life_bucket, f->life_count);
    if (f->temporary_bucket != HL_NO_BUCKET)
        count_temporary(rows, t, f->temporary_bucket, f->temporary_count, f->temporary_bytes);
    if (!f->more)
        return;
    hl_bucket further[HL_BUCKETS];
    unsigned n = hl_row_further(rows, f, further);
    if (f->more_class == HL_IN_TABLE)
        give_table(rows, f);
    else
        give_list(rows, f);
    for (unsigned i = 0; i < n; i++) {
        switch ((hl_histogram)further[i].histogram) {
        case HL_SIZES:
            count_size(rows, t, further[i].bucket, further[i].count);
            break;
        case HL_LIVES:
            count_life(rows, t, further[i].bucket, further[i].count);
            break;
        case HL_TEMPORARY:
            count_temporary(rows, t, further[i].bucket, further[i].count, further[i].bytes);
            break;
        }
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
