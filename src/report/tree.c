/*
 * tree: the call tree, outermost calls first. Calls from one line are joined; without --leaf only the user's own frames are
 * calls, and what libraries take below them is the caller's own. The heaviest nodes are opened, wherever they are, until
 * the rows are used up; what stays closed below a node is its "other". So a node's total is its own, its other and the
 * totals of the rows right below it, to the byte. In the text calls of a line right below a call of the same line are one
 * row with it, or a deep recursion would be nothing but that.
 */
#include "report.h"

#include "map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct node {
    hl_weight own, total;
    uint32_t parent, site; /* a parent's row is lower; row 0 is the root, its own parent */
    uint32_t first, next;  /* child and sibling; 0: none */
    bool shown;
    uint32_t shown_children;
    uint32_t times; /* calls of the line below each other that were joined, at most; 1 where none were */
} node;

typedef struct tree {
    node *row;
    uint32_t n;
    bool joins; /* what a line calls at the same line is the same node */
} tree;

static uint32_t add_node(tree *t, hl_map *map, uint32_t parent, uint32_t site)
{
    if (t->joins && parent && t->row[parent].site == site)
        return parent;
    uint32_t row = hl_map_row(map, parent, site, t->n);
    if (row != t->n)
        return row;
    if ((row & (row - 1)) == 0) { /* rooms are powers of two */
        node *grown = realloc(t->row, (size_t)row * 2 * sizeof *grown);
        if (!grown)
            return HL_NO_ROW;
        t->row = grown;
    }
    t->row[t->n++] = (node){.parent = parent, .site = site, .times = 1};
    return row;
}

/* How often a line called itself, of the stacks that weigh. */
static int count_times(tree *t, const hl_view *view, const uint32_t *of_stack, bool leaf)
{
    const hl_model *m = view->model;
    uint32_t *run = calloc(m->stacks.n, sizeof *run);
    bool *weighs = calloc(m->stacks.n, sizeof *weighs);
    for (uint32_t i = 1; run && weighs && i < m->stacks.n; i++) {
        const hl_model_stack *s = &m->stacks.row[i];
        bool same = of_stack[i] == of_stack[s->parent];
        run[i] = !same ? 1 : run[s->parent] + ((leaf ? s->leaf : s->yours) == s->leaf);
    }
    for (uint32_t i = m->stacks.n; run && weighs && --i > 0;) {
        node *at = &t->row[of_stack[i]];
        weighs[i] = weighs[i] || view->stacks[i].bytes || view->stacks[i].blocks;
        weighs[m->stacks.row[i].parent] |= weighs[i];
        at->times = weighs[i] && run[i] > at->times ? run[i] : at->times;
    }
    int error = run && weighs ? 0 : -ENOMEM;
    free(run);
    free(weighs);
    return error;
}

/* A native frame that no Python frame calls, in a program that has some: the C code that runs the interpreter. */
static bool runs_python(const hl_model *m, const hl_model_stack *s)
{
    return s->kind == HL_STACK_NATIVE && !s->python && !m->native_only;
}

/* Which node each stack belongs to, then sums; children's rows are higher than their parents'. */
static int build(tree *t, const hl_view *view, bool leaf, bool joins)
{
    const hl_model *m = view->model;
    hl_map map = {0};
    uint32_t *of_stack = calloc(m->stacks.n, sizeof *of_stack), *own_of = calloc(m->stacks.n, sizeof *own_of);
    *t = (tree){.row = calloc(1, sizeof *t->row), .n = 1, .joins = joins};
    int error = of_stack && own_of && t->row ? 0 : -ENOMEM;
    for (uint32_t i = 1; i < m->stacks.n && !error; i++) {
        const hl_model_stack *s = &m->stacks.row[i];
        uint32_t above = of_stack[s->parent], site = leaf ? s->leaf : s->yours;
        bool own_node = leaf ? s->kind != HL_STACK_ROOT : s->yours == s->leaf || above == 0;
        if (!leaf && runs_python(m, s)) { /* what calls Python is not shown; what it allocates itself is */
            bool weighs = view->stacks[i].bytes || view->stacks[i].blocks;
            own_of[i] = weighs ? add_node(t, &map, 0, HL_SITE_NO_PYTHON) : 0;
            error = own_of[i] == HL_NO_ROW ? -ENOMEM : 0;
            continue;
        }
        of_stack[i] = own_of[i] = own_node ? add_node(t, &map, above, site) : above;
        if (of_stack[i] == HL_NO_ROW)
            error = -ENOMEM;
    }
    if (!error && (view->stacks[0].bytes || view->stacks[0].blocks)) { /* at the root itself */
        own_of[0] = add_node(t, &map, 0, HL_SITE_NO_PYTHON);
        error = own_of[0] == HL_NO_ROW ? -ENOMEM : 0;
    }
    for (uint32_t i = 0; i < m->stacks.n && !error; i++) {
        t->row[own_of[i]].own.bytes += view->stacks[i].bytes;
        t->row[own_of[i]].own.blocks += view->stacks[i].blocks;
    }
    if (!error && t->joins)
        error = count_times(t, view, of_stack, leaf);
    for (uint32_t i = t->n; i-- > 0 && !error;) {
        node *at = &t->row[i], *parent = &t->row[at->parent];
        at->total.bytes += at->own.bytes;
        at->total.blocks += at->own.blocks;
        if (i == 0)
            break;
        parent->total.bytes += at->total.bytes;
        parent->total.blocks += at->total.blocks;
        at->next = parent->first;
        parent->first = i;
    }
    hl_map_release(&map);
    free(of_stack);
    free(own_of);
    return error;
}

static bool heavier(const tree *t, uint32_t a, uint32_t b)
{
    const hl_weight *x = &t->row[a].total, *y = &t->row[b].total;
    return x->bytes != y->bytes ? x->bytes > y->bytes : x->blocks != y->blocks ? x->blocks > y->blocks : a < b;
}

typedef struct queue { /* a heap of closed nodes, the heaviest at the top */
    uint32_t *row, n;
} queue;

static void push(const tree *t, queue *q, uint32_t node_row)
{
    uint32_t at = q->n++;
    for (; at && heavier(t, node_row, q->row[(at - 1) / 2]); at = (at - 1) / 2)
        q->row[at] = q->row[(at - 1) / 2];
    q->row[at] = node_row;
}

static uint32_t pop(const tree *t, queue *q)
{
    uint32_t top = q->row[0], last = q->row[--q->n], at = 0;
    for (uint32_t child; (child = 2 * at + 1) < q->n; at = child) {
        if (child + 1 < q->n && heavier(t, q->row[child + 1], q->row[child]))
            child++;
        if (!heavier(t, q->row[child], last))
            break;
        q->row[at] = q->row[child];
    }
    q->row[at] = last;
    return top;
}

/* Marks the nodes to show: the heaviest `rows` (0: all), none below a thousandth of the whole unless all are asked for. */
static int open_heaviest(tree *t, uint64_t rows)
{
    queue q = {.row = malloc(t->n * sizeof *q.row)};
    if (!q.row)
        return -ENOMEM;
    hl_weight least = {t->row[0].total.bytes / 1000, 0};
    push(t, &q, 0);
    for (uint64_t shown = 0; q.n && (!rows || shown <= rows); shown++) {
        uint32_t at = pop(t, &q);
        node *opened = &t->row[at];
        if ((!opened->total.bytes && !opened->total.blocks) || (rows && opened->total.bytes < least.bytes))
            break;
        opened->shown = true;
        if (at)
            t->row[opened->parent].shown_children++;
        for (uint32_t child = opened->first; child; child = t->row[child].next)
            push(t, &q, child);
    }
    free(q.row);
    return 0;
}

typedef struct children {
    uint32_t *row, n; /* shown, the heaviest first */
} children;

static int compare_nodes(const void *a, const void *b, void *t)
{
    return heavier(t, *(const uint32_t *)a, *(const uint32_t *)b) ? -1 : 1;
}

static int list_children(tree *t, uint32_t at, children *c)
{
    *c = (children){.row = malloc((t->row[at].shown_children + 1) * sizeof *c->row)};
    if (!c->row)
        return -ENOMEM;
    for (uint32_t child = t->row[at].first; child; child = t->row[child].next)
        if (t->row[child].shown)
            c->row[c->n++] = child;
    qsort_r(c->row, c->n, sizeof *c->row, compare_nodes, t);
    return 0;
}

static hl_weight sum_hidden(const tree *t, uint32_t at)
{
    hl_weight hidden = {0};
    for (uint32_t child = t->row[at].first; child; child = t->row[child].next) {
        if (!t->row[child].shown) {
            hidden.bytes += t->row[child].total.bytes;
            hidden.blocks += t->row[child].total.blocks;
        }
    }
    return hidden;
}

/* ------------------------------------------------------------------------------------------------------------- text */

enum { PREFIX_BYTES = 512 };

typedef struct drawing {
    hl_report *report;
    tree *tree;
    hl_grid grid;
    bool failed;
} drawing;

static void draw_weights(drawing *d, uint32_t at)
{
    const node *n = &d->tree->row[at];
    uint64_t hidden = sum_hidden(d->tree, at).bytes;
    hl_grid_size(&d->grid, n->total.bytes);
    hl_grid_share(&d->grid, n->total.bytes, d->tree->row[0].total.bytes);
    if (n->own.bytes)
        hl_grid_size(&d->grid, n->own.bytes);
    else
        hl_grid_blank(&d->grid);
    if (hidden)
        hl_grid_size(&d->grid, hidden);
    else
        hl_grid_blank(&d->grid);
    hl_grid_count(&d->grid, n->total.blocks);
}

static void draw_name(drawing *d, const char *branch, const node *n)
{
    const hl_model *m = d->report->model;
    uint32_t site = n->site;
    const hl_model_file *file = hl_site_file(m, site);
    char name[1400], count[HL_NUMBER_BYTES], function[1000];
    const char *sign = hl_report_function(d->report, site, function, sizeof function);
    int32_t line = m->sites.row[site].line;
    if (!file || strcmp(file->label, hl_site_function(m, site)) == 0)
        snprintf(name, sizeof name, "%.999s", function);
    else if (line > 0)
        snprintf(name, sizeof name, "%.999s  %.300s:%d", function, file->label, line);
    else
        snprintf(name, sizeof name, "%.999s  %.300s", function, file->label);
    size_t used = strlen(name);
    if (n->times > 1)
        snprintf(name + used, sizeof name - used, " %s %s", hl_glyph(&d->report->out, "×", "x"),
                 hl_count_text(count, n->times));
    char kept[PREFIX_BYTES + 24];
    snprintf(kept, sizeof kept, "%s%s", branch, sign);
    hl_grid_branch(&d->grid, kept, name);
    if (*sign)
        hl_grid_cell_style(&d->grid, HL_DIM);
}

typedef struct level { /* an open node whose children are being drawn */
    children children;
    uint32_t at;
    size_t prefix; /* bytes of the prefix in front of its children */
    bool single;   /* an only child goes straight down */
} level;

typedef struct levels {
    level *at;
    size_t n, room;
} levels;

static int open_level(levels *l, tree *t, uint32_t node_row, size_t prefix)
{
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 64;
        level *grown = realloc(l->at, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        l->at = grown;
        l->room = room;
    }
    level *fresh = &l->at[l->n];
    *fresh = (level){.prefix = prefix};
    int error = list_children(t, node_row, &fresh->children);
    if (error)
        return error;
    fresh->single = node_row != 0 && fresh->children.n == 1;
    l->n++;
    return 0;
}

/* Depth first without recursion: a tree may be thousands of calls deep. Beyond a third of the width it goes straight down. */
static int draw_below(drawing *d)
{
    hl_out *out = &d->report->out;
    char prefix[PREFIX_BYTES] = "", branch[PREFIX_BYTES + 16];
    levels l = {0};
    int error = open_level(&l, d->tree, 0, 0);
    while (!error && l.n) {
        level *top = &l.at[l.n - 1];
        if (top->at == top->children.n) {
            free(top->children.row);
            l.n--;
            continue;
        }
        prefix[top->prefix] = '\0';
        uint32_t at = top->children.row[top->at++];
        bool last = top->at == top->children.n;
        const char *joint = top->single ? "" : last ? hl_glyph(out, "└ ", "`- ") : hl_glyph(out, "├ ", "|- ");
        const char *below = top->single ? "" : last ? hl_glyph(out, "  ", "   ") : hl_glyph(out, "│ ", "|  ");
        snprintf(branch, sizeof branch, "%s%s", prefix, joint);
        hl_grid_row(&d->grid);
        draw_weights(d, at);
        draw_name(d, branch, &d->tree->row[at]);
        size_t bytes = top->prefix;
        if (hl_columns(prefix, bytes) < out->terminal.width / 3 && bytes + strlen(below) + 1 < sizeof prefix) {
            memcpy(prefix + bytes, below, strlen(below) + 1);
            bytes += strlen(below);
        }
        error = open_level(&l, d->tree, at, bytes);
    }
    while (l.n)
        free(l.at[--l.n].children.row);
    free(l.at);
    return error;
}

static int write_text(hl_report *r, tree *t)
{
    static const hl_column columns[] = {
        {.title = "Total", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 1},
        {.title = "Own", .right = true},
        {.title = "Other", .right = true},
        {.title = "Blocks", .right = true, .drop = 2},
        {.title = "Call", .least = 30},
    };
    hl_out_put(&r->out, "\n");
    drawing d = {.report = r, .tree = t, .grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns)};
    hl_grid_row(&d.grid);
    draw_weights(&d, 0);
    hl_grid_text(&d.grid, "(all)");
    int error = draw_below(&d);
    hl_grid_end(&d.grid);
    hl_out_put(&r->out, "\n");
    hl_report_remark(
        r,
        "Own: by the line itself%s. Other: by calls that are not shown (-n shows more). Total: own, other and the "
        "rows right below.",
        r->leaf ? "" : " and the libraries it called (--leaf shows their frames)");
    hl_report_native_remark(r);
    return error;
}

/* ------------------------------------------------------------------------------------------------------------- JSON */

static void write_json(hl_report *r, const tree *t)
{
    hl_json json = hl_report_json(r, "heapline.tree/1");
    hl_json_array(&json, "nodes");
    for (uint32_t i = 0; i < t->n; i++) {
        const node *n = &t->row[i];
        if (!n->shown)
            continue;
        hl_weight hidden = sum_hidden(t, i);
        hl_json_row(&json, NULL);
        hl_json_int(&json, "id", i);
        if (i) {
            hl_json_int(&json, "parent", n->parent);
            hl_report_json_site(r->model, &json, n->site);
        } else {
            hl_json_null(&json, "parent");
            hl_json_text(&json, "function", "(all)");
            hl_json_text(&json, "file", "");
            hl_json_int(&json, "line", 0);
        }
        hl_json_int(&json, "total_bytes", (int64_t)n->total.bytes);
        hl_json_int(&json, "total_count", (int64_t)n->total.blocks);
        hl_json_int(&json, "own_bytes", (int64_t)n->own.bytes);
        hl_json_int(&json, "own_count", (int64_t)n->own.blocks);
        hl_json_int(&json, "other_bytes", (int64_t)hidden.bytes);
        hl_json_int(&json, "other_count", (int64_t)hidden.blocks);
        hl_json_end(&json);
    }
    hl_json_end(&json);
    hl_json_end(&json);
}

int hl_report_tree(hl_report *r)
{
    tree t;
    int error = build(&t, &r->view, r->leaf, !r->json);
    if (!error)
        error = open_heaviest(&t, r->rows);
    if (!error && r->json)
        write_json(r, &t);
    else if (!error && !(error = hl_report_head(r)) && !hl_report_nothing(r))
        error = write_text(r, &t);
    free(t.row);
    return error;
}
