/*
 * python_offsets.c - the layouts of 3.13 and later against what the interpreter says of itself: _Py_DebugOffsets, at the
 * start of _PyRuntime (CPython Include/internal/pycore_debug_offsets.h; pycore_runtime.h in 3.13). One difference is
 * enough to refuse: a patched or unfinished version is not guessed at.
 */
#include "python_private.h"

#include <dlfcn.h>
#include <string.h>

/* Byte positions in the struct of 3.13, 3.14, 3.15; 0: not told there. */
typedef struct told {
    uint16_t at[3];
    uint64_t expected;
    const char *what;
} told;

const char *hl_python_offsets_differ(const hl_layout *L, uint16_t version, bool free_threaded)
{
    const char *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    if (!runtime || memcmp(runtime, "xdebugpy", 8) != 0)
        return "it has no debug offsets";
    const told FACTS[] = {
        {{16, 16, 16}, free_threaded, "free threading"},
        {{184, 208, 208}, L->frame, "thread state"},
        {{192, 216, 240}, L->thread_id, "thread state"},
        {{232, 256, 320}, L->previous, "frames"},
        {{240, 264, 328}, L->code, "frames"},
        {{248, 272, 336}, L->instruction, "frames"},
        {{256, 280, 344}, L->locals_first, "frames"},
        {{264, 288, 352}, L->owner, "frames"},
        {{0, 304, 368}, L->tlbc_index, "frames"},
        {{280, 320, 384}, L->file_name, "code objects"},
        {{288, 328, 392}, (uint64_t)L->name - 8, "code objects"},
        {{296, 336, 400}, L->name, "code objects"},
        {{304, 344, 408}, L->table, "code objects"},
        {{312, 352, 416}, L->first_line, "code objects"},
        {{344, 384, 448}, L->bytecode, "code objects"},
        {{0, 392, 456}, L->tlbc, "code objects"},
        {{360, 408, 472}, L->type, "objects"},
        {{520, 600, 696}, L->bytes_size, "bytes"},
        {{528, 608, 704}, L->bytes_data, "bytes"},
        {{544, 624, 720}, L->text_state, "strings"},
        {{552, 632, 728}, L->text_length, "strings"},
        {{560, 640, 736}, L->text_ascii, "strings"},
    };
    unsigned column = version - 0x30du;
    if (column > 2)
        return "its version";
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        uint64_t value;
        if (!FACTS[i].at[column])
            continue;
        memcpy(&value, runtime + FACTS[i].at[column], sizeof value);
        if (value != FACTS[i].expected && !(free_threaded == 0 && FACTS[i].expected == 0 && value == UINT64_MAX))
            return FACTS[i].what;
    }
    return NULL;
}
