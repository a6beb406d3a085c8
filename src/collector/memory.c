/* memory.c - growing areas, long-lived texts, and the end when memory is out. */
#include "memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void (*hl_no_memory_hook)(void *);
void *hl_no_memory_argument;

_Noreturn void hl_no_memory(void)
{
    if (hl_no_memory_hook)
        hl_no_memory_hook(hl_no_memory_argument);
    abort();
}

void *hl_zeroed(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (!p)
        hl_no_memory();
    return p;
}

void *hl_resized(void *old, size_t bytes)
{
    void *p = realloc(old, bytes);
    if (!p)
        hl_no_memory();
    return p;
}

enum { HUGE_BYTES = 2 << 20 };

/* Address space only, aligned for huge pages; null when there is not so much. */
static char *reserve(size_t bytes)
{
    char *p = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)p & (HUGE_BYTES - 1));
    if (before)
        munmap(p, before);
    munmap(p + before + bytes, HUGE_BYTES - before);
    return p + before;
}

void hl_area_grow(hl_area *area, size_t bytes)
{
    if (bytes <= area->bytes)
        return;
    size_t step = bytes < HUGE_BYTES ? 65536 : HUGE_BYTES;
    bytes = (bytes + step - 1) / step * step;
    if (bytes > area->reserved) {
        /* A small area gets a little room, a big one so much that it need not move again. */
        size_t wish = bytes < HUGE_BYTES ? 4 * (size_t)HUGE_BYTES : (size_t)64 << 30;
        char *at = NULL;
        for (; wish >= bytes && !(at = reserve(wish)); wish = wish / 4 / HUGE_BYTES * HUGE_BYTES)
            ;
        if (!at) {
            wish = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
            if (!(at = reserve(wish)))
                hl_no_memory();
        }
        if (area->bytes && mremap(area->at, area->bytes, area->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED)
            hl_no_memory();
        if (area->reserved > area->bytes)
            munmap(area->at + area->bytes, area->reserved - area->bytes);
        area->at = at;
        area->reserved = wish;
    }
    if (mprotect(area->at + area->bytes, bytes - area->bytes, PROT_READ | PROT_WRITE))
        hl_no_memory();
    if (bytes >= 2 * (size_t)HUGE_BYTES)
        madvise(area->at, bytes, MADV_HUGEPAGE); /* a wish */
    area->bytes = bytes;
}

void hl_area_release(hl_area *area)
{
    if (area->reserved)
        munmap(area->at, area->reserved);
    *area = (hl_area){0};
}

void *hl_store_room(hl_store *store, size_t bytes)
{
    enum { BLOCK = 64 << 10 };
    bytes = (bytes + 7) & ~(size_t)7;
    if (bytes > store->left) {
        size_t size = bytes + sizeof(void *) > BLOCK ? bytes + sizeof(void *) : BLOCK;
        void **block = hl_resized(NULL, size);
        *block = store->blocks;
        store->blocks = block;
        store->bytes += size;
        store->block = (char *)(block + 1);
        store->left = size - sizeof(void *);
    }
    void *p = store->block;
    store->block += bytes;
    store->left -= bytes;
    return p;
}

void hl_store_release(hl_store *store)
{
    for (void **block = store->blocks, **next; block; block = next) {
        next = *block;
        free(block);
    }
    *store = (hl_store){0};
}
