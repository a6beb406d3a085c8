/*
 * sampler.c - resident memory, from /proc, when a tick ends; never mixed with the heap.
 *
 * Budget: 1 % of a core for RSS, another for PSS. Each reading is timed; the next of that process comes no sooner than 100
 * times as long after it. Only processes that are recorded are read, and idle ones ten times less often.
 */
#include "books.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int open_of(int32_t pid, const char *file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    return open(path, O_RDONLY | O_CLOEXEC);
}

void hl_sampler_begin(hl_books *books, hl_process *process) { process->status_fd = open_of(process->pid, "status"); }

void hl_sampler_end(hl_process *process)
{
    if (process->status_fd >= 0)
        close(process->status_fd);
    if (process->rollup_fd >= 0)
        close(process->rollup_fd);
    process->status_fd = process->rollup_fd = -1;
}

/* The number behind "\nNAME:"; UINT32_MAX: it is not there. */
static uint32_t kib_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    if (!at)
        return UINT32_MAX;
    unsigned long long n = strtoull(at + strlen(name), NULL, 10);
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1;
}

static bool read_all(int fd, char *to, size_t room)
{
    ssize_t n = pread(fd, to, room - 1, 0);
    if (n <= 0)
        return false;
    to[n] = '\0';
    return true;
}

static void read_rss(hl_books *books, hl_process *process)
{
    char text[4096];
    uint64_t before = cpu_ns();
    bool read = read_all(process->status_fd, text, sizeof text);
    process->sample_next_ns = books->now_ns + 100 * (cpu_ns() - before);
    uint32_t rss = read ? kib_of(text, "\nVmRSS:") : UINT32_MAX;
    if (rss == UINT32_MAX)
        return; /* a zombie has no memory */
    hl_tick *s = &process->sample;
    s->rss_kib = rss;
    s->anon_kib = kib_of(text, "\nRssAnon:");
    s->file_kib = kib_of(text, "\nRssFile:");
    s->shmem_kib = kib_of(text, "\nRssShmem:");
    s->pss_kib = UINT32_MAX;
    uint32_t highest = kib_of(text, "\nVmHWM:"); /* the kernel saw every moment */
    if (highest == UINT32_MAX || highest < rss)
        highest = rss;
    if ((uint64_t)highest * 1024 > process->rss_peak) {
        process->rss_peak = (uint64_t)highest * 1024;
        process->changed = true;
    }
    process->last_rss_kib = rss;
    process->sampled = true;
}

static void read_pss(hl_books *books, hl_process *process)
{
    char text[4096];
    if (process->rollup_fd < 0)
        process->rollup_fd = open_of(process->pid, "smaps_rollup");
    uint64_t before = cpu_ns();
    bool read = process->rollup_fd >= 0 && read_all(process->rollup_fd, text, sizeof text);
    uint64_t cost_ns = cpu_ns() - before;
    process->pss_next_ns = books->now_ns + (read ? 100 * cost_ns + 100000000 : 60 * UINT64_C(1000000000));
    if (read)
        process->sample.pss_kib = kib_of(text, "\nPss:");
}

void hl_sample(hl_books *books)
{
    for (uint32_t i = books->first_running; i < books->process_count; i++) {
        hl_process *process = books->processes[i];
        if (process->ended || process->gone || process->status_fd < 0 || books->now_ns < process->sample_next_ns)
            continue;
        bool events = process->allocations + process->frees != process->events_seen;
        if (!events && process->last_rss_kib != UINT32_MAX && (books->tick + process->id) % 10)
            continue;
        read_rss(books, process);
        if (process->sampled && events && books->now_ns >= process->pss_next_ns)
            read_pss(books, process);
    }
}
