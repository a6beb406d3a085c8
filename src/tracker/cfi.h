/*
 * cfi.h - call frame information: how the caller's registers are found from a point of a function (.eh_frame; DWARF 5
 * section 6.4, Linux Standard Base 5 "Exception Frames").
 *
 * Reads bytes that others wrote: every read is inside the range given, a broken record is "no information". Allocates
 * nothing, calls nothing. Only what a walk up the stack needs is followed: the canonical frame address (CFA), the return
 * address, the frame pointer; a rule that needs another register is "no information" too.
 */
#ifndef HL_TRACKER_CFI_H
#define HL_TRACKER_CFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DWARF's numbers of the registers that are followed. */
#if defined(__x86_64__)
enum { HL_CFI_FP = 6, HL_CFI_SP = 7, HL_CFI_RA = 16 };
#else
enum { HL_CFI_FP = 29, HL_CFI_SP = 31, HL_CFI_RA = 30 };
#endif

/* The section of one loaded object. All addresses are those of this process. */
typedef struct hl_cfi {
    const uint8_t *from, *to; /* the segment that holds .eh_frame_hdr and .eh_frame */
    const uint8_t *header;    /* .eh_frame_hdr (PT_GNU_EH_FRAME) */
} hl_cfi;

typedef enum hl_cfi_how {
    HL_CFI_SAME,      /* the register is what it was */
    HL_CFI_UNDEFINED, /* it has no value: of the return address, this is the outermost frame */
    HL_CFI_AT,        /* saved at CFA + offset */
    HL_CFI_IS,        /* is CFA + offset */
    HL_CFI_AT_RESULT, /* saved where the expression says */
    HL_CFI_IS_RESULT, /* is what the expression says */
    HL_CFI_UNKNOWN,   /* by a register that is not followed */
} hl_cfi_how;

typedef struct hl_cfi_rule {
    hl_cfi_how how;
    int64_t offset;
    const uint8_t *expression;
    uint32_t expression_bytes;
} hl_cfi_rule;

/* One row of the table. The CFA is SP or FP plus an offset (`cfa_register`), or the result of an expression (it is 0). */
typedef struct hl_cfi_row {
    uint64_t begin, end; /* of the function, or of the part of one */
    unsigned cfa_register;
    hl_cfi_rule cfa, ra, fp;
    bool is_signal;    /* the frame of a signal handler's return: its caller was interrupted, not calling */
    const uint8_t *to; /* where expressions may be read up to */
} hl_cfi_row;

/* The row for the instruction at `pc`; false: there is none, or none that can be followed. For a return address give the
 * address before it: the call may be a function's last instruction. */
bool hl_cfi_find(const hl_cfi *cfi, uint64_t pc, hl_cfi_row *row);

/* What the machine has at a point of the walk. */
typedef struct hl_cfi_registers {
    uint64_t pc, sp, fp;
    uint64_t ra,
        ra_place; /* of what a signal interrupted: the return address's register, and where it was; 0: not known */
} hl_cfi_registers;

/* Memory of the stack: readable from `low` to `high`; nothing outside is touched. */
typedef struct hl_cfi_stack {
    uint64_t low, high;
    bool foreign; /* not the thread's own: what lies beyond `high` is asked for when it is needed (unwinder.h) */
} hl_cfi_stack;

/* Where the walk found what it found; 0: nowhere, the value is the inner frame's, or computed. */
typedef struct hl_cfi_places {
    uint64_t pc, fp;
} hl_cfi_places;

typedef enum hl_cfi_step {
    HL_CFI_CALLER,    /* `registers` are the caller's */
    HL_CFI_OUTERMOST, /* there is no caller */
    HL_CFI_BROKEN,    /* it leads out of the stack, or cannot be followed */
} hl_cfi_step;

/* From a frame to its caller by a row. */
hl_cfi_step hl_cfi_apply(const hl_cfi_row *row, const hl_cfi_stack *stack, hl_cfi_registers *registers,
                         hl_cfi_places *places);

#endif
