/*
 * lines_private.h - what the files of the line profiler share: the registered functions, each thread's stack of lines, and
 * what happens to both when the interpreter says that a line begins.
 *
 *   lines.c             registered functions, their counters, words about them
 *   lines_stack.h, .c   the stack of lines
 *   lines_table.c       which lines a code object has
 *   lines_python.h, .c  the interpreter's functions, looked up
 *   lines_monitoring.c  events of sys.monitoring (3.12 and later)
 *   lines_boxes.h, .c   what these make the interpreter allocate
 *   lines_trace.c       tracing (3.8 to 3.11)
 *   lines_rss.c         resident memory after a line
 *   lines_find.c        functions that the session names
 *
 * All runs in the program, on threads of the interpreter's, with the GIL held where there is one; hl_lines_tell in hooks.
 */
#ifndef HL_TRACKER_LINES_PRIVATE_H
#define HL_TRACKER_LINES_PRIVATE_H

#include "lines.h"
#include "python_private.h"

/* A part of a function's counters, of at most HL_LINES_A_PIECE lines, which lies in one chunk. */
typedef struct hl_line_piece {
    hl_wire_line *counters;
    uint32_t first_id;
} hl_line_piece;

/* A registered function. Never given back: threads may hold it. */
typedef struct hl_line_code {
    void *code;                 /* the code object; a reference is kept */
    _Atomic uint64_t recording; /* hl_tracker.live.lines for which `pieces` are good */
    _Atomic uint32_t flags;     /* hl_lines_flags */
    uint32_t first_line, lines; /* 0 lines: not looked at yet */
    uint32_t units;             /* instructions of two bytes */
    const uint16_t *line_of;    /* of each: its line - first_line + 1; 0: none */
    bool starts_in_head;        /* its first statement is on the line of its head: `def f(): return x`, a lambda */
    hl_line_piece *pieces;      /* (lines + HL_LINES_A_PIECE - 1) / HL_LINES_A_PIECE */
    _Atomic bool wanted;        /* false: removed */
    bool watched;               /* the interpreter has been told */
    bool failed;                /* it cannot be profiled (in this recording: no room for its counters) */
    uint32_t name_bytes;
    const char *name;
} hl_line_code;

/* The functions, by address of their code object: open addressing, at most half full. Replaced whole when it grows. */
typedef struct hl_line_codes {
    uint64_t mask;
    _Atomic(hl_line_code *) at[];
} hl_line_codes;

typedef struct hl_lines_data {
    _Atomic(hl_line_codes *) codes; /* NULL: none was ever added */
    _Atomic uint32_t busy;          /* lock: a thread id */
    uint32_t count;
    uint64_t recordings;  /* numbers given to recordings (hl_tracker.live.lines) */
    bool started;         /* the interpreter tells us of lines */
    bool finding;         /* and of code that runs for the first time */
    bool atomic;          /* counters are counted by several threads at once: no GIL */
    hl_wire_chunk *chunk; /* that counters are taken from; NULL: none yet in this recording */
    uint32_t chunk_used;
    uint64_t chunk_of;         /* the recording that it is of */
    char *memory, *memory_end; /* pages of our own for what is never given back */
    char reason[256];
} hl_lines_data;
extern __attribute__((visibility("hidden"))) hl_lines_data hl_lines;

static HL_ALWAYS uint64_t hl_line_place(const hl_line_codes *codes, const void *code)
{
    return ((uint64_t)code * UINT64_C(0x9e3779b97f4a7c15) >> 32) & codes->mask;
}

/* NULL: it is not registered. */
static HL_ALWAYS hl_line_code *hl_line_code_find(const void *code)
{
    hl_line_codes *codes = atomic_load_explicit(&hl_lines.codes, memory_order_acquire);
    if (!codes)
        return NULL;
    for (uint64_t i = hl_line_place(codes, code);; i = (i + 1) & codes->mask) {
        hl_line_code *c = atomic_load_explicit(&codes->at[i], memory_order_acquire);
        if (!c || c->code == code)
            return c;
    }
}

/* lines.c: gives it counters in the recording at hand and announces it; `w` is entered. False: there is no room, or nothing
 * is recorded. */
bool hl_line_code_begin(hl_line_code *c, hl_wire_writer *w);
/* From a callback: the same, entering. */
bool hl_line_code_begin_here(hl_line_code *c);
/* With the GIL held: a function is profiled from here on. 0 or a negative errno code, with hl_lines.reason. */
int hl_lines_register(void *code, const char *name, size_t bytes, uint32_t flags);
/* With the GIL held: the interpreter tells of code that runs for the first time, by hl_lines_seen. The same. */
int hl_lines_watch_starts(void);
void *hl_lines_memory(size_t bytes); /* zeroed, for ever; NULL: there is none */
void hl_lines_note(const char *text);
/* In between the interpreter works for us: what it allocates is not the program's. May be nested; NULL: nothing is recorded. */
hl_wire_writer *hl_lines_hide(void);
void hl_lines_show(hl_wire_writer *w);

/* lines_table.c: fills in first_line, lines, units and line_of. False: it has none that can be counted. */
bool hl_line_table_read(hl_line_code *c);

/* lines_find.c: functions that the session names. The list is read as a recording begins; then, with the GIL held, they are looked
 * for; or without it, so that they are as soon as may be. */
void hl_lines_find_begin(void);
int hl_lines_find_start(void);
/* A frame of that code begins; `globals` is borrowed. */
void hl_lines_seen(void *code, void *globals);

/* What lies between the interpreter and this. Each is called with the GIL held; 0 or a negative errno code, with hl_lines.reason. */
int hl_lines_monitoring_start(void);
int hl_lines_monitoring_watch(hl_line_code *c, bool on);
void hl_lines_monitoring_stop(void);
int hl_lines_monitoring_find(void); /* after the start */
int hl_lines_trace_start(void);
void hl_lines_trace_stop(void);
/* Its call in which the calling thread is already is traced, too; and no longer. */
void hl_lines_trace_running(hl_line_code *c);
void hl_lines_trace_forget(hl_line_code *c);

#endif
