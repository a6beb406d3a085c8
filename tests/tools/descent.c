/*
 * descent OUT turns SEED LIVES
 * descent OUT together SEED LIVES MS - a random tree of processes that know what each of them, and the tree as a whole,
 * has alive: OUT is JSON with a member for each process and the tree's peak. LIVES is how many processes at most.
 *
 * turns: who makes a child waits for it, so there is one order of all events, and all is exact. Children come by fork and
 * posix_spawn, execute this program anew, free and reallocate what they inherited, and end by exit, _exit or SIGKILL, of
 * their own or their parent's hand.
 * together: in each round children live at the same time. Each first takes a large block, then all make small events for a
 * while (MS); some are killed meanwhile. `range` is by how much the heap of each went up and down.
 *
 * What is known lies in shared memory. An event and its record are one step under a lock, and nobody is killed by another
 * who does not hold it.
 */
#include "truth.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { MOST_LIVES = 200, BLOCKS = 48, MOST_DEPTH = 4, AT_ONCE = 5 };

typedef struct life {
    truth t; /* of the process; frees by exec are in it */
    uint64_t inherited_frees;
    int32_t pid;
    int parent, depth, images, wait_status;
    _Atomic int ready_to_die;
    bool arrived, dead;
    int64_t lowest, highest; /* of live_bytes */
} life;

typedef struct known {
    _Atomic int lock, lives, waiting, phase;
    int most_lives;
    uint64_t seed;
    char path[4096]; /* OUT */
    int64_t tree, tree_peak;
    life life[MOST_LIVES];
} known;

static known *k;
static int me, shared_fd;
static const char *program;
static uint64_t random_state;
static struct {
    char *at;
    size_t bytes;
    bool inherited;
} block[BLOCKS];

static uint64_t next(uint64_t below) { return (truth_random(&random_state) >> 11) % below; }

static void lock(void)
{
    while (atomic_exchange(&k->lock, 1))
        sched_yield();
}
static void unlock(void) { atomic_store(&k->lock, 0); }

static void pause_ms(unsigned ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }

/* ---------------------------------------------------------------------------------------------------------- events */

static void tree_changed(int64_t by)
{
    k->tree += by;
    if (k->tree > k->tree_peak)
        k->tree_peak = k->tree;
    life *l = &k->life[me];
    if (l->t.live_bytes < l->lowest)
        l->lowest = l->t.live_bytes;
    if (l->t.live_bytes > l->highest)
        l->highest = l->t.live_bytes;
}

static size_t some_size(size_t largest)
{
    uint64_t r = next(10);
    return r < 6 ? next(500) : next(r < 9 && largest > 9000 ? 9000 : largest);
}

static void take(int at, size_t bytes)
{
    life *l = &k->life[me];
    void *p = NULL;
    lock();
    switch (next(4)) {
    case 0:
        p = calloc(1, bytes);
        break;
    case 1:
        if (posix_memalign(&p, 64, bytes))
            _exit(98);
        break;
    default:
        p = malloc(bytes);
    }
    if (!p)
        _exit(98);
    truth_made(&l->t, bytes);
    tree_changed((int64_t)bytes);
    unlock();
    block[at].at = p;
    block[at].bytes = bytes;
    block[at].inherited = false;
}

/* Not of block `but`. */
static void one_event(size_t largest, int but)
{
    life *l = &k->life[me];
    int at = (int)next(BLOCKS);
    if (at == but)
        return;
    if (!block[at].at) {
        take(at, some_size(largest));
        return;
    }
    size_t old = block[at].bytes, new = some_size(largest) + 1;
    bool moves = next(3) == 0;
    lock();
    if (moves) {
        block[at].at = realloc(block[at].at, new);
        if (!block[at].at)
            _exit(98);
        if (block[at].inherited) {
            l->inherited_frees++;
            truth_made(&l->t, new);
            tree_changed((int64_t) new);
        } else {
            truth_moved(&l->t, old, new);
            tree_changed((int64_t) new - (int64_t)old);
        }
        block[at].bytes = new;
        block[at].inherited = false;
    } else {
        free(block[at].at);
        block[at].at = NULL;
        if (block[at].inherited) {
            l->inherited_frees++;
        } else {
            truth_gone(&l->t, old);
            tree_changed(-(int64_t)old);
        }
    }
    unlock();
}

/* ------------------------------------------------------------------------------------------------------- processes */

static void seed_random(void)
{
    random_state = (k->seed * 1000 + (uint64_t)me) * 100 + (uint64_t)k->life[me].images + 1;
    random_state *= UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < 8; i++)
        next(2);
}

/* The life that a child will have; -1: there are enough. */
static int new_life(void)
{
    if (atomic_load(&k->lives) >= k->most_lives)
        return -1;
    int n = atomic_fetch_add(&k->lives, 1);
    if (n >= k->most_lives) {
        atomic_fetch_sub(&k->lives, 1);
        return -1;
    }
    k->life[n].parent = me;
    k->life[n].depth = k->life[me].depth + 1;
    return n;
}

static char numbers[3][16];
static char *words[6];
static void make_words(int who)
{
    snprintf(numbers[0], sizeof numbers[0], "%d", shared_fd);
    snprintf(numbers[1], sizeof numbers[1], "%d", who);
    words[0] = (char *)program;
    words[1] = (char *)"image";
    words[2] = numbers[0];
    words[3] = numbers[1];
    words[4] = NULL;
}

static void begin_image(int who)
{
    me = who;
    k->life[me].pid = getpid();
    k->life[me].images++;
    k->life[me].lowest = INT64_MAX;
    k->life[me].highest = 0;
    seed_random();
}

static void inherit(void)
{
    for (int i = 0; i < BLOCKS; i++)
        block[i].inherited = block[i].at != NULL;
}

/* Under the lock. */
static void leave_tree(life *l)
{
    if (!l->dead)
        k->tree -= l->t.live_bytes;
    l->dead = true;
}

/* Waits until it has ended, or wants to be killed. */
static void reap(int who)
{
    life *l = &k->life[who];
    for (siginfo_t info = {0}; !info.si_pid; sched_yield()) {
        if (atomic_load(&l->ready_to_die))
            kill(l->pid, SIGKILL);
        if (waitid(P_PID, (id_t)l->pid, &info, WEXITED | WNOHANG | WNOWAIT))
            _exit(93);
    }
    waitpid(l->pid, &l->wait_status, 0);
    lock();
    leave_tree(l);
    unlock();
}

static void execute_anew(void)
{
    life *l = &k->life[me];
    make_words(me);
    lock();
    k->tree -= l->t.live_bytes; /* released by the exec */
    l->t.frees = l->t.allocations;
    l->t.freed_bytes += (uint64_t)l->t.live_bytes;
    l->t.live_bytes = 0;
    unlock();
    execv(program, words);
    _exit(97);
}

static _Noreturn void end(void)
{
    switch (next(5)) {
    case 0:
        exit((int)next(100));
    case 1:
        kill(getpid(), SIGKILL);
        _exit(96);
    case 2:
        atomic_store(&k->life[me].ready_to_die, 1);
        for (;;)
            pause();
    default:
        _exit((int)next(100));
    }
}

static void live_in_turns(void);

static void child_in_turn(void)
{
    int who = new_life();
    if (who < 0)
        return;
    if (next(4) == 0) {
        make_words(who);
        pid_t pid;
        if (posix_spawn(&pid, program, NULL, NULL, words, environ))
            _exit(95);
        k->life[who].pid = pid;
    } else {
        pid_t pid = fork();
        if (pid < 0)
            _exit(95);
        if (pid == 0) {
            begin_image(who);
            inherit();
            live_in_turns();
            end();
        }
        k->life[who].pid = pid;
    }
    reap(who);
}

static void live_in_turns(void)
{
    life *l = &k->life[me];
    for (uint64_t n = 20 + next(80); n > 0; n--) {
        uint64_t r = next(100);
        if (r < 6 && l->depth < MOST_DEPTH)
            child_in_turn();
        else if (r == 6 && l->images < 3)
            execute_anew();
        else if (r == 7)
            execv("/no/such/program", words);
        else
            one_event(300000, -1);
    }
}

/* ---------------------------------------------------------------------------------------------------------- rounds */

static void arrive(int phase, int all)
{
    if (atomic_fetch_add(&k->waiting, 1) + 1 == all) {
        atomic_store(&k->waiting, 0);
        atomic_store(&k->phase, phase);
    }
}
static void wait_for(int phase)
{
    while (atomic_load(&k->phase) < phase)
        pause_ms(1);
}

/* All have their large block before one goes on, and nobody leaves of its own will before all have been there for `ms`. */
static void live_in_round(int phase, int all, unsigned ms)
{
    int own = (int)next(BLOCKS);
    block[own].at = NULL; /* perhaps one of its parent's */
    take(own, 100000 + next(3000000));
    arrive(phase, all);
    wait_for(phase);
    for (unsigned i = 0; i < ms / 4; i++) {
        for (uint64_t n = next(20); n > 0; n--)
            one_event(2000, own);
        pause_ms(4);
    }
    lock();
    k->life[me].arrived = true;
    unlock();
    arrive(phase + 1, all);
    wait_for(phase + 1);
}

static void rounds(unsigned ms)
{
    for (int round = 0; atomic_load(&k->lives) + AT_ONCE <= k->most_lives; round++) {
        int first = atomic_load(&k->lives), n = 2 + (int)next(AT_ONCE - 1), phase = 2 * round + 1;
        for (uint64_t i = next(30); i > 0; i--)
            one_event(300000, -1);
        for (int i = 0; i < n; i++) {
            int who = new_life();
            pid_t pid = fork();
            if (pid < 0)
                _exit(95);
            if (pid == 0) {
                begin_image(who);
                inherit();
                live_in_round(phase, n, ms);
                end();
            }
            k->life[who].pid = pid;
        }
        wait_for(phase);
        if (next(2)) {
            life *victim = &k->life[first + (int)next((uint64_t)n)];
            pause_ms(ms / 2);
            lock();
            bool early = !victim->arrived;
            if (early) {
                kill(victim->pid, SIGKILL);
                leave_tree(victim);
            }
            unlock();
            if (early)
                arrive(phase + 1, n);
        }
        wait_for(phase + 1);
        for (int i = 0; i < n; i++)
            reap(first + i);
    }
}

/* ----------------------------------------------------------------------------------------------------------- output */

static void tell(void)
{
    static char text[MOST_LIVES * 400];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"tree_peak\": %lld, \"processes\": [", (long long)k->tree_peak);
    for (int i = 0; i < atomic_load(&k->lives); i++) {
        const life *l = &k->life[i];
        const truth *t = &l->t;
        n += (size_t)snprintf(
            text + n, sizeof text - n,
            "%s\n{\"pid\": %d, \"parent\": %d, \"images\": %d, \"status\": %d, \"allocations\": "
            "%llu, \"allocated\": %llu, \"frees\": %llu, \"freed\": %llu, \"live\": %lld, \"peak\": "
            "%lld, \"inherited_frees\": %llu, \"range\": %lld}",
            i ? "," : "", l->pid, l->parent, l->images, l->wait_status, (unsigned long long)t->allocations,
            (unsigned long long)t->allocated_bytes, (unsigned long long)t->frees, (unsigned long long)t->freed_bytes,
            (long long)t->live_bytes, (long long)t->peak_bytes, (unsigned long long)l->inherited_frees,
            (long long)(l->highest > l->lowest ? l->highest - l->lowest : 0));
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "]}\n");
    int fd = open(k->path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, text, n) != (ssize_t)n)
        _exit(99);
    close(fd);
}

static void map_shared(void)
{
    k = mmap(NULL, sizeof *k, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
    if (k == MAP_FAILED)
        _exit(94);
}

/* Also of what execute_anew and posix_spawn begin. */
int main(int argc, char **argv)
{
    static char self[4096];
    if (argc < 4 || readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return 2;
    program = self;
    if (strcmp(argv[1], "image") == 0) {
        shared_fd = atoi(argv[2]);
        map_shared();
        begin_image(atoi(argv[3]));
        live_in_turns();
        if (me != 0)
            end();
        tell();
        return 0;
    }
    if (argc < 5 || (shared_fd = memfd_create("known", 0)) < 0 || ftruncate(shared_fd, sizeof *k))
        return 2;
    map_shared();
    snprintf(k->path, sizeof k->path, "%s", argv[1]);
    k->seed = strtoull(argv[3], NULL, 10);
    k->most_lives = atoi(argv[4]) < MOST_LIVES ? atoi(argv[4]) : MOST_LIVES;
    atomic_store(&k->lives, 1);
    k->life[0].parent = -1;
    begin_image(0);
    if (strcmp(argv[2], "turns") == 0)
        live_in_turns();
    else if (argc > 5)
        rounds((unsigned)atoi(argv[5]));
    tell();
    return 0;
}
