/* Numbers, cleaning, cutting, JSON and tables: what number.h, out.h, json.h and grid.h promise. */
#include "grid.h"
#include "json.h"
#include "number.h"
#include "out.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char text[HL_NUMBER_BYTES];

static hl_terminal wide(bool utf8, int width)
{
    setenv("LC_ALL", "C.UTF-8", 1); /* widths need its tables */
    hl_terminal terminal = hl_terminal_of(-1, HL_COLOUR_NEVER);
    terminal.utf8 = utf8;
    terminal.width = width;
    return terminal;
}

static void assert_out(hl_out *out, const char *expected)
{
    hl_out_add(out, "", 1);
    assert_false(out->failed);
    assert_string_equal(out->at, expected);
    hl_out_release(out);
}

static void sizes_have_three_digits_and_never_a_thousand_of_a_unit(void **state)
{
    (void)state;
    const struct {
        int64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "1.00 kB"},
                 {9994, "9.99 kB"},
                 {9995, "10.0 kB"},
                 {99949, "99.9 kB"},
                 {999949, "999.9 kB"},
                 {999950, "1.00 MB"},
                 {1000000, "1.00 MB"},
                 {512300000, "512.3 MB"},
                 {999999999, "1.00 GB"},
                 {-28100000, "-28.1 MB"},
                 {INT64_MAX, "9.22 EB"},
                 {INT64_MIN, "-9.22 EB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(hl_size_text(text, cases[i].bytes), cases[i].text);
}

static void counts_have_separators(void **state)
{
    (void)state;
    assert_string_equal(hl_count_text(text, 0), "0");
    assert_string_equal(hl_count_text(text, 999), "999");
    assert_string_equal(hl_count_text(text, 1234567), "1,234,567");
    assert_string_equal(hl_counted_text(text, 1, "block"), "1 block");
    assert_string_equal(hl_counted_text(text, 0, "block"), "0 blocks");
    assert_string_equal(hl_counted_text(text, UINT64_MAX, "allocation"), "18,446,744,073,709,551,615 allocations");
    assert_string_equal(hl_count_text(text, UINT64_MAX), "18,446,744,073,709,551,615");
}

static void all_is_a_hundred_percent_and_nothing_else(void **state)
{
    (void)state;
    assert_string_equal(hl_share_text(text, 5, 5), "100 %");
    assert_string_equal(hl_share_text(text, 999999, 1000000), "99.9 %");
    assert_string_equal(hl_share_text(text, 1, 1000000), "<0.1 %");
    assert_string_equal(hl_share_text(text, 0, 10), "0.0 %");
    assert_string_equal(hl_share_text(text, 0, 0), "");
}

static void times_read_naturally(void **state)
{
    (void)state;
    assert_string_equal(hl_time_text(text, 850000000), "850 ms");
    assert_string_equal(hl_time_text(text, 12500000000), "12.50 s");
    assert_string_equal(hl_time_text(text, 125000000000), "2 min 05 s");
    assert_string_equal(hl_time_text(text, 11400000000000), "3 h 10 min");
}

static void times_are_parsed_and_nonsense_refused(void **state)
{
    (void)state;
    uint64_t ns = 7;
    assert_int_equal(hl_time_parse("12.5s", 0, &ns), 0);
    assert_int_equal(ns, 12500000000);
    assert_int_equal(hl_time_parse("850ms", 0, &ns), 0);
    assert_int_equal(ns, 850000000);
    assert_int_equal(hl_time_parse("80%", 10000000000, &ns), 0);
    assert_int_equal(ns, 8000000000);
    const char *const bad[] = {"", "s", "-1s", "12x", "nan", "inf", "0x10", "101%", "1e300s", "1 s", "5%%"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(hl_time_parse(bad[i], 1, &ns), -EINVAL);
    assert_int_equal(ns, 8000000000);
}

static void what_a_terminal_would_obey_is_made_visible(void **state)
{
    (void)state;
    const struct {
        const char *from, *to;
    } cases[] = {
        {"plain", "plain"},
        {"\033[31mred\a", "\\x1b[31mred\\x07"},
        {"two\nlines\ttab", "two\\x0alines\\x09tab"},
        {"\xc2\x9b"
         "31m",
         "\\x9b31m"}, /* the one-byte CSI as UTF-8 */
        {"\xe2\x80\xae"
         "evil",
         "\\u202eevil"}, /* right to left */
        {"zero\xe2\x80\x8bwidth", "zero\\u200bwidth"},
        {"\xff\xc0\xaf", "\\xff\\xc0\\xaf"}, /* no UTF-8, overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* a surrogate */
        {"cut \xe6\x9d", "cut \\xe6\\x9d"},  /* ends within a character */
        {"na\xc3\xafve \xe6\x9d\xb1", "na\xc3\xafve \xe6\x9d\xb1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hl_out out;
        hl_out_begin(&out, wide(true, 80));
        hl_out_clean(&out, cases[i].from, strlen(cases[i].from));
        assert_out(&out, cases[i].to);
    }
    hl_out out;
    hl_out_begin(&out, wide(false, 80));
    hl_out_clean(&out, "na\xc3\xafve", 6);
    assert_out(&out, "na\\xefve");
}

static void columns_are_those_of_the_terminal(void **state)
{
    (void)state;
    wide(true, 80);
    assert_int_equal(hl_columns("abc", 3), 3);
    assert_int_equal(hl_columns("\xe6\x9d\xb1\xe4\xba\xac", 6), 4); /* wide */
    assert_int_equal(hl_columns("e\xcc\x81", 3), 1);                /* a combining accent */
    assert_int_equal(hl_prefix_of("\xe6\x9d\xb1\xe4\xba\xac", 6, 3), 3);
    assert_int_equal(hl_suffix_of("\xe6\x9d\xb1\xe4\xba\xac", 6, 3), 3);
}

static void paths_are_cut_in_the_middle_and_keep_their_end(void **state)
{
    (void)state;
    const char *path = "a/very/long/way/to/module.py:1234";
    for (int width = 1; width <= 40; width++) {
        hl_out out;
        hl_out_begin(&out, wide(true, 80));
        hl_out_middle(&out, path, strlen(path), width);
        assert_true(hl_columns(out.at, out.bytes) <= width);
        if (width >= 18) {
            hl_out_add(&out, "", 1);
            assert_non_null(strstr(out.at, "/module.py:1234"));
        }
        hl_out_release(&out);
    }
}

static void json_is_valid_whatever_the_bytes(void **state)
{
    (void)state;
    hl_out out;
    hl_out_begin(&out, wide(true, 80));
    hl_json json = hl_json_begin(&out);
    hl_json_row(&json, NULL);
    hl_json_text(&json, "a\"b", "q\"\\\n\033\x7f\xff\xe6\x9d\xb1");
    hl_json_int(&json, "n", INT64_MIN);
    hl_json_seconds(&json, "t", 1500000000);
    hl_json_text(&json, "none", NULL);
    hl_json_list(&json, "list");
    hl_json_bool(&json, NULL, true);
    hl_json_end(&json);
    hl_json_end(&json);
    assert_out(&out,
               "{\"a\\\"b\": \"q\\\"\\\\\\n\\u001b\\u007f\xef\xbf\xbd\xe6\x9d\xb1\", \"n\": -9223372036854775808, "
               "\"t\": 1.500000, \"none\": null, \"list\": [true]}\n");
}

static void draw(hl_out *out, int width)
{
    static const hl_column columns[] = {{.title = "Bytes", .right = true},
                                        {.title = "Share", .right = true, .drop = 1},
                                        {.title = "Extra", .drop = 2},
                                        {.title = "Line", .least = 12}};
    hl_out_begin(out, wide(true, width));
    hl_grid grid = hl_grid_begin(out, columns, 4);
    for (int i = 0; i < 2; i++) {
        hl_grid_row(&grid);
        hl_grid_size(&grid, i ? 1 : 123456789);
        hl_grid_share(&grid, 1, 3);
        hl_grid_text(&grid, "extra");
        hl_grid_text(&grid, i ? "b.py:2" : "some/long/path/to/a.py:1");
    }
    hl_grid_end(&grid);
}

static void tables_cut_paths_then_drop_columns_but_never_numbers(void **state)
{
    (void)state;
    hl_out out;
    draw(&out, 80);
    assert_out(&out, "   Bytes   Share  Extra  Line\n"
                     "123.5 MB  33.3 %  extra  some/long/path/to/a.py:1\n"
                     "     1 B  33.3 %  extra  b.py:2\n");
    draw(&out, 40);
    assert_out(&out, "   Bytes   Share  Extra  Line\n"
                     "123.5 MB  33.3 %  extra  some…/to/a.py:1\n"
                     "     1 B  33.3 %  extra  b.py:2\n");
    draw(&out, 36);
    assert_out(&out, "   Bytes   Share  Line\n"
                     "123.5 MB  33.3 %  some/…th/to/a.py:1\n"
                     "     1 B  33.3 %  b.py:2\n");
}

static void narrow_tables_stay_within_the_width(void **state)
{
    (void)state;
    for (int width = 24; width <= 90; width++) {
        hl_out out;
        draw(&out, width);
        hl_out_add(&out, "", 1);
        assert_non_null(strstr(out.at, "123.5 MB"));
        for (char *line = strtok(out.at, "\n"); line; line = strtok(NULL, "\n"))
            assert_true(hl_columns(line, strlen(line)) <= width);
        hl_out_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_three_digits_and_never_a_thousand_of_a_unit),
        cmocka_unit_test(counts_have_separators),
        cmocka_unit_test(all_is_a_hundred_percent_and_nothing_else),
        cmocka_unit_test(times_read_naturally),
        cmocka_unit_test(times_are_parsed_and_nonsense_refused),
        cmocka_unit_test(what_a_terminal_would_obey_is_made_visible),
        cmocka_unit_test(columns_are_those_of_the_terminal),
        cmocka_unit_test(paths_are_cut_in_the_middle_and_keep_their_end),
        cmocka_unit_test(json_is_valid_whatever_the_bytes),
        cmocka_unit_test(tables_cut_paths_then_drop_columns_but_never_numbers),
        cmocka_unit_test(narrow_tables_stay_within_the_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
