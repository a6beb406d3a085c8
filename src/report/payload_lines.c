/* payload_lines.c - functions that were profiled line by line, in the payload. See payload_parts.h. */
#include "payload_parts.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = 8 };
static const char *const numbers[NUMBERS] = {"hits",    "allocated", "freed",   "allocations",
                                             "highest", "temporary", "largest", "rss"};

static bool has_them(const hl_model *m)
{
    sqlite3_stmt *row;
    bool has = false;
    /* Profiles of earlier versions have no such table. */
    if (sqlite3_prepare_v2(m->database, "SELECT 1 FROM line_profile LIMIT 1", -1, &row, NULL) == SQLITE_OK)
        has = sqlite3_step(row) == SQLITE_ROW;
    sqlite3_finalize(row);
    return has;
}

static uint64_t count_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value < 0 ? 0 : (uint64_t)value;
}

/* Of rows in order of their id; HL_NO_ROW when it is none. */
static uint32_t file_row(const hl_model *m, sqlite3_stmt *row, int column)
{
    int64_t id = sqlite3_column_type(row, column) == SQLITE_NULL ? -1 : sqlite3_column_int64(row, column);
    uint32_t low = 0, high = m->files.n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->files.row[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->files.n && m->files.row[low].id == id ? low : HL_NO_ROW;
}

static uint32_t process_row(const hl_model *m, int64_t id)
{
    for (uint32_t i = 0; i < m->processes.n; i++)
        if (m->processes.row[i].id == id)
            return i;
    return 0;
}

static int take_function(hl_payload_work *w, sqlite3_stmt *row)
{
    uint32_t n = w->lines.functions.n;
    hl_line_function *grown = realloc(w->lines.functions.row, ((size_t)n + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    w->lines.functions.row = grown;
    const char *name = (const char *)sqlite3_column_text(row, 3);
    grown[n] = (hl_line_function){.id = sqlite3_column_int64(row, 0),
                                  .process = process_row(w->model, sqlite3_column_int64(row, 1)),
                                  .file = file_row(w->model, row, 2),
                                  .name = strdup(name ? name : ""),
                                  .first_line = count_of(row, 4),
                                  .last_line = count_of(row, 5)};
    if (!grown[n].name)
        return -ENOMEM;
    w->lines.functions.n++;
    return 0;
}

static uint32_t function_row(const hl_payload_work *w, int64_t id)
{
    uint32_t low = 0, high = w->lines.functions.n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (w->lines.functions.row[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->lines.functions.n && w->lines.functions.row[low].id == id ? low : HL_NO_ROW;
}

static int take_line(hl_payload_work *w, sqlite3_stmt *row)
{
    uint32_t n = w->lines.lines.n, function = function_row(w, sqlite3_column_int64(row, 0));
    if (function == HL_NO_ROW)
        return 0;
    if ((n & (n - 1)) == 0) { /* rooms are powers of two */
        hl_line_row *grown = realloc(w->lines.lines.row, (n ? (size_t)n * 2 : 1) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        w->lines.lines.row = grown;
    }
    hl_line_row *line = &w->lines.lines.row[w->lines.lines.n++];
    *line = (hl_line_row){.function = function, .line = count_of(row, 1)};
    for (int i = 0; i < NUMBERS; i++)
        line->number[i] = sqlite3_column_type(row, 2 + i) == SQLITE_NULL ? HL_PACK_NULL : count_of(row, 2 + i);
    return 0;
}

static int each_row(hl_payload_work *w, const char *sql, int take(hl_payload_work *w, sqlite3_stmt *row))
{
    sqlite3_stmt *row;
    int step = SQLITE_ERROR, error = 0;
    if (sqlite3_prepare_v2(w->model->database, sql, -1, &row, NULL) == SQLITE_OK)
        while (!error && (step = sqlite3_step(row)) == SQLITE_ROW)
            error = take(w, row);
    if (!error && step != SQLITE_DONE) {
        snprintf(w->why, w->why_bytes, "%s", sqlite3_errmsg(w->model->database));
        error = -EIO;
    }
    sqlite3_finalize(row);
    return error;
}

int hl_payload_load_lines(hl_payload_work *w)
{
    if (!has_them(w->model))
        return 0;
    int error = each_row(w, "SELECT id, process, file, name, first_line, last_line FROM line_function ORDER BY id",
                         take_function);
    return error ? error
                 : each_row(w,
                            "SELECT function, line, hits, allocated, freed, allocations, highest, temporary, largest, "
                            "rss FROM line_profile ORDER BY function, line",
                            take_line);
}

void hl_payload_use_lines(hl_payload_work *w)
{
    for (uint32_t i = 0; i < w->lines.functions.n; i++)
        if (w->lines.functions.row[i].file != HL_NO_ROW)
            w->file[w->lines.functions.row[i].file] = 0;
}

static void put_functions(hl_payload_work *w)
{
    hl_pack *pack = &w->pack;
    const hl_line_function *row = w->lines.functions.row;
    uint32_t n = w->lines.functions.n;
    if (!hl_pack_table(pack, "line_function", n))
        return;
    for (uint32_t i = 0; !pack->failed && i < n; i++)
        pack->value[i] = row[i].process;
    hl_pack_column(pack, "process");
    for (uint32_t i = 0; !pack->failed && i < n; i++)
        pack->value[i] = row[i].file == HL_NO_ROW ? HL_PACK_NULL : w->file[row[i].file];
    hl_pack_column_null(pack, "file");
    for (uint32_t i = 0; !pack->failed && i < n; i++)
        pack->value[i] = hl_payload_name(&w->names, row[i].name);
    hl_pack_column(pack, "name");
    for (uint32_t i = 0; !pack->failed && i < n; i++)
        pack->value[i] = row[i].first_line;
    hl_pack_column(pack, "first_line");
    for (uint32_t i = 0; !pack->failed && i < n; i++)
        pack->value[i] = row[i].last_line;
    hl_pack_column(pack, "last_line");
}

void hl_payload_put_lines(hl_payload_work *w)
{
    hl_pack *pack = &w->pack;
    const hl_line_row *row = w->lines.lines.row;
    uint32_t n = w->lines.lines.n;
    if (!n)
        return;
    put_functions(w);
    if (!hl_pack_table(pack, "line_profile", n))
        return;
    for (uint32_t i = 0; !pack->failed && i < n; i++)
        pack->value[i] = row[i].function;
    hl_pack_column(pack, "function");
    for (uint32_t i = 0; !pack->failed && i < n; i++)
        pack->value[i] = row[i].line;
    hl_pack_column(pack, "line");
    for (int column = 0; column < NUMBERS; column++) {
        bool rss = column + 1 == NUMBERS;
        for (uint32_t i = 0; !pack->failed && i < n; i++)
            pack->value[i] = rss || row[i].number[column] != HL_PACK_NULL ? row[i].number[column] : 0;
        if (rss)
            hl_pack_column_null(pack, numbers[column]);
        else
            hl_pack_column(pack, numbers[column]);
    }
}

void hl_payload_release_lines(hl_payload_work *w)
{
    for (uint32_t i = 0; i < w->lines.functions.n; i++)
        free(w->lines.functions.row[i].name);
    free(w->lines.functions.row);
    free(w->lines.lines.row);
}
