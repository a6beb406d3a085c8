/* Views of made-up profiles add up to the profile's own totals, whatever is selected. */
#include "model.h"
#include "synthetic.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
    char path[64], why[256];
    hl_profile *profile;
    hl_model *model;
} fixture;

static void open_made_up(fixture *f, uint32_t processes, uint32_t cell_ticks)
{
    hl_synthetic_options options = hl_synthetic_defaults;
    options.processes = processes;
    options.cell_ticks = cell_ticks;
    options.folded = true;
    hl_synthetic *s = hl_synthetic_make(&options);
    assert_non_null(s);
    snprintf(f->path, sizeof f->path, "/tmp/hl_test_report_%d.heapline", (int)getpid());
    assert_int_equal(hl_synthetic_write(s, f->path), 0);
    hl_synthetic_free(s);
    assert_int_equal(hl_profile_open(&f->profile, f->path, f->why, sizeof f->why), 0);
    assert_int_equal(hl_model_load(&f->model, hl_profile_database(f->profile), HL_FRAMES_ALL, f->why, sizeof f->why),
                     0);
}

static void close_made_up(fixture *f)
{
    hl_model_release(f->model);
    hl_profile_close(f->profile);
    unlink(f->path);
}

/* Opens the view, checks all its sums against each other and the profile's total, returns its total. */
static hl_weight checked(fixture *f, hl_selection selection)
{
    hl_view view;
    assert_int_equal(hl_view_open(&view, f->model, &selection, f->why, sizeof f->why), 0);
    uint64_t expected;
    if (hl_view_check(&view, &expected))
        assert_int_equal(view.total.bytes, expected);
    for (int leaf = 0; leaf < 2; leaf++) {
        hl_weight sum = {0}, *sites = hl_view_by_site(&view, leaf);
        assert_non_null(sites);
        for (uint32_t i = 0; i < f->model->sites.n; i++) {
            sum.bytes += sites[i].bytes;
            sum.blocks += sites[i].blocks;
        }
        free(sites);
        assert_int_equal(sum.bytes, view.total.bytes);
        assert_int_equal(sum.blocks, view.total.blocks);
    }
    hl_weight total = view.total;
    hl_view_release(&view);
    return total;
}

static void check_all(uint32_t processes, uint32_t cell_ticks)
{
    fixture f;
    open_made_up(&f, processes, cell_ticks);
    const hl_model *m = f.model;
    const hl_moment moments[] = {HL_AT_PEAK, HL_AT_END, HL_LEAKED, HL_ALLOCATED};
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        hl_weight whole = checked(&f, (hl_selection){.moment = moments[i]}), parts = {0};
        assert_true(whole.bytes > 0);
        for (uint32_t p = 0; p < m->processes.n; p++) {
            hl_weight part = checked(&f, (hl_selection){.moment = moments[i], .pid = m->processes.row[p].pid});
            parts.bytes += part.bytes;
            parts.blocks += part.blocks;
        }
        if (moments[i] != HL_AT_PEAK || processes == 1) { /* each process has its own moment of peak */
            assert_int_equal(parts.bytes, whole.bytes);
            assert_int_equal(parts.blocks, whole.blocks);
        }
        hl_weight threads = {0};
        for (uint32_t t = 0; t < m->threads.n; t++) {
            char tid[24];
            snprintf(tid, sizeof tid, "%lld", (long long)m->threads.row[t].tid);
            hl_weight part = checked(&f, (hl_selection){.moment = moments[i], .thread = tid});
            threads.bytes += part.bytes;
            threads.blocks += part.blocks;
        }
        assert_int_equal(threads.bytes, whole.bytes);
        assert_int_equal(threads.blocks, whole.blocks);
    }
    for (int percent = 0; percent <= 100; percent++) /* checked against the curve, which knows nothing of cells */
        checked(&f, (hl_selection){.moment = HL_AT_TIME, .time_ns = m->now_ns / 100 * (uint64_t)percent});
    close_made_up(&f);
}

static void every_selection_of_one_process_adds_up(void **state)
{
    (void)state;
    check_all(1, 1);
}

static void every_selection_of_a_tree_adds_up(void **state)
{
    (void)state;
    check_all(3, 1);
}

static void every_selection_adds_up_when_time_is_coarse(void **state)
{
    (void)state;
    check_all(2, 8);
}

static void temporaries_grow_with_the_distance_and_stop_at_what_was_freed(void **state)
{
    (void)state;
    fixture f;
    open_made_up(&f, 1, 1);
    hl_weight before = {0};
    for (uint64_t within = 0; within <= 1024; within = within ? within * 2 : 1) {
        hl_weight now = checked(&f, (hl_selection){.moment = HL_TEMPORARY, .within = within});
        assert_true(now.bytes >= before.bytes && now.blocks >= before.blocks);
        before = now;
    }
    assert_true(before.blocks > 0 && before.blocks <= f.model->processes.row[0].frees);
    hl_view view; /* between two powers of two the lower one counts, and the view says so */
    assert_int_equal(
        hl_view_open(&view, f.model, &(hl_selection){.moment = HL_TEMPORARY, .within = 100}, f.why, sizeof f.why), 0);
    assert_int_equal(view.selection.within, 64);
    hl_view_release(&view);
    close_made_up(&f);
}

static void sizes_count_every_allocation_once(void **state)
{
    (void)state;
    fixture f;
    open_made_up(&f, 2, 1);
    hl_view view;
    assert_int_equal(hl_view_open(&view, f.model, &(hl_selection){0}, f.why, sizeof f.why), 0);
    uint64_t buckets[HL_SIZE_BUCKETS], sum = 0, allocations = 0;
    assert_int_equal(hl_view_sizes(&view, buckets), 0);
    for (int i = 0; i < HL_SIZE_BUCKETS; i++)
        sum += buckets[i];
    for (uint32_t i = 0; i < f.model->processes.n; i++)
        allocations += f.model->processes.row[i].allocations;
    assert_int_equal(sum, allocations);
    hl_view_release(&view);
    close_made_up(&f);
}

static void unknown_processes_and_threads_are_refused_in_words(void **state)
{
    (void)state;
    fixture f;
    open_made_up(&f, 1, 1);
    hl_view view;
    assert_int_equal(hl_view_open(&view, f.model, &(hl_selection){.pid = 1}, f.why, sizeof f.why), -ENOENT);
    assert_non_null(strstr(f.why, "no process 1"));
    assert_int_equal(hl_view_open(&view, f.model, &(hl_selection){.thread = "nobody"}, f.why, sizeof f.why), -ENOENT);
    assert_non_null(strstr(f.why, "nobody"));
    close_made_up(&f);
}

static void yours_is_the_innermost_frame_of_a_user_file(void **state)
{
    (void)state;
    fixture f;
    open_made_up(&f, 1, 1);
    const hl_model *m = f.model;
    uint32_t seen = 0;
    for (uint32_t i = 1; i < m->stacks.n; i++) {
        uint32_t expected = HL_NO_ROW;
        for (uint32_t at = i; at && expected == HL_NO_ROW; at = m->stacks.row[at].parent) {
            const hl_model_file *file =
                m->stacks.row[at].kind == HL_STACK_PYTHON ? hl_site_file(m, m->stacks.row[at].leaf) : NULL;
            if (file && file->origin == HL_ORIGIN_USER && file->path[0] != '<')
                expected = m->stacks.row[at].leaf;
        }
        const hl_model_file *file = hl_site_file(m, m->stacks.row[i].yours);
        if (expected != HL_NO_ROW && file && file->path[0] != '<') {
            assert_int_equal(m->stacks.row[i].yours, expected);
            seen += expected != m->stacks.row[i].leaf;
        }
    }
    assert_true(seen > 0); /* some frames of libraries are charged to their callers */
    close_made_up(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_selection_of_one_process_adds_up),
        cmocka_unit_test(every_selection_of_a_tree_adds_up),
        cmocka_unit_test(every_selection_adds_up_when_time_is_coarse),
        cmocka_unit_test(temporaries_grow_with_the_distance_and_stop_at_what_was_freed),
        cmocka_unit_test(sizes_count_every_allocation_once),
        cmocka_unit_test(unknown_processes_and_threads_are_refused_in_words),
        cmocka_unit_test(yours_is_the_innermost_frame_of_a_user_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
