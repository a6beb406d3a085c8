/*
 * plot.c - draws .dat files as one SVG document that needs nothing else: curves, marks of calls, peak, legend.
 *
 * The picture is 1260 x 540, as that of mprof is on a screen. All curves share the axes: seconds since the first sample of
 * each file, MiB. A curve with more points than the picture has columns keeps the highest and the lowest of each column.
 */
#include "mprof.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 1260, HEIGHT = 540, LEFT = 92, TOP = 56, BOTTOM = 484, LEGEND_ROWS = 20, LEGEND_LETTERS = 42 };

static const char *const curve_colours[] = {"#1f2a37", "#1d6fb8", "#c2410c", "#15803d",
                                            "#0e7490", "#a16207", "#a21caf"};
static const char *const mark_colours[] = {"#0891b2", "#ca8a04", "#16a34a", "#dc2626", "#2563eb", "#9333ea"};
#define COLOUR(list, i) (list)[(i) % (sizeof(list) / sizeof *(list))]

typedef struct plot {
    hl_out *out;
    const hl_plot_options *o;
    int right, legend_row;
    double x0, x1, y0, y1; /* of the axes */
} plot;

static double x_of(const plot *p, double s) { return LEFT + (s - p->x0) / (p->x1 - p->x0) * (p->right - LEFT); }
static double y_of(const plot *p, double mib) { return BOTTOM - (mib - p->y0) / (p->y1 - p->y0) * (BOTTOM - TOP); }

/* Text from a file: what is no text is made visible, what SVG would understand is not passed on. */
static void put_text(hl_out *out, const char *text, int letters)
{
    hl_out clean;
    hl_out_begin(&clean, (hl_terminal){.width = 80, .utf8 = true});
    hl_out_clean(&clean, text, strlen(text));
    size_t bytes = clean.failed ? 0 : letters > 0 ? hl_prefix_of(clean.at, clean.bytes, letters) : clean.bytes;
    for (size_t i = 0; i < bytes; i++) {
        char c = clean.at[i];
        const char *as = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : NULL;
        hl_out_add(out, as != NULL ? as : &clean.at[i], as != NULL ? strlen(as) : 1);
    }
    if (bytes < clean.bytes)
        hl_out_put(out, "…");
    hl_out_release(&clean);
}

/* The least of 1, 2, 5 times a power of ten that is not below `least`. */
static double round_step(double least)
{
    double power = pow(10, floor(log10(least)));
    double first = least / power;
    return power * (first <= 1.0000001 ? 1 : first <= 2.0000001 ? 2 : first <= 5.0000001 ? 5 : 10);
}

/* ------------------------------------------------------------------------------------------------------------- labels */

/* The last `parts` dotted parts of a name. */
static const char *suffix(const char *name, int parts)
{
    const char *at = name + strlen(name);
    while (at > name && !(at[-1] == '.' && --parts == 0))
        at--;
    return at;
}

void hl_plot_labels(const char *const *names, const char **labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (int parts = 1;; parts++) {
            labels[i] = suffix(names[i], parts);
            bool alone = true;
            for (size_t j = 0; j < n && alone; j++)
                alone = strcmp(names[j], names[i]) == 0 || strcmp(suffix(names[j], parts), labels[i]) != 0;
            if (alone || labels[i] == names[i])
                break;
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- the frame */

static double first_time(const hl_dat *dat)
{
    double first = dat->memory.n ? dat->memory.point[0].time_s : 0;
    for (size_t i = 0; i < dat->calls; i++)
        first = dat->call[i].begin.time_s < first ? dat->call[i].begin.time_s : first;
    return first;
}

typedef struct range {
    double x1, low, high;
    bool some;
} range;

static void widen(range *r, hl_dat_point at, double start_s)
{
    double s = at.time_s - start_s;
    r->x1 = !r->some || s > r->x1 ? s : r->x1;
    r->low = !r->some || at.mib < r->low ? at.mib : r->low;
    r->high = !r->some || at.mib > r->high ? at.mib : r->high;
    r->some = true;
}

static bool in_window(const plot *p, hl_dat_point at, double start_s)
{
    double s = at.time_s - start_s;
    return !p->o->has_window || (p->o->from_s <= s && s <= p->o->until_s);
}

/* Points in the window, and those next to it, to which lines lead. */
static void widen_by(range *r, const plot *p, const hl_dat_series *series, double start_s)
{
    const hl_dat_point *at = series->point;
    for (size_t i = 0; i < series->n; i++) {
        bool before =
            i + 1 < series->n && at[i].time_s - start_s < p->o->from_s && at[i + 1].time_s - start_s >= p->o->from_s;
        bool behind = i > 0 && at[i].time_s - start_s > p->o->until_s && at[i - 1].time_s - start_s <= p->o->until_s;
        if (in_window(p, at[i], start_s) || before || behind)
            widen(r, at[i], start_s);
    }
}

static void set_axes(plot *p, const hl_dat *dats, size_t n)
{
    range r = {0};
    for (size_t d = 0; d < n; d++) {
        double start_s = first_time(&dats[d]);
        widen_by(&r, p, &dats[d].memory, start_s);
        for (size_t i = 0; i < dats[d].children; i++)
            widen_by(&r, p, &dats[d].child[i].series, start_s);
        for (size_t i = 0; p->o->calls && i < dats[d].calls; i++) {
            if (in_window(p, dats[d].call[i].begin, start_s))
                widen(&r, dats[d].call[i].begin, start_s);
            if (in_window(p, dats[d].call[i].end, start_s))
                widen(&r, dats[d].call[i].end, start_s);
        }
    }
    p->x0 = p->o->has_window ? p->o->from_s : 0;
    p->x1 = p->o->has_window ? p->o->until_s : r.x1;
    if (p->x1 <= p->x0)
        p->x1 = p->x0 + 0.1;
    double pad = (r.high - r.low) * 0.05;
    pad = pad > 0 ? pad : r.high > 0 ? r.high * 0.05 : 1;
    p->y0 = r.low >= 0 && r.low - pad < 0 ? 0 : r.low - pad;
    p->y1 = r.high + pad;
}

static void put_axes(plot *p)
{
    hl_out *out = p->out;
    double step = round_step((p->x1 - p->x0) / 10);
    for (long i = lround(ceil(p->x0 / step - 1e-9)); (double)i * step <= p->x1 * (1 + 1e-12); i++) {
        double x = x_of(p, (double)i * step);
        hl_outf(out, "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text class=\"mid\" x=\"%.1f\" y=\"%d\">%.6g</text>\n", x,
                TOP, BOTTOM, x, BOTTOM + 18, (double)i * step);
    }
    step = round_step((p->y1 - p->y0) / 8);
    for (long i = lround(ceil(p->y0 / step - 1e-9)); (double)i * step <= p->y1; i++) {
        double y = y_of(p, (double)i * step);
        hl_outf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"end\" x=\"%d\" y=\"%.1f\">%.6g</text>\n",
                LEFT, y, p->right, LEFT - 8, y + 4, (double)i * step);
    }
    hl_outf(out, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", LEFT, TOP, p->right - LEFT,
            BOTTOM - TOP);
    hl_outf(out, "<text class=\"mid\" x=\"%d\" y=\"%d\">time (in seconds)</text>\n", (LEFT + p->right) / 2,
            BOTTOM + 42);
    hl_outf(out, "<text class=\"mid\" transform=\"translate(26 %d) rotate(-90)\">memory used (in MiB)</text>\n",
            (TOP + BOTTOM) / 2);
}

/* The coloured sign of a legend row; its text follows, then end_legend. False: the legend is full. */
static bool begin_legend(plot *p, const char *colour, bool dashed)
{
    if (p->o->flame || p->legend_row >= LEGEND_ROWS)
        return false;
    int x = p->right + 16, y = TOP + 12 + 20 * p->legend_row++;
    hl_outf(p->out,
            "<path d=\"M%d %dh22\" stroke=\"%s\" stroke-width=\"2\"%s/><text class=\"legend\" x=\"%d\" y=\"%d\">", x, y,
            colour, dashed ? " stroke-dasharray=\"5 3\"" : "", x + 30, y + 4);
    return true;
}

static void end_legend(plot *p) { hl_out_put(p->out, "</text>\n"); }

/* ----------------------------------------------------------------------------------------------------------- curves */

static void put_point(plot *p, bool *first, double x, double y)
{
    hl_outf(p->out, "%s%.2f %.2f", *first ? "M" : "L", x, y);
    *first = false;
}

static void put_curve(plot *p, const hl_dat_series *series, double start_s, const char *colour, const char *more)
{
    hl_outf(p->out, "<path class=\"curve\" stroke=\"%s\"%s d=\"", colour, more);
    bool first = true, thin = series->n > 4 * (size_t)(p->right - LEFT);
    for (size_t i = 0; i < series->n;) {
        double x = x_of(p, series->point[i].time_s - start_s), column = floor(x);
        size_t last = i, low = i, high = i;
        while (thin && last + 1 < series->n && floor(x_of(p, series->point[last + 1].time_s - start_s)) <= column) {
            last++;
            low = series->point[last].mib < series->point[low].mib ? last : low;
            high = series->point[last].mib > series->point[high].mib ? last : high;
        }
        size_t keep[] = {i, low < high ? low : high, low < high ? high : low, last};
        for (size_t k = 0; k < 4; k++) {
            const hl_dat_point *at = &series->point[keep[k]];
            if (k == 0 || keep[k] != keep[k - 1])
                put_point(p, &first, x_of(p, at->time_s - start_s), y_of(p, at->mib));
        }
        i = last + 1;
    }
    hl_out_put(p->out, "\"/>\n");
}

static int by_time(const void *a, const void *b)
{
    double x = ((const hl_dat_point *)a)->time_s, y = ((const hl_dat_point *)b)->time_s;
    return (x > y) - (x < y);
}

/* Samples and what was measured at begins and ends of calls, by time. Empty without memory. */
static hl_dat_series with_calls(const hl_dat *dat)
{
    hl_dat_series all = {.point = malloc((dat->memory.n + 2 * dat->calls + 1) * sizeof *all.point)};
    if (all.point == NULL)
        return all;
    for (size_t i = 0; i < dat->memory.n; i++)
        all.point[all.n++] = dat->memory.point[i];
    for (size_t i = 0; i < dat->calls; i++) {
        all.point[all.n++] = dat->call[i].begin;
        all.point[all.n++] = dat->call[i].end;
    }
    if (all.n > 1)
        qsort(all.point, all.n, sizeof *all.point, by_time);
    return all;
}

static void put_peak(plot *p, hl_dat_point peak, double start_s)
{
    double s = peak.time_s - start_s;
    if (s < p->x0 || s > p->x1)
        return;
    hl_outf(p->out, "<path class=\"peak\" d=\"M%d %.1fH%dM%.1f %dV%d\"/>\n", LEFT, y_of(p, peak.mib), p->right,
            x_of(p, s), TOP, BOTTOM);
}

static void put_slope(plot *p, const hl_dat_series *series, double start_s, const char *colour, double slope, double at)
{
    double first = series->point[0].time_s - start_s, last = series->point[series->n - 1].time_s - start_s;
    hl_outf(p->out, "<path class=\"curve\" stroke=\"%s\" stroke-dasharray=\"8 4\" d=\"M%.2f %.2fL%.2f %.2f\"/>\n",
            colour, x_of(p, first), y_of(p, at), x_of(p, last), y_of(p, at + slope * (last - first)));
}

static void put_file(plot *p, const hl_dat *dat, size_t index, bool marks)
{
    const char *colour = COLOUR(curve_colours, index);
    double start_s = first_time(dat), slope = 0, at = 0;
    hl_dat_series all = marks ? with_calls(dat) : dat->memory;
    bool sloping = p->o->slope && hl_series_slope(&all, &slope, &at);
    hl_outf(p->out, "<g clip-path=\"url(#area)\">\n");
    put_curve(p, &all, start_s, colour, "");
    if (sloping)
        put_slope(p, &all, start_s, colour, slope, at);
    hl_dat_point peak, highest = {0};
    bool some = false;
    for (size_t i = 0; i < dat->children; i++) {
        put_curve(p, &dat->child[i].series, start_s, COLOUR(curve_colours, index + i + 1), " stroke-width=\"1\"");
        if (hl_series_peak(&dat->child[i].series, &peak) && (!some || peak.mib > highest.mib)) {
            highest = peak;
            some = true;
        }
    }
    if (some)
        put_peak(p, highest, start_s);
    if (hl_series_peak(&all, &peak))
        put_peak(p, peak, start_s);
    hl_out_put(p->out, "</g>\n");
    if (begin_legend(p, colour, false)) {
        char text[64];
        time_t second = (time_t)floor(start_s);
        long ms = lround((start_s - floor(start_s)) * 1000);
        struct tm local;
        if (localtime_r(&second, &local) != NULL &&
            strftime(text, sizeof text, "%d / %m / %Y - start at %H:%M:%S", &local))
            hl_outf(p->out, "%s.%03ld", text, ms > 999 ? 999 : ms);
        if (sloping)
            hl_outf(p->out, " slope %.5f", slope);
        end_legend(p);
    }
    for (size_t i = 0; i < dat->children; i++) {
        if (begin_legend(p, COLOUR(curve_colours, index + i + 1), false)) {
            hl_outf(p->out, "child %lld", (long long)dat->child[i].pid);
            end_legend(p);
        }
    }
    if (marks)
        free(all.point);
}

/* ------------------------------------------------------------------------------------------------------------ calls */

static void put_bracket(plot *p, double s, double mib, int direction, const char *colour)
{
    if (s < p->x0 || s > p->x1)
        return;
    enum { ACROSS = 8, UP = 14 };
    double x = x_of(p, s), y = y_of(p, mib);
    hl_outf(p->out, "<path class=\"mark\" stroke=\"%s\" d=\"M%.1f %.1fh%dv%dh%d\"/>", colour, x + direction * ACROSS,
            y - UP, -direction * ACROSS, 2 * UP, direction * ACROSS);
}

typedef struct function {
    const char *name;
    size_t calls;
    double time_s;
} function;

/* Each name once, in the order of its first call. `of` says which one each call belongs to. The number; 0 without memory. */
static size_t group(const hl_dat *dat, function **functions, size_t **of)
{
    function *f = calloc(dat->calls + 1, sizeof *f);
    size_t *which = calloc(dat->calls + 1, sizeof *which), n = 0;
    for (size_t i = 0; f != NULL && which != NULL && i < dat->calls; i++) {
        size_t k = i > 0 && strcmp(dat->call[i].name, dat->call[i - 1].name) == 0 ? which[i - 1] : 0;
        while (k < n && strcmp(f[k].name, dat->call[i].name) != 0)
            k++;
        if (k == n)
            f[n++].name = dat->call[i].name;
        f[k].calls++;
        f[k].time_s += dat->call[i].end.time_s - dat->call[i].begin.time_s;
        which[i] = k;
    }
    *functions = f;
    *of = which;
    return n;
}

static void put_brackets(plot *p, const hl_dat *dat, const function *f, size_t n, const char *const *labels,
                         const size_t *of)
{
    double start_s = first_time(dat);
    hl_out_put(p->out, "<g clip-path=\"url(#area)\">\n");
    for (size_t i = 0; i < dat->calls; i++) {
        const hl_dat_call *call = &dat->call[i];
        hl_out_put(p->out, "<g><title>");
        put_text(p->out, call->name, 0);
        hl_outf(p->out, " %.3fs</title>", call->end.time_s - call->begin.time_s);
        put_bracket(p, call->begin.time_s - start_s, call->begin.mib, 1, COLOUR(mark_colours, of[i]));
        put_bracket(p, call->end.time_s - start_s, call->end.mib, -1, COLOUR(mark_colours, of[i]));
        hl_out_put(p->out, "</g>\n");
    }
    hl_out_put(p->out, "</g>\n");
    for (size_t k = 0; k < n; k++) {
        if (p->legend_row == LEGEND_ROWS - 1 && n - k > 1) {
            if (begin_legend(p, "none", false)) {
                hl_outf(p->out, "(%zu other functions)", n - k);
                end_legend(p);
            }
            break;
        }
        if (!begin_legend(p, COLOUR(mark_colours, k), false))
            break;
        put_text(p->out, labels[k], LEGEND_LETTERS - 18);
        if (f[k].calls > 1)
            hl_outf(p->out, " %.3fs in %zu calls", f[k].time_s, f[k].calls);
        else
            hl_outf(p->out, " %.3fs", f[k].time_s);
        end_legend(p);
    }
}

/* A rectangle a call, by depth from below; what it is shows when the pointer rests on it. */
static void put_flame(plot *p, const hl_dat *dat, const char *const *labels, const size_t *of)
{
    double start_s = first_time(dat);
    int deepest = 0;
    for (size_t i = 0; i < dat->calls; i++)
        deepest = dat->call[i].depth > deepest ? dat->call[i].depth : deepest;
    double row = (double)(BOTTOM - TOP) / (deepest + 2);
    hl_out_put(p->out, "<g clip-path=\"url(#area)\">\n");
    for (size_t i = 0; i < dat->calls; i++) {
        const hl_dat_call *call = &dat->call[i];
        double from = x_of(p, call->begin.time_s - start_s), until = x_of(p, call->end.time_s - start_s);
        double y = BOTTOM - (call->depth + 1) * row;
        hl_out_put(p->out, "<g><title>");
        put_text(p->out, call->name, 0);
        hl_outf(p->out, " %.3fs, %.3f MiB to %.3f MiB</title>", call->end.time_s - call->begin.time_s, call->begin.mib,
                call->end.mib);
        hl_outf(p->out, "<rect class=\"flame\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>",
                from, y, until > from ? until - from : 0.5, row, COLOUR(mark_colours, of[i]));
        int letters = (int)((until - from - 8) / 7);
        if (letters >= 3 && row >= 14) {
            hl_outf(p->out, "<text class=\"legend\" x=\"%.2f\" y=\"%.2f\">", from + 4, y + 13);
            put_text(p->out, labels[of[i]], letters);
            hl_out_put(p->out, "</text>");
        }
        hl_out_put(p->out, "</g>\n");
    }
    hl_out_put(p->out, "</g>\n");
}

static void put_calls(plot *p, const hl_dat *dat)
{
    function *f;
    size_t *of, n = group(dat, &f, &of);
    const char **names = calloc(n + 1, sizeof *names), **labels = calloc(n + 1, sizeof *labels);
    if (n > 0 && names != NULL && labels != NULL) {
        for (size_t i = 0; i < n; i++)
            names[i] = f[i].name;
        hl_plot_labels(names, labels, n);
        if (p->o->flame)
            put_flame(p, dat, labels, of);
        else
            put_brackets(p, dat, f, n, labels, of);
    }
    free(names);
    free(labels);
    free(f);
    free(of);
}

/* --------------------------------------------------------------------------------------------------------- document */

void hl_plot_svg(hl_out *out, const hl_dat *dats, size_t n, const hl_plot_options *options)
{
    plot p = {.out = out, .o = options, .right = options->flame ? WIDTH - 92 : 852};
    set_axes(&p, dats, n);
    hl_outf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
        "font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\" font-size=\"12\">\n"
        "<style>.grid{stroke:#d4d4d8;stroke-width:.7}.frame{fill:none;stroke:#3f3f46}.mid{text-anchor:middle}"
        ".end{text-anchor:end}.curve{fill:none;stroke-width:1.5;stroke-linejoin:round}.mark{fill:none;stroke-width:2}"
        ".peak{fill:none;stroke:#dc2626;stroke-dasharray:6 4}.flame{opacity:.5;stroke:#fff}.flame:hover{opacity:.8}"
        "</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
        "<clipPath id=\"area\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/></clipPath>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, TOP, p.right - LEFT, BOTTOM - TOP);
    const char *title = options->title != NULL ? options->title : n == 1 ? dats[0].command : "";
    hl_outf(out, "<text class=\"mid\" x=\"%d\" y=\"32\" font-size=\"15\">", (LEFT + p.right) / 2);
    put_text(out, title, 110);
    hl_out_put(out, "</text>\n");
    put_axes(&p);
    size_t colour = 0;
    for (size_t i = 0; i < n; i++) {
        put_file(&p, &dats[i], colour, options->calls && n == 1);
        colour += 1 + dats[i].children;
    }
    if (options->calls && n == 1)
        put_calls(&p, &dats[0]);
    hl_out_put(out, "</svg>\n");
}
