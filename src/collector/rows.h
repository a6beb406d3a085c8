/*
 * rows.h - the totals: one row for each (call tree node, thread row, allocator) of a process.
 *
 * Hot data is 128 bytes a row, of which an event touches the first line and sometimes the second. Everything that is
 * needed only now and then hangs on one comparison: a row carries the `stamp` of its process as of its last refresh, and
 * the stamp changes when the process has left a peak, a tick has ended, the tree had a new peak, or a checkpoint was
 * taken. hl_row_refresh then saves, before the row changes, what the row held at that moment. So a peak costs O(1) an
 * event, and a row that nobody touches costs nothing.
 *
 * Histograms: the first bucket that a row sees is counted in the row itself (most rows never see another), the others in
 * a list as long as need be; in a table of all once the row is busy.
 */
#ifndef HL_COLLECTOR_ROWS_H
#define HL_COLLECTOR_ROWS_H

#include "batch.h"
#include "memory.h"

#include <stdbool.h>
#include <stdint.h>

#define HL_STAMP_FORWARD UINT64_MAX /* the row was folded: hl_key.forward is the row that took over */
enum { HL_NO_BUCKET = 255 };

typedef struct hl_row {
    uint64_t allocated, freed, allocations, frees; /* bytes, bytes, blocks, blocks */
    uint64_t stamp;
    uint64_t peak; /* live bytes at peak number `peak_number` of the process */
    uint64_t largest;
    uint32_t size_count;
    uint8_t size_bucket, life_bucket, temporary_bucket, dirty;
    /* second line */
    uint32_t life_count, temporary_count;
    uint64_t temporary_bytes;
    uint64_t old_live; /* of what is live: born before tick `old_tick` of the cells */
    uint32_t old_blocks, old_tick;
    uint64_t tree_peak; /* live bytes at peak number `tree_number` of the tree */
    uint32_t tree_blocks, tree_number;
    uint32_t peak_blocks, peak_number;
    uint32_t more; /* which list of further buckets, in units of HL_BUCKET_UNIT, or which table; 0: none */
    uint8_t more_count, more_class; /* buckets in the list; it has room for HL_BUCKET_UNIT << more_class. HL_IN_TABLE */
    uint16_t spare;
} hl_row;
_Static_assert(sizeof(hl_row) == 128, "two lines a row");

typedef struct hl_key {                   /* colder: what the row is for */
    uint32_t node, process, thread, next; /* next: the node's next row */
    uint32_t forward;                     /* row that took over, when folded; else 0 */
    uint32_t waiting;                     /* folded: live blocks that still name this row */
    uint8_t allocator, kept;
    uint16_t told; /* where the shares of the peaks came from when the profile was told last: hl_books_fill */
} hl_key;

/* A further bucket of a row: each is either in the row itself or in its list. */
typedef enum hl_histogram { HL_TEMPORARY, HL_SIZES, HL_LIVES } hl_histogram; /* as hl_batch_bucket.histogram */
typedef struct hl_bucket {
    uint8_t histogram, bucket;
    uint16_t spare;
    uint32_t count;
    uint64_t bytes; /* of temporary ones */
} hl_bucket;
enum { HL_BUCKET_UNIT = 4, HL_BUCKET_CLASSES = 6, HL_IN_TABLE = 255 };
enum { HL_BUCKETS = 2 * HL_POWER_BUCKETS + HL_TEMPORARY_BUCKETS };
_Static_assert(HL_BUCKET_UNIT << (HL_BUCKET_CLASSES - 1) >= HL_BUCKETS, "room for all");

/* All further buckets of a busy row. */
typedef struct hl_histograms {
    uint32_t sizes[HL_POWER_BUCKETS], lives[HL_POWER_BUCKETS];
    uint32_t temporary_count[HL_TEMPORARY_BUCKETS];
    uint64_t temporary_bytes[HL_TEMPORARY_BUCKETS];
} hl_histograms;

typedef struct hl_rows {
    hl_row *row; /* row 0 is not used */
    hl_key *key;
    hl_bucket *bucket;                                   /* lists of them; unit 0 is not used */
    uint32_t count;                                      /* rows made, including folded and free ones */
    uint32_t kept;                                       /* rows in use */
    uint32_t bucket_units, free_list[HL_BUCKET_CLASSES]; /* free lists of buckets: chained by their first `count` */
    hl_histograms *table;                                /* table 0 is not used */
    uint32_t tables, free_table;                         /* free ones: chained by their first number */
    hl_area row_area, key_area, bucket_area, table_area;
    uint32_t *index; /* hash of (node, thread, allocator) -> row, of the nodes that have many rows */
    uint32_t index_mask, indexed;
    uint32_t *free; /* numbers to use again */
    uint32_t free_count, free_room;
    uint32_t *forwarded; /* rows that others have taken over and that are not free yet */
    uint32_t forwarded_count, forwarded_room;
    uint32_t *dirty; /* rows touched since the last checkpoint */
    uint32_t dirty_count, dirty_room;
} hl_rows;

void hl_rows_init(hl_rows *rows);
void hl_rows_release(hl_rows *rows);

/* A node's rows are a list, since most nodes have one or two: `first` is where it begins (hl_tree_first_row), or'ed with
 * HL_ROWS_INDEXED once it has become so long that its rows are looked up by hash. */
#define HL_ROWS_INDEXED UINT32_C(0x80000000)

/* The row for this key, made if need be (then its stamp is 0: *made is set). */
uint32_t hl_rows_find(hl_rows *rows, uint32_t *first, uint32_t node, uint32_t process, uint32_t thread,
                      unsigned allocator, bool *made);
/* Takes all of a list's rows out. Returns the first; hl_key.next leads on. Their keys may then be changed and put in. */
uint32_t hl_rows_take(hl_rows *rows, uint32_t *first);
/* Puts a row into the list of its node. If another row has that key already, returns that one instead, and `row` stays
 * out. */
uint32_t hl_rows_put(hl_rows *rows, uint32_t *first, uint32_t row);
/* No list holds a row any more: all are about to be put in again. */
void hl_rows_take_all(hl_rows *rows);
/* The number of a row that nothing names any more. */
void hl_rows_free(hl_rows *rows, uint32_t row);
void hl_rows_mark_dirty(hl_rows *rows, uint32_t row);

/* `to` takes over from `from`: sums, histograms and peak shares are added up, both refreshed just before. From then on
 * `from` only points to `to`; its number stays in use until hl_settle_forwarded. */
void hl_rows_forward(hl_rows *rows, uint32_t from, uint32_t to);

/* Copies the row's further buckets, however it keeps them. Returns how many. */
unsigned hl_row_further(const hl_rows *rows, const hl_row *row, hl_bucket to[HL_BUCKETS]);

/* Bits needed to write `n`: bucket b of a histogram holds [2^(b-1), 2^b). */
static inline unsigned hl_bits(uint64_t n) { return n ? 64 - (unsigned)__builtin_clzll(n) : 0; }
static inline unsigned hl_power_bucket(uint64_t n)
{
    unsigned bits = hl_bits(n);
    return bits < HL_POWER_BUCKETS ? bits : HL_POWER_BUCKETS - 1;
}

/* Bucket of a block freed `later` allocations of its thread after its own: 0, 1, 2, 4 .. 1024; or beyond the last. */
static inline unsigned hl_temporary_bucket(uint32_t later) { return later ? 1 + hl_bits(later - 1) : 0; }

/* Takes back what a free counted that did not happen. */
void hl_row_uncount_free(hl_rows *rows, hl_row *row, uint64_t ms, uint32_t later, uint64_t size);

void hl_row_size_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket);
void hl_row_life_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket);
void hl_row_temporary_elsewhere(hl_rows *rows, hl_row *row, unsigned bucket, uint64_t size);

static inline void hl_row_count_size(hl_rows *rows, hl_row *row, uint64_t size)
{
    unsigned bucket = hl_power_bucket(size);
    if (__builtin_expect(bucket == row->size_bucket, 1))
        row->size_count++;
    else
        hl_row_size_elsewhere(rows, row, bucket);
}
static inline void hl_row_count_life(hl_rows *rows, hl_row *row, uint64_t ms)
{
    unsigned bucket = hl_power_bucket(ms);
    if (__builtin_expect(bucket == row->life_bucket, 1))
        row->life_count++;
    else
        hl_row_life_elsewhere(rows, row, bucket);
}
static inline void hl_row_count_temporary(hl_rows *rows, hl_row *row, uint32_t later, uint64_t size)
{
    if (later > 1024)
        return;
    unsigned bucket = hl_temporary_bucket(later);
    if (__builtin_expect(bucket == row->temporary_bucket, 1)) {
        row->temporary_count++;
        row->temporary_bytes += size;
    } else {
        hl_row_temporary_elsewhere(rows, row, bucket, size);
    }
}

#endif
