/*
 * truth.h - what a test program knows of its own allocations, written as JSON for the test to compare with the profile.
 *
 * Libc allocates too (a thread's storage, for one), so the tests run each program twice, once doing nothing, and compare
 * the difference. Nothing in here allocates.
 */
#ifndef HL_TESTS_TRUTH_H
#define HL_TESTS_TRUTH_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct truth {
    uint64_t allocations, allocated_bytes, frees, freed_bytes;
    int64_t live_bytes, peak_bytes; /* the peak is right for one thread only */
} truth;

static inline void truth_made(truth *t, size_t bytes)
{
    t->allocations++;
    t->allocated_bytes += bytes;
    t->live_bytes += (int64_t)bytes;
    if (t->live_bytes > t->peak_bytes)
        t->peak_bytes = t->live_bytes;
}

static inline void truth_gone(truth *t, size_t bytes)
{
    t->frees++;
    t->freed_bytes += bytes;
    t->live_bytes -= (int64_t)bytes;
}

/* The old block is taken off in the same step as the new one is added. */
static inline void truth_moved(truth *t, size_t from_bytes, size_t to_bytes)
{
    truth_gone(t, from_bytes);
    truth_made(t, to_bytes);
}

static inline void truth_add(truth *t, const truth *more)
{
    t->allocations += more->allocations;
    t->allocated_bytes += more->allocated_bytes;
    t->frees += more->frees;
    t->freed_bytes += more->freed_bytes;
    t->live_bytes += more->live_bytes;
    t->peak_bytes += more->peak_bytes;
}

/* `more` is further JSON members, each with a comma in front, or "". */
static inline void truth_write(const truth *t, const char *path, const char *more)
{
    static char text[4096];
    int n = snprintf(text, sizeof text,
                     "{\"allocations\": %llu, \"allocated_bytes\": %llu, \"frees\": %llu, \"freed_bytes\": %llu, "
                     "\"live_bytes\": %lld, \"live_blocks\": %lld, \"peak_bytes\": %lld%s}\n",
                     (unsigned long long)t->allocations, (unsigned long long)t->allocated_bytes,
                     (unsigned long long)t->frees, (unsigned long long)t->freed_bytes, (long long)t->live_bytes,
                     (long long)(t->allocations - t->frees), (long long)t->peak_bytes, more);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        _exit(99);
    close(fd);
}

static inline uint64_t truth_random(uint64_t *state)
{
    uint64_t r = *state;
    r ^= r << 13;
    r ^= r >> 7;
    r ^= r << 17;
    return *state = r;
}

#endif
