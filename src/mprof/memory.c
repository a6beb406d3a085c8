/*
 * memory.c - what /proc says of processes: resident memory by three measures, their children, names and command lines.
 *
 * RSS comes from statm, PSS and USS from smaps_rollup (Linux 4.14; smaps before it has the same lines, once a mapping).
 */
#include "mprof.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_of(pid_t pid, const char *file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : errno == ENOENT ? -ESRCH : -errno;
}

/* What fits, terminated; the number of bytes or -errno. */
static ssize_t read_of(pid_t pid, const char *file, char *to, size_t room)
{
    int fd = open_of(pid, file);
    if (fd < 0)
        return fd;
    size_t used = 0;
    ssize_t n = 0;
    while (used + 1 < room && ((n = read(fd, to + used, room - 1 - used)) > 0 || (n < 0 && errno == EINTR)))
        used += n > 0 ? (size_t)n : 0;
    int error = n < 0 ? -errno : 0;
    close(fd);
    to[used] = '\0';
    return error ? error : (ssize_t)used;
}

static int rss_of(pid_t pid, uint64_t *bytes)
{
    char text[128];
    unsigned long long pages;
    ssize_t n = read_of(pid, "statm", text, sizeof text);
    if (n < 0)
        return (int)n;
    if (sscanf(text, "%*u %llu", &pages) != 1 || pages == 0)
        return -ESRCH;
    *bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

static int shares_of(pid_t pid, hl_measure measure, uint64_t *bytes)
{
    int fd = open_of(pid, "smaps_rollup");
    if (fd == -ESRCH)
        fd = open_of(pid, "smaps");
    if (fd < 0)
        return fd;
    FILE *file = fdopen(fd, "r");
    if (file == NULL) {
        close(fd);
        return -ENOMEM;
    }
    const char *wanted = measure == HL_MEASURE_PSS ? "Pss:" : "Private_";
    char line[1024];
    unsigned long long kib;
    uint64_t sum = 0;
    bool some = false;
    errno = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, wanted, strlen(wanted)) == 0 && colon != NULL && sscanf(colon + 1, "%llu", &kib) == 1) {
            sum += kib * 1024;
            some = true;
        }
    }
    int error = ferror(file) ? -errno : 0;
    fclose(file);
    *bytes = sum;
    return error ? error : some ? 0 : -ESRCH;
}

int hl_memory_of(pid_t pid, hl_measure measure, uint64_t *bytes)
{
    return measure == HL_MEASURE_RSS ? rss_of(pid, bytes) : shares_of(pid, measure, bytes);
}

/* ------------------------------------------------------------------------------------------------------ processes */

typedef struct listed {
    pid_t pid, parent;
    unsigned long long start; /* ticks since boot */
    bool in;
} listed;

static bool list_one(pid_t pid, listed *one)
{
    char text[1024];
    if (read_of(pid, "stat", text, sizeof text) <= 0)
        return false;
    const char *at = strrchr(text, ')'); /* the name may have anything in it */
    int parent;
    if (at == NULL || sscanf(at + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                             &parent, &one->start) != 2)
        return false;
    one->pid = pid;
    one->parent = parent;
    one->in = false;
    return true;
}

static int by_pid(const void *a, const void *b)
{
    pid_t x = ((const listed *)a)->pid, y = ((const listed *)b)->pid;
    return (x > y) - (x < y);
}

/* Every process, by pid. The number, at least 1, or -errno. */
static ssize_t list_all(listed **all)
{
    *all = NULL;
    DIR *folder = opendir("/proc");
    if (folder == NULL)
        return -errno;
    size_t n = 0, room = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        listed one;
        if (!isdigit((unsigned char)entry->d_name[0]) || !list_one((pid_t)atol(entry->d_name), &one))
            continue;
        if (n == room) {
            listed *more = realloc(*all, (room = room ? 2 * room : 256) * sizeof *more);
            if (more == NULL) {
                free(*all);
                closedir(folder);
                return -ENOMEM;
            }
            *all = more;
        }
        (*all)[n++] = one;
    }
    closedir(folder);
    if (*all == NULL)
        return -ENOENT;
    qsort(*all, n, sizeof **all, by_pid);
    return (ssize_t)n;
}

int hl_descendants_of(pid_t pid, pid_t **pids)
{
    listed *all = NULL, key = {.pid = pid};
    *pids = NULL;
    ssize_t n = list_all(&all);
    if (n < 0)
        return (int)n;
    listed *root = bsearch(&key, all, (size_t)n, sizeof *all, by_pid);
    if (root == NULL) {
        free(all);
        return -ESRCH;
    }
    root->in = true;
    /* A child may have a smaller pid than its parent, once pids have wrapped: until nothing is found any more. */
    int found = 0;
    for (bool more = true; more;) {
        more = false;
        for (ssize_t i = 0; i < n; i++) {
            key.pid = all[i].parent;
            listed *parent = all[i].in ? NULL : bsearch(&key, all, (size_t)n, sizeof *all, by_pid);
            if (parent != NULL && parent->in && parent->start <= all[i].start) {
                all[i].in = more = true;
                found++;
            }
        }
    }
    *pids = malloc(((size_t)found + 1) * sizeof **pids);
    int put = 0;
    for (ssize_t i = 0; i < n && *pids != NULL; i++) {
        if (all[i].in && all[i].pid != pid)
            (*pids)[put++] = all[i].pid;
    }
    free(all);
    return *pids != NULL ? put : -ENOMEM;
}

pid_t hl_process_named(const char *part)
{
    listed *all = NULL;
    ssize_t n = list_all(&all);
    pid_t found = 0;
    for (ssize_t i = 0; all != NULL && i < n && found == 0; i++) {
        char name[64];
        ssize_t letters = all[i].pid != getpid() ? read_of(all[i].pid, "comm", name, sizeof name) : 0;
        if (letters > 0) {
            name[strcspn(name, "\n")] = '\0';
            if (strstr(name, part) != NULL)
                found = all[i].pid;
        }
    }
    free(all);
    return found;
}

void hl_mprof_command(char *to, size_t bytes, char *const *words)
{
    size_t used = 0;
    for (char *const *w = words; *w != NULL; w++) {
        const char *quote = strpbrk(*w, " \t") != NULL ? "'" : "";
        int n = snprintf(to + used, bytes - used, "%s%s%s%s", w == words ? "" : " ", quote, *w, quote);
        used += n > 0 ? (size_t)n : 0;
        if (used >= bytes) {
            used = bytes - 1;
            break;
        }
    }
    to[used] = '\0';
    for (char *c = to; *c != '\0'; c++) { /* it is one line of a file of lines */
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    }
}

bool hl_command_of(pid_t pid, char *to, size_t bytes)
{
    enum { WORDS = 1024 };
    char text[16384], *words[WORDS + 1];
    ssize_t n = read_of(pid, "cmdline", text, sizeof text);
    if (n == 0)
        n = read_of(pid, "comm", text, sizeof text);
    if (n <= 0)
        return false;
    int used = 0;
    for (char *at = text; at < text + n && used < WORDS; at += strlen(at) + 1)
        words[used++] = at;
    words[used] = NULL;
    words[used - 1][strcspn(words[used - 1], "\n")] = '\0';
    hl_mprof_command(to, bytes, words);
    return true;
}
