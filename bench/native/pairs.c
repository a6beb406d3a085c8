/*
 * pairs.c - what one malloc and free cost, in C: the smallest program that a recorder can slow down.
 *
 *     pairs tight THREADS PAIRS     each thread: malloc(64), one store, free, again and again
 *     pairs churn THREADS PAIRS     each thread: 100,000 live blocks, a random one replaced by one of random size
 *     pairs live THREADS BLOCKS     BLOCKS small blocks in all, alive until the end
 *
 * Prints the nanoseconds a pair (or block) took in each thread, and a checksum. Built with -O2 -fno-builtin, so that the
 * compiler cannot take a pair away.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIGHT_BYTES = 64, CHURN_LIVE = 100000, THREADS_MAX = 64 };

typedef struct thread_work {
    pthread_t thread;
    pthread_barrier_t *start;
    void (*run)(struct thread_work *self);
    uint64_t number, count, checksum;
    double ns_each;
} thread_work;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void *get(size_t bytes)
{
    void *block = malloc(bytes);
    if (block == NULL)
        exit(3);
    return block;
}

static void tight(thread_work *self)
{
    for (uint64_t i = 0; i < self->count; i++) {
        volatile uint8_t *block = get(TIGHT_BYTES);
        *block = (uint8_t)i;
        self->checksum += *block;
        free((void *)block);
    }
}

static void churn(thread_work *self)
{
    uint8_t **live = calloc(CHURN_LIVE, sizeof *live);
    uint64_t random = self->number + 1;
    if (live == NULL)
        exit(3);
    for (uint64_t i = 0; i < self->count; i++) {
        uint64_t slot = next_random(&random) % CHURN_LIVE;
        size_t bytes = 16 + next_random(&random) % 1000;
        free(live[slot]);
        live[slot] = get(bytes);
        live[slot][0] = (uint8_t)bytes;
        self->checksum += bytes;
    }
    for (size_t i = 0; i < CHURN_LIVE; i++)
        free(live[i]);
    free(live);
}

static void live(thread_work *self)
{
    void **last = NULL;
    for (uint64_t i = 0; i < self->count; i++) {
        void **block = get(24);
        *block = last;
        last = block;
    }
    for (; last != NULL; last = *last)
        self->checksum++;
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void *run_thread(void *argument)
{
    thread_work *self = argument;
    pthread_barrier_wait(self->start);
    double start = now_ns();
    self->run(self);
    self->ns_each = (now_ns() - start) / (double)self->count;
    return NULL;
}

int main(int argc, char **argv)
{
    static thread_work work[THREADS_MAX];
    static const struct {
        const char *name;
        void (*run)(thread_work *self);
    } kinds[] = {{"tight", tight}, {"churn", churn}, {"live", live}};
    int threads = argc == 4 ? atoi(argv[2]) : 0;
    uint64_t count = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    void (*run)(thread_work * self) = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && argc == 4; i++)
        if (strcmp(argv[1], kinds[i].name) == 0)
            run = kinds[i].run;
    if (run == NULL || threads < 1 || threads > THREADS_MAX || count < (uint64_t)threads) {
        fprintf(stderr, "usage: pairs tight|churn|live THREADS COUNT\n");
        return 2;
    }

    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        work[i] = (thread_work){.start = &start, .run = run, .number = (uint64_t)i, .count = count / (uint64_t)threads};
        if (pthread_create(&work[i].thread, NULL, run_thread, &work[i]) != 0)
            return 3;
    }
    double ns_each = 0;
    uint64_t checksum = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(work[i].thread, NULL);
        ns_each += work[i].ns_each / threads;
        checksum += work[i].checksum;
    }
    printf("checksum %" PRIu64 "\n", checksum);
    printf("ns_each %.3f\n", ns_each);
    return 0;
}
