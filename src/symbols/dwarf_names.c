/*
 * dwarf_names.c - the readable name of a function's entry. Runs in the worker.
 *
 * Mostly that is the demangled linkage name, which is qualified and has the parameters. Compilers leave it out of inlined
 * constructors, lambdas and the like: then the entry's own name, qualified by the namespaces and types that its declaration
 * is in. DWARF has no way from an entry to its parent, so each unit that needs it once is walked once.
 */
#include "dwarf_walk.h"

#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MOST = 64,
    ENTRIES_MOST = 10 * 1000 * 1000,
    UNITS_MOST = 64, /* whose declarations are remembered at a time */
    QUALIFIED_MOST = 4000,
};

typedef struct container {
    const char *name;
    uint32_t outer; /* index + 1; 0: the unit */
} container;

typedef struct declaration {
    Dwarf_Off offset;
    uint32_t in; /* index + 1 of a container */
} declaration;

struct hl_dwarf_names {
    hl_dwarf_names *next;
    Dwarf_Off unit;
    container *containers;
    declaration *declarations; /* ascending: in the order of the walk */
    size_t containers_used, declarations_used;
    uint64_t entries;
};

void hl_dwarf_names_free(hl_dwarf_names *names)
{
    while (names) {
        hl_dwarf_names *next = names->next;
        free(names->containers);
        free(names->declarations);
        free(names);
        names = next;
    }
}

/* Room for one more in an array that grows by powers of two. */
static void *room_for_one(void *array, size_t used, size_t size)
{
    if (used & (used - 1))
        return array;
    return realloc(array, (used ? used * 2 : 1) * size);
}

static bool add_container(hl_dwarf_names *u, const char *name, uint32_t outer)
{
    container *grown = room_for_one(u->containers, u->containers_used, sizeof *grown);
    if (!grown)
        return false;
    u->containers = grown;
    grown[u->containers_used++] = (container){name, outer};
    return true;
}

static bool add_declaration(hl_dwarf_names *u, Dwarf_Off offset, uint32_t in)
{
    declaration *grown = room_for_one(u->declarations, u->declarations_used, sizeof *grown);
    if (!grown)
        return false;
    u->declarations = grown;
    grown[u->declarations_used++] = (declaration){offset, in};
    return true;
}

static const char *container_name(Dwarf_Die *die, int tag)
{
    const char *name = dwarf_diename(die);
    return name && *name ? name : tag == DW_TAG_namespace ? "(anonymous namespace)" : "(anonymous)";
}

static bool collect(hl_dwarf_names *u, Dwarf_Die *parent, uint32_t in, int depth)
{
    Dwarf_Die child;
    if (depth == DEPTH_MOST || dwarf_child(parent, &child) != 0)
        return true;
    do {
        if (++u->entries > ENTRIES_MOST)
            return false;
        int tag = dwarf_tag(&child);
        if (tag == DW_TAG_subprogram) {
            if (in && !add_declaration(u, dwarf_dieoffset(&child), in))
                return false;
        } else if (tag == DW_TAG_namespace || tag == DW_TAG_module || tag == DW_TAG_structure_type ||
                   tag == DW_TAG_class_type || tag == DW_TAG_union_type || tag == DW_TAG_interface_type) {
            if (!add_container(u, container_name(&child, tag), in) ||
                !collect(u, &child, (uint32_t)u->containers_used, depth + 1))
                return false;
        }
    } while (dwarf_siblingof(&child, &child) == 0);
    return true;
}

static hl_dwarf_names *names_of(hl_dwarf_names **names, Dwarf_Die *unit)
{
    Dwarf_Off offset = dwarf_dieoffset(unit);
    unsigned units = 0;
    for (hl_dwarf_names *u = *names; u; u = u->next, units++) {
        if (u->unit == offset)
            return u;
    }
    if (units >= UNITS_MOST) {
        hl_dwarf_names_free(*names);
        *names = NULL;
    }
    hl_dwarf_names *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->unit = offset;
    collect(u, unit, 0, 0); /* what it could not take stays unqualified */
    u->next = *names;
    *names = u;
    return u;
}

static uint32_t container_of(const hl_dwarf_names *u, Dwarf_Off offset)
{
    size_t from = 0, to = u->declarations_used;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (u->declarations[middle].offset < offset)
            from = middle + 1;
        else
            to = middle;
    }
    return from < u->declarations_used && u->declarations[from].offset == offset ? u->declarations[from].in : 0;
}

/* "a::b::" before the name that is at the end of `to`; returns where it begins. */
static char *qualify(const hl_dwarf_names *u, uint32_t in, const char *to, char *at)
{
    for (int depth = 0; in && depth < DEPTH_MOST; depth++) {
        const container *c = &u->containers[in - 1];
        size_t length = strnlen(c->name, QUALIFIED_MOST);
        if ((size_t)(at - to) < length + 2)
            break;
        at -= 2;
        at[0] = at[1] = ':';
        at -= length;
        memcpy(at, c->name, length);
        in = c->outer;
    }
    return at;
}

static bool has_qualified_names(Dwarf_Die *unit)
{
    switch (dwarf_srclang(unit)) {
    case DW_LANG_C:
    case DW_LANG_C89:
    case DW_LANG_C99:
    case DW_LANG_C11:
    case DW_LANG_Mips_Assembler:
        return false;
    default:
        return true;
    }
}

static char *own_name(hl_dwarf_names **names, Dwarf_Die *function)
{
    Dwarf_Attribute attribute;
    const char *name = dwarf_formstring(dwarf_attr_integrate(function, DW_AT_name, &attribute));
    if (!name || !*name)
        return NULL;
    /* To the entry that says where the function belongs. */
    Dwarf_Die declared = *function, unit;
    for (int i = 0; i < 16; i++) {
        if (!dwarf_attr(&declared, DW_AT_abstract_origin, &attribute) &&
            !dwarf_attr(&declared, DW_AT_specification, &attribute))
            break;
        Dwarf_Die next;
        if (!dwarf_formref_die(&attribute, &next))
            break;
        declared = next;
    }
    size_t length = strnlen(name, QUALIFIED_MOST - 1);
    char to[QUALIFIED_MOST], *at = to + sizeof to - length - 1;
    snprintf(at, length + 1, "%s", name);
    if (dwarf_diecu(&declared, &unit, NULL, NULL) && has_qualified_names(&unit)) {
        const hl_dwarf_names *u = names_of(names, &unit);
        if (u)
            at = qualify(u, container_of(u, dwarf_dieoffset(&declared)), to, at);
    }
    return strdup(at);
}

/* The demangled form of a mangled name, null for any other. */
static char *readable_of(const char *name)
{
    return name && (name[0] == '_' || name[0] == '.') ? hl_demangle(name) : NULL;
}

char *hl_dwarf_name(hl_dwarf_names **names, Dwarf_Die *function, const char *symbol)
{
    Dwarf_Attribute attribute;
    const char *linkage = dwarf_formstring(dwarf_attr_integrate(function, DW_AT_linkage_name, &attribute));
    if (!linkage)
        linkage = dwarf_formstring(dwarf_attr_integrate(function, DW_AT_MIPS_linkage_name, &attribute));
    char *name = readable_of(linkage);
    if (!name && !linkage)
        name = readable_of(symbol);
    if (!name)
        name = own_name(names, function);
    if (!name && (linkage || symbol))
        name = strdup(linkage ? linkage : symbol);
    return name;
}
