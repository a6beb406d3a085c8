/*
 * payload_source.c - which files' text a report carries. See payload_parts.h.
 *
 * The user's files that took memory, then those of libraries whose own lines carry at least 1 % of a total, the heaviest
 * first, from the profile or the disk as source.h says. A report is made to be sent to others: a file that others may not read
 * (by its own permission bits, where it is on this machine) is left out, unless the user wants it.
 */
#include "payload_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

typedef struct candidate {
    uint32_t file;
    bool user;
    uint64_t held, allocated; /* at its own lines */
} candidate;

static int heavier(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->user != y->user)
        return x->user ? -1 : 1;
    if (x->held != y->held)
        return x->held > y->held ? -1 : 1;
    if (x->allocated != y->allocated)
        return x->allocated > y->allocated ? -1 : 1;
    return x->file < y->file ? -1 : x->file > y->file;
}

/* Not loaded objects, whose names may look like a user's file (/usr/bin/python3). */
static void mark_objects(const hl_model *m, bool *object)
{
    for (uint32_t i = 0; i < m->frames.n; i++)
        if (m->frames.row[i].module != HL_NO_ROW)
            object[m->frames.row[i].module] = true;
}

static bool is_source(const hl_model_file *file)
{
    return file->origin != HL_ORIGIN_NATIVE && *file->path && *file->path != '<' && *file->path != '[';
}

/* A profile may come from anywhere and name any file of this machine: only what is called source is read from the disk. */
static bool is_called_source(const char *path)
{
    static const char *const ends[] = {".py", ".pyw", ".pyx", ".pxd", ".c", ".cc",  ".cpp", ".cxx",
                                       ".h",  ".hh",  ".hpp", ".rs",  ".f", ".f90", ".go",  ".ipynb"};
    const char *name = strrchr(path, '/'), *dot = strrchr(name ? name : path, '.');
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (strcmp(dot, ends[i]) == 0)
            return true;
    return false;
}

typedef struct sums {
    uint64_t allocated, peak, live;
} sums;

/* Files that matter, the heaviest first. From malloc; null: no memory. */
static candidate *list_candidates(const hl_model *m, uint32_t *n)
{
    sums *sum = calloc((size_t)m->files.n + 1, sizeof *sum), all = {0};
    candidate *list = malloc(((size_t)m->files.n + 1) * sizeof *list);
    bool *object = calloc((size_t)m->files.n + 1, sizeof *object);
    *n = 0;
    if (!sum || !list || !object) {
        free(object);
        free(sum);
        free(list);
        return NULL;
    }
    for (uint32_t i = 0; i < m->stats.n; i++) {
        const hl_stat *stat = &m->stats.row[i];
        const hl_model_file *file = hl_site_file(m, m->stacks.row[stat->stack].leaf);
        sums *of[] = {&all, &sum[file ? (uint32_t)(file - m->files.row) : m->files.n]};
        for (int s = 0; s < 2; s++) {
            of[s]->allocated += stat->allocated;
            of[s]->peak += m->recorded > 1 ? stat->tree_peak : stat->peak;
            of[s]->live += stat->live;
        }
    }
    mark_objects(m, object);
    for (uint32_t i = 0; i < m->files.n; i++) {
        bool user = m->files.row[i].origin == HL_ORIGIN_USER;
        bool heavy =
            sum[i].allocated > all.allocated / 100 || sum[i].peak > all.peak / 100 || sum[i].live > all.live / 100;
        if (is_source(&m->files.row[i]) && !object[i] && (user || heavy))
            list[(*n)++] =
                (candidate){i, user, sum[i].peak > sum[i].live ? sum[i].peak : sum[i].live, sum[i].allocated};
    }
    free(object);
    free(sum);
    qsort(list, *n, sizeof *list, heavier);
    return list;
}

/* Whether the file is on this machine, and others than its owner and group may not read it. */
static bool is_private(const hl_model *m, const char *path)
{
    char absolute[4096];
    struct stat st;
    if (path[0] != '/') {
        if (snprintf(absolute, sizeof absolute, "%s/%s", hl_model_text(m, "directory", "."), path) >=
            (int)sizeof absolute)
            return false;
        path = absolute;
    }
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && !(st.st_mode & S_IROTH);
}

static size_t packed_bytes(const char *text, size_t bytes)
{
    uLongf packed = compressBound(bytes);
    unsigned char *at = malloc(packed);
    if (!at || compress2(at, &packed, (const Bytef *)text, bytes, 4) != Z_OK)
        packed = bytes;
    free(at);
    return packed;
}

/* Whoever records with --no-source wants none to go around. */
static bool is_recorded_without(const hl_model *m)
{
    const char *options = hl_model_text(m, "options", ""), *at = strstr(options, "--no-source");
    return at && (at == options || at[-1] == ' ') && (at[11] == '\0' || at[11] == ' ');
}

/* Takes the texts that fit. `sources` is for asking, `chosen` what is taken. */
static int choose(hl_payload_sources *chosen, hl_sources *sources, const candidate *list, uint32_t n,
                  const hl_payload_options *o, size_t most_bytes)
{
    const hl_model *m = sources->model;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t file = list[i].file;
        if (!o->private_source && is_private(m, m->files.row[file].path)) {
            chosen->private ++;
            continue;
        }
        if (!m->files.row[file].embedded && !is_called_source(m->files.row[file].path))
            continue;
        const hl_source *source = hl_source_of(sources, file);
        size_t bytes = source->bytes;
        if (!bytes || memchr(source->text, 0, bytes))
            continue;
        size_t packed = packed_bytes(source->text, bytes);
        if (packed > most_bytes) {
            chosen->unfit++;
            continue;
        }
        most_bytes -= packed;
        chosen->file[chosen->n++] = file;
        chosen->row[file] = chosen->n;
    }
    return 0;
}

static int put_texts(const hl_payload_sources *chosen, hl_sources *sources, hl_pack *pack)
{
    hl_out all;
    hl_out_begin(&all, (hl_terminal){.width = 80, .utf8 = true});
    if (hl_pack_table(pack, "source", chosen->n)) {
        for (uint32_t i = 0; i < chosen->n; i++) {
            const hl_source *source = hl_source_of(sources, chosen->file[i]);
            pack->value[i] = source->bytes;
            hl_out_add(&all, source->text, pack->value[i]);
        }
        hl_pack_column(pack, "length");
        hl_pack_blob(pack, "text", all.at, all.bytes);
    }
    int error = all.failed || pack->failed ? -ENOMEM : 0;
    hl_out_release(&all);
    return error;
}

int hl_payload_put_sources(hl_payload_sources *chosen, hl_pack *pack, hl_model *m, const hl_payload_options *o,
                           size_t most_bytes)
{
    hl_payload_sources_release(chosen);
    if (o->no_source || is_recorded_without(m))
        return 0;
    hl_sources sources = {0};
    uint32_t n;
    chosen->row = calloc((size_t)m->files.n + 1, sizeof *chosen->row);
    chosen->file = calloc((size_t)m->files.n + 1, sizeof *chosen->file);
    candidate *list = list_candidates(m, &n);
    int error = chosen->row && chosen->file && list ? hl_sources_begin(&sources, m) : -ENOMEM;
    if (!error)
        error = choose(chosen, &sources, list, n, o, most_bytes);
    if (!error)
        error = put_texts(chosen, &sources, pack);
    if (sources.model)
        hl_sources_release(&sources);
    free(list);
    return error;
}

void hl_payload_sources_release(hl_payload_sources *sources)
{
    free(sources->row);
    free(sources->file);
    *sources = (hl_payload_sources){0};
}
