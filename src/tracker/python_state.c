/*
 * python_state.c - the calling thread's PyThreadState, without the GIL and without Python's help where that goes.
 *
 * The interpreter's getter is a handful of instructions that end in one load: of a thread-local variable since 3.12, of
 * the state of whoever holds the GIL before. They are carried out here once a thread to learn the variable's address,
 * for every way in which compilers have been seen to write them; what is not understood is called instead (1 to 2 ns).
 * The address is believed only if it then gives the getter's answer.
 *
 * A thread that has released the GIL has no current state, but PyGILState_GetThisThreadState still gives its own, and its
 * frames are frozen.
 */
#include "python_private.h"

#include <dlfcn.h>
#include <string.h>

#define HL_AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

#if defined(__x86_64__)
extern void *__tls_get_addr(void *);

/* Calls a TLS descriptor as compilers do: argument and result in rax, all else is kept. */
static uint64_t call_descriptor(uint64_t descriptor)
{
    uint64_t rax = descriptor;
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tcall *(%%rax)\n\tlea 128(%%rsp), %%rsp" : "+a"(rax) : : "memory", "cc");
    return rax;
}

static bool is_tls_index(uint64_t address)
{
    return address % 8 == 0 && HL_AT(uint64_t, address, 0) - 1 < 4096 && HL_AT(uint64_t, address, 8) < 1 << 24;
}

static char **variable_of(const uint8_t *code)
{
    uint64_t rax = 0, rdi = 0, place = 0, fs = (uint64_t)__builtin_thread_pointer();
    bool descriptor = false;
    for (int steps = 0; steps < 24; steps++) {
        int32_t d;
#define HL_IS(bytes) (memcmp(code, bytes, sizeof(bytes) - 1) == 0)
#define HL_DISTANCE(at) (memcpy(&d, code + (at), 4), (int64_t)d)
        if (HL_IS("\xf3\x0f\x1e\xfa") || HL_IS("\x48\x83\xec") || HL_IS("\x48\x83\xc4") || HL_IS("\x0f\x1f\x40")) {
            code += 4; /* endbr64, sub and add of rsp, nop */
        } else if (HL_IS("\x48\x89\xe5") || HL_IS("\x0f\x1f\x00")) {
            code += 3; /* mov rsp, rbp; nop */
        } else if (HL_IS("\x66\x90")) {
            code += 2;
        } else if (*code == 0x55 || *code == 0x5d || *code == 0xc9 || *code == 0x90) {
            code += 1; /* push and pop of rbp, leave, nop */
        } else if (HL_IS("\xe9")) {
            code += 5 + HL_DISTANCE(1);     /* jmp */
        } else if (HL_IS("\x48\x8b\x05")) { /* mov distance(%rip), %rax */
            place = (uint64_t)(code + 7) + (uint64_t)HL_DISTANCE(3);
            rax = HL_AT(uint64_t, place, 0);
            code += 7;
        } else if (HL_IS("\x48\x8d\x05")) { /* lea distance(%rip), %rax */
            rax = (uint64_t)(code + 7) + (uint64_t)HL_DISTANCE(3);
            descriptor = true;
            code += 7;
        } else if (HL_IS("\xff\x10") && descriptor) { /* call *(%rax): a TLS descriptor */
            rax = call_descriptor(rax);
            code += 2;
        } else if (HL_IS("\x66\x48\x8d\x3d") || HL_IS("\x48\x8d\x3d")) { /* lea distance(%rip), %rdi */
            code += *code == 0x66;
            rdi = (uint64_t)(code + 7) + (uint64_t)HL_DISTANCE(3);
            code += 7;
        } else if (rdi &&
                   (HL_IS("\x66\x66\x48\xe8") || HL_IS("\x66\x48\xff\x15") || HL_IS("\xff\x15") || HL_IS("\xe8"))) {
            if (!is_tls_index(rdi)) /* call of __tls_get_addr */
                return NULL;
            rax = (uint64_t)__tls_get_addr((void *)rdi);
            code += *code == 0xe8 ? 5 : *code == 0xff ? 6 : 8;
        } else if (HL_IS("\x64\x48\x8b\x04\x25")) { /* mov %fs:distance, %rax */
            place = fs + (uint64_t)HL_DISTANCE(5);
            rax = HL_AT(uint64_t, place, 0);
            code += 9;
        } else if (HL_IS("\x64\x48\x8b\x00")) { /* mov %fs:(%rax), %rax */
            place = fs + rax;
            rax = HL_AT(uint64_t, place, 0);
            code += 4;
        } else if (HL_IS("\x64\x48\x03\x04\x25\0\0\0\0")) { /* add %fs:0, %rax */
            rax += fs;
            code += 9;
        } else if (rax && HL_IS("\x48\x8b\x00")) { /* mov (%rax), %rax */
            place = rax;
            rax = HL_AT(uint64_t, place, 0);
            code += 3;
        } else if (rax && HL_IS("\x48\x8b\x40")) { /* mov distance(%rax), %rax */
            place = rax + (uint64_t)(int64_t)(int8_t)code[3];
            rax = HL_AT(uint64_t, place, 0);
            code += 4;
        } else if (rax && HL_IS("\x48\x8b\x80")) {
            place = rax + (uint64_t)HL_DISTANCE(3);
            rax = HL_AT(uint64_t, place, 0);
            code += 7;
        } else if (*code == 0xc3) {
            return (char **)place;
        } else {
            return NULL;
        }
#undef HL_IS
#undef HL_DISTANCE
    }
    return NULL;
}
#else
static char **variable_of(const uint8_t *code) { return NULL; }
#endif

void hl_python_state_find(void)
{
    static const char *const GETTERS[] = {"_PyThreadState_GetCurrent", "PyThreadState_GetUnchecked",
                                          "_PyThreadState_UncheckedGet"};
    for (size_t i = 0; i < sizeof GETTERS / sizeof *GETTERS && !hl_python.state_getter; i++)
        *(void **)&hl_python.state_getter = dlsym(RTLD_DEFAULT, GETTERS[i]);
    hl_python.state_variable = dlsym(RTLD_DEFAULT, "_PyThreadState_Current"); /* 2.7 and 3.6 */
    if (hl_python.version != 0x207)
        *(void **)&hl_python.state_of_thread = dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    *(void **)&hl_python.interpreters_head = dlsym(RTLD_DEFAULT, "PyInterpreterState_Head");
    *(void **)&hl_python.interpreters_next = dlsym(RTLD_DEFAULT, "PyInterpreterState_Next");
    if (!hl_python.state_variable && !hl_python.state_getter)
        hl_python_give_up("it does not tell a thread's state");
}

static HL_COLD void set_up(hl_wire_writer *w)
{
    hl_remembered *memory = hl_remembered_of(w);
    memory->frames = memory->inline_frames;
    memory->room = HL_INLINE_FRAMES;
    memory->depth = 0;
    memory->cut = memory->own = NULL;
    memory->self = (uint64_t)pthread_self();
    char **variable = hl_python.state_variable;
    if (!variable) {
        variable = variable_of((const uint8_t *)hl_python.state_getter);
        bool believed = false;
        for (int tries = 0; tries < 4 && !believed && variable && (uint64_t)variable % 8 == 0;
             tries++) /* it may change */
            believed = __atomic_load_n(variable, __ATOMIC_RELAXED) == hl_python.state_getter();
        if (!believed)
            variable = &hl_python.no_state; /* then each event asks the getter */
    }
    w->tracker_hot[HL_HOT_TOP] = 0;
    w->tracker_hot[HL_HOT_MARK] = w->lane == 0 && w != hl_tracker.shared ? hl_python.mark : HL_NO_MARK;
    w->tracker_hot[HL_HOT_ORDER] = ~UINT64_C(0);
    w->tracker_hot[HL_HOT_STATE] = (uint64_t)variable;
}

/* The current state is the GIL holder's. Another thread's must not be read, it may be freed meanwhile; so first the
 * thread's own is asked for. Where there are several interpreters, a thread may stand in one that PyGILState does not
 * know; only there the holder's state is looked into. */
static char *state_of_holder(hl_remembered *memory, char *holder)
{
    const uint16_t thread_id = hl_python.layout->thread_id;
    if (!hl_python.state_of_thread) { /* 2.7 */
        if (holder && holder != memory->own && HL_AT(uint64_t, holder, thread_id) == memory->self)
            memory->own = holder;
        return memory->own && HL_AT(uint64_t, memory->own, thread_id) == memory->self ? memory->own : NULL;
    }
    char *own = hl_python.state_of_thread();
    if (holder && holder != own && hl_python.interpreters_head && hl_python.interpreters_next) {
        char *first = hl_python.interpreters_head();
        if (first && hl_python.interpreters_next(first) && HL_AT(uint64_t, holder, thread_id) == memory->self)
            own = holder;
    }
    memory->own = own;
    return own;
}

__attribute__((noinline)) char *hl_python_state(hl_wire_writer *w)
{
    if (!w->tracker_hot[HL_HOT_STATE])
        set_up(w);
    char **variable = (char **)w->tracker_hot[HL_HOT_STATE];
    char *state =
        variable == &hl_python.no_state ? hl_python.state_getter() : __atomic_load_n(variable, __ATOMIC_RELAXED);
    if (hl_python.layout->has_global_state)
        return state_of_holder(hl_remembered_of(w), state);
    return state ? state : hl_python.state_of_thread ? hl_python.state_of_thread() : NULL;
}
