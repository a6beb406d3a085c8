/*
 * hooks.c - the malloc family: each function calls the real one and records what happened.
 *
 * Allocations are published before the hook returns, frees before the real free, so that another thread that gets the
 * block, or its address anew, comes later in the order. realloc is a pair on one writer: the old address before the real
 * call, the new one after it; between them the old block counts as live, and the mark keeps handlers off this writer.
 *
 * Results and errno are the real function's. A failed call, and free of NULL, is no event.
 */
#include "ring.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* Not in every libc's headers. */
void free_sized(void *p, size_t bytes);
void free_aligned_sized(void *p, size_t alignment, size_t bytes);
void cfree(void *p);

static HL_ALWAYS void *made(void *p, hl_allocator allocator, size_t bytes)
{
    hl_wire_writer *w;
    if (HL_LIKELY(p != NULL) && HL_LIKELY((w = hl_enter(0)) != NULL)) {
        hl_put_alloc(w, HL_WORD_ALLOC + (unsigned)allocator, p, bytes);
        hl_leave(w);
    } else if (HL_UNLIKELY(hl_tracker.hiding)) {
        hl_hidden_made(p);
    }
    return p;
}

static HL_ALWAYS void gone(void *p)
{
    hl_wire_writer *w;
    if (HL_LIKELY(p != NULL) && HL_LIKELY((w = hl_enter(0)) != NULL)) {
        hl_put_address(w, HL_WORD_FREE, p);
        hl_leave(w);
    } else if (HL_UNLIKELY(hl_tracker.hiding) && p && (w = hl_hidden_free(p)) != NULL) {
        hl_hidden_freed(w);
    }
}

HL_EXPORT void *malloc(size_t bytes) { return made(hl_tracker.real.malloc(bytes), HL_MALLOC, bytes); }

HL_EXPORT void *calloc(size_t count, size_t size)
{
    return made(hl_tracker.real.calloc(count, size), HL_CALLOC, count * size);
}

HL_EXPORT void free(void *p)
{
    gone(p);
    hl_tracker.real.free(p);
}

/* After the real realloc; `p` is NULL when it failed, or freed (`bytes` 0). */
static HL_ALWAYS void moved(hl_wire_writer *w, void *old, void *p, size_t bytes)
{
    if (HL_LIKELY(p != NULL)) {
        hl_put_alloc(w, old ? HL_WORD_MOVED_REALLOC : HL_WORD_ALLOC + HL_REALLOC, p, bytes);
    } else if (old) {
        hl_put_address(w, HL_WORD_MOVE_FAILED, NULL);
        if (bytes == 0) /* an allocator that frees then: libc's is known to, and has not come here */
            hl_put_address(w, HL_WORD_FREE, old);
    }
}

HL_EXPORT void *realloc(void *old, size_t bytes)
{
    hl_wire_writer *w = hl_enter(hl_tracker.realloc_mark);
    if (HL_UNLIKELY(w == NULL)) {
        hl_wire_writer *hidden = HL_UNLIKELY(hl_tracker.hiding) && old ? hl_hidden_free(old) : NULL;
        void *p = hl_tracker.real.realloc(old, bytes);
        if (hidden)
            hl_hidden_freed(hidden);
        if (HL_UNLIKELY(hl_tracker.hiding))
            hl_hidden_made(p);
        return p;
    }
    void *p;
    if (HL_UNLIKELY(bytes == 0) && old && !hl_tracker.foreign_malloc) { /* glibc frees */
        hl_put_address(w, HL_WORD_FREE, old);
        p = hl_tracker.real.realloc(old, bytes);
        if (p)
            hl_put_alloc(w, HL_WORD_ALLOC + HL_REALLOC, p, bytes);
    } else {
        if (old)
            hl_put_address(w, HL_WORD_MOVE, old);
        p = hl_tracker.real.realloc(old, bytes);
        moved(w, old, p, bytes);
    }
    hl_leave(w);
    return p;
}

/* glibc declares it since 2.26 only. */
void *reallocarray(void *old, size_t count, size_t size); // NOLINT(readability-redundant-declaration)
HL_EXPORT void *reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

HL_EXPORT int posix_memalign(void **p, size_t alignment, size_t bytes)
{
    int error = hl_tracker.real.posix_memalign(p, alignment, bytes);
    if (error == 0)
        made(*p, HL_ALIGNED, bytes);
    return error;
}

HL_EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
    return made(hl_tracker.real.aligned_alloc(alignment, bytes), HL_ALIGNED, bytes);
}

HL_EXPORT void *memalign(size_t alignment, size_t bytes)
{
    return made(hl_tracker.real.memalign(alignment, bytes), HL_ALIGNED, bytes);
}

HL_EXPORT void *valloc(size_t bytes) { return made(hl_tracker.real.valloc(bytes), HL_ALIGNED, bytes); }
HL_EXPORT void *pvalloc(size_t bytes) { return made(hl_tracker.real.pvalloc(bytes), HL_ALIGNED, bytes); }

/* C23; what libcs define them to be */
HL_EXPORT void free_sized(void *p, size_t bytes) { free(p); }
HL_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t bytes) { free(p); }

HL_EXPORT void cfree(void *p) { free(p); } /* old programs */
