/*
 * linetable.h - from an instruction of a Python code object to the source range it was compiled from.
 *
 * Formats: lnotab with unsigned line deltas (2.7), with signed ones (3.6 to 3.9), co_linetable of 3.10, location table
 * of 3.11 and later (CPython Objects/locations.md). Reads bytes that it did not write: every read is bounded.
 */
#ifndef HL_SYMBOLS_LINETABLE_H
#define HL_SYMBOLS_LINETABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct hl_position {
    int32_t line;               /* 0: the instruction has none */
    int32_t end_line;           /* -1: unknown, as in all formats before 3.11 */
    int32_t column, end_column; /* 0-based UTF-8 bytes; -1: unknown */
} hl_position;

/* The instruction of a frame that has not begun (f_lasti -1, up to 3.10): its position is the first line. */
#define HL_NOT_BEGUN UINT32_MAX

/* The position of the instruction at `instruction`, a byte offset from the first instruction: f_lasti of 2.7 to 3.9, two
 * times f_lasti in 3.10, (prev_instr or instr_ptr) - bytecode since. `python_version` is major << 8 | minor. A broken
 * table gives the position reached so far; no error, no read outside `table`. */
hl_position hl_linetable_find(uint16_t python_version, const uint8_t *table, size_t table_bytes, int32_t first_line,
                              uint32_t instruction);

/* Where every 64th entry of a table lies, so that each further search in it reads only a few: a generated function may
 * have 100,000 instructions that allocate. Grows as searches go further; 40 bytes a mark. Starts as all zeros. */
typedef struct hl_linetable_mark {
    uint32_t at; /* offset into the table: what comes behind is not read yet */
    uint32_t line;
    uint64_t end; /* instruction up to which the entries before reach */
    hl_position found;
} hl_linetable_mark;
typedef struct hl_linetable_index {
    hl_linetable_mark *mark;
    size_t n, room;
} hl_linetable_index;

/* hl_linetable_find with an index of this very table; a null one is none. */
hl_position hl_linetable_search(hl_linetable_index *index, uint16_t python_version, const uint8_t *table,
                                size_t table_bytes, int32_t first_line, uint32_t instruction);
void hl_linetable_release(hl_linetable_index *index);

#endif
