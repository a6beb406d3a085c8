/*
 * hidden.c - what the interpreter allocates while it works for the tracker: compiles, makes callbacks, prepares code for events.
 *
 * None of that is the program's, but what is freed in between may be. So blocks made in between are remembered, and other frees are
 * told. A block that stays beyond is freed later as one that nobody knows.
 *
 * Runs in the program, in hooks below a mark HL_HIDDEN. Owns one table of addresses, under a lock that is held for a few
 * instructions; signals are not blocked for it: a handler's hook is not below the mark of the thread that it interrupts.
 */
#include "ring.h"

enum { PLACES = 1 << 14, FULL = PLACES / 4 * 3 };

static struct {
    atomic_flag busy;
    uint32_t count;
    uintptr_t *places; /* pages of our own; 0: free */
} hidden = {.busy = ATOMIC_FLAG_INIT};

/* The calling thread's writer, if it is below such a mark. */
static hl_wire_writer *hidden_writer(uint64_t *open)
{
    hl_wire_writer *w = (hl_wire_writer *)((uintptr_t)hl_self & hl_tracker.live.on);
    *open = w && w != &hl_tracker.no_writer ? atomic_load_explicit(&w->open, memory_order_relaxed) : 0;
    return (*open & HL_MARK_BITS) == HL_HIDDEN && hl_os_stack_pointer() < *open ? w : NULL;
}

static uint32_t place_of(uintptr_t address) { return (uint32_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 50); }
_Static_assert(PLACES == 1 << (64 - 50), "place_of takes 14 bits");

static uint32_t find(uintptr_t address)
{
    uint32_t i = place_of(address);
    while (hidden.places[i] && hidden.places[i] != address)
        i = (i + 1) % PLACES;
    return i;
}

static void remove_at(uint32_t hole)
{
    hidden.count--;
    for (uint32_t i = (hole + 1) % PLACES; hidden.places[i]; i = (i + 1) % PLACES) {
        uint32_t home = place_of(hidden.places[i]);
        if ((i - home) % PLACES >= (i - hole) % PLACES) {
            hidden.places[hole] = hidden.places[i];
            hole = i;
        }
    }
    hidden.places[hole] = 0;
}

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&hidden.busy, memory_order_acquire))
        hl_os_yield();
}
static void unlock(void) { atomic_flag_clear_explicit(&hidden.busy, memory_order_release); }

HL_COLD void hl_hidden_made(const void *p)
{
    uint64_t open;
    if (!p || !hidden_writer(&open))
        return;
    lock();
    if (hidden.places || (hidden.places = hl_os_pages(PLACES * sizeof *hidden.places))) {
        uint32_t i = find((uintptr_t)p);
        if (!hidden.places[i] && hidden.count < FULL) {
            hidden.places[i] = (uintptr_t)p;
            hidden.count++;
        }
    }
    unlock();
}

HL_COLD hl_wire_writer *hl_hidden_free(const void *p)
{
    uint64_t open;
    hl_wire_writer *w = hidden_writer(&open);
    if (!w)
        return NULL;
    bool ours = false;
    lock();
    if (hidden.places) {
        uint32_t i = find((uintptr_t)p);
        ours = hidden.places[i] != 0;
        if (ours)
            remove_at(i);
    }
    unlock();
    if (!ours)
        hl_put_address(w, HL_WORD_FREE, p);
    atomic_store_explicit(&w->open, (open & ~(uint64_t)HL_MARK_BITS) | HL_BELOW_FOREIGN, memory_order_relaxed);
    return w;
}

void hl_hidden_forked(void) { unlock(); }
