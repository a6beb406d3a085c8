/*
 * merge.h - internal to src/profile: what merge.c (several recordings into one profile) and merge_rows.c (the rows of one)
 * share. One thread.
 */
#ifndef HL_PROFILE_MERGE_H
#define HL_PROFILE_MERGE_H

#include "idmap.h"
#include "writer.h"

/* Rows of numbers that are known by all of them, each once; its id is its position. */
enum { HL_MERGE_COLUMNS = 7 };
#define HL_MERGE_NULL INT64_MIN
typedef struct hl_merge_set {
    int64_t (*row)[HL_MERGE_COLUMNS];
    uint32_t n, room;
    hl_idmap map;
} hl_merge_set;

typedef struct hl_merging {
    hl_profile_writer *writer;
    hl_merge_set frames, stacks;                                   /* frame id - 1; stack id */
    int64_t processes, threads, stats, recordings, line_functions; /* highest ids so far */
    int64_t tick_ns, cell_tick_ns;                                 /* of the merged profile */
    uint32_t texts_differ; /* files whose source text is not the same everywhere */
    char first_differing[200];
} hl_merging;

/* One profile on its way into the merged one. */
typedef struct hl_merge_source {
    hl_profile *profile;
    const char *name; /* for people: the file's name */
    int64_t start_unix_ns, tick_ns, cell_tick_ns, now_ns;
    int64_t offset_ns; /* of its times in the merged profile; a multiple of its cell ticks */
    bool one_process;  /* no more than one process took memory: its own peak is exact, and the profile's */
} hl_merge_source;

/* Copies all rows of a source that is attached as `source`, inside a transaction. -ENOMEM, or -EIO with the writer's words. */
int hl_merge_rows(hl_merging *merging, const hl_merge_source *source);

void hl_merge_release(hl_merging *merging);

#endif
