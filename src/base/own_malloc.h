/*
 * own_malloc.h - whether a program has an allocator in its executable, seen from its file.
 *
 * The loader looks every name up in the executable first. A malloc there that others can see is called by the whole process,
 * libraries included, and one that they cannot see by the executable's own code: no library in LD_PRELOAD comes before it.
 */
#ifndef HL_BASE_OWN_MALLOC_H
#define HL_BASE_OWN_MALLOC_H

#include <stdbool.h>

typedef struct hl_own_malloc {
    const char *name; /* "jemalloc", a constant; "malloc" for one without a name; null: it has none */
    bool exported;    /* libraries call it too */
} hl_own_malloc;

/* Of the ELF file behind `fd`. A file that is not whole, or has symbols beyond 64 MB, has none. */
hl_own_malloc hl_own_malloc_of(int fd);

#endif
