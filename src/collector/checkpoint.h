/*
 * checkpoint.h - from books to the profile on disk.
 *
 * The collector's thread copies what has changed into a batch; a second thread applies it to the database in memory and
 * publishes the file, so that no disk stalls the rings. One batch is under way at a time. How often: after 50 ms, 100, 200 ..
 * of the recording, then each second; and never so often that it takes more than 2 % of a core.
 */
#ifndef HL_COLLECTOR_CHECKPOINT_H
#define HL_COLLECTOR_CHECKPOINT_H

#include "books.h"

#include <pthread.h>

typedef struct hl_checkpoint {
    hl_profile_writer *writer;
    hl_batch batch;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool has_thread, discard;
    enum { HL_CHECKPOINT_IDLE, HL_CHECKPOINT_WORKING, HL_CHECKPOINT_QUIT } state; /* under `lock` */
    bool final;
    bool applied;     /* the database has the batch; what failed was only the publishing */
    int error;        /* of the last attempt */
    uint64_t cost_ns; /* processor time of the last one, both threads */
    uint64_t fill_ns, next_ns;
} hl_checkpoint;

int hl_checkpoint_open(hl_checkpoint *checkpoint, const hl_collect_options *options);

/* Whether one is due and the last one is done. */
bool hl_checkpoint_is_due(hl_checkpoint *checkpoint, uint64_t now_ns);
bool hl_checkpoint_is_idle(hl_checkpoint *checkpoint);
/* Fills a batch and hands it to the thread. */
void hl_checkpoint_begin(hl_checkpoint *checkpoint, hl_books *books, bool final, bool stopped);
/* Waits for the one under way, if any. Its error. */
int hl_checkpoint_wait(hl_checkpoint *checkpoint);
/* The writer's words for its last error. */
const char *hl_checkpoint_error(hl_checkpoint *checkpoint);
void hl_checkpoint_close(hl_checkpoint *checkpoint);

/* Processor time of this process so far, both threads, and its highest resident memory. */
void hl_checkpoint_cost(uint64_t *cpu_ns, uint64_t *rss_peak_bytes);

/* Adds all that has changed since the last call, or everything after ticks doubled or rows folded. */
void hl_books_fill(hl_books *books, hl_batch *batch, bool final, bool stopped);

#endif
