/* gate_text.c - check and diff for people: how the programs ended, the figures, the lines behind them. */
#include "gate.h"

#include "grid.h"
#include "verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void put_plain(hl_out *out, hl_style style, const char *text)
{
    hl_out_style(out, style);
    hl_out_put(out, text);
    hl_out_style(out, HL_PLAIN);
}

/* ------------------------------------------------------------------------------------------------------------ heads */

/* "old  a.heapline: app.py ended well (exit status 0) after 1.00 s". */
static void put_side(hl_gate *gate, const char *name, const hl_gate_side *side)
{
    hl_out *out = &gate->out;
    const char *command = hl_model_text(side->model, "command", "the program");
    hl_out clean;
    hl_out_begin(&clean, out->terminal);
    hl_out_clean(&clean, side->path, strlen(side->path));
    put_plain(out, HL_DIM, name);
    if (clean.bytes)
        hl_out_middle(out, clean.at, clean.bytes, 36);
    hl_out_put(out, ": ");
    clean.bytes = 0;
    hl_out_clean(&clean, command, strlen(command));
    if (clean.bytes)
        hl_out_middle(out, clean.at, clean.bytes, out->terminal.width > 140 ? out->terminal.width - 100 : 40);
    hl_out_put(out, " ");
    hl_verdict_ending(side->model, out);
    hl_out_put(out, "\n");
    hl_out_release(&clean);
}

static void put_warning(hl_gate *gate)
{
    hl_out text;
    hl_out_begin(&text, gate->out.terminal);
    if (hl_gate_warning(gate, &text)) {
        hl_out_style(&gate->out, HL_YELLOW);
        hl_out_add(&gate->out, text.at, text.bytes);
        hl_out_style(&gate->out, HL_PLAIN);
        hl_out_put(&gate->out, "\n");
    }
    hl_out_release(&text);
}

/* ---------------------------------------------------------------------------------------------------------- figures */

static void put_limits(hl_gate *gate)
{
    hl_out *out = &gate->out;
    hl_out_put(out, "\n");
    for (size_t i = 0; i < gate->limit_count; i++) {
        put_plain(out, gate->limits[i].over ? HL_RED : HL_GREEN, gate->limits[i].over ? "FAILED  " : "ok      ");
        hl_gate_sentence(gate, &gate->limits[i], out);
        hl_out_put(out, "\n");
    }
    if (gate->outcome == HL_INCOMPLETE)
        put_plain(out, HL_YELLOW, "No limit is exceeded by what was recorded, but not everything was.\n");
}

static void put_figures(hl_gate *gate)
{
    static const hl_column columns[] = {{.title = ""},
                                        {.title = "Old", .right = true},
                                        {.title = "New", .right = true, .style = HL_BOLD},
                                        {.title = "Change", .right = true},
                                        {.title = "", .right = true}};
    static const char *const titles[HL_FIGURES] = {
        "Peak", "Not freed", "Allocated", "Allocations", "Temporary allocations", "RSS peak"};
    char text[HL_NUMBER_BYTES];
    hl_out_put(&gate->out, "\n");
    hl_grid grid = hl_grid_begin(&gate->out, columns, 5);
    for (int f = 0; f < HL_FIGURES; f++) {
        uint64_t was = gate->old.total[f], is = gate->new.total[f];
        hl_grid_row(&grid);
        hl_grid_text(&grid, titles[f]);
        hl_grid_text(&grid, hl_figure_text(text, (hl_figure)f, was));
        hl_grid_text(&grid, hl_figure_text(text, (hl_figure)f, is));
        hl_grid_text(&grid, hl_growth_text(text, (hl_figure)f, (int64_t)(is - was)));
        hl_grid_text(&grid, hl_growth_share(text, was, is));
    }
    hl_grid_end(&grid);
}

/* ------------------------------------------------------------------------------------------------------------ lines */

static void put_right(hl_out *out, const char *text, int columns)
{
    hl_out_repeat(out, " ", columns - (int)strlen(text));
    hl_out_put(out, text);
}

enum { AMOUNT = 11, BESIDE = 12, INDENT = 2 };

/* Two numbers in front of a line: what it has and its share, or its growth and what it has now. */
static void put_numbers(hl_gate *gate, const char *first, const char *second)
{
    hl_out *out = &gate->out;
    hl_out_style(out, HL_BOLD);
    put_right(out, first, AMOUNT);
    hl_out_style(out, HL_PLAIN);
    put_right(out, second, BESIDE);
    hl_out_put(out, "  ");
}

/* Clean text, cut to what is left of the line. */
static void put_cut(hl_out *out, const hl_out *clean, int before)
{
    int room = out->terminal.width - before;
    if (hl_columns(clean->at ? clean->at : "", clean->bytes) <= room)
        hl_out_add(out, clean->at, clean->bytes);
    else
        hl_out_add(out, clean->at, hl_prefix_of(clean->at, clean->bytes, room));
}

static void put_line(hl_gate *gate, const hl_gate_line *line, hl_figure f)
{
    hl_out *out = &gate->out, text;
    char amount[HL_NUMBER_BYTES], beside[HL_NUMBER_BYTES];
    if (gate->is_diff) {
        hl_growth_text(amount, f, hl_gate_growth(line, f));
        hl_figure_text(beside, f, line->is[f]);
    } else {
        hl_figure_text(amount, f, line->is[f]);
        hl_share_text(beside, line->is[f], gate->new.total[f]);
    }
    put_numbers(gate, amount, beside);
    const char *mark = !gate->is_diff ? "" : !line->in_old ? "  (new)" : !line->in_new ? "  (gone)" : "";
    hl_out_begin(&text, out->terminal);
    hl_gate_place(gate, line, f, &text);
    hl_out_style(out, HL_GREEN);
    int room = out->terminal.width - AMOUNT - BESIDE - 2 - (int)strlen(mark);
    if (hl_columns(text.at ? text.at : "", text.bytes) > room)
        hl_out_middle(out, text.at, text.bytes, room);
    else
        hl_out_add(out, text.at, text.bytes);
    hl_out_style(out, HL_PLAIN);
    put_plain(out, HL_YELLOW, mark);
    hl_out_put(out, "\n");
    text.bytes = 0;
    hl_gate_source(gate, line, f, &text);
    if (text.bytes) {
        hl_out_repeat(out, " ", AMOUNT + BESIDE + 2 + INDENT);
        hl_out_style(out, HL_DIM);
        put_cut(out, &text, AMOUNT + BESIDE + 2 + INDENT);
        hl_out_style(out, HL_PLAIN);
        hl_out_put(out, "\n");
    }
    hl_out_release(&text);
}

static void put_rest(hl_gate *gate, const uint32_t *rows, uint32_t from, uint32_t to, hl_figure f, const char *what)
{
    char amount[HL_NUMBER_BYTES], beside[HL_NUMBER_BYTES];
    int64_t growth = 0;
    uint64_t is = 0;
    for (uint32_t i = from; i < to; i++) {
        growth += hl_gate_growth(&gate->lines[rows[i]], f);
        is += gate->lines[rows[i]].is[f];
    }
    if (from >= to)
        return;
    hl_figure_text(beside, f, is);
    if (!gate->is_diff)
        hl_share_text(beside, is, gate->new.total[f]);
    hl_out_style(&gate->out, HL_DIM);
    put_numbers(gate, gate->is_diff ? hl_growth_text(amount, f, growth) : hl_figure_text(amount, f, is), beside);
    hl_outf(&gate->out, "(%u other line%s%s)", to - from, to - from == 1 ? "" : "s", what);
    hl_out_style(&gate->out, HL_PLAIN);
    hl_out_put(&gate->out, "\n");
}

static int put_lines(hl_gate *gate, hl_figure f)
{
    char amount[HL_NUMBER_BYTES], beside[HL_NUMBER_BYTES];
    uint32_t grown, n, head, tail;
    uint32_t *rows = hl_gate_rank(gate, f, &grown, &n);
    if (!rows)
        return -ENOMEM;
    hl_gate_cut(gate, grown, n, &head, &tail);
    hl_out_put(&gate->out, "\n");
    hl_out_style(&gate->out, HL_BOLD);
    hl_outf(&gate->out, gate->is_diff ? "Lines by growth, %s" : "Lines, %s", hl_gate_moment(gate, f));
    hl_out_style(&gate->out, HL_PLAIN);
    hl_out_put(&gate->out, "\n");
    if (gate->is_diff && n) {
        hl_out_style(&gate->out, HL_DIM);
        put_numbers(gate, "Growth", "now");
        hl_out_put(&gate->out, "Line");
        hl_out_style(&gate->out, HL_PLAIN);
        hl_out_put(&gate->out, "\n");
    }
    for (uint32_t i = 0; i < head; i++)
        put_line(gate, &gate->lines[rows[i]], f);
    put_rest(gate, rows, head, grown, f, gate->is_diff ? " that grew" : "");
    put_rest(gate, rows, grown, tail, f, " that shrank");
    for (uint32_t i = tail; i < n; i++)
        put_line(gate, &gate->lines[rows[i]], f);
    if (n == 0) {
        put_plain(&gate->out, HL_DIM, gate->is_diff ? "No line grew or shrank.\n" : "There are none.\n");
    } else {
        uint64_t is = gate->new.total[f];
        hl_figure_text(beside, f, is);
        if (gate->is_diff)
            hl_growth_text(amount, f, (int64_t)(is - gate->old.total[f]));
        else
            memcpy(amount, beside, sizeof amount);
        hl_out_style(&gate->out, HL_BOLD);
        put_numbers(gate, amount, gate->is_diff ? beside : "100 %");
        hl_out_put(&gate->out, "total");
        hl_out_style(&gate->out, HL_PLAIN);
        hl_out_put(&gate->out, "\n");
    }
    free(rows);
    return 0;
}

int hl_gate_text(hl_gate *gate)
{
    int error = 0;
    if (gate->is_diff) {
        put_side(gate, "old  ", &gate->old);
        put_side(gate, "new  ", &gate->new);
        put_warning(gate);
        put_figures(gate);
    } else {
        error = hl_verdict_head(gate->new.model, &gate->out);
    }
    if (gate->limit_count)
        put_limits(gate);
    for (int f = 0; f < HL_LINE_FIGURES && !error; f++)
        if (hl_gate_lists(gate, (hl_figure)f))
            error = put_lines(gate, (hl_figure)f);
    return error;
}
