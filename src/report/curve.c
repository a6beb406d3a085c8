/* See curve.h. */
#include "curve.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No machine has more; a damaged file may say so, and sums of many such must not overflow. */
static const uint64_t MOST_BYTES = UINT64_C(1) << 50;

typedef struct state { /* of one process: its row in the tick table that holds now */
    uint64_t heap, low, high, arena;
    int64_t rss, anon, file, shmem, pss, pool;
    bool sampled, pool_sampled; /* in this very tick */
} state;

static const state nothing = {.rss = -1, .anon = -1, .file = -1, .shmem = -1, .pss = -1, .pool = -1};

static void add_sample(int64_t *sum, int64_t value)
{
    if (value >= 0)
        *sum = (*sum < 0 ? 0 : *sum) + value;
}

static int add_point(hl_curve *curve, uint32_t *room, const state *states, uint32_t n, uint64_t end_ns)
{
    if (curve->n == *room) {
        uint32_t more = *room ? *room * 2 : 1024;
        hl_point *grown = more > *room ? realloc(curve->point, more * sizeof *grown) : NULL;
        if (!grown)
            return -ENOMEM;
        curve->point = grown;
        *room = more;
    }
    bool whole_pss = true;
    hl_point *p = &curve->point[curve->n++];
    *p = (hl_point){.end_ns = end_ns, .rss = -1, .anon = -1, .file = -1, .shmem = -1, .pss = -1, .pool = -1};
    for (uint32_t i = 0; i < n; i++) {
        p->heap += states[i].heap;
        p->low += states[i].low;
        p->high += states[i].high;
        p->arena += states[i].arena;
        add_sample(&p->rss, states[i].rss);
        add_sample(&p->anon, states[i].anon);
        add_sample(&p->file, states[i].file);
        add_sample(&p->shmem, states[i].shmem);
        if (states[i].rss >= 0) /* the sum is that of all processes, or unknown */
            whole_pss &= states[i].pss >= 0;
        add_sample(&p->pss, states[i].pss);
        add_sample(&p->pool, states[i].pool);
        p->sampled |= states[i].sampled;
        p->pool_sampled |= states[i].pool_sampled;
    }
    if (!whole_pss)
        p->pss = -1;
    if (p->high > curve->heap_max)
        curve->heap_max = p->high;
    if (p->rss > 0 && (uint64_t)p->rss > curve->rss_max)
        curve->rss_max = (uint64_t)p->rss;
    return 0;
}

static uint32_t process_row(const hl_model *m, int64_t id)
{
    for (uint32_t i = 0; i < m->processes.n; i++)
        if (m->processes.row[i].id == id)
            return i;
    return HL_NO_ROW;
}

static uint64_t count_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value < 0 ? 0 : (uint64_t)value > MOST_BYTES ? MOST_BYTES : (uint64_t)value;
}

static void take_row(state *s, sqlite3_stmt *row)
{
    s->heap = count_of(row, 2);
    s->low = count_of(row, 3);
    s->high = count_of(row, 4);
    s->arena = count_of(row, 5);
    if (sqlite3_column_type(row, 6) != SQLITE_NULL)
        s->pss = -1; /* one of an earlier sample says nothing beside this RSS */
    int64_t *samples[] = {&s->rss, &s->anon, &s->file, &s->shmem, &s->pss, &s->pool};
    s->sampled = sqlite3_column_type(row, 6) != SQLITE_NULL;
    s->pool_sampled = sqlite3_column_type(row, 11) != SQLITE_NULL;
    for (int i = 0; i < 6; i++)
        if (sqlite3_column_type(row, 6 + i) != SQLITE_NULL)
            *samples[i] = (int64_t)count_of(row, 6 + i);
}

/* After its tick a process stands still: what it reached within the tick no longer counts. */
static void settle(state *states, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        states[i].low = states[i].high = states[i].heap;
        states[i].sampled = states[i].pool_sampled = false;
    }
}

int hl_curve_load(hl_curve *curve, const hl_model *m, uint32_t process, char *why, size_t why_bytes)
{
    *curve = (hl_curve){0};
    /* The row after a process's last tick, where it counts no more, unless the recording ended with it. */
    char sql[640];
    snprintf(
        sql, sizeof sql,
        "SELECT process, tick, heap, heap_low, heap_high, arena, rss, rss_anon, rss_file, rss_shmem, pss, %s FROM tick "
        "UNION ALL SELECT id, end_ns / ?1 + 1, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM process WHERE ended <> 'running' "
        "AND end_ns / ?1 < ?2 ORDER BY tick",
        m->has_pools ? "(SELECT resident FROM pool_tick p WHERE p.process = tick.process AND p.tick = tick.tick)"
                     : "NULL");
    sqlite3_stmt *ticks;
    if (sqlite3_prepare_v2(m->database, sql, -1, &ticks, NULL) != SQLITE_OK) {
        snprintf(why, why_bytes, "%s", sqlite3_errmsg(m->database));
        return -EIO;
    }
    sqlite3_bind_int64(ticks, 1, (int64_t)m->tick_ns);
    sqlite3_bind_int64(ticks, 2, (int64_t)(m->now_ns / m->tick_ns));
    uint32_t n = m->processes.n, room = 0;
    state *states = malloc((n ? n : 1) * sizeof *states);
    bool *gone = calloc(n ? n : 1, 1);
    int error = states && gone ? 0 : -ENOMEM, step = SQLITE_DONE;
    for (uint32_t i = 0; i < n && !error; i++)
        states[i] = nothing;
    int64_t current = -1;
    while (!error && (step = sqlite3_step(ticks)) == SQLITE_ROW) {
        int64_t tick = sqlite3_column_int64(ticks, 1);
        uint32_t row = process_row(m, sqlite3_column_int64(ticks, 0));
        if (row == HL_NO_ROW || (process != HL_NO_ROW && row != process) || tick < 0)
            continue;
        if (tick != current && current >= 0) {
            error = add_point(curve, &room, states, n, ((uint64_t)current + 1) * m->tick_ns);
            settle(states, n);
        }
        current = tick;
        if (sqlite3_column_type(ticks, 2) == SQLITE_NULL) {
            states[row] = nothing;
            gone[row] = true;
        } else if (!gone[row]) {
            take_row(&states[row], ticks);
        }
    }
    if (!error && step != SQLITE_DONE) {
        snprintf(why, why_bytes, "%s", sqlite3_errmsg(m->database));
        error = -EIO;
    }
    if (!error && current >= 0) {
        uint64_t end_ns = ((uint64_t)current + 1) * m->tick_ns;
        error = add_point(curve, &room, states, n, end_ns < m->now_ns ? end_ns : m->now_ns);
    }
    sqlite3_finalize(ticks);
    free(states);
    free(gone);
    if (error) {
        if (error == -ENOMEM)
            snprintf(why, why_bytes, "out of memory");
        hl_curve_release(curve);
    }
    return error;
}

void hl_curve_release(hl_curve *curve)
{
    free(curve->point);
    *curve = (hl_curve){0};
}

const hl_point *hl_curve_at(const hl_curve *curve, uint64_t time_ns)
{
    const hl_point *found = NULL;
    for (uint32_t i = 0; i < curve->n && (curve->point[i].end_ns <= time_ns || i + 1 == curve->n); i++)
        found = &curve->point[i];
    return found;
}
