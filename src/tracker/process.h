/*
 * process.h - following the program's children: which they are, how they ended, and that they find the session again.
 *
 * Files: process.c (fork, wait), exec.c (exec functions, posix_spawn, system, popen), inject.c (a child's environment).
 * All of it runs in the program, some of it in vfork children, which share their parent's memory: nothing here allocates,
 * and nothing is remembered that a vfork child may not remember for its parent.
 */
#ifndef HL_TRACKER_PROCESS_H
#define HL_TRACKER_PROCESS_H

#include "tracker.h"

#include <sys/types.h>

/* The next function of that name behind ours, looked up once. NULL where libc has none. */
void *hl_process_real(void **slot, const char *name);

/* This process has made a child (hl_child_kind). */
void hl_process_child(hl_child_kind kind, pid_t pid);

/* The calling process is about to execute `path`. In a vfork child: its parent has a child. */
void hl_process_exec(const char *path);

/* ---------------------------------------------------------------------------------------- inject.c */

/* How a child is made: with HL_CHILDREN_NONE only the program itself, replaced by exec, goes on being recorded. */
typedef enum hl_making { HL_MAKING_EXEC, HL_MAKING_CHILD } hl_making;

/* Whether what is executed gets our variables: there is a session, it wants children, and the file can bear the library
 * (other machine, other libc, other root directory: no). `path` NULL: not known. */
bool hl_inject_wanted(hl_making making, const char *path);

/* Finds what execvp would execute. False: nothing. */
bool hl_inject_find(const char *file, char path[PATH_MAX]);

/* Room for hl_inject, in bytes. */
size_t hl_inject_bytes(char *const *environment);

/* `environment` with our variables, built in `room`; one that names a session already is returned as it is. */
char *const *hl_inject(char *const *environment, void *room);

/* A shell command that runs `line` as it would have run, with our variables; its length with the final zero. `to` NULL:
 * only the length. */
size_t hl_inject_line(const char *line, char *to);

#endif
