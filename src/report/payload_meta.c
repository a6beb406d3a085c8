/*
 * payload_meta.c - the header's "meta": what happened in words, totals, processes, threads, marks. See payload_parts.h.
 *
 * Words and totals come from the functions that the other reports have them from, so the page can be checked against
 * itself and never says anything else than `heapline stats`.
 */
#include "payload_parts.h"
#include "totals.h"
#include "verdict.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARKS_MOST = 10000, SENTENCE_COLUMNS = 200 };

static const hl_terminal plain = {.width = SENTENCE_COLUMNS, .utf8 = true};

/* -------------------------------------------------------------------------------------------------------- sentences */

int hl_payload_say(hl_payload_work *w)
{
    hl_model *m = w->model;
    char size[HL_NUMBER_BYTES];
    hl_out command;
    hl_out_begin(&w->title, plain);
    hl_out_begin(&w->summary, plain);
    hl_out_begin(&command, plain);
    const char *words = hl_model_text(m, "command", "");
    hl_out_clean(&command, words, strlen(words));
    if (m->recorded)
        hl_outf(&w->title, m->recordings.n && m->recorded > 1 ? "peaks add up to %s: " : "peak %s: ",
                hl_size_text(size, (int64_t)m->peak));
    if (command.bytes)
        hl_out_middle(&w->title, command.at, command.bytes, 80);
    hl_out_put(&w->title, command.bytes ? " - heapline" : "heapline");
    int error = hl_verdict_head(m, &w->summary);
    if (w->title.failed || w->summary.failed || command.failed)
        error = -ENOMEM;
    hl_out_release(&command);
    if (error == -ENOMEM)
        snprintf(w->why, w->why_bytes, "out of memory");
    else if (error)
        snprintf(w->why, w->why_bytes, "the profile cannot be read");
    return error;
}

static void put_sentences(hl_json *json, const hl_out *summary)
{
    hl_json_array(json, "verdict");
    for (size_t at = 0; at < summary->bytes;) {
        const char *end = memchr(summary->at + at, '\n', summary->bytes - at);
        size_t n = end ? (size_t)(end - summary->at) - at : summary->bytes - at;
        if (n)
            hl_json_bytes(json, NULL, summary->at + at, n);
        at += n + 1;
    }
    hl_json_end(json);
}

/* ----------------------------------------------------------------------------------------------------------- totals */

static void put_totals(const hl_model *m, hl_json *json)
{
    hl_totals t = hl_totals_of(m, HL_NO_ROW);
    hl_json_object(json, "totals");
    hl_json_int(json, "peak_bytes", (int64_t)m->peak);
    hl_json_int(json, "peak_blocks", (int64_t)m->peak_blocks);
    hl_json_int(json, "peak_ns", (int64_t)m->peak_ns);
    hl_json_int(json, "peak_bound_bytes", (int64_t)m->peak_bound);
    hl_json_int(json, "allocations", (int64_t)t.allocations);
    hl_json_int(json, "allocated_bytes", (int64_t)t.allocated);
    hl_json_int(json, "frees", (int64_t)t.frees);
    hl_json_int(json, "freed_bytes", (int64_t)t.freed);
    hl_json_int(json, "live_end_bytes", (int64_t)t.live);
    hl_json_int(json, "live_end_blocks", (int64_t)t.live_blocks);
    hl_json_int(json, "unknown_frees", (int64_t)t.unknown_frees);
    hl_json_int(json, "inherited_frees", (int64_t)t.inherited_frees);
    hl_json_int(json, "earlier_frees", (int64_t)t.earlier_frees);
    hl_json_int(json, "arena_peak_bytes", (int64_t)t.arena_peak);
    hl_json_int(json, "rss_peak_bytes", (int64_t)t.rss_peak);
    hl_json_int(json, "pool_peak_bytes", (int64_t)t.pool_peak);
    hl_json_int(json, "threads", (int64_t)t.threads);
    hl_json_int(json, "processes", m->processes.n);
    if (m->recordings.n)
        hl_json_int(json, "peak_seen_bytes", (int64_t)m->peak_seen);
    hl_json_end(json);
    hl_json_text(json, "python", t.python);
}

static int put_moments(hl_payload_work *w, hl_json *json)
{
    static const struct {
        const char *name;
        hl_selection selection;
    } moments[] = {
        {"peak", {.moment = HL_AT_PEAK}},
        {"end", {.moment = HL_AT_END}},
        {"leaks", {.moment = HL_LEAKED}},
        {"allocated", {.moment = HL_ALLOCATED}},
        {"temporary", {.moment = HL_TEMPORARY, .within = 1}},
    };
    hl_json_array(json, "moments");
    int error = 0;
    for (size_t i = 0; i < sizeof moments / sizeof *moments && !error; i++) {
        hl_view view;
        char title[96];
        error = hl_view_open(&view, w->model, &moments[i].selection, w->why, w->why_bytes);
        if (error)
            break;
        hl_json_row(json, NULL);
        hl_json_text(json, "moment", moments[i].name);
        hl_json_text(json, "title", hl_view_title(&view, title, sizeof title));
        hl_json_int(json, "bytes", (int64_t)view.total.bytes);
        hl_json_int(json, "count", (int64_t)view.total.blocks);
        hl_json_end(json);
        hl_view_release(&view);
    }
    hl_json_end(json);
    return error;
}

static int put_rss(hl_payload_work *w, hl_json *json)
{
    hl_rss_parts p;
    int error = hl_rss_divide(w->model, HL_NO_ROW, &p, w->why, w->why_bytes);
    if (error)
        return error;
    if (!p.known) {
        hl_json_null(json, "rss_at_peak");
        return 0;
    }
    hl_json_object(json, "rss_at_peak");
    hl_json_int(json, "time_ns", (int64_t)p.time_ns);
    hl_json_bool(json, "at_peak", p.at_peak);
    hl_json_int(json, "rss_bytes", p.rss);
    hl_json_int(json, "heap_bytes", p.heap);
    hl_json_int(json, "arena_slack_bytes", p.slack);
    hl_json_int(json, "pool_bytes", p.pool);
    hl_json_int(json, "file_bytes", p.file);
    hl_json_int(json, "shared_bytes", p.shared);
    hl_json_int(json, "rest_bytes", p.rest);
    hl_json_end(json);
    return 0;
}

/* ------------------------------------------------------------------------------------------- processes and the rest */

static void put_row_or_null(hl_json *json, const char *key, uint32_t row)
{
    if (row == HL_NO_ROW)
        hl_json_null(json, key);
    else
        hl_json_int(json, key, row);
}

static void put_processes(const hl_model *m, hl_json *json)
{
    hl_json_array(json, "processes");
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[i];
        hl_json_row(json, NULL);
        hl_json_int(json, "pid", p->pid);
        put_row_or_null(json, "parent", p->parent);
        hl_json_int(json, "parent_pid", p->parent_pid);
        hl_json_text(json, "born_by", p->born_by);
        hl_json_text(json, "command", p->command);
        hl_json_text(json, "executable", p->executable);
        hl_json_text(json, "python", p->python);
        hl_json_text(json, "recorded", p->recorded);
        hl_json_text(json, "reason", p->reason);
        hl_json_int(json, "start_ns", (int64_t)p->start_ns);
        hl_json_int(json, "end_ns", (int64_t)p->end_ns);
        hl_json_text(json, "ended", p->ended);
        hl_json_int(json, "exit_status", p->exit_status);
        hl_json_int(json, "allocations", (int64_t)p->allocations);
        hl_json_int(json, "allocated", (int64_t)p->allocated);
        hl_json_int(json, "frees", (int64_t)p->frees);
        hl_json_int(json, "freed", (int64_t)p->freed);
        hl_json_int(json, "live", (int64_t)p->live);
        hl_json_int(json, "live_blocks", (int64_t)p->live_blocks);
        hl_json_int(json, "peak", (int64_t)p->peak);
        hl_json_int(json, "peak_ns", (int64_t)p->peak_ns);
        hl_json_int(json, "peak_blocks", (int64_t)p->peak_blocks);
        hl_json_int(json, "rss_peak", (int64_t)p->rss_peak);
        hl_json_int(json, "arena_peak", (int64_t)p->arena_peak);
        hl_json_int(json, "lost", (int64_t)p->lost);
        hl_json_int(json, "unknown_frees", (int64_t)p->unknown_frees);
        hl_json_int(json, "inherited_frees", (int64_t)p->inherited_frees);
        hl_json_text(json, "pool_libraries", p->pool_owners);
        hl_json_int(json, "pool_peak", (int64_t)p->pool_peak);
        hl_json_end(json);
    }
    hl_json_end(json);
}

static void put_threads(const hl_model *m, hl_json *json)
{
    hl_json_array(json, "threads");
    for (uint32_t i = 0; i < m->threads.n; i++) {
        const hl_model_thread *t = &m->threads.row[i];
        hl_json_row(json, NULL);
        hl_json_int(json, "process", t->process == HL_NO_ROW ? 0 : t->process);
        if (t->tid)
            hl_json_int(json, "tid", t->tid);
        else
            hl_json_null(json, "tid");
        hl_json_text(json, "name", t->name);
        hl_json_int(json, "threads", (int64_t)t->threads);
        hl_json_text(json, "region", t->region);
        hl_json_int(json, "base", t->base);
        hl_json_end(json);
    }
    hl_json_end(json);
}

static void put_allocators(const hl_model *m, hl_json *json)
{
    hl_json_list(json, "allocators");
    for (uint32_t i = 0; i < m->allocators.n; i++)
        hl_json_text(json, NULL, m->allocators.row[i].name);
    hl_json_text(json, NULL, "(unknown)");
    hl_json_end(json);
}

static void put_recordings(const hl_model *m, hl_json *json)
{
    if (!m->recordings.n)
        return;
    hl_json_array(json, "recordings");
    for (uint32_t i = 0; i < m->recordings.n; i++) {
        const hl_model_recording *r = &m->recordings.row[i];
        hl_json_row(json, NULL);
        hl_json_text(json, "name", r->name);
        hl_json_text(json, "host", r->host);
        hl_json_text(json, "command", r->command);
        hl_json_text(json, "labels", r->labels);
        hl_json_text(json, "state", r->state);
        hl_json_int(json, "first_process", r->first_process);
        hl_json_int(json, "last_process", r->last_process);
        hl_json_int(json, "offset_ns", (int64_t)r->offset_ns);
        hl_json_int(json, "length_ns", (int64_t)r->length_ns);
        hl_json_int(json, "peak", (int64_t)r->peak);
        hl_json_int(json, "peak_ns", (int64_t)r->peak_ns);
        hl_json_int(json, "exit_status", r->exit_status);
        hl_json_int(json, "signal", r->signal);
        hl_json_end(json);
    }
    hl_json_end(json);
}

static void put_notes(const hl_model *m, hl_json *json)
{
    hl_json_array(json, "notes");
    for (uint32_t i = 0; i < m->notes.n; i++) {
        hl_json_row(json, NULL);
        put_row_or_null(json, "process", m->notes.row[i].process);
        hl_json_text(json, "text", m->notes.row[i].text);
        hl_json_end(json);
    }
    hl_json_end(json);
}

static uint32_t process_row(const hl_model *m, sqlite3_stmt *row, int column)
{
    int64_t id = sqlite3_column_int64(row, column);
    for (uint32_t i = 0; i < m->processes.n; i++)
        if (m->processes.row[i].id == id)
            return i;
    return HL_NO_ROW;
}

static int64_t count_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value < 0 ? 0 : value;
}

/* Calls `put` for each row of a query into an array. */
static int put_each(hl_payload_work *w, hl_json *json, const char *key, const char *sql,
                    void put(const hl_model *m, sqlite3_stmt *row, hl_json *json))
{
    sqlite3_stmt *row;
    int step = SQLITE_ERROR;
    hl_json_array(json, key);
    if (sqlite3_prepare_v2(w->model->database, sql, -1, &row, NULL) == SQLITE_OK) {
        while ((step = sqlite3_step(row)) == SQLITE_ROW) {
            hl_json_row(json, NULL);
            put(w->model, row, json);
            hl_json_end(json);
        }
    }
    if (step != SQLITE_DONE)
        snprintf(w->why, w->why_bytes, "%s", sqlite3_errmsg(w->model->database));
    sqlite3_finalize(row);
    hl_json_end(json);
    return step == SQLITE_DONE ? 0 : -EIO;
}

static void put_mark(const hl_model *m, sqlite3_stmt *row, hl_json *json)
{
    hl_json_int(json, "time_ns", count_of(row, 0));
    put_row_or_null(json, "process", process_row(m, row, 1));
    hl_json_text(json, "kind", (const char *)sqlite3_column_text(row, 2));
    hl_json_text(json, "name", (const char *)sqlite3_column_text(row, 3));
}

static void put_mapping(const hl_model *m, sqlite3_stmt *row, hl_json *json)
{
    put_row_or_null(json, "process", process_row(m, row, 0));
    hl_json_text(json, "class", (const char *)sqlite3_column_text(row, 1));
    hl_json_int(json, "count", count_of(row, 2));
    hl_json_int(json, "mapped", count_of(row, 3));
    hl_json_int(json, "live", count_of(row, 4));
    hl_json_int(json, "peak", count_of(row, 5));
}

static int put_marks(hl_payload_work *w, hl_json *json)
{
    char sql[160];
    snprintf(sql, sizeof sql, "SELECT time_ns, process, kind, name FROM mark ORDER BY time_ns, rowid LIMIT %d",
             MARKS_MOST);
    int error = put_each(w, json, "marks", sql, put_mark);
    sqlite3_stmt *count;
    int64_t all = 0;
    if (!error && sqlite3_prepare_v2(w->model->database, "SELECT count(*) FROM mark", -1, &count, NULL) == SQLITE_OK) {
        all = sqlite3_step(count) == SQLITE_ROW ? sqlite3_column_int64(count, 0) : 0;
        sqlite3_finalize(count);
    }
    hl_json_int(json, "marks_left_out", all > MARKS_MOST ? all - MARKS_MOST : 0);
    return error;
}

/* ------------------------------------------------------------------------------------------------------------- all */

static void put_facts(hl_payload_work *w, hl_json *json)
{
    static const char *const texts[] = {"heapline", "command", "directory", "host", "options", "state"};
    static const char *const numbers[] = {"start_unix_ns", "events",      "lost",
                                          "folded_stacks", "folded_rows", "waited_ns"};
    const hl_model *m = w->model;
    const char *name = w->options->path ? w->options->path : "";
    char owners[256];
    hl_json_bytes(json, "title", w->title.bytes ? w->title.at : "", w->title.bytes);
    put_sentences(json, &w->summary);
    hl_json_text(json, "profile", strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hl_json_text(json, texts[i], hl_model_text(m, texts[i], ""));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hl_json_int(json, numbers[i], hl_model_number(m, numbers[i], 0));
    hl_json_int(json, "exit", hl_model_number(m, "exit_status", -1));
    hl_json_int(json, "signal", hl_model_number(m, "signal", -1));
    hl_json_bool(json, "running", m->running);
    hl_json_bool(json, "native_only", m->native_only);
    hl_json_text(json, "end_words", hl_model_end_words(m));
    hl_json_text(json, "pool_libraries", hl_model_pool_owners(m, HL_NO_ROW, owners, sizeof owners));
    hl_json_int(json, "recorded_processes", m->recorded);
    hl_json_int(json, "tick_ns", (int64_t)w->tick_ns);
    hl_json_int(json, "cell_tick_ns", (int64_t)w->cell_tick_ns);
    hl_json_int(json, "length_ns", (int64_t)m->now_ns);
    hl_json_text(json, "editor", w->options->editor);
}

static void put_budget(hl_payload_work *w, hl_json *json, uint64_t folded_bytes_most)
{
    char share[32];
    hl_json_row(json, "sources_left_out");
    hl_json_int(json, "private", w->sources.private);
    hl_json_int(json, "budget", w->sources.unfit);
    hl_json_end(json);
    hl_json_row(json, "budget");
    hl_json_int(json, "bytes", (int64_t)w->options->budget_bytes);
    hl_json_int(json, "nodes", w->model->stacks.n);
    hl_json_int(json, "folded_nodes", w->model->stacks.n - w->fold.kept);
    snprintf(share, sizeof share, "%.9f", w->fold.share_most);
    hl_json_raw(json, "folded_share_most", share, strlen(share));
    hl_json_int(json, "folded_bytes_most", (int64_t)folded_bytes_most);
    hl_json_end(json);
}

/* By row of the old payload's frames the row of this one's. */
static void put_match(hl_payload_work *w, hl_json *json)
{
    const hl_frame_match *match = w->options->match;
    if (!match)
        return;
    hl_json_list(json, "match");
    for (uint32_t i = 0; i < match->old_count; i++) {
        uint32_t partner = match->partner[match->old_rows[i]];
        uint32_t row = partner == HL_NO_ROW ? HL_NO_ROW : w->frame[partner];
        hl_json_int(json, NULL, row == HL_NO_ROW ? -1 : (int64_t)row);
    }
    hl_json_end(json);
}

/* Most bytes at the peak that a node which is not kept had, with all below it. */
static int find_folded_most(const hl_payload_work *w, uint64_t *most)
{
    const hl_model *m = w->model;
    uint64_t *sums = calloc(m->stacks.n, sizeof *sums);
    *most = 0;
    if (!sums)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->stats.n; i++)
        sums[m->stats.row[i].stack] += m->recorded > 1 ? m->stats.row[i].tree_peak : m->stats.row[i].peak;
    for (uint32_t i = m->stacks.n; i-- > 1;) {
        sums[m->stacks.row[i].parent] += sums[i];
        bool is_kept = w->fold.from[w->fold.moved[i]] == i;
        if (!is_kept && sums[i] > *most)
            *most = sums[i];
    }
    free(sums);
    return 0;
}

int hl_payload_put_meta(hl_payload_work *w, hl_json *json)
{
    uint64_t folded_bytes_most = 0;
    hl_json_int(json, "format", 1);
    hl_json_object(json, "meta");
    put_facts(w, json);
    put_totals(w->model, json);
    int error = put_moments(w, json);
    if (!error)
        error = put_rss(w, json);
    put_processes(w->model, json);
    put_threads(w->model, json);
    put_allocators(w->model, json);
    put_recordings(w->model, json);
    put_notes(w->model, json);
    if (!error)
        error = put_marks(w, json);
    if (!error)
        error = put_each(w, json, "mappings",
                         "SELECT process, class, count, mapped, live, peak FROM mapping ORDER BY process, class",
                         put_mapping);
    if (!error && w->fold.kept < w->model->stacks.n)
        error = find_folded_most(w, &folded_bytes_most);
    put_budget(w, json, folded_bytes_most);
    put_match(w, json);
    hl_json_end(json);
    return error;
}
