/*
 * fuzz_cfi.c - any bytes as .eh_frame_hdr and .eh_frame of a loaded object, any registers, a made-up stack: no read outside
 * of what was given, no endless loop, no undefined sum, and no caller that was not read from that stack.
 *
 * The input: an address relative to the segment (4 bytes, signed), where in it the header is (2), how to fill the stack
 * (1), where in it SP and FP stand (1), then the segment. Real sections are position independent, so the seeds (corpus/cfi,
 * made by make_cfi_seeds.py) are cut from real files and work at any address.
 */
#include "cfi.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PREFIX = 8, WORDS = 64, MOST_STEPS = 40 };

static void fill(uint64_t *stack, uint8_t how, uint64_t pc)
{
    uint64_t low = (uint64_t)stack, random = how + UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned i = 0; i < WORDS; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        switch (how % 4) {
        case 0: /* return addresses and frame pointers in turn */
            stack[i] = i % 2 ? pc : low + (i + 2) % WORDS * sizeof *stack;
            break;
        case 1: /* return addresses only */
            stack[i] = pc;
            break;
        case 2:
            stack[i] = low + (random >> 33) % (WORDS * sizeof *stack);
            break;
        default:
            stack[i] = random;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int32_t distance;
    uint16_t header;
    if (size < PREFIX)
        return 0;
    memcpy(&distance, data, sizeof distance);
    memcpy(&header, data + 4, sizeof header);
    size_t n = size - PREFIX;
    uint8_t *segment = malloc(n ? n : 1); /* exactly as large as it is, for the sanitizer */
    uint64_t *stack = malloc(WORDS * sizeof *stack);
    if (!segment || !stack)
        abort();
    memcpy(segment, data + PREFIX, n);
    hl_cfi cfi = {.from = segment, .to = segment + n, .header = segment + header % (n + 1)};
    uint64_t pc = (uint64_t)segment + (uint64_t)(int64_t)distance;
    fill(stack, data[6], pc);
    hl_cfi_stack range = {.low = (uint64_t)stack, .high = (uint64_t)(stack + WORDS)};
    hl_cfi_registers at = {
        .pc = pc, .sp = range.low + data[7] % 16 * sizeof *stack, .fp = range.low + data[7] / 16 * 4 * sizeof *stack};
    hl_cfi_row row;
    for (int step = 0; step < MOST_STEPS && hl_cfi_find(&cfi, at.pc, &row); step++) {
        if (at.pc < row.begin || at.pc >= row.end)
            abort();
        hl_cfi_places places;
        if (hl_cfi_apply(&row, &range, &at, &places) != HL_CFI_CALLER)
            break;
        if (places.pc && (places.pc < range.low || places.pc > range.high - 8 || at.pc != *(uint64_t *)places.pc))
            abort();
        if (places.fp && (places.fp < range.low || places.fp > range.high - 8 || at.fp != *(uint64_t *)places.fp))
            abort();
    }
    free(stack);
    free(segment);
    return 0;
}
