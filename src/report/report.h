/*
 * report.h - the reports: one function and one file each. They read a model and a view of it and write text, JSON or CSV
 * into one buffer; the command line (src/cli/report.c) opens the profile and writes the buffer out.
 *
 * What holds for all of them: every figure is a sum of the view's weights, and what is not shown in a row of its own is in
 * a row that says so, so that columns add up to the totals. The first two lines say how the program ended and where its
 * memory went. JSON has a schema name with a version, "heapline.stats/1"; keys are added, never changed.
 */
#ifndef HL_REPORT_REPORT_H
#define HL_REPORT_REPORT_H

#include "curve.h"
#include "grid.h"
#include "json.h"
#include "model.h"
#include "number.h"
#include "source.h"
#include "verdict.h"

typedef enum hl_sort { /* in the order of each command's choices */
                       HL_SORT_BYTES,
                       HL_SORT_COUNT,
                       HL_SORT_OWN,                 /* summary */
                       HL_SORT_PLACE = HL_SORT_OWN, /* table */
} hl_sort;

enum { HL_ALL_ROWS = 0 };

typedef struct hl_report {
    hl_model *model;
    hl_view view;
    hl_out out;
    hl_sources sources;
    const char *path; /* of the profile */
    uint64_t rows;    /* how many to show; HL_ALL_ROWS */
    hl_sort sort;
    bool leaf;  /* innermost frames instead of the user's lines */
    bool whole; /* lines: every line of the files shown */
    bool json, csv;
    bool compact; /* JSON of the table: each place once, stacks as numbers of them; profiled: only lines that matter */
    char *const *names; /* of files or functions, for lines */
    int name_count;
    char why[512]; /* after an error */
} hl_report;

/* Each returns 0 or a negative error code with words in `why`. */
typedef int hl_report_writer(hl_report *report);
hl_report_writer hl_report_stats, hl_report_tree, hl_report_table, hl_report_summary, hl_report_lines,
    hl_report_timeline, hl_report_processes, hl_report_profiled;

/* ------------------------------------------------------------------------------------------- shared by the reports */

/* The verdict, and which part of the profile is shown: the first lines of every text. */
int hl_report_head(hl_report *report);

/* Begins the JSON object: schema, profile, state, selection, totals. The caller adds and ends it. */
hl_json hl_report_json(hl_report *report, const char *schema);

/* When the view holds nothing, says so in a sentence, after an empty line, in place of a table. */
bool hl_report_nothing(hl_report *report);

/* "Lines that hold .. at the peak": a heading, after an empty line. */
void hl_report_heading(hl_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line below, dim. */
void hl_report_remark(hl_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Rows by weight, the heaviest first; equal ones in a fixed order. */
typedef struct hl_ranked {
    uint32_t row;
    hl_weight weight;
} hl_ranked;
hl_ranked *hl_rank(const hl_weight *weights, uint32_t n, bool count_first, uint32_t *ranked); /* only those above 0 */

/* The site's function as people see it, not cleaned: "list_resize (inlined)", the latter where there is room. Into `text`.
 * Returns the sign of native code, for in front of it: "◦ " where the profile has Python code, too, else "". */
const char *hl_report_function(const hl_report *report, uint32_t site, char *text, size_t bytes);
const char *hl_report_native_sign(const hl_report *report, bool native);
void hl_report_native_remark(hl_report *report); /* what the sign means, where there may be some */

/* Two cells: the place ("app.py:42") and the function; then one with the line's source text when `source`. */
void hl_report_place(hl_report *report, hl_grid *grid, uint32_t site, bool source);

/* One cell of a CSV row (RFC 4180). */
void hl_csv_cell(hl_out *out, const char *text);

/* The file's path, the site's line and function into an open JSON object; of native ones also "native": true, "module", and
 * "inlined": true where that holds. */
void hl_report_json_site(const hl_model *model, hl_json *json, uint32_t site);

#endif
