/* See payload.h. Puts the parts together and finds out how much has to be folded. */
#include "payload.h"

#include "payload_parts.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST /* of next_in */
#include <zlib.h>

/* Bytes that rows take with all that belongs to them, compressed, as a rule. */
enum { ROW_BYTES = 13, NODE_BYTES = 3, CELL_BYTES = 6, TICK_BYTES = 16, ATTEMPTS = 12, LEVEL = 6 };

/* ------------------------------------------------------------------------------------------------------ compression */

typedef struct packed {
    unsigned char *at;
    size_t bytes, room, most; /* most: no more than that is wanted */
    z_stream stream;
} packed;

static int grow(packed *p)
{
    size_t room = p->room ? p->room * 2 : 1 << 18;
    unsigned char *grown = realloc(p->at, room);
    if (!grown)
        return -ENOMEM;
    p->at = grown;
    p->room = room;
    return 0;
}

/* -EFBIG as soon as it is more than wanted. */
static int compress_part(packed *p, const void *from, size_t bytes, int flush)
{
    const unsigned char *at = from;
    do {
        size_t piece = bytes > 1 << 20 ? 1 << 20 : bytes;
        p->stream.next_in = at;
        p->stream.avail_in = (uInt)piece;
        at += piece;
        bytes -= piece;
        do {
            if (p->bytes == p->room && grow(p) != 0)
                return -ENOMEM;
            size_t space = p->room - p->bytes > UINT_MAX ? UINT_MAX : p->room - p->bytes;
            p->stream.next_out = p->at + p->bytes;
            p->stream.avail_out = (uInt)space;
            if (deflate(&p->stream, bytes ? Z_NO_FLUSH : flush) == Z_STREAM_ERROR)
                return -EIO;
            p->bytes += space - p->stream.avail_out;
        } while (p->stream.avail_out == 0);
        if (p->bytes > p->most)
            return -EFBIG;
    } while (bytes);
    return 0;
}

/* The gzip stream of all; `taken`: how much of it went in, when it is too much. */
static int compress_all(packed *p, const hl_out *header, const hl_pack *pack, size_t most, size_t *taken)
{
    unsigned char begin[8] = {'H', 'L', 'P', '1'};
    for (int i = 0; i < 4; i++)
        begin[4 + i] = (unsigned char)(header->bytes >> 8 * i);
    *p = (packed){.most = most ? most : SIZE_MAX};
    if (deflateInit2(&p->stream, LEVEL, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) /* 16: as gzip */
        return -ENOMEM;
    int error = compress_part(p, begin, sizeof begin, Z_NO_FLUSH);
    if (!error)
        error = compress_part(p, header->at, header->bytes, Z_NO_FLUSH);
    if (!error)
        error = compress_part(p, pack->at, pack->bytes, Z_FINISH);
    *taken = (size_t)p->stream.total_in;
    deflateEnd(&p->stream);
    return error;
}

/* ------------------------------------------------------------------------------------------------------ the right size */

/* All of it with `most` nodes, as header and columns. */
static int fill(hl_payload_work *w, uint32_t most, hl_pack_mark fixed, hl_out *header)
{
    hl_fold_release(&w->fold);
    hl_pack_back(&w->pack, fixed);
    int error = hl_fold_plan(&w->fold, w->model, w->weight, most);
    if (!error)
        error = hl_payload_put_tables(w);
    if (error)
        return error;
    header->bytes = 0;
    hl_json json = hl_json_begin(header);
    hl_json_object(&json, NULL);
    error = hl_payload_put_meta(w, &json);
    hl_pack_json(&w->pack, &json);
    hl_json_end(&json);
    if (header->bytes > UINT32_MAX / 2)
        return -EFBIG;
    return error ? error : header->failed || w->pack.failed ? -ENOMEM : 0;
}

/* Folds at numbers of nodes, each a root of two below the one before, by what they keep: found out when asked for. */
enum { RUNGS = 48 };
typedef struct ladder {
    double weight[RUNGS]; /* below 0: not known yet */
    uint32_t nodes;       /* at rung 0: all */
} ladder;

/* What is expected of the size: base + slope * weight of what is kept. From attempts, as soon as there are some. */
typedef struct guess {
    double base, slope;
    double weight, bytes; /* of the last attempt; 0: none */
} guess;

static double weight_of(uint32_t rows, uint32_t nodes) { return ROW_BYTES * (double)rows + NODE_BYTES * (double)nodes; }

static double nodes_at(const ladder *l, int rung) { return (double)l->nodes / pow(2, rung / 2.0); }

static int weigh_rung(hl_payload_work *w, ladder *l, int rung, double *weight)
{
    if (l->weight[rung] < 0) {
        hl_fold fold;
        int error = hl_fold_plan(&fold, w->model, w->weight, (uint32_t)nodes_at(l, rung));
        if (error)
            return error;
        l->weight[rung] = weight_of(fold.rows, fold.n);
        hl_fold_release(&fold);
    }
    *weight = l->weight[rung];
    return 0;
}

/* From two attempts a line; from one, or where the line is none, the old one moved. */
static void learn(guess *g, double weight, double bytes)
{
    double slope = g->bytes > 0 && weight != g->weight ? (bytes - g->bytes) / (weight - g->weight) : 0;
    if (slope > 0.2 && slope < 5)
        g->slope = slope;
    g->base = bytes - g->slope * weight;
    g->weight = weight;
    g->bytes = bytes;
}

/* The most nodes that should fit, between the two rungs where it must be. */
static int choose_most(hl_payload_work *w, ladder *l, const guess *g, uint32_t *most)
{
    double budget = (double)w->options->most_bytes, room = (0.97 * budget - g->base) / g->slope, above, below;
    if (g->bytes <= 0 && room < budget / 4) /* nothing is known yet */
        room = budget / 4;
    *most = l->nodes;
    if (w->options->most_bytes == 0 || weight_of(w->model->stats.n, l->nodes) <= room)
        return 0;
    int fits = RUNGS - 1, not = 0;
    while (fits - not > 1) {
        int middle = (fits + not ) / 2;
        int error = weigh_rung(w, l, middle, &below);
        if (error)
            return error;
        if (below <= room)
            fits = middle;
        else
            not = middle;
    }
    int error = weigh_rung(w, l, not, &above);
    error = error ? error : weigh_rung(w, l, fits, &below);
    double part = above > below && room > below ? (room - below) / (above - below) : 0;
    *most = (uint32_t)(nodes_at(l, fits) + (part < 1 ? part : 1) * (nodes_at(l, not ) - nodes_at(l, fits)));
    *most = room <= 0 ? 0 : *most;
    return error;
}

/* One attempt; `taken` of `all` bytes went in when it is too much. */
static int attempt(hl_payload_work *w, hl_payload *payload, uint32_t most, hl_pack_mark fixed, size_t *taken,
                   size_t *all)
{
    hl_out header;
    packed p = {0};
    hl_out_begin(&header, (hl_terminal){.width = 80, .utf8 = true});
    int error = fill(w, most, fixed, &header);
    if (!error) {
        *all = 8 + header.bytes + w->pack.bytes;
        error = compress_all(&p, &header, &w->pack, w->options->most_bytes, taken);
    }
    hl_out_release(&header);
    if (error) {
        free(p.at);
        return error;
    }
    free(payload->at);
    payload->at = p.at;
    payload->bytes = p.bytes;
    return 0;
}

/* Ticks of cells twice as long: what is alive at their ends stays exact, and who lived within one has no cell, as ever. */
static void halve_cells(hl_payload_work *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->rest.cells.n; i++) {
        hl_payload_cell cell = w->rest.cells.row[i];
        uint32_t born = cell.born / 2, lived = cell.lived ? (cell.born + cell.lived) / 2 - born : 0;
        if (cell.lived && !lived)
            continue;
        cell.born = born;
        cell.lived = lived;
        w->rest.cells.row[n++] = cell;
    }
    w->rest.cells.n = n;
    w->cell_tick_ns *= 2;
}

/* How much of what was tried is cells, which folding makes fewer only when little is left. */
static double share_of_cells(const hl_payload_work *w, size_t all)
{
    size_t bytes = 0;
    bool in_cells = false;
    for (uint32_t i = 0; i < w->pack.entries; i++) {
        const hl_pack_entry *entry = &w->pack.entry[i];
        in_cells = entry->kind == 't' ? strcmp(entry->name, "cell") == 0 : in_cells;
        bytes += in_cells ? entry->bytes : 0;
    }
    return (double)bytes / (double)(all + 1);
}

/* Attempts until it fits; once more with more nodes where much of the budget is left. -EFBIG: not even without any. */
static int fit(hl_payload_work *w, hl_payload *payload, hl_pack_mark fixed)
{
    double budget = (double)w->options->most_bytes;
    guess g = {.base = CELL_BYTES * (double)w->rest.cells.n + (double)fixed.bytes / 3, .slope = 1};
    ladder l = {.nodes = w->model->stacks.n};
    for (int i = 0; i < RUNGS; i++)
        l.weight[i] = -1;
    uint32_t most, fits = 0, too_many = UINT32_MAX;
    size_t taken = 0, all = 0;
    for (int i = 0; i < ATTEMPTS; i++) {
        int error = choose_most(w, &l, &g, &most);
        if (error)
            return error;
        if (most >= too_many) /* never the same again */
            most = too_many - too_many / 8 - 1;
        if (i + 1 == ATTEMPTS)
            most = 0;
        error = attempt(w, payload, most, fixed, &taken, &all);
        if (error == -EFBIG && fits) /* it was a try: the one before */
            return attempt(w, payload, fits, fixed, &taken, &all);
        if (error && error != -EFBIG)
            return error;
        if (!error && (most >= l.nodes || fits || (double)payload->bytes > 0.85 * budget))
            return 0;
        double bytes = error ? budget * (double)all / (double)taken : (double)payload->bytes;
        learn(&g, weight_of(w->fold.rows, w->fold.n), bytes);
        if (error && share_of_cells(w, all) * bytes > 0.4 * budget && w->cell_tick_ns < w->model->now_ns) {
            halve_cells(w);
            g = (guess){.base = CELL_BYTES * (double)w->rest.cells.n + (double)fixed.bytes / 3, .slope = 1};
            i = 0;
        } else if (error && most == 0) {
            return error;
        } else if (error) {
            too_many = most;
        } else {
            fits = most;
        }
    }
    return -EFBIG;
}

static int make(hl_payload_work *w, hl_payload *payload)
{
    const hl_payload_options *o = w->options;
    size_t budget = o->most_bytes;
    w->cell_tick_ns = w->model->cell_tick_ns;
    int error = hl_payload_say(w);
    if (!error)
        error = hl_rest_load(&w->rest, w->model, w->why, w->why_bytes);
    if (!error)
        error = hl_payload_load_lines(w);
    if (!error)
        w->weight = hl_fold_weigh(w->model, &w->rest);
    if (!error && !w->weight)
        error = -ENOMEM;
    if (!error)
        error = hl_payload_put_ticks(w, budget ? (uint32_t)(budget / 4 / TICK_BYTES) : UINT32_MAX);
    hl_pack_mark ticks = hl_pack_here(&w->pack), fixed;
    if (!error)
        error = hl_payload_put_sources(&w->sources, &w->pack, w->model, o, budget ? budget / 4 : SIZE_MAX);
    fixed = hl_pack_here(&w->pack);
    if (!error)
        error = fit(w, payload, fixed);
    if (error == -EFBIG && w->sources.n) { /* better the numbers without text than nothing */
        hl_pack_back(&w->pack, ticks);
        error = hl_payload_put_sources(&w->sources, &w->pack, w->model, o, 0);
        error = error ? error : fit(w, payload, hl_pack_here(&w->pack));
    }
    return error;
}

/* What is told and taken along: the payload owns it. */
static int finish(hl_payload_work *w, hl_payload *payload)
{
    payload->nodes = w->model->stacks.n;
    payload->folded_nodes = payload->nodes - w->fold.kept;
    payload->folded_share_most = w->fold.share_most;
    payload->private_sources = w->sources.private;
    payload->unfit_sources = w->sources.unfit;
    payload->title = strndup(w->title.bytes ? w->title.at : "", w->title.bytes);
    payload->summary = strndup(w->summary.bytes ? w->summary.at : "", w->summary.bytes);
    payload->frame_count = w->frames;
    payload->frames = malloc(((size_t)w->frames + 1) * sizeof *payload->frames);
    if (!payload->frames || !payload->title || !payload->summary)
        return -ENOMEM;
    for (uint32_t i = 0; i < w->model->frames.n; i++)
        if (w->frame[i] != HL_NO_ROW)
            payload->frames[w->frame[i]] = i;
    return 0;
}

int hl_payload_make(hl_payload *payload, hl_model *model, const hl_payload_options *options, char *why,
                    size_t why_bytes)
{
    *payload = (hl_payload){0};
    hl_payload_work w = {.model = model, .options = options, .why = why, .why_bytes = why_bytes};
    hl_out_begin(&w.names.text, (hl_terminal){.width = 80, .utf8 = true});
    int error = make(&w, payload);
    if (!error)
        error = finish(&w, payload);
    if (error == -ENOMEM)
        snprintf(why, why_bytes, "out of memory");
    hl_out_release(&w.names.text);
    hl_out_release(&w.title);
    hl_out_release(&w.summary);
    free(w.names.begin);
    free(w.names.slot);
    free(w.weight);
    free(w.frame);
    free(w.site);
    free(w.function);
    free(w.file);
    hl_payload_release_lines(&w);
    hl_payload_sources_release(&w.sources);
    hl_fold_release(&w.fold);
    hl_rest_release(&w.rest);
    hl_pack_release(&w.pack);
    return error;
}

void hl_payload_release(hl_payload *payload)
{
    free(payload->at);
    free(payload->frames);
    free(payload->title);
    free(payload->summary);
    *payload = (hl_payload){0};
}
