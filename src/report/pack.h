/*
 * pack.h - tables of numbers as bytes: the columns of the HTML report's payload (docs/report-format.md), in memory.
 *
 *     hl_pack_table(&pack, "frame", n);
 *     for (..) pack.value[i] = line of frame i;
 *     hl_pack_column(&pack, "line");
 *
 * A column is stored as varints (LEB128: seven bits a byte, low bits first), as zigzag varints of differences, or as runs,
 * whichever is shortest; its kind is in the header. When memory runs out the pack remembers it, and adding never fails at
 * the caller.
 */
#ifndef HL_REPORT_PACK_H
#define HL_REPORT_PACK_H

#include "json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HL_PACK_NULL UINT64_MAX                /* of a column that may have none */
#define HL_PACK_MOST ((UINT64_C(1) << 53) - 2) /* what is more (in a broken profile) becomes this */

typedef struct hl_pack_entry { /* a table, or a column of the table before it */
    const char *name;          /* static */
    uint32_t rows;             /* of a table */
    char kind;                 /* 't': a table; 'u', 'd', 'r', 'b' */
    bool null;
    size_t at, bytes;
} hl_pack_entry;

typedef struct hl_pack {
    unsigned char *at; /* all columns, one after the other */
    size_t bytes, room;
    hl_pack_entry *entry;
    uint32_t entries, entry_room, rows;
    uint64_t *value; /* of the column being filled: as many as the table has rows, zeroed */
    size_t value_room;
    bool failed;
} hl_pack;

typedef struct hl_pack_mark { /* what was there at some point, to go back to */
    size_t bytes;
    uint32_t entries;
} hl_pack_mark;

/* False when memory is out: then there is nothing to fill. */
bool hl_pack_table(hl_pack *pack, const char *name, uint32_t rows);

/* The values as a column, which zeroes them for the next. `_null` takes HL_PACK_NULL among them; `_used` leaves a column of
 * zeros out. */
void hl_pack_column(hl_pack *pack, const char *name);
void hl_pack_column_null(hl_pack *pack, const char *name);
void hl_pack_column_used(hl_pack *pack, const char *name);
void hl_pack_blob(hl_pack *pack, const char *name, const void *bytes, size_t n);

hl_pack_mark hl_pack_here(const hl_pack *pack);
void hl_pack_back(hl_pack *pack, hl_pack_mark mark);

/* "tables": {..} into an open object. */
void hl_pack_json(const hl_pack *pack, hl_json *json);
void hl_pack_release(hl_pack *pack);

#endif
