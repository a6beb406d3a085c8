/*
 * registry.h - which recordings of this user are running: a folder with one small file a collector.
 *
 * The folder is $XDG_RUNTIME_DIR/heapline, else /tmp/heapline-UID; it must be a real folder of this user, closed to others,
 * or nothing is read from it or written to it. A collector writes its file before the session opens and removes it at its
 * end; what a killed one leaves behind is found out (its session cannot be opened) and removed by whoever looks.
 */
#ifndef HL_CLI_REGISTRY_H
#define HL_CLI_REGISTRY_H

#include "wire.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct hl_recorded {
    pid_t collector, program;
    int64_t start_unix_ns;
    char locator[64];
    char output[PATH_MAX];
    char command[1024]; /* cut */
} hl_recorded;

/* The folder to write to, made when missing. -errno: there is none that is safe. */
int hl_registry_folder(char folder[PATH_MAX]);

int hl_registry_add(const hl_recorded *recorded);
void hl_registry_remove(pid_t collector);

/* Keeps others of this user from beginning a recording between the look at the list and one's own entry in it: a descriptor,
 * or -errno. Whoever holds it for longer than 2 s is not waited for. */
int hl_registry_lock(void);
void hl_registry_unlock(int lock);

/* Whether two names mean one file, which need not be there: by device and inode, or by their folders and last parts. */
bool hl_is_same_file(const char *a, const char *b);

/* What people call a recording by: its profile (there or not), or the pid of any process in it. */
typedef struct hl_recording_name {
    const char *word;
    uint64_t pid; /* 0: not a number */
} hl_recording_name;
hl_recording_name hl_recording_named(const char *word);
bool hl_recording_is(const hl_recorded *recorded, hl_session *session, const hl_recording_name *name);

/* Calls `each` for every recording that runs, with its session mapped read-write during the call; a non-zero answer ends
 * the round and is returned. */
int hl_registry_each(int (*each)(const hl_recorded *recorded, hl_session *session, void *context), void *context);

#endif
