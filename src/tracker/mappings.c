/*
 * mappings.c - mmap, munmap, mremap, mprotect as the program calls them, and what each mapping counts as
 * (docs/semantics.md, "mappings"). libc's own mappings do not come through here: its blocks are counted instead.
 *
 * An unmapping is published before the real call, since another thread may get the addresses at once, and taken back when
 * the call fails; the mark keeps handlers off this writer meanwhile.
 */
#include "ring.h"

#include "python.h"

#include <errno.h>
#include <stdarg.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif

enum { PAGE = 4096 };

static size_t whole_pages(size_t bytes) { return (bytes + PAGE - 1) & ~(size_t)(PAGE - 1); }

/* Whether this call comes from below a real function that carries a mark (HL_BELOW or HL_BELOW_FOREIGN); 0: no. */
static uintptr_t mark_above(uintptr_t here)
{
    hl_wire_writer *w = (hl_wire_writer *)((uintptr_t)hl_self & hl_tracker.live.on);
    if (w == &hl_tracker.no_writer)
        w = hl_tracker.shared;
    uint64_t open = w ? atomic_load_explicit(&w->open, memory_order_relaxed) : 0;
    return open & HL_BELOW && here < open ? open & HL_MARK_BITS : 0;
}

static hl_map_class class_of(int protection, int flags, int fd, bool is_python, const void *caller)
{
    int sharing = flags & MAP_TYPE;
    if (sharing == MAP_SHARED || sharing == MAP_SHARED_VALIDATE)
        return HL_MAP_SHARED;
    if (!(flags & MAP_ANONYMOUS))
        return HL_MAP_FILE;
    if (flags & MAP_STACK)
        return HL_MAP_STACK;
    if (protection == PROT_NONE || flags & MAP_NORESERVE) {
        /* The interpreter's own mimalloc reserves in this way too, but its objects are counted. */
        bool is_pool = (protection & (PROT_READ | PROT_WRITE)) == (PROT_READ | PROT_WRITE);
        return is_pool && !is_python && !hl_python_has(caller) ? HL_MAP_POOL : HL_MAP_RESERVATION;
    }
    return is_python || hl_python_made(caller) ? HL_MAP_ARENA : HL_MAP_HEAP;
}

/* The writer for a mapping event. Below a PyMem function the mapping is an arena, and goes into the ring of the hook
 * above, which is between its own events; its mark stays. `*leave` says whether the mark is ours. NULL: not recorded. */
static hl_wire_writer *enter(const void *caller, bool *is_python, bool *leave)
{
    if (!hl_tracker.live.on && atomic_load(&hl_tracker.state) == HL_OUTSIDE)
        return NULL; /* joining allocates, and this may be an allocator that is just beginning */
    if ((uintptr_t)caller - hl_tracker.foreign_from < hl_tracker.foreign_to - hl_tracker.foreign_from)
        return NULL;
    uintptr_t above = mark_above(hl_os_stack_pointer());
    *is_python = above == HL_BELOW || above == HL_HIDDEN;
    *leave = !above;
    if (above == HL_BELOW_FOREIGN)
        return NULL;
    if (!above)
        return hl_enter(0);
    return hl_self == &hl_tracker.no_writer ? hl_tracker.shared : hl_self;
}

static void leave_if(hl_wire_writer *w, bool leave)
{
    if (leave)
        hl_leave(w);
}

static void put(hl_wire_writer *w, hl_word_kind kind, const void *at, hl_map_class map_class, uint64_t bytes)
{
    if (HL_UNLIKELY(w->order_seen == HL_LINES_CHANGED))
        hl_lines_tell(w);
    uint64_t stack =
        kind == HL_WORD_MAP || kind == HL_WORD_COMMIT ? hl_stack_node(w, hl_order_now() != w->order_seen) : 0;
    hl_put_event(w, stack, HL_MAPPING(kind, at, map_class) | HL_IN_SLOT(stack), &bytes, 1);
}

static HL_ALWAYS void *map(void *at, size_t bytes, int protection, int flags, int fd, off_t offset, const void *caller)
{
    void *p = hl_tracker.real.mmap(at, bytes, protection, flags, fd, offset);
    if (p == MAP_FAILED)
        return p;
    int saved = errno;
    bool is_python, leave;
    hl_wire_writer *w = enter(caller, &is_python, &leave);
    if (w) {
        hl_map_class map_class = class_of(protection, flags, fd, is_python, caller);
        put(w, HL_WORD_MAP, p, map_class, whole_pages(bytes));
        if (HL_UNLIKELY(map_class == HL_MAP_POOL))
            hl_pool_mapped(w, caller, whole_pages(bytes));
        leave_if(w, leave);
    }
    if (hl_tracker.live.on)
        hl_python_check();
    errno = saved;
    return p;
}

HL_EXPORT void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return map(at, bytes, protection, flags, fd, offset, __builtin_return_address(0));
}

HL_EXPORT void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return map(at, bytes, protection, flags, fd, offset, __builtin_return_address(0));
}

/* What cannot be a mapping is not told: the real call will fail. */
static bool is_range(const void *at, size_t bytes)
{
    const uintptr_t top = (uintptr_t)1 << 56;
    return (uintptr_t)at % PAGE == 0 && (uintptr_t)at < top && bytes && bytes < top - (uintptr_t)at - PAGE;
}

HL_EXPORT int munmap(void *at, size_t bytes)
{
    const void *caller = __builtin_return_address(0);
    bool is_python, leave;
    hl_wire_writer *w = is_range(at, bytes) ? enter(caller, &is_python, &leave) : NULL;
    if (!w)
        return hl_tracker.real.munmap(at, bytes);
    put(w, HL_WORD_UNMAP, at, HL_MAP_HEAP, whole_pages(bytes));
    int result = hl_tracker.real.munmap(at, bytes);
    if (result != 0)
        hl_put_event(w, 0, HL_WORD(HL_WORD_UNMAP_UNDO, 0), NULL, 0);
    leave_if(w, leave);
    return result;
}

HL_EXPORT void *mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    void *where = flags & MREMAP_FIXED ? va_arg(more, void *) : NULL;
    va_end(more);
    const void *caller = __builtin_return_address(0);
    bool is_python, leave;
    bool possible = is_range(old, new_bytes) && (old_bytes == 0 || is_range(old, old_bytes));
    hl_wire_writer *w = possible ? enter(caller, &is_python, &leave) : NULL;
    if (!w)
        return hl_tracker.real.mremap(old, old_bytes, new_bytes, flags, where);
    /* These leave the old range as it is and make another. */
    bool copies = old_bytes == 0 || flags & MREMAP_DONTUNMAP;
    if (!copies)
        put(w, HL_WORD_UNMAP, old, HL_MAP_HEAP, whole_pages(old_bytes));
    void *p = hl_tracker.real.mremap(old, old_bytes, new_bytes, flags, where);
    if (p != MAP_FAILED) {
        if (HL_UNLIKELY(w->order_seen == HL_LINES_CHANGED))
            hl_lines_tell(w);
        uint64_t stack = hl_stack_node(w, hl_order_now() != w->order_seen);
        uint64_t ranges[] = {copies ? 0 : whole_pages(old_bytes), (uint64_t)p, whole_pages(new_bytes)};
        hl_put_event(w, stack, HL_MAPPING(HL_WORD_REMAP, old, HL_MAP_HEAP) | HL_IN_SLOT(stack), ranges, 3);
    } else if (!copies) {
        hl_put_event(w, 0, HL_WORD(HL_WORD_UNMAP_UNDO, 0), NULL, 0);
    }
    leave_if(w, leave);
    return p;
}

/* A range has been made accessible: what was reserved in it counts from now on. */
static void committed(const void *at, size_t bytes, int protection, const void *caller)
{
    if (!(protection & (PROT_READ | PROT_WRITE | PROT_EXEC)) || !is_range(at, bytes))
        return;
    int saved = errno;
    bool is_python, leave;
    hl_wire_writer *w = enter(caller, &is_python, &leave);
    if (w) {
        put(w, HL_WORD_COMMIT, at, is_python ? HL_MAP_ARENA : HL_MAP_HEAP, whole_pages(bytes));
        leave_if(w, leave);
    }
    errno = saved;
}

HL_EXPORT int mprotect(void *at, size_t bytes, int protection)
{
    int result = hl_tracker.real.mprotect(at, bytes, protection);
    if (result == 0)
        committed(at, bytes, protection, __builtin_return_address(0));
    return result;
}

HL_EXPORT int pkey_mprotect(void *at, size_t bytes, int protection, int key)
{
    if (key == -1) /* defined to be the same */
        return mprotect(at, bytes, protection);
    long result = hl_os_call(SYS_pkey_mprotect, (long)at, (long)bytes, protection, key, 0, 0);
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    committed(at, bytes, protection, __builtin_return_address(0));
    return 0;
}
