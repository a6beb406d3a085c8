/*
 * fuzz_linetable.c - any bytes as a line table of any version: no read outside, no endless loop, no undefined sum. The
 * first seven bytes choose version, first line and instruction.
 */
#include "linetable.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t versions[] = {0x0207, 0x0306, 0x0309, 0x030a, 0x030b, 0x030f};
    if (size < 7)
        return 0;
    uint16_t version = versions[data[0] % (sizeof versions / sizeof *versions)];
    int32_t first_line;
    uint16_t instruction;
    memcpy(&first_line, data + 1, sizeof first_line);
    memcpy(&instruction, data + 5, sizeof instruction);
    size_t n = size - 7;
    uint8_t *table = malloc(n ? n : 1); /* exactly as large as it is, for the sanitizer */
    memcpy(table, data + 7, n);
    hl_position p = hl_linetable_find(version, table, n, first_line, instruction);
    if (p.line < 0 || p.end_line < -1 || p.column < -1 || p.end_column < -1)
        abort();
    free(table);
    return 0;
}
