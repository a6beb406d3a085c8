/*
 * books.h - everything that the collector's one thread keeps: rings being read, processes, totals, time.
 *
 * Words: a process is one life of a pid, one row in the profile. An image is what runs in it: exec puts another image in
 * its place, and each has its own slot on the wire, its own live blocks and its own names for call tree nodes. A writer is
 * a ring on the wire; a reader is our end of it.
 *
 * Files: reader.c (rings -> words in order), apply.c (words -> books), peak.c (the tree's peak), announce.c (words that
 * announce things), mapping.c (words about mappings), lines.c (profiled functions), process.c (processes and images), unseen.c,
 * threads.c, rows.c, tree.c, names.c, live.c, maps.c, cells.c, part.c and part_write.c, ticks.c, answers.c, fold.c, lighten.c,
 * sampler.c, checkpoint.c, collect.c.
 */
#ifndef HL_COLLECTOR_BOOKS_H
#define HL_COLLECTOR_BOOKS_H

#include "cells.h"
#include "collector.h"
#include "lines.h"
#include "live.h"
#include "maps.h"
#include "oom.h"
#include "own_malloc.h"
#include "part.h"
#include "rows.h"
#include "tree.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct hl_tick {
    uint32_t tick;
    uint32_t rss_kib, anon_kib, file_kib, shmem_kib, pss_kib, pool_kib; /* UINT32_MAX: not sampled */
    uint64_t heap, low, high, arena;
} hl_tick;

typedef struct hl_process {
    /* Hot: what each event of the process touches. */
    uint64_t heap, high, low; /* live bytes; their extremes within the tick */
    uint64_t line;            /* while it is at work: the lesser of `high` and `tree_line` */
    uint64_t peak, stamp;     /* stamp: see rows.h; never the same again */
    uint64_t allocations, frees, allocated;
    hl_part *part; /* part.h; null: none */
    uint32_t peak_number;
    uint32_t
        rising; /* HL_RISING: heap is at a peak that has no number yet; HL_TREE_RISING (at work): so is the tree's */
    uint64_t tree_line; /* at work: heap above which the tree's peak is passed */
    uint64_t tree_line_blocks, peak_blocks, peak_ns;
    /* Colder. */
    uint64_t inherited_frees, unknown_frees, waited_ns, lost;
    struct {
        uint64_t count, mapped, live, peak;
    } maps[HL_MAP_CLASSES];
    uint64_t high_before; /* the tick's highest before the program asked for its peak anew; 0: it has not */
    uint64_t asked_peak;  /* the highest since, in ticks that are over */
    uint64_t measured[2]; /* the heap at the last HL_MARK_MEASURE, and at the one before */
    uint64_t events_seen; /* allocations + frees when the last tick ended */
    uint64_t arena_seen;
    uint32_t last_rss_kib; /* UINT32_MAX: never sampled */
    bool sampled;          /* in the tick at hand */
    uint32_t id;           /* from 1 */
    int32_t pid, parent_pid;
    uint32_t parent, born_by;
    hl_text command, executable, reason;
    uint32_t python_version, python_flags, recording;
    uint64_t start_ns, end_ns; /* CLOCK_MONOTONIC; end 0: running */
    enum { HL_ENDED_RUNNING, HL_ENDED_EXIT, HL_ENDED_SIGNAL, HL_ENDED_LOST } ended;
    int32_t exit_status;
    bool status_known; /* from the kernel or from who reaped it, not only from exit's own hook */
    bool announced;    /* by its parent */
    bool exit_seen;    /* its own exit hook ran; exit_status is from there */
    bool signalled;    /* how it ended, when status_known */
    uint32_t looked;   /* how often it was looked at from outside */
    bool gone;         /* the kernel says that it has ended; perhaps not yet how */
    bool looked_for;   /* and all slots have been looked at since */
    uint64_t gone_ns;
    uint32_t tree_seen;       /* number of the tree's last peak that its stamp knows of */
    uint32_t end_tree_number; /* the same when it left the tree */
    bool left;                /* it has ended, as far as the tree's heap is concerned */
    bool changed;             /* since the last checkpoint */
    bool followed;            /* an image has registered */
    bool had_events;
    uint32_t images; /* alive */
    int pidfd, status_fd, rollup_fd;
    uint32_t threads; /* that have a row of their own */
    uint32_t shared_groups, first_shared_group;
    uint64_t rss_peak;
    uint64_t
        rss_base;   /* what the kernel's highest was before its first image: up to there it may be of another program */
    bool rss_moves; /* the last sample found another RSS than the one before */
    uint64_t sample_next_ns, quiet_next_ns, pss_next_ns;
    hl_text pool_owners; /* libraries that give out memory by themselves, "libarrow.so.2400, b.so" */
    uint64_t pool_peak;  /* the most that was found resident of their mappings */
    uint64_t pool_next_ns;
    hl_own_malloc own_malloc; /* in its executable, and what there is to say of it */
    hl_text unseen;
    uint32_t last_pool_kib; /* 0: none yet */
    hl_tick *ticks;
    uint32_t tick_count, tick_room, ticks_sent;
    hl_tick sample; /* of the tick at hand; only the rss fields */
} hl_process;

/* A thread, whatever number of rings it writes. 0 is a thread without memory of its own ("unknown"). */
typedef struct hl_thread {
    uint32_t allocations; /* so far; wraps */
    uint32_t row;         /* its row among hl_books.groups; 0: none yet */
    uint32_t process;
    int32_t tid;
    uint32_t number; /* the program's: a tid may be used again while the first thread is still being read */
    uint32_t renamed;
    hl_text name, python_name;
    struct hl_thread_regions *regions; /* threads.c; null: it has been in none */
} hl_thread;

typedef struct hl_group { /* a row of the profile's thread table: one thread, or a group of like-named ones */
    uint32_t process, threads;
    int32_t tid;
    hl_text name;
    uint32_t base; /* the group of the same threads outside all regions; 0: it is that */
    uint32_t region;
    bool changed;
} hl_group;

enum { HL_REGIONS_MOST = 255 };

typedef struct hl_image {
    hl_process *process;
    uint64_t number; /* in the order in which they began */
    hl_live live;
    hl_maps maps;
    hl_names names;
    hl_line_chunk **lines; /* its chunks of counters, by index; null: it has none */
    uint64_t base, top;    /* where it has the session mapped; the epoch up to which this pass reads */
    uint64_t order_after;  /* its order word after all heads were read */
    uint32_t slot, facts;
    bool dead;     /* nothing more can come: its process has ended or is another image now */
    bool replaced; /* by exec: what it had alive is released */
    bool released; /* and has been */
    bool reading;  /* its words are being applied, further up the call stack */
    bool read_out; /* its process was waited for */
    bool forked;   /* frees of blocks that it does not know are frees of its parent's blocks */
    bool noted_broken;
    uint32_t facts_read;
    bool exec_announced;
    uint64_t exec_ns;                             /* when */
    uint32_t sync_wanted, sync_done, sync_passes; /* answers.c: passes that are still to be made before it is told */
} hl_image;

typedef struct hl_reader {
    const uint64_t *at; /* next word; valid while there is a chunk */
    uint64_t h1, h2;    /* the writer's head, as the program's address, before and after the order word was read */
    uint64_t epoch, size;
    hl_image *image;
    hl_line_stack *lines; /* the lines that its thread is in; null: it never was in one */
    uint32_t thread;      /* index */
    uint32_t charge;      /* the thread and the region that it is in: what rows are found by */
    uint32_t writer;      /* index of its slot */
    uint32_t chunk;       /* index + 1; 0: none */
    bool past_h1, wanted, ended, broken;
    bool moving, moving_known; /* a realloc has begun; its old block was ours */
    hl_block moved;
    uint64_t moved_bytes;
    uint64_t nodes[HL_STACK_SLOTS];               /* by slot: the name, */
    uint32_t node[HL_STACK_SLOTS];                /* what it means, */
    uint32_t rows[HL_STACK_SLOTS][HL_ALLOCATORS]; /* and the rows already found for it; 0: not yet */
    hl_pieces unmapped;                           /* by the last UNMAP, */
    uint32_t unmapped_ms;                         /* when, */
    uint64_t unmapped_marks;                      /* and after how many marks of lines */
    char *code;                                   /* a code object that comes in parts */
    uint64_t code_address;
    uint32_t code_version, code_bytes, code_have;
} hl_reader;

/* What a thread's words for one stack mean, remembered beyond its 16 slots: recursion that allocates at each level names
 * hundreds of stacks in turn, and looking each up again costs more than the event. An entry holds while `epoch` is that of
 * the books, so for one tick at most: within it no name changes its meaning and no row is given to another key. */
typedef struct hl_memo {
    uint64_t id;
    uint32_t charge, epoch, node;
    uint32_t rows[HL_ALLOCATORS]; /* 0: not looked up yet */
} hl_memo;
_Static_assert(sizeof(hl_memo) <= 64, "one line");
enum { HL_MEMOS = 4096 };

typedef struct hl_waiting_reader { /* by the epoch of its next word */
    uint64_t epoch;
    hl_reader *reader;
} hl_waiting_reader;

typedef struct hl_books {
    hl_session *session;
    const struct hl_profile_identity *identity;
    uint64_t start_ns; /* CLOCK_MONOTONIC at the beginning */
    uint64_t now_ns;   /* since then; the time of all events of this pass */
    uint32_t now_ms;
    uint32_t epoch; /* low half of the stamps */

    hl_rows rows;
    hl_tree tree;
    hl_cells cells;
    hl_lines lines;

    hl_process **processes; /* by id - 1 */
    uint32_t process_count, process_room;
    uint32_t first_running;             /* those before it have ended for good */
    hl_image *images[HL_MAX_PROCESSES]; /* by slot */
    uint32_t image_count, image_slots;  /* alive; slots looked at */
    uint64_t image_number;              /* of the last one */
    uint32_t replaced;                  /* images by exec whose blocks are not yet released */
    hl_reader *readers[HL_MAX_WRITERS]; /* by slot */
    uint16_t active[HL_MAX_WRITERS];    /* the slots that have a reader */
    uint32_t active_count;
    hl_waiting_reader heap[2 * HL_MAX_WRITERS]; /* room for a pass, and for images that are read out within it */
    uint32_t heap_used, depth;
    uint8_t *chunk_held; /* by chunk: a reader stands in it */
    hl_memo *memo;       /* by hash of (thread, id) */

    hl_thread *threads;
    uint32_t thread_count, thread_room;
    hl_group *groups; /* 0 is not used */
    uint32_t group_count, group_room;
    hl_text regions[HL_REGIONS_MOST + 1]; /* with those around them: "request / query"; 0: outside all */
    uint32_t region_count;

    struct {
        uint32_t process;
        hl_text text;
    } * notes;
    uint32_t note_count, note_room, notes_sent;
    struct {
        uint64_t time_ns;
        uint32_t process;
        hl_text kind, name;
    } * marks;
    uint32_t mark_count, mark_room, marks_sent;

    /* The curve. */
    uint32_t tick_ms, tick, tick_start_ms;
    uint32_t sampled_count; /* processes that could be sampled, last time */
    bool rss_moves;         /* of one of them */
    int epoll;              /* of the pidfds of running processes */
    uint64_t tree_bound, tick_left_high, arena_peak, rss_peak, pool_peak;
    /* The tree's heap and peak: peak.c. */
    hl_process *at_work;             /* whose events are being applied; null: nobody's */
    bool tree_on;                    /* there has been a second process */
    bool tree_rising;                /* nobody at work: the tree is at a peak that has no number yet */
    uint64_t tree_heap, tree_blocks; /* of all processes that have not left; without the one at work */
    uint64_t tree_peak, tree_peak_ns, tree_peak_blocks;
    uint32_t tree_number;
    uint32_t tick_rows; /* of all processes */
    bool coarsened;     /* the profile needs everything anew: ticks doubled or rows folded */
    uint64_t folded_stacks, folded_rows;
    uint32_t stacks_kept; /* the budget */
    uint32_t rows_folded; /* rows that the last folding left */
    uint32_t forwarded;   /* rows that others have taken over and whose cells are not yet renumbered */

    hl_pieces pieces;     /* room for mapping.c */
    uint64_t root_end_ns; /* when its parent said so; 0: not yet */
    hl_oom oom;           /* of the program itself */
    uint64_t oom_limit;   /* see hl_batch_meta */
    hl_text oom_scope;
    struct {
        uint64_t device, inode;
        hl_own_malloc found;
    } looked_at; /* the last executable: unseen.c */
    uint64_t words, broken_writers, reclaimed;
    uint64_t watched_until_ns; /* answers.c */
    uint32_t checkpoint_seen, checkpoint_passes;
} hl_books;

void hl_books_init(hl_books *books, hl_session *session, uint32_t tick_ms);
void hl_books_release(hl_books *books);

/* ------------------------------------------------------------------------------------------------------ reader.c */

/* One pass over all rings. Returns the number of words applied. `now_ns`: since the start of the recording. */
uint64_t hl_books_pass(hl_books *books, uint64_t now_ns);
/* Reads an image whose program has ended, or is another one by now, out of turn: before what comes after its end. False: it
 * is being read already, by a caller's caller. Not before a pass has begun. */
bool hl_books_read_out(hl_books *books, hl_image *image);
/* Takes back the chunks of threads that have nothing unread. */
void hl_books_reclaim(hl_books *books);
/* The image is dead and its rings are read: frees its writers' slots, its chunks, its process slot. */
void hl_books_drop_image(hl_books *books, hl_image *image);
bool hl_books_image_is_read(const hl_books *books, const hl_image *image);

/* ------------------------------------------------------------------------------------------------------- apply.c */

typedef enum hl_applied { HL_APPLIED_ALL, HL_APPLIED_TO_EPOCH, HL_APPLIED_INVALID } hl_applied;

/* Applies words from reader->at up to `limit`, all of one chunk; stops before an epoch above `upto`. */
hl_applied hl_apply(hl_books *books, hl_reader *reader, const uint64_t *limit, uint64_t upto);

/* The row that took over from a folded one. `block`: a block that names it is leaving the books. */
uint32_t hl_row_forwarded(hl_books *books, uint32_t row, bool block);
/* A block that was born before the tick at hand is gone (sign 1) or is back after all (-1). */
void hl_row_old_gone(hl_books *books, uint32_t row, uint32_t born_ms, uint32_t died_ms, int64_t blocks, int64_t bytes);
/* What is alive of the row and was born in the tick it was last touched in joins the cells. */
void hl_row_settle(hl_books *books, uint32_t row);
/* Brings a row up to date with its process's stamp, before it changes. Returns the row (or the one that took over). */
hl_row *hl_row_refresh(hl_books *books, hl_process *process, uint32_t row);
uint32_t hl_reader_row(hl_books *books, hl_reader *reader, unsigned slot, unsigned allocator);
/* Nothing more comes from this reader: a block that was being moved is where it was. */
void hl_apply_end_of_thread(hl_books *books, hl_reader *reader);
/* Every live block and heap mapping is gone: exec. */
void hl_apply_release_all(hl_books *books, hl_image *image);
/* Stamps of all processes, and all memos, are out of date: a tick, a checkpoint. Also to be called when names or rows have
 * got another meaning. */
void hl_books_new_epoch(hl_books *books);

static inline hl_row *hl_row_touch(hl_books *books, hl_process *process, uint32_t row)
{
    hl_row *r = &books->rows.row[row];
    return __builtin_expect(r->stamp == process->stamp, 1) ? r : hl_row_refresh(books, process, row);
}

/* Rows that it touches from here on are refreshed first. */
static inline void hl_process_stamp(hl_process *process) { process->stamp++; }

enum { HL_RISING = 1, HL_TREE_RISING = 2 };

/* The heap grows or shrinks by one event; before the event's row changes, and while the process is at work. Out of line
 * (peak.c): what a new highest value, and the first event that is none after one, have to do. */
void hl_process_rise(hl_books *books, hl_process *process);
void hl_process_close_peaks(hl_books *books, hl_process *process);
static inline void hl_process_grow(hl_books *books, hl_process *process, uint64_t bytes)
{
    uint64_t heap = process->heap += bytes;
    if (heap > process->line)
        hl_process_rise(books, process);
    else if (__builtin_expect(process->rising != 0, 0))
        hl_process_close_peaks(books, process);
}
static inline void hl_process_shrink(hl_books *books, hl_process *process, uint64_t bytes)
{
    if (__builtin_expect(process->rising != 0, 0))
        hl_process_close_peaks(books, process);
    uint64_t heap = process->heap -= bytes;
    if (heap < process->low)
        process->low = heap;
}

/* What an allocation and a free do to their row; the process's sums have been changed before. */
static inline void hl_row_charge(hl_books *books, hl_process *process, uint32_t row, uint64_t size)
{
    hl_row *r = hl_row_touch(books, process, row);
    r->allocations++;
    r->allocated += size;
    if (size > r->largest)
        r->largest = size;
    hl_row_count_size(&books->rows, r, size);
}
static inline void hl_row_release(hl_books *books, hl_process *process, const hl_block *block, uint64_t size)
{
    uint32_t row = hl_block_row(block);
    hl_row *r = &books->rows.row[row];
    if (__builtin_expect(r->stamp != process->stamp, 0)) {
        if (r->stamp == HL_STAMP_FORWARD)
            row = hl_row_forwarded(books, row, true);
        r = hl_row_refresh(books, process, row);
    }
    r->frees++;
    r->freed += size;
    hl_row_count_life(&books->rows, r, books->now_ms - block->born_ms);
    uint32_t thread = hl_block_thread(block);
    if (thread)
        hl_row_count_temporary(&books->rows, r, books->threads[thread].allocations - block->count, size);
    if (__builtin_expect(block->born_ms < books->cells.start_ms, 0))
        hl_row_old_gone(books, row, block->born_ms, books->now_ms, 1, (int64_t)size);
}

/* Events of a process that has a part, before its row changes: part.c. */
void hl_part_charge(hl_books *books, hl_process *process, uint32_t row, uint64_t size);
void hl_part_release(hl_books *books, hl_process *process, const hl_block *block, uint64_t size);
void hl_part_move(hl_books *books, hl_process *process, const hl_block *old, uint64_t old_size, uint32_t row,
                  uint64_t size);

static inline void hl_charge(hl_books *books, hl_process *process, uint32_t row, uint64_t size)
{
    if (__builtin_expect(process->part != NULL, 0))
        hl_part_charge(books, process, row, size);
    process->allocations++;
    process->allocated += size;
    hl_process_grow(books, process, size);
    hl_row_charge(books, process, row, size);
}
static inline void hl_release(hl_books *books, hl_process *process, const hl_block *block, uint64_t size)
{
    if (__builtin_expect(process->part != NULL, 0))
        hl_part_release(books, process, block, size);
    process->frees++;
    hl_process_shrink(books, process, size);
    hl_row_release(books, process, block, size);
}

/* -------------------------------------------------------------------------------------------------------- part.c */

/* `only_thread`: index of the thread that alone is in it; 0: all are. */
void hl_part_begin(hl_books *books, hl_process *process, uint32_t only_thread);
void hl_part_close(hl_books *books, hl_process *process);
void hl_part_end(hl_process *process);
/* Some of a mapping is gone, and some of it, or the rest too (`whole`), is back after all. */
void hl_part_shrink(hl_books *books, hl_process *process, const hl_block *block, uint64_t bytes);
void hl_part_take_back(hl_books *books, hl_process *process, const hl_block *block, uint64_t bytes, bool whole,
                       uint32_t later, uint32_t died_ms);
/* Rows were forwarded, whose numbers are about to be free. */
void hl_parts_settle(hl_books *books);
/* Writes a profile of the process's part to `path`, where no file is, on a thread of its own. */
void hl_part_write(hl_books *books, hl_process *process, const char *path);
/* Waits for that thread, if there is one. */
void hl_part_finish_job(hl_part *part);
/* Tells the program. */
void hl_part_publish(hl_part *part, hl_wire_part *to);

/* -------------------------------------------------------------------------------------------------------- peak.c */

/* The process is the one whose events are applied from here on, until another one's or nobody's (null) are. Returns who was
 * at work before. */
hl_process *hl_books_put_to_work(hl_books *books, hl_process *process);
/* A second process is about to be: the tree's peak so far is the first one's. */
void hl_tree_peak_begin(hl_books *books);
/* What it has alive is no longer in the tree's heap. */
void hl_process_leave_tree(hl_books *books, hl_process *process);

/* ---------------------------------------------------------------------------------------------------- announce.c */

/* Each returns the number of words that it took, or 0 when they are not valid. `left`: words from `w` to the limit. */
uint32_t hl_announce_node(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
/* Fetches what the announcement of a node at `w` will need; the words may be anything, and up to 3 behind it are read. */
void hl_announce_node_ahead(hl_books *books, hl_image *image, const uint64_t *w);
uint32_t hl_announce_code(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
uint32_t hl_announce_text(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
uint32_t hl_announce_child(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
uint32_t hl_announce_exec(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
uint32_t hl_announce_mark(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
uint32_t hl_announce_waited(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
/* The node that the program calls `id`, or a stand-in. */
uint32_t hl_node_named(hl_books *books, hl_image *image, uint64_t id);
/* `id` was folded while a reader named it, and may be had back by its name. */
bool hl_node_is_hidden(const hl_books *books, hl_image *image, uint64_t id, uint32_t node);
/* A row of `node` is about to be charged for `id`: a stack whose callers could not be brought back counts as folded. */
void hl_node_charged(hl_books *books, hl_image *image, uint64_t id, uint32_t node);
/* Gives the rows of `from` to node `to`; rows that both have are added up. */
void hl_rows_move(hl_books *books, uint32_t from, uint32_t to);

/* ------------------------------------------------------------------------------------------------------- lines.c */

void hl_lines_init(hl_lines *lines, uint32_t chunks);
void hl_lines_release(hl_lines *lines);
/* HL_WORD_LINES; as in announce.c. */
uint32_t hl_lines_announced(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
/* HL_WORD_LINE. False: not valid. */
bool hl_lines_moved_on(hl_books *books, hl_reader *reader, uint64_t word);
/* What a thread that has a stack of lines (hl_reader.lines) allocates and frees; after the books have it. */
void hl_lines_allocated(hl_books *books, hl_reader *reader, uint64_t size);
void hl_lines_freed(hl_books *books, hl_reader *reader, const hl_block *block, uint64_t size);
void hl_lines_not_freed(hl_books *books, hl_reader *reader, const hl_block *block, uint64_t size); /* after all */
/* Nothing more comes from this reader, or from this image, whose counters are still there. */
void hl_lines_end_of_thread(hl_books *books, hl_reader *reader);
void hl_lines_end_image(hl_books *books, hl_image *image);
void hl_lines_release_image(hl_books *books, hl_image *image);
/* Adds what has changed, open executions too. Before code objects are added: it asks for them. */
void hl_lines_fill(hl_books *books, hl_batch *batch);

/* ----------------------------------------------------------------------------------------------------- mapping.c */

uint32_t hl_map_word(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left);
void hl_map_release_all(hl_books *books, hl_image *image);

/* --------------------------------------------------------------------------------------------------- process.c */

/* Looks for new process slots, and for new facts in known ones. Part of a pass. */
void hl_processes_discover(hl_books *books);
/* Notices deaths and exec into programs that are not recorded; drops the images that are read to their end. Once a tick,
 * between passes. */
void hl_processes_check(hl_books *books);

/* The program itself, where it has not registered: a row with the reason (a constant), or null for what can be seen. */
void hl_processes_add_root(hl_books *books, const char *reason);
/* The running process with this pid, else the last that had it, or null. */
hl_process *hl_process_of_pid(hl_books *books, int32_t pid);
void hl_process_add_child(hl_books *books, hl_process *parent, int32_t pid, uint32_t born_by);
void hl_process_waited(hl_books *books, hl_process *parent, int32_t pid, int32_t wait_status);
void hl_process_status(hl_books *books, hl_process *process, int32_t wait_status);
void hl_books_note(hl_books *books, uint32_t process, const char *text, size_t bytes);
void hl_books_mark(hl_books *books, uint32_t process, const char *kind, const char *name);

/* ----------------------------------------------------------------------------------------------------- answers.c */

/* Around each pass: looks for questions, and answers them. `pass_began_ns` as books->now_ns. */
void hl_answers_before_pass(hl_books *books);
void hl_answers_after_pass(hl_books *books, uint64_t pass_began_ns);
/* Whether somebody waits: the collector must not sleep. */
bool hl_answers_are_due(const hl_books *books);
/* A checkpoint is wanted, and all that came before the question has been read: number books->checkpoint_seen. */
bool hl_answers_want_checkpoint(const hl_books *books);
void hl_answers_checkpoint_done(hl_books *books, uint32_t number, int error);
/* The highest of the tick at hand, also of its part before a reset. */
uint64_t hl_process_high(const hl_process *process);
void hl_process_reset_peak(hl_process *process);

/* ------------------------------------------------------------------------------------------------------ unseen.c */

/* Looks into the executable of a process whose image begins. */
void hl_unseen_look(hl_books *books, hl_process *process);
/* Why its numbers are less than all, as far as is known by now; empty: they are not. */
hl_text hl_unseen_reason(const hl_books *books, const hl_process *process);
/* The same at the end, with more words. */
void hl_unseen_note(hl_books *books, const hl_process *process);

/* ----------------------------------------------------------------------------------------------------- sampler.c */

/* Reads the resident memory of processes; called when a tick ends. */
void hl_sample(hl_books *books, uint64_t now_ns);
/* The kernel's highest of a process, in bytes. */
void hl_rss_reached(hl_process *process, uint64_t bytes);
void hl_sampler_begin(hl_books *books, hl_process *process);
void hl_sampler_end(hl_process *process);

/* ---------------------------------------------------------------------------------------------------- threads.c */

uint32_t hl_thread_of(hl_books *books, hl_image *image, uint32_t number, int32_t tid);
/* Its row among the groups, given when it is first asked for. */
uint32_t hl_thread_group(hl_books *books, uint32_t index, hl_process *process);
/* The thread enters a region, or leaves the innermost one. What it allocates from then on is in other rows. */
void hl_thread_enter_region(hl_books *books, uint32_t index, hl_text name);
void hl_thread_leave_region(hl_books *books, uint32_t index);
/* hl_reader.charge */
uint32_t hl_thread_charge(const hl_books *books, uint32_t index);
void hl_threads_release(hl_books *books);
void hl_thread_name(hl_books *books, uint32_t index, hl_text_kind kind, const void *name, uint64_t bytes);

/* ------------------------------------------------------------------------------------------------------- fold.c */

/* Between passes: whether there are too many stacks, twice as many as are kept, or when the profile is about to be written,
 * more; folds the lightest. */
typedef enum hl_fold_when { HL_FOLD_WHILE_READING, HL_FOLD_BEFORE_WRITING, HL_FOLD_AT_THE_END } hl_fold_when;
bool hl_fold_is_due(const hl_books *books, hl_fold_when when);
void hl_fold(hl_books *books);
/* lighten.c: folds rows until no more than `most` are left, where processes and threads are not too many even for one
 * each. Every row is then put in again: names and readers have to be told. */
void hl_lighten(hl_books *books, uint32_t most);
/* Puts every row in again, at node home[row]; rows that have the same key there are added up. */
void hl_rows_rehome(hl_books *books, const uint32_t *home);
/* After rows were forwarded: cells get the new numbers, numbers that nothing names are free again. */
void hl_settle_forwarded(hl_books *books);

/* ------------------------------------------------------------------------------------------------------ ticks.c */

/* Ends the ticks that are over at `now_ns`: rows of the curve, the tree's bound. */
void hl_ticks_advance(hl_books *books, uint64_t now_ns);
/* Ends the process's part of the tick at hand, when it is over; at the very end, for all. */
void hl_tick_close(hl_books *books, hl_process *process);
void hl_ticks_close(hl_books *books);

#endif
