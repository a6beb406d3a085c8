/*
 * isolate_wire.h - what the collector and its symbol worker say to each other. Internal to src/symbols.
 */
#ifndef HL_SYMBOLS_ISOLATE_WIRE_H
#define HL_SYMBOLS_ISOLATE_WIRE_H

#include <stdint.h>

enum {
    HL_ISOLATE_STRING_MOST = 1 << 16,
    HL_ISOLATE_OFFSETS_MOST = 1 << 24,
    HL_ISOLATE_PIECE_MOST = 64 << 20,
};

/* Followed by path, build id and debug folder, each with its final zero, and the offsets. */
typedef struct hl_isolate_request {
    uint32_t flags;
    uint32_t path_bytes, id_bytes, folder_bytes, offsets;
    uint32_t unused;
    int64_t began_s;
} hl_isolate_request;

/* Followed by `bytes` of a symbol_table with key "": some places. None: a sign of life. */
typedef struct hl_isolate_reply {
    uint32_t bytes, is_last;
} hl_isolate_reply;

/* The worker's life, worker.c. Does not return. */
_Noreturn void hl_isolate_work(int fd);

#endif
