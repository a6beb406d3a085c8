/* See profiled.h: reads the tables line_function and line_profile. */
#include "profiled.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t process_id(const hl_model *m, uint32_t process)
{
    return process == HL_NO_ROW ? -1 : m->processes.row[process].id;
}

static bool has_tables(const hl_model *m)
{
    sqlite3_stmt *row;
    static const char sql[] =
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('line_function', 'line_profile')";
    if (sqlite3_prepare_v2(m->database, sql, -1, &row, NULL) != SQLITE_OK)
        return false;
    bool both = sqlite3_step(row) == SQLITE_ROW && sqlite3_column_int(row, 0) == 2;
    sqlite3_finalize(row);
    return both;
}

uint32_t hl_profiled_count(const hl_model *m)
{
    sqlite3_stmt *row;
    static const char sql[] = "SELECT count(*) FROM (SELECT DISTINCT file, name, first_line FROM line_function)";
    if (!has_tables(m) || sqlite3_prepare_v2(m->database, sql, -1, &row, NULL) != SQLITE_OK)
        return 0;
    uint32_t count = sqlite3_step(row) == SQLITE_ROW ? (uint32_t)sqlite3_column_int64(row, 0) : 0;
    sqlite3_finalize(row);
    return count;
}

static uint64_t number(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value > 0 ? (uint64_t)value : 0;
}

static int32_t line_number(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value < 0 ? 0 : value > INT32_MAX - 1 ? INT32_MAX - 1 : (int32_t)value;
}

static uint32_t file_row(const hl_model *m, int64_t id)
{
    for (uint32_t i = 0; i < m->files.n; i++)
        if (m->files.row[i].id == id)
            return i;
    return HL_NO_ROW;
}

static int add_function(const hl_model *m, hl_profiled *p, sqlite3_stmt *row)
{
    if (p->n == p->room) {
        uint32_t room = p->room ? 2 * p->room : 16;
        hl_profiled_function *grown = realloc(p->function, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        p->function = grown;
        p->room = room;
    }
    const char *name = (const char *)sqlite3_column_text(row, 2);
    hl_profiled_function f = {
        .id = sqlite3_column_int64(row, 0),
        .file = file_row(m, sqlite3_column_int64(row, 1)),
        .name = strdup(name ? name : ""),
        .first_line = line_number(row, 3),
        .last_line = line_number(row, 4),
        .processes = (uint32_t)sqlite3_column_int64(row, 5),
    };
    if (!f.name)
        return -ENOMEM;
    p->function[p->n++] = f;
    return 0;
}

static uint64_t higher(uint64_t a, uint64_t b) { return a > b ? a : b; }

static int add_line(hl_profiled_function *f, sqlite3_stmt *row)
{
    if (f->lines == f->room) {
        uint32_t room = f->room ? 2 * f->room : 16;
        hl_profiled_line *grown = realloc(f->line, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        f->line = grown;
        f->room = room;
    }
    hl_profiled_line l = {line_number(row, 1), number(row, 2), number(row, 3), number(row, 4), number(row, 5),
                          number(row, 6),      number(row, 7), number(row, 8), number(row, 9)};
    f->line[f->lines++] = l;
    hl_profiled_line *t = &f->total;
    t->hits += l.hits;
    t->allocated += l.allocated;
    t->freed += l.freed;
    t->allocations += l.allocations;
    t->temporary += l.temporary;
    t->highest = higher(t->highest, l.highest);
    t->largest = higher(t->largest, l.largest);
    t->rss = higher(t->rss, l.rss);
    return 0;
}

#define SAME "PARTITION BY coalesce(file, 0), name, first_line"
#define OF_PROCESS "FROM line_function WHERE ?1 < 0 OR process = ?1"
static const char functions_sql[] =
    "SELECT min(id), coalesce(file, 0), name, first_line, max(last_line), count(DISTINCT process) " OF_PROCESS
    " GROUP BY coalesce(file, 0), name, first_line ORDER BY 1";
static const char lines_sql[] =
    "WITH same AS (SELECT id, min(id) OVER (" SAME ") AS first " OF_PROCESS ") "
    "SELECT first, line, sum(hits), sum(allocated), sum(freed), sum(allocations), max(highest), sum(temporary), "
    "max(largest), max(rss) FROM line_profile JOIN same ON same.id = line_profile.function GROUP BY first, line "
    "ORDER BY first, line";

int hl_profiled_load(const hl_model *m, uint32_t process, hl_profiled *p, char *why, size_t why_bytes)
{
    *p = (hl_profiled){0};
    if (!has_tables(m))
        return 0;
    int error = 0;
    uint32_t at = 0;
    for (int pass = 0; pass < 2 && !error; pass++) {
        sqlite3_stmt *row = NULL;
        int step = sqlite3_prepare_v2(m->database, pass ? lines_sql : functions_sql, -1, &row, NULL);
        if (step == SQLITE_OK) {
            sqlite3_bind_int64(row, 1, process_id(m, process));
            while (!error && (step = sqlite3_step(row)) == SQLITE_ROW) {
                if (pass == 0) {
                    error = add_function(m, p, row);
                    continue;
                }
                while (at < p->n && p->function[at].id < sqlite3_column_int64(row, 0))
                    at++;
                if (at < p->n && p->function[at].id == sqlite3_column_int64(row, 0))
                    error = add_line(&p->function[at], row);
            }
        }
        if (!error && step != SQLITE_DONE) {
            snprintf(why, why_bytes, "%s", sqlite3_errmsg(m->database));
            error = -EIO;
        }
        sqlite3_finalize(row);
    }
    if (error)
        hl_profiled_release(p);
    return error;
}

void hl_profiled_release(hl_profiled *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        free(p->function[i].name);
        free(p->function[i].line);
    }
    free(p->function);
    *p = (hl_profiled){0};
}
