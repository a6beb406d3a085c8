/*
 * python_codes.c - which code object an address means, before code objects had versions (3.12).
 *
 * Addresses are used again: a loop of compile and exec has new code at one address nearly each time. So the death of each
 * code object raises a counter that stands for its address (and for others, for there are 16 k of them: then code is
 * announced again without need, and the collector joins it by content).
 *
 * Owns PyCode_Type.tp_dealloc, patched before main, or with the GIL held for the time of a recording.
 */
#include "python_private.h"

#include <dlfcn.h>

enum { TP_DEALLOC = 48, TP_DEALLOC_FREE_THREADED = 64 }; /* PyTypeObject: behind its header, name and two sizes */

static void (*real_dealloc)(void *);

static void code_dealloc(void *code)
{
    uint64_t mixed = (uint64_t)code * UINT64_C(0x9e3779b97f4a7c15);
    atomic_fetch_add_explicit(&hl_python.generations[mixed >> 50], 1, memory_order_relaxed);
    real_dealloc(code);
}

static void **place_of_dealloc(void)
{
    return (void **)(hl_python.code_type + (hl_python.flags & 1 ? TP_DEALLOC_FREE_THREADED : TP_DEALLOC));
}

void hl_python_codes_watch(void)
{
    if (!hl_python.code_type)
        return;
    void **place = place_of_dealloc();
    if (!*place || *place == (void *)code_dealloc)
        return;
    *(void **)&real_dealloc = *place;
    *place = (void *)code_dealloc;
}

void hl_python_codes_forget(void)
{
    if (hl_python.code_type && *place_of_dealloc() == (void *)code_dealloc)
        *place_of_dealloc() = (void *)real_dealloc;
}
