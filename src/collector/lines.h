/*
 * lines.h - what profiled functions did, line by line ("lines" in wire.h; docs/semantics.md says what each number means).
 *
 * A row is a line of a function of one image. A chunk of counters says which row each of its line ids means and how much of
 * its hits the rows have. A thread's stack of lines belongs to its reader; what an entry has done reaches its row when it is
 * popped, and at each checkpoint.
 *
 * Invariants: entries that are further in began later, so births can be searched for. Each entry's `top`, `temporary` and
 * `largest` are without those above it until they are popped. Of entries with the same row only the lowest (`outer`) adds to
 * the row's sums; all of them can raise its highest and its largest.
 */
#ifndef HL_COLLECTOR_LINES_H
#define HL_COLLECTOR_LINES_H

#include "batch.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>

struct hl_image;

typedef struct hl_line_row {
    uint32_t function; /* 0: its id was used, but is not announced yet */
    int32_t line;
    uint64_t hits, allocated, freed, allocations, temporary;
    uint64_t highest, largest, rss_peak;
    bool changed; /* since the last checkpoint */
} hl_line_row;

typedef struct hl_line_function {
    uint32_t process, code; /* code: of the tree; 0: not announced yet */
    struct hl_image *image; /* null: it has ended */
    uint64_t address;       /* of the code object in the program, and its version */
    uint32_t version;
    uint32_t flags; /* hl_lines_flags */
    int32_t first_line, last_line;
    hl_text name;
    bool changed;
} hl_line_function;

typedef struct hl_lines {
    hl_line_row *row; /* row 0 takes what belongs to no line */
    uint32_t rows, row_room;
    hl_line_function *function; /* 0 is not used */
    uint32_t functions, function_room;
    uint32_t chunks; /* of the pool */
} hl_lines;

/* A chunk of counters of an image. */
typedef struct hl_line_chunk {
    uint32_t row[HL_LINES_A_CHUNK]; /* 0: an id that nobody has used */
    uint64_t seen[HL_LINES_A_CHUNK];
} hl_line_chunk;

/* An execution that has not ended. Sums are those of the thread (hl_line_stack). */
typedef struct hl_line_entry {
    uint32_t row, born_ms;
    uint64_t start;                         /* blocks that the thread had made when it began */
    uint64_t allocated, freed, allocations; /* up to where the row has them */
    int64_t net, top;                       /* allocated - freed, at its start and at the highest */
    uint64_t temporary, temporary_told, largest;
    bool outer;
} hl_line_entry;

typedef struct hl_line_stack {
    hl_line_entry *entry;
    uint32_t depth, room;
    uint64_t marks;                         /* words that have changed it */
    uint64_t allocated, freed, allocations; /* while there was an entry */
    uint64_t made;                          /* blocks of the thread, all lanes, and */
    uint32_t made_seen;                     /* the part of hl_thread.allocations that is in it */
    struct hl_line_active {                 /* how many entries a row has: a hash table, row 0: empty */
        uint32_t row, entries;
    } * active;
    uint32_t active_mask, active_used;
} hl_line_stack;

#endif
