/*
 * lines_find.c - functions that the session names (`heapline run --lines pkg.mod:func,..`) are found as their code is first run.
 *
 * The interpreter tells of each code object that runs for the first time. The code of a module holds that of its functions as
 * constants, however deep, so all are registered before any of them can be called. What is made otherwise (exec, generic functions)
 * is known by its qualified name, which code objects have since 3.11.
 *
 * A name is "module:function", "module:Class.method", "module:outer.inner"; "<locals>" may be written or not. The script that is
 * run is `__main__`, or what its file is called. What is found is marked in the session, for all of its processes.
 *
 * Runs in the program with the GIL held; hl_lines_find_soon and the note at exit without.
 */
#include "lines_python.h"
#include "lines_stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HL_AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

enum { NAMES = 64, PARTS = 16, TEXT_MOST = 512, NAME_MOST = 1024, OPTIMIZED = 1, KNOWN = 4096 };

typedef struct wanted {
    char text[TEXT_MOST]; /* "module\0Class\0method\0": without "<locals>" */
    const char *module, *parts[PARTS];
    uint32_t count; /* of parts */
} wanted;

static struct {
    wanted *names; /* pages of our own; NULL: none are wanted */
    uint32_t count;
    _Atomic bool asked;
    intptr_t (*size)(void *);             /* PyTuple_Size */
    void *(*item)(void *, intptr_t);      /* PyTuple_GetItem */
    void *(*value)(void *, const char *); /* PyDict_GetItemString */
    void *text_type;                      /* PyUnicode_Type */
    _Atomic uint64_t known[KNOWN]; /* code objects that were looked at, before 3.12: they are asked for at each call */
} find;

/* ------------------------------------------------------------------------------------------------------- names */

static bool is_locals(const char *part, size_t bytes) { return bytes == 8 && memcmp(part, "<locals>", 8) == 0; }

/* The parts of a qualified name, copied to `to`. 0: there are too many. */
static uint32_t split(const char *name, size_t bytes, char *to, const char *parts[PARTS])
{
    uint32_t count = 0;
    for (size_t at = 0; at <= bytes;) {
        const char *dot = memchr(name + at, '.', bytes - at);
        size_t length = dot ? (size_t)(dot - name) - at : bytes - at;
        if (!is_locals(name + at, length)) {
            if (count == PARTS)
                return 0;
            parts[count++] = to;
            memcpy(to, name + at, length);
            to[length] = '\0';
            to += length + 1;
        }
        at += length + 1;
    }
    return count;
}

static void parse(const char *list)
{
    for (const char *at = list; *at && find.count < NAMES;) {
        size_t bytes = strcspn(at, ",");
        const char *colon = memchr(at, ':', bytes);
        wanted *w = &find.names[find.count];
        if (colon && bytes < TEXT_MOST - 2) {
            size_t module = (size_t)(colon - at);
            memcpy(w->text, at, module);
            w->module = w->text;
            w->count = split(colon + 1, bytes - module - 1, w->text + module + 1, w->parts);
            find.count += w->count != 0;
        }
        at += bytes + (at[bytes] == ',');
    }
}

/* The last part of what a code object is called: before 3.11 it knows no other. */
static void last_part(void *code, char *to, size_t room)
{
    char bytes[TEXT_MOST];
    uint32_t n = hl_python_text(HL_AT(void *, code, hl_python.layout->name), bytes, sizeof bytes - 1);
    bytes[n] = '\0';
    const char *dot = strrchr(bytes, '.'), *part = dot ? dot + 1 : bytes;
    snprintf(to, room, "%s", part);
}

/* "app" for "/home/me/app.py"; for __main__.py the folder's. */
static bool is_file_of(void *file, const char *module)
{
    char bytes[TEXT_MOST];
    uint32_t n = hl_python_text(file, bytes, sizeof bytes - 1);
    bytes[n] = '\0';
    if (n > 3 && strcmp(bytes + n - 3, ".py") == 0)
        bytes[n - 3] = '\0';
    char *slash = strrchr(bytes, '/');
    if (slash && strcmp(slash, "/__main__") == 0) {
        *slash = '\0';
        slash = strrchr(bytes, '/');
    }
    const char *dot = strrchr(module, '.');
    return strcmp(slash ? slash + 1 : bytes, dot ? dot + 1 : module) == 0;
}

static bool is_module(const wanted *w, const char *module, void *file)
{
    return strcmp(w->module, module) == 0 || (strcmp(module, "__main__") == 0 && is_file_of(file, w->module));
}

/* ------------------------------------------------------------------------------------------------------ finding */

static void found(const wanted *w, void *code, const char *name, size_t bytes)
{
    hl_session *s = hl_tracker.session;
    atomic_fetch_or(&s->lines_found, UINT64_C(1) << (w - find.names));
    hl_lines_register(code, name, bytes, s->line_rss ? HL_LINES_RSS : 0);
}

static bool is_code(void *object) { return HL_AT(char *, object, hl_python.layout->type) == hl_python.code_type; }

static bool is_function(void *code)
{
    void *flags = hl_py_api.attribute(code, "co_flags");
    bool is = flags && hl_py_api.as_long(flags) & OPTIMIZED;
    if (flags)
        hl_py_api.decrease(flags);
    return is;
}

/* In the constants of `code`, those called parts[depth..]. `name` is what `code` is called, with a dot behind, or empty. */
static void search(const wanted *w, void *code, uint32_t depth, char *name, size_t bytes)
{
    void *constants = hl_py_api.attribute(code, "co_consts");
    intptr_t count = constants ? find.size(constants) : 0;
    for (intptr_t i = 0; i < count; i++) {
        void *inner = find.item(constants, i); /* borrowed */
        if (!inner || !is_code(inner))
            continue;
        const char *part = w->parts[depth];
        char called[TEXT_MOST];
        last_part(inner, called, sizeof called);
        size_t room = NAME_MOST - bytes, end = bytes + strlen(part);
        if (strcmp(called, part) != 0 || strlen(part) + sizeof ".<locals>." > room)
            continue;
        if (depth + 1 == w->count) {
            snprintf(name + bytes, room, "%s", part);
            found(w, inner, name, end);
            continue;
        }
        const char *joint = is_function(inner) ? ".<locals>." : ".";
        snprintf(name + bytes, room, "%s%s", part, joint);
        search(w, inner, depth + 1, name, end + strlen(joint));
    }
    if (constants)
        hl_py_api.decrease(constants);
}

static void seen_module(void *code, const char *module, void *file)
{
    char name[NAME_MOST];
    for (uint32_t i = 0; i < find.count; i++) {
        if (is_module(&find.names[i], module, file))
            search(&find.names[i], code, 0, name, 0);
    }
}

static void seen_function(void *code, const char *module, void *file)
{
    char name[TEXT_MOST], copy[TEXT_MOST + PARTS];
    const char *parts[PARTS];
    uint32_t bytes = hl_python_text(HL_AT(void *, code, hl_python.layout->name), name, sizeof name);
    uint32_t count = split(name, bytes, copy, parts);
    for (uint32_t i = 0; count && i < find.count; i++) {
        const wanted *w = &find.names[i];
        bool same = count == w->count && is_module(w, module, file);
        for (uint32_t k = 0; same && k < count; k++)
            same = strcmp(parts[k], w->parts[k]) == 0;
        if (same)
            found(w, code, name, bytes);
    }
}

static bool is_part_of_some(const char *part)
{
    for (uint32_t i = 0; i < find.count; i++) {
        if (strcmp(part, find.names[i].parts[find.names[i].count - 1]) == 0)
            return true;
    }
    return false;
}

static bool module_of(void *globals, char *to, size_t room)
{
    void *name = globals ? find.value(globals, "__name__") : NULL; /* borrowed */
    if (!name || HL_AT(void *, name, hl_python.layout->type) != find.text_type)
        return false;
    to[hl_python_text(name, to, (uint32_t)room - 1)] = '\0';
    return true;
}

/* A code object runs, for the first time as far as is known. */
static void seen(void *code, void *globals)
{
    char part[TEXT_MOST], module[TEXT_MOST];
    last_part(code, part, sizeof part);
    bool is_module_code = strcmp(part, "<module>") == 0;
    if (!is_module_code && (hl_python.version < 0x30b || !is_part_of_some(part)))
        return;
    void *error[3] = {0}, *file = HL_AT(void *, code, hl_python.layout->file_name);
    hl_wire_writer *w = hl_lines_hide();
    hl_py_api.fetch_error(&error[0], &error[1], &error[2]);
    if (module_of(globals, module, sizeof module)) {
        if (is_module_code)
            seen_module(code, module, file);
        else
            seen_function(code, module, file);
    }
    hl_py_api.clear_error();
    hl_py_api.restore_error(error[0], error[1], error[2]);
    hl_lines_show(w);
}

void hl_lines_seen(void *code, void *globals)
{
    if (!hl_lines.finding)
        return;
    if (hl_python.version >= 0x30c) {
        seen(code, globals);
        return;
    }
    uint64_t key = hl_wire_mix(0, (uint64_t)code, hl_python_generation(code));
    _Atomic uint64_t *known = &find.known[key % KNOWN];
    if (HL_LIKELY(atomic_load_explicit(known, memory_order_relaxed) == key))
        return;
    seen(code, globals);
    atomic_store_explicit(known, key, memory_order_relaxed);
}

/* --------------------------------------------------------------------------------------------- beginning and end */

void hl_lines_find_begin(void)
{
    find.count = 0;
    hl_lines.finding = false;
    const char *list = hl_tracker.session->lines;
    if (!*list || (!find.names && !(find.names = hl_os_pages(NAMES * sizeof *find.names))))
        return;
    memset(find.names, 0, NAMES * sizeof *find.names);
    atomic_store(&find.asked, false);
    parse(list);
}

bool hl_lines_find_wanted(void) { return find.count != 0; }

int hl_lines_find_start(void)
{
    if (!find.count || hl_lines.finding)
        return 0;
    *(void **)&find.size = dlsym(RTLD_DEFAULT, "PyTuple_Size");
    *(void **)&find.item = dlsym(RTLD_DEFAULT, "PyTuple_GetItem");
    *(void **)&find.value = dlsym(RTLD_DEFAULT, "PyDict_GetItemString");
    find.text_type = dlsym(RTLD_DEFAULT, "PyUnicode_Type");
    if (!hl_py_find() || !find.size || !find.item || !find.value || !find.text_type)
        return -ENOTSUP;
    hl_lines.finding = true;
    int error = hl_lines_watch_starts();
    if (error)
        hl_lines.finding = false;
    return error;
}

/* Called by the interpreter at its next safe point, on the main thread. */
static int start_now(void *unused)
{
    if (hl_lines_find_start())
        hl_lines_note(hl_lines.reason);
    return 0;
}

void hl_lines_find_soon(void)
{
    if (atomic_exchange(&find.asked, true))
        return;
    int (*add)(int (*)(void *), void *);
    *(void **)&add = dlsym(RTLD_DEFAULT, "Py_AddPendingCall");
    if (add && add(start_now, NULL))
        atomic_store(&find.asked, false); /* its list is full: later */
}

void hl_lines_exit(void)
{
    hl_session *s = hl_tracker.session;
    if (!find.count || !hl_tracker.live.on || s->root_pid != (uint32_t)hl_tracker.pid)
        return;
    uint64_t found_names = atomic_load(&s->lines_found);
    for (uint32_t i = 0; i < find.count; i++) {
        if (found_names >> i & 1)
            continue;
        const wanted *w = &find.names[i];
        char text[TEXT_MOST + 64];
        int at = snprintf(text, sizeof text, "--lines: no code of a function called %s:", w->module);
        for (uint32_t k = 0; k < w->count && at > 0 && (size_t)at < sizeof text; k++)
            at += snprintf(text + at, sizeof text - (size_t)at, "%s%s", k ? "." : "", w->parts[k]);
        if (at > 0 && (size_t)at < sizeof text)
            snprintf(text + at, sizeof text - (size_t)at, " has been loaded");
        hl_lines_note(text);
    }
}
