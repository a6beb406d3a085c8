/*
 * tracker.h - the contract of libheapline.so, the part of heapline that sits in the user's program.
 *
 * It appends one word an allocation to a ring in shared memory (wire.h) and does nothing else: the collector, another
 * process, keeps the books. The program comes first. So in here, without exception:
 *
 *   - never abort, print, or change a result, errno or a signal mask; never block without an end;
 *   - never allocate through malloc; memory comes from hl_os_pages or from the session;
 *   - need only libc, and no symbol of it newer than glibc 2.17 (newer ones are looked up);
 *   - work when called before the constructor, in a signal handler, in a thread that is ending, in a forked child,
 *     and when a handler jumps (longjmp) out of any instruction of it: what is remembered as written is set only after
 *     the store that publishes it;
 *   - in doubt record less, and say so: `lost`, `reason`, a HL_TEXT_NOTE.
 *
 * Files:
 *   tracker.c       joining a session, leaving it, what the process says of itself
 *   start.c         a session where there is none yet (HEAPLINE_START, heapline.start()): starts a collector
 *   inside.c        recordings that begin and end while the program runs (heapline.start())
 *   patch.h, .c     the hooks put into relocation slots, where they are not preloaded
 *   opens.c         dlopen as it is called through those slots
 *   environment.c   our variables, taken out of the program's environment
 *   ring.h, ring.c  writers, chunks, epochs: how a word gets to the collector
 *   hooks.c         the malloc family
 *   hidden.c        what the interpreter allocates for the tracker's sake
 *   mappings.c      mmap, munmap, mremap, mprotect
 *   pools.c         whose the memory is that libraries give out by themselves
 *   names.c         names of threads
 *   exits.c         exit status
 *   real.c          the functions behind the hooks
 *   python.h ..     Python stacks and PyMem hooks
 *   lines.h ..      lines of profiled functions
 *   process.h ..    fork and exec
 *   os.h            the system
 *
 * All state of the process is in one struct, hl_tracker; a thread has one pointer, hl_self. What else belongs to a
 * thread lies in its writer's slot.
 */
#ifndef HL_TRACKER_TRACKER_H
#define HL_TRACKER_TRACKER_H

#include "os.h"
#include "wire.h"

#include <pthread.h>

/* The functions that the hooks stand for: the next ones in the order of look-up, so that an allocator preloaded or
 * linked by the user keeps its work. Never NULL: until they are found they point to functions that look for them. */
typedef struct hl_real {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    int (*munmap)(void *, size_t);
    void *(*mremap)(void *, size_t, size_t, int, ...);
    int (*mprotect)(void *, size_t, int);
    int (*pthread_setname_np)(pthread_t, const char *);
    void (*quick_exit)(int);
    int (*dlclose)(void *);
} hl_real;

typedef enum hl_tracker_state {
    HL_OUTSIDE, /* has not looked for a session yet */
    HL_JOINING,
    HL_RECORDING,
    HL_QUIET, /* no session, not to be recorded, or over: hooks pass through; for good, unless `inside` */
} hl_tracker_state;

/* The node of the calling thread's present Python stack (python.h). */
typedef uint64_t hl_walker(hl_wire_writer *w, bool epoch_changed);

/* On other processors pages may have up to 64 KiB. */
#if defined(__x86_64__)
enum { HL_LARGEST_PAGE = 4096 };
#else
enum { HL_LARGEST_PAGE = 65536 };
#endif

/* A library that has made mappings of class HL_MAP_POOL: where its code is, how much, and whether that has been told. */
typedef struct hl_pool_owner {
    uintptr_t from;
    _Atomic uintptr_t to; /* 0: none yet */
    _Atomic uint64_t bytes;
    _Atomic bool told;
} hl_pool_owner;
enum { HL_POOL_OWNERS = 16 };

/* The session of a recording that was stopped, and stays mapped while threads may still look at their writers in it. */
typedef struct hl_left_session {
    hl_session *_Atomic session; /* NULL: a free place */
    uint32_t process_index;      /* of this process, there */
    _Atomic int32_t threads;     /* whose hl_self is in it */
    _Atomic uint64_t since_ns;
} hl_left_session;
enum { HL_LEFT_SESSIONS = 256 };

typedef struct hl_tracker {
    /* A page that the kernel wipes in a forked child (MADV_WIPEONFORK), so that a child never writes into its parent's
     * rings, however it was made: its hooks find `on` 0 and join anew. Read by every event. */
    _Alignas(HL_LARGEST_PAGE) struct {
        uintptr_t on; /* all ones while recording: masks hl_self */
        _Atomic uint64_t *order;
        uint64_t root;  /* HL_ROOT_NODE of this image */
        uint64_t lines; /* the recording's number, of this process: counters of lines (lines.c) are good for one only */
        /* Sizes of what the interpreter may allocate because it tells of lines (lines_boxes.c); 0: it does not. */
        uint64_t box_bytes, data_bytes;
    } live;

    /* Kept over fork. Constant once recording, but for what is atomic. */
    _Alignas(HL_LARGEST_PAGE) hl_real real;
    hl_walker *walk;          /* NULL: no Python stacks, all is charged to the root */
    uintptr_t realloc_mark;   /* what the hook's mark says while the real realloc is called */
    _Atomic uint32_t state;   /* hl_tracker_state */
    bool inside;              /* not preloaded: loaded by a program that ran already, and hooked in by patch.c */
    _Atomic uint32_t hiding;  /* threads below a mark HL_HIDDEN */
    _Atomic bool confined;    /* the program may have forbidden itself system calls: none that can be done without */
    int32_t pid;              /* of the image that `process` belongs to */
    hl_session *session;      /* NULL: there is none. Also mapped where nothing is recorded, for children. */
    hl_wire_process *process; /* NULL: no slot */
    uint32_t process_index;
    pthread_key_t exit_key;

    /* real.c */
    hl_real actual;                     /* what `real` stands for where that is a wrapper of ours */
    _Atomic uint32_t real_state;        /* of the search */
    bool foreign_malloc;                /* `actual` is not libc's */
    uintptr_t foreign_from, foreign_to; /* its object, then */
    _Atomic(char *) bootstrap; /* blocks given out while the real functions were looked for; NULL: there were none */
    _Atomic size_t bootstrap_used;

    /* ring.c */
    _Atomic uint32_t next_writer;        /* no slot below is known to be free */
    _Atomic uint32_t threads;            /* numbers given to threads */
    _Atomic uint64_t no_writer_until_ns; /* all slots were in use: not searched again before */
    hl_wire_writer *shared;              /* for threads that have no writer of their own: ending, or beyond the limit */
    _Atomic int32_t shared_holder;       /* tid of the thread that used it last, */
    _Atomic uint64_t shared_mark;        /* and its mark */
    _Atomic bool crowded;                /* to be noted: there were more threads than writers */

    /* inside.c */
    hl_left_session left[HL_LEFT_SESSIONS];

    /* pools.c */
    hl_pool_owner pool_owners[HL_POOL_OWNERS];
    _Atomic uint32_t pool_owners_used; /* may run beyond */

    /* The calling thread's writer where it shares one: never written, its mark is always set. */
    _Alignas(64) hl_wire_writer no_writer;
} hl_tracker_data;

extern __attribute__((visibility("hidden"))) hl_tracker_data hl_tracker;

/* The calling thread's writer; NULL before its first event; &hl_tracker.no_writer: it shares one. */
extern __attribute__((visibility("hidden"), tls_model("initial-exec"))) __thread hl_wire_writer *hl_self;

/* Looks for a session and joins it, once; the constructor calls it, or the first hook before that. */
void hl_tracker_join(void);

/* In a forked child: takes a process slot of its own and forgets the parent's writers. Does nothing in the process that
 * has joined already, so it may be called at any suspicion (not in a vfork child: that shares its parent's memory). */
void hl_tracker_forked(void);

/* Ends the recording of this process for good: the collector is gone, or a whole session has ended. */
void hl_tracker_quit(void);

/* The same because the collector took nothing for too long; it may be going on later, so it is told. */
void hl_tracker_stalled(void);

/* inside.c needs the parts of joining. Maps the session at `locator` and takes a slot in it, for hooks that still pass
 * through; 0 or -errno. Then, with the GIL held where there is Python: events are recorded from here on. */
int hl_tracker_prepare(const char *locator);
void hl_tracker_go(void);
/* By this symbol trackers in one process find each other: the version of the library, as text. */
#define HL_TRACKER_SYMBOL "heapline_tracker_version"

/* Whether a writer is one of the recording at hand. */
static inline bool hl_writer_is_current(const hl_wire_writer *w)
{
    return (uintptr_t)w - (uintptr_t)hl_tracker.session < HL_CHUNKS_AT;
}
/* The calling thread will not look at `w` any more, whose recording was stopped. */
void hl_left_by_thread(const hl_wire_writer *w);

/* Whether this is the process that joined (and not, say, its vfork child). */
static inline bool hl_tracker_is_own_process(void) { return hl_tracker.pid == hl_os_pid(); }

/* What the process slot says. `reason` is why it is less than asked; NULL or "": it is not. */
void hl_tracker_set_recording(hl_recording recording, const char *reason);
/* Python's version (Py_Version's form) and flags (wire.h). */
void hl_tracker_set_python(uint32_t version, uint32_t flags);
void hl_tracker_lose(uint64_t events);

/* ring.c: the destructor of exit_key, and a writer for threads that have none. */
void hl_end_thread(void *writer);
hl_wire_writer *hl_claim_shared_writer(void);

/* The beginning of a file, by the kernel alone. The number of bytes, 0 also when it cannot be read. */
size_t hl_read_file(const char *path, char *to, size_t room);

/* exits.c: called while joining. And the highest resident memory of this pid so far, bytes: also of what it was before
 * exec, and of the parent while a vfork child had its memory. */
void hl_watch_exit(void);
uint64_t hl_resident_peak(void);

/* pools.c: code at `caller` has made a mapping of class HL_MAP_POOL; `w` is entered. And in a forked child, which has none
 * of its own yet. */
void hl_pool_mapped(hl_wire_writer *w, const void *caller, uint64_t bytes);
void hl_pools_forked(void);

/* start.c: starts `binary collect ..` and waits until it is ready, at most 5 s. Writes the locator; or, when the collector
 * was asked to (--inside), "!" and why it refuses. 0 or -errno. */
int hl_start_session(const char *binary, const char *options, char *locator, size_t room);
/* Whether this process is one for which a recording is started. */
bool hl_start_is_wanted(const char *options);

/* environment.c: our variables. The value of `name` or NULL; and its removal from environ, in place. */
const char *hl_environment_get(const char *name);
void hl_environment_drop(const char *name);
/* Removes `library` from LD_PRELOAD, the variable too when nothing is left. */
void hl_environment_clean_preload(const char *library);

/* real.c: fills hl_tracker.real. */
void hl_real_find(void);
/* dlsym for the tracker's own use: what it allocates is not the program's, and it leaves no message of its own for dlerror. One
 * that the program has not fetched yet is lost, so it is for the time before main. */
void *hl_real_symbol(void *handle, const char *name);
/* What the program's calls of `name` reach but for our hook; NULL: nothing. */
void *hl_real_next(const char *name);

#endif
