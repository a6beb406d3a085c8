/*
 * dictionary.h - what the profile's stacks are made of: files, functions, frames, stacks, each once, numbered from the
 * order in which they were first seen. Owned by the writer; used on its thread only.
 *
 * The dictionary is in memory and ahead of the database: it remembers how much of each array has been written and
 * committed, so a batch that failed can simply be applied again. Rows are only ever added, but for stacks, which a
 * complete batch starts anew.
 */
#ifndef HL_PROFILE_DICTIONARY_H
#define HL_PROFILE_DICTIONARY_H

#include "batch.h"
#include "idmap.h"
#include "linetable.h"

typedef struct hl_file { /* id: index + 1 */
    hl_text path;        /* the collector's memory */
} hl_file;

typedef struct hl_function { /* id: index + 1 */
    uint32_t file;           /* id */
    int32_t first_line;
    hl_text name;
} hl_function;

typedef struct hl_frame { /* id: index + 1 */
    uint32_t function;    /* id */
    hl_position position;
    uint32_t module; /* of a native frame: id of the loaded object's file; 0: Python */
    uint32_t caller; /* id of the frame that it was inlined into; 0: it was not */
} hl_frame;

typedef struct hl_stack { /* id: index; 0 is the root */
    uint32_t parent;      /* id; of the root 0 */
    uint32_t frame;       /* id; 0: none */
    uint32_t kind;        /* hl_node_kind */
} hl_stack;

typedef struct hl_nameless { /* a native frame that may still get a name, or a better one */
    uint32_t object;         /* index in codes */
    uint32_t offset, frame;
    bool has_name, has_line;
} hl_nameless;

typedef struct hl_dictionary {
    HL_ROWS(hl_file) files;
    HL_ROWS(hl_function) functions;
    HL_ROWS(hl_frame) frames;
    HL_ROWS(hl_stack) stacks;
    HL_ROWS(struct hl_known_code {
        hl_batch_code code;
        uint32_t function;        /* id; of a loaded object its file's */
        hl_linetable_index index; /* of a long line table, once it has been searched */
        bool has_lines;           /* an object of which some place has got a line */
        bool is_slow;             /* its lines take long: they are read at the end */
        bool is_read;             /* what this machine's files say of it is known, and there are no lines */
    })
    codes;
    /* Native frames that nothing is known of yet; those that wait for the end of the run (natives.c); and rows of `frames`
     * that have been given a name since they were last written. */
    HL_ROWS(hl_nameless) nameless;
    HL_ROWS(hl_nameless) later;
    HL_ROWS(uint32_t) renamed;
    struct hl_text_chunk { /* names that the dictionary has made */
        struct hl_text_chunk *next;
        char bytes[];
    } * texts;
    char *text_at;
    size_t text_left;
    hl_idmap code_by_id, file_by_path, function_by_key, frame_by_key, frame_by_instruction, stack_by_key, stack_by_node;
} hl_dictionary;

int hl_dictionary_open(hl_dictionary *d); /* with the root stack; -ENOMEM */
void hl_dictionary_close(hl_dictionary *d);
int hl_dictionary_forget_stacks(hl_dictionary *d); /* all but the root */
int hl_dictionary_add_code(hl_dictionary *d, const hl_batch_code *code);
int hl_dictionary_add_node(hl_dictionary *d, const hl_batch_node *node);
/* The id of a code object's file; 0: it is not known, or a loaded object. */
uint32_t hl_dictionary_file_of(const hl_dictionary *d, uint32_t code);
/* The function's id, made if need be: then it keeps `file` and `name`, which must live as long as the dictionary. */
int hl_dictionary_function(hl_dictionary *d, hl_text file, hl_text name, int32_t first_line, uint32_t *id);
/* Room for a text that lives as long as the dictionary; null: no memory. */
char *hl_dictionary_room(hl_dictionary *d, size_t bytes);
/* The stack that shows `node`; the root for a node never seen, so that no bytes get lost. */
uint32_t hl_dictionary_stack_of(const hl_dictionary *d, uint32_t node);

/* user, site, stdlib, frozen, interactive or native, by the path alone (docs/profile-format.md, "Files"). */
const char *hl_origin_of(hl_text path);

#endif
