/*
 * python.c - finds the interpreter, chooses the layout of its frames or says why there is none, and says what is recorded.
 *
 * Runs in the program: once before main, in a forked child again, and while the interpreter starts at each event of the
 * malloc hooks, since it then still chooses its allocators.
 */
#include "python.h"

#include "lines.h"
#include "native.h"
#include "pymem.h"
#include "python_private.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hl_python_data hl_python;

enum { FREE_THREADED = 1, DEBUG_BUILD = 2, SHARED = 4 }; /* hl_wire_process.python_flags */
enum { LEVEL_FINAL = 0xf, LEVEL_CANDIDATE = 0xc };

bool hl_python_is_here(void)
{
    return hl_real_symbol(RTLD_DEFAULT, "Py_GetVersion") || hl_real_symbol(RTLD_DEFAULT, "_PyRuntime");
}

/* ------------------------------------------------------------------------------------------- which interpreter */

/* Keeps the reason: forked children say it again. */
static void say(hl_recording recording, const char *what, const char *why)
{
    hl_python.recording = (uint32_t)recording;
    hl_python.reason[0] = '\0';
    if (why && hl_python.version)
        snprintf(hl_python.reason, sizeof hl_python.reason, "CPython %u.%u%s: %s: %s", hl_python.version >> 8,
                 hl_python.version & 0xffu, hl_python.flags & FREE_THREADED ? "t" : "", what, why);
    else if (why)
        snprintf(hl_python.reason, sizeof hl_python.reason, "%s: %s", what, why);
    hl_tracker_set_recording(recording, hl_python.reason);
}

/* Where the walk of Python frames is put: native.c calls it when there are native stacks too. */
static hl_walker **walk_place(void) { return hl_native.on ? &hl_native.python_walk : &hl_tracker.walk; }

void hl_python_give_up(const char *why)
{
    if (atomic_exchange(&hl_python.gave_up, true))
        return;
    *walk_place() = NULL;
    say(HL_RECORDING_MALLOC, "no Python stacks", why);
}

/* "3.13.0rc1 (main, ..." -> Py_Version's form. */
static uint32_t parse_version(const char *text)
{
    unsigned major = 0, minor = 0, micro = 0;
    int at = 0;
    if (sscanf(text, "%u.%u.%u%n", &major, &minor, &micro, &at) < 2)
        return 0;
    unsigned level = text[at] == 'a' ? 0xa : text[at] == 'b' ? 0xb : text[at] == 'r' ? LEVEL_CANDIDATE : LEVEL_FINAL;
    return major << 24 | (minor & 0xff) << 16 | (micro & 0xff) << 8 | level << 4;
}

static int find_range(struct dl_phdr_info *info, size_t size, void *data)
{
    uintptr_t inside = *(uintptr_t *)data;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && inside - from < header->p_memsz) {
            hl_python.code_from = from;
            hl_python.code_to = from + header->p_memsz;
            if (info->dlpi_name && *info->dlpi_name)
                hl_python.flags |= SHARED;
            return 1;
        }
    }
    return 0;
}

/* What the interpreter is; its functions that are called here only return constants. */
static void identify(void)
{
    const char *(*get_version)(void) = NULL;
    *(void **)&get_version = dlsym(RTLD_DEFAULT, "Py_GetVersion");
    const uint32_t *constant = dlsym(RTLD_DEFAULT, "Py_Version"); /* since 3.11 */
    const char *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    uintptr_t inside = (uintptr_t)get_version;
    hl_python.flags = 0;
    if (inside)
        dl_iterate_phdr(find_range, &inside);
    hl_python.full_version = constant ? *constant : get_version ? parse_version(get_version()) : 0;
    hl_python.version = (uint16_t)(hl_python.full_version >> 24 << 8 | (hl_python.full_version >> 16 & 0xff));
    if (dlsym(RTLD_DEFAULT, "_Py_NegativeRefcount"))
        hl_python.flags |= DEBUG_BUILD;
    uint64_t free_threaded = 0;
    if (hl_python.version >= 0x30d && runtime && memcmp(runtime, "xdebugpy", 8) == 0)
        memcpy(&free_threaded, runtime + 16, sizeof free_threaded);
    if (free_threaded)
        hl_python.flags |= FREE_THREADED;
}

/* Why its stacks cannot be read; NULL: they can. */
static const char *reason_against(const hl_layout *layout)
{
    unsigned level = hl_python.full_version >> 4 & 0xf;
    if (dlsym(RTLD_DEFAULT, "pypy_main_startup") || dlsym(RTLD_DEFAULT, "rpython_startup_code"))
        return "PyPy is not supported";
    if (!layout)
        return "this version is not known to this heapline";
    if (level != LEVEL_FINAL && level != LEVEL_CANDIDATE)
        return "an unfinished version (alpha or beta)";
    if (dlsym(RTLD_DEFAULT, "_Py_AddToAllObjects") || dlsym(RTLD_DEFAULT, "_Py_PrintReferences"))
        return "built with Py_TRACE_REFS, which changes all objects";
    if (!hl_python.code_type || (layout->mark_form == HL_MARK_LOCALS && !hl_python.none))
        return "it does not export what is needed";
    if (hl_python.version < 0x30d)
        return NULL;
    const char *what = hl_python_offsets_differ(layout, hl_python.version, hl_python.flags & FREE_THREADED);
    static char text[120];
    if (what)
        snprintf(text, sizeof text, "its layout is not that of the released version (%s)", what);
    return what ? text : NULL;
}

/* -------------------------------------------------------------------------------------------------- starting */

static const char MAIN_THREAD[] = "MainThread"; /* as threading calls it */

/* The walk until the interpreter is initialised: it chooses its allocators in that time. */
static uint64_t walk_starting(hl_wire_writer *w, bool epoch_changed)
{
    if (hl_lines_find_wanted() && hl_python.is_initialized && hl_python.is_initialized())
        hl_lines_find_soon();
    bool is_main = w->tid == hl_tracker.pid && w->lane == 0 && w != hl_tracker.shared; /* only it installs hooks */
    if (!(atomic_load_explicit(&w->open, memory_order_relaxed) & HL_BELOW)) {
        if (is_main)
            hl_pymem_check(w, true);
        if (!hl_python.is_initialized || hl_python.is_initialized()) {
            hl_python.compare_always = hl_python.recording != HL_RECORDING_OBJECTS;
            *walk_place() = hl_python.gave_up ? NULL : hl_python.walk;
            if (is_main)
                hl_put_text(w, HL_TEXT_PYTHON_NAME, MAIN_THREAD, sizeof MAIN_THREAD - 1);
        }
    }
    return hl_python.walk(w, epoch_changed);
}

/* An interpreter whose stacks are not known still has arenas and objects. */
static uint64_t walk_nothing(hl_wire_writer *w, bool epoch_changed) { return hl_tracker.live.root; }

static bool wants_mimalloc(void)
{
    const char *chosen = getenv("PYTHONMALLOC");
    return hl_python.flags & FREE_THREADED || (chosen && strncmp(chosen, "mimalloc", 8) == 0);
}

static void start(void)
{
    identify();
    atomic_store(&hl_python.gave_up, false);
    atomic_store(&hl_python.cut_noted, false);
    const hl_layout *layout = NULL;
    hl_walker *walk = hl_python_walker(hl_python.version, hl_python.flags & FREE_THREADED, &layout);
    hl_python.code_type = dlsym(RTLD_DEFAULT, "PyCode_Type");
    hl_python.none = dlsym(RTLD_DEFAULT, "_Py_NoneStruct");
    *(void **)&hl_python.is_initialized = dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    hl_python.layout = layout;
    hl_python.walk = walk ? walk : walk_nothing;
    hl_python.compare_always = true;
    hl_python.objects = hl_tracker.session->python_objects;
    hl_python.mark = HL_NO_MARK;
    hl_tracker_set_python(hl_python.full_version, hl_python.flags);

    const char *against = reason_against(layout);
    if (!against) {
        hl_python_state_find();
        if (hl_python.gave_up)
            return;
        if (hl_tracker.session->marks && layout->mark_form != HL_MARK_NONE)
            hl_python.mark = layout->mark_form == HL_MARK_LOCALS ? (uint64_t)hl_python.none : 2;
        if (hl_native.on && layout->loop_form == HL_LOOP_EACH && !layout->loops)
            hl_native_set_loop(
                dlsym(RTLD_DEFAULT, hl_python.version == 0x207 ? "PyEval_EvalFrameEx" : "_PyEval_EvalFrameDefault"));
        hl_python_codes_watch();
        hl_python_names_find();
    } else {
        hl_python.walk = walk_nothing;
    }
    hl_pymem_result result =
        against ? HL_PYMEM_MISSING
                : hl_pymem_start(hl_python.objects, wants_mimalloc(), !(hl_python.flags & FREE_THREADED));
    bool is_running = hl_tracker.process->born_by == HL_BORN_INSIDE;
    *walk_place() = is_running ? hl_python.walk : walk_starting;
    if (against) {
        hl_python.gave_up = true;
        *walk_place() = NULL;
        say(HL_RECORDING_MALLOC, "no Python stacks", against);
    } else if (result == HL_PYMEM_OBJECTS) {
        hl_python.compare_always = !is_running;
        say(HL_RECORDING_OBJECTS, "", NULL);
    } else if (result == HL_PYMEM_IN_USE) {
        say(HL_RECORDING_STACKS, "no Python objects",
            "other threads may be inside the debugging hooks of its allocator; malloc is recorded");
    } else {
        say(HL_RECORDING_STACKS, "no Python objects",
            hl_python.objects ? "it has no hooks for its allocator; malloc and arenas are recorded" : NULL);
    }
}

static bool started;

void hl_python_forked(void)
{
    if (!started) {
        hl_python_join();
        return;
    }
    atomic_store(&hl_python.frames_mapped, 0);
    hl_tracker_set_python(hl_python.full_version, hl_python.flags);
    hl_tracker_set_recording((hl_recording)hl_python.recording, hl_python.reason);
}

void hl_python_leave(void)
{
    if (!started)
        return;
    hl_pymem_stop();
    hl_python_codes_forget();
}

void hl_python_join(void)
{
    if (dlsym(RTLD_DEFAULT, "pypy_main_startup") || dlsym(RTLD_DEFAULT, "rpython_startup_code")) {
        started = true;
        say(HL_RECORDING_MALLOC, "no Python stacks", "PyPy is not supported");
    } else if (hl_python_is_here()) {
        started = true;
        start();
    }
}

/* The allocators of MEM and OBJ are five words that are not exchanged at once. A thread that stands below one of them has
 * the GIL, so nobody else calls them meanwhile; without a GIL they are left alone once threads may run. */
void hl_python_check(void)
{
    hl_wire_writer *w = hl_self;
    if (!hl_python.layout || hl_python.gave_up || !w || w == &hl_tracker.no_writer || w->lane != 0)
        return;
    if (*walk_place() == walk_starting) {
        if (w->tid == hl_tracker.pid)
            hl_pymem_check(w, true);
    } else if (!(hl_python.flags & FREE_THREADED) &&
               (atomic_load_explicit(&w->open, memory_order_relaxed) & HL_MARK_BITS) == HL_BELOW) {
        hl_pymem_check(w, false);
    }
}

bool hl_python_has(const void *caller)
{
    return (uintptr_t)caller - hl_python.code_from < hl_python.code_to - hl_python.code_from;
}

bool hl_python_made(const void *caller)
{
    /* 2.7 has no arena functions to ask; its other mappings are made in modules of their own. */
    return hl_python.version == 0x207 && hl_python_has(caller);
}
