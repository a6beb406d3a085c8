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

/* The place of `key`, or the free one where it belongs. The map is never full, so the search ends. */
static size_t find(const hl_idmap *map, uint64_t key)
{
    size_t i = slot_of(map, key);
    while (map->id[i] != HL_IDMAP_NONE && map->key[i] != key) // NOLINT(clang-analyzer-unix.Malloc): grow() swaps both
        i = (i + 1) & (map->room - 1);
    return i;
}

uint32_t hl_idmap_get(const hl_idmap *map, uint64_t key) { return map->room ? map->id[find(map, key)] : HL_IDMAP_NONE; }

static int grow(hl_idmap *map)
{
    hl_idmap bigger = {.n = map->n, .room = map->room ? map->room * 2 : 256};
    bigger.key = malloc(bigger.room * sizeof *bigger.key);
    bigger.id = malloc(bigger.room * sizeof *bigger.id);
    if (!bigger.key || !bigger.id) {
        hl_idmap_clear(&bigger);
        return -ENOMEM;
    }
    memset(bigger.id, 0xff, bigger.room * sizeof *bigger.id); /* HL_IDMAP_NONE */
    for (size_t i = 0; i < map->room; i++) {
        if (map->id[i] != HL_IDMAP_NONE) {
            size_t to = find(&bigger, map->key[i]);
            bigger.key[to] = map->key[i];
            bigger.id[to] = map->id[i];
        }
    }
    hl_idmap_clear(map);
    *map = bigger;
    return 0;
}

int hl_idmap_put(hl_idmap *map, uint64_t key, uint32_t id)
{
    if (map->n >= map->room / 5 * 4) {
        int error = grow(map);
        if (error)
            return error;
    }
    size_t i = find(map, key);
    map->n += map->id[i] == HL_IDMAP_NONE; // NOLINT(clang-analyzer-unix.Malloc): the same
    map->key[i] = key;
    map->id[i] = id;
    return 0;
}

void hl_idmap_clear(hl_idmap *map)
{
    free(map->key);
    free(map->id);
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
