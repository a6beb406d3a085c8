/*
 * html.h - writing HTML reports: the file, its budget, what is told about it, opening it.
 */
#ifndef HL_CLI_HTML_H
#define HL_CLI_HTML_H

#include "cli.h"
#include "page.h"

typedef struct hl_page_options {
    const char *output; /* null: beside the profile; "-": stdout */
    bool open, force, no_source, private_source;
    uint64_t budget; /* bytes of the file; 0: any number */
    const char *old; /* an older profile to compare with; null: none */
    const char *editor;
    const char *bundle; /* a folder with viewer.js, viewer.css, notices.txt to use, for who works on the page; null */
} hl_page_options;

enum { HL_PAGE_BUDGET = 8000000 };
extern const char hl_page_editor[]; /* whose links a report has, when nothing is said */

#define HL_OPTIONS_PAGE_FILE(type, output_field, force_field)                                                          \
    {.name = "output",                                                                                                 \
     .letter = 'o',                                                                                                    \
     .kind = HL_OPTION_TEXT,                                                                                           \
     .value = "FILE.html",                                                                                             \
     .help = "write an HTML report that opens at this",                                                                \
     HL_SETS(type, output_field)},                                                                                     \
    {                                                                                                                  \
        .name = "force", .letter = 'f', .kind = HL_OPTION_FLAG, .help = "with -o: replace a file that is there",       \
        HL_SETS(type, force_field)                                                                                     \
    }

/* Writes the report of a model, which was read from `path`, opened at a view. The exit status; what went wrong was told. */
int hl_page_make(const char *path, hl_model *model, const char *view, const char *state, const hl_page_options *o);

#endif
