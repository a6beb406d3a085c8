/*
 * own_malloc.c - see own_malloc.h.
 *
 * Dynamic symbols tell what is exported; the full table, where the file has not been stripped of it, what is there. The file
 * is read and not mapped: it may be rewritten meanwhile. Nothing in it is believed before it is checked.
 */
#include "own_malloc.h"

#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 64 << 20, MOST_SECTIONS = 4096 };

/* A function that says which allocator this is, whatever malloc is called in it. */
static const struct {
    const char *symbol, *allocator;
} known[] = {
    {"je_arena_boot", "jemalloc"},    {"_rjem_je_arena_boot", "jemalloc"},
    {"je_malloc", "jemalloc"},        {"_rjem_malloc", "jemalloc"},
    {"mi_malloc", "mimalloc"},        {"tc_malloc", "tcmalloc"},
    {"scalable_malloc", "tbbmalloc"}, {"TCMallocInternalMalloc", "tcmalloc"},
    {"rpmalloc", "rpmalloc"},         {"sn_malloc", "snmalloc"},
};

/* A part of the file, from malloc, with a zero behind it; null: it is not there, or too large. */
static char *read_part(int fd, uint64_t at, uint64_t bytes)
{
    if (bytes == 0 || bytes > MOST_BYTES || at > INT64_MAX - MOST_BYTES)
        return NULL;
    char *part = malloc(bytes + 1);
    uint64_t have = 0;
    while (part != NULL && have < bytes) {
        ssize_t n = pread(fd, part + have, bytes - have, (off_t)(at + have));
        if (n <= 0) {
            free(part);
            return NULL;
        }
        have += (uint64_t)n;
    }
    if (part != NULL)
        part[bytes] = '\0';
    return part;
}

static void look_at(hl_own_malloc *found, const char *name, bool exported)
{
    if (strcmp(name, "malloc") == 0) {
        found->exported |= exported;
        if (found->name == NULL)
            found->name = "malloc";
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].symbol) == 0)
            found->name = known[i].allocator;
}

static void look_through(int fd, const Elf64_Shdr *table, const Elf64_Shdr *text, hl_own_malloc *found)
{
    char *names = read_part(fd, text->sh_offset, text->sh_size);
    char *symbols = names ? read_part(fd, table->sh_offset, table->sh_size) : NULL;
    for (uint64_t at = 0; symbols != NULL && at + sizeof(Elf64_Sym) <= table->sh_size; at += sizeof(Elf64_Sym)) {
        Elf64_Sym s;
        memcpy(&s, symbols + at, sizeof s);
        unsigned type = ELF64_ST_TYPE(s.st_info), visibility = ELF64_ST_VISIBILITY(s.st_other);
        if (s.st_shndx == SHN_UNDEF || s.st_name >= text->sh_size || (type != STT_FUNC && type != STT_GNU_IFUNC))
            continue;
        bool exported = table->sh_type == SHT_DYNSYM && ELF64_ST_BIND(s.st_info) != STB_LOCAL &&
                        (visibility == STV_DEFAULT || visibility == STV_PROTECTED);
        look_at(found, names + s.st_name, exported);
    }
    free(symbols);
    free(names);
}

hl_own_malloc hl_own_malloc_of(int fd)
{
    hl_own_malloc found = {0};
    Elf64_Ehdr e;
    if (pread(fd, &e, sizeof e, 0) != sizeof e || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 ||
        e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_shentsize != sizeof(Elf64_Shdr) || e.e_shnum > MOST_SECTIONS)
        return found;
    char *part = read_part(fd, e.e_shoff, (uint64_t)e.e_shnum * sizeof(Elf64_Shdr));
    for (unsigned i = 0; part != NULL && i < e.e_shnum; i++) {
        Elf64_Shdr table, text;
        memcpy(&table, part + i * sizeof table, sizeof table);
        if ((table.sh_type != SHT_SYMTAB && table.sh_type != SHT_DYNSYM) || table.sh_link >= e.e_shnum)
            continue;
        memcpy(&text, part + table.sh_link * sizeof text, sizeof text);
        if (text.sh_type == SHT_STRTAB)
            look_through(fd, &table, &text, &found);
    }
    free(part);
    return found;
}
