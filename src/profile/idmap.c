/* idmap.c - open addressing with linear probing; see idmap.h. */
#include "idmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t slot_of(const hl_idmap *map, uint64_t key)
{
    uint64_t h = (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h ^ h >> 29) & (map->room - 1);
}

/* The entry of `key`, or the free one where it belongs. The map is never full, so the search ends. */
static struct hl_idmap_entry *find(const hl_idmap *map, uint64_t key)
{
    size_t i = slot_of(map, key);
    while (map->entry[i].used && map->entry[i].key != key)
        i = (i + 1) & (map->room - 1);
    return &map->entry[i];
}

uint32_t hl_idmap_get(const hl_idmap *map, uint64_t key)
{
    if (!map->room)
        return HL_IDMAP_NONE;
    struct hl_idmap_entry *e = find(map, key);
    return e->used ? e->id : HL_IDMAP_NONE;
}

static int grow(hl_idmap *map)
{
    hl_idmap bigger = {.room = map->room ? map->room * 2 : 256};
    bigger.entry = calloc(bigger.room, sizeof *bigger.entry);
    if (!bigger.entry)
        return -ENOMEM;
    for (size_t i = 0; i < map->room; i++) {
        if (map->entry[i].used)
            *find(&bigger, map->entry[i].key) = map->entry[i];
    }
    bigger.n = map->n;
    free(map->entry);
    *map = bigger;
    return 0;
}

int hl_idmap_put(hl_idmap *map, uint64_t key, uint32_t id)
{
    if (map->n * 2 >= map->room) {
        int error = grow(map);
        if (error)
            return error;
    }
    struct hl_idmap_entry *e = find(map, key);
    map->n += !e->used;
    *e = (struct hl_idmap_entry){key, id, 1};
    return 0;
}

void hl_idmap_clear(hl_idmap *map)
{
    free(map->entry);
    *map = (hl_idmap){0};
}

/* FNV-1a by words, with a final mix: quick, and good enough for names that are compared afterwards. */
uint64_t hl_idmap_hash(const void *bytes, size_t n, uint64_t seed)
{
    const unsigned char *at = bytes;
    uint64_t h = seed ^ UINT64_C(0xcbf29ce484222325);
    for (; n >= 8; at += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        h = (h ^ word) * UINT64_C(0x100000001b3);
        h ^= h >> 32;
    }
    for (; n; at++, n--)
        h = (h ^ *at) * UINT64_C(0x100000001b3);
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 33;
}
