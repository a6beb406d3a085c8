/*
 * mappings OUT SCENARIO - each way in which a program changes its mappings, with what must come out: bytes of the heap
 * class (docs/semantics.md, "Mappings"), written as further members: heap_end and heap_peak.
 */
#include "truth.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static void *anonymous(size_t bytes, int more_flags)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more_flags, -1, 0);
    if (p == MAP_FAILED)
        _exit(97);
    return p;
}

static void must(bool right)
{
    if (!right)
        _exit(96);
}

static truth t;

static void simple(void)
{
    void *p = anonymous(5 * MIB - 100, 0); /* whole pages are counted */
    truth_made(&t, 5 * MIB);
    must(munmap(p, 5 * MIB - 100) == 0);
    truth_gone(&t, 5 * MIB);
}
static void kept(void)
{
    anonymous(3 * MIB, 0);
    truth_made(&t, 3 * MIB);
}
static void grown(void)
{
    void *p = anonymous(1 * MIB, 0);
    truth_made(&t, 1 * MIB);
    p = mremap(p, 1 * MIB, 512 * MIB, MREMAP_MAYMOVE);
    must(p != MAP_FAILED);
    truth_moved(&t, 1 * MIB, 512 * MIB);
    must(munmap(p, 512 * MIB) == 0);
    truth_gone(&t, 512 * MIB);
}
static void shrunk(void)
{
    void *p = anonymous(8 * MIB, 0);
    truth_made(&t, 8 * MIB);
    must(mremap(p, 8 * MIB, 2 * MIB, 0) == p);
    truth_moved(&t, 8 * MIB, 2 * MIB);
}
static void failed_mremap(void)
{
    char *p = anonymous(2 * MIB, 0);
    truth_made(&t, 2 * MIB);
    must(mremap(p + 1, 1 * MIB, 2 * MIB, MREMAP_MAYMOVE) == MAP_FAILED);
    must(mremap(p, 2 * MIB, (size_t)1 << 50, MREMAP_MAYMOVE) == MAP_FAILED);
}
static void moved(void)
{
    char *p = anonymous(2 * MIB, 0), *q = anonymous(4 * MIB, 0);
    truth_made(&t, 2 * MIB);
    truth_made(&t, 4 * MIB);
    must(mremap(p, 2 * MIB, 2 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, q + MIB) == q + MIB); /* over the middle of q */
    truth_gone(&t, 2 * MIB);
    truth_gone(&t, 2 * MIB);
    truth_made(&t, 2 * MIB);
}
static void reservation(void)
{
    char *p = mmap(NULL, 64 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must(p != MAP_FAILED);
    must(mprotect(p + GIB, 3 * MIB, PROT_READ | PROT_WRITE) == 0);
    truth_made(&t, 3 * MIB);
    must(mprotect(p + GIB + MIB, 4 * MIB, PROT_READ | PROT_WRITE) == 0); /* 2 of them for the first time */
    truth_made(&t, 2 * MIB);
    must(munmap(p, 64 * GIB) == 0);
    truth_gone(&t, 3 * MIB);
    truth_gone(&t, 2 * MIB);
}
static void failed_munmap(void)
{
    char *p = anonymous(2 * MIB, 0);
    truth_made(&t, 2 * MIB);
    must(munmap(p + 1, MIB) != 0);
    must(munmap(p, 0) != 0);
    must(munmap(p, (size_t)1 << 60) != 0);
}
static void fixed(void)
{
    char *p = anonymous(4 * MIB, 0);
    truth_made(&t, 4 * MIB);
    must(mmap(p + MIB, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + MIB);
    truth_gone(&t, MIB);
    truth_made(&t, MIB);
}
static void fixed_reservation(void) /* decommitting, as allocators do it */
{
    char *p = anonymous(4 * MIB, 0);
    truth_made(&t, 4 * MIB);
    must(mmap(p, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == p);
    truth_gone(&t, 4 * MIB);
}
static void partial(void)
{
    char *p = anonymous(4 * MIB, 0);
    truth_made(&t, 4 * MIB);
    must(munmap(p + MIB, MIB) == 0);
    truth_gone(&t, MIB);
}
static void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static void in_parts(void) /* 8 MiB: 2 from the middle, 1 from the front, 3 from the end, the rest; each for 80 ms */
{
    static const struct {
        size_t at, bytes;
    } parts[] = {{3 * MIB, 2 * MIB}, {0, 1 * MIB}, {5 * MIB, 3 * MIB}, {1 * MIB, 2 * MIB}};
    char *p = anonymous(8 * MIB, 0);
    truth_made(&t, 8 * MIB);
    pause_ms(80);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        must(munmap(p + parts[i].at, parts[i].bytes) == 0);
        t.freed_bytes += parts[i].bytes;
        t.live_bytes -= (int64_t)parts[i].bytes;
        pause_ms(80);
    }
    t.frees++;
}
static void over_two(void) /* one munmap over parts of two mappings and the gap between them */
{
    char *p = mmap(NULL, 16 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must(munmap(p, 16 * MIB) == 0);
    for (int i = 0; i < 2; i++) {
        void *at = p + (size_t)i * 8 * MIB;
        must(mmap(at, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
        truth_made(&t, 4 * MIB);
    }
    must(munmap(p + 3 * MIB, 6 * MIB) == 0);
    truth_gone(&t, MIB);
    truth_gone(&t, MIB);
}
static void file(void)
{
    int fd = memfd_create("sparse", 0);
    must(fd >= 0 && ftruncate(fd, (off_t)GIB) == 0);
    must(mmap(NULL, GIB, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    must(mmap(NULL, GIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
}
static void shared(void)
{
    must(mmap(NULL, GIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}
static void stack(void) { anonymous(GIB, MAP_STACK | MAP_NORESERVE); }
static void pool(void) /* as allocators that give out memory by themselves do it */
{
    char *p = anonymous(GIB, MAP_NORESERVE);
    madvise(p, GIB, MADV_NOHUGEPAGE); /* what is touched, and no more, is resident */
    memset(p + 100 * MIB, 1, 40 * MIB);
    pause_ms(300);
    must(munmap(p + 120 * MIB, GIB - 120 * MIB) == 0); /* half of that */
    pause_ms(300);
}
static void small_pool(void)
{
    for (int i = 0; i < 15; i++)
        anonymous(MIB, MAP_NORESERVE);
}
static void dontunmap(void)
{
    char *p = anonymous(2 * MIB, 0);
    truth_made(&t, 2 * MIB);
    if (mremap(p, 2 * MIB, 2 * MIB, MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */, NULL) != MAP_FAILED)
        truth_made(&t, 2 * MIB);
}
static void many(void)
{
    enum { LIVE = 8000, PAIRS = 20000, BYTES = 8192 };
    static void *live[LIVE];
    for (int i = 0; i < LIVE; i++) {
        live[i] = mmap(NULL, BYTES, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        truth_made(&t, BYTES);
    }
    for (int i = 0; i < PAIRS; i++) {
        void *p = anonymous(BYTES, 0);
        truth_made(&t, BYTES);
        must(munmap(p, BYTES) == 0);
        truth_gone(&t, BYTES);
    }
    for (int i = 0; i < LIVE; i += 2) {
        must(munmap(live[i], BYTES) == 0);
        truth_gone(&t, BYTES);
    }
}
static void nothing(void) {}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    {"none", nothing},
    {"simple", simple},
    {"kept", kept},
    {"grown", grown},
    {"shrunk", shrunk},
    {"failed_mremap", failed_mremap},
    {"moved", moved},
    {"reservation", reservation},
    {"failed_munmap", failed_munmap},
    {"fixed", fixed},
    {"fixed_reservation", fixed_reservation},
    {"partial", partial},
    {"in_parts", in_parts},
    {"over_two", over_two},
    {"file", file},
    {"shared", shared},
    {"stack", stack},
    {"pool", pool},
    {"small_pool", small_pool},
    {"dontunmap", dontunmap},
    {"many", many},
};

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(argv[2], scenarios[i].name) == 0) {
            struct timespec from, to;
            clock_gettime(CLOCK_MONOTONIC, &from);
            scenarios[i].run();
            clock_gettime(CLOCK_MONOTONIC, &to);
            char more[64];
            snprintf(more, sizeof more, ", \"seconds\": %.6f",
                     (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9);
            truth_write(&t, argv[1], more);
            return 0;
        }
    return 2;
}
