/*
 * natives.c - gives native frames of the dictionary their names: function, file, line, and the calls that were inlined.
 *
 * A frame keeps its id and its place in the stacks; its row changes, and it may get a chain of callers. So names may come
 * any time after the frame, and a profile written before shows the place in the object instead.
 */
#include "symbols.h"
#include "writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct naming {
    hl_dictionary *d;
    hl_nameless *places; /* of one object; `frame` becomes 0 when it has a name */
    int error;
} naming;

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
    naming *now = context;
    hl_dictionary *d = now->d;
    uint32_t id = now->places[index].frame, caller = 0, module = d->frames.row[id - 1].module;
    hl_frame frame;
    if (n == 1 && !frames[0].line && strstr(frames[0].function, "+0x"))
        return; /* nothing is known: it has that name already, and may get another if this was a call that was stopped */
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
    now->places[index].frame = 0;
}

static int by_place(const void *a, const void *b)
{
    const hl_nameless *x = a, *y = b;
    return x->object != y->object ? (x->object < y->object ? -1 : 1)
                                  : (x->offset > y->offset) - (x->offset < y->offset);
}

static char *terminated(hl_text text) { return text.at ? strndup(text.at, text.bytes) : strdup(""); }

/* What could not be looked up before `symbols` was stopped is looked up the next time. */
static int name_all(hl_dictionary *d, hl_symbols *symbols)
{
    size_t n = d->nameless.n, done = 0, left = 0;
    hl_nameless *all = d->nameless.row;
    uint32_t *offsets = malloc((n + 1) * sizeof *offsets);
    int error = offsets ? 0 : -ENOMEM;
    if (n)
        qsort(all, n, sizeof *all, by_place);
    while (done < n && !error) {
        size_t end = done;
        for (; end < n && all[end].object == all[done].object; end++)
            offsets[end - done] = all[end].offset;
        const hl_batch_code *object = &d->codes.row[all[done].object].code;
        char *path = terminated(object->file), *build_id = terminated(object->name);
        naming now = {.d = d, .places = all + done};
        int result =
            path && build_id ? hl_symbols_resolve(symbols, path, build_id, offsets, end - done, name, &now) : -ENOMEM;
        free(path);
        free(build_id);
        error = now.error;
        if (result == -ECANCELED) { /* what has no name stays for the next time, with the objects behind */
            for (size_t i = done; i < n; i++)
                if (all[i].frame)
                    all[left++] = all[i];
            break;
        }
        done = end;
    }
    if (!error)
        d->nameless.n = left;
    free(offsets);
    return error;
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool is_time_up(void *context) { return monotonic_ns() > ((hl_profile_writer *)context)->symbols_until_ns; }

int hl_writer_name_natives(hl_profile_writer *w, bool final)
{
    enum { WHILE_RUNNING_MS = 300, AT_THE_END_MS = 60000 };
    if (!w->dictionary.nameless.n)
        return 0;
    if (!w->symbols) {
        w->symbols = hl_symbols_open(&(hl_symbols_options){
            .began_s = (int64_t)(w->identity.start_unix_ns / 1000000000), .stop = is_time_up, .context = w});
        if (!w->symbols)
            return hl_writer_fail(w, -ENOMEM, "out of memory");
    }
    w->symbols_until_ns = monotonic_ns() + (uint64_t)(final ? AT_THE_END_MS : WHILE_RUNNING_MS) * 1000000;
    int error = name_all(&w->dictionary, w->symbols);
    return error ? hl_writer_fail(w, error, "out of memory") : 0;
}
