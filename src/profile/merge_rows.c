/*
 * merge_rows.c - the rows of one profile into a merged one. Files, functions, frames and stacks that are the same become one;
 * processes, threads and stat rows stay apart and get new ids behind those that are there.
 *
 * Time: tick t of the source becomes the tick of the merged profile in which it begins, but never one behind the cell tick in
 * which its own cell tick begins. So at each cell boundary of the merged profile curve and cells both are what the source
 * had at one and the same of its own cell boundaries: sums stay exact, also where lengths of ticks do not divide.
 */
#include "merge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---------------------------------------------------------------------------------------------------------- content */

/* The id of a row, a new one's is the number of rows; HL_IDMAP_NONE: no memory. */
static uint32_t set_id(hl_merge_set *set, const int64_t row[HL_MERGE_COLUMNS])
{
    uint64_t key = hl_idmap_hash(row, sizeof *set->row, 0);
    for (uint32_t id; (id = hl_idmap_get(&set->map, key)) != HL_IDMAP_NONE; key++)
        if (memcmp(set->row[id], row, sizeof *set->row) == 0)
            return id;
    if (set->n == set->room) {
        uint32_t room = set->room ? set->room * 2 : 1024;
        int64_t(*grown)[HL_MERGE_COLUMNS] = realloc(set->row, room * sizeof *grown);
        if (!grown)
            return HL_IDMAP_NONE;
        set->row = grown;
        set->room = room;
    }
    if (hl_idmap_put(&set->map, key, set->n) != 0)
        return HL_IDMAP_NONE;
    memcpy(set->row[set->n], row, sizeof *set->row);
    return set->n++;
}

void hl_merge_release(hl_merging *m)
{
    hl_merge_set *sets[] = {&m->frames, &m->stacks};
    for (int i = 0; i < 2; i++) {
        free(sets[i]->row);
        hl_idmap_clear(&sets[i]->map);
    }
}

/* ------------------------------------------------------------------------------------------------------- statements */

static sqlite3_stmt *prepare(hl_merging *m, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    return sqlite3_prepare_v2(m->writer->db, sql, -1, &statement, NULL) == SQLITE_OK ? statement : NULL;
}

static int sql_error(hl_merging *m) { return hl_writer_sql_error(m->writer); }

static int no_memory(hl_merging *m) { return hl_writer_fail(m->writer, -ENOMEM, "out of memory"); }

/* Ends a loop over rows. */
static int finish(hl_merging *m, sqlite3_stmt *statement, int error, int step)
{
    if (!error && step != SQLITE_DONE)
        error = sql_error(m);
    sqlite3_finalize(statement);
    return error;
}

static int step_and_reset(hl_merging *m, sqlite3_stmt *statement)
{
    int error = sqlite3_step(statement) == SQLITE_DONE ? 0 : sql_error(m);
    sqlite3_reset(statement);
    return error;
}

static int64_t number_or_null(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL ? HL_MERGE_NULL : sqlite3_column_int64(row, column);
}

static void bind_or_null(sqlite3_stmt *statement, int at, int64_t value)
{
    if (value == HL_MERGE_NULL)
        sqlite3_bind_null(statement, at);
    else
        sqlite3_bind_int64(statement, at, value);
}

/* --------------------------------------------------------------------------------------------------------- the maps */

typedef struct maps { /* from the source's ids */
    hl_idmap files, functions, frames, stacks;
} maps;

static int64_t mapped(const hl_idmap *map, int64_t id)
{
    uint32_t found = id == HL_MERGE_NULL ? HL_IDMAP_NONE : hl_idmap_get(map, (uint64_t)id);
    return found == HL_IDMAP_NONE ? HL_MERGE_NULL : (int64_t)found;
}

/* Whether two embedded texts are the same; how well they are packed does not count. */
static bool is_same_text(sqlite3_stmt *a, int at, sqlite3_stmt *b, int bt)
{
    uLongf n = (uLongf)sqlite3_column_int64(a, at), got = n, other = n;
    const void *p = sqlite3_column_blob(a, at + 1), *q = sqlite3_column_blob(b, bt + 1);
    uLong p_bytes = (uLong)sqlite3_column_bytes(a, at + 1), q_bytes = (uLong)sqlite3_column_bytes(b, bt + 1);
    if (sqlite3_column_int64(b, bt) != (sqlite3_int64)n || !p || !q)
        return false;
    if (p_bytes == q_bytes && memcmp(p, q, p_bytes) == 0)
        return true;
    if (n > 16 << 20)
        return false;
    Bytef *x = malloc(n + 1), *y = malloc(n + 1);
    bool same = x && y && uncompress(x, &got, p, p_bytes) == Z_OK && uncompress(y, &other, q, q_bytes) == Z_OK &&
                got == other && memcmp(x, y, got) == 0;
    free(x);
    free(y);
    return same;
}

static int copy_files(hl_merging *m, maps *to)
{
    sqlite3_stmt *rows =
        prepare(m, "SELECT id, coalesce(path, ''), coalesce(origin, 'user'), source_bytes, source FROM source.file "
                   "ORDER BY id");
    sqlite3_stmt *known = prepare(m, "SELECT id, source_bytes, source FROM main.file WHERE path = ?1");
    sqlite3_stmt *put =
        prepare(m, "INSERT INTO main.file (path, origin, source_bytes, source) VALUES (?1, ?2, ?3, ?4)");
    sqlite3_stmt *give = prepare(m, "UPDATE main.file SET source_bytes = ?2, source = ?3 WHERE id = ?1");
    int step = SQLITE_DONE, error = rows && known && put && give ? 0 : sql_error(m);
    while (!error && (step = sqlite3_step(rows)) == SQLITE_ROW) {
        sqlite3_int64 id;
        bool has_text = sqlite3_column_type(rows, 4) != SQLITE_NULL;
        sqlite3_bind_value(known, 1, sqlite3_column_value(rows, 1));
        if (sqlite3_step(known) == SQLITE_ROW) {
            id = sqlite3_column_int64(known, 0);
            bool had_text = sqlite3_column_type(known, 2) != SQLITE_NULL;
            if (has_text && had_text && !is_same_text(known, 1, rows, 3) && m->texts_differ++ == 0)
                snprintf(m->first_differing, sizeof m->first_differing, "%s",
                         (const char *)sqlite3_column_text(rows, 1));
            sqlite3_reset(known);
            if (has_text && !had_text) {
                sqlite3_bind_int64(give, 1, id);
                sqlite3_bind_value(give, 2, sqlite3_column_value(rows, 3));
                sqlite3_bind_value(give, 3, sqlite3_column_value(rows, 4));
                error = step_and_reset(m, give);
            }
        } else {
            sqlite3_reset(known);
            for (int i = 1; i <= 4; i++)
                sqlite3_bind_value(put, i, sqlite3_column_value(rows, i));
            error = step_and_reset(m, put);
            id = sqlite3_last_insert_rowid(m->writer->db);
        }
        if (!error && hl_idmap_put(&to->files, (uint64_t)sqlite3_column_int64(rows, 0), (uint32_t)id) != 0)
            error = no_memory(m);
    }
    sqlite3_finalize(known);
    sqlite3_finalize(put);
    sqlite3_finalize(give);
    return finish(m, rows, error, step);
}

static int copy_functions(hl_merging *m, maps *to)
{
    sqlite3_stmt *rows = prepare(m, "SELECT id, file, coalesce(name, ''), coalesce(first_line, 0) FROM source.function "
                                    "ORDER BY id");
    sqlite3_stmt *known = /* by the temporary index of merge.c */
        prepare(m, "SELECT id FROM main.function WHERE file = ?1 AND name = ?2 AND first_line = ?3");
    sqlite3_stmt *put = prepare(m, "INSERT INTO main.function (file, name, first_line) VALUES (?1, ?2, ?3)");
    int step = SQLITE_DONE, error = rows && known && put ? 0 : sql_error(m);
    while (!error && (step = sqlite3_step(rows)) == SQLITE_ROW) {
        int64_t file = mapped(&to->files, sqlite3_column_int64(rows, 1));
        sqlite3_stmt *both[] = {known, put};
        for (int i = 0; i < 2; i++) {
            sqlite3_bind_int64(both[i], 1, file == HL_MERGE_NULL ? 0 : file);
            sqlite3_bind_value(both[i], 2, sqlite3_column_value(rows, 2));
            sqlite3_bind_value(both[i], 3, sqlite3_column_value(rows, 3));
        }
        sqlite3_int64 id = sqlite3_step(known) == SQLITE_ROW ? sqlite3_column_int64(known, 0) : 0;
        sqlite3_reset(known);
        if (!id) {
            error = step_and_reset(m, put);
            id = sqlite3_last_insert_rowid(m->writer->db);
        }
        if (!error && hl_idmap_put(&to->functions, (uint64_t)sqlite3_column_int64(rows, 0), (uint32_t)id) != 0)
            error = no_memory(m);
    }
    sqlite3_finalize(known);
    sqlite3_finalize(put);
    return finish(m, rows, error, step);
}

typedef struct frame {
    int64_t id, column[HL_MERGE_COLUMNS]; /* function line end_line col end_col module caller */
} frame;
enum { FUNCTION, LINE, END_LINE, COL, END_COL, MODULE, CALLER, INLINED_MOST = 64 };

/* Gives the frame its new id, and before it the frames that it was inlined into. */
static int place_frame(hl_merging *m, maps *to, const frame *frames, const hl_idmap *rows, uint32_t at,
                       sqlite3_stmt *put)
{
    uint32_t chain[INLINED_MOST], n = 0;
    while (n < INLINED_MOST) {
        chain[n++] = at;
        int64_t caller = frames[at].column[CALLER];
        uint32_t next = caller == HL_MERGE_NULL ? HL_IDMAP_NONE : hl_idmap_get(rows, (uint64_t)caller);
        if (next == HL_IDMAP_NONE || hl_idmap_get(&to->frames, (uint64_t)caller) != HL_IDMAP_NONE)
            break;
        at = next;
    }
    while (n--) { /* of a circle, in a broken file, the last has no caller */
        const frame *f = &frames[chain[n]];
        if (hl_idmap_get(&to->frames, (uint64_t)f->id) != HL_IDMAP_NONE)
            continue;
        int64_t row[HL_MERGE_COLUMNS];
        memcpy(row, f->column, sizeof row);
        row[FUNCTION] = mapped(&to->functions, row[FUNCTION]);
        row[FUNCTION] = row[FUNCTION] == HL_MERGE_NULL ? 0 : row[FUNCTION];
        row[LINE] = row[LINE] == HL_MERGE_NULL ? 0 : row[LINE];
        row[MODULE] = mapped(&to->files, row[MODULE]);
        row[CALLER] = mapped(&to->frames, row[CALLER]);
        uint32_t before = m->frames.n, id = set_id(&m->frames, row);
        if (id == HL_IDMAP_NONE || hl_idmap_put(&to->frames, (uint64_t)f->id, id + 1) != 0)
            return no_memory(m);
        if (m->frames.n == before)
            continue;
        sqlite3_bind_int64(put, 1, (sqlite3_int64)id + 1);
        for (int i = 0; i < HL_MERGE_COLUMNS; i++)
            bind_or_null(put, i + 2, row[i]);
        int error = step_and_reset(m, put);
        if (error)
            return error;
    }
    return 0;
}

static int copy_frames(hl_merging *m, maps *to)
{
    sqlite3_stmt *rows =
        prepare(m, "SELECT id, function, line, end_line, col, end_col, module, caller FROM source.frame ORDER BY id");
    sqlite3_stmt *put =
        prepare(m, "INSERT INTO main.frame (id, function, line, end_line, col, end_col, module, caller) "
                   "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    frame *frames = NULL;
    uint32_t n = 0, room = 0;
    hl_idmap by_id = {0};
    int step = SQLITE_DONE, error = rows && put ? 0 : sql_error(m);
    while (!error && (step = sqlite3_step(rows)) == SQLITE_ROW) {
        if (n == room) {
            room = room ? room * 2 : 1024;
            frame *grown = realloc(frames, room * sizeof *grown);
            if (!grown) {
                error = no_memory(m);
                break;
            }
            frames = grown;
        }
        frames[n].id = sqlite3_column_int64(rows, 0);
        for (int i = 0; i < HL_MERGE_COLUMNS; i++)
            frames[n].column[i] = number_or_null(rows, i + 1);
        error = hl_idmap_put(&by_id, (uint64_t)frames[n].id, n) != 0 ? no_memory(m) : 0;
        n++;
    }
    error = finish(m, rows, error, step);
    for (uint32_t i = 0; i < n && !error; i++)
        if (hl_idmap_get(&to->frames, (uint64_t)frames[i].id) == HL_IDMAP_NONE)
            error = place_frame(m, to, frames, &by_id, i, put);
    sqlite3_finalize(put);
    hl_idmap_clear(&by_id);
    free(frames);
    return error;
}

static int copy_stacks(hl_merging *m, maps *to)
{
    sqlite3_stmt *rows = prepare(m, "SELECT id, parent, frame, kind FROM source.stack ORDER BY id");
    sqlite3_stmt *put = prepare(m, "INSERT INTO main.stack (id, parent, frame, kind) VALUES (?1, ?2, ?3, ?4)");
    int step = SQLITE_DONE, error = rows && put ? 0 : sql_error(m);
    for (bool root = true; !error && (step = sqlite3_step(rows)) == SQLITE_ROW; root = false) {
        int64_t parent = mapped(&to->stacks, number_or_null(rows, 1));
        int64_t row[HL_MERGE_COLUMNS] = {parent == HL_MERGE_NULL ? 0 : parent,
                                         mapped(&to->frames, number_or_null(rows, 2)), sqlite3_column_int64(rows, 3)};
        if (root) /* the first row is the root, whatever it says */
            memcpy(row, (int64_t[HL_MERGE_COLUMNS]){HL_MERGE_NULL, HL_MERGE_NULL, 0}, sizeof row);
        uint32_t before = m->stacks.n, id = set_id(&m->stacks, row);
        if (id == HL_IDMAP_NONE || hl_idmap_put(&to->stacks, (uint64_t)sqlite3_column_int64(rows, 0), id) != 0) {
            error = no_memory(m);
        } else if (m->stacks.n != before) {
            sqlite3_bind_int64(put, 1, id);
            bind_or_null(put, 2, row[0]);
            bind_or_null(put, 3, row[1]);
            sqlite3_bind_int64(put, 4, row[2]);
            error = step_and_reset(m, put);
        }
    }
    sqlite3_finalize(put);
    return finish(m, rows, error, step);
}

/* ------------------------------------------------------------------------------------------------------- the figures */

/* A broken file may have any id. */
static int64_t moved(int64_t id, int64_t by) { return (int64_t)((uint64_t)id + (uint64_t)by); }

static int copy_stats(hl_merging *m, const hl_merge_source *s, maps *to)
{
    enum { COLUMNS = 19 };
    sqlite3_stmt *rows = prepare(
        m, s->one_process ? "SELECT id, stack, process, thread, allocator, allocations, allocated, frees, freed, live, "
                            "live_blocks, peak, peak_blocks, peak, peak_blocks, largest, temporary, sizes, lifetimes "
                            "FROM source.stat ORDER BY id"
                          : "SELECT id, stack, process, thread, allocator, allocations, allocated, frees, freed, live, "
                            "live_blocks, peak, peak_blocks, tree_peak, tree_peak_blocks, largest, temporary, sizes, "
                            "lifetimes FROM source.stat ORDER BY id");
    sqlite3_stmt *put = prepare(
        m, "INSERT INTO main.stat (id, stack, process, thread, allocator, allocations, allocated, frees, freed, "
           "live, live_blocks, peak, peak_blocks, tree_peak, tree_peak_blocks, largest, temporary, sizes, "
           "lifetimes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, "
           "?19)");
    int step = SQLITE_DONE, error = rows && put ? 0 : sql_error(m);
    while (!error && (step = sqlite3_step(rows)) == SQLITE_ROW) {
        int64_t stack = mapped(&to->stacks, sqlite3_column_int64(rows, 1));
        for (int i = 4; i < COLUMNS; i++)
            sqlite3_bind_value(put, i + 1, sqlite3_column_value(rows, i));
        sqlite3_bind_int64(put, 1, moved(sqlite3_column_int64(rows, 0), m->stats));
        sqlite3_bind_int64(put, 2, stack == HL_MERGE_NULL ? 0 : stack);
        sqlite3_bind_int64(put, 3, moved(sqlite3_column_int64(rows, 2), m->processes));
        sqlite3_bind_int64(put, 4, moved(sqlite3_column_int64(rows, 3), m->threads));
        error = step_and_reset(m, put);
    }
    sqlite3_finalize(put);
    return finish(m, rows, error, step);
}

/* What SQL alone can do. ?1 processes, ?2 threads, ?3 stats, ?4 recordings: to add to ids; ?5 to add to times; ?6 ticks and ?7
 * cell ticks of the source, ?8 and ?9 of the merged profile; ?10 the source's name; ?11 functions profiled by line. */
/* As it is: clang-format does not come to an end with strings that macros join. */
// clang-format off
#define CELL_TICK(tick) "((" tick ") * ?7 + ?5) / ?9"
#define TICK(tick) "min((" tick " * ?6 + ?5) / ?8, (" CELL_TICK(tick " * ?6 / ?7") " + 1) * (?9 / ?8) - 1)"

static const char *const copies[] = {
    "INSERT OR IGNORE INTO main.allocator SELECT id, name FROM source.allocator",
    "INSERT OR IGNORE INTO main.stack_kind SELECT id, name FROM source.stack_kind",
    ("INSERT INTO main.process (id, pid, parent, parent_pid, born_by, command, executable, python, recorded, reason, "
     "start_ns, end_ns, ended, exit_status, allocations, allocated, frees, freed, live, live_blocks, peak, peak_ns, "
     "peak_blocks, inherited_frees, unknown_frees, lost, waited_ns, rss_peak) "
     "SELECT id + ?1, pid, parent + ?1, parent_pid, born_by, command, executable, python, recorded, reason, start_ns + "
     "?5, end_ns + ?5, ended, exit_status, allocations, allocated, frees, freed, live, live_blocks, peak, peak_ns + ?5, "
     "peak_blocks, inherited_frees, unknown_frees, lost, waited_ns, rss_peak FROM source.process ORDER BY id"),
    ("INSERT INTO main.mapping (process, class, count, mapped, live, peak) "
     "SELECT process + ?1, class, count, mapped, live, peak FROM source.mapping"),
    ("INSERT INTO main.thread (id, process, tid, name, threads) "
     "SELECT id + ?2, process + ?1, tid, name, threads FROM source.thread ORDER BY id"),
    ("INSERT INTO main.tick (process, tick, heap, heap_low, heap_high, arena, rss, rss_anon, rss_file, rss_shmem, pss) "
     "SELECT process + ?1, " TICK("tick") ", heap, heap_low, heap_high, arena, rss, rss_anon, rss_file, rss_shmem, pss "
     "FROM source.tick WHERE true ORDER BY process, tick "
     "ON CONFLICT (process, tick) DO UPDATE SET heap = excluded.heap, heap_low = min(heap_low, excluded.heap_low), "
     "heap_high = max(heap_high, excluded.heap_high), arena = excluded.arena, "
     "rss_anon = iif(excluded.rss IS NULL, rss_anon, excluded.rss_anon), "
     "rss_file = iif(excluded.rss IS NULL, rss_file, excluded.rss_file), "
     "rss_shmem = iif(excluded.rss IS NULL, rss_shmem, excluded.rss_shmem), "
     "pss = iif(excluded.rss IS NULL, pss, excluded.pss), rss = coalesce(excluded.rss, rss)"),
    ("INSERT INTO main.cell_row (stat, born, lived, blocks, bytes) "
     "SELECT stat + ?3, " CELL_TICK("born") ", iif(lived = 0, 0, " CELL_TICK("born + lived") " - " CELL_TICK("born") "), "
     "blocks, bytes FROM source.cell_row "
     "WHERE lived = 0 OR " CELL_TICK("born + lived") " > " CELL_TICK("born") " ORDER BY stat, born, lived "
     "ON CONFLICT (stat, born, lived) DO UPDATE SET blocks = blocks + excluded.blocks, bytes = bytes + excluded.bytes"),
    ("INSERT INTO main.mark (time_ns, process, kind, name) "
     "SELECT time_ns + ?5, process + ?1, kind, name FROM source.mark"),
    ("INSERT INTO main.note (process, text) "
     "SELECT process + ?1, iif(process IS NULL, ?10 || ': ' || text, text) FROM source.note ORDER BY id"),
};

static const char *const region_copies[] = {
    "INSERT INTO main.thread_region (thread, base, region) SELECT thread + ?2, base + ?2, region FROM source.thread_region",
};
static const char *const pool_copies[] = {
    "INSERT INTO main.pool (process, libraries, peak) SELECT process + ?1, libraries, peak FROM source.pool",
    ("INSERT OR REPLACE INTO main.pool_tick (process, tick, resident) "
     "SELECT process + ?1, " TICK("tick") ", resident FROM source.pool_tick ORDER BY process, tick"),
};

/* The file is the source's own until copy_line_files gives it the new id. */
static const char *const line_copies[] = {
    ("INSERT INTO main.line_function (id, process, file, name, first_line, last_line) "
     "SELECT id + ?11, process + ?1, file, name, first_line, last_line FROM source.line_function ORDER BY id"),
    ("INSERT INTO main.line_profile (function, line, hits, allocated, freed, allocations, highest, temporary, largest, rss) "
     "SELECT function + ?11, line, hits, allocated, freed, allocations, highest, temporary, largest, rss "
     "FROM source.line_profile"),
};

/* The recordings of a profile that was merged before, or the one that it is itself. */
static const char *const recording_copies[] = {
    ("INSERT INTO main.recording (id, name, first_process, last_process, host, command, directory, options, "
     "start_unix_ns, offset_ns, length_ns, state, exit_status, signal, end_ns, oom_scope, oom_limit, peak, peak_ns, "
     "peak_bound, rss_peak, lost) "
     "SELECT id + ?4, name, first_process + ?1, last_process + ?1, host, command, directory, options, start_unix_ns, "
     "offset_ns + ?5, length_ns, state, exit_status, signal, end_ns + ?5, oom_scope, oom_limit, peak, peak_ns + ?5, "
     "peak_bound, rss_peak, lost FROM source.recording ORDER BY id"),
    ("INSERT INTO main.recording_label (recording, key, value) "
     "SELECT recording + ?4, key, value FROM source.recording_label"),
    /* What a label says of a merged profile, it says of each recording in it. */
    ("INSERT OR IGNORE INTO main.recording_label (recording, key, value) "
     "SELECT recording.id + ?4, key, value FROM source.recording, source.label"),
};

#define META(key) "(SELECT value FROM source.meta WHERE key = '" key "')"
static const char *const recording_copies_of_one[] = {
    ("INSERT INTO main.recording (id, name, first_process, last_process, host, command, directory, options, "
     "start_unix_ns, offset_ns, length_ns, state, exit_status, signal, end_ns, oom_scope, oom_limit, peak, peak_ns, "
     "peak_bound, rss_peak, lost) "
     "SELECT 1 + ?4, ?10, min(id) + ?1, max(id) + ?1, coalesce(" META("host") ", ''), coalesce(" META("command")
     ", ''), coalesce(" META("directory") ", ''), coalesce(" META("options") ", ''), coalesce(" META("start_unix_ns")
     ", 0), ?5, coalesce(" META("now_ns") ", 0), coalesce(" META("state") ", 'finished'), " META("exit_status") ", "
     META("signal") ", " META("root_end_ns") " + ?5, " META("oom_scope") ", coalesce(" META("oom_limit") ", 0), "
     "0, coalesce(" META("peak_ns") ", 0) + ?5, 0, coalesce(" META("rss_peak") ", 0), coalesce(" META("lost") ", 0) "
     "FROM source.process"),
    "INSERT INTO main.recording_label (recording, key, value) SELECT 1 + ?4, key, value FROM source.label",
};
/* Its peak, as reports show it: what shares of it add up to. */
static const char *const peak_of_one[] = {
    ("UPDATE main.recording SET (peak, peak_ns) = (SELECT peak, peak_ns FROM main.process WHERE id > ?1 "
     "ORDER BY allocations > 0 DESC LIMIT 1) WHERE id > ?4 AND EXISTS (SELECT 1 FROM main.process WHERE id > ?1)"),
    "UPDATE main.recording SET peak_bound = peak WHERE id > ?4",
};
static const char *const peak_of_tree[] = {
    "UPDATE main.recording SET peak = coalesce(" META("peak") ", 0) WHERE id > ?4",
    "UPDATE main.recording SET peak_bound = max(peak, coalesce(" META("peak_bound") ", 0)) WHERE id > ?4",
};
// clang-format on

static int run(hl_merging *m, const hl_merge_source *s, const char *sql)
{
    const int64_t numbers[] = {m->processes, m->threads,      m->stats,   m->recordings,  s->offset_ns,
                               s->tick_ns,   s->cell_tick_ns, m->tick_ns, m->cell_tick_ns};
    sqlite3_stmt *statement = prepare(m, sql);
    if (!statement)
        return sql_error(m);
    for (int i = 0; i < 9; i++)
        if (i < sqlite3_bind_parameter_count(statement))
            sqlite3_bind_int64(statement, i + 1, numbers[i]);
    if (sqlite3_bind_parameter_count(statement) >= 10)
        sqlite3_bind_text(statement, 10, s->name, -1, SQLITE_STATIC);
    if (sqlite3_bind_parameter_count(statement) >= 11)
        sqlite3_bind_int64(statement, 11, m->line_functions);
    return finish(m, statement, 0, sqlite3_step(statement));
}

static int copy_line_files(hl_merging *m, const maps *to)
{
    sqlite3_stmt *rows = prepare(m, "SELECT id, file FROM main.line_function WHERE id > ?1 ORDER BY id");
    sqlite3_stmt *put = prepare(m, "UPDATE main.line_function SET file = ?2 WHERE id = ?1");
    int step = SQLITE_DONE, error = rows && put ? 0 : sql_error(m);
    if (!error)
        sqlite3_bind_int64(rows, 1, m->line_functions);
    while (!error && (step = sqlite3_step(rows)) == SQLITE_ROW) {
        sqlite3_bind_int64(put, 1, sqlite3_column_int64(rows, 0));
        bind_or_null(put, 2, mapped(&to->files, number_or_null(rows, 1)));
        error = step_and_reset(m, put);
    }
    sqlite3_finalize(put);
    return finish(m, rows, error, step);
}

#define RUN_ALL(list)                                                                                                  \
    for (size_t i = 0; i < sizeof(list) / sizeof *(list) && !error; i++)                                               \
    error = run(m, s, (list)[i])

/* The number that a query gives; 0 for none. */
static int64_t ask(hl_merging *m, const char *sql)
{
    sqlite3_stmt *statement = prepare(m, sql);
    int64_t value = statement && sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return value;
}

/* Of what a newer version added only what this one knows can be kept. That is said. */
static const char unknown_sql[] =
    "SELECT count(*) FROM source.sqlite_master AS t, pragma_table_info(t.name, 'source') AS c "
    "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name, "
    "'main') "
    "AS known WHERE known.name = c.name)";
// clang-format off
static const char unknown_note[] =
    "INSERT INTO main.note (process, text) SELECT NULL, ?10 || ': was written by a newer heapline ' || coalesce("
    META("heapline") ", '') || '; what that added is left out here'";
// clang-format on

int hl_merge_rows(hl_merging *m, const hl_merge_source *s)
{
    maps to = {0};
    int error = copy_files(m, &to);
    if (!error)
        error = copy_functions(m, &to);
    if (!error)
        error = copy_frames(m, &to);
    if (!error)
        error = copy_stacks(m, &to);
    if (!error)
        error = copy_stats(m, s, &to);
    RUN_ALL(copies);
    if (ask(m, "SELECT count(*) FROM source.sqlite_master WHERE name = 'thread_region'") == 1)
        RUN_ALL(region_copies);
    if (ask(m, "SELECT count(*) FROM source.sqlite_master WHERE name IN ('pool', 'pool_tick')") == 2)
        RUN_ALL(pool_copies);
    if (ask(m, "SELECT count(*) FROM source.sqlite_master WHERE name IN ('line_function', 'line_profile')") == 2) {
        RUN_ALL(line_copies);
        if (!error)
            error = copy_line_files(m, &to);
    }
    bool merged =
        ask(m, "SELECT count(*) FROM source.sqlite_master WHERE name IN ('recording', 'recording_label')") == 2 &&
        ask(m, "SELECT count(*) FROM source.recording") > 0;
    if (merged) {
        RUN_ALL(recording_copies);
    } else {
        RUN_ALL(recording_copies_of_one);
        if (s->one_process)
            RUN_ALL(peak_of_one);
        else
            RUN_ALL(peak_of_tree);
    }
    if (!error && ask(m, unknown_sql) > 0)
        error = run(m, s, unknown_note);
    m->processes = ask(m, "SELECT max(id) FROM main.process");
    m->threads = ask(m, "SELECT max(id) FROM main.thread");
    m->stats = ask(m, "SELECT max(id) FROM main.stat");
    m->line_functions = ask(m, "SELECT max(id) FROM main.line_function");
    m->recordings = ask(m, "SELECT max(id) FROM main.recording");
    hl_idmap_clear(&to.files);
    hl_idmap_clear(&to.functions);
    hl_idmap_clear(&to.frames);
    hl_idmap_clear(&to.stacks);
    return error;
}
