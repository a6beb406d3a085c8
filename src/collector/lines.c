/*
 * lines.c - the books of profiled functions: which lines a thread is in, and what each of them did. Runs on the collector's
 * one thread.
 *
 * A mark costs the same at any depth; so does an allocation. A free looks for the innermost execution in which its block was
 * made by halving, and most are found at the top. Threads that are in no line cost one comparison an event (apply.c).
 *
 * Ids, depths, chunks and lengths are the program's word and may be anything.
 */
#include "books.h"
#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_NAME = 4096, FUNCTIONS_LOOKED_AT = 64 };
#define LARGEST_RSS (UINT64_C(1) << 50)

static inline uint64_t word_at(const uint64_t *w) { return __atomic_load_n(w, __ATOMIC_RELAXED); }

void hl_lines_init(hl_lines *lines, uint32_t chunks)
{
    lines->chunks = chunks;
    lines->row_room = 64;
    lines->row = hl_zeroed(lines->row_room * sizeof *lines->row);
    lines->rows = 1;
    lines->function_room = 16;
    lines->function = hl_zeroed(lines->function_room * sizeof *lines->function);
    lines->functions = 1;
}

void hl_lines_release(hl_lines *lines)
{
    free(lines->row);
    free(lines->function);
}

/* ------------------------------------------------------------------------------------------------------- rows and ids */

static uint32_t new_row(hl_lines *lines)
{
    if (lines->rows == lines->row_room) {
        lines->row_room *= 2;
        lines->row = hl_resized(lines->row, lines->row_room * sizeof *lines->row);
    }
    lines->row[lines->rows] = (hl_line_row){.changed = true};
    return lines->rows++;
}

/* The image's chunk of counters for this id, null: the pool has no such chunk, or it is not the image's. */
static hl_line_chunk *chunk_of(hl_books *books, hl_image *image, uint32_t id)
{
    uint32_t index = id / HL_LINES_A_CHUNK;
    if (index >= books->lines.chunks)
        return NULL;
    if (image->lines && image->lines[index])
        return image->lines[index];
    if (atomic_load(&hl_session_chunk(books->session, index)->owner) != (HL_OWNER_LINES | image->slot))
        return NULL;
    if (!image->lines)
        image->lines = hl_zeroed(books->lines.chunks * sizeof *image->lines);
    return image->lines[index] = hl_zeroed(sizeof *image->lines[index]);
}

/* The row that the id means. It may be used before its announcement is applied, as names of nodes may. */
static uint32_t row_of(hl_books *books, hl_image *image, uint32_t id)
{
    hl_line_chunk *chunk = chunk_of(books, image, id);
    if (!chunk)
        return 0;
    uint32_t *row = &chunk->row[id % HL_LINES_A_CHUNK];
    if (!*row)
        *row = new_row(&books->lines);
    return *row;
}

static void find_code(hl_line_function *f)
{
    if (f->code || !f->image)
        return;
    f->code = hl_names_code(&f->image->names, f->address, f->version);
    f->changed |= f->code != 0;
}

/* The function of this code object; pieces of a long one come one after the other. */
static uint32_t function_of(hl_books *books, hl_image *image, uint64_t address, uint32_t version, hl_text name)
{
    hl_lines *lines = &books->lines;
    uint32_t oldest = lines->functions > FUNCTIONS_LOOKED_AT ? lines->functions - FUNCTIONS_LOOKED_AT : 1;
    for (uint32_t i = lines->functions; i-- > oldest;) {
        const hl_line_function *f = &lines->function[i];
        if (f->image == image && f->address == address && f->version == version && f->name.bytes == name.bytes &&
            !memcmp(f->name.at, name.at, name.bytes))
            return i;
    }
    if (lines->functions == lines->function_room) {
        lines->function_room *= 2;
        lines->function = hl_resized(lines->function, lines->function_room * sizeof *lines->function);
    }
    lines->function[lines->functions] = (hl_line_function){
        .process = image->process->id,
        .image = image,
        .address = address,
        .version = version,
        .first_line = INT32_MAX,
        .name = hl_tree_text(&books->tree, name.at, name.bytes),
        .changed = true,
    };
    return lines->functions++;
}

uint32_t hl_lines_announced(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    if (left < 4)
        return 0;
    uint64_t address = word_at(w) & HL_PAYLOAD, where = word_at(w + 1), what = word_at(w + 2), bytes = word_at(w + 3);
    uint32_t version = (uint32_t)(where >> 32), id = (uint32_t)where, flags = (uint32_t)(what >> 48);
    uint32_t count = (uint32_t)(what >> 32) & 0xffff, first_line = (uint32_t)what;
    if (bytes > LONGEST_NAME || 4 + (bytes + 7) / 8 > left || count == 0 || count > HL_LINES_A_PIECE ||
        id % HL_LINES_A_CHUNK + count > HL_LINES_A_CHUNK || first_line > INT32_MAX - HL_LINES_A_PIECE)
        return 0;
    uint32_t words = 4 + (uint32_t)(bytes + 7) / 8;
    hl_image *image = reader->image;
    hl_line_chunk *chunk = chunk_of(books, image, id);
    if (!chunk)
        return words;
    hl_lines *lines = &books->lines;
    uint32_t function = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = row_of(books, image, id + i);
        if (lines->row[number].function) /* said before: what the id means does not change */
            continue;
        if (!function) {
            char name[LONGEST_NAME];
            memcpy(name, w + 4, bytes);
            function = function_of(books, image, address, version, (hl_text){name, (uint32_t)bytes});
        }
        lines->row[number].function = function;
        lines->row[number].line = (int32_t)(first_line + i);
        lines->row[number].changed = true;
    }
    if (!function) /* perhaps only the flags have changed */
        function = lines->row[row_of(books, image, id)].function;
    hl_line_function *f = &lines->function[function];
    if (f->address != address || f->version != version)
        return words;
    if ((int32_t)first_line < f->first_line)
        f->first_line = (int32_t)first_line;
    if ((int32_t)(first_line + count - 1) > f->last_line)
        f->last_line = (int32_t)(first_line + count - 1);
    f->flags |= flags;
    f->changed = true;
    find_code(f);
    return words;
}

/* What the counters have more than the rows. */
static void read_hits(hl_books *books, hl_image *image)
{
    for (uint32_t index = 0; image->lines && index < books->lines.chunks; index++) {
        hl_line_chunk *chunk = image->lines[index];
        for (uint32_t i = 0; chunk && i < HL_LINES_A_CHUNK; i++) {
            if (!chunk->row[i])
                continue;
            hl_wire_line *line = hl_chunk_line(hl_session_chunk(books->session, index), i);
            hl_line_row *row = &books->lines.row[chunk->row[i]];
            uint64_t hits = atomic_load_explicit(&line->hits, memory_order_relaxed);
            uint64_t rss_peak = atomic_load_explicit(&line->rss_peak, memory_order_relaxed);
            if (hits > chunk->seen[i]) {
                row->hits += hits - chunk->seen[i];
                row->changed = true;
            }
            chunk->seen[i] = hits;
            if (rss_peak > row->rss_peak && rss_peak < LARGEST_RSS) {
                row->rss_peak = rss_peak;
                row->changed = true;
            }
        }
    }
}

void hl_lines_end_image(hl_books *books, hl_image *image)
{
    if (!image->lines)
        return;
    read_hits(books, image);
    for (uint32_t i = 1; i < books->lines.functions; i++) {
        hl_line_function *f = &books->lines.function[i];
        if (f->image != image)
            continue;
        find_code(f);
        f->image = NULL;
    }
    hl_lines_release_image(books, image);
}

void hl_lines_release_image(hl_books *books, hl_image *image)
{
    for (uint32_t index = 0; image->lines && index < books->lines.chunks; index++)
        free(image->lines[index]);
    free(image->lines);
    image->lines = NULL;
}

/* ------------------------------------------------------------------------------------------------- the thread's stack */

static struct hl_line_active *active_slot(const hl_line_stack *s, uint32_t row)
{
    uint32_t i = (uint32_t)(row * UINT32_C(0x9e3779b9)) & s->active_mask;
    while (s->active[i].row && s->active[i].row != row)
        i = (i + 1) & s->active_mask;
    return &s->active[i];
}

/* Room for one more row, at most half full; rows that are not on the stack any more are left out. */
static void make_active_room(hl_line_stack *s)
{
    if (s->active && s->active_used < s->active_mask / 2)
        return;
    struct hl_line_active *old = s->active;
    uint32_t old_slots = s->active ? s->active_mask + 1 : 0, kept = 0, slots = 16;
    for (uint32_t i = 0; i < old_slots; i++)
        kept += old[i].entries != 0;
    while (slots < 4 * kept)
        slots *= 2;
    s->active = hl_zeroed(slots * sizeof *s->active);
    s->active_mask = slots - 1;
    s->active_used = kept;
    for (uint32_t i = 0; i < old_slots; i++) {
        if (old[i].entries)
            *active_slot(s, old[i].row) = old[i];
    }
    free(old);
}

/* Of the thread's blocks, those made so far. */
static void count_made(const hl_books *books, const hl_reader *reader, hl_line_stack *s)
{
    uint32_t now = books->threads[reader->thread].allocations;
    s->made += now - s->made_seen;
    s->made_seen = now;
}

static int64_t net_of(const hl_line_stack *s) { return (int64_t)(s->allocated - s->freed); }

static void push(hl_books *books, hl_reader *reader, hl_line_stack *s, uint32_t row)
{
    if (s->depth == s->room) {
        s->room = s->room ? 2 * s->room : 8;
        s->entry = hl_resized(s->entry, s->room * sizeof *s->entry);
    }
    count_made(books, reader, s);
    hl_line_entry *e = &s->entry[s->depth++];
    *e = (hl_line_entry){
        .row = row,
        .born_ms = books->now_ms,
        .start = s->made,
        .allocated = s->allocated,
        .freed = s->freed,
        .allocations = s->allocations,
        .net = net_of(s),
        .top = net_of(s),
    };
    if (!row)
        return;
    make_active_room(s);
    struct hl_line_active *active = active_slot(s, row);
    if (!active->row) {
        active->row = row;
        s->active_used++;
    }
    e->outer = active->entries++ == 0;
}

/* What an execution has done so far, of which the row has a part. The numbers are with those of the entries above it. */
static void tell_row(hl_books *books, const hl_line_stack *s, hl_line_entry *e, int64_t top, uint64_t temporary,
                     uint64_t largest)
{
    if (!e->row)
        return;
    hl_line_row *row = &books->lines.row[e->row];
    uint64_t highest = (uint64_t)(top - e->net);
    if (highest > row->highest)
        row->highest = highest;
    if (largest > row->largest)
        row->largest = largest;
    row->changed = true;
    if (!e->outer)
        return;
    row->allocated += s->allocated - e->allocated;
    row->freed += s->freed - e->freed;
    row->allocations += s->allocations - e->allocations;
    row->temporary += temporary - e->temporary_told;
    e->allocated = s->allocated;
    e->freed = s->freed;
    e->allocations = s->allocations;
    e->temporary_told = temporary;
}

static void pop(hl_books *books, hl_line_stack *s)
{
    hl_line_entry *e = &s->entry[--s->depth];
    tell_row(books, s, e, e->top, e->temporary, e->largest);
    if (e->row)
        active_slot(s, e->row)->entries--;
    if (!s->depth)
        return;
    hl_line_entry *below = e - 1;
    if (e->top > below->top)
        below->top = e->top;
    if (e->largest > below->largest)
        below->largest = e->largest;
    below->temporary += e->temporary;
}

bool hl_lines_moved_on(hl_books *books, hl_reader *reader, uint64_t word)
{
    uint64_t payload = word & HL_PAYLOAD, depth = payload >> 32;
    uint32_t id = (uint32_t)payload;
    if (depth + (id != 0) > HL_LINE_DEPTH_MOST)
        return false;
    if (!reader->lines) {
        reader->lines = hl_zeroed(sizeof *reader->lines);
        reader->lines->made_seen = books->threads[reader->thread].allocations;
    }
    hl_line_stack *s = reader->lines;
    s->marks++;
    while (s->depth > depth)
        pop(books, s);
    if (!id)
        return true;
    while (s->depth < depth) /* entered before the recording began */
        push(books, reader, s, 0);
    push(books, reader, s, row_of(books, reader->image, id - 1));
    return true;
}

void hl_lines_end_of_thread(hl_books *books, hl_reader *reader)
{
    hl_line_stack *s = reader->lines;
    if (!s)
        return;
    while (s->depth)
        pop(books, s);
    free(s->entry);
    free(s->active);
    free(s);
    reader->lines = NULL;
}

/* ------------------------------------------------------------------------------------------------------------- events */

void hl_lines_allocated(hl_books *books, hl_reader *reader, uint64_t size)
{
    hl_line_stack *s = reader->lines;
    if (!s->depth)
        return;
    s->allocations++;
    s->allocated += size;
    count_made(books, reader, s);
    hl_line_entry *e = &s->entry[s->depth - 1];
    if (net_of(s) > e->top)
        e->top = net_of(s);
    if (size > e->largest)
        e->largest = size;
}

/* The innermost execution in which the block was made; null: it is older than all of them, or another thread's. */
static hl_line_entry *born_in(const hl_books *books, const hl_reader *reader, hl_line_stack *s, const hl_block *block)
{
    if (hl_block_thread(block) != reader->thread || reader->thread == 0)
        return NULL;
    count_made(books, reader, s);
    uint32_t later = books->threads[reader->thread].allocations - block->count;
    if (later >= s->made) /* of a time before the stack was kept */
        return NULL;
    uint64_t number = s->made - later;
    uint32_t low = 0, high = s->depth; /* entries below `low` had begun, those from `high` on had not */
    for (uint32_t i = s->depth - 1; low < high; i = low + (high - low) / 2) {
        /* The count of a block wraps; by the time that it does, the clock has gone on. */
        if (s->entry[i].start < number && s->entry[i].born_ms <= block->born_ms)
            low = i + 1;
        else
            high = i;
    }
    return low ? &s->entry[low - 1] : NULL;
}

void hl_lines_freed(hl_books *books, hl_reader *reader, const hl_block *block, uint64_t size)
{
    hl_line_stack *s = reader->lines;
    if (!s->depth)
        return;
    s->freed += size;
    hl_line_entry *e = born_in(books, reader, s, block);
    if (e)
        e->temporary += size;
}

void hl_lines_not_freed(hl_books *books, hl_reader *reader, const hl_block *block, uint64_t size)
{
    hl_line_stack *s = reader->lines;
    if (!s->depth)
        return;
    s->freed -= size;
    hl_line_entry *e = born_in(books, reader, s, block);
    if (e)
        e->temporary -= size;
}

/* -------------------------------------------------------------------------------------------------------- checkpoints */

/* What open executions have done so far. */
static void tell_open(hl_books *books, hl_line_stack *s)
{
    int64_t top = INT64_MIN;
    uint64_t temporary = 0, largest = 0;
    for (uint32_t i = s->depth; i-- > 0;) {
        hl_line_entry *e = &s->entry[i];
        top = e->top > top ? e->top : top;
        largest = e->largest > largest ? e->largest : largest;
        temporary += e->temporary;
        tell_row(books, s, e, top, temporary, largest);
    }
}

static void fill_function(hl_batch *batch, uint32_t id, const hl_line_function *f)
{
    hl_batch_line_function *to = HL_ROWS_ADD(batch->line_functions);
    if (!to)
        hl_no_memory();
    *to = (hl_batch_line_function){id, f->process, f->code, f->name, f->first_line, f->last_line};
}

static void fill_line(hl_batch *batch, const hl_line_row *r)
{
    hl_batch_line *to = HL_ROWS_ADD(batch->lines);
    if (!to)
        hl_no_memory();
    *to = (hl_batch_line){r->function,    r->line,    r->hits,      r->allocated, r->freed,
                          r->allocations, r->highest, r->temporary, r->largest,   r->rss_peak};
}

void hl_lines_fill(hl_books *books, hl_batch *batch)
{
    hl_lines *lines = &books->lines;
    for (uint32_t i = 0; i < books->image_slots; i++) {
        if (books->images[i])
            read_hits(books, books->images[i]);
    }
    for (uint32_t i = 0; i < books->active_count; i++) {
        const hl_reader *reader = books->readers[books->active[i]];
        if (reader->lines)
            tell_open(books, reader->lines);
    }
    for (uint32_t i = 1; i < lines->functions; i++) {
        hl_line_function *f = &lines->function[i];
        find_code(f);
        if (f->changed || books->coarsened)
            fill_function(batch, i, f);
        f->changed = false;
    }
    for (uint32_t i = 1; i < lines->rows; i++) {
        hl_line_row *r = &lines->row[i];
        if (r->function && (r->hits || r->allocations || r->freed) && (r->changed || books->coarsened))
            fill_line(batch, r);
        r->changed &= !r->function;
    }
}
