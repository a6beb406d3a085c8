/*
 * curve.h - heap and RSS of the selected processes over time, summed: one point a tick in which anything changed.
 *
 * Between two points everything stays as the earlier one says. A process counts until it ended. `low` and `high` are the
 * sums of the processes' extremes within the tick: bounds for a tree, exact for one process. RSS is -1 until the first
 * sample, and carried on between samples; PSS, sampled less often, is -1 where the last sample of a process has none.
 */
#ifndef HL_REPORT_CURVE_H
#define HL_REPORT_CURVE_H

#include "model.h"

typedef struct hl_point {
    uint64_t end_ns; /* of its tick; the last one ends with the recording */
    uint64_t heap, low, high, arena;
    int64_t rss, anon, file, shmem, pss;
    int64_t pool;               /* of RSS, what libraries give out by themselves; -1: they do not, or not yet */
    bool sampled, pool_sampled; /* RSS, and pool, of some process in this very tick: not carried on */
} hl_point;

typedef struct hl_curve {
    hl_point *point;
    uint32_t n;
    uint64_t heap_max, rss_max; /* highest `high` and `rss` */
} hl_curve;

/* For all processes, or the row `process`. -ENOMEM, -EIO with words in `why`. */
int hl_curve_load(hl_curve *curve, const hl_model *model, uint32_t process, char *why, size_t why_bytes);
void hl_curve_release(hl_curve *curve);

/* The point that holds at `time_ns`; null before the first. */
const hl_point *hl_curve_at(const hl_curve *curve, uint64_t time_ns);

#endif
