/*
 * profiled: functions that were profiled line by line, a table for each: what each line, with all that it called, allocated and
 * freed. docs/semantics.md, "Lines", says what the numbers mean.
 */
#include "profiled.h"

#include "report.h"
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTEXT = 2,         /* lines shown around one with memory, where others are left out */
    FUNCTIONS_AFTER = 8, /* behind the last lines of `heapline run` */
    LINES_AFTER = 25,    /* .. of each, those with the most memory */
};

/* The lines to show: all of the function's that its file has, and those that ran. Each with its figures, or null. */
typedef struct shown {
    int32_t line;
    const hl_profiled_line *figures;
    bool folded;
} shown;

static bool has_memory(const hl_profiled_line *l) { return l && (l->allocations || l->allocated || l->freed); }

static uint64_t most_of(const hl_profiled_line *l)
{
    uint64_t most = l->allocated > l->freed ? l->allocated : l->freed;
    return l->highest > most ? l->highest : most;
}

static const hl_source *source_of(hl_report *r, const hl_profiled_function *f)
{
    static const hl_source none = {.why = "its file is not known"};
    return f->file == HL_NO_ROW ? &none : hl_source_of(&r->sources, f->file);
}

/* From malloc. */
static shown *lines_of(const hl_source *source, const hl_profiled_function *f, uint32_t *n)
{
    int32_t last = (uint32_t)f->last_line < source->n ? f->last_line : (int32_t)source->n;
    size_t room = f->lines + (last >= f->first_line ? (size_t)(last - f->first_line) + 1 : 0);
    shown *all = malloc((room + 1) * sizeof *all);
    uint32_t ran = 0;
    *n = 0;
    int32_t at = f->first_line;
    while (all && (ran < f->lines || at <= last)) {
        const hl_profiled_line *l = ran < f->lines ? &f->line[ran] : NULL;
        bool is_next = l && (at > last || l->line <= at);
        all[(*n)++] = (shown){is_next ? l->line : at, is_next ? l : NULL, false};
        ran += is_next;
        at += at <= last && (!is_next || l->line == at);
    }
    return all;
}

static int heavier(const void *a, const void *b)
{
    uint64_t x = most_of(*(const hl_profiled_line *const *)a), y = most_of(*(const hl_profiled_line *const *)b);
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Leaves out lines without memory that are far from others and, of those with, all but the `most` heaviest. */
static int fold(const hl_profiled_function *f, shown *all, uint32_t n, uint32_t most)
{
    const hl_profiled_line **ranked = malloc((f->lines + 1) * sizeof *ranked);
    if (!ranked)
        return -ENOMEM;
    uint32_t with = 0;
    for (uint32_t i = 0; i < f->lines; i++)
        if (has_memory(&f->line[i]))
            ranked[with++] = &f->line[i];
    qsort(ranked, with, sizeof *ranked, heavier);
    uint64_t least = with > most ? most_of(ranked[most]) + 1 : 0;
    free(ranked);
    for (uint32_t i = 0; i < n; i++)
        all[i].folded = true;
    for (uint32_t i = 0; i < n; i++) {
        if (!has_memory(all[i].figures) || most_of(all[i].figures) < least)
            continue;
        for (uint32_t k = i > CONTEXT ? i - CONTEXT : 0; k <= i + CONTEXT && k < n; k++)
            all[k].folded = false;
    }
    for (uint32_t i = 0; i < n; i++) /* a line takes no less room than the words for it */
        if (all[i].folded && (i == 0 || !all[i - 1].folded) && (i + 1 == n || !all[i + 1].folded))
            all[i].folded = false;
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------- text */

static void put_figures(hl_grid *grid, const hl_profiled_line *l, bool total)
{
    if (total || !l)
        hl_grid_blank(grid);
    else
        hl_grid_count(grid, l->hits);
    if (has_memory(l)) {
        hl_grid_size(grid, l->allocated);
        hl_grid_size(grid, l->freed);
        char net[HL_NUMBER_BYTES];
        hl_grid_text(grid, hl_size_text(net, (int64_t)(l->allocated - l->freed)));
        if (total)
            hl_grid_blank(grid);
        else
            hl_grid_size(grid, l->highest);
        hl_grid_size(grid, l->temporary);
        hl_grid_size(grid, l->largest);
    } else {
        for (int i = 0; i < 6; i++)
            hl_grid_blank(grid);
    }
    if (l && l->rss)
        hl_grid_size(grid, l->rss);
    else
        hl_grid_blank(grid);
}

/* Blanks with which all of these lines begin. */
static size_t indent_of(const hl_source *source, const shown *all, uint32_t n)
{
    size_t least = SIZE_MAX, bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *text = hl_source_line(source, all[i].line, &bytes);
        size_t blanks = 0;
        while (text && blanks < bytes && text[blanks] == ' ')
            blanks++;
        if (text && blanks < bytes && blanks < least)
            least = blanks;
    }
    return least == SIZE_MAX ? 0 : least;
}

static void put_source(hl_grid *grid, const hl_source *source, int32_t line, size_t indent)
{
    char expanded[400];
    size_t used = 0, bytes = 0;
    const char *text = hl_source_line(source, line, &bytes);
    for (size_t i = indent; text && i < bytes && used + 9 < sizeof expanded; i++) {
        if (text[i] != '\t') {
            expanded[used++] = text[i];
            continue;
        }
        do
            expanded[used++] = ' ';
        while (used % 8);
    }
    expanded[used] = '\0';
    hl_grid_text(grid, expanded);
}

static void put_folded(hl_grid *grid, const shown *all, uint32_t from, uint32_t to)
{
    uint32_t with = 0, lines = to - from;
    uint64_t allocated = 0;
    for (uint32_t i = from; i < to; i++) {
        with += has_memory(all[i].figures);
        allocated += all[i].figures ? all[i].figures->allocated : 0;
    }
    hl_grid_row(grid);
    hl_grid_style(grid, HL_DIM);
    for (int i = 0; i < 9; i++)
        hl_grid_blank(grid);
    char size[HL_NUMBER_BYTES];
    if (with)
        hl_grid_textf(grid, "(%u lines, %u of them with memory: %s allocated)", lines, with,
                      hl_size_text(size, (int64_t)allocated));
    else
        hl_grid_textf(grid, "(%u lines without memory)", lines);
}

static void put_head(hl_report *r, const hl_profiled_function *f)
{
    hl_out *out = &r->out;
    hl_out_put(out, "\n");
    hl_out_style(out, HL_GREEN);
    hl_out_clean(out, f->name, strlen(f->name));
    hl_out_style(out, HL_PLAIN);
    if (f->file != HL_NO_ROW) {
        const char *label = r->model->files.row[f->file].label;
        hl_out_put(out, "  ");
        hl_out_clean(out, label, strlen(label));
        hl_outf(out, ":%d", f->first_line);
    }
    if (f->processes > 1)
        hl_outf(out, ", in %u processes", f->processes);
    hl_out_put(out, "\n");
}

/* `most`: 0: all lines; else those that `fold` leaves. */
static int write_function(hl_report *r, const hl_profiled_function *f, uint32_t most)
{
    static const hl_column columns[] = {
        {.title = "Line", .right = true, .style = HL_DIM}, {.title = "Hits", .right = true, .drop = 1},
        {.title = "Allocated", .right = true, .drop = 2},  {.title = "Freed", .right = true, .drop = 6},
        {.title = "Net", .right = true, .style = HL_BOLD}, {.title = "Highest", .right = true},
        {.title = "Temporary", .right = true, .drop = 4},  {.title = "Largest", .right = true, .drop = 5},
        {.title = "RSS", .right = true, .drop = 3},        {.title = "Source", .least = 24, .tail = true},
    };
    const hl_source *source = source_of(r, f);
    uint32_t n;
    shown *all = lines_of(source, f, &n);
    int error = all ? 0 : -ENOMEM;
    if (!error && most)
        error = fold(f, all, n, most);
    if (error) {
        free(all);
        return error;
    }
    put_head(r, f);
    if (!source->n)
        hl_report_remark(r, "(%s)", source->why);
    size_t indent = indent_of(source, all, n);
    hl_grid grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns);
    for (uint32_t i = 0; i < n;) {
        uint32_t to = i;
        while (to < n && all[to].folded)
            to++;
        if (to > i) {
            put_folded(&grid, all, i, to);
            i = to;
            continue;
        }
        hl_grid_row(&grid);
        hl_grid_textf(&grid, "%d", all[i].line);
        put_figures(&grid, all[i].figures, false);
        put_source(&grid, source, all[i].line, indent);
        i++;
    }
    hl_grid_row(&grid);
    hl_grid_style(&grid, HL_BOLD);
    hl_grid_blank(&grid);
    put_figures(&grid, &f->total, true);
    hl_grid_text(&grid, f->lines ? "total" : "(no line has been run)");
    hl_grid_end(&grid);
    free(all);
    return 0;
}

static int write_text(hl_report *r, const hl_profiled *p)
{
    int error = hl_report_head(r);
    for (uint32_t i = 0; i < p->n && !error; i++)
        error = write_function(r, &p->function[i], r->compact ? UINT32_MAX : 0);
    if (error)
        return error;
    hl_out_put(&r->out, "\n");
    hl_report_remark(
        r, "What a line has allocated and freed is with all that it called, in its own thread. Highest: the most "
           "that one execution of it had allocated and not yet freed. Temporary: allocated and freed within "
           "one execution.");
    return 0;
}

/* ------------------------------------------------------------------------------------------------------ JSON and CSV */

static void put_json_figures(hl_json *json, const hl_profiled_line *l)
{
    hl_json_int(json, "hits", (int64_t)l->hits);
    hl_json_int(json, "allocated_bytes", (int64_t)l->allocated);
    hl_json_int(json, "freed_bytes", (int64_t)l->freed);
    hl_json_int(json, "net_bytes", (int64_t)(l->allocated - l->freed));
    hl_json_int(json, "allocations", (int64_t)l->allocations);
    hl_json_int(json, "highest_bytes", (int64_t)l->highest);
    hl_json_int(json, "temporary_bytes", (int64_t)l->temporary);
    hl_json_int(json, "largest_bytes", (int64_t)l->largest);
    if (l->rss)
        hl_json_int(json, "rss_bytes", (int64_t)l->rss);
    else
        hl_json_null(json, "rss_bytes");
}

static int write_json(hl_report *r, const hl_profiled *p)
{
    const hl_model *m = r->model;
    hl_json json = hl_json_begin(&r->out);
    hl_json_object(&json, NULL);
    hl_json_text(&json, "schema", "heapline.profiled/1");
    hl_json_text(&json, "profile", r->path);
    hl_json_text(&json, "state", hl_model_text(m, "state", "finished"));
    if (r->view.selection.pid)
        hl_json_int(&json, "pid", r->view.selection.pid);
    hl_json_array(&json, "functions");
    for (uint32_t i = 0; i < p->n; i++) {
        const hl_profiled_function *f = &p->function[i];
        const hl_source *source = source_of(r, f);
        uint32_t n;
        shown *all = lines_of(source, f, &n);
        if (!all)
            return -ENOMEM;
        hl_json_object(&json, NULL);
        hl_json_text(&json, "function", f->name);
        hl_json_text(&json, "file", f->file == HL_NO_ROW ? "" : m->files.row[f->file].path);
        hl_json_int(&json, "first_line", f->first_line);
        hl_json_int(&json, "last_line", f->last_line);
        hl_json_int(&json, "processes", f->processes);
        hl_json_row(&json, "total");
        put_json_figures(&json, &f->total);
        hl_json_end(&json);
        hl_json_array(&json, "lines");
        for (uint32_t k = 0; k < n; k++) {
            static const hl_profiled_line nothing;
            if (r->compact && !all[k].figures)
                continue;
            hl_json_row(&json, NULL);
            hl_json_int(&json, "line", all[k].line);
            put_json_figures(&json, all[k].figures ? all[k].figures : &nothing);
            size_t bytes = 0;
            const char *text = hl_source_line(source, all[k].line, &bytes);
            if (!r->compact && text)
                hl_json_bytes(&json, "source", text, bytes);
            else if (!r->compact)
                hl_json_null(&json, "source");
            hl_json_end(&json);
        }
        hl_json_end(&json);
        hl_json_end(&json);
        free(all);
    }
    hl_json_end(&json);
    hl_json_end(&json);
    return 0;
}

static int write_csv(hl_report *r, const hl_profiled *p)
{
    hl_out *out = &r->out;
    hl_out_put(out, "file,function,first_line,line,hits,allocated,freed,net,allocations,highest,temporary,largest,rss,"
                    "source\r\n");
    for (uint32_t i = 0; i < p->n; i++) {
        const hl_profiled_function *f = &p->function[i];
        const hl_source *source = source_of(r, f);
        uint32_t n;
        shown *all = lines_of(source, f, &n);
        if (!all)
            return -ENOMEM;
        for (uint32_t k = 0; k < n; k++) {
            static const hl_profiled_line nothing;
            const hl_profiled_line *l = all[k].figures ? all[k].figures : &nothing;
            size_t bytes = 0;
            const char *text = hl_source_line(source, all[k].line, &bytes);
            char *copy = text && !r->compact ? strndup(text, bytes) : NULL;
            if (!r->compact || all[k].figures) {
                hl_csv_cell(out, f->file == HL_NO_ROW ? "" : r->model->files.row[f->file].path);
                hl_out_put(out, ",");
                hl_csv_cell(out, f->name);
                hl_outf(out, ",%d,%d,%llu,%llu,%llu,%lld,%llu,%llu,%llu,%llu,", f->first_line, all[k].line,
                        (unsigned long long)l->hits, (unsigned long long)l->allocated, (unsigned long long)l->freed,
                        (long long)(l->allocated - l->freed), (unsigned long long)l->allocations,
                        (unsigned long long)l->highest, (unsigned long long)l->temporary,
                        (unsigned long long)l->largest);
                if (l->rss)
                    hl_outf(out, "%llu", (unsigned long long)l->rss);
                hl_out_put(out, ",");
                hl_csv_cell(out, copy ? copy : "");
                hl_out_put(out, "\r\n");
            }
            free(copy);
        }
        free(all);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------ choice */

/* "load" is also "Class.load". */
static bool has_name(const hl_model *m, const hl_profiled_function *f, const char *name)
{
    size_t n = strlen(f->name), k = strlen(name);
    if (strcmp(f->name, name) == 0 || (n > k && f->name[n - k - 1] == '.' && strcmp(f->name + n - k, name) == 0))
        return true;
    if (f->file == HL_NO_ROW)
        return false;
    const hl_model_file *file = &m->files.row[f->file];
    n = strlen(file->path);
    return strcmp(file->path, name) == 0 || strcmp(file->label, name) == 0 ||
           (n > k && file->path[n - k - 1] == '/' && strcmp(file->path + n - k, name) == 0);
}

static int choose(hl_report *r, hl_profiled *p)
{
    if (!hl_profiled_count(r->model)) {
        snprintf(r->why, sizeof r->why,
                 "has no functions that were profiled line by line (mark them with @heapline.profile, or name them: "
                 "heapline run --lines module:function ..)");
        return -ENOENT;
    }
    if (!p->n) {
        snprintf(r->why, sizeof r->why, "process %lld has run no function that was profiled line by line",
                 (long long)r->view.selection.pid);
        return -ENOENT;
    }
    bool *wanted = calloc(p->n, sizeof *wanted);
    if (!wanted)
        return -ENOMEM;
    int error = 0;
    for (int k = 0; k < r->name_count && !error; k++) {
        bool known = false;
        for (uint32_t i = 0; i < p->n; i++) {
            bool has = has_name(r->model, &p->function[i], r->names[k]);
            known |= has;
            wanted[i] |= has;
        }
        if (!known) {
            int n = snprintf(r->why, sizeof r->why,
                             "no function or file \"%.100s\" was profiled line by line (these were:", r->names[k]);
            for (uint32_t i = 0; i < p->n && n < 300; i++)
                n += snprintf(r->why + n, sizeof r->why - (size_t)n, "%s %.100s", i ? "," : "", p->function[i].name);
            snprintf(r->why + n, sizeof r->why - (size_t)n, ")");
            error = -ENOENT;
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->n && !error && r->name_count; i++) {
        if (wanted[i]) {
            hl_profiled_function f = p->function[i];
            p->function[i] = p->function[kept];
            p->function[kept++] = f;
        }
    }
    for (uint32_t i = kept; i < p->n && !error && r->name_count; i++) {
        free(p->function[i].name);
        free(p->function[i].line);
    }
    if (!error && r->name_count)
        p->n = kept;
    free(wanted);
    return error;
}

static int by_bytes(const void *a, const void *b)
{
    const hl_profiled_function *x = a, *y = b;
    if (x->total.allocated != y->total.allocated)
        return x->total.allocated < y->total.allocated ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_count(const void *a, const void *b)
{
    const hl_profiled_function *x = a, *y = b;
    if (x->total.allocations != y->total.allocations)
        return x->total.allocations < y->total.allocations ? 1 : -1;
    return by_bytes(a, b);
}

static int by_place(const void *a, const void *b, void *model)
{
    const hl_profiled_function *x = a, *y = b;
    const hl_model *m = model;
    int order = strcmp(x->file == HL_NO_ROW ? "" : m->files.row[x->file].path,
                       y->file == HL_NO_ROW ? "" : m->files.row[y->file].path);
    if (order)
        return order;
    return x->first_line != y->first_line ? (x->first_line < y->first_line ? -1 : 1) : by_bytes(a, b);
}

int hl_report_profiled(hl_report *r)
{
    hl_profiled p;
    int error = hl_profiled_load(r->model, r->view.process, &p, r->why, sizeof r->why);
    if (error)
        return error;
    error = choose(r, &p);
    if (!error && p.n > 1 && r->sort == HL_SORT_PLACE)
        qsort_r(p.function, p.n, sizeof *p.function, by_place, r->model);
    else if (!error && p.n > 1)
        qsort(p.function, p.n, sizeof *p.function, r->sort == HL_SORT_COUNT ? by_count : by_bytes);
    if (!error)
        error = r->json ? write_json(r, &p) : r->csv ? write_csv(r, &p) : write_text(r, &p);
    hl_profiled_release(&p);
    return error;
}

int hl_profiled_after_run(hl_model *m, const char *path, hl_out *out, char *why, size_t why_bytes)
{
    hl_profiled p;
    for (uint32_t i = 0; i < m->notes.n; i++) { /* a name that was asked for and is none */
        const char *text = m->notes.row[i].text;
        if (strncmp(text, "--lines: ", 9) != 0)
            continue;
        hl_out_put(out, "heapline: ");
        hl_out_clean(out, text, strlen(text));
        hl_out_put(out, "\n");
    }
    int error = hl_profiled_load(m, HL_NO_ROW, &p, why, why_bytes);
    if (error || !p.n)
        return error;
    hl_report r = {.model = m, .path = path, .out = *out};
    error = hl_sources_begin(&r.sources, m);
    qsort(p.function, p.n, sizeof *p.function, by_bytes);
    uint32_t tables = p.n < FUNCTIONS_AFTER ? p.n : FUNCTIONS_AFTER;
    for (uint32_t i = 0; i < tables && !error; i++)
        error = write_function(&r, &p.function[i], LINES_AFTER);
    if (!error) {
        char quoted[8192];
        hl_join_words(quoted, sizeof quoted, (char *[]){(char *)path, NULL});
        hl_out_put(&r.out, "\n  all lines: heapline profiled ");
        hl_out_clean(&r.out, quoted, strlen(quoted));
        if (tables < p.n)
            hl_outf(&r.out, " (%u more function%s)", p.n - tables, p.n - tables == 1 ? "" : "s");
        hl_out_put(&r.out, "\n");
    }
    hl_sources_release(&r.sources);
    *out = r.out;
    hl_profiled_release(&p);
    return error;
}
