/*
 * gate_match.c - which line of the new profile is which of the old one, after the code was edited.
 *
 * A line is known by its file, its function's name and its own text without blanks around it, so it may move. Without
 * source text on both sides it is known by how far below its function's first line it is. Lines of one function with equal
 * text are one. A file is known by its label (below the working directory, site-packages, the standard library); one that
 * has no partner so is known by the end of its path where that is unique.
 *
 * Names and texts become numbers first, so that joining is a look-up of two words.
 */
#include "gate.h"
#include "map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------- text into numbers */

typedef struct text {
    const char *at;
    size_t bytes;
} text;

typedef struct texts {
    text *row;
    uint32_t n, room;
    uint32_t *slot; /* row + 1 */
    uint32_t slots; /* a power of two, or 0 */
} texts;

static uint64_t hash_of(const char *at, size_t bytes)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char)at[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static bool grow_slots(texts *t)
{
    uint32_t slots = t->slots ? t->slots * 2 : 1024, *slot = calloc(slots, sizeof *slot);
    if (!slot)
        return false;
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t at = (uint32_t)hash_of(t->row[i].at, t->row[i].bytes) & (slots - 1);
        while (slot[at])
            at = (at + 1) & (slots - 1);
        slot[at] = i + 1;
    }
    free(t->slot);
    t->slot = slot;
    t->slots = slots;
    return true;
}

/* The number of a text, which must stay where it is; HL_NO_ROW: no memory. */
static uint32_t number_of(texts *t, const char *at, size_t bytes)
{
    if (t->n >= t->slots / 2 && !grow_slots(t))
        return HL_NO_ROW;
    uint32_t slot = (uint32_t)hash_of(at, bytes) & (t->slots - 1);
    for (; t->slot[slot]; slot = (slot + 1) & (t->slots - 1)) {
        const text *same = &t->row[t->slot[slot] - 1];
        if (same->bytes == bytes && memcmp(same->at, at, bytes) == 0)
            return t->slot[slot] - 1;
    }
    if (t->n == t->room) {
        uint32_t room = t->room ? t->room * 2 : 1024;
        text *grown = realloc(t->row, room * sizeof *grown);
        if (!grown)
            return HL_NO_ROW;
        t->row = grown;
        t->room = room;
    }
    t->row[t->n] = (text){at, bytes};
    t->slot[slot] = t->n + 1;
    return t->n++;
}

static void release_texts(texts *t)
{
    free(t->row);
    free(t->slot);
}

/* --------------------------------------------------------------------------------------------------------- matching */

typedef struct matching {
    hl_gate *gate;
    texts names;          /* of files, functions and lines, one number space */
    uint32_t *file[2];    /* number of each file's name, of the old and the new model */
    uint32_t *partner[2]; /* file row on the other side; HL_NO_ROW */
    hl_map lines;
    uint32_t room;
} matching;

static hl_gate_side *side_of(matching *m, int i) { return i ? &m->gate->new : &m->gate->old; }

/* The last `parts` parts of a path. */
static const char *end_of(const char *path, int parts)
{
    const char *at = path + strlen(path);
    for (; at > path; at--)
        if (at[-1] == '/' && parts-- == 1)
            break;
    return at;
}

static bool is_a_path(const hl_model_file *file) { return file->path[0] != '<' && file->path[0] != '['; }

/* Pairs files that have no partner yet by the last parts of their paths, where only one on each side has these. */
static int pair_by_end(matching *m, int parts)
{
    texts ends = {0};
    uint32_t rooms = side_of(m, 0)->model->files.n + side_of(m, 1)->model->files.n + 1;
    struct pair {
        uint32_t holders[2], row[2];
    } *pairs = calloc(rooms, sizeof *pairs);
    int error = pairs ? 0 : -ENOMEM;
    for (int i = 0; i < 2 && !error; i++) {
        const hl_model *model = side_of(m, i)->model;
        for (uint32_t row = 0; row < model->files.n && !error; row++) {
            const hl_model_file *file = &model->files.row[row];
            if (m->partner[i][row] != HL_NO_ROW || !is_a_path(file))
                continue;
            const char *end = end_of(file->path, parts);
            uint32_t number = number_of(&ends, end, strlen(end));
            error = number == HL_NO_ROW ? -ENOMEM : 0;
            if (!error) {
                pairs[number].holders[i]++;
                pairs[number].row[i] = row;
            }
        }
    }
    for (uint32_t k = 0; k < ends.n && !error; k++) {
        if (pairs[k].holders[0] != 1 || pairs[k].holders[1] != 1)
            continue;
        m->partner[0][pairs[k].row[0]] = pairs[k].row[1];
        m->partner[1][pairs[k].row[1]] = pairs[k].row[0];
        m->file[1][pairs[k].row[1]] = m->file[0][pairs[k].row[0]];
    }
    release_texts(&ends);
    free(pairs);
    return error;
}

static int number_files(matching *m)
{
    uint32_t *holder = NULL; /* old file row + 1 by number */
    for (int i = 0; i < 2; i++) {
        const hl_model *model = side_of(m, i)->model;
        if (!model)
            continue;
        m->file[i] = calloc(model->files.n + 1, sizeof *m->file[i]);
        m->partner[i] = malloc((model->files.n + 1) * sizeof *m->partner[i]);
        if (!m->file[i] || !m->partner[i])
            return -ENOMEM;
        for (uint32_t row = 0; row < model->files.n; row++) {
            const char *label = model->files.row[row].label;
            m->partner[i][row] = HL_NO_ROW;
            m->file[i][row] = number_of(&m->names, label, strlen(label));
            if (m->file[i][row] == HL_NO_ROW)
                return -ENOMEM;
        }
    }
    const hl_model *was = side_of(m, 0)->model, *is = side_of(m, 1)->model;
    if (!was || !is) /* a check */
        return 0;
    holder = calloc(m->names.n + 1, sizeof *holder);
    if (!holder)
        return -ENOMEM;
    for (uint32_t row = 0; row < was->files.n; row++)
        holder[m->file[0][row]] = row + 1;
    for (uint32_t row = 0; row < is->files.n; row++) {
        uint32_t old = holder[m->file[1][row]];
        if (!old)
            continue;
        m->partner[1][row] = old - 1;
        m->partner[0][old - 1] = row;
    }
    free(holder);
    int error = 0;
    for (int parts = 3; parts > 0 && !error; parts--)
        error = pair_by_end(m, parts);
    return error;
}

static bool has_text(matching *m, int i, uint32_t file)
{
    return file != HL_NO_ROW && hl_source_of(&side_of(m, i)->sources, file)->n > 0;
}

/* The number of a line's text; false where lines of this file are not known by their text. */
static bool number_text(matching *m, int i, uint32_t file, int32_t line, uint32_t *number)
{
    if (!has_text(m, i, file) || (m->partner[i][file] != HL_NO_ROW && !has_text(m, !i, m->partner[i][file])))
        return false;
    size_t bytes = 0;
    const char *at = hl_source_line(hl_source_of(&side_of(m, i)->sources, file), line, &bytes);
    while (at && bytes && (*at == ' ' || *at == '\t')) {
        at++;
        bytes--;
    }
    while (at && bytes && (at[bytes - 1] == ' ' || at[bytes - 1] == '\t'))
        bytes--;
    if (!at || !bytes) /* not of this text, then */
        return false;
    *number = number_of(&m->names, at, bytes);
    return true;
}

/* The row of gate->lines that a site belongs to; HL_NO_ROW: no memory. */
static uint32_t line_of(matching *m, int i, uint32_t site)
{
    const hl_model *model = side_of(m, i)->model;
    const hl_site *s = &model->sites.row[site];
    const char *name = hl_site_function(model, site);
    uint32_t function = number_of(&m->names, name, strlen(name)), number = HL_NO_ROW;
    uint32_t file = s->function == HL_NO_ROW ? HL_NO_ROW : model->functions.row[s->function].file;
    bool by_text = s->function != HL_NO_ROW && number_text(m, i, file, s->line, &number);
    if (function == HL_NO_ROW || (by_text && number == HL_NO_ROW))
        return HL_NO_ROW;
    if (!by_text)
        number =
            s->function == HL_NO_ROW ? 0 : (uint32_t)s->line - (uint32_t)model->functions.row[s->function].first_line;
    uint64_t where = (uint64_t)(file == HL_NO_ROW ? HL_NO_ROW : m->file[i][file]) << 32 | function;
    uint64_t module = s->module == HL_NO_ROW ? 0 : (uint64_t)m->file[i][s->module] + 1;
    uint64_t flags = (s->inlined ? UINT64_C(1) << 33 : 0) | (by_text ? UINT64_C(1) << 32 : 0);
    uint64_t what = module << 36 | (uint64_t)s->kind << 34 | flags | number;
    hl_gate *gate = m->gate;
    uint32_t row = hl_map_row(&m->lines, where, what, gate->line_count);
    if (row != gate->line_count || row == HL_NO_ROW)
        return row;
    if (gate->line_count == m->room) {
        uint32_t room = m->room ? m->room * 2 : 1024;
        hl_gate_line *grown = realloc(gate->lines, room * sizeof *grown);
        if (!grown)
            return HL_NO_ROW;
        gate->lines = grown;
        m->room = room;
    }
    gate->lines[gate->line_count++] = (hl_gate_line){0};
    return row;
}

static int add_sites(matching *m, int i)
{
    hl_gate_side *side = side_of(m, i);
    for (uint32_t site = 0; side->model && site < side->model->sites.n; site++) {
        const uint64_t *weights = side->sites[site];
        bool any = false;
        for (int f = 0; f < HL_LINE_FIGURES; f++)
            any |= weights[f] != 0;
        if (!any)
            continue;
        uint32_t row = line_of(m, i, site);
        if (row == HL_NO_ROW)
            return -ENOMEM;
        hl_gate_line *line = &m->gate->lines[row];
        bool *in = i ? &line->in_new : &line->in_old;
        uint64_t *sum = i ? line->is : line->was;
        uint32_t *best = i ? line->new_site : line->old_site;
        for (int f = 0; f < HL_LINE_FIGURES; f++) {
            if (!*in || weights[f] > side->sites[best[f]][f])
                best[f] = site;
            sum[f] += weights[f];
        }
        *in = true;
    }
    return 0;
}

static void release(matching *m)
{
    release_texts(&m->names);
    hl_map_release(&m->lines);
    for (int i = 0; i < 2; i++) {
        free(m->file[i]);
        free(m->partner[i]);
    }
}

int hl_gate_join(hl_gate *gate)
{
    matching m = {.gate = gate};
    int error = number_files(&m);
    for (int i = gate->is_diff ? 0 : 1; i < 2 && !error; i++)
        error = add_sites(&m, i);
    release(&m);
    return error;
}

/* --------------------------------------------------------------------------------------------------- site by site */

typedef struct placed {
    uint32_t line, site; /* row of gate->lines; of the model */
    int32_t number;      /* in its file */
} placed;

static int by_place(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->site < y->site ? -1 : x->site > y->site;
}

/* All sites of one side, those of one line together, in order. From malloc; null: no memory. */
static placed *place_sites(matching *m, int i)
{
    const hl_model *model = side_of(m, i)->model;
    placed *list = malloc(((size_t)model->sites.n + 1) * sizeof *list);
    for (uint32_t site = 0; list && site < model->sites.n; site++) {
        list[site] = (placed){line_of(m, i, site), site, model->sites.row[site].line};
        if (list[site].line == HL_NO_ROW) {
            free(list);
            return NULL;
        }
    }
    if (list)
        qsort(list, model->sites.n, sizeof *list, by_place);
    return list;
}

int hl_sites_match(hl_model *old, hl_model *new, uint32_t *sites)
{
    hl_gate gate = {.is_diff = true, .old.model = old, .new.model = new};
    matching m = {.gate = &gate};
    int error = hl_sources_begin(&gate.old.sources, old) || hl_sources_begin(&gate.new.sources, new) ? -ENOMEM : 0;
    if (!error)
        error = number_files(&m);
    placed *was = error ? NULL : place_sites(&m, 0), *is = was ? place_sites(&m, 1) : NULL;
    if (!is)
        error = -ENOMEM;
    for (uint32_t i = 0, j = 0; !error && i < old->sites.n;) {
        uint32_t line = was[i].line, from;
        while (j < new->sites.n && is[j].line < line)
            j++;
        from = j;
        for (; i < old->sites.n && was[i].line == line;
             i++) { /* more of them now than before, or fewer: the last again */
            bool there = j < new->sites.n &&is[j].line == line;
            sites[was[i].site] = there ? is[j].site : j > from ? is[j - 1].site : HL_NO_ROW;
            j += there;
        }
    }
    free(was);
    free(is);
    hl_gate_release(&gate);
    release(&m);
    return error;
}
