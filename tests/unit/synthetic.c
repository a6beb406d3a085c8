/* synthetic.c - see synthetic.h. */
#include "synthetic.h"

#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TICK_NS = 10000000, LINES_A_CODE = 20, FILES = 9, CODES_A_FILE_MAX = 400, NONE = -1 };

const hl_synthetic_options hl_synthetic_defaults = {
    .seed = 1,
    .processes = 1,
    .threads = 2,
    .codes = 40,
    .nodes = 300,
    .stats = 400,
    .blocks = 20000,
    .ticks = 200,
    .cell_ticks = 1,
    .python = 0x030d,
};

static const struct {
    const char *path, *module;
} files[FILES] = {
    {"app.py", "app"},
    {"model.py", "model"},
    {"tools/loading.py", "loading"},
    {"venv/lib/python3.13/site-packages/numlib/core.py", "core"},
    {"venv/lib/python3.13/site-packages/numlib/linalg.py", "linalg"},
    {"python/lib/python3.13/json/decoder.py", "decoder"},
    {"python/lib/python3.13/threading.py", "threading"},
    {"<frozen importlib._bootstrap>", "importlib"},
    {"<string>", "string"},
};
static const char *const names[] = {
    "load",      "parse",      "build",  "train", "Model.fit", "Model.__init__", "step", "merge", "walk.<locals>.visit",
    "read_rows", "<listcomp>", "encode", "flush", "main"};
static const uint16_t pythons[] = {0x0207, 0x0306, 0x0308, 0x030a, 0x030b, 0x030c, 0x030d, 0x030e};

typedef struct block {
    uint64_t born, died; /* time in units of 1/1000 tick; died NONE: alive at the end */
    uint32_t stat, size;
    uint64_t thread_allocations; /* of its thread when it was born */
} block;

typedef struct event {
    uint64_t time;
    uint32_t block;
    bool death;
} event;

struct hl_synthetic {
    hl_synthetic_options o;
    hl_batch batch;
    hl_profile_identity identity;
    char directory[1024];
    char **text; /* everything that the batch's strings point to */
    size_t texts, text_room;
    block *blocks;
    event *events;
    size_t n_events;
    uint64_t *thread_allocations;
    hl_batch_histograms *histograms; /* of each stat */
    uint64_t random;
};

static uint64_t draw(hl_synthetic *s, uint64_t below)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return below ? s->random % below : 0;
}

/* Small numbers are far more likely: a few things carry most of the weight, as in programs. */
static uint64_t draw_skewed(hl_synthetic *s, uint64_t below)
{
    double x = (double)draw(s, 1 << 20) / (1 << 20);
    return (uint64_t)(x * x * x * (double)below);
}

static hl_text keep(hl_synthetic *s, const void *bytes, size_t n)
{
    if (s->texts == s->text_room) {
        s->text_room = s->text_room ? s->text_room * 2 : 64;
        s->text = realloc(s->text, s->text_room * sizeof *s->text);
    }
    char *copy = malloc(n + 1);
    memcpy(copy, bytes, n);
    copy[n] = 0;
    s->text[s->texts++] = copy;
    return (hl_text){copy, (uint32_t)n};
}

static hl_text keep_string(hl_synthetic *s, const char *string) { return keep(s, string, strlen(string)); }

/* ---------------------------------------------------------------------------------------------- source and code */

static int write_source(hl_synthetic *s, unsigned file, unsigned codes)
{
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", s->directory, files[file].path);
    for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *out = fopen(path, "w");
    if (!out)
        return -errno;
    fprintf(out, "# made up for tests\n");
    for (unsigned c = 0; c < codes; c++) {
        fprintf(out, "def function_%u(rows):\n", c);
        for (unsigned line = 1; line < LINES_A_CODE; line++)
            fprintf(out, "    value_%u = make(rows, %u)\n", line, line);
    }
    if (fclose(out) != 0)
        return -errno;
    /* Older than the recording: else it is not embedded. */
    struct timespec times[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
    return utimensat(AT_FDCWD, path, times, 0) == 0 ? 0 : -errno;
}

/* Instruction i (two bytes) is line first + 1 + i, columns 4 to 20. */
static hl_text make_table(hl_synthetic *s, uint16_t version)
{
    uint8_t table[LINES_A_CODE * 4];
    size_t n = 0;
    for (unsigned i = 0; i < LINES_A_CODE - 1; i++) {
        if (version >= 0x030b) { /* one line, columns given, line + 1 */
            const uint8_t entry[] = {0x80 | 11 << 3 | 0, 4, 20};
            memcpy(table + n, entry, sizeof entry);
            n += sizeof entry;
        } else {
            table[n++] = version == 0x030a || i > 0 ? 2 : 0;
            table[n++] = 1;
        }
    }
    return keep(s, table, n);
}

static void make_codes(hl_synthetic *s)
{
    unsigned in_file[FILES] = {0};
    for (uint32_t i = 0; i < s->o.codes; i++) {
        unsigned file = i == 0 ? 0 : (unsigned)draw(s, FILES);
        if (in_file[file] == CODES_A_FILE_MAX)
            file = FILES - 1;
        hl_batch_code *c = HL_ROWS_ADD(s->batch.codes);
        char name[128], path[2048];
        const char *base = names[draw(s, sizeof names / sizeof *names)];
        if (i == 0)
            snprintf(name, sizeof name, "<module>");
        else
            snprintf(name, sizeof name, i < 14 ? "%s" : "%s_%" PRIu32, base, i);
        bool real = files[file].path[0] != '<';
        snprintf(path, sizeof path, "%s%s%s", real ? s->directory : "", real ? "/" : "", files[file].path);
        c->id = i + 1;
        c->python_version = s->o.python ? s->o.python : pythons[i % (sizeof pythons / sizeof *pythons)];
        c->first_line = (int32_t)(2 + in_file[file]++ * LINES_A_CODE);
        c->file = keep_string(s, path);
        c->name = keep_string(s, name);
        c->table = make_table(s, c->python_version);
    }
    for (unsigned f = 0; s->o.source_directory && f < FILES; f++) {
        if (files[f].path[0] != '<' && write_source(s, f, in_file[f]) != 0)
            s->o.codes = 0; /* seen by hl_synthetic_make */
    }
}

static void make_nodes(hl_synthetic *s)
{
    *(hl_batch_node *)HL_ROWS_ADD(s->batch.nodes) = (hl_batch_node){.kind = HL_NODE_ROOT};
    *(hl_batch_node *)HL_ROWS_ADD(s->batch.nodes) = (hl_batch_node){.id = 1, .kind = HL_NODE_NO_PYTHON};
    for (uint32_t id = 2; id < s->o.nodes; id++) {
        hl_batch_node *n = HL_ROWS_ADD(s->batch.nodes);
        bool first = id < 6; /* the module's own lines */
        uint32_t parent = first ? 0 : 2 + (uint32_t)draw(s, id - 2);
        while (s->batch.nodes.row[parent].kind == HL_NODE_DEEPER)
            parent = s->batch.nodes.row[parent].parent;
        *n = (hl_batch_node){.id = id,
                             .parent = parent,
                             .kind = HL_NODE_PYTHON,
                             .code = first ? 1 : 1 + (uint32_t)draw(s, s->o.codes),
                             .instruction = (uint32_t)draw(s, LINES_A_CODE - 1) * 2};
        if (s->o.folded && id > 20 && draw(s, 10) == 0)
            *n = (hl_batch_node){.id = id, .parent = parent, .kind = HL_NODE_DEEPER};
    }
}

static void make_processes(hl_synthetic *s)
{
    for (uint32_t p = 0; p < s->o.processes; p++) {
        hl_batch_process *row = HL_ROWS_ADD(s->batch.processes);
        bool running = s->o.end == HL_SYNTHETIC_RUNNING || s->o.end == HL_SYNTHETIC_STOPPED;
        row->id = p + 1;
        row->pid = 4711 + (int32_t)p;
        row->parent = p ? 1 : 0;
        row->parent_pid = p ? 4711 : 4000;
        row->born_by = p ? HL_CHILD_FORK : 0;
        row->command = keep_string(s, p ? "python3 app.py --worker" : "python3 app.py --rows 1000");
        row->executable = keep_string(s, "/usr/bin/python3");
        row->reason = keep_string(s, "");
        row->python_version = 0x030d00f0;
        row->recording = HL_RECORDING_OBJECTS;
        row->end_ns = running ? 0 : (uint64_t)s->o.ticks * TICK_NS;
        bool killed = p == 0 && (s->o.end == HL_SYNTHETIC_SIGNAL || s->o.end == HL_SYNTHETIC_OOM);
        row->ended = running ? 0 : killed ? 2 : 1;
        row->exit_status = p ? 0 : s->o.end == HL_SYNTHETIC_OOM ? SIGKILL : s->o.status;
        row->rss_peak = 0;
        for (uint32_t t = 0; t < s->o.threads; t++) {
            hl_batch_thread *thread = HL_ROWS_ADD(s->batch.threads);
            char name[32] = "MainThread";
            if (t)
                snprintf(name, sizeof name, "worker-%" PRIu32, t);
            *thread = (hl_batch_thread){.id = (uint32_t)s->batch.threads.n,
                                        .process = row->id,
                                        .tid = row->pid + 100 * (int32_t)t,
                                        .threads = 1,
                                        .name = keep_string(s, name)};
        }
    }
}

static void make_stats(hl_synthetic *s)
{
    for (uint32_t i = 0; i < s->o.stats; i++) {
        hl_batch_stat *st = HL_ROWS_ADD(s->batch.stats);
        uint32_t t = (uint32_t)draw_skewed(s, s->batch.threads.n);
        st->id = i + 1;
        st->node = i == 0 ? 1 : i < s->o.nodes ? i : 2 + (uint32_t)draw(s, s->o.nodes - 2);
        st->thread = s->batch.threads.row[t].id;
        st->process = s->batch.threads.row[t].process;
        st->allocator = i == 0 ? HL_MALLOC : (uint32_t)draw(s, HL_ALLOCATORS);
    }
}

/* ------------------------------------------------------------------------------------------------------ events */

static int by_time(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    if (x->death != y->death)
        return x->death ? 1 : -1; /* a block that is freed at once was born first */
    return x->block < y->block ? -1 : x->block > y->block;
}

static void make_blocks(hl_synthetic *s)
{
    uint64_t end = (uint64_t)s->o.ticks * 1000;
    for (uint32_t i = 0; i < s->o.blocks; i++) {
        block *b = &s->blocks[i];
        uint64_t life = draw(s, 3) == 0 ? draw(s, end) : draw_skewed(s, 5000);
        b->stat = (uint32_t)draw_skewed(s, s->o.stats);
        b->size = (uint32_t)(draw(s, 200) == 0 ? draw(s, 4 << 20) : draw_skewed(s, 5000));
        b->born = draw(s, end);
        b->died = b->born + life;
        s->events[s->n_events++] = (event){b->born, i, false};
        if (b->died < end)
            s->events[s->n_events++] = (event){b->died, i, true};
        else
            b->died = UINT64_MAX;
    }
    qsort(s->events, s->n_events, sizeof *s->events, by_time);
}

static unsigned power_of(uint64_t value)
{
    unsigned bits = value ? 64 - (unsigned)__builtin_clzll(value) : 0;
    return bits < HL_POWER_BUCKETS ? bits : HL_POWER_BUCKETS - 1;
}

static void count_temporary(hl_synthetic *s, const hl_batch_stat *st, const block *b)
{
    uint64_t later = s->thread_allocations[st->thread] - b->thread_allocations;
    unsigned bucket = power_of(later ? later - 1 : 0) + (later > 0);
    if (later <= 1024) {
        s->histograms[b->stat].temporary[bucket].count++;
        s->histograms[b->stat].temporary[bucket].bytes += b->size;
    }
}

/* One event into the stat and its process. */
static void play(hl_synthetic *s, const event *e)
{
    block *b = &s->blocks[e->block];
    hl_batch_stat *st = &s->batch.stats.row[b->stat];
    hl_batch_process *p = &s->batch.processes.row[st->process - 1];
    if (e->death) {
        st->frees++;
        st->freed += b->size;
        st->live -= b->size;
        st->live_blocks--;
        s->histograms[b->stat].lifetimes[power_of((b->died - b->born) / 100)]++;
        count_temporary(s, st, b);
        p->frees++;
        p->freed += b->size;
        p->live -= b->size;
        p->live_blocks--;
        return;
    }
    b->thread_allocations = ++s->thread_allocations[st->thread];
    st->allocations++;
    st->allocated += b->size;
    st->live += b->size;
    st->live_blocks++;
    s->histograms[b->stat].sizes[power_of(b->size)]++;
    if (b->size > st->largest)
        st->largest = b->size;
    p->allocations++;
    p->allocated += b->size;
    p->live += b->size;
    p->live_blocks++;
}

typedef struct moments {
    size_t process_peak[64]; /* number of the event after which the process is at its peak, + 1 */
    uint64_t tree_peak, tree_peak_ns, tree_bound;
    uint64_t tree_peak_time; /* end of the tick */
} moments;

static void end_tick(hl_synthetic *s, moments *m, uint32_t tick, uint64_t *low, uint64_t *high)
{
    uint64_t sum = 0, bound = 0;
    for (uint32_t i = 0; i < s->o.processes; i++) {
        hl_batch_process *p = &s->batch.processes.row[i];
        hl_batch_tick *t = HL_ROWS_ADD(s->batch.ticks);
        *t = (hl_batch_tick){.process = p->id,
                             .tick = tick,
                             .heap = p->live,
                             .heap_low = low[i],
                             .heap_high = high[i],
                             .arena = 1 << 20,
                             .rss = -1,
                             .rss_anon = -1,
                             .rss_file = -1,
                             .rss_shmem = -1,
                             .pss = -1};
        if (tick % 3 != 2) {
            t->rss_anon = (int64_t)(p->live + p->live / 8 + (1 << 20));
            t->rss_file = 6 << 20;
            t->rss_shmem = 0;
            t->rss = t->rss_anon + t->rss_file;
            if ((uint64_t)t->rss > p->rss_peak)
                p->rss_peak = (uint64_t)t->rss;
        }
        sum += p->live;
        bound += high[i];
        low[i] = high[i] = p->live;
    }
    if (sum > m->tree_peak) {
        m->tree_peak = sum;
        m->tree_peak_time = (uint64_t)(tick + 1) * 1000;
    }
    if (bound > m->tree_bound)
        m->tree_bound = bound;
}

static void snapshot(hl_synthetic *s, uint32_t process, bool tree)
{
    for (size_t i = 0; i < s->batch.stats.n; i++) {
        hl_batch_stat *st = &s->batch.stats.row[i];
        if (tree) {
            st->tree_peak = st->live;
            st->tree_peak_blocks = st->live_blocks;
        } else if (st->process == process) {
            st->peak = st->live;
            st->peak_blocks = st->live_blocks;
        }
    }
}

/* First pass: totals, ticks, and at which events the peaks are. */
static void play_for_totals(hl_synthetic *s, moments *m)
{
    uint64_t low[64] = {0}, high[64] = {0};
    uint32_t tick = 0;
    for (size_t i = 0; i < s->n_events; i++) {
        for (; tick < s->events[i].time / 1000; tick++)
            end_tick(s, m, tick, low, high);
        play(s, &s->events[i]);
        uint32_t process = s->batch.stats.row[s->blocks[s->events[i].block].stat].process - 1;
        hl_batch_process *p = &s->batch.processes.row[process];
        if (p->live < low[process])
            low[process] = p->live;
        if (p->live > high[process])
            high[process] = p->live;
        if (p->live > p->peak) {
            p->peak = p->live;
            p->peak_blocks = p->live_blocks;
            p->peak_ns = s->events[i].time * (TICK_NS / 1000);
            m->process_peak[process] = i + 1;
        }
    }
    for (; tick < s->o.ticks; tick++)
        end_tick(s, m, tick, low, high);
    for (uint32_t i = 0; i < s->o.stats; i++)
        hl_batch_pack(&s->batch, &s->batch.stats.row[i], &s->histograms[i]);
}

/* Second pass, from nothing: every stat's share at the peaks. */
static void play_for_shares(hl_synthetic *s, const moments *m)
{
    hl_batch_stat *kept = malloc(s->batch.stats.n * sizeof *kept);
    memcpy(kept, s->batch.stats.row, s->batch.stats.n * sizeof *kept);
    for (size_t i = 0; i < s->batch.stats.n; i++)
        s->batch.stats.row[i].live = (int64_t)(s->batch.stats.row[i].live_blocks = 0);
    bool tree_done = s->o.processes == 1 || m->tree_peak == 0;
    for (size_t i = 0; i < s->n_events; i++) {
        const event *e = &s->events[i];
        const block *b = &s->blocks[e->block];
        hl_batch_stat *st = &s->batch.stats.row[b->stat];
        if (!tree_done && e->time >= m->tree_peak_time) {
            snapshot(s, 0, true);
            tree_done = true;
        }
        st->live += e->death ? -(int64_t)b->size : (int64_t)b->size;
        st->live_blocks += e->death ? (uint64_t)-1 : 1;
        if (m->process_peak[st->process - 1] == i + 1) {
            snapshot(s, st->process, false);
            if (s->o.processes == 1)
                snapshot(s, 0, true);
        }
    }
    if (!tree_done)
        snapshot(s, 0, true);
    free(kept);
}

/* ------------------------------------------------------------------------------------------------- time cells */

static int by_cell(const void *a, const void *b)
{
    const hl_batch_cell *x = a, *y = b;
    if (x->stat != y->stat)
        return x->stat < y->stat ? -1 : 1;
    if (x->born != y->born)
        return x->born < y->born ? -1 : 1;
    return x->died < y->died ? -1 : x->died > y->died;
}

static void make_cells(hl_synthetic *s)
{
    uint64_t cell_time = 1000 * (uint64_t)s->o.cell_ticks;
    for (uint32_t i = 0; i < s->o.blocks; i++) {
        const block *b = &s->blocks[i];
        hl_batch_cell c = {
            .stat = b->stat + 1, .born = (uint32_t)(b->born / cell_time), .died = NONE, .blocks = 1, .bytes = b->size};
        if (b->died != UINT64_MAX)
            c.died = (int64_t)(b->died / cell_time);
        if (c.died != (int64_t)c.born)
            *(hl_batch_cell *)HL_ROWS_ADD(s->batch.cells) = c;
    }
    size_t n = 0;
    qsort(s->batch.cells.row, s->batch.cells.n, sizeof(hl_batch_cell), by_cell);
    for (size_t i = 0; i < s->batch.cells.n; i++) {
        hl_batch_cell *c = s->batch.cells.row;
        if (n && by_cell(&c[n - 1], &c[i]) == 0) {
            c[n - 1].blocks++;
            c[n - 1].bytes += c[i].bytes;
        } else {
            c[n++] = c[i];
        }
    }
    s->batch.cells.n = n;
}

/* ------------------------------------------------------------------------------------------------------- whole */

static void make_meta(hl_synthetic *s, const moments *m)
{
    hl_batch_meta *meta = &s->batch.meta;
    bool ended = s->o.end != HL_SYNTHETIC_RUNNING && s->o.end != HL_SYNTHETIC_STOPPED;
    for (size_t i = 0; i < s->batch.processes.n; i++) {
        const hl_batch_process *p = &s->batch.processes.row[i];
        meta->allocations += p->allocations;
        meta->allocated += p->allocated;
        meta->frees += p->frees;
        meta->freed += p->freed;
        meta->live += p->live;
        meta->live_blocks += p->live_blocks;
        meta->rss_peak += p->rss_peak;
    }
    meta->peak = s->o.processes == 1 ? s->batch.processes.row[0].peak : m->tree_peak;
    meta->peak_ns = s->o.processes == 1 ? s->batch.processes.row[0].peak_ns : m->tree_peak_time * (TICK_NS / 1000);
    for (size_t i = 0; i < s->batch.stats.n; i++)
        meta->peak_blocks += s->batch.stats.row[i].tree_peak_blocks;
    meta->peak_bound = s->o.processes == 1 ? meta->peak : m->tree_bound;
    meta->now_ns = (uint64_t)s->o.ticks * TICK_NS;
    meta->final = s->o.end != HL_SYNTHETIC_RUNNING;
    meta->stopped = s->o.end == HL_SYNTHETIC_STOPPED;
    meta->arena_peak = (uint64_t)s->o.processes << 20;
    meta->events = s->n_events;
    meta->collector_cpu_ns = s->n_events * 8;
    meta->collector_rss_peak = 20 << 20;
    meta->tick_ns = TICK_NS;
    meta->cell_tick_ns = (uint64_t)TICK_NS * s->o.cell_ticks;
    meta->folded_stacks = s->o.folded ? 1234 : 0;
    meta->root_ended = ended;
    meta->root_end_ns = ended ? meta->now_ns : 0;
    meta->root_status = s->o.end == HL_SYNTHETIC_EXIT ? s->o.status << 8 : s->o.status;
    if (s->o.end == HL_SYNTHETIC_OOM) {
        meta->root_status = SIGKILL;
        meta->oom_limit = meta->rss_peak + 4096;
        meta->oom_scope = keep_string(s, "cgroup /jobs/app");
    }
}

static void make_rest(hl_synthetic *s)
{
    for (size_t i = 1; i < s->batch.processes.n; i++) {
        hl_batch_mark *m = HL_ROWS_ADD(s->batch.marks);
        *m =
            (hl_batch_mark){.time_ns = 0, .process = 1, .kind = keep_string(s, "fork"), .name = keep_string(s, "4712")};
    }
    for (size_t i = 0; i < s->batch.processes.n; i++) {
        hl_batch_process *p = &s->batch.processes.row[i];
        p->maps[HL_MAP_ARENA].count = 1;
        p->maps[HL_MAP_ARENA].mapped = p->maps[HL_MAP_ARENA].live = p->maps[HL_MAP_ARENA].peak = 1 << 20;
    }
    s->identity = (hl_profile_identity){.command = "python3 app.py --rows 1000",
                                        .directory = s->directory,
                                        .host = "example",
                                        .start_unix_ns = UINT64_C(1760000000) * 1000000000,
                                        .options = "",
                                        .embed_source = s->o.source_directory != NULL};
}

hl_synthetic *hl_synthetic_make(const hl_synthetic_options *options)
{
    hl_synthetic *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->o = *options;
    s->o.processes = s->o.processes < 1 ? 1 : s->o.processes > 64 ? 64 : s->o.processes;
    s->o.threads = s->o.threads < 1 ? 1 : s->o.threads;
    s->o.codes = s->o.codes < 1 ? 1 : s->o.codes;
    s->o.nodes = s->o.nodes < 8 ? 8 : s->o.nodes;
    s->o.stats = s->o.stats < 1 ? 1 : s->o.stats;
    s->o.cell_ticks = s->o.cell_ticks < 1 ? 1 : s->o.cell_ticks;
    s->random = s->o.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    if (!s->o.source_directory || !realpath(s->o.source_directory, s->directory))
        snprintf(s->directory, sizeof s->directory, "%s",
                 s->o.source_directory ? s->o.source_directory : "/home/user/project");
    s->blocks = calloc(s->o.blocks + 1, sizeof *s->blocks);
    s->events = calloc(2 * (size_t)s->o.blocks + 1, sizeof *s->events);
    s->thread_allocations = calloc((size_t)s->o.processes * s->o.threads + 1, sizeof *s->thread_allocations);
    s->histograms = calloc(s->o.stats, sizeof *s->histograms);
    s->batch.complete = true;
    moments m = {0};
    make_codes(s);
    if (!s->o.codes) {
        hl_synthetic_free(s);
        return NULL;
    }
    make_nodes(s);
    make_processes(s);
    make_stats(s);
    make_blocks(s);
    play_for_totals(s, &m);
    play_for_shares(s, &m);
    make_cells(s);
    make_meta(s, &m);
    make_rest(s);
    return s;
}

const hl_batch *hl_synthetic_batch(const hl_synthetic *s) { return &s->batch; }
const hl_profile_identity *hl_synthetic_identity(const hl_synthetic *s) { return &s->identity; }

void hl_synthetic_free(hl_synthetic *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->texts; i++)
        free(s->text[i]);
    free(s->text);
    free(s->blocks);
    free(s->events);
    free(s->thread_allocations);
    free(s->histograms);
    hl_batch_release(&s->batch);
    free(s);
}

int hl_synthetic_write(const hl_synthetic *s, const char *path)
{
    hl_profile_writer *w = NULL;
    int error = hl_profile_writer_open(&w, path, &s->identity);
    if (error) {
        fprintf(stderr, "%s: cannot start a profile: %s\n", path, strerror(-error));
        return error;
    }
    error = hl_profile_writer_apply(w, &s->batch);
    if (!error)
        error = hl_profile_writer_publish(w, s->batch.meta.final);
    if (error)
        fprintf(stderr, "%s: %s\n", path, hl_profile_writer_error(w));
    hl_profile_writer_close(w);
    return error;
}
