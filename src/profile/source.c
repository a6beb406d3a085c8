/*
 * source.c - puts the source text of the files that matter into the profile, at its end, so that a report can show
 * lines on another machine or after an edit. Runs on the writer's thread, with the rights of the user who records.
 *
 * The paths come from the program and are not trusted: only regular files are read, without waiting for any of them.
 */
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { FILE_MAX_BYTES = 4 << 20, BUDGET_BYTES = 2000000 };
/* The program's end waits for it: 9 takes seven times as long and makes source text 6 % smaller. */
enum { LEVEL = 4 };

/* Files that have functions profiled by line first, then the user's, then those of libraries with at least 1 % of a total at
 * their own lines; heaviest first. */
static const char candidates_sql[] =
    "SELECT * FROM (SELECT DISTINCT file.id AS id, file.path FROM line_function JOIN file ON file.id = "
    "line_function.file "
    "WHERE file.origin <> 'native' AND file.source IS NULL) "
    "UNION ALL SELECT * FROM (SELECT id, path "
    "FROM (SELECT file.id AS id, file.path AS path, file.origin AS origin, stat.allocated, stat.tree_peak, stat.live "
    "FROM file JOIN function ON function.file = file.id JOIN frame ON frame.function = function.id "
    "LEFT JOIN stack ON stack.frame = frame.id LEFT JOIN stat ON stat.stack = stack.id "
    "WHERE file.origin IN ('user', 'site', 'stdlib') AND file.source IS NULL "
    "AND file.id NOT IN (SELECT file FROM line_function WHERE file IS NOT NULL)) "
    "GROUP BY id HAVING origin = 'user' "
    "OR sum(allocated) * 100 >= (SELECT value FROM meta WHERE key = 'allocated') "
    "OR sum(tree_peak) * 100 >= (SELECT value FROM meta WHERE key = 'peak') "
    "OR sum(live) * 100 >= (SELECT value FROM meta WHERE key = 'live') "
    "ORDER BY origin = 'user' DESC, max(sum(tree_peak), sum(live)) DESC, sum(allocated) DESC)";

typedef struct embedding {
    hl_profile_writer *writer;
    sqlite3_stmt *update;
    char *directory; /* of the program at its start, for relative paths */
    size_t budget_bytes;
    unsigned changed, over_budget;
    char first_changed[160];
} embedding;

typedef struct source_file {
    unsigned char *text, *packed;
    size_t text_bytes;
    unsigned long packed_bytes;
} source_file;

static int open_source(const embedding *e, const char *path, struct stat *st)
{
    char absolute[4096];
    if (path[0] != '/') {
        if (snprintf(absolute, sizeof absolute, "%s/%s", e->directory, path) >= (int)sizeof absolute)
            return -ENAMETOOLONG;
        path = absolute;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_size > 0 && st->st_size <= FILE_MAX_BYTES)
        return fd;
    int error = S_ISREG(st->st_mode) && st->st_size > FILE_MAX_BYTES ? -EFBIG : -EINVAL;
    close(fd);
    return error;
}

static bool changed_since(const struct stat *st, uint64_t start_unix_ns)
{
    uint64_t ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    return start_unix_ns && st->st_mtim.tv_sec > 0 && ns > start_unix_ns;
}

static int read_whole(int fd, unsigned char *at, size_t bytes)
{
    while (bytes) {
        ssize_t n = read(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* Source text has no zero bytes; what has is something else. */
static int read_and_pack(int fd, size_t bytes, source_file *file)
{
    file->text_bytes = bytes;
    file->packed_bytes = compressBound(bytes);
    file->text = malloc(bytes ? bytes : 1);
    file->packed = malloc(file->packed_bytes);
    if (!file->text || !file->packed)
        return -ENOMEM;
    int error = read_whole(fd, file->text, bytes);
    if (!error && memchr(file->text, 0, bytes))
        error = -EINVAL;
    if (!error && compress2(file->packed, &file->packed_bytes, file->text, bytes, LEVEL) != Z_OK)
        error = -ENOMEM;
    return error; // NOLINT(clang-analyzer-unix.Malloc): the caller frees both
}

static int store_source(embedding *e, sqlite3_int64 id, const source_file *file)
{
    sqlite3_bind_int64(e->update, 1, (sqlite3_int64)file->text_bytes);
    sqlite3_bind_blob64(e->update, 2, file->packed, file->packed_bytes, SQLITE_STATIC);
    sqlite3_bind_int64(e->update, 3, id);
    int stepped = sqlite3_step(e->update);
    int error = stepped == SQLITE_DONE ? 0 : hl_writer_sql_error(e->writer);
    sqlite3_reset(e->update);
    return error;
}

/* Only errors of the database are errors here; a file that cannot be had is left out. */
static int embed_one(embedding *e, sqlite3_int64 id, const char *path)
{
    struct stat st = {0};
    int fd = open_source(e, path, &st);
    if (fd < 0) {
        e->over_budget += fd == -EFBIG;
        return 0;
    }
    if (changed_since(&st, e->writer->identity.start_unix_ns)) {
        if (e->changed++ == 0)
            snprintf(e->first_changed, sizeof e->first_changed, "%s", path);
        close(fd);
        return 0;
    }
    source_file file = {0};
    int error = read_and_pack(fd, (size_t)st.st_size, &file);
    close(fd);
    if (!error && file.packed_bytes > e->budget_bytes) {
        e->over_budget++;
    } else if (!error) {
        error = store_source(e, id, &file);
        e->budget_bytes -= file.packed_bytes;
    } else {
        error = 0;
    }
    free(file.text);
    free(file.packed);
    return error;
}

static int say_what_is_missing(const embedding *e)
{
    char text[320];
    int error = 0;
    if (e->changed) {
        int n = snprintf(text, sizeof text, "the source text of %s", e->first_changed);
        if (e->changed > 1)
            n += snprintf(text + n, sizeof text - (size_t)n, " and %u more", e->changed - 1);
        snprintf(text + n, sizeof text - (size_t)n, " is not in the profile: changed after the recording began");
        error = hl_writer_note(e->writer, 0, text);
    }
    if (e->over_budget && !error) {
        snprintf(text, sizeof text, "the source text of %u file%s is not in the profile: the budget of 2 MB was full",
                 e->over_budget, e->over_budget == 1 ? "" : "s");
        error = hl_writer_note(e->writer, 0, text);
    }
    return error;
}

static int embed_all(embedding *e, sqlite3_stmt *candidates)
{
    int stepped, error = 0;
    while (!error && (stepped = sqlite3_step(candidates)) == SQLITE_ROW) {
        const char *path = (const char *)sqlite3_column_text(candidates, 1);
        if (path && strlen(path) == (size_t)sqlite3_column_bytes(candidates, 1))
            error = embed_one(e, sqlite3_column_int64(candidates, 0), path);
    }
    if (!error && stepped != SQLITE_DONE)
        error = hl_writer_sql_error(e->writer);
    return error ? error : say_what_is_missing(e);
}

static char *start_directory(hl_profile_writer *w)
{
    sqlite3_stmt *s = NULL;
    char *directory = NULL;
    if (sqlite3_prepare_v2(w->db, "SELECT value FROM meta WHERE key = 'directory'", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0))
        directory = strdup((const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return directory;
}

int hl_writer_embed_sources(hl_profile_writer *w)
{
    embedding e = {.writer = w, .budget_bytes = BUDGET_BYTES};
    sqlite3_stmt *candidates = NULL;
    e.directory = start_directory(w);
    if (!e.directory)
        return hl_writer_fail(w, -ENOMEM, "out of memory");
    int error = hl_writer_begin(w);
    if (!error && (sqlite3_prepare_v2(w->db, candidates_sql, -1, &candidates, NULL) != SQLITE_OK ||
                   sqlite3_prepare_v2(w->db, "UPDATE file SET source_bytes = ?, source = ? WHERE id = ?", -1, &e.update,
                                      NULL) != SQLITE_OK))
        error = hl_writer_sql_error(w);
    if (!error)
        error = embed_all(&e, candidates);
    sqlite3_finalize(candidates);
    sqlite3_finalize(e.update);
    free(e.directory);
    if (!error)
        error = hl_writer_commit(w);
    if (error)
        hl_writer_clear(w);
    else
        w->sources_embedded = true;
    return error;
}
