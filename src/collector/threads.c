/*
 * threads.c - threads, their names, and the rows they get in the profile.
 *
 * A process's first 64 threads have a row each; later ones share a row with those of like name ("worker-3" and "worker-12"
 * are "worker-#"), so that a server which starts a thread for each request stays small. A thread gets its row when it
 * first allocates; a name that comes later renames the row of a thread that has its own, but moves no thread.
 */
#include "books.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OWN_ROWS = 64, NAME_BYTES = 256 };

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

uint32_t hl_thread_group(hl_books *books, uint32_t index, hl_process *process)
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
    if (thread->row && books->groups[thread->row].tid) {
        books->groups[thread->row].name = best_name(thread);
        books->groups[thread->row].changed = true;
    }
}
