/*
 * lines_trace.c - lines by tracing, CPython 3.8 to 3.11.
 *
 * The interpreter calls a function of ours for each frame that it runs (PEP 523). For a profiled one the thread's trace function is
 * ours; while a callee runs that is not profiled, it is the user's again, or none, so that callees run at full speed. A user's own
 * trace function (a debugger, coverage) gets all of its events, also those of profiled frames, through ours.
 *
 * The trace function is put in place by hand (PyThreadState.c_tracefunc, use_tracing): PyEval_SetTrace raises an audit event each
 * time. The object that belongs to it stays the user's, so sys.gettrace() says what it said.
 *
 * What must hold: `tracing` of the thread says what stands in c_tracefunc; whoever finds another function there takes it for the
 * user's new one.
 *
 * In 3.11 a call of Python by Python takes C stack only while frames are evaluated by a function like ours. So in a recursion
 * that goes too deep for that, ours is taken away until it comes back, and all frames are traced.
 */
#include "lines_python.h"
#include "lines_stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>

#define HL_AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

enum { WHAT_CALL, WHAT_EXCEPTION, WHAT_LINE, WHAT_RETURN }; /* PyTrace_CALL .. */
enum { STATE_INTERPRETER = 16, STATE_TRACING = 44, STATE_USE_TRACING = 48 };
enum { OBJECT_FRAME_311 = 24, EVALUATOR_38 = 568, POSSIBLE_38 = 588, POSSIBLE_39 = 68, TRACED_THREADS_MOST = 4096 };
enum { ADOPTED_MOST = 16 };
enum { FRAME_GLOBALS_311 = 8, FRAME_GLOBALS = 48 };
enum { THREAD_DEPTH_BYTES = 256 << 10, MAIN_DEPTH_BYTES = 4 << 20 };

typedef int trace_function(void *object, void *frame, int what, void *argument);
typedef void *evaluator(void *state, void *frame, int throw);
typedef void *evaluator_38(void *frame, int throw);

static struct {
    uint16_t tracefunc, profilefunc, object;
    int *possible; /* 3.8 and 3.9: how many threads are traced, which the interpreter asks first */
    evaluator *real;
    evaluator_38 *real_38;
    evaluator *(*get)(void *);
    void (*set)(void *, evaluator *);
    void *interpreter;
    bool installed;
    uint64_t main_depth_bytes;
} tracing;

/* The calling thread. */
static __thread __attribute__((tls_model("initial-exec"))) struct {
    trace_function *user; /* what stood in c_tracefunc; NULL: nothing */
    hl_line_code *code;   /* of the profiled frame that runs; NULL: none that is known here */
    char *frame;
    bool on;                     /* ours stands there */
    bool deep;                   /* and does so whatever runs */
    char *outer;                 /* stack address of the outermost frame */
    char *adopted[ADOPTED_MOST]; /* frames that ran already when their function was added: traced until they return */
    uint32_t adopted_count;
} here;

/* ------------------------------------------------------------------------------------------------ the interpreter */

static bool is_inside_tracer(char *state) { return HL_AT(int, state, STATE_TRACING) != 0; }

static HL_ALWAYS trace_function *present(char *state) { return HL_AT(trace_function *, state, tracing.tracefunc); }

static HL_ALWAYS void put_function(char *state, trace_function *function)
{
    trace_function **place = &HL_AT(trace_function *, state, tracing.tracefunc);
    if (tracing.possible)
        *tracing.possible += (function != NULL) - (*place != NULL);
    *place = function;
    bool any = function || HL_AT(void *, state, tracing.profilefunc);
    if (hl_python.version >= 0x30b)
        *HL_AT(uint8_t *, state, hl_python.layout->cframe) = any ? 255 : 0;
    else if (hl_python.version == 0x30a)
        *HL_AT(int *, state, hl_python.layout->loops) = any;
    else
        HL_AT(int, state, STATE_USE_TRACING) = any;
}

static HL_ALWAYS char *frame_of_object(void *object)
{
    return hl_python.version >= 0x30b ? HL_AT(char *, object, OBJECT_FRAME_311) : object;
}

static HL_ALWAYS uint32_t unit_of(const char *frame, const hl_line_code *c)
{
    const hl_layout *L = hl_python.layout;
    if (L->form == HL_AT_POINTER)
        return (uint32_t)((HL_AT(char *, frame, L->instruction) - ((char *)c->code + L->bytecode)) / 2);
    int last = HL_AT(int, frame, L->instruction);
    return last < 0 ? UINT32_MAX : (uint32_t)(L->form == HL_AT_UNITS ? last : last / 2);
}

/* Counts from 1; 0: it has none. */
static HL_ALWAYS uint32_t line_of(const char *frame, const hl_line_code *c)
{
    uint32_t unit = unit_of(frame, c);
    return unit < c->units ? c->line_of[unit] : 0;
}

/* Whether a call that begins to be traced was suspended before. In 3.11 it stands at its RESUME then, which says so. */
static bool is_resumed(const char *frame)
{
    const hl_layout *L = hl_python.layout;
    if (L->form == HL_AT_POINTER)
        return (HL_AT(const uint8_t *, frame, L->instruction)[1] & 3) != 0;
    return HL_AT(int, frame, L->instruction) >= 0;
}

/* Ready to be counted; NULL: it is none of ours, or nothing is recorded. */
static HL_ALWAYS hl_line_code *code_of(const char *frame)
{
    hl_line_code *c = hl_line_code_find(HL_AT(void *, frame, hl_python.layout->code));
    if (HL_LIKELY(!c))
        return NULL;
    if (HL_UNLIKELY(!hl_tracker.live.lines) || !atomic_load_explicit(&c->wanted, memory_order_relaxed))
        return NULL;
    if (HL_UNLIKELY(atomic_load_explicit(&c->recording, memory_order_acquire) != hl_tracker.live.lines) &&
        !hl_line_code_begin_here(c))
        return NULL;
    return c;
}

/* ------------------------------------------------------------------------------------------------------- tracing */

static bool is_ours(trace_function *function);
static void trace_off(char *state);

/* A frame that no call of `evaluate` will see the end of. */
static HL_COLD void end_adopted(const char *frame)
{
    for (uint32_t i = here.adopted_count; i-- > 0;) {
        if (here.adopted[i] != frame)
            continue;
        here.adopted_count = i; /* those further in have gone, too */
        here.code = NULL;
        here.frame = NULL;
        if (!here.deep)
            trace_off(hl_python.state_getter());
    }
}

static HL_ALWAYS void traced(char *frame, int what)
{
    hl_line_code *c = HL_LIKELY(frame == here.frame) ? here.code : code_of(frame);
    if (!c)
        return;
    if (HL_UNLIKELY(atomic_load_explicit(&c->recording, memory_order_relaxed) != hl_tracker.live.lines)) {
        c = code_of(frame);
        if (!c)
            return;
    }
    if (what == WHAT_LINE) {
        uint32_t line = line_of(frame, c);
        if (line) {
            hl_line_count(c, line - 1);
            hl_line_enter(c, frame, line - 1);
        }
    } else if (what == WHAT_CALL) { /* a suspended call goes on, in the line in which it was; a new one has none yet */
        uint32_t line = is_resumed(frame) ? line_of(frame, c) : 0;
        if (line)
            hl_line_enter(c, frame, line - 1);
    } else if (what == WHAT_RETURN) {
        hl_line_leave(frame);
        if (HL_UNLIKELY(here.adopted_count))
            end_adopted(frame);
    }
}

/* Two functions, so that the walk of frames can tell whether a debugger may be at work. */
static int trace_alone(void *object, void *frame, int what, void *argument)
{
    traced(frame_of_object(frame), what);
    return 0;
}

static int trace_with_user(void *object, void *frame, int what, void *argument)
{
    traced(frame_of_object(frame), what);
    trace_function *user = here.user; /* kept while it runs: it may set another */
    return user ? user(object, frame, what, argument) : 0;
}

static bool is_ours(trace_function *function) { return function == trace_alone || function == trace_with_user; }

/* What stands there, unless it is ours, is the user's. */
static HL_ALWAYS void trace_on(char *state)
{
    trace_function *now = present(state);
    if (!is_ours(now))
        here.user = now;
    put_function(state, here.user ? trace_with_user : trace_alone);
    here.on = true;
}

static void trace_off(char *state)
{
    if (HL_LIKELY(is_ours(present(state))))
        put_function(state, here.user);
    here.on = false;
}

/* ---------------------------------------------------------------------------------------------------- evaluation */

static HL_ALWAYS void *evaluate_really(void *state, void *frame, int throw)
{
    return tracing.real_38 ? tracing.real_38(frame, throw) : tracing.real(state, frame, throw);
}

static void *evaluate(void *state, void *frame, int throw);

static HL_COLD void *evaluate_deep(char *state, void *frame, int throw)
{
    bool was_on = here.on, was_deep = here.deep;
    here.deep = true;
    trace_on(state);
    tracing.set(tracing.interpreter, tracing.real);
    void *result = evaluate_really(state, frame, throw);
    if (tracing.installed)
        tracing.set(tracing.interpreter, evaluate);
    here.deep = was_deep;
    if (!was_on)
        trace_off(state);
    return result;
}

static HL_ALWAYS bool is_deep(void)
{
    char *now = (char *)hl_os_stack_pointer();
    if (HL_UNLIKELY(!here.outer) || HL_UNLIKELY(here.outer < now))
        here.outer = now;
    return (uint64_t)(here.outer - now) > THREAD_DEPTH_BYTES &&
           (hl_os_thread_id() != hl_tracker.pid || (uint64_t)(here.outer - now) > tracing.main_depth_bytes);
}

static HL_ALWAYS void *evaluate_profiled(hl_line_code *c, char *state, char *frame, int throw)
{
    hl_line_code *outer_code = here.code;
    char *outer_frame = here.frame;
    bool was_on = here.on;
    here.code = c;
    here.frame = frame;
    trace_on(state);
    void *result = evaluate_really(state, frame, throw);
    hl_line_leave(frame);
    here.code = outer_code;
    here.frame = outer_frame;
    if (was_on)
        trace_on(state); /* the user may have set another */
    else
        trace_off(state);
    return result;
}

static void *evaluate(void *any_state, void *frame, int throw)
{
    char *state = any_state;
    if (HL_UNLIKELY(hl_lines.finding))
        hl_lines_seen(HL_AT(void *, frame, hl_python.layout->code),
                      HL_AT(void *, frame, hl_python.version >= 0x30b ? FRAME_GLOBALS_311 : FRAME_GLOBALS));
    hl_line_code *c = code_of(frame);
    if (HL_LIKELY(!c) && HL_LIKELY(!here.on) && hl_python.version < 0x30b)
        return evaluate_really(state, frame, throw);
    if (HL_UNLIKELY(is_inside_tracer(state)))
        return evaluate_really(state, frame, throw);
    if (hl_python.version >= 0x30b && HL_UNLIKELY(is_deep()))
        return evaluate_deep(state, frame, throw);
    if (HL_UNLIKELY(c != NULL))
        return evaluate_profiled(c, state, frame, throw);
    if (HL_LIKELY(!here.on) || here.deep)
        return evaluate_really(state, frame, throw);
    trace_off(state); /* a callee of a profiled frame */
    void *result = evaluate_really(state, frame, throw);
    trace_on(state);
    return result;
}

static void *evaluate_38(void *frame, int throw) { return evaluate(hl_python.state_getter(), frame, throw); }

/* ------------------------------------------------------------------------------------------------- starting, stopping */

static int refuse(const char *why)
{
    snprintf(hl_lines.reason, sizeof hl_lines.reason, "lines cannot be profiled: %s", why);
    return -ENOTSUP;
}

/* The count of traced threads is found where headers say that it is, if it behaves like one. */
static bool find_possible(char *state)
{
    void (*set_trace)(trace_function *, void *);
    *(void **)&set_trace = dlsym(RTLD_DEFAULT, "PyEval_SetTrace");
    char *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    int *count = hl_python.version == 0x308 ? (int *)(runtime + POSSIBLE_38)
                                            : (int *)((char *)tracing.interpreter + POSSIBLE_39);
    if (!set_trace || !runtime || *count < 0 || *count > TRACED_THREADS_MOST)
        return false;
    if (present(state) || HL_AT(void *, state, tracing.object))
        return *count > 0 && (tracing.possible = count);
    int before = *count;
    set_trace(trace_alone, NULL);
    bool good = *count == before + 1 && present(state) == trace_alone;
    set_trace(NULL, NULL);
    if (good && *count == before && !present(state))
        tracing.possible = count;
    return tracing.possible != NULL;
}

static bool find_evaluator_38(void)
{
    void *real = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
    void **place = &HL_AT(void *, tracing.interpreter, EVALUATOR_38);
    if (!real || (*place != real && *place != (void *)evaluate_38))
        return false;
    *(void **)&tracing.real_38 = real;
    *place = (void *)evaluate_38;
    return true;
}

static bool find_evaluator(void)
{
    *(void **)&tracing.get = dlsym(RTLD_DEFAULT, "_PyInterpreterState_GetEvalFrameFunc");
    *(void **)&tracing.set = dlsym(RTLD_DEFAULT, "_PyInterpreterState_SetEvalFrameFunc");
    if (!tracing.get || !tracing.set)
        return false;
    evaluator *now = tracing.get(tracing.interpreter);
    if (now != evaluate) {
        tracing.real = now;
        tracing.set(tracing.interpreter, evaluate);
    }
    return true;
}

int hl_lines_trace_start(void)
{
    char *state = hl_python.state_getter();
    tracing.interpreter = hl_py_api.interpreter();
    tracing.tracefunc = hl_python.layout->tracefunc;
    tracing.profilefunc = tracing.tracefunc - 8;
    tracing.object = tracing.tracefunc + 16;
    if (HL_AT(void *, state, STATE_INTERPRETER) != tracing.interpreter || HL_AT(int, state, STATE_TRACING) < 0)
        return refuse("the interpreter's thread state is not as expected");
    struct rlimit limit = {0};
    tracing.main_depth_bytes = MAIN_DEPTH_BYTES;
    if (hl_os_call(SYS_prlimit64, 0, RLIMIT_STACK, 0, (long)&limit, 0, 0) == 0 && limit.rlim_cur != RLIM_INFINITY)
        tracing.main_depth_bytes = limit.rlim_cur / 2;
    if (hl_python.version < 0x30a && !tracing.possible && !find_possible(state))
        return refuse("the interpreter does not say where it counts traced threads");
    if (hl_python.version == 0x308 ? !find_evaluator_38() : !find_evaluator())
        return refuse("the interpreter's function for frames cannot be replaced");
    hl_python.line_trace = (void *)trace_alone;
    tracing.installed = true;
    return 0;
}

void hl_lines_trace_running(hl_line_code *c)
{
    const hl_layout *L = hl_python.layout;
    for (char *frame = hl_line_present_frame(); frame; frame = HL_AT(char *, frame, L->previous)) {
        if (HL_AT(void *, frame, L->code) != c->code || here.frame == frame)
            continue;
        if (here.adopted_count < ADOPTED_MOST) {
            here.adopted[here.adopted_count++] = frame;
            trace_on(hl_python.state_getter());
        }
        return;
    }
}

void hl_lines_trace_forget(hl_line_code *c)
{
    while (here.adopted_count && HL_AT(void *, here.adopted[here.adopted_count - 1], hl_python.layout->code) == c->code)
        end_adopted(here.adopted[here.adopted_count - 1]);
}

void hl_lines_trace_stop(void)
{
    tracing.installed = false;
    if (tracing.real_38) {
        void **place = &HL_AT(void *, tracing.interpreter, EVALUATOR_38);
        if (*place == (void *)evaluate_38)
            *(void **)place = *(void **)&tracing.real_38;
    } else if (tracing.get(tracing.interpreter) == evaluate) {
        tracing.set(tracing.interpreter, tracing.real);
    }
}
