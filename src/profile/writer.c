/*
 * writer.c - applies batches to the profile's database, which lives in memory as one flat image (SQLite's memdb VFS),
 * so that publishing is one write of it. Runs on the collector's writer thread.
 *
 * A batch is one transaction. When it fails nothing of it is in the database, and applying it again is the way on: the
 * dictionary in memory knows what of it has been committed.
 */
#include "writer.h"

#include "symbols.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const statement_sql[WRITER_STATEMENTS] = {
    [BEGIN] = "BEGIN",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PUT_META] = "INSERT OR REPLACE INTO meta VALUES (?, ?)",
    [PUT_PROCESS] = "INSERT OR REPLACE INTO process VALUES "
                    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_MAPPING] = "INSERT OR REPLACE INTO mapping VALUES (?, ?, ?, ?, ?, ?)",
    [PUT_THREAD] = "INSERT OR REPLACE INTO thread VALUES (?, ?, ?, ?, ?)",
    [PUT_REGION] = "INSERT OR REPLACE INTO thread_region VALUES (?, ?, ?)",
    [PUT_FILE] = "INSERT OR REPLACE INTO file VALUES (?, ?, ?, NULL, NULL)",
    [PUT_FUNCTION] = "INSERT OR REPLACE INTO function VALUES (?, ?, ?, ?)",
    [PUT_FRAME] = "INSERT OR REPLACE INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_STACK] = "INSERT OR REPLACE INTO stack VALUES (?, ?, ?, ?)",
    [PUT_STAT] = "INSERT OR REPLACE INTO stat VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_TICK] = "INSERT OR REPLACE INTO tick VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_POOL] = "INSERT OR REPLACE INTO pool VALUES (?, ?, ?)",
    [PUT_POOL_TICK] = "INSERT OR REPLACE INTO pool_tick VALUES (?, ?, ?)",
    [PUT_CELL] = "INSERT OR REPLACE INTO cell_row VALUES (?, ?, ?, ?, ?)",
    [DELETE_CELL] = "DELETE FROM cell_row WHERE stat = ? AND born = ? AND lived = ?",
    [PUT_MARK] = "INSERT INTO mark VALUES (?, ?, ?, ?)",
    [PUT_NOTE] = "INSERT INTO note (process, text) SELECT ?1, ?2 WHERE NOT EXISTS "
                 "(SELECT 1 FROM note WHERE process IS ?1 AND text = ?2)",
    [PUT_LINE_FUNCTION] = "INSERT OR REPLACE INTO line_function VALUES (?, ?, ?, ?, ?, ?)",
    [PUT_LINE] = "INSERT OR REPLACE INTO line_profile VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
};

/* ------------------------------------------------------------------------------------------------ errors, binding */

int hl_writer_fail(hl_profile_writer *w, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(w->error, sizeof w->error, format, arguments);
    va_end(arguments);
    return code;
}

int hl_writer_sql_error(hl_profile_writer *w)
{
    int primary = sqlite3_errcode(w->db) & 0xff;
    int code = primary == SQLITE_NOMEM || primary == SQLITE_FULL ? -ENOMEM : -EIO;
    return hl_writer_fail(w, code, "the profile's database: %s", sqlite3_errmsg(w->db));
}

int hl_writer_exec(hl_profile_writer *w, const char *sql)
{
    return sqlite3_exec(w->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : hl_writer_sql_error(w);
}

static int take_step(hl_profile_writer *w, enum writer_statement which)
{
    int error = sqlite3_step(w->statement[which]) == SQLITE_DONE ? 0 : hl_writer_sql_error(w);
    sqlite3_reset(w->statement[which]);
    return error;
}

int hl_writer_clear(hl_profile_writer *w) { return sqlite3_get_autocommit(w->db) ? 0 : take_step(w, ROLLBACK); }

int hl_writer_begin(hl_profile_writer *w)
{
    int error = hl_writer_clear(w);
    return error ? error : take_step(w, BEGIN);
}

int hl_writer_commit(hl_profile_writer *w) { return take_step(w, COMMIT); }

/* Binds a row's columns from left to right and stores it. An error is kept until the row is stored. */
typedef struct row {
    hl_profile_writer *writer;
    sqlite3_stmt *statement;
    int column, failed;
} row;

static row begin(hl_profile_writer *w, enum writer_statement which)
{
    return (row){.writer = w, .statement = w->statement[which]};
}

static void put_null(row *r) { r->failed |= sqlite3_bind_null(r->statement, ++r->column); }
static void put_signed(row *r, int64_t value) { r->failed |= sqlite3_bind_int64(r->statement, ++r->column, value); }

/* What does not fit into SQLite's signed integers is as large as they get. */
static void put(row *r, uint64_t value) { put_signed(r, value > INT64_MAX ? INT64_MAX : (int64_t)value); }

static void put_or_null(row *r, int64_t value, bool known)
{
    if (known)
        put_signed(r, value);
    else
        put_null(r);
}

static void put_text(row *r, hl_text text)
{
    const char *at = text.at ? text.at : "";
    r->failed |=
        sqlite3_bind_text64(r->statement, ++r->column, at, text.at ? text.bytes : 0, SQLITE_STATIC, SQLITE_UTF8);
}

static void put_word(row *r, const char *word)
{
    r->failed |= sqlite3_bind_text(r->statement, ++r->column, word, -1, SQLITE_STATIC);
}

static void put_blob(row *r, const uint8_t *at, size_t bytes)
{
    if (bytes)
        r->failed |= sqlite3_bind_blob64(r->statement, ++r->column, at, bytes, SQLITE_STATIC);
    else
        put_null(r);
}

static int store(row *r)
{
    int stepped = r->failed ? SQLITE_NOMEM : sqlite3_step(r->statement);
    int error = stepped == SQLITE_DONE ? 0 : hl_writer_sql_error(r->writer);
    if (r->failed && !error)
        error = hl_writer_fail(r->writer, -ENOMEM, "out of memory");
    sqlite3_reset(r->statement);
    return error;
}

static const char *word_of(uint32_t code, const char *const *words, size_t n, const char *otherwise)
{
    return code < n ? words[code] : otherwise;
}
#define WORD_OF(code, words, otherwise) word_of(code, words, sizeof(words) / sizeof *(words), otherwise)

/* ---------------------------------------------------------------------------------------------- meta and processes */

int hl_writer_meta(hl_profile_writer *w, const char *key, uint64_t value)
{
    row r = begin(w, PUT_META);
    put_word(&r, key);
    put(&r, value);
    return store(&r);
}

static int meta_text(hl_profile_writer *w, const char *key, const char *value)
{
    row r = begin(w, PUT_META);
    put_word(&r, key);
    if (value)
        put_word(&r, value);
    else
        put_null(&r);
    return store(&r);
}

/* How the program itself ended: one of exit_status and signal, the other NULL, both NULL while it runs. */
static int put_ending(hl_profile_writer *w, const hl_batch_meta *m)
{
    bool exited = m->root_ended && WIFEXITED(m->root_status), killed = m->root_ended && WIFSIGNALED(m->root_status);
    row r = begin(w, PUT_META);
    put_word(&r, "exit_status");
    put_or_null(&r, exited ? WEXITSTATUS(m->root_status) : 0, exited);
    int error = store(&r);
    if (error)
        return error;
    r = begin(w, PUT_META);
    put_word(&r, "signal");
    put_or_null(&r, killed ? WTERMSIG(m->root_status) : 0, killed);
    error = store(&r);
    if (error)
        return error;
    r = begin(w, PUT_META);
    put_word(&r, "root_end_ns");
    put_or_null(&r, (int64_t)(m->root_end_ns & INT64_MAX), m->root_ended);
    return store(&r);
}

static int put_meta(hl_profile_writer *w, const hl_batch_meta *m)
{
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"now_ns", m->now_ns},
        {"allocations", m->allocations},
        {"allocated", m->allocated},
        {"frees", m->frees},
        {"freed", m->freed},
        {"live", m->live},
        {"live_blocks", m->live_blocks},
        {"peak", m->peak},
        {"peak_ns", m->peak_ns},
        {"peak_blocks", m->peak_blocks},
        {"peak_bound", m->peak_bound},
        {"arena_peak", m->arena_peak},
        {"rss_peak", m->rss_peak},
        {"pool_peak", m->pool_peak},
        {"events", m->events},
        {"lost", m->lost},
        {"waited_ns", m->waited_ns},
        {"collector_cpu_ns", m->collector_cpu_ns},
        {"collector_rss_peak", m->collector_rss_peak},
        {"tick_ns", m->tick_ns},
        {"cell_tick_ns", m->cell_tick_ns},
        {"folded_stacks", m->folded_stacks},
        {"folded_rows", m->folded_rows},
        {"oom_limit", m->oom_limit},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int error = hl_writer_meta(w, numbers[i].key, numbers[i].value);
        if (error)
            return error;
    }
    int error = meta_text(w, "state", !m->final ? "running" : m->stopped ? "stopped" : "finished");
    if (error)
        return error;
    row r = begin(w, PUT_META);
    put_word(&r, "oom_scope");
    if (m->oom_scope.at)
        put_text(&r, m->oom_scope);
    else
        put_null(&r);
    error = store(&r);
    return error ? error : put_ending(w, m);
}

/* "3.13.0", "3.14.0rc2 free-threaded", as sys.version_info and Py_GIL_DISABLED say. */
static const char *python_words(uint32_t version, uint32_t flags, char *words, size_t n)
{
    if (!version)
        return NULL;
    char stage[8] = "";
    static const struct {
        unsigned level;
        const char *letters;
    } stages[] = {{0xa, "a"}, {0xb, "b"}, {0xc, "rc"}};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if ((version >> 4 & 15) == stages[i].level)
            snprintf(stage, sizeof stage, "%s%u", stages[i].letters, version & 15);
    }
    snprintf(words, n, "%u.%u.%u%s%s%s", version >> 24, version >> 16 & 255, version >> 8 & 255, stage,
             flags & 1 ? " free-threaded" : "", flags & 2 ? " debug" : "");
    return words;
}

static int put_mappings(hl_profile_writer *w, const hl_batch_process *p)
{
    static const char *const classes[] = {"heap", "arena", "reservation", "file", "shared", "stack", "pool"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        row r = begin(w, PUT_MAPPING);
        put(&r, p->id);
        put_word(&r, classes[i]);
        put(&r, p->maps[i].count);
        put(&r, p->maps[i].mapped);
        put(&r, p->maps[i].live);
        put(&r, p->maps[i].peak);
        int error = store(&r);
        if (error)
            return error;
    }
    return 0;
}

static int put_process(hl_profile_writer *w, const hl_batch_process *p)
{
    static const char *const births[] = {"start", "fork", "vfork", "spawn", "clone", "inside"};
    static const char *const recordings[] = {"nothing", "malloc", "stacks", "objects"};
    static const char *const endings[] = {"running", "exit", "signal", "lost"};
    char python[64];
    const char *version = python_words(p->python_version, p->python_flags, python, sizeof python);

    row r = begin(w, PUT_PROCESS);
    put(&r, p->id);
    put_signed(&r, p->pid);
    put_or_null(&r, p->parent, p->parent != 0);
    put_or_null(&r, p->parent_pid, p->parent_pid > 0);
    put_word(&r, WORD_OF(p->born_by, births, "unknown"));
    put_text(&r, p->command);
    put_text(&r, p->executable);
    if (version)
        put_word(&r, version);
    else
        put_null(&r);
    put_word(&r, WORD_OF(p->recording, recordings, "nothing"));
    put_text(&r, p->reason);
    put(&r, p->start_ns);
    put_or_null(&r, (int64_t)(p->end_ns & INT64_MAX), p->ended != 0);
    put_word(&r, WORD_OF(p->ended, endings, "lost"));
    put_or_null(&r, p->exit_status, p->ended == 1 || p->ended == 2);
    const uint64_t numbers[] = {p->allocations,   p->allocated, p->frees,     p->freed,       p->live,
                                p->live_blocks,   p->peak,      p->peak_ns,   p->peak_blocks, p->inherited_frees,
                                p->unknown_frees, p->lost,      p->waited_ns, p->rss_peak};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(&r, numbers[i]);
    int error = store(&r);
    if (error || !p->pool_owners.bytes)
        return error ? error : put_mappings(w, p);
    r = begin(w, PUT_POOL);
    put(&r, p->id);
    put_text(&r, p->pool_owners);
    put(&r, p->pool_peak);
    error = store(&r);
    return error ? error : put_mappings(w, p);
}

static int put_thread(hl_profile_writer *w, const hl_batch_thread *t)
{
    row r = begin(w, PUT_THREAD);
    put(&r, t->id);
    put(&r, t->process);
    put_or_null(&r, t->tid, t->tid != 0);
    put_text(&r, t->name);
    put(&r, t->threads);
    int error = store(&r);
    if (error || !t->base)
        return error;
    r = begin(w, PUT_REGION);
    put(&r, t->id);
    put(&r, t->base);
    put_text(&r, t->region);
    return store(&r);
}

/* ------------------------------------------------------------------------------------------------- dictionary */

static int put_files(hl_profile_writer *w)
{
    for (size_t i = w->files_written; i < w->dictionary.files.n; i++) {
        row r = begin(w, PUT_FILE);
        put(&r, i + 1);
        put_text(&r, w->dictionary.files.row[i].path);
        put_word(&r, hl_origin_of(w->dictionary.files.row[i].path));
        int error = store(&r);
        if (error)
            return error;
    }
    return 0;
}

static int put_functions(hl_profile_writer *w)
{
    for (size_t i = w->functions_written; i < w->dictionary.functions.n; i++) {
        const hl_function *f = &w->dictionary.functions.row[i];
        row r = begin(w, PUT_FUNCTION);
        put(&r, i + 1);
        put(&r, f->file);
        put_text(&r, f->name);
        put_signed(&r, f->first_line);
        int error = store(&r);
        if (error)
            return error;
    }
    return 0;
}

static int put_frame(hl_profile_writer *w, uint32_t id)
{
    const hl_frame *f = &w->dictionary.frames.row[id - 1];
    row r = begin(w, PUT_FRAME);
    put(&r, id);
    put(&r, f->function);
    put_signed(&r, f->position.line);
    put_or_null(&r, f->position.end_line, f->position.end_line >= 0);
    put_or_null(&r, f->position.column, f->position.column >= 0);
    put_or_null(&r, f->position.end_column, f->position.end_column >= 0);
    put_or_null(&r, f->module, f->module != 0);
    put_or_null(&r, f->caller, f->caller != 0);
    return store(&r);
}

static int put_frames(hl_profile_writer *w)
{
    int error = 0;
    for (size_t i = w->frames_written; i < w->dictionary.frames.n && !error; i++)
        error = put_frame(w, (uint32_t)i + 1);
    for (size_t i = 0; i < w->dictionary.renamed.n && !error; i++)
        error = put_frame(w, w->dictionary.renamed.row[i]);
    return error;
}

static int put_stacks(hl_profile_writer *w)
{
    for (size_t i = w->stacks_written; i < w->dictionary.stacks.n; i++) {
        const hl_stack *s = &w->dictionary.stacks.row[i];
        row r = begin(w, PUT_STACK);
        put(&r, i);
        put_or_null(&r, s->parent, i != 0);
        put_or_null(&r, s->frame, s->frame != 0);
        put(&r, s->kind);
        int error = store(&r);
        if (error)
            return error;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------- stats and time */

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        *at++ = (uint8_t)(value | 128);
    *at++ = (uint8_t)value;
    return at;
}

static size_t pack_temporary(const hl_batch_histograms *s, uint8_t *bytes)
{
    uint8_t *at = bytes, *end = bytes; /* end: behind the last pair that is not zero */
    for (size_t i = 0; i < HL_TEMPORARY_BUCKETS; i++) {
        at = put_varint(at, s->temporary[i].count);
        at = put_varint(at, s->temporary[i].bytes);
        if (s->temporary[i].count || s->temporary[i].bytes)
            end = at;
    }
    return (size_t)(end - bytes);
}

static size_t pack_powers(const uint32_t *count, uint8_t *bytes)
{
    uint8_t *at = bytes;
    for (unsigned i = 0; i < HL_POWER_BUCKETS; i++) {
        if (count[i]) {
            at = put_varint(at, i);
            at = put_varint(at, count[i]);
        }
    }
    return (size_t)(at - bytes);
}

static int put_stat(hl_profile_writer *w, const hl_batch *batch, const hl_batch_stat *s)
{
    hl_batch_histograms h;
    hl_batch_unpack(batch, s, &h);
    uint8_t temporary[HL_TEMPORARY_BUCKETS * 20], sizes[HL_POWER_BUCKETS * 6], lifetimes[HL_POWER_BUCKETS * 6];
    row r = begin(w, PUT_STAT);
    put(&r, s->id);
    put(&r, hl_dictionary_stack_of(&w->dictionary, s->node));
    put(&r, s->process);
    put(&r, s->thread);
    put(&r, s->allocator < 8 ? s->allocator : 0);
    put(&r, s->allocations);
    put(&r, s->allocated);
    put(&r, s->frees);
    put(&r, s->freed);
    put_signed(&r, s->live);
    put(&r, s->live_blocks);
    put_signed(&r, s->peak);
    put(&r, s->peak_blocks);
    put_signed(&r, s->tree_peak);
    put(&r, s->tree_peak_blocks);
    put(&r, s->largest);
    put_blob(&r, temporary, pack_temporary(&h, temporary));
    put_blob(&r, sizes, pack_powers(h.sizes, sizes));
    put_blob(&r, lifetimes, pack_powers(h.lifetimes, lifetimes));
    return store(&r);
}

static int put_tick(hl_profile_writer *w, const hl_batch_tick *t)
{
    row r = begin(w, PUT_TICK);
    put(&r, t->process);
    put(&r, t->tick);
    put(&r, t->heap);
    put(&r, t->heap_low);
    put(&r, t->heap_high);
    put(&r, t->arena);
    const int64_t sampled[] = {t->rss, t->rss_anon, t->rss_file, t->rss_shmem, t->pss};
    for (size_t i = 0; i < sizeof sampled / sizeof *sampled; i++)
        put_or_null(&r, sampled[i], sampled[i] >= 0);
    int error = store(&r);
    if (error || t->pool < 0)
        return error;
    r = begin(w, PUT_POOL_TICK);
    put(&r, t->process);
    put(&r, t->tick);
    put_signed(&r, t->pool);
    return store(&r);
}

static int put_cell(hl_profile_writer *w, const hl_batch_cell *c)
{
    /* A block that died in the tick it was born in has no cell. */
    if (c->died >= 0 && c->died <= (int64_t)c->born)
        return 0;
    bool kept = c->blocks || c->bytes; /* a part of a mapping that is gone: bytes, and no block yet */
    row r = begin(w, kept ? PUT_CELL : DELETE_CELL);
    put(&r, c->stat);
    put(&r, c->born);
    put_signed(&r, c->died < 0 ? 0 : c->died - (int64_t)c->born);
    if (kept) {
        put(&r, c->blocks);
        put(&r, c->bytes);
    }
    return store(&r);
}

static int put_mark(hl_profile_writer *w, const hl_batch_mark *m)
{
    row r = begin(w, PUT_MARK);
    put(&r, m->time_ns);
    put_or_null(&r, m->process, m->process != 0);
    put_text(&r, m->kind);
    put_text(&r, m->name);
    return store(&r);
}

static int put_note(hl_profile_writer *w, const hl_batch_note *n)
{
    row r = begin(w, PUT_NOTE);
    put_or_null(&r, n->process, n->process != 0);
    put_text(&r, n->text);
    return store(&r);
}

static int put_line_function(hl_profile_writer *w, const hl_batch_line_function *f)
{
    uint32_t file = hl_dictionary_file_of(&w->dictionary, f->code);
    row r = begin(w, PUT_LINE_FUNCTION);
    put(&r, f->id);
    put(&r, f->process);
    put_or_null(&r, file, file != 0);
    put_text(&r, f->name);
    put_signed(&r, f->first_line);
    put_signed(&r, f->last_line);
    return store(&r);
}

static int put_line(hl_profile_writer *w, const hl_batch_line *l)
{
    row r = begin(w, PUT_LINE);
    put(&r, l->function);
    put_signed(&r, l->line);
    const uint64_t numbers[] = {l->hits, l->allocated, l->freed, l->allocations, l->highest, l->temporary, l->largest};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(&r, numbers[i]);
    put_or_null(&r, (int64_t)(l->rss & INT64_MAX), l->rss != 0);
    return store(&r);
}

int hl_writer_note(hl_profile_writer *w, uint32_t process, const char *text)
{
    return put_note(w, &(hl_batch_note){.process = process, .text = {text, (uint32_t)strlen(text)}});
}

/* -------------------------------------------------------------------------------------------------- a batch */

/* Tells the dictionary; nothing of it is in the database yet. */
static int learn(hl_profile_writer *w, const hl_batch *b)
{
    int error = 0;
    if (b->complete) {
        w->empty_first = true;
        w->stacks_written = 0;
        error = hl_dictionary_forget_stacks(&w->dictionary);
    }
    for (size_t i = 0; !error && i < b->codes.n; i++)
        error = hl_dictionary_add_code(&w->dictionary, &b->codes.row[i]);
    for (size_t i = 0; !error && i < b->nodes.n; i++)
        error = hl_dictionary_add_node(&w->dictionary, &b->nodes.row[i]);
    return error ? hl_writer_fail(w, error, "out of memory") : 0;
}

static int put_names(hl_profile_writer *w)
{
    int error = put_files(w);
    if (!error)
        error = put_functions(w);
    return error ? error : put_frames(w);
}

/* They are committed. */
static void remember_names(hl_profile_writer *w)
{
    w->files_written = w->dictionary.files.n;
    w->functions_written = w->dictionary.functions.n;
    w->frames_written = w->dictionary.frames.n;
    w->dictionary.renamed.n = 0;
}

#define PUT_ALL(rows, put_one)                                                                                         \
    for (size_t i = 0; !error && i < (rows).n; i++)                                                                    \
    error = put_one(w, &(rows).row[i])

static int put_batch(hl_profile_writer *w, const hl_batch *b)
{
    int error = 0;
    if (w->empty_first)
        error = hl_writer_exec(
            w, "DELETE FROM stack; DELETE FROM stat; DELETE FROM tick; DELETE FROM pool_tick; DELETE FROM cell_row");
    if (!error)
        error = put_names(w);
    if (!error)
        error = put_stacks(w);
    PUT_ALL(b->processes, put_process);
    PUT_ALL(b->threads, put_thread);
    for (size_t i = 0; !error && i < b->stats.n; i++)
        error = put_stat(w, b, &b->stats.row[i]);
    PUT_ALL(b->ticks, put_tick);
    PUT_ALL(b->cells, put_cell);
    PUT_ALL(b->marks, put_mark);
    PUT_ALL(b->notes, put_note);
    PUT_ALL(b->line_functions, put_line_function);
    PUT_ALL(b->lines, put_line);
    return error ? error : put_meta(w, &b->meta);
}

int hl_profile_writer_apply(hl_profile_writer *w, const hl_batch *batch)
{
    w->error[0] = 0;
    int error = learn(w, batch);
    if (!error)
        error = hl_writer_name_natives(w);
    if (!error)
        error = hl_writer_begin(w);
    if (!error)
        error = put_batch(w, batch);
    if (!error)
        error = hl_writer_commit(w);
    if (error) {
        char why[sizeof w->error];
        memcpy(why, w->error, sizeof why);
        hl_writer_clear(w);
        memcpy(w->error, why, sizeof why); /* the first error is the one to tell */
        return error;
    }
    w->empty_first = false;
    remember_names(w);
    w->stacks_written = w->dictionary.stacks.n;
    return 0;
}

int hl_writer_store_names(hl_profile_writer *w)
{
    int error = hl_writer_begin(w);
    if (!error)
        error = put_names(w);
    if (!error && w->names_note[0])
        error = hl_writer_note(w, 0, w->names_note);
    if (!error)
        error = hl_writer_commit(w);
    if (!error)
        remember_names(w);
    return error;
}

/* ---------------------------------------------------------------------------------------------- open and close */

static int put_identity(hl_profile_writer *w, const hl_profile_identity *identity)
{
    int error = meta_text(w, "heapline", HEAPLINE_VERSION);
    if (!error)
        error = meta_text(w, "command", identity->command ? identity->command : "");
    if (!error)
        error = meta_text(w, "directory", identity->directory ? identity->directory : "");
    if (!error)
        error = meta_text(w, "host", identity->host ? identity->host : "");
    if (!error)
        error = meta_text(w, "options", identity->options ? identity->options : "");
    if (!error)
        error = hl_writer_meta(w, "start_unix_ns", identity->start_unix_ns);
    for (const char *const *label = identity->labels; !error && label && label[0] && label[1]; label += 2) {
        char *sql = sqlite3_mprintf("INSERT OR REPLACE INTO label VALUES (%Q, %Q)", label[0], label[1]);
        error = sql ? hl_writer_exec(w, sql) : hl_writer_fail(w, -ENOMEM, "out of memory");
        sqlite3_free(sql);
    }
    return error;
}

static int open_database(hl_profile_writer *w, const hl_profile_identity *identity)
{
    /* A private image: the name has no leading slash. */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2("file:heapline?vfs=memdb", &w->db, flags, NULL) != SQLITE_OK)
        return w->db ? hl_writer_sql_error(w) : hl_writer_fail(w, -ENOMEM, "out of memory");
    char pragmas[320];
    snprintf(pragmas, sizeof pragmas,
             "PRAGMA page_size = 4096; PRAGMA encoding = 'UTF-8'; PRAGMA journal_mode = MEMORY; PRAGMA temp_store = "
             "MEMORY; PRAGMA cache_size = -2000;"
             "PRAGMA application_id = %d; PRAGMA user_version = %d; BEGIN",
             HL_PROFILE_ID, HL_PROFILE_VERSION);
    int error = hl_writer_exec(w, pragmas);
    if (!error)
        error = hl_writer_exec(w, hl_schema_sql);
    for (int i = 0; !error && i < WRITER_STATEMENTS; i++) {
        if (sqlite3_prepare_v3(w->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &w->statement[i], NULL) !=
            SQLITE_OK)
            error = hl_writer_sql_error(w);
    }
    if (!error)
        error = put_identity(w, identity);
    if (!error)
        error = put_meta(w, &(hl_batch_meta){0});
    return error ? error : hl_writer_exec(w, "COMMIT");
}

int hl_profile_writer_open(hl_profile_writer **writer, const char *path, const hl_profile_identity *identity)
{
    hl_profile_writer *w = calloc(1, sizeof *w);
    *writer = NULL;
    if (!w)
        return -ENOMEM;
    const char *slash = strrchr(path, '/');
    w->path = strdup(path);
    if (asprintf(&w->temporary, "%.*s" HL_TEMPORARY_SUFFIX, slash ? (int)(slash + 1 - path) : 0, path) < 0)
        w->temporary = NULL;
    mode_t mask = umask(077);
    umask(mask);
    w->mode = 0666 & ~mask;
    w->identity.start_unix_ns = identity->start_unix_ns;
    w->identity.embed_source = identity->embed_source;
    w->identity.debuginfod = identity->debuginfod;
    int error = !w->path || !w->temporary ? -ENOMEM : hl_dictionary_open(&w->dictionary);
    if (!error)
        error = open_database(w, identity);
    if (!error && identity->native)
        error = hl_writer_open_symbols(w);
    if (error) {
        hl_profile_writer_close(w);
        return error;
    }
    hl_writer_remove_leftovers(w);
    *writer = w;
    return 0;
}

void hl_profile_writer_ask_cost(hl_profile_writer *w, hl_profile_cost *cost) { w->cost = cost; }

void hl_profile_writer_watch_names(hl_profile_writer *w, const hl_names_watch *watch) { w->watch = *watch; }

const char *hl_profile_writer_error(const hl_profile_writer *w) { return w->error; }

void hl_profile_writer_close(hl_profile_writer *w)
{
    if (!w)
        return;
    for (int i = 0; i < WRITER_STATEMENTS; i++)
        sqlite3_finalize(w->statement[i]);
    sqlite3_close(w->db);
    hl_symbols_close(w->symbols);
    hl_dictionary_close(&w->dictionary);
    free(w->path);
    free(w->temporary);
    free(w);
}
