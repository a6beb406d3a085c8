/*
 * loader.h - a model while it is loaded: what model.c, natives.c and yours.c share, and nobody else.
 */
#ifndef HL_REPORT_LOADER_H
#define HL_REPORT_LOADER_H

#include "map.h"
#include "model.h"

typedef struct loader {
    hl_model *model;
    char *why;
    size_t why_bytes;
    hl_map site_rows;
    char *directory; /* with a slash at its end; of the recording */
} loader;

/* The row of a site, made when it is new; HL_NO_ROW: no memory. */
uint32_t hl_site_of(loader *l, hl_site site);

/* Labels of native files: the end of their path, as long as it must be for no two files to have the same. Files, functions
 * and frames are there. 0 or -ENOMEM. */
int hl_label_natives(loader *l);

/* Puts in the rows of inlined calls, leaves out what the model's choice leaves out. Stacks and stat rows are there. 0 or
 * -ENOMEM. */
int hl_arrange_stacks(loader *l);

/* Fills leaf and yours of every stack, and which files are the user's. Sites and stat rows are there. 0 or -ENOMEM. */
int hl_charge_stacks(loader *l);

#endif
