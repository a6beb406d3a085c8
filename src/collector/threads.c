/*
 * threads.c - threads, their names, and the rows they get in the profile.
 *
 * A process's first 64 threads have a row each; later ones share a row with those of like name ("worker-3" and "worker-12"
 * are "worker-#"), so that a server which starts a thread for each request stays small. A thread gets its row when it
 * first allocates; a name that comes later renames the row of a thread that has its own, but moves no thread.
 *
 * What a thread allocates within a region (heapline.region) has a further row, beside that of the thread itself: one for each
 * way in which regions are nested. Only 255 of those are told apart; what is more counts as outside of it.
 */
#include "books.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OWN_ROWS = 64, NAME_BYTES = 256, DEEPEST = 32 };

uint32_t hl_thread_of(hl_books *books, hl_image *image, uint32_t number, int32_t tid)
{
    /* A further lane of a thread whose ring is being read: the same thread. */
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        if (reader->image == image && reader->thread && books->threads[reader->thread].number == number)
            return reader->thread;
    }
    if (books->thread_count >= 1u << HL_THREAD_BITS)
        return 0;
    if (books->thread_count == books->thread_room) {
        books->thread_room = books->thread_room ? 2 * books->thread_room : 64;
        books->threads = hl_resized(books->threads, books->thread_room * sizeof *books->threads);
    }
    books->threads[books->thread_count] = (hl_thread){.process = image->process->id, .tid = tid, .number = number};
    return books->thread_count++;
}

/* A thread's regions: those that it is in, and the rows for them. */
typedef struct hl_thread_regions {
    uint32_t depth; /* may be more than is kept */
    uint8_t path[DEEPEST];
    uint32_t row[HL_REGIONS_MOST + 1];
} hl_thread_regions;

static uint32_t region_of(const hl_thread *thread)
{
    const hl_thread_regions *r = thread->regions;
    return r && r->depth ? r->path[(r->depth < DEEPEST ? r->depth : DEEPEST) - 1] : 0;
}

static uint32_t new_group(hl_books *books, uint32_t process, int32_t tid, hl_text name)
{
    if (books->group_count == books->group_room) {
        books->group_room = books->group_room ? 2 * books->group_room : 64;
        books->groups = hl_resized(books->groups, books->group_room * sizeof *books->groups);
    }
    books->groups[books->group_count] =
        (hl_group){.process = process, .tid = tid, .name = name, .threads = tid ? 1 : 0, .changed = true};
    return books->group_count++;
}

/* The name without its numbers: digits become one '#'. */
static uint32_t pattern_of(hl_text name, char *to)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < name.bytes && n < NAME_BYTES; i++) {
        char c = name.at[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit)
            to[n++] = c;
        else if (n == 0 || to[n - 1] != '#')
            to[n++] = '#';
    }
    return n;
}

/* What the kernel calls the thread now. */
static hl_text kernel_name(hl_books *books, int32_t pid, int32_t tid)
{
    char path[64], name[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", pid, tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (hl_text){0};
    ssize_t n = read(fd, name, sizeof name);
    close(fd);
    if (n > 0 && name[n - 1] == '\n')
        n--;
    return n > 0 ? hl_tree_text(&books->tree, name, (uint32_t)n) : (hl_text){0};
}

static hl_text best_name(const hl_thread *thread)
{
    return thread->python_name.at ? thread->python_name : thread->name;
}

static uint32_t shared_group(hl_books *books, hl_process *process, const hl_thread *thread)
{
    char pattern[NAME_BYTES];
    uint32_t bytes = pattern_of(best_name(thread), pattern);
    for (uint32_t i = process->first_shared_group; i && i < books->group_count; i++) {
        const hl_group *g = &books->groups[i];
        if (g->process == process->id && !g->tid && g->name.bytes == bytes && !memcmp(g->name.at, pattern, bytes))
            return i;
    }
    if (process->shared_groups >= OWN_ROWS) /* names without a pattern: the first such group takes the rest */
        return process->first_shared_group;
    uint32_t group = new_group(books, process->id, 0, hl_tree_text(&books->tree, pattern, bytes));
    if (!process->shared_groups++)
        process->first_shared_group = group;
    return group;
}

static uint32_t base_group(hl_books *books, uint32_t index, hl_process *process)
{
    hl_thread *thread = &books->threads[index];
    if (index == 0) { /* no memory of its own: more threads than can be told apart */
        hl_thread nameless = {0};
        return shared_group(books, process, &nameless);
    }
    if (thread->row)
        return thread->row;
    if (!thread->name.at)
        thread->name = kernel_name(books, process->pid, thread->tid);
    if (process->threads < OWN_ROWS) {
        process->threads++;
        return thread->row = new_group(books, process->id, thread->tid ? thread->tid : -1, best_name(thread));
    }
    thread->row = shared_group(books, process, thread);
    books->groups[thread->row].threads++;
    books->groups[thread->row].changed = true;
    return thread->row;
}

uint32_t hl_thread_group(hl_books *books, uint32_t index, hl_process *process)
{
    uint32_t base = base_group(books, index, process);
    hl_thread *thread = &books->threads[index];
    uint32_t region = region_of(thread);
    if (!region)
        return base;
    uint32_t *row = &thread->regions->row[region];
    for (uint32_t i = base + 1; i < books->group_count && !*row;
         i++) { /* another thread of the group's may have made it */
        if (books->groups[i].base == base && books->groups[i].region == region)
            *row = i;
    }
    if (!*row) {
        hl_group like = books->groups[base];
        *row = new_group(books, process->id, like.tid, like.name);
        books->groups[*row].base = base;
        books->groups[*row].region = region;
        books->groups[*row].threads = 0; /* they are counted once */
    }
    return *row;
}

uint32_t hl_thread_charge(const hl_books *books, uint32_t index)
{
    _Static_assert(HL_THREAD_BITS <= 24 && HL_REGIONS_MOST < 256, "hl_reader.charge");
    return index | region_of(&books->threads[index]) << 24;
}

static void moved_on(hl_books *books, uint32_t index)
{
    uint32_t charge = hl_thread_charge(books, index);
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        if (reader->thread != index || reader->charge == charge)
            continue;
        reader->charge = charge;
        memset(reader->rows, 0, sizeof reader->rows);
    }
}

/* The number of a way in which regions are nested; `around` where there are too many. */
static uint32_t path_of(hl_books *books, uint32_t around, hl_text name)
{
    char path[4 * HL_MARK_BYTES_MOST];
    uint32_t bytes = 0;
    if (around) {
        hl_text outer = books->regions[around];
        if (outer.bytes + 3 + name.bytes > sizeof path)
            return around;
        memcpy(path, outer.at, outer.bytes);
        memcpy(path + outer.bytes, " / ", 3);
        bytes = outer.bytes + 3;
    }
    memcpy(path + bytes, name.at, name.bytes);
    bytes += name.bytes;
    for (uint32_t i = 1; i <= books->region_count; i++) {
        if (books->regions[i].bytes == bytes && memcmp(books->regions[i].at, path, bytes) == 0)
            return i;
    }
    if (books->region_count == HL_REGIONS_MOST) {
        static const char text[] =
            "there were more than 255 regions: what was allocated in the later ones is counted outside of "
            "them (few names, with numbers left out, are told apart)";
        hl_books_note(books, 0, text, sizeof text - 1);
        return around;
    }
    books->regions[++books->region_count] = hl_tree_text(&books->tree, path, bytes);
    return books->region_count;
}

void hl_thread_enter_region(hl_books *books, uint32_t index, hl_text name)
{
    hl_thread *thread = &books->threads[index];
    if (index == 0)
        return;
    if (!thread->regions)
        thread->regions = hl_zeroed(sizeof *thread->regions);
    hl_thread_regions *r = thread->regions;
    uint32_t path = path_of(books, region_of(thread), name);
    if (r->depth < DEEPEST)
        r->path[r->depth] = (uint8_t)path;
    r->depth += r->depth < UINT32_MAX;
    moved_on(books, index);
}

void hl_thread_leave_region(hl_books *books, uint32_t index)
{
    hl_thread_regions *r = books->threads[index].regions;
    if (index == 0 || !r || r->depth == 0)
        return;
    r->depth--;
    moved_on(books, index);
}

void hl_threads_release(hl_books *books)
{
    for (uint32_t i = 0; i < books->thread_count; i++)
        free(books->threads[i].regions);
}

void hl_thread_name(hl_books *books, uint32_t index, hl_text_kind kind, const void *name, uint64_t bytes)
{
    char copy[NAME_BYTES];
    if (bytes > sizeof copy)
        bytes = sizeof copy;
    memcpy(copy, name, bytes);
    while (bytes && copy[bytes - 1] == '\0')
        bytes--;
    hl_thread *thread = &books->threads[index];
    hl_text *which = kind == HL_TEXT_PYTHON_NAME ? &thread->python_name : &thread->name;
    if (index == 0 || bytes == 0 || (which->bytes == bytes && !memcmp(which->at, copy, bytes)))
        return;
    if (thread->renamed++ > 64) /* a thread that renames itself for each task: names are kept for ever */
        return;
    *which = hl_tree_text(&books->tree, copy, (uint32_t)bytes);
    if (!thread->row || !books->groups[thread->row].tid)
        return;
    for (uint32_t i = thread->row; i < books->group_count; i++) {
        if (i != thread->row && (!thread->regions || books->groups[i].base != thread->row))
            continue;
        books->groups[i].name = best_name(thread);
        books->groups[i].changed = true;
        if (!thread->regions)
            break;
    }
}
