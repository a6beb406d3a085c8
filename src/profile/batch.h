/*
 * batch.h - what the collector hands to the profile writer at a checkpoint: plain rows, by value.
 *
 * The collector fills a batch on its own thread (memory copies only, no SQL) and gives it to the writer's thread, which
 * applies it to the database in memory and publishes the file. Rows are upserts by their id: a batch holds only what is
 * new or has changed since the one before, unless `complete` is set (after folding or coarsening changed everything):
 * then the writer empties nodes, stats, ticks and cells first and the batch has all of them.
 *
 * Strings point into memory that the collector never frees or changes while the writer lives. Arrays belong to the
 * batch. Meanings of columns: src/profile/schema.sql and docs/semantics.md.
 */
#ifndef HL_PROFILE_BATCH_H
#define HL_PROFILE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HL_TEMPORARY_BUCKETS = 12, HL_POWER_BUCKETS = 48 };

typedef struct hl_text { /* UTF-8, not terminated; a null `at` means unknown */
    const char *at;
    uint32_t bytes;
} hl_text;

/* Totals are of the whole tree; peak is exact for one process, the highest sum in the order of the collector for more (then
 * peak_bound, the sum of the ticks' highs, is an upper bound). */
typedef struct hl_batch_meta {
    uint64_t now_ns; /* since the start of the recording */
    bool final;      /* nothing follows: all processes ended, or the recording was stopped */
    bool stopped;    /* by `heapline stop` */
    uint64_t allocations, allocated, frees, freed, live, live_blocks;
    uint64_t peak, peak_ns, peak_blocks, peak_bound;
    uint64_t arena_peak, rss_peak, pool_peak;
    uint64_t events, lost, waited_ns;
    uint64_t collector_cpu_ns, collector_rss_peak;
    uint64_t tick_ns, cell_tick_ns;
    uint64_t folded_rows;   /* rows that were folded by themselves, whatever became of their node */
    uint64_t folded_stacks; /* nodes with rows of their own that were folded into "(deeper)", each time that one was */
    bool root_ended;
    int32_t root_status; /* wait status of the program itself, when root_ended */
    uint64_t root_end_ns;
    /* Out of memory, when the program was killed by it: else oom_limit 0 and oom_scope null. */
    uint64_t oom_limit; /* bytes: the cgroup's limit, or the machine's memory */
    hl_text oom_scope;  /* "cgroup /x/y", "machine" */
} hl_batch_meta;

typedef struct hl_batch_process {
    uint32_t id; /* from 1 */
    int32_t pid, parent_pid;
    uint32_t parent;  /* 0: none */
    uint32_t born_by; /* hl_child_kind, 0: start */
    hl_text command, executable, reason;
    uint32_t python_version, python_flags, recording; /* as on the wire */
    uint64_t start_ns, end_ns;                        /* end 0: running */
    uint32_t ended;                                   /* 0 running, 1 exit, 2 signal, 3 lost */
    int32_t exit_status;
    uint64_t allocations, allocated, frees, freed, live, live_blocks, peak, peak_ns, peak_blocks;
    uint64_t inherited_frees, unknown_frees, lost, waited_ns, rss_peak;
    struct {
        uint64_t count, mapped, live, peak;
    } maps[7];           /* by hl_map_class */
    hl_text pool_owners; /* empty: no library gives out memory by itself */
    uint64_t pool_peak;
} hl_batch_process;

typedef struct hl_batch_thread {
    uint32_t id, process;
    int32_t tid; /* 0: a group */
    uint32_t threads;
    hl_text name;
    uint32_t base;  /* the row for what the same threads did outside of `region`; 0: it is that */
    hl_text region; /* of the whole row */
} hl_batch_thread;

typedef struct hl_batch_code { /* a code object; id from 1 */
    uint32_t id;
    uint16_t python_version; /* major << 8 | minor */
    int32_t first_line;
    hl_text file, name, table; /* table: the raw line table */
} hl_batch_code;

/* The numbers are those of the table stack_kind. */
typedef enum hl_node_kind {
    HL_NODE_ROOT,
    HL_NODE_PYTHON,
    HL_NODE_NO_PYTHON,
    HL_NODE_DEEPER,
    HL_NODE_NATIVE
} hl_node_kind;

typedef struct hl_batch_node { /* a call tree node; 0 is the root, a parent's id is below its children's */
    uint32_t id, parent;
    uint32_t kind;        /* hl_node_kind */
    uint32_t code;        /* hl_batch_code.id, for HL_NODE_PYTHON and HL_NODE_NATIVE */
    uint32_t instruction; /* byte offset from the first one, as linetable.h counts */
} hl_batch_node;

typedef struct hl_batch_stat {
    uint32_t id, node, process, thread;
    uint32_t allocator; /* hl_allocator */
    uint64_t allocations, allocated, frees, freed;
    int64_t live, peak, tree_peak;
    uint64_t live_blocks, peak_blocks, tree_peak_blocks, largest;
    uint32_t buckets_at, buckets; /* its histograms: in hl_batch.buckets, where only those not empty are */
} hl_batch_stat;

typedef struct hl_batch_histograms {
    struct {
        uint32_t count;
        uint64_t bytes;
    } temporary[HL_TEMPORARY_BUCKETS];
    uint32_t sizes[HL_POWER_BUCKETS], lifetimes[HL_POWER_BUCKETS];
} hl_batch_histograms;

typedef struct hl_batch_bucket {
    uint8_t histogram; /* 0 temporary, 1 sizes, 2 lifetimes */
    uint8_t bucket;
    uint32_t count;
    uint64_t bytes; /* of temporary */
} hl_batch_bucket;

typedef struct hl_batch_tick {
    uint32_t process, tick;
    uint64_t heap, heap_low, heap_high, arena;
    int64_t rss, rss_anon, rss_file, rss_shmem, pss, pool; /* -1: not sampled */
} hl_batch_tick;

/* (stat, born, died) is the key; 0 blocks of 0 bytes deletes the row; died <= born is left out. */
typedef struct hl_batch_cell {
    uint32_t stat, born;
    int64_t died; /* -1: alive */
    uint64_t blocks, bytes;
} hl_batch_cell;

typedef struct hl_batch_mark {
    uint64_t time_ns;
    uint32_t process;
    hl_text kind, name;
} hl_batch_mark;
typedef struct hl_batch_note {
    uint32_t process;
    hl_text text;
} hl_batch_note; /* process 0: of the recording */

typedef struct hl_batch_line_function { /* a function that is profiled by line, of one image of a process; id from 1 */
    uint32_t id, process;
    uint32_t code; /* hl_batch_code.id; 0: not known */
    hl_text name;
    int32_t first_line, last_line;
} hl_batch_line_function;

typedef struct hl_batch_line { /* (function, line) is the key */
    uint32_t function;
    int32_t line;
    uint64_t hits, allocated, freed, allocations, highest, temporary, largest;
    uint64_t rss; /* 0: not looked at */
} hl_batch_line;

/* Growable arrays: `n` rows of room `room`, from malloc; hl_batch_clear keeps the room. */
#define HL_ROWS(type)                                                                                                  \
    struct {                                                                                                           \
        type *row;                                                                                                     \
        size_t n, room;                                                                                                \
    }
typedef struct hl_batch {
    hl_batch_meta meta;
    bool complete; /* see above */
    HL_ROWS(hl_batch_process) processes;
    HL_ROWS(hl_batch_thread) threads;
    HL_ROWS(hl_batch_code) codes; /* only new ones, also in a complete batch */
    HL_ROWS(hl_batch_node) nodes;
    HL_ROWS(hl_batch_stat) stats;
    HL_ROWS(hl_batch_bucket) buckets;
    HL_ROWS(hl_batch_tick) ticks;
    HL_ROWS(hl_batch_cell) cells;
    HL_ROWS(hl_batch_mark) marks; /* only new ones, always */
    HL_ROWS(hl_batch_note) notes; /* only new ones, always */
    HL_ROWS(hl_batch_line_function) line_functions;
    HL_ROWS(hl_batch_line) lines;
} hl_batch;

/* Room for one more row at the end of `rows` (a HL_ROWS), zeroed; null when memory is out. */
void *hl_rows_add(void *rows, size_t row_bytes);
#define HL_ROWS_ADD(rows) hl_rows_add(&(rows), sizeof *(rows).row)
/* Histograms of a stat row, packed: most rows have a bucket or two, and a batch may have 100,000 rows. -ENOMEM. */
int hl_batch_pack(hl_batch *batch, hl_batch_stat *stat, const hl_batch_histograms *from);
void hl_batch_unpack(const hl_batch *batch, const hl_batch_stat *stat, hl_batch_histograms *to);

void hl_batch_clear(hl_batch *batch);   /* forgets rows, keeps room */
void hl_batch_release(hl_batch *batch); /* gives the room back */

#endif
