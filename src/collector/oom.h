/*
 * oom.h - whether a process that died of SIGKILL was killed because memory had run out, and what the limit was.
 *
 * The kernel counts such kills a cgroup (memory.events of version 2, memory.oom_control of version 1), or, where there is
 * none, of the whole machine (/proc/vmstat). The count is taken when the program begins; a SIGKILL is called out of memory
 * only when the count has grown since.
 */
#ifndef HL_COLLECTOR_OOM_H
#define HL_COLLECTOR_OOM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct hl_oom {
    char folder[PATH_MAX]; /* of the process's cgroup; "": none that counts */
    size_t mount_bytes;    /* how much of it is the mount point: above that there are no more cgroups */
    bool second_version;
    bool counted; /* `kills` is valid */
    uint64_t kills;
} hl_oom;

/* Remembers the cgroup of `pid` and its count. */
void hl_oom_begin(hl_oom *oom, pid_t pid);

/* Whether the kernel has killed for lack of memory since, once more than was asked for and found. Then: the lowest limit that
 * held, in bytes, and whose it is: "cgroup /x/y", or "machine" with its memory. */
bool hl_oom_happened(hl_oom *oom, uint64_t *limit_bytes, char *scope, size_t scope_bytes);

#endif
