/*
 * unwinder.h - one step up the native stack: from a frame to its caller.
 *
 * What .eh_frame says of a return address is kept as one word, in a table of fixed size that all threads share: 5 ns a
 * step for what has been seen before, about 1 us for what is new. Nothing is allocated and nothing of libc is called that
 * takes a lock, but where the loader has no _dl_find_object (before glibc 2.35; then new return addresses ask
 * dl_iterate_phdr).
 *
 * Code without such information is stepped over by its frame pointer, if what that leads to looks like a frame: its
 * return address lies behind a call instruction, of a loaded object or, where the chain of frame pointers goes on, of
 * generated code.
 *
 * No read can fault, whatever the tables and frame pointers say. A stack's memory from the stack pointer up to where the
 * stack begins is there as long as its code runs; all reads are above the stack pointer. Where the thread's own stack begins
 * is known. Where another begins (a coroutine's, a handler's own) is not, and a neighbour's memory behind it may go at any
 * time: there the kernel is asked for each further page, in each walk anew. Each step goes outwards, but for a signal's: no
 * walk goes round for ever, and those are bounded by the room for frames.
 */
#ifndef HL_TRACKER_UNWINDER_H
#define HL_TRACKER_UNWINDER_H

#include "cfi.h"

#include <link.h>
#include <stdatomic.h>

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

/* Once, before the first step, on the way into the program's main. While `*confined`, no system call is made. */
void hl_unwind_start(const _Atomic bool *confined);

/* From a frame to its caller. False: it is the outermost, or (`broken`) it cannot be followed. `stack` is the one that the
 * frame's stack pointer is on. */
bool hl_unwind_step(hl_unwound *frame, hl_cfi_stack *stack, bool *broken);

/* The stacks of the calling thread, as far as they are known. All zero at first. */
typedef struct hl_own_stack {
    hl_cfi_stack stack; /* its own, from the lowest stack pointer seen on it */
    uint64_t hole;      /* below it nothing is of that stack */
} hl_own_stack;

/* The stack that `sp` is on. Costs a system call for each page below those that were known. */
hl_cfi_stack hl_unwind_stack(hl_own_stack *own, uint64_t sp);

/* Whether a stack can be read up to `address`, which is beyond its `high`: that is then moved. */
bool hl_unwind_reach(hl_cfi_stack *stack, uint64_t address);

/* The object that holds an address; false: none does. */
bool hl_unwind_object(uint64_t address, hl_object *object);

/* The program headers of a loaded object, where its first page has them; NULL and 0: it has not. */
const ElfW(Phdr) * hl_unwind_headers(const hl_object *object, int *count);

/* The function that holds an address, as .eh_frame has it: the part of it, where the compiler has split it. */
bool hl_unwind_function(uint64_t address, uint64_t *begin, uint64_t *end);

/* Whether a coroutine of makecontext begins with the code at `pc`: that address was not called from before it. */
bool hl_unwind_is_context_start(uint64_t pc);

/* Objects may have gone (dlclose): rules of before are not used any more. */
void hl_unwind_forget(void);
/* Changes with each hl_unwind_forget. */
uint32_t hl_unwind_generation(void);

#endif
