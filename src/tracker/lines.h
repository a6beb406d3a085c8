/*
 * lines.h - lines of profiled functions: what the rest of the tracker needs to know of them ("lines" in wire.h; what a
 * program calls is in inside.h).
 *
 * A hook pays nothing for them: where the thread's stack of lines has changed, HL_LINES_CHANGED stands in the writer's
 * order_seen (ring.h), which each event compares anyway.
 */
#ifndef HL_TRACKER_LINES_H
#define HL_TRACKER_LINES_H

#include "ring.h"

/* A recording begins; before events are recorded. `forked`: in a child, whose thread goes on in its parent's lines. */
void hl_lines_begin(bool forked);

/* With the GIL held: functions that were added before are profiled from here on; and no longer. */
void hl_lines_start(void);
void hl_lines_stop(void);

/* Whether functions are to be looked for that the session names; and, once the interpreter is initialised, in any event: that they
 * be. */
bool hl_lines_find_wanted(void);
void hl_lines_find_soon(void);
/* The process ends: what was not found is noted. */
void hl_lines_exit(void);

/* The calling thread has a new writer, or none any more. */
void hl_lines_new_writer(hl_wire_writer *w);
void hl_lines_thread_ended(void);

#endif
