/*
 * unwinder.h - one step up the native stack: from a frame to its caller.
 *
 * What .eh_frame says of a return address is kept as one word, in a table of fixed size that all threads share: 5 ns a
 * step for what has been seen before, about 1 us for what is new. Nothing is allocated and nothing of libc is called that
 * takes a lock, but where the loader has no _dl_find_object (before glibc 2.35; then new return addresses ask
 * dl_iterate_phdr).
 *
 * Code without such information is stepped over by its frame pointer, if what that leads to looks like a frame: its
 * return address lies behind a call instruction of a loaded object.
 */
#ifndef HL_TRACKER_UNWINDER_H
#define HL_TRACKER_UNWINDER_H

#include "cfi.h"

#include <link.h>

/* A loaded object, or what stands for one. `from` tells it from others that are loaded at the same time. */
typedef struct hl_object {
    uint64_t from, to;     /* its addresses */
    const char *path;      /* as the loader has it; "": the program itself */
    const uint8_t *header; /* .eh_frame_hdr; NULL: there is none */
} hl_object;

/* A frame as the walk has it. */
typedef struct hl_unwound {
    hl_cfi_registers at; /* its registers; pc is where it goes on, not the call */
    hl_cfi_places from;  /* where pc and fp were found; 0: nowhere */
    bool interrupted;    /* by a signal: pc is the instruction itself */
    bool by_fp;          /* the frame inside needed its frame pointer to come here; most need the stack pointer only */
} hl_unwound;

/* Once, before the first step. */
void hl_unwind_start(void);

/* From a frame to its caller. False: it is the outermost, or (`broken`) it cannot be followed. */
bool hl_unwind_step(hl_unwound *frame, const hl_cfi_stack *stack, bool *broken);

/* The object that holds an address; false: none does. */
bool hl_unwind_object(uint64_t address, hl_object *object);

/* The program headers of a loaded object, where its first page has them; NULL and 0: it has not. */
const ElfW(Phdr) * hl_unwind_headers(const hl_object *object, int *count);

/* The function that holds an address, as .eh_frame has it: the part of it, where the compiler has split it. */
bool hl_unwind_function(uint64_t address, uint64_t *begin, uint64_t *end);

/* The readable memory around `sp` that is this thread's stack (or what it uses as one); false: it is not known. Reads
 * /proc/self/maps: some 100 us, once for each stack. */
bool hl_unwind_stack(uint64_t sp, hl_cfi_stack *stack);

/* Objects may have gone (dlclose): rules of before are not used any more. */
void hl_unwind_forget(void);
/* Changes with each hl_unwind_forget. */
uint32_t hl_unwind_generation(void);

#endif
