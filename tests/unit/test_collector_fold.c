/* The budget of stacks, on random recursive descents: sums stay exact, at every node that is kept. */
#include "books_fixture.h"

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Each folding goes over all 65,536 names, with ThreadSanitizer in 20 ms; there is one thread here, and nothing new for it after
 * the first hundred. */
#if defined(__SANITIZE_THREAD__)
enum { ROUNDS = 1200 };
#else
enum { ROUNDS = 6000 };
#endif
enum { BUDGET = 256, BLOCKS = 3000, FUNCTIONS = 12, DEPTH = 9, KNOWN = 1 << 16 };
#define AT(n) (UINT64_C(0x7f0000000000) + (uint64_t)(n)*16)

typedef struct visitor {
    fixture *f;
    ring_writer *w;
    uint64_t known[KNOWN]; /* announced nodes, as the tracker remembers them */
    struct {
        uint64_t size;
        bool live;
        int first;
    } block[BLOCKS];
    uint64_t allocated[FUNCTIONS], freed[FUNCTIONS]; /* by the outermost function of the stack */
    uint64_t nodes;
} visitor;

static uint64_t enter(visitor *v, uint64_t parent, unsigned function)
{
    uint64_t id = hl_wire_mix(parent, 0x1000 + function * 0x100 + 2, 1);
    if (v->known[id % KNOWN] != id) {
        v->nodes++;
        ring_node(v->w, parent, 0x1000 + function * 0x100, 2, true);
        v->known[id % KNOWN] = id;
    }
    return id;
}

static void visit(visitor *v, uint64_t parent, int depth, int first)
{
    uint64_t r = next_random();
    unsigned function = (unsigned)(r % FUNCTIONS);
    uint64_t node = enter(v, parent, function);
    if (depth == 0)
        first = (int)function;
    v->w->stack = node;
    unsigned at = (unsigned)(r >> 8) % BLOCKS;
    if (v->block[at].live) {
        ring_free(v->w, AT(at));
        v->freed[v->block[at].first] += v->block[at].size;
    } else {
        v->block[at].size = (r >> 30) % 3000;
        v->block[at].first = first;
        ring_malloc(v->w, AT(at), v->block[at].size);
        v->allocated[first] += v->block[at].size;
    }
    v->block[at].live = !v->block[at].live;
    for (unsigned i = 0; depth < DEPTH && i < (r >> 20) % 4; i++)
        visit(v, node, depth + 1, first);
}

/* Sums below each child of the root, which are kept since they are heavy. */
static void assert_inclusive_sums(visitor *v)
{
    hl_batch *b = all_rows(v->f);
    const hl_tree *tree = &v->f->books->tree;
    uint64_t allocated[FUNCTIONS] = {0}, freed[FUNCTIONS] = {0}, early_allocated = 0, early_freed = 0;
    int exact = 0;
    for (size_t i = 0; i < b->stats.n; i++) {
        uint32_t node = b->stats.row[i].node;
        while (node > 1 && tree->node[node].parent != HL_NODE_TOP)
            node = tree->node[node].parent;
        if (tree->node[node].kind == HL_NODE_DEEPER) { /* light at first; what came later has a node again */
            early_allocated += b->stats.row[i].allocated;
            early_freed += b->stats.row[i].freed;
            continue;
        }
        const hl_text *name = &tree->code[tree->node[node].code].name;
        unsigned function = (unsigned)(name->at[0] - 'a');
        allocated[function] += b->stats.row[i].allocated;
        freed[function] += b->stats.row[i].freed;
    }
    for (int i = 0; i < FUNCTIONS; i++) {
        assert_true(allocated[i] <= v->allocated[i] && freed[i] <= v->freed[i]);
        early_allocated -= v->allocated[i] - allocated[i];
        early_freed -= v->freed[i] - freed[i];
        exact += allocated[i] == v->allocated[i] && freed[i] == v->freed[i];
    }
    assert_int_equal(early_allocated, 0);
    assert_int_equal(early_freed, 0);
    assert_true(exact > FUNCTIONS / 2);
}

static void recursive_descents_fold_and_add_up(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.books->stacks_kept = BUDGET;
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    for (unsigned i = 0; i < FUNCTIONS; i++)
        ring_code(&w, 0x1000 + i * 0x100, "visitor.py", (char[]){(char)('a' + i), 0});
    static visitor v;
    memset(&v, 0, sizeof v);
    v.f = &f;
    v.w = &w;
    uint32_t folds = 0;
    for (int round = 0; round < ROUNDS; round++) {
        visit(&v, ring_root(&w), 0, 0);
        f.now_ns += 300000;
        pass(&f);
        if (hl_fold_is_due(f.books, HL_FOLD_WHILE_READING)) {
            read_all(&f);
            hl_fold(f.books);
            folds++;
            assert_true(f.books->rows.kept <= BUDGET + 2);
            assert_true(f.books->tree.count <= 3 * BUDGET);
            if (folds % 10 == 1) {
                assert_adds_up(&f);
                assert_inclusive_sums(&v);
            }
        }
    }
    read_all(&f);
    assert_true(folds > 20);
    assert_true(f.books->folded_stacks > 10000);
    assert_true(v.nodes > 10000);
    assert_adds_up(&f);
    assert_inclusive_sums(&v);
    assert_int_equal(first_process(&f)->unknown_frees, 0);
    assert_int_equal(f.books->tree.stand_ins, 0);   /* no name was forgotten too early */
    assert_true(f.books->rows.count < 40 * BUDGET); /* numbers are used again */
    close_fixture(&f);
}

/* A row for each thread at each node: they have a bound, and folding does not become due again at once. */
static void rows_of_many_threads_have_a_bound(void **state)
{
    enum { THREADS = 100, STACKS = BUDGET / 2, ROWS_AT_MOST = 8 * BUDGET };
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.books->stacks_kept = BUDGET;
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    uint32_t folds = 0;
    for (int thread = 0; thread < THREADS; thread++) {
        ring_writer w = ring_begin(&p, 1 + thread);
        ring_code(&w, 0x1000, "a.py", "a");
        for (uint32_t i = 0; i < STACKS; i++) {
            w.stack = ring_node(&w, ring_root(&w), 0x1000, 4 + 2 * i, true);
            ring_malloc(&w, AT(thread * STACKS + i), 10 + i);
            f.now_ns += 10000;
            if (i % 10)
                continue;
            read_all(&f);
            if (hl_fold_is_due(f.books, HL_FOLD_WHILE_READING)) {
                hl_fold(f.books);
                folds++;
                assert_true(f.books->rows.kept <= ROWS_AT_MOST);
                assert_false(hl_fold_is_due(f.books, HL_FOLD_WHILE_READING));
            }
        }
        ring_end(&w);
    }
    read_all(&f);
    assert_true(folds > 2 && folds < 40);
    assert_true(f.books->rows.kept <= ROWS_AT_MOST * 3 / 2 + 20);
    assert_adds_up(&f);
    close_fixture(&f);
}

/* Blocks of folded rows are freed long after: their numbers must not have been given away. */
static void blocks_outlive_their_row(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.books->stacks_kept = BUDGET;
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, 0x1000, "a.py", "a");
    uint64_t parent = ring_root(&w);
    for (int i = 0; i < 40; i++)
        parent = ring_node(&w, parent, 0x1000, 2, true);
    for (uint32_t i = 0; i < 5000; i++) {
        w.stack = ring_node(&w, i % 3 ? parent : ring_root(&w), 0x1000, 4 + 2 * i, true);
        ring_malloc(&w, AT(i), 10 + i % 7);
        ring_map_word(&w, HL_WORD_MAP, 0x10000000 + i * 8192ul, HL_MAP_HEAP, 8192);
        f.now_ns += 1000000;
        if (i % 50 == 0) {
            read_all(&f);
            if (hl_fold_is_due(f.books, HL_FOLD_WHILE_READING))
                hl_fold(f.books);
        }
    }
    read_all(&f);
    hl_fold(f.books);
    assert_adds_up(&f);
    for (uint32_t i = 0; i < 5000; i++) {
        ring_free(&w, AT(i));
        ring_map_word(&w, HL_WORD_UNMAP, 0x10000000 + i * 8192ul, HL_MAP_HEAP, 8192);
        f.now_ns += 100000;
    }
    read_all(&f);
    assert_adds_up(&f);
    assert_int_equal(first_process(&f)->heap, 0);
    assert_int_equal(first_process(&f)->frees, 10000);
    hl_batch *b = all_rows(&f);
    for (size_t i = 0; i < b->stats.n; i++) {
        assert_int_equal(b->stats.row[i].live, 0);
        assert_int_equal(b->stats.row[i].live_blocks, 0);
    }
    close_fixture(&f);
}

/* Deeper than what is brought back: what is charged to "(deeper)" at once is counted as folded, each stack once. */
static void stacks_that_cannot_come_back_are_counted(void **state)
{
    enum { DEEP = 1100 };
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.books->stacks_kept = BUDGET;
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, 0x1000, "a.py", "a");
    uint64_t deep = ring_root(&w);
    for (uint32_t i = 0; i < DEEP; i++)
        deep = ring_node(&w, deep, 0x1000, 2, true);
    w.stack = deep;
    ring_malloc(&w, AT(1), 1);
    for (uint32_t i = 0; i < BUDGET; i++) {
        w.stack = ring_node(&w, ring_root(&w), 0x1000, 4 + 2 * i, true);
        ring_malloc(&w, AT(100 + i), 1000);
    }
    read_all(&f);
    hl_fold(f.books);
    uint64_t folded = f.books->folded_stacks;
    assert_true(folded >= 1);
    uint32_t nodes = f.books->tree.count;
    for (uint32_t round = 0; round < 3; round++) {
        w.stack = deep; /* counted by the folding */
        ring_malloc(&w, AT(10000 + round), 10);
        for (uint32_t i = 0; i < 20; i++) {
            w.stack = ring_node(&w, deep, 0x1000, 4 + 2 * i, round == 0);
            ring_malloc(&w, AT(1000 + 100 * round + i), 10);
            ring_alloc(&w, HL_WORD_ALLOC + HL_PYOBJ, AT(2000 + 100 * round + i), 10);
        }
        f.now_ns += 20000000;
        read_all(&f);
        assert_int_equal(f.books->folded_stacks, folded + 20);
        assert_int_equal(f.books->tree.count, nodes);
        assert_adds_up(&f);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recursive_descents_fold_and_add_up),
        cmocka_unit_test(rows_of_many_threads_have_a_bound),
        cmocka_unit_test(blocks_outlive_their_row),
        cmocka_unit_test(stacks_that_cannot_come_back_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
