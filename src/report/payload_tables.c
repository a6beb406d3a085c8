/*
 * payload_tables.c - the tables of the payload that depend on what is folded, and the ticks. See payload_parts.h; columns
 * are told in docs/report-format.md, in this order.
 */
#include "payload_parts.h"
#include "utf8.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- strings */

static uint64_t hash_of(const char *at, size_t bytes)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char)at[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static bool make_room(hl_payload_names *names)
{
    if (names->n + 2 > names->room) {
        uint32_t room = names->room ? names->room * 2 : 1024;
        uint32_t *grown = realloc(names->begin, room * sizeof *grown);
        if (!grown)
            return false;
        names->begin = grown;
        names->room = room;
    }
    if (names->n < names->slots / 2)
        return true;
    uint32_t slots = names->slots ? names->slots * 2 : 2048, *slot = calloc(slots, sizeof *slot);
    if (!slot)
        return false;
    for (uint32_t i = 0; i < names->n; i++) {
        uint32_t at =
            (uint32_t)hash_of(names->text.at + names->begin[i], names->begin[i + 1] - names->begin[i]) & (slots - 1);
        while (slot[at])
            at = (at + 1) & (slots - 1);
        slot[at] = i + 1;
    }
    free(names->slot);
    names->slot = slot;
    names->slots = slots;
    return true;
}

uint32_t hl_payload_name(hl_payload_names *names, const char *text)
{
    size_t from = names->text.bytes;
    if (!make_room(names)) {
        names->text.failed = true;
        return 0;
    }
    hl_out_utf8(&names->text, text, strlen(text));
    size_t bytes = names->text.bytes - from;
    if (names->text.failed || names->text.bytes > UINT32_MAX) {
        names->text.failed = true;
        return 0;
    }
    const char *mine = bytes ? names->text.at + from : "";
    uint32_t at = (uint32_t)hash_of(mine, bytes) & (names->slots - 1);
    for (; names->slot[at]; at = (at + 1) & (names->slots - 1)) {
        uint32_t i = names->slot[at] - 1, begin = names->begin[i];
        if (names->begin[i + 1] - begin == bytes && (!bytes || memcmp(names->text.at + begin, mine, bytes) == 0)) {
            names->text.bytes = from;
            return i;
        }
    }
    names->slot[at] = names->n + 1;
    names->begin[names->n++] = (uint32_t)from;
    names->begin[names->n] = (uint32_t)names->text.bytes;
    return names->n - 1;
}

static void put_strings(hl_pack *pack, const hl_payload_names *names)
{
    if (!hl_pack_table(pack, "strings", names->n))
        return;
    for (uint32_t i = 0; i < names->n; i++)
        pack->value[i] = names->begin[i + 1] - names->begin[i];
    hl_pack_column(pack, "length");
    hl_pack_blob(pack, "text", names->text.at, names->text.bytes);
}

/* ------------------------------------------------------------------------------------------------- what is referred to */

static void use_function(hl_payload_work *w, uint32_t function)
{
    if (function == HL_NO_ROW)
        return;
    w->function[function] = 0;
    uint32_t file = w->model->functions.row[function].file;
    if (file != HL_NO_ROW)
        w->file[file] = 0;
}

static void use_site(hl_payload_work *w, uint32_t site)
{
    const hl_site *s = &w->model->sites.row[site];
    w->site[site] = 0;
    use_function(w, s->function);
    if (s->module != HL_NO_ROW)
        w->file[s->module] = 0;
}

static void use_frame(hl_payload_work *w, uint32_t frame)
{
    for (unsigned chain = 0; frame != HL_NO_ROW && w->frame[frame] == HL_NO_ROW && chain < 64; chain++) {
        const hl_model_frame *f = &w->model->frames.row[frame];
        w->frame[frame] = 0;
        use_function(w, f->function);
        use_site(w, f->site);
        if (f->module != HL_NO_ROW)
            w->file[f->module] = 0;
        frame = f->caller;
    }
}

static uint32_t number_used(uint32_t *row, uint32_t n)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < n; i++)
        if (row[i] != HL_NO_ROW)
            row[i] = used++;
    return used;
}

static int allocate(uint32_t **row, uint32_t n)
{
    *row = *row ? *row : malloc(((size_t)n + 1) * sizeof **row);
    if (!*row)
        return -ENOMEM;
    memset(*row, 0xff, ((size_t)n + 1) * sizeof **row); /* HL_NO_ROW */
    return 0;
}

static int number_rows(hl_payload_work *w)
{
    const hl_model *m = w->model;
    if (allocate(&w->frame, m->frames.n) || allocate(&w->site, m->sites.n) || allocate(&w->function, m->functions.n) ||
        allocate(&w->file, m->files.n))
        return -ENOMEM;
    for (uint32_t i = 0; i < w->fold.n; i++) {
        if (w->fold.from[i] == HL_NO_ROW)
            continue;
        const hl_model_stack *stack = &m->stacks.row[w->fold.from[i]];
        use_frame(w, stack->frame);
        use_site(w, stack->leaf);
        use_site(w, stack->yours);
    }
    for (uint32_t i = 0; i < w->sources.n; i++) /* text that is there has its file */
        w->file[w->sources.file[i]] = 0;
    hl_payload_use_lines(w);
    w->frames = number_used(w->frame, m->frames.n);
    w->sites = number_used(w->site, m->sites.n);
    w->functions = number_used(w->function, m->functions.n);
    w->files = number_used(w->file, m->files.n);
    return 0;
}

static uint64_t plus_one(const uint32_t *rows, uint32_t row)
{
    return row == HL_NO_ROW || rows[row] == HL_NO_ROW ? 0 : (uint64_t)rows[row] + 1;
}

static int64_t or_none(const uint32_t *rows, uint32_t row) { return (int64_t)plus_one(rows, row) - 1; }

static uint64_t not_negative(int64_t value) { return value < 0 ? 0 : (uint64_t)value; }

/* A column: the model's row i is `of`, and goes to row `rows[i]` where it is there. */
#define PUT(name, array, rows, of)                                                                                     \
    do {                                                                                                               \
        for (uint32_t i = 0; !pack->failed && i < m->array.n; i++)                                                     \
            if (w->rows[i] != HL_NO_ROW)                                                                               \
                pack->value[w->rows[i]] = (of);                                                                        \
        hl_pack_column(pack, name);                                                                                    \
    } while (0)
#define PUT_NULL(name, array, rows, of)                                                                                \
    do {                                                                                                               \
        for (uint32_t i = 0; !pack->failed && i < m->array.n; i++)                                                     \
            if (w->rows[i] != HL_NO_ROW)                                                                               \
                pack->value[w->rows[i]] = (int64_t)(of) < 0 ? HL_PACK_NULL : (uint64_t)(of);                           \
        hl_pack_column_null(pack, name);                                                                               \
    } while (0)

static void put_code(hl_payload_work *w)
{
    hl_pack *pack = &w->pack;
    const hl_model *m = w->model;
    if (hl_pack_table(pack, "file", w->files)) {
        PUT("path", files, file, hl_payload_name(&w->names, m->files.row[i].path));
        PUT("label", files, file, hl_payload_name(&w->names, m->files.row[i].label));
        PUT("origin", files, file, m->files.row[i].origin);
        PUT("native", files, file, m->files.row[i].native);
        PUT("source", files, file, w->sources.row ? w->sources.row[i] : 0);
    }
    if (hl_pack_table(pack, "function", w->functions)) {
        PUT_NULL("file", functions, function, or_none(w->file, m->functions.row[i].file));
        PUT("name", functions, function, hl_payload_name(&w->names, m->functions.row[i].name));
        PUT("first_line", functions, function, not_negative(m->functions.row[i].first_line));
        PUT("native", functions, function, m->functions.row[i].native);
    }
    if (hl_pack_table(pack, "site", w->sites)) {
        PUT("kind", sites, site, m->sites.row[i].kind);
        PUT("function", sites, site, plus_one(w->function, m->sites.row[i].function));
        PUT("line", sites, site, not_negative(m->sites.row[i].line));
        PUT("module", sites, site, plus_one(w->file, m->sites.row[i].module));
        PUT("inlined", sites, site, m->sites.row[i].inlined);
    }
    if (hl_pack_table(pack, "frame", w->frames)) {
        PUT_NULL("function", frames, frame, or_none(w->function, m->frames.row[i].function));
        PUT("line", frames, frame, not_negative(m->frames.row[i].line));
        PUT_NULL("end_line", frames, frame, w->rest.place[i].end_line);
        PUT_NULL("col", frames, frame, w->rest.place[i].col);
        PUT_NULL("end_col", frames, frame, w->rest.place[i].end_col);
        PUT("module", frames, frame, plus_one(w->file, m->frames.row[i].module));
        PUT("caller", frames, frame, plus_one(w->frame, m->frames.row[i].caller));
        PUT("site", frames, frame, w->site[m->frames.row[i].site]);
    }
}

/* ------------------------------------------------------------------------------------------------------------ stacks */

enum { KIND_OTHER = 5 };

static void put_stacks(hl_payload_work *w)
{
    hl_pack *pack = &w->pack;
    const hl_model *m = w->model;
    const hl_fold *fold = &w->fold;
    if (!hl_pack_table(pack, "stack", fold->n))
        return;
    for (uint32_t i = 0; i < fold->n; i++)
        pack->value[i] = fold->parent[i];
    hl_pack_column(pack, "parent");
#define PUT_STACK(name, of_kept, of_other)                                                                             \
    do {                                                                                                               \
        for (uint32_t i = 0; !pack->failed && i < fold->n; i++) {                                                      \
            bool is_kept = fold->from[i] != HL_NO_ROW;                                                                 \
            const hl_model_stack *stack = &m->stacks.row[fold->from[is_kept ? i : fold->parent[i]]];                   \
            pack->value[i] = is_kept ? (of_kept) : (of_other);                                                         \
        }                                                                                                              \
        hl_pack_column(pack, name);                                                                                    \
    } while (0)
    PUT_STACK("frame", plus_one(w->frame, stack->frame), 0);
    PUT_STACK("kind", stack->kind, KIND_OTHER);
    PUT_STACK("leaf",
              stack->frame != HL_NO_ROW && m->frames.row[stack->frame].site == stack->leaf
                  ? 0
                  : (uint64_t)w->site[stack->leaf] + 1,
              0);
    PUT_STACK("yours",
              fold->from[i] && m->stacks.row[stack->parent].yours == stack->yours ? 0
                                                                                  : (uint64_t)w->site[stack->yours] + 1,
              0);
#undef PUT_STACK
}

static uint64_t allocator_of(const hl_model *m, const hl_stat *stat)
{
    for (uint32_t i = 0; i < m->allocators.n; i++)
        if (m->allocators.row[i].name == stat->allocator)
            return i;
    return m->allocators.n; /* "(unknown)": meta has it */
}

static void put_stats(hl_payload_work *w)
{
    static const struct {
        const char *name;
        size_t at;
    } sums[] = {
        {"allocations", offsetof(hl_stat, allocations)},
        {"allocated", offsetof(hl_stat, allocated)},
        {"frees", offsetof(hl_stat, frees)},
        {"freed", offsetof(hl_stat, freed)},
        {"live", offsetof(hl_stat, live)},
        {"live_blocks", offsetof(hl_stat, live_blocks)},
        {"peak", offsetof(hl_stat, peak)},
        {"peak_blocks", offsetof(hl_stat, peak_blocks)},
        {"tree_peak", offsetof(hl_stat, tree_peak)},
        {"tree_peak_blocks", offsetof(hl_stat, tree_peak_blocks)},
    };
    static const char *const counts[HL_TEMPORARY_BUCKETS] = {
        "temporary_0_count", "temporary_1_count", "temporary_2_count",  "temporary_3_count",
        "temporary_4_count", "temporary_5_count", "temporary_6_count",  "temporary_7_count",
        "temporary_8_count", "temporary_9_count", "temporary_10_count", "temporary_11_count"};
    static const char *const bytes[HL_TEMPORARY_BUCKETS] = {
        "temporary_0_bytes", "temporary_1_bytes", "temporary_2_bytes",  "temporary_3_bytes",
        "temporary_4_bytes", "temporary_5_bytes", "temporary_6_bytes",  "temporary_7_bytes",
        "temporary_8_bytes", "temporary_9_bytes", "temporary_10_bytes", "temporary_11_bytes"};
    hl_pack *pack = &w->pack;
    const hl_model *m = w->model;
    const hl_fold *fold = &w->fold;
    if (!hl_pack_table(pack, "stat", fold->rows))
        return;
#define PUT_KEY(name, of)                                                                                              \
    do {                                                                                                               \
        for (uint32_t i = 0; !pack->failed && i < fold->rows; i++) {                                                   \
            const hl_stat *stat = &m->stats.row[fold->first[i]];                                                       \
            pack->value[i] = (of);                                                                                     \
        }                                                                                                              \
        hl_pack_column(pack, name);                                                                                    \
    } while (0)
    PUT_KEY("stack", fold->moved[stat->stack]);
    PUT_KEY("process", stat->process);
    PUT_KEY("allocator", allocator_of(m, stat));
#undef PUT_KEY
    for (uint32_t i = 0; !pack->failed && i < fold->rows; i++) {
        uint32_t thread = m->stats.row[fold->first[i]].thread;
        pack->value[i] = thread == HL_NO_ROW ? HL_PACK_NULL : thread;
    }
    hl_pack_column_null(pack, "thread");
    for (size_t column = 0; column < sizeof sums / sizeof *sums; column++) {
        for (uint32_t i = 0; !pack->failed && i < m->stats.n; i++) {
            uint64_t value;
            memcpy(&value, (const char *)&m->stats.row[i] + sums[column].at, sizeof value);
            pack->value[fold->row[i]] += value;
        }
        hl_pack_column(pack, sums[column].name);
    }
    for (uint32_t i = 0; !pack->failed && i < m->stats.n; i++)
        if (w->rest.largest[i] > pack->value[fold->row[i]])
            pack->value[fold->row[i]] = w->rest.largest[i];
    hl_pack_column(pack, "largest");
    for (unsigned b = 0; b < HL_TEMPORARY_BUCKETS; b++) {
        for (uint32_t i = 0; !pack->failed && i < w->rest.temporary[b].n; i++)
            pack->value[fold->row[w->rest.temporary[b].row[i].stat]] += w->rest.temporary[b].row[i].count;
        hl_pack_column_used(pack, counts[b]);
        for (uint32_t i = 0; !pack->failed && i < w->rest.temporary[b].n; i++)
            pack->value[fold->row[w->rest.temporary[b].row[i].stat]] += w->rest.temporary[b].row[i].bytes;
        hl_pack_column_used(pack, bytes[b]);
    }
}

/* ------------------------------------------------------------------------------------------------------------- cells */

static int by_time(const void *a, const void *b)
{
    const hl_payload_cell *x = a, *y = b;
    if (x->born != y->born)
        return x->born < y->born ? -1 : 1;
    return x->lived < y->lived ? -1 : x->lived > y->lived;
}

/* Cells by row of the payload and time, those of one row and time as one. */
static hl_payload_cell *fold_cells(const hl_rest *rest, const hl_fold *fold, uint32_t *n)
{
    uint32_t *begin = calloc((size_t)fold->rows + 1, sizeof *begin);
    hl_payload_cell *cells = calloc((size_t)rest->cells.n + 1, sizeof *cells);
    *n = 0;
    if (!begin || !cells) {
        free(begin);
        free(cells);
        return NULL;
    }
    for (uint32_t i = 0; i < rest->cells.n; i++)
        begin[fold->row[rest->cells.row[i].stat] + 1]++;
    for (uint32_t i = 0; i < fold->rows; i++)
        begin[i + 1] += begin[i];
    for (uint32_t i = rest->cells.n; i-- > 0;) {
        hl_payload_cell cell = rest->cells.row[i];
        cell.stat = fold->row[cell.stat];
        cells[--begin[cell.stat + 1]] = cell;
    }
    for (uint32_t row = 0; row < fold->rows; row++) {
        uint32_t from = begin[row + 1], to = row + 1 < fold->rows ? begin[row + 2] : rest->cells.n;
        bool in_order = true;
        for (uint32_t i = from + 1; i < to; i++)
            in_order &= by_time(&cells[i - 1], &cells[i]) <= 0;
        if (!in_order)
            qsort(cells + from, to - from, sizeof *cells, by_time);
        for (uint32_t i = from; i < to; i++) {
            if (i > from && by_time(&cells[*n - 1], &cells[i]) == 0) {
                cells[*n - 1].blocks += cells[i].blocks;
                cells[*n - 1].bytes += cells[i].bytes;
            } else {
                cells[(*n)++] = cells[i];
            }
        }
    }
    free(begin);
    return cells;
}

static int put_cells(hl_payload_work *w)
{
    hl_pack *pack = &w->pack;
    uint32_t n;
    hl_payload_cell *cells = fold_cells(&w->rest, &w->fold, &n);
    if (!cells)
        return -ENOMEM;
    if (hl_pack_table(pack, "cell", n)) {
#define PUT_CELL(field)                                                                                                \
    do {                                                                                                               \
        for (uint32_t i = 0; !pack->failed && i < n; i++)                                                              \
            pack->value[i] = cells[i].field;                                                                           \
        hl_pack_column(pack, #field);                                                                                  \
    } while (0)
        PUT_CELL(stat);
        PUT_CELL(born);
        PUT_CELL(lived);
        PUT_CELL(blocks);
        PUT_CELL(bytes);
#undef PUT_CELL
    }
    free(cells);
    return 0;
}

int hl_payload_put_tables(hl_payload_work *w)
{
    int error = number_rows(w);
    if (error)
        return error;
    w->names.n = 0;
    w->names.text.bytes = 0;
    if (w->names.slot)
        memset(w->names.slot, 0, w->names.slots * sizeof *w->names.slot);
    hl_payload_name(&w->names, "");
    put_code(w);
    hl_payload_put_lines(w);
    put_strings(&w->pack, &w->names);
    put_stacks(w);
    put_stats(w);
    error = put_cells(w);
    return error ? error : w->pack.failed || w->names.text.failed ? -ENOMEM : 0;
}

/* ------------------------------------------------------------------------------------------------------------- ticks */

typedef struct tick {
    uint32_t process, tick;
    uint64_t heap, low, high, arena;
    int64_t sample[6]; /* rss, anon, file, shmem, pss, pool; -1: none */
} tick;

typedef struct ticks {
    tick *row;
    uint32_t n, room;
} ticks;

static uint64_t count_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value < 0 ? 0 : (uint64_t)value;
}

static int add_tick(ticks *t, const tick *row)
{
    if (t->n == t->room) {
        uint32_t room = t->room ? t->room * 2 : 4096;
        tick *grown = realloc(t->row, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        t->row = grown;
        t->room = room;
    }
    t->row[t->n++] = *row;
    return 0;
}

/* Rows of processes that the model knows, in order. */
static int load_ticks(hl_payload_work *w, ticks *t)
{
    const hl_model *m = w->model;
    char sql[512];
    snprintf(sql, sizeof sql,
             "SELECT process, tick, heap, heap_low, heap_high, arena, rss, rss_anon, rss_file, rss_shmem, pss, %s FROM "
             "tick ORDER BY process, tick",
             m->has_pools ? "(SELECT resident FROM pool_tick p WHERE p.process = tick.process AND p.tick = tick.tick)"
                          : "NULL");
    sqlite3_stmt *row;
    int step = SQLITE_ERROR, error = 0;
    uint32_t process = 0;
    if (sqlite3_prepare_v2(m->database, sql, -1, &row, NULL) == SQLITE_OK) {
        while (!error && (step = sqlite3_step(row)) == SQLITE_ROW) {
            int64_t id = sqlite3_column_int64(row, 0);
            uint64_t at = count_of(row, 1);
            while (process < m->processes.n && m->processes.row[process].id < id)
                process++;
            if (process == m->processes.n || m->processes.row[process].id != id || at > UINT32_MAX / 2)
                continue;
            tick one = {process,          (uint32_t)at, count_of(row, 2), count_of(row, 3), count_of(row, 4),
                        count_of(row, 5), {0}};
            for (int i = 0; i < 6; i++)
                one.sample[i] = sqlite3_column_type(row, 6 + i) == SQLITE_NULL ? -1 : (int64_t)count_of(row, 6 + i);
            error = add_tick(t, &one);
        }
    }
    if (!error && step != SQLITE_DONE) {
        snprintf(w->why, w->why_bytes, "%s", sqlite3_errmsg(m->database));
        error = -EIO;
    }
    sqlite3_finalize(row);
    return error;
}

/* Two ticks become one: the value at the end of it, the extremes within, and the sample with the most RSS. */
static void halve_ticks(ticks *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        tick *one = &t->row[i], *last = n ? &t->row[n - 1] : NULL;
        one->tick /= 2;
        if (!last || last->process != one->process || last->tick != one->tick) {
            t->row[n++] = *one;
            continue;
        }
        last->heap = one->heap;
        last->arena = one->arena;
        last->low = one->low < last->low ? one->low : last->low;
        last->high = one->high > last->high ? one->high : last->high;
        if (one->sample[0] > last->sample[0])
            memcpy(last->sample, one->sample, sizeof last->sample);
    }
    t->n = n;
}

int hl_payload_put_ticks(hl_payload_work *w, uint32_t most_rows)
{
    static const char *const samples[] = {"rss", "rss_anon", "rss_file", "rss_shmem", "pss", "pool"};
    hl_pack *pack = &w->pack;
    ticks t = {0};
    int error = load_ticks(w, &t);
    w->tick_ns = w->model->tick_ns;
    for (int times = 0; !error && t.n > most_rows && times < 31 && w->tick_ns < INT64_MAX / 2; times++) {
        halve_ticks(&t);
        w->tick_ns *= 2;
    }
    if (!error && hl_pack_table(pack, "tick", t.n)) {
#define PUT_TICK(field)                                                                                                \
    do {                                                                                                               \
        for (uint32_t i = 0; !pack->failed && i < t.n; i++)                                                            \
            pack->value[i] = t.row[i].field;                                                                           \
        hl_pack_column(pack, #field);                                                                                  \
    } while (0)
        PUT_TICK(process);
        PUT_TICK(tick);
        PUT_TICK(heap);
        PUT_TICK(low);
        PUT_TICK(high);
        PUT_TICK(arena);
#undef PUT_TICK
        for (int s = 0; s < 6; s++) {
            for (uint32_t i = 0; !pack->failed && i < t.n; i++)
                pack->value[i] = t.row[i].sample[s] < 0 ? HL_PACK_NULL : (uint64_t)t.row[i].sample[s];
            hl_pack_column_null(pack, samples[s]);
        }
    }
    free(t.row);
    return error ? error : pack->failed ? -ENOMEM : 0;
}
