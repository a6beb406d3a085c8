/*
 * program.h - the program's own process: made early and held, so that its pid is known before anything runs in it.
 */
#ifndef HL_CLI_PROGRAM_H
#define HL_CLI_PROGRAM_H

#include "foreground.h"
#include "wire.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct hl_program {
    pid_t pid;
    int go;     /* a byte releases it, end of file makes it go away */
    int failed; /* end of file: it has been executed; else an int, the errno of execve */
} hl_program;

/* Forks a process that waits. The program gets the signal mask of `before`. -errno. The process shares `session`'s memory
 * and reads the locator from it when it is released. `tracker` null: the program finds nothing of the recording. */
int hl_program_hold(hl_program *program, const char *path, char **argv, hl_session *session, const char *tracker,
                    const hl_signals *before);

/* Lets it execute the program. 0, or -errno of execve: then it has ended. */
int hl_program_release(hl_program *program);

/* Ends a process that still waits. */
void hl_program_drop(hl_program *program);

#endif
