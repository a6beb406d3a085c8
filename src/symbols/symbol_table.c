/*
 * symbol_table.c - the table of one object's places, and its bytes. Runs in the collector and in the worker.
 *
 * Bytes: a head, the places by offset, the frames, the text; native byte order (they never leave the machine). The sum over
 * all of it tells damage, not malice: every number is checked after it.
 */
#include "symbol_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x31736c68, MOST_BYTES = 1 << 30 };

typedef struct head {
    uint32_t magic, flags, places, frames, text;
    uint32_t unused;
    uint64_t sum; /* of everything else, and of the key */
} head;

static uint64_t mix(uint64_t sum, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    for (; n; n--)
        sum = (sum ^ *at++) * UINT64_C(0x100000001b3);
    return sum ^ sum >> 32;
}

/* memcpy that takes null for nothing. */
static void copy(void *to, const void *from, size_t n)
{
    if (n)
        memcpy(to, from, n);
}

void hl_symbol_table_free(hl_symbol_table *t)
{
    free(t->places);
    free(t->frames);
    free(t->text);
    free(t->index);
    *t = (hl_symbol_table){0};
}

/* Room for `more` elements of `size` bytes after `used`. */
static bool grow(void *array, size_t size, size_t used, size_t more, size_t *room)
{
    if (used + more <= *room)
        return true;
    size_t wanted = *room ? *room * 2 : 64;
    while (wanted < used + more)
        wanted *= 2;
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    if (wanted > MOST_BYTES / size || !(grown = realloc(old, wanted * size)))
        return false;
    memcpy(array, &grown, sizeof grown);
    *room = wanted;
    return true;
}

static bool grow_index(hl_symbol_table *t)
{
    if (t->index_used * 4 < t->index_room * 3)
        return true;
    size_t room = t->index_room ? t->index_room * 2 : 256;
    uint32_t *index = calloc(room, sizeof *index);
    if (!index)
        return false;
    for (size_t i = 0; i < t->index_room; i++) {
        if (!t->index[i])
            continue;
        const char *text = t->text + t->index[i];
        size_t at = mix(1, text, strlen(text)) & (room - 1);
        while (index[at])
            at = (at + 1) & (room - 1);
        index[at] = t->index[i];
    }
    free(t->index);
    t->index = index;
    t->index_room = room;
    return true;
}

/* The place of a string in the text, added when it is new. UINT32_MAX: no memory. */
static uint32_t intern(hl_symbol_table *t, const char *string)
{
    size_t length = string ? strnlen(string, HL_SYMBOL_TEXT_MOST + 1) : 0, kept = length;
    bool is_cut = length > HL_SYMBOL_TEXT_MOST;
    if (is_cut) {
        length = HL_SYMBOL_TEXT_MOST;
        kept = length - 3;
    }
    if (!grow_index(t) || !grow(&t->text, 1, t->text_used, length + 2, &t->text_room))
        return UINT32_MAX;
    if (!t->text_used)
        t->text[t->text_used++] = '\0';
    if (!length)
        return 0;
    char *new = t->text + t->text_used;
    memcpy(new, string, kept);
    memcpy(new + kept, "...", length - kept);
    new[length] = '\0';
    size_t at = mix(1, new, length) & (t->index_room - 1);
    for (; t->index[at]; at = (at + 1) & (t->index_room - 1)) {
        if (strcmp(t->text + t->index[at], new) == 0)
            return t->index[at];
    }
    t->index[at] = (uint32_t)t->text_used;
    t->index_used++;
    t->text_used += length + 1;
    return t->index[at];
}

int hl_symbol_table_add(hl_symbol_table *t, uint32_t offset, const hl_native_frame *frames, size_t n)
{
    if (!grow(&t->places, sizeof *t->places, t->places_used, 1, &t->places_room) ||
        !grow(&t->frames, sizeof *t->frames, t->frames_used, n, &t->frames_room))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        uint32_t function = intern(t, frames[i].function), file = intern(t, frames[i].file);
        if (function == UINT32_MAX || file == UINT32_MAX)
            return -ENOMEM;
        t->frames[t->frames_used + i] = (hl_symbol_frame){function, file, frames[i].line, frames[i].is_inline};
    }
    t->places[t->places_used++] = (hl_symbol_place){offset, (uint32_t)t->frames_used, (uint32_t)n};
    t->frames_used += n;
    t->sorted = false;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const hl_symbol_place *p = a, *q = b;
    if (p->offset != q->offset)
        return p->offset < q->offset ? -1 : 1;
    return p->first_frame < q->first_frame ? -1 : p->first_frame > q->first_frame;
}

static void sort(hl_symbol_table *t)
{
    if (t->sorted || !t->places_used)
        return;
    qsort(t->places, t->places_used, sizeof *t->places, by_offset);
    size_t kept = 1;
    for (size_t i = 1; i < t->places_used; i++) {
        if (t->places[i].offset != t->places[kept - 1].offset)
            t->places[kept++] = t->places[i];
    }
    t->places_used = kept;
    t->sorted = true;
}

const hl_symbol_place *hl_symbol_table_find(hl_symbol_table *t, uint32_t offset)
{
    sort(t);
    size_t from = 0, to = t->places_used;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (t->places[middle].offset < offset)
            from = middle + 1;
        else
            to = middle;
    }
    return from < t->places_used && t->places[from].offset == offset ? &t->places[from] : NULL;
}

hl_native_frame hl_symbol_table_frame(const hl_symbol_table *t, const hl_symbol_place *place, size_t i)
{
    const hl_symbol_frame *f = &t->frames[place->first_frame + i];
    return (hl_native_frame){t->text + f->function, t->text + f->file, f->line, f->is_inline != 0};
}

int hl_symbol_table_merge(hl_symbol_table *t, hl_symbol_table *from)
{
    hl_native_frame frames[HL_CHAIN_MOST];
    for (size_t i = 0; i < from->places_used; i++) {
        const hl_symbol_place *place = &from->places[i];
        for (size_t k = 0; k < place->frames_used; k++)
            frames[k] = hl_symbol_table_frame(from, place, k);
        int error = hl_symbol_table_add(t, place->offset, frames, place->frames_used);
        if (error)
            return error;
    }
    t->flags |= from->flags;
    return 0;
}

static uint64_t sum_of(head h, const char *key, const uint8_t *rest, size_t n)
{
    h.sum = 0;
    return mix(mix(mix(2, &h, sizeof h), key, strlen(key)), rest, n);
}

void hl_symbol_table_seal(const char *key, uint8_t *bytes, size_t n)
{
    head h;
    if (n < sizeof h)
        return;
    memcpy(&h, bytes, sizeof h);
    h.magic = MAGIC;
    h.sum = sum_of(h, key, bytes + sizeof h, n - sizeof h);
    memcpy(bytes, &h, sizeof h);
}

uint8_t *hl_symbol_table_write(hl_symbol_table *t, const char *key, size_t *bytes)
{
    sort(t);
    head h = {.flags = t->flags,
              .places = (uint32_t)t->places_used,
              .frames = (uint32_t)t->frames_used,
              .text = (uint32_t)t->text_used};
    size_t places = t->places_used * sizeof *t->places, frames = t->frames_used * sizeof *t->frames;
    *bytes = sizeof h + places + frames + t->text_used;
    uint8_t *to = malloc(*bytes);
    if (!to)
        return NULL;
    uint8_t *at = to + sizeof h;
    copy(at, t->places, places);
    copy(at + places, t->frames, frames);
    copy(at + places + frames, t->text, t->text_used);
    memcpy(to, &h, sizeof h);
    hl_symbol_table_seal(key, to, *bytes);
    return to;
}

/* Whether all that places and frames point to is there. */
static bool is_sound(const hl_symbol_table *t)
{
    if (t->text_used && (t->text[0] || t->text[t->text_used - 1]))
        return false;
    for (size_t i = 0; i < t->places_used; i++) {
        const hl_symbol_place *p = &t->places[i];
        if (p->frames_used > HL_CHAIN_MOST || p->first_frame > t->frames_used ||
            p->frames_used > t->frames_used - p->first_frame || (i && t->places[i - 1].offset >= p->offset))
            return false;
    }
    for (size_t i = 0; i < t->frames_used; i++) {
        const hl_symbol_frame *f = &t->frames[i];
        if (f->function >= t->text_used || f->file >= t->text_used)
            return false;
    }
    return true;
}

int hl_symbol_table_read(hl_symbol_table *t, const char *key, const uint8_t *bytes, size_t n)
{
    head h;
    if (n < sizeof h || n > MOST_BYTES)
        return -EINVAL;
    memcpy(&h, bytes, sizeof h);
    uint64_t places = h.places * (uint64_t)sizeof *t->places, frames = h.frames * (uint64_t)sizeof *t->frames;
    if (h.magic != MAGIC || sizeof h + places + frames + h.text != n ||
        h.sum != sum_of(h, key, bytes + sizeof h, n - sizeof h))
        return -EINVAL;
    *t = (hl_symbol_table){.flags = h.flags, .sorted = true};
    if (!grow(&t->places, sizeof *t->places, 0, h.places, &t->places_room) ||
        !grow(&t->frames, sizeof *t->frames, 0, h.frames, &t->frames_room) ||
        !grow(&t->text, 1, 0, (size_t)h.text + 1, &t->text_room)) {
        hl_symbol_table_free(t);
        return -ENOMEM;
    }
    const uint8_t *at = bytes + sizeof h;
    copy(t->places, at, places);
    copy(t->frames, at + places, frames);
    copy(t->text, at + places + frames, h.text);
    t->places_used = h.places;
    t->frames_used = h.frames;
    t->text_used = h.text;
    if (!is_sound(t)) {
        hl_symbol_table_free(t);
        return -EINVAL;
    }
    /* The text's index, for what is added later. A string too long for intern is found by nobody: it stays as it is. */
    for (size_t i = 1; i < t->text_used; i += strlen(t->text + i) + 1) {
        if (!grow_index(t)) {
            hl_symbol_table_free(t);
            return -ENOMEM;
        }
        size_t place = mix(1, t->text + i, strlen(t->text + i)) & (t->index_room - 1);
        while (t->index[place])
            place = (place + 1) & (t->index_room - 1);
        t->index[place] = (uint32_t)i;
        t->index_used++;
    }
    return 0;
}
