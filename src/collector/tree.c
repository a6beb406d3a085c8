/* tree.c - the call tree and its code objects, each content once. names.c has what the program calls them. */
#include "tree.h"

#include <stdlib.h>
#include <string.h>

/* The lower half says where it stands in the index, the upper half tells it from others there. */
static uint64_t hash_of(uint32_t parent, uint32_t kind, uint32_t code, uint32_t instruction)
{
    uint64_t h = ((uint64_t)parent << 32 | code) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 32 ^ ((uint64_t)instruction << 8 | kind)) * UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 32;
}

static uint32_t add(hl_tree *tree, uint32_t parent, hl_node_kind kind, uint32_t code, uint32_t instruction)
{
    hl_area_grow(&tree->node_area, ((size_t)tree->count + 1) * sizeof(hl_node));
    tree->node = (hl_node *)(void *)tree->node_area.at;
    tree->node[tree->count] =
        (hl_node){.parent = parent, .code = code, .instruction = instruction, .kind = (uint8_t)kind};
    return tree->count++;
}

static uint64_t entry_of(uint64_t hash, uint32_t node) { return hash >> 32 << 32 | node; }

void hl_tree_reindex(hl_tree *tree)
{
    while (tree->count > tree->index_mask / 2)
        tree->index_mask = tree->index_mask * 2 + 1;
    size_t bytes = ((size_t)tree->index_mask + 1) * sizeof *tree->index;
    hl_area_grow(&tree->index_area, bytes);
    tree->index = memset(tree->index_area.at, 0, bytes);
    for (uint32_t i = 1; i < tree->count; i++) {
        const hl_node *n = &tree->node[i];
        uint64_t hash = hash_of(n->parent, n->kind, n->code, n->instruction);
        uint32_t at = (uint32_t)hash & tree->index_mask;
        while (tree->index[at])
            at = (at + 1) & tree->index_mask;
        tree->index[at] = entry_of(hash, i);
    }
}

void hl_tree_init(hl_tree *tree)
{
    *tree = (hl_tree){.index_mask = 1023, .codes = 1, .code_mask = 1023};
    tree->code_index = hl_zeroed((tree->code_mask + 1) * sizeof *tree->code_index);
    add(tree, 0, HL_NODE_ROOT, 0, 0);
    add(tree, 0, HL_NODE_NO_PYTHON, 0, 0);
    hl_tree_reindex(tree);
}

void hl_tree_release(hl_tree *tree)
{
    hl_area_release(&tree->node_area);
    hl_area_release(&tree->index_area);
    free(tree->code);
    free(tree->code_index);
    free(tree->stand_in);
    hl_store_release(&tree->texts);
    *tree = (hl_tree){0};
}

uint32_t hl_tree_node(hl_tree *tree, uint32_t parent, hl_node_kind kind, uint32_t code, uint32_t instruction)
{
    uint64_t hash = hash_of(parent, kind, code, instruction);
    uint32_t at = (uint32_t)hash & tree->index_mask;
    for (uint64_t entry; (entry = tree->index[at]); at = (at + 1) & tree->index_mask) {
        if ((entry ^ hash) >> 32)
            continue;
        const hl_node *n = &tree->node[(uint32_t)entry];
        if (n->parent == parent && n->code == code && n->instruction == instruction && n->kind == kind)
            return (uint32_t)entry;
    }
    uint32_t made = add(tree, parent, kind, code, instruction);
    if (tree->count > tree->index_mask / 2)
        hl_tree_reindex(tree);
    else
        tree->index[at] = entry_of(hash, made);
    return made;
}

void hl_tree_prefetch(const hl_tree *tree, uint32_t parent, hl_node_kind kind, uint32_t code, uint32_t instruction)
{
    __builtin_prefetch(&tree->index[(uint32_t)hash_of(parent, kind, code, instruction) & tree->index_mask], 1);
}

uint32_t hl_tree_stand_in(hl_tree *tree)
{
    if (tree->stand_ins == tree->stand_in_room) {
        tree->stand_in_room = tree->stand_in_room ? 2 * tree->stand_in_room : 64;
        tree->stand_in = hl_resized(tree->stand_in, tree->stand_in_room * sizeof *tree->stand_in);
    }
    tree->stand_in[tree->stand_ins] = 0;
    return tree->stand_ins++ | HL_STAND_IN;
}

/* ------------------------------------------------------------------------------------------------ code objects */

static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    for (; count >= 8; count -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    for (; count; count--, p++)
        h = (h ^ *p) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

/* Bytes of the UTF-8 sequence at `p`, at most `left` long; 0: it is none. */
static size_t sequence_bytes(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return n;
}

/* A copy in which what is not UTF-8, and NUL, has become '?'. */
hl_text hl_tree_text(hl_tree *tree, const char *from, uint32_t bytes)
{
    unsigned char *to = hl_store_room(&tree->texts, (size_t)bytes + 1);
    memcpy(to, from, bytes);
    to[bytes] = 0;
    for (size_t i = 0, n; i < bytes; i += n) {
        n = to[i] ? sequence_bytes(to + i, bytes - i) : 0;
        if (!n) {
            to[i] = '?';
            n = 1;
        }
    }
    return (hl_text){(char *)to, bytes};
}

uint32_t hl_tree_code(hl_tree *tree, const hl_wire_code *head, const char *texts)
{
    size_t bytes = (size_t)head->file_bytes + head->name_bytes + head->table_bytes;
    uint64_t hash = hash_bytes(hash_bytes(1, head, sizeof *head), texts, bytes);
    uint32_t at = (uint32_t)hash & tree->code_mask;
    const char *name = texts + head->file_bytes, *table = name + head->name_bytes;
    for (uint32_t i; (i = tree->code_index[at]); at = (at + 1) & tree->code_mask) {
        const hl_code *c = &tree->code[i];
        if (c->hash == hash && c->python_version == head->python_version && c->first_line == head->first_line &&
            c->file.bytes == head->file_bytes && c->name.bytes == head->name_bytes &&
            c->table.bytes == head->table_bytes && !memcmp(c->table.at, table, head->table_bytes))
            return i; /* file and name are compared by hash and length: what was not UTF-8 in them has been replaced */
    }
    if (tree->codes + 1 > tree->code_room) {
        tree->code_room = tree->code_room ? 2 * tree->code_room : 256;
        tree->code = hl_resized(tree->code, tree->code_room * sizeof *tree->code);
    }
    uint32_t made = tree->codes++;
    char *copy = hl_store_room(&tree->texts, head->table_bytes);
    memcpy(copy, table, head->table_bytes);
    tree->code[made] = (hl_code){
        .file = hl_tree_text(tree, texts, head->file_bytes),
        .name = hl_tree_text(tree, name, head->name_bytes),
        .table = {copy, head->table_bytes},
        .first_line = head->first_line,
        .python_version = head->python_version,
        .hash = hash,
    };
    tree->code_index[at] = made;
    if (tree->codes > tree->code_mask / 2) {
        free(tree->code_index);
        tree->code_mask = tree->code_mask * 2 + 1;
        tree->code_index = hl_zeroed(((size_t)tree->code_mask + 1) * sizeof *tree->code_index);
        for (uint32_t i = 1; i < tree->codes; i++) {
            uint32_t place = (uint32_t)tree->code[i].hash & tree->code_mask;
            while (tree->code_index[place])
                place = (place + 1) & tree->code_mask;
            tree->code_index[place] = i;
        }
    }
    return made;
}
