/*
 * memory.h - where the collector's tables live: big ones in areas of their own, small ones from malloc.
 *
 * A collector without memory cannot keep exact books. It then ends the recording (hl_no_memory): the program goes on,
 * the last checkpoint stays on disk, and whoever waits is told -ENOMEM. So nothing here returns null.
 */
#ifndef HL_COLLECTOR_MEMORY_H
#define HL_COLLECTOR_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* What to do when memory is out; set by hl_collect. It must not return. Without one, the process aborts. */
extern void (*hl_no_memory_hook)(void *);
extern void *hl_no_memory_argument;
_Noreturn void hl_no_memory(void);

__attribute__((returns_nonnull)) void *hl_zeroed(size_t bytes);             /* calloc */
__attribute__((returns_nonnull)) void *hl_resized(void *old, size_t bytes); /* realloc */

/* Memory that grows without being copied: address space is reserved ahead, pages cost nothing until touched, new bytes
 * are zero. Above 2 MiB it asks for huge pages. */
typedef struct hl_area {
    char *at;
    size_t bytes, reserved;
} hl_area;

/* Makes the area at least `bytes` long; `at` moves only when the reservation is outgrown. */
void hl_area_grow(hl_area *area, size_t bytes);
void hl_area_release(hl_area *area);

/* A text or a list in one long-lived store: what is put there never moves and is never freed. */
typedef struct hl_store {
    char *block;
    size_t left, bytes;
    void *blocks; /* chain of all, for hl_store_release */
} hl_store;
void *hl_store_room(hl_store *store, size_t bytes);
void hl_store_release(hl_store *store);

#endif
