/*
 * lines_table.c - which lines a code object has, and at which line each instruction is (for calls that go on where they were
 * suspended).
 *
 * Reads the three forms of line tables as CPython's Objects/locations.md (3.11 and later), Objects/lnotab_notes.txt (3.10, and
 * before) describe them. Runs in the program once for each profiled function.
 */
#include "lines_private.h"

enum { LINES_MOST = UINT16_MAX - 1, UNITS_MOST = 1 << 22 };

typedef struct table {
    const uint8_t *at, *end;
    uint32_t unit; /* that comes next */
    int32_t line;
} table;

/* One run of instructions with one line: how many, or 0 at the end; line INT32_MIN: they have none. */
typedef struct run {
    uint32_t units;
    int32_t line;
} run;
#define NO_LINE INT32_MIN

static uint32_t varint(table *t)
{
    uint32_t value = 0;
    for (unsigned shift = 0; t->at < t->end && shift < 30; shift += 6) {
        uint8_t byte = *t->at++;
        value |= (byte & 63u) << shift;
        if (!(byte & 64))
            break;
    }
    return value;
}

static run next_311(table *t)
{
    if (t->at >= t->end)
        return (run){0};
    uint8_t first = *t->at++;
    unsigned code = first >> 3 & 15;
    run r = {.units = (first & 7u) + 1};
    if (code == 15) {
        r.line = NO_LINE;
        return r;
    }
    if (code >= 13) {
        uint32_t value = varint(t);
        t->line += value & 1 ? -(int32_t)(value >> 1) : (int32_t)(value >> 1);
        for (int i = 0; code == 14 && i < 3; i++)
            varint(t);
    } else {
        t->line += code >= 10 ? (int32_t)code - 10 : 0;
        t->at += code >= 10 ? 2 : 1;
    }
    r.line = t->line;
    return r;
}

static int32_t signed_byte(uint8_t byte) { return byte < 128 ? byte : (int32_t)byte - 256; }

static run next_310(table *t)
{
    while (t->end - t->at >= 2) {
        uint32_t bytes = *t->at++;
        int32_t delta = signed_byte(*t->at++);
        if (delta != -128)
            t->line += delta;
        if (bytes)
            return (run){bytes / 2, delta == -128 ? NO_LINE : t->line};
    }
    return (run){0};
}

/* Pairs say how far it is to the next line; `code_units` ends the last run. */
static run next_39(table *t, uint32_t code_units)
{
    if (t->unit >= code_units)
        return (run){0};
    run r = {.line = t->line};
    while (t->end - t->at >= 2 && r.units == 0) {
        r.line = t->line;
        r.units = *t->at++ / 2;
        t->line += signed_byte(*t->at++);
    }
    if (r.units == 0)
        r = (run){code_units - t->unit, t->line};
    t->unit += r.units;
    return r;
}

static run next(table *t, uint32_t code_units)
{
    return hl_python.version >= 0x30b ? next_311(t) : hl_python.version == 0x30a ? next_310(t) : next_39(t, code_units);
}

/* The instructions that begin a call are on the line of the head, and there is one that no call is without. */
static bool starts_in_head(const uint16_t *line_of, uint32_t units)
{
    uint32_t head = 0;
    for (uint32_t i = 0, found = 0; i < units; i++) {
        if (!line_of[i])
            continue;
        if (!head)
            head = line_of[i];
        if (line_of[i] != head)
            return false;
        if (++found == 2)
            return true;
    }
    return false;
}

bool hl_line_table_read(hl_line_code *c)
{
    const hl_layout *L = hl_python.layout;
    const char *code = c->code, *bytes = *(char *const *)(code + L->table);
    uint64_t length;
    if (!bytes || (length = *(const uint64_t *)(bytes + L->bytes_size)) > 1 << 24)
        return false;
    uint32_t code_units = 0;
    if (hl_python.version < 0x30a) { /* co_code lies five words in front of co_filename since 3.8 */
        const char *instructions = *(char *const *)(code + L->bytecode);
        code_units = (uint32_t)(*(const uint64_t *)(instructions + L->bytes_size) / 2);
    }
    const table begin = {.at = (const uint8_t *)bytes + L->bytes_data,
                         .end = (const uint8_t *)bytes + L->bytes_data + length,
                         .line = *(const int32_t *)(code + L->first_line)};
    table t = begin;
    int32_t lowest = INT32_MAX, highest = 0;
    uint32_t units = 0;
    for (run r = next(&t, code_units); r.units; r = next(&t, code_units)) {
        units += r.units;
        if (r.line > 0 && r.line < lowest)
            lowest = r.line;
        if (r.line > highest)
            highest = r.line;
    }
    if (highest == 0 || highest - lowest >= LINES_MOST || units > UNITS_MOST)
        return false;
    uint16_t *line_of = hl_lines_memory(units * sizeof *line_of);
    if (!line_of)
        return false;
    t = begin;
    uint32_t at = 0;
    for (run r = next(&t, code_units); r.units; r = next(&t, code_units)) {
        for (uint32_t i = 0; i < r.units && at < units; i++)
            line_of[at++] = r.line > 0 ? (uint16_t)(r.line - lowest + 1) : 0;
    }
    c->first_line = (uint32_t)lowest;
    c->lines = (uint32_t)(highest - lowest + 1);
    c->units = units;
    c->line_of = line_of;
    c->starts_in_head = starts_in_head(line_of, units);
    return true;
}
