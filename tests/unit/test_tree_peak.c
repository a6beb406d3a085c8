/*
 * The peak of a tree of processes, and what held it, against a plain model; and the order in which the books take the
 * events of processes that fork, execute and wait for each other.
 */
#include "books_fixture.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, NOBODY_AT_ALL = 0x3ffff000 }; /* pids from there on are nobody's */

#define AT(n) (UINT64_C(0x7f0000000000) + (uint64_t)(n)*16)

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void ring_waited(ring_writer *w, int32_t pid, int status)
{
    ring_put(w, HL_WORD(HL_WORD_WAITED, (uint32_t)pid), false, 0, &(uint64_t){(uint32_t)status}, 1);
}

static void ring_child(ring_writer *w, int32_t pid)
{
    ring_put(w, HL_WORD(HL_WORD_CHILD, (uint64_t)HL_CHILD_FORK << 32 | (uint32_t)pid), false, 0, NULL, 0);
}

/* -------------------------------------------------------------------------------------------------- against a model */

enum { AT_ONCE = 4, LIVES = 24, NODES = 3, BLOCKS = 60, MOST_STATS = 4096 };

typedef struct life { /* a process of the model */
    pid_t pid;
    ring_process ring;
    ring_writer writer;
    uint64_t node[NODES], size[BLOCKS];
    uint8_t held_by[BLOCKS]; /* node + 1; 0: no block */
    uint64_t live[NODES], blocks[NODES], peak_live[NODES], peak_blocks[NODES];
} life;

typedef struct model {
    life lives[LIVES];
    bool running[LIVES];
    uint64_t heap, blocks, peak, peak_blocks, largest;
} model;

static void begin_life(fixture *f, model *m, int i)
{
    life *l = &m->lives[i];
    *l = (life){.pid = fork()};
    if (l->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    l->ring = ring_join(f->mapped, l->pid, getpid(), HL_CHILD_FORK);
    l->writer = ring_begin(&l->ring, l->pid);
    l->writer.process = &l->ring;
    ring_code(&l->writer, 0x1000, "a.py", "f");
    for (int n = 0; n < NODES; n++)
        l->node[n] = ring_node(&l->writer, ring_root(&l->writer), 0x1000, (uint32_t)n * 2, true);
    m->running[i] = true;
}

static void end_life(fixture *f, model *m, int i)
{
    kill(m->lives[i].pid, SIGKILL);
    assert_int_equal(waitpid(m->lives[i].pid, NULL, 0), m->lives[i].pid);
    for (int k = 0; k < 3; k++) {
        pass(f);
        hl_processes_check(f->books);
    }
    m->running[i] = false;
    for (int n = 0; n < NODES; n++) {
        m->heap -= m->lives[i].live[n];
        m->blocks -= m->lives[i].blocks[n];
    }
}

static void changed(model *m, life *l, int n, uint64_t less, uint64_t more)
{
    l->live[n] += more - less;
    m->heap += more - less;
    if (m->heap <= m->peak)
        return;
    m->peak = m->heap;
    m->peak_blocks = m->blocks;
    for (int i = 0; i < LIVES; i++) {
        for (int k = 0; k < NODES; k++) {
            m->lives[i].peak_live[k] = m->running[i] ? m->lives[i].live[k] : 0;
            m->lives[i].peak_blocks[k] = m->running[i] ? m->lives[i].blocks[k] : 0;
        }
    }
}

static void one_event(model *m, life *l)
{
    uint64_t r = next_random(), bytes = (r >> 20) % 5000;
    int at = (int)((r >> 8) % BLOCKS), n = (int)(r % NODES);
    l->writer.stack = l->node[n];
    if (l->held_by[at]) {
        int holder = l->held_by[at] - 1;
        ring_free(&l->writer, AT(at));
        l->held_by[at] = 0;
        l->blocks[holder]--;
        m->blocks--;
        changed(m, l, holder, l->size[at], 0);
    } else {
        ring_malloc(&l->writer, AT(at), bytes);
        l->held_by[at] = (uint8_t)(n + 1);
        l->size[at] = bytes;
        l->blocks[n]++;
        m->blocks++;
        changed(m, l, n, 0, bytes);
    }
}

/* Checks what the profile would hold after this checkpoint: it keeps what it was told of a row until it is told anew. */
static void checkpoint(fixture *f, model *m, hl_batch_stat *told)
{
    hl_batch_clear(&f->batch);
    hl_books_fill(f->books, &f->batch, false, false);
    for (size_t i = 0; i < f->batch.stats.n; i++) {
        assert_in_range(f->batch.stats.row[i].id, 1, MOST_STATS - 1);
        told[f->batch.stats.row[i].id] = f->batch.stats.row[i];
    }
    assert_int_equal(f->batch.meta.peak, m->peak);
    assert_int_equal(f->batch.meta.peak_blocks, m->peak_blocks);
    assert_true(f->batch.meta.peak_bound >= m->peak);
    uint64_t sum = 0, blocks = 0;
    for (int i = 0; i < MOST_STATS; i++) {
        sum += (uint64_t)told[i].tree_peak;
        blocks += told[i].tree_peak_blocks;
    }
    assert_int_equal(sum, m->peak);
    assert_int_equal(blocks, m->peak_blocks);
    for (int i = 0; i < LIVES; i++) {
        for (int n = 0; m->lives[i].pid && n < NODES; n++) {
            for (int k = 0; k < MOST_STATS; k++) {
                if (!told[k].id || f->books->processes[told[k].process - 1]->pid != m->lives[i].pid ||
                    f->books->tree.node[told[k].node].instruction != (uint32_t)n * 2)
                    continue;
                assert_int_equal(told[k].tree_peak, m->lives[i].peak_live[n]);
                assert_int_equal(told[k].tree_peak_blocks, m->lives[i].peak_blocks[n]);
            }
        }
    }
}

static void processes_that_take_turns_agree_with_a_model(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    static model m;
    static hl_batch_stat told[MOST_STATS];
    int begun = 0, slot[AT_ONCE], turns = 0;
    for (int i = 0; i < AT_ONCE; i++)
        slot[i] = -1;
    while (begun < LIVES) {
        uint64_t r = next_random();
        int s = (int)(r % AT_ONCE);
        if (slot[s] < 0) {
            if (begun == 1 && turns < 40)
                continue; /* one process alone at first */
            begin_life(&f, &m, begun);
            slot[s] = begun++;
        } else if ((r >> 10) % 60 == 0 && turns > 100) {
            end_life(&f, &m, slot[s]);
            slot[s] = -1;
            continue;
        }
        for (uint64_t k = 0; k < (r >> 20) % 40; k++)
            one_event(&m, &m.lives[slot[s]]);
        turns++;
        f.now_ns += (r >> 30) % 15000000;
        read_all(&f); /* before anybody else's turn: so the books' order is the model's */
        if ((r >> 50) % 4 == 0)
            checkpoint(&f, &m, told);
    }
    checkpoint(&f, &m, told);
    assert_adds_up(&f);
    for (int i = 0; i < LIVES; i++) {
        if (m.running[i])
            end_life(&f, &m, i);
    }
    checkpoint(&f, &m, told);
    assert_int_equal(f.books->tree_heap, 0);
    assert_int_equal(f.books->tree_blocks, 0);
    close_fixture(&f);
}

/* ----------------------------------------------------------------------------------------------------------- orders */

static void peak_of_the_first_process_counts_also_when_others_come_later(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer v = ring_begin(&p, 1);
    ring_malloc(&v, AT(1), 9 * MIB);
    ring_free(&v, AT(1));
    read_all(&f);
    ring_process q = ring_join(f.mapped, getppid(), 1, 0);
    ring_writer w = ring_begin(&q, 2);
    ring_malloc(&w, AT(1), 2 * MIB);
    read_all(&f);
    hl_batch *b = all_rows(&f);
    assert_int_equal(b->meta.peak, 9 * MIB);
    assert_int_equal(b->stats.n, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(b->stats.row[i].tree_peak, b->stats.row[i].process == 1 ? 9 * MIB : 0);
    ring_malloc(&v, AT(1), 8 * MIB);
    read_all(&f);
    b = all_rows(&f);
    assert_int_equal(b->meta.peak, 10 * MIB);
    assert_int_equal(b->stats.row[0].tree_peak + b->stats.row[1].tree_peak, 10 * MIB);
    close_fixture(&f);
}

/* Children that live one after the other, each waited for, all read in one pass: what each does comes between its parent's
 * fork and wait. `nested`: each child's child does the same. */
static void what_a_child_does_comes_before_its_parents_wait(void **state)
{
    (void)state;
    enum { CHILDREN = 10 };
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer v = ring_begin(&p, 1);
    ring_malloc(&v, AT(1), 5 * MIB);
    read_all(&f);
    for (int i = 0; i < CHILDREN; i++) {
        int32_t pid = NOBODY_AT_ALL + 2 * i, grandchild = pid + 1;
        ring_child(&v, pid);
        ring_process q = ring_join(f.mapped, pid, getpid(), HL_CHILD_FORK);
        ring_writer w = ring_begin(&q, pid);
        ring_malloc(&w, AT(1), 3 * MIB);
        ring_child(&w, grandchild);
        ring_process r = ring_join(f.mapped, grandchild, pid, HL_CHILD_FORK);
        ring_writer u = ring_begin(&r, grandchild);
        ring_malloc(&u, AT(1), 1 * MIB);
        ring_malloc(&u, AT(2), 100);
        ring_free(&u, AT(2));
        atomic_store(&r.slot->state, HL_PROCESS_EXITED);
        ring_waited(&w, grandchild, 3 << 8);
        ring_malloc(&w, AT(3), 200); /* less than what the grandchild took back */
        atomic_store(&q.slot->state, HL_PROCESS_EXITED);
        ring_waited(&v, pid, 9);
        ring_free(&v, AT(1)); /* for a moment nobody has anything */
        ring_malloc(&v, AT(1), 5 * MIB);
    }
    read_all(&f);
    assert_int_equal(f.books->process_count, 1 + 2 * CHILDREN);
    hl_batch *b = all_rows(&f);
    assert_int_equal(b->meta.peak, 9 * MIB + 100);
    assert_int_equal(b->meta.peak_blocks, 4);
    int64_t sum = 0;
    for (size_t i = 0; i < b->stats.n; i++)
        sum += b->stats.row[i].tree_peak;
    assert_int_equal(sum, 9 * MIB + 100);
    assert_int_equal(f.books->tree_heap, 5 * MIB);
    for (int i = 0; i < 3; i++) {
        pass(&f);
        hl_processes_check(f.books);
    }
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(hl_process_of_pid(f.books, NOBODY_AT_ALL + 2 * i)->ended, HL_ENDED_SIGNAL);
        assert_int_equal(hl_process_of_pid(f.books, NOBODY_AT_ALL + 2 * i + 1)->exit_status, 3);
    }
    assert_int_equal(f.books->image_count, 1);
    assert_int_equal(f.books->tree_heap, 5 * MIB);
    assert_adds_up(&f);
    close_fixture(&f);
}

/* A pid that is used again before the first life's end was read: each wait is for the first that nobody waited for. */
static void two_lives_of_one_pid_are_waited_for_in_their_order(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer v = ring_begin(&p, 1);
    ring_malloc(&v, AT(1), 10);
    read_all(&f);
    for (int i = 0; i < 2; i++) {
        ring_child(&v, NOBODY_AT_ALL);
        ring_process q = ring_join(f.mapped, NOBODY_AT_ALL, getpid(), HL_CHILD_FORK);
        ring_writer w = ring_begin(&q, NOBODY_AT_ALL);
        ring_malloc(&w, AT(1), (uint64_t)(1 + i) * MIB);
        atomic_store(&q.slot->state, HL_PROCESS_EXITED);
        ring_waited(&v, NOBODY_AT_ALL, (20 + i) << 8);
    }
    read_all(&f);
    assert_int_equal(f.books->process_count, 3);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_equal(f.books->processes[i]->exit_status, 19 + i);
        assert_int_equal(f.books->processes[i]->peak, i * MIB);
    }
    assert_int_equal(f.books->tree_peak, 2 * MIB + 10);
    close_fixture(&f);
}

static void an_image_is_gone_before_the_next_one_begins(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer v = ring_begin(&p, 1);
    ring_malloc(&v, AT(1), 10 * MIB);
    ring_map_word(&v, HL_WORD_MAP, 0x10000, HL_MAP_HEAP, 2 * MIB);
    read_all(&f);
    ring_malloc(&v, AT(2), 1 * MIB);
    ring_process q = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&q, 1);
    ring_malloc(&w, AT(1), 4 * MIB);
    read_all(&f); /* no look at the processes between */
    assert_int_equal(f.books->process_count, 1);
    assert_int_equal(first_process(&f)->peak, 13 * MIB);
    assert_int_equal(first_process(&f)->heap, 4 * MIB);
    for (int i = 0; i < 3; i++) {
        pass(&f);
        hl_processes_check(f.books);
    }
    assert_int_equal(f.books->image_count, 1);
    assert_int_equal(first_process(&f)->heap, 4 * MIB);
    assert_int_equal(first_process(&f)->frees, 3);
    assert_adds_up(&f);
    close_fixture(&f);
}

/* All within one pass: what is read out of an image that was replaced tells of a wait, and that look finds the next image of
 * the same process. Each is begun once, and each is gone before the next has anything. */
static void images_that_are_found_while_another_is_read_out_are_begun_once(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer u = ring_begin(&p, 1);
    ring_malloc(&u, AT(1), 10 * MIB);
    read_all(&f);
    ring_child(&u, NOBODY_AT_ALL);
    ring_process child = ring_join(f.mapped, NOBODY_AT_ALL, getpid(), HL_CHILD_FORK);
    ring_writer c = ring_begin(&child, NOBODY_AT_ALL);
    ring_malloc(&c, AT(1), 3 * MIB);
    atomic_store(&child.slot->state, HL_PROCESS_EXITED);
    ring_waited(&u, NOBODY_AT_ALL, 7 << 8);
    ring_process q = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer v = ring_begin(&q, 1);
    ring_malloc(&v, AT(1), 6 * MIB);
    ring_process r = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer w = ring_begin(&r, 1);
    ring_malloc(&w, AT(1), 8 * MIB);
    read_all(&f);
    for (int i = 0; i < 3; i++) {
        pass(&f);
        hl_processes_check(f.books);
    }
    assert_int_equal(f.books->process_count, 2);
    assert_int_equal(f.books->image_count, 1);
    assert_int_equal(f.books->broken_writers, 0);
    assert_int_equal(f.books->replaced, 0);
    assert_int_equal(first_process(&f)->heap, 8 * MIB);
    assert_int_equal(first_process(&f)->peak, 10 * MIB);
    assert_int_equal(f.books->processes[1]->exit_status, 7);
    assert_int_equal(f.books->tree_heap, 8 * MIB);
    assert_int_equal(all_rows(&f)->meta.peak, 13 * MIB);
    assert_adds_up(&f);
    close_fixture(&f);
}

/* A child forks, executes and ends before its first image is looked at: its parent's words come first. */
static void what_an_exec_replaced_does_not_come_before_its_parent(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    ring_writer u = ring_begin(&p, 1);
    ring_malloc(&u, AT(1), 1 * MIB);
    read_all(&f);
    ring_malloc(&u, AT(2), 10 * MIB);
    ring_child(&u, NOBODY_AT_ALL);
    ring_process child = ring_join(f.mapped, NOBODY_AT_ALL, getpid(), HL_CHILD_FORK);
    ring_writer c = ring_begin(&child, NOBODY_AT_ALL);
    ring_malloc(&c, AT(1), 5 * MIB);
    ring_process next = ring_join(f.mapped, NOBODY_AT_ALL, getpid(), 0);
    ring_writer d = ring_begin(&next, NOBODY_AT_ALL);
    ring_malloc(&d, AT(1), 1 * MIB);
    atomic_store(&next.slot->state, HL_PROCESS_EXITED);
    ring_waited(&u, NOBODY_AT_ALL, 0);
    read_all(&f);
    assert_int_equal(f.books->process_count, 2);
    assert_int_equal(f.books->processes[1]->peak, 5 * MIB);
    assert_int_equal(all_rows(&f)->meta.peak, 16 * MIB);
    assert_int_equal(f.books->tree_heap, 11 * MIB);
    assert_adds_up(&f);
    close_fixture(&f);
}

/* Words that lie about who waits for whom: nobody is read twice, nothing hangs. */
static void processes_that_wait_for_each_other_are_read_once(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    ring_process p = ring_join(f.mapped, NOBODY_AT_ALL, NOBODY_AT_ALL + 1, 0),
                 q = ring_join(f.mapped, NOBODY_AT_ALL + 1, NOBODY_AT_ALL, 0);
    ring_writer v = ring_begin(&p, 1), w = ring_begin(&q, 2);
    read_all(&f);
    f.books->processes[0]->parent = 2;
    for (int i = 0; i < 3; i++) {
        ring_malloc(&v, AT(i), 10);
        ring_waited(&v, NOBODY_AT_ALL + 1, 0);
        ring_malloc(&w, AT(i), 20);
        ring_waited(&w, NOBODY_AT_ALL, 0);
        ring_waited(&w, NOBODY_AT_ALL + 1, 0);
    }
    read_all(&f);
    assert_int_equal(f.books->process_count, 2);
    assert_int_equal(f.books->processes[0]->heap, 30);
    assert_int_equal(f.books->processes[1]->heap, 60);
    assert_adds_up(&f);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_that_take_turns_agree_with_a_model),
        cmocka_unit_test(peak_of_the_first_process_counts_also_when_others_come_later),
        cmocka_unit_test(what_a_child_does_comes_before_its_parents_wait),
        cmocka_unit_test(two_lives_of_one_pid_are_waited_for_in_their_order),
        cmocka_unit_test(an_image_is_gone_before_the_next_one_begins),
        cmocka_unit_test(images_that_are_found_while_another_is_read_out_are_begun_once),
        cmocka_unit_test(what_an_exec_replaced_does_not_come_before_its_parent),
        cmocka_unit_test(processes_that_wait_for_each_other_are_read_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
