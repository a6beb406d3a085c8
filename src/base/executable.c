/* executable.c - see executable.h. */
#include "executable.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENTS_MOST = 32, NEEDED_MOST = 256, SHEBANG_DEPTH = 4 };

#if defined(__x86_64__)
enum { OUR_MACHINE = EM_X86_64 };
#else
enum { OUR_MACHINE = EM_AARCH64 };
#endif

typedef struct executable {
    int fd;
    Elf64_Phdr segments[SEGMENTS_MOST];
    unsigned count;
} executable;

static bool read_at(int fd, uint64_t at, void *to, size_t bytes)
{
    return pread(fd, to, bytes, (off_t)at) == (ssize_t)bytes;
}

static uint64_t file_offset(const executable *x, uint64_t address)
{
    for (unsigned i = 0; i < x->count; i++) {
        const Elf64_Phdr *p = &x->segments[i];
        if (p->p_type == PT_LOAD && address - p->p_vaddr < p->p_filesz)
            return address - p->p_vaddr + p->p_offset;
    }
    return 0;
}

static bool needs_asan(const executable *x, const Elf64_Phdr *dynamic)
{
    uint64_t names = 0, offsets[NEEDED_MOST];
    unsigned count = 0;
    Elf64_Dyn d;
    for (uint64_t at = 0; at + sizeof d <= dynamic->p_filesz; at += sizeof d) {
        if (!read_at(x->fd, dynamic->p_offset + at, &d, sizeof d) || d.d_tag == DT_NULL)
            break;
        if (d.d_tag == DT_STRTAB)
            names = file_offset(x, d.d_un.d_ptr);
        else if (d.d_tag == DT_NEEDED && count < NEEDED_MOST)
            offsets[count++] = d.d_un.d_val;
    }
    for (unsigned i = 0; names && i < count; i++) {
        char name[20] = "";
        if (pread(x->fd, name, sizeof name - 1, (off_t)(names + offsets[i])) > 0 &&
            (strncmp(name, "libasan.so", 10) == 0 || strncmp(name, "libclang_rt.asan", 16) == 0))
            return true;
    }
    return false;
}

static bool is_musl(const executable *x, const Elf64_Phdr *loader)
{
    char name[256] = "";
    size_t n = loader->p_filesz < sizeof name ? loader->p_filesz : sizeof name - 1;
    if (!read_at(x->fd, loader->p_offset, name, n))
        return false;
    name[sizeof name - 1] = '\0';
    return strstr(name, "ld-musl") != NULL;
}

hl_unfit hl_executable_unfit(int fd)
{
    Elf64_Ehdr e;
    if (!read_at(fd, 0, &e, sizeof e) || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0)
        return (hl_unfit){0};
    if (e.e_machine != OUR_MACHINE) {
        bool is_32 = e.e_machine == EM_386 || e.e_machine == EM_ARM;
        return (hl_unfit){is_32 ? "a 32-bit program" : "a program for another processor", true};
    }
    if (e.e_ident[EI_CLASS] != ELFCLASS64)
        return (hl_unfit){"a 32-bit program", true};
    struct stat info;
    if (fstat(fd, &info) == 0 && info.st_mode & (S_ISUID | S_ISGID))
        return (hl_unfit){"a setuid program", false}; /* its loader passes by the library, silently */
    executable x = {.fd = fd, .count = e.e_phnum < SEGMENTS_MOST ? e.e_phnum : SEGMENTS_MOST};
    if (e.e_phentsize != sizeof x.segments[0] || !read_at(fd, e.e_phoff, x.segments, x.count * sizeof x.segments[0]))
        return (hl_unfit){0};
    bool loader = false;
    for (unsigned i = 0; i < x.count; i++) {
        const Elf64_Phdr *p = &x.segments[i];
        loader |= p->p_type == PT_INTERP;
        if (p->p_type == PT_INTERP && is_musl(&x, p))
            return (hl_unfit){"a program of another libc (musl)", true};
        if (p->p_type == PT_DYNAMIC && needs_asan(&x, p))
            return (hl_unfit){"checked by AddressSanitizer, whose library must come first", true};
    }
    return (hl_unfit){loader ? NULL : "a statically linked program", false};
}

hl_unfit hl_executable_path_unfit(const char *file)
{
    char path[PATH_MAX], head[1024];
    if (strlen(file) >= sizeof path)
        return (hl_unfit){0};
    strcpy(path, file);
    for (int depth = 0; depth < SHEBANG_DEPTH; depth++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            break;
        ssize_t n = pread(fd, head, sizeof head - 1, 0);
        head[n > 0 ? n : 0] = '\0';
        bool script = strncmp(head, "#!", 2) == 0;
        hl_unfit unfit = script ? (hl_unfit){0} : hl_executable_unfit(fd);
        close(fd);
        if (!script)
            return unfit;
        const char *from = head + 2 + strspn(head + 2, " \t");
        size_t length = strcspn(from, " \t\n");
        if (length == 0)
            break;
        memcpy(path, from, length);
        path[length] = '\0';
    }
    return (hl_unfit){0};
}
