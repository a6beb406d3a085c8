/*
 * symtab.c - the function symbol that covers each of many addresses. Runs in the worker.
 *
 * The addresses are sorted, so one pass over the symbols is enough, whatever their order and number: each symbol finds the
 * addresses it covers by binary search. Symbols without a size (assembly) name what follows them up to the next symbol.
 */
#include "object.h"

#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

/* The best symbol so far of one address. */
typedef struct hit {
    uint64_t start; /* of the symbol that covers it */
    uint64_t bytes;
    const char *name;
    int rank;
    uint64_t bare_start; /* of the nearest symbol without size before it, as seen at this address only */
    const char *bare_name;
    uint64_t bare_end;   /* the end of its section */
    uint64_t last_start; /* the nearest symbol with a size before it, as seen at this address only */
} hit;

/* Of several names at one place, that which people know: global before weak before local, few underscores in front. */
static int rank_of(const GElf_Sym *symbol, const char *name)
{
    int bind = GELF_ST_BIND(symbol->st_info);
    int rank = bind == STB_GLOBAL ? 300 : bind == STB_WEAK ? 200 : 100;
    return rank - (int)strspn(name, "_") * 110 * (strncmp(name, "_Z", 2) != 0 && strncmp(name, "_R", 2) != 0);
}

static bool is_better(const hit *h, const GElf_Sym *symbol, int rank, const char *name)
{
    if (!h->name || symbol->st_value != h->start)
        return !h->name || symbol->st_value > h->start;
    if (rank != h->rank)
        return rank > h->rank;
    if (symbol->st_size != h->bytes)
        return symbol->st_size < h->bytes;
    size_t a = strlen(name), b = strlen(h->name);
    return a != b ? a < b : strcmp(name, h->name) < 0;
}

static void take(hit *hits, const uint64_t *addresses, size_t n, const GElf_Sym *symbol, const char *name,
                 uint64_t section_end)
{
    size_t i = hl_first_at(addresses, n, symbol->st_value);
    if (i == n)
        return;
    if (!symbol->st_size) {
        if (!hits[i].bare_name || symbol->st_value > hits[i].bare_start) {
            hits[i].bare_start = symbol->st_value;
            hits[i].bare_name = name;
            hits[i].bare_end = section_end;
        }
        return;
    }
    if (symbol->st_value > hits[i].last_start)
        hits[i].last_start = symbol->st_value;
    int rank = rank_of(symbol, name);
    for (; i < n && addresses[i] - symbol->st_value < symbol->st_size; i++) {
        if (is_better(&hits[i], symbol, rank, name)) {
            hits[i].start = symbol->st_value;
            hits[i].bytes = symbol->st_size;
            hits[i].name = name;
            hits[i].rank = rank;
        }
    }
}

/* Addresses that no symbol covers: the last one without size before them, if none with a size begins in between. */
static void take_bare(hit *hits, const uint64_t *addresses, size_t n)
{
    hit last = {0};
    for (size_t i = 0; i < n; i++) {
        if (hits[i].bare_name && (!last.bare_name || hits[i].bare_start >= last.bare_start)) {
            last.bare_name = hits[i].bare_name;
            last.bare_start = hits[i].bare_start;
            last.bare_end = hits[i].bare_end;
        }
        if (hits[i].last_start > last.last_start)
            last.last_start = hits[i].last_start;
        if (!hits[i].name && last.bare_name && last.bare_start >= last.last_start && addresses[i] < last.bare_end)
            hits[i].name = last.bare_name;
    }
}

/* Whether the symbol names code. `*end`: where its section ends. */
static bool is_code(Elf *elf, const GElf_Sym *symbol, uint64_t *end)
{
    int type = GELF_ST_TYPE(symbol->st_info);
    *end = 0;
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS || symbol->st_shndx == SHN_COMMON)
        return false;
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
        return false;
    if (symbol->st_size && type != STT_NOTYPE)
        return true;
    GElf_Shdr header;
    Elf_Scn *section = symbol->st_shndx < SHN_LORESERVE ? elf_getscn(elf, symbol->st_shndx) : NULL;
    if (!section || !gelf_getshdr(section, &header) || !(header.sh_flags & SHF_EXECINSTR))
        return false;
    *end = header.sh_addr + header.sh_size;
    return symbol->st_value < *end;
}

int hl_symtab_find(Elf *elf, bool dynamic, const uint64_t *addresses, size_t n, const char **names)
{
    hit *hits = calloc(n ? n : 1, sizeof *hits);
    if (!hits)
        return -ENOMEM;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type != (dynamic ? SHT_DYNSYM : SHT_SYMTAB) ||
            !header.sh_entsize)
            continue;
        Elf_Data *data = elf_getdata(section, NULL);
        size_t symbols = data ? data->d_size / header.sh_entsize : 0;
        for (size_t i = 0; i < symbols && i <= INT32_MAX; i++) {
            GElf_Sym symbol;
            uint64_t end;
            if (!gelf_getsym(data, (int)i, &symbol))
                break;
            if (!is_code(elf, &symbol, &end))
                continue;
            const char *name = elf_strptr(elf, header.sh_link, symbol.st_name);
            /* "$x" and "$d" of aarch64 mark kinds of content, ".L" is the assembler's own. */
            if (name && *name && *name != '$' && strncmp(name, ".L", 2) != 0)
                take(hits, addresses, n, &symbol, name, end);
        }
        break;
    }
    take_bare(hits, addresses, n);
    for (size_t i = 0; i < n; i++) {
        if (hits[i].name)
            names[i] = hits[i].name;
    }
    free(hits);
    return 0;
}
