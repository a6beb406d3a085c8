/*
 * symbols.c - answers places from the cache, asks the worker for the rest, and makes the forms without a name. Owns the worker
 * and runs in the collector.
 *
 * Only what came with lines is cached: symbol tables alone are read again in milliseconds, and debug information that is
 * installed later must be seen.
 */
#include "symbols.h"

#include "cache.h"
#include "isolate.h"
#include "symbol_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SILENCE_MS = 30000, CACHE_BYTES = 64 << 20 };

struct hl_symbols {
    hl_symbols_options options;
    char *cache, *debug;
    hl_isolate worker;
    hl_symbols_effort effort;
    hl_symbols_counts counts;
};

hl_symbols *hl_symbols_open(const hl_symbols_options *options)
{
    hl_symbols *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->options = *options;
    s->effort = HL_SYMBOLS_LINES;
    s->cache = hl_symbol_cache_folder(options->cache_directory);
    s->debug = strdup(options->debug_directory ? options->debug_directory : "/usr/lib/debug");
    if (!s->debug) {
        hl_symbols_close(s);
        return NULL;
    }
    if (!s->options.cache_bytes)
        s->options.cache_bytes = CACHE_BYTES;
    if (!s->options.silence_limit_ms)
        s->options.silence_limit_ms = SILENCE_MS;
    hl_isolate_start(&s->worker); /* tried again at the first need */
    return s;
}

void hl_symbols_close(hl_symbols *s)
{
    if (!s)
        return;
    hl_isolate_end(&s->worker);
    free(s->cache);
    free(s->debug);
    free(s);
}

void hl_symbols_try(hl_symbols *s, hl_symbols_effort effort) { s->effort = effort; }

hl_symbols_counts hl_symbols_count(const hl_symbols *s) { return s->counts; }

/* One call's tables: what is worth keeping, and what was found without DWARF. */
typedef struct tables {
    hl_symbol_table good, poor;
} tables;

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Ascending, each once, without those that a table has. */
static size_t missing_of(uint32_t *offsets, size_t n, hl_symbol_table *good)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if ((kept == 0 || offsets[kept - 1] != offsets[i]) && !hl_symbol_table_find(good, offsets[i]))
            offsets[kept++] = offsets[i];
    }
    return kept;
}

/* Asks once; what came goes into `table`. */
static int ask_once(hl_symbols *s, hl_resolve_request *request, const hl_isolate_limits *limits, hl_symbol_table *table)
{
    size_t before = table->places_used;
    bool asks_servers = request->flags & HL_RESOLVE_DEBUGINFOD;
    int error = hl_isolate_resolve(&s->worker, request, limits, table);
    s->counts.resolved += table->places_used - before;
    s->counts.servers_hang |= (table->flags & HL_TABLE_SERVERS_HANG) || (error == -ETIMEDOUT && asks_servers);
    s->counts.workers_lost += error == -EIO || error == -ETIMEDOUT;
    return error;
}

static uint32_t flags_of(const hl_symbols *s)
{
    if (s->effort == HL_SYMBOLS_NAMES)
        return HL_RESOLVE_NO_DWARF;
    return s->effort == HL_SYMBOLS_SERVERS && !s->counts.servers_hang ? HL_RESOLVE_DEBUGINFOD : 0;
}

/* Asks the worker for what no table has. Lost once, it is asked again for what did not come: it may have been killed by
 * somebody, or for want of memory. Lost twice, or hanging, it is asked for symbol tables only. */
static int ask(hl_symbols *s, const char *path, const char *build_id, uint32_t *missing, size_t n, tables *t)
{
    hl_resolve_request request = {.path = path,
                                  .build_id = build_id,
                                  .debug_directory = s->debug,
                                  .began_s = s->options.began_s,
                                  .flags = flags_of(s),
                                  .offsets = missing,
                                  .n = n};
    hl_isolate_limits limits = {s->options.silence_limit_ms, s->options.stop, s->options.context};
    hl_symbol_table fresh = {0};
    int error = ask_once(s, &request, &limits, &fresh);
    if (error == -EIO) {
        request.n = missing_of(missing, request.n, &fresh);
        error = request.n ? ask_once(s, &request, &limits, &fresh) : 0;
    }
    fresh.flags &= ~(uint32_t)HL_TABLE_SERVERS_HANG;   /* of this run only */
    bool has_lines = fresh.flags & HL_TABLE_HAS_LINES; /* the worker says so only at its end */
    for (size_t i = 0; i < fresh.frames_used && !has_lines; i++)
        has_lines = fresh.frames[i].line != 0;
    int no_memory = hl_symbol_table_merge(has_lines ? &t->good : &t->poor, &fresh);
    if (has_lines && !no_memory)
        hl_symbol_cache_store(s->cache, build_id, &t->good, s->options.cache_bytes);
    if (error == -EIO || error == -ETIMEDOUT) {
        request.n = missing_of(missing, request.n, &fresh);
        request.flags = HL_RESOLVE_NO_DWARF;
        error = request.n ? ask_once(s, &request, &limits, &t->poor) : 0;
    }
    hl_symbol_table_free(&fresh);
    return error == -ECANCELED || error == -ENOMEM ? error : no_memory;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void answer(hl_symbols *s, const char *path, tables *t, uint32_t offset, size_t index, hl_symbols_found *found,
                   void *context)
{
    hl_native_frame frames[HL_CHAIN_MOST];
    char form[512];
    hl_symbol_table *table = &t->good;
    const hl_symbol_place *place = hl_symbol_table_find(table, offset);
    if (!place)
        place = hl_symbol_table_find(table = &t->poor, offset);
    size_t n = place ? place->frames_used : 0;
    snprintf(form, sizeof form, "%.400s+0x%x", base_of(path), offset);
    for (size_t i = 0; i < n; i++) {
        frames[i] = hl_symbol_table_frame(table, place, i);
        if (!*frames[i].function)
            frames[i].function = form;
        if (!*frames[i].file)
            frames[i].file = path;
    }
    if (!n)
        frames[n++] = (hl_native_frame){.function = form, .file = path};
    s->counts.unnamed += frames[n - 1].function == form;
    found(context, index, frames, n);
}

static bool is_stopped(const hl_symbols *s) { return s->options.stop && s->options.stop(s->options.context); }

int hl_symbols_resolve(hl_symbols *s, const char *path, const char *build_id, const uint32_t *offsets, size_t n,
                       hl_symbols_found *found, void *context)
{
    s->counts.places += n;
    if (*path == '[' || *path == '(') {
        hl_native_frame frame = {.function = path, .file = ""};
        for (size_t i = 0; i < n; i++)
            found(context, i, &frame, 1);
        return 0;
    }
    tables t = {0};
    int error = 0;
    uint32_t *missing = malloc((n ? n : 1) * sizeof *missing);
    if (n && missing) {
        memcpy(missing, offsets, n * sizeof *missing);
        qsort(missing, n, sizeof *missing, by_value);
        hl_symbol_cache_load(s->cache, build_id, &t.good);
        for (size_t i = 0; i < n; i++)
            s->counts.cached += hl_symbol_table_find(&t.good, offsets[i]) != NULL;
        size_t wanted = missing_of(missing, n, &t.good);
        if (wanted)
            error = is_stopped(s) ? -ECANCELED : ask(s, path, build_id, missing, wanted, &t);
    } else if (n) {
        error = -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        answer(s, path, &t, offsets[i], i, found, context);
    free(missing);
    hl_symbol_table_free(&t.good);
    hl_symbol_table_free(&t.poor);
    return error;
}
