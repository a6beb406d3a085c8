/* Views: a selection of a model and what each row weighs in it. See model.h. */
#include "model.h"
#include "number.h"
#include "varint.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether `name` is one of the regions in "request route=/users / query", with its attributes or without; or all of it. */
static bool is_in_region(const char *path, const char *name)
{
    size_t n = strlen(name);
    if (path && strcmp(path, name) == 0)
        return true;
    for (const char *at = path; at; at = strstr(at, " / "), at = at ? at + 3 : NULL) {
        if (strncmp(at, name, n) == 0 && (at[n] == '\0' || at[n] == ' '))
            return true;
    }
    return false;
}

bool hl_view_takes(const hl_view *view, const hl_stat *stat)
{
    if (view->process != HL_NO_ROW && stat->process != view->process)
        return false;
    if (!view->selection.thread && !view->selection.region)
        return true;
    if (stat->thread == HL_NO_ROW)
        return false;
    const hl_model_thread *thread = &view->model->threads.row[stat->thread];
    if (view->selection.region && !is_in_region(thread->region, view->selection.region))
        return false;
    if (!view->selection.thread)
        return true;
    char tid[24];
    snprintf(tid, sizeof tid, "%lld", (long long)thread->tid);
    return strcmp(thread->name, view->selection.thread) == 0 ||
           (thread->tid && strcmp(tid, view->selection.thread) == 0);
}

/* The row with this pid. Of several lives of one pid the one that allocated most. */
static uint32_t process_with(const hl_model *m, int64_t pid)
{
    uint32_t found = HL_NO_ROW;
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[i];
        if (p->pid == pid && (found == HL_NO_ROW || p->allocated > m->processes.row[found].allocated))
            found = i;
    }
    return found;
}

/* Whether a pid is of processes in more than one recording of a merged profile, whose machines know nothing of each other. */
static bool is_ambiguous(const hl_model *m, int64_t pid)
{
    uint32_t recordings = 0;
    for (uint32_t i = 0; i < m->recordings.n; i++) {
        const hl_model_recording *r = &m->recordings.row[i];
        bool found = false;
        for (uint32_t p = r->first_process; p <= r->last_process && p < m->processes.n && !found; p++)
            found = m->processes.row[p].pid == pid;
        recordings += found;
    }
    return recordings > 1;
}

static bool has_region(const hl_view *view)
{
    const hl_model *m = view->model;
    for (uint32_t i = 0; i < m->threads.n; i++) {
        if (is_in_region(m->threads.row[i].region, view->selection.region))
            return true;
    }
    return false;
}

static bool has_thread(const hl_view *view)
{
    const hl_model *m = view->model;
    for (uint32_t i = 0; i < m->threads.n; i++) {
        hl_stat stat = {.process = m->threads.row[i].process, .thread = i};
        if (hl_view_takes(view, &stat))
            return true;
    }
    return false;
}

static uint32_t stat_row(const hl_model *m, int64_t id)
{
    uint32_t low = 0, high = m->stats.n;
    if (id >= 1 && id <= m->stats.n && m->stats.row[id - 1].id == id)
        return (uint32_t)(id - 1);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->stats.row[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->stats.n && m->stats.row[low].id == id ? low : HL_NO_ROW;
}

/* Cells that are alive at the end of `tick`, of processes that had not ended by then; or those that were never freed. Both may
 * be of blocks from a time on only. */
static int weigh_by_time(hl_view *view, char *why, size_t why_bytes)
{
    hl_model *m = view->model;
    uint64_t boundary_ns = view->selection.time_ns; /* rounded already; now_ns for the very end */
    bool never_freed = view->selection.moment != HL_AT_TIME, end = never_freed || boundary_ns >= m->now_ns;
    int64_t tick = end ? INT64_MAX - 1 : (int64_t)(boundary_ns / m->cell_tick_ns) - 1;
    sqlite3_stmt *cells;
    if (sqlite3_prepare_v2(m->database,
                           "SELECT stat, blocks, bytes FROM cell WHERE born >= ?2 AND born <= ?1 AND (died IS NULL OR "
                           "died > ?1)",
                           -1, &cells, NULL) != SQLITE_OK) {
        snprintf(why, why_bytes, "%s", sqlite3_errmsg(m->database));
        return -EIO;
    }
    sqlite3_bind_int64(cells, 1, tick);
    sqlite3_bind_int64(cells, 2, (int64_t)(view->selection.since_ns / m->cell_tick_ns));
    int step;
    while ((step = sqlite3_step(cells)) == SQLITE_ROW) {
        uint32_t row = stat_row(m, sqlite3_column_int64(cells, 0));
        if (row == HL_NO_ROW)
            continue;
        const hl_model_process *p = &m->processes.row[m->stats.row[row].process];
        bool ended = strcmp(p->ended, "running") != 0 && p->end_ns <= boundary_ns;
        if ((ended && !never_freed) || !hl_view_takes(view, &m->stats.row[row]))
            continue;
        view->stats[row].blocks += (uint64_t)sqlite3_column_int64(cells, 1);
        view->stats[row].bytes += (uint64_t)sqlite3_column_int64(cells, 2);
    }
    sqlite3_finalize(cells);
    return step == SQLITE_DONE ? 0 : -EIO;
}

static int weigh_temporary(hl_view *view, unsigned buckets, char *why, size_t why_bytes)
{
    hl_model *m = view->model;
    sqlite3_stmt *blobs;
    if (sqlite3_prepare_v2(m->database, "SELECT id, temporary FROM stat WHERE temporary IS NOT NULL", -1, &blobs,
                           NULL) != SQLITE_OK) {
        snprintf(why, why_bytes, "%s", sqlite3_errmsg(m->database));
        return -EIO;
    }
    int step;
    while ((step = sqlite3_step(blobs)) == SQLITE_ROW) {
        uint32_t row = stat_row(m, sqlite3_column_int64(blobs, 0));
        if (row == HL_NO_ROW || !hl_view_takes(view, &m->stats.row[row]))
            continue;
        const unsigned char *at = sqlite3_column_blob(blobs, 1);
        if (!at) /* an empty one */
            continue;
        const unsigned char *end = at + sqlite3_column_bytes(blobs, 1);
        uint64_t count, bytes;
        for (unsigned i = 0; i < buckets && hl_varint_next(&at, end, &count) && hl_varint_next(&at, end, &bytes); i++) {
            view->stats[row].blocks += count;
            view->stats[row].bytes += bytes;
        }
    }
    sqlite3_finalize(blobs);
    return step == SQLITE_DONE ? 0 : -EIO;
}

static void weigh_by_row(hl_view *view)
{
    const hl_model *m = view->model;
    for (uint32_t i = 0; i < m->stats.n; i++) {
        const hl_stat *s = &m->stats.row[i];
        if (!hl_view_takes(view, s))
            continue;
        switch (view->selection.moment) {
        case HL_AT_PEAK:
            view->stats[i] =
                view->tree_peak ? (hl_weight){s->tree_peak, s->tree_peak_blocks} : (hl_weight){s->peak, s->peak_blocks};
            break;
        case HL_ALLOCATED:
            view->stats[i] = (hl_weight){s->allocated, s->allocations};
            break;
        default:
            view->stats[i] = (hl_weight){s->live, s->live_blocks};
        }
    }
}

static int choose(hl_view *view, char *why, size_t why_bytes)
{
    hl_model *m = view->model;
    hl_selection *s = &view->selection;
    view->process = HL_NO_ROW;
    if (s->pid) {
        view->process = process_with(m, s->pid);
        if (view->process == HL_NO_ROW) {
            snprintf(why, why_bytes, "no process %lld in it (heapline processes lists them)", (long long)s->pid);
            return -ENOENT;
        }
        if (is_ambiguous(m, s->pid)) {
            snprintf(why, why_bytes, "several recordings have a process %lld (ask the profile that was merged)",
                     (long long)s->pid);
            return -ENOENT;
        }
    }
    if (s->thread && !has_thread(view)) {
        snprintf(why, why_bytes, "no thread \"%.80s\" in it (heapline stats lists them)", s->thread);
        return -ENOENT;
    }
    if (s->region && !has_region(view)) {
        snprintf(why, why_bytes, "no region \"%.80s\" in it (heapline stats lists them)", s->region);
        return -ENOENT;
    }
    view->tree_peak = view->process == HL_NO_ROW && m->recorded > 1;
    return 0;
}

int hl_view_open(hl_view *view, hl_model *model, const hl_selection *selection, char *why, size_t why_bytes)
{
    *view = (hl_view){.model = model, .selection = *selection};
    int error = choose(view, why, why_bytes);
    if (error)
        return error;
    view->selection.since_ns -= selection->since_ns % model->cell_tick_ns;
    view->stats = calloc(model->stats.n ? model->stats.n : 1, sizeof *view->stats);
    view->stacks = calloc(model->stacks.n ? model->stacks.n : 1, sizeof *view->stacks);
    if (!view->stats || !view->stacks) {
        snprintf(why, why_bytes, "out of memory");
        error = -ENOMEM;
    } else if (selection->moment == HL_AT_TIME) {
        uint64_t boundary_ns = selection->time_ns / model->cell_tick_ns * model->cell_tick_ns;
        view->selection.time_ns = selection->time_ns >= model->now_ns ? model->now_ns : boundary_ns;
        error = weigh_by_time(view, why, why_bytes);
    } else if (view->selection.since_ns && (selection->moment == HL_AT_END || selection->moment == HL_LEAKED)) {
        error = weigh_by_time(view, why, why_bytes);
    } else if (selection->moment == HL_TEMPORARY) {
        unsigned buckets = 1;
        for (uint64_t within = 1; within <= selection->within && within <= 1024; within *= 2)
            buckets++;
        view->selection.within = buckets == 1 ? 0 : UINT64_C(1) << (buckets - 2);
        error = weigh_temporary(view, buckets, why, why_bytes);
    } else {
        weigh_by_row(view);
    }
    if (error) {
        hl_view_release(view);
        return error;
    }
    for (uint32_t i = 0; i < model->stats.n; i++) {
        hl_weight *stack = &view->stacks[model->stats.row[i].stack];
        stack->bytes += view->stats[i].bytes;
        stack->blocks += view->stats[i].blocks;
        view->total.bytes += view->stats[i].bytes;
        view->total.blocks += view->stats[i].blocks;
    }
    return 0;
}

void hl_view_release(hl_view *view)
{
    free(view->stats);
    free(view->stacks);
    view->stats = view->stacks = NULL;
}

/* The heap of the selected processes at a tick boundary by their own curves, which are kept apart from the cells. */
static bool heap_at(const hl_view *view, uint64_t *bytes)
{
    const hl_model *m = view->model;
    uint64_t boundary_ns = view->selection.time_ns;
    sqlite3_stmt *tick;
    if (sqlite3_prepare_v2(m->database,
                           "SELECT heap FROM tick WHERE process = ?1 AND tick < ?2 ORDER BY tick DESC LIMIT 1", -1,
                           &tick, NULL) != SQLITE_OK)
        return false;
    *bytes = 0;
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[i];
        if ((view->process != HL_NO_ROW && view->process != i) ||
            (strcmp(p->ended, "running") != 0 && p->end_ns <= boundary_ns))
            continue;
        sqlite3_bind_int64(tick, 1, p->id);
        sqlite3_bind_int64(tick, 2, boundary_ns >= m->now_ns ? INT64_MAX : (int64_t)(boundary_ns / m->tick_ns));
        if (sqlite3_step(tick) == SQLITE_ROW)
            *bytes += (uint64_t)sqlite3_column_int64(tick, 0);
        sqlite3_reset(tick);
    }
    sqlite3_finalize(tick);
    return true;
}

bool hl_view_check(const hl_view *view, uint64_t *expected_bytes)
{
    const hl_model *m = view->model;
    if (view->selection.thread || view->selection.region || view->selection.since_ns ||
        view->selection.moment == HL_TEMPORARY)
        return false;
    if (view->selection.moment == HL_AT_TIME)
        return heap_at(view, expected_bytes);
    if (view->tree_peak && view->selection.moment == HL_AT_PEAK) {
        *expected_bytes = m->peak;
        return true;
    }
    *expected_bytes = 0;
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[i];
        if (view->process == HL_NO_ROW || view->process == i)
            *expected_bytes += view->selection.moment == HL_AT_PEAK     ? p->peak
                               : view->selection.moment == HL_ALLOCATED ? p->allocated
                                                                        : p->live;
    }
    return true;
}

hl_weight *hl_view_by_site(const hl_view *view, bool leaf)
{
    const hl_model *m = view->model;
    hl_weight *sites = calloc(m->sites.n, sizeof *sites);
    for (uint32_t i = 0; sites && i < m->stacks.n; i++) {
        hl_weight *site = &sites[leaf ? m->stacks.row[i].leaf : m->stacks.row[i].yours];
        site->bytes += view->stacks[i].bytes;
        site->blocks += view->stacks[i].blocks;
    }
    return sites;
}

int hl_view_sizes(const hl_view *view, uint64_t buckets[HL_SIZE_BUCKETS])
{
    const hl_model *m = view->model;
    memset(buckets, 0, HL_SIZE_BUCKETS * sizeof *buckets);
    sqlite3_stmt *blobs;
    if (sqlite3_prepare_v2(m->database, "SELECT id, sizes FROM stat WHERE sizes IS NOT NULL", -1, &blobs, NULL) !=
        SQLITE_OK)
        return -EIO;
    int step;
    while ((step = sqlite3_step(blobs)) == SQLITE_ROW) {
        uint32_t row = stat_row(m, sqlite3_column_int64(blobs, 0));
        if (row == HL_NO_ROW || !hl_view_takes(view, &m->stats.row[row]))
            continue;
        const unsigned char *at = sqlite3_column_blob(blobs, 1);
        if (!at) /* an empty one */
            continue;
        const unsigned char *end = at + sqlite3_column_bytes(blobs, 1);
        uint64_t bucket, count;
        while (hl_varint_next(&at, end, &bucket) && hl_varint_next(&at, end, &count))
            if (bucket < HL_SIZE_BUCKETS)
                buckets[bucket] += count;
    }
    sqlite3_finalize(blobs);
    return step == SQLITE_DONE ? 0 : -EIO;
}

const char *hl_model_end_words(const hl_model *m)
{
    return m->watched ? "alive now" : m->running ? "alive when last saved" : "alive at the end";
}

static const char *title_of_moment(const hl_view *view, char *text, size_t bytes)
{
    char time[HL_NUMBER_BYTES];
    switch (view->selection.moment) {
    case HL_AT_PEAK:
        if (view->tree_peak && view->model->recordings.n)
            return "at the recordings' own peaks";
        return view->selection.thread || view->selection.region ? "share of the peak" : "at the peak";
    case HL_AT_END:
        return hl_model_end_words(view->model);
    case HL_LEAKED:
        return view->model->watched   ? "alive now, not yet leaked"
               : view->model->running ? "alive when last saved, not yet leaked"
                                      : "never freed";
    case HL_AT_TIME:
        snprintf(text, bytes, "alive at %s", hl_time_text(time, view->selection.time_ns));
        return text;
    case HL_ALLOCATED:
        return "allocated, freed or not";
    case HL_TEMPORARY:
        if (view->selection.within == 0)
            return "freed before the next allocation";
        snprintf(text, bytes, "freed within %llu allocation%s", (unsigned long long)view->selection.within,
                 view->selection.within == 1 ? "" : "s");
        return text;
    }
    return "";
}

const char *hl_view_title(const hl_view *view, char *text, size_t bytes)
{
    char moment[96], time[HL_NUMBER_BYTES];
    if (!view->selection.since_ns)
        return title_of_moment(view, text, bytes);
    snprintf(text, bytes, "%s, allocated from %s on", title_of_moment(view, moment, sizeof moment),
             hl_time_text(time, view->selection.since_ns));
    return text;
}
