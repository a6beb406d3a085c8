/*
 * summary: one row a function. Total: memory of blocks with the function anywhere on their stack, a recursive call counted
 * once. Own: blocks charged to its own lines, as `table` charges them; own adds up to the total.
 */
#include "profiled.h"
#include "report.h"

#include "walk.h"

#include <errno.h>
#include <stdlib.h>

/* A function as people see it: a name in a file. Function rows of one name (a comprehension's code, a reload) are joined by
 * file, name and first line already; rows without a function are the sites "(no Python)" and "(interpreter start-up)". */
typedef struct row {
    hl_weight total, own;
    uint32_t function; /* HL_NO_ROW: the site `special` */
    uint32_t special;
} row;

static int compare(hl_sort sort, const row *x, const row *y)
{
    uint64_t a = sort == HL_SORT_OWN ? x->own.bytes : sort == HL_SORT_COUNT ? x->own.blocks : x->total.bytes;
    uint64_t b = sort == HL_SORT_OWN ? y->own.bytes : sort == HL_SORT_COUNT ? y->own.blocks : y->total.bytes;
    if (a != b)
        return a < b ? 1 : -1;
    if (x->own.bytes != y->own.bytes)
        return x->own.bytes < y->own.bytes ? 1 : -1;
    return x->function < y->function   ? -1
           : x->function > y->function ? 1
           : x->special < y->special   ? -1
                                       : x->special > y->special;
}

static int compare_rows(const void *a, const void *b, void *sort) { return compare(*(const hl_sort *)sort, a, b); }

/* Totals of each function row; frames without a function belong to none. */
static int sum_totals(const hl_view *view, hl_weight *totals)
{
    const hl_model *m = view->model;
    uint32_t *keys = malloc((m->frames.n + 1) * sizeof *keys);
    if (!keys)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->frames.n; i++)
        keys[i] = m->frames.row[i].function;
    int error = hl_walk_sums(m, view->stacks, keys, m->functions.n, totals);
    free(keys);
    return error;
}

/* Library functions are rows of their own only where something is charged to them. */
static bool is_shown(const hl_report *r, const row *candidate, const bool *own_native)
{
    const hl_model *m = r->model;
    if (!candidate->total.bytes && !candidate->total.blocks && !candidate->own.blocks)
        return false;
    if (candidate->function == HL_NO_ROW || r->leaf || candidate->own.bytes || candidate->own.blocks)
        return true;
    if (m->functions.row[candidate->function].native)
        return own_native[candidate->function];
    uint32_t file = m->functions.row[candidate->function].file;
    return file != HL_NO_ROW && m->files.row[file].origin == m->yours;
}

/* Rows with anything in them, sorted. From malloc. */
static row *make_rows(hl_report *r, uint32_t *n)
{
    hl_model *m = r->model;
    uint32_t functions = m->functions.n;
    *n = 0;
    row *rows = calloc((size_t)functions + 2, sizeof *rows);
    hl_weight *totals = calloc((size_t)functions + 1, sizeof *totals);
    hl_weight *sites = hl_view_by_site(&r->view, r->leaf);
    bool *own_native = calloc((size_t)functions + 1, sizeof *own_native); /* functions of the program's own, in C */
    for (uint32_t i = 0; own_native && m->native_only && i < m->stacks.n; i++) {
        const hl_model_stack *s = &m->stacks.row[i];
        if (s->kind == HL_STACK_NATIVE && s->yours == s->leaf && s->frame != HL_NO_ROW &&
            m->frames.row[s->frame].function != HL_NO_ROW)
            own_native[m->frames.row[s->frame].function] = true;
    }
    if (rows && totals && sites && own_native && sum_totals(&r->view, totals) == 0) {
        for (uint32_t i = 0; i < functions; i++)
            rows[i] = (row){.function = i, .total = totals[i]};
        for (uint32_t i = 0; i < 2; i++)
            rows[functions + i] = (row){.function = HL_NO_ROW, .special = i, .total = sites[i], .own = sites[i]};
        for (uint32_t i = 2; i < m->sites.n; i++) {
            uint32_t function = m->sites.row[i].function;
            hl_weight *own = &rows[function == HL_NO_ROW ? functions : function].own;
            own->bytes += sites[i].bytes;
            own->blocks += sites[i].blocks;
        }
        for (uint32_t i = 0; i < functions + 2; i++)
            if (is_shown(r, &rows[i], own_native))
                rows[(*n)++] = rows[i];
        qsort_r(rows, *n, sizeof *rows, compare_rows, &r->sort);
    } else {
        free(rows);
        rows = NULL;
    }
    free(own_native);
    free(totals);
    free(sites);
    return rows;
}

static void write_text(hl_report *r, const row *rows, uint32_t n)
{
    static const hl_column columns[] = {
        {.title = "Total", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 2},
        {.title = "", .drop = 5, .style = HL_CYAN},
        {.title = "Own", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 3},
        {.title = "Blocks", .right = true, .drop = 1},
        {.title = "Function", .least = 22},
        {.title = "File", .least = 18, .style = HL_GREEN},
    };
    const hl_model *m = r->model;
    hl_weight total = r->view.total, rest = {0};
    uint32_t shown = r->rows && n > r->rows ? (uint32_t)r->rows : n;
    hl_out_put(&r->out, "\n");
    hl_grid grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns);
    for (uint32_t i = 0; i < n; i++) {
        if (i >= shown) {
            rest.bytes += rows[i].own.bytes;
            rest.blocks += rows[i].own.blocks;
            continue;
        }
        const hl_model_function *f = rows[i].function == HL_NO_ROW ? NULL : &m->functions.row[rows[i].function];
        hl_grid_row(&grid);
        hl_grid_size(&grid, rows[i].total.bytes);
        hl_grid_share(&grid, rows[i].total.bytes, total.bytes);
        hl_grid_bar(&grid, rows[i].total.bytes, total.bytes);
        hl_grid_size(&grid, rows[i].own.bytes);
        hl_grid_share(&grid, rows[i].own.bytes, total.bytes);
        hl_grid_count(&grid, rows[i].own.blocks);
        const char *sign = hl_report_native_sign(r, f && f->native);
        hl_grid_branch(&grid, sign, f ? f->name : hl_site_function(m, rows[i].special));
        if (*sign)
            hl_grid_cell_style(&grid, HL_DIM);
        if (f && f->file != HL_NO_ROW && f->first_line > 0)
            hl_grid_textf(&grid, "%.900s:%d", m->files.row[f->file].label, f->first_line);
        else if (f && f->file != HL_NO_ROW)
            hl_grid_text(&grid, m->files.row[f->file].label);
    }
    if (shown < n) {
        hl_grid_row(&grid);
        hl_grid_style(&grid, HL_DIM);
        for (int i = 0; i < 3; i++)
            hl_grid_blank(&grid);
        hl_grid_size(&grid, rest.bytes);
        hl_grid_share(&grid, rest.bytes, total.bytes);
        hl_grid_count(&grid, rest.blocks);
        hl_grid_textf(&grid, "(%u others)", n - shown);
    }
    hl_grid_row(&grid);
    hl_grid_style(&grid, HL_BOLD);
    hl_grid_size(&grid, total.bytes);
    hl_grid_share(&grid, total.bytes, total.bytes);
    hl_grid_blank(&grid);
    hl_grid_size(&grid, total.bytes);
    hl_grid_share(&grid, total.bytes, total.bytes);
    hl_grid_count(&grid, total.blocks);
    hl_grid_text(&grid, "total");
    hl_grid_end(&grid);
    hl_out_put(&r->out, "\n");
    hl_report_remark(r, "Total: with everything it called. Own: its own lines%s; own adds up.",
                     r->leaf ? "" : ", and what libraries took on their behalf");
    hl_report_native_remark(r);
}

static void write_json(hl_report *r, const row *rows, uint32_t n)
{
    const hl_model *m = r->model;
    hl_json json = hl_report_json(r, "heapline.summary/1");
    hl_weight rest = {0};
    uint32_t shown = r->rows && n > r->rows ? (uint32_t)r->rows : n;
    hl_json_int(&json, "profiled_functions", hl_profiled_count(m));
    hl_json_array(&json, "rows");
    for (uint32_t i = 0; i < n; i++) {
        if (i >= shown) {
            rest.bytes += rows[i].own.bytes;
            rest.blocks += rows[i].own.blocks;
            continue;
        }
        const hl_model_function *f = rows[i].function == HL_NO_ROW ? NULL : &m->functions.row[rows[i].function];
        hl_json_row(&json, NULL);
        hl_json_text(&json, "function", f ? f->name : hl_site_function(m, rows[i].special));
        hl_json_text(&json, "file", f && f->file != HL_NO_ROW ? m->files.row[f->file].path : "");
        hl_json_int(&json, "line", f ? f->first_line : 0);
        if (f && f->native)
            hl_json_bool(&json, "native", true);
        hl_json_int(&json, "total_bytes", (int64_t)rows[i].total.bytes);
        hl_json_int(&json, "total_count", (int64_t)rows[i].total.blocks);
        hl_json_int(&json, "own_bytes", (int64_t)rows[i].own.bytes);
        hl_json_int(&json, "own_count", (int64_t)rows[i].own.blocks);
        hl_json_end(&json);
    }
    hl_json_end(&json);
    hl_json_row(&json, "other");
    hl_json_int(&json, "rows", n - shown);
    hl_json_int(&json, "own_bytes", (int64_t)rest.bytes);
    hl_json_int(&json, "own_count", (int64_t)rest.blocks);
    hl_json_end(&json);
    hl_json_end(&json);
}

int hl_report_summary(hl_report *r)
{
    uint32_t n;
    row *rows = make_rows(r, &n);
    int error = rows ? 0 : -ENOMEM;
    if (rows && r->json)
        write_json(r, rows, n);
    else if (rows && !(error = hl_report_head(r)) && !hl_report_nothing(r))
        write_text(r, rows, n);
    free(rows);
    return error;
}
