/*
 * payload.h - a profile's numbers for the HTML report: the model and what it leaves in the database, as compressed columns
 * that fit into a number of bytes. The form, column by column, is docs/report-format.md.
 *
 * Nothing is lost that the other reports can say: every sum by process, thread, allocator, moment and time is that of the
 * profile. When it is too much, call-tree nodes that are lightest by every figure are folded into "(other)" nodes below
 * their callers (payload_fold.c), and what is folded is what is not told apart any more, never left out.
 *
 * Parts: payload_load.c reads what the model does not hold, payload_fold.c chooses, payload_tables.c and payload_source.c
 * fill tables, payload_meta.c writes the header, payload.c puts it together and finds the size.
 */
#ifndef HL_REPORT_PAYLOAD_H
#define HL_REPORT_PAYLOAD_H

#include "gate.h"
#include "model.h"
#include "source.h"

/* Which frame of the new profile is which of the old one: gate_match.c, for frames. */
typedef struct hl_frame_match {
    const uint32_t *old_rows; /* model rows of the frames in the old payload */
    uint32_t old_count;
    const uint32_t *partner; /* by model row of an old frame: the new one's, or HL_NO_ROW */
} hl_frame_match;

typedef struct hl_payload_options {
    const char *path;      /* of the profile, for its name */
    const char *editor;    /* template of links; null: none */
    size_t most_bytes;     /* of the compressed form; 0: any number */
    uint64_t budget_bytes; /* of the whole file, as the user said it; only told */
    bool no_source;
    bool private_source; /* also of files that others may not read */
    const hl_frame_match *match;
} hl_payload_options;

typedef struct hl_payload {
    unsigned char *at; /* the gzip stream */
    size_t bytes;
    uint32_t nodes, folded_nodes; /* of the model; of them, in (other) */
    double folded_share_most;
    uint32_t private_sources, unfit_sources; /* files whose text is left out */
    uint32_t *frames, frame_count;           /* model row of each frame */
    char *title;                             /* not escaped */
    char *summary;                           /* sentences, a line each */
} hl_payload;

/* 0; -ENOMEM; -EIO; -EFBIG when no folding makes it fit: words in `why`, hl_payload_release in any case. */
int hl_payload_make(hl_payload *payload, hl_model *model, const hl_payload_options *options, char *why,
                    size_t why_bytes);
void hl_payload_release(hl_payload *payload);

/* The partners of the old model's frames in the new one (hl_frame_match.partner), from malloc. -ENOMEM. payload_match.c */
int hl_frames_match(hl_model *old, hl_model *new, uint32_t **partner);

#endif
