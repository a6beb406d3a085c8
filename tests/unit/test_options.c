/* test_options.c - option tables, values and "did you mean" (src/base). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

#include "error.h"
#include "options.h"
#include "suggest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct options {
    bool force, quiet;
    const char *output, *code;
    uint64_t rows, interval_ns, temporary;
    unsigned children;
    hl_option_list labels;
} options;

static const char *const children[] = {"none", "python", "all", NULL};
static const hl_option table[] = {
    {.name = "force", .letter = 'f', .kind = HL_OPTION_FLAG, HL_SETS(options, force)},
    {.name = "quiet", .letter = 'q', .kind = HL_OPTION_FLAG, HL_SETS(options, quiet)},
    {.name = "output", .letter = 'o', .kind = HL_OPTION_TEXT, HL_SETS(options, output)},
    {.name = "rows", .letter = 'n', .kind = HL_OPTION_NUMBER, .least = 1, .most = 1000, HL_SETS(options, rows)},
    {.name = "interval",
     .kind = HL_OPTION_DURATION,
     .least = 1000000,
     .most = UINT64_C(60000000000),
     HL_SETS(options, interval_ns)},
    {.name = "temporary", .kind = HL_OPTION_OPTIONAL_NUMBER, .absent = 1, HL_SETS(options, temporary)},
    {.name = "children", .kind = HL_OPTION_CHOICE, .choices = children, HL_SETS(options, children)},
    {.name = "label", .kind = HL_OPTION_LIST, HL_SETS(options, labels)},
    {.name = "c", .kind = HL_OPTION_TEXT, .ends_options = true, HL_SETS(options, code)},
    {0},
};
static const hl_syntax anywhere = {.name = "x", .usage = "", .summary = "", .options = table};
static const hl_syntax in_front = {
    .name = "x", .usage = "", .summary = "", .options = table, .operands_end_options = true, .usage_status = 125};

typedef struct parsed {
    options o;
    int status, argc;
    char *argv[16], text[512], said[1024]; /* said: what was printed on stderr */
} parsed;

/* Parses a command line, words separated by blanks, catching stderr. */
static void parse(parsed *p, const hl_syntax *syntax, const char *line)
{
    *p = (parsed){.argc = 1, .argv = {"x"}};
    snprintf(p->text, sizeof p->text, "%s", line);
    for (char *word = strtok(p->text, " "); word != NULL; word = strtok(NULL, " "))
        p->argv[p->argc++] = word;
    int kept = dup(STDERR_FILENO), ends[2];
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    p->status = hl_options_parse(syntax, &p->argc, p->argv, &p->o);
    dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t n = read(ends[0], p->said, sizeof p->said - 1);
    p->said[n > 0 ? n : 0] = '\0';
    close(ends[0]);
}

static void every_form_of_an_option_sets_its_field(void **state)
{
    parsed p;
    parse(&p, &anywhere, "-fq -o a -n5 --interval=10ms --temporary=7 --children all --label a=1 --label=b=2 file");
    assert_int_equal(p.status, -1);
    assert_true(p.o.force && p.o.quiet);
    assert_string_equal(p.o.output, "a");
    assert_int_equal(p.o.rows, 5);
    assert_int_equal(p.o.interval_ns, 10000000);
    assert_int_equal(p.o.temporary, 7);
    assert_int_equal(p.o.children, 2);
    assert_int_equal(p.o.labels.n, 2);
    assert_string_equal(p.o.labels.at[1], "b=2");
    assert_int_equal(p.argc, 1);
    assert_string_equal(p.argv[0], "file");
    assert_null(p.argv[1]);
    free(p.o.labels.at);
}

static void an_optional_number_does_not_swallow_the_operand(void **state)
{
    parsed p;
    parse(&p, &anywhere, "--temporary 12");
    assert_int_equal(p.o.temporary, 1);
    assert_string_equal(p.argv[0], "12");
}

static void options_stand_behind_operands_unless_the_program_owns_them(void **state)
{
    parsed p;
    parse(&p, &anywhere, "file -f");
    assert_true(p.o.force);
    parse(&p, &in_front, "-q app.py -f --output z");
    assert_true(p.o.quiet && !p.o.force);
    assert_null(p.o.output);
    assert_int_equal(p.argc, 4);
    assert_string_equal(p.argv[1], "-f");
}

static void all_behind_dash_c_or_a_double_dash_belongs_to_the_program(void **state)
{
    parsed p;
    parse(&p, &in_front, "-c code -f -- x");
    assert_string_equal(p.o.code, "code");
    assert_false(p.o.force);
    assert_int_equal(p.argc, 3);
    assert_string_equal(p.argv[1], "--");
    parse(&p, &in_front, "-f -- -q");
    assert_true(p.o.force && !p.o.quiet);
    assert_string_equal(p.argv[0], "-q");
}

static void mistakes_are_named_with_what_to_do(void **state)
{
    parsed p;
    parse(&p, &in_front, "--ouput a");
    assert_int_equal(p.status, 125);
    assert_non_null(strstr(p.said, "heapline: x: --ouput: no such option, did you mean --output?"));
    parse(&p, &anywhere, "--children pyhton");
    assert_int_equal(p.status, HL_EXIT_USAGE);
    assert_non_null(strstr(p.said, "did you mean python?"));
    parse(&p, &anywhere, "-n 0");
    assert_non_null(strstr(p.said, "out of range (1 to 1000)"));
    parse(&p, &anywhere, "--interval soon");
    assert_non_null(strstr(p.said, "not a duration"));
    parse(&p, &anywhere, "--output");
    assert_non_null(strstr(p.said, "--output needs a value"));
    parse(&p, &anywhere, "--force=yes");
    assert_non_null(strstr(p.said, "--force takes no value"));
    parse(&p, &anywhere, "-z");
    assert_non_null(strstr(p.said, "-z: no such option"));
}

static void values_as_people_type_them(void **state)
{
    uint64_t v;
    assert_int_equal(hl_parse_duration("1.5s", &v), 0);
    assert_int_equal(v, 1500000000);
    assert_int_equal(hl_parse_duration("2m", &v), 0);
    assert_int_equal(v, UINT64_C(120000000000));
    assert_int_equal(hl_parse_duration("-1", &v), -EINVAL);
    assert_int_equal(hl_parse_duration("1e300", &v), -ERANGE);
    assert_int_equal(hl_parse_size("10MB", &v), 0);
    assert_int_equal(v, 10000000);
    assert_int_equal(hl_parse_size("1 MiB", &v), 0);
    assert_int_equal(v, 1048576);
    assert_int_equal(hl_parse_size("0x10", &v), -EINVAL);
    assert_int_equal(hl_parse_number("18446744073709551615", &v), 0);
    assert_int_equal(v, UINT64_MAX);
    assert_int_equal(hl_parse_number("18446744073709551616", &v), -ERANGE);
    assert_int_equal(hl_parse_number(" 1", &v), -EINVAL);
}

static void did_you_mean_needs_likeness(void **state)
{
    const char *const words[] = {"status", "stats", "stop", "table", "tree", "run", NULL};
    assert_string_equal(hl_suggest("stat", words), "stats");
    assert_string_equal(hl_suggest("tabel", words), "table");
    assert_string_equal(hl_suggest("rnu", words), "run");
    assert_null(hl_suggest("flamegraph", words));
    static const char *const longer[] = {"leaf", "leaks", NULL};
    assert_string_equal(hl_suggest("leak", longer), "leaks");
    assert_int_equal(hl_edit_distance("ab", "ba"), 1);
    assert_int_equal(hl_edit_distance("", "abc"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_option_sets_its_field),
        cmocka_unit_test(an_optional_number_does_not_swallow_the_operand),
        cmocka_unit_test(options_stand_behind_operands_unless_the_program_owns_them),
        cmocka_unit_test(all_behind_dash_c_or_a_double_dash_belongs_to_the_program),
        cmocka_unit_test(mistakes_are_named_with_what_to_do),
        cmocka_unit_test(values_as_people_type_them),
        cmocka_unit_test(did_you_mean_needs_likeness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
