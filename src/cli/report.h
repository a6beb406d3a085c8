/*
 * report.h (cli) - what the commands that read a profile share: their options, opening the profile, choosing a view of it,
 * writing the result.
 */
#ifndef HL_CLI_REPORT_H
#define HL_CLI_REPORT_H

#include "../report/report.h"
#include "cli.h"
#include "html.h"

typedef struct hl_report_options {
    bool json, csv, compact, leaf, whole, leaks, allocated, python_only, native_only, force;
    const char *at, *since, *thread, *region, *output;
    uint64_t temporary; /* HL_NO_TEMPORARY: not asked for */
    uint64_t pid, rows;
    unsigned sort, colour;
} hl_report_options;
#define HL_NO_TEMPORARY UINT64_MAX
#define HL_NO_NUMBER UINT64_MAX /* of rows: not given */

/* Rows of an option table. */
extern const char *const hl_colour_choices[];
#define HL_REPORT_SET(field) HL_SETS(hl_report_options, field)
#define HL_OPTIONS_VIEW                                                                                                \
    {.name = "at",                                                                                                     \
     .kind = HL_OPTION_TEXT,                                                                                           \
     .value = "WHEN",                                                                                                  \
     .help = "what is alive at the peak (default), the end or a time: peak, end, 12.5s, 80%",                          \
     HL_REPORT_SET(at)},                                                                                               \
        {.name = "since",                                                                                              \
         .kind = HL_OPTION_TEXT,                                                                                       \
         .value = "TIME",                                                                                              \
         .help = "with --at or --leaks: only what was allocated from this time on",                                    \
         HL_REPORT_SET(since)},                                                                                        \
        {.name = "leaks", .kind = HL_OPTION_FLAG, .help = "what was never freed", HL_REPORT_SET(leaks)},               \
        {.name = "allocated",                                                                                          \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "everything allocated, freed or not",                                                                 \
         HL_REPORT_SET(allocated)},                                                                                    \
        {.name = "temporary",                                                                                          \
         .kind = HL_OPTION_OPTIONAL_NUMBER,                                                                            \
         .value = "N",                                                                                                 \
         .absent = 1,                                                                                                  \
         .most = 1024,                                                                                                 \
         .help = "what was freed within N later allocations of its thread (default 1)",                                \
         HL_REPORT_SET(temporary)},                                                                                    \
    {                                                                                                                  \
        .name = "pid", .kind = HL_OPTION_NUMBER, .value = "PID", .least = 1, .most = INT32_MAX,                        \
        .help = "only this process", HL_REPORT_SET(pid)                                                                \
    }
#define HL_OPTIONS_THREAD                                                                                              \
    {.name = "thread",                                                                                                 \
     .kind = HL_OPTION_TEXT,                                                                                           \
     .value = "NAME",                                                                                                  \
     .help = "only threads of this name, or the thread with this id",                                                  \
     HL_REPORT_SET(thread)},                                                                                           \
    {                                                                                                                  \
        .name = "region", .kind = HL_OPTION_TEXT, .value = "NAME",                                                     \
        .help = "only what was allocated in this region (heapline.region in the program)", HL_REPORT_SET(region)       \
    }
#define HL_OPTION_LEAF                                                                                                 \
    {                                                                                                                  \
        .name = "leaf", .kind = HL_OPTION_FLAG, .help = "charge the innermost frame, also inside libraries",           \
        HL_REPORT_SET(leaf)                                                                                            \
    }
#define HL_OPTIONS_FRAMES                                                                                              \
    {.name = "python-only",                                                                                            \
     .kind = HL_OPTION_FLAG,                                                                                           \
     .help = "leave out native frames (of heapline run --native)",                                                     \
     HL_REPORT_SET(python_only)},                                                                                      \
    {                                                                                                                  \
        .name = "native-only", .kind = HL_OPTION_FLAG, .help = "leave out Python's frames; implies --leaf",            \
        HL_REPORT_SET(native_only)                                                                                     \
    }
#define HL_OPTION_SORT(keys, what)                                                                                     \
    {                                                                                                                  \
        .name = "sort", .kind = HL_OPTION_CHOICE, .value = "KEY", .choices = (keys), .help = (what),                   \
        HL_REPORT_SET(sort)                                                                                            \
    }
#define HL_OPTION_ROWS(what)                                                                                           \
    {                                                                                                                  \
        .name = "rows", .letter = 'n', .kind = HL_OPTION_NUMBER, .value = "N", .help = (what), HL_REPORT_SET(rows)     \
    }
#define HL_OPTION_JSON                                                                                                 \
    {                                                                                                                  \
        .name = "json", .kind = HL_OPTION_FLAG, .help = "write JSON", HL_REPORT_SET(json)                              \
    }
#define HL_OPTION_CSV                                                                                                  \
    {                                                                                                                  \
        .name = "csv", .kind = HL_OPTION_FLAG, .help = "write CSV", HL_REPORT_SET(csv)                                 \
    }
#define HL_OPTIONS_HTML HL_OPTIONS_PAGE_FILE(hl_report_options, output, force)
#define HL_OPTION_COLOUR                                                                                               \
    {                                                                                                                  \
        .name = "color", .kind = HL_OPTION_CHOICE, .value = "WHEN", .choices = hl_colour_choices,                      \
        .help = "auto (default), always, never", HL_REPORT_SET(colour)                                                 \
    }

/* Parses, opens, writes. The first operand is the profile, further ones are the report's names if it takes any.
 * `rows` and, for JSON, `json_rows` are the report's own numbers of rows, used when none is given; CSV has all. */
int hl_report_command(const hl_syntax *syntax, int argc, char **argv, hl_report_writer *writer, uint64_t rows,
                      uint64_t json_rows, bool takes_names);

/* "heapline: FILE: why". */
void hl_report_complain(const char *path, const char *why);

/* Whether somebody records into this profile now. The file alone cannot tell: it may have been left by a killed one. */
bool hl_report_is_recorded(const hl_model *model);

#endif
