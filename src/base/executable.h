/*
 * executable.h - whether a program can bear the recorder's library in front of its own ones, seen from its file.
 *
 * The tracker asks the same before an exec, by itself and with no reasons (src/tracker/inject.c).
 */
#ifndef HL_BASE_EXECUTABLE_H
#define HL_BASE_EXECUTABLE_H

#include <stdbool.h>

typedef struct hl_unfit {
    const char *why; /* "a statically linked program"; null: nothing speaks against it */
    bool takes_harm; /* it must not even find the library in LD_PRELOAD: it would complain, or not run */
} hl_unfit;

hl_unfit hl_executable_unfit(int fd);

/* The same of a path; of a script it is the interpreter that its first line names. */
hl_unfit hl_executable_path_unfit(const char *file);

#endif
