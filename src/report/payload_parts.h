/*
 * payload_parts.h - what the files of the payload share, and nobody else.
 */
#ifndef HL_REPORT_PAYLOAD_PARTS_H
#define HL_REPORT_PAYLOAD_PARTS_H

#include "batch.h"
#include "pack.h"
#include "payload.h"

/* ------------------------------------------------------------------------------- what the model does not hold (load) */

typedef struct hl_place { /* of a frame; -1: unknown */
    int32_t end_line, col, end_col;
} hl_place;

typedef struct hl_temporary {
    uint32_t stat; /* row of the model */
    uint64_t count, bytes;
} hl_temporary;

typedef struct hl_payload_cell {
    uint32_t stat; /* row of the model, then of the payload */
    uint32_t born, lived;
    uint64_t blocks, bytes;
} hl_payload_cell;

typedef struct hl_rest {
    hl_place *place;   /* by frame row */
    uint64_t *largest; /* by stat row */
    HL_ARRAY(hl_temporary) temporary[HL_TEMPORARY_BUCKETS];
    HL_ARRAY(hl_payload_cell) cells; /* by stat row, birth, death */
} hl_rest;

/* Only the places of frames; all. hl_rest_release in any case. */
int hl_places_load(hl_rest *rest, const hl_model *model, char *why, size_t why_bytes);
int hl_rest_load(hl_rest *rest, const hl_model *model, char *why, size_t why_bytes);
void hl_rest_release(hl_rest *rest);

/* -------------------------------------------------------------------------------------------------- folding (fold) */

/* How heavy each stack with everything below it is: its highest share of any total, from 0 to 1. From malloc; null: no memory. */
float *hl_fold_weigh(const hl_model *model, const hl_rest *rest);

typedef struct hl_fold {
    uint32_t n;     /* nodes of the payload */
    uint32_t kept;  /* of them, those of the model */
    uint32_t *from; /* by node: row of the model; HL_NO_ROW: an (other), of its parent */
    uint32_t *parent;
    uint32_t *moved; /* by row of the model: the node that has its stat rows now */
    uint32_t *row;   /* by stat row of the model: row of the payload */
    uint32_t rows;
    uint32_t *first; /* by row of the payload: one of the model's rows with its stack, process, thread, allocator */
    double share_most;
} hl_fold;

/* Keeps the `most` heaviest nodes (and the root), a node never without its parent. -ENOMEM. */
int hl_fold_plan(hl_fold *fold, const hl_model *model, const float *weight, uint32_t most);
void hl_fold_release(hl_fold *fold);

/* ---------------------------------------------------------------------------------------------------------- tables */

typedef struct hl_payload_names { /* strings, each once */
    hl_out text;
    uint32_t *begin; /* of each, and of the end */
    uint32_t n, room;
    uint32_t *slot, slots;
} hl_payload_names;

/* The number of a string, made valid UTF-8. When memory is out, 0 and `failed`. */
uint32_t hl_payload_name(hl_payload_names *names, const char *text);

typedef struct hl_payload_sources {
    uint32_t *row;  /* by file row: of table source + 1; 0: none */
    uint32_t *file; /* by row of table source */
    uint32_t n;
    uint32_t private, unfit;
} hl_payload_sources;

/* Which files' text is embedded, at most `most_bytes` compressed; puts table source into the pack. payload_source.c */
int hl_payload_put_sources(hl_payload_sources *chosen, hl_pack *pack, hl_model *model,
                           const hl_payload_options *options, size_t most_bytes);
void hl_payload_sources_release(hl_payload_sources *sources);

typedef struct hl_line_function {
    int64_t id;
    uint32_t process, file; /* rows of the model; file: HL_NO_ROW */
    char *name;
    uint64_t first_line, last_line;
} hl_line_function;

typedef struct hl_line_row {
    uint32_t function; /* of the payload's table */
    uint64_t line, number[8];
} hl_line_row;

typedef struct hl_payload_work {
    hl_model *model;
    const hl_payload_options *options;
    hl_pack pack;
    hl_rest rest;
    hl_payload_names names;
    hl_payload_sources sources;
    struct {
        HL_ARRAY(hl_line_function) functions;
        HL_ARRAY(hl_line_row) lines;
    } lines; /* profiled line by line */
    float *weight;
    hl_fold fold;
    uint32_t *frame, *site, *function, *file; /* by row of the model: of the payload; HL_NO_ROW: not in it */
    uint32_t frames, sites, functions, files;
    uint64_t tick_ns, cell_tick_ns; /* multiples of the model's */
    hl_out title, summary;
    char *why;
    size_t why_bytes;
} hl_payload_work;

/* Ticks, coarser where there are too many: fixed, whatever is folded. 0 or an error with words. */
int hl_payload_put_ticks(hl_payload_work *work, uint32_t most_rows);

/* Functions profiled line by line: loaded once; their files are marked as used; their tables. payload_lines.c */
int hl_payload_load_lines(hl_payload_work *work);
void hl_payload_use_lines(hl_payload_work *work);
void hl_payload_put_lines(hl_payload_work *work);
void hl_payload_release_lines(hl_payload_work *work);

/* All tables that depend on the fold. 0 or -ENOMEM. */
int hl_payload_put_tables(hl_payload_work *work);

/* "format" and "meta" into an open object. payload_meta.c */
int hl_payload_put_meta(hl_payload_work *work, hl_json *json);

/* Of the work's model, before the first meta: title and sentences. */
int hl_payload_say(hl_payload_work *work);

#endif
