/*
 * pymem.c - hooks in the interpreter's memory domains, and in its arena functions.
 *
 * Runs in the program. A wrapper marks its writer with HL_BELOW while the real function works: what that calls (malloc for
 * large blocks, mmap for arenas) passes through and is no event of its own. Each wrapper has its own record of what it
 * stands in front of, handed over as the allocator's context; so a hook that is put in front of another's hook that is in
 * front of ours (debug hooks) calls itself never, and what is counted is counted by the outermost.
 *
 * A program that runs already has threads inside its allocators. What is exchanged is five words, and a thread may take the
 * context from before and the function from after. OBJ and MEM are used with the GIL held, as is the exchange. Where there is no GIL, and
 * for RAW, only functions of the interpreter that do without a context are exchanged: they bear ours, and our functions bear none.
 *
 * No Python object is made here: free-threaded builds choose the heap in the thread state just before the call.
 */
#include "pymem.h"

#include "lines_boxes.h"
#include "patch.h"
#include "python.h"

#include <dlfcn.h>
#include <string.h>

/* CPython's PyMemAllocatorEx and PyObjectArenaAllocator (Include/cpython/pymem.h, objimpl.h). */
typedef struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} allocator;
typedef struct arena_allocator {
    void *context;
    void *(*alloc)(void *, size_t);
    void (*free)(void *, void *, size_t);
} arena_allocator;

enum { RAW, MEM, OBJ, DOMAINS };
enum { RECORDS = 8 }; /* times that one domain's allocator is wrapped; beyond, it is left alone */
enum { PROBE_BYTES = 4007, PROBE_MORE = 64 }; /* more: what debug hooks put around a block */

static struct {
    void (*get)(int, allocator *);
    void (*set)(int, const allocator *);
    void (*get_arena)(arena_allocator *);
    void (*set_arena)(const arena_allocator *);
    bool objects, mimalloc, started;
    bool running; /* Python was running when the hooks came */
    atomic_flag busy;
    unsigned used[DOMAINS], arenas_used;
    allocator real[DOMAINS][RECORDS];
    arena_allocator real_arena[RECORDS];
    allocator raw_seen; /* RAW's allocator that was last looked at, and found to stand on libc's malloc */
    void *(*probed_malloc)(size_t);
    int32_t prober;
    void *probe_result;
} pymem;

/* ------------------------------------------------------------------------------------------------ wrappers */

static const unsigned MADE[DOMAINS] = {HL_WORD_ALLOC + HL_PYRAW, HL_WORD_ALLOC + HL_PYMEM, HL_WORD_ALLOC + HL_PYOBJ};
static const unsigned MOVED[DOMAINS] = {HL_WORD_MOVED_PYRAW, HL_WORD_MOVED_PYMEM, HL_WORD_MOVED_PYOBJ};

static HL_ALWAYS void *made(hl_wire_writer *w, int domain, void *p, size_t bytes)
{
    if (HL_UNLIKELY(!w)) {
        if (HL_UNLIKELY(hl_tracker.hiding))
            hl_hidden_made(p);
        return p;
    }
    if (HL_LIKELY(p != NULL))
        hl_put_alloc(w, MADE[domain], p, bytes);
    hl_leave(w);
    return p;
}

/* What the wrapper stands in front of. */
static HL_ALWAYS const allocator *behind(const void *context, int domain)
{
    return HL_LIKELY(context != NULL) ? context : &pymem.real[domain][0];
}

static HL_ALWAYS void *wrap_malloc(void *context, int domain, size_t bytes)
{
    const allocator *real = behind(context, domain);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    return made(w, domain, real->malloc(real->context, bytes), bytes);
}

static HL_ALWAYS void *wrap_calloc(void *context, int domain, size_t count, size_t size)
{
    const allocator *real = behind(context, domain);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    return made(w, domain, real->calloc(real->context, count, size), count * size);
}

static HL_ALWAYS void *wrap_realloc(void *context, int domain, void *old, size_t bytes)
{
    const allocator *real = behind(context, domain);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    if (HL_UNLIKELY(!w)) {
        hl_wire_writer *hidden = HL_UNLIKELY(hl_tracker.hiding) && old ? hl_hidden_free(old) : NULL;
        void *moved = real->realloc(real->context, old, bytes);
        if (hidden)
            hl_hidden_freed(hidden);
        if (HL_UNLIKELY(hl_tracker.hiding))
            hl_hidden_made(moved);
        return moved;
    }
    if (old)
        hl_put_address(w, HL_WORD_MOVE, old);
    void *p = real->realloc(real->context, old, bytes);
    if (HL_LIKELY(p != NULL))
        hl_put_alloc(w, old ? MOVED[domain] : MADE[domain], p, bytes);
    else if (old)
        hl_put_address(w, HL_WORD_MOVE_FAILED, NULL);
    hl_leave(w);
    return p;
}

static HL_ALWAYS void wrap_free(void *context, int domain, void *p)
{
    const allocator *real = behind(context, domain);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    hl_wire_writer *hidden = NULL;
    if (HL_LIKELY(w && p))
        hl_put_address(w, HL_WORD_FREE, p);
    else if (HL_UNLIKELY(hl_tracker.hiding) && p)
        hidden = hl_hidden_free(p);
    real->free(real->context, p);
    if (HL_LIKELY(w != NULL))
        hl_leave(w);
    else if (HL_UNLIKELY(hidden != NULL))
        hl_hidden_freed(hidden);
}

/* Without objects, mimalloc's mappings are still its arenas: the calls only carry the mark. */
static void *quiet_malloc(void *context, size_t bytes)
{
    const allocator *real = behind(context, OBJ);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    void *p = real->malloc(real->context, bytes);
    if (HL_LIKELY(w != NULL))
        hl_leave(w);
    return p;
}
static void *quiet_calloc(void *context, size_t count, size_t size)
{
    const allocator *real = behind(context, OBJ);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    void *p = real->calloc(real->context, count, size);
    if (HL_LIKELY(w != NULL))
        hl_leave(w);
    return p;
}
static void *quiet_realloc(void *context, void *old, size_t bytes)
{
    const allocator *real = behind(context, OBJ);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    void *p = real->realloc(real->context, old, bytes);
    if (HL_LIKELY(w != NULL))
        hl_leave(w);
    return p;
}
static void quiet_free(void *context, void *p)
{
    const allocator *real = behind(context, OBJ);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    real->free(real->context, p);
    if (HL_LIKELY(w != NULL))
        hl_leave(w);
}

/* What may be the line profiler's own. Each is called at one place, so its frame lies at one distance from its caller's. */
static __attribute__((noinline)) void *box_malloc(void *context, size_t bytes)
{
    const uint64_t *frame = __builtin_frame_address(0);
    if (!hl_line_is_box(frame)) {
        void *p = wrap_malloc(context, OBJ, bytes);
        hl_line_no_box(frame, p);
        return p;
    }
    hl_line_box = quiet_malloc(context, bytes);
    return hl_line_box;
}

static __attribute__((noinline)) void *data_malloc(void *context, size_t bytes)
{
    if (!hl_line_is_data(__builtin_frame_address(0)))
        return wrap_malloc(context, MEM, bytes);
    const allocator *real = behind(context, MEM);
    hl_wire_writer *w = hl_enter(HL_BELOW);
    void *p = real->malloc(real->context, bytes);
    if (HL_LIKELY(w != NULL))
        hl_leave(w);
    return p;
}

static HL_COLD void box_free(void *context, void *p)
{
    hl_line_box = NULL;
    quiet_free(context, p);
}

static void *raw_malloc(void *context, size_t bytes) { return wrap_malloc(context, RAW, bytes); }
static void *mem_malloc(void *context, size_t bytes)
{
    if (HL_UNLIKELY(bytes == hl_tracker.live.data_bytes))
        return data_malloc(context, bytes);
    return wrap_malloc(context, MEM, bytes);
}
static void *obj_malloc(void *context, size_t bytes)
{
    if (HL_UNLIKELY(bytes == hl_tracker.live.box_bytes))
        return box_malloc(context, bytes);
    return wrap_malloc(context, OBJ, bytes);
}
static void *raw_calloc(void *context, size_t count, size_t size) { return wrap_calloc(context, RAW, count, size); }
static void *mem_calloc(void *context, size_t count, size_t size) { return wrap_calloc(context, MEM, count, size); }
static void *obj_calloc(void *context, size_t count, size_t size) { return wrap_calloc(context, OBJ, count, size); }
static void *raw_realloc(void *context, void *p, size_t bytes) { return wrap_realloc(context, RAW, p, bytes); }
static void *mem_realloc(void *context, void *p, size_t bytes) { return wrap_realloc(context, MEM, p, bytes); }
static void *obj_realloc(void *context, void *p, size_t bytes) { return wrap_realloc(context, OBJ, p, bytes); }
static void raw_free(void *context, void *p) { wrap_free(context, RAW, p); }
static void mem_free(void *context, void *p) { wrap_free(context, MEM, p); }
static void obj_free(void *context, void *p)
{
    if (HL_UNLIKELY(hl_tracker.live.box_bytes) && HL_UNLIKELY(p == hl_line_box) && p)
        box_free(context, p);
    else
        wrap_free(context, OBJ, p);
}

/* 2.7, which has no PyMem_SetAllocator: its three functions are the allocator, and hooks take their place in slots. */
static struct {
    void *(*malloc)(size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
} plain;

static void *plain_malloc(void *unused, size_t bytes) { return plain.malloc(bytes); }
static void *plain_realloc(void *unused, void *p, size_t bytes) { return plain.realloc(p, bytes); }
static void plain_free(void *unused, void *p) { plain.free(p); }

void *hl_pymem_object_malloc(size_t bytes) { return wrap_malloc(NULL, OBJ, bytes); }
void *hl_pymem_object_realloc(void *p, size_t bytes) { return wrap_realloc(NULL, OBJ, p, bytes); }
void hl_pymem_object_free(void *p) { wrap_free(NULL, OBJ, p); }

static bool start_plain(void)
{
    *(void **)&plain.malloc = dlsym(RTLD_DEFAULT, "PyObject_Malloc");
    *(void **)&plain.realloc = dlsym(RTLD_DEFAULT, "PyObject_Realloc");
    *(void **)&plain.free = dlsym(RTLD_DEFAULT, "PyObject_Free");
    if (!plain.malloc || !plain.realloc || !plain.free || !hl_patch_reaches("PyObject_Malloc") ||
        !hl_patch_reaches("PyObject_Free"))
        return false;
    pymem.real[OBJ][0] = (allocator){.malloc = plain_malloc, .realloc = plain_realloc, .free = plain_free};
    return hl_patch_begin(HL_PATCH_OBJECTS) == 0;
}

static const allocator WRAPPERS[DOMAINS] = {
    {NULL, raw_malloc, raw_calloc, raw_realloc, raw_free},
    {NULL, mem_malloc, mem_calloc, mem_realloc, mem_free},
    {NULL, obj_malloc, obj_calloc, obj_realloc, obj_free},
};
static const allocator QUIET = {NULL, quiet_malloc, quiet_calloc, quiet_realloc, quiet_free};

static void *arena_alloc(void *context, size_t bytes)
{
    const arena_allocator *real = context;
    hl_wire_writer *w = hl_enter(HL_BELOW);
    void *p = real->alloc(real->context, bytes);
    if (w)
        hl_leave(w);
    return p;
}

static void arena_free(void *context, void *p, size_t bytes)
{
    const arena_allocator *real = context;
    real->free(real->context, p, bytes);
}

/* ------------------------------------------------------------------------------------------------ installing */

static void *probe_malloc(size_t bytes)
{
    void *p = pymem.probed_malloc(bytes);
    if (bytes >= PROBE_BYTES && bytes - PROBE_BYTES <= PROBE_MORE && hl_os_thread_id() == pymem.prober)
        pymem.probe_result = p;
    return p;
}

/* Whether RAW's blocks are malloc's own blocks, and so are counted there: asked for one, it hands out what malloc gives
 * for that size. With debug hooks it hands out the inside of one, and that is counted as malloc sees it: until 3.13 the
 * interpreter exchanges RAW's allocator for a plain one now and then, and what one allocated is freed through the other.
 * Not so with mimalloc, or an allocator of the program's own. */
static bool raw_is_libc(const allocator *raw, hl_wire_writer *w)
{
    uint64_t open = w ? atomic_load(&w->open) : 0;
    if (w)
        atomic_store(&w->open, open | HL_BELOW_FOREIGN);
    pymem.probed_malloc = hl_tracker.real.malloc;
    pymem.prober = hl_os_thread_id();
    pymem.probe_result = NULL;
    hl_tracker.real.malloc = probe_malloc;
    void *p = raw->malloc(raw->context, PROBE_BYTES);
    hl_tracker.real.malloc = pymem.probed_malloc;
    uintptr_t inside = (uintptr_t)p - (uintptr_t)pymem.probe_result;
    bool same = p && pymem.probe_result && inside <= PROBE_MORE;
    if (p)
        raw->free(raw->context, p);
    if (w)
        atomic_store(&w->open, open);
    return same;
}

static void check_domain(int domain, hl_wire_writer *w)
{
    const allocator *wrapper = pymem.objects ? &WRAPPERS[domain] : &QUIET;
    allocator now;
    pymem.get(domain, &now);
    if (now.malloc == wrapper->malloc || pymem.used[domain] == RECORDS)
        return;
    if (domain == RAW) {
        if (!pymem.objects || memcmp(&now, &pymem.raw_seen, sizeof now) == 0)
            return;
        if (pymem.running && (now.context || !hl_python_has((void *)now.malloc)))
            return; /* it may be in use, without the GIL */
        /* Not one that has a context and came later: we may stand inside it, under its lock (tracemalloc). It is recorded
         * as it is, which is right for any allocator: what it calls below is not counted again. */
        if ((!pymem.started || !now.context) && raw_is_libc(&now, w)) {
            pymem.raw_seen = now;
            return;
        }
    }
    allocator *record = &pymem.real[domain][pymem.used[domain]++];
    *record = now;
    allocator ours = *wrapper;
    ours.context = record;
    pymem.set(domain, &ours);
}

static void check_arenas(void)
{
    arena_allocator now;
    pymem.get_arena(&now);
    if (now.alloc == arena_alloc || pymem.arenas_used == RECORDS)
        return;
    arena_allocator *record = &pymem.real_arena[pymem.arenas_used++];
    *record = now;
    pymem.set_arena(&(arena_allocator){record, arena_alloc, arena_free});
}

void hl_pymem_check(hl_wire_writer *w, bool starting)
{
    if (!pymem.get || atomic_flag_test_and_set(&pymem.busy))
        return;
    if (pymem.objects || pymem.mimalloc) {
        check_domain(OBJ, w);
        check_domain(MEM, w);
        if (starting) /* later it may be in use by threads without the GIL */
            check_domain(RAW, w);
    }
    if (pymem.set_arena)
        check_arenas();
    atomic_flag_clear(&pymem.busy);
}

/* Whether allocators that other threads may be inside of bear the exchange. */
static bool bears_exchange(void)
{
    for (int domain = MEM; domain <= OBJ; domain++) {
        allocator now;
        pymem.get(domain, &now);
        bool is_ours = now.malloc == WRAPPERS[domain].malloc || now.malloc == QUIET.malloc;
        if (!is_ours && (now.context || !hl_python_has((void *)now.malloc)))
            return false;
    }
    return true;
}

hl_pymem_result hl_pymem_start(bool objects, bool mimalloc, bool has_gil)
{
    *(void **)&pymem.get = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    *(void **)&pymem.set = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    *(void **)&pymem.get_arena = dlsym(RTLD_DEFAULT, "PyObject_GetArenaAllocator");
    *(void **)&pymem.set_arena = dlsym(RTLD_DEFAULT, "PyObject_SetArenaAllocator");
    if (!pymem.get || !pymem.set) {
        pymem.get = NULL;
        bool is_early = hl_tracker.process->born_by != HL_BORN_INSIDE; /* no object is there yet */
        return !objects ? HL_PYMEM_ARENAS : is_early && start_plain() ? HL_PYMEM_OBJECTS : HL_PYMEM_MISSING;
    }
    if (!pymem.get_arena)
        pymem.set_arena = NULL;
    pymem.running = hl_tracker.process->born_by == HL_BORN_INSIDE;
    bool in_use = pymem.running && !has_gil && !bears_exchange();
    pymem.objects = objects && !in_use;
    pymem.mimalloc = mimalloc && !in_use;
    hl_pymem_check(NULL, true);
    pymem.started = true;
    return in_use ? HL_PYMEM_IN_USE : objects ? HL_PYMEM_OBJECTS : HL_PYMEM_ARENAS;
}

void hl_pymem_stop(void)
{
    while (pymem.get && atomic_flag_test_and_set(&pymem.busy)) /* a thread that waits for the GIL is not in there */
        hl_os_yield();
    for (int domain = RAW; pymem.get && domain < DOMAINS; domain++) {
        allocator now;
        pymem.get(domain, &now);
        const allocator *record = now.context;
        if (now.malloc != WRAPPERS[domain].malloc && now.malloc != QUIET.malloc)
            continue;
        pymem.set(domain, record);
        if (record == &pymem.real[domain][pymem.used[domain] - 1])
            pymem.used[domain]--;
    }
    arena_allocator arena = {0};
    if (pymem.get && pymem.set_arena)
        pymem.get_arena(&arena);
    if (arena.alloc == arena_alloc) {
        const arena_allocator *record = arena.context;
        pymem.set_arena(record);
        if (record == &pymem.real_arena[pymem.arenas_used - 1])
            pymem.arenas_used--;
    }
    pymem.get = NULL; /* nothing is to be checked any more */
    atomic_flag_clear(&pymem.busy);
}

void hl_pymem_forked(void) { atomic_flag_clear(&pymem.busy); }
