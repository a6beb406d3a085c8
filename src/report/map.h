/*
 * map.h - from a pair of numbers to a row number, for joining rows that look alike. Rows are given out from 0 in order of
 * first appearance by the caller.
 */
#ifndef HL_REPORT_MAP_H
#define HL_REPORT_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct hl_map_slot {
    uint64_t a, b;
    uint32_t row; /* + 1; 0: empty */
} hl_map_slot;

typedef struct hl_map {
    hl_map_slot *slot;
    uint32_t mask, used;
} hl_map;

static inline uint64_t hl_map_hash(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b << 32 | b >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

static inline bool hl_map_grow(hl_map *map)
{
    uint32_t room = map->slot ? (map->mask + 1) * 2 : 1024;
    hl_map_slot *slot = calloc(room, sizeof *slot);
    if (!slot)
        return false;
    for (uint32_t i = 0; map->slot && i <= map->mask; i++) {
        if (map->slot[i].row) {
            uint32_t at = (uint32_t)hl_map_hash(map->slot[i].a, map->slot[i].b) & (room - 1);
            while (slot[at].row)
                at = (at + 1) & (room - 1);
            slot[at] = map->slot[i];
        }
    }
    free(map->slot);
    map->slot = slot;
    map->mask = room - 1;
    return true;
}

/* The row of (a, b); `next` when it is new, which then belongs to it. UINT32_MAX: no memory. */
static inline uint32_t hl_map_row(hl_map *map, uint64_t a, uint64_t b, uint32_t next)
{
    if ((!map->slot || map->used >= map->mask / 2) && !hl_map_grow(map))
        return UINT32_MAX;
    uint32_t at = (uint32_t)hl_map_hash(a, b) & map->mask;
    while (map->slot[at].row) {
        if (map->slot[at].a == a && map->slot[at].b == b)
            return map->slot[at].row - 1;
        at = (at + 1) & map->mask;
    }
    map->slot[at] = (hl_map_slot){a, b, next + 1};
    map->used++;
    return next;
}

/* The row of (a, b); UINT32_MAX when there is none. */
static inline uint32_t hl_map_find(const hl_map *map, uint64_t a, uint64_t b)
{
    if (!map->slot)
        return UINT32_MAX;
    for (uint32_t at = (uint32_t)hl_map_hash(a, b) & map->mask; map->slot[at].row; at = (at + 1) & map->mask)
        if (map->slot[at].a == a && map->slot[at].b == b)
            return map->slot[at].row - 1;
    return UINT32_MAX;
}

static inline void hl_map_release(hl_map *map)
{
    free(map->slot);
    *map = (hl_map){0};
}

#endif
