/* See grid.h. */
#include "grid.h"

#include "number.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 2 };

hl_grid hl_grid_begin(hl_out *out, const hl_column *columns, int n)
{
    hl_grid grid = {.out = out, .column = columns, .n = n};
    hl_out_begin(&grid.text, out->terminal);
    grid.text.terminal.colour = false;
    return grid;
}

void hl_grid_row(hl_grid *grid)
{
    if (grid->rows == grid->room) {
        size_t room = grid->room ? grid->room * 2 : 32;
        hl_grid_cell *cell = realloc(grid->cell, room * (size_t)grid->n * sizeof *cell);
        if (cell)
            grid->cell = cell;
        hl_style *style = realloc(grid->style, room * sizeof *style);
        if (style)
            grid->style = style;
        if (!cell || !style) {
            grid->failed = true;
            return;
        }
        grid->room = room;
    }
    memset(grid->cell + grid->rows * (size_t)grid->n, 0, (size_t)grid->n * sizeof *grid->cell);
    grid->style[grid->rows] = HL_PLAIN;
    grid->filled = 0;
    grid->rows++;
}

void hl_grid_style(hl_grid *grid, hl_style style)
{
    if (!grid->failed)
        grid->style[grid->rows - 1] = style;
}

/* The text added since `from` is the next cell. */
static void close_cell(hl_grid *grid, size_t from)
{
    if (grid->failed || grid->filled == grid->n)
        return;
    size_t bytes = grid->text.bytes - from;
    int columns = grid->text.failed || !bytes ? 0 : hl_columns(grid->text.at + from, bytes);
    grid->cell[(grid->rows - 1) * (size_t)grid->n + (size_t)grid->filled++] =
        (hl_grid_cell){from, (uint32_t)bytes, 0, columns, HL_PLAIN};
}

void hl_grid_cell_style(hl_grid *grid, hl_style style)
{
    if (!grid->failed && grid->filled)
        grid->cell[(grid->rows - 1) * (size_t)grid->n + (size_t)grid->filled - 1].style = style;
}

void hl_grid_text(hl_grid *grid, const char *text)
{
    size_t from = grid->text.bytes;
    if (text)
        hl_out_clean(&grid->text, text, strlen(text));
    close_cell(grid, from);
}

void hl_grid_branch(hl_grid *grid, const char *branch, const char *text)
{
    size_t from = grid->text.bytes;
    hl_out_put(&grid->text, branch);
    hl_out_clean(&grid->text, text, strlen(text));
    close_cell(grid, from);
    if (!grid->failed)
        grid->cell[(grid->rows - 1) * (size_t)grid->n + (size_t)grid->filled - 1].keep = (uint32_t)strlen(branch);
}

void hl_grid_textf(hl_grid *grid, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    hl_grid_text(grid, text);
}

void hl_grid_size(hl_grid *grid, uint64_t bytes)
{
    char text[HL_NUMBER_BYTES];
    hl_grid_text(grid, hl_size_text(text, (int64_t)bytes));
}

void hl_grid_count(hl_grid *grid, uint64_t count)
{
    char text[HL_NUMBER_BYTES];
    hl_grid_text(grid, hl_count_text(text, count));
}

void hl_grid_time(hl_grid *grid, uint64_t time_ns)
{
    char text[HL_NUMBER_BYTES];
    hl_grid_text(grid, hl_time_text(text, time_ns));
}

void hl_grid_share(hl_grid *grid, uint64_t part, uint64_t whole)
{
    char text[HL_NUMBER_BYTES];
    hl_grid_text(grid, hl_share_text(text, part, whole));
}

void hl_out_bar(hl_out *out, uint64_t part, uint64_t whole, int columns)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    if (whole == 0)
        return;
    double share = part >= whole ? 1 : (double)part / (double)whole;
    int eighth = (int)(share * columns * 8 + 0.5);
    if (part && !eighth)
        eighth = 1;
    if (out->terminal.utf8) {
        hl_out_repeat(out, "█", eighth / 8);
        hl_out_put(out, eighths[eighth % 8]);
    } else {
        hl_out_repeat(out, "#", (eighth + 4) / 8);
    }
}

void hl_grid_bar(hl_grid *grid, uint64_t part, uint64_t whole)
{
    size_t from = grid->text.bytes;
    hl_out_bar(&grid->text, part, whole, HL_BAR_COLUMNS);
    close_cell(grid, from);
}

void hl_grid_blank(hl_grid *grid) { close_cell(grid, grid->text.bytes); }

/* How far a column may be cut; when nothing is left to leave out, further than reads well. 0: it may not. */
static int least_of(const hl_column *column, bool tight)
{
    enum { TIGHT = 10 };
    return tight && column->least > TIGHT ? TIGHT : column->least;
}

/* Widths of the columns, 0 for those left out. */
static void fit(const hl_grid *grid, int width[HL_GRID_COLUMNS])
{
    int natural[HL_GRID_COLUMNS];
    bool shown[HL_GRID_COLUMNS];
    for (int c = 0; c < grid->n; c++) {
        natural[c] = 0;
        for (size_t r = 0; r < grid->rows; r++)
            if (grid->cell[r * (size_t)grid->n + (size_t)c].columns > natural[c])
                natural[c] = grid->cell[r * (size_t)grid->n + (size_t)c].columns;
        shown[c] = natural[c] > 0 || !grid->column[c].drop; /* a column with nothing in it says nothing */
        int title = grid->no_header ? 0 : hl_columns(grid->column[c].title, strlen(grid->column[c].title));
        if (natural[c] < title)
            natural[c] = title;
    }
    for (bool tight = false;;) {
        int needed = grid->indent - GAP, spare = 0, worst = -1;
        for (int c = 0; c < grid->n; c++) {
            width[c] = shown[c] ? natural[c] : 0;
            if (!shown[c])
                continue;
            needed += natural[c] + GAP;
            int least = least_of(&grid->column[c], tight);
            if (least && natural[c] > least)
                spare += natural[c] - least;
            if (grid->column[c].drop && (worst < 0 || grid->column[c].drop > grid->column[worst].drop))
                worst = c;
        }
        int over = needed - grid->out->terminal.width;
        if (over > spare && worst >= 0) {
            shown[worst] = false;
            continue;
        }
        if (over > spare && !tight) {
            tight = true;
            continue;
        }
        while (over > 0 && spare > 0) { /* one column at a time off the widest that may be cut */
            int widest = -1;
            for (int c = 0; c < grid->n; c++)
                if (shown[c] && grid->column[c].least && width[c] > least_of(&grid->column[c], tight) &&
                    (widest < 0 || width[c] > width[widest]))
                    widest = c;
            if (widest < 0)
                break;
            width[widest]--;
            over--;
            spare--;
        }
        return;
    }
}

static void write_row(const hl_grid *grid, const int width[], size_t row)
{
    hl_out *out = grid->out;
    int pending = grid->indent; /* blanks that only count when something follows */
    for (int c = 0; c < grid->n; c++) {
        if (!width[c])
            continue;
        const hl_grid_cell *cell = &grid->cell[row * (size_t)grid->n + (size_t)c];
        const char *text = grid->text.at + cell->at;
        int columns = cell->columns > width[c] && grid->column[c].least ? width[c] : cell->columns;
        int pad = columns < width[c] ? width[c] - columns : 0;
        if (grid->column[c].right)
            pending += pad;
        if (cell->bytes) {
            hl_out_repeat(out, " ", pending);
            pending = 0;
            hl_style style = cell->style ? cell->style : grid->style[row] ? grid->style[row] : grid->column[c].style;
            if (style)
                hl_out_style(out, style);
            if (grid->column[c].tail && cell->columns > columns) {
                hl_out_add(out, text, hl_prefix_of(text, cell->bytes, columns - (out->terminal.utf8 ? 1 : 3)));
                hl_out_put(out, hl_glyph(out, "…", "..."));
            } else {
                int kept = hl_columns(text, cell->keep);
                hl_out_add(out, text, cell->keep);
                hl_out_middle(out, text + cell->keep, cell->bytes - cell->keep, columns > kept ? columns - kept : 1);
            }
            if (style)
                hl_out_style(out, HL_PLAIN);
        }
        pending += (grid->column[c].right ? 0 : pad) + GAP;
    }
    hl_out_put(out, "\n");
}

static void write_header(const hl_grid *grid, const int width[])
{
    int pending = grid->indent;
    hl_out_style(grid->out, HL_DIM);
    for (int c = 0; c < grid->n; c++) {
        if (!width[c])
            continue;
        int columns = hl_columns(grid->column[c].title, strlen(grid->column[c].title));
        int pad = columns < width[c] ? width[c] - columns : 0;
        if (grid->column[c].right)
            pending += pad;
        if (columns) {
            hl_out_repeat(grid->out, " ", pending);
            pending = 0;
            hl_out_put(grid->out, grid->column[c].title);
        }
        pending += (grid->column[c].right ? 0 : pad) + GAP;
    }
    hl_out_style(grid->out, HL_PLAIN);
    hl_out_put(grid->out, "\n");
}

void hl_grid_end(hl_grid *grid)
{
    if (grid->failed || grid->text.failed) {
        grid->out->failed = true;
    } else if (grid->rows) {
        int width[HL_GRID_COLUMNS];
        fit(grid, width);
        if (!grid->no_header)
            write_header(grid, width);
        for (size_t row = 0; row < grid->rows; row++)
            write_row(grid, width, row);
    }
    hl_out_release(&grid->text);
    free(grid->cell);
    free(grid->style);
    *grid = (hl_grid){0};
}
