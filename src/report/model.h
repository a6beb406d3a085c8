/*
 * model.h - a profile as arrays, and one selection of it: what every report is computed from.
 *
 * hl_model_load reads the profile's tables once, in the order that makes each reference an index into another array; a
 * reference that leads nowhere (a broken file) leads to row 0 or to nothing, never outside. Cells, histograms and source
 * text are read when a report asks. The model borrows the database and must be released before it is closed.
 *
 * A view is a selection of it: which moment, process and thread, and from that each stat row's weight. Everything that a
 * report shows is a sum of weights, so everything adds up; hl_view_check compares the sum with the profile's own totals.
 *
 * "Your line": a stack is charged to the site of its innermost frame in the user's own files. A stack without one belongs
 * to its outermost frame, to "(interpreter start-up)" or to "(no Python)". When the whole program has no file of the
 * user's (python -m http.server), installed packages count as the user's, or else the standard library.
 */
#ifndef HL_REPORT_MODEL_H
#define HL_REPORT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sqlite3;

#define HL_NO_ROW UINT32_MAX

typedef enum hl_origin {
    HL_ORIGIN_USER,
    HL_ORIGIN_SITE,
    HL_ORIGIN_STDLIB,
    HL_ORIGIN_FROZEN,
    HL_ORIGIN_NATIVE
} hl_origin;

typedef struct hl_model_file {
    int64_t id;
    const char *path;
    const char *label; /* a shorter name of it for people: below the working directory, site-packages, the library */
    hl_origin origin;
    bool embedded; /* has its source text in the profile */
    bool native;   /* source of native frames, or a loaded object */
} hl_model_file;

typedef struct hl_model_function {
    int64_t id;
    uint32_t file;
    const char *name;
    int32_t first_line;
    bool native; /* of native frames */
} hl_model_function;

typedef struct hl_model_frame {
    int64_t id;
    uint32_t function;
    int32_t line;
    uint32_t site;
    uint32_t module; /* file of the loaded object; HL_NO_ROW: a Python frame */
    uint32_t caller; /* frame that it was inlined into; HL_NO_ROW: it was not */
} hl_model_frame;

/* A line of a function, whatever the columns; the unit that tables show. The first two are always there. Native ones are
 * those of one loaded object, and a line in calls that were inlined is another than the same line in calls that were not. */
typedef enum hl_site_kind { HL_SITE_NO_PYTHON, HL_SITE_STARTUP, HL_SITE_LINE, HL_SITE_DEEPER } hl_site_kind;
typedef struct hl_site {
    hl_site_kind kind;
    uint32_t function; /* of LINE, and of the node above DEEPER; else HL_NO_ROW */
    int32_t line;      /* 0: unknown */
    uint32_t module;   /* file of the loaded object; HL_NO_ROW: not native */
    bool inlined;
} hl_site;

/* Which frames a model has: of merged stacks, only Python's or only the native ones when the user wants it so. */
typedef enum hl_frame_choice { HL_FRAMES_ALL, HL_FRAMES_PYTHON, HL_FRAMES_NATIVE } hl_frame_choice;

/* As in the schema. */
typedef enum hl_stack_kind {
    HL_STACK_ROOT,
    HL_STACK_PYTHON,
    HL_STACK_NO_PYTHON,
    HL_STACK_DEEPER,
    HL_STACK_NATIVE
} hl_stack_kind;
typedef struct hl_model_stack {
    int64_t id;
    uint32_t parent;      /* a lower row than its own; row 0 is the root, its own parent */
    uint32_t frame;       /* HL_NO_ROW: none */
    uint32_t leaf, yours; /* sites */
    uint32_t depth;
    hl_stack_kind kind;
    bool python; /* it, or a frame further out, is one of Python's */
} hl_model_stack;

typedef struct hl_model_process {
    int64_t id, pid, parent_pid;
    uint32_t parent; /* row; HL_NO_ROW: none */
    const char *born_by, *command, *executable, *python /* null: not Python */, *recorded, *reason, *ended;
    uint64_t start_ns, end_ns; /* end: now, while it runs */
    int64_t exit_status;       /* -1: unknown */
    uint64_t allocations, allocated, frees, freed, live, live_blocks, peak, peak_ns, peak_blocks;
    uint64_t inherited_frees, unknown_frees, lost, waited_ns, rss_peak;
    uint64_t earlier_frees;  /* of blocks from before heapline.start() */
    uint64_t arena_peak;     /* of its mappings */
    const char *pool_owners; /* libraries that give out memory by themselves; null: none */
    uint64_t pool_peak;      /* the most that was resident of it */
} hl_model_process;

typedef struct hl_model_thread {
    int64_t id, tid; /* tid 0: a group */
    uint32_t process;
    const char *name;
    uint64_t threads;
    const char *region; /* the row is for what the threads of row `base` did in it; null: outside of all */
    uint32_t base;      /* itself, where there is no region */
} hl_model_thread;

typedef struct hl_stat {
    int64_t id;
    uint32_t stack, process, thread; /* rows; thread HL_NO_ROW: unknown */
    const char *allocator;
    uint64_t allocations, allocated, frees, freed, live, live_blocks, peak, peak_blocks, tree_peak, tree_peak_blocks;
} hl_stat;

typedef struct hl_allocator_name {
    int64_t id;
    const char *name;
} hl_allocator_name;

typedef struct hl_note {
    uint32_t process; /* HL_NO_ROW: of the recording */
    const char *text;
} hl_note;

/* Of a merged profile: one of the recordings in it. Times are those of the merged profile. */
typedef struct hl_model_recording {
    int64_t id;
    const char *name, *host, *command, *state;
    const char *labels;                   /* "rank=0, node=a", or "" */
    uint32_t first_process, last_process; /* rows; first > last: none */
    uint64_t start_unix_ns, offset_ns, length_ns, peak, peak_ns, peak_bound, rss_peak;
    int64_t exit_status, signal; /* -1: not so, or unknown */
    const char *oom_scope;       /* null: it did not run out of memory */
} hl_model_recording;

typedef struct hl_meta {
    const char *key, *text; /* as text, whatever its type */
    int64_t number;
    bool null;
} hl_meta;

#define HL_ARRAY(type)                                                                                                 \
    struct {                                                                                                           \
        type *row;                                                                                                     \
        uint32_t n;                                                                                                    \
    }
typedef struct hl_model {
    struct sqlite3 *database;
    HL_ARRAY(hl_meta) metas;
    HL_ARRAY(hl_model_file) files;
    HL_ARRAY(hl_model_function) functions;
    HL_ARRAY(hl_model_frame) frames;
    HL_ARRAY(hl_site) sites;
    HL_ARRAY(hl_model_stack) stacks;
    HL_ARRAY(hl_model_process) processes;
    HL_ARRAY(hl_model_thread) threads;
    HL_ARRAY(hl_allocator_name) allocators;
    HL_ARRAY(hl_stat) stats;
    HL_ARRAY(hl_note) notes;
    HL_ARRAY(hl_model_recording) recordings; /* none unless it was merged */
    hl_frame_choice choice;
    bool has_native;       /* some stack has a native frame */
    bool native_only;      /* and none has one of Python's: a C program, or HL_FRAMES_NATIVE */
    hl_origin yours;       /* files of this origin count as the user's: USER unless the program has none */
    uint32_t recorded;     /* processes with allocations */
    bool running, stopped; /* as the file says: a recording that was killed says running for ever */
    bool has_regions;      /* some thread was in one (heapline.region) */
    bool has_pools;        /* some process has such libraries */
    bool watched;          /* it is being recorded into at this moment; set by who knows, the command line */
    uint64_t now_ns;       /* end of the recording, or the time of this checkpoint */
    uint64_t peak, peak_ns, peak_blocks, peak_bound; /* of the tree; exact when one process has allocations */
    uint64_t
        peak_seen; /* of a merged profile: the most that the recordings held together at the end of a tick, at peak_ns;
                         * peak is the sum of their own ones, at different times */
    uint64_t tick_ns, cell_tick_ns;
    struct hl_strings *strings;
} hl_model;

/* Loads everything but cells, ticks, histograms and source text. A native frame into which calls were inlined is several
 * stack rows, one a call. 0, -ENOMEM, -EIO with the database's words in `why`, or -ENOENT: no frame of that choice is in it. */
int hl_model_load(hl_model **model, struct sqlite3 *database, hl_frame_choice choice, char *why, size_t why_bytes);
void hl_model_release(hl_model *model);

/* A key of the meta table; `otherwise` where it is absent or null. */
int64_t hl_model_number(const hl_model *model, const char *key, int64_t otherwise);
const char *hl_model_text(const hl_model *model, const char *key, const char *otherwise);

/* The libraries that give out memory by themselves, in words for people, not cleaned ("libarrow.so.2400", "a.so and
 * others"), of a process or of all (HL_NO_ROW); null: there are none. Until the next call with the same `text`. */
const char *hl_model_pool_owners(const hl_model *model, uint32_t process, char *text, size_t bytes);

/* What the blocks that were never freed are: "alive at the end", "alive now", "alive when last saved". */
const char *hl_model_end_words(const hl_model *model);

/* Names for people, not cleaned: "main", "(no Python)"; the label of the site's file, null when it has none. */
const char *hl_site_function(const hl_model *model, uint32_t site);
const hl_model_file *hl_site_file(const hl_model *model, uint32_t site);

/* ------------------------------------------------------------------------------------------------------------ views */

typedef enum hl_moment {
    HL_AT_PEAK,   /* share of the tree's peak, or of the process's when one is selected or recorded */
    HL_AT_END,    /* alive when each process ended, or now */
    HL_LEAKED,    /* the same blocks under the name of what is wrong with them */
    HL_AT_TIME,   /* alive at the last tick boundary up to time_ns */
    HL_ALLOCATED, /* everything allocated, freed or not */
    HL_TEMPORARY, /* freed within `within` later allocations of the same thread */
} hl_moment;

typedef struct hl_selection {
    hl_moment moment;
    uint64_t time_ns;
    uint64_t since_ns;  /* of END, LEAKED, TIME: only blocks allocated from then on; 0: all */
    uint64_t within;    /* 0 to 1024; between the powers of two the lower one counts */
    int64_t pid;        /* 0: all */
    const char *thread; /* a name or a thread id; null: all */
    const char *region; /* a name, of it or one around it, with its attributes or without; null: all */
} hl_selection;

typedef struct hl_weight {
    uint64_t bytes, blocks;
} hl_weight;

typedef struct hl_view {
    hl_model *model;
    hl_selection selection; /* its times and within as they were rounded */
    uint32_t process;       /* the row that `pid` means; HL_NO_ROW: all */
    bool tree_peak;         /* AT_PEAK is a share of the tree's peak */
    hl_weight *stats;       /* by stat row; zero where the selection leaves it out */
    hl_weight *stacks;      /* by stack row: sums of its stat rows */
    hl_weight total;
} hl_view;

/* 0, -ENOMEM, -EIO, or -ENOENT (no such process, thread or time): `why` says it in words. */
int hl_view_open(hl_view *view, hl_model *model, const hl_selection *selection, char *why, size_t why_bytes);
void hl_view_release(hl_view *view);

/* Whether the selection takes in this stat row at all. */
bool hl_view_takes(const hl_view *view, const hl_stat *stat);

/* What the total must be by the profile's own totals; false when a thread is selected or the profile does not say. */
bool hl_view_check(const hl_view *view, uint64_t *expected_bytes);

/* Sums by site: of the user's lines, or of the innermost frames. n = model->sites.n; from malloc, null: no memory. */
hl_weight *hl_view_by_site(const hl_view *view, bool leaf);

/* Allocations by size, of the processes and threads selected: bucket b holds [2^(b-1), 2^b) bytes, bucket 0 those of 0. */
enum { HL_SIZE_BUCKETS = 65 };
int hl_view_sizes(const hl_view *view, uint64_t buckets[HL_SIZE_BUCKETS]);

/* "at the peak", "alive at 12.50 s", "allocated" ..: what the weights are. Into `text`. */
const char *hl_view_title(const hl_view *view, char *text, size_t bytes);

#endif
