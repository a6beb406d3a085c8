/* See pack.h. */
#include "pack.h"

#include <stdlib.h>
#include <string.h>

enum { VARINT_BYTES = 10 };

static unsigned char *put_varint(unsigned char *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (unsigned char)(value | 0x80);
    *at++ = (unsigned char)value;
    return at;
}

static unsigned varint_bytes(uint64_t value)
{
    unsigned bytes = 1;
    for (; value >= 0x80; value >>= 7)
        bytes++;
    return bytes;
}

/* Of the difference between two values below 2^53. */
static uint64_t zigzag(uint64_t from, uint64_t to) { return to >= from ? (to - from) << 1 : ((from - to) << 1) - 1; }

static unsigned char *reserve(hl_pack *pack, size_t more)
{
    if (pack->room - pack->bytes < more) {
        size_t room = pack->room ? pack->room * 2 : 1 << 16;
        while (room - pack->bytes < more)
            room *= 2;
        unsigned char *grown = pack->failed ? NULL : realloc(pack->at, room);
        if (!grown) {
            pack->failed = true;
            return NULL;
        }
        pack->at = grown;
        pack->room = room;
    }
    return pack->at + pack->bytes;
}

static hl_pack_entry *add_entry(hl_pack *pack, const char *name, char kind)
{
    if (pack->entries == pack->entry_room) {
        uint32_t room = pack->entry_room ? pack->entry_room * 2 : 64;
        hl_pack_entry *grown = pack->failed ? NULL : realloc(pack->entry, room * sizeof *grown);
        if (!grown) {
            pack->failed = true;
            return NULL;
        }
        pack->entry = grown;
        pack->entry_room = room;
    }
    hl_pack_entry *entry = &pack->entry[pack->entries++];
    *entry = (hl_pack_entry){.name = name, .kind = kind, .at = pack->bytes};
    return entry;
}

bool hl_pack_table(hl_pack *pack, const char *name, uint32_t rows)
{
    if (rows > pack->value_room || !pack->value) {
        free(pack->value);
        pack->value_room = rows ? rows : 1;
        pack->value = malloc(pack->value_room * sizeof *pack->value);
        pack->failed |= !pack->value;
    }
    hl_pack_entry *entry = add_entry(pack, name, 't');
    if (entry)
        entry->rows = rows;
    pack->rows = rows;
    if (pack->failed)
        return false;
    memset(pack->value, 0, pack->value_room * sizeof *pack->value);
    return true;
}

typedef struct lengths {
    size_t plain, differences, runs;
} lengths;

static lengths measure(const uint64_t *value, uint32_t rows)
{
    lengths l = {0};
    uint64_t before = 0;
    uint32_t run = 0;
    for (uint32_t i = 0; i < rows; i++) {
        unsigned bytes = varint_bytes(value[i]);
        l.plain += bytes;
        l.differences += varint_bytes(zigzag(before, value[i]));
        if (i + 1 == rows || value[i + 1] != value[i]) {
            l.runs += bytes + varint_bytes(i + 1 - run);
            run = i + 1;
        }
        before = value[i];
    }
    return l;
}

static unsigned char *put_runs(unsigned char *at, const uint64_t *value, uint32_t rows)
{
    for (uint32_t i = 0, run = 0; i < rows; i++) {
        if (i + 1 < rows && value[i + 1] == value[i])
            continue;
        at = put_varint(at, value[i]);
        at = put_varint(at, i + 1 - run);
        run = i + 1;
    }
    return at;
}

static unsigned char *put_differences(unsigned char *at, const uint64_t *value, uint32_t rows)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < rows; i++) {
        at = put_varint(at, zigzag(before, value[i]));
        before = value[i];
    }
    return at;
}

/* gzip finds runs and repeats by itself: another form must be clearly shorter. */
static char choose(const lengths *l)
{
    size_t best = l->differences < l->plain - l->plain / 4 ? l->differences : l->plain;
    if (l->runs < best / 2)
        return 'r';
    return best == l->plain ? 'u' : 'd';
}

static void put_column(hl_pack *pack, const char *name, bool null)
{
    if (pack->failed)
        return;
    for (uint32_t i = 0; i < pack->rows; i++) {
        if (null)
            pack->value[i]++; /* NULL becomes 0 */
        if (pack->value[i] > HL_PACK_MOST + null)
            pack->value[i] = HL_PACK_MOST + null;
    }
    lengths l = measure(pack->value, pack->rows);
    char kind = choose(&l);
    size_t bytes = kind == 'u' ? l.plain : kind == 'd' ? l.differences : l.runs;
    unsigned char *at = reserve(pack, bytes + VARINT_BYTES);
    hl_pack_entry *entry = at ? add_entry(pack, name, kind) : NULL;
    if (!entry)
        return;
    entry->null = null;
    entry->bytes = bytes;
    if (kind == 'r')
        put_runs(at, pack->value, pack->rows);
    else if (kind == 'd')
        put_differences(at, pack->value, pack->rows);
    else
        for (uint32_t i = 0; i < pack->rows; i++)
            at = put_varint(at, pack->value[i]);
    pack->bytes += bytes;
    memset(pack->value, 0, pack->rows * sizeof *pack->value);
}

void hl_pack_column(hl_pack *pack, const char *name) { put_column(pack, name, false); }

void hl_pack_column_null(hl_pack *pack, const char *name) { put_column(pack, name, true); }

void hl_pack_column_used(hl_pack *pack, const char *name)
{
    bool used = false;
    for (uint32_t i = 0; !pack->failed && i < pack->rows && !used; i++)
        used = pack->value[i] != 0;
    if (used)
        put_column(pack, name, false);
}

void hl_pack_blob(hl_pack *pack, const char *name, const void *bytes, size_t n)
{
    unsigned char *at = reserve(pack, n + 1);
    hl_pack_entry *entry = at ? add_entry(pack, name, 'b') : NULL;
    if (!entry)
        return;
    entry->bytes = n;
    if (n)
        memcpy(at, bytes, n);
    pack->bytes += n;
}

hl_pack_mark hl_pack_here(const hl_pack *pack)
{
    return (hl_pack_mark){.bytes = pack->bytes, .entries = pack->entries};
}

void hl_pack_back(hl_pack *pack, hl_pack_mark mark)
{
    pack->bytes = mark.bytes;
    pack->entries = mark.entries;
}

void hl_pack_json(const hl_pack *pack, hl_json *json)
{
    hl_json_object(json, "tables");
    for (uint32_t i = 0; i < pack->entries;) {
        const hl_pack_entry *table = &pack->entry[i++];
        hl_json_object(json, table->name);
        hl_json_int(json, "rows", table->rows);
        hl_json_object(json, "columns");
        for (; i < pack->entries && pack->entry[i].kind != 't'; i++) {
            const hl_pack_entry *column = &pack->entry[i];
            hl_json_row(json, column->name);
            hl_json_int(json, "at", (int64_t)column->at);
            hl_json_int(json, "bytes", (int64_t)column->bytes);
            hl_json_bytes(json, "kind", &column->kind, 1);
            if (column->null)
                hl_json_bool(json, "null", true);
            hl_json_end(json);
        }
        hl_json_end(json);
        hl_json_end(json);
    }
    hl_json_end(json);
}

void hl_pack_release(hl_pack *pack)
{
    free(pack->at);
    free(pack->entry);
    free(pack->value);
    *pack = (hl_pack){0};
}
