/* The HTML report's numbers: columns, folding on random trees, the budget; and the hashes of its policy. */
#include "page.h"
#include "payload_parts.h"
#include "sha256.h"
#include "synthetic.h"
#include "utf8.h"
#include "varint.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return below ? seed % below : 0;
}

/* ------------------------------------------------------------------------------------------------ hashes and letters */

static void hashes_are_those_of_the_standard(void **state)
{
    (void)state;
    /* FIPS 180-4 examples, and lengths around a block's. */
    static const struct {
        const char *text, *base64;
    } known[] = {
        {"", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
        {"abc", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "JI1qYdIGOLjlwCaTDD5gOaM85Flk/yFn9uzt1BnbBsE="},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        unsigned char digest[HL_SHA256_BYTES];
        char text[HL_SHA256_BASE64 + 1] = "";
        hl_sha256(known[i].text, strlen(known[i].text), digest);
        assert_int_equal(hl_base64(text, digest, sizeof digest), HL_SHA256_BASE64);
        assert_string_equal(text, known[i].base64);
    }
    /* A million times "a": in one piece. */
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    unsigned char digest[HL_SHA256_BYTES];
    hl_sha256(million, 1000000, digest);
    free(million);
    assert_int_equal(digest[0], 0xcd);
    assert_int_equal(digest[31], 0xd0);
}

static void base64_is_that_of_the_standard(void **state)
{
    (void)state;
    static const char *const known[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char text[16] = "";
        assert_int_equal(hl_base64(text, known[i][0], strlen(known[i][0])), strlen(known[i][1]));
        assert_string_equal(text, known[i][1]);
    }
}

static void broken_text_becomes_utf8(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"plain \xc3\xa4", "plain \xc3\xa4"},
                                           {"\xff", "\xef\xbf\xbd"},
                                           {"a\xc3", "a\xef\xbf\xbd"},
                                           {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                                           {"\xc0\x80z", "\xef\xbf\xbd\xef\xbf\xbdz"},
                                           {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hl_out out;
        hl_out_begin(&out, (hl_terminal){.utf8 = true});
        hl_out_utf8(&out, cases[i][0], strlen(cases[i][0]));
        hl_out_add(&out, "", 1);
        assert_string_equal(out.at, cases[i][1]);
        hl_out_release(&out);
    }
}

static void equal_names_are_one(void **state)
{
    (void)state;
    hl_payload_names names = {0};
    hl_out_begin(&names.text, (hl_terminal){.utf8 = true});
    assert_int_equal(hl_payload_name(&names, ""), 0);
    char text[32];
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 1; i < 5000; i++) {
            snprintf(text, sizeof text, "name %u", i);
            assert_int_equal(hl_payload_name(&names, text), i);
        }
    }
    uint32_t broken = hl_payload_name(&names, "\xff");
    assert_int_equal(hl_payload_name(&names, "\xfe"), broken); /* both are U+FFFD */
    assert_int_equal(hl_payload_name(&names, "\xef\xbf\xbd"), broken);
    assert_int_equal(names.n, 5001);
    assert_false(names.text.failed);
    hl_out_release(&names.text);
    free(names.begin);
    free(names.slot);
}

/* ------------------------------------------------------------------------------------------------------------ columns */

static uint64_t from_zigzag(uint64_t before, uint64_t value)
{
    return value & 1 ? before - (value >> 1) - 1 : before + (value >> 1);
}

/* Reads a column back, by docs/report-format.md. */
static void check_column(const hl_pack *pack, const hl_pack_entry *entry, const uint64_t *expected, uint32_t rows)
{
    const unsigned char *at = pack->at + entry->at, *end = at + entry->bytes;
    uint64_t value = 0, before = 0, count = 0;
    for (uint32_t i = 0; i < rows;) {
        assert_true(hl_varint_next(&at, end, &value));
        count = 1;
        if (entry->kind == 'r')
            assert_true(hl_varint_next(&at, end, &count));
        if (entry->kind == 'd')
            before = value = from_zigzag(before, value);
        assert_true(count > 0 && count <= rows - i);
        for (; count > 0 && i < rows; count--, i++) {
            uint64_t is = entry->null ? (value ? value - 1 : HL_PACK_NULL) : value;
            assert_int_equal(is, expected[i]);
        }
    }
    assert_ptr_equal(at, end);
}

static void columns_come_back(void **state)
{
    (void)state;
    enum { ROWS = 300 };
    uint64_t expected[ROWS] = {0};
    bool kinds[256] = {false};
    hl_pack pack = {0};
    for (int round = 0; round < 400; round++) {
        seed = (uint64_t)round + 1;
        for (int warm = 0; warm < 10; warm++)
            draw(1);
        uint32_t rows = (uint32_t)draw(ROWS + 1);
        bool null = round % 5 == 4;
        assert_true(hl_pack_table(&pack, "t", rows));
        for (uint32_t i = 0; i < rows; i++) {
            uint64_t big = draw(2) ? HL_PACK_MOST : draw(1000);
            expected[i] = round % 4 == 0   ? draw(3)
                          : round % 4 == 1 ? (uint64_t)i * 1000 + draw(50)
                          : round % 4 == 2 ? (i / 40) * 5
                                           : big;
            if (null && draw(3) == 0)
                expected[i] = HL_PACK_NULL;
            pack.value[i] = expected[i];
        }
        if (null)
            hl_pack_column_null(&pack, "c");
        else
            hl_pack_column(&pack, "c");
        assert_false(pack.failed);
        const hl_pack_entry *entry = &pack.entry[pack.entries - 1];
        kinds[(unsigned char)entry->kind] = true;
        check_column(&pack, entry, expected, rows);
        for (uint32_t i = 0; i < rows; i++)
            assert_int_equal(pack.value[i], 0); /* ready for the next */
    }
    assert_true(kinds['u'] && kinds['d'] && kinds['r']);
    hl_pack_release(&pack);
}

static void what_is_too_large_is_the_most(void **state)
{
    (void)state;
    hl_pack pack = {0};
    assert_true(hl_pack_table(&pack, "t", 2));
    pack.value[0] = UINT64_MAX;
    pack.value[1] = UINT64_C(1) << 60;
    hl_pack_column(&pack, "c");
    const uint64_t expected[] = {HL_PACK_MOST, HL_PACK_MOST};
    check_column(&pack, &pack.entry[1], expected, 2);
    hl_pack_release(&pack);
}

static void a_pack_goes_back(void **state)
{
    (void)state;
    hl_pack pack = {0};
    hl_out out;
    hl_pack_table(&pack, "kept", 1);
    hl_pack_column(&pack, "c");
    hl_pack_mark mark = hl_pack_here(&pack);
    hl_pack_table(&pack, "gone", 3);
    hl_pack_column(&pack, "c");
    hl_pack_column_used(&pack, "zeros");
    hl_pack_back(&pack, mark);
    hl_pack_table(&pack, "new", 2);
    hl_pack_blob(&pack, "b", "xyz", 3);
    hl_out_begin(&out, (hl_terminal){.utf8 = true});
    hl_json json = hl_json_begin(&out);
    hl_json_object(&json, NULL);
    hl_pack_json(&pack, &json);
    hl_json_end(&json);
    hl_out_add(&out, "", 1);
    assert_null(strstr(out.at, "gone"));
    assert_null(strstr(out.at, "zeros"));
    assert_non_null(strstr(out.at, "\"b\": {\"at\": 1, \"bytes\": 3, \"kind\": \"b\"}"));
    hl_out_release(&out);
    hl_pack_release(&pack);
}

/* ------------------------------------------------------------------------------------------------------------ folding */

enum { STACKS = 400, STATS = 900, ALLOCATORS = 3 };

typedef struct forest {
    hl_model model;
    hl_rest rest;
} forest;

static const char *const allocator_names[ALLOCATORS] = {"malloc", "object", "mmap"};

static void make_forest(forest *f, uint32_t stacks, uint32_t stats, bool deep)
{
    *f = (forest){0};
    hl_model *m = &f->model;
    m->stacks.row = calloc(stacks, sizeof *m->stacks.row);
    m->stats.row = calloc(stats, sizeof *m->stats.row);
    m->allocators.row = calloc(ALLOCATORS, sizeof *m->allocators.row);
    f->rest.cells.row = calloc(stats, sizeof *f->rest.cells.row);
    assert_true(m->stacks.row && m->stats.row && m->allocators.row && f->rest.cells.row);
    m->stacks.n = stacks;
    m->stats.n = stats;
    m->allocators.n = ALLOCATORS;
    f->rest.cells.n = stats;
    for (uint32_t i = 0; i < ALLOCATORS; i++)
        m->allocators.row[i] = (hl_allocator_name){i, allocator_names[i]};
    for (uint32_t i = 1; i < stacks; i++)
        m->stacks.row[i].parent = deep ? i - 1 : (uint32_t)draw(draw(3) ? i : 1 + i / 4);
    for (uint32_t i = 0; i < stats; i++) {
        uint64_t size = draw(4) ? draw(1000) : draw(1000000);
        m->stats.row[i] = (hl_stat){.id = i,
                                    .stack = (uint32_t)draw(stacks),
                                    .process = (uint32_t)draw(2),
                                    .thread = draw(5) ? (uint32_t)draw(3) : HL_NO_ROW,
                                    .allocator = allocator_names[draw(ALLOCATORS)],
                                    .allocations = draw(9),
                                    .allocated = size,
                                    .live = draw(2) ? size : 0,
                                    .peak = draw(3) ? 0 : size,
                                    .tree_peak = draw(3) ? 0 : size / 2};
        f->rest.cells.row[i] = (hl_payload_cell){i, (uint32_t)draw(9), (uint32_t)draw(5), 1, size};
    }
}

static void free_forest(forest *f)
{
    free(f->model.stacks.row);
    free(f->model.stats.row);
    free(f->model.allocators.row);
    hl_rest_release(&f->rest);
}

/* A figure at each node with all below it: of the model where `moved` is null, else of the fold, under the model's rows. */
static void sum_up(const forest *f, const hl_fold *fold, size_t figure, uint32_t process, uint64_t *sums)
{
    const hl_model *m = &f->model;
    uint32_t n = fold ? fold->n : m->stacks.n;
    memset(sums, 0, n * sizeof *sums);
    for (uint32_t i = 0; i < m->stats.n; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&m->stats.row[i] + figure, sizeof value);
        if (m->stats.row[i].process == process)
            sums[fold ? fold->moved[m->stats.row[i].stack] : m->stats.row[i].stack] += value;
    }
    for (uint32_t i = n; i-- > 1;)
        sums[fold ? fold->parent[i] : m->stacks.row[i].parent] += sums[i];
}

static void check_fold(const forest *f, const float *weight, uint32_t most)
{
    static const size_t figures[] = {offsetof(hl_stat, allocated), offsetof(hl_stat, allocations),
                                     offsetof(hl_stat, live), offsetof(hl_stat, peak), offsetof(hl_stat, tree_peak)};
    const hl_model *m = &f->model;
    hl_fold fold;
    assert_int_equal(hl_fold_plan(&fold, m, weight, most), 0);
    assert_true(fold.n >= 1 && fold.n <= m->stacks.n && fold.kept >= 1 && fold.kept <= (most ? most : 1) + 1);
    assert_int_equal(fold.from[0], 0);
    uint32_t kept = 0;
    float lightest = 2;
    for (uint32_t i = 0; i < fold.n; i++) {
        assert_true(i == 0 || fold.parent[i] < i);
        bool is_kept = fold.from[i] != HL_NO_ROW;
        kept += is_kept;
        if (is_kept && i) {
            assert_int_equal(fold.moved[fold.from[i]], i);
            assert_int_equal(fold.from[fold.parent[i]], m->stacks.row[fold.from[i]].parent);
            lightest = weight[fold.from[i]] < lightest ? weight[fold.from[i]] : lightest;
        } else if (i) {
            assert_int_not_equal(fold.from[fold.parent[i]], HL_NO_ROW); /* no (other) below one */
            assert_int_equal(fold.parent[i], i - 1);
        }
    }
    assert_int_equal(kept, fold.kept);
    for (uint32_t i = 1; i < m->stacks.n; i++) {
        bool is_kept = fold.from[fold.moved[i]] == i;
        if (!is_kept) {
            assert_true(weight[i] <= lightest); /* none is left out for a lighter one */
            assert_true(weight[i] <= fold.share_most);
        }
    }
    uint64_t *was = calloc((size_t)m->stacks.n + 1, sizeof *was), *is = calloc((size_t)m->stacks.n + 1, sizeof *is);
    assert_true(was && is);
    for (size_t figure = 0; figure < sizeof figures / sizeof *figures; figure++) {
        for (uint32_t process = 0; process < 2; process++) {
            sum_up(f, NULL, figures[figure], process, was);
            sum_up(f, &fold, figures[figure], process, is);
            for (uint32_t i = 0; i < fold.n; i++)
                if (fold.from[i] != HL_NO_ROW)
                    assert_int_equal(is[i], was[fold.from[i]]);
        }
    }
    free(was);
    free(is);
    uint32_t before = 0;
    for (uint32_t i = 0; i < fold.rows; i++) { /* in order of their stacks, and each is one of its row's */
        uint32_t stack = fold.moved[m->stats.row[fold.first[i]].stack];
        assert_true(stack >= before);
        before = stack;
        assert_int_equal(fold.row[fold.first[i]], i);
    }
    for (uint32_t i = 0; i < m->stats.n; i++) {
        const hl_stat *mine = &m->stats.row[i], *first = &m->stats.row[fold.first[fold.row[i]]];
        assert_int_equal(fold.moved[mine->stack], fold.moved[first->stack]);
        assert_true(mine->process == first->process && mine->thread == first->thread &&
                    mine->allocator == first->allocator);
    }
    hl_fold_release(&fold);
}

static void folding_keeps_every_sum(void **state)
{
    (void)state;
    for (uint64_t round = 1; round < 60; round++) {
        seed = round * UINT64_C(0x9e3779b97f4a7c15) | 1;
        forest f;
        make_forest(&f, 1 + (uint32_t)draw(STACKS), 1 + (uint32_t)draw(STATS), round % 7 == 0);
        float *weight = hl_fold_weigh(&f.model, &f.rest);
        assert_non_null(weight);
        for (uint32_t i = 1; i < f.model.stacks.n; i++)
            assert_true(weight[i] <= weight[f.model.stacks.row[i].parent] && weight[i] <= 1);
        for (int part = 0; part < 8; part++)
            check_fold(&f, weight, (uint32_t)draw(f.model.stacks.n + 3));
        check_fold(&f, weight, 0);
        check_fold(&f, weight, f.model.stacks.n);
        free(weight);
        free_forest(&f);
    }
}

static void stacks_may_be_very_deep(void **state)
{
    (void)state;
    seed = 77;
    forest f;
    make_forest(&f, 300000, 1000, true);
    float *weight = hl_fold_weigh(&f.model, &f.rest);
    assert_non_null(weight);
    check_fold(&f, weight, 150000);
    free(weight);
    free_forest(&f);
}

static void nothing_at_all_can_be_folded(void **state)
{
    (void)state;
    hl_model_stack root = {0};
    hl_model m = {.stacks = {&root, 1}};
    hl_rest rest = {0};
    float *weight = hl_fold_weigh(&m, &rest);
    hl_fold fold;
    assert_non_null(weight);
    for (uint32_t most = 0; most < 3; most++) {
        assert_int_equal(hl_fold_plan(&fold, &m, weight, most), 0);
        assert_int_equal(fold.n, 1);
        assert_int_equal(fold.rows, 0);
        hl_fold_release(&fold);
    }
    free(weight);
}

/* ------------------------------------------------------------------------------------------------------------- budget */

static void a_payload_is_never_larger_than_asked(void **state)
{
    (void)state;
    char path[64], why[256];
    hl_synthetic_options options = hl_synthetic_defaults;
    options.nodes = 3000;
    options.stats = 6000;
    options.blocks = 60000;
    options.processes = 2;
    hl_synthetic *s = hl_synthetic_make(&options);
    snprintf(path, sizeof path, "/tmp/hl_test_payload_%d.heapline", (int)getpid());
    assert_true(s && hl_synthetic_write(s, path) == 0);
    hl_synthetic_free(s);
    hl_profile *profile;
    hl_model *model;
    assert_int_equal(hl_profile_open(&profile, path, why, sizeof why), 0);
    assert_int_equal(hl_model_load(&model, hl_profile_database(profile), HL_FRAMES_ALL, why, sizeof why), 0);
    hl_payload whole;
    assert_int_equal(hl_payload_make(&whole, model, &(hl_payload_options){.path = path}, why, sizeof why), 0);
    assert_int_equal(whole.folded_nodes, 0);
    assert_true(whole.bytes > 20000);
    int fitted = 0;
    for (size_t most = whole.bytes + 10; most > 500; most = most * 2 / 3) {
        hl_payload payload;
        int error =
            hl_payload_make(&payload, model, &(hl_payload_options){.path = path, .most_bytes = most}, why, sizeof why);
        assert_true(error == 0 || error == -EFBIG);
        if (!error)
            assert_true(payload.bytes <= most && (payload.bytes >= whole.bytes) == (payload.folded_nodes == 0));
        fitted += !error;
        hl_payload_release(&payload);
    }
    assert_true(fitted > 4);
    hl_payload_release(&whole);
    hl_model_release(model);
    hl_profile_close(profile);
    unlink(path);
}

static void what_is_built_in_can_stand_in_a_page(void **state)
{
    (void)state;
    const hl_bundle *bundle = hl_bundle_built_in();
    if (!bundle->script.bytes)
        skip(); /* built without it */
    hl_payload payload = {.at = (unsigned char *)"x", .bytes = 1, .title = (char *)"", .summary = (char *)""};
    hl_page page = {.bundle = bundle, .payload = &payload, .view = "overview"};
    FILE *file = tmpfile();
    uint64_t bytes;
    assert_non_null(file);
    assert_int_equal(hl_page_write(&page, fileno(file), &bytes), 0);
    assert_true(bytes <= hl_page_frame_bytes(bundle));
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_standard),
        cmocka_unit_test(base64_is_that_of_the_standard),
        cmocka_unit_test(broken_text_becomes_utf8),
        cmocka_unit_test(equal_names_are_one),
        cmocka_unit_test(columns_come_back),
        cmocka_unit_test(what_is_too_large_is_the_most),
        cmocka_unit_test(a_pack_goes_back),
        cmocka_unit_test(folding_keeps_every_sum),
        cmocka_unit_test(stacks_may_be_very_deep),
        cmocka_unit_test(nothing_at_all_can_be_folded),
        cmocka_unit_test(a_payload_is_never_larger_than_asked),
        cmocka_unit_test(what_is_built_in_can_stand_in_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
