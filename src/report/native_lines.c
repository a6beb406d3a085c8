/*
 * native_lines.c - lines of extensions: where native code below a line of Python takes memory, and for which line of the user's.
 * What `stats` shows of profiles with both, so that a leak in C has its two lines in one row.
 */
#include "groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whether a frame is of neither the interpreter nor the C and C++ libraries, nor a template of these. */
static bool is_of_extension(const hl_model *m, const hl_model_stack *stack)
{
    const hl_model_frame *frame = stack->frame == HL_NO_ROW ? NULL : &m->frames.row[stack->frame];
    if (!frame || frame->module == HL_NO_ROW || frame->function == HL_NO_ROW)
        return false;
    const char *module = hl_base_name(m->files.row[frame->module].path);
    const char *source = m->files.row[m->functions.row[frame->function].file].path;
    return *module != '[' && *module != '(' && !hl_is_runtime(module) && strncmp(module, "python", 6) != 0 &&
           strncmp(module, "libpython", 9) != 0 && strncmp(module, "libffi", 6) != 0 &&
           strncmp(module, "_ctypes", 7) != 0 && strncmp(source, "/usr/include/", 13) != 0 &&
           strncmp(source, "/rustc/", 7) != 0 && !strstr(source, "/include/c++/") && !strstr(source, "/rustlib/src/");
}

static int by_sites(const void *a, const void *b)
{
    const hl_native_line *x = a, *y = b;
    if (x->site != y->site)
        return x->site < y->site ? -1 : 1;
    return x->caller < y->caller ? -1 : x->caller > y->caller;
}

static int heavier(const void *a, const void *b)
{
    const hl_native_line *x = a, *y = b;
    if (x->weight.bytes != y->weight.bytes)
        return x->weight.bytes < y->weight.bytes ? 1 : -1;
    if (x->weight.blocks != y->weight.blocks)
        return x->weight.blocks < y->weight.blocks ? 1 : -1;
    return by_sites(a, b);
}

int hl_native_lines(const hl_view *view, hl_native_line **lines, uint32_t *n)
{
    const hl_model *m = view->model;
    uint32_t *innermost = malloc((m->stacks.n ? m->stacks.n : 1) * sizeof *innermost); /* site; HL_NO_ROW: none */
    hl_native_line *all = malloc((m->stacks.n ? m->stacks.n : 1) * sizeof *all);
    *n = 0;
    *lines = all;
    if (!innermost || !all) {
        free(innermost);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < m->stacks.n; i++) {
        const hl_model_stack *s = &m->stacks.row[i];
        if (i == 0 || s->kind != HL_STACK_NATIVE) /* below a frame of Python it begins anew */
            innermost[i] = HL_NO_ROW;
        else
            innermost[i] = is_of_extension(m, s) ? s->leaf : innermost[s->parent];
        if (i && s->kind == HL_STACK_DEEPER)
            innermost[i] = innermost[s->parent];
        const hl_weight *weight = &view->stacks[i];
        if (innermost[i] != HL_NO_ROW && (weight->bytes || weight->blocks))
            all[(*n)++] = (hl_native_line){innermost[i], s->yours, *weight};
    }
    free(innermost);
    if (!*n)
        return 0;
    qsort(all, *n, sizeof *all, by_sites);
    uint32_t kept = 0;
    for (uint32_t i = 1; i < *n; i++) {
        if (by_sites(&all[kept], &all[i]) == 0) {
            all[kept].weight.bytes += all[i].weight.bytes;
            all[kept].weight.blocks += all[i].weight.blocks;
        } else {
            all[++kept] = all[i];
        }
    }
    *n = kept + 1;
    qsort(all, *n, sizeof *all, heavier);
    return 0;
}
