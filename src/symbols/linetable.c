/*
 * linetable.c - decodes the line tables of CPython 2.7 to 3.15. Runs in the collector, when a call site is first seen.
 *
 * Sources: CPython Objects/lnotab_notes.txt (2.7 to 3.10), Objects/locations.md (3.11 and later). Sums wrap instead of
 * overflowing: a hostile table may give any line, never undefined behaviour.
 */
#include "linetable.h"

#include <stdbool.h>

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

static bool next_byte(cursor *c, uint32_t *byte)
{
    if (c->at == c->end)
        return false;
    *byte = *c->at++;
    return true;
}

/* Six bits a byte, low ones first, 0x40 says that more follow. Bits beyond 32 are dropped. */
static bool next_varint(cursor *c, uint32_t *value)
{
    uint32_t byte, shift = 0;
    *value = 0;
    do {
        if (!next_byte(c, &byte))
            return false;
        if (shift < 32)
            *value |= (byte & 63) << shift;
        shift = shift < 32 ? shift + 6 : shift;
    } while (byte & 64);
    return true;
}

static bool next_signed_varint(cursor *c, uint32_t *value)
{
    if (!next_varint(c, value))
        return false;
    *value = *value & 1 ? 0 - (*value >> 1) : *value >> 1;
    return true;
}

static hl_position line_only(uint32_t line)
{
    return (hl_position){.line = (int32_t)line, .end_line = -1, .column = -1, .end_column = -1};
}

/* co_lnotab: (bytes, lines) pairs; a pair applies from the address that it reaches. Lines are signed since 3.6. */
static hl_position find_lnotab(bool lines_signed, cursor c, uint32_t first_line, uint32_t instruction)
{
    uint32_t line = first_line, bytes, lines;
    uint64_t address = 0;
    while (next_byte(&c, &bytes) && next_byte(&c, &lines)) {
        address += bytes;
        if (address > instruction)
            break;
        line += lines_signed && lines >= 128 ? lines - 256 : lines;
    }
    return line_only(line);
}

/* co_linetable of 3.10: (bytes, signed lines) pairs; lines are added first, then hold for the bytes. -128: no line. */
static hl_position find_ranges(cursor c, uint32_t first_line, uint32_t instruction)
{
    uint32_t line = first_line, bytes, lines;
    uint64_t end = 0;
    bool none = false;
    while (next_byte(&c, &bytes) && next_byte(&c, &lines)) {
        none = lines == 128;
        if (!none)
            line += lines >= 128 ? lines - 256 : lines;
        end += bytes;
        if (instruction < end)
            break;
    }
    return line_only(none ? 0 : line);
}

enum { CODE_ONE_LINE_0 = 10, CODE_ONE_LINE_2 = 12, CODE_NO_COLUMNS = 13, CODE_LONG = 14, CODE_NONE = 15 };

/* One entry's position; moves `line`. False when the table ends inside it. */
static bool read_location(cursor *c, unsigned code, uint32_t *line, hl_position *found)
{
    uint32_t delta = 0, lines = 0, column = 0, end_column = 0;
    if (code == CODE_NONE) {
        *found = line_only(0);
        return true;
    }
    if (code < CODE_ONE_LINE_0) {
        if (!next_byte(c, &delta))
            return false;
        column = code << 3 | delta >> 4;
        end_column = column + (delta & 15);
        delta = 0;
    } else if (code <= CODE_ONE_LINE_2) {
        if (!next_byte(c, &column) || !next_byte(c, &end_column))
            return false;
        delta = code - CODE_ONE_LINE_0;
    } else if (code == CODE_NO_COLUMNS) {
        if (!next_signed_varint(c, &delta))
            return false;
        column = end_column = UINT32_MAX;
    } else {
        if (!next_signed_varint(c, &delta) || !next_varint(c, &lines) || !next_varint(c, &column) ||
            !next_varint(c, &end_column))
            return false;
        column -= 1; /* 0 is stored for "unknown" */
        end_column -= 1;
    }
    *line += delta;
    *found = (hl_position){(int32_t)*line, (int32_t)(*line + lines), (int32_t)column, (int32_t)end_column};
    return true;
}

/* co_linetable since 3.11: an entry's first byte is 1, code (4 bits), length - 1 in code units (3 bits). */
static hl_position find_locations(cursor c, uint32_t first_line, uint32_t instruction)
{
    uint32_t line = first_line, head;
    uint64_t end = 0;
    hl_position found = line_only(first_line);
    while (next_byte(&c, &head)) {
        if (!read_location(&c, head >> 3 & 15, &line, &found))
            break;
        end += ((head & 7) + 1) * 2;
        if (instruction < end)
            break;
    }
    return found;
}

hl_position hl_linetable_find(uint16_t python_version, const uint8_t *table, size_t table_bytes, int32_t first_line,
                              uint32_t instruction)
{
    cursor c = {table, table ? table + table_bytes : table};
    hl_position found = {first_line, -1, -1, -1};
    if (instruction == HL_NOT_BEGUN)
        ; /* a call event of a trace function: the interpreter, too, says the first line */
    else if (python_version >= 0x030b)
        found = find_locations(c, (uint32_t)first_line, instruction);
    else if (python_version == 0x030a)
        found = find_ranges(c, (uint32_t)first_line, instruction);
    else
        found = find_lnotab(python_version >= 0x0306, c, (uint32_t)first_line, instruction);
    /* Lines and columns of a sound table are small; what is not is unknown, not negative. */
    if (found.line < 0)
        found.line = 0;
    if (found.end_line < -1)
        found.end_line = -1;
    if (found.column < -1)
        found.column = -1;
    if (found.end_column < -1)
        found.end_column = -1;
    return found;
}
