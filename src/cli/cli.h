/*
 * cli.h - the command line: one table of subcommands (commands.c), one file a subcommand.
 *
 * A command gets its own words, argv[0] being its name, and returns the exit status. It describes itself by a hl_syntax
 * (base/options.h), which answers --help. Results go to stdout, everything that heapline itself says to stderr.
 */
#ifndef HL_CLI_CLI_H
#define HL_CLI_CLI_H

#include "error.h"
#include "options.h"

typedef struct hl_command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
    const char *group; /* heading under which `heapline help` shows it; null: internal, not shown */
} hl_command;

extern const hl_command hl_commands[]; /* ends with a null name */
#define HL_GROUP_RECORD "record"
#define HL_GROUP_READ "read a profile"
#define HL_GROUP_COMPARE "check, compare and join profiles"
#define HL_GROUP_MPROF "for users of memory_profiler"

/* Recording: run.c, env.c, collect.c, status.c, stop.c. */
int hl_cmd_run(int argc, char **argv);
int hl_cmd_env(int argc, char **argv);
int hl_cmd_collect(int argc, char **argv);
int hl_cmd_status(int argc, char **argv);
int hl_cmd_stop(int argc, char **argv);

/* Reading a profile: each with its file in src/cli and its row in commands.c, group HL_GROUP_READ; the figures in src/report. */
int hl_cmd_stats(int argc, char **argv);
int hl_cmd_tree(int argc, char **argv);
int hl_cmd_table(int argc, char **argv);
int hl_cmd_summary(int argc, char **argv);
int hl_cmd_lines(int argc, char **argv);
int hl_cmd_profiled(int argc, char **argv);
int hl_cmd_timeline(int argc, char **argv);
int hl_cmd_processes(int argc, char **argv);
int hl_cmd_report(int argc, char **argv); /* html.c */
int hl_cmd_flamegraph(int argc, char **argv);

/* Outcomes of profiles, and profiles of profiles: check.c, diff.c, merge.c. */
int hl_cmd_check(int argc, char **argv);
int hl_cmd_diff(int argc, char **argv);
int hl_cmd_merge(int argc, char **argv);

/* Resident memory over time, with files as those of mprof: mprof.c, mprof_run.c, mprof_plot.c. */
int hl_cmd_mprof(int argc, char **argv);
int hl_cmd_install_shims(int argc, char **argv); /* shims.c */

#endif
