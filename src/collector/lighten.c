/*
 * lighten.c - the budget of rows: where processes or threads are many, the lightest of their stacks are folded, each within
 * its own thread.
 *
 * A stack that is light in one process may be heavy in another, so what is weighed is a stack in a thread (a place). Its
 * weight is that of its subtree in that thread: its share of what all processes did, and, so that a small process is not
 * all "(deeper)" beside a big one, as much again for its share of its own process, every process counting alike. So a kept
 * place's callers are kept, and the rows of the others are added up in the "(deeper)" below the nearest caller that is kept
 * in the same thread: sums by process, thread and allocator stay what they are, to the byte. Runs on the collector's one
 * thread, as a part of hl_fold.
 */
#include "books.h"

#include <stdlib.h>
#include <string.h>

enum { CLASSES = 1 << 16 }; /* of weight: the upper half of a float */

typedef struct place {
    uint32_t node, parent; /* parent: index of a place before this one; the outermost one is its own */
    uint32_t top;          /* the nearest kept one */
    float weight;
    uint8_t own, deeper; /* allocators, by bit: which have a row here, and which would have one in its "(deeper)" */
} place;
_Static_assert(HL_ALLOCATORS <= 8, "a bit each");

typedef struct lightening {
    hl_books *books;
    uint32_t *order; /* rows, by thread */
    uint32_t *place_of_row;
    uint32_t *place_of_node; /* of the thread at hand; 0: none */
    uint32_t *touched;       /* nodes of it */
    uint32_t touched_room;
    place *place; /* by thread, within one by node, so callers first; 0 is not used */
    uint32_t places, room;
} lightening;

static bool takes_part(const hl_rows *rows, uint32_t row)
{
    const hl_key *key = &rows->key[row];
    return key->process && !key->forward && !(key->node & HL_STAND_IN);
}

/* --------------------------------------------------------------------------------------------------------- places */

static uint32_t sort_by_thread(lightening *l)
{
    const hl_rows *rows = &l->books->rows;
    uint32_t groups = l->books->group_count;
    uint32_t *start = hl_zeroed(((size_t)groups + 1) * sizeof *start);
    for (uint32_t row = 1; row < rows->count; row++) {
        if (takes_part(rows, row))
            start[rows->key[row].thread + 1]++;
    }
    for (uint32_t i = 0; i < groups; i++)
        start[i + 1] += start[i];
    uint32_t count = start[groups];
    l->order = hl_resized(NULL, ((size_t)count + 1) * sizeof *l->order);
    for (uint32_t row = 1; row < rows->count; row++) {
        if (takes_part(rows, row))
            l->order[start[rows->key[row].thread]++] = row;
    }
    free(start);
    return count;
}

typedef struct shares {
    double allocations, allocated, live, peak; /* what a block or a byte of it weighs */
} shares;

static shares sums_of(const hl_process *p)
{
    return (shares){(double)p->allocations, (double)p->allocated, (double)p->heap, (double)p->peak};
}

static shares shares_of(shares sums, double weight)
{
    return (shares){weight / (1 + sums.allocations), weight / (1 + sums.allocated), weight / (1 + sums.live),
                    weight / (1 + sums.peak)};
}

static float weight_of(const hl_row *r, const hl_process *process, const shares *s)
{
    uint64_t live = r->allocated - r->freed;
    bool saved = !process->rising && r->peak_number == process->peak_number; /* as fill.c has it */
    return (float)((double)r->allocations * s->allocations + (double)r->allocated * s->allocated +
                   (double)live * s->live + (double)(saved ? r->peak : live) * s->peak);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The nodes at which the thread has rows, and their callers, in order. */
static uint32_t touch(lightening *l, const uint32_t *rows, uint32_t count)
{
    const hl_tree *tree = &l->books->tree;
    uint32_t touched = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = l->books->rows.key[rows[i]].node;
        while (!l->place_of_node[node]) {
            l->place_of_node[node] = 1;
            if (touched == l->touched_room) {
                l->touched_room = l->touched_room ? 2 * l->touched_room : 1024;
                l->touched = hl_resized(l->touched, l->touched_room * sizeof *l->touched);
            }
            l->touched[touched++] = node;
            node = tree->node[node].parent;
        }
    }
    if (touched)
        qsort(l->touched, touched, sizeof *l->touched, by_number);
    return touched;
}

static void add_places(lightening *l, const uint32_t *rows, uint32_t count, const shares *s)
{
    const hl_books *books = l->books;
    uint32_t touched = touch(l, rows, count), first = l->places;
    if (l->places + touched > l->room) {
        l->room = (l->places + touched) + (l->places + touched) / 4;
        l->place = hl_resized(l->place, l->room * sizeof *l->place);
    }
    for (uint32_t i = 0; i < touched; i++) {
        uint32_t node = l->touched[i];
        l->place_of_node[node] = l->places;
        l->place[l->places] = (place){.node = node, .parent = l->place_of_node[books->tree.node[node].parent]};
        l->places++;
    }
    const hl_process *process = books->processes[books->rows.key[rows[0]].process - 1];
    for (uint32_t i = 0; i < count; i++) {
        const hl_key *key = &books->rows.key[rows[i]];
        place *p = &l->place[l->place_of_row[rows[i]] = l->place_of_node[key->node]];
        p->weight += weight_of(&books->rows.row[rows[i]], process, s);
        p->own |= (uint8_t)(1u << key->allocator);
    }
    for (uint32_t at = l->places; at-- > first + 1;)
        l->place[l->place[at].parent].weight += l->place[at].weight;
    for (uint32_t i = 0; i < touched; i++)
        l->place_of_node[l->touched[i]] = 0;
}

static void make_places(lightening *l)
{
    const hl_books *books = l->books;
    uint32_t count = sort_by_thread(l);
    l->place_of_row = hl_zeroed((size_t)books->rows.count * sizeof *l->place_of_row);
    l->place_of_node = hl_zeroed((size_t)books->tree.count * sizeof *l->place_of_node);
    l->places = 1;
    shares all = {0};
    for (uint32_t i = 0; i < books->process_count; i++) {
        shares one = sums_of(books->processes[i]);
        all.allocations += one.allocations;
        all.allocated += one.allocated;
        all.live += one.live;
        all.peak += one.peak;
    }
    all = shares_of(all, 1);
    for (uint32_t from = 0, to; from < count; from = to) {
        const hl_key *key = &books->rows.key[l->order[from]];
        for (to = from + 1; to < count && books->rows.key[l->order[to]].thread == key->thread; to++)
            ;
        shares s = shares_of(sums_of(books->processes[key->process - 1]), 1.0 / books->process_count);
        s.allocations += all.allocations;
        s.allocated += all.allocated;
        s.live += all.live;
        s.peak += all.peak;
        add_places(l, l->order + from, to - from, &s);
    }
    free(l->touched);
    free(l->place_of_node);
}

/* ------------------------------------------------------------------------------------------------------- the choice */

static uint32_t class_of(float weight)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits >> 16; /* not negative, so its order is the numbers' */
}

/* Finds each place's top when those from class `lightest` on are kept. Returns the rows that there would be. */
static uint32_t try_to_keep(lightening *l, uint32_t lightest)
{
    const hl_tree *tree = &l->books->tree;
    uint32_t rows = 0;
    for (uint32_t i = 1; i < l->places; i++) {
        place *p = &l->place[i];
        unsigned kind = tree->node[p->node].kind;
        bool kept = kind == HL_NODE_ROOT || kind == HL_NODE_NO_PYTHON ||
                    (kind != HL_NODE_DEEPER && l->place[p->parent].top == p->parent && class_of(p->weight) >= lightest);
        p->deeper = 0;
        p->top = kept ? i : l->place[p->parent].top;
        uint8_t *here = &l->place[p->top].deeper, added = kept ? 0 : p->own & (uint8_t) ~*here;
        *here |= added;
        rows += (uint32_t)__builtin_popcount(kept ? p->own : added);
    }
    return rows;
}

static void choose(lightening *l, uint32_t most)
{
    uint32_t few = CLASSES - 1, many = 0; /* with `few` rows are few enough, if they ever are */
    while (few - many > 1) {
        uint32_t middle = many + (few - many) / 2;
        if (try_to_keep(l, middle) <= most)
            few = middle;
        else
            many = middle;
    }
    try_to_keep(l, few);
}

/* --------------------------------------------------------------------------------------------------------- the rows */

void hl_rows_rehome(hl_books *books, const uint32_t *home)
{
    hl_rows *rows = &books->rows;
    for (uint32_t i = 0; i < books->tree.stand_ins; i++)
        books->tree.stand_in[i] = 0;
    for (uint32_t i = 0; i < books->tree.count; i++)
        books->tree.node[i].row = 0;
    hl_rows_take_all(rows);
    for (uint32_t row = 1; row < rows->count; row++) {
        hl_key *key = &rows->key[row];
        if (!key->process || key->forward)
            continue;
        key->node = home[row];
        uint32_t other = hl_rows_put(rows, hl_tree_first_row(&books->tree, key->node), row);
        if (other != row) {
            hl_process *process = books->processes[key->process - 1];
            hl_row_refresh(books, process, row);
            hl_row_refresh(books, process, other);
            hl_rows_forward(rows, row, other);
            books->forwarded++;
        }
    }
}

void hl_lighten(hl_books *books, uint32_t most)
{
    lightening l = {.books = books};
    make_places(&l);
    choose(&l, most);
    hl_rows *rows = &books->rows;
    uint32_t *home = l.order; /* by row, from here on */
    home = hl_resized(home, (size_t)rows->count * sizeof *home);
    for (uint32_t row = 1; row < rows->count; row++) {
        uint32_t at = takes_part(rows, row) ? l.place_of_row[row] : 0;
        home[row] = rows->key[row].node;
        if (!at || l.place[at].top == at)
            continue;
        uint32_t deeper = hl_tree_node(&books->tree, l.place[l.place[at].top].node, HL_NODE_DEEPER, 0, 0);
        books->folded_rows += books->tree.node[home[row]].kind != HL_NODE_DEEPER;
        home[row] = deeper;
    }
    free(l.place);
    free(l.place_of_row);
    hl_rows_rehome(books, home);
    free(home);
}
