/*
 * wire.h - the only thing that the tracker (in the program) and the collector (outside) share: the layout of the
 * session's memory and the words that the tracker writes into it.
 *
 * One session is one recording of one process tree. Its memory is a memfd that the collector makes and seals against
 * shrinking; every process of the tree maps all of it (about 14 MiB, of which only touched pages are resident), so a
 * forked child has it without keeping a descriptor. It holds, in this order: the session header, a slot for each live
 * process, a slot for each writer (a thread, or a further lane of one), and the pool of chunks, shared by all.
 *
 * Who writes what: the tracker writes process slots, writer slots and chunks that it took; the collector writes the
 * header, gives chunks back and frees slots. The collector trusts nothing that it reads here: every index, kind, length
 * and address is checked, for the program may be broken or hostile. Nothing here is a pointer in the collector.
 *
 * An event is one 64-bit word, with further words in front when something is new:
 *
 *     63    59 58   55 54                                        11 10          0
 *     [ kind ][ slot ][ address >> HL_ADDRESS_SHIFT, 44 bits       ][ size, 11  ]     allocations, frees, moves
 *     [ kind ][ payload, 59 bits                                                ]     everything else
 *
 * A writer's last 16 stacks have slots, so a stack used a moment ago costs nothing; a new one is a HL_WORD_STACK in
 * front. A size that does not fit into 11 bits is a HL_WORD_SIZE in front. Words in front and their event are published
 * together, by one store of the writer's `head`; what the tracker remembers as written is set only after that store, so
 * a longjmp out of a signal handler can repeat a word but never lose one.
 *
 * Order between the threads of a process: the process slot's `order` word holds (epoch << 16 | writer id) of the last
 * writer. An event reads it; when another writer wrote last, it swaps in (epoch + 1, itself) and puts a HL_WORD_EPOCH in
 * front. Allocations are published before the hook returns, frees before the real free. A collector pass reads all heads
 * (H1), then `order` (E), then all heads again (H2), and applies in epoch order all of H2 below E, and of E only what is
 * in H1.
 *
 * Changing anything here: raise HL_WIRE_VERSION. Tracker and collector of different versions refuse each other.
 */
#ifndef HL_WIRE_WIRE_H
#define HL_WIRE_WIRE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HL_WIRE_VERSION = 7,
    HL_MAX_PROCESSES = 1024, /* alive at the same time; slots are used again */
    HL_MAX_WRITERS = 4096,   /* threads and lanes alive at the same time, of all processes */
    HL_WRITER_BYTES = 2048,
    HL_PROCESS_BYTES = 4096,
    HL_CHUNK_BYTES = 32768,
    HL_STACK_SLOTS = 16,
};

#define HL_WIRE_MAGIC UINT64_C(0x656e696c70616568) /* "heapline" */

/* Addresses of user space: 47 bits on x86-64, where old Pythons align objects to 8; 48 on aarch64, with 16. */
#if defined(__x86_64__)
enum { HL_ADDRESS_SHIFT = 3 };
#else
enum { HL_ADDRESS_SHIFT = 4 };
#endif
enum { HL_ADDRESS_BITS = 44, HL_SIZE_BITS = 11, HL_KIND_SHIFT = 59, HL_SLOT_SHIFT = 55 };
#define HL_ADDRESS_MASK ((UINT64_C(1) << HL_ADDRESS_BITS) - 1)
#define HL_SIZE_MAX ((UINT64_C(1) << HL_SIZE_BITS) - 1) /* in a word: "see the HL_WORD_SIZE in front" */
#define HL_PAYLOAD ((UINT64_C(1) << HL_KIND_SHIFT) - 1)

/* Through which door a block came. The order is part of the wire and of the profile. */
typedef enum hl_allocator {
    HL_MALLOC,
    HL_CALLOC,
    HL_REALLOC, /* realloc and reallocarray, also of NULL */
    HL_ALIGNED, /* posix_memalign, aligned_alloc, memalign, valloc, pvalloc */
    HL_PYOBJ,   /* PyMem domain OBJ */
    HL_PYMEM,   /* PyMem domain MEM */
    HL_PYRAW,   /* PyMem domain RAW, recorded only where its allocator is not libc's */
    HL_MMAP,    /* mappings of class HL_MAP_HEAP */
    HL_ALLOCATORS,
} hl_allocator;

/* What a mapping counts as (docs/semantics.md, "mappings"). Only HL_MAP_HEAP is part of the heap. */
typedef enum hl_map_class {
    HL_MAP_HEAP,        /* private, anonymous, made by the program itself */
    HL_MAP_ARENA,       /* made by the interpreter's own allocator (pymalloc, mimalloc) */
    HL_MAP_RESERVATION, /* PROT_NONE or MAP_NORESERVE, but for HL_MAP_POOL */
    HL_MAP_FILE,        /* private, of a file */
    HL_MAP_SHARED,      /* MAP_SHARED, of a file or anonymous */
    HL_MAP_STACK,       /* thread stacks: MAP_STACK */
    HL_MAP_POOL, /* MAP_NORESERVE, readable and writable from the start: an allocator's that is not the interpreter's */
    HL_MAP_CLASSES,
} hl_map_class;

typedef enum hl_word_kind {
    HL_WORD_NONE, /* never written: a chunk's unused tail */

    /* Block events; bits as above. Size and slot are 0 where they mean nothing. */
    HL_WORD_FREE,
    HL_WORD_ALLOC, /* + hl_allocator, 7 kinds: HL_MALLOC .. HL_PYRAW */
    HL_WORD_ALLOC_LAST = HL_WORD_ALLOC + HL_PYRAW,
    HL_WORD_MOVE,          /* realloc begins: the old address. It counts as live until the move has ended. */
    HL_WORD_MOVED_REALLOC, /* realloc has ended: the new address, size and stack */
    HL_WORD_MOVED_PYOBJ,
    HL_WORD_MOVED_PYMEM,
    HL_WORD_MOVED_PYRAW,
    HL_WORD_MOVE_FAILED, /* realloc returned NULL: the old block is as before */

    /* In front of an event; the payload is the value. */
    HL_WORD_SIZE,
    HL_WORD_STACK, /* a node id: from now on the writer's slot (node % HL_STACK_SLOTS) means it */
    HL_WORD_EPOCH,

    /* Announcements. Node ids are 59-bit hashes (hl_wire_mix). */
    HL_WORD_NODE, /* payload: node id; then: parent's id, code address, code version << 32 | byte offset of instruction */
    HL_WORD_CODE, /* payload: code address; then: version << 32 | bytes in all, offset << 32 | bytes here, the bytes
                     (of hl_wire_code), padded to a word. Long ones come in parts, in order, of one writer. */
    HL_WORD_TEXT, /* payload: hl_text_kind << 32 | bytes; then the bytes, UTF-8, padded to a word */

    /* Mappings: payload = slot (4 bits, where stacks have it) | page (address >> 12, 44 bits) << 3 | hl_map_class. */
    HL_WORD_MAP,        /* then: bytes. Replaces whatever it covers. */
    HL_WORD_UNMAP,      /* then: bytes. Published before the real munmap. */
    HL_WORD_UNMAP_UNDO, /* no payload: this writer's last UNMAP failed and changes nothing */
    HL_WORD_REMAP,  /* old page; then: old bytes, new address, new bytes. After a mremap that succeeded; its old range
                           was taken by an UNMAP before the call, as with munmap; old bytes 0: MREMAP_DONTUNMAP's copy */
    HL_WORD_COMMIT, /* then: bytes. mprotect made a range accessible: what was a reservation in it becomes heap. */

    /* Processes. */
    HL_WORD_CHILD,  /* payload: hl_child_kind << 32 | pid: this process made a child (after the call, in the parent) */
    HL_WORD_EXEC,   /* payload: bytes; then the path: this process is about to replace itself */
    HL_WORD_WAITED, /* payload: pid; then: wait status as of waitpid: this process reaped a child */
    /* payload: hl_mark_kind << 32 | bytes; then the bytes of its name, padded to a word. In the order of events. */
    HL_WORD_MARK,

    /* Lines of profiled functions ("lines", below). */
    HL_WORD_LINE, /* payload: depth << 32 | line id + 1: the thread's stack of lines is cut to `depth` (16 bits) entries;
                      then, unless the low half is 0, that line is entered */
    HL_WORD_LINES, /* payload: address of a code object; then: its version << 32 | first line id,
                      hl_lines_flags << 48 | count << 32 | first line number, bytes, and the function's qualified name, padded */
    HL_WORD_KINDS,
} hl_word_kind;

_Static_assert(HL_WORD_KINDS <= 32, "kinds have five bits");

typedef enum hl_text_kind {
    HL_TEXT_THREAD_NAME = 1, /* pthread_setname_np, prctl(PR_SET_NAME) of the calling thread */
    HL_TEXT_PYTHON_NAME,     /* threading.Thread.name of the calling thread */
    HL_TEXT_NOTE,            /* a line for the user: something that the tracker could not do, and why */
    HL_TEXT_POOL,            /* bytes of a HL_MAP_POOL (8 bytes), then the file name of the library that made it */
} hl_text_kind;

/* What a program says of the moment (python/heapline). */
typedef enum hl_mark_kind {
    HL_MARK_MOMENT = 1,
    HL_MARK_REGION, /* begins; */
    HL_MARK_REGION_END,
    HL_MARK_TRACK, /* a track() inside a recording that is on */
    HL_MARK_TRACK_END,
    HL_MARK_RESET_PEAK, /* hl_wire_process.peak begins anew; no name */
    /* A part of the recording that has books of its own (hl_wire_part), as if a recording had begun here. One at a time. */
    HL_MARK_PART,        /* begins, and puts its name into the timeline, if it has one; the one before it is over */
    HL_MARK_PART_THREAD, /* the same; only what the calling thread allocates is in it */
    HL_MARK_PART_CLOSED, /* what is allocated from here on is not in it; frees of what is go on counting */
    HL_MARK_PART_WRITE,  /* name: a path where no file is; a profile of the part is to be written there */
    HL_MARK_PART_END,    /* it is forgotten */
    HL_MARK_MEASURE,     /* the heap here goes to hl_wire_process.measured; no name */
    HL_MARK_KINDS,
} hl_mark_kind;
enum { HL_MARK_BYTES_MOST = 448 };

typedef enum hl_child_kind {
    HL_CHILD_FORK = 1,
    HL_CHILD_VFORK,
    HL_CHILD_SPAWN,
    HL_CHILD_CLONE,
    HL_BORN_INSIDE, /* no child: a process that ran already and asked to be recorded (hl_wire_process.born_by only) */
} hl_child_kind;

#define HL_WORD(kind, payload) ((uint64_t)(kind) << HL_KIND_SHIFT | (uint64_t)(payload))
#define HL_BLOCK(kind, address, size)                                                                                  \
    HL_WORD(kind, ((uint64_t)(address) >> HL_ADDRESS_SHIFT & HL_ADDRESS_MASK) << HL_SIZE_BITS | (size))
#define HL_IN_SLOT(node) ((uint64_t)(node) % HL_STACK_SLOTS << HL_SLOT_SHIFT)
#define HL_MAPPING(kind, address, map_class) HL_WORD(kind, (uint64_t)(address) >> 12 << 3 | (map_class))

static inline hl_word_kind hl_word_kind_of(uint64_t word) { return (hl_word_kind)(word >> HL_KIND_SHIFT); }
static inline uint64_t hl_word_address(uint64_t word)
{
    return (word >> HL_SIZE_BITS & HL_ADDRESS_MASK) << HL_ADDRESS_SHIFT;
}
static inline uint64_t hl_word_size(uint64_t word) { return word & HL_SIZE_MAX; }
static inline unsigned hl_word_slot(uint64_t word) { return (unsigned)(word >> HL_SLOT_SHIFT) & (HL_STACK_SLOTS - 1); }
static inline uint64_t hl_word_map_address(uint64_t word) { return (word >> 3 & ((UINT64_C(1) << 44) - 1)) << 12; }

/* A node's id. `parent` is HL_ROOT_NODE(seed) below the outermost frame; `instruction` is the address of the instruction
 * in the program, so that equal ids mean equal (parent, code, instruction) within one process. */
#define HL_ROOT_NODE(seed) ((UINT64_C(0x5851f42d4c957f2d) * ((uint64_t)(seed) + 1) >> 5) | 1)
static inline uint64_t hl_wire_mix(uint64_t parent, uint64_t instruction, uint64_t version)
{
    unsigned __int128 product = (unsigned __int128)(parent ^ UINT64_C(0x9e3779b97f4a7c15) ^ version << 32) *
                                (instruction ^ UINT64_C(0xc2b2ae3d27d4eb4f) ^ version);
    uint64_t h = (uint64_t)product ^ (uint64_t)(product >> 64);
    return (h ^ h >> 29) & HL_PAYLOAD;
}

/* What an announced code object says of itself. Strings follow it, in this order, without terminators: file name,
 * qualified name (co_name before 3.11), line table (co_linetable; co_lnotab before 3.10), all as the interpreter has
 * them, text as UTF-8. */
typedef struct hl_wire_code {
    uint16_t python_version; /* major << 8 | minor: says how the line table is read */
    uint16_t flags;          /* HL_CODE_NATIVE */
    int32_t first_line;
    uint32_t file_bytes, name_bytes, table_bytes;
} hl_wire_code;
_Static_assert(sizeof(hl_wire_code) == 20, "hl_wire_code is wire");

/* A loaded object (a library, the program, or what stands for code that belongs to none), not a code object of Python's:
 * `file` is its path, `name` its build id in hexadecimal, or empty; a node's offset counts from where it is loaded. */
enum { HL_CODE_NATIVE = 1 };

/* ------------------------------------------------------------------------------------------------------ session */

/* Where stacks have C frames, too. */
typedef enum hl_native_stacks {
    HL_NATIVE_WITHOUT_PYTHON, /* only in processes that have no Python in them */
    HL_NATIVE_ALWAYS,         /* also there, in one with Python's frames */
} hl_native_stacks;

typedef enum hl_children { HL_CHILDREN_NONE, HL_CHILDREN_PYTHON, HL_CHILDREN_ALL } hl_children;

typedef enum hl_stop {
    HL_STOP_NOT,
    HL_STOP_COMMAND, /* by `heapline stop` */
    HL_STOP_PROGRAM, /* by the program that began it; it waits for root_saved */
} hl_stop;

/* The collector's life sign is a robust futex: while it lives, `collector` holds its thread id; when it dies the kernel
 * sets FUTEX_OWNER_DIED (0x40000000) in it (set_robust_list(2)). */
typedef struct hl_session {
    uint64_t magic;   /* HL_WIRE_MAGIC, stored last by the collector */
    uint32_t version; /* HL_WIRE_VERSION */
    uint32_t chunks;
    uint64_t bytes; /* of the whole mapping */
    /* What to record; constant once the session is open. */
    uint8_t python_objects; /* PyMem domains too */
    uint8_t children;       /* hl_children */
    uint8_t marks;          /* frames may carry marks (python-stacks: the walk stops at them) */
    uint8_t native;         /* hl_native_stacks */
    uint32_t wake_at;       /* chunks out at which a writer wakes the collector */
    uint32_t collector_pid;
    uint32_t root_pid;  /* the program itself, once it runs; 0 before */
    char locator[64];   /* how a process finds this memory: /proc/PID/fd/N */
    char preload[1024]; /* path of libheapline.so, for LD_PRELOAD of children */
    uint8_t root_any;   /* root_pid is recorded whatever it is (`heapline run -- ./server`); else from its Python image
                                 on (`heapline run app.py`, where python3 may be a shell script that execs it) */
    uint8_t line_rss;   /* resident memory after each line of `lines`, too */
    char lines[512];    /* functions to be profiled by line from their first call on: "pkg.mod:func,app:Class.method" */
    char reserved[358];
    uint64_t pid_namespace; /* inode of the collector's: pids of another mean nothing here; 0: not known */

    _Alignas(64) _Atomic uint64_t pool;      /* free chunks, a stack: tag << 32 | index + 1 of the first */
    _Alignas(64) _Atomic uint32_t collector; /* life sign, see above */
    _Atomic uint32_t ended;                  /* 1: nothing is recorded any more; trackers go quiet */
    _Atomic uint32_t sleeping;       /* futex: 1 while the collector sleeps; a writer that sets it to 0 wakes it */
    _Atomic uint32_t out;            /* chunks taken and not yet given back */
    _Atomic uint32_t freed;          /* futex: counts chunks given back */
    _Atomic uint32_t waiting;        /* threads that sleep for a chunk */
    _Atomic uint32_t processes_used; /* slots used so far: a bound for scans */
    _Atomic uint32_t writers_used;
    _Atomic uint32_t seeds;    /* next process seed */
    _Atomic uint64_t progress; /* passes that applied something, foldings: a collector that stands still is seen */
    /* From the foreground parent to the collector, and back. */
    _Atomic uint32_t root_ended; /* futex: 1 once root_status holds the program's wait status */
    _Atomic int32_t root_status;
    _Atomic uint64_t
        root_rss_peak; /* bytes, as wait4 said: the highest of the program and of the children it waited for */
    _Atomic uint32_t root_saved; /* futex: 1 once the profile on disk holds all up to the program's end; 2: it cannot be
                                     written (root_error, errno) */
    _Atomic int32_t root_error;
    _Atomic uint32_t stop; /* hl_stop: end the recording, leave the programs running */
    /* A program asks for a checkpoint by counting up; when the profile on disk holds what came before, the collector puts that
     * count here (futex), and an errno code or 0. */
    _Atomic uint32_t checkpoint_asked, checkpoint_done;
    _Atomic int32_t checkpoint_error;
    _Atomic uint32_t began; /* 1 once an image has been recorded. Before that (python3 is a shell script that execs it)
                                     only root_pid takes a slot without being recorded. */
    /* Names of native frames, looked up after the program has ended, when the profile on disk is whole but for them. */
    _Atomic uint32_t names_all, names_done; /* 0: not that far, or there is nothing left to look up */
    _Atomic uint32_t names_stop;            /* 1: whoever waits wants no more of them */
    _Atomic uint64_t names_object[6];       /* a file's name, for people: the one at work; may be torn */
    _Atomic uint64_t
        lines_found; /* trackers': bits of the names in `lines`, in their order, whose functions were found */
} hl_session;

typedef enum hl_process_state {
    HL_PROCESS_FREE,
    HL_PROCESS_JOINING, /* claimed, being filled */
    HL_PROCESS_RUNNING, /* all constant fields are valid */
    HL_PROCESS_EXITED,  /* the tracker saw the exit; exit_status is valid. Its memory may still be mapped. */
} hl_process_state;

typedef enum hl_recording {
    HL_RECORDING_NOTHING, /* only listed: reason says why */
    HL_RECORDING_MALLOC,  /* malloc level, no Python stacks: reason says why when the program is Python */
    HL_RECORDING_STACKS,  /* malloc level with Python stacks */
    HL_RECORDING_OBJECTS, /* Python objects too */
} hl_recording;

/* What a part of the recording has come to: of the blocks that were allocated in it, by whatever thread. Bytes and blocks. */
typedef struct hl_wire_part {
    _Atomic uint64_t heap, blocks; /* alive now */
    _Atomic uint64_t peak;         /* the highest of `heap` while it was open */
    _Atomic uint64_t allocations, allocated;
    _Atomic uint64_t temporary, temporary_bytes; /* freed within one later allocation of the thread that made it */
    _Atomic uint32_t number;                     /* parts begun so far; 0: none */
    _Atomic uint32_t written;                    /* HL_MARK_PART_WRITE that are done */
    _Atomic int32_t error;                       /* the last one's, errno; 0: the profile is there */
} hl_wire_part;

/* One image of one process: a forked child has its own, and so has what exec puts in its place (same pid). */
typedef struct hl_wire_process {
    _Alignas(64) _Atomic uint64_t order; /* epoch << 16 | writer id of the last writer; starts at 1 << 16 */
    _Alignas(64) _Atomic uint32_t state; /* hl_process_state */
    int32_t pid, parent_pid;
    uint32_t seed;                   /* makes this image's node ids its own: root = HL_ROOT_NODE(seed) */
    uint32_t born_by;                /* hl_child_kind, or 0: exec or the first */
    uint64_t base;                   /* where the program has the session mapped */
    uint64_t start_ns;               /* CLOCK_MONOTONIC */
    _Atomic uint32_t facts;          /* changes whenever one of the fields below has changed */
    _Atomic uint32_t recording;      /* hl_recording */
    _Atomic uint32_t python_version; /* Py_Version's form, 0x030d00f0; 0: not Python or not yet known */
    _Atomic uint32_t python_flags;   /* 1 free-threaded, 2 debug, 4 shared libpython */
    _Atomic int32_t exit_status;     /* of exit or _exit, when state is HL_PROCESS_EXITED */
    _Atomic uint64_t lost;           /* events that were not recorded (no slot, address out of range ..) */
    /* Resident memory, bytes. The kernel's highest of the pid, as getrusage says it when this image joins: what was before
     * it (the image that called exec, the parent of a vfork) may have been larger; 0 in a forked child, which
     * begins with its parent's pages. And the highest of this image alone, at its exit; 0: not known. */
    uint64_t rss_before;
    _Atomic uint64_t rss_peak;
    _Atomic uint32_t text_version; /* seqlock for the three texts: odd while written */
    char executable[1024];         /* all NUL-terminated, cut when longer */
    char command[2048];            /* arguments joined by blanks, quoted where needed */
    char reason[384];              /* why `recording` is less than asked; empty: it is not */
    /* From the program: it counts up to be told when all it has done so far is in the books; and 1: it looks at what follows
     * now and then. */
    _Alignas(64) _Atomic uint32_t sync_asked;
    _Atomic uint32_t watched;
    /* From the collector: the heap and its highest since HL_MARK_RESET_PEAK, bytes, as of seen_ns (CLOCK_MONOTONIC). */
    _Alignas(64) _Atomic uint64_t heap;
    _Atomic uint64_t peak, seen_ns;
    _Atomic uint64_t measured[2]; /* the heap at the last HL_MARK_MEASURE, and at the one before; bytes */
    _Atomic uint32_t sync_done;   /* futex */
    hl_wire_part part;
} hl_wire_process;
_Static_assert(sizeof(hl_wire_process) <= HL_PROCESS_BYTES, "process slot");

typedef enum hl_writer_state {
    HL_WRITER_FREE,
    HL_WRITER_USED,
    HL_WRITER_ENDED, /* its thread has ended; the collector reads the rest and frees the slot */
} hl_writer_state;

/* A writer: a thread, or a lane of one (hooks entered inside a hook of the same thread, from a signal handler).
 * `head`, `end` and `restart`, `left` are addresses in the program (base + offset into the session). */
typedef struct hl_wire_writer {
    /* First line: all that an event touches beside the order word and the chunk. */
    _Atomic uint64_t head; /* where the next word goes: the one store that publishes */
    _Atomic uint64_t end;  /* of the chunk; 0: there is none, or the collector wants it back */
    _Atomic uint64_t open; /* stack address of the hook at work, | 1 while it calls the real PyMem function; 0: none */
    uint64_t order_seen;   /* the order word under which the ring's last events stand */
    uint64_t tracker_hot[4];
    uint64_t stacks[HL_STACK_SLOTS]; /* the nodes that the ring's events name by slot */
    /* Colder. */
    _Atomic uint32_t state; /* hl_writer_state */
    uint32_t id;            /* index + 1: the writer id in order words */
    uint32_t process;       /* index of the process slot */
    int32_t tid;            /* kernel thread id */
    uint32_t lane;          /* 0: the thread's own ring; else this is lane n of the same thread */
    uint32_t thread; /* the image's number for it, never used again: a tid may be. 0: the main thread, and the ring
                               that threads share */
    _Atomic uint64_t
        restart; /* the first chunk after a time without one; the collector sets it to 0 when it enters it */
    _Atomic uint64_t
        left; /* head at the time that one was taken. While the thread waits for it, head | 1: it has let go
                                 of its chunk, although it is open. Only while `restart` is 0. */
    _Atomic uint64_t waited_ns;
    char tracker_private[]; /* to HL_WRITER_BYTES: the remembered stack */
} hl_wire_writer;
_Static_assert(offsetof(hl_wire_writer, stacks) == 64, "the hot line");

/* Words from `words` to the chunk's end. `next` is 0 until the writer goes on to another chunk; then `used` is where it
 * stopped, stored before `next`. Both are addresses in the program. While free: `next` is index + 1 of the next free. */
typedef struct hl_wire_chunk {
    _Atomic uint64_t next;
    _Atomic uint64_t used;
    uint32_t index;
    _Atomic uint32_t owner; /* writer id that took it, or HL_OWNER_LINES; 0 while free: chunks of a killed process are
                               found by it */
    uint64_t spare;
    uint64_t words[];
} hl_wire_chunk;
_Static_assert(sizeof(hl_wire_chunk) == 32, "chunk header");
enum { HL_CHUNK_WORDS = (HL_CHUNK_BYTES - 32) / 8 };

/* Lines: a function that is profiled line by line has an id for each of its lines, `first line id` + n for line `first line
 * number` + n; a long one is announced in pieces of at most HL_LINES_A_PIECE lines. What is counted for them stands in chunks
 * of the pool that hold counters instead of words: line id / HL_LINES_A_CHUNK is the chunk's index, so counters outlive a
 * process that is killed. Such a chunk's owner is HL_OWNER_LINES | index of the process slot; the collector gives it back
 * when that image has ended. A forked child takes chunks of its own and announces its functions anew.
 *
 * Each thread has a stack of lines that it is in: of each call of a profiled function that has begun and is not suspended the
 * line at which it is. An execution of a line lasts until the call goes to another line or to the same one again, returns,
 * raises or is suspended. The thread's ring (lane 0) says what has changed in its stack only in front of a block or mapping
 * event, and only where it did change: an execution in which nothing happens is counted, and no word is written. What
 * happens in a further lane or through the shared writer belongs to no line. */
typedef struct hl_wire_line {
    _Atomic uint64_t hits; /* executions */
    _Atomic uint64_t
        rss_peak; /* bytes: the highest resident memory seen at the end of an execution; 0: not looked at */
} hl_wire_line;
enum { HL_LINES_A_CHUNK = HL_CHUNK_WORDS / 2, HL_LINES_A_PIECE = 1024, HL_LINE_DEPTH_MOST = 4096 };
#define HL_OWNER_LINES (UINT32_C(1) << 31)

enum hl_lines_flags { HL_LINES_RSS = 1 };

static inline hl_wire_line *hl_chunk_line(hl_wire_chunk *chunk, uint32_t line_id)
{
    return (hl_wire_line *)(void *)chunk->words + line_id % HL_LINES_A_CHUNK;
}

/* Offsets from the start of the mapping. */
enum {
    HL_PROCESSES_AT = 4096,
    HL_WRITERS_AT = HL_PROCESSES_AT + HL_MAX_PROCESSES * HL_PROCESS_BYTES,
    HL_CHUNKS_AT = HL_WRITERS_AT + HL_MAX_WRITERS * HL_WRITER_BYTES,
};
_Static_assert(sizeof(hl_session) <= HL_PROCESSES_AT, "session header");

static inline uint64_t hl_session_bytes(uint32_t chunks)
{
    return HL_CHUNKS_AT + (uint64_t)chunks * HL_CHUNK_BYTES + 4096; /* a page behind: readers may look ahead */
}
static inline hl_wire_process *hl_session_process(hl_session *s, uint32_t index)
{
    return (hl_wire_process *)((char *)s + HL_PROCESSES_AT + (size_t)index * HL_PROCESS_BYTES);
}
static inline hl_wire_writer *hl_session_writer(hl_session *s, uint32_t index)
{
    return (hl_wire_writer *)((char *)s + HL_WRITERS_AT + (size_t)index * HL_WRITER_BYTES);
}
static inline hl_wire_chunk *hl_session_chunk(hl_session *s, uint32_t index)
{
    return (hl_wire_chunk *)((char *)s + HL_CHUNKS_AT + (size_t)index * HL_CHUNK_BYTES);
}

/* ------------------------------------------------------------------------------------------- environment variables
 * HEAPLINE_SESSION=<locator>   join that session (put there by `heapline run`, and for children by the tracker)
 * HEAPLINE_START=<heapline binary>   no session yet: start a collector (`heapline collect`), as `heapline env` prints;
 *                                     its options are in HEAPLINE_OPTIONS, the words of a command line
 * LD_PRELOAD=<libheapline.so>[:what was there before]
 * The tracker removes all of them from the program's environment before main, and puts them into those of children. */
#define HL_ENV_SESSION "HEAPLINE_SESSION"
#define HL_ENV_START "HEAPLINE_START"
#define HL_ENV_OPTIONS "HEAPLINE_OPTIONS"

#endif
