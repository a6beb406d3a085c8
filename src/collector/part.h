/*
 * part.h - books of a part of the recording: as if a recording had begun where it begins. What is in it are the blocks that
 * the process allocated since then, by whatever thread or by one; until it is closed, their frees for longer. Blocks from before
 * are not in it, and their frees change nothing.
 *
 * So a program that is recorded once (a run of tests) has the exact peak, leaks and call stacks of each thing that it does,
 * one after the other, for what a mark costs. A process has one part at a time.
 */
#ifndef HL_COLLECTOR_PART_H
#define HL_COLLECTOR_PART_H

#include "batch.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct hl_part_row { /* what the part has of a row of the books */
    uint32_t row;            /* 0: another one has taken over */
    uint32_t peak_number;
    uint64_t allocations, allocated, largest;
    uint64_t live, live_blocks;
    uint64_t peak, peak_blocks; /* live at the part's peak `peak_number` */
    hl_batch_histograms histograms;
} hl_part_row;

typedef struct hl_part_job { /* a profile that is being written, by a thread of its own */
    pthread_t thread;
    bool has_thread;
    char *path;
    hl_batch batch;
    struct hl_profile_identity *identity;
    _Atomic int done; /* 1: `error` is valid */
    int error;
} hl_part_job;

typedef struct hl_part {
    uint32_t number; /* parts of the process so far; 0: there was none */
    bool open, rising;
    uint32_t group; /* row of the thread table that alone is in it; 0: all are */
    uint64_t heap, blocks, peak, peak_blocks, peak_ns;
    uint64_t allocations, allocated, temporary, temporary_bytes;
    uint64_t start_ns, start_ms;
    uint32_t peak_number;
    uint32_t *begun, *closed; /* allocations of each thread at its beginning, and when it was closed */
    uint32_t begun_count, closed_count;
    hl_part_row *row;
    uint32_t count, room;
    uint32_t *of_row, of_row_count; /* by row of the books: index in `row` + 1; 0: nothing yet */
    hl_part_job *job;
    uint32_t written;
    int error;
} hl_part;

#endif
