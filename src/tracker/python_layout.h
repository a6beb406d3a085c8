/*
 * python_layout.h - where each CPython keeps what a stack walk reads: byte offsets on 64-bit systems.
 *
 * From CPython's own headers (Include/cpython, Include/internal/pycore_frame.h, pycore_code.h, pystate.h), each checked
 * by walking real interpreters. From 3.13 on the interpreter says most of them itself (_Py_DebugOffsets); python_offsets.c
 * compares. Debug builds have the same layout since 3.8; builds with Py_TRACE_REFS have not.
 */
#ifndef HL_TRACKER_PYTHON_LAYOUT_H
#define HL_TRACKER_PYTHON_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

/* How a frame says where it stands. */
typedef enum hl_instruction_form {
    HL_AT_POINTER, /* the instruction's address */
    HL_AT_BYTES,   /* f_lasti, an int: bytes from the first instruction */
    HL_AT_UNITS,   /* f_lasti, an int: 2-byte units */
} hl_instruction_form;

/* A mark in a frame proves that its activation has not returned: the field is set by each start of an activation, nothing
 * else sets it to our value, and the interpreter treats our value as its own. */
typedef enum hl_mark_form {
    HL_MARK_NONE,
    HL_MARK_LOCALS,      /* f_locals NULL -> None in frames of functions, which have no such dictionary */
    HL_MARK_EXECUTING,   /* f_executing 1 -> 2; tested for truth only, set again by each entry */
    HL_MARK_TRACE_LINES, /* f_trace_lines 1 -> 2; tested for truth only. Not in generators: they are entered again */
} hl_mark_form;
/* Which frames share an evaluation loop, that is one C function's activation. */
typedef enum hl_loop_form {
    HL_LOOP_SHIM, /* the interpreter puts a frame of its own, on the C stack, outside the first one of each */
    HL_LOOP_FLAG, /* a flag says that a frame is the first of its loop */
    HL_LOOP_EACH, /* each frame has its own */
} hl_loop_form;

typedef struct hl_layout {
    /* PyThreadState. `cframe` is 0, or where the address of the struct lies that holds the frame at `frame`. */
    uint16_t cframe, frame, tracefunc, thread_id;
    bool has_global_state; /* the current state is one variable, the holder of the GIL's; else it is thread-local */

    /* The frame. */
    uint16_t code, previous, instruction, locals_first;
    uint16_t owner;   /* 0: there is none */
    bool code_tagged; /* the low two bits of references mean something else */
    hl_instruction_form form;
    hl_mark_form mark_form;
    uint16_t mark, mark_unless; /* mark_unless: no mark where this pointer is not NULL; 0: no such rule */
    uint16_t tlbc_index;        /* free-threaded copies of the bytecode; 0: there are none */
    hl_loop_form loop_form;
    uint16_t loop; /* the flag */
    /* The loops' records on the C stack, innermost first: of the thread state, and in a record; 0: there are none. */
    uint16_t loops, loops_next;

    /* PyCodeObject. */
    uint16_t first_traceable, bytecode, tlbc, flags; /* bytecode: before 3.11 a reference to bytes */
    uint16_t version;                                /* co_version; 0: there is none */
    uint16_t file_name, name, first_line, table;

    /* Objects, bytes, str. */
    uint16_t type, bytes_size, bytes_data;
    uint16_t text_length, text_state, text_ascii, text_compact;
    uint8_t text_kind_shift; /* in the state word: 3 bits of kind, then compact, then ascii */
} hl_layout;

#define HL_LAYOUT_OBJECTS_TO_311                                                                                       \
    .type = 8, .bytes_size = 16, .bytes_data = 32, .text_length = 16, .text_state = 32, .text_ascii = 48,              \
    .text_compact = 72, .text_kind_shift = 2
#define HL_LAYOUT_OBJECTS                                                                                              \
    .type = 8, .bytes_size = 16, .bytes_data = 32, .text_length = 16, .text_state = 32, .text_ascii = 40,              \
    .text_compact = 56, .text_kind_shift = 2
#define HL_LAYOUT_OBJECTS_FREE_THREADED                                                                                \
    .type = 24, .bytes_size = 32, .bytes_data = 48, .text_length = 32, .text_state = 48, .text_ascii = 56,             \
    .text_compact = 72

/* clang-format off */
static const hl_layout HL_LAYOUT_27 = {
    .frame = 16, .tracefunc = 48, .thread_id = 144, .has_global_state = true, .loop_form = HL_LOOP_EACH,
    .code = 32, .previous = 24, .instruction = 120, .locals_first = 376, .form = HL_AT_BYTES,
    .file_name = 80, .name = 88, .first_line = 96, .table = 104, .flags = 28,
    .type = 8, .bytes_size = 16, .bytes_data = 36,
};
static const hl_layout HL_LAYOUT_36 = {
    .frame = 24, .tracefunc = 56, .thread_id = 152, .has_global_state = true, .loop_form = HL_LOOP_EACH,
    .code = 32, .previous = 24, .instruction = 120, .locals_first = 376, .form = HL_AT_BYTES,
    .mark_form = HL_MARK_EXECUTING, .mark = 132,
    .file_name = 96, .name = 104, .first_line = 36, .table = 112,
    HL_LAYOUT_OBJECTS_TO_311,
};
static const hl_layout HL_LAYOUT_37 = {
    .frame = 24, .tracefunc = 64, .thread_id = 176, .has_global_state = true, .loop_form = HL_LOOP_EACH,
    .code = 32, .previous = 24, .instruction = 104, .locals_first = 360, .form = HL_AT_BYTES,
    .mark_form = HL_MARK_EXECUTING, .mark = 116,
    .file_name = 96, .name = 104, .first_line = 36, .table = 112,
    HL_LAYOUT_OBJECTS_TO_311,
};
static const hl_layout HL_LAYOUT_38 = { /* and 3.9; the walk is that of 3.7 */
    .frame = 24, .tracefunc = 64, .thread_id = 176, .has_global_state = true, .loop_form = HL_LOOP_EACH,
    .code = 32, .previous = 24, .instruction = 104, .locals_first = 360, .form = HL_AT_BYTES,
    .mark_form = HL_MARK_EXECUTING, .mark = 116,
    .bytecode = 48, .file_name = 104, .name = 112, .first_line = 40, .table = 120,
    HL_LAYOUT_OBJECTS_TO_311,
};
static const hl_layout HL_LAYOUT_310 = {
    .frame = 24, .tracefunc = 64, .thread_id = 176, .has_global_state = true, .loop_form = HL_LOOP_EACH, .loops = 48, .loops_next = 8,
    .code = 32, .previous = 24, .instruction = 96, .locals_first = 352, .form = HL_AT_UNITS,
    .mark_form = HL_MARK_TRACE_LINES, .mark = 84, .mark_unless = 88,
    .bytecode = 48, .file_name = 104, .name = 112, .first_line = 40, .table = 120,
    HL_LAYOUT_OBJECTS_TO_311,
};
static const hl_layout HL_LAYOUT_311 = {
    .cframe = 56, .frame = 8, .tracefunc = 72, .thread_id = 152, .has_global_state = true,
    .loop_form = HL_LOOP_FLAG, .loop = 68, .loops = 56, .loops_next = 16,
    .code = 32, .previous = 48, .instruction = 56, .owner = 69, .locals_first = 72,
    .first_traceable = 168, .bytecode = 184, .flags = 48,
    .file_name = 112, .name = 128, .first_line = 72, .table = 136,
    HL_LAYOUT_OBJECTS_TO_311,
};
static const hl_layout HL_LAYOUT_312 = {
    .cframe = 56, .frame = 0, .tracefunc = 72, .thread_id = 136,
    .code = 0, .previous = 8, .instruction = 56, .owner = 70, .locals_first = 72,
    .first_traceable = 176, .bytecode = 192, .flags = 48, .version = 92,
    .file_name = 112, .name = 128, .first_line = 68, .table = 136,
    HL_LAYOUT_OBJECTS,
};
static const hl_layout HL_LAYOUT_313 = {
    .frame = 72, .tracefunc = 88, .thread_id = 152,
    .code = 0, .previous = 8, .instruction = 56, .owner = 70, .locals_first = 72,
    .mark_form = HL_MARK_LOCALS, .mark = 40,
    .first_traceable = 184, .bytecode = 200, .flags = 48, .version = 92,
    .file_name = 112, .name = 128, .first_line = 68, .table = 136,
    HL_LAYOUT_OBJECTS,
};
static const hl_layout HL_LAYOUT_313T = {
    .frame = 72, .tracefunc = 88, .thread_id = 152,
    .code = 0, .previous = 8, .instruction = 56, .owner = 70, .locals_first = 72,
    .mark_form = HL_MARK_LOCALS, .mark = 40,
    .first_traceable = 200, .bytecode = 216, .flags = 64, .version = 108,
    .file_name = 128, .name = 144, .first_line = 84, .table = 152,
    HL_LAYOUT_OBJECTS_FREE_THREADED, .text_kind_shift = 2,
};
static const hl_layout HL_LAYOUT_314 = {
    .frame = 72, .tracefunc = 88, .thread_id = 152,
    .code = 0, .code_tagged = true, .previous = 8, .instruction = 56, .owner = 74, .locals_first = 80,
    .mark_form = HL_MARK_LOCALS, .mark = 40,
    .first_traceable = 192, .bytecode = 208, .flags = 48, .version = 92,
    .file_name = 112, .name = 128, .first_line = 68, .table = 136,
    HL_LAYOUT_OBJECTS,
};
static const hl_layout HL_LAYOUT_315 = {
    .frame = 72, .tracefunc = 112, .thread_id = 176,
    .code = 0, .code_tagged = true, .previous = 8, .instruction = 56, .owner = 74, .locals_first = 80,
    .mark_form = HL_MARK_LOCALS, .mark = 40,
    .first_traceable = 192, .bytecode = 208, .flags = 48, .version = 92,
    .file_name = 112, .name = 128, .first_line = 68, .table = 136,
    HL_LAYOUT_OBJECTS,
};
static const hl_layout HL_LAYOUT_314T = {
    .frame = 72, .tracefunc = 88, .thread_id = 152,
    .code = 0, .code_tagged = true, .previous = 8, .instruction = 56, .owner = 78, .locals_first = 80,
    .mark_form = HL_MARK_LOCALS, .mark = 40, .tlbc_index = 72,
    .first_traceable = 208, .bytecode = 232, .tlbc = 224, .flags = 64, .version = 108,
    .file_name = 128, .name = 144, .first_line = 84, .table = 152,
    HL_LAYOUT_OBJECTS_FREE_THREADED, .text_kind_shift = 8,
};
static const hl_layout HL_LAYOUT_315T = {
    .frame = 72, .tracefunc = 112, .thread_id = 176,
    .code = 0, .code_tagged = true, .previous = 8, .instruction = 56, .owner = 78, .locals_first = 80,
    .mark_form = HL_MARK_LOCALS, .mark = 40, .tlbc_index = 72,
    .first_traceable = 208, .bytecode = 232, .tlbc = 224, .flags = 64, .version = 108,
    .file_name = 128, .name = 144, .first_line = 84, .table = 152,
    HL_LAYOUT_OBJECTS_FREE_THREADED, .text_kind_shift = 8,
};

/* clang-format on */

#endif
