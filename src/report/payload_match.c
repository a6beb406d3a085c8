/*
 * payload_match.c - which frame of a new profile is which of an old one: their lines as `heapline diff` joins them
 * (gate_match.c), and of the frames on a line that with the same columns, or the first.
 */
#include "payload_parts.h"

#include <errno.h>
#include <stdlib.h>

/* Frames by site: those of site s are at[begin[s]] to at[begin[s + 1]]. */
typedef struct by_site {
    uint32_t *begin, *at;
} by_site;

static int sort_frames(by_site *sorted, const hl_model *m)
{
    sorted->begin = calloc((size_t)m->sites.n + 2, sizeof *sorted->begin);
    sorted->at = malloc(((size_t)m->frames.n + 1) * sizeof *sorted->at);
    if (!sorted->begin || !sorted->at)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->frames.n; i++)
        sorted->begin[m->frames.row[i].site + 2]++;
    for (uint32_t i = 0; i < m->sites.n; i++)
        sorted->begin[i + 2] += sorted->begin[i + 1];
    for (uint32_t i = 0; i < m->frames.n; i++)
        sorted->at[sorted->begin[m->frames.row[i].site + 1]++] = i;
    return 0;
}

static uint32_t find(const by_site *sorted, uint32_t site, const hl_place *places, hl_place place)
{
    uint32_t from = sorted->begin[site], to = sorted->begin[site + 1];
    for (uint32_t i = from; i < to; i++) {
        const hl_place *other = &places[sorted->at[i]];
        if (other->col == place.col && other->end_col == place.end_col)
            return sorted->at[i];
    }
    return from < to ? sorted->at[from] : HL_NO_ROW;
}

int hl_frames_match(hl_model *old, hl_model *new, uint32_t **partner)
{
    char why[256];
    hl_rest was = {0}, is = {0};
    by_site sorted = {0};
    uint32_t *sites = malloc(((size_t)old->sites.n + 1) * sizeof *sites);
    *partner = malloc(((size_t)old->frames.n + 1) * sizeof **partner);
    int error = sites && *partner ? hl_sites_match(old, new, sites) : -ENOMEM;
    if (!error)
        error = hl_places_load(&was, old, why, sizeof why);
    if (!error)
        error = hl_places_load(&is, new, why, sizeof why);
    if (!error)
        error = sort_frames(&sorted, new);
    for (uint32_t i = 0; i < old->frames.n && !error; i++) {
        uint32_t site = sites[old->frames.row[i].site];
        (*partner)[i] = site == HL_NO_ROW ? HL_NO_ROW : find(&sorted, site, is.place, was.place[i]);
    }
    free(sites);
    free(sorted.begin);
    free(sorted.at);
    hl_rest_release(&was);
    hl_rest_release(&is);
    if (error) {
        free(*partner);
        *partner = NULL;
    }
    return error;
}
