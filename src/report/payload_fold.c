/*
 * payload_fold.c - which call-tree nodes of a model are in the payload, and where the memory of the others goes. See
 * payload_parts.h.
 *
 * A node weighs as much as its highest share of any total, with everything below it: of bytes and blocks allocated, alive
 * at the peak of all and at each process's own, alive at the end, freed soon, and of what outlived its tick. So a parent
 * is never lighter than its child, and the heaviest nodes are a tree. What is not kept goes to a node "(other)" right
 * below its nearest kept caller; stat rows of one process, thread and allocator become one there. No recursion: parents
 * have lower rows than their children.
 */
#include "payload_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------- weighing */

/* Adds up `sums`, which are each stack's own, with everything below, and raises each weight to its share of all. */
static void raise_weights(const hl_model *m, double *sums, float *weight)
{
    for (uint32_t i = m->stacks.n; i-- > 1;)
        sums[m->stacks.row[i].parent] += sums[i];
    for (uint32_t i = 0; i < m->stacks.n && sums[0] > 0; i++) {
        float share = (float)(sums[i] / sums[0]);
        if (share > weight[i])
            weight[i] = share;
    }
    memset(sums, 0, m->stacks.n * sizeof *sums);
}

float *hl_fold_weigh(const hl_model *m, const hl_rest *rest)
{
    static const size_t figures[] = {
        offsetof(hl_stat, allocated),       offsetof(hl_stat, allocations), offsetof(hl_stat, live),
        offsetof(hl_stat, live_blocks),     offsetof(hl_stat, peak),        offsetof(hl_stat, tree_peak),
        offsetof(hl_stat, tree_peak_blocks)};
    float *weight = calloc(m->stacks.n, sizeof *weight);
    double *sums = calloc(m->stacks.n, sizeof *sums);
    if (!weight || !sums) {
        free(weight);
        free(sums);
        return NULL;
    }
    for (size_t f = 0; f < sizeof figures / sizeof *figures; f++) {
        for (uint32_t i = 0; i < m->stats.n; i++) {
            uint64_t value;
            memcpy(&value, (const char *)&m->stats.row[i] + figures[f], sizeof value);
            sums[m->stats.row[i].stack] += (double)value;
        }
        raise_weights(m, sums, weight);
    }
    for (unsigned b = 0; b < HL_TEMPORARY_BUCKETS; b++)
        for (uint32_t i = 0; i < rest->temporary[b].n; i++)
            sums[m->stats.row[rest->temporary[b].row[i].stat].stack] += (double)rest->temporary[b].row[i].bytes;
    raise_weights(m, sums, weight);
    for (uint32_t i = 0; i < rest->cells.n; i++)
        sums[m->stats.row[rest->cells.row[i].stat].stack] += (double)rest->cells.row[i].bytes;
    raise_weights(m, sums, weight);
    free(sums);
    return weight;
}

/* The bits of a float that is not negative are in its order. */
static uint32_t bits_of(float weight)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits;
}

/* The weight of the lightest of the `most` heaviest nodes, in two passes over halves of its bits; how many of exactly that
 * weight are among them. -ENOMEM. */
static int find_threshold(const float *weight, uint32_t n, uint32_t most, uint32_t *threshold, uint32_t *of_threshold)
{
    enum { HALF = 1 << 16 };
    uint32_t *count = calloc(HALF, sizeof *count);
    if (!count)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        count[bits_of(weight[i]) >> 16]++;
    uint32_t high = HALF - 1, left = most;
    while (high > 0 && count[high] <= left)
        left -= count[high--];
    memset(count, 0, HALF * sizeof *count);
    for (uint32_t i = 0; i < n; i++)
        if (bits_of(weight[i]) >> 16 == high)
            count[bits_of(weight[i]) & (HALF - 1)]++;
    uint32_t low = HALF - 1;
    while (low > 0 && count[low] <= left)
        left -= count[low--];
    free(count);
    *threshold = high << 16 | low;
    *of_threshold = left;
    return 0;
}

/* ----------------------------------------------------------------------------------------------------------- stacks */

/* near[i]: the nearest kept stack from i outwards, i itself where it is kept. */
static int choose_kept(const hl_model *m, const float *weight, uint32_t most, uint32_t *near, hl_fold *fold)
{
    uint32_t n = m->stacks.n, threshold = 0, of_threshold = n;
    int error = most < n ? find_threshold(weight, n, most, &threshold, &of_threshold) : 0;
    near[0] = 0;
    fold->kept = 1;
    for (uint32_t i = 1; i < n && !error; i++) {
        uint32_t bits = bits_of(weight[i]), parent = m->stacks.row[i].parent;
        bool heavy = bits > threshold || (bits == threshold && of_threshold > 0);
        bool keep = heavy && near[parent] == parent;
        if (keep && bits == threshold)
            of_threshold--;
        near[i] = keep ? i : near[parent];
        fold->kept += keep;
        if (!keep && weight[i] > fold->share_most)
            fold->share_most = weight[i];
    }
    return error;
}

/* Kept stacks in the order of a walk, each with its (other) in front of its children. `size` and `at` are by stack row. */
static void number_nodes(const hl_model *m, const uint32_t *near, const bool *has_other, hl_fold *fold, uint32_t *size,
                         uint32_t *at)
{
    uint32_t n = m->stacks.n;
    for (uint32_t i = 0; i < n; i++)
        size[i] = near[i] == i ? 1 + has_other[i] : 0;
    for (uint32_t i = n; i-- > 1;)
        size[m->stacks.row[i].parent] += near[i] == i ? size[i] : 0;
    fold->n = size[0];
    at[0] = 0;
    for (uint32_t i = 0; i < n; i++) { /* size[i] becomes where its next child goes */
        if (near[i] != i) {
            fold->moved[i] = fold->moved[near[i]] + 1;
            continue;
        }
        uint32_t parent = m->stacks.row[i].parent;
        if (i) {
            uint32_t mine = size[i];
            at[i] = size[parent];
            size[parent] += mine;
        }
        fold->moved[i] = at[i];
        fold->from[at[i]] = i;
        fold->parent[at[i]] = i ? fold->moved[parent] : 0;
        if (has_other[i]) {
            fold->from[at[i] + 1] = HL_NO_ROW;
            fold->parent[at[i] + 1] = at[i];
        }
        size[i] = at[i] + 1 + has_other[i];
    }
}

static int fold_stacks(const hl_model *m, const float *weight, uint32_t most, hl_fold *fold)
{
    uint32_t n = m->stacks.n;
    uint32_t *near = malloc(n * sizeof *near), *size = calloc(n, sizeof *size), *at = malloc(n * sizeof *at);
    bool *has_other = calloc(n, sizeof *has_other);
    int error = near && size && at && has_other ? choose_kept(m, weight, most, near, fold) : -ENOMEM;
    if (!error) {
        for (uint32_t i = 0; i < m->stats.n; i++) {
            uint32_t stack = m->stats.row[i].stack;
            if (near[stack] != stack)
                has_other[near[stack]] = true;
        }
        number_nodes(m, near, has_other, fold, size, at);
    }
    free(near);
    free(size);
    free(at);
    free(has_other);
    return error;
}

/* -------------------------------------------------------------------------------------------------------- stat rows */

static uint32_t allocator_of(const hl_model *m, const hl_stat *stat)
{
    for (uint32_t i = 0; i < m->allocators.n; i++)
        if (m->allocators.row[i].name == stat->allocator)
            return i;
    return m->allocators.n;
}

typedef struct key { /* of a stat row within its stack */
    uint32_t process, thread, allocator, stat;
} key;

static int by_key(const void *a, const void *b)
{
    const key *x = a, *y = b;
    if (x->process != y->process)
        return x->process < y->process ? -1 : 1;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    if (x->allocator != y->allocator)
        return x->allocator < y->allocator ? -1 : 1;
    return x->stat < y->stat ? -1 : x->stat > y->stat;
}

static bool is_same(const key *x, const key *y)
{
    return x->process == y->process && x->thread == y->thread && x->allocator == y->allocator;
}

/* Rows by stack and key; those of one key become one. */
static int fold_stats(const hl_model *m, hl_fold *fold)
{
    uint32_t n = m->stats.n;
    uint32_t *begin = calloc((size_t)fold->n + 1, sizeof *begin);
    key *keys = calloc((size_t)n + 1, sizeof *keys);
    int error = begin && keys ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < n && !error; i++)
        begin[fold->moved[m->stats.row[i].stack] + 1]++;
    for (uint32_t i = 0; i < fold->n && !error; i++)
        begin[i + 1] += begin[i];
    for (uint32_t i = n; i-- > 0 && !error;) { /* begin[stack + 1] goes down to where the stack begins */
        const hl_stat *stat = &m->stats.row[i];
        keys[--begin[fold->moved[stat->stack] + 1]] = (key){stat->process, stat->thread, allocator_of(m, stat), i};
    }
    for (uint32_t stack = 0; stack < fold->n && !error; stack++) {
        uint32_t from = begin[stack + 1], to = stack + 1 < fold->n ? begin[stack + 2] : n;
        if (to - from > 1)
            qsort(keys + from, to - from, sizeof *keys, by_key);
        for (uint32_t i = from; i < to; i++) {
            if (i == from || !is_same(&keys[i], &keys[i - 1]))
                fold->first[fold->rows++] = keys[i].stat;
            fold->row[keys[i].stat] = fold->rows - 1;
        }
    }
    free(begin);
    free(keys);
    return error;
}

int hl_fold_plan(hl_fold *fold, const hl_model *m, const float *weight, uint32_t most)
{
    size_t stacks = m->stacks.n, stats = (size_t)m->stats.n + 1;
    /* At most each stack, or an (other) in place of at least one. */
    *fold = (hl_fold){.from = malloc((stacks + 1) * sizeof *fold->from),
                      .parent = malloc((stacks + 1) * sizeof *fold->parent),
                      .moved = malloc(stacks * sizeof *fold->moved),
                      .row = malloc(stats * sizeof *fold->row),
                      .first = malloc(stats * sizeof *fold->first)};
    int error = fold->from && fold->parent && fold->moved && fold->row && fold->first ? 0 : -ENOMEM;
    error = error ? error : fold_stacks(m, weight, most, fold);
    error = error ? error : fold_stats(m, fold);
    if (error)
        hl_fold_release(fold);
    return error;
}

void hl_fold_release(hl_fold *fold)
{
    free(fold->from);
    free(fold->parent);
    free(fold->moved);
    free(fold->row);
    free(fold->first);
    *fold = (hl_fold){0};
}
