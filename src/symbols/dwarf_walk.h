/*
 * dwarf_walk.h - one compilation unit: the functions and inlined calls around its addresses. Internal to src/symbols.
 */
#ifndef HL_SYMBOLS_DWARF_WALK_H
#define HL_SYMBOLS_DWARF_WALK_H

#include "object.h"

typedef struct hl_dwarf_unit {
    const hl_dwarf_request *request;
    Dwarf_Die die;        /* the unit's own entry */
    const size_t *picked; /* ascending: which of the request's addresses are in this unit */
    size_t picked_used;
} hl_dwarf_unit;

/* Calls `found` of the request for those addresses that have a function or a line, and marks them done. */
void hl_dwarf_walk(const hl_dwarf_unit *unit);

/* dwarf_names.c: the readable, qualified name of a function's entry (malloc), or null. `names` starts as null, belongs to one
 * unit and is freed with hl_dwarf_names_free. */
typedef struct hl_dwarf_names hl_dwarf_names;
char *hl_dwarf_name(hl_dwarf_names **names, Dwarf_Die *function, const char *symbol);
void hl_dwarf_names_free(hl_dwarf_names *names);

#endif
