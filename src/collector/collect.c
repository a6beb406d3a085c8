/*
 * collect.c - the collector's main loop: read, sleep, keep time, write; until every recorded process has ended.
 *
 * It sleeps in a futex until half of the pool is out, or the tick is over; when nothing happens the sleep stretches.
 * Nothing here waits for a program: one that is stopped, or is being debugged, only leaves its rings as they are.
 */
#include "checkpoint.h"

#include <errno.h>
#include <linux/futex.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

enum { IDLE_TICKS = 10, IDLE_SLEEP_NS = 50000000 };

typedef struct hl_collector {
    hl_books books;
    hl_checkpoint checkpoint;
    hl_session *session;
    bool root_saved;
    uint64_t alone_ns;  /* since when nothing is recorded any more, 0: something is */
    uint32_t idle;      /* passes in a row that found nothing */
    bool asked_at_work; /* the checkpoint under way was asked for, */
    uint32_t asked;     /* as this number */
} hl_collector;

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void wake_all(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0); }

/* ------------------------------------------------------------------------------------------------------- life sign */

/* The kernel marks the word FUTEX_OWNER_DIED when this thread ends, however it ends. */
static void give_life_sign(hl_session *session)
{
    static struct robust_list entry;
    static struct robust_list_head head;
    entry.next = &head.list;
    head.list.next = &entry;
    head.futex_offset = (long)((char *)&session->collector - (char *)&entry);
    head.list_op_pending = NULL;
    atomic_store(&session->collector, (uint32_t)syscall(SYS_gettid));
    syscall(SYS_set_robust_list, &head, sizeof head);
}

static void out_of_memory(void *argument)
{
    hl_session *session = argument;
    atomic_store(&session->ended, 1);
    atomic_store(&session->root_error, ENOMEM);
    atomic_store(&session->root_saved, 2);
    wake_all(&session->root_saved);
    _exit(1);
}

/* ------------------------------------------------------------------------------------------------------------- end */

static bool root_is_done(const hl_books *books)
{
    if (!atomic_load(&books->session->root_ended))
        return false;
    for (uint32_t i = 0; i < books->process_count; i++) {
        const hl_process *p = books->processes[i];
        if (p->pid == (int32_t)books->session->root_pid && p->followed && !p->ended)
            return false;
    }
    return true;
}

/* By its pidfd once it is in the books: by then its pid may be another's. */
static bool root_lives(const hl_books *books)
{
    uint32_t root_pid = books->session->root_pid;
    for (uint32_t i = 0; root_pid && i < books->process_count; i++) {
        if (books->processes[i]->pid == (int32_t)root_pid)
            return !books->processes[i]->gone;
    }
    return root_pid && (kill((pid_t)root_pid, 0) == 0 || errno == EPERM);
}

/* Whether the recording is over: nothing that is recorded lives, and the one who waits for the program knows its end. */
static bool is_over(hl_collector *c, uint64_t now_ns)
{
    hl_session *s = c->session;
    if (atomic_load(&s->stop))
        return true;
    bool alone = c->books.image_count == 0;
    for (uint32_t i = c->books.first_running; i < c->books.process_count && alone; i++)
        alone = c->books.processes[i]->gone || !c->books.processes[i]->followed ||
                c->books.processes[i]->recording == HL_RECORDING_NOTHING;
    if (!alone) {
        c->alone_ns = 0;
        return false;
    }
    if (!c->alone_ns)
        c->alone_ns = now_ns ? now_ns : 1;
    if (atomic_load(&s->root_ended))
        return true;
    uint64_t alone_for = now_ns - c->alone_ns;
    if (root_lives(&c->books))
        return false;
    /* No word from a parent: it was killed, or there was none. Before anything was recorded there is more patience. */
    return alone_for > (c->books.process_count ? s->root_pid ? 2 * SECOND : 0 : 60 * SECOND);
}

static void save_root(hl_collector *c, int error)
{
    if (c->root_saved)
        return;
    c->root_saved = true;
    if (error)
        atomic_store(&c->session->root_error, -error);
    atomic_store(&c->session->root_saved, error ? 2 : 1);
    wake_all(&c->session->root_saved);
}

/* The program's own wait status, as its parent saw it. */
static void take_root_status(hl_books *books)
{
    hl_session *s = books->session;
    if (!atomic_load(&s->root_ended) || books->root_end_ns)
        return;
    books->root_end_ns = books->now_ns ? books->now_ns : 1;
    for (uint32_t i = 0; i < books->process_count; i++) {
        if (books->processes[i]->pid == (int32_t)s->root_pid) { /* the first of that pid */
            hl_process_status(books, books->processes[i], atomic_load(&s->root_status));
            /* Where it had children the number may be one of theirs, and below the base another image's. */
            uint64_t rss_peak = atomic_load(&s->root_rss_peak);
            if (books->process_count == 1 && books->processes[i]->followed && rss_peak > books->processes[i]->rss_base)
                hl_rss_reached(books->processes[i], rss_peak);
            break;
        }
    }
}

/* ------------------------------------------------------------------------------------------ names of native frames */

/* The base of its path, in words that a reader in another process can load one by one. */
static void show_object(hl_session *s, hl_text path)
{
    char name[sizeof s->names_object] = "";
    uint32_t from = path.bytes, bytes;
    while (from > 0 && path.at[from - 1] != '/')
        from--;
    bytes = path.bytes - from;
    memcpy(name, path.at + from, bytes < sizeof name ? bytes : sizeof name - 1);
    for (size_t i = 0; i < sizeof name / 8; i++) {
        uint64_t word;
        memcpy(&word, name + 8 * i, 8);
        atomic_store_explicit(&s->names_object[i], word, memory_order_relaxed);
    }
}

static void show_names(void *context, size_t all, size_t done, hl_text object)
{
    hl_session *s = context;
    if (object.at)
        show_object(s, object);
    atomic_store(&s->names_done, (uint32_t)done);
    atomic_store(&s->names_all, (uint32_t)all);
}

static bool names_are_stopped(void *context) { return atomic_load(&((hl_session *)context)->names_stop); }

/* ------------------------------------------------------------------------------------------------------------ loop */

static void sleep_until(hl_collector *c, uint64_t limit_ns)
{
    hl_session *s = c->session;
    uint64_t now_ns = monotonic_ns() - c->books.start_ns;
    if (now_ns >= limit_ns)
        return;
    struct timespec limit = {(time_t)((limit_ns - now_ns) / SECOND), (long)((limit_ns - now_ns) % SECOND)};
    atomic_store(&s->sleeping, 1);
    if (!atomic_load(&s->waiting) && !hl_answers_are_due(&c->books) && !atomic_load(&s->stop) &&
        (c->books.root_end_ns || !atomic_load(&s->root_ended)) && atomic_load(&s->out) < s->chunks / 2 + 1)
        syscall(SYS_futex, &s->sleeping, FUTEX_WAIT, 1, &limit, NULL, 0);
    atomic_store(&s->sleeping, 0);
}

/* Reads until everything published is applied; bounded, since living programs go on writing. A pass that only finds a new
 * image applies nothing of it. */
static void drain(hl_books *books)
{
    for (int i = 0, idle = 0; i < 100 && idle < 2; i++) {
        uint64_t now_ns = monotonic_ns() - books->start_ns;
        hl_ticks_advance(books, now_ns);
        idle = hl_books_pass(books, now_ns) ? 0 : idle + 1;
    }
}

/* A program waits for a checkpoint: it gets one of its own, as the one under way may have been begun before. */
static void answer_checkpoint(hl_collector *c)
{
    hl_books *books = &c->books;
    if (c->asked_at_work && hl_checkpoint_is_idle(&c->checkpoint)) {
        c->asked_at_work = false;
        hl_answers_checkpoint_done(books, c->asked, hl_checkpoint_wait(&c->checkpoint));
    }
    if (!c->asked_at_work && hl_answers_want_checkpoint(books) && hl_checkpoint_is_idle(&c->checkpoint)) {
        c->asked_at_work = true;
        c->asked = books->checkpoint_seen;
        books->checkpoint_passes = 0;
        hl_checkpoint_begin(&c->checkpoint, books, false, false);
    }
}

static void run(hl_collector *c)
{
    hl_books *books = &c->books;
    hl_session *s = c->session;
    uint64_t next_check_ns = 0;
    for (;;) {
        uint64_t now_ns = monotonic_ns() - books->start_ns;
        hl_ticks_advance(books, now_ns);
        hl_answers_before_pass(books);
        uint64_t words = hl_books_pass(books, now_ns);
        hl_answers_after_pass(books, now_ns);
        uint32_t out = atomic_load(&s->out);
        if (out >= s->chunks * 3 / 4 || atomic_load(&s->waiting))
            hl_books_reclaim(books);
        bool ending = atomic_load(&s->root_ended) && !books->root_end_ns;
        if (now_ns >= next_check_ns || ending || books->image_count == 0) {
            take_root_status(books);
            hl_processes_check(books);
            next_check_ns = now_ns + (c->idle > IDLE_TICKS ? SECOND / 20 : SECOND / 100);
            if (!c->root_saved && root_is_done(books) && !is_over(c, now_ns)) {
                hl_checkpoint_wait(&c->checkpoint); /* children go on: the file is whole all the same */
                hl_checkpoint_begin(&c->checkpoint, books, false, false);
                save_root(c, hl_checkpoint_wait(&c->checkpoint));
            }
            if (is_over(c, now_ns))
                return;
        }
        if (hl_fold_is_due(books, HL_FOLD_WHILE_READING))
            hl_fold(books);
        answer_checkpoint(c);
        if (books->process_count && hl_checkpoint_is_due(&c->checkpoint, now_ns))
            hl_checkpoint_begin(&c->checkpoint, books, false, false);
        c->idle = words ? 0 : c->idle + 1;
        if (words && atomic_load(&s->out) >= s->wake_at)
            continue; /* much is waiting */
        bool quiet = c->idle > IDLE_TICKS && !books->rss_moves && !atomic_load(&s->root_ended);
        uint64_t pause_ns = quiet ? IDLE_SLEEP_NS : (uint64_t)books->tick_ms * 1000000;
        if (pause_ns > IDLE_SLEEP_NS)
            pause_ns = IDLE_SLEEP_NS;
        bool asked = atomic_load(&s->checkpoint_asked) != atomic_load(&s->checkpoint_done);
        if (atomic_load(&s->root_ended) || books->image_count == 0 || asked || now_ns < books->watched_until_ns)
            pause_ns = SECOND / 1000; /* about to end, about to begin, or looked at */
        sleep_until(c, now_ns + pause_ns);
    }
}

/* What is still alive is read as far as it has come; then everything is written. */
static int finish(hl_collector *c)
{
    hl_books *books = &c->books;
    bool stopped = atomic_load(&c->session->stop) && books->image_count > 0;
    atomic_store(&c->session->ended, 1);
    drain(books);
    if (atomic_load(&c->session->root_ended))
        hl_processes_add_root(books, NULL);
    for (int i = 0; i < 50; i++) { /* how children ended is known once they are reaped */
        hl_processes_check(books);
        bool unknown = false;
        for (uint32_t k = books->first_running; k < books->process_count; k++)
            unknown |= books->processes[k]->gone && !books->processes[k]->status_known;
        if (!unknown || stopped)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        books->now_ns = monotonic_ns() - books->start_ns;
    }
    if (hl_fold_is_due(books, HL_FOLD_AT_THE_END))
        hl_fold(books);
    hl_sample(books, books->now_ns);
    hl_ticks_close(books);
    int error = hl_checkpoint_wait(&c->checkpoint);
    if (error && !c->checkpoint.applied) { /* the batch that could not be applied, once more, and then the rest */
        hl_checkpoint_begin(&c->checkpoint, books, false, false);
        hl_checkpoint_wait(&c->checkpoint);
    }
    hl_checkpoint_begin(&c->checkpoint, books, true, stopped);
    return hl_checkpoint_wait(&c->checkpoint);
}

static void raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* What is large and short-lived (a batch, a folding, a copy of the database) goes back to the kernel at once: left to itself
 * malloc would soon keep it. */
static void give_memory_back(void)
{
    enum { LARGE_BYTES = 512 << 10 };
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, LARGE_BYTES);
}

int hl_collect(hl_session *session, int session_fd, const hl_collect_options *options)
{
    give_life_sign(session);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    raise_limits();
    give_memory_back();
    hl_no_memory_argument = session;
    hl_no_memory_hook = out_of_memory;

    hl_collector *c = hl_zeroed(sizeof *c);
    c->session = session;
    uint64_t tick_ms = options->tick_ns / 1000000;
    hl_books_init(&c->books, session, tick_ms < 1 ? 1 : tick_ms > 3600000 ? 3600000 : (uint32_t)tick_ms);
    c->books.start_ns = monotonic_ns();
    c->books.identity = &options->identity;
    int error = hl_checkpoint_open(&c->checkpoint, options);
    if (error)
        goto give_up;

    hl_profile_writer_watch_names(c->checkpoint.writer, &(hl_names_watch){show_names, names_are_stopped, session});
    session->collector_pid = (uint32_t)getpid();
    snprintf(session->locator, sizeof session->locator, "/proc/%d/fd/%d", (int)getpid(), session_fd);
    __atomic_store_n(&session->magic, HL_WIRE_MAGIC, __ATOMIC_RELEASE);

    if (options->unfit)
        hl_processes_add_root(&c->books, options->unfit);
    run(c);
    error = finish(c);
    hl_checkpoint_close(&c->checkpoint);
give_up:
    atomic_store(&session->ended, 1);
    hl_answers_checkpoint_done(&c->books, atomic_load(&session->checkpoint_asked), error);
    if (atomic_load(&session->root_ended) || atomic_load(&session->stop) || error)
        save_root(c, error);
    hl_books_release(&c->books);
    free(c);
    return error;
}
