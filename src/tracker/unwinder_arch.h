/*
 * unwinder_arch.h - what a walk up the stack must know of the processor: what a call looks like, where the kernel keeps
 * what a signal has interrupted, where a coroutine of makecontext begins. Reads memory that the caller has seen to be there.
 */
#ifndef HL_TRACKER_UNWINDER_ARCH_H
#define HL_TRACKER_UNWINDER_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

enum { HL_CALL_BYTES = 8, HL_SIGRETURN_BYTES = 9 }; /* at most: before a return address; from a handler's on */

/* Where the registers of what a signal has interrupted lie. `ra`: of the return address, where it has a register. */
typedef struct hl_signal_frame {
    uint64_t pc, sp, fp, ra;
} hl_signal_frame;

#if defined(__x86_64__)

/* Whether the instruction before an address is a call, by its last bytes. */
static inline bool hl_arch_is_behind_call(uint64_t address)
{
    const uint8_t *p = (const uint8_t *)address;
    if (p[-5] == 0xe8) /* call rel32 */
        return true;
    for (int length = 2; length <= 7; length++) { /* call r/m64: ff /2, with its prefixes before */
        if (p[-length] == 0xff && (p[-length + 1] & 0x38) == 0x10)
            return true;
    }
    return false;
}

/* Whether a handler that returns to `pc` goes back to what the signal has interrupted: mov $15, %eax or %rax; syscall. */
static inline bool hl_arch_is_sigreturn(uint64_t pc)
{
    const void *p = (const void *)pc;
    return p && (memcmp(p, "\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", 9) == 0 ||
                 memcmp(p, "\xb8\x0f\x00\x00\x00\x0f\x05", 7) == 0);
}

/* The kernel's struct rt_sigframe: the handler's return address, which has been taken off, then the context. */
static inline hl_signal_frame hl_arch_signal_frame(uint64_t sp)
{
    uint64_t registers = sp + offsetof(ucontext_t, uc_mcontext.gregs);
    return (hl_signal_frame){registers + REG_RIP * 8, registers + REG_RSP * 8, registers + REG_RBP * 8, 0};
}

static inline uint64_t hl_arch_without_signature(uint64_t pc) { return pc; }

/* The return address of the function that a context of makecontext begins with. */
static inline uint64_t hl_arch_first_return(const ucontext_t *context)
{
    return *(const uint64_t *)context->uc_mcontext.gregs[REG_RSP];
}

#elif defined(__aarch64__)

static inline uint32_t hl_arch_instruction(uint64_t address)
{
    uint32_t instruction;
    memcpy(&instruction, (const void *)address, sizeof instruction);
    return instruction;
}

static inline bool hl_arch_is_behind_call(uint64_t address)
{
    uint32_t instruction = hl_arch_instruction(address - 4);
    return (instruction & 0xfc000000) == 0x94000000 || (instruction & 0xfffffc1f) == 0xd63f0000 ||
           (instruction & 0xfffff800) == 0xd73f0800; /* bl, blr, blraa .. */
}

static inline bool hl_arch_is_sigreturn(uint64_t pc) /* mov x8, #139; svc #0 */
{
    return hl_arch_instruction(pc) == 0xd2801168 && hl_arch_instruction(pc + 4) == 0xd4000001;
}

/* The kernel's struct rt_sigframe: siginfo, then the context. What the vdso's .eh_frame says of it leads to the caller of
 * what was interrupted, and so leaves that out. */
static inline hl_signal_frame hl_arch_signal_frame(uint64_t sp)
{
    uint64_t context = sp + sizeof(siginfo_t) + offsetof(ucontext_t, uc_mcontext);
    return (hl_signal_frame){context + offsetof(mcontext_t, pc), context + offsetof(mcontext_t, sp),
                             context + offsetof(mcontext_t, regs) + 29 * 8,
                             context + offsetof(mcontext_t, regs) + 30 * 8};
}

/* An address without what pointer authentication puts into its upper bits. */
static inline uint64_t hl_arch_without_signature(uint64_t pc) { return pc & ((UINT64_C(1) << 48) - 1); }

static inline uint64_t hl_arch_first_return(const ucontext_t *context) { return context->uc_mcontext.regs[30]; }

#else
#error "heapline: no unwinding on this processor yet"
#endif

#endif
