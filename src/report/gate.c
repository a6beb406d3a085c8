/* gate.c - figures, limits, order and words of check and diff. See gate.h. */
#include "gate.h"

#include "verdict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hl_figure_names[HL_FIGURES + 1] = {
    [HL_FIGURE_PEAK] = "peak",           [HL_FIGURE_LEAK] = "leak",
    [HL_FIGURE_ALLOCATED] = "allocated", [HL_FIGURE_ALLOCATIONS] = "allocations",
    [HL_FIGURE_TEMPORARY] = "temporary", [HL_FIGURE_RSS] = "rss-peak",
};

bool hl_figure_is_count(hl_figure figure) { return figure == HL_FIGURE_ALLOCATIONS || figure == HL_FIGURE_TEMPORARY; }

/* -------------------------------------------------------------------------------------------------------- weighing */

/* Which part of a view's weights a figure is. */
static const struct {
    hl_selection selection;
    bool count;
} figures[HL_LINE_FIGURES] = {
    [HL_FIGURE_PEAK] = {{.moment = HL_AT_PEAK}, false},
    [HL_FIGURE_LEAK] = {{.moment = HL_LEAKED}, false},
    [HL_FIGURE_ALLOCATED] = {{.moment = HL_ALLOCATED}, false},
    [HL_FIGURE_ALLOCATIONS] = {{.moment = HL_ALLOCATED}, true},
    [HL_FIGURE_TEMPORARY] = {{.moment = HL_TEMPORARY, .within = 1}, true},
};

static int weigh(hl_gate *gate, hl_gate_side *side)
{
    hl_model *m = side->model;
    side->sites = calloc(m->sites.n ? m->sites.n : 1, sizeof *side->sites);
    int error = side->sites ? hl_sources_begin(&side->sources, m) : -ENOMEM;
    for (int f = 0; f < HL_LINE_FIGURES && !error; f++) {
        hl_view view;
        error = hl_view_open(&view, m, &figures[f].selection, gate->why, sizeof gate->why);
        if (error)
            break;
        hl_weight *sites = hl_view_by_site(&view, gate->leaf);
        for (uint32_t i = 0; sites && i < m->sites.n; i++)
            side->sites[i][f] = figures[f].count ? sites[i].blocks : sites[i].bytes;
        side->total[f] = figures[f].count ? view.total.blocks : view.total.bytes;
        error = sites ? 0 : -ENOMEM;
        free(sites);
        hl_view_release(&view);
    }
    int64_t rss = hl_model_number(m, "rss_peak", -1);
    for (uint32_t i = 0; rss < 0 && i < m->processes.n; i++)
        side->total[HL_FIGURE_RSS] += m->processes.row[i].rss_peak;
    if (rss >= 0)
        side->total[HL_FIGURE_RSS] = (uint64_t)rss;
    return error;
}

static bool is_incomplete(const hl_gate_side *side)
{
    return side->model && (side->model->running || hl_model_number(side->model, "lost", 0) > 0);
}

static uint64_t percent_of(uint64_t whole, double percent)
{
    double part = (double)whole * percent / 100;
    return part < 9e18 ? (uint64_t)part : UINT64_MAX;
}

static void judge(hl_gate *gate)
{
    bool incomplete = is_incomplete(&gate->old) || is_incomplete(&gate->new);
    gate->outcome = gate->limit_count && incomplete ? HL_INCOMPLETE : HL_PASSED;
    for (size_t i = 0; i < gate->limit_count; i++) {
        hl_gate_limit *limit = &gate->limits[i];
        uint64_t was = gate->old.total[limit->figure], is = gate->new.total[limit->figure]; /* was: 0 in a check */
        uint64_t more = limit->in_percent ? percent_of(was, limit->percent) : limit->amount;
        limit->allowed = was + more < was ? UINT64_MAX : was + more;
        limit->over = is > limit->allowed ? is - limit->allowed : 0;
        if (limit->over)
            gate->outcome = HL_FAILED;
    }
}

int hl_gate_open(hl_gate *gate)
{
    int error = weigh(gate, &gate->new);
    if (!error && gate->is_diff)
        error = weigh(gate, &gate->old);
    if (!error)
        error = hl_gate_join(gate);
    if (error == -ENOMEM)
        snprintf(gate->why, sizeof gate->why, "out of memory");
    if (!error)
        judge(gate);
    return error;
}

void hl_gate_release(hl_gate *gate)
{
    hl_gate_side *sides[] = {&gate->old, &gate->new};
    for (int i = 0; i < 2; i++) {
        if (sides[i]->sources.model)
            hl_sources_release(&sides[i]->sources);
        free(sides[i]->sites);
        sides[i]->sites = NULL;
    }
    free(gate->lines);
    gate->lines = NULL;
}

/* ----------------------------------------------------------------------------------------------------------- order */

int64_t hl_gate_growth(const hl_gate_line *line, hl_figure figure)
{
    return (int64_t)(line->is[figure] - line->was[figure]);
}

typedef struct order {
    const hl_gate *gate;
    hl_figure figure;
} order;

/* Equal ones by what they have now, then in the order of the profile. */
static int grew_more(const void *a, const void *b, void *context)
{
    const order *o = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const hl_gate_line *x = &o->gate->lines[i], *y = &o->gate->lines[j];
    int64_t p = hl_gate_growth(x, o->figure), q = hl_gate_growth(y, o->figure);
    if (p != q)
        return p < q ? 1 : -1;
    if (x->is[o->figure] != y->is[o->figure])
        return x->is[o->figure] < y->is[o->figure] ? 1 : -1;
    return i < j ? -1 : i > j;
}

uint32_t *hl_gate_rank(const hl_gate *gate, hl_figure figure, uint32_t *grown, uint32_t *n)
{
    uint32_t *rows = malloc((gate->line_count ? gate->line_count : 1) * sizeof *rows);
    *n = *grown = 0;
    for (uint32_t i = 0; rows && i < gate->line_count; i++) {
        int64_t growth = hl_gate_growth(&gate->lines[i], figure);
        *grown += growth > 0;
        if (growth)
            rows[(*n)++] = i;
    }
    if (rows)
        qsort_r(rows, *n, sizeof *rows, grew_more, &(order){gate, figure});
    return rows;
}

void hl_gate_cut(const hl_gate *gate, uint32_t grown, uint32_t n, uint32_t *head, uint32_t *tail)
{
    uint64_t shrunk = n - grown, below = gate->rows / 2 + (gate->rows > 0);
    *head = gate->rows && gate->rows < grown ? (uint32_t)gate->rows : grown;
    *tail = gate->rows && below < shrunk ? n - (uint32_t)below : grown;
}

bool hl_gate_lists(const hl_gate *gate, hl_figure figure)
{
    if (figure >= HL_LINE_FIGURES)
        return false;
    for (size_t i = 0; i < gate->limit_count; i++)
        if (gate->limits[i].figure == figure && gate->limits[i].over)
            return true;
    return gate->is_diff && figure == gate->sort;
}

/* ----------------------------------------------------------------------------------------------------------- words */

char *hl_figure_text(char text[HL_NUMBER_BYTES], hl_figure figure, uint64_t value)
{
    return hl_figure_is_count(figure) ? hl_count_text(text, value) : hl_size_text(text, (int64_t)value);
}

char *hl_growth_text(char text[HL_NUMBER_BYTES], hl_figure figure, int64_t growth)
{
    char size[HL_NUMBER_BYTES];
    uint64_t magnitude = growth < 0 ? 0 - (uint64_t)growth : (uint64_t)growth;
    snprintf(text, HL_NUMBER_BYTES, "%s%.28s",
             growth < 0   ? "-"
             : growth > 0 ? "+"
                          : "",
             hl_figure_text(size, figure, magnitude));
    return text;
}

char *hl_growth_share(char text[HL_NUMBER_BYTES], uint64_t was, uint64_t is)
{
    double share = was ? 100.0 * ((double)is - (double)was) / (double)was : 0;
    if (was == is)
        snprintf(text, HL_NUMBER_BYTES, "0 %%");
    else if (!was)
        snprintf(text, HL_NUMBER_BYTES, "new");
    else if (share < 0.05 && share > -0.05)
        snprintf(text, HL_NUMBER_BYTES, is > was ? "<+0.1 %%" : ">-0.1 %%");
    else
        snprintf(text, HL_NUMBER_BYTES, share >= 1000 ? "%+.0f %%" : "%+.1f %%", share);
    return text;
}

char *hl_limit_text(char text[HL_NUMBER_BYTES], const hl_gate *gate, const hl_gate_limit *limit)
{
    char amount[HL_NUMBER_BYTES];
    const char *sign = gate->is_diff ? "+" : "";
    if (limit->in_percent)
        snprintf(text, HL_NUMBER_BYTES, "%s%g %%", sign, limit->percent);
    else
        snprintf(text, HL_NUMBER_BYTES, "%s%.28s", sign, hl_figure_text(amount, limit->figure, limit->amount));
    return text;
}

/* What a figure is in a sentence about the whole program. */
static const char *subject(hl_figure figure)
{
    static const char *const subjects[HL_FIGURES] = {
        "peak", "not freed", "allocated bytes", "allocations", "temporary allocations", "RSS peak"};
    return subjects[figure];
}

void hl_gate_sentence(const hl_gate *gate, const hl_gate_limit *limit, hl_out *out)
{
    char value[HL_NUMBER_BYTES], bound[HL_NUMBER_BYTES], over[HL_NUMBER_BYTES], before[HL_NUMBER_BYTES],
        share[HL_NUMBER_BYTES];
    hl_figure f = limit->figure;
    uint64_t was = gate->old.total[f], is = gate->new.total[f];
    hl_figure_text(value, f, is);
    hl_limit_text(bound, gate, limit);
    hl_figure_text(over, f, limit->over);
    if (!gate->is_diff) {
        if (!limit->over) {
            hl_outf(out, "%s: %s, within the limit of %s", subject(f), value, bound);
            return;
        }
        hl_outf(out, "%s: %s, over the limit of %s by %s", subject(f), value, bound, over);
        if (limit->amount)
            hl_outf(out, " (%.1f %%)", 100.0 * (double)limit->over / (double)limit->amount);
        return;
    }
    hl_outf(out, "%s: %s, %s before (%s, %s)", subject(f), value, hl_figure_text(before, f, was),
            hl_growth_text(over, f, (int64_t)(is - was)), hl_growth_share(share, was, is));
    hl_outf(out, limit->over ? ", over the limit of %s" : ", within the limit of %s", bound);
}

const char *hl_gate_moment(const hl_gate *gate, hl_figure figure)
{
    const hl_model *m = gate->new.model;
    switch (figure) {
    case HL_FIGURE_PEAK:
        return m->recordings.n && m->recorded > 1 ? "at the recordings' own peaks" : "at the peak";
    case HL_FIGURE_LEAK:
        return m->watched   ? "alive now"
               : m->running ? "alive when last saved"
               : m->stopped ? "alive when the recording was stopped"
                            : "never freed";
    case HL_FIGURE_ALLOCATED:
        return "allocated, freed or not";
    case HL_FIGURE_ALLOCATIONS:
        return "by number of allocations";
    case HL_FIGURE_TEMPORARY:
        return "by number of allocations that were freed within one later allocation";
    default:
        return "";
    }
}

const hl_gate_side *hl_gate_shown(const hl_gate *gate, const hl_gate_line *line, hl_figure figure, uint32_t *site)
{
    *site = line->in_new ? line->new_site[figure] : line->old_site[figure];
    return line->in_new ? &gate->new : &gate->old;
}

void hl_gate_place(const hl_gate *gate, const hl_gate_line *line, hl_figure figure, hl_out *out)
{
    uint32_t site;
    const hl_gate_side *side = hl_gate_shown(gate, line, figure, &site);
    hl_verdict_place(side->model, site, out);
}

const char *hl_gate_source_text(hl_gate *gate, const hl_gate_line *line, hl_figure figure, size_t *bytes)
{
    uint32_t site;
    hl_gate_side *side = hl_gate_shown(gate, line, figure, &site) == &gate->new ? &gate->new : &gate->old;
    const hl_model *m = side->model;
    const hl_site *s = &m->sites.row[site];
    if (!hl_site_file(m, site) || s->kind != HL_SITE_LINE)
        return NULL;
    const char *text = hl_source_line(hl_source_of(&side->sources, m->functions.row[s->function].file), s->line, bytes);
    while (text && *bytes && (*text == ' ' || *text == '\t')) {
        text++;
        --*bytes;
    }
    return text && *bytes ? text : NULL;
}

void hl_gate_source(hl_gate *gate, const hl_gate_line *line, hl_figure figure, hl_out *out)
{
    size_t bytes = 0;
    const char *text = hl_gate_source_text(gate, line, figure, &bytes);
    if (text)
        hl_out_clean(out, text, bytes < 200 ? bytes : 200);
}

static const char *python_of(const hl_model *m)
{
    for (uint32_t i = 0; i < m->processes.n; i++)
        if (m->processes.row[i].python)
            return m->processes.row[i].python;
    return NULL;
}

bool hl_gate_warning(const hl_gate *gate, hl_out *out)
{
    char count[HL_NUMBER_BYTES];
    const hl_gate_side *sides[] = {&gate->old, &gate->new};
    for (int i = 0; i < 2; i++) {
        const hl_model *m = sides[i]->model;
        if (!is_incomplete(sides[i]))
            continue;
        hl_out_clean(out, sides[i]->path, strlen(sides[i]->path));
        int64_t lost = hl_model_number(m, "lost", 0);
        if (lost > 0)
            hl_outf(out, " is incomplete: %s events were not recorded", hl_count_text(count, (uint64_t)lost));
        else
            hl_out_put(out, " is the profile of a program that had not ended");
        return true;
    }
    const char *was = gate->old.model ? python_of(gate->old.model) : NULL, *is = python_of(gate->new.model);
    if (!was || !is || strcmp(was, is) == 0)
        return false;
    hl_out_put(out, "the interpreters differ, and so does their own memory: Python ");
    hl_out_clean(out, was, strlen(was));
    hl_out_put(out, " and ");
    hl_out_clean(out, is, strlen(is));
    return true;
}
