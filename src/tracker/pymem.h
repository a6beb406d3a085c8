/*
 * pymem.h - Python objects: hooks in the interpreter's memory domains (PyMem_SetAllocator), and what its arenas are.
 */
#ifndef HL_TRACKER_PYMEM_H
#define HL_TRACKER_PYMEM_H

#include "ring.h"

typedef enum hl_pymem_result {
    HL_PYMEM_OBJECTS, /* hooks are in place */
    HL_PYMEM_ARENAS,  /* arenas only: objects are not wanted */
    HL_PYMEM_MISSING, /* the interpreter has no PyMem_SetAllocator (2.7), and its own calls cannot be reached */
    HL_PYMEM_IN_USE,  /* threads may be inside its allocator, and it bears no exchange: arenas only */
} hl_pymem_result;

/* Finds the interpreter's functions and installs the hooks; before main, or with the GIL held. `mimalloc`: its pages come
 * without the arena functions. `has_gil`: nobody without it is inside the domains OBJ and MEM. */
hl_pymem_result hl_pymem_start(bool objects, bool mimalloc, bool has_gil);

/* With the GIL held: puts the interpreter's own functions back where ours stand; where another's hook stands in front of
 * ours, they stay, and pass through. */
void hl_pymem_stop(void);

/* In a forked child: no other thread is at work in here any more. */
void hl_pymem_forked(void);

/* Whether the hooks still stand; puts them back where the interpreter has chosen other allocators. They do get lost while
 * it starts: with any value of PYTHONMALLOC, with -X dev, always on 3.6. `w`: the writer of the hook at work; `starting`: no other thread of Python's runs
 * yet. */
void hl_pymem_check(hl_wire_writer *w, bool starting);

/* What stands for PyObject_Malloc, PyObject_Realloc and PyObject_Free in slots, where there is no PyMem_SetAllocator. */
void *hl_pymem_object_malloc(size_t bytes);
void *hl_pymem_object_realloc(void *p, size_t bytes);
void hl_pymem_object_free(void *p);

#endif
