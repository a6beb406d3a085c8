/*
 * lines_monitoring.c - lines by sys.monitoring (PEP 669), 3.12 and later.
 *
 * LINE, PY_RETURN, PY_YIELD and PY_RESUME are asked for of the profiled code objects only; PY_UNWIND and PY_THROW exist for the
 * whole interpreter only, and are left at once where the thread is in no line. PY_START is not needed: a call is entered with
 * its first line. But since 3.13 there is no LINE for an instruction that follows one of its own line, and the one that begins a
 * call is of the line of the head; unless that one has an event, too. So functions that start in their head (`def f(): return x`)
 * have PY_START asked for, which does nothing.
 *
 * Callbacks are built-in functions made here (PyCFunction_NewEx). They call nothing of Python's and raise nothing. What asking
 * for events allocates is ours, and is not recorded.
 */
#include "lines_boxes.h"
#include "lines_python.h"
#include "lines_stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HL_AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

static struct {
    void *monitoring;                                                      /* sys.monitoring; a reference is kept */
    void *tool;                                                            /* our number, an int */
    void *use, *unuse, *register_callback, *set_events, *set_local_events; /* its functions */
    void *restart;
    long sets[3];           /* of events, by EVENTS.set */
    void *disable;          /* sys.monitoring.DISABLE; a reference is kept */
    void *(*globals)(void); /* PyEval_GetGlobals: borrowed */
    uint16_t digit;         /* where an int below 2 ** 30 has its value */
} monitoring;

enum { NO_LINE_IN_HEAD_SINCE = 0x30d };

/* The code object of which this thread is being told that it starts. */
static __thread const void *starting __attribute__((tls_model("initial-exec")));

/* A line number or an offset: both are below 2 ** 30, and an int of this size is one digit. */
static HL_ALWAYS uint32_t value_of(void *integer) { return HL_AT(uint32_t, integer, monitoring.digit); }

/* The function, ready to be counted; NULL: it is none of ours, or nothing is recorded. */
static HL_ALWAYS hl_line_code *code_of(void *code)
{
    hl_line_code *c = hl_line_code_find(code);
    if (HL_UNLIKELY(!c))
        return NULL;
    if (HL_UNLIKELY(atomic_load_explicit(&c->recording, memory_order_acquire) != hl_tracker.live.lines) &&
        !hl_line_code_begin_here(c))
        return NULL;
    return c;
}

static void *on_line(void *self, void *const *arguments, intptr_t count)
{
    uint32_t number = value_of(arguments[1]);
    hl_line_check_box(arguments[1], number);
    hl_line_code *c = code_of(arguments[0]);
    if (HL_LIKELY(c != NULL)) {
        uint32_t line = number - c->first_line;
        if (HL_LIKELY(line < c->lines)) {
            hl_line_count(c, line);
            hl_line_enter(c, hl_line_present_frame(), line);
        }
    }
    return hl_py_api.none;
}

static void *on_leave(void *self, void *const *arguments, intptr_t count)
{
    hl_line_check_box(arguments[1], value_of(arguments[1]));
    if (HL_LIKELY(hl_line_self != NULL) && hl_line_code_find(arguments[0]))
        hl_line_leave(hl_line_present_frame());
    return hl_py_api.none;
}

/* A suspended call goes on, in the line in which it was. */
static void *on_resume(void *self, void *const *arguments, intptr_t count)
{
    uint32_t offset = value_of(arguments[1]);
    hl_line_check_box(arguments[1], offset);
    hl_line_code *c = code_of(arguments[0]);
    if (c) {
        uint32_t unit = offset / 2;
        uint32_t line = unit < c->units ? c->line_of[unit] : 0;
        if (line)
            hl_line_enter(c, hl_line_present_frame(), line - 1);
    }
    return hl_py_api.none;
}

/* Without an event of the instruction that begins a call, its first line has none. */
static bool needs_start(const hl_line_code *c)
{
    return c && c->starts_in_head && hl_python.version >= NO_LINE_IN_HEAD_SINCE;
}

/* Told once of each code object, while functions are looked for; and of each call of those that need it. */
static void *on_start(void *self, void *const *arguments, intptr_t count)
{
    if (needs_start(hl_line_code_find(arguments[0])))
        return hl_py_api.none;
    starting = arguments[0];
    hl_lines_seen(arguments[0], monitoring.globals());
    starting = NULL;
    if (needs_start(hl_line_code_find(arguments[0])))
        return hl_py_api.none;
    hl_py_api.increase(monitoring.disable);
    return monitoring.disable;
}

static hl_py_method METHODS[] = {
    {"heapline_line", on_line, HL_PY_METH_FASTCALL, NULL},
    {"heapline_leave", on_leave, HL_PY_METH_FASTCALL, NULL},
    {"heapline_resume", on_resume, HL_PY_METH_FASTCALL, NULL},
    {"heapline_start", on_start, HL_PY_METH_FASTCALL, NULL},
};
static const struct {
    const char *name;
    hl_py_method *method;
    enum { LOCAL, GLOBAL, FINDING } set;
} EVENTS[] = {
    {"LINE", &METHODS[0], LOCAL},       {"PY_RETURN", &METHODS[1], LOCAL},  {"PY_YIELD", &METHODS[1], LOCAL},
    {"PY_RESUME", &METHODS[2], LOCAL},  {"PY_UNWIND", &METHODS[1], GLOBAL}, {"PY_THROW", &METHODS[2], GLOBAL},
    {"PY_START", &METHODS[3], FINDING},
};

static int fail(const char *what)
{
    hl_py_api.clear_error();
    snprintf(hl_lines.reason, sizeof hl_lines.reason, "lines cannot be profiled: %s", what);
    return -ENOTSUP;
}

static bool call(void *function, void *a, void *b, void *c)
{
    void *result = function && a ? hl_py_api.call(function, a, b, c, NULL) : NULL;
    if (!result)
        hl_py_api.clear_error();
    else
        hl_py_api.decrease(result);
    return result != NULL;
}

static bool call_with_number(void *function, void *a, void *b, long number)
{
    void *integer = hl_py_api.integer(number);
    bool good = integer && (b ? call(function, a, b, integer) : call(function, a, integer, NULL));
    if (integer)
        hl_py_api.decrease(integer);
    return good;
}

static bool find_functions(void)
{
    void *m = monitoring.monitoring = hl_py_api.sys("monitoring");
    if (!m)
        return false;
    hl_py_api.increase(m);
    monitoring.use = hl_py_api.attribute(m, "use_tool_id");
    monitoring.unuse = hl_py_api.attribute(m, "free_tool_id");
    monitoring.register_callback = hl_py_api.attribute(m, "register_callback");
    monitoring.set_events = hl_py_api.attribute(m, "set_events");
    monitoring.set_local_events = hl_py_api.attribute(m, "set_local_events");
    monitoring.restart = hl_py_api.attribute(m, "restart_events");
    monitoring.disable = hl_py_api.attribute(m, "DISABLE");
    *(void **)&monitoring.globals = dlsym(RTLD_DEFAULT, "PyEval_GetGlobals");
    monitoring.digit = hl_python.layout->bytes_size + 8;
    return monitoring.use && monitoring.unuse && monitoring.register_callback && monitoring.set_events &&
           monitoring.set_local_events && monitoring.restart && monitoring.disable && monitoring.globals;
}

/* PROFILER_ID, else one that nobody knows by a name, else one that is free. */
static bool take_tool(void)
{
    static const char PREFERRED[] = {2, 3, 4, 5, 1, 0};
    void *name = hl_py_api.text("heapline");
    monitoring.tool = NULL;
    for (size_t i = 0; name && i < sizeof PREFERRED && !monitoring.tool; i++) {
        void *number = hl_py_api.integer(PREFERRED[i]);
        if (number && call(monitoring.use, number, name, NULL))
            monitoring.tool = number;
        else if (number)
            hl_py_api.decrease(number);
    }
    if (name)
        hl_py_api.decrease(name);
    return monitoring.tool != NULL;
}

static bool register_all(bool on)
{
    void *events = hl_py_api.attribute(monitoring.monitoring, "events");
    bool good = events != NULL;
    memset(monitoring.sets, 0, sizeof monitoring.sets);
    for (size_t i = 0; good && i < sizeof EVENTS / sizeof *EVENTS; i++) {
        void *event = hl_py_api.attribute(events, EVENTS[i].name);
        void *function = on ? hl_py_api.function(EVENTS[i].method, NULL, NULL) : hl_py_api.none;
        good = event && function && call(monitoring.register_callback, monitoring.tool, event, function);
        if (event) {
            monitoring.sets[EVENTS[i].set] |= hl_py_api.as_long(event);
            hl_py_api.decrease(event);
        }
        if (function && on)
            hl_py_api.decrease(function);
    }
    if (events)
        hl_py_api.decrease(events);
    return good;
}

static bool watch(void *code, long events)
{
    return call_with_number(monitoring.set_local_events, monitoring.tool, code, events);
}
static bool watch_for_learning(void *code) { return watch(code, monitoring.sets[LOCAL]); }

int hl_lines_monitoring_start(void)
{
    hl_wire_writer *w = hl_lines_hide();
    const char *why = NULL;
    if (!monitoring.monitoring && !find_functions())
        why = "sys.monitoring is not as expected";
    else if (!take_tool())
        why = "all tool ids of sys.monitoring are in use";
    else if (!register_all(true) ||
             !call_with_number(monitoring.set_events, monitoring.tool, NULL, monitoring.sets[GLOBAL])) {
        call(monitoring.unuse, monitoring.tool, NULL, NULL);
        why = "sys.monitoring refuses callbacks";
    }
    int error = why ? fail(why) : 0;
    if (!error) {
        hl_line_boxes_learn(watch_for_learning);
        hl_line_boxes_set(true);
    }
    hl_lines_show(w);
    return error;
}

int hl_lines_monitoring_watch(hl_line_code *c, bool on)
{
    hl_wire_writer *w = hl_lines_hide();
    bool needs = needs_start(c);
    bool good = watch(c->code, on ? monitoring.sets[LOCAL] | (needs ? monitoring.sets[FINDING] : 0) : 0);
    if (good && on && needs && hl_lines.finding && c->code != starting) {
        /* It may have run before, when it was of no interest and its PY_START was disabled. */
        void *result = hl_py_api.call(monitoring.restart, NULL);
        if (result)
            hl_py_api.decrease(result);
        good = result != NULL;
    }
    int error = good ? 0 : fail("sys.monitoring refuses events of a code object");
    hl_lines_show(w);
    return error;
}

int hl_lines_monitoring_find(void)
{
    hl_wire_writer *w = hl_lines_hide();
    bool good = call_with_number(monitoring.set_events, monitoring.tool, NULL,
                                 monitoring.sets[GLOBAL] | monitoring.sets[FINDING]);
    int error = good ? 0 : fail("sys.monitoring refuses events of all code");
    hl_lines_show(w);
    return error;
}

void hl_lines_monitoring_stop(void)
{
    hl_wire_writer *w = hl_lines_hide();
    hl_line_boxes_set(false);
    call_with_number(monitoring.set_events, monitoring.tool, NULL, 0);
    register_all(false);
    call(monitoring.unuse, monitoring.tool, NULL, NULL);
    hl_py_api.decrease(monitoring.tool);
    monitoring.tool = NULL;
    hl_lines_show(w);
}
