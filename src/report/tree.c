/*
 * tree: the call tree, outermost calls first. Calls from one line are joined; without --leaf only the user's own frames are
 * calls, and what libraries take below them is the caller's own. The heaviest nodes are opened, wherever they are, until
 * the rows are used up; what stays closed is summed up in "(other)" rows, so that a node's total is its own and the rows
 * below it, to the byte.
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
} node;

typedef struct tree {
    node *row;
    uint32_t n;
} tree;

static uint32_t add_node(tree *t, hl_map *map, uint32_t parent, uint32_t site)
{
    uint32_t row = hl_map_row(map, parent, site, t->n);
    if (row != t->n)
        return row;
    if ((row & (row - 1)) == 0) { /* rooms are powers of two */
        node *grown = realloc(t->row, (size_t)row * 2 * sizeof *grown);
        if (!grown)
            return HL_NO_ROW;
        t->row = grown;
    }
    t->row[t->n++] = (node){.parent = parent, .site = site};
    return row;
}

/* Which node each stack belongs to, then sums; children's rows are higher than their parents'. */
static int build(tree *t, const hl_view *view, bool leaf)
{
    const hl_model *m = view->model;
    hl_map map = {0};
    uint32_t *of_stack = calloc(m->stacks.n, sizeof *of_stack);
    *t = (tree){.row = calloc(1, sizeof *t->row), .n = 1};
    int error = of_stack && t->row ? 0 : -ENOMEM;
    for (uint32_t i = 1; i < m->stacks.n && !error; i++) {
        const hl_stack *s = &m->stacks.row[i];
        uint32_t above = of_stack[s->parent], site = leaf ? s->leaf : s->yours;
        bool own_node = leaf ? s->kind != HL_STACK_ROOT : s->yours == s->leaf || above == 0;
        of_stack[i] = own_node ? add_node(t, &map, above, site) : above;
        if (of_stack[i] == HL_NO_ROW)
            error = -ENOMEM;
    }
    if (!error && (view->stacks[0].bytes || view->stacks[0].blocks)) { /* at the root itself */
        of_stack[0] = add_node(t, &map, 0, HL_SITE_NO_PYTHON);
        error = of_stack[0] == HL_NO_ROW ? -ENOMEM : 0;
    }
    for (uint32_t i = 0; i < m->stacks.n && !error; i++) {
        t->row[of_stack[i]].own.bytes += view->stacks[i].bytes;
        t->row[of_stack[i]].own.blocks += view->stacks[i].blocks;
    }
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
    hl_weight other;
    uint32_t others;
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
    for (uint32_t child = t->row[at].first; child; child = t->row[child].next) {
        const node *n = &t->row[child];
        if (n->shown) {
            c->row[c->n++] = child;
        } else if (n->total.bytes || n->total.blocks) {
            c->other.bytes += n->total.bytes;
            c->other.blocks += n->total.blocks;
            c->others++;
        }
    }
    qsort_r(c->row, c->n, sizeof *c->row, compare_nodes, t);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------- text */

enum { PREFIX_BYTES = 512 };

typedef struct drawing {
    hl_report *report;
    tree *tree;
    hl_grid grid;
    bool failed;
} drawing;

static void draw_weights(drawing *d, hl_weight total, const hl_weight *own)
{
    hl_weight all = d->tree->row[0].total;
    hl_grid_size(&d->grid, total.bytes);
    hl_grid_share(&d->grid, total.bytes, all.bytes);
    if (own && own->bytes)
        hl_grid_size(&d->grid, own->bytes);
    else
        hl_grid_blank(&d->grid);
    hl_grid_count(&d->grid, total.blocks);
}

static void draw_name(drawing *d, const char *prefix, uint32_t site)
{
    const hl_model *m = d->report->model;
    const hl_file *file = hl_site_file(m, site);
    const char *function = hl_site_function(m, site);
    int32_t line = m->sites.row[site].line;
    if (!file)
        hl_grid_textf(&d->grid, "%s%.200s", prefix, function);
    else if (line > 0)
        hl_grid_textf(&d->grid, "%s%.200s  %.250s:%d", prefix, function, file->label, line);
    else
        hl_grid_textf(&d->grid, "%s%.200s  %.250s", prefix, function, file->label);
}

typedef struct level { /* an open node whose children are being drawn */
    children children;
    uint32_t at;
    size_t prefix; /* bytes of the prefix in front of its children */
    bool single;
} level;

/* Depth first without recursion: a tree may be thousands of calls deep. */
static int draw_below(drawing *d)
{
    tree *t = d->tree;
    char prefix[PREFIX_BYTES] = "";
    level *levels = NULL;
    size_t depth = 0, room = 0;
    uint32_t open = 0;
    size_t prefix_bytes = 0;
    bool opening = true;
    int error = 0;
    for (;;) {
        if (opening) {
            if (depth == room) {
                room = room ? room * 2 : 64;
                level *grown = realloc(levels, room * sizeof *grown);
                if (!grown) {
                    error = -ENOMEM;
                    break;
                }
                levels = grown;
            }
            levels[depth] = (level){.prefix = prefix_bytes};
            error = list_children(t, open, &levels[depth].children);
            if (error)
                break;
            levels[depth].single = open != 0 && levels[depth].children.n + (levels[depth].children.others > 0) == 1;
            depth++;
            opening = false;
        }
        level *top = &levels[depth - 1];
        prefix[top->prefix] = '\0';
        bool other = top->at == top->children.n;
        if (other ? top->children.others == 0 || top->at > top->children.n : false) {
            free(top->children.row);
            if (--depth == 0)
                break;
            continue;
        }
        bool last = other || (top->at + 1 == top->children.n && !top->children.others);
        hl_out *out = &d->report->out;
        const char *branch = top->single && !other ? ""
                             : last                ? hl_glyph(out, "└ ", "`- ")
                                                   : hl_glyph(out, "├ ", "|- ");
        const char *below = top->single ? "" : last ? hl_glyph(out, "  ", "   ") : hl_glyph(out, "│ ", "|  ");
        char line[PREFIX_BYTES + 16];
        snprintf(line, sizeof line, "%s%s", prefix, branch);
        hl_grid_row(&d->grid);
        if (other) {
            hl_grid_style(&d->grid, HL_DIM);
            draw_weights(d, top->children.other, NULL);
            hl_grid_textf(&d->grid, "%s(other: %u call%s)", line, top->children.others,
                          top->children.others == 1 ? "" : "s");
            top->children.others = 0;
            continue;
        }
        open = top->children.row[top->at++];
        draw_weights(d, t->row[open].total, &t->row[open].own);
        draw_name(d, line, t->row[open].site);
        prefix_bytes = top->prefix;
        if (prefix_bytes + strlen(below) + 1 < sizeof prefix) { /* deeper than this it goes straight down */
            strcpy(prefix + prefix_bytes, below);
            prefix_bytes += strlen(below);
        }
        opening = true;
    }
    while (error && depth-- > 0)
        free(levels[depth].children.row);
    free(levels);
    return error;
}

static int write_text(hl_report *r, tree *t)
{
    static const hl_column columns[] = {
        {.title = "Total", .right = true, .style = HL_BOLD},
        {.title = "Share", .right = true, .drop = 1},
        {.title = "Own", .right = true},
        {.title = "Blocks", .right = true, .drop = 2},
        {.title = "Call", .least = 30},
    };
    hl_out_put(&r->out, "\n");
    drawing d = {.report = r, .tree = t, .grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns)};
    hl_grid_row(&d.grid);
    draw_weights(&d, t->row[0].total, NULL);
    hl_grid_text(&d.grid, "(all)");
    int error = draw_below(&d);
    hl_grid_end(&d.grid);
    hl_out_put(&r->out, "\n");
    hl_report_remark(r, "Own: by the line itself%s. A total is its own and the rows below it.",
                     r->leaf ? "" : " and by the libraries it called (--leaf shows their frames)");
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
        hl_weight hidden = {0};
        for (uint32_t child = n->first; child; child = t->row[child].next) {
            if (!t->row[child].shown) {
                hidden.bytes += t->row[child].total.bytes;
                hidden.blocks += t->row[child].total.blocks;
            }
        }
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
    int error = build(&t, &r->view, r->leaf);
    if (!error)
        error = open_heaviest(&t, r->rows);
    if (!error && r->json)
        write_json(r, &t);
    else if (!error && !(error = hl_report_head(r)))
        error = write_text(r, &t);
    free(t.row);
    return error;
}
