/*
 * gate.h - what `heapline check` and `heapline diff` share: the figures of a profile, what each line has of them, limits,
 * and the outcome in every format.
 *
 * A check is about one profile. A diff is about two, whose lines are joined where file, function and source text are the
 * same (gate_match.c). Line figures add up to the profile's own, so growth by line adds up to the growth in all.
 */
#ifndef HL_REPORT_GATE_H
#define HL_REPORT_GATE_H

#include "json.h"
#include "model.h"
#include "number.h"
#include "out.h"
#include "source.h"

typedef enum hl_figure {
    HL_FIGURE_PEAK,        /* bytes at the peak */
    HL_FIGURE_LEAK,        /* bytes never freed */
    HL_FIGURE_ALLOCATED,   /* bytes allocated, freed or not */
    HL_FIGURE_ALLOCATIONS, /* how many */
    HL_FIGURE_TEMPORARY,   /* how many of them were freed within one later allocation of their thread */
    HL_FIGURE_RSS,         /* the highest resident memory: bytes, of no line */
    HL_FIGURES,
    HL_LINE_FIGURES = HL_FIGURE_RSS,
} hl_figure;

extern const char *const hl_figure_names[HL_FIGURES + 1]; /* "peak", "leak" ..; ends with null */
bool hl_figure_is_count(hl_figure figure);

/* One profile. The caller opens the model and says its path; the rest is filled by hl_gate_open. */
typedef struct hl_gate_side {
    hl_model *model; /* null: there is none, in a check */
    const char *path;
    hl_sources sources;
    uint64_t total[HL_FIGURES];
    uint64_t (*sites)[HL_LINE_FIGURES]; /* by site */
} hl_gate_side;

/* A line of code in both profiles, or in one. Sites are where the figure is highest; HL_NO_ROW: not in that profile. */
typedef struct hl_gate_line {
    uint64_t was[HL_LINE_FIGURES], is[HL_LINE_FIGURES];
    uint32_t old_site[HL_LINE_FIGURES], new_site[HL_LINE_FIGURES];
    bool in_old, in_new;
} hl_gate_line;

/* Check: the figure itself must be at most `amount`. Diff: its growth, in its unit or in percent of the old figure. */
typedef struct hl_gate_limit {
    hl_figure figure;
    const char *words; /* as the user typed it */
    bool in_percent;
    double percent;
    uint64_t amount;
    uint64_t allowed, over; /* by hl_gate_open: the highest new figure that keeps it; what is above that */
} hl_gate_limit;

typedef enum hl_outcome { HL_PASSED, HL_FAILED, HL_INCOMPLETE } hl_outcome;

typedef struct hl_gate {
    bool is_diff;
    hl_gate_side old, new; /* a check has only the new one */
    hl_gate_limit *limits;
    size_t limit_count;
    hl_gate_line *lines;
    uint32_t line_count;
    hl_figure sort;
    uint64_t rows; /* lines in each list; 0: all */
    bool leaf;
    hl_outcome outcome; /* by hl_gate_open. Incomplete: no limit is passed, but not everything was recorded */
    hl_out out;
    char why[512];
} hl_gate;

/* Weighs, joins and judges. 0 or a negative error code with words in `why`; hl_gate_release in any case. Models stay the
 * caller's. */
int hl_gate_open(hl_gate *gate);
void hl_gate_release(hl_gate *gate);

/* The outcome into gate->out. 0, or a negative error code. */
typedef int hl_gate_writer(hl_gate *gate);
hl_gate_writer hl_gate_text, hl_gate_json, hl_gate_markdown, hl_gate_github, hl_gate_junit;

/* JUnit for a profile that could not be read. */
void hl_gate_junit_error(hl_out *out, const char *command, const char *path, const char *why);

/* ---------------------------------------------------------------------------------------------- shared by the writers */

/* Joins lines into gate->lines. -ENOMEM. */
int hl_gate_join(hl_gate *gate);

/* By site of the old model: the site of the new one that is the same line, or HL_NO_ROW. Of several lines of one function with
 * equal text the first is the first, and so on. `sites` has old->sites.n rows. -ENOMEM. */
int hl_sites_match(hl_model *old, hl_model *new, uint32_t *sites);

/* Rows of gate->lines by growth of a figure (a check: by the figure), the highest first; those without any are left out.
 * From malloc; null: no memory. The first `*grown` of `*n` rows grew, the others shrank, the last one most. */
uint32_t *hl_gate_rank(const hl_gate *gate, hl_figure figure, uint32_t *grown, uint32_t *n);

int64_t hl_gate_growth(const hl_gate_line *line, hl_figure figure);
char *hl_figure_text(char text[HL_NUMBER_BYTES], hl_figure figure, uint64_t value);
char *hl_growth_text(char text[HL_NUMBER_BYTES], hl_figure figure, int64_t growth); /* "+50.0 MB", "0 B" */
char *hl_growth_share(char text[HL_NUMBER_BYTES], uint64_t was, uint64_t is);       /* "+36.2 %"; "new" from 0 */
char *hl_limit_text(char text[HL_NUMBER_BYTES], const hl_gate *gate,
                    const hl_gate_limit *limit); /* "500.0 MB", "+5 %" */

/* "peak 188.1 MB, over the limit of 100.0 MB by 88.1 MB (88.1 %)", in words that fit the command. Clean. */
void hl_gate_sentence(const hl_gate *gate, const hl_gate_limit *limit, hl_out *out);

/* "at the peak", "never freed" ..: what a figure of a line is. */
const char *hl_gate_moment(const hl_gate *gate, hl_figure figure);

/* Of a line: the side and the site to show it by; clean place ("app.py:42 in load"); clean source text without its indent,
 * nothing where there is none. */
const hl_gate_side *hl_gate_shown(const hl_gate *gate, const hl_gate_line *line, hl_figure figure, uint32_t *site);
void hl_gate_place(const hl_gate *gate, const hl_gate_line *line, hl_figure figure, hl_out *out);
void hl_gate_source(hl_gate *gate, const hl_gate_line *line, hl_figure figure, hl_out *out);
const char *hl_gate_source_text(hl_gate *gate, const hl_gate_line *line, hl_figure figure,
                                size_t *bytes); /* not cleaned; null */

/* How the list of a figure is cut: rows [0, *head) and [*tail, n) are shown. */
void hl_gate_cut(const hl_gate *gate, uint32_t grown, uint32_t n, uint32_t *head, uint32_t *tail);

/* Whether the writer lists the lines of this figure: it is sorted by, or one of its limits is exceeded. */
bool hl_gate_lists(const hl_gate *gate, hl_figure figure);

/* What nobody must miss about the two profiles, clean, without a full stop; false: nothing. */
bool hl_gate_warning(const hl_gate *gate, hl_out *out);

#endif
