/*
 * marks: what programs have said of moments of their run (heapline.mark, heapline.region, a track() within a recording), for
 * the timeline. Read from the profile when they are shown: there may be 100,000.
 */
#include "marks.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN = 20 }; /* as the query has it */

#define OF_PROGRAMS "kind IN ('mark', 'region', 'region end', 'track', 'track end') AND (?1 < 0 OR mark.process = ?1)"

static int prepare(hl_report *r, const char *sql, sqlite3_stmt **statement)
{
    const hl_model *m = r->model;
    if (sqlite3_prepare_v2(m->database, sql, -1, statement, NULL) != SQLITE_OK) {
        snprintf(r->why, sizeof r->why, "%s", sqlite3_errmsg(m->database));
        return -EIO;
    }
    sqlite3_bind_int64(*statement, 1, r->view.process == HL_NO_ROW ? -1 : m->processes.row[r->view.process].id);
    return 0;
}

static int finish(hl_report *r, sqlite3_stmt *statement, int step)
{
    int error = 0;
    if (step != SQLITE_DONE) {
        snprintf(r->why, sizeof r->why, "%s", sqlite3_errmsg(r->model->database));
        error = -EIO;
    }
    sqlite3_finalize(statement);
    return error;
}

static const char *text_of(sqlite3_stmt *row, int column)
{
    const unsigned char *text = sqlite3_column_text(row, column);
    return text ? (const char *)text : "";
}

static uint64_t time_of(sqlite3_stmt *row, int column)
{
    int64_t value = sqlite3_column_int64(row, column);
    return value > 0 ? (uint64_t)value : 0;
}

int hl_marks_put_text(hl_report *r)
{
    static const hl_column columns[] = {
        {"Time", true, 0, 0, false, HL_PLAIN},
        {"Lasted", true, 2, 0, false, HL_PLAIN},
        {"Mark", false, 0, 8, true, HL_PLAIN},
    };
    /* A region ends with the next end of its name: those of one name do not overlap but where threads share it. */
    static const char sql[] =
        "SELECT time_ns, kind, name, CASE kind WHEN 'mark' THEN NULL ELSE (SELECT min(time_ns) FROM mark e WHERE "
        "e.kind = "
        "mark.kind || ' end' AND e.name = mark.name AND e.process = mark.process AND e.rowid > mark.rowid) END "
        "FROM (SELECT rowid, * FROM mark WHERE kind NOT LIKE '% end' AND " OF_PROGRAMS
        " ORDER BY time_ns, rowid LIMIT 20) AS mark ORDER BY time_ns, rowid";
    sqlite3_stmt *row;
    int error = prepare(r, sql, &row);
    if (error)
        return error;
    int step;
    uint64_t n = 0;
    hl_grid grid;
    while ((step = sqlite3_step(row)) == SQLITE_ROW) {
        if (n++ == 0) {
            hl_report_heading(r, "Marks");
            grid = hl_grid_begin(&r->out, columns, 3);
        }
        hl_grid_row(&grid);
        hl_grid_time(&grid, time_of(row, 0));
        if (sqlite3_column_type(row, 3) == SQLITE_NULL)
            hl_grid_blank(&grid);
        else
            hl_grid_time(&grid, time_of(row, 3) - time_of(row, 0));
        hl_grid_text(&grid, text_of(row, 2));
    }
    if (n)
        hl_grid_end(&grid);
    error = finish(r, row, step);
    if (error || n < SHOWN)
        return error;
    error = prepare(r, "SELECT count(*) FROM mark WHERE kind NOT LIKE '% end' AND " OF_PROGRAMS, &row);
    if (error)
        return error;
    uint64_t all = sqlite3_step(row) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(row, 0) : 0;
    sqlite3_finalize(row);
    char count[HL_NUMBER_BYTES];
    if (all > SHOWN)
        hl_report_remark(r, "  (%s later ones: --json has them)", hl_count_text(count, all - SHOWN));
    return 0;
}

int hl_marks_put_json(hl_report *r, hl_json *json)
{
    sqlite3_stmt *row;
    int error = prepare(r,
                        "SELECT time_ns, kind, name, (SELECT pid FROM process WHERE id = mark.process) FROM mark "
                        "WHERE " OF_PROGRAMS " ORDER BY time_ns, rowid",
                        &row);
    if (error)
        return error;
    int step;
    hl_json_array(json, "marks");
    while ((step = sqlite3_step(row)) == SQLITE_ROW) {
        hl_json_row(json, NULL);
        hl_json_seconds(json, "time_s", time_of(row, 0));
        hl_json_text(json, "kind", text_of(row, 1));
        hl_json_text(json, "name", text_of(row, 2));
        hl_json_int(json, "pid", sqlite3_column_int64(row, 3));
        hl_json_end(json);
    }
    hl_json_end(json);
    return finish(r, row, step);
}
