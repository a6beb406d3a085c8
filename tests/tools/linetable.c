/*
 * linetable.c - compares our reading of line tables with what an interpreter says of its own code objects.
 *
 * Reads records from standard input, little-endian, as tests/e2e/code_objects.py writes them: "HLCO", uint32 version
 * (major << 8 | minor), int32 first line, uint32 bytes of the line table, the table, uint32 instructions, and for each:
 * uint32 byte offset, int32 line, end line, column, end column (0 for no line, -1 for unknown). Prints the first
 * differences and one last line: code objects, instructions, differences. Exit status 1 when there are differences or
 * no code objects.
 */
#include "linetable.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct expected {
    uint32_t instruction;
    int32_t line, end_line, column, end_column;
} expected;

typedef struct record {
    char magic[4];
    uint32_t version;
    int32_t first_line;
    uint32_t table_bytes;
} record;

static void must_read(void *at, size_t bytes)
{
    if (bytes && fread(at, 1, bytes, stdin) != bytes) {
        fprintf(stderr, "linetable: the input ends inside a record\n");
        exit(2);
    }
}

static int same(const expected *e, hl_position p)
{
    return e->line == p.line && e->end_line == p.end_line && e->column == p.column && e->end_column == p.end_column;
}

int main(void)
{
    uint64_t codes = 0, instructions = 0, differences = 0;
    record r;
    while (fread(&r, 1, sizeof r, stdin) == sizeof r) {
        uint32_t n;
        if (memcmp(r.magic, "HLCO", 4) != 0) {
            fprintf(stderr, "linetable: this is not a record\n");
            return 2;
        }
        uint8_t *table = malloc(r.table_bytes + 1);
        must_read(table, r.table_bytes);
        must_read(&n, sizeof n);
        expected *e = calloc((size_t)n + 1, sizeof *e);
        must_read(e, n * sizeof *e);
        for (uint32_t i = 0; i < n; i++) {
            hl_position p =
                hl_linetable_find((uint16_t)r.version, table, r.table_bytes, r.first_line, e[i].instruction);
            if (!same(&e[i], p) && differences++ < 10)
                printf("code object %" PRIu64 ", instruction %u: the interpreter says %d-%d:%d-%d, we %d-%d:%d-%d\n",
                       codes, e[i].instruction, e[i].line, e[i].end_line, e[i].column, e[i].end_column, p.line,
                       p.end_line, p.column, p.end_column);
        }
        instructions += n;
        codes++;
        free(table);
        free(e);
    }
    printf("%" PRIu64 " code objects, %" PRIu64 " instructions, %" PRIu64 " differences\n", codes, instructions,
           differences);
    return differences || !codes;
}
