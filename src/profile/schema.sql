-- The heapline profile: an SQLite database, replaced whole at each checkpoint. docs/profile-format.md explains it.
-- Version 1. Newer programs add tables, columns and keys and never change the meaning of one; readers ignore what they do
-- not know. Sizes are bytes, times nanoseconds since the start of the recording unless the name says otherwise.

CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID; -- see docs/profile-format.md for the keys
CREATE TABLE label (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;

-- One row a process, that is one life of a pid; exec continues it.
CREATE TABLE process (
    id INTEGER PRIMARY KEY,        -- 1: the program itself
    pid INTEGER NOT NULL,
    parent INTEGER,                -- process.id; NULL: outside the recording
    parent_pid INTEGER,
    born_by TEXT NOT NULL,         -- start, fork, vfork, spawn, clone, inside (it ran already: heapline.start()), unknown
    command TEXT NOT NULL,
    executable TEXT NOT NULL,
    python TEXT,                   -- "3.13.0", "3.14.0 free-threaded", "3.15.0 debug"; NULL: not Python
    recorded TEXT NOT NULL,        -- objects, stacks, malloc, nothing
    reason TEXT NOT NULL,          -- why not more; '' when nothing is missing
    start_ns INTEGER NOT NULL,
    end_ns INTEGER,                -- NULL: still running
    ended TEXT NOT NULL,           -- running, exit, signal, lost (nobody saw how)
    exit_status INTEGER,           -- exit code when ended = exit, signal number when ended = signal
    allocations INTEGER NOT NULL, allocated INTEGER NOT NULL,
    frees INTEGER NOT NULL, freed INTEGER NOT NULL,
    live INTEGER NOT NULL, live_blocks INTEGER NOT NULL,     -- at its end, or now
    peak INTEGER NOT NULL, peak_ns INTEGER NOT NULL, peak_blocks INTEGER NOT NULL, -- exact, of this process
    inherited_frees INTEGER NOT NULL,   -- a forked child's frees of blocks that its parent had made
    unknown_frees INTEGER NOT NULL,     -- frees of blocks made before the recording; where born_by is inside, that is no more than to be expected
    lost INTEGER NOT NULL,              -- events that were not recorded
    waited_ns INTEGER NOT NULL,         -- time its threads slept for the collector
    rss_peak INTEGER NOT NULL
);

-- Mappings by class: HL_MAP_* in order: heap, arena, reservation, file, shared, stack, pool.
CREATE TABLE mapping (
    process INTEGER NOT NULL, class TEXT NOT NULL,
    count INTEGER NOT NULL, mapped INTEGER NOT NULL, live INTEGER NOT NULL, peak INTEGER NOT NULL,
    PRIMARY KEY (process, class)
) WITHOUT ROWID;

-- One row a thread; past 64 threads of a process, one row a group of threads of like name (tid is then NULL).
CREATE TABLE thread (
    id INTEGER PRIMARY KEY, process INTEGER NOT NULL, tid INTEGER,
    name TEXT NOT NULL,            -- the Python thread's name, else the kernel's
    threads INTEGER NOT NULL       -- how many threads the row stands for
);

-- Rows of `thread` for what threads did within regions (heapline.region): their `thread.threads` is 0, since the threads are
-- counted in the row `base`, which is for what they did outside of all regions.
CREATE TABLE thread_region (
    thread INTEGER PRIMARY KEY, base INTEGER NOT NULL,
    region TEXT NOT NULL           -- "request route=/users / query": the outermost first
);

CREATE TABLE file (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE,
    origin TEXT NOT NULL,          -- user, site (site-packages), stdlib, frozen, interactive, native
    source_bytes INTEGER,          -- length of the text; NULL: not embedded
    source BLOB);                  -- zlib stream of the file as it was when the recording ended
CREATE TABLE function (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, name TEXT NOT NULL, first_line INTEGER NOT NULL);
CREATE TABLE frame (id INTEGER PRIMARY KEY, function INTEGER NOT NULL,
    line INTEGER NOT NULL,         -- 0: the instruction has none
    end_line INTEGER, col INTEGER, end_col INTEGER, -- 0-based UTF-8 bytes; NULL: unknown
    module INTEGER,                -- of native frames: file.id of the loaded object; NULL: Python
    caller INTEGER);               -- frame.id: the call that this frame was inlined into; NULL: it was not

-- The call tree, outermost frame first; a parent's id is below its children's. id 0 is the root.
CREATE TABLE stack (id INTEGER PRIMARY KEY, parent INTEGER, -- NULL: the root
    frame INTEGER,                 -- NULL unless the kind has one
    kind INTEGER NOT NULL);        -- stack_kind.id
CREATE TABLE stack_kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO stack_kind VALUES (0, 'root'), (1, 'python'), (2, 'no-python'),
    (3, 'deeper'),                 -- lighter stacks below `parent`, folded into one
    (4, 'native');

-- What each call tree node did by itself (not its callees), by process, thread and allocator. A key may have several rows
-- (instructions that show the same line): sum them. Sums over all rows equal the process rows to the byte.
CREATE TABLE stat (
    id INTEGER PRIMARY KEY,
    stack INTEGER NOT NULL, process INTEGER NOT NULL, thread INTEGER NOT NULL,
    allocator INTEGER NOT NULL,    -- allocator.id
    allocations INTEGER NOT NULL, allocated INTEGER NOT NULL,
    frees INTEGER NOT NULL, freed INTEGER NOT NULL,
    live INTEGER NOT NULL, live_blocks INTEGER NOT NULL,
    peak INTEGER NOT NULL, peak_blocks INTEGER NOT NULL,           -- share of its process's peak
    tree_peak INTEGER NOT NULL, tree_peak_blocks INTEGER NOT NULL, -- share of the tree's peak
    largest INTEGER NOT NULL,
    -- Histograms, NULL when empty. A varint is seven bits a byte, low bits first, 0x80 on all bytes but the last.
    temporary BLOB,                -- up to 12 varint pairs count, bytes: freed within 0, 1, 2, 4 .. 1024 later allocations of the
                                   -- thread that made it (each pair counts only what the one before does not); pairs of
                                   -- zeros at the end are left out
    sizes BLOB,                    -- varint pairs (bucket, count): allocations of [2^(b-1), 2^b) bytes, bucket 0 = 0 bytes
    lifetimes BLOB                 -- varint pairs (bucket, count): freed blocks that lived [2^(b-1), 2^b) ms, 0 = under 1 ms
);
CREATE TABLE allocator (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO allocator VALUES (0, 'malloc'), (1, 'calloc'), (2, 'realloc'), (3, 'aligned'), (4, 'object'), (5, 'buffer'),
    (6, 'raw'), (7, 'mmap');

-- Time. A tick is meta.tick_ns long; tick t of a process ends at (t + 1) * tick_ns. Ticks in which nothing changed and
-- nothing was sampled are left out.
CREATE TABLE tick (
    process INTEGER NOT NULL, tick INTEGER NOT NULL,
    heap INTEGER NOT NULL, heap_low INTEGER NOT NULL, heap_high INTEGER NOT NULL, -- at the end of the tick, and within it
    arena INTEGER NOT NULL,
    rss INTEGER, rss_anon INTEGER, rss_file INTEGER, rss_shmem INTEGER, pss INTEGER, -- NULL: not sampled in this tick
    PRIMARY KEY (process, tick)
) WITHOUT ROWID;

-- Libraries that give out memory by themselves, from mappings of class pool: what they hold is in no stat row. Only processes
-- that have such.
CREATE TABLE pool (
    process INTEGER PRIMARY KEY,
    libraries TEXT NOT NULL,       -- file names: "libarrow.so.2400, other.so"
    peak INTEGER NOT NULL          -- the most that was found resident of those mappings
);
CREATE TABLE pool_tick (           -- resident bytes of them, where they were sampled; a part of tick.rss of the same row
    process INTEGER NOT NULL, tick INTEGER NOT NULL, resident INTEGER NOT NULL, PRIMARY KEY (process, tick)
) WITHOUT ROWID;

-- Blocks that outlived the tick they were born in, by stat row. Ticks here are meta.cell_tick_ns long. The table is the
-- compact form; read the view `cell`.
CREATE TABLE cell_row (
    stat INTEGER NOT NULL, born INTEGER NOT NULL,
    lived INTEGER NOT NULL,        -- ticks from birth to death; 0: alive at the end
    blocks INTEGER NOT NULL, bytes INTEGER NOT NULL, -- 0 blocks with bytes: parts of mappings of which more is left
    PRIMARY KEY (stat, born, lived)
) WITHOUT ROWID;
CREATE VIEW cell AS            -- died NULL: alive at the end
SELECT stat, born, CASE lived WHEN 0 THEN NULL ELSE born + lived END AS died, blocks, bytes FROM cell_row;

CREATE TABLE mark (time_ns INTEGER NOT NULL, process INTEGER, kind TEXT NOT NULL, name TEXT NOT NULL); -- fork, exec, exit ..
CREATE TABLE note (id INTEGER PRIMARY KEY, process INTEGER, text TEXT NOT NULL); -- what the user should know

-- Functions profiled line by line: one row for each image of a process that ran one (exec begins another). Functions with equal
-- file, name and first_line are the same one. docs/semantics.md, "Lines", has what the numbers mean.
CREATE TABLE line_function (
    id INTEGER PRIMARY KEY, process INTEGER NOT NULL,
    file INTEGER,                  -- file.id; NULL: not known
    name TEXT NOT NULL,            -- qualified
    first_line INTEGER NOT NULL, last_line INTEGER NOT NULL
);
CREATE TABLE line_profile (        -- lines that ran
    function INTEGER NOT NULL, line INTEGER NOT NULL, -- line_function.id
    hits INTEGER NOT NULL,         -- executions
    allocated INTEGER NOT NULL, freed INTEGER NOT NULL, allocations INTEGER NOT NULL, -- while in the line, callees included
    highest INTEGER NOT NULL,      -- the most by which one execution had allocated more than freed
    temporary INTEGER NOT NULL,    -- bytes allocated and freed within one execution
    largest INTEGER NOT NULL,      -- allocation
    rss INTEGER,                   -- the highest after an execution; NULL: not looked at
    PRIMARY KEY (function, line)
) WITHOUT ROWID;

-- One row a recording of a merged profile (heapline merge); none in others. Processes first_process to last_process are its.
CREATE TABLE recording (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,            -- of the file that it was in
    first_process INTEGER NOT NULL, last_process INTEGER NOT NULL, -- process.id
    host TEXT NOT NULL, command TEXT NOT NULL, directory TEXT NOT NULL, options TEXT NOT NULL, -- as in meta
    start_unix_ns INTEGER NOT NULL,
    offset_ns INTEGER NOT NULL,    -- where its start is in the time of this profile
    length_ns INTEGER NOT NULL,
    state TEXT NOT NULL, exit_status INTEGER, signal INTEGER, end_ns INTEGER, oom_scope TEXT, oom_limit INTEGER NOT NULL,
    peak INTEGER NOT NULL, peak_ns INTEGER NOT NULL, peak_bound INTEGER NOT NULL, rss_peak INTEGER NOT NULL, -- its own
    lost INTEGER NOT NULL
);
CREATE TABLE recording_label (recording INTEGER NOT NULL, key TEXT NOT NULL, value TEXT, PRIMARY KEY (recording, key)) WITHOUT ROWID;

-- For people who write SQL.
CREATE VIEW call_site AS
SELECT stat.id, stat.stack, stat.process, stat.thread, allocator.name AS allocator,
    stat.allocations, stat.allocated, stat.frees, stat.freed, stat.live, stat.live_blocks, stat.peak, stat.peak_blocks,
    stat.tree_peak, stat.tree_peak_blocks, stat.largest, stat.temporary, stat.sizes, stat.lifetimes,
    file.path AS file, file.origin, function.name AS function, frame.line AS line, stack_kind.name AS kind
FROM stat JOIN allocator ON allocator.id = stat.allocator
JOIN stack ON stack.id = stat.stack
JOIN stack_kind ON stack_kind.id = stack.kind
LEFT JOIN frame ON frame.id = stack.frame
LEFT JOIN function ON function.id = frame.function
LEFT JOIN file ON file.id = function.file;

-- The histograms, decoded: the size or lifetime of bucket b is in [2^(b-1), 2^b) bytes or ms. `walk` reads the varints of
-- the hexadecimal text, a byte a row.
CREATE VIEW temporary_blocks AS
WITH RECURSIVE walk(stat, hex, at, n, value, shift, done) AS (
    SELECT id, hex(temporary), 1, 0, 0, 0, 0 FROM stat WHERE temporary IS NOT NULL
    UNION ALL
    SELECT stat, hex, at + 2, n + done,
        CASE done WHEN 1 THEN 0 ELSE value END
            + (((instr('0123456789ABCDEF', substr(hex, at, 1)) - 1 & 7) * 16 + instr('0123456789ABCDEF', substr(hex, at + 1, 1)) - 1)
               << CASE done WHEN 1 THEN 0 ELSE shift END),
        CASE done WHEN 1 THEN 0 ELSE shift END + 7,
        substr(hex, at, 1) < '8'
    FROM walk WHERE at < length(hex))
SELECT stat, CASE n / 2 WHEN 0 THEN 0 ELSE 1 << n / 2 - 1 END AS within, -- freed within so many later allocations
    max(CASE n % 2 WHEN 0 THEN value END) AS blocks, max(CASE n % 2 WHEN 1 THEN value END) AS bytes
FROM walk WHERE done = 1 GROUP BY stat, n / 2;

CREATE VIEW size_histogram AS
WITH RECURSIVE walk(stat, hex, at, n, value, shift, done) AS (
    SELECT id, hex(sizes), 1, 0, 0, 0, 0 FROM stat WHERE sizes IS NOT NULL
    UNION ALL
    SELECT stat, hex, at + 2, n + done,
        CASE done WHEN 1 THEN 0 ELSE value END
            + (((instr('0123456789ABCDEF', substr(hex, at, 1)) - 1 & 7) * 16 + instr('0123456789ABCDEF', substr(hex, at + 1, 1)) - 1)
               << CASE done WHEN 1 THEN 0 ELSE shift END),
        CASE done WHEN 1 THEN 0 ELSE shift END + 7,
        substr(hex, at, 1) < '8'
    FROM walk WHERE at < length(hex))
SELECT stat, max(CASE n % 2 WHEN 0 THEN value END) AS bucket, max(CASE n % 2 WHEN 1 THEN value END) AS blocks
FROM walk WHERE done = 1 GROUP BY stat, n / 2;

CREATE VIEW lifetime_histogram AS
WITH RECURSIVE walk(stat, hex, at, n, value, shift, done) AS (
    SELECT id, hex(lifetimes), 1, 0, 0, 0, 0 FROM stat WHERE lifetimes IS NOT NULL
    UNION ALL
    SELECT stat, hex, at + 2, n + done,
        CASE done WHEN 1 THEN 0 ELSE value END
            + (((instr('0123456789ABCDEF', substr(hex, at, 1)) - 1 & 7) * 16 + instr('0123456789ABCDEF', substr(hex, at + 1, 1)) - 1)
               << CASE done WHEN 1 THEN 0 ELSE shift END),
        CASE done WHEN 1 THEN 0 ELSE shift END + 7,
        substr(hex, at, 1) < '8'
    FROM walk WHERE at < length(hex))
SELECT stat, max(CASE n % 2 WHEN 0 THEN value END) AS bucket, max(CASE n % 2 WHEN 1 THEN value END) AS blocks
FROM walk WHERE done = 1 GROUP BY stat, n / 2;
