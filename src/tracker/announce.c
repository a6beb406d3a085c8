/*
 * announce.c - how a node and a code object are told to the collector.
 */
#include "announce.h"

#include <string.h>

hl_announced_data hl_announced;

enum { PART_BYTES = 8192 };

static void begin_part(hl_code_writer *c)
{
    uint32_t left = c->total - c->offset;
    uint32_t bytes = left < PART_BYTES ? left : PART_BYTES;
    c->at = hl_reserve(c->w, 3 + (bytes + 7) / 8);
    c->failed = !c->at;
    if (c->failed)
        return;
    c->at[0] = HL_WORD(HL_WORD_CODE, (uint64_t)c->code);
    c->at[1] = (uint64_t)c->version << 32 | c->total;
    c->at[2] = (uint64_t)c->offset << 32 | bytes;
    c->to = (char *)(c->at + 3);
    c->end = c->to + bytes;
    if (bytes % 8)
        c->at[3 + bytes / 8] = 0; /* the padding */
}

static void end_part(hl_code_writer *c)
{
    uint32_t bytes = (uint32_t)c->at[2];
    hl_publish(c->w, c->at + 3 + (bytes + 7) / 8);
    c->offset += bytes;
    c->at = NULL;
}

void hl_code_put(hl_code_writer *c, const void *from, uint64_t bytes)
{
    const char *p = from;
    while (bytes && !c->failed) {
        if (!c->at)
            begin_part(c);
        if (c->failed)
            return;
        uint64_t n = (uint64_t)(c->end - c->to) < bytes ? (uint64_t)(c->end - c->to) : bytes;
        memcpy(c->to, p, n);
        c->to += n;
        p += n;
        bytes -= n;
        if (c->to == c->end)
            end_part(c);
    }
}

bool hl_code_is_known(const char *code, uint32_t version)
{
    uint64_t key = hl_wire_mix(hl_tracker.live.root, (uint64_t)code, version);
    return atomic_load_explicit(&hl_announced.codes[key % HL_CODES_KNOWN], memory_order_relaxed) == key;
}

void hl_code_begin(hl_code_writer *c, hl_wire_writer *w, const char *code, uint32_t version, const hl_wire_code *head)
{
    *c = (hl_code_writer){.w = w, .code = code, .version = version};
    c->total = (uint32_t)sizeof *head + head->file_bytes + head->name_bytes + head->table_bytes;
    hl_code_put(c, head, sizeof *head);
}

bool hl_code_end(const hl_code_writer *c)
{
    if (c->failed)
        return false;
    uint64_t key = hl_wire_mix(hl_tracker.live.root, (uint64_t)c->code, c->version);
    atomic_store_explicit(&hl_announced.codes[key % HL_CODES_KNOWN], key, memory_order_relaxed); /* after publishing */
    return true;
}

bool hl_announce_node(hl_wire_writer *w, uint64_t node, uint64_t parent, const char *code, uint32_t version,
                      uint32_t offset)
{
    uint64_t *at = hl_reserve(w, 4);
    if (!at)
        return false;
    at[0] = HL_WORD(HL_WORD_NODE, node);
    at[1] = parent;
    at[2] = (uint64_t)code;
    at[3] = (uint64_t)version << 32 | offset;
    hl_publish(w, at + 4);
    atomic_store_explicit(&hl_announced.nodes[node % HL_NODES_KNOWN], node, memory_order_relaxed);
    return true;
}
