/*
 * reader.c - opens a profile for reports. Reads it whole into memory through one descriptor, so that a recording that
 * replaces the file meanwhile, or a copy that is still being written, cannot change it under a report.
 *
 * The file may be anything: what it is gets decided from its bytes, and what SQLite then reads of it is checked by
 * SQLite with its defences on.
 */
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hl_profile {
    sqlite3 *db;
    unsigned char *image;
};

enum { HEADER_BYTES = 100 }; /* of an SQLite file: https://www.sqlite.org/fileformat2.html, 1.3 */

typedef struct problem {
    char *why;
    size_t why_bytes;
} problem;

static int say(problem *p, int code, const char *what)
{
    snprintf(p->why, p->why_bytes, "%s", what);
    return code;
}

static int say_errno(problem *p, int error)
{
    snprintf(p->why, p->why_bytes, "cannot be read: %s", strerror(error));
    return -error;
}

static uint32_t big_endian(const unsigned char *at, int bytes)
{
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | *at++;
    return value;
}

static bool begins(const unsigned char *image, size_t bytes, const char *with)
{
    size_t n = strlen(with);
    return bytes >= n && memcmp(image, with, n) == 0;
}

/* By content alone: what the file is, and whether all of it is here. */
static int check_image(const unsigned char *image, size_t bytes, problem *p)
{
    static const char magic[16] = "SQLite format 3";
    if (bytes == 0)
        return say(p, -HL_PROFILE_EMPTY,
                   "is empty (was the recording stopped before its first checkpoint? record again "
                   "with 'heapline run')");
    if (begins(image, bytes, "memray"))
        return say(p, -HL_NOT_A_PROFILE,
                   "is a memray capture, not a heapline profile (read it with memray, or record "
                   "with 'heapline run')");
    size_t known = bytes < sizeof magic ? bytes : sizeof magic;
    if (memcmp(image, magic, known) != 0)
        return say(p, -HL_NOT_A_PROFILE, "is not a heapline profile (make one with 'heapline run')");
    if (bytes < HEADER_BYTES)
        return say(p, -HL_PROFILE_TRUNCATED, "is cut short (copy it again)");
    if (big_endian(image + 68, 4) != HL_PROFILE_ID)
        return say(p, -HL_NOT_A_PROFILE,
                   "is an SQLite database, but not a heapline profile (make one with 'heapline run')");
    if (big_endian(image + 60, 4) > HL_PROFILE_VERSION)
        return say(p, -HL_PROFILE_NEWER, "was written by a newer heapline (update heapline to read it)");
    uint32_t page = big_endian(image + 16, 2);
    uint64_t page_bytes = page == 1 ? 65536 : page;
    if (bytes < page_bytes * big_endian(image + 28, 4))
        return say(p, -HL_PROFILE_TRUNCATED, "is cut short (copy it again)");
    return 0;
}

static int read_image(int fd, unsigned char *image, size_t bytes, size_t *got)
{
    for (*got = 0; *got < bytes;) {
        ssize_t n = read(fd, image + *got, bytes - *got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return 0;
}

/* A foreign file may be of any size: its header decides before the rest is read. */
static int load(int fd, unsigned char **image, size_t *bytes, problem *p)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return say_errno(p, errno);
    if (S_ISDIR(st.st_mode))
        return say(p, -EISDIR, "is a directory (name the profile in it)");
    if (!S_ISREG(st.st_mode))
        return say(p, -HL_NOT_A_PROFILE, "is not a regular file (name a profile that 'heapline run' wrote)");
    unsigned char header[HEADER_BYTES];
    size_t got = 0;
    int error = read_image(fd, header, sizeof header, &got);
    if (error)
        return say_errno(p, -error);
    if (got < sizeof header || big_endian(header + 68, 4) != HL_PROFILE_ID) {
        error = check_image(header, got, p);
        return error ? error : say(p, -HL_PROFILE_TRUNCATED, "is cut short (copy it again)");
    }
    unsigned char *whole = sqlite3_malloc64((sqlite3_uint64)st.st_size);
    if (!whole)
        return say(p, -ENOMEM, "is too large for the free memory");
    memcpy(whole, header, got);
    error = read_image(fd, whole + got, (size_t)st.st_size - got, bytes);
    *bytes += got;
    if (!error)
        error = check_image(whole, *bytes, p);
    else
        say_errno(p, -error);
    if (error)
        sqlite3_free(whole);
    else
        *image = whole;
    return error;
}

static int damaged(sqlite3 *db, int sql_error, problem *p)
{
    if (!db || (sql_error & 0xff) == SQLITE_NOMEM || (sqlite3_errcode(db) & 0xff) == SQLITE_NOMEM)
        return say(p, -ENOMEM, "is too large for the free memory");
    const char *words = sqlite3_errcode(db) == SQLITE_OK ? sqlite3_errstr(sql_error) : sqlite3_errmsg(db);
    snprintf(p->why, p->why_bytes, "is damaged: %s (copy it again, or record again with 'heapline run')", words);
    return -HL_NOT_A_PROFILE;
}

/* Every table and column of version 1, so that a report finds out here and not half-way through. */
static const char *const version_1[] = {
    "SELECT key, value FROM meta",
    "SELECT key, value FROM label",
    ("SELECT id, pid, parent, parent_pid, born_by, command, executable, python, recorded, reason, start_ns, end_ns, "
     "ended, "
     "exit_status, allocations, allocated, frees, freed, live, live_blocks, peak, peak_ns, peak_blocks, "
     "inherited_frees, "
     "unknown_frees, lost, waited_ns, rss_peak FROM process"),
    "SELECT process, class, count, mapped, live, peak FROM mapping",
    "SELECT id, process, tid, name, threads FROM thread",
    "SELECT id, path, origin, source_bytes, source FROM file",
    "SELECT id, file, name, first_line FROM function",
    "SELECT id, function, line, end_line, col, end_col FROM frame",
    "SELECT id, parent, frame, kind FROM stack",
    "SELECT id, name FROM stack_kind",
    ("SELECT id, stack, process, thread, allocator, allocations, allocated, frees, freed, live, live_blocks, peak, "
     "peak_blocks, tree_peak, tree_peak_blocks, largest, temporary, sizes, lifetimes FROM stat"),
    "SELECT id, name FROM allocator",
    "SELECT process, tick, heap, heap_low, heap_high, arena, rss, rss_anon, rss_file, rss_shmem, pss FROM tick",
    "SELECT stat, born, lived, blocks, bytes FROM cell_row",
    "SELECT stat, born, died, blocks, bytes FROM cell",
    "SELECT time_ns, process, kind, name FROM mark",
    "SELECT id, process, text FROM note",
};

static int check_tables(sqlite3 *db, problem *p)
{
    for (size_t i = 0; i < sizeof version_1 / sizeof *version_1; i++) {
        sqlite3_stmt *statement = NULL;
        int error = sqlite3_prepare_v2(db, version_1[i], -1, &statement, NULL);
        int stepped = error == SQLITE_OK ? sqlite3_step(statement) : error;
        sqlite3_finalize(statement);
        if (stepped != SQLITE_ROW && stepped != SQLITE_DONE)
            return damaged(db, stepped, p);
    }
    return 0;
}

static int open_image(hl_profile *profile, size_t bytes, problem *p)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX; /* of the empty database that the image then replaces */
    int error = sqlite3_open_v2(":memory:", &profile->db, flags, NULL);
    if (error != SQLITE_OK)
        return damaged(profile->db, error, p);
    sqlite3_db_config(profile->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(profile->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(profile->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    error = sqlite3_deserialize(profile->db, "main", profile->image, (sqlite3_int64)bytes, (sqlite3_int64)bytes,
                                SQLITE_DESERIALIZE_READONLY);
    if (error == SQLITE_OK)
        error = sqlite3_exec(profile->db,
                             "PRAGMA mmap_size = 1073741824; PRAGMA cell_size_check = ON;"
                             "PRAGMA temp_store = MEMORY",
                             NULL, NULL, NULL);
    if (error != SQLITE_OK)
        return damaged(profile->db, error, p);
    return check_tables(profile->db, p);
}

int hl_profile_open(hl_profile **profile, const char *path, char *why, size_t why_bytes)
{
    problem p = {why, why_bytes};
    *profile = NULL;
    say(&p, 0, "");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? say(&p, -ENOENT, "does not exist (a recording writes it within its first second)")
                               : say_errno(&p, errno);
    hl_profile *opened = calloc(1, sizeof *opened);
    size_t bytes = 0;
    int error = opened ? load(fd, &opened->image, &bytes, &p) : say(&p, -ENOMEM, "cannot be read: out of memory");
    close(fd);
    if (!error)
        error = open_image(opened, bytes, &p);
    if (error)
        hl_profile_close(opened);
    else
        *profile = opened;
    return error;
}

void hl_profile_close(hl_profile *profile)
{
    if (!profile)
        return;
    sqlite3_close(profile->db);
    sqlite3_free(profile->image); /* lent to the database until here */
    free(profile);
}

struct sqlite3 *hl_profile_database(hl_profile *profile) { return profile->db; }
