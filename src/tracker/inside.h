/*
 * inside.h - what a program calls that records itself (inside.c has how). Exported; the Python package calls it by ctypes.
 */
#ifndef HL_TRACKER_INSIDE_H
#define HL_TRACKER_INSIDE_H

#include "os.h"

extern const char heapline_tracker_version[];

/* Whether this process is being recorded. */
typedef enum heapline_recorded {
    HEAPLINE_NOT,
    HEAPLINE_BY_OTHERS, /* by `heapline run`, or in the recording of the process that forked it */
    HEAPLINE_BY_ITSELF,
    HEAPLINE_OVER, /* it was, and the recording has ended by itself (heapline stop, the collector died): to be left and ended */
} heapline_recorded;
int heapline_state(void);

/* `options`: words of `heapline collect`, quoted as for a shell. `message` gets the path of the profile; on failure the
 * collector's words, or "". 0 or a negative errno code. */
int heapline_begin(const char *binary, const char *options, char *message, size_t room);
/* Between heapline_begin and heapline_enter, for threads that run already: what Python calls them. */
void heapline_name(int tid, const char *name, size_t bytes);
/* With the GIL held. A hl_recording, or a negative code; the recording is to be left and ended in either case. */
int heapline_enter(void);
/* Why less is recorded than was asked for; "": all is. */
void heapline_reason(char *to, size_t room);
/* With the GIL held. */
int heapline_leave(void);
/* In a forked child only its own part of the recording ends. -ECHILD: the collector has died; else what writing the profile
 * failed with. */
int heapline_end(void);

/* In a forked child, before anything else of these: what another thread of its parent was in the middle of is over. */
void heapline_forked(void);

/* Of a process that is recorded, by whomever: */

/* A hl_mark_kind, and its name (at most HL_MARK_BYTES_MOST bytes count). */
void heapline_mark(int kind, const char *name, size_t bytes);
/* Where the numbers are that the collector publishes: 0: one word (uint32_t), to be set when they are looked at; 1: heap, peak,
 * the time (CLOCK_MONOTONIC, ns) as of which they are, and the heap at the last two HL_MARK_MEASURE, the last first, five
 * uint64_t; 2: a hl_wire_part. All 0 when nothing is recorded. The address is good for ever, but another one in a forked
 * child. NULL: not recorded. */
void *heapline_numbers(int which);
/* Waits until all that the calling thread has done is in these numbers. -ESRCH: nothing is recorded; -ETIMEDOUT. */
int heapline_sync(uint32_t limit_ms);
/* Functions whose lines are profiled ("lines" in wire.h), with the GIL held. `code` is a code object of the running
 * interpreter, which is kept; `name` the qualified name by which reports call the function. It is remembered whether or not
 * something is recorded now, and its lines are profiled whenever something is, in forked children too. Adding it again only
 * changes the flags (hl_lines_flags). 0; -ENOTSUP: this interpreter cannot be asked (heapline_lines_reason says why). */
int heapline_lines_add(void *code, const char *name, size_t bytes, int flags);
/* From now on its lines are not profiled any more; what was counted stays. -ENOENT: it was not added. */
int heapline_lines_remove(void *code);
void heapline_lines_reason(char *to, size_t room);

/* Waits until the profile on disk holds all that the calling thread has done. The same, or why it cannot be written. */
int heapline_checkpoint(uint32_t limit_ms);

#endif
