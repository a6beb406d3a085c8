/* test_mprof.c - .dat files of mprof, what is computed from them, and their picture (src/mprof). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

#include "mprof.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hl_dat parsed(const char *text)
{
    hl_dat dat;
    assert_int_equal(hl_dat_parse(&dat, strdup(text)), 0);
    return dat;
}

static void records_are_read_in_any_order(void **state)
{
    hl_dat dat = parsed("FUNC m.f 1.0000 10.5000 3.0000 11.5000 2\nMEM 2.000000 12.0000\nCMDLINE python 'a b.py' x\n"
                        "MEM 1.500000 11.0000\nCHLD 77 9.000000 11.0000\nCHLD 8 1.000000 11.0000\nCHLD 77 4.0 10.0\n");
    assert_int_equal(dat.unread, 0);
    assert_string_equal(dat.command, "python 'a b.py' x");
    assert_int_equal(dat.memory.n, 2);
    assert_true(dat.memory.point[0].time_s == 11 && dat.memory.point[0].mib == 1.5);
    assert_int_equal(dat.children, 2);
    assert_int_equal(dat.child[0].pid, 77);
    assert_int_equal(dat.child[0].series.n, 2);
    assert_true(dat.child[0].series.point[0].time_s == 10);
    assert_int_equal(dat.calls, 1);
    assert_string_equal(dat.call[0].name, "m.f");
    assert_int_equal(dat.call[0].depth, 2);
    assert_true(dat.call[0].begin.mib == 1 && dat.call[0].begin.time_s == 10.5 && dat.call[0].end.mib == 3);
    hl_dat_release(&dat);
}

static void names_may_have_blanks_and_depth_may_lack(void **state)
{
    hl_dat dat = parsed("FUNC .two words 1.0 2.0 3.0 4.0 1\nFUNC .two\xc2\xa0words 1.0 2.0 3.0 4.0 0\n"
                        "FUNC old.form 1.0 2.0 3.0 4.0\n");
    assert_int_equal(dat.calls, 3);
    assert_string_equal(dat.call[0].name, ".two words");
    assert_string_equal(dat.call[1].name, ".two words");
    assert_string_equal(dat.call[2].name, "old.form");
    assert_int_equal(dat.call[2].depth, 0);
    hl_dat_release(&dat);
}

static void what_is_no_record_is_skipped_and_counted(void **state)
{
    hl_dat dat = parsed(
        "\n\nNEW thing 1 2\nMEM\nMEM 1.0\nMEM nan 1.0\nMEM 1e999 1.0\nMEM 1e300 1.0\nMEM 0x10 1.0\nCHLD x 1.0 1.0\n"
        "FUNC 1.0 2.0 3.0 4.0 0\nFUNC f 1.0 2.0 3.0 0\nMEM 5.0 1.0\r\nMEM 6.0 2.");
    assert_int_equal(dat.memory.n, 2);
    assert_true(dat.memory.point[0].mib == 5);
    assert_int_equal(dat.calls, 0);
    assert_int_equal(dat.children, 0);
    assert_int_equal(dat.unread, 9);
    hl_dat_release(&dat);
}

static void peak_is_of_all_or_of_a_function(void **state)
{
    hl_dat dat = parsed(
        "MEM 50.0 1.0\nMEM 10.0 2.0\nMEM 20.0 3.0\nFUNC a.f 5.0 1.5 7.0 2.5 0\nFUNC a.short 30.0 2.1 31.0 2.2 0\n");
    hl_dat_point peak;
    assert_true(hl_dat_peak(&dat, NULL, &peak));
    assert_true(peak.mib == 50 && peak.time_s == 1);
    assert_true(hl_dat_peak(&dat, "a.f", &peak));
    assert_true(peak.mib == 10);
    assert_true(hl_dat_peak(&dat, "a.short", &peak)); /* no sample fell into it */
    assert_true(peak.mib == 31);
    assert_false(hl_dat_peak(&dat, "f", &peak));
    hl_dat_release(&dat);
}

static void slope_is_least_squares(void **state)
{
    hl_dat dat = parsed("MEM 10.0 1000.0\nMEM 14.0 1002.0\nMEM 12.0 1001.0\nMEM 16.0 1003.0\n");
    double slope, first;
    assert_true(hl_series_slope(&dat.memory, &slope, &first));
    assert_true(fabs(slope - 2) < 1e-9 && fabs(first - 10) < 1e-9);
    dat.memory.n = 1;
    assert_false(hl_series_slope(&dat.memory, &slope, &first));
    hl_dat_release(&dat);
}

static void labels_are_the_shortest_unambiguous_ends(void **state)
{
    const char *names[] = {"a.b.f", "a.c.f", "x.g", "g", ".block"}, *labels[5];
    hl_plot_labels(names, labels, 5);
    assert_string_equal(labels[0], "b.f");
    assert_string_equal(labels[1], "c.f");
    assert_string_equal(labels[2], "x.g");
    assert_string_equal(labels[3], "g");
    assert_string_equal(labels[4], "block");
}

static char *svg(const hl_dat *dat, size_t n, const hl_plot_options *o)
{
    hl_out out;
    hl_out_begin(&out, (hl_terminal){.width = 80, .utf8 = true});
    hl_plot_svg(&out, dat, n, o);
    assert_false(out.failed);
    char *text = strndup(out.at, out.bytes);
    hl_out_release(&out);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    return text;
}

static void a_picture_escapes_what_comes_from_files(void **state)
{
    hl_dat dat =
        parsed("CMDLINE app <script>&\"\x1b[31m\nMEM 1.0 1.0\nMEM 2.0 2.0\nFUNC m.<lambda> 1.0 1.1 2.0 1.9 0\n");
    char *text = svg(&dat, 1, &(hl_plot_options){.calls = true});
    assert_non_null(strstr(text, "app &lt;script&gt;&amp;&quot;\\x1b[31m"));
    assert_non_null(strstr(text, "&lt;lambda&gt; 0.800s"));
    assert_null(strstr(text, "<lambda>"));
    assert_null(strchr(text, 0x1b));
    free(text);
    text = svg(&dat, 1, &(hl_plot_options){.calls = true, .flame = true, .title = "mine"});
    assert_non_null(strstr(text, "class=\"flame\""));
    assert_non_null(strstr(text, ">mine<"));
    free(text);
    hl_dat_release(&dat);
}

static void odd_files_have_a_picture(void **state)
{
    static const char *const files[] = {"MEM 1.0 5.0\n", "MEM 0.0 5.0\nMEM 0.0 5.0\n", "MEM 9e14 9e14\nMEM -9e14 0.0\n",
                                        "MEM 1.0 1.0\nFUNC f 1.0e9 1.0e9 1.0 0.0 900000\n"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        hl_dat dat = parsed(files[i]);
        free(svg(&dat, 1, &(hl_plot_options){.calls = true, .slope = true}));
        free(svg(&dat, 1, &(hl_plot_options){.calls = true, .flame = true}));
        free(svg(&dat, 1, &(hl_plot_options){.has_window = true, .from_s = 100, .until_s = 200}));
        hl_dat_release(&dat);
    }
}

static void a_long_curve_keeps_its_spikes(void **state)
{
    enum { SAMPLES = 200000 };
    char *text = malloc(SAMPLES * 40), *at = text;
    for (int i = 0; i < SAMPLES; i++)
        at += sprintf(at, "MEM %d.0 %d.%03d\n", i == 123457 ? 900 : 10, 1000 + i / 1000, i % 1000);
    hl_dat dat;
    assert_int_equal(hl_dat_parse(&dat, text), 0);
    char *picture = svg(&dat, 1, &(hl_plot_options){0});
    assert_true(strlen(picture) < 100000);
    const char *curve = strstr(picture, "class=\"curve\"");
    double highest = 1e9, x, y; /* on the picture: the least y */
    for (const char *p = strchr(strstr(curve, "d=\""), 'M'); p != NULL; p = strpbrk(p + 1, "L\"")) {
        if (*p == '"' || sscanf(p + 1, "%lf %lf", &x, &y) != 2)
            break;
        highest = y < highest ? y : highest;
    }
    assert_true(highest < 90); /* 5 % below the top of the axes, at 56 */
    free(picture);
    hl_dat_release(&dat);
}

static void memory_of_processes(void **state)
{
    uint64_t rss, pss, uss, more;
    assert_int_equal(hl_memory_of(getpid(), HL_MEASURE_RSS, &rss), 0);
    assert_int_equal(hl_memory_of(getpid(), HL_MEASURE_PSS, &pss), 0);
    assert_int_equal(hl_memory_of(getpid(), HL_MEASURE_USS, &uss), 0);
    assert_true(uss > 0 && uss <= pss && pss <= rss);
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) /* each byte has a shadow, which is memory, too */
    enum { BYTES = 32 << 20, MORE = 8 * BYTES };
#else
    enum { BYTES = 32 << 20, MORE = 1 << 20 };
#endif
    volatile char *block = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i += 1024)
        block[i] = 1;
    assert_int_equal(hl_memory_of(getpid(), HL_MEASURE_USS, &more), 0);
    assert_true(more >= uss + BYTES && more < uss + BYTES + MORE);
    free((void *)block);
    assert_int_equal(hl_memory_of(999999999, HL_MEASURE_RSS, &rss), -3 /* ESRCH */);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_in_any_order),
        cmocka_unit_test(names_may_have_blanks_and_depth_may_lack),
        cmocka_unit_test(what_is_no_record_is_skipped_and_counted),
        cmocka_unit_test(peak_is_of_all_or_of_a_function),
        cmocka_unit_test(slope_is_least_squares),
        cmocka_unit_test(labels_are_the_shortest_unambiguous_ends),
        cmocka_unit_test(a_picture_escapes_what_comes_from_files),
        cmocka_unit_test(odd_files_have_a_picture),
        cmocka_unit_test(a_long_curve_keeps_its_spikes),
        cmocka_unit_test(memory_of_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
