/*
 * tree.h - the call tree of the whole recording, and what the program's names for its nodes mean.
 *
 * A node is (parent, code object, instruction), known by content: two processes, or two code objects with equal text,
 * share it. Node 0 is the root, node 1 "(no Python)" below it; a parent's number is below its children's, also after
 * folding. The wire names nodes and code objects by 59-bit hashes and addresses of one process image; hl_names keeps what
 * these mean for that image.
 *
 * A name may be used before its announcement is applied (threads without a common lock: an event keeps its older epoch).
 * Such a name gets a stand-in node (HL_STAND_IN set) which is exchanged when the announcement comes.
 */
#ifndef HL_COLLECTOR_TREE_H
#define HL_COLLECTOR_TREE_H

#include "batch.h"
#include "memory.h"
#include "wire.h"

#include <stdbool.h>

enum { HL_NODE_TOP = 0, HL_NODE_PLAIN = 1 };
#define HL_STAND_IN UINT32_C(0x80000000)

typedef struct hl_node {
    uint32_t parent, code, instruction;
    uint32_t row; /* first of its rows */
    uint8_t kind; /* hl_node_kind */
    uint8_t kept;
    uint16_t spare;
} hl_node;

typedef struct hl_code {
    hl_text file, name, table;
    int32_t first_line;
    uint16_t python_version;
    uint64_t hash;
} hl_code;

typedef struct hl_tree {
    hl_node *node;
    uint32_t count, sent; /* nodes made; nodes that the profile has */
    uint64_t *index;      /* hash of a node's content: its upper half << 32 | node; 0: empty */
    uint32_t index_mask;
    hl_area node_area, index_area;
    hl_code *code; /* code 0 is not used */
    uint32_t codes, codes_sent, code_room;
    uint32_t *code_index, code_mask;
    hl_store texts;
    uint32_t *stand_in; /* first row of each stand-in */
    uint32_t stand_ins, stand_in_room;
} hl_tree;

void hl_tree_init(hl_tree *tree);
void hl_tree_release(hl_tree *tree);

/* The node with this content below `parent`, made if need be. */
uint32_t hl_tree_node(hl_tree *tree, uint32_t parent, hl_node_kind kind, uint32_t code, uint32_t instruction);
/* It is about to be asked for. */
void hl_tree_prefetch(const hl_tree *tree, uint32_t parent, hl_node_kind kind, uint32_t code, uint32_t instruction);
void hl_tree_reindex(hl_tree *tree); /* after node[] was rearranged */

/* A copy that lives as long as the tree, in which what is not UTF-8, and NUL, has become "?". */
hl_text hl_tree_text(hl_tree *tree, const char *from, uint32_t bytes);

/* The code object with this content, made if need be (then the texts are copied). */
uint32_t hl_tree_code(hl_tree *tree, const hl_wire_code *head, const char *texts);

/* What a node of this code is: a loaded object's have no version of Python. */
static inline hl_node_kind hl_tree_kind(const hl_tree *tree, uint32_t code)
{
    return tree->code[code].python_version ? HL_NODE_PYTHON : HL_NODE_NATIVE;
}

/* Where a node's list of rows begins; stand-ins have one, too. */
static inline uint32_t *hl_tree_first_row(hl_tree *tree, uint32_t node)
{
    return node & HL_STAND_IN ? &tree->stand_in[node & ~HL_STAND_IN] : &tree->node[node].row;
}
uint32_t hl_tree_stand_in(hl_tree *tree);

/* What one process image calls nodes and code objects. */
typedef struct hl_name {
    uint64_t id;                /* 0: empty */
    uint64_t parent;            /* what the announcement said: with this a node that was folded away can come back */
    uint32_t node;              /* what it means now */
    uint32_t code, instruction; /* code 0: not announced yet */
    uint32_t folded;            /* 1: counted among the folded stacks, since it is in a "(deeper)" */
} hl_name;

/* The names of one place: the program remembers one of them as announced, see names.c. */
enum { HL_NAME_WAYS = 4 };
typedef struct hl_name_set { /* the one announced last is the first */
    hl_name way[HL_NAME_WAYS];
} hl_name_set;
_Static_assert(sizeof(hl_name_set) == 128, "two lines a set, most searches see the first");

typedef struct hl_code_name {
    uint64_t address; /* 0: empty */
    uint32_t version, code;
} hl_code_name;

typedef struct hl_waiting { /* a node announced before its parent or its code object */
    uint64_t id, parent, code_address;
    uint32_t version, instruction;
} hl_waiting;

typedef struct hl_names {
    uint64_t root;     /* HL_ROOT_NODE of the image's seed */
    hl_name root_name; /* never forgotten */
    hl_name_set *set;  /* by the id's low bits */
    uint32_t mask;
    hl_area area;
    hl_code_name *code;
    uint32_t codes, code_mask;
    hl_waiting *waiting;
    uint32_t waiting_count, waiting_room;
    uint32_t collisions; /* announcements that gave a known name another meaning */
} hl_names;

void hl_names_init(hl_names *names, uint32_t seed);
void hl_names_release(hl_names *names);

/* What `id` means, or null. */
hl_name *hl_names_find(hl_names *names, uint64_t id);
/* .. from this announcement on. The one pointer that stays valid is the one returned. */
hl_name *hl_names_set(hl_names *names, uint64_t id, uint32_t node);
/* `id` is about to be looked up. */
static inline void hl_names_prefetch(const hl_names *names, uint64_t id)
{
    const hl_name_set *set = &names->set[id & names->mask];
    __builtin_prefetch(&set->way[0], 1);
    __builtin_prefetch(&set->way[HL_NAME_WAYS / 2], 1);
}
uint32_t hl_names_code(const hl_names *names, uint64_t address, uint32_t version); /* 0: not known */
void hl_names_set_code(hl_names *names, uint64_t address, uint32_t version, uint32_t code);

#endif
