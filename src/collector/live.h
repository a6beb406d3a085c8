/*
 * live.h - the live blocks of one process: address -> size, stat row, birth.
 *
 * Open addressing with linear probing and no wrap-around; a slot's home grows with the address's hash over the whole
 * table. That is what lets the table grow in place and in small steps: slots are moved to their new homes from the top
 * down, and `boundary` is the hash from which on the new capacity holds. The mapping from hash to home is monotonic at
 * every moment, so a search and a delete need not know that the table is growing.
 *
 * Invariants: between a block's home and its slot no slot is empty; the last slot of the area is always empty; load is at
 * most 1/4 while tiny and 1/2 while small (hot sets: short probes), at most 0.72 and at least 0.60 once the table is bigger than 16 MiB:
 * 24 bytes a slot, at most 40 a live block.
 *
 * Addresses are the program's choice; the hash's multiplier is random, so that it cannot choose them to collide.
 */
#ifndef HL_COLLECTOR_LIVE_H
#define HL_COLLECTOR_LIVE_H

#include "memory.h"
#include "wire.h"

#include <stdbool.h>

enum { HL_THREAD_BITS = 20, HL_ROW_BITS = 24, HL_BLOCK_SIZE_BITS = 40 };

typedef struct hl_block {
    uint64_t where; /* address >> HL_ADDRESS_SHIFT, 44 bits; thread index above it; 0: the slot is empty */
    uint64_t what;  /* size, 40 bits, all ones: see hl_live.huge; stat row above it */
    uint32_t born_ms;
    uint32_t count; /* allocations of that thread up to and with this one */
} hl_block;
_Static_assert(sizeof(hl_block) == 24, "24 bytes a slot");

#define HL_BLOCK_SIZE_MASK ((UINT64_C(1) << HL_BLOCK_SIZE_BITS) - 1)

static inline uint64_t hl_block_key(const hl_block *b) { return b->where & HL_ADDRESS_MASK; }
static inline uint32_t hl_block_thread(const hl_block *b) { return (uint32_t)(b->where >> HL_ADDRESS_BITS); }
static inline uint64_t hl_block_size(const hl_block *b) { return b->what & HL_BLOCK_SIZE_MASK; }
static inline uint32_t hl_block_row(const hl_block *b) { return (uint32_t)(b->what >> HL_BLOCK_SIZE_BITS); }
static inline void hl_block_set_row(hl_block *b, uint32_t row)
{
    b->what = (b->what & HL_BLOCK_SIZE_MASK) | (uint64_t)row << HL_BLOCK_SIZE_BITS;
}

typedef struct hl_live {
    hl_block *slots;
    uint64_t boundary; /* hashes from here on have their home by `capacity`, those below by `capacity_below` */
    uint64_t capacity, capacity_below;
    uint64_t multiplier;
    uint64_t count;
    uint64_t act_at; /* count at which an insert has to do something about growing */
    uint64_t limit;  /* count at which the table grows */
    uint64_t last;   /* the slot that must stay empty; one that gets a block makes the area longer */
    hl_area area;
    hl_block *lifted; /* room for a step of growing */
    uint64_t lifted_room;
    struct hl_huge {
        uint64_t key, size;
    } * huge; /* sizes of 2^40 - 1 and more, a plain list */
    uint32_t huge_count, huge_room;
} hl_live;

void hl_live_init(hl_live *live);
void hl_live_release(hl_live *live);

static inline uint64_t hl_live_home(const hl_live *live, uint64_t key)
{
    uint64_t hash = key * live->multiplier;
    uint64_t capacity = hash >= live->boundary ? live->capacity : live->capacity_below;
    return (uint64_t)((unsigned __int128)hash * capacity >> 64);
}

/* Takes the block at `key` (not 0) out into `*block`. False: there is none. */
static inline bool hl_live_take(hl_live *live, uint64_t key, hl_block *block)
{
    hl_block *slots = live->slots;
    uint64_t i = hl_live_home(live, key);
    while (hl_block_key(&slots[i]) != key) {
        if (!slots[i].where)
            return false;
        i++;
    }
    *block = slots[i];
    for (uint64_t j = i + 1; slots[j].where; j++) {
        if (hl_live_home(live, hl_block_key(&slots[j])) <= i) {
            slots[i] = slots[j];
            i = j;
        }
    }
    slots[i].where = 0;
    live->count--;
    return true;
}

void hl_live_act(hl_live *live);    /* a step of growing */
void hl_live_extend(hl_live *live); /* more slots behind the last home */

/* Puts a block in. True: one with this address was there (its free was never seen); it has been taken out into `*old`. */
static inline bool hl_live_put(hl_live *live, const hl_block *block, hl_block *old)
{
    if (__builtin_expect(live->count >= live->act_at, 0))
        hl_live_act(live);
    hl_block *slots = live->slots;
    uint64_t key = hl_block_key(block), i = hl_live_home(live, key);
    while (slots[i].where) {
        if (__builtin_expect(hl_block_key(&slots[i]) == key, 0)) {
            *old = slots[i];
            slots[i] = *block;
            return true;
        }
        i++;
    }
    slots[i] = *block;
    live->count++;
    if (__builtin_expect(i >= live->last, 0))
        hl_live_extend(live);
    return false;
}

/* Sizes that do not fit into a slot: kept apart, under the block's address. */
uint64_t hl_live_huge_take(hl_live *live, uint64_t key);
void hl_live_huge_put(hl_live *live, uint64_t key, uint64_t size);

#endif
