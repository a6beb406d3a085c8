/* What the reports share. See report.h. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hl_report_head(hl_report *r)
{
    hl_out *out = &r->out;
    int error = hl_verdict_head(r->model, out);
    if (error) {
        snprintf(r->why, sizeof r->why, "out of memory");
        return error;
    }
    char title[96], size[HL_NUMBER_BYTES], count[HL_NUMBER_BYTES];
    uint64_t expected;
    if (hl_view_check(&r->view, &expected) && expected != r->view.total.bytes) {
        hl_out_style(out, HL_YELLOW);
        uint64_t total = r->view.total.bytes;
        hl_outf(out, "inexact: what follows adds up to %s bytes %s than the profile's own total (please report this)",
                hl_count_text(count, total > expected ? total - expected : expected - total),
                total > expected ? "more" : "less");
        hl_out_style(out, HL_PLAIN);
        hl_out_put(out, "\n");
    }
    const hl_selection *s = &r->view.selection;
    if (s->moment == HL_AT_PEAK && !s->pid && !s->thread && !s->region && !r->leaf && r->model->choice == HL_FRAMES_ALL)
        return 0;
    hl_outf(out, "shown: %s %s", hl_size_text(size, (int64_t)r->view.total.bytes),
            hl_view_title(&r->view, title, sizeof title));
    hl_outf(out, " in %s", hl_counted_text(count, r->view.total.blocks, "block"));
    if (s->pid)
        hl_outf(out, ", process %lld", (long long)s->pid);
    if (s->thread) {
        hl_out_put(out, ", thread ");
        hl_out_clean(out, s->thread, strlen(s->thread));
    }
    if (s->region) {
        hl_out_put(out, ", region ");
        hl_out_clean(out, s->region, strlen(s->region));
    }
    if (r->model->choice == HL_FRAMES_NATIVE)
        hl_out_put(out, ", native frames only");
    else if (r->leaf)
        hl_out_put(out, ", by innermost frame");
    if (r->model->choice == HL_FRAMES_PYTHON)
        hl_out_put(out, ", no native frames");
    hl_out_put(out, "\n");
    return 0;
}

bool hl_report_nothing(hl_report *r)
{
    if (r->view.total.bytes || r->view.total.blocks)
        return false;
    char title[96];
    hl_moment moment = r->view.selection.moment;
    hl_out_put(&r->out, "\n");
    if (r->model->recorded == 0)
        hl_report_remark(r, "Nothing was recorded: no allocation is in this profile.");
    else if (moment == HL_ALLOCATED)
        hl_report_remark(r, "Nothing was allocated.");
    else if (moment == HL_LEAKED)
        hl_report_remark(r, "Everything that was allocated was freed.");
    else if (moment == HL_AT_PEAK)
        hl_report_remark(r, "Nothing of it was alive at the peak.");
    else
        hl_report_remark(r, "Nothing was %s.", hl_view_title(&r->view, title, sizeof title));
    return true;
}

hl_json hl_report_json(hl_report *r, const char *schema)
{
    static const char *const moments[] = {"peak", "end", "leaks", "time", "allocated", "temporary"};
    const hl_selection *s = &r->view.selection;
    hl_json json = hl_json_begin(&r->out);
    hl_json_object(&json, NULL);
    hl_json_text(&json, "schema", schema);
    hl_json_text(&json, "profile", r->path);
    hl_json_text(&json, "state", hl_model_text(r->model, "state", "finished"));
    hl_json_row(&json, "selection");
    hl_json_text(&json, "moment", moments[s->moment]);
    if (s->moment == HL_AT_TIME)
        hl_json_seconds(&json, "time_s", s->time_ns);
    if (s->since_ns)
        hl_json_seconds(&json, "since_s", s->since_ns);
    if (s->moment == HL_TEMPORARY)
        hl_json_int(&json, "within", (int64_t)s->within);
    if (s->pid)
        hl_json_int(&json, "pid", s->pid);
    if (s->thread)
        hl_json_text(&json, "thread", s->thread);
    if (s->region)
        hl_json_text(&json, "region", s->region);
    hl_json_bool(&json, "leaf", r->leaf);
    if (r->model->choice != HL_FRAMES_ALL)
        hl_json_text(&json, "frames", r->model->choice == HL_FRAMES_PYTHON ? "python" : "native");
    hl_json_end(&json);
    uint64_t expected;
    hl_json_bool(&json, "exact", !hl_view_check(&r->view, &expected) || expected == r->view.total.bytes);
    hl_json_int(&json, "total_bytes", (int64_t)r->view.total.bytes);
    hl_json_int(&json, "total_count", (int64_t)r->view.total.blocks);
    return json;
}

void hl_report_heading(hl_report *r, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    hl_out_put(&r->out, "\n");
    hl_out_style(&r->out, HL_BOLD);
    hl_out_put(&r->out, text);
    hl_out_style(&r->out, HL_PLAIN);
    hl_out_put(&r->out, "\n");
}

/* Wrapped at the width, with the indent of the first line. */
void hl_report_remark(hl_report *r, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    int indent = (int)strspn(text, " ");
    hl_out_style(&r->out, HL_DIM);
    hl_out_repeat(&r->out, " ", indent);
    int used = indent;
    for (char *rest = text + indent, *word; (word = strsep(&rest, " "));) {
        int columns = hl_columns(word, strlen(word));
        if (used > indent && used + 1 + columns > r->out.terminal.width) {
            hl_out_put(&r->out, "\n");
            hl_out_repeat(&r->out, " ", indent);
            used = indent;
        } else if (used > indent) {
            hl_out_put(&r->out, " ");
            used++;
        }
        hl_out_put(&r->out, word);
        used += columns;
    }
    hl_out_style(&r->out, HL_PLAIN);
    hl_out_put(&r->out, "\n");
}

static int by_bytes(const void *a, const void *b)
{
    const hl_ranked *x = a, *y = b;
    if (x->weight.bytes != y->weight.bytes)
        return x->weight.bytes < y->weight.bytes ? 1 : -1;
    if (x->weight.blocks != y->weight.blocks)
        return x->weight.blocks < y->weight.blocks ? 1 : -1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int by_count(const void *a, const void *b)
{
    const hl_ranked *x = a, *y = b;
    if (x->weight.blocks != y->weight.blocks)
        return x->weight.blocks < y->weight.blocks ? 1 : -1;
    return by_bytes(a, b);
}

hl_ranked *hl_rank(const hl_weight *weights, uint32_t n, bool count_first, uint32_t *ranked)
{
    hl_ranked *rows = malloc((n ? n : 1) * sizeof *rows);
    *ranked = 0;
    for (uint32_t i = 0; rows && i < n; i++)
        if (weights[i].bytes || weights[i].blocks)
            rows[(*ranked)++] = (hl_ranked){i, weights[i]};
    if (rows)
        qsort(rows, *ranked, sizeof *rows, count_first ? by_count : by_bytes);
    return rows;
}

const char *hl_report_native_sign(const hl_report *r, bool native)
{
    return native && !r->model->native_only ? hl_glyph(&r->out, "◦ ", "~ ") : "";
}

const char *hl_report_function(const hl_report *r, uint32_t site, char *text, size_t bytes)
{
    const hl_site *s = &r->model->sites.row[site];
    snprintf(text, bytes, "%.*s%s", bytes > 32 ? (int)bytes - 32 : 0, hl_site_function(r->model, site),
             s->inlined && r->out.terminal.width >= 100 ? " (inlined)" : "");
    return hl_report_native_sign(r, s->module != HL_NO_ROW);
}

void hl_report_native_remark(hl_report *r)
{
    if (r->leaf && r->model->has_native && !r->model->native_only)
        hl_report_remark(
            r, "%snative code (C, C++, Rust, Fortran ..), called by the Python code above it or on its behalf.",
            hl_report_native_sign(r, true));
}

void hl_report_place(hl_report *r, hl_grid *grid, uint32_t site, bool source)
{
    const hl_model *m = r->model;
    const hl_model_file *file = hl_site_file(m, site);
    int32_t line = m->sites.row[site].line;
    if (file && line > 0)
        hl_grid_textf(grid, "%.900s:%d", file->label, line);
    else /* a place in no file, "[generated code]", is its own function */
        hl_grid_text(grid, file && strcmp(file->label, hl_site_function(m, site)) != 0 ? file->label : NULL);
    char function[1000];
    const char *sign = hl_report_function(r, site, function, sizeof function);
    hl_grid_branch(grid, sign, function);
    if (*sign)
        hl_grid_cell_style(grid, HL_DIM);
    if (!source)
        return;
    size_t bytes = 0;
    const char *text =
        file ? hl_source_line(hl_source_of(&r->sources, m->functions.row[m->sites.row[site].function].file), line,
                              &bytes)
             : NULL;
    while (text && bytes && (*text == ' ' || *text == '\t')) {
        text++;
        bytes--;
    }
    char *copy = text ? strndup(text, bytes < 200 ? bytes : 200) : NULL;
    hl_grid_text(grid, copy);
    free(copy);
}

void hl_report_json_site(const hl_model *m, hl_json *json, uint32_t site)
{
    const hl_model_file *file = hl_site_file(m, site);
    hl_json_text(json, "function", hl_site_function(m, site));
    hl_json_text(json, "file", file ? file->path : "");
    hl_json_int(json, "line", m->sites.row[site].line);
    if (m->sites.row[site].module == HL_NO_ROW)
        return;
    hl_json_bool(json, "native", true);
    hl_json_text(json, "module", m->files.row[m->sites.row[site].module].path);
    if (m->sites.row[site].inlined)
        hl_json_bool(json, "inlined", true);
}
