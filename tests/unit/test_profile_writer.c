/* What profile.h and batch.h promise of the writer: merging, upserts, complete batches, values out of all reason. */
#include "profile.h"
#include "profile_folder.h"
#include "wire.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static hl_text text(const char *string) { return (hl_text){string, (uint32_t)strlen(string)}; }

static hl_profile_writer *open_writer(void)
{
    static const char *const labels[] = {"job", "it's 7", NULL};
    const hl_profile_identity identity = {.command = "python3 a.py",
                                          .directory = "/d",
                                          .host = "h",
                                          .start_unix_ns = 5,
                                          .options = "--x",
                                          .labels = labels};
    hl_profile_writer *w;
    assert_int_equal(hl_profile_writer_open(&w, path, &identity), 0);
    return w;
}

/* Publishes and answers one question with one text. */
static const char *ask(hl_profile_writer *w, const char *sql)
{
    static char answer[512];
    hl_profile *profile;
    sqlite3_stmt *s = NULL;
    char why[256];
    assert_int_equal(hl_profile_writer_publish(w, false), 0);
    assert_int_equal(hl_profile_open(&profile, path, why, sizeof why), 0);
    assert_int_equal(sqlite3_prepare_v2(hl_profile_database(profile), sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    const char *value = (const char *)sqlite3_column_text(s, 0);
    snprintf(answer, sizeof answer, "%s", value ? value : "NULL");
    sqlite3_finalize(s);
    hl_profile_close(profile);
    return answer;
}

static void add_code(hl_batch *b, uint32_t id, unsigned version, const char *name, const void *table, size_t bytes)
{
    *(hl_batch_code *)HL_ROWS_ADD(b->codes) = (hl_batch_code){.id = id,
                                                              .python_version = (uint16_t)version,
                                                              .first_line = 1,
                                                              .file = text("/p/a.py"),
                                                              .name = text(name),
                                                              .table = {table, (uint32_t)bytes}};
}

static void add_node(hl_batch *b, uint32_t id, uint32_t parent, uint32_t kind, uint32_t code, uint32_t instruction)
{
    *(hl_batch_node *)HL_ROWS_ADD(b->nodes) =
        (hl_batch_node){.id = id, .parent = parent, .kind = kind, .code = code, .instruction = instruction};
}

static void add_stat(hl_batch *b, uint32_t id, uint32_t node, uint64_t allocated)
{
    *(hl_batch_stat *)HL_ROWS_ADD(b->stats) =
        (hl_batch_stat){.id = id, .node = node, .process = 1, .thread = 1, .allocations = 1, .allocated = allocated};
}

static void apply(hl_profile_writer *w, hl_batch *b)
{
    assert_int_equal(hl_profile_writer_apply(w, b), 0);
    hl_batch_clear(b);
}

static const uint8_t lnotab[] = {4, 1, 4, 1}; /* line 1 up to byte 3, 2 up to 7, then 3 */

static void nodes_that_show_the_same_line_are_one_stack(void **state)
{
    (void)state;
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    add_code(&b, 1, 0x0308, "f", lnotab, sizeof lnotab);
    add_code(&b, 2, 0x0308, "f", lnotab, sizeof lnotab); /* the same function, compiled again */
    add_node(&b, 0, 0, HL_NODE_ROOT, 0, 0);
    add_node(&b, 1, 0, HL_NODE_PYTHON, 1, 0);
    add_node(&b, 2, 0, HL_NODE_PYTHON, 1, 2); /* line 1 again */
    add_node(&b, 3, 0, HL_NODE_PYTHON, 2, 0); /* and again */
    add_node(&b, 4, 0, HL_NODE_PYTHON, 1, 4); /* line 2 */
    add_node(&b, 5, 2, HL_NODE_PYTHON, 1, 4); /* line 2, called from line 1 */
    add_node(&b, 6, 3, HL_NODE_PYTHON, 1, 6); /* the same */
    add_stat(&b, 1, 1, 10);
    add_stat(&b, 2, 2, 20);
    add_stat(&b, 3, 6, 40);
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT count(*) FROM function"), "1");
    assert_string_equal(ask(w, "SELECT group_concat(line) FROM frame"), "1,2");
    assert_string_equal(ask(w, "SELECT count(*) FROM stack"), "4"); /* root, line 1, line 2, line 1 > line 2 */
    assert_string_equal(ask(w, "SELECT sum(allocated) FROM call_site WHERE function = 'f' AND line = 1"), "30");
    assert_string_equal(ask(w, "SELECT parent FROM stack JOIN stat ON stat.stack = stack.id WHERE stat.id = 3"), "1");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void columns_keep_calls_on_one_line_apart(void **state)
{
    (void)state;
    static const uint8_t table[] = {0x80 | 10 << 3, 4, 9, 0x80 | 10 << 3, 12, 17};
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    add_code(&b, 1, 0x030d, "f", table, sizeof table);
    add_node(&b, 1, 0, HL_NODE_PYTHON, 1, 0);
    add_node(&b, 2, 0, HL_NODE_PYTHON, 1, 2);
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT group_concat(line || ':' || col || '-' || end_col) FROM frame"),
                        "1:4-9,1:12-17");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void rows_replace_those_with_their_key(void **state)
{
    (void)state;
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    add_node(&b, 1, 0, HL_NODE_NO_PYTHON, 0, 0);
    add_stat(&b, 1, 1, 10);
    *(hl_batch_cell *)HL_ROWS_ADD(b.cells) =
        (hl_batch_cell){.stat = 1, .born = 3, .died = -1, .blocks = 2, .bytes = 20};
    *(hl_batch_cell *)HL_ROWS_ADD(b.cells) = (hl_batch_cell){.stat = 1, .born = 3, .died = 5, .blocks = 1, .bytes = 7};
    *(hl_batch_note *)HL_ROWS_ADD(b.notes) = (hl_batch_note){.text = text("once")};
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT group_concat(born || '-' || coalesce(died, '') || ':' || bytes, ' ') FROM cell"),
                        "3-:20 3-5:7");
    add_stat(&b, 1, 1, 15);
    *(hl_batch_cell *)HL_ROWS_ADD(b.cells) = (hl_batch_cell){.stat = 1, .born = 3, .died = -1, .blocks = 0};
    *(hl_batch_cell *)HL_ROWS_ADD(b.cells) = (hl_batch_cell){.stat = 1, .born = 3, .died = 5, .blocks = 3, .bytes = 27};
    *(hl_batch_cell *)HL_ROWS_ADD(b.cells) = (hl_batch_cell){.stat = 1, .born = 3, .died = 3, .blocks = 3, .bytes = 27};
    *(hl_batch_cell *)HL_ROWS_ADD(b.cells) = (hl_batch_cell){.stat = 1, .born = 4, .died = 6, .blocks = 0, .bytes = 99};
    *(hl_batch_note *)HL_ROWS_ADD(b.notes) = (hl_batch_note){.text = text("once")};
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT group_concat(born || '-' || coalesce(died, '') || ':' || bytes, ' ') FROM cell"),
                        "3-5:27 4-6:99"); /* of a part of a mapping: bytes without a block */
    assert_string_equal(ask(w, "SELECT sum(allocated) FROM stat"), "15");
    assert_string_equal(ask(w, "SELECT count(*) FROM note"), "1");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void a_complete_batch_starts_anew(void **state)
{
    (void)state;
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    add_code(&b, 1, 0x0308, "f", lnotab, sizeof lnotab);
    for (uint32_t i = 1; i < 4000; i++) {
        add_node(&b, i, i - 1, HL_NODE_PYTHON, 1, 0);
        add_stat(&b, i, i, 1);
    }
    apply(w, &b);
    struct stat before, after;
    ask(w, "SELECT 1");
    stat(path, &before);
    b.complete = true;
    add_node(&b, 1, 0, HL_NODE_PYTHON, 1, 4); /* codes are not sent again */
    add_node(&b, 2, 1, HL_NODE_DEEPER, 0, 0);
    add_stat(&b, 1, 2, 3999);
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT group_concat(name) FROM stack JOIN stack_kind ON stack_kind.id = kind"),
                        "root,python,deeper");
    assert_string_equal(ask(w, "SELECT sum(allocated) FROM stat"), "3999");
    assert_string_equal(ask(w, "SELECT line FROM frame JOIN stack ON stack.frame = frame.id"), "2");
    stat(path, &after);
    assert_true(after.st_size < before.st_size / 2); /* the pages are given back */
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void what_leads_nowhere_is_charged_to_the_root(void **state)
{
    (void)state;
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    add_node(&b, 7, 99, HL_NODE_PYTHON, 1234, 8); /* unknown parent, unknown code */
    add_node(&b, UINT32_MAX, 7, 77, 0, 0);        /* unknown kind */
    add_node(&b, 8, 8, HL_NODE_DEEPER, 0, 0);     /* its own parent */
    add_node(&b, 0, 7, HL_NODE_PYTHON, 1234, 8);  /* a root with a parent */
    add_stat(&b, 1, 7, 1);
    add_stat(&b, 2, UINT32_MAX, 2);
    add_stat(&b, 3, 8, 4);
    add_stat(&b, 4, 0, 8);
    add_stat(&b, 5, 4000000000u, 16);
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT sum(allocated) FROM call_site"), "31");
    assert_string_equal(ask(w, "SELECT sum(allocated) FROM stat WHERE stack = 0"), "24");
    assert_string_equal(ask(w, "SELECT function || file FROM call_site WHERE id = 1"), "??");
    add_code(&b, 1234, 0x0308, "late", lnotab, sizeof lnotab); /* from now on it has a name */
    add_node(&b, 9, 0, HL_NODE_PYTHON, 1234, 8);
    add_stat(&b, 6, 9, 1);
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT function || line FROM call_site WHERE id = 6"), "late3");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void absurd_values_are_kept_within_the_integers(void **state)
{
    (void)state;
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    memset(&b.meta, 0xff, sizeof b.meta);
    b.meta.final = b.meta.stopped = b.meta.root_ended = true; /* bool of 0xff is no bool */
    b.meta.oom_scope = (hl_text){0};
    hl_batch_process *p = HL_ROWS_ADD(b.processes);
    memset(p, 0xff, sizeof *p);
    p->command = p->executable = p->reason = p->pool_owners = (hl_text){NULL, 7};
    hl_batch_thread *t = HL_ROWS_ADD(b.threads);
    memset(t, 0xff, sizeof *t);
    t->name = text("\xff\xfe not UTF-8");
    t->region = (hl_text){NULL, 7};
    hl_batch_stat *s = HL_ROWS_ADD(b.stats);
    hl_batch_histograms most;
    memset(&most, 0xff, sizeof most);
    memset(s, 0xff, sizeof *s);
    assert_int_equal(hl_batch_pack(&b, s, &most), 0);
    hl_batch_stat *astray = HL_ROWS_ADD(b.stats); /* its buckets are said to be where there are none */
    *astray = (hl_batch_stat){.id = 7, .node = 3, .buckets_at = UINT32_MAX, .buckets = UINT32_MAX};
    hl_batch_tick *tick = HL_ROWS_ADD(b.ticks);
    memset(tick, 0xff, sizeof *tick);
    hl_batch_cell *c = HL_ROWS_ADD(b.cells);
    *c = (hl_batch_cell){
        .stat = UINT32_MAX, .born = UINT32_MAX, .died = INT64_MAX, .blocks = UINT64_MAX, .bytes = UINT64_MAX};
    c = HL_ROWS_ADD(b.cells);
    *c = (hl_batch_cell){.stat = 1, .born = 1, .died = INT64_MIN, .blocks = 1};
    hl_batch_mark *m = HL_ROWS_ADD(b.marks);
    *m = (hl_batch_mark){.time_ns = UINT64_MAX, .process = UINT32_MAX, .kind = {0}, .name = {0}};
    *(hl_batch_note *)HL_ROWS_ADD(b.notes) = (hl_batch_note){.process = UINT32_MAX};
    add_code(&b, UINT32_MAX, 0xffff, "", lnotab, sizeof lnotab);
    b.codes.row[0].first_line = INT32_MIN;
    b.codes.row[0].file = (hl_text){0};
    add_node(&b, 3, 0, HL_NODE_PYTHON, UINT32_MAX, UINT32_MAX);
    memset(HL_ROWS_ADD(b.lines), 0xff, sizeof(hl_batch_line));
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT allocated FROM stat WHERE id <> 7"), "9223372036854775807");
    assert_string_equal(ask(w, "SELECT live FROM stat WHERE id <> 7"), "-1");
    assert_string_equal(ask(w, "SELECT length(sizes) > 48 FROM stat WHERE id <> 7"), "1");
    assert_string_equal(ask(w, "SELECT recorded || ended || born_by FROM process"), "nothinglostunknown");
    assert_string_equal(ask(w, "SELECT rss FROM tick"), "NULL");
    assert_string_equal(ask(w, "SELECT libraries || peak FROM pool"), "9223372036854775807");
    assert_string_equal(ask(w, "SELECT count(*) FROM pool_tick"), "0");
    assert_string_equal(ask(w, "SELECT count(*) FROM cell"), "2");
    assert_string_equal(ask(w, "SELECT hits || rss FROM line_profile"), "92233720368547758079223372036854775807");
    assert_string_equal(ask(w, "SELECT value FROM meta WHERE key = 'state'"), "stopped");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void lines_of_profiled_functions_have_their_file(void **state)
{
    (void)state;
    static const char question[] =
        "SELECT group_concat(coalesce(path, '?') || ' ' || name || ' ' || first_line || '-' || last_line || ' ' || "
        "line || ' ' "
        "|| hits || ' ' || allocated || ' ' || freed || ' ' || allocations || ' ' || highest || ' ' || temporary || ' "
        "' || "
        "largest || ' ' || coalesce(rss, '-'), '; ') FROM (SELECT * FROM line_function JOIN line_profile ON "
        "line_profile.function = line_function.id LEFT JOIN file ON file.id = line_function.file ORDER BY line)";
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    hl_batch_line_function *f = HL_ROWS_ADD(b.line_functions);
    *f =
        (hl_batch_line_function){.id = 1, .process = 1, .code = 1, .name = {"C.f", 3}, .first_line = 2, .last_line = 9};
    hl_batch_line line = {1, 3, 4, 5, 6, 7, 8, 9, 10, 0};
    *(hl_batch_line *)HL_ROWS_ADD(b.lines) = line;
    apply(w, &b); /* its code object comes later */
    assert_string_equal(ask(w, question), "? C.f 2-9 3 4 5 6 7 8 9 10 -");
    add_code(&b, 1, 0x0308, "f", lnotab, sizeof lnotab);
    *(hl_batch_line_function *)HL_ROWS_ADD(b.line_functions) =
        (hl_batch_line_function){.id = 1, .process = 1, .code = 1, .name = {"C.f", 3}, .first_line = 2, .last_line = 9};
    line.hits = 40;
    line.rss = 11;
    *(hl_batch_line *)HL_ROWS_ADD(b.lines) = line;
    line.line = 4;
    *(hl_batch_line *)HL_ROWS_ADD(b.lines) = line;
    apply(w, &b);
    assert_string_equal(ask(w, question), "/p/a.py C.f 2-9 3 40 5 6 7 8 9 10 11; /p/a.py C.f 2-9 4 40 5 6 7 8 9 10 11");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void who_and_how_is_in_meta(void **state)
{
    (void)state;
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    assert_string_equal(ask(w, "SELECT group_concat(value) FROM (SELECT value FROM meta WHERE key IN "
                               "('command', 'directory', 'host', 'options', 'start_unix_ns') ORDER BY key)"),
                        "python3 a.py,/d,h,--x,5");
    assert_string_equal(ask(w, "SELECT value FROM label WHERE key = 'job'"), "it's 7");
    assert_string_equal(ask(w, "SELECT value FROM meta WHERE key = 'state'"), "running");
    assert_string_equal(ask(w, "SELECT value FROM meta WHERE key = 'exit_status'"), "NULL");
    b.meta = (hl_batch_meta){.final = true, .root_ended = true, .root_status = 3 << 8, .root_end_ns = 77};
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT group_concat(coalesce(value, '-')) FROM (SELECT value FROM meta WHERE key IN "
                               "('exit_status', 'signal', 'root_end_ns', 'state') ORDER BY key)"),
                        "3,77,-,finished");
    b.meta = (hl_batch_meta){
        .final = true, .root_ended = true, .root_status = 9, .oom_limit = 4096, .oom_scope = text("machine")};
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT group_concat(coalesce(value, '-')) FROM (SELECT value FROM meta WHERE key IN "
                               "('exit_status', 'oom_limit', 'oom_scope', 'signal') ORDER BY key)"),
                        "-,4096,machine,9");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void python_versions_are_told_in_words(void **state)
{
    (void)state;
    static const struct {
        uint32_t version, flags;
        const char *words;
    } cases[] = {
        {0x030d00f0, 4, "3.13.0"},
        {0x030e00c2, 1, "3.14.0rc2 free-threaded"},
        {0x030f00a1, 2, "3.15.0a1 debug"},
        {0x020712f0, 0, "2.7.18"},
        {0, 0, "NULL"},
    };
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        *(hl_batch_process *)HL_ROWS_ADD(b.processes) =
            (hl_batch_process){.id = 1, .python_version = cases[i].version, .python_flags = cases[i].flags};
        apply(w, &b);
        assert_string_equal(ask(w, "SELECT python FROM process"), cases[i].words);
    }
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static void histograms_are_varints(void **state)
{
    (void)state;
    hl_profile_writer *w = open_writer();
    hl_batch b = {0};
    add_stat(&b, 1, 0, 10);
    hl_batch_stat *s = &b.stats.row[0];
    hl_batch_histograms h = {.sizes = {[0] = 1, [47] = 128}};
    h.temporary[1].count = 300;
    h.temporary[1].bytes = 5;
    assert_int_equal(hl_batch_pack(&b, s, &h), 0);
    apply(w, &b);
    assert_string_equal(ask(w, "SELECT hex(temporary) FROM stat"), "0000AC0205");
    assert_string_equal(ask(w, "SELECT hex(sizes) FROM stat"), "00012F8001");
    assert_string_equal(ask(w, "SELECT lifetimes FROM stat"), "NULL");
    hl_profile_writer_close(w);
    hl_batch_release(&b);
}

static uint64_t spent_ns;
static void tell_cost(uint64_t *cpu_ns, uint64_t *rss_peak_bytes)
{
    *cpu_ns = spent_ns;
    *rss_peak_bytes = 2 * spent_ns;
}

static void what_recording_cost_has_the_last_batch_in_it(void **state)
{
    (void)state;
    static const char question[] = "SELECT group_concat(value, ' ') FROM (SELECT value FROM meta WHERE key IN "
                                   "('collector_cpu_ns', 'collector_rss_peak') ORDER BY key)";
    hl_profile_writer *w = open_writer();
    hl_batch b = {.meta = {.final = true, .collector_cpu_ns = 5, .collector_rss_peak = 6}};
    spent_ns = 70;
    assert_int_equal(hl_profile_writer_apply(w, &b), 0);
    assert_string_equal(ask(w, question), "5 6");
    hl_profile_writer_ask_cost(w, tell_cost);
    spent_ns = 80; /* applying it took time too */
    assert_string_equal(ask(w, question), "80 160");
    hl_profile_writer_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_that_show_the_same_line_are_one_stack),
        cmocka_unit_test(columns_keep_calls_on_one_line_apart),
        cmocka_unit_test(rows_replace_those_with_their_key),
        cmocka_unit_test(a_complete_batch_starts_anew),
        cmocka_unit_test(what_leads_nowhere_is_charged_to_the_root),
        cmocka_unit_test(absurd_values_are_kept_within_the_integers),
        cmocka_unit_test(lines_of_profiled_functions_have_their_file),
        cmocka_unit_test(who_and_how_is_in_meta),
        cmocka_unit_test(python_versions_are_told_in_words),
        cmocka_unit_test(histograms_are_varints),
        cmocka_unit_test(what_recording_cost_has_the_last_batch_in_it),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
