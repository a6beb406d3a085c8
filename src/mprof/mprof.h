/*
 * mprof.h - the memory of a process over time as the kernel tells it, in mprof's .dat files: taken, read, drawn.
 *
 * Nothing here records allocations: figures are resident memory from /proc, of any process and from outside. Who samples is
 * `heapline mprof run` (cli/mprof_run.c); the other verbs of `heapline mprof` read the files.
 *
 * A .dat file is text with a record a line, in any order, appended to by several processes:
 *
 *     CMDLINE <command line>
 *     MEM <MiB> <unix time>                                        the process (with -C: and its children)
 *     CHLD <pid> <MiB> <unix time>                                 one child
 *     FUNC <name> <MiB> <unix time> <MiB> <unix time> [<depth>]    one call: at its begin and at its end
 */
#ifndef HL_MPROF_MPROF_H
#define HL_MPROF_MPROF_H

#include "out.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------------------------------ memory.c: taking */

typedef enum hl_measure { HL_MEASURE_RSS, HL_MEASURE_PSS, HL_MEASURE_USS } hl_measure;

/* Bytes of a process now: 0; -ESRCH: it is not there or has no memory (it ended, a kernel thread); -EACCES. */
int hl_memory_of(pid_t pid, hl_measure measure, uint64_t *bytes);

/* All descendants of a process that are there now, in the order of their pids, as the kernel's list of parents has them
 * (an orphan belongs to init). `*pids` is from malloc. The number, or -errno. */
int hl_descendants_of(pid_t pid, pid_t **pids);

/* The first process, by pid, other than this one, whose name (comm) has `part` in it; 0: none. */
pid_t hl_process_named(const char *part);

/* Its command line in mprof's form, cut to fit; its name where it has none. False: it is not there. */
bool hl_command_of(pid_t pid, char *to, size_t bytes);

/* Words in mprof's form: those with blanks in '', line ends made visible. Cut to fit. */
void hl_mprof_command(char *to, size_t bytes, char *const *words);

/* ----------------------------------------------------------------------------------------------- dat.c: reading */

typedef struct hl_dat_point {
    double mib, time_s; /* unix time */
} hl_dat_point;

typedef struct hl_dat_series {
    hl_dat_point *point; /* by time */
    size_t n;
} hl_dat_series;

typedef struct hl_dat_child {
    int64_t pid;
    hl_dat_series series;
} hl_dat_child;

typedef struct hl_dat_call {
    const char *name; /* as written, with plain blanks */
    hl_dat_point begin, end;
    int depth;
} hl_dat_call;

typedef struct hl_dat {
    char *text;          /* of the file; what is below points into it */
    const char *command; /* "" when there is none */
    hl_dat_series memory;
    hl_dat_child *child; /* in order of appearance */
    size_t children;
    hl_dat_call *call; /* in order of the file */
    size_t calls;
    size_t unread; /* lines that could not be understood, the last one when it is still being written among them */
} hl_dat;

/* 0 or -errno. Lines with unknown first words and lines that are no records are skipped. */
int hl_dat_read(hl_dat *dat, const char *path);
int hl_dat_parse(hl_dat *dat, char *text); /* takes `text`, from malloc, over */
void hl_dat_release(hl_dat *dat);

/* The highest figure: of the process, or of it during calls of `function`, their begin and end among it. False: no figure. */
bool hl_dat_peak(const hl_dat *dat, const char *function, hl_dat_point *peak);
bool hl_series_peak(const hl_dat_series *series, hl_dat_point *peak);

/* Least squares over all points: MiB a second. False: fewer than two moments. */
bool hl_series_slope(const hl_dat_series *series, double *slope, double *at_first);

/* ----------------------------------------------------------------------------------------------- plot.c: drawing */

typedef struct hl_plot_options {
    const char *title;        /* null: the command line, when there is one file */
    bool calls, flame, slope; /* calls only with one file */
    bool has_window;
    double from_s, until_s; /* since the first sample */
} hl_plot_options;

/* One SVG document, complete in itself; texts from the files are escaped. */
void hl_plot_svg(hl_out *out, const hl_dat *dats, size_t n, const hl_plot_options *options);

/* For each name the shortest end of its dotted name that no other of them has; pointers into the names. */
void hl_plot_labels(const char *const *names, const char **labels, size_t n);

/* ------------------------------------------------------------------------------------------------- Python's part */

typedef struct hl_python_file {
    const char *name, *text;
} hl_python_file;

/* mprof.py, then the files of the package memory_profiler, named as in python/heapline/compat, and an entry without a name;
   put in by CMake. */
extern const hl_python_file hl_python_files[];

#endif
