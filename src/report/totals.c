/* See totals.h. */
#include "totals.h"

#include "curve.h"

#include <string.h>

hl_totals hl_totals_of(const hl_model *m, uint32_t process)
{
    hl_totals t = {0};
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[i];
        if (process != HL_NO_ROW && process != i)
            continue;
        t.allocations += p->allocations;
        t.allocated += p->allocated;
        t.frees += p->frees;
        t.freed += p->freed;
        t.live += p->live;
        t.live_blocks += p->live_blocks;
        t.arena_peak += p->arena_peak;
        t.rss_peak += p->rss_peak;
        t.pool_peak += p->pool_peak;
        t.unknown_frees += p->unknown_frees;
        t.inherited_frees += p->inherited_frees;
        t.earlier_frees += p->earlier_frees;
        if (!t.python)
            t.python = p->python;
    }
    if (process == HL_NO_ROW) { /* of one moment, not the sum of each process's own */
        t.arena_peak = (uint64_t)hl_model_number(m, "arena_peak", (int64_t)t.arena_peak);
        t.rss_peak = (uint64_t)hl_model_number(m, "rss_peak", (int64_t)t.rss_peak);
        t.pool_peak = (uint64_t)hl_model_number(m, "pool_peak", (int64_t)t.pool_peak);
    }
    for (uint32_t i = 0; i < m->threads.n; i++)
        if (process == HL_NO_ROW || m->threads.row[i].process == process)
            t.threads += m->threads.row[i].threads;
    return t;
}

/* The sample that says most of what the heap's peak cost. Memory is touched some time after it is taken, so it is the one
 * with the highest RSS from the peak on, for as long as the heap stays within a twentieth of it; else the next there is. Where
 * libraries give out memory by themselves, a sample of that belongs to it. */
static const hl_point *sample_of_peak(const hl_curve *curve, uint64_t peak_ns, bool with_pool)
{
    const hl_point *found = NULL;
    uint64_t least = 0;
    bool begun = false;
    for (uint32_t i = 0; i < curve->n; i++) {
        const hl_point *p = &curve->point[i];
        if (p->end_ns < peak_ns && i + 1 < curve->n)
            continue;
        if (!begun)
            least = p->high - p->high / 20;
        begun = true;
        if (p->low < least && p->heap < least && found)
            break;
        if ((with_pool ? p->pool_sampled && p->sampled : p->sampled) && p->rss >= 0 && (!found || p->rss > found->rss))
            found = p;
        if (p->heap < least && found)
            break;
    }
    for (uint32_t i = curve->n; !found && i-- > 0;) /* the last before */
        found = curve->point[i].rss >= 0 ? &curve->point[i] : NULL;
    return found;
}

int hl_rss_divide(hl_model *m, uint32_t process, hl_rss_parts *parts, char *why, size_t why_bytes)
{
    hl_curve curve;
    bool all = process == HL_NO_ROW;
    uint64_t peak_ns = all ? m->peak_ns : m->processes.row[process].peak_ns;
    *parts = (hl_rss_parts){0};
    int error = hl_curve_load(&curve, m, process, why, why_bytes);
    if (error)
        return error;
    bool with_pool = all ? m->has_pools : m->processes.row[process].pool_owners != NULL;
    const hl_point *point = sample_of_peak(&curve, peak_ns, with_pool);
    hl_view peak;
    if (point && (error = hl_view_open(&peak, m, &(hl_selection){.pid = all ? 0 : m->processes.row[process].pid}, why,
                                       why_bytes)) == 0) {
        uint64_t objects = 0;
        for (uint32_t i = 0; i < m->stats.n; i++) {
            const char *a = m->stats.row[i].allocator;
            if (strcmp(a, "object") == 0 || strcmp(a, "buffer") == 0)
                objects += peak.stats[i].bytes;
        }
        *parts =
            (hl_rss_parts){.known = true, .time_ns = point->end_ns, .rss = point->rss, .heap = (int64_t)point->heap};
        parts->at_peak = point->heap >= peak.total.bytes - peak.total.bytes / 20;
        parts->slack = point->arena > objects ? (int64_t)(point->arena - objects) : 0;
        parts->pool = point->pool > 0 ? point->pool : 0;
        parts->file = point->file > 0 ? point->file : 0;
        parts->shared = point->shmem > 0 ? point->shmem : 0;
        parts->rest = (int64_t)((uint64_t)parts->rss - point->heap - (uint64_t)parts->slack - (uint64_t)parts->pool -
                                (uint64_t)parts->file - (uint64_t)parts->shared);
        hl_view_release(&peak);
    }
    hl_curve_release(&curve);
    return error;
}
