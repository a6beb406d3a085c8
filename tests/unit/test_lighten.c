/* The budget of rows, with a thousand short processes beside a busy one: sums stay exact, and what is heavy keeps its line. */
#include "books_fixture.h"

enum {
    BUDGET = 4096, /* of stacks, and of rows */
    PROCESSES = 1000,
    STACKS = 60, /* of each short one; the last of them is its heavy one */
    LINES = 200, /* of the busy one */
    FIRST_PID = 1 << 29,
    CODE = 0x1000,
    HEAVY_BYTES = 100000,
    LINE_BYTES = 5000,
};
#define AT(n) (UINT64_C(0x7f0000000000) + (uint64_t)(n)*16)

typedef struct sums {
    uint64_t allocated, freed;
} sums;

static sums sums_at(const fixture *f, uint32_t process, uint32_t instruction)
{
    const hl_rows *rows = &f->books->rows;
    sums sum = {0};
    for (uint32_t row = 1; row < rows->count; row++) {
        const hl_key *key = &rows->key[row];
        if (key->process != process || key->forward || key->node & HL_STAND_IN)
            continue;
        const hl_node *node = &f->books->tree.node[key->node];
        if (node->kind != HL_NODE_PYTHON || node->instruction != instruction)
            continue;
        sum.allocated += rows->row[row].allocated;
        sum.freed += rows->row[row].freed;
    }
    return sum;
}

static void fold_if_due(fixture *f, uint32_t *folds)
{
    if (!hl_fold_is_due(f->books, HL_FOLD_WHILE_READING))
        return;
    hl_fold(f->books);
    ++*folds;
    assert_true(f->books->rows.kept <= BUDGET);
    assert_false(hl_fold_is_due(f->books, HL_FOLD_WHILE_READING));
}

/* The busy process goes through all its lines; what it had allocated there before is freed. */
static void be_busy(ring_writer *w, bool first)
{
    for (uint32_t i = 0; i < LINES; i++) {
        if (!first)
            ring_free(w, AT(i));
        w->stack = ring_node(w, ring_root(w), CODE, 2 + 2 * i, first);
        ring_malloc(w, AT(i), LINE_BYTES + i);
    }
}

static void live_shortly(fixture *f, uint32_t number)
{
    ring_process p = ring_join(f->mapped, FIRST_PID + (int32_t)number, getpid(), HL_CHILD_SPAWN);
    ring_writer w = ring_begin(&p, FIRST_PID + (int32_t)number);
    ring_code(&w, CODE, "short.py", "f");
    uint64_t parent = ring_root(&w);
    for (uint32_t i = 0; i < STACKS; i++) {
        bool heavy = i == STACKS - 1;
        w.stack = ring_node(&w, i % 8 && !heavy ? parent : ring_root(&w), CODE, 2 + 2 * i, true);
        parent = w.stack;
        ring_malloc(&w, AT(2 * i), heavy ? HEAVY_BYTES : 10 + i);
        if (!heavy)
            ring_alloc(&w, HL_WORD_ALLOC + HL_PYOBJ, AT(2 * i + 1), 20);
        if (i % 3 && !heavy)
            ring_free(&w, AT(2 * i + 1));
    }
    ring_end(&w);
    atomic_store(&p.slot->state, HL_PROCESS_EXITED);
    for (int i = 0; i < 3;
         i++) { /* that nobody has this pid is seen, the rings are read to their end, and it is gone */
        read_all(f);
        hl_processes_check(f->books);
    }
}

static void rows_of_a_thousand_processes_have_a_bound(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.books->stacks_kept = BUDGET;
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, CODE, "busy.py", "g");
    uint32_t folds = 0, most_rows = 0, rounds = 0;
    for (uint32_t i = 0; i < PROCESSES; i++) {
        if (i % 20 == 0) {
            be_busy(&w, i == 0);
            rounds++;
        }
        live_shortly(&f, i);
        f.now_ns += 5000000;
        fold_if_due(&f, &folds);
        if (f.books->rows.count > most_rows)
            most_rows = f.books->rows.count;
        if (folds && i % 250 == 0)
            assert_adds_up(&f);
    }
    read_all(&f);
    hl_fold(f.books);
    assert_adds_up(&f);
    assert_int_equal(f.books->process_count, 1 + PROCESSES);
    assert_int_equal(f.books->image_count, 1);
    assert_true(folds >= 10 && folds < 100);
    assert_true(f.books->rows.kept <= BUDGET);
    assert_true(most_rows < 5 * BUDGET); /* numbers are used again */
    assert_true(f.books->folded_rows > PROCESSES * STACKS / 2);
    assert_true(f.books->folded_stacks > 0);

    for (uint32_t i = 0; i < LINES; i++) {
        sums sum = sums_at(&f, 1, 2 + 2 * i);
        assert_int_equal(sum.allocated, (uint64_t)rounds * (LINE_BYTES + i));
        assert_int_equal(sum.freed, (uint64_t)(rounds - 1) * (LINE_BYTES + i));
    }
    for (uint32_t id = 2; id <= f.books->process_count; id++)
        assert_int_equal(sums_at(&f, id, 2 + 2 * (STACKS - 1)).allocated, HEAVY_BYTES);
    /* A node is there for its rows, or for those below it, or is a "(deeper)". */
    const hl_tree *tree = &f.books->tree;
    for (uint32_t node = tree->count; node-- > 2;) {
        if (tree->node[node].kind == HL_NODE_PYTHON)
            assert_true(tree->node[node].row || tree->node[node].instruction < 2 + 2 * (STACKS - 1));
    }
    close_fixture(&f);
}

/* One stack in one thread, light when it was folded and then all that its thread does: it gets its line again, although the
 * ring says nothing more of its name. */
static void a_folded_stack_that_goes_on_gets_its_line_again(void **state)
{
    enum { THREADS = 80 };
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.books->stacks_kept = 256;
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, CODE, "a.py", "a");
    w.stack = ring_node(&w, ring_node(&w, ring_root(&w), CODE, 2, true), CODE, 4, true);
    ring_malloc(&w, AT(1), 1);
    for (uint32_t thread = 0; thread < THREADS; thread++) {
        ring_writer other = ring_begin(&p, 2 + (int32_t)thread);
        for (uint32_t i = 0; i < 8; i++) {
            other.stack = ring_node(&other, ring_root(&other), CODE, 100 + 2 * i, thread == 0);
            ring_malloc(&other, AT(100 + thread * 10 + i), 1000);
        }
        ring_end(&other);
    }
    read_all(&f);
    hl_fold(f.books);
    assert_true(f.books->rows.kept <= 256);
    assert_int_equal(sums_at(&f, 1, 4).allocated, 0);
    ring_malloc(&w, AT(2), 1000000);
    read_all(&f);
    assert_int_equal(sums_at(&f, 1, 4).allocated, 1000000);
    assert_adds_up(&f);
    ring_free(&w, AT(1));
    ring_free(&w, AT(2));
    read_all(&f);
    assert_int_equal(sums_at(&f, 1, 4).freed, 1000000);
    assert_adds_up(&f);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_thousand_processes_have_a_bound),
        cmocka_unit_test(a_folded_stack_that_goes_on_gets_its_line_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
