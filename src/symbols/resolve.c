/*
 * resolve.c - all that is known about places in one object, from its files. Runs in the worker.
 */
#include "object.h"
#include "symbol_table.h"

#include <stdlib.h>
#include <string.h>

/* Whether the file is what the program had loaded. Without a build id nothing but its age can tell. */
static bool is_announced(const hl_image *image, const hl_resolve_request *r)
{
    if (*r->build_id)
        return strcmp(image->build_id, r->build_id) == 0;
    /* A relative path was so from the program's working directory, not from ours. */
    return *r->path == '/' && (!r->began_s || image->changed_s <= r->began_s);
}

static void emit_symbol(const hl_resolve_request *r, uint32_t offset, const char *symbol)
{
    if (!symbol) {
        r->found(r->context, offset, NULL, 0);
        return;
    }
    char *readable = hl_demangle(symbol);
    hl_native_frame frame = {.function = readable ? readable : symbol};
    r->found(r->context, offset, &frame, 1);
    free(readable);
}

static uint32_t resolve_in(const hl_resolve_request *r, const hl_image *image, uint64_t *addresses,
                           const char **symbols, bool *is_done)
{
    hl_image debug = {0};
    uint32_t flags = 0;
    bool wants_dwarf = !(r->flags & HL_RESOLVE_NO_DWARF), has_own = hl_image_has_dwarf(image);
    bool has_debug = wants_dwarf && !has_own && hl_image_open_debug(image, r, &debug, &flags);
    for (size_t i = 0; i < r->n; i++)
        addresses[i] = image->base + r->offsets[i];
    /* What comes later wins: the most complete table. Names without memory for them are no names. */
    hl_symtab_find(image->elf, true, addresses, r->n, symbols);
    if (has_debug)
        hl_symtab_find(debug.elf, false, addresses, r->n, symbols);
    hl_symtab_find(image->elf, false, addresses, r->n, symbols);
    if (wants_dwarf && (has_own || has_debug)) {
        hl_dwarf_request d = {r, has_own ? image : &debug, addresses, symbols, is_done};
        if (hl_dwarf_find(&d))
            flags |= HL_TABLE_HAS_LINES;
    }
    for (size_t i = 0; i < r->n; i++) {
        if (!is_done[i])
            emit_symbol(r, r->offsets[i], symbols[i]);
    }
    hl_image_close(&debug);
    return flags;
}

uint32_t hl_resolve(const hl_resolve_request *r)
{
    hl_image image;
    uint32_t flags = HL_TABLE_UNUSABLE;
    uint64_t *addresses = calloc(r->n + 1, sizeof *addresses);
    const char **symbols = calloc(r->n + 1, sizeof *symbols);
    bool *is_done = calloc(r->n + 1, sizeof *is_done);
    bool is_open = addresses && symbols && is_done && hl_image_open(&image, r->path) == 0;
    if (is_open && is_announced(&image, r)) {
        flags = resolve_in(r, &image, addresses, symbols, is_done);
    } else {
        for (size_t i = 0; i < r->n; i++)
            r->found(r->context, r->offsets[i], NULL, 0);
    }
    if (is_open)
        hl_image_close(&image);
    free(addresses);
    free(symbols);
    free(is_done);
    return flags;
}
