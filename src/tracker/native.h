/*
 * native.h - stacks of C frames and Python frames in one (hl_session.native).
 *
 * At each allocation the C stack is walked and the thread's Python frames are put where the evaluation loops stand that run
 * them, so a node's way to the root is what a debugger would show. The stack of the writer's last event is remembered with
 * the places where its return addresses and frame pointers lie: as long as those words are unchanged, so is the stack
 * (unwinder.h has why), and only new frames are stepped.
 *
 * Without Python in the process, C frames alone are recorded. Where the walk cannot go on, the stack's outer end says so.
 */
#ifndef HL_TRACKER_NATIVE_H
#define HL_TRACKER_NATIVE_H

#include "tracker.h"

/* A frame of the remembered stack: what the walk had there, and what it means. */
typedef struct hl_walked_frame {
    uint64_t pc, sp, fp;         /* where it goes on, and its registers then */
    uint64_t pc_place, fp_place; /* where they were read; 0: nowhere */
    uint64_t node;               /* of the merged stack down to here */
    uint64_t python_node;        /* of the Python stack down to here, when this is an evaluation loop */
    uint32_t from;               /* the loop's frames in the writer's remembered Python stack: from .. to */
    uint32_t to : 29;            /* 0: it is no loop */
    uint32_t
        interrupted : 1; /* by a signal, or not yet begun: pc is the instruction itself, not the one behind a call */
    uint32_t by_fp : 1;  /* what calls it was found by its frame pointer */
    uint32_t fp_matters : 1; /* what calls it, or one further out, would be another with another fp */
} hl_walked_frame;
_Static_assert(sizeof(hl_walked_frame) == 64, "one cache line");

typedef struct hl_native_memory hl_native_memory;

typedef struct hl_native_data {
    bool on;
    hl_walker *python_walk;                 /* the thread's Python frames; NULL: there are none to walk */
    uint64_t own_from, own_bytes;           /* of libheapline.so, whose frames are left out */
    uint64_t loop_from, loop_bytes;         /* of the interpreter's loop, where only its address tells */
    uint64_t greenlet_from, greenlet_bytes; /* of the greenlet module, once it is known */
    _Atomic uint64_t mapped_bytes;
} hl_native_data;
extern __attribute__((visibility("hidden"))) hl_native_data hl_native;

/* Called while joining, after the rings are there and before hl_python_join. */
void hl_native_join(void);
/* Where the interpreter's loop is, for versions that do not tell where each activation of it stands. */
void hl_native_set_loop(const void *function);

/* Gives back what is remembered for a writer whose thread ends. */
void hl_native_thread_ended(hl_wire_writer *w);

#endif
