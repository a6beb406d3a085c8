/*
 * stats: the one page about a recording. How it ended, totals, how RSS divides, the heaviest lines, sizes, allocators,
 * modules, threads, processes.
 */
#include "groups.h"
#include "profiled.h"
#include "report.h"
#include "totals.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 5 };

/* ------------------------------------------------------------------------------------------------------------- text */

static void put_fact(hl_grid *grid, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void put_fact(hl_grid *grid, const char *name, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    hl_grid_row(grid);
    hl_grid_text(grid, name);
    hl_grid_text(grid, text);
}

#define SIZE(n) hl_size_text((char[HL_NUMBER_BYTES]){0}, (int64_t)(n))
#define COUNTED(n, one) hl_counted_text((char[HL_NUMBER_BYTES]){0}, (uint64_t)(n), one)
#define COUNT(n) hl_count_text((char[HL_NUMBER_BYTES]){0}, (uint64_t)(n))
#define SHARE(part, whole) hl_share_text((char[HL_NUMBER_BYTES]){0}, (uint64_t)(part), (uint64_t)(whole))
#define TIME(ns) hl_time_text((char[HL_NUMBER_BYTES]){0}, (uint64_t)(ns))

static void put_rss(hl_report *r, hl_grid *grid, const hl_totals *t, const hl_rss_parts *p)
{
    char text[256];
    const char *owners = hl_model_pool_owners(r->model, r->view.process, text, sizeof text);
    put_fact(grid, "RSS", r->model->recordings.n && r->view.process == HL_NO_ROW ? "peaks add up to %s" : "peak %s",
             SIZE(t->rss_peak));
    if (owners)
        put_fact(grid, "", "up to %s of it in memory that %s gives out itself (not by line)", SIZE(t->pool_peak),
                 owners);
    if (!p->known)
        return;
    put_fact(grid, "",
             p->at_peak ? "%s at %s, with the heap at its peak:" : "%s at %s, the sample next to the heap's peak:",
             SIZE(p->rss), TIME(p->time_ns));
    put_fact(grid, "", "%10s  heap", SIZE(p->heap));
    if (p->slack)
        put_fact(grid, "", "%10s  slack in the interpreter's arenas (mapped, no live object)", SIZE(p->slack));
    if (p->pool && owners)
        put_fact(grid, "", "%10s  in memory that %s gives out itself (not by line)", SIZE(p->pool), owners);
    put_fact(grid, "", "%10s  file pages (programs, libraries)", SIZE(p->file));
    if (p->shared)
        put_fact(grid, "", "%10s  shared memory, heapline's own included", SIZE(p->shared));
    if (p->rest >= 0)
        put_fact(grid, "", "%10s  rest (allocators' caches, stacks, static data)", SIZE(p->rest));
    else
        put_fact(grid, "", "%10s  of the heap not resident then (not touched by then, or swapped out)", SIZE(p->rest));
}

static void put_facts(hl_report *r, const hl_totals *t, const hl_rss_parts *p)
{
    static const hl_column columns[] = {{.title = "", .style = HL_DIM}, {.title = ""}};
    const hl_model *m = r->model;
    hl_out_put(&r->out, "\n");
    hl_grid grid = hl_grid_begin(&r->out, columns, 2);
    grid.no_header = true;
    if (r->view.process == HL_NO_ROW && m->recordings.n && m->recorded > 1)
        put_fact(&grid, "Heap", "peaks add up to %s in %s; together at least %s at %s", SIZE(m->peak),
                 COUNTED(m->peak_blocks, "block"), SIZE(m->peak_seen), TIME(m->peak_ns));
    else if (r->view.process == HL_NO_ROW)
        put_fact(&grid, "Heap", "peak %s in %s at %s", SIZE(m->peak), COUNTED(m->peak_blocks, "block"),
                 TIME(m->peak_ns));
    else
        put_fact(&grid, "Heap", "peak %s in %s at %s", SIZE(m->processes.row[r->view.process].peak),
                 COUNTED(m->processes.row[r->view.process].peak_blocks, "block"),
                 TIME(m->processes.row[r->view.process].peak_ns));
    put_fact(&grid, "", "%s %s in %s", hl_model_end_words(m), SIZE(t->live), COUNTED(t->live_blocks, "block"));
    put_fact(&grid, "Allocated", "%s in %s", SIZE(t->allocated), COUNTED(t->allocations, "allocation"));
    put_fact(&grid, "Freed", "%s in %s (%s)", SIZE(t->freed), COUNTED(t->frees, "free"),
             *SHARE(t->freed, t->allocated) ? SHARE(t->freed, t->allocated) : "nothing");
    put_rss(r, &grid, t, p);
    if (t->arena_peak)
        put_fact(&grid, "Arenas",
                 m->recordings.n && r->view.process == HL_NO_ROW
                     ? "peaks add up to %s mapped by the interpreters' own allocators"
                     : "peak %s mapped by the interpreter's own allocator",
                 SIZE(t->arena_peak));
    const char *program = m->processes.n ? m->processes.row[0].executable : "";
    const char *base = strrchr(program, '/') ? strrchr(program, '/') + 1 : program;
    put_fact(&grid, "Program", "%s%.200s, %s thread%s, %u process%s", t->python ? "Python " : "",
             t->python ? t->python
             : *base   ? base
                       : "(unknown)",
             COUNT(t->threads), t->threads == 1 ? "" : "s", m->processes.n, m->processes.n == 1 ? "" : "es");
    int64_t lost = hl_model_number(m, "lost", 0), folded = hl_model_number(m, "folded_stacks", 0);
    put_fact(&grid, "Recording",
             t->threads == 1 ? "%s events, %s lost; the program waited %s"
                             : "%s events, %s lost; its threads waited %s in all",
             COUNT(hl_model_number(m, "events", 0)), lost ? COUNT(lost) : "none",
             TIME(hl_model_number(m, "waited_ns", 0)));
    put_fact(&grid, "", "collector: %s of CPU, %s", TIME(hl_model_number(m, "collector_cpu_ns", 0)),
             SIZE(hl_model_number(m, "collector_rss_peak", 0)));
    if (folded)
        put_fact(&grid, "", "%s light stacks are folded into (deeper); sums stay exact", COUNT(folded));
    int64_t folded_rows = hl_model_number(m, "folded_rows", 0);
    if (folded_rows)
        put_fact(&grid, "", "%s light sums of a stack by process, thread and allocator are in (deeper), too",
                 COUNT(folded_rows));
    hl_grid_end(&grid);
}

static void put_top_lines(hl_report *r, const hl_weight *sites, bool by_count, hl_weight total)
{
    static const hl_column by_bytes_columns[] = {
        {.title = "Bytes", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 1},
        {.title = "", .drop = 3, .style = HL_CYAN},
        {.title = "Blocks", .right = true, .drop = 2},
        {.title = "Line", .least = 18, .style = HL_GREEN},
        {.title = "Function", .least = 22},
        {.title = "Source", .drop = 5, .least = 24, .tail = true, .style = HL_DIM},
    };
    static const hl_column by_count_columns[] = {
        {.title = "Allocations", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 1},
        {.title = "", .drop = 3, .style = HL_CYAN},
        {.title = "Bytes", .right = true, .drop = 2},
        {.title = "Line", .least = 18, .style = HL_GREEN},
        {.title = "Function", .least = 22},
        {.title = "Source", .drop = 5, .least = 24, .tail = true, .style = HL_DIM},
    };
    uint32_t n, top = r->rows ? (uint32_t)r->rows : TOP;
    hl_ranked *ranked = hl_rank(sites, r->model->sites.n, by_count, &n);
    if (!ranked) {
        r->out.failed = true;
        return;
    }
    hl_weight rest = total;
    hl_grid grid = hl_grid_begin(&r->out, by_count ? by_count_columns : by_bytes_columns, 7);
    grid.indent = 2;
    for (uint32_t i = 0; i <= n && i <= top; i++) {
        bool other = i == top || i == n;
        hl_weight w = other ? rest : ranked[i].weight;
        if (i == n || (other && !w.bytes && !w.blocks))
            break;
        rest.bytes -= other ? 0 : w.bytes;
        rest.blocks -= other ? 0 : w.blocks;
        hl_grid_row(&grid);
        if (other)
            hl_grid_style(&grid, HL_DIM);
        if (by_count)
            hl_grid_count(&grid, w.blocks);
        else
            hl_grid_size(&grid, w.bytes);
        hl_grid_share(&grid, by_count ? w.blocks : w.bytes, by_count ? total.blocks : total.bytes);
        if (other)
            hl_grid_blank(&grid);
        else
            hl_grid_bar(&grid, by_count ? w.blocks : w.bytes, by_count ? total.blocks : total.bytes);
        if (by_count)
            hl_grid_size(&grid, w.bytes);
        else
            hl_grid_count(&grid, w.blocks);
        if (other)
            hl_grid_textf(&grid, "(%u other line%s)", n - top, n - top == 1 ? "" : "s");
        else
            hl_report_place(r, &grid, ranked[i].row, r->out.terminal.width >= 120);
    }
    hl_grid_end(&grid);
    free(ranked);
}

/* In a program with Python and native frames: which lines of extensions hold it, and for which lines of the user's. */
static void put_native_lines(hl_report *r, const char *title)
{
    static const hl_column columns[] = {
        {.title = "Bytes", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 2},
        {.title = "Blocks", .right = true, .drop = 1},
        {.title = "Line", .least = 18, .style = HL_GREEN},
        {.title = "Function", .least = 18},
        {.title = "For", .least = 18, .style = HL_GREEN},
    };
    hl_native_line *lines;
    uint32_t n, top = r->rows ? (uint32_t)r->rows : TOP;
    if (hl_native_lines(&r->view, &lines, &n) != 0)
        r->out.failed = true;
    if (n) {
        hl_report_heading(r, "Lines of extensions, %s (innermost, and the line that they did it for)", title);
        hl_grid grid = hl_grid_begin(&r->out, columns, 6);
        grid.indent = 2;
        hl_weight rest = {0};
        for (uint32_t i = 0; i < n; i++) {
            if (i >= top && n > top + 1) {
                rest.bytes += lines[i].weight.bytes;
                rest.blocks += lines[i].weight.blocks;
                continue;
            }
            hl_grid_row(&grid);
            hl_grid_size(&grid, lines[i].weight.bytes);
            hl_grid_share(&grid, lines[i].weight.bytes, r->view.total.bytes);
            hl_grid_count(&grid, lines[i].weight.blocks);
            hl_report_place(r, &grid, lines[i].site, false);
            hl_out caller;
            hl_out_begin(&caller, r->out.terminal);
            hl_verdict_place(r->model, lines[i].caller, &caller);
            hl_grid_textf(&grid, "%.*s", (int)(caller.bytes < 900 ? caller.bytes : 900), caller.bytes ? caller.at : "");
            hl_out_release(&caller);
        }
        if (rest.bytes || rest.blocks) {
            hl_grid_row(&grid);
            hl_grid_style(&grid, HL_DIM);
            hl_grid_size(&grid, rest.bytes);
            hl_grid_share(&grid, rest.bytes, r->view.total.bytes);
            hl_grid_count(&grid, rest.blocks);
            hl_grid_textf(&grid, "(%u others)", n - top);
        }
        hl_grid_end(&grid);
    }
    free(lines);
}

/* Groups of four to one in size; that is two powers of two each. */
static void put_sizes(hl_report *r, const uint64_t buckets[HL_SIZE_BUCKETS])
{
    static const hl_column columns[] = {{.title = "Size", .right = true},
                                        {.title = "Allocations", .right = true},
                                        {.title = "Share", .right = true},
                                        {.title = "", .drop = 1, .style = HL_CYAN}};
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint64_t sums[34] = {buckets[0]}, total = buckets[0];
    int first = -1, last = -1;
    for (int b = 1; b < HL_SIZE_BUCKETS; b++) {
        sums[1 + (b - 1) / 2] += buckets[b];
        total += buckets[b];
    }
    for (int i = 0; i < 34; i++) {
        first = first < 0 && sums[i] ? i : first;
        last = sums[i] ? i : last;
    }
    if (first < 0)
        return;
    hl_report_heading(r, "Sizes of all allocations");
    hl_grid grid = hl_grid_begin(&r->out, columns, 4);
    grid.indent = 2;
    for (int i = first; i <= last; i++) {
        hl_grid_row(&grid);
        if (i == 0) {
            hl_grid_text(&grid, "0 B");
        } else { /* [4^(i-1), 4^i) bytes */
            unsigned from = 2 * (unsigned)(i - 1), to = from + 2;
            if (i < 6)
                hl_grid_textf(&grid, "%u to %u B", 1u << from, (1u << to) - 1);
            else
                hl_grid_textf(&grid, "from %u %s", 1u << from % 10, units[from / 10]);
        }
        hl_grid_count(&grid, sums[i]);
        hl_grid_share(&grid, sums[i], total);
        hl_grid_bar(&grid, sums[i], total);
    }
    hl_grid_end(&grid);
}

static void put_groups(hl_report *r, const char *title, const char *column, hl_grouping *by, uint32_t top)
{
    hl_column columns[] = {
        {.title = "Bytes", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 1},
        {.title = "", .drop = 4, .style = HL_CYAN},
        {.title = "Blocks", .right = true, .drop = 3},
        {.title = "Allocated", .right = true},
        {.title = "Allocations", .right = true, .drop = 2},
        {.title = column, .least = by == hl_group_by_library ? 34 : 16},
    };
    hl_groups g = {0};
    if (by(&r->view, &g) != 0) {
        r->out.failed = true;
        free(g.at);
        return;
    }
    hl_report_heading(r, "%s", title);
    hl_grid grid = hl_grid_begin(&r->out, columns, 7);
    grid.indent = 2;
    hl_group rest = {0};
    uint32_t others = 0;
    hl_weight total = r->view.total;
    for (uint32_t i = 0; i < g.n; i++) {
        if (i >= top && g.n > top + 1) {
            rest.weight.bytes += g.at[i].weight.bytes;
            rest.weight.blocks += g.at[i].weight.blocks;
            rest.allocated.bytes += g.at[i].allocated.bytes;
            rest.allocated.blocks += g.at[i].allocated.blocks;
            others++;
            if (i + 1 < g.n)
                continue;
        }
        const hl_group *row = others ? &rest : &g.at[i];
        hl_grid_row(&grid);
        if (others)
            hl_grid_style(&grid, HL_DIM);
        hl_grid_size(&grid, row->weight.bytes);
        hl_grid_share(&grid, row->weight.bytes, total.bytes);
        hl_grid_bar(&grid, others ? 0 : row->weight.bytes, total.bytes);
        hl_grid_count(&grid, row->weight.blocks);
        hl_grid_size(&grid, row->allocated.bytes);
        hl_grid_count(&grid, row->allocated.blocks);
        const hl_model_thread *thread =
            by == hl_group_by_thread && row->row != HL_NO_ROW && !others ? &r->model->threads.row[row->row] : NULL;
        if (others)
            hl_grid_textf(&grid, "(%u others)", others);
        else if (thread && thread->tid)
            hl_grid_textf(&grid, "%.*s (%lld)", (int)row->bytes, row->name, (long long)thread->tid);
        else if (thread)
            hl_grid_textf(&grid, "%.*s (%llu threads)", (int)row->bytes, row->name,
                          (unsigned long long)thread->threads);
        else
            hl_grid_textf(&grid, "%.*s", (int)row->bytes, row->name);
    }
    hl_grid_end(&grid);
    free(g.at);
}

static void put_processes(hl_report *r)
{
    static const hl_column columns[] = {{.title = "Peak", .right = true, .style = HL_BOLD},
                                        {.title = "Allocated", .right = true, .drop = 1},
                                        {.title = "Pid", .right = true},
                                        {.title = "Command", .least = 20}};
    const hl_model *m = r->model;
    uint32_t n, top = 8;
    hl_weight *peaks = calloc(m->processes.n, sizeof *peaks);
    for (uint32_t i = 0; peaks && i < m->processes.n; i++)
        peaks[i] = (hl_weight){m->processes.row[i].peak, m->processes.row[i].allocated + 1};
    hl_ranked *ranked = peaks ? hl_rank(peaks, m->processes.n, false, &n) : NULL;
    if (!ranked) {
        r->out.failed = true;
        free(peaks);
        return;
    }
    hl_report_heading(r, "Processes (heapline processes shows the tree)");
    hl_grid grid = hl_grid_begin(&r->out, columns, 4);
    grid.indent = 2;
    for (uint32_t i = 0; i < n && i < top; i++) {
        const hl_model_process *p = &m->processes.row[ranked[i].row];
        hl_grid_row(&grid);
        hl_grid_size(&grid, p->peak);
        hl_grid_size(&grid, p->allocated);
        hl_grid_textf(&grid, "%lld", (long long)p->pid);
        hl_grid_text(&grid, p->command);
    }
    if (n > top) {
        hl_grid_row(&grid);
        hl_grid_style(&grid, HL_DIM);
        hl_grid_blank(&grid);
        hl_grid_blank(&grid);
        hl_grid_blank(&grid);
        hl_grid_textf(&grid, "(%u others)", n - top);
    }
    hl_grid_end(&grid);
    free(ranked);
    free(peaks);
}

/* There is more to read elsewhere. */
static void put_profiled(hl_report *r)
{
    uint32_t functions = hl_profiled_count(r->model);
    if (!functions)
        return;
    hl_out_put(&r->out, "\n");
    hl_report_remark(r, "%u function%s profiled line by line: heapline profiled shows %s.", functions,
                     functions == 1 ? " was" : "s were", functions == 1 ? "it" : "them");
}

static void put_notes(hl_report *r)
{
    const hl_model *m = r->model;
    if (!m->notes.n)
        return;
    hl_report_heading(r, "Notes");
    for (uint32_t i = 0; i < m->notes.n; i++) {
        hl_out clean;
        hl_out_begin(&clean, r->out.terminal);
        if (m->notes.row[i].process != HL_NO_ROW)
            hl_outf(&clean, "process %lld: ", (long long)m->processes.row[m->notes.row[i].process].pid);
        hl_out_clean(&clean, m->notes.row[i].text, strlen(m->notes.row[i].text));
        hl_report_remark(r, "  %.*s", (int)(clean.bytes < 900 ? clean.bytes : 900), clean.bytes ? clean.at : "");
        hl_out_release(&clean);
    }
}

/* Threads, and groups of them, whatever regions they were in. */
static uint32_t thread_rows(const hl_model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->threads.n; i++)
        n += m->threads.row[i].base == i;
    return n;
}

static int write_text(hl_report *r, const hl_totals *t, const hl_rss_parts *parts,
                      const uint64_t buckets[HL_SIZE_BUCKETS])
{
    char title[96];
    int error = hl_report_head(r);
    if (error)
        return error;
    hl_weight *sites = hl_view_by_site(&r->view, r->leaf);
    hl_view allocated = {0};
    hl_selection all = r->view.selection;
    all.moment = HL_ALLOCATED;
    error = sites ? hl_view_open(&allocated, r->model, &all, r->why, sizeof r->why) : -ENOMEM;
    hl_weight *counts = error ? NULL : hl_view_by_site(&allocated, r->leaf);
    if (counts) {
        bool empty = !allocated.total.blocks;
        if (!hl_report_nothing(r)) {
            hl_report_heading(r, "Lines by bytes, %s", hl_view_title(&r->view, title, sizeof title));
            put_top_lines(r, sites, false, r->view.total);
            if (r->model->has_native && !r->model->native_only && !r->leaf)
                put_native_lines(r, hl_view_title(&r->view, title, sizeof title));
        }
        put_facts(r, t, parts);
        if (!empty) {
            hl_report_heading(r, "Lines by number of allocations");
            put_top_lines(r, counts, true, allocated.total);
            put_sizes(r, buckets);
            put_groups(r, "Allocators", "Allocator", hl_group_by_allocator, 20);
            if (r->model->has_native)
                put_groups(r, "Libraries (of the innermost native frame outside the C and C++ libraries)", "Library",
                           hl_group_by_library, 12);
            if (!r->model->native_only)
                put_groups(r, "Modules (of the innermost frame outside the standard library)", "Module",
                           hl_group_by_module, 8);
        }
        if (!empty && r->model->has_regions)
            put_groups(r, "Regions", "Region", hl_group_by_region, 20);
        if (!empty && thread_rows(r->model) > 1)
            put_groups(r, "Threads", "Thread (id)", hl_group_by_thread, 8);
        if (r->model->processes.n > 1 && r->view.process == HL_NO_ROW)
            put_processes(r);
        put_profiled(r);
        put_notes(r);
    } else if (!error) {
        error = -ENOMEM;
    }
    free(sites);
    free(counts);
    hl_view_release(&allocated);
    return error;
}

/* ------------------------------------------------------------------------------------------------------------- JSON */

static void json_or_null(hl_json *json, const char *key, const hl_model *m, const char *meta)
{
    int64_t value = hl_model_number(m, meta, -1);
    if (value < 0)
        hl_json_null(json, key);
    else
        hl_json_int(json, key, value);
}

static void json_lines(hl_report *r, hl_json *json, const char *key, const hl_view *view, bool by_count)
{
    hl_weight *sites = hl_view_by_site(view, r->leaf);
    uint32_t n = 0, top = r->rows ? (uint32_t)r->rows : TOP;
    hl_ranked *ranked = sites ? hl_rank(sites, r->model->sites.n, by_count, &n) : NULL;
    if (!ranked)
        r->out.failed = true;
    hl_json_array(json, key);
    for (uint32_t i = 0; ranked && i < n && i < top; i++) {
        hl_json_row(json, NULL);
        hl_report_json_site(r->model, json, ranked[i].row);
        hl_json_int(json, "bytes", (int64_t)ranked[i].weight.bytes);
        hl_json_int(json, "count", (int64_t)ranked[i].weight.blocks);
        hl_json_end(json);
    }
    hl_json_end(json);
    free(ranked);
    free(sites);
}

static void json_native_lines(hl_report *r, hl_json *json)
{
    hl_native_line *lines;
    uint32_t n, top = r->rows ? (uint32_t)r->rows : TOP;
    if (hl_native_lines(&r->view, &lines, &n) != 0)
        r->out.failed = true;
    hl_json_array(json, "top_native");
    for (uint32_t i = 0; i < n && i < top; i++) {
        hl_json_row(json, NULL);
        hl_report_json_site(r->model, json, lines[i].site);
        hl_json_int(json, "bytes", (int64_t)lines[i].weight.bytes);
        hl_json_int(json, "count", (int64_t)lines[i].weight.blocks);
        hl_json_object(json, "caller");
        hl_report_json_site(r->model, json, lines[i].caller);
        hl_json_end(json);
        hl_json_end(json);
    }
    hl_json_end(json);
    free(lines);
}

static void json_groups(hl_report *r, hl_json *json, const char *key, hl_grouping *by)
{
    hl_groups g = {0};
    if (by(&r->view, &g) != 0)
        r->out.failed = true;
    hl_json_array(json, key);
    for (uint32_t i = 0; i < g.n; i++) {
        hl_json_row(json, NULL);
        hl_json_bytes(json, "name", g.at[i].name, g.at[i].bytes);
        if (by == hl_group_by_thread && g.at[i].row != HL_NO_ROW) {
            const hl_model_thread *t = &r->model->threads.row[g.at[i].row];
            if (t->tid)
                hl_json_int(json, "tid", t->tid);
            else
                hl_json_null(json, "tid");
            hl_json_int(json, "threads", (int64_t)t->threads);
            hl_json_int(json, "pid", t->process == HL_NO_ROW ? 0 : r->model->processes.row[t->process].pid);
        }
        if (by == hl_group_by_library && g.at[i].row != HL_NO_ROW)
            hl_json_text(json, "module", r->model->files.row[g.at[i].row].path);
        hl_json_int(json, "bytes", (int64_t)g.at[i].weight.bytes);
        hl_json_int(json, "count", (int64_t)g.at[i].weight.blocks);
        hl_json_int(json, "allocated_bytes", (int64_t)g.at[i].allocated.bytes);
        hl_json_int(json, "allocations", (int64_t)g.at[i].allocated.blocks);
        hl_json_end(json);
    }
    hl_json_end(json);
    free(g.at);
}

static void json_rss(hl_json *json, const hl_rss_parts *p)
{
    if (!p->known) {
        hl_json_null(json, "rss_at_peak");
        return;
    }
    hl_json_object(json, "rss_at_peak");
    hl_json_seconds(json, "time_s", p->time_ns);
    hl_json_int(json, "rss_bytes", p->rss);
    hl_json_int(json, "heap_bytes", p->heap);
    hl_json_int(json, "arena_slack_bytes", p->slack);
    hl_json_int(json, "pool_bytes", p->pool);
    hl_json_int(json, "file_bytes", p->file);
    hl_json_int(json, "shared_bytes", p->shared);
    hl_json_int(json, "rest_bytes", p->rest);
    hl_json_end(json);
}

static void json_sizes(hl_json *json, const uint64_t buckets[HL_SIZE_BUCKETS])
{
    hl_json_array(json, "sizes");
    for (int b = 0; b < HL_SIZE_BUCKETS; b++) {
        if (!buckets[b])
            continue;
        hl_json_row(json, NULL);
        hl_json_int(json, "from", b == 0 ? 0 : (int64_t)(UINT64_C(1) << (b - 1)));
        hl_json_int(json, "below", b == 0 ? 1 : b < 63 ? (int64_t)(UINT64_C(1) << b) : INT64_MAX);
        hl_json_int(json, "count", (int64_t)buckets[b]);
        hl_json_end(json);
    }
    hl_json_end(json);
}

static int write_json(hl_report *r, const hl_totals *t, const hl_rss_parts *parts,
                      const uint64_t buckets[HL_SIZE_BUCKETS])
{
    const hl_model *m = r->model;
    const hl_model_process *only = r->view.process == HL_NO_ROW ? NULL : &m->processes.row[r->view.process];
    int64_t end_ns = hl_model_number(m, "root_end_ns", -1), number = hl_model_number(m, "signal", -1);
    hl_json json = hl_report_json(r, "heapline.stats/1");
    hl_out verdict;
    hl_out_begin(&verdict, (hl_terminal){.width = 80, .utf8 = true});
    hl_verdict_ending(m, &verdict);
    hl_json_text(&json, "command", hl_model_text(m, "command", ""));
    json_or_null(&json, "start_unix_ns", m, "start_unix_ns");
    hl_json_bool(&json, "native", m->has_native);
    hl_json_bytes(&json, "verdict", verdict.bytes ? verdict.at : "", verdict.bytes);
    hl_out_release(&verdict);
    json_or_null(&json, "exit", m, "exit_status");
    json_or_null(&json, "signal", m, "signal");
    hl_json_text(&json, "signal_name", number >= 0 ? hl_signal_name(number) : NULL);
    hl_json_bool(&json, "out_of_memory", hl_model_text(m, "oom_scope", NULL) != NULL);
    hl_json_text(&json, "out_of_memory_scope", hl_model_text(m, "oom_scope", NULL));
    hl_json_int(&json, "out_of_memory_limit_bytes", hl_model_number(m, "oom_limit", 0));
    hl_json_seconds(&json, "duration_s", end_ns >= 0 ? (uint64_t)end_ns : m->now_ns);
    hl_json_int(&json, "peak_bytes", (int64_t)(only ? only->peak : m->peak));
    hl_json_int(&json, "peak_blocks", (int64_t)(only ? only->peak_blocks : m->peak_blocks));
    hl_json_seconds(&json, "peak_time_s", only ? only->peak_ns : m->peak_ns);
    hl_json_int(&json, "peak_bound_bytes", (int64_t)(only ? only->peak : m->peak_bound));
    hl_json_int(&json, "allocations", (int64_t)t->allocations);
    hl_json_int(&json, "allocated_bytes", (int64_t)t->allocated);
    hl_json_int(&json, "frees", (int64_t)t->frees);
    hl_json_int(&json, "freed_bytes", (int64_t)t->freed);
    hl_json_int(&json, "live_end_bytes", (int64_t)t->live);
    hl_json_int(&json, "live_end_blocks", (int64_t)t->live_blocks);
    hl_json_int(&json, "unknown_frees", (int64_t)t->unknown_frees);
    hl_json_int(&json, "inherited_frees", (int64_t)t->inherited_frees);
    hl_json_int(&json, "earlier_frees", (int64_t)t->earlier_frees);
    hl_json_int(&json, "arena_peak_bytes", (int64_t)t->arena_peak);
    hl_json_int(&json, "rss_peak_bytes", (int64_t)t->rss_peak);
    char owners[256];
    hl_json_int(&json, "pool_peak_bytes", (int64_t)t->pool_peak);
    hl_json_text(&json, "pool_libraries", hl_model_pool_owners(m, r->view.process, owners, sizeof owners));
    json_rss(&json, parts);
    hl_json_int(&json, "threads", (int64_t)t->threads);
    hl_json_int(&json, "processes", m->processes.n);
    if (m->recordings.n) {
        hl_json_int(&json, "recordings", m->recordings.n);
        hl_json_int(&json, "peak_seen_bytes", (int64_t)m->peak_seen);
    }
    hl_json_int(&json, "events", hl_model_number(m, "events", 0));
    hl_json_int(&json, "events_lost", hl_model_number(m, "lost", 0));
    hl_json_seconds(&json, "waited_s", (uint64_t)hl_model_number(m, "waited_ns", 0));
    hl_json_seconds(&json, "collector_cpu_s", (uint64_t)hl_model_number(m, "collector_cpu_ns", 0));
    hl_json_int(&json, "collector_rss_peak_bytes", hl_model_number(m, "collector_rss_peak", 0));
    hl_json_int(&json, "folded_stacks", hl_model_number(m, "folded_stacks", 0));
    hl_json_text(&json, "python", t->python);
    hl_view allocated = {0};
    hl_selection all = r->view.selection;
    all.moment = HL_ALLOCATED;
    int error = hl_view_open(&allocated, r->model, &all, r->why, sizeof r->why);
    if (error)
        return error;
    json_lines(r, &json, "top_by_bytes", &r->view, false);
    json_lines(r, &json, "top_by_count", &allocated, true);
    hl_view_release(&allocated);
    json_sizes(&json, buckets);
    json_groups(r, &json, "by_allocator", hl_group_by_allocator);
    json_groups(r, &json, "by_module", hl_group_by_module);
    json_groups(r, &json, "by_thread", hl_group_by_thread);
    if (m->has_regions)
        json_groups(r, &json, "by_region", hl_group_by_region);
    if (m->has_native)
        json_groups(r, &json, "libraries", hl_group_by_library);
    if (m->has_native && !m->native_only)
        json_native_lines(r, &json);
    hl_json_int(&json, "profiled_functions", hl_profiled_count(m));
    hl_json_array(&json, "notes");
    for (uint32_t i = 0; i < m->notes.n; i++)
        hl_json_text(&json, NULL, m->notes.row[i].text);
    hl_json_end(&json);
    hl_json_end(&json);
    return 0;
}

int hl_report_stats(hl_report *r)
{
    hl_totals t = hl_totals_of(r->model, r->view.process);
    hl_rss_parts parts;
    uint64_t buckets[HL_SIZE_BUCKETS];
    int error = hl_rss_divide(r->model, r->view.process, &parts, r->why, sizeof r->why);
    if (!error && (error = hl_view_sizes(&r->view, buckets)))
        snprintf(r->why, sizeof r->why, "damaged: sizes cannot be read");
    if (error)
        return error;
    return r->json ? write_json(r, &t, &parts, buckets) : write_text(r, &t, &parts, buckets);
}
