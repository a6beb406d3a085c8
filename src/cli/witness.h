/*
 * witness.h - tells whether a signal was sent to the whole process group or to this process alone.
 *
 * The program is in the group of the foreground parent, so what is sent to the group (^C, a shell's kill %1, timeout(1))
 * has reached it already and must not be passed on a second time; what is sent to the parent alone must be. A signal does
 * not say which it was. The witness is one more process in the group, with all signals blocked, that does nothing: what is
 * pending there was sent to the group. It shares the parent's memory (no copy) and dies with it.
 */
#ifndef HL_CLI_WITNESS_H
#define HL_CLI_WITNESS_H

#include <stdbool.h>
#include <sys/types.h>

/* All signals must be blocked. The witness's pid, or -errno; without a witness every signal counts as sent to us alone. */
pid_t hl_witness_start(void);

/* Whether signal `number`, which this process has just got, was sent to the group. The witness may be another one after it. */
bool hl_witness_saw(pid_t *witness, int number);

void hl_witness_end(pid_t witness);

#endif
