/* names.c - what one process image calls call tree nodes (59-bit hashes) and code objects (addresses and versions). */
#include "tree.h"

#include <stdlib.h>
#include <string.h>

/* The program remembers 64 k nodes as announced, one for each value of the id modulo 64 k, and announces others again
 * before it names them (tracker/python_private.h, HL_NODES_KNOWN). So of many names those suffice that were the last in
 * their place, and the most recent ones, since rings are not read in the order of announcements. */
enum { REMEMBERED = 1 << 16, RECENT = 1 << 16, MOST_NAMES = 256 << 10 };

static uint32_t home(uint64_t id, uint32_t mask) { return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask; }

void hl_names_init(hl_names *names, uint32_t seed)
{
    *names = (hl_names){.root = HL_ROOT_NODE(seed) & HL_PAYLOAD, .mask = 63, .code_mask = 31};
    names->name = hl_zeroed(((size_t)names->mask + 1) * sizeof *names->name);
    names->code = hl_zeroed(((size_t)names->code_mask + 1) * sizeof *names->code);
    hl_names_set(names, names->root, HL_NODE_PLAIN);
}

void hl_names_release(hl_names *names)
{
    free(names->name);
    free(names->code);
    free(names->waiting);
    *names = (hl_names){0};
}

hl_name *hl_names_find(hl_names *names, uint64_t id)
{
    for (uint32_t at = home(id, names->mask);; at = (at + 1) & names->mask) {
        hl_name *n = &names->name[at];
        if (n->id == id)
            return n;
        if (!n->id)
            return NULL;
    }
}

static bool is_later(uint32_t a, uint32_t b) { return (int32_t)(a - b) > 0; }

/* Forgets names that the program announces again before it uses them. */
static void forget(hl_names *names)
{
    const hl_name **last = hl_zeroed(REMEMBERED * sizeof *last);
    for (uint32_t i = 0; i <= names->mask; i++) {
        const hl_name *n = &names->name[i];
        if (n->id && (!last[n->id % REMEMBERED] || is_later(n->serial, last[n->id % REMEMBERED]->serial)))
            last[n->id % REMEMBERED] = n;
    }
    hl_name *kept = hl_zeroed(((size_t)names->mask + 1) * sizeof *kept);
    names->count = 0;
    for (uint32_t i = 0; i <= names->mask; i++) {
        const hl_name *n = &names->name[i];
        if (!n->id ||
            (n->id != names->root && last[n->id % REMEMBERED] != n && is_later(names->serial - RECENT, n->serial)))
            continue;
        uint32_t at = home(n->id, names->mask);
        while (kept[at].id)
            at = (at + 1) & names->mask;
        kept[at] = *n;
        names->count++;
    }
    free(last);
    free(names->name);
    names->name = kept;
}

static void make_room(hl_names *names)
{
    if (names->count >= MOST_NAMES) {
        forget(names);
        return;
    }
    hl_name *old = names->name;
    uint32_t places = names->mask + 1;
    names->mask = names->mask * 2 + 1;
    names->name = hl_zeroed(((size_t)names->mask + 1) * sizeof *names->name);
    for (uint32_t i = 0; i < places; i++) {
        if (!old[i].id)
            continue;
        uint32_t at = home(old[i].id, names->mask);
        while (names->name[at].id)
            at = (at + 1) & names->mask;
        names->name[at] = old[i];
    }
    free(old);
}

hl_name *hl_names_set(hl_names *names, uint64_t id, uint32_t node)
{
    hl_name *n = hl_names_find(names, id);
    if (n) {
        n->node = node;
        n->serial = ++names->serial;
        return n;
    }
    if (names->count >= MOST_NAMES || names->count >= names->mask / 4 * 3)
        make_room(names);
    uint32_t at = home(id, names->mask);
    while (names->name[at].id)
        at = (at + 1) & names->mask;
    names->name[at] = (hl_name){.id = id, .node = node, .serial = ++names->serial};
    names->count++;
    return &names->name[at];
}

static hl_code_name *code_place(const hl_names *names, uint64_t address, uint32_t version)
{
    for (uint32_t at = home(address ^ (uint64_t)version << 40, names->code_mask);; at = (at + 1) & names->code_mask) {
        hl_code_name *c = &names->code[at];
        if (!c->address || (c->address == address && c->version == version))
            return c;
    }
}

uint32_t hl_names_code(const hl_names *names, uint64_t address, uint32_t version)
{
    return code_place(names, address, version)->code;
}

void hl_names_set_code(hl_names *names, uint64_t address, uint32_t version, uint32_t code)
{
    if (address == 0)
        return;
    hl_code_name *c = code_place(names, address, version);
    if (!c->address)
        names->codes++;
    *c = (hl_code_name){address, version, code};
    if (names->codes <= names->code_mask / 2)
        return;
    /* Twice the places; beyond a million (a program that compiles for ever) all are forgotten: code objects that are
     * still in use are announced again before a node names them. */
    hl_code_name *old = names->code;
    uint32_t places = names->code_mask + 1;
    bool forget = places >= 2 << 20;
    if (!forget)
        names->code_mask = names->code_mask * 2 + 1;
    names->code = hl_zeroed(((size_t)names->code_mask + 1) * sizeof *names->code);
    names->codes = 0;
    for (uint32_t i = 0; i < places && !forget; i++) {
        if (old[i].address) {
            *code_place(names, old[i].address, old[i].version) = old[i];
            names->codes++;
        }
    }
    free(old);
}
