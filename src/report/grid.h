/*
 * grid.h - a table of text columns that fits the width it has: paths are cut in their middle first, then whole columns are
 * left out by rank; a number is never cut. What still does not fit runs over.
 *
 *     hl_grid grid = hl_grid_begin(out, columns, n);
 *     hl_grid_row(&grid);
 *     hl_grid_size(&grid, bytes); hl_grid_text(&grid, name); ...     one call a column, in order
 *     hl_grid_end(&grid);                                            writes it and releases it
 */
#ifndef HL_REPORT_GRID_H
#define HL_REPORT_GRID_H

#include "out.h"

#include <stdint.h>

typedef struct hl_column {
    const char *title;
    bool right;     /* numbers */
    int drop;       /* 0: always there; else left out when room is short, the highest first */
    int least;      /* > 0: text that may be cut down to this many columns, in its middle */
    bool tail;      /* cut at its end instead */
    hl_style style; /* of its cells, unless the row has one */
} hl_column;

enum { HL_GRID_COLUMNS = 16, HL_BAR_COLUMNS = 10 };

typedef struct hl_grid_cell {
    size_t at;
    uint32_t bytes, keep; /* the first `keep` bytes are never cut */
    int columns;
    hl_style style; /* instead of its row's and its column's */
} hl_grid_cell;

typedef struct hl_grid {
    hl_out *out;
    hl_out text; /* of all cells, clean */
    const hl_column *column;
    int n, indent;
    hl_grid_cell *cell; /* n a row */
    hl_style *style;
    size_t rows, room;
    int filled; /* cells of the last row */
    bool failed, no_header;
} hl_grid;

hl_grid hl_grid_begin(hl_out *out, const hl_column *columns, int n);
void hl_grid_row(hl_grid *grid);
void hl_grid_style(hl_grid *grid, hl_style style);      /* of the whole last row */
void hl_grid_cell_style(hl_grid *grid, hl_style style); /* of the last cell added */
void hl_grid_text(hl_grid *grid, const char *text);     /* from outside: cleaned; null: empty */
void hl_grid_textf(hl_grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first is drawing of ours that stays whole when the second, from outside, is cut. */
void hl_grid_branch(hl_grid *grid, const char *branch, const char *text);
void hl_grid_size(hl_grid *grid, uint64_t bytes);
void hl_grid_count(hl_grid *grid, uint64_t count);
void hl_grid_time(hl_grid *grid, uint64_t time_ns);
void hl_grid_share(hl_grid *grid, uint64_t part, uint64_t whole);
void hl_grid_bar(hl_grid *grid, uint64_t part, uint64_t whole); /* HL_BAR_COLUMNS wide */
void hl_grid_blank(hl_grid *grid);
void hl_grid_end(hl_grid *grid);

/* A bar of `part` in `whole` over `columns`, without trailing blanks. */
void hl_out_bar(hl_out *out, uint64_t part, uint64_t whole, int columns);

#endif
