/*
 * hazards CASE - allocates where a walk up the native stack is difficult. Each case ends with status 0 by itself, prints
 * "done", and allocates blocks of marked sizes, whose stacks test_unwind_hazards.py looks at.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define SHOWN __attribute__((noinline, visibility("default")))

static void *volatile kept;
static volatile uintptr_t last_get; /* its frame */

/* A block that the test looks for, by its size. */
SHOWN void get(size_t bytes)
{
    last_get = (uintptr_t)__builtin_frame_address(0);
    void *p = malloc(bytes);
    kept = p;
    free(p);
}

SHOWN void down(int n, size_t bytes)
{
    if (n)
        down(n - 1, bytes);
    else
        get(bytes);
    __asm__ volatile("");
}

/* ------------------------------------------------------------------------------------------------------ handlers */

static sigjmp_buf back;
static volatile int jumps;

SHOWN void handler_get(int number) { get(100001); }
SHOWN void handler_jump(int number)
{
    get(100002);
    jumps++;
    siglongjmp(back, 1);
}

static void handle(int number, void (*f)(int), int flags)
{
    struct sigaction a = {.sa_handler = f, .sa_flags = flags};
    sigaction(number, &a, NULL);
}

static void other_stack(size_t bytes)
{
    stack_t s = {.ss_sp = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                 .ss_size = bytes};
    sigaltstack(&s, NULL);
}

SHOWN void raiser(int n)
{
    if (n)
        raiser(n - 1);
    else
        raise(SIGUSR1);
    __asm__ volatile("");
}

static __attribute__((noinline)) void case_handler(int flags)
{
    other_stack(1 << 16);
    handle(SIGUSR1, handler_get, flags);
    for (int i = 0; i < 50; i++) {
        raiser(i % 7);
        down(i % 5, 100003);
    }
}

static __attribute__((noinline)) void case_handler_jump(int flags)
{
    other_stack(1 << 16);
    handle(SIGUSR1, handler_jump, flags | SA_NODEFER);
    for (volatile int i = 0; i < 200; i++) {
        if (!sigsetjmp(back, 1))
            raiser(i % 9);
        down(i % 6, 100004);
    }
    if (jumps != 200)
        exit(3);
}

/* A timer interrupts anything, also the recorder's own work, and jumps out of it. */
static void handler_tick(int number) { siglongjmp(back, 1); }
static volatile int armed;
static void handler_tick_if_armed(int number)
{
    if (armed)
        handler_tick(number);
}
static __attribute__((noinline)) void case_jump_anywhere(void)
{
    handle(SIGALRM, handler_tick_if_armed, SA_NODEFER);
    for (volatile int i = 0; i < 300; i++) {
        if (!sigsetjmp(back, 1)) {
            struct itimerval t = {.it_value.tv_usec = 1 + i * 7 % 400};
            armed = 1;
            setitimer(ITIMER_REAL, &t, NULL);
            for (int k = 0;; k++)
                kept = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), munmap(kept, 4096);
        }
        armed = 0;
        down(i % 6, 100005);
    }
}

/* A function that calls nothing is interrupted: on aarch64 its return address is in its register only. */
SHOWN void handler_fault(int number)
{
    get(100008);
    siglongjmp(back, 1);
}
SHOWN int leaf_fault(const volatile int *p) { return *p + 1; }
static __attribute__((noinline)) void case_leaf(int flags)
{
    other_stack(1 << 16);
    handle(SIGSEGV, handler_fault, flags);
    for (volatile int i = 0; i < 50; i++) {
        if (!sigsetjmp(back, 1))
            kept = (void *)(intptr_t)leaf_fault((const int *)8);
        down(i % 5, 100003);
    }
}

static jmp_buf frames_back;
SHOWN void jumper(int n)
{
    get(100006);
    if (n)
        jumper(n - 1);
    else
        longjmp(frames_back, 1);
    __asm__ volatile("");
}
static __attribute__((noinline)) void case_longjmp(void)
{
    for (volatile int i = 0; i < 200; i++) {
        if (!setjmp(frames_back))
            jumper(i % 20);
        down(i % 30, 100007);
    }
}

/* ------------------------------------------------------------------------------------------------------- contexts */

static ucontext_t main_context, contexts[3];

SHOWN void coroutine(int which)
{
    for (int i = 0; i < 40; i++) {
        down(which * 3 + i % 4, 100010 + (size_t)which);
        swapcontext(&contexts[which], &main_context);
    }
}

static __attribute__((noinline)) void case_contexts(bool unmapping)
{
    for (int round = 0; round < 20; round++) {
        size_t bytes = (size_t)(64 + (round * 37) % 64) << 10;
        char *stacks[3];
        for (int i = 0; i < 3; i++) {
            stacks[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            getcontext(&contexts[i]);
            contexts[i].uc_stack.ss_sp = stacks[i];
            contexts[i].uc_stack.ss_size = bytes;
            contexts[i].uc_link = &main_context;
            makecontext(&contexts[i], (void (*)(void))coroutine, 1, i);
        }
        for (int i = 0; i < 120; i++) {
            swapcontext(&main_context, &contexts[i % 3]);
            down(i % 4, 100013);
        }
        for (int i = 0; i < 3 && unmapping; i++)
            munmap(stacks[i], bytes);
    }
}

/* Another thread takes a coroutine's stack away, past libc, and a smaller one comes in its place: frames of the same
 * functions at the same addresses, and nothing behind them where the first one went on. */
static void *volatile to_unmap;
static size_t unmap_bytes;
static pthread_barrier_t unmapped;
static void *unmapper(void *rounds)
{
    for (intptr_t i = 0; i < (intptr_t)rounds; i++) {
        pthread_barrier_wait(&unmapped);
        syscall(SYS_munmap, to_unmap, unmap_bytes);
        pthread_barrier_wait(&unmapped);
    }
    return NULL;
}

SHOWN void diver(int depth)
{
    for (int i = 0; i < 3; i++)
        down(depth, 100014);
}

static __attribute__((noinline)) void dive(char *stack, size_t bytes, int depth)
{
    getcontext(&contexts[0]);
    contexts[0].uc_stack.ss_sp = stack;
    contexts[0].uc_stack.ss_size = bytes;
    contexts[0].uc_link = &main_context;
    makecontext(&contexts[0], (void (*)(void))diver, 1, depth);
    swapcontext(&main_context, &contexts[0]);
}

static char *map_unseen(char *at, size_t bytes) /* an event of the main stack would make its stack the remembered one */
{
    return (char *)syscall(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static __attribute__((noinline)) void case_contexts_taken(void)
{
    enum { ROUNDS = 200, PAGE = 65536, LARGE = 8 * PAGE };
    pthread_t t;
    down(0, 100);
    uintptr_t frame = last_get;
    down(1, 100);
    frame -= last_get;
    char *region = mmap(NULL, 4 * LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pthread_barrier_init(&unmapped, NULL, 2);
    pthread_create(&t, NULL, unmapper, (void *)ROUNDS);
    for (int round = 0; round < ROUNDS; round++) {
        int pages = 1 + round % 3, depth = 200 + round % 50;
        char *large = map_unseen(region + LARGE, LARGE);
        dive(large, LARGE, depth + pages * (int)(PAGE / frame));
        to_unmap = large;
        unmap_bytes = LARGE;
        pthread_barrier_wait(&unmapped);
        pthread_barrier_wait(&unmapped);
        size_t less = LARGE - (size_t)pages * PAGE;
        char *small = map_unseen(region + LARGE, less);
        dive(small, less, depth);
        dive(small, less, depth + 7);
    }
    pthread_join(t, NULL);
}

/* ------------------------------------------------------------------------------------------------------- assembly */

/* Without any .eh_frame: one function sets up a frame pointer, the other does not. Both call what they are given. */
__asm__(".text\n"
        ".type without_cfi_fp, @function\n"
        "without_cfi_fp:\n"
#if defined(__x86_64__)
        "  push %rbp\n  mov %rsp, %rbp\n  mov %rsi, %rax\n  call *%rax\n  pop %rbp\n  ret\n"
#else
        "  stp x29, x30, [sp, -16]!\n  mov x29, sp\n  blr x1\n  ldp x29, x30, [sp], 16\n  ret\n"
#endif
        ".size without_cfi_fp, .-without_cfi_fp\n"
        ".type without_cfi, @function\n"
        "without_cfi:\n"
#if defined(__x86_64__)
        "  push %rbx\n  mov $5, %ebp\n  mov %rsi, %rax\n  call *%rax\n  pop %rbx\n  mov %rbx, %rbp\n  ret\n"
#else
        "  stp x19, x30, [sp, -16]!\n  blr x1\n  ldp x19, x30, [sp], 16\n  ret\n"
#endif
        ".size without_cfi, .-without_cfi\n");
void without_cfi_fp(size_t bytes, void (*f)(size_t));

static __attribute__((noinline)) void get20(size_t unused) { down(3, 100020); }
static __attribute__((noinline)) void get21(size_t unused) { down(3, 100021); }

/* rbp is lost in `without_cfi`: its caller has to save it itself. */
SHOWN void call_without_cfi(void (*f)(size_t))
{
#if defined(__x86_64__)
    __asm__ volatile("push %%rbp\n mov %0, %%rsi\n call without_cfi\n pop %%rbp\n" ::"r"(f)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "rbx", "memory", "cc");
#endif
}

static __attribute__((noinline)) void case_assembly(void)
{
    for (int i = 0; i < 20; i++) {
        without_cfi_fp(0, get20);
        call_without_cfi(get21);
    }
}

/* Code in anonymous memory, with and without a frame pointer. */
static __attribute__((noinline)) void case_generated(void)
{
#if defined(__x86_64__)
    static const uint8_t code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3, /* push rbp .. call rdi .. */
                                   0x48, 0x83, 0xec, 0x08, 0xff, 0xd7, 0x48, 0x83, 0xc4, 0x08, 0xc3};
    for (int round = 0; round < 30; round++) {
        uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(p, code, sizeof code);
        ((void (*)(void (*)(size_t)))p)(get20);
        ((void (*)(void (*)(size_t)))(p + 8))(get21);
        munmap(p, 4096);
    }
#endif
}

/* Generated code that calls generated code, with frame pointers; and with anything in the frame pointer's register. */
#if defined(__x86_64__)
static const uint8_t caller_code[] = {
    0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf0,
    0x48, 0x89, 0xd6, 0xff, 0xd0, 0x5d, 0xc3}; /* push rbp, mov rbp rsp; call rsi(rdi, rdx) */
static const uint8_t garbage_code[] = {0x55, 0x48, 0x89, 0xf5,
                                       0xff, 0xd7, 0x5d, 0xc3}; /* push rbp; rbp = rsi; call rdi */
enum { CALLER_AT = 64, CALL_AT = 256, GARBAGE_AT = 512 };

static uint8_t *generate(void)
{
    static const uint8_t call[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
    uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(p + CALLER_AT, caller_code, sizeof caller_code);
    memcpy(p + CALL_AT, call, sizeof call);
    memcpy(p + GARBAGE_AT, garbage_code, sizeof garbage_code);
    return p;
}

static __attribute__((noinline)) void get22(size_t unused) { down(3, 100022); }
static __attribute__((noinline)) void get23(size_t unused) { down(3, 100023); }

static __attribute__((noinline)) void garbage(uint8_t *code)
{
    uint8_t *hole = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(hole + 4096, 4096, PROT_NONE);
    uintptr_t words[64], here = (uintptr_t)words, text = (uintptr_t)(code + GARBAGE_AT + 6);
    for (int i = 0; i < 64; i++) /* a chain that goes round, of words that look like frames */
        words[i] = i % 2 ? text : here + (uintptr_t)(i + 16) % 64 * 8;
    const uintptr_t values[] = {
        0,
        1,
        8,
        7,
        ~(uintptr_t)0,
        ~(uintptr_t)7,
        (uintptr_t)1 << 63,
        (uintptr_t)0xdeadbeefdeadbeef,
        here,
        here + 1,
        here + 8,
        here + 256,
        here - 4096,
        here - (1 << 20),
        here + 4096,
        here + (1 << 16),
        here + (1 << 20),
        here + (8 << 20),
        (uintptr_t)hole,
        (uintptr_t)hole + 4088,
        (uintptr_t)hole + 4096,
        (uintptr_t)hole + 8192,
        (uintptr_t)hole - 8,
        text,
        (uintptr_t)code,
        (uintptr_t)code + 4088,
        (uintptr_t)code + 4096,
        (uintptr_t)&garbage,
        (uintptr_t)environ,
    };
    void (*call)(void (*)(size_t), uintptr_t) = (void (*)(void (*)(size_t), uintptr_t))(code + GARBAGE_AT);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        call(get23, values[i]);
    for (int i = -64; i < 640; i++)
        call(get23, here + (uintptr_t)i * 8);
    munmap(hole, 3 * 4096);
}

static uint8_t *generated;
static void garbage_in_context(void) { garbage(generated); }
static void *garbage_in_thread(void *code)
{
    garbage(code);
    return NULL;
}
#endif

static __attribute__((noinline)) void case_generated_calls(void)
{
#if defined(__x86_64__)
    generated = generate();
    void (*caller)(void (*)(size_t), void *, void *) =
        (void (*)(void (*)(size_t), void *, void *))(generated + CALLER_AT);
    for (int i = 0; i < 30; i++)
        caller(get22, generated + CALL_AT, NULL);
    __asm__ volatile("");
#endif
}

static __attribute__((noinline)) void case_garbage(void)
{
#if defined(__x86_64__)
    enum { BYTES = 1 << 16 };
    generated = generate();
    garbage(generated);
    pthread_t t;
    pthread_create(&t, NULL, garbage_in_thread, generated);
    pthread_join(t, NULL);
    /* Its stack lies between memory that cannot be read. */
    char *region = mmap(NULL, 3 * BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    mprotect(region + BYTES, BYTES, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 3; i++) {
        getcontext(&contexts[0]);
        contexts[0].uc_stack.ss_sp = region + BYTES;
        contexts[0].uc_stack.ss_size = BYTES;
        contexts[0].uc_link = &main_context;
        makecontext(&contexts[0], garbage_in_context, 0);
        swapcontext(&main_context, &contexts[0]);
    }
    munmap(generated, 4096);
#endif
}

/* -------------------------------------------------------------------------------------------------------- threads */

SHOWN void *thread_get(void *bytes)
{
    for (int i = 0; i < 20; i++)
        down(i % 5, (size_t)bytes);
    return NULL;
}

static __attribute__((noinline)) void cleanup(void *unused) { get(100031); }
SHOWN void *thread_exits(void *how)
{
    pthread_cleanup_push(cleanup, NULL);
    get(100032);
    if (how)
        pthread_exit(NULL);
    for (;;) {
        get(100032);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static __attribute__((noinline)) void case_tiny(void)
{
    pthread_attr_t a;
    pthread_attr_init(&a);
    size_t bytes = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    if (pthread_attr_setstacksize(&a, bytes < 16384 ? 16384 : bytes))
        exit(3);
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        if (pthread_create(&t, &a, thread_get, (void *)100030))
            exit(4);
        pthread_join(t, NULL);
    }
}

static __attribute__((noinline)) void case_exits(void)
{
    for (int i = 0; i < 40; i++) {
        pthread_t t;
        pthread_create(&t, NULL, thread_exits, (void *)(intptr_t)(i % 2));
        if (i % 2 == 0) {
            usleep(500);
            pthread_cancel(t);
        }
        pthread_join(t, NULL);
    }
}

static __attribute__((noinline)) void case_many(void)
{
    enum { MANY = 300 };
    static pthread_t t[MANY];
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 128 << 10);
    for (int i = 0; i < MANY; i++)
        pthread_create(&t[i], &a, thread_get, (void *)100033);
    for (int i = 0; i < MANY; i++)
        pthread_join(t[i], NULL);
}

static pthread_barrier_t all_there;
SHOWN void *thread_waits(void *depth)
{
    down((int)(intptr_t)depth, 100036);
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < 5; i++)
        down((int)(intptr_t)depth - i, 100036);
    pthread_barrier_wait(&all_there);
    return NULL;
}

/* All at the same time, each with a stack as deep as a server's. */
static __attribute__((noinline)) void case_thousand(int depth)
{
    enum { MANY = 1000 };
    static pthread_t t[MANY];
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 128 << 10);
    pthread_barrier_init(&all_there, NULL, MANY + 1);
    for (int i = 0; i < MANY; i++) {
        if (pthread_create(&t[i], &a, thread_waits, (void *)(intptr_t)depth))
            exit(7);
    }
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < MANY; i++)
        pthread_join(t[i], NULL);
}

SHOWN void *thread_forks(void *unused)
{
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (child == 0) {
            down(4, 100034);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status)
            exit(5);
        down(i, 100035);
    }
    return NULL;
}

static __attribute__((noinline)) void case_forks(void)
{
    pthread_t t[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, thread_forks, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
}

/* ----------------------------------------------------------------------------------------------------- deep stacks */

static sigjmp_buf overflow_back;
static void handler_overflow(int number)
{
    get(100040);
    siglongjmp(overflow_back, 1);
}
SHOWN int endless(volatile char *above)
{
    volatile char room[512];
    room[0] = above ? above[0] : 0;
    return endless(room) + room[0];
}
static __attribute__((noinline)) void case_overflow(void)
{
    other_stack(1 << 16);
    handle(SIGSEGV, handler_overflow, SA_ONSTACK);
    for (volatile int i = 0; i < 3; i++) {
        if (!sigsetjmp(overflow_back, 1))
            kept = (void *)(intptr_t)endless(NULL);
        down(3, 100041);
    }
}

static __attribute__((noinline)) void case_deep(void)
{
    down(100000, 100042);
    down(3, 100043);
    down(100000, 100042);
    down(10, 100043);
}

static __attribute__((noinline)) void case_growsdown(void)
{
#if defined(__x86_64__)
    size_t bytes = 1 << 20;
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_STACK, -1, 0);
    getcontext(&contexts[0]);
    contexts[0].uc_stack.ss_sp = p;
    contexts[0].uc_stack.ss_size = bytes;
    contexts[0].uc_link = &main_context;
    makecontext(&contexts[0], (void (*)(void))coroutine, 1, 0);
    for (int i = 0; i < 40; i++)
        swapcontext(&main_context, &contexts[0]);
#endif
}

/* ------------------------------------------------------------------------------------------------------- libraries */

/* Each library has a function `call` that calls what it is given. They come and go at one address. */
static __attribute__((noinline)) void case_libraries(int argc, char **argv)
{
    uint64_t addresses[2] = {0};
    for (int i = 0; i < 20; i++) {
        void *library = dlopen(argv[i % 2], RTLD_NOW);
        void (*call)(void (*)(size_t), size_t) =
            library ? (void (*)(void (*)(size_t), size_t))dlsym(library, "call") : NULL;
        if (!call)
            exit(6);
        call(get, (size_t)(100050 + i % 2));
        addresses[i % 2] = (uint64_t)call >> 12;
        dlclose(library);
    }
    printf("%s\n", addresses[0] == addresses[1] ? "same address" : "other addresses");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "handler"))
        case_handler(0);
    else if (!strcmp(name, "handler-onstack"))
        case_handler(SA_ONSTACK);
    else if (!strcmp(name, "handler-jump"))
        case_handler_jump(0);
    else if (!strcmp(name, "handler-jump-onstack"))
        case_handler_jump(SA_ONSTACK);
    else if (!strcmp(name, "jump-anywhere"))
        case_jump_anywhere();
    else if (!strcmp(name, "leaf"))
        case_leaf(0);
    else if (!strcmp(name, "leaf-onstack"))
        case_leaf(SA_ONSTACK);
    else if (!strcmp(name, "longjmp"))
        case_longjmp();
    else if (!strcmp(name, "contexts"))
        case_contexts(false);
    else if (!strcmp(name, "contexts-unmapped"))
        case_contexts(true);
    else if (!strcmp(name, "contexts-taken"))
        case_contexts_taken();
    else if (!strcmp(name, "assembly"))
        case_assembly();
    else if (!strcmp(name, "generated"))
        case_generated();
    else if (!strcmp(name, "generated-calls"))
        case_generated_calls();
    else if (!strcmp(name, "garbage"))
        case_garbage();
    else if (!strcmp(name, "tiny"))
        case_tiny();
    else if (!strcmp(name, "exits"))
        case_exits();
    else if (!strcmp(name, "many"))
        case_many();
    else if (!strcmp(name, "thousand"))
        case_thousand(argc > 2 ? atoi(argv[2]) : 60);
    else if (!strcmp(name, "forks"))
        case_forks();
    else if (!strcmp(name, "overflow"))
        case_overflow();
    else if (!strcmp(name, "deep"))
        case_deep();
    else if (!strcmp(name, "growsdown"))
        case_growsdown();
    else if (!strcmp(name, "libraries") && argc == 4)
        case_libraries(argc - 2, argv + 2);
    else
        return 2;
    printf("done\n");
    return 0;
}
