/*
 * synthetic.h - made-up recordings for tests of the profile and of reports: blocks with births and deaths drawn from a
 * seed, played through in order, so that all sums, peaks, ticks and cells of the batch are exact and agree with each
 * other.
 */
#ifndef HL_TESTS_SYNTHETIC_H
#define HL_TESTS_SYNTHETIC_H

#include "profile.h"

typedef enum hl_synthetic_end {
    HL_SYNTHETIC_EXIT,   /* with `status` */
    HL_SYNTHETIC_SIGNAL, /* `status` is the signal */
    HL_SYNTHETIC_OOM,    /* killed by the kernel at a cgroup's limit */
    HL_SYNTHETIC_RUNNING,
    HL_SYNTHETIC_STOPPED, /* `heapline stop` */
} hl_synthetic_end;

typedef struct hl_synthetic_options {
    uint64_t seed;
    uint32_t processes, threads; /* threads of each process */
    uint32_t codes, nodes, stats;
    uint32_t blocks;     /* allocations in all */
    uint32_t ticks;      /* of tick_ns 10 ms */
    uint32_t cell_ticks; /* ticks in a cell's tick: 1, 2, 4 .. */
    uint16_t python;     /* major << 8 | minor of the line tables; 0: a mixture of all */
    hl_synthetic_end end;
    int32_t status;
    bool folded;                  /* some nodes are "(deeper)" */
    const char *source_directory; /* writes the Python files there and names them; null: names that do not exist */
} hl_synthetic_options;

extern const hl_synthetic_options hl_synthetic_defaults;

typedef struct hl_synthetic hl_synthetic; /* owns the batch's strings */

/* Null when memory is out or the source files cannot be written. */
hl_synthetic *hl_synthetic_make(const hl_synthetic_options *options);
const hl_batch *hl_synthetic_batch(const hl_synthetic *s); /* complete and, unless the end is RUNNING, final */
const hl_profile_identity *hl_synthetic_identity(const hl_synthetic *s);
void hl_synthetic_free(hl_synthetic *s);

/* Open, apply, publish, close. Error text on stderr. */
int hl_synthetic_write(const hl_synthetic *s, const char *path);

#endif
