/*
 * totals.h - what a recording, or one process of it, took and held in all, and how its RSS divides: the facts of `heapline
 * stats` and of the HTML report, from one place, so that they cannot differ.
 */
#ifndef HL_REPORT_TOTALS_H
#define HL_REPORT_TOTALS_H

#include "model.h"

/* Sums of the selected processes (a thread's shares are in the tables). */
typedef struct hl_totals {
    uint64_t allocations, allocated, frees, freed, live, live_blocks, arena_peak, rss_peak, unknown_frees,
        inherited_frees, earlier_frees;
    uint64_t threads, pool_peak;
    const char *python;
} hl_totals;

/* RSS while the heap was at its peak. heap + slack + pools + rest = anonymous pages; rest is negative where blocks had not
 * been touched, or were swapped out. */
typedef struct hl_rss_parts {
    bool known, at_peak; /* at_peak: the heap was within a twentieth of it when the sample was taken */
    uint64_t time_ns;
    int64_t rss, heap, slack, pool, file, shared, rest;
} hl_rss_parts;

/* Of all processes (HL_NO_ROW), or of one. */
hl_totals hl_totals_of(const hl_model *model, uint32_t process);
int hl_rss_divide(hl_model *model, uint32_t process, hl_rss_parts *parts, char *why, size_t why_bytes);

#endif
