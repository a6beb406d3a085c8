/*
 * processes: the tree of processes, recorded or not: what each took, how it ended, why it was not followed.
 */
#include "report.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_followed(const hl_model_process *p) { return strcmp(p->recorded, "nothing") != 0; }

static void put_ending(hl_grid *grid, const hl_model_process *p)
{
    const char *name = hl_signal_name(p->exit_status);
    if (strcmp(p->ended, "running") == 0)
        hl_grid_text(grid, "running");
    else if (strcmp(p->ended, "exit") == 0)
        hl_grid_textf(grid, "exit %lld", (long long)p->exit_status);
    else if (strcmp(p->ended, "signal") == 0 && name)
        hl_grid_text(grid, name);
    else if (strcmp(p->ended, "signal") == 0)
        hl_grid_textf(grid, "signal %lld", (long long)p->exit_status);
    else
        hl_grid_text(grid, "not seen");
}

/* "python x.py" of "/usr/bin/python x.py": the arguments say more than where the interpreter lies. */
static const char *without_directory(const char *command)
{
    const char *name = command;
    for (const char *at = command; *command == '/' && *at && *at != ' '; at++)
        if (*at == '/')
            name = at + 1;
    return *name && *name != ' ' ? name : command;
}

/* "│  └─ " of a row: which of its ancestors have further children below. */
static void put_branch(const hl_report *r, uint32_t row, const uint32_t *last_child, char *text, size_t bytes)
{
    const hl_model_process *all = r->model->processes.row;
    uint32_t path[32], depth = 0;
    for (uint32_t at = row; all[at].parent != HL_NO_ROW && depth < 32; at = all[at].parent)
        path[depth++] = at;
    size_t used = 0;
    text[0] = '\0';
    while (depth-- > 0) {
        bool last = last_child[all[path[depth]].parent] == path[depth];
        const char *piece = depth  ? (last ? "   " : hl_glyph(&r->out, "│  ", "|  "))
                            : last ? hl_glyph(&r->out, "└─ ", "`- ")
                                   : hl_glyph(&r->out, "├─ ", "|- ");
        if (used + strlen(piece) + 1 < bytes)
            used += (size_t)snprintf(text + used, bytes - used, "%s", piece);
    }
}

/* Rows with children below their parents, in order of birth. From malloc. */
static uint32_t *order_rows(const hl_model *m, uint32_t *last_child)
{
    uint32_t n = m->processes.n, at = 0, *order = calloc(n + 1, sizeof *order), *first = calloc(n + 1, sizeof *first),
             *next = calloc(n + 1, sizeof *next);
    if (order && first && next) {
        for (uint32_t i = n; i-- > 0;) { /* lists by parent; n: those without one. Row + 1; 0: none */
            uint32_t parent = m->processes.row[i].parent == HL_NO_ROW ? n : m->processes.row[i].parent;
            next[i] = first[parent];
            first[parent] = i + 1;
            if (!next[i] && parent < n)
                last_child[parent] = i;
        }
        for (uint32_t row = first[n]; row;) {
            order[at++] = row - 1;
            uint32_t walk = row;
            row = first[row - 1];
            while (!row && walk) {
                row = next[walk - 1];
                uint32_t parent = m->processes.row[walk - 1].parent;
                walk = parent == HL_NO_ROW ? 0 : parent + 1;
            }
        }
    } else {
        free(order);
        order = NULL;
    }
    free(first);
    free(next);
    return order;
}

/* The recordings of a merged profile; their processes follow in the same order. */
static void put_recordings(hl_report *r)
{
    static const hl_column columns[] = {
        {.title = "Recording", .least = 16},
        {.title = "Peak", .right = true, .style = HL_BOLD},
        {.title = "From", .right = true, .drop = 4},
        {.title = "Ran for", .right = true, .drop = 3},
        {.title = "Ended", .style = HL_YELLOW},
        {.title = "Host", .drop = 2, .least = 10},
        {.title = "Labels", .drop = 1, .least = 12, .tail = true},
        {.title = "Command", .drop = 5, .least = 16, .tail = true},
    };
    const hl_model *m = r->model;
    hl_out_put(&r->out, "\n");
    hl_grid grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns);
    for (uint32_t i = 0; i < m->recordings.n; i++) {
        const hl_model_recording *at = &m->recordings.row[i];
        const char *name = at->signal >= 0 ? hl_signal_name(at->signal) : NULL;
        hl_grid_row(&grid);
        hl_grid_text(&grid, at->name);
        hl_grid_size(&grid, at->peak);
        hl_grid_time(&grid, at->offset_ns);
        hl_grid_time(&grid, at->length_ns);
        if (at->oom_scope)
            hl_grid_text(&grid, "out of memory");
        else if (name)
            hl_grid_text(&grid, name);
        else if (at->signal >= 0)
            hl_grid_textf(&grid, "signal %lld", (long long)at->signal);
        else if (at->exit_status >= 0)
            hl_grid_textf(&grid, "exit %lld", (long long)at->exit_status);
        else
            hl_grid_text(&grid, strcmp(at->state, "finished") == 0 ? "not seen" : at->state);
        hl_grid_text(&grid, at->host);
        hl_grid_text(&grid, at->labels);
        hl_grid_text(&grid, at->command);
    }
    hl_grid_end(&grid);
}

static void write_text(hl_report *r, const uint32_t *order, const uint32_t *last_child)
{
    static const hl_column columns[] = {
        {.title = "Pid"},
        {.title = "Peak", .right = true, .style = HL_BOLD},
        {.title = "Allocated", .right = true, .drop = 3},
        {.title = "RSS peak", .right = true, .drop = 2},
        {.title = "Ran for", .right = true, .drop = 4},
        {.title = "Ended", .style = HL_YELLOW},
        {.title = "Python", .drop = 1},
        {.title = "Command", .least = 16, .tail = true},
    };
    const hl_model *m = r->model;
    if (m->recordings.n && r->view.process == HL_NO_ROW)
        put_recordings(r);
    hl_out_put(&r->out, "\n");
    hl_grid grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns);
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[order[i]];
        if (r->view.process != HL_NO_ROW && r->view.process != order[i])
            continue;
        char branch[160];
        put_branch(r, order[i], last_child, branch, sizeof branch);
        hl_grid_row(&grid);
        hl_grid_textf(&grid, "%s%lld", branch, (long long)p->pid);
        if (is_followed(p)) {
            hl_grid_size(&grid, p->peak);
            hl_grid_size(&grid, p->allocated);
        } else {
            hl_grid_text(&grid, hl_glyph(&r->out, "–", "-"));
            hl_grid_blank(&grid);
        }
        if (p->rss_peak)
            hl_grid_size(&grid, p->rss_peak);
        else
            hl_grid_blank(&grid);
        hl_grid_time(&grid, p->end_ns - p->start_ns);
        put_ending(&grid, p);
        hl_grid_text(&grid, p->python);
        hl_grid_text(&grid, without_directory(*p->command ? p->command : p->executable));
    }
    hl_grid_end(&grid);
    bool first = true;
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[order[i]];
        if (!*p->reason || (r->view.process != HL_NO_ROW && r->view.process != order[i]))
            continue;
        if (first)
            hl_out_put(&r->out, "\n");
        first = false;
        hl_out clean;
        hl_out_begin(&clean, r->out.terminal);
        hl_out_clean(&clean, p->reason, strlen(p->reason));
        hl_report_remark(r, "%lld %s: %.*s", (long long)p->pid, is_followed(p) ? "recorded in part" : "not followed",
                         (int)(clean.bytes < 900 ? clean.bytes : 900), clean.bytes ? clean.at : "");
        hl_out_release(&clean);
    }
}

/* {"job": "17", "rank": "0"}. */
static void json_labels(const hl_model *m, hl_json *json, int64_t recording)
{
    sqlite3_stmt *rows = NULL;
    hl_json_row(json, "labels");
    if (sqlite3_prepare_v2(m->database, "SELECT key, value FROM recording_label WHERE recording = ?1 ORDER BY key", -1,
                           &rows, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(rows, 1, recording);
        while (sqlite3_step(rows) == SQLITE_ROW) {
            const char *key = (const char *)sqlite3_column_text(rows, 0);
            hl_json_text(json, key ? key : "", (const char *)sqlite3_column_text(rows, 1));
        }
    }
    sqlite3_finalize(rows);
    hl_json_end(json);
}

static void json_recordings(const hl_model *m, hl_json *json)
{
    hl_json_array(json, "recordings");
    for (uint32_t i = 0; i < m->recordings.n; i++) {
        const hl_model_recording *r = &m->recordings.row[i];
        bool any = r->first_process <= r->last_process && r->last_process < m->processes.n;
        hl_json_row(json, NULL);
        hl_json_int(json, "id", r->id);
        hl_json_text(json, "name", r->name);
        hl_json_int(json, "first_process", any ? m->processes.row[r->first_process].id : 0);
        hl_json_int(json, "last_process", any ? m->processes.row[r->last_process].id : 0);
        hl_json_text(json, "host", r->host);
        hl_json_text(json, "command", r->command);
        json_labels(m, json, r->id);
        hl_json_seconds(json, "start_s", r->offset_ns);
        hl_json_seconds(json, "duration_s", r->length_ns);
        hl_json_text(json, "state", r->state);
        if (r->exit_status >= 0)
            hl_json_int(json, "exit", r->exit_status);
        else
            hl_json_null(json, "exit");
        if (r->signal >= 0)
            hl_json_int(json, "signal", r->signal);
        else
            hl_json_null(json, "signal");
        hl_json_int(json, "peak_bytes", (int64_t)r->peak);
        hl_json_int(json, "peak_bound_bytes", (int64_t)r->peak_bound);
        hl_json_seconds(json, "peak_time_s", r->peak_ns);
        hl_json_int(json, "rss_peak_bytes", (int64_t)r->rss_peak);
        hl_json_end(json);
    }
    hl_json_end(json);
}

static void write_json(hl_report *r, const uint32_t *order)
{
    const hl_model *m = r->model;
    hl_json json = hl_report_json(r, "heapline.processes/1");
    if (m->recordings.n)
        json_recordings(m, &json);
    hl_json_array(&json, "processes");
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[order[i]];
        if (r->view.process != HL_NO_ROW && r->view.process != order[i])
            continue;
        bool exited = strcmp(p->ended, "exit") == 0, killed = strcmp(p->ended, "signal") == 0;
        hl_json_row(&json, NULL);
        hl_json_int(&json, "pid", p->pid);
        if (p->parent_pid > 0)
            hl_json_int(&json, "parent", p->parent_pid);
        else if (p->parent != HL_NO_ROW)
            hl_json_int(&json, "parent", m->processes.row[p->parent].pid);
        else
            hl_json_null(&json, "parent");
        hl_json_int(&json, "id", p->id);
        if (p->parent != HL_NO_ROW)
            hl_json_int(&json, "parent_id", m->processes.row[p->parent].id);
        else
            hl_json_null(&json, "parent_id");
        hl_json_text(&json, "born_by", p->born_by);
        hl_json_text(&json, "command", p->command);
        hl_json_text(&json, "executable", p->executable);
        hl_json_text(&json, "python", p->python);
        hl_json_bool(&json, "followed", is_followed(p));
        hl_json_text(&json, "recorded", p->recorded);
        hl_json_text(&json, "reason", p->reason);
        hl_json_seconds(&json, "start_s", p->start_ns);
        hl_json_seconds(&json, "end_s", p->end_ns);
        hl_json_text(&json, "ended", p->ended);
        if (exited)
            hl_json_int(&json, "exit", p->exit_status);
        else
            hl_json_null(&json, "exit");
        if (killed)
            hl_json_int(&json, "signal", p->exit_status);
        else
            hl_json_null(&json, "signal");
        hl_json_int(&json, "peak_bytes", (int64_t)p->peak);
        hl_json_seconds(&json, "peak_time_s", p->peak_ns);
        hl_json_int(&json, "allocations", (int64_t)p->allocations);
        hl_json_int(&json, "allocated_bytes", (int64_t)p->allocated);
        hl_json_int(&json, "frees", (int64_t)p->frees);
        hl_json_int(&json, "freed_bytes", (int64_t)p->freed);
        hl_json_int(&json, "live_end_bytes", (int64_t)p->live);
        hl_json_int(&json, "live_end_blocks", (int64_t)p->live_blocks);
        hl_json_int(&json, "inherited_frees", (int64_t)p->inherited_frees);
        hl_json_int(&json, "unknown_frees", (int64_t)p->unknown_frees);
        hl_json_int(&json, "earlier_frees", (int64_t)p->earlier_frees);
        hl_json_int(&json, "events_lost", (int64_t)p->lost);
        hl_json_seconds(&json, "waited_s", p->waited_ns);
        hl_json_int(&json, "rss_peak_bytes", (int64_t)p->rss_peak);
        hl_json_end(&json);
    }
    hl_json_end(&json);
    hl_json_end(&json);
}

int hl_report_processes(hl_report *r)
{
    uint32_t *last_child = calloc(r->model->processes.n + 1, sizeof *last_child);
    uint32_t *order = last_child ? order_rows(r->model, last_child) : NULL;
    int error = order ? 0 : -ENOMEM;
    if (order && r->json)
        write_json(r, order);
    else if (order && !(error = hl_report_head(r)))
        write_text(r, order, last_child);
    free(order);
    free(last_child);
    return error;
}
