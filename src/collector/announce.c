/*
 * announce.c - words that announce: call tree nodes, code objects, names, and what processes do to each other.
 *
 * All of it is the program's word and may be anything: lengths are checked against what is published, contents are copied
 * once and then looked at. Each function returns the words taken, or 0 to end the writer.
 */
#include "books.h"

#include "number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LARGEST_CODE = 16 << 20,    /* bytes of an announced code object */
    LARGEST_TEXT = 64 << 10,    /* of a text */
    MOST_WAITING = 1 << 16,     /* nodes whose parent or code object is not known yet */
    MOST_TEXT_BYTES = 64 << 20, /* texts kept in all; what comes later is dropped */
    MOST_STAND_INS = 1 << 20,
};

static inline uint64_t word_at(const uint64_t *w) { return __atomic_load_n(w, __ATOMIC_RELAXED); }

/* Words that `bytes` of text take after `head_words`; 0: longer than what is published. */
static uint32_t words_for(uint64_t head_words, uint64_t bytes, uint64_t left)
{
    uint64_t words = head_words + (bytes + 7) / 8;
    return words <= left ? (uint32_t)words : 0;
}

/* ----------------------------------------------------------------------------------------------------------- nodes */

static bool is_folded(const hl_books *books, const hl_name *name)
{
    return !(name->node & HL_STAND_IN) && books->tree.node[name->node].kind == HL_NODE_DEEPER;
}

/* A stack that was folded away is used again: it gets a node of its own again, if its callers' names are still known. What
 * it did before stays in "(deeper)". So nothing that becomes heavy later is hidden by having been light once. */
static void bring_back(hl_books *books, hl_image *image, hl_name *name)
{
    enum { DEEPEST = 1024 };
    hl_name *chain[DEEPEST];
    unsigned n = 0;
    hl_tree *tree = &books->tree;
    uint32_t parent = HL_NODE_TOP;
    for (hl_name *at = name;;) {
        if (n == DEEPEST || !at->code)
            return;
        chain[n++] = at;
        if (at->parent == image->names.root)
            break;
        at = hl_names_find(&image->names, at->parent);
        if (!at || at->node & HL_STAND_IN)
            return;
        if (!is_folded(books, at)) {
            parent = at->node;
            break;
        }
    }
    while (n-- > 0) {
        chain[n]->node = parent =
            hl_tree_node(tree, parent, hl_tree_kind(tree, chain[n]->code), chain[n]->code, chain[n]->instruction);
        chain[n]->folded = 0;
    }
}

bool hl_node_is_hidden(const hl_books *books, hl_image *image, uint64_t id, uint32_t node)
{
    return books->tree.node[node].kind == HL_NODE_DEEPER && id && hl_names_find(&image->names, id);
}

void hl_node_charged(hl_books *books, hl_image *image, uint64_t id, uint32_t node)
{
    if (books->tree.node[node].kind != HL_NODE_DEEPER)
        return;
    hl_name *name = hl_names_find(&image->names, id);
    if (name && !name->folded) {
        name->folded = 1;
        books->folded_stacks++;
    }
}

uint32_t hl_node_named(hl_books *books, hl_image *image, uint64_t id)
{
    hl_name *name = hl_names_find(&image->names, id);
    if (name) {
        if (is_folded(books, name))
            bring_back(books, image, name);
        return name->node;
    }
    if (id == 0)
        return HL_NODE_PLAIN;
    if (books->tree.stand_ins >= MOST_STAND_INS)
        return hl_tree_node(&books->tree, HL_NODE_TOP, HL_NODE_DEEPER, 0, 0);
    uint32_t node = hl_tree_stand_in(&books->tree);
    hl_names_set(&image->names, id, node);
    return node;
}

/* The rows of `from` become `to`'s; where `to` has one with the same key, that one takes over. */
void hl_rows_move(hl_books *books, uint32_t from, uint32_t to)
{
    hl_rows *rows = &books->rows;
    uint32_t row = hl_rows_take(rows, hl_tree_first_row(&books->tree, from)), next;
    for (; row; row = next) {
        next = rows->key[row].next;
        hl_process *process = books->processes[rows->key[row].process - 1];
        hl_row_refresh(books, process, row);
        rows->key[row].node = to;
        uint32_t other = hl_rows_put(rows, hl_tree_first_row(&books->tree, to), row);
        if (other == row)
            continue;
        hl_row_refresh(books, process, other);
        hl_rows_forward(rows, row, other);
        books->forwarded++;
    }
}

/* True when the node could be placed (or is of no use). */
static bool place_node(hl_books *books, hl_image *image, const hl_waiting *n)
{
    uint32_t parent = HL_NODE_TOP;
    if (n->parent != image->names.root) {
        hl_name *name = hl_names_find(&image->names, n->parent);
        if (!name || name->node & HL_STAND_IN)
            return false;
        parent = hl_node_named(books, image, n->parent);
    }
    uint32_t code = hl_names_code(&image->names, n->code_address, n->version);
    if (!code)
        return false;
    hl_tree *tree = &books->tree;
    hl_name *name = hl_names_find(&image->names, n->id);
    uint32_t known = name ? name->node : HL_STAND_IN;
    if (name && !(known & HL_STAND_IN) && name->code) {
        if (name->parent != n->parent || name->instruction != n->instruction)
            image->names.collisions++; /* the first meaning stays: what was counted under it was its own */
        hl_names_set(&image->names, n->id, known);
        return true;
    }
    bool deeper = tree->node[parent].kind == HL_NODE_DEEPER; /* its callers could not be brought back */
    uint32_t node = deeper ? parent : hl_tree_node(tree, parent, hl_tree_kind(tree, code), code, n->instruction);
    if (name && known & HL_STAND_IN)
        hl_rows_move(books, known, node);
    name = hl_names_set(&image->names, n->id, node);
    name->parent = n->parent;
    name->code = code;
    name->instruction = n->instruction;
    return true;
}

static void retry_waiting(hl_books *books, hl_image *image)
{
    hl_names *names = &image->names;
    for (bool progress = true; progress && names->waiting_count;) {
        progress = false;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < names->waiting_count; i++) {
            if (place_node(books, image, &names->waiting[i]))
                progress = true;
            else
                names->waiting[kept++] = names->waiting[i];
        }
        names->waiting_count = kept;
    }
}

void hl_announce_node_ahead(hl_books *books, hl_image *image, const uint64_t *w)
{
    uint64_t where = word_at(w + 3);
    const hl_name *parent = hl_names_find(&image->names, word_at(w + 1) & HL_PAYLOAD);
    if (!parent)
        return;
    uint32_t code = hl_names_code(&image->names, word_at(w + 2), (uint32_t)(where >> 32));
    hl_tree_prefetch(&books->tree, parent->node, hl_tree_kind(&books->tree, code), code, (uint32_t)where);
}

uint32_t hl_announce_node(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    if (left < 4)
        return 0;
    hl_image *image = reader->image;
    hl_names *names = &image->names;
    uint64_t where = word_at(w + 3);
    hl_waiting node = {
        .id = word_at(w) & HL_PAYLOAD,
        .parent = word_at(w + 1) & HL_PAYLOAD,
        .code_address = word_at(w + 2),
        .version = (uint32_t)(where >> 32),
        .instruction = (uint32_t)where,
    };
    if (node.id == 0 || node.id == names->root)
        return 4;
    if (place_node(books, image, &node)) {
        if (names->waiting_count)
            retry_waiting(books, image);
        return 4;
    }
    if (names->waiting_count == MOST_WAITING) { /* the older half will hardly be explained any more */
        memmove(names->waiting, names->waiting + MOST_WAITING / 2, MOST_WAITING / 2 * sizeof *names->waiting);
        names->waiting_count = MOST_WAITING / 2;
    }
    if (names->waiting_count == names->waiting_room) {
        names->waiting_room = names->waiting_room ? 2 * names->waiting_room : 16;
        names->waiting = hl_resized(names->waiting, names->waiting_room * sizeof *names->waiting);
    }
    names->waiting[names->waiting_count++] = node;
    return 4;
}

/* ----------------------------------------------------------------------------------------------------- code objects */

static void keep_code(hl_books *books, hl_reader *reader)
{
    hl_wire_code head;
    memcpy(&head, reader->code, sizeof head);
    uint64_t bytes = sizeof head + (uint64_t)head.file_bytes + head.name_bytes + head.table_bytes;
    if (bytes > reader->code_bytes)
        return; /* not what it says it is: its nodes stay unexplained */
    head.flags = 0;
    uint32_t code = hl_tree_code(&books->tree, &head, reader->code + sizeof head);
    hl_names *names = &reader->image->names;
    hl_names_set_code(names, reader->code_address, reader->code_version, code);
    if (names->waiting_count)
        retry_waiting(books, reader->image);
}

uint32_t hl_announce_code(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    if (left < 3)
        return 0;
    uint64_t address = word_at(w) & HL_PAYLOAD, all = word_at(w + 1), part = word_at(w + 2);
    uint32_t version = (uint32_t)(all >> 32), total = (uint32_t)all, offset = (uint32_t)(part >> 32),
             here = (uint32_t)part;
    uint32_t words = words_for(3, here, left);
    if (!words || total > LARGEST_CODE || total < sizeof(hl_wire_code) || here > total || offset > total - here)
        return 0;
    if (offset == 0) {
        reader->code = hl_resized(reader->code, total);
        reader->code_address = address;
        reader->code_version = version;
        reader->code_bytes = total;
        reader->code_have = 0;
    } else if (!reader->code || reader->code_address != address || reader->code_version != version ||
               reader->code_bytes != total || reader->code_have != offset) {
        return words; /* a part of one whose beginning was given up */
    }
    memcpy(reader->code + offset, w + 3, here);
    reader->code_have = offset + here;
    if (reader->code_have == total) {
        keep_code(books, reader);
        free(reader->code);
        reader->code = NULL;
    }
    return words;
}

/* ----------------------------------------------------------------------------------------------------------- texts */

static hl_text copy_text(hl_books *books, const uint64_t *from, uint64_t bytes)
{
    if (books->tree.texts.bytes > MOST_TEXT_BYTES)
        return (hl_text){"", 0};
    char text[LARGEST_TEXT];
    memcpy(text, from, bytes);
    while (bytes && text[bytes - 1] == '\0')
        bytes--;
    return hl_tree_text(&books->tree, text, (uint32_t)bytes);
}

/* A library gives out memory by itself: its name stays with the process, and the user is told. */
static void keep_pool(hl_books *books, hl_process *process, const uint64_t *from, uint64_t bytes)
{
    char text[4096], size[HL_NUMBER_BYTES], name[200];
    size_t most = bytes > 8 ? bytes - 8 < sizeof name ? bytes - 8 : sizeof name - 1 : 0;
    memcpy(name, from + 1, most);
    name[most] = '\0';
    int length = (int)strlen(name);
    const hl_text *known = &process->pool_owners;
    if (!length || (known->bytes && memmem(known->at, known->bytes, name, (size_t)length)) || known->bytes > 1000)
        return;
    bool arrow = strncmp(name, "libarrow", 8) == 0;
    int n = snprintf(
        text, sizeof text,
        "%.*s gives out memory by itself, from %s or more that it has mapped for that: what it holds of it is not in "
        "the heap's numbers, only in RSS%s",
        length, name, hl_size_text(size, (int64_t)(word_at(from) & INT64_MAX)),
        arrow ? " (ARROW_DEFAULT_MEMORY_POOL=system: then it uses malloc, and is counted by line)" : "");
    hl_books_note(books, process->id, text, (size_t)n);
    n = snprintf(text, sizeof text, "%.*s%s%.*s", (int)known->bytes, known->at ? known->at : "",
                 known->bytes ? ", " : "", length, name);
    process->pool_owners = hl_tree_text(&books->tree, text, (uint32_t)n);
    process->changed = true;
}

uint32_t hl_announce_text(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    uint64_t payload = word_at(w) & HL_PAYLOAD, kind = payload >> 32, bytes = (uint32_t)payload;
    uint32_t words = bytes <= LARGEST_TEXT ? words_for(1, bytes, left) : 0;
    if (!words)
        return 0;
    switch (kind) {
    case HL_TEXT_THREAD_NAME:
    case HL_TEXT_PYTHON_NAME:
        hl_thread_name(books, reader->thread, (hl_text_kind)kind, w + 1, bytes);
        return words;
    case HL_TEXT_NOTE: {
        hl_text text = copy_text(books, w + 1, bytes);
        hl_books_note(books, reader->image->process->id, text.at, text.bytes);
        return words;
    }
    case HL_TEXT_POOL:
        keep_pool(books, reader->image->process, w + 1, bytes);
        return words;
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------------------------------------------- processes */

uint32_t hl_announce_child(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    uint64_t payload = word_at(w) & HL_PAYLOAD, kind = payload >> 32;
    int32_t pid = (int32_t)(uint32_t)payload;
    if (kind < HL_CHILD_FORK || kind > HL_CHILD_CLONE || pid <= 0)
        return 0;
    hl_process_add_child(books, reader->image->process, pid, (uint32_t)kind);
    return 1;
}

uint32_t hl_announce_exec(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    uint64_t bytes = word_at(w) & HL_PAYLOAD;
    uint32_t words = bytes <= LARGEST_TEXT ? words_for(1, bytes, left) : 0;
    if (!words)
        return 0;
    hl_image *image = reader->image;
    image->exec_announced = true;
    image->exec_ns = books->now_ns;
    return words;
}

static void part_mark(hl_books *books, hl_reader *reader, hl_mark_kind kind, const char *name)
{
    hl_process *process = reader->image->process;
    if (kind == HL_MARK_PART_CLOSED) {
        hl_part_close(books, process);
    } else if (kind == HL_MARK_PART_WRITE) {
        hl_part_write(books, process, name);
    } else if (kind == HL_MARK_PART_END) {
        hl_part_end(process);
    } else {
        hl_part_begin(books, process, kind == HL_MARK_PART_THREAD ? reader->thread : 0);
        if (*name)
            hl_books_mark(books, process->id, "mark", name);
    }
}

uint32_t hl_announce_mark(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    static const char *const kinds[] = {[HL_MARK_MOMENT] = "mark",
                                        [HL_MARK_REGION] = "region",
                                        [HL_MARK_REGION_END] = "region end",
                                        [HL_MARK_TRACK] = "track",
                                        [HL_MARK_TRACK_END] = "track end"};
    uint64_t payload = word_at(w) & HL_PAYLOAD, kind = payload >> 32, bytes = (uint32_t)payload;
    uint32_t words = bytes <= HL_MARK_BYTES_MOST ? words_for(1, bytes, left) : 0;
    if (!words || kind < HL_MARK_MOMENT || kind >= HL_MARK_KINDS)
        return 0;
    hl_process *process = reader->image->process;
    if (kind == HL_MARK_RESET_PEAK) {
        hl_process_reset_peak(process);
        return words;
    }
    if (kind == HL_MARK_MEASURE) {
        process->measured[1] = process->measured[0];
        process->measured[0] = process->heap;
        return words;
    }
    char name[HL_MARK_BYTES_MOST + 1];
    memcpy(name, w + 1, bytes);
    name[bytes] = '\0';
    if (kind >= HL_MARK_PART) {
        part_mark(books, reader, (hl_mark_kind)kind, name);
        return words;
    }
    hl_books_mark(books, process->id, kinds[kind], name);
    if (kind == HL_MARK_REGION)
        hl_thread_enter_region(books, reader->thread, (hl_text){name, (uint32_t)strlen(name)});
    else if (kind == HL_MARK_REGION_END)
        hl_thread_leave_region(books, reader->thread);
    return words;
}

uint32_t hl_announce_waited(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    if (left < 2)
        return 0;
    int32_t pid = (int32_t)(word_at(w) & HL_PAYLOAD), status = (int32_t)word_at(w + 1);
    hl_process_waited(books, reader->image->process, pid, status);
    return 2;
}
