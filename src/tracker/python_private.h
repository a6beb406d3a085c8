/*
 * python_private.h - what the files of the Python part share: the state of the interpreter's process, the stack that a
 * writer remembers, and the functions between them.
 *
 *   python.c           finds the interpreter, chooses a layout or says why there is none
 *   python_layout.h    the layouts
 *   python_offsets.c   the layouts against what the interpreter says of itself
 *   python_state.c     the calling thread's PyThreadState
 *   python_walk.h, .c  the walk: one function for each layout
 *   python_announce.c  nodes and code objects, told to the collector
 *   python_codes.c     which code object an address means, before code objects had versions
 *   python_names.c     names of Python's threads
 *   pymem.h, pymem.c   PyMem hooks and arenas
 *
 * All runs in the program, in hooks, on the thread whose stack it is.
 */
#ifndef HL_TRACKER_PYTHON_PRIVATE_H
#define HL_TRACKER_PYTHON_PRIVATE_H

#include "announce.h"
#include "python_layout.h"

enum {
    HL_GENERATIONS = 1 << 14,
    HL_FRAMES_MOST = 1 << 15,        /* of one stack; beyond, it is cut at its outer end */
    HL_FRAMES_MAPPED_MOST = 1 << 17, /* of all threads together: 8 MiB */
};

/* One frame of the remembered stack. */
typedef struct hl_python_frame {
    char *address;        /* the interpreter's frame */
    uint64_t instruction; /* as the frame has it: a pointer, or f_lasti */
    uint64_t node;        /* of the stack down to here; of its parent where this frame does not count */
    char *code;
    uint64_t parent;
    uint32_t first;                   /* distance from the code object to the lowest instruction that counts */
    uint32_t loop;                    /* distance to the outermost frame of the same evaluation loop, a C function */
    int64_t to_shared;                /* from this thread's copy of the bytecode to the shared one (3.14t) */
    uint32_t version;                 /* of the code object; HL_SHIM for frames that are not Python's */
    uint32_t markable : 1, copy : 31; /* copy: index of the thread's copy of the bytecode */
} hl_python_frame;
_Static_assert(sizeof(hl_python_frame) == 64, "one cache line");
#define HL_SHIM UINT32_MAX
#define HL_NO_MARK UINT64_C(255) /* what no mark's field ever holds */

/* hl_wire_writer.tracker_hot */
enum {
    HL_HOT_STATE, /* address of the variable that holds the thread's PyThreadState; 0: nothing is set up yet */
    HL_HOT_TOP,   /* hl_python_frame of the innermost remembered frame; 0: none */
    HL_HOT_MARK,  /* what a marked frame has in its mark's field; an impossible value where marks do not count */
    HL_HOT_ORDER, /* the writer's order word at the last walk that compared code objects' versions */
};

/* hl_writer_private.python */
typedef struct hl_remembered {
    hl_python_frame *frames; /* [0] is the outermost */
    uint32_t depth;          /* frames that are valid, whatever HL_HOT_TOP says; 0 while they change */
    uint32_t room;
    char *cut;     /* what the outermost remembered frame was called by; NULL: it is the outermost of all */
    char *own;     /* this thread's state, where the current state is a global variable */
    uint64_t self; /* pthread_self() */
    uint32_t
        same; /* frames, from the outermost, that the last walk found to be the same activations as the walk before;
                         a walk that leaves it as it was: all. For native.c */
    uint32_t walks; /* native.c's */
    uint64_t spare[2];
    hl_python_frame inline_frames[];
} hl_remembered;
enum { HL_INLINE_FRAMES = (HL_WRITER_PYTHON_BYTES - sizeof(hl_remembered)) / sizeof(hl_python_frame) };

static HL_ALWAYS hl_remembered *hl_remembered_of(hl_wire_writer *w)
{
    return (hl_remembered *)hl_writer_private_of(w)->python;
}

typedef struct hl_python_data {
    const hl_layout *layout; /* NULL: no stacks */
    hl_walker *walk;         /* what hl_tracker.walk is once the interpreter is initialised */
    int (*is_initialized)(void);
    uint16_t version;             /* major << 8 | minor */
    uint32_t full_version;        /* Py_Version's form */
    uint32_t flags;               /* of hl_wire_process.python_flags */
    uint32_t recording;           /* hl_recording */
    char reason[384];             /* why it is less than asked */
    uintptr_t code_from, code_to; /* the interpreter's machine code */
    bool objects;                 /* PyMem hooks are wanted */
    bool compare_always;          /* code objects come and go unseen: compare versions at each walk */
    uint64_t mark;                /* value of HL_HOT_MARK where marks count */
    char *code_type;              /* &PyCode_Type */
    char *none;                   /* Py_None */
    char *line_trace;             /* a trace function that changes nothing (lines_trace.c) */

    /* python_state.c */
    char *(*state_getter)(void);
    char *(*state_of_thread)(void); /* PyGILState_GetThisThreadState: also without the GIL; NULL in 2.7 (it locks) */
    char **state_variable;          /* exported in 2.7 */
    char *(*interpreters_head)(void);
    char *(*interpreters_next)(char *);
    char *no_state; /* always NULL */

    _Atomic bool gave_up, cut_noted;
    _Atomic uint32_t frames_mapped;
    _Atomic uint32_t generations[HL_GENERATIONS];
} hl_python_data;
extern hl_python_data hl_python;

/* A code object's generation: how often code died at its address, lossy (others share the counter). Never 0. */
static HL_ALWAYS uint32_t hl_python_generation(const char *code)
{
    uint64_t mixed = (uint64_t)code * UINT64_C(0x9e3779b97f4a7c15);
    return atomic_load_explicit(&hl_python.generations[mixed >> 50], memory_order_relaxed) << 1 | 1;
}
_Static_assert(HL_GENERATIONS == 1 << (64 - 50), "hl_python_generation takes 14 bits");

/* Recording goes on without Python stacks, and the profile says why. */
void hl_python_give_up(const char *why);

/* NULL: the interpreter agrees with the layout; else what differs. */
const char *hl_python_offsets_differ(const hl_layout *layout, uint16_t version, bool free_threaded);

/* python_state.c: finds the functions. The state of the calling thread where the writer's variable does not tell: sets up
 * a fresh writer, asks the interpreter. NULL: the thread has none. */
void hl_python_state_find(void);
char *hl_python_state(hl_wire_writer *w);

/* python_walk.c */
/* The walk and the layout of a version; NULL: it is not known. */
hl_walker *hl_python_walker(uint16_t version, bool free_threaded, const hl_layout **layout);
/* Room for `more` frames behind the first `kept`. Returns how many of those are still there: the outermost were dropped
 * when the stack is too deep. */
uint32_t hl_python_make_room(hl_wire_writer *w, uint32_t kept, uint32_t more);
/* The node that stands for what was dropped. */
uint64_t hl_python_cut_node(void);

/* python_announce.c: tells the collector of the nodes of frames[..at] that it may not know. */
void hl_python_announce(hl_wire_writer *w, uint32_t at);
/* A frame's code object, and a node for it; and the node of what was cut. False: recording has ended. */
bool hl_python_announce_frame(hl_wire_writer *w, const hl_python_frame *r, uint64_t node, uint64_t parent);
bool hl_python_announce_cut(hl_wire_writer *w);
/* A code object alone. False: recording has ended, or the interpreter is not what it seemed to be. */
bool hl_python_announce_code(hl_wire_writer *w, const char *code, uint32_t version);
/* A str (2.7: also bytes) as UTF-8, cut where there is no room for a whole character. Returns the bytes. */
uint32_t hl_python_text(const char *object, char *to, uint32_t room);

/* python_codes.c */
void hl_python_codes_watch(void);
void hl_python_codes_forget(void);

/* python_names.c */
void hl_python_names_find(void);

#endif
