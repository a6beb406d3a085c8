/*
 * forks OUT CHILDREN EVENTS [raw] - forks children one after the other, eight alive at a time, while two threads of the
 * parent allocate. Each child makes EVENTS blocks of 100 bytes, frees all but 10, frees one block that it inherited, and
 * ends by _exit. `raw`: by the system call, past every hook. Truth is the parent's own; children are in "children".
 */
#include "truth.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { THREADS = 2, AT_ONCE = 8, CHILD_BYTES = 100, CHILD_KEEPS = 10 };

static atomic_bool stop;
static truth truths[THREADS];

static void *churn(void *argument)
{
    truth *t = argument;
    uint64_t random = (uint64_t)(t - truths) + 88172645463325252;
    void *blocks[64] = {NULL};
    size_t bytes[64];
    while (!atomic_load(&stop)) {
        uint64_t r = truth_random(&random);
        size_t i = r % 64;
        if (blocks[i]) {
            free(blocks[i]);
            truth_gone(t, bytes[i]);
        }
        bytes[i] = r >> 20 & 1023;
        blocks[i] = malloc(bytes[i]);
        truth_made(t, bytes[i]);
    }
    return NULL;
}

static void child(void *inherited, int events)
{
    for (int i = 0; i < events; i++) {
        void *p = malloc(CHILD_BYTES);
        if (i >= CHILD_KEEPS)
            free(p);
    }
    free(inherited);
    _exit(3);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int children = atoi(argv[2]), events = atoi(argv[3]);
    bool raw = argc > 4;
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS && children; i++)
        pthread_create(&ids[i], NULL, churn, &truths[i]);
    truth t = {0};
    void *inherited = malloc(77);
    truth_made(&t, 77);
    int alive = 0, status, bad = 0;
    for (int i = 0; i < children; i++) {
        pid_t pid = raw ? (pid_t)syscall(SYS_clone, 17 /* SIGCHLD */, 0, 0, 0, 0) : fork();
        if (pid == 0)
            child(inherited, events);
        if (pid < 0)
            return 1;
        if (++alive == AT_ONCE && wait(&status) > 0) {
            bad += status != 3 << 8;
            alive--;
        }
    }
    while (wait(&status) > 0)
        bad += status != 3 << 8;
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS && children; i++) {
        pthread_join(ids[i], NULL);
        truth_add(&t, &truths[i]);
    }
    char more[128];
    snprintf(more, sizeof more, ", \"children\": {\"allocations\": %d, \"live_bytes\": %d, \"bad\": %d}",
             children * events, children * CHILD_BYTES * (events < CHILD_KEEPS ? events : CHILD_KEEPS), bad);
    truth_write(&t, argv[1], more);
    return 0;
}
