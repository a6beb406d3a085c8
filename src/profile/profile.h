/*
 * profile.h - the profile file: written by the collector's writer thread, read by every report.
 *
 * The file is an SQLite database (application_id HL_PROFILE_ID, user_version HL_PROFILE_VERSION, schema.sql), replaced
 * whole by rename at each checkpoint, so a reader always opens a finished file and a full disk leaves the last one.
 */
#ifndef HL_PROFILE_PROFILE_H
#define HL_PROFILE_PROFILE_H

#include "batch.h"

/* How the note of a child begins that was killed for want of memory; of the program itself meta.oom_scope tells it. */
#define HL_NOTE_OOM "was killed: out of memory ("

enum { HL_PROFILE_ID = 0x48504c31 /* "HPL1" */, HL_PROFILE_VERSION = 1 };

/* ------------------------------------------------------------------------------------------------------- writing */

typedef struct hl_profile_writer hl_profile_writer;

typedef struct hl_profile_identity { /* constant for a recording; strings are copied */
    const char *command;             /* as the user typed it */
    const char *directory;           /* working directory at the start */
    const char *host;
    uint64_t start_unix_ns;
    const char *options;       /* of `heapline run`, for people */
    const char *const *labels; /* key, value, key, value .. null */
    bool embed_source;
    bool native; /* native frames are to be expected: the process that reads symbols is forked at once, while this one
                        is small; else at the first native frame */
    bool debuginfod; /* ask the servers of DEBUGINFOD_URLS for debug information that is not on this machine */
} hl_profile_identity;

/* Who waits for the names of native frames at the end, when the profile is whole but for them. Called on the writer's thread. */
typedef struct hl_names_watch {
    void (*progress)(void *context, size_t all, size_t done, hl_text object); /* `object`: path of the one at work */
    bool (*stop)(void *context); /* asked every 20 ms: true: what has been found is all that is wanted */
    void *context;
} hl_names_watch;

/* A writer for `path`, with an empty database in memory. Nothing is written yet. -errno on failure. Not thread-safe: one
 * thread at a time. */
int hl_profile_writer_open(hl_profile_writer **writer, const char *path, const hl_profile_identity *identity);

/* Applies a batch: decodes line tables of new codes, merges nodes that show the same frame under the same parent,
 * upserts rows. -ENOMEM, or -EIO for an SQL error (hl_profile_writer_error says it in words): then nothing of the batch
 * is in the database, and the same batch should be applied again, later. */
int hl_profile_writer_apply(hl_profile_writer *writer, const hl_batch *batch);

/* Writes a temporary file in `path`'s directory and renames it over `path`; on failure (-ENOSPC, -EACCES ..) the last
 * file stays and the temporary one is removed. `final` looks up what names of native frames are still missing, which may
 * take a minute (a profile without them is published before), embeds source text and packs the database. */
int hl_profile_writer_publish(hl_profile_writer *writer, bool final);

/* What recording has cost so far. Asked just before each image is made, so that the file has all up to itself; without it
 * the numbers are the batch's. */
typedef void hl_profile_cost(uint64_t *cpu_ns, uint64_t *rss_peak_bytes);
void hl_profile_writer_ask_cost(hl_profile_writer *writer, hl_profile_cost *cost);

void hl_profile_writer_watch_names(hl_profile_writer *writer, const hl_names_watch *watch); /* copied */

const char *hl_profile_writer_error(const hl_profile_writer *writer);
void hl_profile_writer_close(hl_profile_writer *writer);

/* ------------------------------------------------------------------------------------------------------- reading */

typedef struct hl_profile hl_profile;

/* Opens a profile read-only, whole into memory. Errors: -errno of opening; -HL_NOT_A_PROFILE.. below; the text of the
 * error, one line without file name that goes on after it ("is empty (..)"), goes to `why` (of `why_bytes`). */
enum { HL_NOT_A_PROFILE = 2001, HL_PROFILE_TRUNCATED, HL_PROFILE_NEWER, HL_PROFILE_EMPTY };
int hl_profile_open(hl_profile **profile, const char *path, char *why, size_t why_bytes);
void hl_profile_close(hl_profile *profile);
struct sqlite3 *hl_profile_database(hl_profile *profile);

/* ------------------------------------------------------------------------------------------------------- merging */

typedef struct hl_merge_input {
    hl_profile *profile;
    const char *name; /* for people: the file's name */
} hl_merge_input;

/* Writes one profile of several to `path`, replacing it. `by_clock`: times are kept apart by the clock at their starts, else
 * all begin at once. `labels` as in hl_profile_identity, of the whole. -EEXIST: two of them hold the same recording; -ENOMEM,
 * -EIO or an errno of writing; words in `why`. */
int hl_profile_merge(const char *path, const hl_merge_input *inputs, size_t n, bool by_clock, const char *const *labels,
                     char *why, size_t why_bytes);

#endif
