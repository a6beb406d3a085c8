/*
 * timeline: heap and RSS over time. As text a plot that fits the terminal, where each column shows the highest value of its
 * stretch of time, so that no spike is lost; as CSV and JSON every tick.
 */
#include "marks.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLOT_ROWS = 16, LABEL_COLUMNS = 9 };

typedef struct plot {
    int columns;
    uint64_t *heap; /* highest in each column */
    int64_t *rss;   /* -1: unknown */
    uint64_t top;   /* of the axis, bytes */
    uint64_t step;  /* between labels */
    uint64_t end_ns;
    int peak_column;
} plot;

/* 1, 2 or 5 times a power of ten, at least `least`. */
static uint64_t round_step(uint64_t least)
{
    uint64_t power = 1;
    while (power * 10 <= least)
        power *= 10;
    return least <= power ? power : least <= power * 2 ? power * 2 : least <= power * 5 ? power * 5 : power * 10;
}

static int column_of(const plot *p, uint64_t time_ns)
{
    if (time_ns >= p->end_ns)
        return p->columns - 1;
    int column = (int)((double)time_ns / (double)p->end_ns * p->columns);
    return column >= p->columns ? p->columns - 1 : column;
}

static int make_plot(plot *p, const hl_report *r, const hl_curve *curve, uint64_t peak_ns)
{
    const hl_model *m = r->model;
    *p = (plot){.columns = r->out.terminal.width - LABEL_COLUMNS - 2, .end_ns = m->now_ns};
    if (curve->n && curve->point[curve->n - 1].end_ns > p->end_ns)
        p->end_ns = curve->point[curve->n - 1].end_ns;
    p->heap = calloc((size_t)p->columns, sizeof *p->heap);
    p->rss = malloc((size_t)p->columns * sizeof *p->rss);
    if (!p->heap || !p->rss) {
        free(p->heap);
        free(p->rss);
        return -ENOMEM;
    }
    for (int c = 0; c < p->columns; c++)
        p->rss[c] = -1;
    for (uint32_t i = 0; i < curve->n; i++) {
        const hl_point *at = &curve->point[i];
        uint64_t begin_ns = at->end_ns > m->tick_ns ? at->end_ns - m->tick_ns : 0;
        /* Within its tick what it reached; then its last value, up to the next point. */
        uint64_t until_ns = i + 1 < curve->n ? curve->point[i + 1].end_ns : p->end_ns;
        until_ns = until_ns > m->tick_ns ? until_ns - m->tick_ns : 0;
        int first = column_of(p, begin_ns), last = column_of(p, until_ns > begin_ns ? until_ns - 1 : begin_ns);
        for (int c = first; c <= last; c++) {
            uint64_t heap = c == first ? at->high : at->heap;
            p->heap[c] = heap > p->heap[c] ? heap : p->heap[c];
            p->rss[c] = at->rss > p->rss[c] ? at->rss : p->rss[c];
        }
    }
    uint64_t highest = curve->heap_max > curve->rss_max ? curve->heap_max : curve->rss_max;
    p->step = round_step(highest / 4 + 1);
    p->top = (highest + p->step - 1) / p->step * p->step;
    p->top = p->top ? p->top : p->step;
    p->peak_column = column_of(p, peak_ns);
    return 0;
}

/* The character of one cell, `row` from the bottom. */
static void put_cell(hl_report *r, const plot *p, int column, int row)
{
    static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double height = (double)p->top / PLOT_ROWS, floor_bytes = height * row;
    double filled = ((double)p->heap[column] - floor_bytes) / height;
    int eighth = filled >= 1 ? 8 : filled <= 0 ? 0 : (int)(filled * 8 + 0.5);
    if (row == 0 && p->heap[column] && !eighth)
        eighth = 1;
    bool rss = p->rss[column] >= 0 && (int)((double)p->rss[column] / height) == row;
    if (p->rss[column] >= 0 && (uint64_t)p->rss[column] >= p->top && row == PLOT_ROWS - 1)
        rss = true;
    if (rss) {
        hl_out_style(&r->out, HL_YELLOW);
        hl_out_put(&r->out, hl_glyph(&r->out, "•", "."));
        hl_out_style(&r->out, HL_PLAIN);
    } else if (eighth == 0) {
        hl_out_put(&r->out, " ");
    } else {
        hl_out_style(&r->out, column == p->peak_column ? HL_RED : HL_CYAN);
        hl_out_put(&r->out, r->out.terminal.utf8 ? eighths[eighth] : eighth >= 4 ? "#" : row == 0 ? "_" : " ");
        hl_out_style(&r->out, HL_PLAIN);
    }
}

static void put_time_axis(hl_report *r, const plot *p)
{
    char line[1024], text[HL_NUMBER_BYTES];
    memset(line, ' ', sizeof line);
    int columns = p->columns < (int)sizeof line ? p->columns : (int)sizeof line - 1;
    int labels = columns / 16 < 1 ? 1 : columns / 16;
    uint64_t step = round_step(p->end_ns / (uint64_t)labels + 1);
    hl_outf(&r->out, "%*s%s", LABEL_COLUMNS, "", hl_glyph(&r->out, " └", " +"));
    for (int c = 0; c < columns; c++) {
        bool tick = false;
        for (uint64_t t = 0; t <= p->end_ns && p->end_ns / step < 1000; t += step)
            tick = tick || column_of(p, t) == c;
        hl_out_put(&r->out, tick ? hl_glyph(&r->out, "┴", "+") : hl_glyph(&r->out, "─", "-"));
    }
    hl_out_put(&r->out, "\n");
    int free_from = 0;
    for (uint64_t t = 0; t <= p->end_ns && p->end_ns / step < 1000; t += step) {
        int at = column_of(p, t), n = (int)strlen(hl_time_text(text, t));
        at = at + n > columns ? columns - n : at;
        if (t == 0)
            n = (int)strlen(strcpy(text, "0 s"));
        if (at < free_from)
            continue;
        memcpy(line + at, text, (size_t)n);
        free_from = at + n + 2;
    }
    int used = columns;
    while (used > 0 && line[used - 1] == ' ')
        used--;
    hl_outf(&r->out, "%*s  %.*s\n", LABEL_COLUMNS, "", used, line);
}

static void put_peak_mark(hl_report *r, const plot *p, uint64_t peak, uint64_t peak_ns)
{
    char size[HL_NUMBER_BYTES], time[HL_NUMBER_BYTES], text[96];
    int n =
        snprintf(text, sizeof text, "peak %s at %s", hl_size_text(size, (int64_t)peak), hl_time_text(time, peak_ns));
    bool left = p->peak_column + n + 2 > p->columns; /* the text stands left of the mark */
    hl_outf(&r->out, "%*s",
            LABEL_COLUMNS + 2 + (left ? (p->peak_column > n + 1 ? p->peak_column - n - 1 : 0) : p->peak_column), "");
    hl_out_style(&r->out, HL_RED);
    if (left)
        hl_outf(&r->out, "%s %s", text, hl_glyph(&r->out, "▼", "v"));
    else
        hl_outf(&r->out, "%s %s", hl_glyph(&r->out, "▼", "v"), text);
    hl_out_style(&r->out, HL_PLAIN);
    hl_out_put(&r->out, "\n");
}

static void own_peak(const hl_report *r, uint64_t *peak, uint64_t *peak_ns)
{
    const hl_model_process *only = r->view.process == HL_NO_ROW ? NULL : &r->model->processes.row[r->view.process];
    *peak = only                                               ? only->peak
            : r->model->recordings.n && r->model->recorded > 1 ? r->model->peak_seen /* what there is a moment of */
                                                               : r->model->peak;
    *peak_ns = only ? only->peak_ns : r->model->peak_ns;
}

static int write_text(hl_report *r, const hl_curve *curve)
{
    uint64_t peak, peak_ns;
    plot p;
    own_peak(r, &peak, &peak_ns);
    int error = hl_report_head(r);
    if (!error)
        error = make_plot(&p, r, curve, peak_ns);
    if (error)
        return error;
    hl_out_put(&r->out, "\n");
    put_peak_mark(r, &p, peak, peak_ns);
    for (int row = PLOT_ROWS - 1; row >= 0; row--) {
        char label[HL_NUMBER_BYTES] = "";
        double height = (double)p.top / PLOT_ROWS;
        for (uint64_t at = 0; at <= p.top; at += p.step) { /* the label at the row whose upper edge it is */
            int upper = (int)lround((double)at / height);
            if (upper == row + 1 || (at == 0 && row == 0 && !*label))
                hl_size_text(label, (int64_t)at);
        }
        if (row == 0)
            hl_size_text(label, 0);
        hl_outf(&r->out, "%*s %s", LABEL_COLUMNS, label,
                *label ? hl_glyph(&r->out, "┤", "+") : hl_glyph(&r->out, "│", "|"));
        for (int c = 0; c < p.columns; c++)
            put_cell(r, &p, c, row);
        while (r->out.bytes && !r->out.terminal.colour && r->out.at[r->out.bytes - 1] == ' ')
            r->out.bytes--;
        hl_out_put(&r->out, "\n");
    }
    put_time_axis(r, &p);
    hl_out_put(&r->out, "\n");
    char size[HL_NUMBER_BYTES], tick[HL_NUMBER_BYTES];
    hl_report_remark(r, "%s heap (highest in each column)   %s RSS, peak %s   one tick is %s",
                     hl_glyph(&r->out, "█", "#"), hl_glyph(&r->out, "•", "."),
                     hl_size_text(size, (int64_t)curve->rss_max), hl_time_text(tick, r->model->tick_ns));
    free(p.heap);
    free(p.rss);
    return hl_marks_put_text(r);
}

static void csv_sample(hl_out *out, int64_t value)
{
    if (value >= 0)
        hl_outf(out, ",%lld", (long long)value);
    else
        hl_out_put(out, ",");
}

static void write_csv(hl_report *r, const hl_curve *curve)
{
    hl_out *out = &r->out;
    hl_out_put(out, "time_s,heap,heap_low,heap_high,arena,rss,rss_anon,rss_file,rss_shmem,pss\r\n");
    for (uint32_t i = 0; i < curve->n; i++) {
        const hl_point *p = &curve->point[i];
        hl_outf(out, "%llu.%06llu,%llu,%llu,%llu,%llu", (unsigned long long)(p->end_ns / 1000000000),
                (unsigned long long)(p->end_ns % 1000000000 / 1000), (unsigned long long)p->heap,
                (unsigned long long)p->low, (unsigned long long)p->high, (unsigned long long)p->arena);
        csv_sample(out, p->rss);
        csv_sample(out, p->anon);
        csv_sample(out, p->file);
        csv_sample(out, p->shmem);
        csv_sample(out, p->pss);
        hl_out_put(out, "\r\n");
    }
}

static void json_sample(hl_json *json, const char *key, int64_t value)
{
    if (value >= 0)
        hl_json_int(json, key, value);
    else
        hl_json_null(json, key);
}

static int write_json(hl_report *r, const hl_curve *curve)
{
    uint64_t peak, peak_ns;
    own_peak(r, &peak, &peak_ns);
    hl_json json = hl_report_json(r, "heapline.timeline/1");
    hl_json_seconds(&json, "duration_s", r->model->now_ns);
    hl_json_seconds(&json, "tick_s", r->model->tick_ns);
    hl_json_int(&json, "peak_bytes", (int64_t)peak);
    hl_json_seconds(&json, "peak_time_s", peak_ns);
    hl_json_array(&json, "points");
    for (uint32_t i = 0; i < curve->n; i++) {
        const hl_point *p = &curve->point[i];
        hl_json_row(&json, NULL);
        hl_json_seconds(&json, "time_s", p->end_ns);
        hl_json_int(&json, "heap_bytes", (int64_t)p->heap);
        hl_json_int(&json, "heap_low_bytes", (int64_t)p->low);
        hl_json_int(&json, "heap_high_bytes", (int64_t)p->high);
        hl_json_int(&json, "arena_bytes", (int64_t)p->arena);
        json_sample(&json, "rss_bytes", p->rss);
        json_sample(&json, "rss_anon_bytes", p->anon);
        json_sample(&json, "rss_file_bytes", p->file);
        json_sample(&json, "rss_shmem_bytes", p->shmem);
        json_sample(&json, "pss_bytes", p->pss);
        hl_json_end(&json);
    }
    hl_json_end(&json);
    int error = hl_marks_put_json(r, &json);
    hl_json_end(&json);
    return error;
}

int hl_report_timeline(hl_report *r)
{
    hl_curve curve;
    int error = hl_curve_load(&curve, r->model, r->view.process, r->why, sizeof r->why);
    if (error)
        return error;
    if (r->json)
        error = write_json(r, &curve);
    else if (r->csv)
        write_csv(r, &curve);
    else if (r->model->recorded || curve.rss_max)
        error = write_text(r, &curve);
    else if (!(error = hl_report_head(r)))
        hl_report_nothing(r);
    hl_curve_release(&curve);
    return error;
}
