/*
 * merge.c - several recordings into one profile that every report can read: `heapline merge`.
 *
 * What is one and the same in them (files, functions, stacks) is there once; each keeps its own processes, with their exact
 * figures, its labels and its row in `recording`. Peaks are added up: nobody knows what different machines had at one moment,
 * and the sum is what they can have had at most. What the curves show together at the end of a tick is kept as peak_seen.
 */
#include "merge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t value = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* ----------------------------------------------------------------------------------------------------- same recording */

typedef struct identity {
    int64_t start_unix_ns, pid;
    char host[256];
    size_t source;
} identity;

typedef struct identities {
    identity *row;
    size_t n, room;
} identities;

/* The recordings in a profile: it is one itself, or a merged one. */
static int add_identities(identities *all, sqlite3 *db, size_t source)
{
    static const char merged[] = "SELECT start_unix_ns, host, (SELECT pid FROM process WHERE id = first_process) "
                                 "FROM recording";
    static const char one[] = "SELECT (SELECT value FROM meta WHERE key = 'start_unix_ns'), "
                              "(SELECT value FROM meta WHERE key = 'host'), "
                              "(SELECT pid FROM process ORDER BY id LIMIT 1)";
    bool is_merged = ask(db, "SELECT count(*) FROM sqlite_master WHERE name = 'recording'") > 0 &&
                     ask(db, "SELECT count(*) FROM recording") > 0;
    sqlite3_stmt *rows = NULL;
    if (sqlite3_prepare_v2(db, is_merged ? merged : one, -1, &rows, NULL) != SQLITE_OK)
        return -EIO;
    int step;
    while ((step = sqlite3_step(rows)) == SQLITE_ROW) {
        if (all->n == all->room) {
            size_t room = all->room ? all->room * 2 : 16;
            identity *grown = realloc(all->row, room * sizeof *grown);
            if (!grown)
                break;
            all->row = grown;
            all->room = room;
        }
        identity *i = &all->row[all->n++];
        const char *host = (const char *)sqlite3_column_text(rows, 1);
        memset(i, 0, sizeof *i);
        i->start_unix_ns = sqlite3_column_int64(rows, 0);
        i->pid = sqlite3_column_int64(rows, 2);
        i->source = source;
        snprintf(i->host, sizeof i->host, "%s", host ? host : "");
    }
    sqlite3_finalize(rows);
    return step == SQLITE_DONE ? 0 : step == SQLITE_ROW ? -ENOMEM : -EIO;
}

static int compare_identities(const void *a, const void *b)
{
    const identity *x = a, *y = b;
    if (x->start_unix_ns != y->start_unix_ns)
        return x->start_unix_ns < y->start_unix_ns ? -1 : 1;
    if (x->pid != y->pid)
        return x->pid < y->pid ? -1 : 1;
    int order = strcmp(x->host, y->host);
    return order ? order : x->source < y->source ? -1 : x->source > y->source;
}

static int refuse_twice(hl_merge_source *sources, size_t n, char *why, size_t why_bytes)
{
    identities all = {0};
    int error = 0;
    for (size_t i = 0; i < n && !error; i++)
        error = add_identities(&all, hl_profile_database(sources[i].profile), i);
    if (error)
        snprintf(why, why_bytes, error == -ENOMEM ? "out of memory" : "cannot be read");
    if (!error && all.n > 1)
        qsort(all.row, all.n, sizeof *all.row, compare_identities);
    for (size_t i = 1; i < all.n && !error; i++) {
        const identity *x = &all.row[i - 1], *y = &all.row[i];
        if (x->start_unix_ns != y->start_unix_ns || x->pid != y->pid || strcmp(x->host, y->host) != 0)
            continue;
        error = -EEXIST;
        snprintf(why, why_bytes, "%s and %s hold the same recording (process %lld%s%s); name it once",
                 sources[x->source].name, sources[y->source].name, (long long)x->pid, *x->host ? " on " : "", x->host);
    }
    free(all.row);
    return error;
}

/* -------------------------------------------------------------------------------------------------------------- time */

static void learn(hl_merge_source *s)
{
    sqlite3 *db = hl_profile_database(s->profile);
    s->start_unix_ns = ask(db, "SELECT value FROM meta WHERE key = 'start_unix_ns'");
    s->tick_ns = ask(db, "SELECT value FROM meta WHERE key = 'tick_ns'");
    s->cell_tick_ns = ask(db, "SELECT value FROM meta WHERE key = 'cell_tick_ns'");
    s->now_ns = ask(db, "SELECT value FROM meta WHERE key = 'now_ns'");
    if (s->tick_ns <= 0 || s->tick_ns > INT64_C(1) << 50)
        s->tick_ns = 10000000;
    if (s->cell_tick_ns < s->tick_ns || s->cell_tick_ns > INT64_C(1) << 50)
        s->cell_tick_ns = s->tick_ns;
    s->one_process = ask(db, "SELECT count(*) FROM process WHERE allocations > 0") <= 1;
}

/* Where each begins, to the next of its own cell ticks; and ticks long enough for all. */
static void choose_times(hl_merging *m, hl_merge_source *sources, size_t n, bool by_clock)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        first = sources[i].start_unix_ns > 0 && sources[i].start_unix_ns < first ? sources[i].start_unix_ns : first;
        m->tick_ns = sources[i].tick_ns > m->tick_ns ? sources[i].tick_ns : m->tick_ns;
    }
    for (size_t i = 0; i < n; i++) {
        hl_merge_source *s = &sources[i];
        int64_t later = by_clock && s->start_unix_ns > 0 ? s->start_unix_ns - first : 0, cell = s->cell_tick_ns;
        s->offset_ns = later / cell * cell + (later % cell > cell / 2 ? cell : 0);
        int64_t ticks = (cell + m->tick_ns - 1) / m->tick_ns;
        m->cell_tick_ns = ticks * m->tick_ns > m->cell_tick_ns ? ticks * m->tick_ns : m->cell_tick_ns;
    }
}

/* --------------------------------------------------------------------------------------------------------- the totals */

static int put_meta(hl_profile_writer *w, const char *key, const char *value_sql)
{
    char *sql = sqlite3_mprintf("INSERT OR REPLACE INTO main.meta (key, value) VALUES (%Q, (%s))", key, value_sql);
    int error = sql ? hl_writer_exec(w, sql) : hl_writer_fail(w, -ENOMEM, "out of memory");
    sqlite3_free(sql);
    return error;
}

/* Keys whose values are added up. */
static const char *const added[] = {"events",     "waited_ns", "collector_cpu_ns", "collector_rss_peak",
                                    "arena_peak", "pool_peak", "folded_stacks",    "folded_rows",
                                    "peak_blocks"};
enum { ADDED = sizeof added / sizeof *added };

static void add_metas(const hl_merge_source *s, uint64_t sums[ADDED])
{
    for (int i = 0; i < ADDED; i++) {
        char sql[160];
        sqlite3 *db = hl_profile_database(s->profile);
        snprintf(sql, sizeof sql, "SELECT value FROM meta WHERE key = '%s'", added[i]);
        if (strcmp(added[i], "peak_blocks") == 0 && s->one_process)
            snprintf(sql, sizeof sql, "SELECT peak_blocks FROM process ORDER BY allocations > 0 DESC LIMIT 1");
        int64_t value = ask(db, sql);
        if (value > 0)
            sums[i] = sums[i] + (uint64_t)value > INT64_MAX ? INT64_MAX : sums[i] + (uint64_t)value;
    }
}

#define ONLY(column) "SELECT iif(min(" column ") = max(" column ") AND count(" column ") = count(*), min(" column "), "
static const char *const metas[][2] = {
    {"allocations", "SELECT coalesce(sum(allocations), 0) FROM main.process"},
    {"allocated", "SELECT coalesce(sum(allocated), 0) FROM main.process"},
    {"frees", "SELECT coalesce(sum(frees), 0) FROM main.process"},
    {"freed", "SELECT coalesce(sum(freed), 0) FROM main.process"},
    {"live", "SELECT coalesce(sum(live), 0) FROM main.process"},
    {"live_blocks", "SELECT coalesce(sum(live_blocks), 0) FROM main.process"},
    {"peak", "SELECT coalesce(sum(peak), 0) FROM main.recording"},
    {"peak_bound", "SELECT coalesce(sum(peak_bound), 0) FROM main.recording"},
    {"rss_peak", "SELECT coalesce(sum(rss_peak), 0) FROM main.recording"},
    {"lost", "SELECT coalesce(sum(lost), 0) FROM main.recording"},
    {"now_ns", "SELECT coalesce(max(offset_ns + length_ns), 0) FROM main.recording"},
    {"root_end_ns", "SELECT iif(count(end_ns) = count(*), max(end_ns), NULL) FROM main.recording"},
    {"exit_status", ONLY("exit_status") "NULL) FROM main.recording"},
    {"signal", ONLY("signal") "NULL) FROM main.recording"},
    {"state", ("SELECT iif(sum(state = 'running'), 'running', iif(sum(state = 'stopped'), 'stopped', 'finished')) "
               "FROM main.recording")},
    {"command", ONLY("command") "'several programs') FROM main.recording"},
    {"host", ONLY("host") "count(DISTINCT host) || ' hosts') FROM main.recording"},
    {"directory", ONLY("directory") "'') FROM main.recording"},
    {"options", ONLY("options") "'') FROM main.recording"},
    {"start_unix_ns", "SELECT coalesce(min(iif(start_unix_ns > 0, start_unix_ns, NULL)), 0) FROM main.recording"},
};

/* The highest sum of heaps at the end of a tick. Ended processes hold nothing. */
static int put_peak_seen(hl_merging *m)
{
    sqlite3_stmt *rows = NULL;
    int64_t processes = m->processes, sum = 0, best = 0, best_tick = 0, tick = INT64_MIN;
    int64_t *heap = processes >= 0 && processes < 1 << 24 ? calloc((size_t)processes + 1, sizeof *heap) : NULL;
    if (!heap)
        return hl_writer_fail(m->writer, -ENOMEM, "out of memory");
    if (sqlite3_prepare_v2(
            m->writer->db,
            "SELECT tick, process, heap FROM main.tick UNION ALL "
            "SELECT end_ns / ?1 + 1, id, NULL FROM main.process WHERE ended <> 'running' AND end_ns IS NOT "
            "NULL ORDER BY 1",
            -1, &rows, NULL) != SQLITE_OK) {
        free(heap);
        return hl_writer_sql_error(m->writer);
    }
    sqlite3_bind_int64(rows, 1, m->tick_ns);
    int step;
    do {
        step = sqlite3_step(rows);
        int64_t at = step == SQLITE_ROW ? sqlite3_column_int64(rows, 0) : INT64_MAX;
        if (at != tick && sum > best) {
            best = sum;
            best_tick = tick;
        }
        tick = at;
        int64_t process = step == SQLITE_ROW ? sqlite3_column_int64(rows, 1) : -1;
        if (process < 0 || process > processes || heap[process] < 0)
            continue;
        int64_t now = sqlite3_column_int64(rows, 2);
        now = now < 0 ? 0 : now > INT64_C(1) << 50 ? INT64_C(1) << 50 : now;
        bool ended = sqlite3_column_type(rows, 2) == SQLITE_NULL;
        sum += now - heap[process];
        heap[process] = ended ? -1 : now; /* what comes after that, in a broken file, does not count */
    } while (step == SQLITE_ROW);
    free(heap);
    sqlite3_finalize(rows);
    if (step != SQLITE_DONE)
        return hl_writer_sql_error(m->writer);
    uint64_t end_ns =
        best_tick >= 0 && best_tick < INT64_MAX / m->tick_ns - 1 ? (uint64_t)(best_tick + 1) * (uint64_t)m->tick_ns : 0;
    int error = hl_writer_meta(m->writer, "peak_seen", (uint64_t)best);
    return error ? error : hl_writer_meta(m->writer, "peak_ns", end_ns);
}

static int put_totals(hl_merging *m, const uint64_t sums[ADDED])
{
    hl_profile_writer *w = m->writer;
    int error = hl_writer_meta(w, "tick_ns", (uint64_t)m->tick_ns);
    if (!error)
        error = hl_writer_meta(w, "cell_tick_ns", (uint64_t)m->cell_tick_ns);
    for (int i = 0; i < ADDED && !error; i++)
        error = hl_writer_meta(w, added[i], sums[i]);
    for (size_t i = 0; i < sizeof metas / sizeof *metas && !error; i++)
        error = put_meta(w, metas[i][0], metas[i][1]);
    if (!error)
        error = put_peak_seen(m);
    if (!error) /* what all of them say */
        error = hl_writer_exec(
            w, "INSERT OR IGNORE INTO main.label (key, value) SELECT key, value FROM main.recording_label "
               "GROUP BY key, value HAVING count(*) = (SELECT count(*) FROM main.recording)");
    if (!error && m->texts_differ) {
        char text[360], more[32] = "";
        if (m->texts_differ > 1)
            snprintf(more, sizeof more, " and %u more", m->texts_differ - 1);
        snprintf(text, sizeof text,
                 "the source text of %s%s is not the same in all recordings: that of the first is shown",
                 m->first_differing, more);
        error = hl_writer_note(w, 0, text);
    }
    return error;
}

/* ---------------------------------------------------------------------------------------------------------- the whole */

/* The source's image as a second database of the writer's connection. It is lent until `detach`. */
static int attach(hl_merging *m, const hl_merge_source *s)
{
    sqlite3_int64 bytes = 0;
    unsigned char *image = sqlite3_serialize(hl_profile_database(s->profile), "main", &bytes, SQLITE_SERIALIZE_NOCOPY);
    if (!image)
        return hl_writer_fail(m->writer, -ENOMEM, "out of memory");
    int error = hl_writer_exec(m->writer, "ATTACH ':memory:' AS source");
    if (!error &&
        sqlite3_deserialize(m->writer->db, "source", image, bytes, bytes, SQLITE_DESERIALIZE_READONLY) != SQLITE_OK)
        error = hl_writer_sql_error(m->writer);
    return error;
}

static int merge_one(hl_merging *m, const hl_merge_source *s)
{
    int error = attach(m, s);
    if (!error)
        error = hl_writer_begin(m->writer);
    if (!error)
        error = hl_merge_rows(m, s);
    if (!error)
        error = hl_writer_commit(m->writer);
    if (error)
        return error;
    return hl_writer_exec(m->writer, "DETACH source");
}

int hl_profile_merge(const char *path, const hl_merge_input *inputs, size_t n, bool by_clock, const char *const *labels,
                     char *why, size_t why_bytes)
{
    hl_merging m = {0};
    uint64_t sums[ADDED] = {0};
    hl_merge_source *sources = calloc(n ? n : 1, sizeof *sources);
    const hl_profile_identity whole = {.command = "", .directory = "", .host = "", .options = "", .labels = labels};
    if (!sources) {
        snprintf(why, why_bytes, "out of memory");
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        sources[i] = (hl_merge_source){.profile = inputs[i].profile, .name = inputs[i].name};
        learn(&sources[i]);
        add_metas(&sources[i], sums);
    }
    choose_times(&m, sources, n, by_clock);
    int error = refuse_twice(sources, n, why, why_bytes);
    if (error) {
        free(sources);
        return error;
    }
    error = hl_profile_writer_open(&m.writer, path, &whole);
    if (error)
        snprintf(why, why_bytes, "%s", strerror(-error));
    if (!error) {
        sqlite3_db_config(m.writer->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(m.writer->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        error = hl_writer_exec(m.writer, "CREATE INDEX merge_function ON function (file, name, first_line)");
        for (size_t i = 0; i < n && !error; i++) {
            error = merge_one(&m, &sources[i]);
            if (error)
                snprintf(why, why_bytes, "%s: %s", sources[i].name, hl_profile_writer_error(m.writer));
        }
        if (!error) {
            error = hl_writer_exec(m.writer, "DROP INDEX merge_function");
            if (!error)
                error = hl_writer_begin(m.writer);
            if (!error)
                error = put_totals(&m, sums);
            if (!error)
                error = hl_writer_commit(m.writer);
            if (!error)
                error = hl_profile_writer_publish(m.writer, true);
            if (error)
                snprintf(why, why_bytes, "%s", hl_profile_writer_error(m.writer));
        }
    }
    hl_profile_writer_close(m.writer);
    hl_merge_release(&m);
    free(sources);
    return error;
}
