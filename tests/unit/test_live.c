/* The table of live blocks and the treap of mappings, each against a plain model. */
#include "live.h"
#include "maps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static hl_block block_at(uint64_t key, uint32_t value)
{
    return (hl_block){.where = key | UINT64_C(7) << HL_ADDRESS_BITS, .what = value, .born_ms = value, .count = ~value};
}

/* Every slot of the table is reachable, and at most 40 bytes a block are in use once it is big. */
static void check_table(const hl_live *live)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i <= live->last; i++)
        count += live->slots[i].where != 0;
    assert_int_equal(count, live->count);
    assert_int_equal(live->slots[live->last].where, 0);
}

static void blocks_survive_growth_at_any_size(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 100, 5000, 40000, 900000, 2500000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        hl_live live;
        hl_live_init(&live);
        uint64_t n = sizes[s];
        hl_block old;
        for (uint64_t i = 0; i < n; i++) {
            hl_block b = block_at(0xfe000000000 + i * 6, (uint32_t)i & 0xffffff);
            assert_false(hl_live_put(&live, &b, &old));
            if (live.count > 1000000)
                assert_true(live.capacity * sizeof(hl_block) <= live.count * 41);
        }
        check_table(&live);
        for (uint64_t k = 0; k < n + n / 2; k++) {
            uint64_t i = next_random() % n, key = 0xfe000000000 + i * 6;
            bool found = hl_live_take(&live, key, &old);
            if (found) {
                assert_int_equal(hl_block_key(&old), key);
                assert_int_equal(hl_block_thread(&old), 7);
                assert_int_equal(old.born_ms, i & 0xffffff);
                assert_int_equal(old.count, (uint32_t) ~(i & 0xffffff));
                assert_false(hl_live_take(&live, key, &old));
            }
            if (!found || k % 3) {
                hl_block b = block_at(key, (uint32_t)i & 0xffffff);
                assert_false(hl_live_put(&live, &b, &old));
            }
        }
        check_table(&live);
        uint64_t taken = 0, count = live.count;
        for (uint64_t i = 0; i < n; i++)
            taken += hl_live_take(&live, 0xfe000000000 + i * 6, &old);
        assert_int_equal(taken, count);
        assert_int_equal(live.count, 0);
        hl_live_release(&live);
    }
}

static void a_block_on_a_live_block_gives_the_old_one_back(void **state)
{
    (void)state;
    hl_live live;
    hl_live_init(&live);
    hl_block a = block_at(5, 1), b = block_at(5, 2), old;
    assert_false(hl_live_put(&live, &a, &old));
    assert_true(hl_live_put(&live, &b, &old));
    assert_int_equal(old.born_ms, 1);
    assert_int_equal(live.count, 1);
    hl_live_release(&live);
}

/* Blocks whose homes all fall together (the multiplier is known here): slow, and right. */
static void colliding_addresses_are_only_slow(void **state)
{
    (void)state;
    hl_live live;
    hl_live_init(&live);
    live.multiplier = 1; /* hash = address: every home is 0 */
    hl_block old;
    for (uint64_t i = 1; i <= 3000; i++) {
        hl_block b = block_at(i, (uint32_t)i);
        assert_false(hl_live_put(&live, &b, &old));
    }
    check_table(&live);
    for (uint64_t i = 1; i <= 3000; i++)
        assert_true(hl_live_take(&live, i, &old));
    check_table(&live);
    hl_live_release(&live);
}

/* ----------------------------------------------------------------------------------------------------------- mappings */

enum { PAGES = 3000 };

static void mappings_agree_with_an_array_of_pages(void **state)
{
    (void)state;
    hl_maps maps = {0};
    hl_pieces taken = {0};
    static uint32_t owner[PAGES]; /* by page: the row of its mapping, 0: none */
    memset(owner, 0, sizeof owner);
    static uint32_t pages_of[200000];
    memset(pages_of, 0, sizeof pages_of);
    uint32_t rows = 0;
    for (int round = 0; round < 60000; round++) {
        uint64_t r = next_random();
        uint32_t start = (uint32_t)(r % (PAGES - 1)), n = 1 + (uint32_t)(r >> 32) % (r >> 20 & 7 ? 20 : 400);
        if (start + n > PAGES)
            n = PAGES - start;
        taken.count = 0;
        hl_maps_take(&maps, start * 4096ul, (start + n) * 4096ul, &taken);
        uint32_t pages = 0, lasts = 0, expected = 0;
        for (uint32_t i = 0; i < taken.count; i++) {
            assert_true(i == 0 || taken.piece[i - 1].end <= taken.piece[i].start);
            for (uint64_t a = taken.piece[i].start; a < taken.piece[i].end; a += 4096, pages++) {
                assert_int_equal(owner[a / 4096], taken.piece[i].row);
                pages_of[taken.piece[i].row]--;
            }
            lasts += taken.piece[i].last;
            assert_true(!taken.piece[i].last || pages_of[taken.piece[i].row] == 0);
        }
        for (uint32_t i = start; i < start + n; i++)
            expected += owner[i] != 0;
        assert_int_equal(pages, expected);
        if (r >> 61 == 0) { /* the munmap failed */
            for (uint32_t i = 0; i < taken.count; i++) {
                hl_maps_put(&maps, &taken.piece[i]);
                pages_of[taken.piece[i].row] += (uint32_t)((taken.piece[i].end - taken.piece[i].start) / 4096);
            }
            continue;
        }
        hl_maps_forget(&maps, &taken);
        memset(&owner[start], 0, n * sizeof *owner);
        if (r >> 60 & 1) {
            rows++;
            hl_maps_put(&maps, &(hl_piece){.start = start * 4096ul, .end = (start + n) * 4096ul, .row = rows});
            for (uint32_t i = start; i < start + n; i++)
                owner[i] = rows;
            pages_of[rows] = n;
        }
    }
    for (uint32_t i = 0; i < PAGES; i++) {
        const hl_piece *piece = hl_maps_find(&maps, i * 4096ul + 5);
        assert_int_equal(piece ? piece->row : 0, owner[i]);
    }
    free(taken.piece);
    hl_maps_release(&maps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_survive_growth_at_any_size),
        cmocka_unit_test(a_block_on_a_live_block_gives_the_old_one_back),
        cmocka_unit_test(colliding_addresses_are_only_slow),
        cmocka_unit_test(mappings_agree_with_an_array_of_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
