/*
 * threads OUT MODE N [empty] - threads as programs have them; `empty`: the same threads, but none allocates. MODE:
 *   burst    N at once, each making and freeing 20,000 blocks
 *   idle     N that made one block each and then wait while the main thread goes on
 *   churn    N one after the other; each leaves a block to the next
 *   cancel   N that are cancelled in the middle; their clean-up handlers free
 *   named    N with names of their own, worker-0 and so on (by pthread_setname_np and prctl in turn), each keeps a block
 *   late     N whose destructors of thread-specific data free and allocate in every round, to the last
 */
#include "truth.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>

enum { MOST = 6000, BLOCKS_EACH = 20000, ROUNDS = 4 };

static pthread_t ids[MOST];
static truth truths[MOST + 1];
static pthread_barrier_t all_there, all_done;
static _Atomic int started;
static bool empty;

static void *burst(void *argument)
{
    truth *t = argument;
    uint64_t random = (uint64_t)(t - truths) + 88172645463325252;
    void *blocks[16] = {NULL};
    size_t bytes[16];
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < (empty ? 0 : BLOCKS_EACH); i++) {
        uint64_t r = truth_random(&random);
        if (blocks[r % 16]) {
            free(blocks[r % 16]);
            truth_gone(t, bytes[r % 16]);
        }
        bytes[r % 16] = r >> 20 & 255;
        blocks[r % 16] = malloc(bytes[r % 16]);
        truth_made(t, bytes[r % 16]);
    }
    pthread_barrier_wait(&all_done);
    return NULL;
}

static void *idle(void *argument)
{
    truth *t = argument;
    void *p = NULL;
    if (!empty) {
        p = malloc(1000);
        truth_made(t, 1000);
    }
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&all_done);
    if (p) {
        free(p);
        truth_gone(t, 1000);
    }
    return NULL;
}

static void *churn(void *argument)
{
    static void *_Atomic handed; /* by the thread before */
    truth *t = argument;
    if (empty)
        return NULL;
    void *p = atomic_exchange(&handed, malloc(300));
    truth_made(t, 300);
    if (p) {
        free(p);
        truth_gone(t, 300);
    }
    return NULL;
}

static void *named(void *argument)
{
    truth *t = argument;
    char name[16];
    snprintf(name, sizeof name, "worker-%d", (int)(t - truths));
    if ((t - truths) % 2)
        prctl(PR_SET_NAME, name, 0, 0, 0);
    else
        pthread_setname_np(pthread_self(), name);
    if (!empty) {
        malloc(12345);
        truth_made(t, 12345);
    }
    return NULL;
}

typedef struct holding {
    truth *t;
    void *p;
} holding;

static void let_go(void *argument)
{
    holding *h = argument;
    if (!h->p)
        return;
    free(h->p);
    truth_gone(h->t, 500);
}

static void *cancel(void *argument)
{
    holding h = {argument, NULL};
    pthread_cleanup_push(let_go, &h);
    atomic_fetch_add(&started, 1);
    for (;;) {
        if (!empty) {
            let_go(&h);
            h.p = malloc(500);
            truth_made(h.t, 500);
        }
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static pthread_key_t keys[3];

typedef struct late_block {
    truth *t;
    int key, rounds;
    size_t bytes;
} late_block;

static late_block *late_make(truth *t, int key, int rounds)
{
    size_t bytes = sizeof(late_block) + (size_t)rounds * 100;
    late_block *b = malloc(bytes);
    truth_made(t, bytes);
    *b = (late_block){t, key, rounds, bytes};
    return b;
}

static void late_destroy(void *value)
{
    late_block b = *(late_block *)value;
    free(value);
    truth_gone(b.t, b.bytes);
    if (b.rounds < ROUNDS)
        pthread_setspecific(keys[b.key], late_make(b.t, b.key, b.rounds + 1));
}

static void *late(void *argument)
{
    for (int i = 0; i < 3 && !empty; i++)
        pthread_setspecific(keys[i], late_make(argument, i, 1));
    return NULL;
}

static void start(int i, void *(*run)(void *), const pthread_attr_t *attributes)
{
    if (pthread_create(&ids[i], attributes, run, &truths[i])) {
        static const char text[] = "threads: cannot create as many threads\n";
        if (write(2, text, sizeof text - 1)) {}
        _exit(98);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const char *mode = argv[2];
    int n = atoi(argv[3]);
    empty = argc > 4;
    truth *mine = &truths[MOST];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    pthread_barrier_init(&all_there, NULL, (unsigned)n + 1);
    pthread_barrier_init(&all_done, NULL, (unsigned)n + 1);
    bool is_late = strcmp(mode, "late") == 0;
    for (int i = 0; i < 3; i++)
        pthread_key_create(&keys[i], late_destroy);
    if (strcmp(mode, "burst") == 0 || strcmp(mode, "idle") == 0) {
        for (int i = 0; i < n; i++)
            start(i, mode[0] == 'b' ? burst : idle, &small);
        pthread_barrier_wait(&all_there);
        if (mode[0] == 'i' && !empty)
            for (int i = 0; i < 1000000; i++) {
                void *p = malloc(64);
                truth_made(mine, 64);
                free(p);
                truth_gone(mine, 64);
            }
        pthread_barrier_wait(&all_done);
        for (int i = 0; i < n; i++)
            pthread_join(ids[i], NULL);
    } else if (strcmp(mode, "churn") == 0 || strcmp(mode, "named") == 0 || is_late) {
        for (int i = 0; i < n; i++) {
            start(i % MOST, is_late ? late : mode[0] == 'n' ? named : churn, &small);
            pthread_join(ids[i % MOST], NULL);
        }
    } else if (strcmp(mode, "cancel") == 0) {
        for (int i = 0; i < n; i++) {
            start(i, cancel, &small);
            while (atomic_load(&started) <= i) {}
            usleep(100);
            pthread_cancel(ids[i]);
            pthread_join(ids[i], NULL);
        }
    }
    truth all = {0};
    for (int i = 0; i <= MOST; i++)
        truth_add(&all, &truths[i]);
    truth_write(&all, argv[1], "");
    return 0;
}
