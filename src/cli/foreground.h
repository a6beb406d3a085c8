/*
 * foreground.h - the parent while the program runs: it passes signals on, stops when the program stops, ends as it ended.
 *
 * The program is in our process group and has the terminal itself, so ^C, ^Z, ^\ and hang-up reach it without us.
 */
#ifndef HL_CLI_FOREGROUND_H
#define HL_CLI_FOREGROUND_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct hl_signals { /* what the caller of heapline set up, for the program to inherit */
    sigset_t mask;
    bool child_ignored;
} hl_signals;

/* Blocks all signals of this process, and takes SIGCHLD back from a caller that ignores it. */
void hl_foreground_begin(hl_signals *before);

/* In the program's process, before it executes the program. */
void hl_foreground_restore(const hl_signals *before);

/* Waits until the program has ended; its wait status, and the highest resident memory that the kernel saw of it or of a
 * child that it had waited for. */
int hl_foreground_wait(pid_t program, uint64_t *rss_peak_bytes);

/* Forgets the signals that have come so far; then hl_foreground_interrupted says whether the user asks again to end. */
void hl_foreground_forget(void);
int hl_foreground_interrupted(void);

/* The exit status that stands for `wait_status`; does not return when that was a signal: dies of the same one, without a
 * core dump of our own. */
int hl_foreground_end(int wait_status);

#endif
