/*
 * os.h - all that the tracker needs from the system and that other systems would need otherwise.
 *
 * System calls are made without libc's wrappers: they must not change errno, must not be cancellation points and must
 * not come back to our own hooks. Each returns what the kernel returned: a negative errno code on failure.
 */
#ifndef HL_TRACKER_OS_H
#define HL_TRACKER_OS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#define HL_LIKELY(x) __builtin_expect(!!(x), 1)
#define HL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HL_ALWAYS inline __attribute__((always_inline))
#define HL_COLD __attribute__((noinline, cold))
#define HL_EXPORT __attribute__((visibility("default")))

static HL_ALWAYS long hl_os_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
#else
#error "heapline: no system calls for this processor yet"
#endif
}

static HL_ALWAYS uintptr_t hl_os_stack_pointer(void)
{
    uintptr_t sp;
#if defined(__x86_64__)
    __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
#else
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
    return sp;
}

static inline int32_t hl_os_pid(void) { return (int32_t)hl_os_call(SYS_getpid, 0, 0, 0, 0, 0, 0); }
static inline int32_t hl_os_parent_pid(void) { return (int32_t)hl_os_call(SYS_getppid, 0, 0, 0, 0, 0, 0); }
static inline int32_t hl_os_thread_id(void) { return (int32_t)hl_os_call(SYS_gettid, 0, 0, 0, 0, 0, 0); }

static inline uint64_t hl_os_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* vdso; cannot fail for this clock, so errno stays */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
static inline void hl_os_yield(void) { hl_os_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0); }

/* The words are shared between processes, so no FUTEX_PRIVATE. */
static inline void hl_os_wait(_Atomic uint32_t *word, uint32_t value, uint64_t limit_ns)
{
    struct timespec limit = {(time_t)(limit_ns / 1000000000), (long)(limit_ns % 1000000000)};
    hl_os_call(SYS_futex, (long)word, FUTEX_WAIT, value, (long)&limit, 0, 0);
}
static inline void hl_os_wake(_Atomic uint32_t *word, int threads)
{
    hl_os_call(SYS_futex, (long)word, FUTEX_WAKE, threads, 0, 0, 0);
}

/* Private zeroed pages, counted nowhere; NULL on failure. */
static inline void *hl_os_pages(size_t bytes)
{
    long p = hl_os_call(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p < 0 && p > -4096 ? NULL : (void *)p;
}
static inline void hl_os_give_back(void *p, size_t bytes) { hl_os_call(SYS_munmap, (long)p, (long)bytes, 0, 0, 0, 0); }

/* Whether the 8 bytes at an address can be read, by the kernel's own reading of them: a set of signals for a change that
 * there is none of. Changes nothing, and takes the time of the shortest system call. */
static inline bool hl_os_is_readable(uint64_t address)
{
    return hl_os_call(SYS_rt_sigprocmask, -1, (long)address, 0, 8, 0, 0) == -EINVAL;
}

/* Signals are blocked where a longjmp out of a handler would leak something (a chunk, a slot). */
static inline void hl_os_block_signals(uint64_t *before)
{
    uint64_t all = ~UINT64_C(0);
    hl_os_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)before, 8, 0, 0);
}
static inline void hl_os_restore_signals(const uint64_t *before)
{
    hl_os_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)before, 0, 8, 0, 0);
}

/* The collector may then order its reads after this process's stores by one call (Linux 4.16). */
static inline void hl_os_allow_membarrier(void)
{
    hl_os_call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0, 0, 0, 0);
}

/* Whether a frame with stack pointer `mark` may still be live while one with `here` runs, above or below it. On one
 * stack deeper frames have lower addresses. A handler on its alternate stack lies anywhere, and what it interrupted is
 * live; once it has been left (by return or jump), marks in that stack are dead. */
static inline bool hl_os_mark_is_live(uintptr_t mark, uintptr_t here)
{
    stack_t alt = {0};
    if (hl_os_call(SYS_sigaltstack, 0, (long)&alt, 0, 0, 0, 0) == 0 && !(alt.ss_flags & SS_DISABLE)) {
        bool inside = mark - (uintptr_t)alt.ss_sp < alt.ss_size;
        if (inside != ((alt.ss_flags & SS_ONSTACK) != 0))
            return !inside;
    }
    return here < mark;
}

#endif
