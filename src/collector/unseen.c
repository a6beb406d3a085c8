/*
 * unseen.c - processes whose executable has an allocator inside, so that its blocks are in no number (base/own_malloc.h): found
 * out when an image begins, told in the profile.
 *
 * Where libraries call it too, it may also be a mere wrapper that calls the next malloc, which is ours; then nothing is unseen,
 * and the blocks that have been counted say so.
 */
#include "books.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_executable(const hl_process *process)
{
    char path[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", process->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 || process->executable.bytes >= sizeof path || !process->executable.bytes)
        return fd;
    memcpy(path, process->executable.at, process->executable.bytes); /* it has ended already */
    path[process->executable.bytes] = '\0';
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

void hl_unseen_look(hl_books *books, hl_process *process)
{
    struct stat file;
    process->own_malloc = (hl_own_malloc){0};
    int fd = process->recording != HL_RECORDING_NOTHING ? open_executable(process) : -1;
    if (fd < 0)
        return;
    /* Many processes, few executables. */
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode)) {
        if (file.st_dev != books->looked_at.device || file.st_ino != books->looked_at.inode) {
            books->looked_at.device = file.st_dev;
            books->looked_at.inode = file.st_ino;
            books->looked_at.found = hl_own_malloc_of(fd);
        }
        process->own_malloc = books->looked_at.found;
    }
    close(fd);
    /* Python's own mimalloc is one of its allocators, whose objects are counted. */
    if (process->python_version && !process->own_malloc.exported)
        process->own_malloc = (hl_own_malloc){0};
    if (!process->own_malloc.name)
        return;
    char text[128];
    bool named = strcmp(process->own_malloc.name, "malloc") != 0;
    int n = snprintf(text, sizeof text, "blocks of the malloc inside it%s%s%s are not seen, only what that maps",
                     named ? " (" : "", named ? process->own_malloc.name : "", named ? ")" : "");
    process->unseen = hl_tree_text(&books->tree, text, (uint32_t)n);
}

/* Whether malloc has ever come to the library. */
static bool is_wrapper(const hl_books *books, const hl_process *process)
{
    const hl_rows *rows = &books->rows;
    for (uint32_t row = 1; row < rows->count; row++) {
        if (rows->key[row].process == process->id && rows->key[row].allocator == HL_MALLOC &&
            rows->row[row].allocations)
            return true;
    }
    return false;
}

hl_text hl_unseen_reason(const hl_books *books, const hl_process *process)
{
    const hl_own_malloc *own = &process->own_malloc;
    return !own->name || (own->exported && is_wrapper(books, process)) ? (hl_text){0} : process->unseen;
}

void hl_unseen_note(hl_books *books, const hl_process *process)
{
    if (!hl_unseen_reason(books, process).bytes)
        return;
    char text[512];
    bool named = strcmp(process->own_malloc.name, "malloc") != 0, exported = process->own_malloc.exported;
    int n =
        snprintf(text, sizeof text,
                 "the executable has %s inside, and %s calls it past heapline: its blocks are in no number%s; what it "
                 "maps counts as mappings (as pools, where it reserves more than it uses), and what it takes by sbrk "
                 "is in RSS alone",
                 named ? process->own_malloc.name : "a malloc of its own", exported ? "the whole process" : "its code",
                 exported ? "" : ", those of its libraries are");
    hl_books_note(books, process->id, text, (size_t)n);
}
