/* What lines of profiled functions did: known sequences of words, and random ones beside a plain model. */
#include "books_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#define AT(n) (UINT64_C(0x7f0000000000) + (uint64_t)(n)*16)
#define MIB (UINT64_C(1) << 20)

static hl_wire_chunk *take_counters(ring_process *p)
{
    hl_wire_chunk *c = ring_pop(p->session);
    if (!c)
        abort();
    atomic_fetch_add(&p->session->out, 1);
    memset(c->words, 0, HL_CHUNK_WORDS * 8);
    atomic_store(&c->owner, HL_OWNER_LINES | p->index);
    return c;
}
static uint32_t first_id(const hl_wire_chunk *c) { return c->index * HL_LINES_A_CHUNK; }

static void announce_lines(ring_writer *w, uint64_t code, uint32_t id, uint32_t first_line, uint32_t count,
                           const char *name)
{
    uint64_t words[16] = {HL_WORD(HL_WORD_LINES, code), UINT64_C(1) << 32 | id, (uint64_t)count << 32 | first_line,
                          strlen(name)};
    memcpy(words + 4, name, strlen(name));
    ring_words(w, words, 4 + (strlen(name) + 7) / 8);
}

static void hit(hl_wire_chunk *c, uint32_t id) { atomic_fetch_add(&hl_chunk_line(c, id)->hits, 1); }

static void line_word(ring_writer *w, uint32_t depth, uint32_t id_and_one)
{
    uint64_t word = HL_WORD(HL_WORD_LINE, (uint64_t)depth << 32 | id_and_one);
    ring_words(w, &word, 1);
}
static void enter(ring_writer *w, uint32_t depth, uint32_t id) { line_word(w, depth, id + 1); }
static void cut(ring_writer *w, uint32_t depth) { line_word(w, depth, 0); }

/* One function f of a.py with lines 10 to 29, in the first process. */
typedef struct lines_fixture {
    fixture f;
    ring_process p;
    ring_writer w;
    hl_wire_chunk *counters;
    uint32_t id; /* of line 10 */
} lines_fixture;

static void open_lines(lines_fixture *l)
{
    open_fixture(&l->f, 0);
    l->p = ring_join(l->f.mapped, getpid(), getppid(), 0);
    l->w = ring_begin(&l->p, 1);
    l->counters = take_counters(&l->p);
    l->id = first_id(l->counters);
    ring_code(&l->w, 0x1000, "a.py", "f");
    announce_lines(&l->w, 0x1000, l->id, 10, 20, "f");
}

/* A line as the profile has it after a checkpoint now; zeros: it has no row. */
static hl_batch_line line_of(fixture *f, const char *function, int32_t line)
{
    hl_batch *b = all_rows(f);
    hl_batch_line found = {0};
    for (size_t i = 0; i < b->lines.n; i++) {
        const hl_batch_line *l = &b->lines.row[i];
        const hl_batch_line_function *of = NULL;
        for (size_t k = 0; k < b->line_functions.n; k++)
            of = b->line_functions.row[k].id == l->function ? &b->line_functions.row[k] : of;
        if (!of)
            abort();
        if (l->line == line && of->name.bytes == strlen(function) && !memcmp(of->name.at, function, of->name.bytes)) {
            assert_int_equal(found.function, 0); /* one row a line */
            found = *l;
        }
    }
    return found;
}

#define assert_line(l, hits_, allocated_, freed_, allocations_, highest_, temporary_, largest_)                        \
    do {                                                                                                               \
        hl_batch_line line_ = (l);                                                                                     \
        assert_int_equal(line_.hits, hits_);                                                                           \
        assert_int_equal(line_.allocated, allocated_);                                                                 \
        assert_int_equal(line_.freed, freed_);                                                                         \
        assert_int_equal(line_.allocations, allocations_);                                                             \
        assert_int_equal(line_.highest, highest_);                                                                     \
        assert_int_equal(line_.temporary, temporary_);                                                                 \
        assert_int_equal(line_.largest, largest_);                                                                     \
    } while (0)

static void a_line_has_what_its_thread_did_in_it(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    ring_malloc(&l.w, AT(1), 7); /* before the function */
    hit(l.counters, l.id);
    enter(&l.w, 0, l.id);
    ring_malloc(&l.w, AT(2), 100);
    ring_malloc(&l.w, AT(3), 5000);
    ring_free(&l.w, AT(2)); /* made here: temporary */
    hit(l.counters, l.id + 1);
    enter(&l.w, 0, l.id + 1);
    ring_free(&l.w, AT(3)); /* made in line 10 */
    ring_free(&l.w, AT(1)); /* made before */
    ring_malloc(&l.w, AT(4), 30);
    cut(&l.w, 0);
    ring_malloc(&l.w, AT(5), 1000); /* behind the function */
    ring_free(&l.w, AT(5));
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 1, 5100, 100, 2, 5100, 100, 5000);
    assert_line(line_of(&l.f, "f", 11), 1, 30, 5007, 1, 0, 0, 30);
    assert_line(line_of(&l.f, "f", 12), 0, 0, 0, 0, 0, 0, 0);
    assert_adds_up(&l.f);
    const hl_batch *b = all_rows(&l.f);
    assert_int_equal(b->line_functions.n, 1);
    const hl_batch_line_function *f = &b->line_functions.row[0];
    assert_int_equal(f->process, 1);
    assert_int_equal(f->first_line, 10);
    assert_int_equal(f->last_line, 29);
    assert_true(f->code != 0);
    const hl_code *code = &l.f.books->tree.code[f->code];
    assert_int_equal(code->file.bytes, 4);
    assert_memory_equal(code->file.at, "a.py", 4);
    close_fixture(&l.f);
}

static void a_spike_in_a_loop_nets_to_zero(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    for (int i = 0; i < 5; i++) {
        hit(l.counters, l.id + 3);
        enter(&l.w, 0, l.id + 3);
        ring_malloc(&l.w, AT(1), 100 * MIB);
        ring_free(&l.w, AT(1));
    }
    cut(&l.w, 0);
    ring_malloc(&l.w, AT(2), 1);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 13), 5, 500 * MIB, 500 * MIB, 5, 100 * MIB, 500 * MIB, 100 * MIB);
    close_fixture(&l.f);
}

/* f's line 10 calls g, which is profiled, too; then h, which is not. */
static void callers_have_what_their_callees_did(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    ring_code(&l.w, 0x2000, "b.py", "g");
    announce_lines(&l.w, 0x2000, l.id + 20, 1, 5, "g");
    enter(&l.w, 0, l.id);
    ring_malloc(&l.w, AT(1), 10);
    enter(&l.w, 1, l.id + 20);
    ring_malloc(&l.w, AT(2), 400); /* highest of the line is 400, of its caller 410 */
    ring_free(&l.w, AT(1));        /* temporary for the caller only */
    enter(&l.w, 1, l.id + 21);
    ring_free(&l.w, AT(2)); /* temporary for the caller only: another line of g made it */
    ring_malloc(&l.w, AT(3), 50);
    ring_free(&l.w, AT(3)); /* for both */
    cut(&l.w, 1);
    ring_malloc(&l.w, AT(4), 3);
    cut(&l.w, 0);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 0, 463, 460, 4, 410, 460, 400);
    assert_line(line_of(&l.f, "g", 1), 0, 400, 10, 1, 400, 0, 400);
    assert_line(line_of(&l.f, "g", 2), 0, 50, 450, 1, 0, 50, 50);
    close_fixture(&l.f);
}

static void recursion_counts_each_byte_once(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    enum { DEPTH = 300 };
    for (uint32_t d = 0; d < DEPTH; d++) {
        hit(l.counters, l.id + 1);
        enter(&l.w, d, l.id + 1);
        ring_malloc(&l.w, AT(d), 16);
    }
    for (uint32_t d = DEPTH; d-- > 0;) {
        ring_free(&l.w, AT(d));
        if (d)
            cut(&l.w, d);
    }
    cut(&l.w, 0);
    /* And again, so that nothing of it is still thought to be on the stack. */
    hit(l.counters, l.id + 1);
    enter(&l.w, 0, l.id + 1);
    ring_malloc(&l.w, AT(1), 8);
    cut(&l.w, 0);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 11), DEPTH + 1, 16 * DEPTH + 8, 16 * DEPTH, DEPTH + 1, 16 * DEPTH, 16 * DEPTH, 16);
    close_fixture(&l.f);
}

static void an_inner_execution_can_be_the_highest(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    ring_malloc(&l.w, AT(1), 1000);
    enter(&l.w, 0, l.id);
    ring_free(&l.w, AT(1));
    enter(&l.w, 1, l.id);
    ring_malloc(&l.w, AT(2), 300);
    cut(&l.w, 0);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 0, 300, 1000, 1, 300, 0, 300);
    close_fixture(&l.f);
}

static void moves_free_and_allocate_in_one_step(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    ring_malloc(&l.w, AT(1), 100);
    enter(&l.w, 0, l.id);
    ring_move(&l.w, AT(1)); /* of an earlier block */
    ring_alloc(&l.w, HL_WORD_MOVED_REALLOC, AT(2), 250);
    ring_move(&l.w, AT(2)); /* of one that was made here */
    ring_alloc(&l.w, HL_WORD_MOVED_REALLOC, AT(2), 600);
    ring_move(&l.w, AT(2));
    ring_put(&l.w, HL_BLOCK(HL_WORD_MOVE_FAILED, 0, 0), false, 0, NULL, 0);
    ring_move(&l.w, AT(9)); /* of an unknown one */
    ring_alloc(&l.w, HL_WORD_MOVED_REALLOC, AT(9), 1);
    cut(&l.w, 0);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 0, 851, 350, 3, 501, 250, 600);
    assert_adds_up(&l.f);
    close_fixture(&l.f);
}

static void mappings_of_class_heap_count(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    enter(&l.w, 0, l.id);
    ring_map_word(&l.w, HL_WORD_MAP, 0x100000, HL_MAP_HEAP, 40960);
    ring_map_word(&l.w, HL_WORD_MAP, 0x200000, HL_MAP_FILE, 40960);
    ring_map_word(&l.w, HL_WORD_UNMAP, 0x100000, 0, 4096);
    ring_map_word(&l.w, HL_WORD_UNMAP, 0x101000, 0, 8192); /* fails: */
    ring_put(&l.w, HL_WORD(HL_WORD_UNMAP_UNDO, 0), false, 0, NULL, 0);
    enter(&l.w, 0, l.id + 1);
    ring_map_word(&l.w, HL_WORD_UNMAP, 0x100000, 0, 40960);
    cut(&l.w, 0);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 0, 40960, 4096, 1, 40960, 4096, 40960);
    assert_line(line_of(&l.f, "f", 11), 0, 0, 36864, 0, 0, 0, 0);
    assert_adds_up(&l.f);
    close_fixture(&l.f);
}

static void threads_have_stacks_of_their_own(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    ring_writer v = ring_begin(&l.p, 2);
    enter(&l.w, 0, l.id);
    enter(&v, 0, l.id); /* the same line, at the same time: counts in both */
    ring_malloc(&l.w, AT(1), 100);
    ring_malloc(&v, AT(2), 200);
    ring_free(&v, AT(1)); /* another thread's block is no temporary one */
    cut(&v, 0);
    ring_malloc(&v, AT(3), 5000); /* of no line */
    ring_free(&l.w, AT(2));
    cut(&l.w, 0);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 0, 300, 300, 2, 200, 0, 200);
    assert_adds_up(&l.f);
    close_fixture(&l.f);
}

static void open_executions_are_in_each_checkpoint_and_count_once(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    hit(l.counters, l.id);
    enter(&l.w, 0, l.id);
    hit(l.counters, l.id + 5);
    enter(&l.w, 1, l.id + 5);
    ring_malloc(&l.w, AT(1), 100);
    read_all(&l.f);
    for (int i = 0; i < 2; i++) {
        assert_line(line_of(&l.f, "f", 10), 1, 100, 0, 1, 100, 0, 100);
        assert_line(line_of(&l.f, "f", 15), 1, 100, 0, 1, 100, 0, 100);
    }
    ring_free(&l.w, AT(1));
    ring_malloc(&l.w, AT(2), 20);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 1, 120, 100, 2, 100, 100, 100);
    ring_end(&l.w); /* the thread ends within the function */
    read_all(&l.f);
    assert_int_equal(l.f.books->active_count, 0);
    for (int i = 0; i < 2; i++) {
        assert_line(line_of(&l.f, "f", 10), 1, 120, 100, 2, 100, 100, 100);
        assert_line(line_of(&l.f, "f", 15), 1, 120, 100, 2, 100, 100, 100);
    }
    close_fixture(&l.f);
}

static void only_what_has_changed_is_told_again(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    enter(&l.w, 0, l.id);
    ring_malloc(&l.w, AT(1), 100);
    enter(&l.w, 0, l.id + 1);
    ring_malloc(&l.w, AT(2), 100);
    cut(&l.w, 0);
    ring_malloc(&l.w, AT(3), 100);
    read_all(&l.f);
    assert_int_equal(all_rows(&l.f)->lines.n, 2);
    hl_batch_clear(&l.f.batch);
    hl_books_fill(l.f.books, &l.f.batch, false, false);
    assert_int_equal(l.f.batch.lines.n, 0);
    assert_int_equal(l.f.batch.line_functions.n, 0);
    hit(l.counters, l.id + 7);
    hl_batch_clear(&l.f.batch);
    hl_books_fill(l.f.books, &l.f.batch, false, false);
    assert_int_equal(l.f.batch.lines.n, 1);
    assert_int_equal(l.f.batch.lines.row[0].line, 17);
    assert_int_equal(l.f.batch.lines.row[0].hits, 1);
    close_fixture(&l.f);
}

/* Without a common lock, a thread may use an id whose announcement is applied later. */
static void ids_may_be_used_before_they_are_announced(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    enter(&l.w, 0, l.id + 25);
    ring_malloc(&l.w, AT(1), 64);
    hit(l.counters, l.id + 25);
    read_all(&l.f);
    assert_int_equal(all_rows(&l.f)->lines.n, 0);
    ring_writer v = ring_begin(&l.p, 2);
    announce_lines(&v, 0x3000, l.id + 20, 100, 10, "late");
    ring_malloc(&l.w, AT(2), 6);
    read_all(&l.f);
    assert_line(line_of(&l.f, "late", 105), 1, 70, 0, 2, 70, 0, 64);
    assert_int_equal(all_rows(&l.f)->line_functions.row[1].code, 0);
    ring_code(&v, 0x3000, "late.py", "late");
    read_all(&l.f);
    assert_true(all_rows(&l.f)->line_functions.row[1].code != 0);
    close_fixture(&l.f);
}

static void a_long_function_comes_in_pieces(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    hl_wire_chunk *more = take_counters(&l.p);
    ring_code(&l.w, 0x4000, "long.py", "g");
    announce_lines(&l.w, 0x4000, l.id + 20, 50, 1024, "g");
    announce_lines(&l.w, 0x4000, first_id(more), 50 + 1024, 500, "g");
    announce_lines(&l.w, 0x4000, first_id(more), 50 + 1024, 500, "g"); /* words may be repeated */
    enter(&l.w, 0, l.id + 20 + 1023);
    ring_malloc(&l.w, AT(1), 1);
    enter(&l.w, 0, first_id(more));
    ring_malloc(&l.w, AT(2), 2);
    cut(&l.w, 0);
    read_all(&l.f);
    assert_int_equal(line_of(&l.f, "g", 50 + 1023).allocated, 1);
    assert_int_equal(line_of(&l.f, "g", 50 + 1024).allocated, 2);
    const hl_batch *b = all_rows(&l.f);
    assert_int_equal(b->line_functions.n, 2);
    assert_int_equal(b->line_functions.row[1].first_line, 50);
    assert_int_equal(b->line_functions.row[1].last_line, 50 + 1024 + 499);
    close_fixture(&l.f);
}

static void rss_is_the_highest_of_all(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    hit(l.counters, l.id);
    atomic_store(&hl_chunk_line(l.counters, l.id)->rss_peak, 7 * MIB);
    read_all(&l.f);
    assert_int_equal(line_of(&l.f, "f", 10).rss, 7 * MIB);
    atomic_store(&hl_chunk_line(l.counters, l.id)->rss_peak, 3 * MIB); /* never falls */
    assert_int_equal(line_of(&l.f, "f", 10).rss, 7 * MIB);
    atomic_store(&hl_chunk_line(l.counters, l.id)->rss_peak, UINT64_MAX); /* nonsense */
    assert_int_equal(line_of(&l.f, "f", 10).rss, 7 * MIB);
    close_fixture(&l.f);
}

/* A recording joins a program whose thread is in lines already. */
static void lines_entered_before_the_stack_is_known_count_nothing(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    enter(&l.w, 3, l.id);
    ring_malloc(&l.w, AT(1), 10);
    cut(&l.w, 2);
    ring_malloc(&l.w, AT(2), 20);
    enter(&l.w, 1, l.id + 1);
    ring_malloc(&l.w, AT(3), 40);
    cut(&l.w, 0);
    read_all(&l.f);
    assert_line(line_of(&l.f, "f", 10), 0, 10, 0, 1, 10, 0, 10);
    assert_line(line_of(&l.f, "f", 11), 0, 40, 0, 1, 40, 0, 40);
    close_fixture(&l.f);
}

/* A process that is killed in the middle of it: its counters are read, and all of its chunks are back in the pool. */
static void a_killed_process_has_its_numbers_and_gives_its_chunks_back(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (;;)
            pause();
    }
    ring_process p = ring_join(f.mapped, pid, getpid(), 0);
    ring_writer w = ring_begin(&p, 1);
    hl_wire_chunk *counters = take_counters(&p);
    take_counters(&p); /* never announced */
    uint32_t id = first_id(counters);
    ring_code(&w, 0x1000, "a.py", "f");
    announce_lines(&w, 0x1000, id, 10, 20, "f");
    enter(&w, 0, id);
    ring_malloc(&w, AT(1), 100);
    read_all(&f);
    for (int i = 0; i < 1000; i++)
        hit(counters, id);
    ring_malloc(&w, AT(2), 50);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (int i = 0; i < 5 && f.books->image_count; i++) {
        hl_processes_check(f.books);
        f.now_ns += 20000000;
        pass(&f);
    }
    assert_int_equal(f.books->image_count, 0);
    assert_int_equal(atomic_load(&f.session->out), 0);
    assert_line(line_of(&f, "f", 10), 1000, 150, 0, 2, 150, 0, 100);
    /* The slot and the chunks are used again: other counters, other rows. */
    ring_process q = ring_join(f.mapped, getpid(), getppid(), 0);
    assert_int_equal(q.index, p.index);
    ring_writer v = ring_begin(&q, 1);
    counters = take_counters(&q);
    ring_code(&v, 0x1000, "a.py", "f");
    announce_lines(&v, 0x1000, first_id(counters), 10, 20, "g");
    hit(counters, first_id(counters));
    enter(&v, 0, first_id(counters));
    ring_malloc(&v, AT(1), 5);
    read_all(&f);
    assert_line(line_of(&f, "f", 10), 1000, 150, 0, 2, 150, 0, 100);
    assert_line(line_of(&f, "g", 10), 1, 5, 0, 1, 5, 0, 5);
    assert_adds_up(&f);
    close_fixture(&f);
}

static void an_image_that_exec_replaced_gives_its_counters_back(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    hit(l.counters, l.id);
    enter(&l.w, 0, l.id);
    ring_malloc(&l.w, AT(1), 100);
    read_all(&l.f);
    ring_process q = ring_join(l.f.mapped, getpid(), getppid(), 0);
    ring_writer v = ring_begin(&q, 1);
    ring_malloc(&v, AT(1), 30);
    read_all(&l.f);
    hl_processes_check(l.f.books);
    read_all(&l.f);
    hl_processes_check(l.f.books);
    assert_int_equal(l.f.books->image_count, 1);
    assert_int_equal(atomic_load(&l.f.session->out), 1);            /* what is left is the new image's */
    assert_line(line_of(&l.f, "f", 10), 1, 100, 0, 1, 100, 0, 100); /* exec frees nothing line by line */
    close_fixture(&l.f);
}

static void invalid_words_do_no_harm(void **state)
{
    (void)state;
    lines_fixture l;
    open_lines(&l);
    hl_session *s = l.f.mapped;
    enter(&l.w, 0, s->chunks * HL_LINES_A_CHUNK + 5); /* no such chunk */
    ring_malloc(&l.w, AT(1), 1);
    uint32_t ring_chunk = l.counters->index ? 0 : 1; /* some chunk that holds no counters */
    enter(&l.w, 1, ring_chunk * HL_LINES_A_CHUNK);
    ring_malloc(&l.w, AT(2), 1);
    announce_lines(&l.w, 0x9000, ring_chunk * HL_LINES_A_CHUNK, 1, 3, "no");
    announce_lines(&l.w, 0x9000, l.id, 1, 3, "no"); /* what an id means does not change */
    enter(&l.w, HL_LINE_DEPTH_MOST - 1, l.id);
    ring_malloc(&l.w, AT(3), 1);
    read_all(&l.f);
    assert_int_equal(line_of(&l.f, "f", 10).allocated, 1);
    assert_int_equal(all_rows(&l.f)->line_functions.n, 1);
    assert_int_equal(l.f.books->broken_writers, 0);

    const uint64_t bad[][5] = {
        {HL_WORD(HL_WORD_LINE, (uint64_t)HL_LINE_DEPTH_MOST << 32 | (l.id + 1))},
        {HL_WORD(HL_WORD_LINE, UINT64_C(0xffff) << 32)},
        {HL_WORD(HL_WORD_LINES, 0x1000), l.id, 0 /* no lines */, 0},
        {HL_WORD(HL_WORD_LINES, 0x1000), l.id, UINT64_C(1025) << 32, 0},
        {HL_WORD(HL_WORD_LINES, 0x1000), l.id + HL_LINES_A_CHUNK - 1, UINT64_C(2) << 32 | 1, 0}, /* over its end */
        {HL_WORD(HL_WORD_LINES, 0x1000), l.id, UINT64_C(1) << 32 | UINT32_MAX, 0},
        {HL_WORD(HL_WORD_LINES, 0x1000), l.id, UINT64_C(1) << 32 | 1, UINT64_MAX},
        {HL_WORD(HL_WORD_LINES, 0x1000), l.id, UINT64_C(1) << 32 | 1, 100 /* more than is there */},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ring_writer v = ring_begin(&l.p, (int32_t)i + 10);
        ring_words(&v, bad[i], hl_word_kind_of(bad[i][0]) == HL_WORD_LINE ? 1 : 4);
        read_all(&l.f);
        assert_int_equal(l.f.books->broken_writers, i + 1);
    }
    assert_adds_up(&l.f);
    close_fixture(&l.f);
}

/* ------------------------------------------------------------------------------------------------------------- model */

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

enum { LINES = 20, THREADS = 3, BLOCKS = 300, DEEPEST = 40 };
typedef struct model_execution {
    unsigned line;
    int64_t net;
    uint64_t start;
} model_execution;
typedef struct model_thread {
    model_execution stack[DEEPEST];
    unsigned depth;
    int64_t net;
    uint64_t made;
} model_thread;
typedef struct model {
    model_thread thread[THREADS];
    hl_batch_line line[LINES];
} model;

/* Each line that the thread is in counts once, with its outermost execution. */
static bool is_outermost(const model_thread *t, const model_execution *e)
{
    for (const model_execution *below = t->stack; below < e; below++) {
        if (below->line == e->line)
            return false;
    }
    return true;
}

static void model_allocate(model *m, unsigned thread, uint64_t size)
{
    model_thread *t = &m->thread[thread];
    t->made++;
    t->net += (int64_t)size;
    for (const model_execution *e = t->stack; e < t->stack + t->depth; e++) {
        if (!is_outermost(t, e))
            continue;
        m->line[e->line].allocated += size;
        m->line[e->line].allocations++;
    }
    for (unsigned i = 0; i < t->depth; i++) {
        hl_batch_line *line = &m->line[t->stack[i].line];
        if (t->net > t->stack[i].net && (uint64_t)(t->net - t->stack[i].net) > line->highest)
            line->highest = (uint64_t)(t->net - t->stack[i].net);
        line->largest = size > line->largest ? size : line->largest;
    }
}

static void model_free(model *m, unsigned thread, unsigned maker, uint64_t number, uint64_t size)
{
    model_thread *t = &m->thread[thread];
    t->net -= (int64_t)size;
    for (const model_execution *e = t->stack; e < t->stack + t->depth; e++) {
        if (!is_outermost(t, e))
            continue;
        m->line[e->line].freed += size;
        if (maker == thread && number > e->start)
            m->line[e->line].temporary += size;
    }
}

static void random_lines_agree_with_a_model(void **state)
{
    (void)state;
    enum { EVENTS = 200000 };
    lines_fixture l;
    open_lines(&l);
    static model m;
    memset(&m, 0, sizeof m);
    static struct {
        uint64_t size, number;
        unsigned maker;
    } block[BLOCKS];
    memset(block, 0, sizeof block);
    ring_writer w[THREADS] = {l.w, ring_begin(&l.p, 2), ring_begin(&l.p, 3)};
    for (int i = 0; i < EVENTS; i++) {
        uint64_t r = next_random();
        unsigned thread = (unsigned)(r % 7 % THREADS), at = (unsigned)(r >> 8) % BLOCKS;
        model_thread *t = &m.thread[thread];
        uint64_t size = (r >> 24) % 5000;
        if (r % 3 == 0) { /* its stack changes */
            unsigned depth = t->depth ? t->depth - (unsigned)(r >> 20) % (t->depth < 3 ? t->depth + 1 : 4) : 0;
            if ((r >> 30) % 4 == 0) {
                cut(&w[thread], depth);
                t->depth = depth;
            } else if (depth < DEEPEST) {
                unsigned line = (unsigned)(r >> 36) % LINES;
                hit(l.counters, l.id + line);
                m.line[line].hits++;
                enter(&w[thread], depth, l.id + line);
                t->stack[depth] = (model_execution){line, t->net, t->made};
                t->depth = depth + 1;
            }
        } else if (!block[at].maker) {
            ring_malloc(&w[thread], AT(at), size);
            model_allocate(&m, thread, size);
            block[at].size = size;
            block[at].number = t->made;
            block[at].maker = thread + 1;
        } else if (r % 5) {
            ring_free(&w[thread], AT(at));
            model_free(&m, thread, block[at].maker - 1, block[at].number, block[at].size);
            block[at].maker = 0;
        } else {
            ring_move(&w[thread], AT(at));
            ring_alloc(&w[thread], HL_WORD_MOVED_REALLOC, AT(at), size);
            model_free(&m, thread, block[at].maker - 1, block[at].number, block[at].size);
            model_allocate(&m, thread, size);
            block[at].size = size;
            block[at].number = t->made;
            block[at].maker = thread + 1;
        }
        if (i % 997 == 0) {
            l.f.now_ns += r % 5000000;
            pass(&l.f);
        }
        if (i % 40009 == 0 || i == EVENTS - 1) {
            read_all(&l.f);
            for (unsigned line = 0; line < LINES; line++) {
                const hl_batch_line *e = &m.line[line];
                assert_line(line_of(&l.f, "f", (int32_t)line + 10), e->hits, e->allocated, e->freed, e->allocations,
                            e->highest, e->temporary, e->largest);
            }
        }
    }
    assert_adds_up(&l.f);
    close_fixture(&l.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_what_its_thread_did_in_it),
        cmocka_unit_test(a_spike_in_a_loop_nets_to_zero),
        cmocka_unit_test(callers_have_what_their_callees_did),
        cmocka_unit_test(recursion_counts_each_byte_once),
        cmocka_unit_test(an_inner_execution_can_be_the_highest),
        cmocka_unit_test(moves_free_and_allocate_in_one_step),
        cmocka_unit_test(mappings_of_class_heap_count),
        cmocka_unit_test(threads_have_stacks_of_their_own),
        cmocka_unit_test(open_executions_are_in_each_checkpoint_and_count_once),
        cmocka_unit_test(only_what_has_changed_is_told_again),
        cmocka_unit_test(ids_may_be_used_before_they_are_announced),
        cmocka_unit_test(a_long_function_comes_in_pieces),
        cmocka_unit_test(rss_is_the_highest_of_all),
        cmocka_unit_test(lines_entered_before_the_stack_is_known_count_nothing),
        cmocka_unit_test(a_killed_process_has_its_numbers_and_gives_its_chunks_back),
        cmocka_unit_test(an_image_that_exec_replaced_gives_its_counters_back),
        cmocka_unit_test(invalid_words_do_no_harm),
        cmocka_unit_test(random_lines_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
