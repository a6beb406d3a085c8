/*
 * profiled.h - functions that were profiled line by line, of all processes or of one. Equal file, name and first line mean one
 * function: what it did in several processes, or images of them, is added up.
 */
#ifndef HL_REPORT_PROFILED_H
#define HL_REPORT_PROFILED_H

#include "model.h"
#include "out.h"

typedef struct hl_profiled_line {
    int32_t line;
    uint64_t hits, allocated, freed, allocations, highest, temporary, largest;
    uint64_t rss; /* 0: not looked at */
} hl_profiled_line;

typedef struct hl_profiled_function {
    int64_t id;    /* the lowest of its rows in the profile */
    char *name;    /* qualified */
    uint32_t file; /* row of the model; HL_NO_ROW: not known */
    int32_t first_line, last_line;
    uint32_t processes;
    hl_profiled_line *line; /* that ran, by number */
    uint32_t lines, room;
    hl_profiled_line total; /* sums of the lines; highest, largest, rss: the highest of them */
} hl_profiled_function;

typedef struct hl_profiled {
    hl_profiled_function *function; /* in the order in which they were first called */
    uint32_t n, room;
} hl_profiled;

/* Functions that the profile has; 0 also of one from before there were any. */
uint32_t hl_profiled_count(const hl_model *model);

/* `process`: a row of the model, HL_NO_ROW: all. 0, -ENOMEM, or -EIO with the database's words in `why`. */
int hl_profiled_load(const hl_model *model, uint32_t process, hl_profiled *profiled, char *why, size_t why_bytes);
void hl_profiled_release(hl_profiled *profiled);

/* The tables behind the last lines of `heapline run`, with lines left out that say little; nothing where there are none. */
int hl_profiled_after_run(hl_model *model, const char *path, hl_out *out, char *why, size_t why_bytes);

#endif
