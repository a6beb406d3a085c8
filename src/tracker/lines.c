/*
 * lines.c - functions that are profiled line by line: which they are, their counters, and what is told of them ("lines" in
 * wire.h). How the interpreter tells of lines is in lines_monitoring.c.
 *
 * A function is remembered whether or not something is recorded. It takes counters when its first line runs in a recording;
 * in a forked child, whose recording has another number (hl_tracker.live.lines), again.
 *
 * Runs in the program: in the exported functions and in callbacks, with the GIL held, and in hl_lines_tell. Owns the table of
 * functions, behind a lock that no signal handler can find taken by its own thread.
 */
#include "inside.h"
#include "lines_boxes.h"
#include "lines_python.h"
#include "lines_stack.h"
#include "python.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hl_lines_data hl_lines;

enum { OLDEST = 0x308, MONITORING_SINCE = 0x30c };
enum { FIRST_CODES = 64, MEMORY_BYTES = 1 << 16, NAME_MOST = 1024, CHUNK_TRIES = 20, CHUNK_WAIT_NS = 10 * 1000000 };

/* ----------------------------------------------------------------------------------------------- lock and memory */

static void lock(uint64_t *signals)
{
    hl_os_block_signals(signals);
    uint32_t me = (uint32_t)hl_os_thread_id(), nobody = 0;
    while (!atomic_compare_exchange_weak(&hl_lines.busy, &nobody, me)) {
        nobody = 0;
        hl_os_yield();
    }
}

static void unlock(const uint64_t *signals)
{
    atomic_store(&hl_lines.busy, 0);
    hl_os_restore_signals(signals);
}

void *hl_lines_memory(size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > MEMORY_BYTES / 4)
        return hl_os_pages(bytes);
    if ((size_t)(hl_lines.memory_end - hl_lines.memory) < bytes) {
        char *pages = hl_os_pages(MEMORY_BYTES);
        if (!pages)
            return NULL;
        hl_lines.memory = pages;
        hl_lines.memory_end = pages + MEMORY_BYTES;
    }
    void *p = hl_lines.memory;
    hl_lines.memory += bytes;
    return p;
}

void hl_lines_note(const char *text)
{
    hl_wire_writer *w = hl_enter(0);
    if (!w)
        return;
    hl_put_text(w, HL_TEXT_NOTE, text, strlen(text));
    hl_leave(w);
}

hl_wire_writer *hl_lines_hide(void)
{
    hl_wire_writer *w = hl_enter(HL_HIDDEN);
    if (w)
        atomic_fetch_add(&hl_tracker.hiding, 1);
    return w;
}

void hl_lines_show(hl_wire_writer *w)
{
    if (!w)
        return;
    atomic_fetch_sub(&hl_tracker.hiding, 1);
    hl_leave(w);
}

/* ------------------------------------------------------------------------------------------------------ counters */

/* A chunk for counters, zeroed. Waits a little when there is none: its events go on if this one gets none. */
static hl_wire_chunk *take_chunk(void)
{
    for (int tries = 0; tries < CHUNK_TRIES; tries++) {
        hl_wire_chunk *c = hl_take_chunk(CHUNK_WAIT_NS);
        if (c) {
            memset(c->words, 0, HL_CHUNK_WORDS * 8);
            atomic_store(&c->next, 0);
            atomic_store(&c->used, 0);
            atomic_store(&c->owner, HL_OWNER_LINES | hl_tracker.process_index);
            return c;
        }
    }
    return NULL;
}

/* `count` counters in one chunk. */
static bool take_counters(hl_line_piece *piece, uint32_t count)
{
    if (hl_lines.chunk_of != hl_tracker.live.lines || hl_lines.chunk_used + count > HL_LINES_A_CHUNK) {
        hl_wire_chunk *c = take_chunk();
        if (!c)
            return false;
        hl_lines.chunk = c;
        hl_lines.chunk_used = 0;
        hl_lines.chunk_of = hl_tracker.live.lines;
    }
    piece->first_id = hl_lines.chunk->index * HL_LINES_A_CHUNK + hl_lines.chunk_used;
    piece->counters = hl_chunk_line(hl_lines.chunk, piece->first_id);
    hl_lines.chunk_used += count;
    return true;
}

static bool announce(hl_wire_writer *w, const hl_line_code *c, uint32_t version, uint32_t piece, uint32_t count)
{
    uint64_t *at = hl_reserve(w, 4 + (c->name_bytes + 7) / 8);
    if (!at)
        return false;
    uint64_t flags = atomic_load(&c->flags), lines = count;
    at[0] = HL_WORD(HL_WORD_LINES, (uint64_t)c->code);
    at[1] = (uint64_t)version << 32 | c->pieces[piece].first_id;
    at[2] = flags << 48 | lines * (UINT64_C(1) << 32) | (c->first_line + piece * HL_LINES_A_PIECE);
    at[3] = c->name_bytes;
    at[3 + (c->name_bytes + 7) / 8] = c->name_bytes ? 0 : at[3]; /* the padding */
    memcpy(at + 4, c->name, c->name_bytes);
    hl_publish(w, at + 4 + (c->name_bytes + 7) / 8);
    return true;
}

static bool begin(hl_line_code *c, hl_wire_writer *w)
{
    uint64_t recording = hl_tracker.live.lines;
    if (!recording)
        return false;
    uint32_t pieces = (c->lines + HL_LINES_A_PIECE - 1) / HL_LINES_A_PIECE;
    if (!c->pieces && !(c->pieces = hl_lines_memory(pieces * sizeof *c->pieces)))
        return false;
    uint32_t version = hl_python.layout->version ? *(const uint32_t *)((char *)c->code + hl_python.layout->version) : 0;
    if (!version)
        version = hl_python_generation(c->code);
    if (!hl_python_announce_code(w, c->code, version))
        return false;
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t left = c->lines - i * HL_LINES_A_PIECE, count = left < HL_LINES_A_PIECE ? left : HL_LINES_A_PIECE;
        if (!take_counters(&c->pieces[i], count)) {
            static const char NOTE[] = "there was no room for the counters of a profiled function's lines";
            hl_put_text(w, HL_TEXT_NOTE, NOTE, sizeof NOTE - 1);
            return false;
        }
        if (!announce(w, c, version, i, count))
            return false;
    }
    atomic_store_explicit(&c->recording, recording, memory_order_release);
    return true;
}

bool hl_line_code_begin(hl_line_code *c, hl_wire_writer *w)
{
    if (c->failed || !atomic_load(&c->wanted) || w == hl_tracker.shared)
        return false;
    uint64_t signals;
    lock(&signals);
    bool good = atomic_load(&c->recording) == hl_tracker.live.lines || begin(c, w);
    c->failed = !good;
    unlock(&signals);
    return good;
}

HL_COLD bool hl_line_code_begin_here(hl_line_code *c)
{
    hl_wire_writer *w = hl_enter(0);
    if (!w)
        return false;
    bool good = hl_line_code_begin(c, w);
    hl_leave(w);
    return good;
}

/* ---------------------------------------------------------------------------------------------------- functions */

static hl_line_codes *new_codes(uint64_t places)
{
    hl_line_codes *codes = hl_lines_memory(sizeof *codes + places * sizeof *codes->at);
    if (codes)
        codes->mask = places - 1;
    return codes;
}

static void put(hl_line_codes *codes, hl_line_code *c)
{
    uint64_t i = hl_line_place(codes, c->code);
    while (atomic_load_explicit(&codes->at[i], memory_order_relaxed))
        i = (i + 1) & codes->mask;
    atomic_store_explicit(&codes->at[i], c, memory_order_release);
}

/* With the lock held. The old table stays: others may be reading it. */
static bool make_room(void)
{
    hl_line_codes *codes = atomic_load(&hl_lines.codes);
    if (codes && hl_lines.count * 2 < codes->mask)
        return true;
    hl_line_codes *larger = new_codes(codes ? (codes->mask + 1) * 4 : FIRST_CODES);
    if (!larger)
        return false;
    for (uint64_t i = 0; codes && i <= codes->mask; i++) {
        if (atomic_load(&codes->at[i]))
            put(larger, atomic_load(&codes->at[i]));
    }
    atomic_store_explicit(&hl_lines.codes, larger, memory_order_release);
    return true;
}

static hl_line_code *add(void *code, const char *name, size_t bytes)
{
    bytes = bytes < NAME_MOST ? bytes : NAME_MOST;
    hl_line_code *c = make_room() ? hl_lines_memory(sizeof *c) : NULL;
    char *kept = c ? hl_lines_memory(bytes + 1) : NULL;
    if (!kept)
        return NULL;
    memcpy(kept, name, bytes);
    c->code = code;
    c->name = kept;
    c->name_bytes = (uint32_t)bytes;
    put(atomic_load(&hl_lines.codes), c);
    hl_lines.count++;
    return c;
}

static int refuse(const char *why)
{
    snprintf(hl_lines.reason, sizeof hl_lines.reason, "%s", why);
    return -ENOTSUP;
}

/* The interpreter's version, also where nothing has been recorded yet; 0: it is not CPython. */
static unsigned version(void)
{
    const char *(*get)(void) = NULL;
    *(void **)&get = dlsym(RTLD_DEFAULT, "Py_GetVersion");
    unsigned major = 0, minor = 0;
    if (!get || dlsym(RTLD_DEFAULT, "pypy_main_startup") || sscanf(get(), "%u.%u", &major, &minor) != 2)
        return 0;
    return major << 8 | minor;
}

/* Code that runs already in this thread. */
static void see_running(void)
{
    const hl_layout *L = hl_python.layout;
    uint16_t globals = hl_python.version >= 0x30c ? 24 : hl_python.version == 0x30b ? 8 : 48;
    char *frame = hl_line_present_frame();
    for (; frame; frame = *(char **)(frame + L->previous)) {
        uint64_t code = *(uint64_t *)(frame + L->code);
        bool is_python = !L->owner || *(uint8_t *)(frame + L->owner) < 3;
        if (is_python)
            hl_lines_seen((void *)(L->code_tagged ? code & ~UINT64_C(3) : code), *(void **)(frame + globals));
    }
}

static int start(void)
{
    if (hl_python.gave_up || !hl_python.layout)
        return refuse("the layout of this interpreter's frames is not known, so lines cannot be profiled");
    if (hl_lines.started)
        return 0;
    int error = hl_python.version >= MONITORING_SINCE ? hl_lines_monitoring_start() : hl_lines_trace_start();
    hl_lines.started = !error;
    return error;
}

int hl_lines_watch_starts(void)
{
    if (version() < OLDEST)
        return refuse("lines are profiled in CPython 3.8 and later");
    int error = start();
    if (!error && hl_python.version >= MONITORING_SINCE)
        error = hl_lines_monitoring_find();
    if (!error)
        see_running();
    return error;
}

/* Recording is on: what the interpreter needs to be told to tell us of it. */
static int watch(hl_line_code *c)
{
    if (hl_python.gave_up || !hl_python.layout)
        return start();
    if (!c->lines && !hl_line_table_read(c)) {
        c->failed = true;
        return refuse("the function has no lines that can be counted");
    }
    bool monitors = hl_python.version >= MONITORING_SINCE;
    int error = start();
    if (error)
        return error;
    bool wanted = atomic_load(&c->wanted);
    if (wanted == c->watched)
        return 0;
    if (monitors)
        error = hl_lines_monitoring_watch(c, wanted);
    else if (wanted)
        hl_lines_trace_running(c);
    else
        hl_lines_trace_forget(c);
    if (!error)
        c->watched = wanted;
    return error;
}

static bool is_recording(void) { return atomic_load(&hl_tracker.state) == HL_RECORDING && hl_tracker.live.on; }

int hl_lines_register(void *code, const char *name, size_t bytes, uint32_t flags)
{
    uint64_t signals;
    lock(&signals);
    hl_line_code *c = hl_line_code_find(code);
    bool is_new = !c;
    if (!c)
        c = add(code, name, bytes);
    if (c) {
        atomic_store(&c->flags, flags);
        atomic_store(&c->wanted, true);
    }
    unlock(&signals);
    int error = c ? 0 : -ENOMEM;
    if (c && is_new)
        hl_py_api.increase(code);
    if (c && is_recording())
        error = watch(c);
    return error;
}

HL_EXPORT int heapline_lines_add(void *code, const char *name, size_t bytes, int flags)
{
    int saved = errno;
    unsigned python = version();
    if (python < OLDEST)
        return refuse("lines are profiled in CPython 3.8 and later");
    if (!hl_py_find())
        return refuse("this interpreter lacks functions that are needed to profile lines");
    if (hl_py_api.interpreter() != hl_py_api.main_interpreter())
        return refuse("lines are profiled in the main interpreter only");
    int error = hl_lines_register(code, name, bytes, (uint32_t)flags);
    errno = saved;
    return error;
}

HL_EXPORT int heapline_lines_remove(void *code)
{
    int saved = errno;
    hl_line_code *c = hl_line_code_find(code);
    if (!c || !atomic_exchange(&c->wanted, false))
        return -ENOENT;
    if (c->watched)
        watch(c);
    hl_line_forget(c);
    errno = saved;
    return 0;
}

HL_EXPORT void heapline_lines_reason(char *to, size_t room)
{
    if (room)
        snprintf(to, room, "%s", hl_lines.reason);
}

/* ---------------------------------------------------------------------------------------------------- recordings */

void hl_lines_begin(bool forked)
{
    hl_tracker.live.lines = ++hl_lines.recordings;
    hl_lines.atomic = hl_python.flags & 1;
    hl_line_codes *codes = atomic_load(&hl_lines.codes);
    for (uint64_t i = 0; codes && i <= codes->mask; i++) {
        hl_line_code *c = atomic_load(&codes->at[i]);
        if (c && c->lines)
            c->failed = false;
    }
    if (hl_lines.started)
        hl_line_boxes_set(true);
    if (!forked)
        hl_lines_find_begin();
    if (forked) {
        atomic_store(&hl_tracker.hiding, 0);
        hl_hidden_forked();
        atomic_store(&hl_lines.busy, 0);
        hl_line_stack_forked();
    }
}

void hl_lines_start(void)
{
    if (hl_lines_find_wanted() && hl_lines_find_start())
        hl_lines_note(hl_lines.reason);
    hl_line_codes *codes = atomic_load(&hl_lines.codes);
    for (uint64_t i = 0; codes && i <= codes->mask; i++) {
        hl_line_code *c = atomic_load(&codes->at[i]);
        if (c && atomic_load(&c->wanted) && watch(c)) {
            hl_lines_note(hl_lines.reason);
            return;
        }
    }
}

void hl_lines_stop(void)
{
    hl_line_codes *codes = atomic_load(&hl_lines.codes);
    hl_lines.finding = false;
    if (!hl_lines.started)
        return;
    bool monitors = hl_python.version >= MONITORING_SINCE;
    for (uint64_t i = 0; i <= codes->mask; i++) {
        hl_line_code *c = atomic_load(&codes->at[i]);
        if (c && c->watched) {
            if (monitors)
                hl_lines_monitoring_watch(c, false);
            c->watched = false;
        }
    }
    if (monitors)
        hl_lines_monitoring_stop();
    else
        hl_lines_trace_stop();
    hl_lines.started = false;
}
