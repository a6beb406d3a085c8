/*
 * publish.c - the database's image into the profile file: a temporary file beside it, renamed over it. Whoever opens
 * the profile at any moment gets a whole one, and when the disk is full the last one stays.
 *
 * The temporary file has no name until it is whole, where the file system can do that (O_TMPFILE): a collector that is
 * killed leaves nothing. Elsewhere, and in the moment between name and rename, a file stays; the next recording into that
 * folder removes it. Runs on the collector's writer thread.
 */
#include "writer.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int write_all(int fd, const unsigned char *at, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------------ leftovers */

enum { RANDOM_AT = sizeof "heapline-" - 1, RANDOM_LETTERS = 6, LEFTOVER_SECONDS = 2 };

static bool is_temporary_name(const char *name)
{
    static const char suffix[] = HL_TEMPORARY_SUFFIX;
    if (strlen(name) != sizeof suffix - 1)
        return false;
    for (size_t i = 0; i < sizeof suffix - 1; i++) {
        bool random = i >= RANDOM_AT && i < RANDOM_AT + RANDOM_LETTERS;
        if (random ? !isalnum((unsigned char)name[i]) : name[i] != suffix[i])
            return false;
    }
    return true;
}

/* Removes it if it is what a publish of this user left that nobody works at any more: one at work holds its lock, or is done
 * within a moment. */
static void remove_leftover(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    static const char magic[] = "SQLite format 3";
    char begin[sizeof magic];
    struct stat st;
    bool left = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
                time(NULL) - st.st_mtime > LEFTOVER_SECONDS && flock(fd, LOCK_EX | LOCK_NB) == 0;
    ssize_t n = left ? read(fd, begin, sizeof begin) : -1;
    if (n >= 0 && memcmp(begin, magic, (size_t)n) == 0) /* perhaps not even that had been written */
        unlinkat(folder, name, 0);
    close(fd);
}

void hl_writer_remove_leftovers(const hl_profile_writer *w)
{
    char *path = strdup(w->temporary);
    if (!path)
        return;
    path[strlen(path) - strlen(HL_TEMPORARY_SUFFIX)] = '\0';
    DIR *folder = opendir(*path ? path : ".");
    for (struct dirent *e; folder && (e = readdir(folder));) {
        if (is_temporary_name(e->d_name))
            remove_leftover(dirfd(folder), e->d_name);
    }
    if (folder)
        closedir(folder);
    free(path);
}

/* -------------------------------------------------------------------------------------------------------- the file */

static char *random_letters(hl_profile_writer *w)
{
    return w->temporary + strlen(w->temporary) - strlen(HL_TEMPORARY_SUFFIX) + RANDOM_AT;
}

/* A file without a name, which is gone when the collector is killed. */
static int create_unnamed(hl_profile_writer *w)
{
    char *name = random_letters(w) - RANDOM_AT, first = *name;
    *name = '\0';
    int fd = open(name == w->temporary ? "." : w->temporary, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    *name = first;
    return fd;
}

/* Gives it a name, a new one each time. False: it cannot have one here. */
static bool name_it(hl_profile_writer *w, int fd)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int tries = 0; tries < 100; tries++) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t random = ((uint64_t)now.tv_nsec << 20 ^ (uint64_t)getpid()) * UINT64_C(0x9e3779b97f4a7c15) >> 16;
        for (int i = 0; i < RANDOM_LETTERS; i++, random /= sizeof letters - 1)
            random_letters(w)[i] = letters[random % (sizeof letters - 1)];
        if (linkat(AT_FDCWD, path, AT_FDCWD, w->temporary, AT_SYMLINK_FOLLOW) == 0)
            return true;
        if (errno != EEXIST)
            return false;
    }
    return false;
}

/* Where a file must have a name: a new one each time, so a file that somebody left there is not touched. The lock says that
 * it is being written. */
static int create_named(hl_profile_writer *w)
{
    memset(random_letters(w), 'X', RANDOM_LETTERS);
    int fd = mkostemps(w->temporary, (int)strlen(strrchr(HL_TEMPORARY_SUFFIX, '.')), O_CLOEXEC);
    if (fd >= 0)
        flock(fd, LOCK_EX | LOCK_NB);
    return fd < 0 ? -errno : fd;
}

/* What the profile already has, or what open(path, O_CREAT, 0666) would have given. */
static void set_mode(const hl_profile_writer *w, int fd)
{
    struct stat st;
    (void)!fchmod(fd, stat(w->path, &st) == 0 ? st.st_mode & 0777 : w->mode);
}

/* Writes the image into `fd` and closes it; -errno. `unnamed`: then it gets a name before; `*unnamed` stays true when it
 * cannot have one. */
static int fill(hl_profile_writer *w, int fd, const unsigned char *image, size_t bytes, bool *unnamed)
{
    set_mode(w, fd);
    int error = write_all(fd, image, bytes);
    if (!error && *unnamed && name_it(w, fd))
        *unnamed = false;
    if (close(fd) != 0 && !error) /* some file systems report a full disk only here */
        error = -errno;
    return error;
}

static int replace(hl_profile_writer *w, const unsigned char *image, size_t bytes)
{
    int fd = create_unnamed(w), error = 0;
    bool unnamed = fd >= 0, named = false;
    if (unnamed) {
        error = fill(w, fd, image, bytes, &unnamed);
        named = !unnamed;
    }
    if (!error && !named) {
        fd = create_named(w);
        if (fd < 0)
            return hl_writer_fail(w, fd, "cannot make %s: %s", w->temporary, strerror(-fd));
        named = true;
        error = fill(w, fd, image, bytes, &(bool){false});
    }
    if (error) {
        if (named)
            unlink(w->temporary);
        return hl_writer_fail(w, error, "cannot write %s: %s", w->path, strerror(-error));
    }
    if (rename(w->temporary, w->path) != 0) {
        error = -errno;
        unlink(w->temporary);
        return hl_writer_fail(w, error, "cannot replace %s: %s", w->path, strerror(-error));
    }
    return 0;
}

static int64_t pragma(hl_profile_writer *w, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t value = 0;
    if (sqlite3_prepare_v2(w->db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return value;
}

/* A complete batch can leave many pages unused; at the end, rows that came in no order have left pages half full. */
static int pack(hl_profile_writer *w, bool final)
{
    if (!final && pragma(w, "PRAGMA freelist_count") * 4 < pragma(w, "PRAGMA page_count"))
        return 0;
    return hl_writer_exec(w, "VACUUM");
}

/* Without memory for it the last batch's numbers stay. */
static void put_cost(hl_profile_writer *w)
{
    uint64_t cpu_ns, rss_peak_bytes;
    w->cost(&cpu_ns, &rss_peak_bytes);
    if (hl_writer_meta(w, "collector_cpu_ns", cpu_ns) == 0)
        hl_writer_meta(w, "collector_rss_peak", rss_peak_bytes);
}

static int write_image(hl_profile_writer *w)
{
    w->error[0] = 0;
    if (w->cost)
        put_cost(w);
    if (hl_writer_clear(w) != 0)
        return -ENOMEM;
    w->error[0] = 0;
    sqlite3_int64 bytes = 0;
    /* The image itself, not a copy: see open_database. */
    unsigned char *image = sqlite3_serialize(w->db, "main", &bytes, SQLITE_SERIALIZE_NOCOPY);
    if (!image || bytes <= 0)
        return hl_writer_fail(w, -EIO, "the profile's database has no image");
    return replace(w, image, (size_t)bytes);
}

/* The profile without the rest of the names first: the user may not want to wait, and this process may be killed. What cannot
 * be written now is written with the names. */
static int complete_names(hl_profile_writer *w)
{
    int error = 0;
    if (hl_writer_lacks_names(w)) {
        write_image(w);
        w->error[0] = 0;
        error = hl_writer_name_rest(w);
    }
    bool is_stored = !w->dictionary.renamed.n && !w->names_note[0];
    return error || is_stored ? error : hl_writer_store_names(w);
}

int hl_profile_writer_publish(hl_profile_writer *w, bool final)
{
    w->error[0] = 0;
    int error = hl_writer_clear(w);
    if (!error && final)
        error = complete_names(w);
    if ((!error || error == -ENOMEM) && final && w->identity.embed_source && !w->sources_embedded)
        error = hl_writer_clear(w) ? -ENOMEM : hl_writer_embed_sources(w);
    if (!error)
        error = pack(w, final);
    /* Without memory for these the profile is whole all the same, unless there is not even enough to clear. */
    if (error && error != -ENOMEM)
        return error;
    return write_image(w);
}
