/*
 * family OUT none|all - calls every function of the malloc family in each way that succeeds, fails or means something
 * special, and prints what came back (null or not, errno): the same with and without heapline, or heapline changes results.
 */
#include "truth.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>

static truth t;
static char said[16384];
static size_t said_bytes;

enum { UNTOUCHED = 4242 };

static void say(const char *what, const void *p, int error)
{
    said_bytes += (size_t)snprintf(said + said_bytes, sizeof said - said_bytes, "%s: %s, error %d, errno %d\n", what,
                                   p ? "a block" : "null", error, errno);
    errno = UNTOUCHED;
}

static void *made(const char *what, void *p, size_t bytes)
{
    say(what, p, 0);
    if (p)
        truth_made(&t, bytes);
    return p;
}

static void gone(const char *what, void *p, size_t bytes)
{
    free(p);
    say(what, NULL, 0);
    if (p)
        truth_gone(&t, bytes);
}

static void allocations(void)
{
    volatile size_t huge = (size_t)1 << 62;
    void *p;
    gone("free", made("malloc", malloc(1001), 1001), 1001);
    gone("free", made("malloc of nothing", malloc(0), 0), 0);
    made("malloc of too much", malloc(huge), huge);
    gone("free", made("calloc", calloc(7, 143), 1001), 1001);
    gone("free", made("calloc of no members", calloc(0, 8), 0), 0);
    made("calloc, overflow", calloc(huge, 8), 0);
    made("calloc of too much", calloc(huge, 1), 0);
    gone("free of null", NULL, 0);

    p = (void *)&t;
    int error = posix_memalign(&p, 256, 1002);
    say("posix_memalign", p, error);
    truth_made(&t, 1002);
    gone("free", p, 1002);
    p = NULL;
    error = posix_memalign(&p, 3, 1002);
    say("posix_memalign, alignment 3", p, error);
    error = posix_memalign(&p, 24, 1002);
    say("posix_memalign, alignment 24", p, error);
    error = posix_memalign(&p, 0, 1002);
    say("posix_memalign, alignment 0", p, error);
    error = posix_memalign(&p, 64, huge);
    say("posix_memalign of too much", p, error);
    gone("free", made("aligned_alloc", aligned_alloc(512, 1024), 1024), 1024);
    made("aligned_alloc of too much", aligned_alloc(512, huge), 0);
    gone("free", made("memalign", memalign(64, 77), 77), 77);
    made("memalign of too much", memalign(64, huge), 0);
    gone("free", made("valloc", valloc(78), 78), 78);
    made("valloc of too much", valloc(huge), 0);
    gone("free", made("pvalloc", pvalloc(79), 79), 79);
    gone("free", made("mapped by libc", malloc(5000001), 5000001), 5000001);
}

static void reallocations(void)
{
    volatile size_t huge = (size_t)1 << 62;
    void *p = made("realloc of null", realloc(NULL, 500), 500);
    void *q = realloc(p, 90001);
    say("realloc, growing", q, 0);
    truth_moved(&t, 500, 90001);
    p = realloc(q, 3);
    say("realloc, shrinking", p, 0);
    truth_moved(&t, 90001, 3);
    q = realloc(p, huge);
    say("realloc to too much", q, 0);
    q = reallocarray(p, huge, 8);
    say("reallocarray, overflow", q, 0);
    q = reallocarray(p, 10, 101);
    say("reallocarray", q, 0);
    truth_moved(&t, 3, 1010);
    p = realloc(q, 0);
    say("realloc to nothing", p, 0);
    truth_gone(&t, 1010);
    for (int i = 0; i < 1000; i++) {
        p = malloc(777);
        truth_made(&t, 777);
        if (realloc(p, 0))
            abort();
        truth_gone(&t, 777);
    }
    p = made("reallocarray of null", reallocarray(NULL, 3, 5), 15);
    q = realloc(p, 15);
    say("realloc, same size", q, 0);
    truth_moved(&t, 15, 15);
    p = realloc(q, 6000000);
    say("realloc into a mapping", p, 0);
    truth_moved(&t, 15, 6000000);
    q = realloc(p, 9000000);
    say("realloc of a mapping", q, 0);
    truth_moved(&t, 6000000, 9000000);
    gone("free", q, 9000000);
}

/* What not every libc has is only counted. */
static void newer(void)
{
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (sized) {
        void *p = malloc(33);
        truth_made(&t, 33);
        sized(p, 33);
        truth_gone(&t, 33);
    }
    if (aligned) {
        void *p = aligned_alloc(64, 640);
        truth_made(&t, 640);
        aligned(p, 64, 640);
        truth_gone(&t, 640);
    }
}

static char *volatile kept;

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    errno = UNTOUCHED;
    dlsym(RTLD_DEFAULT, "free_sized"); /* what dlsym itself allocates, once */
    dlerror();
    errno = UNTOUCHED;
    if (strcmp(argv[2], "all") == 0) {
        allocations();
        reallocations();
        newer();
        kept = strdup("a string of twenty-six by.");
        truth_made(&t, 27);
    }
    if (write(1, said, said_bytes) != (ssize_t)said_bytes)
        return 1;
    truth_write(&t, argv[1], "");
    return 0;
}
