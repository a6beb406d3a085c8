/*
 * maps.h - the mappings of one process, in order of address: a treap, so that covering, cutting and removing ranges costs
 * O(log n) and a hundred thousand mappings are no trouble.
 *
 * A mapping that loses a part in its middle becomes two pieces of one mapping; it counts as freed once when its last
 * piece goes, its bytes as they go.
 */
#ifndef HL_COLLECTOR_MAPS_H
#define HL_COLLECTOR_MAPS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hl_piece {
    uint64_t start, end;                  /* addresses, end behind */
    uint32_t mapping;                     /* which pieces belong together */
    uint32_t row, thread, count, born_ms; /* as in hl_block; row 0 unless the class is heap */
    uint8_t map_class;
    uint32_t later; /* when it was taken: allocations of its thread after it */
    bool last;      /* set by hl_maps_take: nothing is left of its mapping */
} hl_piece;

typedef struct hl_pieces { /* a list, kept to be used again */
    hl_piece *piece;
    uint32_t count, room;
} hl_pieces;

typedef struct hl_map_node hl_map_node;
typedef struct hl_maps {
    hl_map_node *node; /* node 0 is not used */
    uint32_t nodes, node_room, free, root;
    uint32_t *pieces; /* by mapping: how many there are; a free one holds the next free number */
    uint32_t mappings, mapping_room, free_mapping;
    uint32_t count; /* pieces in the treap */
    uint32_t random;
} hl_maps;

void hl_maps_release(hl_maps *maps);

/* Removes [start, end) from whatever lies there and appends the parts removed to `taken`. Their mappings' numbers stay
 * valid until hl_maps_forget. */
void hl_maps_take(hl_maps *maps, uint64_t start, uint64_t end, hl_pieces *taken);

/* Puts a piece where nothing is. `mapping` 0: a new mapping (its number is returned). */
uint32_t hl_maps_put(hl_maps *maps, const hl_piece *piece);

/* The pieces will not be put back. Empties the list. */
void hl_maps_forget(hl_maps *maps, hl_pieces *taken);

/* The piece that holds `address`, or null. */
hl_piece *hl_maps_find(const hl_maps *maps, uint64_t address);

/* Every piece, in no order. */
void hl_maps_each(const hl_maps *maps, void (*visit)(void *argument, hl_piece *piece), void *argument);

#endif
