/*
 * linetable.c - decodes the line tables of CPython 2.7 to 3.15. Runs in the collector, when a call site is first seen.
 *
 * Sources: CPython Objects/lnotab_notes.txt (2.7 to 3.10), Objects/locations.md (3.11 and later). Sums wrap instead of
 * overflowing: a hostile table may give any line, never undefined behaviour.
 */
#include "linetable.h"

#include <stdbool.h>
#include <stdlib.h>

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

/* How far a table has been read: behind entry n, at which instruction, line and position. */
typedef hl_linetable_mark state;

/* Reads an entry. True: `s->found` is the position of `instruction`, or the table has ended. */

/* co_lnotab: (bytes, lines) pairs; a pair applies from the address that it reaches. Lines are signed since 3.6. */
static bool read_lnotab(bool lines_signed, cursor *c, uint32_t instruction, state *s)
{
    uint32_t bytes, lines;
    if (!next_byte(c, &bytes) || !next_byte(c, &lines) || s->end + bytes > instruction)
        return true;
    s->end += bytes;
    s->line += lines_signed && lines >= 128 ? lines - 256 : lines;
    s->found = line_only(s->line);
    return false;
}

/* co_linetable of 3.10: (bytes, signed lines) pairs; lines are added first, then hold for the bytes. -128: no line. */
static bool read_range(cursor *c, uint32_t instruction, state *s)
{
    uint32_t bytes, lines;
    if (!next_byte(c, &bytes) || !next_byte(c, &lines))
        return true;
    if (lines != 128)
        s->line += lines >= 128 ? lines - 256 : lines;
    s->found = line_only(lines == 128 ? 0 : s->line);
    s->end += bytes;
    return instruction < s->end;
}

/* co_linetable since 3.11: an entry's first byte is 1, code (4 bits), length - 1 in code units (3 bits). */
static bool read_entry(cursor *c, uint32_t instruction, state *s)
{
    uint32_t head;
    if (!next_byte(c, &head) || !read_location(c, head >> 3 & 15, &s->line, &s->found))
        return true;
    s->end += ((head & 7) + 1) * 2;
    return instruction < s->end;
}

/* Lines and columns of a sound table are small; what is not is unknown, not negative. */
static hl_position sound(hl_position found)
{
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

/* The furthest mark that lies before an instruction; the beginning, when there is none. */
static state start_of(const hl_linetable_index *index, int32_t first_line, uint32_t instruction)
{
    state s = {.line = (uint32_t)first_line, .found = {first_line, -1, -1, -1}};
    size_t low = 0, high = index ? index->n : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->mark[middle].end <= instruction)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? index->mark[low - 1] : s;
}

/* Without memory there is no mark: the next search takes longer. */
static void add_mark(hl_linetable_index *index, const state *s)
{
    if (index->n && index->mark[index->n - 1].at >= s->at)
        return;
    if (index->n == index->room) {
        size_t room = index->room ? index->room * 2 : 16;
        hl_linetable_mark *grown = realloc(index->mark, room * sizeof *grown);
        if (!grown)
            return;
        index->mark = grown;
        index->room = room;
    }
    index->mark[index->n++] = *s;
}

hl_position hl_linetable_search(hl_linetable_index *index, uint16_t python_version, const uint8_t *table,
                                size_t table_bytes, int32_t first_line, uint32_t instruction)
{
    enum { BETWEEN_MARKS = 64 };
    if (instruction == HL_NOT_BEGUN ||
        !table) /* a call event of a trace function: the interpreter says the first line */
        return sound((hl_position){first_line, -1, -1, -1});
    state s = start_of(index, first_line, instruction);
    cursor c = {table + s.at, table + table_bytes};
    for (unsigned n = 1;; n++) {
        bool done = python_version >= 0x030b   ? read_entry(&c, instruction, &s)
                    : python_version == 0x030a ? read_range(&c, instruction, &s)
                                               : read_lnotab(python_version >= 0x0306, &c, instruction, &s);
        if (done)
            return sound(s.found);
        s.at = (uint32_t)(c.at - table);
        if (index && n % BETWEEN_MARKS == 0)
            add_mark(index, &s);
    }
}

hl_position hl_linetable_find(uint16_t python_version, const uint8_t *table, size_t table_bytes, int32_t first_line,
                              uint32_t instruction)
{
    return hl_linetable_search(NULL, python_version, table, table_bytes, first_line, instruction);
}

void hl_linetable_release(hl_linetable_index *index)
{
    free(index->mark);
    *index = (hl_linetable_index){0};
}
