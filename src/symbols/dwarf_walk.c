/*
 * dwarf_walk.c - walks the entries of one compilation unit and emits the frames of its addresses. Runs in the worker.
 *
 * What the walk finds is a forest: a node for each function and each inlined call around at least one address; an address
 * points to its innermost node. Depth and number of entries are bounded, since entries may be broken.
 */
#include "dwarf_walk.h"

#include "symbol_table.h"

#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MOST = 512,
    ENTRIES_MOST = 20 * 1000 * 1000, /* of a unit; the largest seen have 2 million */
    ENTRIES_PER_ALIVE = 1 << 16,
};

typedef struct node {
    struct node *outer; /* what this is inlined into; null for a function */
    struct node *next;  /* of all nodes */
    Dwarf_Die die;
    char *name; /* once it is needed */
    bool is_named;
} node;

typedef struct walk {
    const hl_dwarf_unit *unit;
    const uint64_t *addresses;
    node **innermost; /* of unit->picked[i] */
    node *nodes;
    uint64_t entries;
    bool whole; /* descend into what holds no address too: functions within functions and types */
    hl_dwarf_names *names;
    Dwarf_Files *files;
    const char *folder; /* DW_AT_comp_dir, or null */
} walk;

/* Addresses still to be found, as indices of picked: ascending. */
typedef struct set {
    uint32_t *of;
    size_t used;
} set;

static uint64_t address_of(const walk *w, uint32_t i) { return w->addresses[w->unit->picked[i]]; }

static bool is_scope(int tag)
{
    return tag == DW_TAG_lexical_block || tag == DW_TAG_try_block || tag == DW_TAG_catch_block ||
           tag == DW_TAG_with_stmt;
}

static bool is_container(int tag, bool whole)
{
    return tag == DW_TAG_namespace || tag == DW_TAG_module ||
           (whole && (tag == DW_TAG_structure_type || tag == DW_TAG_class_type || tag == DW_TAG_union_type ||
                      tag == DW_TAG_enumeration_type || tag == DW_TAG_interface_type));
}

/* Moves the addresses within the entry's ranges from `from` to the new set `to`. False: no memory. */
static bool split(const walk *w, Dwarf_Die *die, set *from, set *to)
{
    Dwarf_Addr base, low, high;
    ptrdiff_t next = 0;
    *to = (set){0};
    while (from->used && (next = dwarf_ranges(die, next, &base, &low, &high)) > 0) {
        size_t at = 0, end = from->used;
        while (at < end) {
            size_t middle = at + (end - at) / 2;
            if (address_of(w, from->of[middle]) < low)
                at = middle + 1;
            else
                end = middle;
        }
        for (; end < from->used && address_of(w, from->of[end]) < high; end++) {}
        if (end == at)
            continue;
        if (!to->of && !(to->of = malloc(from->used * sizeof *to->of)))
            return false;
        /* Ranges need not ascend, but usually do. */
        size_t moved = end - at, place = to->used;
        while (place && to->of[place - 1] > from->of[at])
            place--;
        memmove(to->of + place + moved, to->of + place, (to->used - place) * sizeof *to->of);
        memcpy(to->of + place, from->of + at, moved * sizeof *to->of);
        memmove(from->of + at, from->of + end, (from->used - end) * sizeof *from->of);
        to->used += moved;
        from->used -= moved;
    }
    return true;
}

static node *add_node(walk *w, node *outer, const Dwarf_Die *die)
{
    node *new = malloc(sizeof *new);
    if (!new)
        return NULL;
    *new = (node){.outer = outer, .next = w->nodes, .die = *die};
    w->nodes = new;
    return new;
}

/* Finds nodes for the addresses of `left` among the children of `parent`, which is within `around`; takes those found out of
 * `left`. False: out of memory or out of bounds, give up. */
static bool descend(walk *w, Dwarf_Die *parent, node *around, set *left, int depth)
{
    Dwarf_Die child;
    if (!left->used || depth == DEPTH_MOST || dwarf_child(parent, &child) != 0)
        return true;
    do {
        const hl_resolve_request *r = w->unit->request->resolve;
        if (++w->entries > ENTRIES_MOST)
            return false;
        if (w->entries % ENTRIES_PER_ALIVE == 0 && r->alive)
            r->alive(r->context);
        int tag = dwarf_tag(&child);
        bool is_function = tag == DW_TAG_subprogram, is_call = tag == DW_TAG_inlined_subroutine;
        if (is_container(tag, w->whole)) {
            if (!descend(w, &child, around, left, depth + 1))
                return false;
            continue;
        }
        if (!is_function && !is_call && !is_scope(tag))
            continue;
        set inside;
        bool is_fine = split(w, &child, left, &inside);
        if (is_fine && inside.used) {
            node *here = is_scope(tag) ? around : add_node(w, is_call ? around : NULL, &child);
            for (size_t i = 0; i < inside.used && here; i++)
                w->innermost[inside.of[i]] = here;
            is_fine = (here || is_scope(tag)) && descend(w, &child, here, &inside, depth + 1);
        } else if (is_fine && w->whole) {
            is_fine = descend(w, &child, around, left, depth + 1);
        }
        free(inside.of);
        if (!is_fine)
            return false;
    } while (left->used && dwarf_siblingof(&child, &child) == 0);
    return true;
}

/* The file's path (malloc), with the unit's folder before a relative one. "/a/./b//c" becomes "/a/b/c"; ".." stays, since
 * links may have led there. */
static char *whole_path(const char *folder, const char *path)
{
    char *clean = NULL;
    size_t used = 0;
    if (!path || !*path)
        return strdup("");
    if (*path == '/' || !folder)
        clean = strdup(path);
    else if (asprintf(&clean, "%s/%s", folder, path) < 0)
        clean = NULL;
    for (const char *at = clean; at && *at;) {
        if (at[0] == '/' && (at[1] == '/' || (at[1] == '.' && at[2] == '/')))
            at += at[1] == '/' ? 1 : 2;
        else
            clean[used++] = *at++;
    }
    if (clean)
        clean[used] = '\0';
    return clean;
}

static const char *name_of(walk *w, node *at, const char *symbol)
{
    if (!at->is_named) {
        at->is_named = true;
        at->name = hl_dwarf_name(&w->names, &at->die, at->outer ? NULL : symbol);
    }
    return at->name;
}

/* Where the call that became `inlined` stands. */
static void read_call(const walk *w, Dwarf_Die *inlined, const char **file, uint32_t *line)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    if (w->files && dwarf_attr(inlined, DW_AT_call_file, &attribute) && dwarf_formudata(&attribute, &value) == 0)
        *file = dwarf_filesrc(w->files, value, NULL, NULL);
    if (dwarf_attr(inlined, DW_AT_call_line, &attribute) && dwarf_formudata(&attribute, &value) == 0 &&
        value <= INT32_MAX)
        *line = (uint32_t)value;
}

static void emit(walk *w, uint32_t i)
{
    const hl_dwarf_request *r = w->unit->request;
    size_t index = w->unit->picked[i], used = 0;
    const char *symbol = r->symbols[index], *file = NULL;
    hl_native_frame frames[HL_CHAIN_MOST];
    char *own[HL_CHAIN_MOST + 1] = {0}; /* the frames' files, and the name of a function without an entry */
    int number = 0;
    Dwarf_Die unit = w->unit->die;
    Dwarf_Line *row = dwarf_getsrc_die(&unit, r->addresses[index]);
    if (row) {
        file = dwarf_linesrc(row, NULL, NULL);
        if (dwarf_lineno(row, &number) || number < 0)
            number = 0;
    }
    if (!w->innermost[i] && !file)
        return;
    uint32_t line = (uint32_t)number;
    for (node *at = w->innermost[i]; at; at = at->outer) {
        /* Beyond the most, only the function itself. */
        if (used < HL_CHAIN_MOST - 1 || !at->outer) {
            own[used] = whole_path(w->folder, file);
            frames[used] = (hl_native_frame){name_of(w, at, symbol), own[used], line, at->outer != NULL};
            used++;
        }
        file = NULL;
        line = 0;
        if (at->outer)
            read_call(w, &at->die, &file, &line);
    }
    if (!used) {
        own[0] = whole_path(w->folder, file);
        own[HL_CHAIN_MOST] = symbol ? hl_demangle(symbol) : NULL;
        frames[used++] = (hl_native_frame){own[HL_CHAIN_MOST] ? own[HL_CHAIN_MOST] : symbol, own[0], line, false};
    }
    r->is_done[index] = true;
    r->resolve->found(r->resolve->context, r->resolve->offsets[index], frames, used);
    for (size_t k = 0; k <= HL_CHAIN_MOST; k++)
        free(own[k]);
}

void hl_dwarf_walk(const hl_dwarf_unit *unit)
{
    size_t n = unit->picked_used;
    walk w = {.unit = unit, .addresses = unit->request->addresses, .innermost = calloc(n ? n : 1, sizeof(node *))};
    set left = {.of = malloc((n ? n : 1) * sizeof *left.of)};
    Dwarf_CU *cu = unit->die.cu;
    Dwarf_Die root = unit->die, split_unit;
    uint8_t type;
    if (!w.innermost || !left.of)
        goto end;
    /* Of a skeleton, the entries are in the .dwo file. */
    if (dwarf_cu_info(cu, NULL, &type, NULL, &split_unit, NULL, NULL, NULL) == 0 && type == DW_UT_skeleton &&
        split_unit.addr)
        root = split_unit;
    for (int pass = 0; pass < 2; pass++) {
        left.used = 0;
        for (size_t i = 0; i < n; i++) {
            if (!w.innermost[i])
                left.of[left.used++] = (uint32_t)i;
        }
        w.whole = pass == 1;
        if (!left.used || !descend(&w, &root, NULL, &left, 0))
            break;
    }
    if (dwarf_getsrcfiles(&root, &w.files, NULL))
        w.files = NULL;
    Dwarf_Attribute attribute;
    w.folder = dwarf_formstring(dwarf_attr(&root, DW_AT_comp_dir, &attribute));
    if (!w.folder)
        w.folder = dwarf_formstring(dwarf_attr((Dwarf_Die *)&unit->die, DW_AT_comp_dir, &attribute));
    for (size_t i = 0; i < n; i++)
        emit(&w, (uint32_t)i);
end:
    hl_dwarf_names_free(w.names);
    while (w.nodes) {
        node *next = w.nodes->next;
        free(w.nodes->name);
        free(w.nodes);
        w.nodes = next;
    }
    free(w.innermost);
    free(left.of);
}
