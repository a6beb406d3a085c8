/*
 * python_names.c - names of Python's threads (threading.Thread.name), as they are when the thread starts.
 *
 * Thread.start calls pthread_create with the GIL held, from its own frame, in ordinary C code: there, and not in a hook of
 * an allocation, the interpreter may be asked for self._name. Only what cannot run Python code is asked, and only where
 * self is an ordinary object that has _name itself. The new thread tells its name before anything else.
 *
 * Threads that ran before a recording began have their names told by the Python package (inside.h), and tell them with their first
 * event.
 *
 * Owns the hook of pthread_create and a few places for names on their way; without a free place a thread has no name.
 */
#include "python.h"
#include "python_private.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#define HL_AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

enum { PLACES = 64, NAME_BYTES = 96 };
enum { TP_GETATTRO = 144, TP_GETATTRO_FREE_THREADED = 160 }; /* PyTypeObject, in all versions */

typedef struct place {
    _Atomic bool used;
    void *(*start)(void *);
    void *argument;
    uint32_t bytes;
    char name[NAME_BYTES];
} place;

static struct {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    char *(*intern)(const char *);
    char *(*type_lookup)(char *, char *);
    char *(*get_attribute)(char *, char *);
    void (*clear_error)(void);
    void (*give_back)(char *);
    char *text_type;
    bool ready;
    place places[PLACES];
} names;

void hl_python_names_find(void)
{
    bool is_two = hl_python.version == 0x207;
    *(void **)&names.intern = dlsym(RTLD_DEFAULT, is_two ? "PyString_InternFromString" : "PyUnicode_InternFromString");
    *(void **)&names.type_lookup = dlsym(RTLD_DEFAULT, "_PyType_Lookup");
    *(void **)&names.get_attribute = dlsym(RTLD_DEFAULT, "PyObject_GenericGetAttr");
    *(void **)&names.clear_error = dlsym(RTLD_DEFAULT, "PyErr_Clear");
    *(void **)&names.give_back = dlsym(RTLD_DEFAULT, "Py_DecRef");
    names.text_type = dlsym(RTLD_DEFAULT, is_two ? "PyString_Type" : "PyUnicode_Type");
    names.ready = names.intern && names.type_lookup && names.get_attribute && names.clear_error && names.give_back &&
                  names.text_type;
}

/* The calling thread's state if it holds the GIL (is attached); else NULL. */
static char *attached_state(void)
{
    char *state = hl_python.state_variable ? *hl_python.state_variable : hl_python.state_getter();
    if (!hl_python.layout->has_global_state)
        return state;
    if (hl_python.state_of_thread)
        return state && hl_python.state_of_thread() == state ? state : NULL;
    return state && HL_AT(uint64_t, state, hl_python.layout->thread_id) == (uint64_t)pthread_self() ? state : NULL;
}

static bool is_text(const char *object, const char *expected)
{
    char bytes[NAME_BYTES];
    uint32_t n = hl_python_text(object, bytes, sizeof bytes);
    size_t length = strlen(expected);
    return n >= length && memcmp(bytes + n - length, expected, length) == 0;
}

/* The Thread whose start() stands on top of the stack; NULL: it is none. */
static char *starting_thread(char *state)
{
    const hl_layout *L = hl_python.layout;
    char *frame = L->cframe ? HL_AT(char *, state, L->cframe) : state;
    frame = frame ? HL_AT(char *, frame, L->frame) : NULL;
    if (!frame)
        return NULL;
    uint64_t mask = L->code_tagged ? ~UINT64_C(3) : ~UINT64_C(0);
    char *code = (char *)(HL_AT(uint64_t, frame, L->code) & mask);
    if (!code || HL_AT(char *, code, L->type) != hl_python.code_type)
        return NULL;
    if (!is_text(HL_AT(char *, code, L->name), hl_python.version >= 0x30b ? "Thread.start" : "start") ||
        !is_text(HL_AT(char *, code, L->file_name), "threading.py"))
        return NULL;
    return (char *)(HL_AT(uint64_t, frame, L->locals_first) & mask);
}

/* self._name of a thread that is being started, as UTF-8; 0: it has none that can be read safely. */
static uint32_t read_name(char *to, uint32_t room)
{
    char *state = attached_state();
    char *self = state ? starting_thread(state) : NULL;
    if (!self)
        return 0;
    char *type = HL_AT(char *, self, hl_python.layout->type);
    void *getter = HL_AT(void *, type, hl_python.flags & 1 ? TP_GETATTRO_FREE_THREADED : TP_GETATTRO);
    if (getter != (void *)names.get_attribute)
        return 0;
    uint32_t bytes = 0;
    hl_wire_writer *w = hl_enter(HL_BELOW_FOREIGN); /* what we make and give back here is not the program's */
    char *key = names.intern(hl_python.version == 0x207 ? "_Thread__name" : "_name");
    if (key && !names.type_lookup(type, key)) {
        char *name = names.get_attribute(self, key);
        if (name && HL_AT(char *, name, hl_python.layout->type) == names.text_type)
            bytes = hl_python_text(name, to, room);
        if (name)
            names.give_back(name);
    }
    if (key)
        names.give_back(key);
    names.clear_error();
    if (w)
        hl_leave(w);
    return bytes;
}

static void *start_named(void *value)
{
    place *p = value;
    void *(*start)(void *) = p->start;
    void *argument = p->argument;
    hl_wire_writer *w = hl_enter(0);
    if (w) {
        hl_put_text(w, HL_TEXT_PYTHON_NAME, p->name, p->bytes);
        hl_leave(w);
    }
    atomic_store(&p->used, false);
    return start(argument);
}

/* Names of threads that ran before; each is told once. */
enum { KNOWN = 1024 };
typedef struct known_name {
    _Atomic int32_t tid; /* 0: told */
    uint32_t bytes;
    char name[NAME_BYTES];
} known_name;
static struct {
    known_name *at; /* pages of their own */
    _Atomic uint32_t count;
} known;

void hl_python_name_known(int32_t tid, const char *name, size_t bytes)
{
    uint32_t n = atomic_load(&known.count);
    if (!tid) {
        atomic_store(&known.count, 0);
        return;
    }
    if (!known.at)
        known.at = hl_os_pages(KNOWN * sizeof *known.at);
    if (!known.at || n == KNOWN)
        return;
    known_name *k = &known.at[n];
    k->bytes = (uint32_t)(bytes < NAME_BYTES ? bytes : NAME_BYTES);
    memcpy(k->name, name, k->bytes);
    atomic_store(&k->tid, tid);
    atomic_store(&known.count, n + 1);
}

void hl_python_tell_name(hl_wire_writer *w)
{
    uint32_t n = atomic_load(&known.count);
    for (uint32_t i = 0; i < n; i++) {
        known_name *k = &known.at[i];
        int32_t tid = w->tid;
        if (atomic_compare_exchange_strong(&k->tid, &tid, 0)) {
            hl_put_text(w, HL_TEXT_PYTHON_NAME, k->name, k->bytes);
            return;
        }
    }
}

static place *take_place(void)
{
    for (int i = 0; i < PLACES; i++) {
        if (!atomic_load_explicit(&names.places[i].used, memory_order_relaxed) &&
            !atomic_exchange(&names.places[i].used, true))
            return &names.places[i];
    }
    return NULL;
}

HL_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                             void *argument)
{
    if (!names.real)
        *(void **)&names.real = hl_real_next("pthread_create");
    if (!names.real)
        return EAGAIN;
    char name[NAME_BYTES];
    uint32_t bytes = names.ready && hl_tracker.live.on && !hl_python.gave_up ? read_name(name, sizeof name) : 0;
    place *p = bytes ? take_place() : NULL;
    if (!p)
        return names.real(thread, attributes, start, argument);
    p->start = start;
    p->argument = argument;
    p->bytes = bytes;
    memcpy(p->name, name, bytes);
    int error = names.real(thread, attributes, start_named, p);
    if (error)
        atomic_store(&p->used, false);
    return error;
}
