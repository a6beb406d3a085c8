/*
 * verdict.h - what happened, in words: how the program ended, how high its memory went, and the line that held most of it.
 *
 * The first lines of every report and the five lines that `heapline run` prints when the program has ended.
 */
#ifndef HL_REPORT_VERDICT_H
#define HL_REPORT_VERDICT_H

#include "model.h"
#include "out.h"

/* "failed with exit status 1 after 5.11 s", "was killed by SIGSEGV (segmentation fault) after ..", "was killed: out of memory
 * (cgroup /x, limit 512.0 MB) ..", "is still running; this is its first ..". */
void hl_verdict_ending(const hl_model *model, hl_out *out);

/* "app.py:42 in load", "(no Python)". */
void hl_verdict_place(const hl_model *model, uint32_t site, hl_out *out);

/* The heaviest line of Python code of weights by site; what is none of one only where it is more than half, or there is no
 * line. HL_NO_ROW when all are 0. */
uint32_t hl_verdict_heaviest(const hl_model *model, const hl_weight *sites);

/* Two to four lines: the ending, the peak, what held memory when it ran out, notes that nobody must miss. */
int hl_verdict_head(hl_model *model, hl_out *out);

/* What `heapline run` knows by itself when the program has ended. */
typedef struct hl_verdict_seen {
    int64_t start_unix_ns; /* which recording the profile must be of */
    int wait_status;
    uint64_t end_ns;  /* how long the program ran */
    const char *lost; /* why the profile is only what was saved before the end; null: it is whole */
} hl_verdict_seen;

/* The five lines of `heapline run`, to `fd`, from the profile at `path` as it is now; before them a line about what is lost.
 * A file that is not of this recording is never read out: that nothing was saved is said instead. 0, or a negative error
 * code of opening and reading it with the reason in `why`; nothing is written then. */
int hl_verdict_write(const char *path, int fd, const hl_verdict_seen *seen, char *why, size_t why_bytes);

/* "SIGSEGV"; null for a number that is none. */
const char *hl_signal_name(int64_t number);

#endif
