/*
 * fold.c - the budget of stacks: 64 k call tree nodes are kept, whatever the program does.
 *
 * When there are twice as many rows, and before the profile is written, the lightest go: the more go together, the less each
 * costs, and what is written is no more than what stays. A node's weight is that of its subtree (its share of all
 * allocations, allocated bytes, live bytes and peaks, added up), so a kept node's ancestors are kept, and what goes are
 * whole subtrees: their rows are added up in a child "(deeper)" of the nearest kept ancestor. Sums at kept nodes stay
 * exact, to the byte.
 *
 * A node has a row for each thread of each process that was there. Where these are many, rows are folded first, each within
 * its own thread (lighten.c), and nodes that no row names any more go; each folding waits until there are half as many rows
 * more than the last one left.
 *
 * A folded row's number may stand in live blocks. Such a row only points to the one that took over, until the last of
 * these blocks is gone, or until a sweep of the tables of live blocks has written the new number into them: then the
 * number is free. Sweeps come so seldom that they cost less than the folding.
 */
#include "books.h"

#include <stdlib.h>
#include <string.h>

enum {
    STACKS_KEPT = 64 << 10,
    ROWS_KEPT = 64 << 10,
    ROWS_AT_MOST = 128 << 10,
    ROWS_OF_SEVERAL = 96 << 10, /* at most, with several processes: these have tables of their own to be kept, too */
    NODES_AT_MOST = 160 << 10,
    BLOCKS_A_TOMBSTONE =
        32,            /* folded rows that live blocks may still name: a quarter of the budget, and so many more */
    WEIGHTS = 1 << 16, /* classes of weight: the upper half of a float */
};

/* Everything about one folding; arrays by node. */
typedef struct folding {
    hl_books *books;
    float *weight;
    uint32_t *target; /* the node's number afterwards; for one that goes, its "(deeper)"'s */
    uint8_t *folded;  /* 1: a stack that is counted as folded now */
    uint32_t old_count;
    uint32_t kept, deeper;
} folding;

/* ---------------------------------------------------------------------------------------------------------- weights */

static void weigh(folding *f)
{
    hl_books *books = f->books;
    const hl_rows *rows = &books->rows;
    hl_tree *tree = &books->tree;
    double allocations = 1, allocated = 1, live = 1, peak = 1;
    for (uint32_t i = 0; i < books->process_count; i++) {
        allocations += (double)books->processes[i]->allocations;
        allocated += (double)books->processes[i]->allocated;
        live += (double)books->processes[i]->heap;
        peak += (double)books->processes[i]->peak;
    }
    allocations = 1 / allocations;
    allocated = 1 / allocated;
    live = 1 / live;
    peak = 1 / peak;
    for (uint32_t row = 1; row < rows->count; row++) {
        const hl_row *r = &rows->row[row];
        uint32_t node = rows->key[row].node;
        if (!rows->key[row].process || rows->key[row].forward || node & HL_STAND_IN)
            continue;
        /* Its share of the peak, as share_sources of fill.c says; a stamp tells at which peak the row was refreshed. */
        const hl_process *process = books->processes[rows->key[row].process - 1];
        uint64_t at_hand = r->allocated - r->freed;
        bool saved = !process->rising && r->stamp >> 32 == process->peak_number;
        f->weight[node] += (float)((double)r->allocations * allocations + (double)r->allocated * allocated +
                                   (double)at_hand * live + (double)(saved ? r->peak : at_hand) * peak);
    }
    for (uint32_t node = tree->count; node-- > 1;)
        f->weight[tree->node[node].parent] += f->weight[node];
}

static uint32_t class_of(float weight)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits >> 16; /* not negative, so its order is the numbers' */
}

static bool is_fixed(const hl_node *node) { return node->kind == HL_NODE_ROOT || node->kind == HL_NODE_NO_PYTHON; }

/* Marks the `keep` heaviest nodes; of equal ones the older, so that a parent is never less kept than its child. Counts
 * what remains: kept nodes, and those of them that get a "(deeper)". */
static void choose(folding *f, uint32_t keep)
{
    hl_tree *tree = &f->books->tree;
    uint32_t *classes = hl_zeroed(WEIGHTS * sizeof *classes);
    for (uint32_t node = 0; node < tree->count; node++)
        classes[class_of(f->weight[node])] += tree->node[node].kind != HL_NODE_DEEPER;
    uint32_t lightest = WEIGHTS, above = 0;
    while (lightest > 0 && above + classes[lightest - 1] <= keep)
        above += classes[--lightest];
    uint32_t of_next = keep - above; /* so many of the class below */
    free(classes);

    f->kept = f->deeper = 0;
    for (uint32_t node = 0; node < tree->count; node++) {
        hl_node *n = &tree->node[node];
        n->spare = 0;
        uint32_t class = class_of(f->weight[node]);
        n->kept = is_fixed(n);
        if (n->kind != HL_NODE_DEEPER && !n->kept && tree->node[n->parent].kept && f->weight[node] > 0)
            n->kept = class >= lightest || (class + 1 == lightest && of_next > 0);
        if (n->kept) {
            f->kept++;
            of_next -= class + 1 == lightest && of_next > 0;
        } else if (tree->node[n->parent].kept && !tree->node[n->parent].spare && f->weight[node] > 0) {
            tree->node[n->parent].spare = 1;
            f->deeper++;
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------- tree */

static bool is_stack(const hl_node *node) { return node->kind == HL_NODE_PYTHON || node->kind == HL_NODE_NATIVE; }

/* The "(deeper)" below a kept node, made if need be. */
static uint32_t deeper_below(hl_tree *tree, uint32_t *deeper, uint32_t parent)
{
    if (!deeper[parent]) {
        hl_area_grow(&tree->node_area, ((size_t)tree->count + 1) * sizeof(hl_node));
        tree->node = (hl_node *)(void *)tree->node_area.at;
        tree->node[tree->count] = (hl_node){.parent = parent, .kind = HL_NODE_DEEPER};
        deeper[parent] = tree->count++;
    }
    return deeper[parent];
}

/* Builds the new tree: kept nodes in their order, then the "(deeper)" ones. What no row is below any more gets none of its
 * own: only names lead there, and the nearest one will do. */
static void renumber_nodes(folding *f, const uint8_t *had_rows)
{
    hl_books *books = f->books;
    hl_tree *tree = &books->tree;
    hl_node *old = hl_resized(NULL, tree->count * sizeof *old);
    memcpy(old, tree->node, tree->count * sizeof *old);
    uint32_t count = 0;
    for (uint32_t node = 0; node < f->old_count; node++) {
        bool emptied = had_rows && had_rows[node] && !old[node].row, stack = is_stack(&old[node]);
        books->folded_stacks += stack && (emptied || (old[node].row && !old[node].kept));
        f->folded[node] = stack && (emptied || old[node].row) && !old[node].kept;
        if (!old[node].kept)
            continue;
        tree->node[count] = old[node];
        tree->node[count].parent = f->target[old[node].parent];
        tree->node[count].row = 0;
        f->target[node] = count++;
    }
    uint32_t *deeper = hl_zeroed(count * sizeof *deeper); /* by the parent's new number */
    tree->count = count;
    for (uint32_t node = 1; node < f->old_count; node++) {
        if (!old[node].kept && old[old[node].parent].kept && f->weight[node] > 0)
            deeper_below(tree, deeper, f->target[old[node].parent]);
    }
    for (uint32_t node = 1; node < count; node++)
        deeper[node] = deeper[node] ? deeper[node] : deeper[tree->node[node].parent];
    for (uint32_t node = 1; node < f->old_count; node++) {
        uint32_t parent = old[node].parent;
        if (!old[node].kept && !old[parent].kept)
            f->target[node] = f->target[parent];
        else if (!old[node].kept)
            f->target[node] = deeper[f->target[parent]];
        if (!old[node].kept && !f->target[node])
            f->target[node] = deeper_below(tree, deeper, HL_NODE_TOP);
    }
    free(deeper);
    free(old);
    hl_tree_reindex(tree);
}

static uint32_t node_after(const folding *f, uint32_t node) { return node & HL_STAND_IN ? node : f->target[node]; }

/* ------------------------------------------------------------------------------------------------------------- rows */

static void move_rows(folding *f)
{
    hl_rows *rows = &f->books->rows;
    uint32_t *home = hl_zeroed((size_t)rows->count * sizeof *home);
    for (uint32_t row = 1; row < rows->count; row++) {
        if (rows->key[row].process && !rows->key[row].forward)
            home[row] = node_after(f, rows->key[row].node);
    }
    hl_rows_rehome(f->books, home);
    free(home);
}

static void tell_names_and_readers(folding *f)
{
    hl_books *books = f->books;
    for (uint32_t i = 0; i < books->image_slots; i++) {
        hl_image *image = books->images[i];
        for (uint32_t k = 0; image && k <= image->names.mask; k++) {
            hl_name *way = image->names.set[k].way;
            for (int n = 0; n < HL_NAME_WAYS && way[n].id; n++) {
                if (!(way[n].node & HL_STAND_IN) && f->folded[way[n].node])
                    way[n].folded = 1;
                way[n].node = node_after(f, way[n].node);
            }
        }
    }
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        for (int slot = 0; slot < HL_STACK_SLOTS; slot++) {
            if (reader->nodes[slot])
                reader->node[slot] = node_after(f, reader->node[slot]);
        }
    }
}

/* `had_rows`: by node, before rows were folded by themselves; null: none were. */
static void fold_to(hl_books *books, uint32_t keep, const uint8_t *had_rows)
{
    folding f = {.books = books, .old_count = books->tree.count};
    f.weight = hl_zeroed(f.old_count * sizeof *f.weight);
    f.target = hl_zeroed(f.old_count * sizeof *f.target);
    f.folded = hl_zeroed(f.old_count);
    weigh(&f);
    uint32_t chosen = keep;
    for (int i = 0; i < 4; i++) { /* "(deeper)" is a stack, too */
        choose(&f, chosen);
        if (f.kept + f.deeper <= keep)
            break;
        chosen = (uint32_t)((double)chosen * keep / (f.kept + f.deeper) * 0.98);
    }
    renumber_nodes(&f, had_rows);
    move_rows(&f);
    tell_names_and_readers(&f);
    free(f.weight);
    free(f.target);
    free(f.folded);
    hl_settle_forwarded(books);
}

/* Rows are folded, and then the nodes that they leave. */
static void fold_rows(hl_books *books, uint32_t most)
{
    hl_tree *tree = &books->tree;
    uint32_t nodes = tree->count;
    uint8_t *had_rows = hl_zeroed(nodes);
    for (uint32_t node = 0; node < nodes; node++)
        had_rows[node] = tree->node[node].row != 0;
    hl_lighten(books, most);
    had_rows = hl_resized(had_rows, tree->count);
    memset(had_rows + nodes, 0, tree->count - nodes);
    atomic_fetch_add(&books->session->progress, 1); /* it takes nothing now, and yet does not stand still */
    fold_to(books, books->stacks_kept, had_rows);
    free(had_rows);
}

void hl_fold(hl_books *books)
{
    const hl_rows *rows = &books->rows;
    uint32_t most = ROWS_KEPT / (STACKS_KEPT / books->stacks_kept), nodes = books->tree.count;
    if (rows->kept <= most || rows->kept <= nodes) { /* about one row a node: which stacks there are decides */
        fold_to(books, books->stacks_kept, NULL);
        if (rows->kept > most)
            atomic_fetch_add(&books->session->progress, 1);
    }
    if (rows->kept > most)
        fold_rows(books, most);
    books->rows_folded = rows->kept;
}

bool hl_fold_is_due(const hl_books *books, hl_fold_when when)
{
    uint32_t scale = STACKS_KEPT / books->stacks_kept; /* tests have a smaller budget */
    uint32_t most = books->process_count > 1 ? ROWS_OF_SEVERAL : ROWS_AT_MOST, left = books->rows_folded;
    uint32_t rows = (when == HL_FOLD_WHILE_READING ? most : ROWS_KEPT) / scale;
    uint32_t grown = when == HL_FOLD_WHILE_READING    ? left + left / 2
                     : when == HL_FOLD_BEFORE_WRITING ? left + left / 4
                                                      : 0;
    return books->rows.kept > (grown > rows ? grown : rows) || books->tree.count > NODES_AT_MOST / scale;
}

/* ---------------------------------------------------------------------------------------------------- forwarded rows */

static uint32_t row_after(void *argument, uint32_t row)
{
    hl_books *books = argument;
    return books->rows.key[row].forward ? hl_row_forwarded(books, row, false) : row;
}

static void sweep_piece(void *argument, hl_piece *piece)
{
    if (piece->row)
        piece->row = row_after(argument, piece->row);
}

/* Writes the present row into every live block. */
static void sweep(hl_books *books)
{
    for (uint32_t i = 0; i < books->image_slots; i++) {
        hl_image *image = books->images[i];
        if (!image)
            continue;
        for (uint64_t k = 0; k <= image->live.last; k++) {
            hl_block *block = &image->live.slots[k];
            if (block->where)
                hl_block_set_row(block, row_after(books, hl_block_row(block)));
        }
        hl_maps_each(&image->maps, sweep_piece, books);
    }
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        if (reader->moving && reader->moving_known)
            hl_block_set_row(&reader->moved, row_after(books, hl_block_row(&reader->moved)));
    }
}

void hl_settle_forwarded(hl_books *books)
{
    hl_rows *rows = &books->rows;
    hl_parts_settle(books);
    hl_cells_renumber(&books->cells, row_after, books);
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        memset(reader->rows, 0, sizeof reader->rows);
        for (uint32_t k = 0; k < reader->unmapped.count; k++)
            sweep_piece(books, &reader->unmapped.piece[k]);
    }
    uint32_t named = 0;
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < rows->forwarded_count; i++)
        named += rows->key[rows->forwarded[i]].waiting != 0;
    for (uint32_t i = 0; i < books->image_slots; i++)
        blocks += books->images[i] ? books->images[i]->live.count : 0;
    bool swept = named > books->stacks_kept / 4 + blocks / BLOCKS_A_TOMBSTONE;
    if (swept)
        sweep(books);
    for (uint32_t i = 0; i < rows->forwarded_count; i++) {
        hl_key *key = &rows->key[rows->forwarded[i]];
        key->forward = row_after(books, rows->forwarded[i]); /* chains get short: a freed number must not be in one */
        if (swept)
            key->waiting = 0;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < rows->forwarded_count; i++) {
        uint32_t row = rows->forwarded[i];
        if (rows->key[row].waiting)
            rows->forwarded[kept++] = row;
        else
            hl_rows_free(rows, row);
    }
    rows->forwarded_count = kept;
    books->forwarded = 0;
    books->coarsened = true;
    hl_books_new_epoch(books); /* nodes and rows have new numbers: no memo holds */
}
