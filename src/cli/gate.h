/*
 * gate.h (cli) - what `heapline check` and `heapline diff` share: their options for the outcome, and how they open profiles
 * and write.
 */
#ifndef HL_CLI_GATE_H
#define HL_CLI_GATE_H

#include "../report/gate.h"
#include "cli.h"

typedef struct hl_gate_options {
    bool json, markdown, github, leaf;
    const char *junit;
    uint64_t rows; /* UINT64_MAX: not given */
    unsigned colour, sort;
    hl_option_list fail_over;  /* diff */
    uint64_t most[HL_FIGURES]; /* check; UINT64_MAX: not given */
} hl_gate_options;

/* Rows of an option table. */
#define HL_GATE_SET(field) HL_SETS(hl_gate_options, field)
#define HL_OPTIONS_GATE                                                                                                \
    {.name = "leaf",                                                                                                   \
     .kind = HL_OPTION_FLAG,                                                                                           \
     .help = "charge the innermost frame, also inside libraries",                                                      \
     HL_GATE_SET(leaf)},                                                                                               \
        {.name = "rows",                                                                                               \
         .letter = 'n',                                                                                                \
         .kind = HL_OPTION_NUMBER,                                                                                     \
         .value = "N",                                                                                                 \
         .help = "lines in each list, 0 for all (default 10; 1000 with --json, 5 with --github)",                      \
         HL_GATE_SET(rows)},                                                                                           \
        {.name = "json", .kind = HL_OPTION_FLAG, .help = "write JSON", HL_GATE_SET(json)},                             \
        {.name = "markdown",                                                                                           \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "write Markdown, for a comment or a summary",                                                         \
         HL_GATE_SET(markdown)},                                                                                       \
        {.name = "github",                                                                                             \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "write annotations for GitHub Actions",                                                               \
         HL_GATE_SET(github)},                                                                                         \
        {.name = "junit",                                                                                              \
         .kind = HL_OPTION_TEXT,                                                                                       \
         .value = "FILE",                                                                                              \
         .help = "write JUnit's XML to FILE as well",                                                                  \
         HL_GATE_SET(junit)},                                                                                          \
    {                                                                                                                  \
        .name = "color", .kind = HL_OPTION_CHOICE, .value = "WHEN", .choices = hl_colour_choices,                      \
        .help = "auto (default), always, never", HL_GATE_SET(colour)                                                   \
    }

extern const hl_gate_options hl_gate_defaults;

/* -1, or the status of a mistake: formats that exclude each other. */
int hl_gate_check_options(const hl_syntax *syntax, const hl_gate_options *options);

/* Opens the profiles named in gate->new.path and, for a diff, gate->old.path; opens the gate; writes; returns the exit
 * status. */
int hl_gate_command(const hl_syntax *syntax, hl_gate *gate, const hl_gate_options *options);

#endif
