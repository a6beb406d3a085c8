/*
 * object.h - a loaded object's names, read from its files by libelf and libdw, in the process that calls. Internal to
 * src/symbols: the collector calls it through isolate.h only, since libdw may crash, hang or take much memory on broken
 * files; the fuzz target calls it directly.
 */
#ifndef HL_SYMBOLS_OBJECT_H
#define HL_SYMBOLS_OBJECT_H

#include "symbols.h"

#include <elfutils/libdw.h>
#include <libelf.h>

enum {
    HL_RESOLVE_NO_DWARF = 1,   /* symbol tables only */
    HL_RESOLVE_DEBUGINFOD = 2, /* ask the servers too */
};

typedef struct hl_resolve_request {
    const char *path, *build_id;
    const char *debug_directory;
    int64_t began_s;
    uint32_t flags;
    const uint32_t *offsets; /* ascending, each once */
    size_t n;
    void (*alive)(void *context); /* called now and then during long work */
    void (*found)(void *context, uint32_t offset, const hl_native_frame *frames, size_t n);
    void *context;
} hl_resolve_request;

/* Calls `found` once for each offset, in any order: without frames where nothing is known, with a null or empty function or
 * file where that is not. Flags of symbol_table.h (HL_TABLE_...). */
uint32_t hl_resolve(const hl_resolve_request *request);

/* ---- image.c: files ---- */

enum { HL_BUILD_ID_MOST = 64 };

typedef struct hl_image {
    int fd;
    Elf *elf;
    uint64_t base; /* the address in the file of offset 0 */
    uint64_t device, inode;
    int64_t changed_s;
    char build_id[2 * HL_BUILD_ID_MOST + 1]; /* hexadecimal, or "" */
    char path[4096];                         /* as given */
} hl_image;

/* 0 or a negative errno code: -ENOEXEC for what is no ELF file. */
int hl_image_open(hl_image *image, const char *path);
void hl_image_close(hl_image *image); /* harmless on one of zeros, or after a failed open */

bool hl_image_has_dwarf(const hl_image *image);

/* The separate file with the debug information of `image`: by build id, by .gnu_debuglink, from debuginfod. Adds
 * HL_TABLE_SERVERS_HANG to `flags` when no server answered in time. */
bool hl_image_open_debug(const hl_image *image, const hl_resolve_request *request, hl_image *debug, uint32_t *flags);

/* debuginfod.c: a path (malloc) of the file with the debug information, or null. `hangs`: since no server answers. */
char *hl_debuginfod_find(const char *build_id, void (*alive)(void *), void *context, bool *hangs);

/* ---- symtab.c: the best symbol at each address ---- */

/* names[i]: of addresses[i] (ascending), a string in the ELF file's memory, or untouched. 0 or -ENOMEM. */
int hl_symtab_find(Elf *elf, bool dynamic, const uint64_t *addresses, size_t n, const char **names);

/* Where the first of ascending addresses lies that is not below `address`; n: none is. */
static inline size_t hl_first_at(const uint64_t *addresses, size_t n, uint64_t address)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (addresses[middle] < address)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* ---- dwarf.c: lines and inlined calls ---- */

typedef struct hl_dwarf_request {
    const hl_resolve_request *resolve;
    const hl_image *image;      /* the file with DWARF */
    const uint64_t *addresses;  /* ascending */
    const char *const *symbols; /* of the symbol table, or null each */
    bool *is_done;              /* set for each address that was found */
} hl_dwarf_request;

/* Calls `found` for the addresses that DWARF knows. Whether there was any DWARF. */
bool hl_dwarf_find(const hl_dwarf_request *request);

/* ---- demangle.c ---- */

/* The readable form (malloc), or null when `name` is not mangled. */
char *hl_demangle(const char *name);

#endif
