/*
 * symbol_table.h - offsets of one object and their frames, in memory and as bytes: what the worker sends and what the cache
 * keeps. Strings are stored once. Independent of the object's path: what has no name has no frames, or a frame with function "".
 */
#ifndef HL_SYMBOLS_SYMBOL_TABLE_H
#define HL_SYMBOLS_SYMBOL_TABLE_H

#include "symbols.h"

enum {
    HL_CHAIN_MOST = 128, /* frames at one place; deeper inlining keeps the innermost ones and the function itself */
    HL_SYMBOL_TEXT_MOST = 8000, /* bytes of a name or path; longer ones are cut, and end in "..." */
};

/* Flags of a table. */
enum {
    HL_TABLE_HAS_LINES = 1,    /* there was DWARF */
    HL_TABLE_UNUSABLE = 2,     /* the object is gone, unreadable, no ELF, or another than announced */
    HL_TABLE_SERVERS_HANG = 4, /* a debuginfod server did not answer in time */
};

typedef struct hl_symbol_frame {
    uint32_t function, file; /* places in `text` */
    uint32_t line, is_inline;
} hl_symbol_frame;

typedef struct hl_symbol_place {
    uint32_t offset, first_frame, frames_used;
} hl_symbol_place;

typedef struct hl_symbol_table {
    hl_symbol_place *places; /* by offset once sorted; an offset is there once */
    hl_symbol_frame *frames;
    char *text;      /* strings, each ended by a zero; the first is "" */
    uint32_t *index; /* text by hash, open addressing; 0: free */
    size_t places_used, places_room, frames_used, frames_room, text_used, text_room, index_used, index_room;
    uint32_t flags;
    bool sorted;
} hl_symbol_table;

void hl_symbol_table_free(hl_symbol_table *t); /* empty afterwards, as one of zeros */

/* Adds a place; frames may be 0. 0 or -ENOMEM, after which the table is as before. */
int hl_symbol_table_add(hl_symbol_table *t, uint32_t offset, const hl_native_frame *frames, size_t n);

/* The place, or null. Sorts when needed. Of an offset that was added twice, the first stays. */
const hl_symbol_place *hl_symbol_table_find(hl_symbol_table *t, uint32_t offset);

hl_native_frame hl_symbol_table_frame(const hl_symbol_table *t, const hl_symbol_place *place, size_t i);

/* All of `from` added to `t`. 0 or -ENOMEM. */
int hl_symbol_table_merge(hl_symbol_table *t, hl_symbol_table *from);

/* As bytes (malloc, owned by the caller), null: no memory. `key` (a build id) must be given again to read them. */
uint8_t *hl_symbol_table_write(hl_symbol_table *t, const char *key, size_t *bytes);

/* Makes the magic number and the sum of such bytes right, whatever else they are: part of writing, and for tests of reading. */
void hl_symbol_table_seal(const char *key, uint8_t *bytes, size_t n);

/* Fills an empty table from bytes of any content. 0; -EINVAL: not such bytes, damaged, or of another key; -ENOMEM. */
int hl_symbol_table_read(hl_symbol_table *t, const char *key, const uint8_t *bytes, size_t n);

#endif
