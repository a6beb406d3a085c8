/* See model.h. Loading; whose line a stack is, is in yours.c, views are in view.c. */
#include "model.h"

#include "loader.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Strings of a model: chunks that never move. */
typedef struct hl_strings {
    struct hl_strings *next;
    size_t used, room;
    char at[];
} hl_strings;

static char *keep_string(hl_model *model, const char *text, size_t bytes)
{
    hl_strings *chunk = model->strings;
    if (!chunk || chunk->room - chunk->used < bytes + 1) {
        size_t room = bytes + 1 > 65536 ? bytes + 1 : 65536;
        hl_strings *fresh = malloc(sizeof *fresh + room);
        if (!fresh)
            return NULL;
        *fresh = (hl_strings){.next = chunk, .room = room};
        model->strings = chunk = fresh;
    }
    char *at = chunk->at + chunk->used;
    memcpy(at, text, bytes);
    at[bytes] = '\0';
    chunk->used += bytes + 1;
    return at;
}

/* A text column, kept. Null columns give `otherwise`. Text may hold NUL bytes in a broken file: it ends there. */
static const char *column_text(loader *l, sqlite3_stmt *row, int column, const char *otherwise)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text ? keep_string(l->model, text, strlen(text)) : otherwise;
}

static uint64_t column_count(sqlite3_stmt *row, int column)
{
    sqlite3_int64 value = sqlite3_column_int64(row, column);
    return value < 0 ? 0 : (uint64_t)value;
}

static int sql_error(loader *l)
{
    snprintf(l->why, l->why_bytes, "%s", sqlite3_errmsg(l->model->database));
    return -EIO;
}

static int prepare(loader *l, sqlite3_stmt **statement, const char *sql)
{
    return sqlite3_prepare_v2(l->model->database, sql, -1, statement, NULL) == SQLITE_OK ? 0 : sql_error(l);
}

typedef int fill_row(loader *l, sqlite3_stmt *row, void *into, uint32_t index);

/* Runs `sql` and fills one zeroed array element a row. */
static int load(loader *l, const char *sql, void *array, size_t row_bytes, fill_row *fill)
{
    HL_ARRAY(char) *to = array;
    uint32_t room = 0;
    sqlite3_stmt *statement;
    int error = prepare(l, &statement, sql);
    if (error)
        return error;
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        if (to->n == room) {
            uint32_t more = room ? room * 2 : 256;
            char *grown = room < UINT32_MAX / 4 ? realloc(to->row, more * row_bytes) : NULL;
            if (!grown) {
                error = -ENOMEM;
                break;
            }
            memset(grown + room * row_bytes, 0, (more - room) * row_bytes);
            to->row = grown;
            room = more;
        }
        error = fill(l, statement, to->row + to->n * row_bytes, to->n);
        if (error)
            break;
        to->n++;
    }
    if (!error && step != SQLITE_DONE)
        error = sql_error(l);
    sqlite3_finalize(statement);
    return error;
}

/* The row with this id in an array sorted by id whose rows begin with it. Ids are dense as a rule. */
static uint32_t row_of(const void *rows, uint32_t n, size_t row_bytes, int64_t id)
{
    const char *at = rows;
#define ID(i) (*(const int64_t *)(const void *)(at + (size_t)(i)*row_bytes))
    if (id >= 0 && id < n && ID(id) == id)
        return (uint32_t)id;
    if (id >= 1 && id <= n && ID(id - 1) == id)
        return (uint32_t)(id - 1);
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ID(middle) < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ID(low) == id ? low : HL_NO_ROW;
#undef ID
}
#define ROW_OF(array, id) row_of((array).row, (array).n, sizeof *(array).row, id)

static int fill_meta(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_meta *meta = into;
    meta->key = column_text(l, row, 0, "");
    meta->null = sqlite3_column_type(row, 1) == SQLITE_NULL;
    meta->number = sqlite3_column_int64(row, 1);
    meta->text = column_text(l, row, 1, "");
    return meta->key && meta->text ? 0 : -ENOMEM;
}

/* What is left of a path when the part that everybody knows is taken away. */
static const char *label_of(const loader *l, const hl_model_file *file)
{
    const char *path = file->path, *at;
    size_t directory_bytes = l->directory ? strlen(l->directory) : 0;
    if (file->origin == HL_ORIGIN_SITE &&
        ((at = strstr(path, "/site-packages/")) || (at = strstr(path, "/dist-packages/"))))
        return at + strlen("/site-packages/");
    if (file->origin == HL_ORIGIN_STDLIB && (at = strstr(path, "/lib/python")) &&
        (at = strchr(at + strlen("/lib/python"), '/')))
        return at + 1;
    if (directory_bytes > 1 && strncmp(path, l->directory, directory_bytes) == 0)
        return path + directory_bytes;
    return path;
}

static int fill_file(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model_file *file = into;
    file->id = sqlite3_column_int64(row, 0);
    file->path = column_text(l, row, 1, "");
    const char *origin = (const char *)sqlite3_column_text(row, 2);
    file->embedded = sqlite3_column_int(row, 3) != 0;
    if (!file->path)
        return -ENOMEM;
    switch (origin ? origin[0] : 'u') {
    case 's':
        file->origin = strcmp(origin, "site") == 0 ? HL_ORIGIN_SITE : HL_ORIGIN_STDLIB;
        break;
    case 'f':
        file->origin = HL_ORIGIN_FROZEN;
        break;
    case 'n':
        file->origin = HL_ORIGIN_NATIVE;
        break;
    default: /* user, interactive */
        file->origin = HL_ORIGIN_USER;
    }
    file->label = label_of(l, file);
    return 0;
}

static int fill_function(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model_function *function = into;
    function->id = sqlite3_column_int64(row, 0);
    function->file = ROW_OF(l->model->files, sqlite3_column_int64(row, 1));
    function->name = column_text(l, row, 2, "");
    function->first_line = sqlite3_column_int(row, 3);
    if (!function->name)
        return -ENOMEM;
    /* "[generated code]" and "(outer frames, cut)" are in no file: the format wants one, which has their name or ours. */
    const hl_model_file *files = l->model->files.row;
    const char *path = function->file == HL_NO_ROW || !files ? "" : files[function->file].path;
    bool is_made_up = path && (*path == '[' || *path == '(') && strcmp(path, function->name) == 0;
    if (is_made_up || (path && strcmp(path, "<heapline>") == 0))
        function->file = HL_NO_ROW;
    return 0;
}

uint32_t hl_site_of(loader *l, hl_site site)
{
    hl_model *m = l->model;
    uint64_t where = (uint64_t)(site.module + 1) << 33 | (uint64_t)site.inlined << 32 | (uint32_t)site.line;
    uint32_t row = hl_map_row(&l->site_rows, (uint64_t)site.kind << 32 | site.function, where, m->sites.n);
    if (row == m->sites.n) {
        if ((row & (row - 1)) == 0 || row < 2) { /* rooms are powers of two, from 2 */
            hl_site *grown = realloc(m->sites.row, (row < 2 ? 2 : (size_t)row * 2) * sizeof *grown);
            if (!grown)
                return HL_NO_ROW;
            m->sites.row = grown;
        }
        m->sites.row[m->sites.n++] = site;
    }
    return row;
}

static int fill_frame(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model_frame *frame = into;
    frame->id = sqlite3_column_int64(row, 0);
    frame->function = ROW_OF(l->model->functions, sqlite3_column_int64(row, 1));
    frame->line = sqlite3_column_int(row, 2);
    frame->module = ROW_OF(l->model->files, sqlite3_column_int64(row, 3));
    frame->caller = sqlite3_column_type(row, 4) == SQLITE_NULL ? HL_NO_ROW : (uint32_t)sqlite3_column_int64(row, 4);
    frame->site = hl_site_of(l, (hl_site){.kind = HL_SITE_LINE,
                                          .function = frame->function,
                                          .line = frame->line,
                                          .module = frame->module,
                                          .inlined = frame->module != HL_NO_ROW && frame->caller != HL_NO_ROW});
    return frame->site == HL_NO_ROW ? -ENOMEM : 0;
}

/* Callers are written after the frames inlined into them. */
static void find_callers(hl_model *m)
{
    for (uint32_t i = 0; i < m->frames.n; i++)
        if (m->frames.row[i].caller != HL_NO_ROW)
            m->frames.row[i].caller = ROW_OF(m->frames, (int64_t)m->frames.row[i].caller);
}

static int fill_stack(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model *m = l->model;
    hl_model_stack *stack = into;
    stack->id = sqlite3_column_int64(row, 0);
    if (index == 0) {
        stack->frame = HL_NO_ROW;
        return 0;
    }
    m->stacks.n = index; /* the rows above are complete */
    stack->parent = ROW_OF(m->stacks, sqlite3_column_int64(row, 1));
    if (stack->parent >= index)
        stack->parent = 0;
    stack->frame =
        sqlite3_column_type(row, 2) == SQLITE_NULL ? HL_NO_ROW : ROW_OF(m->frames, sqlite3_column_int64(row, 2));
    int64_t kind = sqlite3_column_int64(row, 3);
    stack->kind = kind >= HL_STACK_ROOT && kind <= HL_STACK_NATIVE ? (hl_stack_kind)kind : HL_STACK_PYTHON;
    stack->depth = m->stacks.row[stack->parent].depth + 1;
    stack->python = stack->kind == HL_STACK_PYTHON || m->stacks.row[stack->parent].python;
    return 0;
}

static int fill_process(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model_process *p = into;
    *p = (hl_model_process){
        .id = sqlite3_column_int64(row, 0),
        .pid = sqlite3_column_int64(row, 1),
        .parent = sqlite3_column_type(row, 2) == SQLITE_NULL ? HL_NO_ROW : (uint32_t)sqlite3_column_int64(row, 2),
        .parent_pid = sqlite3_column_int64(row, 3),
        .born_by = column_text(l, row, 4, "unknown"),
        .command = column_text(l, row, 5, ""),
        .executable = column_text(l, row, 6, ""),
        .python = column_text(l, row, 7, NULL),
        .recorded = column_text(l, row, 8, ""),
        .reason = column_text(l, row, 9, ""),
        .start_ns = column_count(row, 10),
        .end_ns = sqlite3_column_type(row, 11) == SQLITE_NULL ? UINT64_MAX : column_count(row, 11),
        .ended = column_text(l, row, 12, "lost"),
        .exit_status = sqlite3_column_type(row, 13) == SQLITE_NULL ? -1 : sqlite3_column_int64(row, 13),
        .allocations = column_count(row, 14),
        .allocated = column_count(row, 15),
        .frees = column_count(row, 16),
        .freed = column_count(row, 17),
        .live = column_count(row, 18),
        .live_blocks = column_count(row, 19),
        .peak = column_count(row, 20),
        .peak_ns = column_count(row, 21),
        .peak_blocks = column_count(row, 22),
        .inherited_frees = column_count(row, 23),
        .unknown_frees = column_count(row, 24),
        .lost = column_count(row, 25),
        .waited_ns = column_count(row, 26),
        .rss_peak = column_count(row, 27),
        .arena_peak = column_count(row, 28),
    };
    if (p->born_by && strcmp(p->born_by, "inside") == 0) { /* it was running: what it had is not unknown, only older */
        p->earlier_frees = p->unknown_frees;
        p->unknown_frees = 0;
    }
    bool kept = p->born_by && p->command && p->executable && p->recorded && p->reason && p->ended;
    return kept ? 0 : -ENOMEM;
}

static int fill_regions(loader *l)
{
    hl_model *m = l->model;
    sqlite3_stmt *row;
    int step, error = 0;
    /* Profiles of earlier versions have no such table. */
    if (sqlite3_prepare_v2(m->database, "SELECT thread, base, region FROM thread_region", -1, &row, NULL) != SQLITE_OK)
        return sqlite3_errcode(m->database) == SQLITE_NOMEM ? -ENOMEM : 0;
    while (!error && (step = sqlite3_step(row)) == SQLITE_ROW) {
        uint32_t at = ROW_OF(m->threads, sqlite3_column_int64(row, 0)),
                 base = ROW_OF(m->threads, sqlite3_column_int64(row, 1));
        if (at == HL_NO_ROW)
            continue;
        m->threads.row[at].base = base == HL_NO_ROW ? at : base;
        m->threads.row[at].region = column_text(l, row, 2, "");
        m->has_regions = true;
        error = m->threads.row[at].region ? 0 : -ENOMEM;
    }
    if (!error && step != SQLITE_DONE)
        error = sql_error(l);
    sqlite3_finalize(row);
    return error;
}

static int fill_pools(loader *l)
{
    hl_model *m = l->model;
    sqlite3_stmt *row;
    int step, error = 0;
    /* Profiles of earlier versions have no such table. */
    if (sqlite3_prepare_v2(m->database, "SELECT process, libraries, peak FROM pool", -1, &row, NULL) != SQLITE_OK)
        return sqlite3_errcode(m->database) == SQLITE_NOMEM ? -ENOMEM : 0;
    while (!error && (step = sqlite3_step(row)) == SQLITE_ROW) {
        uint32_t at = ROW_OF(m->processes, sqlite3_column_int64(row, 0));
        if (at == HL_NO_ROW)
            continue;
        hl_model_process *p = &m->processes.row[at];
        p->pool_owners = column_text(l, row, 1, NULL);
        p->pool_peak = column_count(row, 2);
        m->has_pools = true;
        error = p->pool_owners ? 0 : -ENOMEM;
    }
    if (!error && step != SQLITE_DONE)
        error = sql_error(l);
    sqlite3_finalize(row);
    return error;
}

const char *hl_model_pool_owners(const hl_model *m, uint32_t process, char *text, size_t bytes)
{
    const char *first = NULL;
    bool others = false;
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const char *owners = m->processes.row[i].pool_owners;
        if (!owners || (process != HL_NO_ROW && process != i))
            continue;
        others |= strchr(owners, ',') || (first && strcmp(first, owners) != 0);
        if (!first)
            first = owners;
    }
    if (first)
        snprintf(text, bytes, "%.*s%s", (int)(strcspn(first, ",") < 200 ? strcspn(first, ",") : 200), first,
                 others ? " and others" : "");
    return first ? text : NULL;
}

static int fill_thread(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model_thread *thread = into;
    thread->id = sqlite3_column_int64(row, 0);
    thread->process = ROW_OF(l->model->processes, sqlite3_column_int64(row, 1));
    thread->tid = sqlite3_column_int64(row, 2);
    thread->name = column_text(l, row, 3, "");
    thread->threads = column_count(row, 4);
    thread->region = NULL;
    thread->base = index;
    return thread->name ? 0 : -ENOMEM;
}

static int fill_allocator(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_allocator_name *allocator = into;
    allocator->id = sqlite3_column_int64(row, 0);
    allocator->name = column_text(l, row, 1, "");
    return allocator->name ? 0 : -ENOMEM;
}

static int fill_stat(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model *m = l->model;
    hl_stat *stat = into;
    uint32_t allocator = ROW_OF(m->allocators, sqlite3_column_int64(row, 4));
    *stat = (hl_stat){
        .id = sqlite3_column_int64(row, 0),
        .stack = ROW_OF(m->stacks, sqlite3_column_int64(row, 1)),
        .process = ROW_OF(m->processes, sqlite3_column_int64(row, 2)),
        .thread = ROW_OF(m->threads, sqlite3_column_int64(row, 3)),
        .allocator = allocator == HL_NO_ROW ? "(unknown)" : m->allocators.row[allocator].name,
        .allocations = column_count(row, 5),
        .allocated = column_count(row, 6),
        .frees = column_count(row, 7),
        .freed = column_count(row, 8),
        .live = column_count(row, 9),
        .live_blocks = column_count(row, 10),
        .peak = column_count(row, 11),
        .peak_blocks = column_count(row, 12),
        .tree_peak = column_count(row, 13),
        .tree_peak_blocks = column_count(row, 14),
    };
    if (stat->stack == HL_NO_ROW)
        stat->stack = 0;
    if (stat->process == HL_NO_ROW) {
        snprintf(l->why, l->why_bytes, "damaged: a row belongs to no process");
        return -EIO;
    }
    return 0;
}

static int fill_note(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_note *note = into;
    note->process = ROW_OF(l->model->processes, sqlite3_column_int64(row, 0));
    note->text = column_text(l, row, 1, "");
    return note->text ? 0 : -ENOMEM;
}

/* ------------------------------------------------------------------------------------------------------ recordings */

static int64_t column_or_none(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL ? -1 : sqlite3_column_int64(row, column);
}

/* The processes of a recording are rows one after the other. */
static void find_processes(const hl_model *m, hl_model_recording *r, int64_t first, int64_t last)
{
    r->first_process = 1;
    for (uint32_t i = m->processes.n; i-- > 0;) {
        int64_t id = m->processes.row[i].id;
        if (id < first || id > last)
            continue;
        r->last_process = r->last_process < i ? i : r->last_process;
        r->first_process = i;
    }
}

static int fill_recording(loader *l, sqlite3_stmt *row, void *into, uint32_t index)
{
    hl_model_recording *r = into;
    *r = (hl_model_recording){
        .id = sqlite3_column_int64(row, 0),
        .name = column_text(l, row, 1, ""),
        .host = column_text(l, row, 4, ""),
        .command = column_text(l, row, 5, ""),
        .state = column_text(l, row, 6, "finished"),
        .start_unix_ns = column_count(row, 7),
        .offset_ns = column_count(row, 8),
        .length_ns = column_count(row, 9),
        .peak = column_count(row, 10),
        .peak_ns = column_count(row, 11),
        .peak_bound = column_count(row, 12),
        .rss_peak = column_count(row, 13),
        .exit_status = column_or_none(row, 14),
        .signal = column_or_none(row, 15),
        .oom_scope = column_text(l, row, 16, NULL),
        .labels = column_text(l, row, 17, ""),
    };
    find_processes(l->model, r, sqlite3_column_int64(row, 2), sqlite3_column_int64(row, 3));
    return r->name && r->host && r->command && r->state && r->labels ? 0 : -ENOMEM;
}

static int load_recordings(loader *l)
{
    hl_model *m = l->model;
    sqlite3_stmt *probe = NULL;
    /* Profiles of earlier versions have no such table. */
    if (sqlite3_prepare_v2(m->database, "SELECT recording, key, value FROM recording_label", -1, &probe, NULL) !=
        SQLITE_OK)
        return sqlite3_errcode(m->database) == SQLITE_NOMEM ? -ENOMEM : 0;
    sqlite3_finalize(probe);
    return load(
        l,
        "SELECT id, name, first_process, last_process, host, command, state, start_unix_ns, offset_ns, length_ns, "
        "peak, peak_ns, peak_bound, rss_peak, exit_status, signal, oom_scope, (SELECT group_concat(key || '=' || "
        "coalesce(value, ''), ', ') FROM recording_label WHERE recording = recording.id) FROM recording ORDER BY id",
        &m->recordings, sizeof *m->recordings.row, fill_recording);
}

/* --------------------------------------------------------------------------------------------------------- the rest */

const char *hl_model_text(const hl_model *model, const char *key, const char *otherwise)
{
    for (uint32_t i = 0; i < model->metas.n; i++)
        if (strcmp(model->metas.row[i].key, key) == 0)
            return model->metas.row[i].null ? otherwise : model->metas.row[i].text;
    return otherwise;
}

int64_t hl_model_number(const hl_model *model, const char *key, int64_t otherwise)
{
    for (uint32_t i = 0; i < model->metas.n; i++)
        if (strcmp(model->metas.row[i].key, key) == 0)
            return model->metas.row[i].null ? otherwise : model->metas.row[i].number;
    return otherwise;
}

static uint64_t meta_count(const hl_model *m, const char *key, uint64_t otherwise)
{
    int64_t value = hl_model_number(m, key, -1);
    return value < 0 ? otherwise : (uint64_t)value;
}

static void summarise(hl_model *m)
{
    m->running = strcmp(hl_model_text(m, "state", "finished"), "running") == 0;
    m->stopped = strcmp(hl_model_text(m, "state", "finished"), "stopped") == 0;
    m->now_ns = meta_count(m, "now_ns", 0);
    m->tick_ns = meta_count(m, "tick_ns", 10000000);
    m->tick_ns = m->tick_ns ? m->tick_ns : 1;
    m->cell_tick_ns = meta_count(m, "cell_tick_ns", m->tick_ns);
    m->cell_tick_ns = m->cell_tick_ns ? m->cell_tick_ns : 1;
    m->peak = meta_count(m, "peak", 0);
    m->peak_ns = meta_count(m, "peak_ns", 0);
    m->peak_blocks = meta_count(m, "peak_blocks", 0);
    m->peak_bound = meta_count(m, "peak_bound", m->peak);
    m->peak_seen = meta_count(m, "peak_seen", 0);
    const hl_model_process *only = NULL;
    for (uint32_t i = 0; i < m->processes.n; i++) {
        hl_model_process *p = &m->processes.row[i];
        p->parent = p->parent == HL_NO_ROW ? HL_NO_ROW : ROW_OF(m->processes, (int64_t)p->parent);
        if (p->parent >= i) /* parents come first; anything else would be a cycle */
            p->parent = HL_NO_ROW;
        if (p->end_ns == UINT64_MAX)
            p->end_ns = m->now_ns > p->start_ns ? m->now_ns : p->start_ns;
        if (p->allocations) {
            m->recorded++;
            only = p;
        }
    }
    if (only && m->recorded == 1) { /* then its own peak is exact */
        m->peak = m->peak_bound = only->peak;
        m->peak_ns = only->peak_ns;
        m->peak_blocks = only->peak_blocks;
    }
}

static int load_tables(loader *l)
{
    hl_model *m = l->model;
    int error;
    if ((error = load(l, "SELECT key, value FROM meta", &m->metas, sizeof *m->metas.row, fill_meta)))
        return error;
    const char *directory = hl_model_text(m, "directory", "");
    if (*directory && asprintf(&l->directory, "%s/", directory) < 0) {
        l->directory = NULL;
        return -ENOMEM;
    }
    hl_site nowhere = {.kind = HL_SITE_NO_PYTHON, .function = HL_NO_ROW, .module = HL_NO_ROW}, startup = nowhere;
    startup.kind = HL_SITE_STARTUP;
    if (hl_site_of(l, nowhere) == HL_NO_ROW || hl_site_of(l, startup) == HL_NO_ROW)
        return -ENOMEM;
    if ((error = load(l, "SELECT id, path, origin, source_bytes IS NOT NULL FROM file ORDER BY id", &m->files,
                      sizeof *m->files.row, fill_file)) ||
        (error = load(l, "SELECT id, file, name, first_line FROM function ORDER BY id", &m->functions,
                      sizeof *m->functions.row, fill_function)) ||
        (error = load(l, "SELECT id, function, line, module, caller FROM frame ORDER BY id", &m->frames,
                      sizeof *m->frames.row, fill_frame)) ||
        (error = (find_callers(m), hl_label_natives(l))) ||
        (error = load(l, "SELECT id, parent, frame, kind FROM stack ORDER BY id", &m->stacks, sizeof *m->stacks.row,
                      fill_stack)) ||
        (error = load(
             l,
             "SELECT id, pid, parent, parent_pid, born_by, command, executable, python, recorded, reason, start_ns, "
             "end_ns, ended, exit_status, allocations, allocated, frees, freed, live, live_blocks, peak, peak_ns, "
             "peak_blocks, inherited_frees, unknown_frees, lost, waited_ns, rss_peak, (SELECT peak FROM mapping "
             "WHERE mapping.process = process.id AND class = 'arena') FROM process ORDER BY id",
             &m->processes, sizeof *m->processes.row, fill_process)) ||
        (error = fill_pools(l)) ||
        (error = load(l, "SELECT id, process, tid, name, threads FROM thread ORDER BY id", &m->threads,
                      sizeof *m->threads.row, fill_thread)) ||
        (error = fill_regions(l)) ||
        (error = load(l, "SELECT id, name FROM allocator ORDER BY id", &m->allocators, sizeof *m->allocators.row,
                      fill_allocator)))
        return error;
    if (m->stacks.n == 0) { /* a profile from before the first event: the root is always there */
        m->stacks.row = calloc(1, sizeof *m->stacks.row);
        if (!m->stacks.row)
            return -ENOMEM;
        m->stacks.row[0].frame = HL_NO_ROW;
        m->stacks.n = 1;
    }
    if ((error = load(
             l,
             "SELECT id, stack, process, thread, allocator, allocations, allocated, frees, freed, live, live_blocks, "
             "peak, peak_blocks, tree_peak, tree_peak_blocks FROM stat ORDER BY id",
             &m->stats, sizeof *m->stats.row, fill_stat)) ||
        (error = load(l, "SELECT process, text FROM note ORDER BY id", &m->notes, sizeof *m->notes.row, fill_note)) ||
        (error = load_recordings(l)) || (error = hl_arrange_stacks(l)))
        return error;
    return hl_charge_stacks(l);
}

int hl_model_load(hl_model **model, sqlite3 *database, hl_frame_choice choice, char *why, size_t why_bytes)
{
    *model = calloc(1, sizeof **model);
    if (!*model)
        return -ENOMEM;
    (*model)->database = database;
    (*model)->choice = choice;
    loader l = {.model = *model, .why = why, .why_bytes = why_bytes};
    int error = load_tables(&l);
    hl_map_release(&l.site_rows);
    free(l.directory);
    if (error) {
        if (error == -ENOMEM)
            snprintf(why, why_bytes, "out of memory");
        hl_model_release(*model);
        *model = NULL;
        return error;
    }
    summarise(*model);
    return 0;
}

void hl_model_release(hl_model *m)
{
    if (!m)
        return;
    free(m->metas.row);
    free(m->files.row);
    free(m->functions.row);
    free(m->frames.row);
    free(m->sites.row);
    free(m->stacks.row);
    free(m->processes.row);
    free(m->threads.row);
    free(m->allocators.row);
    free(m->stats.row);
    free(m->notes.row);
    free(m->recordings.row);
    for (hl_strings *chunk = m->strings, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(m);
}

const char *hl_site_function(const hl_model *m, uint32_t site)
{
    const hl_site *s = &m->sites.row[site];
    switch (s->kind) {
    case HL_SITE_NO_PYTHON:
        return m->native_only ? "(no stack)" : "(no Python)";
    case HL_SITE_STARTUP:
        return "(interpreter start-up)";
    case HL_SITE_DEEPER:
        return "(deeper)";
    case HL_SITE_LINE:
        break;
    }
    return s->function == HL_NO_ROW ? "(unknown)" : m->functions.row[s->function].name;
}

const hl_model_file *hl_site_file(const hl_model *m, uint32_t site)
{
    uint32_t function = m->sites.row[site].function;
    uint32_t file = function == HL_NO_ROW ? HL_NO_ROW : m->functions.row[function].file;
    return file == HL_NO_ROW ? NULL : &m->files.row[file];
}
