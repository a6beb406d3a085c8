/*
 * natives.c - gives native frames of the dictionary their names: function, file, line, and the calls that were inlined.
 *
 * A frame keeps its id and its place in the stacks; its row changes, and it may get a chain of callers. So names may come
 * any time after the frame, and a profile written before shows the place in the object instead.
 *
 * While the program runs, a checkpoint waits for names only a moment. An object whose lines take longer gets the names of
 * its symbol table at once, and its lines at the end; so does one whose lines only a server may have. That rest is looked up
 * when a profile with all numbers has been written, for as long as the user lets it (hl_names_watch), up to a limit; then
 * what has no name yet gets what its symbol table says.
 */
#include "symbols.h"
#include "writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    OBJECT_MS = 300, /* for the lines of one object while the program runs */
    ROUND_MS = 300,  /* after which a checkpoint begins with no other object */
    REST_MS = 60000, /* for the rest at the end */
    LAST_MS = 1000,  /* and then for the symbol tables */
};

/* One object's places, and what a look-up of them has found. */
typedef struct group {
    hl_dictionary *d;
    hl_nameless *places;
    size_t n;
    bool is_cut; /* stopped before the end */
    int error;
} group;

static hl_text kept(hl_dictionary *d, const char *text)
{
    size_t bytes = strlen(text);
    char *copy = hl_dictionary_room(d, bytes + 1);
    if (copy)
        memcpy(copy, text, bytes + 1);
    return (hl_text){copy, (uint32_t)bytes};
}

static int frame_of(hl_dictionary *d, const hl_native_frame *from, uint32_t module, uint32_t caller, hl_frame *frame)
{
    hl_text file = kept(d, *from->file ? from->file : "?"), name = kept(d, from->function);
    if (!file.at || !name.at)
        return -ENOMEM;
    *frame = (hl_frame){
        .module = module,
        .caller = caller,
        .position = {.line = (int32_t)(from->line & INT32_MAX), .end_line = -1, .column = -1, .end_column = -1}};
    return hl_dictionary_function(d, file, name, 0, &frame->function);
}

/* hl_symbols_found: the frames of one place, innermost first. */
static void name(void *context, size_t index, const hl_native_frame *frames, size_t n)
{
    group *now = context;
    hl_dictionary *d = now->d;
    hl_nameless *place = &now->places[index];
    uint32_t id = place->frame, caller = 0, module = d->frames.row[id - 1].module;
    hl_frame frame;
    bool has_line = false;
    for (size_t i = 0; i < n; i++)
        has_line |= frames[i].line != 0;
    if (!has_line && (place->has_name || (n == 1 && strstr(frames[0].function, "+0x"))))
        return;                                   /* it has that name already, and may get another */
    for (size_t i = n; i-- > 1 && !now->error;) { /* what the innermost was inlined into */
        now->error = frame_of(d, &frames[i], module, caller, &frame);
        hl_frame *row = now->error ? NULL : HL_ROWS_ADD(d->frames);
        if (row)
            *row = frame;
        else
            now->error = -ENOMEM;
        caller = (uint32_t)d->frames.n;
    }
    if (!now->error)
        now->error = frame_of(d, &frames[0], module, caller, &frame);
    uint32_t *renamed = now->error ? NULL : HL_ROWS_ADD(d->renamed);
    if (!renamed) {
        now->error = -ENOMEM;
        return;
    }
    *renamed = id;
    d->frames.row[id - 1] = frame;
    place->has_name = true;
    place->has_line |= has_line;
}

static int by_place(const void *a, const void *b)
{
    const hl_nameless *x = a, *y = b;
    return x->object != y->object ? (x->object < y->object ? -1 : 1)
                                  : (x->offset > y->offset) - (x->offset < y->offset);
}

/* The places of one object from the `from`th of a sorted array on. */
static group group_at(hl_dictionary *d, hl_nameless *all, size_t n, size_t from)
{
    size_t to = from;
    while (to < n && all[to].object == all[from].object)
        to++;
    return (group){.d = d, .places = all + from, .n = to - from};
}

static char *terminated(hl_text text) { return text.at ? strndup(text.at, text.bytes) : strdup(""); }

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool is_time_up(void *context)
{
    const hl_profile_writer *w = context;
    return monotonic_ns() > w->symbols_until_ns || (w->is_watched && w->watch.stop && w->watch.stop(w->watch.context));
}

static void limit(hl_profile_writer *w, int limit_ms)
{
    w->symbols_until_ns = monotonic_ns() + (uint64_t)limit_ms * 1000000;
}

/* What the frames of a group are called, as far as `effort` goes. */
static int look_up(hl_profile_writer *w, group *g, hl_symbols_effort effort)
{
    struct hl_known_code *object = &g->d->codes.row[g->places[0].object];
    char *path = terminated(object->code.file), *build_id = terminated(object->code.name);
    uint32_t *offsets = malloc((g->n + 1) * sizeof *offsets);
    int result = -ENOMEM;
    if (path && build_id && offsets) {
        for (size_t i = 0; i < g->n; i++)
            offsets[i] = g->places[i].offset;
        hl_symbols_try(w->symbols, effort);
        result = hl_symbols_resolve(w->symbols, path, build_id, offsets, g->n, name, g);
    }
    free(path);
    free(build_id);
    free(offsets);
    for (size_t i = 0; i < g->n; i++)
        object->has_lines |= g->places[i].has_line;
    g->is_cut = result == -ECANCELED;
    return g->error; /* what was not found for want of memory has no name, and the profile is whole all the same */
}

int hl_writer_open_symbols(hl_profile_writer *w)
{
    w->symbols = hl_symbols_open(&(hl_symbols_options){
        .began_s = (int64_t)(w->identity.start_unix_ns / 1000000000), .stop = is_time_up, .context = w});
    return w->symbols ? 0 : hl_writer_fail(w, -ENOMEM, "out of memory");
}

/* --------------------------------------------------------------------------------------------- while the program runs */

/* What is not known for good waits for the end. */
static int put_off(group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->places[i].has_line)
            continue;
        hl_nameless *place = HL_ROWS_ADD(g->d->later);
        if (!place)
            return -ENOMEM;
        *place = g->places[i];
    }
    return 0;
}

static int name_group(hl_profile_writer *w, group *g)
{
    struct hl_known_code *object = &g->d->codes.row[g->places[0].object];
    int error = 0;
    if (!object->is_slow && !object->is_read) {
        limit(w, OBJECT_MS);
        error = look_up(w, g, HL_SYMBOLS_LINES);
        object->is_slow = g->is_cut;
        object->is_read = !g->is_cut && !object->has_lines && w->identity.debuginfod;
    }
    if (!error && object->is_slow) {
        limit(w, OBJECT_MS);
        error = look_up(w, g, HL_SYMBOLS_NAMES);
    }
    return error || !(object->is_slow || object->is_read) ? error : put_off(g);
}

int hl_writer_name_natives(hl_profile_writer *w)
{
    hl_dictionary *d = &w->dictionary;
    size_t n = d->nameless.n, done = 0;
    int error = 0;
    if (!n)
        return 0;
    if (!w->symbols)
        error = hl_writer_open_symbols(w);
    qsort(d->nameless.row, n, sizeof *d->nameless.row, by_place);
    for (uint64_t began_ns = monotonic_ns(); done < n && !error;) {
        group g = group_at(d, d->nameless.row, n, done);
        error = name_group(w, &g);
        if (!error)
            done += g.n;
        if (monotonic_ns() - began_ns > (uint64_t)ROUND_MS * 1000000)
            break;
    }
    memmove(d->nameless.row, d->nameless.row + done, (n - done) * sizeof *d->nameless.row);
    d->nameless.n = n - done;
    return error ? hl_writer_fail(w, error, "out of memory") : 0;
}

/* -------------------------------------------------------------------------------------------------------- at the end */

bool hl_writer_lacks_names(const hl_profile_writer *w) { return w->dictionary.nameless.n || w->dictionary.later.n; }

/* Whether a pass of this effort may find more of the group. */
static bool is_worth_it(const hl_profile_writer *w, const group *g, hl_symbols_effort effort)
{
    const struct hl_known_code *object = &g->d->codes.row[g->places[0].object];
    if (effort == HL_SYMBOLS_LINES)
        return !object->is_read;
    if (effort == HL_SYMBOLS_SERVERS)
        return !hl_symbols_count(w->symbols).servers_hang;
    bool is_named = true;
    for (size_t i = 0; i < g->n; i++)
        is_named &= g->places[i].has_name;
    return !is_named;
}

static void show(hl_profile_writer *w, const group *g, size_t all, size_t left)
{
    if (w->watch.progress)
        w->watch.progress(w->watch.context, all, all - left, g->d->codes.row[g->places[0].object].code.file);
}

/* One pass over what is left. Of the objects that it has read, those stay that a later pass may find more of. */
static int pass(hl_profile_writer *w, hl_symbols_effort effort, size_t all, bool *is_cut)
{
    hl_dictionary *d = &w->dictionary;
    size_t n = d->later.n, done = 0, left = 0;
    int error = 0;
    while (done < n && !error && !*is_cut) {
        group g = group_at(d, d->later.row, n, done);
        struct hl_known_code *object = &d->codes.row[g.places[0].object];
        bool stays = effort != HL_SYMBOLS_SERVERS;
        show(w, &g, all, n - done + left);
        if (is_worth_it(w, &g, effort)) {
            error = look_up(w, &g, effort);
            *is_cut = g.is_cut;
            object->is_read = !g.is_cut && effort == HL_SYMBOLS_LINES && !object->has_lines;
            stays = error || g.is_cut || (object->is_read && w->identity.debuginfod);
        }
        for (size_t i = 0; i < g.n && stays; i++)
            d->later.row[left++] = g.places[i];
        done += g.n;
    }
    memmove(d->later.row + left, d->later.row + done, (n - done) * sizeof *d->later.row);
    d->later.n = left + n - done;
    return error;
}

static void explain(hl_profile_writer *w, bool is_cut, bool by_user)
{
    size_t lineless = 0;
    for (size_t i = 0; i < w->dictionary.later.n; i++)
        lineless += !w->dictionary.later.row[i].has_line;
    if (hl_symbols_count(w->symbols).servers_hang)
        snprintf(w->names_note, sizeof w->names_note,
                 "no server of DEBUGINFOD_URLS answered: what has no debug information here has no lines");
    else if (is_cut && lineless)
        snprintf(w->names_note, sizeof w->names_note, "%zu native frames have no source line: looking for them %s",
                 lineless, by_user ? "was interrupted" : "took longer than a minute");
}

int hl_writer_name_rest(hl_profile_writer *w)
{
    hl_dictionary *d = &w->dictionary;
    for (size_t i = 0; i < d->nameless.n; i++) {
        hl_nameless *place = HL_ROWS_ADD(d->later);
        if (!place)
            return hl_writer_fail(w, -ENOMEM, "out of memory");
        *place = d->nameless.row[i];
    }
    d->nameless.n = 0;
    size_t all = d->later.n;
    bool is_cut = false, by_user = false;
    int error = w->symbols || !all ? 0 : hl_writer_open_symbols(w);
    if (error || !all)
        return error;
    qsort(d->later.row, all, sizeof *d->later.row, by_place);
    limit(w, REST_MS);
    w->is_watched = true;
    error = pass(w, HL_SYMBOLS_LINES, all, &is_cut);
    if (!error && !is_cut && w->identity.debuginfod)
        error = pass(w, HL_SYMBOLS_SERVERS, all, &is_cut);
    by_user = is_cut && w->watch.stop && w->watch.stop(w->watch.context);
    w->is_watched = false;
    explain(w, is_cut, by_user);
    limit(w, LAST_MS);
    is_cut = false;
    if (!error)
        error = pass(w, HL_SYMBOLS_NAMES, all, &is_cut);
    d->later.n = 0;
    return error ? hl_writer_fail(w, error, "out of memory") : 0;
}
