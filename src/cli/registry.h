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

/* Calls `each` for every recording that runs, with its session mapped read-write during the call; a non-zero answer ends
 * the round and is returned. */
int hl_registry_each(int (*each)(const hl_recorded *recorded, hl_session *session, void *context), void *context);

#endif
