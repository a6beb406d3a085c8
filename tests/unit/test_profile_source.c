/* Which source text goes into a profile, and whose code a file is. */
#include "dictionary.h"
#include "profile.h"
#include "profile_folder.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void origins_are_told_from_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *origin;
    } cases[] = {
        {"/home/u/app/main.py", "user"},
        {"main.py", "user"},
        {"/home/u/python3.12/main.py", "user"},
        {"/home/u/lib/pythonic/main.py", "user"},
        {"/usr/lib/python3.11/json/decoder.py", "stdlib"},
        {"/home/u/.pyenv/versions/3.12.1/lib/python3.12/re/__init__.py", "stdlib"},
        {"/opt/p/lib/python3.13t/abc.py", "stdlib"},
        {"/usr/lib64/python2.7/abc.py", "stdlib"},
        {"/Library/Frameworks/Python.framework/Versions/3.12/lib/python3.12/abc.py", "stdlib"},
        {"/usr/lib/python3.11", "user"},
        {"/usr/lib/python3/dist-packages/apt.py", "site"},
        {"/usr/lib/python3.11/site-packages/numpy/core.py", "site"},
        {"/home/u/.local/lib/python3.11/site-packages/ipykernel_launcher.py", "site"},
        {"<frozen importlib._bootstrap>", "frozen"},
        {"<frozen zipimport>", "frozen"},
        {"<string>", "interactive"},
        {"<stdin>", "interactive"},
        {"<ipython-input-3-aa>", "interactive"},
        {"/tmp/ipykernel_77/123.py", "interactive"},
        {"?", "interactive"},
        {"", "interactive"},
        {"/usr/lib/x86_64-linux-gnu/libc.so.6", "native"},
        {"/usr/lib/python3.11/site-packages/numpy/core.so", "native"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = hl_origin_of((hl_text){cases[i].path, (uint32_t)strlen(cases[i].path)});
        if (strcmp(got, cases[i].origin) != 0)
            fail_msg("%s: %s, not %s", cases[i].path, got, cases[i].origin);
    }
    assert_string_equal(hl_origin_of((hl_text){NULL, 0}), "interactive");
}

/* ------------------------------------------------------------------------------------------------ source text */

static void write_file(const char *name, const char *text, size_t bytes, time_t changed)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", directory, name);
    FILE *f = fopen(full, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    struct timespec times[2] = {{.tv_sec = changed}, {.tv_sec = changed}};
    assert_int_equal(utimensat(-1, full, times, 0), 0);
}

typedef struct recorded {
    hl_batch batch;
    char names[16][256];
    uint32_t n;
} recorded;

/* A function of that file, which allocated so much. */
static void add(recorded *r, const char *name, uint64_t bytes)
{
    static const uint8_t lnotab[] = {0, 1};
    uint32_t id = ++r->n;
    bool whole = name[0] == '/' || name[0] == '.';
    snprintf(r->names[id], sizeof r->names[id], "%s%s%s", whole ? "" : directory, whole ? "" : "/", name);
    if (name[0] == '.') /* relative to the program's directory */
        memmove(r->names[id], r->names[id] + 2, strlen(r->names[id]) - 1);
    *(hl_batch_code *)HL_ROWS_ADD(r->batch.codes) =
        (hl_batch_code){.id = id,
                        .python_version = 0x0308,
                        .first_line = 1,
                        .name = {"f", 1},
                        .file = {r->names[id], (uint32_t)strlen(r->names[id])},
                        .table = {(const char *)lnotab, 2}};
    *(hl_batch_node *)HL_ROWS_ADD(r->batch.nodes) = (hl_batch_node){.id = id, .kind = HL_NODE_PYTHON, .code = id};
    *(hl_batch_stat *)HL_ROWS_ADD(r->batch.stats) = (hl_batch_stat){.id = id,
                                                                    .node = id,
                                                                    .process = 1,
                                                                    .allocations = 1,
                                                                    .allocated = bytes,
                                                                    .live = (int64_t)bytes,
                                                                    .tree_peak = (int64_t)bytes};
    r->batch.meta.allocated += bytes;
    r->batch.meta.live += bytes;
    r->batch.meta.peak += bytes;
}

static hl_profile *publish(recorded *r, bool embed)
{
    const hl_profile_identity identity = {
        .directory = directory, .start_unix_ns = UINT64_C(2000) * 1000000000, .embed_source = embed};
    hl_profile_writer *w;
    hl_profile *profile;
    char why[256];
    r->batch.meta.final = true;
    assert_int_equal(hl_profile_writer_open(&w, path, &identity), 0);
    assert_int_equal(hl_profile_writer_apply(w, &r->batch), 0);
    assert_int_equal(hl_profile_writer_publish(w, true), 0);
    assert_int_equal(hl_profile_writer_publish(w, true), 0); /* again: nothing is told twice */
    hl_profile_writer_close(w);
    hl_batch_release(&r->batch);
    assert_int_equal(hl_profile_open(&profile, path, why, sizeof why), 0);
    return profile;
}

static const char *ask(hl_profile *profile, const char *sql)
{
    static char answer[512];
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(hl_profile_database(profile), sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    const char *value = (const char *)sqlite3_column_text(s, 0);
    snprintf(answer, sizeof answer, "%s", value ? value : "NULL");
    sqlite3_finalize(s);
    return answer;
}

static const char embedded[] = "SELECT group_concat(name, ' ') FROM (SELECT replace(path, (SELECT value FROM meta "
                               "WHERE key = 'directory') || '/', '') AS name FROM file WHERE source IS NOT NULL "
                               "ORDER BY 1)";

static void user_files_are_embedded_and_light_libraries_are_not(void **state)
{
    (void)state;
    recorded r = {0};
    char folder[256];
    snprintf(folder, sizeof folder, "%s/site-packages", directory);
    mkdir(folder, 0777);
    write_file("user.py", "x\n", 2, 1000);
    write_file("relative.py", "y\n", 2, 1000);
    write_file("site-packages/light.py", "z\n", 2, 1000);
    write_file("site-packages/heavy.py", "z\n", 2, 1000);
    add(&r, "user.py", 0);
    add(&r, "./relative.py", 1);
    add(&r, "site-packages/light.py", 9);
    add(&r, "site-packages/heavy.py", 990);
    add(&r, "/no/such/file.py", 0);
    hl_profile *p = publish(&r, true);
    assert_string_equal(ask(p, embedded), "relative.py site-packages/heavy.py user.py");
    assert_string_equal(ask(p, "SELECT count(*) FROM note"), "0");
    hl_profile_close(p);
}

static void nothing_is_embedded_unless_asked(void **state)
{
    (void)state;
    recorded r = {0};
    write_file("user.py", "x\n", 2, 1000);
    add(&r, "user.py", 5);
    hl_profile *p = publish(&r, false);
    assert_string_equal(ask(p, embedded), "NULL");
    hl_profile_close(p);
}

static void a_file_changed_since_the_start_is_left_out_with_a_note(void **state)
{
    (void)state;
    recorded r = {0};
    write_file("old.py", "x\n", 2, 1999);
    write_file("new.py", "x\n", 2, 2001);
    write_file("newer.py", "x\n", 2, 3000);
    add(&r, "old.py", 1);
    add(&r, "newer.py", 5);
    add(&r, "new.py", 4);
    hl_profile *p = publish(&r, true);
    assert_string_equal(ask(p, embedded), "old.py");
    assert_string_equal(ask(p, "SELECT count(*) FROM note"), "1");
    assert_non_null(strstr(ask(p, "SELECT text FROM note"), "newer.py and 1 more"));
    hl_profile_close(p);
}

static void the_budget_keeps_the_heaviest(void **state)
{
    (void)state;
    recorded r = {0};
    size_t bytes = 1500000;
    char *noise = malloc(5 << 20);
    srand(1);
    for (size_t i = 0; i < 5 << 20; i++)
        noise[i] = (char)(1 + rand() % 255); /* deflate cannot make it smaller */
    write_file("light.py", noise, bytes, 1000);
    write_file("heavy.py", noise, bytes, 1000);
    write_file("small.py", noise, 1000, 1000);
    write_file("huge.py", noise, 5 << 20, 1000);
    free(noise);
    add(&r, "light.py", 1);
    add(&r, "heavy.py", 3);
    add(&r, "huge.py", 9);
    add(&r, "small.py", 0);
    hl_profile *p = publish(&r, true);
    assert_string_equal(ask(p, embedded), "heavy.py small.py");
    assert_non_null(strstr(ask(p, "SELECT text FROM note"), "2 files"));
    hl_profile_close(p);
}

static void what_is_no_source_text_is_not_waited_for(void **state)
{
    (void)state;
    recorded r = {0};
    char pipe[256], folder[256];
    snprintf(pipe, sizeof pipe, "%s/pipe.py", directory);
    snprintf(folder, sizeof folder, "%s/folder.py", directory);
    assert_int_equal(mkfifo(pipe, 0666), 0);
    assert_int_equal(mkdir(folder, 0777), 0);
    write_file("binary.py", "a\0b", 3, 1000);
    write_file("empty.py", "", 0, 1000);
    write_file("secret.py", "x\n", 2, 1000);
    char secret[256];
    snprintf(secret, sizeof secret, "%s/secret.py", directory);
    chmod(secret, 0);
    add(&r, "pipe.py", 1);
    add(&r, "folder.py", 1);
    add(&r, "binary.py", 1);
    add(&r, "empty.py", 1);
    add(&r, "/dev/zero", 1);
    if (geteuid() != 0) /* root may read it */
        add(&r, "secret.py", 1);
    hl_profile *p = publish(&r, true);
    assert_string_equal(ask(p, embedded), "NULL");
    hl_profile_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_are_told_from_paths),
        cmocka_unit_test(user_files_are_embedded_and_light_libraries_are_not),
        cmocka_unit_test(nothing_is_embedded_unless_asked),
        cmocka_unit_test(a_file_changed_since_the_start_is_left_out_with_a_note),
        cmocka_unit_test(the_budget_keeps_the_heaviest),
        cmocka_unit_test(what_is_no_source_text_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
