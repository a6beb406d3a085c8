/*
 * isolate.h - hl_resolve (object.h) in a process of its own, so that a file which makes libdw crash, hang or eat memory costs
 * its names and nothing else. Internal to src/symbols.
 *
 * The worker is a forked child that waits for requests on a socket and answers with pieces of a symbol_table. It has its own
 * limits (memory, processor time), no other files of its parent, ignores the terminal's signals and ends with its parent.
 * What it sends is checked like any bytes from outside: a worker that went wrong may send anything.
 */
#ifndef HL_SYMBOLS_ISOLATE_H
#define HL_SYMBOLS_ISOLATE_H

#include "object.h"
#include "symbol_table.h"

#include <sys/types.h>

typedef struct hl_isolate {
    pid_t pid; /* 0: none runs */
    int fd;
} hl_isolate;

typedef struct hl_isolate_limits {
    uint32_t silence_ms; /* between two signs of life */
    bool (*stop)(void *context);
    void *context;
} hl_isolate_limits;

/* Forks a worker unless one runs. 0 or a negative errno code. */
int hl_isolate_start(hl_isolate *worker);
void hl_isolate_end(hl_isolate *worker);

/* Adds to `table` what the worker finds; callbacks of the request are not called. 0: all; -ECANCELED: `stop` said so;
 * -ETIMEDOUT: it hung; -EIO: it died or sent nonsense; -ENOMEM. After any but 0 the worker is gone, and `table` has the
 * places that arrived before. */
int hl_isolate_resolve(hl_isolate *worker, const hl_resolve_request *request, const hl_isolate_limits *limits,
                       hl_symbol_table *table);

#endif
