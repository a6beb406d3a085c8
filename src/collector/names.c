/* names.c - what one process image calls call tree nodes (59-bit hashes) and code objects (addresses and versions). */
#include "tree.h"

#include <stdlib.h>
#include <string.h>

/* The program remembers 64 k nodes as announced, one for each value of the id modulo 64 k, and announces others again
 * before it names them (tracker/python_private.h, HL_NODES_KNOWN). So of each of these places those names suffice that were
 * announced last: one, were rings read in the order of announcements; some more, since they are not. */
enum { FIRST_SETS = 64, MOST_SETS = 1 << 16 };

static uint32_t home(uint64_t id, uint32_t mask) { return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask; }

static void make_room(hl_names *names, uint32_t sets)
{
    hl_area_grow(&names->area, sets * sizeof *names->set);
    names->set = (hl_name_set *)(void *)names->area.at;
    names->mask = sets - 1;
}

void hl_names_init(hl_names *names, uint32_t seed)
{
    *names = (hl_names){.root = HL_ROOT_NODE(seed) & HL_PAYLOAD, .code_mask = 31};
    names->root_name = (hl_name){.id = names->root, .node = HL_NODE_PLAIN};
    make_room(names, FIRST_SETS);
    names->code = hl_zeroed(((size_t)names->code_mask + 1) * sizeof *names->code);
}

void hl_names_release(hl_names *names)
{
    hl_area_release(&names->area);
    free(names->code);
    free(names->waiting);
    *names = (hl_names){0};
}

static int way_of(const hl_name_set *set, uint64_t id)
{
    for (int i = 0; i < HL_NAME_WAYS; i++) {
        if (set->way[i].id == id)
            return i;
    }
    return -1;
}

hl_name *hl_names_find(hl_names *names, uint64_t id)
{
    hl_name_set *set = &names->set[id & names->mask];
    if (__builtin_expect(set->way[0].id == id && id, 1))
        return &set->way[0];
    int way = id ? way_of(set, id) : -1;
    return way >= 0 ? &set->way[way] : id == names->root ? &names->root_name : NULL;
}

/* Twice the sets: each gives half of its names to a new one, in their order. */
static void split(hl_names *names)
{
    uint32_t sets = names->mask + 1;
    make_room(names, 2 * sets);
    for (uint32_t i = 0; i < sets; i++) {
        hl_name_set *low = &names->set[i], *high = &names->set[i + sets];
        int stay = 0, go = 0;
        for (int k = 0; k < HL_NAME_WAYS; k++) {
            hl_name name = low->way[k];
            low->way[k].id = 0;
            if (!name.id)
                continue;
            if (name.id & sets)
                high->way[go++] = name;
            else
                low->way[stay++] = name;
        }
    }
}

hl_name *hl_names_set(hl_names *names, uint64_t id, uint32_t node)
{
    if (id == names->root)
        return &names->root_name;
    hl_name_set *set;
    int way;
    for (;;) {
        set = &names->set[id & names->mask];
        way = way_of(set, id);
        if (way >= 0 || !set->way[HL_NAME_WAYS - 1].id || names->mask + 1 >= MOST_SETS)
            break;
        split(names);
    }
    hl_name name = {.id = id};
    if (way >= 0)
        name = set->way[way];
    else
        way = HL_NAME_WAYS - 1; /* empty, or forgotten */
    name.node = node;
    for (; way > 0; way--)
        set->way[way] = set->way[way - 1];
    set->way[0] = name;
    return &set->way[0];
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
