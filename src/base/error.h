/*
 * error.h - what heapline's own processes say on stderr: one message at the edge, `heapline: what: why (what to do)`.
 *
 * Functions below the edge return negative errno codes and print nothing.
 */
#ifndef HL_BASE_ERROR_H
#define HL_BASE_ERROR_H

/* Exit statuses; those of `run` are explained in docs/heapline-run.md. */
enum {
    HL_EXIT_OK = 0,
    HL_EXIT_CHECK_FAILED = 1,
    HL_EXIT_USAGE = 2,
    HL_EXIT_NOT_A_PROFILE = 3,
    HL_EXIT_INCOMPLETE = 4,       /* check, diff: no limit is exceeded, but not everything was recorded */
    HL_EXIT_OURS = 125,           /* `heapline run` could not start the program, for a reason of its own */
    HL_EXIT_NOT_EXECUTABLE = 126, /* the program is there and cannot be executed */
    HL_EXIT_NOT_FOUND = 127,
};

/* One line "heapline: ..." on stderr, in one write, so that lines of several processes do not mix. Control characters and
 * what is no text are made visible (hl_out_clean). */
void hl_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* strerror of an errno code of either sign, with its first letter in lower case where that is not an acronym. Static memory
 * of the calling thread. */
const char *hl_error_text(int code);

#endif
