/*
 * real.c - finds the functions that the hooks stand for, at the first call of any.
 *
 * They are the next ones after ours in the order of look-up, usually libc's. Another allocator there (preloaded or linked
 * by the user) keeps its work; while it is called the writer carries a mark, so that the mappings it makes for itself
 * and what it calls in turn are not taken for the program's.
 *
 * Where the library was not preloaded but loaded by a program that runs (`inside`), it comes last in that order, and what the
 * program's own calls reach is asked for instead.
 *
 * The look-up may allocate in turn (old dlsym does). Such blocks, and those of other threads at that moment, come from a
 * few pages of our own; where any were given out, free and realloc look for them from then on.
 *
 * Here is also the state of the tracker, because its first value is that nothing has been looked for yet.
 */
#include "ring.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_FOUND_YET, LOOKING, FOUND };

/* ------------------------------------------------------------------------------------------------- bootstrap */

enum { BOOTSTRAP_BYTES = 1 << 20, BOOTSTRAP_ALIGNMENT = 16 };

static void *bootstrap_malloc(size_t n)
{
    char *pages = atomic_load(&hl_tracker.bootstrap);
    if (!pages) {
        char *fresh = hl_os_pages(BOOTSTRAP_BYTES);
        if (fresh && !atomic_compare_exchange_strong(&hl_tracker.bootstrap, &pages, fresh))
            hl_os_give_back(fresh, BOOTSTRAP_BYTES);
        else
            pages = fresh;
    }
    size_t room = BOOTSTRAP_ALIGNMENT + (n + BOOTSTRAP_ALIGNMENT - 1) / BOOTSTRAP_ALIGNMENT * BOOTSTRAP_ALIGNMENT;
    if (!pages || n > BOOTSTRAP_BYTES / 2) {
        errno = ENOMEM;
        return NULL;
    }
    size_t at = atomic_fetch_add(&hl_tracker.bootstrap_used, room);
    if (at + room > BOOTSTRAP_BYTES) {
        atomic_fetch_sub(&hl_tracker.bootstrap_used, room);
        errno = ENOMEM;
        return NULL;
    }
    memcpy(pages + at, &n, sizeof n); /* for realloc */
    return pages + at + BOOTSTRAP_ALIGNMENT;
}

static bool is_bootstrap(const void *p)
{
    const char *pages = atomic_load(&hl_tracker.bootstrap);
    return pages && (uintptr_t)p - (uintptr_t)pages < BOOTSTRAP_BYTES;
}

/* free and realloc where bootstrap blocks exist */
static void free_with_bootstrap(void *p)
{
    if (!is_bootstrap(p))
        hl_tracker.actual.free(p);
}

static void *realloc_with_bootstrap(void *p, size_t n)
{
    if (!is_bootstrap(p))
        return hl_tracker.actual.realloc(p, n);
    if (n == 0)
        return NULL;
    size_t had;
    memcpy(&had, (char *)p - BOOTSTRAP_ALIGNMENT, sizeof had);
    void *moved = hl_tracker.actual.malloc(n);
    if (moved)
        memcpy(moved, p, had < n ? had : n);
    return moved;
}

/* ------------------------------------------------------------------------------------------- a foreign malloc */

static void *foreign_malloc(size_t n)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *p = hl_tracker.actual.malloc(n);
    if (w)
        hl_leave(w);
    return p;
}
static void *foreign_calloc(size_t n, size_t size)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *p = hl_tracker.actual.calloc(n, size);
    if (w)
        hl_leave(w);
    return p;
}
static void foreign_free(void *p)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    free_with_bootstrap(p);
    if (w)
        hl_leave(w);
}
static int foreign_posix_memalign(void **p, size_t alignment, size_t n)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    int result = hl_tracker.actual.posix_memalign(p, alignment, n);
    if (w)
        hl_leave(w);
    return result;
}
static void *foreign_aligned_alloc(size_t alignment, size_t n)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *p = hl_tracker.actual.aligned_alloc(alignment, n);
    if (w)
        hl_leave(w);
    return p;
}
static void *foreign_memalign(size_t alignment, size_t n)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *p = hl_tracker.actual.memalign(alignment, n);
    if (w)
        hl_leave(w);
    return p;
}
static void *foreign_valloc(size_t n)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *p = hl_tracker.actual.valloc(n);
    if (w)
        hl_leave(w);
    return p;
}
static void *foreign_pvalloc(size_t n)
{
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *p = hl_tracker.actual.pvalloc(n);
    if (w)
        hl_leave(w);
    return p;
}

/* ---------------------------------------------------------------------------- where libc lacks one of the family */

static void *none_aligned(size_t alignment, size_t n)
{
    errno = ENOMEM;
    return NULL;
}
static void *none(size_t n)
{
    errno = ENOMEM;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------- the search */

static void *symbol(void *handle, const char *name)
{
    void *found = dlsym(handle, name);
    /* The message must not stay for the program to find. dlerror would translate it first, under libc's lock of locales, which
     * the caller of a program's first malloc may hold (newlocale in a constructor). A search that finds frees it, too. */
    if (!found)
        (void)dlsym(RTLD_DEFAULT, "malloc");
    return found;
}

/* Names do not tell: allocators define __libc_malloc as well. */
static bool is_libcs(void *function)
{
    Dl_info own, libc;
    void *anchor = symbol(RTLD_NEXT, "__libc_start_main");
    return anchor && dladdr(anchor, &libc) && dladdr(function, &own) && own.dli_fbase == libc.dli_fbase;
}

/* Where the foreign allocator's object lies: what it maps from its constructors and threads is its own matter, too. */
static int find_foreign(struct dl_phdr_info *info, size_t size, void *unused)
{
    uintptr_t from = UINTPTR_MAX, to = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD)
            continue;
        uintptr_t start = info->dlpi_addr + p->p_vaddr;
        from = start < from ? start : from;
        to = start + p->p_memsz > to ? start + p->p_memsz : to;
    }
    uintptr_t function = (uintptr_t)hl_tracker.actual.malloc;
    if (function < from || function >= to)
        return 0;
    hl_tracker.foreign_from = from;
    hl_tracker.foreign_to = to;
    return 1;
}

void *hl_real_symbol(void *handle, const char *name)
{
    int saved = errno;
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *found = symbol(handle, name);
    if (w)
        hl_leave(w);
    errno = saved;
    return found;
}

/* An executable that is not position-independent gives functions whose address it takes an address of its own, a stub that
 * calls what its slot holds: our hook, once that is in place. */
static bool is_stub(void *function)
{
    Dl_info object;
    const ElfW(Sym) *entry = NULL;
    return dladdr1(function, &object, (void **)&entry, RTLD_DL_SYMENT) && entry && entry->st_shndx == SHN_UNDEF;
}

/* The first definition in a shared library, in the order of look-up. */
static void *defined_in_library(const char *name)
{
    struct link_map *map = NULL;
    int (*close)(void *) = NULL;
    *(void **)&close = symbol(RTLD_NEXT, "dlclose"); /* not our hook */
    void *program = dlopen(NULL, RTLD_LAZY);
    if (!close || !program || dlinfo(program, RTLD_DI_LINKMAP, (void *)&map) != 0)
        return NULL;
    for (map = map->l_next; map; map = map->l_next) {
        void *handle = map->l_name && *map->l_name ? dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD) : NULL;
        void *found = handle ? symbol(handle, name) : NULL;
        Dl_info object;
        bool its_own = found && dladdr(found, &object) && (uintptr_t)object.dli_fbase == map->l_addr;
        if (handle)
            close(handle);
        if (its_own)
            return found;
    }
    return NULL;
}

static void *next(const char *name)
{
    if (!hl_tracker.inside)
        return symbol(RTLD_NEXT, name);
    void *found = symbol(RTLD_DEFAULT, name);
    if (found && is_stub(found))
        found = defined_in_library(name);
    return found;
}

void *hl_real_next(const char *name)
{
    int saved = errno;
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN);
    void *found = next(name);
    if (w)
        hl_leave(w);
    errno = saved;
    return found;
}

#define NEXT(function, otherwise)                                                                                      \
    do {                                                                                                               \
        void *found = next(#function);                                                                                 \
        if (found)                                                                                                     \
            memcpy(&actual->function, &found, sizeof found);                                                           \
        else                                                                                                           \
            actual->function = otherwise;                                                                              \
    } while (0)

void hl_real_find(void)
{
    uint32_t not_yet = NOT_FOUND_YET;
    if (!atomic_compare_exchange_strong(&hl_tracker.real_state, &not_yet, LOOKING))
        return;
    int saved = errno;
    hl_real *actual = &hl_tracker.actual;
    *actual = hl_tracker.real; /* system calls stay where a libc lacks the function */
    NEXT(malloc, none);
    NEXT(free, free_with_bootstrap);
    NEXT(calloc, none_aligned);
    NEXT(realloc, realloc_with_bootstrap);
    NEXT(mmap, hl_tracker.real.mmap);
    NEXT(munmap, hl_tracker.real.munmap);
    NEXT(mremap, hl_tracker.real.mremap);
    NEXT(mprotect, hl_tracker.real.mprotect);
    NEXT(posix_memalign, NULL);
    NEXT(memalign, none_aligned);
    NEXT(valloc, none);
    /* Old libcs lack these, and dlsym allocates its message then: all else is in place. */
    atomic_store(&hl_tracker.real_state, FOUND);
    NEXT(aligned_alloc, actual->memalign);
    NEXT(pvalloc, none);
    NEXT(pthread_setname_np, NULL);
    NEXT(quick_exit, NULL);
    NEXT(dlclose, NULL);

    hl_tracker.foreign_malloc = !is_libcs((void *)(uintptr_t)actual->malloc);
    hl_tracker.realloc_mark = hl_tracker.foreign_malloc ? HL_BELOW_FOREIGN : 0;
    if (hl_tracker.foreign_malloc)
        dl_iterate_phdr(find_foreign, NULL);
    hl_real real = *actual;
    if (hl_tracker.foreign_malloc) {
        /* realloc needs no wrapper: its hook keeps its mark over the call. */
        real.malloc = foreign_malloc;
        real.calloc = foreign_calloc;
        real.free = foreign_free;
        real.posix_memalign = foreign_posix_memalign;
        real.aligned_alloc = foreign_aligned_alloc;
        real.memalign = foreign_memalign;
        real.valloc = foreign_valloc;
        real.pvalloc = foreign_pvalloc;
    } else if (atomic_load(&hl_tracker.bootstrap)) {
        real.free = free_with_bootstrap;
    }
    if (atomic_load(&hl_tracker.bootstrap))
        real.realloc = realloc_with_bootstrap;
    hl_tracker.real = real;
    errno = saved;
}

/* What hl_tracker.real holds at first. `ready` looks for the real functions; while they are being looked for it says no. */
static bool ready(void)
{
    if (atomic_load(&hl_tracker.real_state) == NOT_FOUND_YET) {
        hl_real_find();
        hl_tracker_join(); /* now, while no real function is at work: joining allocates */
    }
    return atomic_load(&hl_tracker.real_state) == FOUND;
}

static void *first_malloc(size_t n) { return ready() ? hl_tracker.actual.malloc(n) : bootstrap_malloc(n); }
static void first_free(void *p)
{
    if (ready())
        free_with_bootstrap(p);
}
static void *first_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (ready())
        return hl_tracker.actual.calloc(n, size);
    return __builtin_mul_overflow(n, size, &bytes) ? NULL : bootstrap_malloc(bytes); /* fresh pages: zeros */
}
static void *first_realloc(void *p, size_t n)
{
    if (ready())
        return realloc_with_bootstrap(p, n);
    void *moved = bootstrap_malloc(n);
    if (moved && p) {
        size_t had;
        memcpy(&had, (char *)p - BOOTSTRAP_ALIGNMENT, sizeof had);
        memcpy(moved, p, had < n ? had : n);
    }
    return moved;
}
static int first_posix_memalign(void **p, size_t alignment, size_t n)
{
    return ready() ? hl_tracker.actual.posix_memalign(p, alignment, n) : ENOMEM;
}
static void *first_aligned_alloc(size_t alignment, size_t n)
{
    return ready() ? hl_tracker.actual.memalign(alignment, n) : none_aligned(alignment, n);
}
static void *first_valloc(size_t n) { return ready() ? hl_tracker.actual.valloc(n) : none(n); }

static long with_errno(long result)
{
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}
static void *first_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return (void *)with_errno(hl_os_call(SYS_mmap, (long)at, (long)bytes, protection, flags, fd, offset));
}
static int first_munmap(void *at, size_t bytes)
{
    return (int)with_errno(hl_os_call(SYS_munmap, (long)at, (long)bytes, 0, 0, 0, 0));
}
static void *first_mremap(void *at, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    __builtin_va_list more;
    __builtin_va_start(more, flags);
    long where = flags & MREMAP_FIXED ? (long)__builtin_va_arg(more, void *) : 0;
    __builtin_va_end(more);
    return (void *)with_errno(hl_os_call(SYS_mremap, (long)at, (long)old_bytes, (long)new_bytes, flags, where, 0));
}
static int first_mprotect(void *at, size_t bytes, int protection)
{
    return (int)with_errno(hl_os_call(SYS_mprotect, (long)at, (long)bytes, protection, 0, 0, 0));
}

hl_tracker_data hl_tracker = {
    .real = {.malloc = first_malloc,
             .free = first_free,
             .calloc = first_calloc,
             .realloc = first_realloc,
             .posix_memalign = first_posix_memalign,
             .aligned_alloc = first_aligned_alloc,
             .memalign = first_aligned_alloc,
             .valloc = first_valloc,
             .pvalloc = first_valloc,
             .mmap = first_mmap,
             .munmap = first_munmap,
             .mremap = first_mremap,
             .mprotect = first_mprotect},
    .no_writer = {.open = HL_BELOW}, /* not 0: the inline path of hl_enter never takes it */
};
__thread hl_wire_writer *hl_self;
