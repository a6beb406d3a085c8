/*
 * dictionary.c - see dictionary.h. Everything looks up by hash, then compares: two things that differ never share an
 * id.
 */
#include "dictionary.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_text(hl_text a, hl_text b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

static hl_text known(hl_text text) { return text.at && text.bytes ? text : (hl_text){"?", 1}; }

/* Room for a text that lives as long as the dictionary. */
char *hl_dictionary_room(hl_dictionary *d, size_t bytes)
{
    enum { CHUNK = 64 << 10 };
    if (bytes > d->text_left) {
        size_t room = bytes > CHUNK ? bytes : CHUNK;
        struct hl_text_chunk *chunk = malloc(sizeof *chunk + room);
        if (!chunk)
            return NULL;
        chunk->next = d->texts;
        d->texts = chunk;
        d->text_left = room;
        d->text_at = chunk->bytes;
    }
    char *at = d->text_at;
    d->text_at += bytes;
    d->text_left -= bytes;
    return at;
}

static int file_id(hl_dictionary *d, hl_text path, uint32_t *id)
{
    path = known(path);
    uint64_t key = hl_idmap_hash(path.at, path.bytes, 1);
    for (uint32_t found; (found = hl_idmap_get(&d->file_by_path, key)) != HL_IDMAP_NONE; key++) {
        if (same_text(d->files.row[found - 1].path, path)) {
            *id = found;
            return 0;
        }
    }
    hl_file *file = HL_ROWS_ADD(d->files);
    if (!file)
        return -ENOMEM;
    file->path = path;
    *id = (uint32_t)d->files.n;
    int error = hl_idmap_put(&d->file_by_path, key, *id);
    if (error)
        d->files.n--;
    return error;
}

int hl_dictionary_function(hl_dictionary *d, hl_text file, hl_text name, int32_t first_line, uint32_t *id)
{
    hl_function wanted = {.first_line = first_line, .name = known(name)};
    int error = file_id(d, file, &wanted.file);
    if (error)
        return error;
    uint64_t key =
        hl_idmap_hash(wanted.name.at, wanted.name.bytes, (uint64_t)wanted.file << 32 | (uint32_t)wanted.first_line);
    for (uint32_t found; (found = hl_idmap_get(&d->function_by_key, key)) != HL_IDMAP_NONE; key++) {
        const hl_function *f = &d->functions.row[found - 1];
        if (f->file == wanted.file && f->first_line == wanted.first_line && same_text(f->name, wanted.name)) {
            *id = found;
            return 0;
        }
    }
    hl_function *f = HL_ROWS_ADD(d->functions);
    if (!f)
        return -ENOMEM;
    *f = wanted;
    *id = (uint32_t)d->functions.n;
    error = hl_idmap_put(&d->function_by_key, key, *id);
    if (error)
        d->functions.n--;
    return error;
}

int hl_dictionary_add_code(hl_dictionary *d, const hl_batch_code *code)
{
    struct hl_known_code known_code = {.code = *code};
    bool native = code->python_version == 0 && code->file.at; /* one that was never sent has no name either */
    int error = native
                    ? file_id(d, code->file, &known_code.function) /* a loaded object: it has no function of its own */
                    : hl_dictionary_function(d, code->file, code->name, code->first_line, &known_code.function);
    if (error)
        return error;
    struct hl_known_code *k = HL_ROWS_ADD(d->codes);
    if (!k)
        return -ENOMEM;
    *k = known_code;
    error = hl_idmap_put(&d->code_by_id, code->id, (uint32_t)d->codes.n - 1);
    if (error)
        d->codes.n--;
    return error;
}

uint32_t hl_dictionary_file_of(const hl_dictionary *d, uint32_t code)
{
    uint32_t index = hl_idmap_get(&d->code_by_id, code);
    if (index == HL_IDMAP_NONE || !d->codes.row[index].code.python_version)
        return 0;
    return d->functions.row[d->codes.row[index].function - 1].file;
}

static int frame_id(hl_dictionary *d, uint32_t function, hl_position at, uint32_t *id)
{
    uint64_t key = hl_idmap_hash(&at, sizeof at, function);
    for (uint32_t found; (found = hl_idmap_get(&d->frame_by_key, key)) != HL_IDMAP_NONE; key++) {
        const hl_frame *f = &d->frames.row[found - 1];
        if (f->function == function && !f->module && memcmp(&f->position, &at, sizeof at) == 0) {
            *id = found;
            return 0;
        }
    }
    hl_frame *f = HL_ROWS_ADD(d->frames);
    if (!f)
        return -ENOMEM;
    *f = (hl_frame){.function = function, .position = at};
    *id = (uint32_t)d->frames.n;
    int error = hl_idmap_put(&d->frame_by_key, key, *id);
    if (error)
        d->frames.n--;
    return error;
}

/* A native frame, by its place in the loaded object until it has a name. Each place has a frame of its own, so that it can
 * be named later. */
static int native_frame(hl_dictionary *d, const struct hl_known_code *object, uint32_t offset, uint32_t *id)
{
    const hl_text path = known(object->code.file);
    const char *base = path.at + path.bytes;
    while (base > path.at && base[-1] != '/')
        base--;
    size_t room = (size_t)(path.at + path.bytes - base) + 16;
    char *name = hl_dictionary_room(d, room);
    if (!name)
        return -ENOMEM;
    bool is_file = path.at[0] != '[' && path.at[0] != '(';
    int length = snprintf(name, room, is_file ? "%.*s+0x%x" : "%.*s", (int)(path.at + path.bytes - base), base, offset);
    hl_frame frame = {.module = object->function,
                      .position = {.line = 0, .end_line = -1, .column = -1, .end_column = -1}};
    int error = hl_dictionary_function(d, path, (hl_text){name, (uint32_t)length}, 0, &frame.function);
    if (error)
        return error;
    hl_frame *f = HL_ROWS_ADD(d->frames);
    hl_nameless *nameless = f && is_file ? HL_ROWS_ADD(d->nameless) : NULL;
    if (!f || (is_file && !nameless))
        return -ENOMEM;
    *f = frame;
    *id = (uint32_t)d->frames.n;
    if (nameless)
        *nameless = (hl_nameless){.object = (uint32_t)(object - d->codes.row), .offset = offset, .frame = *id};
    return 0;
}

/* A recursive function's instructions come again at every depth: each is decoded once. */
static int instruction_frame(hl_dictionary *d, uint32_t code_id, uint32_t instruction, bool native, uint32_t *id)
{
    uint32_t index = hl_idmap_get(&d->code_by_id, code_id);
    if (index == HL_IDMAP_NONE) { /* the collector never sent it: the frame keeps its place, without a name */
        hl_batch_code nameless = {.id = code_id};
        int error = hl_dictionary_add_code(d, &nameless);
        if (error)
            return error;
        index = hl_idmap_get(&d->code_by_id, code_id);
    }
    /* By place in `codes`, not by id: a code that is sent after its first node replaces the nameless one. */
    uint64_t key = (uint64_t)index << 32 | instruction;
    *id = hl_idmap_get(&d->frame_by_instruction, key);
    if (*id != HL_IDMAP_NONE)
        return 0;
    enum { LONG_TABLE = 512 };
    struct hl_known_code *k = &d->codes.row[index];
    if (native && k->code.file.at) {
        int error = native_frame(d, k, instruction, id);
        return error ? error : hl_idmap_put(&d->frame_by_instruction, key, *id);
    }
    uint32_t table_bytes = k->code.table.at ? k->code.table.bytes : 0;
    hl_position at =
        hl_linetable_search(table_bytes >= LONG_TABLE ? &k->index : NULL, k->code.python_version,
                            (const uint8_t *)k->code.table.at, table_bytes, k->code.first_line, instruction);
    int error = frame_id(d, k->function, at, id);
    return error ? error : hl_idmap_put(&d->frame_by_instruction, key, *id);
}

static int stack_id(hl_dictionary *d, hl_stack wanted, uint32_t *id)
{
    /* Exact: frames and kinds without one share the low word, a frame's id being far below 2^31. */
    uint64_t key = (uint64_t)wanted.parent << 32 | (wanted.frame ? wanted.frame : UINT32_C(0x80000000) | wanted.kind);
    *id = hl_idmap_get(&d->stack_by_key, key);
    if (*id != HL_IDMAP_NONE)
        return 0;
    hl_stack *s = HL_ROWS_ADD(d->stacks);
    if (!s)
        return -ENOMEM;
    *s = wanted;
    *id = (uint32_t)d->stacks.n - 1;
    int error = hl_idmap_put(&d->stack_by_key, key, *id);
    if (error)
        d->stacks.n--;
    return error;
}

int hl_dictionary_add_node(hl_dictionary *d, const hl_batch_node *node)
{
    hl_stack stack = {.parent = hl_dictionary_stack_of(d, node->parent), .kind = node->kind};
    uint32_t id = 0;
    if (node->kind > HL_NODE_NATIVE)
        stack.kind = HL_NODE_NO_PYTHON;
    if (node->kind == HL_NODE_PYTHON || node->kind == HL_NODE_NATIVE) {
        bool native = node->kind == HL_NODE_NATIVE;
        int error = instruction_frame(d, node->code, node->instruction, native, &stack.frame);
        if (error)
            return error;
    }
    if (node->kind != HL_NODE_ROOT && node->id != 0) {
        int error = stack_id(d, stack, &id);
        if (error)
            return error;
    }
    return hl_idmap_put(&d->stack_by_node, node->id, id);
}

uint32_t hl_dictionary_stack_of(const hl_dictionary *d, uint32_t node)
{
    uint32_t id = hl_idmap_get(&d->stack_by_node, node);
    return id == HL_IDMAP_NONE ? 0 : id;
}

int hl_dictionary_forget_stacks(hl_dictionary *d)
{
    d->stacks.n = 0;
    hl_idmap_clear(&d->stack_by_key);
    hl_idmap_clear(&d->stack_by_node);
    return HL_ROWS_ADD(d->stacks) ? 0 : -ENOMEM; /* zeroed: the root */
}

int hl_dictionary_open(hl_dictionary *d)
{
    memset(d, 0, sizeof *d);
    return hl_dictionary_forget_stacks(d);
}

void hl_dictionary_close(hl_dictionary *d)
{
    free(d->files.row);
    free(d->functions.row);
    free(d->frames.row);
    free(d->stacks.row);
    for (size_t i = 0; i < d->codes.n; i++)
        hl_linetable_release(&d->codes.row[i].index);
    free(d->codes.row);
    for (struct hl_text_chunk *chunk = d->texts, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(d->nameless.row);
    free(d->later.row);
    free(d->renamed.row);
    hl_idmap_clear(&d->code_by_id);
    hl_idmap_clear(&d->file_by_path);
    hl_idmap_clear(&d->function_by_key);
    hl_idmap_clear(&d->frame_by_key);
    hl_idmap_clear(&d->frame_by_instruction);
    hl_idmap_clear(&d->stack_by_key);
    hl_idmap_clear(&d->stack_by_node);
    memset(d, 0, sizeof *d);
}
