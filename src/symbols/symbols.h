/*
 * symbols.h - from places in loaded objects (path, build id, offset) to functions, files, lines and inlined calls. Runs in the
 * collector, while the program runs or as it ends; never in the program, never on another machine.
 *
 * Names come from DWARF (in the object, or in a separate file by build id or .gnu_debuglink), else from .symtab, else from
 * .dynsym, and are demangled (C++, Rust, D). An object whose build id differs from the announced one has been replaced since
 * and is not read. Where nothing is known the frame is "libx.so+0x1234", so every place has at least one.
 *
 * Files are parsed by a worker process of its own (isolate.h): what a broken file does to libdw costs names, never the
 * collector; its memory is gone when the hl_symbols is closed. Results are kept per build id in the user's cache directory
 * (cache.h), so a second run parses nothing.
 *
 * One hl_symbols is used by one thread at a time. Open it while the process is still small: that forks the worker.
 */
#ifndef HL_SYMBOLS_SYMBOLS_H
#define HL_SYMBOLS_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hl_symbols hl_symbols;

typedef struct hl_native_frame {
    const char *function; /* readable; never empty */
    const char *file;     /* the source file, the object's path where that is not known, "" where there is no object */
    uint32_t line;        /* 0: unknown */
    bool is_inline;       /* inlined into the next frame */
} hl_native_frame;

typedef struct hl_symbols_options {
    const char *cache_directory; /* null: the user's ($XDG_CACHE_HOME or ~/.cache, heapline/symbols); "": no cache */
    uint64_t cache_bytes;        /* what all files of the cache may take together; 0: 64 MiB */
    const char *debug_directory; /* null: /usr/lib/debug */
    int64_t began_s; /* when the run began (Unix time), or 0: objects without build id changed since are not read */
    uint32_t silence_limit_ms;   /* a worker that says nothing for so long hangs and is ended; 0: 30 s */
    bool (*stop)(void *context); /* asked every 20 ms or so; true: the rest gets offset forms at once. May be null */
    void *context;               /* of stop */
} hl_symbols_options;

/* How much is done for names; each does what the ones before do, too. */
typedef enum hl_symbols_effort {
    HL_SYMBOLS_NAMES,   /* symbol tables: milliseconds, and no lines */
    HL_SYMBOLS_LINES,   /* debug information that is on this machine. The default. */
    HL_SYMBOLS_SERVERS, /* and that of the servers in DEBUGINFOD_URLS, unless they have turned out not to answer */
} hl_symbols_effort;

/* What happened so far, for messages and tests. */
typedef struct hl_symbols_counts {
    uint64_t places;       /* asked for */
    uint64_t cached;       /* answered by the cache of earlier runs or calls */
    uint64_t resolved;     /* by the worker */
    uint64_t unnamed;      /* offset forms among all places */
    uint64_t workers_lost; /* workers that crashed, hung or hit their limits */
    bool servers_hang;     /* a debuginfod server did not answer: none is asked any more */
} hl_symbols_counts;

/* Frames of one place, innermost first, at least one. They live as long as the call. */
typedef void hl_symbols_found(void *context, size_t index, const hl_native_frame *frames, size_t frames_used);

/* Null: no memory. The options are copied. */
hl_symbols *hl_symbols_open(const hl_symbols_options *options);
void hl_symbols_close(hl_symbols *symbols);

/* For the calls that follow. */
void hl_symbols_try(hl_symbols *symbols, hl_symbols_effort effort);

/* Whether debuginfod servers can be asked. Null: yes; else a text, of constant memory, that says what is missing and what to
 * do. Takes some milliseconds in a process of its own, since the library brings many others with it. */
const char *hl_symbols_no_servers(void);

/* Calls `found` once for each of the `n` offsets, in their order. An offset counts from the address where the object's first
 * segment is loaded (its lowest PT_LOAD's address, rounded down to a page); `build_id` is in hexadecimal or "". A path that
 * begins with '[' or '(' names no file and is the function's name itself. Ask for all places of an object at once: each call
 * opens its files once. 0: all that can be known is; -ECANCELED: stopped; -ENOMEM: some are offset forms for want of memory. */
int hl_symbols_resolve(hl_symbols *symbols, const char *path, const char *build_id, const uint32_t *offsets, size_t n,
                       hl_symbols_found *found, void *context);

hl_symbols_counts hl_symbols_count(const hl_symbols *symbols);

#endif
