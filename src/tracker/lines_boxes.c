/*
 * lines_boxes.c - allocations of the interpreter's that are ours, not the program's: they must not be recorded, or each line of
 * a profiled function would allocate.
 *
 * sys.monitoring hands over line numbers and offsets as ints. One above 256 is made for the occasion (PyLong_FromLong) and freed
 * behind the callback. And each code object gets data for events when it is next called, once a tool has asked for an event of the
 * whole interpreter's, as ours has.
 *
 * Both are known by who asks. In the hook the return address into the interpreter's function that makes such a thing lies at a
 * fixed distance, since between it and the hook are the same few functions each time. Where, and which address, is learned: a
 * callback is called by the same function that made its int before, so the outermost word at which the stack had another return
 * address then, near the present one, is that function's call. Learned from functions that are compiled and run for it, before the
 * program's; and again when a callback gets an int that was not recognised (tracemalloc was started: the way is longer).
 */
#include "lines_boxes.h"

#include "lines_python.h"
#include "lines_stack.h"
#include "python.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

__thread void *hl_line_box __attribute__((tls_model("initial-exec")));

enum {
    WORDS = 160, /* of the stack above a hook that are looked at */
    SITES = 16,
    NEAR = 1 << 16, /* bytes between two calls of one function */
    BLANK_LINES = 400,
    STATEMENTS = 16, /* more than 256 bytes of instructions */
    ROUNDS = 4,
    MISSES_TOLD = 1000,
    DATA_SAMPLES = 3,
    MOST_FUNCTION_BYTES = 256, /* of PyMem_Malloc */
};

/* A way into a hook: the hook's own return address, and the one that lies `place` words above its frame. */
typedef struct site {
    uint64_t caller, address;
    uint32_t place;
    uint32_t samples;
} site;

static struct {
    site sites[SITES];
    _Atomic uint32_t count;
    site data[SITES];
    _Atomic uint32_t data_count;
    site candidates[SITES];         /* for `data`, and how often each was seen */
    uint64_t box_bytes, data_bytes; /* their sizes; 0: not known yet */
    uint64_t data_malloc;           /* PyMem_Malloc */
    _Atomic uint64_t misses;
    _Atomic(void **) learner; /* &hl_line_box of the thread whose allocations are looked at; NULL: none */
    bool learning_data;
    /* The learner's last allocation that could be one. */
    const void *made;
    uint64_t base, words[WORDS];
} boxes;

static bool is_code(uint64_t address) { return hl_python_has((const void *)address); }

static bool is_known(const site *sites, uint32_t count, const uint64_t *frame)
{
    for (uint32_t i = 0; i < count; i++) {
        if (frame[sites[i].place] == sites[i].address && frame[1] == sites[i].caller)
            return true;
    }
    return false;
}

static void add_site(site *sites, _Atomic uint32_t *count, site new)
{
    uint32_t n = atomic_load(count);
    if (n == SITES)
        return;
    sites[n] = new;
    atomic_store_explicit(count, n + 1, memory_order_release);
}

bool hl_line_is_box(const uint64_t *frame)
{
    return is_known(boxes.sites, atomic_load_explicit(&boxes.count, memory_order_acquire), frame);
}

void hl_line_no_box(const uint64_t *frame, const void *p)
{
    if (HL_LIKELY(atomic_load_explicit(&boxes.learner, memory_order_relaxed) != &hl_line_box))
        return;
    boxes.base = (uint64_t)frame;
    boxes.made = p;
    memcpy(boxes.words, frame, sizeof boxes.words);
}

static void learn(const void *callback_frame)
{
    for (uint32_t i = WORDS - 1; i > 1; i--) {
        uint64_t at = boxes.base + i * 8;
        if (at <= (uint64_t)callback_frame)
            return;
        uint64_t then = boxes.words[i], now = *(const uint64_t *)at;
        if (then != now && is_code(then) && is_code(now) && then - now + NEAR < 2 * (uint64_t)NEAR) {
            add_site(boxes.sites, &boxes.count, (site){.caller = boxes.words[1], .address = then, .place = i});
            return;
        }
    }
}

HL_COLD void hl_line_box_missed(const void *integer, const void *frame)
{
    if (!hl_tracker.live.box_bytes)
        return;
    void **learner = atomic_load(&boxes.learner);
    if (learner == &hl_line_box && boxes.made == integer) {
        learn(frame);
        boxes.made = NULL;
        if (!boxes.learning_data)
            atomic_store(&boxes.learner, NULL);
    } else if (hl_python.version < 0x30e) { /* later they may come from a free list */
        boxes.made = NULL;
        atomic_store(&boxes.learner, &hl_line_box);
        if (atomic_fetch_add(&boxes.misses, 1) + 1 == MISSES_TOLD)
            hl_lines_note(
                "the interpreter makes a line number above 256 an object of 32 bytes for the line profiler, and these "
                "could not be told apart: they are counted as the lines' own");
    }
}

/* ---------------------------------------------------------------------------------------------- data for events */

/* The way is told by the hook's return address; where that is in PyMem_Malloc itself, by the next one further out. */
static site data_site(const uint64_t *frame)
{
    site s = {.caller = frame[1], .address = frame[1], .place = 1};
    while (frame[s.place] - boxes.data_malloc < MOST_FUNCTION_BYTES || !is_code(frame[s.place])) {
        if (++s.place == WORDS)
            return (site){0};
    }
    s.address = frame[s.place];
    return s;
}

bool hl_line_is_data(const uint64_t *frame)
{
    if (is_known(boxes.data, atomic_load_explicit(&boxes.data_count, memory_order_acquire), frame))
        return true;
    if (HL_LIKELY(!boxes.learning_data) || atomic_load_explicit(&boxes.learner, memory_order_relaxed) != &hl_line_box)
        return false;
    site s = data_site(frame);
    for (uint32_t i = 0; s.place && i < SITES; i++) {
        site *c = &boxes.candidates[i];
        if (c->samples && (c->address != s.address || c->place != s.place || c->caller != s.caller))
            continue;
        s.samples = c->samples + 1;
        *c = s;
        if (s.samples == DATA_SAMPLES)
            add_site(boxes.data, &boxes.data_count, s);
        break;
    }
    return false;
}

/* ---------------------------------------------------------------------------------------------------- learning */

typedef struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} allocator;

enum { MEM = 1, FILE_INPUT = 257 };

/* What the first allocation of that domain asks for, while it stands there. */
static struct {
    allocator real;
    uint64_t bytes;
} seen;

static void *seen_malloc(void *unused, size_t bytes)
{
    if (!seen.bytes)
        seen.bytes = bytes;
    return seen.real.malloc(seen.real.context, bytes);
}
static void *seen_calloc(void *unused, size_t count, size_t size)
{
    if (!seen.bytes)
        seen.bytes = count * size;
    return seen.real.calloc(seen.real.context, count, size);
}
static void *seen_realloc(void *unused, void *p, size_t bytes)
{
    return seen.real.realloc(seen.real.context, p, bytes);
}
static void seen_free(void *unused, void *p) { seen.real.free(seen.real.context, p); }

/* Asks for events of a code object that has no data yet: the first thing allocated is that. */
static uint64_t data_bytes_of(bool (*watch)(void *code), void *code)
{
    void (*get)(int, allocator *), (*set)(int, const allocator *);
    *(void **)&get = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    *(void **)&set = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    if (!get || !set || hl_python.flags & 1) /* without a GIL others may be in there */
        return 72;
    seen.bytes = 0;
    get(MEM, &seen.real);
    set(MEM, &(allocator){NULL, seen_malloc, seen_calloc, seen_realloc, seen_free});
    bool good = watch(code);
    set(MEM, &seen.real);
    return good ? seen.bytes : 0;
}

/* Each line of these, and each of its other events, comes with an int that is made for it; ints that are kept empty the list of
 * free ones (3.14). `d` and `e` have no data for events until they are called. */
static void *compile(void)
{
    static const char HEAD[] = "it = iter(range(1000, 100000))\n"
                               "keep = list(map(int, [next(it) for x in range(300)]))\n"
                               "put = keep.append\n"
                               "def d(): pass\n"
                               "def e(): pass\n"
                               "def f():\n";
    static const char STATEMENT[] = "  put(next(it))\n";
    static const char TAIL[] = "  try:\n"
                               "    yield put(next(it))\n"
                               "  except ValueError:\n"
                               "    put(next(it))\n"
                               "    yield put(next(it))\n"
                               "  put(next(it))\n"
                               "  yield put(next(it))\n"
                               "  put(next(it))\n"
                               "  if put(next(it)): return\n"
                               "  raise KeyError(put(next(it)))\n"
                               "def g():\n"
                               "  try: yield\n"
                               "  finally: put(next(it))\n"
                               "def run():\n"
                               "  d(); e()\n"
                               "  i = f()\n"
                               "  next(i); put(next(it))\n"
                               "  i.throw(ValueError); put(next(it))\n"
                               "  next(i); put(next(it))\n"
                               "  try: next(i)\n"
                               "  except KeyError: pass\n"
                               "  put(next(it))\n"
                               "  h()\n"
                               "def h():\n";
    void *(*compile_text)(const char *, const char *, int, void *, int);
    *(void **)&compile_text = dlsym(RTLD_DEFAULT, "Py_CompileStringExFlags");
    size_t room = BLANK_LINES + 2 * STATEMENTS * sizeof STATEMENT + sizeof HEAD + sizeof TAIL, at = BLANK_LINES;
    char *text = hl_os_pages(room);
    if (!text || !compile_text)
        return NULL;
    memset(text, '\n', at);
#define HL_ADD(what) (memcpy(text + at, what, sizeof(what) - 1), at += sizeof(what) - 1)
    HL_ADD(HEAD);
    for (int i = 0; i < STATEMENTS; i++)
        HL_ADD(STATEMENT);
    HL_ADD(TAIL);
    for (int i = 0; i < STATEMENTS; i++)
        HL_ADD(STATEMENT);
#undef HL_ADD
    text[at] = '\0';
    void *code = compile_text(text, "<heapline>", FILE_INPUT, NULL, -1);
    hl_os_give_back(text, room);
    return code;
}

static void *code_of(void *globals, const char *name)
{
    void *(*item)(void *, const char *);
    *(void **)&item = dlsym(RTLD_DEFAULT, "PyDict_GetItemString"); /* borrowed */
    void *function = item ? item(globals, name) : NULL;
    return function ? hl_py_api.attribute(function, "__code__") : NULL;
}

static void run(void *globals)
{
    void *(*item)(void *, const char *);
    *(void **)&item = dlsym(RTLD_DEFAULT, "PyDict_GetItemString");
    void *function = item ? item(globals, "run") : NULL;
    void *result = function ? hl_py_api.call(function, NULL) : NULL;
    if (result)
        hl_py_api.decrease(result);
}

void hl_line_boxes_learn(bool (*watch)(void *code))
{
    void *(*new_dict)(void), *(*evaluate)(void *, void *, void *);
    void (*clear)(void *);
    int (*disable)(void), (*enable)(void);
    *(void **)&new_dict = dlsym(RTLD_DEFAULT, "PyDict_New");
    *(void **)&evaluate = dlsym(RTLD_DEFAULT, "PyEval_EvalCode");
    *(void **)&clear = dlsym(RTLD_DEFAULT, "PyDict_Clear");
    *(void **)&disable = dlsym(RTLD_DEFAULT, "PyGC_Disable");
    *(void **)&enable = dlsym(RTLD_DEFAULT, "PyGC_Enable");
    if (!new_dict || !evaluate || !clear || !disable || !enable || boxes.data_bytes)
        return;
    bool collects = disable();
    boxes.data_malloc = (uint64_t)dlsym(RTLD_DEFAULT, "PyMem_Malloc");
    uint64_t head = hl_python.layout->bytes_size; /* of an object; an int of one digit is 12 bytes more, before 3.13 */
    boxes.box_bytes = head + 12;
    for (int round = 0; round < ROUNDS; round++) {
        if (round == 1 && !atomic_load(&boxes.count))
            boxes.box_bytes = head + 16;
        void *code = compile(), *globals = new_dict();
        void *result = code && globals ? evaluate(code, globals, globals) : NULL;
        void *f = result ? code_of(globals, "f") : NULL, *h = result ? code_of(globals, "h") : NULL;
        if (f && h) {
            if (!boxes.data_bytes)
                boxes.data_bytes = data_bytes_of(watch, f);
            hl_line_boxes_set(true);
            watch(f);
            watch(h);
            atomic_store(&boxes.learner, &hl_line_box);
            boxes.learning_data = true;
            run(globals);
            boxes.learning_data = false;
            atomic_store(&boxes.learner, NULL);
        }
        if (globals)
            clear(globals); /* its functions refer to it */
        void *objects[] = {f, h, result, globals, code};
        for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
            if (objects[i])
                hl_py_api.decrease(objects[i]);
        }
    }
    hl_py_api.clear_error();
    atomic_store(&boxes.misses, 0);
    if (collects)
        enable();
}

void hl_line_boxes_set(bool on)
{
    on = on && hl_python.recording == HL_RECORDING_OBJECTS;
    hl_tracker.live.box_bytes = on ? boxes.box_bytes : 0;
    hl_tracker.live.data_bytes = on ? boxes.data_bytes : 0;
}
