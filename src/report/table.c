/*
 * table: call sites by what they hold. The text and the CSV have one row a line of code; the JSON has one row a stack, so
 * that nothing is lost.
 */
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "{"function": .., "file": .., "line": ..}" of each site, written once: stacks repeat them many times. */
typedef struct fragments {
    hl_out text;
    size_t *begin; /* sites + 1 */
} fragments;

static int write_fragments(fragments *f, const hl_model *m)
{
    hl_out_begin(&f->text, (hl_terminal){.width = 80});
    f->begin = malloc(((size_t)m->sites.n + 1) * sizeof *f->begin);
    if (!f->begin)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->sites.n; i++) {
        f->begin[i] = f->text.bytes;
        const hl_model_file *file = hl_site_file(m, i);
        const char *function = hl_site_function(m, i), *path = file ? file->path : "";
        hl_out_put(&f->text, "\"function\": ");
        hl_json_quote(&f->text, function, strlen(function));
        hl_out_put(&f->text, ", \"file\": ");
        hl_json_quote(&f->text, path, strlen(path));
        hl_outf(&f->text, ", \"line\": %d", m->sites.row[i].line);
        if (m->sites.row[i].module == HL_NO_ROW)
            continue;
        const char *module = m->files.row[m->sites.row[i].module].path;
        hl_out_put(&f->text, ", \"native\": true, \"module\": ");
        hl_json_quote(&f->text, module, strlen(module));
        hl_out_put(&f->text, m->sites.row[i].inlined ? ", \"inlined\": true" : "");
    }
    f->begin[m->sites.n] = f->text.bytes;
    return f->text.failed ? -ENOMEM : 0;
}

static void put_fragment(hl_out *out, const fragments *f, uint32_t site)
{
    hl_out_add(out, f->text.at + f->begin[site], f->begin[site + 1] - f->begin[site]);
}

/* The place that a row is charged to, or a frame of its stack: spelled, or its number in "sites". */
static void put_site(hl_report *r, const fragments *f, uint32_t site, bool charged)
{
    if (r->compact) {
        hl_outf(&r->out, charged ? "\"site\": %u" : "%u", site);
        return;
    }
    hl_out_put(&r->out, charged ? "" : "{");
    put_fragment(&r->out, f, site);
    hl_out_put(&r->out, charged ? "" : "}");
}

static int write_json(hl_report *r)
{
    hl_model *m = r->model;
    fragments f = {0};
    int error = write_fragments(&f, m);
    uint32_t n = 0;
    hl_ranked *ranked = error ? NULL : hl_rank(r->view.stacks, m->stacks.n, r->sort == HL_SORT_COUNT, &n);
    if (ranked) {
        hl_json json = hl_report_json(r, "heapline.table/1");
        hl_weight rest = {0};
        hl_out *out = &r->out;
        if (r->compact) {
            hl_json_array(&json, "sites");
            for (uint32_t i = 0; i < m->sites.n; i++) {
                hl_json_raw(&json, NULL, "{", 1);
                put_fragment(out, &f, i);
                hl_out_put(out, "}");
            }
            hl_json_end(&json);
        }
        hl_json_array(&json, "rows");
        for (uint32_t i = 0; i < n; i++) {
            const hl_model_stack *stack = &m->stacks.row[ranked[i].row];
            if (r->rows && i >= r->rows) {
                rest.bytes += ranked[i].weight.bytes;
                rest.blocks += ranked[i].weight.blocks;
                continue;
            }
            hl_json_raw(&json, NULL, "{", 1);
            put_site(r, &f, r->leaf ? stack->leaf : stack->yours, true);
            hl_outf(out, ", \"bytes\": %llu, \"count\": %llu, \"stack\": [", (unsigned long long)ranked[i].weight.bytes,
                    (unsigned long long)ranked[i].weight.blocks);
            for (uint32_t at = ranked[i].row; at != 0; at = m->stacks.row[at].parent) {
                if (m->stacks.row[at].kind == HL_STACK_NO_PYTHON || m->stacks.row[at].kind == HL_STACK_ROOT)
                    continue;
                hl_out_put(out, at == ranked[i].row ? "" : ", ");
                put_site(r, &f, m->stacks.row[at].leaf, false);
            }
            hl_out_put(out, "]}");
        }
        hl_json_end(&json);
        hl_json_row(&json, "other");
        hl_json_int(&json, "rows", r->rows && n > r->rows ? (int64_t)(n - r->rows) : 0);
        hl_json_int(&json, "bytes", (int64_t)rest.bytes);
        hl_json_int(&json, "count", (int64_t)rest.blocks);
        hl_json_end(&json);
        hl_json_end(&json);
    } else if (!error) {
        error = -ENOMEM;
    }
    free(ranked);
    free(f.begin);
    hl_out_release(&f.text);
    return error;
}

/* RFC 4180: quoted when it must be. A cell that a spreadsheet would run as a formula gets a blank in front. */
void hl_csv_cell(hl_out *out, const char *text)
{
    bool formula = *text && strchr("=+-@\t\r", *text);
    if (!formula && !strpbrk(text, ",\"\n\r")) {
        hl_out_put(out, text);
        return;
    }
    hl_out_put(out, formula ? "\" " : "\"");
    for (const char *quote; (quote = strchr(text, '"')); text = quote + 1) {
        hl_out_add(out, text, (size_t)(quote - text) + 1);
        hl_out_put(out, "\"");
    }
    hl_out_put(out, text);
    hl_out_put(out, "\"");
}

static void write_csv(hl_report *r, const hl_ranked *ranked, uint32_t n)
{
    hl_out_put(&r->out, "bytes,count,file,line,function\r\n");
    for (uint32_t i = 0; i < n && (!r->rows || i < r->rows); i++) {
        uint32_t site = ranked[i].row;
        const hl_model_file *file = hl_site_file(r->model, site);
        hl_outf(&r->out, "%llu,%llu,", (unsigned long long)ranked[i].weight.bytes,
                (unsigned long long)ranked[i].weight.blocks);
        hl_csv_cell(&r->out, file ? file->path : "");
        hl_outf(&r->out, ",%d,", r->model->sites.row[site].line);
        hl_csv_cell(&r->out, hl_site_function(r->model, site));
        hl_out_put(&r->out, "\r\n");
    }
}

static void write_text(hl_report *r, const hl_ranked *ranked, uint32_t n)
{
    static const hl_column columns[] = {
        {.title = "Bytes", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 2},
        {.title = "", .drop = 4, .style = HL_CYAN},
        {.title = "Blocks", .right = true, .drop = 1},
        {.title = "Line", .least = 18, .style = HL_GREEN},
        {.title = "Function", .least = 22},
        {.title = "Source", .drop = 5, .least = 24, .tail = true, .style = HL_DIM},
    };
    hl_out_put(&r->out, "\n");
    hl_grid grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns);
    hl_weight rest = {0}, total = r->view.total;
    uint32_t shown = r->rows && n > r->rows ? (uint32_t)r->rows : n;
    for (uint32_t i = 0; i < n; i++) {
        if (i >= shown) {
            rest.bytes += ranked[i].weight.bytes;
            rest.blocks += ranked[i].weight.blocks;
            continue;
        }
        hl_grid_row(&grid);
        hl_grid_size(&grid, ranked[i].weight.bytes);
        hl_grid_share(&grid, ranked[i].weight.bytes, total.bytes);
        hl_grid_bar(&grid, ranked[i].weight.bytes, total.bytes);
        hl_grid_count(&grid, ranked[i].weight.blocks);
        hl_report_place(r, &grid, ranked[i].row, r->out.terminal.width >= 120);
    }
    if (shown < n) {
        hl_grid_row(&grid);
        hl_grid_style(&grid, HL_DIM);
        hl_grid_size(&grid, rest.bytes);
        hl_grid_share(&grid, rest.bytes, total.bytes);
        hl_grid_blank(&grid);
        hl_grid_count(&grid, rest.blocks);
        hl_grid_textf(&grid, "(%u other line%s)", n - shown, n - shown == 1 ? "" : "s");
    }
    hl_grid_row(&grid);
    hl_grid_style(&grid, HL_BOLD);
    hl_grid_size(&grid, total.bytes);
    hl_grid_share(&grid, total.bytes, total.bytes);
    hl_grid_blank(&grid);
    hl_grid_count(&grid, total.blocks);
    hl_grid_text(&grid, "total");
    hl_grid_end(&grid);
    if (r->leaf && r->model->has_native && !r->model->native_only)
        hl_out_put(&r->out, "\n");
    hl_report_native_remark(r);
}

static int by_place(const void *a, const void *b, void *model)
{
    const hl_ranked *x = a, *y = b;
    const hl_model *m = model;
    const hl_model_file *f = hl_site_file(m, x->row), *g = hl_site_file(m, y->row);
    int order = strcmp(f ? f->path : "", g ? g->path : "");
    int32_t i = m->sites.row[x->row].line, j = m->sites.row[y->row].line;
    if (order == 0)
        order = i < j ? -1 : i > j;
    return order ? order : x->row < y->row ? -1 : x->row > y->row;
}

int hl_report_table(hl_report *r)
{
    if (r->json)
        return write_json(r);
    hl_weight *sites = hl_view_by_site(&r->view, r->leaf);
    uint32_t n = 0;
    hl_ranked *ranked = sites ? hl_rank(sites, r->model->sites.n, r->sort == HL_SORT_COUNT, &n) : NULL;
    int error = ranked ? 0 : -ENOMEM;
    if (ranked && r->sort == HL_SORT_PLACE)
        qsort_r(ranked, n, sizeof *ranked, by_place, r->model);
    if (ranked && r->csv)
        write_csv(r, ranked, n);
    else if (ranked && !(error = hl_report_head(r)) && !hl_report_nothing(r))
        write_text(r, ranked, n);
    free(ranked);
    free(sites);
    return error;
}
