/*
 * inject.c - the environment that a child gets: our variables are taken from the program's at its start (environment.c),
 * and come back here.
 *
 * Runs between fork or vfork and exec too: no allocation, no lock, no errno.
 */
#include "process.h"

#include <elf.h>
#include <string.h>
#include <unistd.h>

enum { SHEBANG_DEPTH = 4 };

static const char PRELOAD[] = "LD_PRELOAD=";
static const char SESSION[] = HL_ENV_SESSION "=";

/* ------------------------------------------------------------------------------------------------ may it be? */

static bool readable(const char *path) { return hl_os_call(SYS_faccessat, AT_FDCWD, (long)path, R_OK, 0, 0, 0) == 0; }

#if defined(__x86_64__)
enum { OUR_MACHINE = EM_X86_64 };
#else
enum { OUR_MACHINE = EM_AARCH64 };
#endif

/* Reads part of a file; false: it is not all there. */
static bool read_at(long fd, uint64_t at, void *to, size_t bytes)
{
    return hl_os_call(SYS_pread64, fd, (long)to, (long)bytes, (long)at, 0, 0) == (long)bytes;
}

enum { SEGMENTS_MOST = 32, NEEDED_MOST = 256 };

typedef struct executable {
    long fd;
    Elf64_Phdr segments[SEGMENTS_MOST];
    unsigned count;
} executable;

static uint64_t file_offset(const executable *x, uint64_t address)
{
    for (unsigned i = 0; i < x->count; i++) {
        const Elf64_Phdr *p = &x->segments[i];
        if (p->p_type == PT_LOAD && address - p->p_vaddr < p->p_filesz)
            return address - p->p_vaddr + p->p_offset;
    }
    return 0;
}

/* Whether it is linked with a shared runtime of AddressSanitizer, which ends the program when another library stands in
 * front of it. */
static bool needs_asan(const executable *x, const Elf64_Phdr *dynamic)
{
    uint64_t names = 0, offsets[NEEDED_MOST];
    unsigned count = 0;
    Elf64_Dyn d = {0};
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
        read_at(x->fd, names + offsets[i], name, sizeof name - 1);
        if (strncmp(name, "libasan.so", 10) == 0 || strncmp(name, "libclang_rt.asan", 16) == 0)
            return true;
    }
    return false;
}

/* Whether the loader is musl's, which our library is not made for. */
static bool is_musl(const executable *x, const Elf64_Phdr *interpreter)
{
    static const char musl[] = "ld-musl";
    char name[256] = "";
    size_t n = interpreter->p_filesz < sizeof name ? interpreter->p_filesz : sizeof name - 1;
    if (!read_at(x->fd, interpreter->p_offset, name, n))
        return false;
    for (size_t k = 0; k + sizeof musl - 1 <= n; k++)
        if (memcmp(name + k, musl, sizeof musl - 1) == 0)
            return true;
    return false;
}

/* Whether an executable can bear the library: our own machine and word size, our libc. A static one ignores it and hands
 * the variables on to its children. */
static bool bears_library(long fd, const Elf64_Ehdr *e)
{
    if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_machine != OUR_MACHINE)
        return false;
    executable x = {.fd = fd, .count = e->e_phnum < SEGMENTS_MOST ? e->e_phnum : SEGMENTS_MOST};
    if (e->e_phentsize != sizeof x.segments[0] || !read_at(fd, e->e_phoff, x.segments, x.count * sizeof x.segments[0]))
        return true;
    for (unsigned i = 0; i < x.count; i++) {
        const Elf64_Phdr *p = &x.segments[i];
        if ((p->p_type == PT_INTERP && is_musl(&x, p)) || (p->p_type == PT_DYNAMIC && needs_asan(&x, p)))
            return false;
    }
    return true;
}

/* The interpreter that a script's first line names, into `path`. */
static bool interpreter(const char *head, size_t bytes, char path[PATH_MAX])
{
    size_t from = 2, to;
    while (from < bytes && (head[from] == ' ' || head[from] == '\t'))
        from++;
    for (to = from; to < bytes && to - from < PATH_MAX - 1 && !strchr(" \t\n", head[to]); to++)
        path[to - from] = head[to];
    path[to - from] = '\0';
    return to > from;
}

static bool file_bears_library(const char *file)
{
    char path[PATH_MAX], head[1024];
    size_t length = strlen(file);
    if (length >= sizeof path)
        return true;
    memcpy(path, file, length + 1);
    for (int depth = 0; depth < SHEBANG_DEPTH; depth++) {
        long fd = hl_os_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, 0, 0);
        if (fd < 0)
            return true; /* executable but not readable, or not there: the kernel will say */
        long n = hl_os_call(SYS_pread64, fd, (long)head, sizeof head, 0, 0, 0);
        Elf64_Ehdr e;
        bool is_elf = n >= (long)sizeof e && memcmp(head, ELFMAG, SELFMAG) == 0;
        bool bears = true;
        if (is_elf) {
            memcpy(&e, head, sizeof e);
            bears = bears_library(fd, &e);
        }
        hl_os_call(SYS_close, fd, 0, 0, 0, 0, 0);
        if (is_elf)
            return bears;
        // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): a bare system call has filled it
        if (n < 4 || head[0] != '#' || head[1] != '!' || !interpreter(head, (size_t)n, path))
            return true;
    }
    return true;
}

bool hl_inject_wanted(hl_making making, const char *path)
{
    hl_session *s = hl_tracker.session;
    if (!s || atomic_load_explicit(&s->ended, memory_order_relaxed))
        return false;
    if (s->children == HL_CHILDREN_NONE &&
        (making != HL_MAKING_EXEC || (s->root_pid != 0 && s->root_pid != (uint32_t)hl_os_pid())))
        return false;
    if (!readable(s->preload)) /* behind a chroot, ld.so would complain on stderr */
        return false;
    return !path || file_bears_library(path);
}

bool hl_inject_find(const char *file, char path[PATH_MAX])
{
    size_t name = strlen(file);
    if (name == 0 || name >= PATH_MAX)
        return false;
    if (strchr(file, '/')) {
        memcpy(path, file, name + 1);
        return true;
    }
    const char *folders = "/bin:/usr/bin";
    for (char **e = environ; e && *e; e++)
        if (strncmp(*e, "PATH=", 5) == 0) {
            folders = *e + 5;
            break;
        }
    for (;;) {
        size_t n = strcspn(folders, ":");
        if (n + 1 + name < PATH_MAX) {
            memcpy(path, folders, n);
            if (n)
                path[n++] = '/';
            memcpy(path + n, file, name + 1);
            if (hl_os_call(SYS_faccessat, AT_FDCWD, (long)path, X_OK, 0, 0, 0) == 0)
                return true;
        }
        folders += strcspn(folders, ":");
        if (!*folders++)
            return false;
    }
}

/* ---------------------------------------------------------------------------------------------- environments */

/* The value of a variable in `environment`; NULL. `prefix` ends with '='. */
static const char *value_of(char *const *environment, const char *prefix)
{
    size_t n = strlen(prefix);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, prefix, n) == 0)
            return *environment + n;
    return NULL;
}

static bool has_library(const char *list, const char *library)
{
    size_t n = strlen(library);
    for (const char *at = list; at && (at = strstr(at, library)) != NULL; at += n)
        if ((at == list || strchr(" :", at[-1])) && (at[n] == '\0' || strchr(" :", at[n])))
            return true;
    return false;
}

static char *append(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n + 1);
    return to + n;
}

size_t hl_inject_bytes(char *const *environment)
{
    size_t n = 0;
    while (environment && environment[n])
        n++;
    const char *theirs = value_of(environment, PRELOAD);
    const hl_session *s = hl_tracker.session;
    return (n + 3) * sizeof(char *) + sizeof PRELOAD + sizeof SESSION + strlen(s->preload) + strlen(s->locator) +
           (theirs ? strlen(theirs) + 1 : 0);
}

char *const *hl_inject(char *const *environment, void *room)
{
    const hl_session *s = hl_tracker.session;
    if (value_of(environment, SESSION))
        return environment;
    char **to = room;
    size_t n = 0;
    while (environment && environment[n])
        n++;
    char *text = (char *)(to + n + 3);
    const char *theirs = value_of(environment, PRELOAD);
    bool preload = !has_library(theirs, s->preload);
    if (preload) {
        *to++ = text;
        text = append(append(text, PRELOAD), s->preload);
        if (theirs && *theirs)
            text = append(append(text, ":"), theirs);
        text++;
    }
    *to++ = text;
    append(append(text, SESSION), s->locator);
    for (size_t i = 0; i < n; i++)
        if (!preload || strncmp(environment[i], PRELOAD, sizeof PRELOAD - 1) != 0)
            *to++ = environment[i];
    *to = NULL;
    return room;
}

/* ---------------------------------------------------------------------------------------------- shell lines */

typedef struct line {
    char *to; /* NULL: only counted */
    size_t n;
} line;

static void put(line *l, const char *text, bool quoted)
{
    for (; *text; text++) {
        if (quoted && *text == '\'') {
            put(l, "'\\''", false);
            continue;
        }
        if (l->to)
            l->to[l->n] = *text;
        l->n++;
    }
}

size_t hl_inject_line(const char *text, char *to)
{
    const hl_session *s = hl_tracker.session;
    const char *theirs = value_of(environ, PRELOAD);
    line l = {.to = to};
    put(&l, "LD_PRELOAD='", false);
    put(&l, s->preload, true);
    if (theirs && *theirs) {
        put(&l, ":", false);
        put(&l, theirs, true);
    }
    put(&l, "' " HL_ENV_SESSION "='", false);
    put(&l, s->locator, true);
    put(&l, "' exec /bin/sh -c '", false);
    put(&l, text, true);
    put(&l, "'", false);
    if (l.to)
        l.to[l.n] = '\0';
    return l.n + 1;
}
