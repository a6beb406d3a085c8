/*
 * stacks.c - what the stack of an allocation costs, by its depth and by how much of it has changed since the last one.
 *
 *     stacks ITERATIONS
 *
 * For 10, 30 and 60 frames, of which 0, 2 and 5 are others than in the iteration before: nanoseconds of an iteration that
 * makes and frees one block, and of one that asks libgcc (backtrace) or libunwind (unw_backtrace, when it is installed) for
 * the whole stack. JSON lines. Under a recorder the first one is what it adds; the difference between depths is the price
 * of a frame that is as it was, that between changes the price of a new one.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BLOCK_BYTES = 64, MOST_FRAMES = 256 };

typedef enum action { NOTHING, ALLOCATE, BACKTRACE, LIBUNWIND } action;

static int (*unwind_by_libunwind)(void **frames, int room);
static void *frames[MOST_FRAMES];
static void *volatile kept;
static int seen;

__attribute__((noinline)) static void act(action what)
{
    switch (what) {
    case NOTHING:
        break;
    case ALLOCATE:
        kept = malloc(BLOCK_BYTES);
        free(kept);
        break;
    case BACKTRACE:
        seen = backtrace(frames, MOST_FRAMES);
        break;
    case LIBUNWIND:
        seen = unwind_by_libunwind(frames, MOST_FRAMES);
        break;
    }
    __asm__ volatile("");
}

/* Two ways down, so that the frames of one iteration are others than those of the one before. */
__attribute__((noinline)) static void left(int n, action what)
{
    if (n > 1)
        left(n - 1, what);
    else
        act(what);
    __asm__ volatile("");
}
__attribute__((noinline)) static void right(int n, action what)
{
    if (n > 1)
        right(n - 1, what);
    else
        act(what);
    __asm__ volatile("");
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* `depth` frames, then the loop; `fresh` more in each iteration, the innermost of which is act's own. */
__attribute__((noinline)) static double loop(int depth, int fresh, action what, long iterations)
{
    double ns = 0;
    if (depth > 1) {
        ns = loop(depth - 1, fresh, what, iterations);
    } else {
        for (long i = -iterations / 10; i < iterations; i++) {
            if (i == 0)
                ns = -now_ns();
            if (fresh < 2)
                act(what);
            else if (i % 2)
                left(fresh - 1, what);
            else
                right(fresh - 1, what);
        }
        ns = (ns + now_ns()) / (double)iterations;
    }
    __asm__ volatile("");
    return ns;
}

int main(int argc, char **argv)
{
    static const int depths[] = {10, 30, 60}, news[] = {0, 2, 5};
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : 1000000;
    void *library = dlopen("libunwind.so.8", RTLD_NOW);
    *(void **)&unwind_by_libunwind = library ? dlsym(library, "unw_backtrace") : NULL;
    loop(1, 0, BACKTRACE, 1);
    int outside = seen - 2; /* backtrace counts loop and act, and what has called main */
    for (unsigned d = 0; d < sizeof depths / sizeof *depths; d++) {
        for (unsigned n = 0; n < sizeof news / sizeof *news; n++) {
            int depth = depths[d] - outside - (news[n] ? news[n] : 1);
            double empty = loop(depth, news[n], NOTHING, iterations);
            double allocate = loop(depth, news[n], ALLOCATE, iterations);
            double gcc = loop(depth, news[n], BACKTRACE, iterations / 20 + 1);
            printf("{\"frames\": %d, \"new\": %d, \"allocate_ns\": %.2f, \"backtrace_ns\": %.1f", seen, news[n],
                   allocate - empty, gcc - empty);
            if (unwind_by_libunwind)
                printf(", \"libunwind_ns\": %.1f", loop(depth, news[n], LIBUNWIND, iterations / 20 + 1) - empty);
            printf("}\n");
        }
    }
    return 0;
}
