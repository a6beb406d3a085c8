/*
 * sampler.c - resident memory, from /proc, when a tick ends; never mixed with the heap.
 *
 * A process is read at each tick in which it had events, or after one in which its RSS changed, for memory that it has taken
 * may be touched long after; else each 45 ms, or 5 ms a process where there are more than nine, so that a thousand idle ones
 * cost less than 1 % of a core. For one process the bound is 1 % for RSS, another for PSS: each reading is timed, and the
 * next one comes no sooner than 100 times as long after it.
 */
#include "books.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { QUIET_NS = 45000000, QUIET_EACH_NS = 5000000 };

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

void hl_rss_reached(hl_process *process, uint64_t bytes)
{
    if (bytes > process->rss_peak) {
        process->rss_peak = bytes;
        process->changed = true;
    }
}

static void read_rss(hl_process *process, uint64_t now_ns)
{
    char text[4096];
    uint64_t before = cpu_ns();
    bool read = read_all(process->status_fd, text, sizeof text);
    process->sample_next_ns = now_ns + 100 * (cpu_ns() - before);
    uint32_t rss = read ? kib_of(text, "\nVmRSS:") : UINT32_MAX;
    if (rss == UINT32_MAX)
        return; /* a zombie has no memory */
    hl_tick *s = &process->sample;
    s->rss_kib = rss;
    s->anon_kib = kib_of(text, "\nRssAnon:");
    s->file_kib = kib_of(text, "\nRssFile:");
    s->shmem_kib = kib_of(text, "\nRssShmem:");
    s->pss_kib = s->pool_kib = UINT32_MAX;
    uint32_t highest = kib_of(text, "\nVmHWM:"); /* the kernel saw every moment */
    if (highest == UINT32_MAX || highest < rss)
        highest = rss;
    hl_rss_reached(process, (uint64_t)highest * 1024);
    process->rss_moves = rss != process->last_rss_kib;
    process->last_rss_kib = rss;
    process->sampled = true;
}

static void read_pss(hl_process *process, uint64_t now_ns)
{
    char text[4096];
    if (process->rollup_fd < 0)
        process->rollup_fd = open_of(process->pid, "smaps_rollup");
    uint64_t before = cpu_ns();
    bool read = process->rollup_fd >= 0 && read_all(process->rollup_fd, text, sizeof text);
    uint64_t cost_ns = cpu_ns() - before;
    process->pss_next_ns = now_ns + (read ? 100 * cost_ns + 100000000 : 60 * UINT64_C(1000000000));
    if (read)
        process->sample.pss_kib = kib_of(text, "\nPss:");
}

/* ------------------------------------------------------------------------------------------- what libraries give out */

typedef struct pool_walk {
    int fd; /* of pagemap: 64 bits a page */
    uint64_t page_bytes, resident_bytes;
    bool failed;
} pool_walk;

static void add_resident(void *argument, hl_piece *piece)
{
    pool_walk *walk = argument;
    uint64_t entry[4096];
    if (piece->map_class != HL_MAP_POOL)
        return;
    for (uint64_t at = piece->start; at < piece->end && !walk->failed;) {
        uint64_t pages = (piece->end - at - 1) / walk->page_bytes + 1, most = sizeof entry / sizeof *entry;
        size_t bytes = (size_t)(pages < most ? pages : most) * sizeof *entry;
        ssize_t n = bytes ? pread(walk->fd, entry, bytes, (off_t)(at / walk->page_bytes * sizeof *entry)) : 0;
        walk->failed = n < (ssize_t)sizeof *entry;
        for (ssize_t i = 0; i < n / (ssize_t)sizeof *entry; i++)
            walk->resident_bytes += entry[i] >> 63 ? walk->page_bytes : 0;
        at += n > 0 ? (uint64_t)n / sizeof *entry * walk->page_bytes : 0;
    }
}

/* Looks at each page of these mappings: a GiB of them costs some 2 ms, and what that costs bounds how often. */
static void read_pools(hl_books *books, hl_process *process, uint64_t now_ns)
{
    static const uint64_t MOST_BYTES = UINT64_C(64) << 30;
    uint64_t mapped = process->maps[HL_MAP_POOL].live, before = cpu_ns();
    pool_walk walk = {.fd = -1, .page_bytes = (uint64_t)sysconf(_SC_PAGESIZE), .failed = mapped > MOST_BYTES};
    if (mapped && !walk.failed) {
        walk.fd = open_of(process->pid, "pagemap"); /* each time: it belongs to the memory before an exec */
        walk.failed = walk.fd < 0;
    }
    for (uint32_t i = 0; i < books->image_slots && mapped && !walk.failed; i++) {
        if (books->images[i] && books->images[i]->process == process && !books->images[i]->dead)
            hl_maps_each(&books->images[i]->maps, add_resident, &walk);
    }
    if (walk.fd >= 0)
        close(walk.fd);
    process->pool_next_ns = now_ns + (walk.failed ? 60 * UINT64_C(1000000000) : 100 * (cpu_ns() - before));
    if (walk.failed)
        return;
    process->last_pool_kib = process->sample.pool_kib = (uint32_t)(walk.resident_bytes / 1024);
    if (walk.resident_bytes > process->pool_peak) {
        process->pool_peak = walk.resident_bytes;
        process->changed = true;
    }
}

void hl_sample(hl_books *books, uint64_t now_ns)
{
    uint64_t each_ns = (uint64_t)books->sampled_count * QUIET_EACH_NS,
             quiet_ns = each_ns > QUIET_NS ? each_ns : QUIET_NS;
    books->sampled_count = 0;
    books->rss_moves = false;
    for (uint32_t i = books->first_running; i < books->process_count; i++) {
        hl_process *process = books->processes[i];
        if (process->ended || process->gone || process->status_fd < 0)
            continue;
        books->sampled_count++;
        bool lively = process->allocations + process->frees != process->events_seen || process->rss_moves;
        if (now_ns >= process->sample_next_ns && (lively || now_ns >= process->quiet_next_ns)) {
            process->rss_moves = false;
            process->quiet_next_ns = now_ns + quiet_ns;
            read_rss(process, now_ns);
            if (process->sampled && lively && now_ns >= process->pss_next_ns)
                read_pss(process, now_ns);
            if (process->sampled && (process->maps[HL_MAP_POOL].live || process->last_pool_kib) &&
                now_ns >= process->pool_next_ns)
                read_pools(books, process, now_ns);
        }
        books->rss_moves |= process->rss_moves;
    }
}
