/* payload_load.c - what the payload needs and the model leaves in the database. See payload_parts.h. */
#include "payload_parts.h"
#include "varint.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct loading {
    hl_rest *rest;
    const hl_model *model;
    uint32_t at; /* row of the model that ids are looked for from: both are in order of them */
    size_t room[HL_TEMPORARY_BUCKETS];
} loading;

typedef int take_row(loading *l, sqlite3_stmt *row);

static int each_row(loading *l, const char *sql, take_row *take, char *why, size_t why_bytes)
{
    sqlite3_stmt *row;
    int step = SQLITE_ERROR, error = 0;
    if (sqlite3_prepare_v2(l->model->database, sql, -1, &row, NULL) == SQLITE_OK) {
        l->at = 0;
        while (!error && (step = sqlite3_step(row)) == SQLITE_ROW)
            error = take(l, row);
    }
    if (!error && step != SQLITE_DONE) {
        snprintf(why, why_bytes, "%s", sqlite3_errmsg(l->model->database));
        error = -EIO;
    }
    sqlite3_finalize(row);
    return error;
}

static int32_t place_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_type(row, column) == SQLITE_NULL ? -1 : sqlite3_column_int64(row, column);
    return value < 0 || value > INT32_MAX ? -1 : (int32_t)value;
}

static int take_frame(loading *l, sqlite3_stmt *row)
{
    int64_t id = sqlite3_column_int64(row, 0);
    while (l->at < l->model->frames.n && l->model->frames.row[l->at].id < id)
        l->at++;
    if (l->at < l->model->frames.n && l->model->frames.row[l->at].id == id)
        l->rest->place[l->at] = (hl_place){place_of(row, 1), place_of(row, 2), place_of(row, 3)};
    return 0;
}

static uint64_t count_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value < 0 ? 0 : (uint64_t)value;
}

static bool find_stat(loading *l, int64_t id)
{
    while (l->at < l->model->stats.n && l->model->stats.row[l->at].id < id)
        l->at++;
    return l->at < l->model->stats.n && l->model->stats.row[l->at].id == id;
}

static int add_temporary(loading *l, unsigned bucket, hl_temporary temporary)
{
    uint32_t n = l->rest->temporary[bucket].n;
    if (n == l->room[bucket]) {
        size_t room = n ? (size_t)n * 2 : 256;
        hl_temporary *grown = realloc(l->rest->temporary[bucket].row, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        l->rest->temporary[bucket].row = grown;
        l->room[bucket] = room;
    }
    l->rest->temporary[bucket].row[n] = temporary;
    l->rest->temporary[bucket].n++;
    return 0;
}

static int take_stat(loading *l, sqlite3_stmt *row)
{
    if (!find_stat(l, sqlite3_column_int64(row, 0)))
        return 0;
    l->rest->largest[l->at] = count_of(row, 1);
    const unsigned char *at = sqlite3_column_blob(row, 2);
    if (!at)
        return 0;
    const unsigned char *end = at + sqlite3_column_bytes(row, 2);
    uint64_t count, bytes;
    int error = 0;
    for (unsigned i = 0;
         i < HL_TEMPORARY_BUCKETS && hl_varint_next(&at, end, &count) && hl_varint_next(&at, end, &bytes) && !error;
         i++)
        if (count || bytes)
            error = add_temporary(l, i, (hl_temporary){l->at, count, bytes});
    return error;
}

static uint32_t tick_of(sqlite3_stmt *row, int column)
{
    uint64_t value = count_of(row, column);
    return value > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)value;
}

static int take_cell(loading *l, sqlite3_stmt *row)
{
    if (!find_stat(l, sqlite3_column_int64(row, 0)))
        return 0;
    uint32_t n = l->rest->cells.n;
    if (n >= 4096 ? (n & (n - 1)) == 0 : n % 4096 == 0) { /* rooms are 4096, then powers of two */
        hl_payload_cell *grown = realloc(l->rest->cells.row, (n ? (size_t)n * 2 : 4096) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        l->rest->cells.row = grown;
    }
    l->rest->cells.row[l->rest->cells.n++] =
        (hl_payload_cell){l->at, tick_of(row, 1), tick_of(row, 2), count_of(row, 3), count_of(row, 4)};
    return 0;
}

int hl_places_load(hl_rest *rest, const hl_model *m, char *why, size_t why_bytes)
{
    *rest = (hl_rest){.place = malloc((m->frames.n + (size_t)1) * sizeof *rest->place)};
    if (!rest->place)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->frames.n; i++)
        rest->place[i] = (hl_place){-1, -1, -1};
    return each_row(&(loading){.rest = rest, .model = m}, "SELECT id, end_line, col, end_col FROM frame ORDER BY id",
                    take_frame, why, why_bytes);
}

int hl_rest_load(hl_rest *rest, const hl_model *m, char *why, size_t why_bytes)
{
    int error = hl_places_load(rest, m, why, why_bytes);
    if (error)
        return error;
    rest->largest = calloc(m->stats.n + (size_t)1, sizeof *rest->largest);
    if (!rest->largest)
        return -ENOMEM;
    loading l = {.rest = rest, .model = m};
    error = each_row(&l, "SELECT id, largest, temporary FROM stat ORDER BY id", take_stat, why, why_bytes);
    if (!error)
        error = each_row(&l, "SELECT stat, born, lived, blocks, bytes FROM cell_row ORDER BY stat, born, lived",
                         take_cell, why, why_bytes);
    return error;
}

void hl_rest_release(hl_rest *rest)
{
    free(rest->place);
    free(rest->largest);
    for (unsigned i = 0; i < HL_TEMPORARY_BUCKETS; i++)
        free(rest->temporary[i].row);
    free(rest->cells.row);
    *rest = (hl_rest){0};
}
