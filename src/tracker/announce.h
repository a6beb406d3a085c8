/*
 * announce.h - tells the collector what a node and a code object are (HL_WORD_NODE, HL_WORD_CODE), once, or again when the
 * lossy caches here have forgotten it. Python frames and native ones share it.
 *
 * Runs in the program, below hl_put_alloc. A node is announced after its parent and its code object; all of it before an
 * event names it. What is remembered as announced is set after publishing.
 */
#ifndef HL_TRACKER_ANNOUNCE_H
#define HL_TRACKER_ANNOUNCE_H

#include "ring.h"

enum {
    HL_NODES_KNOWN = 1 << 16, /* lossy, so that memory is fixed; the collector knows the number (names.c) */
    HL_CODES_KNOWN = 1 << 14,
};

typedef struct hl_announced_data {
    _Atomic uint64_t codes[HL_CODES_KNOWN];
    _Atomic uint64_t nodes[HL_NODES_KNOWN];
} hl_announced_data;
extern __attribute__((visibility("hidden"))) hl_announced_data hl_announced;

static HL_ALWAYS bool hl_node_is_known(uint64_t node)
{
    return atomic_load_explicit(&hl_announced.nodes[node % HL_NODES_KNOWN], memory_order_relaxed) == node;
}

/* False when recording has ended. `offset` is that of the instruction, as hl_wire.h has it. */
bool hl_announce_node(hl_wire_writer *w, uint64_t node, uint64_t parent, const char *code, uint32_t version,
                      uint32_t offset);

/* A code object: begin, then put file name, name and table, as many bytes as the head says, then end; false when
 * recording has ended. It goes out in words of at most 8 KiB. */
typedef struct hl_code_writer {
    hl_wire_writer *w;
    const char *code;
    uint32_t version, total, offset; /* offset: where the part begins that is being filled */
    uint64_t *at;
    char *to, *end;
    bool failed;
} hl_code_writer;

bool hl_code_is_known(const char *code, uint32_t version);
void hl_code_begin(hl_code_writer *c, hl_wire_writer *w, const char *code, uint32_t version, const hl_wire_code *head);
void hl_code_put(hl_code_writer *c, const void *from, uint64_t bytes);
bool hl_code_end(const hl_code_writer *c);

#endif
