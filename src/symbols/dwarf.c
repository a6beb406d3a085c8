/*
 * dwarf.c - functions, lines and inlined calls of many addresses of one file, by libdw. Runs in the worker.
 *
 * First each address finds its compilation unit, from the units' ranges (not .debug_aranges: clang and rustc write none).
 * Then one walk over each unit that is concerned finds the functions and the inlined calls around all of its addresses:
 * functions that hold none of them are stepped over. libdw keeps what it has parsed until the file is closed, so the file is
 * closed and opened again whenever that has grown beyond a limit.
 */
#include "dwarf_walk.h"
#include "object.h"

#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    KEPT_MOST_BYTES = 16 << 20, /* what libdw may hold before the file is opened anew */
    UNITS_PER_ALIVE = 64,
};

/* The unit of each address. */
typedef struct unit_of {
    uint64_t width; /* of the range that said so: the narrowest is right where ranges overlap */
    Dwarf_Off unit; /* its first entry's offset */
    bool is_known;
} unit_of;

static void claim(unit_of *units, const hl_dwarf_request *r, Dwarf_Die *unit)
{
    Dwarf_Addr base, from, to;
    ptrdiff_t next = 0;
    while ((next = dwarf_ranges(unit, next, &base, &from, &to)) > 0) {
        for (size_t i = hl_first_at(r->addresses, r->resolve->n, from); i < r->resolve->n && r->addresses[i] < to;
             i++) {
            if (!units[i].is_known || to - from < units[i].width)
                units[i] = (unit_of){to - from, dwarf_dieoffset(unit), true};
        }
    }
}

static void find_units(Dwarf *dwarf, unit_of *units, const hl_dwarf_request *r)
{
    Dwarf_CU *cu = NULL;
    uint8_t type;
    Dwarf_Die unit;
    size_t seen = 0;
    while (dwarf_get_units(dwarf, cu, &cu, NULL, &type, &unit, NULL) == 0) {
        if (type == DW_UT_compile || type == DW_UT_skeleton)
            claim(units, r, &unit);
        if (++seen % UNITS_PER_ALIVE == 0 && r->resolve->alive)
            r->resolve->alive(r->resolve->context);
    }
}

/* The addresses of one unit, all at once, into `picked`. */
static size_t pick(const unit_of *units, size_t from, size_t n, size_t *picked)
{
    size_t used = 0;
    for (size_t i = from; i < n; i++) {
        if (units[i].is_known && units[i].unit == units[from].unit)
            picked[used++] = i;
    }
    return used;
}

/* Private memory of this process, as the kernel counts it (proc(5), statm): files that are mapped are not in it. */
static size_t bytes_held(void)
{
    unsigned long size, resident, shared;
    FILE *f = fopen("/proc/self/statm", "re");
    int read = f ? fscanf(f, "%lu %lu %lu", &size, &resident, &shared) : 0;
    if (f)
        fclose(f);
    return read == 3 && resident > shared ? (resident - shared) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

bool hl_dwarf_find(const hl_dwarf_request *r)
{
    size_t n = r->resolve->n;
    unit_of *units = calloc(n ? n : 1, sizeof *units);
    size_t *picked = calloc(n ? n : 1, sizeof *picked);
    Dwarf *dwarf = units && picked ? dwarf_begin_elf(r->image->elf, DWARF_C_READ, NULL) : NULL;
    bool is_there = dwarf != NULL;
    if (dwarf)
        find_units(dwarf, units, r);
    size_t held = bytes_held();
    for (size_t i = 0; i < n && dwarf; i++) {
        if (!units[i].is_known)
            continue;
        size_t used = pick(units, i, n, picked);
        hl_dwarf_unit unit = {.request = r, .picked = picked, .picked_used = used};
        if (dwarf_offdie(dwarf, units[i].unit, &unit.die))
            hl_dwarf_walk(&unit);
        for (size_t k = 0; k < used; k++)
            units[picked[k]].is_known = false;
        if (bytes_held() > held + KEPT_MOST_BYTES) {
            dwarf_end(dwarf);
            dwarf = dwarf_begin_elf(r->image->elf, DWARF_C_READ, NULL);
            held = bytes_held();
        }
    }
    if (dwarf)
        dwarf_end(dwarf);
    free(units);
    free(picked);
    return is_there;
}
