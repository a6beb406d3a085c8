/*
 * collector.h - the collector: one process beside the program's tree that reads the rings and keeps the books.
 *
 * One thread reads rings, keeps live blocks, call tree, totals, peak and timeline, and samples RSS at each tick. A second
 * thread applies batches to the profile and publishes it, so that writing never stalls the rings. Both start with all
 * signals blocked. Memory: some 20 MiB and 40 bytes a live block; up to
 * 150 MiB more where stacks or processes are so many that they are folded (docs/architecture.md, "Bounds").
 */
#ifndef HL_COLLECTOR_COLLECTOR_H
#define HL_COLLECTOR_COLLECTOR_H

#include "profile.h"
#include "wire.h"

typedef struct hl_session_options {
    bool python_objects, marks;
    hl_native_stacks native;
    hl_children children;
    const char *preload; /* absolute path of libheapline.so */
    uint32_t pool_bytes; /* 0: 4 MiB */
} hl_session_options;

/* Makes the session's memory (a sealed memfd, close-on-exec) and maps it. The caller is or becomes the parent of the
 * collector; the collector must call hl_collect, which stores the locator and then the magic. -errno on failure. */
int hl_session_create(hl_session **session, int *fd, const hl_session_options *options);

typedef struct hl_collect_options {
    const char
        *output; /* absolute path, nothing left to expand: the program's pid is known before the collector starts */
    uint64_t tick_ns; /* 10 ms by default */
    hl_profile_identity identity;
    bool discard;      /* nothing is written: `output` is a name only */
    const char *unfit; /* why the program itself will not register, a constant; null: it should */
} hl_collect_options;

/* Reads the session until every recorded process has ended, or `stop` is set in the session. Called in the collector's
 * own process (after setsid), with `session_fd` open there; registers the robust life sign first. Stores root_saved when the
 * program itself has ended and the profile holds all of it. Returns 0, or -errno when the profile could not be written at
 * the end (root_error has it too). */
int hl_collect(hl_session *session, int session_fd, const hl_collect_options *options);

#endif
