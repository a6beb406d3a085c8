/* See walk.h. */
#include "walk.h"

#include <errno.h>
#include <stdlib.h>

typedef struct walk {
    const hl_model *model;
    const uint32_t *keys;
    uint32_t *first, *next; /* child and sibling of each stack; 0: none */
    uint32_t *open;         /* by key: how many frames of it are on the way down */
    hl_weight *total;       /* by stack: with everything below */
} walk;

static uint32_t key_of(const walk *w, uint32_t stack)
{
    uint32_t frame = w->model->stacks.row[stack].frame;
    return frame == HL_NO_ROW ? HL_NO_ROW : w->keys[frame];
}

static void link_children(walk *w)
{
    const hl_model *m = w->model;
    for (uint32_t i = m->stacks.n - 1; i > 0; i--) { /* callees have higher rows than callers */
        uint32_t parent = m->stacks.row[i].parent;
        w->total[parent].bytes += w->total[i].bytes;
        w->total[parent].blocks += w->total[i].blocks;
        w->next[i] = w->first[parent];
        w->first[parent] = i;
    }
}

static void descend(walk *w, hl_weight *sums)
{
    for (uint32_t at = 0;;) {
        uint32_t key = key_of(w, at);
        if (key != HL_NO_ROW && w->open[key]++ == 0) {
            sums[key].bytes += w->total[at].bytes;
            sums[key].blocks += w->total[at].blocks;
        }
        if (w->first[at]) {
            at = w->first[at];
            continue;
        }
        for (;; at = w->model->stacks.row[at].parent) { /* leave frames until one has a sibling */
            key = key_of(w, at);
            if (key != HL_NO_ROW)
                w->open[key]--;
            if (at == 0)
                return;
            if (w->next[at])
                break;
        }
        at = w->next[at];
    }
}

int hl_walk_sums(const hl_model *m, const hl_weight *stacks, const uint32_t *keys, uint32_t n, hl_weight *sums)
{
    walk w = {.model = m,
              .keys = keys,
              .first = calloc(m->stacks.n, sizeof *w.first),
              .next = calloc(m->stacks.n, sizeof *w.next),
              .open = calloc((size_t)n + 1, sizeof *w.open),
              .total = calloc(m->stacks.n, sizeof *w.total)};
    int error = w.first && w.next && w.open && w.total ? 0 : -ENOMEM;
    if (!error) {
        for (uint32_t i = 0; i < m->stacks.n; i++)
            w.total[i] = stacks[i];
        link_children(&w);
        descend(&w, sums);
    }
    free(w.first);
    free(w.next);
    free(w.open);
    free(w.total);
    return error;
}
