/* What profile.h promises: what is written can be read, and what is not a profile is told apart. */
#include "profile_folder.h"
#include "synthetic.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static hl_profile *open_profile(void)
{
    hl_profile *profile;
    char why[256];
    int error = hl_profile_open(&profile, path, why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(error, 0);
    return profile;
}

static int64_t ask(hl_profile *profile, const char *sql)
{
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(hl_profile_database(profile), sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t answer = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return answer;
}

static void write_bytes(const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void sums_of_stats_equal_the_totals(void **state)
{
    (void)state;
    hl_synthetic_options o = hl_synthetic_defaults;
    o.processes = 3;
    o.folded = true;
    hl_synthetic *s = hl_synthetic_make(&o);
    assert_int_equal(hl_synthetic_write(s, path), 0);
    hl_profile *p = open_profile();
    const hl_batch_meta *m = &hl_synthetic_batch(s)->meta;
    assert_int_equal(ask(p, "SELECT sum(allocated) FROM stat"), m->allocated);
    assert_int_equal(ask(p, "SELECT sum(live) FROM stat"), m->live);
    assert_int_equal(ask(p, "SELECT sum(tree_peak) FROM stat"), m->peak);
    assert_int_equal(ask(p, "SELECT value FROM meta WHERE key = 'peak'"), m->peak);
    assert_int_equal(ask(p, "SELECT count(*) FROM stat JOIN stack ON stack.id = stat.stack"), o.stats);
    assert_int_equal(ask(p, "SELECT count(*) FROM stack WHERE parent >= id"), 0);
    hl_profile_close(p);
    hl_synthetic_free(s);
}

static void expect_error(int code, const char *words)
{
    hl_profile *profile;
    char why[256];
    assert_int_equal(hl_profile_open(&profile, path, why, sizeof why), code);
    assert_null(profile);
    if (!strstr(why, words))
        fail_msg("\"%s\" does not say \"%s\"", why, words);
}

static void what_is_not_a_profile_is_told_apart(void **state)
{
    (void)state;
    unlink(path);
    expect_error(-ENOENT, "does not exist");
    write_bytes("", 0);
    expect_error(-HL_PROFILE_EMPTY, "empty");
    write_bytes("memray\0\014........................................................................................",
                90);
    expect_error(-HL_NOT_A_PROFILE, "memray");
    write_bytes("hello, world", 12);
    expect_error(-HL_NOT_A_PROFILE, "not a heapline profile");
    write_bytes("SQLite format 3", 15);
    expect_error(-HL_PROFILE_TRUNCATED, "cut short");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0777), 0);
    expect_error(-EISDIR, "directory");
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_stats_equal_the_totals),
        cmocka_unit_test(what_is_not_a_profile_is_told_apart),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
