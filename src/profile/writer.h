/*
 * writer.h - internal to src/profile: what writer.c (rows into the database), publish.c (database into the file) and
 * source.c (source text) share. One thread at a time.
 */
#ifndef HL_PROFILE_WRITER_H
#define HL_PROFILE_WRITER_H

#include "dictionary.h"
#include "profile.h"

#include <sqlite3.h>
#include <sys/types.h>

enum writer_statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    PUT_META,
    PUT_PROCESS,
    PUT_MAPPING,
    PUT_THREAD,
    PUT_REGION,
    PUT_FILE,
    PUT_FUNCTION,
    PUT_FRAME,
    PUT_STACK,
    PUT_STAT,
    PUT_TICK,
    PUT_POOL,
    PUT_POOL_TICK,
    PUT_CELL,
    DELETE_CELL,
    PUT_MARK,
    PUT_NOTE,
    PUT_LINE_FUNCTION,
    PUT_LINE,
    WRITER_STATEMENTS,
};

#define HL_TEMPORARY_SUFFIX "heapline-XXXXXX.partial"

struct hl_profile_writer {
    char *path, *temporary; /* temporary: where a publish writes first, beside path; ends with HL_TEMPORARY_SUFFIX */
    mode_t mode;            /* of a new profile */
    hl_profile_identity identity; /* only numbers and flags: its strings went into the database at once */
    sqlite3 *db;
    sqlite3_stmt *statement[WRITER_STATEMENTS];
    hl_dictionary dictionary;
    /* How much of the dictionary's arrays the database has, committed. */
    size_t files_written, functions_written, frames_written, stacks_written;
    struct hl_symbols *symbols; /* null until the first native frame, unless some are expected */
    uint64_t symbols_until_ns;  /* when looking up is interrupted, CLOCK_MONOTONIC */
    hl_names_watch watch;
    bool is_watched;      /* `watch` may interrupt, too */
    char names_note[160]; /* what was not found and why; empty: nothing to say */
    bool empty_first;     /* a complete batch came and has not been committed */
    bool sources_embedded;
    hl_profile_cost *cost; /* NULL: only what batches say */
    char error[256];
};

/* Says what failed in writer->error and returns `code`. */
int hl_writer_fail(hl_profile_writer *writer, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* For an SQL error of the writer's database: -ENOMEM or -EIO. */
int hl_writer_sql_error(hl_profile_writer *writer);
int hl_writer_exec(hl_profile_writer *writer, const char *sql);
/* A transaction. hl_writer_clear takes back one that an error left open: whatever else begins or reads the image does that
 * first, so a failure to take it back only delays. */
int hl_writer_begin(hl_profile_writer *writer);
int hl_writer_commit(hl_profile_writer *writer);
int hl_writer_clear(hl_profile_writer *writer);
/* A number of the meta table. */
int hl_writer_meta(hl_profile_writer *writer, const char *key, uint64_t value);
/* Adds a note for the user, unless it is there. */
int hl_writer_note(hl_profile_writer *writer, uint32_t process, const char *text);

/* Removes what publishes of killed collectors left in the profile's folder. */
void hl_writer_remove_leftovers(const hl_profile_writer *writer);

/* Makes `symbols`. */
int hl_writer_open_symbols(hl_profile_writer *writer);
/* Looks up the names of native frames that have none yet, for a moment. */
int hl_writer_name_natives(hl_profile_writer *writer);
/* Whether there are frames whose names or lines can still be looked up; does so, which may take long, at the end. Rows of the
 * dictionary change; the database has them later. */
bool hl_writer_lacks_names(const hl_profile_writer *writer);
int hl_writer_name_rest(hl_profile_writer *writer);
/* What the dictionary has learned since the last commit, into the database; a transaction. */
int hl_writer_store_names(hl_profile_writer *writer);

/* Embeds the source text of the files that matter, within the budget. What cannot be read is left out, with a note. */
int hl_writer_embed_sources(hl_profile_writer *writer);

extern const char hl_schema_sql[]; /* src/profile/schema.sql, as the build found it */

#endif
