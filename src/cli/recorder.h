/*
 * recorder.h - the collector's process: made, waited for, and told of the program's end. Used by run and collect.
 */
#ifndef HL_CLI_RECORDER_H
#define HL_CLI_RECORDER_H

#include "collector.h"

#include <stdbool.h>
#include <sys/types.h>

/* What `run`, `env` and `collect` have in common. */
typedef struct hl_record_options {
    const char *output;
    bool force, malloc_only, native, debuginfod, quiet, verbose, no_source;
    bool discard;      /* `collect` only: the numbers are for the program alone, and there is no profile */
    unsigned children; /* hl_children */
    uint64_t interval_ns;
    hl_option_list labels, lines;
    bool line_rss;
} hl_record_options;

extern const char *const hl_children_names[]; /* in the order of hl_children */

/* Their rows in a command's option table; `type` has an hl_record_options as its field `record`. */
#define HL_RECORD_OPTIONS(type)                                                                                        \
    {.name = "output",                                                                                                 \
     .letter = 'o',                                                                                                    \
     .kind = HL_OPTION_TEXT,                                                                                           \
     .value = "FILE",                                                                                                  \
     .help = "the profile (default: <script>.<pid>.heapline here); %p stands for the pid, %h the host, %r the rank "   \
             "of an MPI or Slurm job",                                                                                 \
     HL_SETS(type, record.output)},                                                                                    \
        {.name = "force",                                                                                              \
         .letter = 'f',                                                                                                \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "overwrite FILE",                                                                                     \
         HL_SETS(type, record.force)},                                                                                 \
        {.name = "malloc-only",                                                                                        \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "leave out Python's own objects: cheaper, and only what reaches malloc and mmap is counted",          \
         HL_SETS(type, record.malloc_only)},                                                                           \
        {.name = "native",                                                                                             \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "C frames too: each stack has Python's frames and those of C, C++, Rust and Fortran in one",          \
         HL_SETS(type, record.native)},                                                                                \
        {.name = "debuginfod",                                                                                         \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "ask the servers of DEBUGINFOD_URLS for debug information that is not on this machine",               \
         HL_SETS(type, record.debuginfod)},                                                                            \
        {.name = "children",                                                                                           \
         .kind = HL_OPTION_CHOICE,                                                                                     \
         .choices = hl_children_names,                                                                                 \
         .help = "which child processes are recorded into the same profile (default python; others are listed)",       \
         HL_SETS(type, record.children)},                                                                              \
        {.name = "interval",                                                                                           \
         .kind = HL_OPTION_DURATION,                                                                                   \
         .value = "TIME",                                                                                              \
         .least = UINT64_C(1000000),                                                                                   \
         .most = UINT64_C(60000000000),                                                                                \
         .help = "tick of the timeline and of the RSS samples (default 10ms; doubles as the run grows longer)",        \
         HL_SETS(type, record.interval_ns)},                                                                           \
        {.name = "label",                                                                                              \
         .kind = HL_OPTION_LIST,                                                                                       \
         .value = "KEY=VALUE",                                                                                         \
         .help = "kept in the profile; may be given several times",                                                    \
         HL_SETS(type, record.labels)},                                                                                \
        {.name = "lines",                                                                                              \
         .kind = HL_OPTION_LIST,                                                                                       \
         .value = "MODULE:FUNCTION",                                                                                   \
         .help =                                                                                                       \
             "profile these functions line by line (\"app:load,pkg.mod:Class.method\"); may be given several times",   \
         HL_SETS(type, record.lines)},                                                                                 \
        {.name = "line-rss",                                                                                           \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "with --lines: resident memory after each line, too",                                                 \
         HL_SETS(type, record.line_rss)},                                                                              \
    {                                                                                                                  \
        .name = "no-source", .kind = HL_OPTION_FLAG, .help = "do not keep the text of source files in the profile",    \
        HL_SETS(type, record.no_source)                                                                                \
    }

/* Every label has a key and a value. Null, or the first that has not. */
const char *hl_record_bad_label(const hl_record_options *options);
/* What is wrong with --lines, in words that begin with what was given, from a static buffer; null: nothing. */
const char *hl_record_bad_lines(const hl_record_options *options);

typedef struct hl_recorder {
    hl_session *session;
    int session_fd;
    pid_t pid;             /* of the collector; 0: not started, or reaped */
    int64_t start_unix_ns; /* in the registry and in the profile: which recording it is */
} hl_recorder;

/* Makes the session as the options say. */
int hl_recorder_create(hl_recorder *recorder, const hl_record_options *options, const char *tracker, bool root_any);

typedef struct hl_recording_of {
    const char *output;  /* absolute */
    const char *command; /* of the program, for people */
    const char *options; /* of heapline, for people */
    const char *unfit;   /* why the program cannot be recorded; null: it can */
    pid_t program;
} hl_recording_of;

/* In the process that becomes the collector, with session_fd open: stdin, stdout and, unless `verbose`, stderr become
 * /dev/null, other descriptors are closed, a session of its own begins; then registers the recording, collects, and takes
 * it from the list. Returns when the recording has ended: 0 or -errno. */
int hl_recorder_collect(hl_recorder *recorder, const hl_record_options *options, const hl_recording_of *what);

/* Forks the collector and waits until its session is open. -errno: there is no collector. */
int hl_recorder_start(hl_recorder *recorder, const hl_record_options *options, const hl_recording_of *what);

/* Tells the collector how the program ended, and waits until the profile holds all up to then: 0; -errno: it could not be
 * written; -EINTR: `interrupted` answered yes; -ECHILD: the collector has died. While only names of native frames are missing,
 * the first yes ends the search for them, and the profile is waited for. */
int hl_recorder_finish(hl_recorder *recorder, int wait_status, bool quiet, int (*interrupted)(void));

/* Whether the collector goes on, because processes that the program left behind are still recorded. */
bool hl_recorder_goes_on(hl_recorder *recorder);

/* Ends a recording in which nothing has happened, and removes its profile. */
void hl_recorder_drop(hl_recorder *recorder, const char *output);

/* Closes all descriptors from `from` on. */
void hl_close_from(int from);

#endif
