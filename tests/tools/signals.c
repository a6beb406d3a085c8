/*
 * signals OUT MODE SECONDS - a handler that comes again and again, and acts whenever it has caught a hook of heapline at
 * work (libheapline.so's code; libc's allocator is not at work then, so all this is allowed). MODE:
 *   allocate        it allocates and frees, and leaves one block in 16 to the program
 *   altstack-low    the same on an alternate stack below the thread's, altstack-high: above it
 *   jump            it leaves by siglongjmp
 *   jump-altstack   the same from an alternate stack
 *   none            no signals
 */
#include "truth.h"

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

enum { KEPT = 256, LEFT = 1 << 16, ALTSTACK_BYTES = 64 << 10 };

static uintptr_t from, to; /* the library's code */
static volatile sig_atomic_t armed;
static bool jumping;
static sigjmp_buf back;
static volatile uint64_t ticks, hits;
static truth nested; /* of the handler */
static void *left[LEFT];
static volatile size_t left_count;
static void *volatile kept[KEPT];
static volatile size_t kept_bytes[KEPT];

static void handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
#if defined(__x86_64__)
    uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#else
    uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.pc;
#endif
    ticks++;
    if (!armed || at < from || at >= to)
        return;
    hits++;
    if (jumping)
        siglongjmp(back, 1);
    void *p = malloc(50 + hits % 100);
    truth_made(&nested, 50 + hits % 100);
    p = realloc(p, 3000);
    truth_moved(&nested, 50 + hits % 100, 3000);
    if (hits % 16 == 0 && left_count < LEFT) {
        left[left_count++] = p;
    } else {
        free(p);
        truth_gone(&nested, 3000);
    }
}

/* Without stdio, which allocates. */
static void find_library(void)
{
    static char maps[1 << 18];
    size_t n = 0;
    int fd = open("/proc/self/maps", O_RDONLY);
    for (ssize_t got; n < sizeof maps - 1 && (got = read(fd, maps + n, sizeof maps - 1 - n)) > 0;)
        n += (size_t)got;
    close(fd);
    for (char *line = strtok(maps, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "libheapline.so") && strstr(line, "r-xp")) {
            char *end;
            from = strtoull(line, &end, 16);
            to = strtoull(end + 1, NULL, 16);
        }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static truth t;
static volatile uint64_t rounds;

static void work(double until)
{
    while (rounds % 1024 || seconds() < until) {
        size_t i = rounds & (KEPT - 1), bytes = 100 + (rounds & 63);
        rounds++;
        void *p = kept[i];
        size_t had = kept_bytes[i];
        kept[i] = NULL;
        if (p) {
            free(p);
            truth_gone(&t, had);
        }
        p = malloc(bytes);
        truth_made(&t, bytes);
        kept_bytes[i] = bytes;
        kept[i] = p;
    }
}

int main(int argc, char **argv)
{
    char above[ALTSTACK_BYTES]; /* higher than every frame of work() */
    if (argc < 4)
        return 2;
    const char *mode = argv[2];
    double limit = atof(argv[3]);
    jumping = strncmp(mode, "jump", 4) == 0;
    find_library();
    stack_t alternate = {.ss_sp = above, .ss_size = sizeof above};
    if (strcmp(mode, "altstack-low") == 0 || strcmp(mode, "jump-altstack") == 0)
        alternate.ss_sp =
            (void *)mmap(NULL, ALTSTACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    bool on_alternate = strstr(mode, "altstack") != NULL;
    if (on_alternate && sigaltstack(&alternate, NULL))
        return 1;
    struct sigaction action = {.sa_sigaction = handler,
                               .sa_flags = SA_SIGINFO | SA_RESTART | (on_alternate ? SA_ONSTACK : 0)};
    sigaction(SIGPROF, &action, NULL);
    struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    volatile double until = seconds() + limit;
    if (limit > 0) {
        setitimer(ITIMER_PROF, &often, NULL);
        timer_t timer;
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF};
        struct itimerspec fast = {{0, 20000}, {0, 20000}};
        bool none = strcmp(mode, "none") == 0;
        if (none)
            setitimer(ITIMER_PROF, &never, NULL);
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
            timer_settime(timer, 0, none ? &(struct itimerspec){0} : &fast, NULL))
            return 1;
        sigsetjmp(back, 1);
        armed = 1;
        work(until);
        armed = 0;
        timer_delete(timer);
        setitimer(ITIMER_PROF, &never, NULL);
    }
    truth all = t;
    truth_add(&all, &nested);
    char more[128];
    snprintf(more, sizeof more, ", \"ticks\": %llu, \"hits\": %llu", (unsigned long long)ticks,
             (unsigned long long)hits);
    truth_write(&all, argv[1], more);
    return 0;
}
