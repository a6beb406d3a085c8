/* See groups.h. */
#include "groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static hl_group *group_named(hl_groups *g, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < g->n; i++)
        if (g->at[i].bytes == bytes && memcmp(g->at[i].name, name, bytes) == 0)
            return &g->at[i];
    if ((g->n & (g->n - 1)) == 0) {
        hl_group *grown = realloc(g->at, (g->n ? (size_t)g->n * 2 : 1) * sizeof *grown);
        if (!grown)
            return NULL;
        g->at = grown;
    }
    g->at[g->n] = (hl_group){.name = name, .bytes = bytes};
    return &g->at[g->n++];
}

static void add_stat(hl_group *to, const hl_view *view, uint32_t stat)
{
    const hl_stat *s = &view->model->stats.row[stat];
    to->weight.bytes += view->stats[stat].bytes;
    to->weight.blocks += view->stats[stat].blocks;
    to->allocated.bytes += s->allocated;
    to->allocated.blocks += s->allocations;
}

static int heavier_group(const void *a, const void *b)
{
    const hl_group *x = a, *y = b;
    if (x->weight.bytes != y->weight.bytes)
        return x->weight.bytes < y->weight.bytes ? 1 : -1;
    if (x->allocated.bytes != y->allocated.bytes)
        return x->allocated.bytes < y->allocated.bytes ? 1 : -1;
    size_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = memcmp(x->name, y->name, n);
    return order ? order : x->row < y->row ? -1 : x->row > y->row;
}

int hl_group_by_allocator(const hl_view *view, hl_groups *g)
{
    for (uint32_t i = 0; i < view->model->stats.n; i++) {
        const hl_stat *s = &view->model->stats.row[i];
        if (!hl_view_takes(view, s))
            continue;
        hl_group *to = group_named(g, s->allocator, strlen(s->allocator));
        if (!to)
            return -ENOMEM;
        add_stat(to, view, i);
    }
    if (g->at && g->n)
        qsort(g->at, g->n, sizeof *g->at, heavier_group); // NOLINT(clang-analyzer-core.NonNullParamChecker): counted
    return 0;
}

/* The thread, whatever region it was in. */
static uint32_t thread_row(const hl_model *m, const hl_stat *stat)
{
    return stat->thread < m->threads.n ? m->threads.row[stat->thread].base : m->threads.n;
}

int hl_group_by_region(const hl_view *view, hl_groups *g)
{
    static const char outside[] = "(outside of all)";
    const hl_model *m = view->model;
    for (uint32_t i = 0; i < m->stats.n; i++) {
        const hl_stat *stat = &m->stats.row[i];
        if (!hl_view_takes(view, stat))
            continue;
        const char *name = stat->thread < m->threads.n ? m->threads.row[stat->thread].region : NULL;
        name = name ? name : outside;
        hl_group *to = group_named(g, name, strlen(name));
        if (!to)
            return -ENOMEM;
        add_stat(to, view, i);
    }
    if (g->at && g->n)
        qsort(g->at, g->n, sizeof *g->at, heavier_group); // NOLINT(clang-analyzer-core.NonNullParamChecker): counted
    return 0;
}

int hl_group_by_thread(const hl_view *view, hl_groups *g)
{
    const hl_model *m = view->model;
    g->at = calloc(m->threads.n + 1, sizeof *g->at);
    if (!g->at)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->threads.n; i++)
        g->at[i] = (hl_group){.name = m->threads.row[i].name, .bytes = strlen(m->threads.row[i].name), .row = i};
    g->at[m->threads.n] = (hl_group){.name = "(unknown)", .bytes = 9, .row = HL_NO_ROW};
    for (uint32_t i = 0; i < m->stats.n; i++)
        if (hl_view_takes(view, &m->stats.row[i]))
            add_stat(&g->at[thread_row(m, &m->stats.row[i])], view, i);
    for (uint32_t i = 0; i <= m->threads.n; i++)
        if (g->at[i].allocated.blocks || g->at[i].weight.bytes)
            g->at[g->n++] = g->at[i];
    if (g->n)
        qsort(g->at, g->n, sizeof *g->at, heavier_group); // NOLINT(clang-analyzer-core.NonNullParamChecker): counted
    return 0;
}

/* "numpy" of numpy/core/numeric.py, "json" of json/decoder.py; the user's own files by their whole label. */
static void name_module(const hl_model_file *file, const char **name, size_t *bytes)
{
    *name = file->label;
    *bytes = strlen(file->label);
    if (file->origin == HL_ORIGIN_FROZEN) {
        *name = "(interpreter's frozen modules)";
        *bytes = strlen(*name);
        return;
    }
    if (file->origin == HL_ORIGIN_USER || file->label[0] == '/' || file->label[0] == '<')
        return;
    const char *slash = strchr(file->label, '/');
    *bytes = slash ? (size_t)(slash - file->label) : *bytes;
    if (*bytes > 3 && memcmp(file->label + *bytes - 3, ".py", 3) == 0)
        *bytes -= 3;
}

/* Each stack belongs to the module of its innermost frame outside the standard library, else of its innermost frame. */
int hl_group_by_module(const hl_view *view, hl_groups *g)
{
    const hl_model *m = view->model;
    uint32_t *of_file = calloc(m->files.n + 1, sizeof *of_file), *of_stack = calloc(m->stacks.n, sizeof *of_stack);
    if (!of_file || !of_stack) {
        free(of_file);
        free(of_stack);
        return -ENOMEM;
    }
    const char *none = m->native_only ? "(native code)" : "(no Python)";
    if (!group_named(g, none, strlen(none))) {
        free(of_file);
        free(of_stack);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < m->files.n; i++) {
        const char *name;
        size_t bytes;
        name_module(&m->files.row[i], &name, &bytes);
        hl_group *to = group_named(g, name, bytes);
        of_file[i] = to ? (uint32_t)(to - g->at) : 0;
    }
    for (uint32_t i = 1; i < m->stacks.n; i++) {
        const hl_model_stack *s = &m->stacks.row[i];
        uint32_t function = s->frame == HL_NO_ROW ? HL_NO_ROW : m->frames.row[s->frame].function;
        uint32_t file = function == HL_NO_ROW ? HL_NO_ROW : m->functions.row[function].file;
        if (s->kind == HL_STACK_NATIVE) /* the library's: hl_group_by_library */
            file = HL_NO_ROW;
        /* of_stack: a file row + 1, of a file outside the standard library if there is one */
        of_stack[i] = of_stack[s->parent];
        bool library = file != HL_NO_ROW && m->files.row[file].origin != HL_ORIGIN_USER &&
                       m->files.row[file].origin != HL_ORIGIN_SITE;
        bool above = of_stack[i] && m->files.row[of_stack[i] - 1].origin <= HL_ORIGIN_SITE;
        if (file != HL_NO_ROW && !(library && above))
            of_stack[i] = file + 1;
    }
    for (uint32_t i = 0; i < m->stats.n; i++) {
        if (!hl_view_takes(view, &m->stats.row[i]))
            continue;
        uint32_t file = of_stack[m->stats.row[i].stack];
        add_stat(&g->at[file ? of_file[file - 1] : 0], view, i);
    }
    free(of_file);
    free(of_stack);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->n; i++)
        if (g->at[i].allocated.blocks || g->at[i].weight.bytes)
            g->at[kept++] = g->at[i];
    g->n = kept;
    if (g->n)
        qsort(g->at, g->n, sizeof *g->at, heavier_group); // NOLINT(clang-analyzer-core.NonNullParamChecker): counted
    return 0;
}

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

const char *hl_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && *path != '[' && *path != '(' ? slash + 1 : path;
}

bool hl_is_runtime(const char *name)
{
    static const char *const runtimes[] = {"libc.so",      "libc-",       "libc.musl",     "libstdc++.so", "libc++.so",
                                           "libc++abi.so", "ld-linux",    "ld-",           "ld.so",        "libpthread",
                                           "libdl.so",     "libgcc_s.so", "libheapline.so"};
    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++)
        if (begins(name, runtimes[i]))
            return true;
    return false;
}

/* The interpreter's allocator, in whatever object it is. What makes objects from it (lists, tuples) is the interpreter. */
static bool is_pymalloc(const char *function)
{
    static const char *const names[] = {"PyMem_",           "_PyMem_",          "PyObject_Malloc",  "PyObject_Calloc",
                                        "PyObject_Realloc", "_PyObject_Malloc", "_PyObject_Calloc", "_PyObject_Realloc",
                                        "pymalloc_alloc",   "pymalloc_realloc"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (begins(function, names[i]))
            return true;
    return false;
}

int hl_group_by_library(const hl_view *view, hl_groups *g)
{
    const hl_model *m = view->model;
    uint32_t *of_stack = calloc(m->stacks.n, sizeof *of_stack); /* a file row + 1 */
    bool *settled = calloc(m->stacks.n, sizeof *settled);       /* it is not only a runtime's */
    g->at = calloc(m->files.n + 1, sizeof *g->at);
    int error = of_stack && settled && g->at ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < m->files.n && !error; i++) {
        const char *name = m->files.row[i].label;
        g->at[i] = (hl_group){.name = name, .bytes = strlen(name), .row = i};
    }
    if (!error)
        g->at[m->files.n] = (hl_group){.name = "(no native frame)", .bytes = 17, .row = HL_NO_ROW};
    for (uint32_t i = 1; i < m->stacks.n && !error; i++) {
        const hl_model_stack *s = &m->stacks.row[i];
        uint32_t module = s->frame == HL_NO_ROW ? HL_NO_ROW : m->frames.row[s->frame].module;
        of_stack[i] = of_stack[s->parent];
        settled[i] = settled[s->parent];
        if (module == HL_NO_ROW)
            continue;
        uint32_t function = m->frames.row[s->frame].function;
        bool runtime = hl_is_runtime(hl_base_name(m->files.row[module].path)) ||
                       (function != HL_NO_ROW && is_pymalloc(m->functions.row[function].name));
        if (runtime && settled[i])
            continue;
        of_stack[i] = module + 1;
        settled[i] = !runtime;
    }
    for (uint32_t i = 0; i < m->stats.n && !error; i++) {
        uint32_t file = of_stack[m->stats.row[i].stack];
        if (hl_view_takes(view, &m->stats.row[i]))
            add_stat(&g->at[file ? file - 1 : m->files.n], view, i);
    }
    free(of_stack);
    free(settled);
    for (uint32_t i = 0; i <= m->files.n && !error; i++)
        if (g->at[i].allocated.blocks || g->at[i].weight.bytes)
            g->at[g->n++] = g->at[i];
    if (g->n)
        qsort(g->at, g->n, sizeof *g->at, heavier_group); // NOLINT(clang-analyzer-core.NonNullParamChecker): counted
    return error;
}
