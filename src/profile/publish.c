/*
 * publish.c - the database's image into the profile file: a temporary file beside it, renamed over it. Whoever opens
 * the profile at any moment gets a whole one, and when the disk is full the last one stays.
 */
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* A new name each time: a file that somebody left there is not touched. */
static int create_temporary(hl_profile_writer *w)
{
    static const char suffix[] = HL_TEMPORARY_SUFFIX;
    strcpy(w->temporary + strlen(w->temporary) - strlen(suffix), suffix);
    int fd = mkostemps(w->temporary, (int)strlen(strrchr(suffix, '.')), O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* What the profile already has, or what open(path, O_CREAT, 0666) would have given. */
static void set_mode(const hl_profile_writer *w, int fd)
{
    struct stat st;
    (void)!fchmod(fd, stat(w->path, &st) == 0 ? st.st_mode & 0777 : w->mode);
}

static int replace(hl_profile_writer *w, const unsigned char *image, size_t bytes)
{
    int fd = create_temporary(w);
    if (fd < 0)
        return hl_writer_fail(w, fd, "cannot make %s: %s", w->temporary, strerror(-fd));
    set_mode(w, fd);
    int error = write_all(fd, image, bytes);
    if (close(fd) != 0 && !error) /* some file systems report a full disk only here */
        error = -errno;
    if (error) {
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

int hl_profile_writer_publish(hl_profile_writer *w, bool final)
{
    w->error[0] = 0;
    int error = hl_writer_clear(w);
    if (!error && final && w->identity.embed_source && !w->sources_embedded)
        error = hl_writer_embed_sources(w);
    if (!error)
        error = pack(w, final);
    if (w->cost)
        put_cost(w);
    /* Without memory for these the profile is whole all the same, unless there is not even enough to clear. */
    if ((error && error != -ENOMEM) || hl_writer_clear(w) != 0)
        return error ? error : -ENOMEM;
    w->error[0] = 0;
    sqlite3_int64 bytes = 0;
    /* The image itself, not a copy: see open_database. */
    unsigned char *image = sqlite3_serialize(w->db, "main", &bytes, SQLITE_SERIALIZE_NOCOPY);
    if (!image || bytes <= 0)
        return hl_writer_fail(w, -EIO, "the profile's database has no image");
    return replace(w, image, (size_t)bytes);
}
