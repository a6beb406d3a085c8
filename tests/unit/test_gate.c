/* Check and diff of profiles written by hand: which lines are joined, what is judged, and the very text. */
#include "../../src/report/gate.h"

#include "writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

typedef struct line {
    const char *function;
    int first_line, line;
    unsigned peak, live, blocks;
} line;

/* A profile of /w/app.py, whose stacks are one frame each. `text` null: without source. */
static hl_model *make(sqlite3 **db, const char *path, const char *text, const line *lines, unsigned n)
{
    char why[256];
    unsigned peak = 0, live = 0, blocks = 0;
    assert_int_equal(sqlite3_open(":memory:", db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(*db, hl_schema_sql, NULL, NULL, NULL), SQLITE_OK);
    char *sql =
        sqlite3_mprintf("INSERT INTO file VALUES (1, %Q, 'user', NULL, NULL); INSERT INTO stack VALUES (0, NULL, "
                        "NULL, 0);",
                        path);
    for (unsigned i = 0; i < n; i++) {
        const line *l = &lines[i];
        peak += l->peak;
        live += l->live;
        blocks += l->blocks;
        char *more =
            sqlite3_mprintf("%z INSERT INTO function VALUES (%d, 1, %Q, %d); INSERT INTO frame (id, function, line) "
                            "VALUES (%d, %d, %d);"
                            "INSERT INTO stack VALUES (%d, 0, %d, 1); INSERT INTO stat VALUES (%d, %d, 1, 1, 0, %u, "
                            "%u, 0, 0, %u, %u, %u, "
                            "%u, %u, %u, %u, NULL, NULL, NULL);",
                            sql, i + 1, l->function, l->first_line, i + 1, i + 1, l->line, i + 1, i + 1, i + 1, i + 1,
                            l->blocks, l->peak, l->live, l->blocks, l->peak, l->blocks, l->peak, l->blocks, l->peak);
        sql = more;
    }
    sql = sqlite3_mprintf(
        "%z INSERT INTO process VALUES (1, 7, NULL, 1, 'start', 'app.py', 'python3', '3.12.1', 'objects', "
        "'', 0, 1000000000, 'exit', 0, %u, %u, 0, 0, %u, %u, %u, 500000000, %u, 0, 0, 0, 0, 1000);"
        "INSERT INTO meta VALUES ('command', 'app.py'), ('directory', '/w'), ('exit_status', 0), "
        "('root_end_ns', 1000000000), ('now_ns', 1000000000), ('peak', %u), ('rss_peak', 1000);",
        sql, blocks, peak, live, blocks, peak, blocks, peak);
    assert_int_equal(sqlite3_exec(*db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_free(sql);
    if (text) {
        unsigned char packed[4096];
        uLongf bytes = sizeof packed;
        sqlite3_stmt *put;
        assert_int_equal(compress(packed, &bytes, (const Bytef *)text, strlen(text)), Z_OK);
        assert_int_equal(sqlite3_prepare_v2(*db, "UPDATE file SET source_bytes = ?1, source = ?2", -1, &put, NULL),
                         SQLITE_OK);
        sqlite3_bind_int64(put, 1, (sqlite3_int64)strlen(text));
        sqlite3_bind_blob(put, 2, packed, (int)bytes, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(put), SQLITE_DONE);
        sqlite3_finalize(put);
    }
    hl_model *model;
    assert_int_equal(hl_model_load(&model, *db, HL_FRAMES_ALL, why, sizeof why), 0);
    return model;
}

static const char old_text[] = "def a():\n    x = 1\n    y = 2\n    x = 1\ndef b():\n    x = 1\n";
static const char new_text[] = "# new\ndef a():\n\ty = 2  \n\n    x = 1\n    x = 1\ndef b():\n    z = 3\n";

static const line old_lines[] = {
    {"a", 1, 2, 1000, 100, 1}, {"a", 1, 3, 5000, 0, 1}, {"a", 1, 4, 2000, 0, 1}, {"b", 5, 6, 700, 700, 7}};
static const line new_lines[] = {
    {"a", 2, 3, 5500, 0, 1}, {"a", 2, 5, 400, 0, 1}, {"a", 2, 6, 2600, 100, 1}, {"b", 7, 8, 900, 900, 7}};

typedef struct fixture {
    sqlite3 *db[2];
    hl_gate gate;
} fixture;

static void open_diff(fixture *f, const char *was, const char *is, hl_gate_limit *limits, size_t n)
{
    hl_terminal terminal = hl_terminal_of(-1, HL_COLOUR_NEVER);
    terminal.width = 80;
    f->gate = (hl_gate){.is_diff = true, .limits = limits, .limit_count = n, .rows = 10};
    f->gate.old.path = "old";
    f->gate.new.path = "new";
    f->gate.old.model = make(&f->db[0], "/w/app.py", was, old_lines, 4);
    f->gate.new.model = make(&f->db[1], "/w/app.py", is, new_lines, 4);
    hl_out_begin(&f->gate.out, terminal);
    assert_int_equal(hl_gate_open(&f->gate), 0);
}

static void close_diff(fixture *f)
{
    hl_gate_release(&f->gate);
    hl_model_release(f->gate.old.model);
    hl_model_release(f->gate.new.model);
    sqlite3_close(f->db[0]);
    sqlite3_close(f->db[1]);
    hl_out_release(&f->gate.out);
}

/* The joined line of a function whose old figure is `was` and whose new one is `is`. */
static void expect_line(const hl_gate *gate, unsigned was, unsigned is)
{
    for (uint32_t i = 0; i < gate->line_count; i++)
        if (gate->lines[i].was[HL_FIGURE_PEAK] == was && gate->lines[i].is[HL_FIGURE_PEAK] == is)
            return;
    fail_msg("no line went from %u to %u", was, is);
}

static void lines_are_joined_by_function_and_text(void **state)
{
    (void)state;
    fixture f;
    open_diff(&f, old_text, new_text, NULL, 0);
    assert_int_equal(f.gate.line_count, 4);
    expect_line(&f.gate, 5000, 5500); /* y = 2, with other blanks around it */
    expect_line(&f.gate, 3000, 3000); /* both x = 1 of a, together */
    expect_line(&f.gate, 700, 0);     /* x = 1 of b is another function's */
    expect_line(&f.gate, 0, 900);
    close_diff(&f);
}

static void without_text_on_one_side_lines_are_joined_by_place(void **state)
{
    (void)state;
    const char *const sides[][2] = {{NULL, NULL}, {old_text, NULL}, {NULL, new_text}};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        open_diff(&f, sides[i][0], sides[i][1], NULL, 0);
        expect_line(&f.gate, 1000, 5500); /* one below def a() */
        expect_line(&f.gate, 2000, 400);  /* three below it */
        expect_line(&f.gate, 700, 900);
        expect_line(&f.gate, 5000, 0);
        expect_line(&f.gate, 0, 2600);
        assert_int_equal(f.gate.line_count, 5);
        close_diff(&f);
    }
}

static void the_text_of_a_diff(void **state)
{
    (void)state;
    hl_gate_limit limits[] = {{.figure = HL_FIGURE_PEAK, .in_percent = true, .percent = 5},
                              {.figure = HL_FIGURE_LEAK, .amount = 200}};
    fixture f;
    open_diff(&f, old_text, new_text, limits, 2);
    assert_int_equal(f.gate.outcome, HL_FAILED);
    assert_int_equal(hl_gate_text(&f.gate), 0);
    hl_out_add(&f.gate.out, "", 1);
    assert_string_equal(f.gate.out.at,
                        "old  old: app.py ended well (exit status 0) after 1.00 s\n"
                        "new  new: app.py ended well (exit status 0) after 1.00 s\n"
                        "\n"
                        "                           Old      New  Change\n"
                        "Peak                   8.70 kB  9.40 kB  +700 B   +8.0 %\n"
                        "Not freed                800 B  1.00 kB  +200 B  +25.0 %\n"
                        "Allocated              8.70 kB  9.40 kB  +700 B   +8.0 %\n"
                        "Allocations                 10       10       0      0 %\n"
                        "Temporary allocations        0        0       0      0 %\n"
                        "RSS peak               1.00 kB  1.00 kB     0 B      0 %\n"
                        "\n"
                        "FAILED  peak: 9.40 kB, 8.70 kB before (+700 B, +8.0 %), over the limit of +5 %\n"
                        "ok      not freed: 1.00 kB, 800 B before (+200 B, +25.0 %), within the limit of +200 B\n"
                        "\n"
                        "Lines by growth, at the peak\n"
                        "     Growth         now  Line\n"
                        "     +900 B       900 B  app.py:8 in b  (new)\n"
                        "                           z = 3\n"
                        "     +500 B     5.50 kB  app.py:3 in a\n"
                        "                           y = 2  \n"
                        "     -700 B         0 B  app.py:6 in b  (gone)\n"
                        "                           x = 1\n"
                        "     +700 B     9.40 kB  total\n");
    close_diff(&f);
}

static void limits_are_judged_to_the_byte(void **state)
{
    (void)state;
    const struct {
        hl_gate_limit limit;
        uint64_t over;
    } cases[] = {
        {{.figure = HL_FIGURE_PEAK, .amount = 700}, 0},
        {{.figure = HL_FIGURE_PEAK, .amount = 699}, 1},
        {{.figure = HL_FIGURE_PEAK, .amount = UINT64_MAX}, 0},
        {{.figure = HL_FIGURE_PEAK, .in_percent = true, .percent = 0}, 700},
        {{.figure = HL_FIGURE_LEAK, .in_percent = true, .percent = 25}, 0},
        {{.figure = HL_FIGURE_LEAK, .in_percent = true, .percent = 24.9}, 1},
        {{.figure = HL_FIGURE_LEAK, .in_percent = true, .percent = 1e300}, 0},
        {{.figure = HL_FIGURE_ALLOCATIONS, .amount = 0}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hl_gate_limit limit = cases[i].limit;
        fixture f;
        open_diff(&f, old_text, new_text, &limit, 1);
        assert_int_equal(limit.over, cases[i].over);
        assert_int_equal(f.gate.outcome, cases[i].over ? HL_FAILED : HL_PASSED);
        close_diff(&f);
    }
}

static void lists_are_cut_and_add_up(void **state)
{
    (void)state;
    fixture f;
    open_diff(&f, old_text, new_text, NULL, 0);
    f.gate.rows = 1;
    assert_int_equal(hl_gate_text(&f.gate), 0);
    hl_out_add(&f.gate.out, "", 1);
    assert_non_null(strstr(f.gate.out.at, "     +500 B     5.50 kB  (1 other line that grew)\n"));
    assert_non_null(strstr(f.gate.out.at, "     -700 B         0 B  app.py:6 in b  (gone)\n"));
    close_diff(&f);
}

int main(void)
{
    setenv("LC_ALL", "C.UTF-8", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_joined_by_function_and_text),
        cmocka_unit_test(without_text_on_one_side_lines_are_joined_by_place),
        cmocka_unit_test(the_text_of_a_diff),
        cmocka_unit_test(limits_are_judged_to_the_byte),
        cmocka_unit_test(lists_are_cut_and_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
