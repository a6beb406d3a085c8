/*
 * output.h - where a recording's profile goes: the name's pattern, and whether it can be written there.
 */
#ifndef HL_CLI_OUTPUT_H
#define HL_CLI_OUTPUT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Expands %p (pid), %h (host name), %r (rank: PMI_RANK, OMPI_COMM_WORLD_RANK or SLURM_PROCID, else 0) and %% in `pattern`,
 * and makes it absolute; null, or a folder: "<stem>.<pid>.heapline" in the current folder, or in that. -EINVAL for another
 * %, -ENAMETOOLONG, or the errno of getcwd. */
int hl_output_expand(const char *pattern, const char *stem, pid_t pid, char path[PATH_MAX]);

/* Whether other recordings can have the same name from this pattern: it says no pid. */
bool hl_output_can_clash(const char *pattern);

/* Whether a profile may be put at `path`: its folder can be written to, and there is no file, or, with `force`, a regular
 * one; no recording of this user writes it now. A link is replaced by what it points to. On failure -errno and one line without the path in `why`. */
int hl_output_check(char path[PATH_MAX], bool force, char *why, size_t why_bytes);

#endif
