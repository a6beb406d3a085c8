/*
 * source.h - the source text of a file as the program ran it: from the profile, else from the disk if the file has not
 * changed since the recording, else none. Texts are loaded when first asked for and kept until hl_sources_release.
 */
#ifndef HL_REPORT_SOURCE_H
#define HL_REPORT_SOURCE_H

#include "model.h"

typedef struct hl_source {
    char *text;      /* UTF-8, or what the file holds */
    uint32_t *begin; /* offsets of lines; begin[n] is behind the last */
    uint32_t n;      /* lines; 0: no text */
    size_t bytes;    /* of the text */
    bool tried;
    const char *why; /* when there is no text: "changed since the recording" ..; static */
} hl_source;

typedef struct hl_sources {
    const hl_model *model;
    hl_source *file; /* by file row */
} hl_sources;

int hl_sources_begin(hl_sources *sources, const hl_model *model);
void hl_sources_release(hl_sources *sources);
const hl_source *hl_source_of(hl_sources *sources, uint32_t file);

/* Line `line` (from 1) without its end; null when there is none. */
const char *hl_source_line(const hl_source *source, int32_t line, size_t *bytes);

#endif
