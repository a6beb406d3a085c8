/* Line tables of each format, by hand; tests/e2e/test_linetable.py compares with the interpreters themselves. */
#include "linetable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static hl_position find(unsigned version, const uint8_t *table, size_t bytes, uint32_t instruction)
{
    return hl_linetable_find((uint16_t)version, table, bytes, 10, instruction);
}

static void expect(hl_position got, int line, int end_line, int column, int end_column)
{
    assert_int_equal(got.line, line);
    assert_int_equal(got.end_line, end_line);
    assert_int_equal(got.column, column);
    assert_int_equal(got.end_column, end_column);
}

static void lnotab_lines_are_signed_since_3_6(void **state)
{
    (void)state;
    const uint8_t table[] = {0, 1, 6, 255};
    expect(find(0x0207, table, sizeof table, 0), 11, -1, -1, -1);
    expect(find(0x0207, table, sizeof table, 5), 11, -1, -1, -1);
    expect(find(0x0207, table, sizeof table, 6), 266, -1, -1, -1);
    expect(find(0x0308, table, sizeof table, 6), 10, -1, -1, -1);
}

static void ranges_of_3_10_end_where_the_entry_says(void **state)
{
    (void)state;
    const uint8_t table[] = {4, 1, 2, 128, 0, 127, 6, 1};
    expect(find(0x030a, table, sizeof table, 2), 11, -1, -1, -1);
    expect(find(0x030a, table, sizeof table, 4), 0, -1, -1, -1);
    expect(find(0x030a, table, sizeof table, 6), 139, -1, -1, -1);
}

static void locations_of_3_11_have_columns(void **state)
{
    (void)state;
    const uint8_t table[] = {
        0x80 | 11 << 3 | 1, 4,    9,             /* two units: line + 1, columns 4 to 9 */
        0x80 | 2 << 3 | 0,  0x35,                /* short: columns 19 to 24 */
        0x80 | 15 << 3 | 0,                      /* none */
        0x80 | 13 << 3 | 0, 3,                   /* line - 1 */
        0x80 | 14 << 3 | 0, 2,    2, 0x41, 1, 0, /* line + 1, two lines more, column 64, end column unknown */
    };
    expect(find(0x030d, table, sizeof table, 2), 11, 11, 4, 9);
    expect(find(0x030d, table, sizeof table, 4), 11, 11, 19, 24);
    expect(find(0x030d, table, sizeof table, 6), 0, -1, -1, -1);
    expect(find(0x030d, table, sizeof table, 8), 10, 10, -1, -1);
    expect(find(0x030d, table, sizeof table, 10), 11, 13, 64, -1);
}

static void an_index_changes_nothing(void **state)
{
    (void)state;
    static const uint16_t versions[] = {0x0207, 0x0308, 0x030a, 0x030b, 0x030f};
    enum { BYTES = 20000, SEARCHES = 400 };
    static uint8_t table[BYTES];
    uint64_t random = 1;
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        hl_linetable_index index = {0};
        for (size_t i = 0; i < BYTES; i++)
            table[i] = (uint8_t)((random = random * UINT64_C(6364136223846793005) + 1442695040888963407u) >> 56);
        for (int i = 0; i < SEARCHES; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint32_t instruction = (uint32_t)(random >> 33) % (BYTES * 20);
            hl_position plain = hl_linetable_find(versions[v], table, BYTES, 10, instruction);
            hl_position got = hl_linetable_search(&index, versions[v], table, BYTES, 10, instruction);
            expect(got, plain.line, plain.end_line, plain.column, plain.end_column);
        }
        assert_true(index.n > BYTES / 2 / 64 / 4); /* it was used */
        hl_linetable_release(&index);
    }
}

static void broken_tables_give_the_position_reached(void **state)
{
    (void)state;
    const uint8_t cut[] = {0x80 | 11 << 3, 4, 9, 0x80 | 14 << 3, 2, 0x40};
    expect(find(0x030d, cut, sizeof cut, 100), 11, 11, 4, 9);
    expect(find(0x030d, NULL, 0, 100), 10, -1, -1, -1);
    expect(find(0x0308, NULL, 0, 100), 10, -1, -1, -1);
    expect(find(0x030a, NULL, 0, 100), 10, -1, -1, -1);
    const uint8_t huge[] = {0x80 | 14 << 3, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f,
                            0x7f,           0x3f, 0x7f, 0x3f, 0x7f, 0x3f, 1};
    hl_position found = find(0x030d, huge, sizeof huge, 0);
    assert_true(found.line >= 0 && found.column >= -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lnotab_lines_are_signed_since_3_6),
        cmocka_unit_test(ranges_of_3_10_end_where_the_entry_says),
        cmocka_unit_test(locations_of_3_11_have_columns),
        cmocka_unit_test(an_index_changes_nothing),
        cmocka_unit_test(broken_tables_give_the_position_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
