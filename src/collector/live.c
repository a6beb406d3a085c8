/* live.c - how the table of live blocks begins, grows and ends. The hot path is in live.h. */
#include "live.h"

#include <linux/random.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    FIRST_CAPACITY = 512,
    SLACK = 2048,           /* slots behind the last home, for the last cluster; the very last one stays empty */
    TINY_BYTES = 2 << 20,   /* up to here load 1/4: most searches are one step, and predicted so */
    SMALL_BYTES = 16 << 20, /* up to here load 1/2 and doubling */
    AT_ONCE = 1 << 15,      /* slots that are moved without asking how long it takes */
    STEP = 1024,            /* slots moved in one step, */
    STEP_EVERY = 128,       /* .. one each so many blocks more: done long before the next growth is due */
};

static void set_limit(hl_live *live)
{
    bool small = live->capacity * sizeof(hl_block) <= SMALL_BYTES;
    bool tiny = live->capacity * sizeof(hl_block) <= TINY_BYTES;
    live->limit = tiny ? live->capacity / 4 : small ? live->capacity / 2 : live->capacity / 100 * 72;
    live->act_at = live->limit;
}

/* After this `slots` may lie elsewhere. */
static void make_room(hl_live *live, uint64_t slots)
{
    hl_area_grow(&live->area, slots * sizeof(hl_block));
    live->slots = (hl_block *)(void *)live->area.at;
    live->last = live->area.bytes / sizeof(hl_block) - 1;
}

void hl_live_extend(hl_live *live) { make_room(live, live->last + 1 + SLACK); }

void hl_live_init(hl_live *live)
{
    *live = (hl_live){0};
    /* No wrapper: glibc has it since 2.25. */
    const long bytes = sizeof live->multiplier;
    if (syscall(SYS_getrandom, &live->multiplier, bytes, GRND_NONBLOCK) != bytes)
        live->multiplier = (uint64_t)(uintptr_t)live;
    /* Odd, and dense enough to mix neighbours well. */
    live->multiplier = (live->multiplier & UINT64_C(0x0fffffffffffffff)) ^ UINT64_C(0x9e3779b97f4a7c15);
    live->multiplier |= 1;
    make_room(live, FIRST_CAPACITY + SLACK);
    live->capacity = live->capacity_below = FIRST_CAPACITY;
    set_limit(live);
}

void hl_live_release(hl_live *live)
{
    hl_area_release(&live->area);
    free(live->huge);
    free(live->lifted);
    *live = (hl_live){0};
}

static void put_again(hl_live *live, const hl_block *block)
{
    uint64_t i = hl_live_home(live, hl_block_key(block));
    while (live->slots[i].where)
        i++;
    live->slots[i] = *block;
    if (i >= live->last)
        hl_live_extend(live);
}

/* Moves the blocks whose hash is in [to, boundary) to their homes by the new capacity. From the old home of `to` on, all
 * up to the first gap behind is lifted out and put in again: what lies there with a smaller hash was only pushed there. */
static void move_down_to(hl_live *live, uint64_t to)
{
    uint64_t from = (uint64_t)((unsigned __int128)to * live->capacity_below >> 64);
    uint64_t until = (uint64_t)((unsigned __int128)(live->boundary - 1) * live->capacity_below >> 64) + 1;
    uint64_t n = 0;
    for (uint64_t i = from; i < until || live->slots[i].where; i++) {
        if (!live->slots[i].where)
            continue;
        if (n == live->lifted_room) {
            live->lifted_room = n ? 2 * n : 2 * STEP;
            live->lifted = hl_resized(live->lifted, live->lifted_room * sizeof *live->lifted);
        }
        live->lifted[n++] = live->slots[i];
        live->slots[i].where = 0;
    }
    live->boundary = to;
    for (uint64_t k = 0; k < n; k++)
        put_again(live, &live->lifted[k]);
}

static void step(hl_live *live, uint64_t slots)
{
    uint64_t width = UINT64_MAX / live->capacity_below * slots;
    move_down_to(live, live->boundary > width ? live->boundary - width : 0);
    if (live->boundary == 0) {
        live->capacity_below = live->capacity;
        set_limit(live);
    } else {
        live->act_at = live->count + STEP_EVERY;
    }
}

void hl_live_act(hl_live *live)
{
    if (live->boundary == 0) {
        bool small = live->capacity * sizeof(hl_block) < SMALL_BYTES;
        uint64_t capacity = small ? live->capacity * 2 : live->capacity / 5 * 6;
        make_room(live, capacity + SLACK);
        live->capacity = capacity;
        live->boundary = UINT64_MAX; /* the first step takes in the very last hash, too */
    }
    if (live->capacity_below <= AT_ONCE) {
        while (live->boundary)
            step(live, STEP);
    } else {
        step(live, STEP);
    }
}

uint64_t hl_live_huge_take(hl_live *live, uint64_t key)
{
    for (uint32_t i = 0; i < live->huge_count; i++) {
        if (live->huge[i].key == key) {
            uint64_t size = live->huge[i].size;
            live->huge[i] = live->huge[--live->huge_count];
            return size;
        }
    }
    return HL_BLOCK_SIZE_MASK;
}

void hl_live_huge_put(hl_live *live, uint64_t key, uint64_t size)
{
    if (live->huge_count == live->huge_room) {
        live->huge_room = live->huge_room ? 2 * live->huge_room : 16;
        live->huge = hl_resized(live->huge, live->huge_room * sizeof *live->huge);
    }
    live->huge[live->huge_count++] = (struct hl_huge){key, size};
}
