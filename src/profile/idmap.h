/*
 * idmap.h - a hash map from 64-bit keys to 32-bit ids, for the writer's dictionaries. 12 bytes an entry, at most four
 * fifths full.
 */
#ifndef HL_PROFILE_IDMAP_H
#define HL_PROFILE_IDMAP_H

#include <stddef.h>
#include <stdint.h>

enum { HL_IDMAP_NONE = UINT32_MAX };

typedef struct hl_idmap {
    uint64_t *key;
    uint32_t *id;   /* HL_IDMAP_NONE: this place is free */
    size_t n, room; /* room is 0 or a power of two */
} hl_idmap;

/* The id of `key`, or HL_IDMAP_NONE. */
uint32_t hl_idmap_get(const hl_idmap *map, uint64_t key);
/* Sets it (never to HL_IDMAP_NONE), replacing what was there. -ENOMEM leaves the map as it was. */
int hl_idmap_put(hl_idmap *map, uint64_t key, uint32_t id);
void hl_idmap_clear(hl_idmap *map); /* gives the memory back too */

/* For keys that do not fit into 64 bits: hash, look up, compare, and try key + 1 when another thing has it. */
uint64_t hl_idmap_hash(const void *bytes, size_t n, uint64_t seed);

#endif
