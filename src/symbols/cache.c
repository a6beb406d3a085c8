/*
 * cache.c - the folder of symbol tables. Runs in the collector.
 *
 * A file's modification time is when it was last used (a collector that reads it touches it), which is what the bound on all
 * of them goes by. Names begin with the format's version, so another version's files are left alone and age away.
 */
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_MOST_BYTES = 256 << 20,
    FILES_MOST = 4096,
    ABANDONED_S = 3600, /* a temporary file of a collector that died */
};
#define VERSION "1-"

char *hl_symbol_cache_folder(const char *given)
{
    char *folder = NULL;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (given)
        return *given ? strdup(given) : NULL;
    /* The standard says that a relative one is to be ignored. */
    if (cache && cache[0] == '/')
        return asprintf(&folder, "%s/heapline/symbols", cache) < 0 ? NULL : folder;
    if (home && home[0] == '/')
        return asprintf(&folder, "%s/.cache/heapline/symbols", home) < 0 ? NULL : folder;
    return NULL;
}

/* Build ids come from the program: only hexadecimal digits may become a file's name. */
static bool is_name(const char *build_id)
{
    size_t length = strlen(build_id);
    return length >= 8 && length <= 128 && strspn(build_id, "0123456789abcdef") == length;
}

static int make_folders(const char *folder)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s", folder);
    if (length < 1 || (size_t)length >= sizeof path)
        return -ENAMETOOLONG;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

/* The folder, if it is ours alone to write: what is in it is believed. */
static int open_folder(const char *folder)
{
    struct stat st;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))) {
        close(fd);
        return -1;
    }
    return fd;
}

static uint8_t *read_file(int fd, size_t *bytes)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > FILE_MOST_BYTES)
        return NULL;
    size_t size = (size_t)st.st_size, used = 0;
    uint8_t *content = malloc(size);
    while (content && used < size) {
        ssize_t n = read(fd, content + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(content);
            return NULL;
        }
        used += (size_t)n;
    }
    *bytes = used;
    return content;
}

bool hl_symbol_cache_load(const char *folder, const char *build_id, hl_symbol_table *table)
{
    char name[160];
    bool is_loaded = false;
    if (!folder || !is_name(build_id))
        return false;
    snprintf(name, sizeof name, VERSION "%s", build_id);
    int at = open_folder(folder);
    int fd = at < 0 ? -1 : openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        size_t bytes = 0;
        uint8_t *content = read_file(fd, &bytes);
        is_loaded = content && hl_symbol_table_read(table, build_id, content, bytes) == 0;
        free(content);
        if (is_loaded)
            futimens(fd, NULL);
        close(fd);
        if (!is_loaded)
            unlinkat(at, name, 0);
    }
    if (at >= 0)
        close(at);
    return is_loaded;
}

typedef struct entry {
    char name[256];
    uint64_t bytes;
    int64_t used_ns;
} entry;

static int oldest_first(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* Other collectors may do the same at once: what one has removed, another cannot, and both end below the bound. */
static void trim(int at, uint64_t most_bytes)
{
    int copy = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    entry *entries = malloc(FILES_MOST * sizeof *entries);
    size_t used = 0;
    uint64_t sum = 0;
    time_t now = time(NULL);
    if (!list && copy >= 0)
        close(copy);
    for (struct dirent *d; list && entries && (d = readdir(list)) != NULL;) {
        struct stat st;
        if (d->d_name[0] == '.' || strlen(d->d_name) >= sizeof entries->name ||
            fstatat(at, d->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        if (strncmp(d->d_name, "new-", 4) == 0) {
            if (now - st.st_mtime > ABANDONED_S)
                unlinkat(at, d->d_name, 0);
            continue;
        }
        if (used == FILES_MOST) { /* more than anybody has: the first ones seen go */
            unlinkat(at, d->d_name, 0);
            continue;
        }
        entry *e = &entries[used++];
        memcpy(e->name, d->d_name, strlen(d->d_name) + 1); /* it fits: looked at above */
        e->bytes =
            (uint64_t)st.st_blocks * 512 > (uint64_t)st.st_size ? (uint64_t)st.st_blocks * 512 : (uint64_t)st.st_size;
        e->used_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
        sum += e->bytes;
    }
    if (sum > most_bytes)
        qsort(entries, used, sizeof *entries, oldest_first);
    for (size_t i = 0; i < used && sum > most_bytes; i++) {
        unlinkat(at, entries[i].name, 0);
        sum -= entries[i].bytes;
    }
    free(entries);
    if (list)
        closedir(list);
}

static int write_all(int fd, const uint8_t *bytes, size_t n)
{
    while (n) {
        ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written ? -errno : -EIO;
        bytes += written;
        n -= (size_t)written;
    }
    return 0;
}

int hl_symbol_cache_store(const char *folder, const char *build_id, hl_symbol_table *table, uint64_t most_bytes)
{
    char name[160], temporary[64];
    struct timespec now;
    size_t bytes = 0;
    if (!folder || !is_name(build_id))
        return -EINVAL;
    int error = make_folders(folder);
    int at = error ? -1 : open_folder(folder);
    if (at < 0)
        return error ? error : -EACCES;
    uint8_t *content = hl_symbol_table_write(table, build_id, &bytes);
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, sizeof name, VERSION "%s", build_id);
    snprintf(temporary, sizeof temporary, "new-%d-%lx%09lx", (int)getpid(), (long)now.tv_sec, now.tv_nsec);
    int fd = content ? openat(at, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    error = !content ? -ENOMEM : fd < 0 ? -errno : bytes > most_bytes ? -EFBIG : write_all(fd, content, bytes);
    free(content);
    if (fd >= 0) {
        if (close(fd) && !error)
            error = -errno;
        if (!error && renameat(at, temporary, at, name))
            error = -errno;
        if (error)
            unlinkat(at, temporary, 0);
    }
    if (!error)
        trim(at, most_bytes);
    close(at);
    return error;
}
