/*
 * natives.c - what merged stacks need while a model is loaded: labels of native files, rows for inlined calls, and leaving
 * out Python's frames or the native ones.
 */
#include "loader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- labels */

/* The last `parts` parts of a path, without "./" and "../" in front. */
static const char *tail_of(const char *path, unsigned parts)
{
    const char *at = path + strlen(path);
    for (; at > path; at--)
        if (at[-1] == '/' && parts-- == 1)
            break;
    while (at > path && (strncmp(at, "./", 2) == 0 || strncmp(at, "../", 3) == 0))
        at = strchr(at, '/') + 1;
    return at;
}

/* FNV-1a. */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash;
}

/* Lengthens the labels that several files have; in `parts`, how many parts of its path a native file's label is (0: it keeps
 * the one it has). Whether any became longer. */
static int lengthen(hl_model *m, unsigned *parts, bool *longer)
{
    hl_map labels = {0};
    uint32_t *holders = calloc(m->files.n + 1, sizeof *holders), n = 0;
    int error = holders ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < m->files.n && !error; i++) {
        uint32_t row = hl_map_row(&labels, hash_text(m->files.row[i].label), 0, n);
        error = row == UINT32_MAX ? -ENOMEM : 0;
        n += row == n;
        if (!error)
            holders[row]++;
    }
    *longer = false;
    for (uint32_t i = 0; i < m->files.n && !error; i++) {
        hl_model_file *file = &m->files.row[i];
        if (!parts[i] || holders[hl_map_find(&labels, hash_text(file->label), 0)] == 1 || file->label == file->path)
            continue;
        const char *before = file->label;
        while (file->label == before)
            file->label = tail_of(file->path, ++parts[i]);
        *longer = true;
    }
    hl_map_release(&labels);
    free(holders);
    return error;
}

int hl_label_natives(loader *l)
{
    hl_model *m = l->model;
    unsigned *parts = calloc(m->files.n + 1, sizeof *parts);
    if (!parts)
        return -ENOMEM;
    bool any = false;
    for (uint32_t i = 0; i < m->frames.n; i++) {
        const hl_model_frame *frame = &m->frames.row[i];
        if (frame->module == HL_NO_ROW)
            continue;
        any = true;
        m->files.row[frame->module].native = true;
        parts[frame->module] = 1; /* an object: "libarrow.so.2400" */
        if (frame->function == HL_NO_ROW)
            continue;
        m->functions.row[frame->function].native = true;
        uint32_t source = m->functions.row[frame->function].file;
        if (source == HL_NO_ROW)
            continue;
        hl_model_file *file = &m->files.row[source];
        file->native = true;
        if (!parts[source] && file->label == file->path) /* below the working directory it has a good one */
            parts[source] = 2;                           /* "Objects/listobject.c" */
    }
    for (uint32_t i = 0; i < m->files.n; i++) {
        hl_model_file *file = &m->files.row[i];
        if (*file->path == '[' || *file->path == '(' || *file->path == '<')
            parts[i] = 0;
        if (parts[i])
            file->label = tail_of(file->path, parts[i]);
    }
    int error = 0;
    for (bool longer = any; longer && !error;)
        error = lengthen(m, parts, &longer);
    free(parts);
    return error;
}

/* ----------------------------------------------------------------------------------------------------------- stacks */

enum { CHAIN = 64 }; /* inlined calls of one frame, at most: a broken file may have circles */

typedef struct arranging {
    HL_ARRAY(hl_model_stack) to;
    size_t room;
    hl_map rows;
} arranging;

static bool is_left_out(const hl_model *m, const hl_model_stack *stack)
{
    return (m->choice == HL_FRAMES_PYTHON && stack->kind == HL_STACK_NATIVE) ||
           (m->choice == HL_FRAMES_NATIVE && stack->kind == HL_STACK_PYTHON);
}

static uint32_t caller_of(const hl_model *m, uint32_t frame)
{
    return frame == HL_NO_ROW || m->frames.row[frame].module == HL_NO_ROW ? HL_NO_ROW : m->frames.row[frame].caller;
}

/* The row of `stack` with `frame` below `parent`; HL_NO_ROW: no memory. Equal stacks become one. */
static uint32_t put(arranging *a, const hl_model_stack *stack, uint32_t parent, uint32_t frame)
{
    uint32_t row = hl_map_row(&a->rows, (uint64_t)parent << 32 | frame, (uint64_t)stack->kind, a->to.n);
    if (row == UINT32_MAX || row != a->to.n)
        return row;
    if (a->to.n == a->room) {
        size_t room = a->room ? a->room * 2 : 1024;
        hl_model_stack *grown = realloc(a->to.row, room * sizeof *grown);
        if (!grown)
            return HL_NO_ROW;
        a->to.row = grown;
        a->room = room;
    }
    hl_model_stack *fresh = &a->to.row[a->to.n++];
    *fresh = *stack;
    fresh->parent = parent;
    fresh->frame = frame;
    fresh->depth = row ? a->to.row[parent].depth + 1 : 0;
    fresh->python = row && (stack->kind == HL_STACK_PYTHON || a->to.row[parent].python);
    return row;
}

int hl_arrange_stacks(loader *l)
{
    hl_model *m = l->model;
    bool needed = m->choice != HL_FRAMES_ALL;
    for (uint32_t i = 0; i < m->stacks.n && !needed; i++)
        needed = caller_of(m, m->stacks.row[i].frame) != HL_NO_ROW;
    if (!needed)
        return 0;
    bool python = false, native = false;
    for (uint32_t i = 0; i < m->stacks.n; i++) {
        python |= m->stacks.row[i].python;
        native |= m->stacks.row[i].kind == HL_STACK_NATIVE;
    }
    if ((m->choice == HL_FRAMES_PYTHON && native && !python) || (m->choice == HL_FRAMES_NATIVE && !native)) {
        snprintf(l->why, l->why_bytes,
                 native ? "--python-only: no frame of Python is in it"
                        : "--native-only: no native frame is in it (heapline run --native records them)");
        return -ENOENT;
    }
    uint32_t *moved = calloc((size_t)m->stacks.n + 1, sizeof *moved);
    arranging a = {0};
    int error = moved ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < m->stacks.n && !error; i++) {
        const hl_model_stack *stack = &m->stacks.row[i];
        uint32_t parent = i ? moved[stack->parent] : 0, chain[CHAIN], n = 0;
        if (i && is_left_out(m, stack)) {
            moved[i] = parent;
            continue;
        }
        for (uint32_t at = caller_of(m, stack->frame); at != HL_NO_ROW && n < CHAIN; at = caller_of(m, at))
            chain[n++] = at;
        while (n && parent != HL_NO_ROW)
            parent = put(&a, stack, parent, chain[--n]);
        moved[i] = parent == HL_NO_ROW ? HL_NO_ROW : put(&a, stack, parent, stack->frame);
        error = moved[i] == HL_NO_ROW ? -ENOMEM : 0;
    }
    hl_map_release(&a.rows);
    if (error) {
        free(moved);
        free(a.to.row);
        return error;
    }
    for (uint32_t i = 0; i < m->stats.n; i++)
        m->stats.row[i].stack = moved[m->stats.row[i].stack];
    free(moved);
    free(m->stacks.row);
    m->stacks.row = a.to.row;
    m->stacks.n = a.to.n;
    return 0;
}
