/*
 * yours.c - whose line a stack is: the site that each stack of a model is charged to, its innermost frame's and the user's.
 *
 * The last step of loading (model.c). What counts as the user's is told in model.h and, for people, in the pages of the
 * reports ("Your line").
 */
#include "loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static const hl_model_file *file_of_frame(const hl_model *m, uint32_t frame)
{
    uint32_t function = frame == HL_NO_ROW ? HL_NO_ROW : m->frames.row[frame].function;
    uint32_t file = function == HL_NO_ROW ? HL_NO_ROW : m->functions.row[function].file;
    return file == HL_NO_ROW ? NULL : &m->files.row[file];
}

/* Frames that are outermost while the interpreter starts and before any code of the program runs. */
static bool is_startup(const hl_model_file *file)
{
    return strncmp(file->path, "<frozen importlib", 17) == 0 || strcmp(file->path, "<frozen site>") == 0 ||
           strcmp(file->path, "<frozen zipimport>") == 0 ||
           (file->origin == HL_ORIGIN_STDLIB && ends_with(file->path, "/site.py"));
}

/* "<string>", "<template>": a name for code without a file. What people type has such a name too. */
static bool is_made_up(const hl_model_file *file)
{
    const char *path = file->path;
    return path[0] == '<' && strncmp(path, "<ipython", 8) != 0 && strcmp(path, "<stdin>") != 0 &&
           strncmp(path, "<console", 8) != 0 && strncmp(path, "<doctest", 8) != 0;
}

/* Whether no frame of Python's is further out. */
static bool is_outermost(const hl_model *m, const hl_model_stack *stack)
{
    return !m->stacks.row[stack->parent].python;
}

/* The source file of a Python frame; null for others. */
static const hl_model_file *python_file(const hl_model *m, const hl_model_stack *stack)
{
    return stack->kind == HL_STACK_NATIVE ? NULL : file_of_frame(m, stack->frame);
}

static bool begins_with_one_of(const char *path, const char *const *beginnings)
{
    for (; *beginnings; beginnings++)
        if (strncmp(path, *beginnings, strlen(*beginnings)) == 0)
            return true;
    return false;
}

/* Whether a native frame is the program's own code and not the system's or a language's library: for programs without
 * Python. Templates and generic functions of those are compiled into the program's object: told by their source. */
static bool is_own_native(const hl_model *m, const hl_model_stack *stack)
{
    static const char *const SYSTEM[] = {"/usr/lib", "/lib", "[", NULL};
    static const char *const LIBRARIES[] = {"/usr/include/", "/usr/lib/", "/usr/local/include/", "/rustc/", NULL};
    uint32_t module = stack->frame == HL_NO_ROW ? HL_NO_ROW : m->frames.row[stack->frame].module;
    const char *path = module == HL_NO_ROW ? "" : m->files.row[module].path;
    const hl_model_file *source = file_of_frame(m, stack->frame);
    if (!*path || begins_with_one_of(path, SYSTEM) || ends_with(path, "/libheapline.so"))
        return false;
    return !source || !(begins_with_one_of(source->path, LIBRARIES) || strstr(source->path, "/include/c++/") ||
                        strstr(source->path, "/.cargo/registry/") || strstr(source->path, "/rustlib/src/"));
}

/* A stack that no Python frame is on, of a native frame. In a program with Python it is not worth a line: that is what runs
 * the interpreter, or a thread that has none of it. In one without, it is the innermost frame of the program's own. */
static uint32_t native_site(const hl_model *m, const hl_model_stack *stack)
{
    if (!m->native_only)
        return HL_SITE_NO_PYTHON;
    return stack->parent == 0 || is_own_native(m, stack) ? stack->leaf : m->stacks.row[stack->parent].yours;
}

/* The file of each stack's outermost Python frame that has one: not "(outer frames, cut)". Null where there is none. */
static void find_outermost(const hl_model *m, const hl_model_file **outermost)
{
    for (uint32_t i = 1; i < m->stacks.n; i++) {
        const hl_model_stack *stack = &m->stacks.row[i];
        outermost[i] = outermost[stack->parent] ? outermost[stack->parent] : python_file(m, stack);
    }
}

/* Which files are the user's: those of the user, or, where the program runs none, installed packages if they take part in a
 * twentieth of what is allocated (an import hook alone does not count), or else the standard library. */
static int choose_yours(hl_model *m, const hl_model_file *const *outermost)
{
    unsigned char *origins = calloc(m->stacks.n, 1); /* of the frames on each stack, a bit each */
    if (!origins)
        return -ENOMEM;
    uint64_t sum[HL_ORIGIN_NATIVE + 1] = {0}, total = 0;
    for (uint32_t i = 1; i < m->stacks.n; i++) {
        const hl_model_file *file = python_file(m, &m->stacks.row[i]);
        origins[i] = origins[m->stacks.row[i].parent];
        if (file && outermost[i] && !is_startup(outermost[i]) && (!is_made_up(file) || file == outermost[i]))
            origins[i] |= (unsigned char)(1u << file->origin);
    }
    for (uint32_t i = 0; i < m->stats.n; i++) {
        const hl_stat *stat = &m->stats.row[i];
        total += origins[stat->stack] ? stat->allocated : 0;
        for (unsigned origin = 0; origin <= HL_ORIGIN_NATIVE; origin++)
            sum[origin] += origins[stat->stack] >> origin & 1 ? stat->allocated : 0;
    }
    free(origins);
    m->yours = sum[HL_ORIGIN_USER]                ? HL_ORIGIN_USER
               : sum[HL_ORIGIN_SITE] > total / 20 ? HL_ORIGIN_SITE
               : sum[HL_ORIGIN_STDLIB]            ? HL_ORIGIN_STDLIB
                                                  : HL_ORIGIN_USER;
    return 0;
}

/* Whether a frame is of the user's own code. Code that a library makes and runs (a namedtuple's, a data class's: "<string>")
 * is the library's; what is passed with -c is the user's. */
static bool is_yours(const hl_model *m, const hl_model_stack *stack, const hl_model_file *outermost)
{
    const hl_model_file *file = python_file(m, stack);
    if (!file || file->origin != m->yours || stack->kind == HL_STACK_DEEPER)
        return false;
    if (m->yours != HL_ORIGIN_USER)
        return outermost && !is_startup(outermost);
    return !is_made_up(file) || file == outermost;
}

/* The site of what was folded below no line: made when it is first needed. */
static uint32_t nowhere(loader *l)
{
    return hl_site_of(l, (hl_site){.kind = HL_SITE_DEEPER, .function = HL_NO_ROW, .module = HL_NO_ROW});
}

int hl_charge_stacks(loader *l)
{
    hl_model *m = l->model;
    const hl_model_file **outermost = calloc(m->stacks.n, sizeof(void *)); /* the root is always there */
    if (!outermost)
        return -ENOMEM;
    find_outermost(m, outermost);
    bool python = false;
    for (uint32_t i = 0; i < m->stacks.n; i++) {
        python |= m->stacks.row[i].python;
        m->has_native |= m->stacks.row[i].kind == HL_STACK_NATIVE;
    }
    m->native_only = m->has_native && !python;
    int error = choose_yours(m, outermost);
    for (uint32_t i = 0; i < m->stacks.n && !error; i++) {
        hl_model_stack *stack = &m->stacks.row[i];
        const hl_model_stack *parent = &m->stacks.row[stack->parent];
        if (i == 0 || stack->kind == HL_STACK_NO_PYTHON || stack->kind == HL_STACK_ROOT) {
            stack->leaf = stack->yours = HL_SITE_NO_PYTHON;
            continue;
        }
        if (stack->kind == HL_STACK_DEEPER && parent->frame != HL_NO_ROW) {
            hl_site below = m->sites.row[m->frames.row[parent->frame].site];
            below.kind = HL_SITE_DEEPER;
            stack->leaf = hl_site_of(l, below);
        } else if (stack->frame != HL_NO_ROW) {
            stack->leaf = m->frames.row[stack->frame].site;
        } else {
            stack->leaf = stack->kind == HL_STACK_DEEPER ? nowhere(l) : parent->leaf;
        }
        error = stack->leaf == HL_NO_ROW ? -ENOMEM : 0;
        if (is_yours(m, stack, outermost[i]))
            stack->yours = stack->leaf;
        else if (!is_outermost(m, stack) ||
                 (stack->kind == HL_STACK_DEEPER && m->native_only && parent->kind == HL_STACK_NATIVE))
            stack->yours = parent->yours;
        else if (stack->kind == HL_STACK_NATIVE)
            stack->yours = native_site(m, stack);
        else if (stack->kind == HL_STACK_DEEPER) /* was Python on these? That is forgotten: no line of C's is theirs */
            error = (stack->yours = nowhere(l)) == HL_NO_ROW ? -ENOMEM : 0;
        else
            stack->yours = outermost[i] && is_startup(outermost[i]) ? HL_SITE_STARTUP : stack->leaf;
    }
    free(outermost);
    return error;
}
