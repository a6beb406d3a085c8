/* maps.c - the treap: split and merge, and the cutting of pieces at the ends of a range. */
#include "maps.h"
#include "memory.h"

#include <stdlib.h>

struct hl_map_node {
    hl_piece piece;
    uint32_t left, right, priority;
};

void hl_maps_release(hl_maps *maps)
{
    free(maps->node);
    free(maps->pieces);
    *maps = (hl_maps){0};
}

static uint32_t new_node(hl_maps *maps, const hl_piece *piece)
{
    uint32_t n = maps->free;
    if (n) {
        maps->free = maps->node[n].left;
    } else {
        if (maps->nodes + 1 >= maps->node_room) {
            maps->node_room = maps->node_room ? 2 * maps->node_room : 64;
            maps->node = hl_resized(maps->node, maps->node_room * sizeof *maps->node);
        }
        n = ++maps->nodes;
    }
    maps->random = maps->random * 1664525u + 1013904223u;
    maps->node[n] = (hl_map_node){.piece = *piece, .priority = maps->random ^ maps->random << 13};
    return n;
}

/* Below `at` to *low what starts before `key`, to *high the rest. */
static void split(hl_maps *maps, uint32_t at, uint64_t key, uint32_t *low, uint32_t *high)
{
    if (!at) {
        *low = *high = 0;
    } else if (maps->node[at].piece.start < key) {
        split(maps, maps->node[at].right, key, &maps->node[at].right, high);
        *low = at;
    } else {
        split(maps, maps->node[at].left, key, low, &maps->node[at].left);
        *high = at;
    }
}

static uint32_t merge(hl_maps *maps, uint32_t low, uint32_t high)
{
    if (!low || !high)
        return low ? low : high;
    if (maps->node[low].priority > maps->node[high].priority) {
        maps->node[low].right = merge(maps, maps->node[low].right, high);
        return low;
    }
    maps->node[high].left = merge(maps, low, maps->node[high].left);
    return high;
}

/* If the last piece of `low` reaches beyond `at`, what is beyond becomes a piece of its own: the result, else 0. */
static uint32_t cut(hl_maps *maps, uint32_t low, uint64_t at)
{
    if (!low)
        return 0;
    while (maps->node[low].right)
        low = maps->node[low].right;
    hl_piece beyond = maps->node[low].piece;
    if (beyond.end <= at)
        return 0;
    maps->node[low].piece.end = at;
    beyond.start = at;
    maps->pieces[beyond.mapping]++;
    maps->count++;
    return new_node(maps, &beyond);
}

static void take_all(hl_maps *maps, uint32_t at, hl_pieces *taken)
{
    if (!at)
        return;
    take_all(maps, maps->node[at].left, taken);
    if (taken->count == taken->room) {
        taken->room = taken->room ? 2 * taken->room : 8;
        taken->piece = hl_resized(taken->piece, taken->room * sizeof *taken->piece);
    }
    hl_piece *p = &taken->piece[taken->count++];
    *p = maps->node[at].piece;
    p->last = --maps->pieces[p->mapping] == 0;
    maps->count--;
    take_all(maps, maps->node[at].right, taken);
    maps->node[at].left = maps->free;
    maps->free = at;
}

void hl_maps_take(hl_maps *maps, uint64_t start, uint64_t end, hl_pieces *taken)
{
    if (start >= end || !maps->root)
        return;
    uint32_t low, middle, high, beyond;
    split(maps, maps->root, start, &low, &high);
    if ((beyond = cut(maps, low, start)))
        high = merge(maps, beyond, high);
    split(maps, high, end, &middle, &high);
    if ((beyond = cut(maps, middle, end)))
        high = merge(maps, beyond, high);
    maps->root = merge(maps, low, high);
    take_all(maps, middle, taken);
}

uint32_t hl_maps_put(hl_maps *maps, const hl_piece *piece)
{
    hl_piece copy = *piece;
    copy.last = false;
    if (!copy.mapping) {
        if (maps->free_mapping) {
            copy.mapping = maps->free_mapping;
            maps->free_mapping = maps->pieces[copy.mapping];
        } else {
            if (maps->mappings + 1 >= maps->mapping_room) {
                maps->mapping_room = maps->mapping_room ? 2 * maps->mapping_room : 64;
                maps->pieces = hl_resized(maps->pieces, maps->mapping_room * sizeof *maps->pieces);
            }
            copy.mapping = ++maps->mappings;
        }
        maps->pieces[copy.mapping] = 0;
    }
    maps->pieces[copy.mapping]++;
    maps->count++;
    uint32_t low, high, made = new_node(maps, &copy);
    split(maps, maps->root, copy.start, &low, &high);
    maps->root = merge(maps, merge(maps, low, made), high);
    return copy.mapping;
}

void hl_maps_forget(hl_maps *maps, hl_pieces *taken)
{
    for (uint32_t i = 0; i < taken->count; i++) {
        if (!taken->piece[i].last)
            continue; /* its mapping has other pieces, or is the number of one further down the list */
        maps->pieces[taken->piece[i].mapping] = maps->free_mapping;
        maps->free_mapping = taken->piece[i].mapping;
    }
    taken->count = 0;
}

static void visit_all(const hl_maps *maps, uint32_t at, void (*visit)(void *, hl_piece *), void *argument)
{
    if (!at)
        return;
    visit_all(maps, maps->node[at].left, visit, argument);
    visit(argument, &maps->node[at].piece);
    visit_all(maps, maps->node[at].right, visit, argument);
}

void hl_maps_each(const hl_maps *maps, void (*visit)(void *argument, hl_piece *piece), void *argument)
{
    if (maps->root)
        visit_all(maps, maps->root, visit, argument);
}

hl_piece *hl_maps_find(const hl_maps *maps, uint64_t address)
{
    for (uint32_t at = maps->root; at;) {
        hl_piece *piece = &maps->node[at].piece;
        if (address < piece->start)
            at = maps->node[at].left;
        else if (address >= piece->end)
            at = maps->node[at].right;
        else
            return piece;
    }
    return NULL;
}
