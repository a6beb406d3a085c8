/* checkpoint.c - the second thread, and when it gets a batch. */
#include "checkpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)

static uint64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

void hl_checkpoint_cost(uint64_t *cpu_ns, uint64_t *rss_peak_bytes)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    *cpu_ns = (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * SECOND +
              (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000;
    *rss_peak_bytes = (uint64_t)use.ru_maxrss * 1024;
}

/* Batches of everything are rare and large: they leave no room behind. */
static void give_back(hl_batch *batch)
{
    if (batch->complete)
        hl_batch_release(batch);
    else
        hl_batch_clear(batch);
}

static void *work(void *argument)
{
    hl_checkpoint *c = argument;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (c->state == HL_CHECKPOINT_IDLE)
            pthread_cond_wait(&c->changed, &c->lock);
        if (c->state == HL_CHECKPOINT_QUIT)
            break;
        bool final = c->final, applied = c->applied;
        pthread_mutex_unlock(&c->lock);

        uint64_t before = thread_cpu_ns();
        int error = applied || c->discard ? 0 : hl_profile_writer_apply(c->writer, &c->batch);
        if (error == 0) {
            applied = true;
            give_back(&c->batch); /* before the file is packed, which takes memory, too */
            if (!c->discard)
                error = hl_profile_writer_publish(c->writer, final);
        }
        uint64_t cost = thread_cpu_ns() - before;

        pthread_mutex_lock(&c->lock);
        c->applied = applied;
        c->error = error;
        c->cost_ns = cost;
        c->state = HL_CHECKPOINT_IDLE;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int hl_checkpoint_open(hl_checkpoint *c, const hl_collect_options *options)
{
    memset(c, 0, sizeof *c);
    int error = hl_profile_writer_open(&c->writer, options->output, &options->identity);
    if (error)
        return error;
    hl_profile_writer_ask_cost(c->writer, hl_checkpoint_cost);
    c->discard = options->discard;
    c->applied = true; /* nothing waits to be applied */
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = -pthread_create(&c->thread, NULL, work, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        hl_profile_writer_close(c->writer);
        return error;
    }
    c->has_thread = true;
    return 0;
}

bool hl_checkpoint_is_idle(hl_checkpoint *c)
{
    pthread_mutex_lock(&c->lock);
    bool idle = c->state == HL_CHECKPOINT_IDLE;
    pthread_mutex_unlock(&c->lock);
    return idle;
}

bool hl_checkpoint_is_due(hl_checkpoint *c, uint64_t now_ns)
{
    return now_ns >= c->next_ns && hl_checkpoint_is_idle(c);
}

void hl_checkpoint_begin(hl_checkpoint *c, hl_books *books, bool final, bool stopped)
{
    pthread_mutex_lock(&c->lock);
    bool applied = c->applied;
    uint64_t cost_ns = c->cost_ns;
    pthread_mutex_unlock(&c->lock);
    uint64_t before = thread_cpu_ns();
    if (applied) { /* else the batch at hand is tried again first */
        hl_batch_clear(&c->batch);
        if (hl_fold_is_due(books, HL_FOLD_BEFORE_WRITING))
            hl_fold(books);
        hl_books_fill(books, &c->batch, final, stopped);
    }
    c->fill_ns = thread_cpu_ns() - before;

    pthread_mutex_lock(&c->lock);
    c->applied = false;
    c->final = final;
    c->state = HL_CHECKPOINT_WORKING;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    /* Early ones come at 50 ms, 100, 200 ..: of a recording that is cut short at least half is there. */
    uint64_t pause_ns = 50 * (c->fill_ns + cost_ns), least_ns = books->now_ns;
    if (least_ns < SECOND / 20)
        least_ns = SECOND / 20;
    if (least_ns > SECOND)
        least_ns = SECOND;
    c->next_ns = books->now_ns + (pause_ns > least_ns ? pause_ns : least_ns);
}

int hl_checkpoint_wait(hl_checkpoint *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->state == HL_CHECKPOINT_WORKING)
        pthread_cond_wait(&c->changed, &c->lock);
    int error = c->error;
    pthread_mutex_unlock(&c->lock);
    return error;
}

const char *hl_checkpoint_error(hl_checkpoint *c) { return hl_profile_writer_error(c->writer); }

void hl_checkpoint_close(hl_checkpoint *c)
{
    if (c->has_thread) {
        hl_checkpoint_wait(c);
        pthread_mutex_lock(&c->lock);
        c->state = HL_CHECKPOINT_QUIT;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->lock);
    }
    hl_batch_release(&c->batch);
    if (c->writer)
        hl_profile_writer_close(c->writer);
}
