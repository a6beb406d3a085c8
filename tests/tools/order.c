/*
 * order OUT THREADS EVENTS SEED [storm | portable] - blocks of every function of the malloc family, made, moved and freed by 1 to 64
 * threads, which hand them to each other through a few boxes, so that what one thread frees another gets at once.
 * `storm`: mostly realloc, one arena, no thread caches: the old address of a moved block goes to another thread while
 * realloc is still at work. `portable`: only functions that every allocator has.
 */
#include "truth.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { BOXES = 256, MOST_THREADS = 64 };

typedef struct block {
    void *p;
    size_t bytes;
} block;

/* A block and its size go through a box as one: the size stands beside the pointer, in a cell that only the holder uses. */
static _Atomic(block *) boxes[BOXES];
static block cells[MOST_THREADS * (BOXES + 2)];
static pthread_barrier_t start, end;
static uint64_t events_each, seed;
static bool storm, portable;
static truth truths[MOST_THREADS];

static size_t some_size(uint64_t r)
{
    if (r % 1000 == 0)
        return (r >> 30) % 3000000; /* above the threshold at which libc maps */
    if (r % 50 == 0)
        return 1 + (r >> 30) % 60000;
    return (r >> 30) % 400;
}

static void *make(uint64_t r, size_t bytes)
{
    void *p = NULL;
    switch (portable ? (r >> 50) % 4 : (r >> 50) % 16) {
    case 0:
        return calloc(1, bytes);
    case 1:
        return posix_memalign(&p, 64, bytes) ? NULL : p;
    case 2:
        return aligned_alloc(32, bytes);
    case 3:
        return memalign(128, bytes);
    case 4:
        return (r >> 55) % 16 ? malloc(bytes) : valloc(bytes);
    case 5:
        return (r >> 55) % 16 ? malloc(bytes) : pvalloc(bytes);
    case 6:
        return realloc(NULL, bytes);
    case 7:
        return reallocarray(NULL, bytes, 1);
    case 8:
        return calloc(bytes, 1);
    default:
        return malloc(bytes);
    }
}

static void *run(void *argument)
{
    uintptr_t number = (uintptr_t)argument;
    truth t = {0};
    uint64_t random = (seed + 1) * UINT64_C(88172645463325252) + number * 7919;
    block *cell = &cells[number * (BOXES + 2)]; /* cells wander between threads with their blocks */
    block *spare[MOST_THREADS * (BOXES + 2)];
    int spares = 0;
    for (int i = 0; i < BOXES + 2; i++)
        spare[spares++] = cell + i;
    pthread_barrier_wait(&start);
    for (uint64_t i = 0; i < events_each; i++) {
        uint64_t r = truth_random(&random);
        block *b = NULL;
        if (spares > 0 && r % 8 != 0) {
            size_t bytes = some_size(r);
            b = spare[--spares];
            b->p = make(r, bytes);
            b->bytes = bytes;
            if (!b->p)
                abort();
            truth_made(&t, bytes);
        }
        b = atomic_exchange(&boxes[(r >> 8) % BOXES], b);
        if (!b)
            continue;
        unsigned what = (unsigned)(r >> 20) % (storm ? 4 : 16);
        if (what == 0 || (storm && what < 3)) {
            size_t bytes = 1 + some_size(truth_random(&random));
            void *p = what == 1 ? reallocarray(b->p, 1, bytes) : realloc(b->p, bytes);
            if (!p)
                abort();
            truth_moved(&t, b->bytes, bytes);
            *b = (block){p, bytes};
        } else if (what == 4) {
            void *p = realloc(b->p, 0);
            if (!p) { /* glibc's has freed it */
                truth_gone(&t, b->bytes);
                spare[spares++] = b;
                continue;
            }
            truth_moved(&t, b->bytes, 0);
            *b = (block){p, 0};
        }
        if ((r >> 28) % 4 == 0) { /* back into some box, unless that is taken */
            block *none = NULL;
            if (atomic_compare_exchange_strong(&boxes[(r >> 40) % BOXES], &none, b))
                continue;
        }
        free(b->p);
        truth_gone(&t, b->bytes);
        spare[spares++] = b;
    }
    truths[number] = t;
    pthread_barrier_wait(&end);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    int threads = atoi(argv[2]);
    events_each = strtoull(argv[3], NULL, 0);
    seed = strtoull(argv[4], NULL, 0);
    storm = argc > 5 && strcmp(argv[5], "storm") == 0;
    portable = argc > 5 && strcmp(argv[5], "portable") == 0;
    if (storm)
        mallopt(M_ARENA_MAX, 1);
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    pthread_barrier_init(&end, NULL, (unsigned)threads);
    pthread_t ids[MOST_THREADS];
    pthread_attr_t small; /* so small that libc keeps all stacks: else some ends of threads free, and others do not */
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 512 << 10);
    for (int i = 1; i < threads; i++)
        if (pthread_create(&ids[i], &small, run, (void *)(uintptr_t)i))
            return 1;
    run(NULL);
    for (int i = 1; i < threads; i++)
        pthread_join(ids[i], NULL);
    truth all = {0};
    for (int i = 0; i < threads; i++)
        truth_add(&all, &truths[i]);
    truth_write(&all, argv[1], "");
    return 0;
}
