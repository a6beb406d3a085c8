/*
 * python.h - what the rest of the tracker needs to know of Python: nothing but this.
 *
 * Python is found at run time. Its part sets hl_tracker.walk, to one function for each layout of frames, and installs
 * the PyMem hooks.
 */
#ifndef HL_TRACKER_PYTHON_H
#define HL_TRACKER_PYTHON_H

#include "tracker.h"

/* Whether the process has an interpreter in it (Py_GetVersion or _PyRuntime). Called while joining, before main. */
bool hl_python_is_here(void);

/* Called when recording has begun: finds the layout, sets hl_tracker.walk, says with
 * hl_tracker_set_recording and hl_tracker_set_python what is recorded. */
void hl_python_join(void);
/* In a forked child, which has all of that: says it again. */
void hl_python_forked(void);
/* The recording ends while the program goes on: the interpreter gets its own functions back, where ours still stand. */
void hl_python_leave(void);

/* Called from the malloc hooks' cold end, now and then, and at each mapping: installs PyMem hooks once the interpreter
 * is ready for them. */
void hl_python_check(void);

/* Whether the interpreter's own allocator made the mapping that a call from `caller` asked for (arenas). Mappings made
 * below a mark of HL_BELOW need not be asked for. */
bool hl_python_made(const void *caller);

/* Whether `caller` is in the interpreter's own machine code. */
bool hl_python_has(const void *caller);

/* A thread that runs already has that name: it is told with the thread's first event. `tid` 0: forget all such names. */
void hl_python_name_known(int32_t tid, const char *name, size_t bytes);
/* In the first event of a thread, its writer entered. */
void hl_python_tell_name(hl_wire_writer *w);

/* Gives back what the walk has mapped for a writer whose thread ends. */
void hl_python_thread_ended(hl_wire_writer *w);

#endif
