#!/usr/bin/env python3
"""Writes a made-up profile of any size, the same for the same options, for tests and measurements of reports.

    big_profile.py OUTPUT [--nodes 1000000] [--ticks 1000] [--deep 10000] [--native] [--hostile] [--seed 1]

The file keeps every rule of docs/profile-format.md: blocks are drawn as cells (stat row, birth, death), and live bytes,
peaks, the curve over time and all totals are sums over them. Names, depths and call graph look like those of a service
that works with data frames. --deep adds one recursion of so many frames; --hostile puts markup and control
characters into names, paths, source text and commands. Only the standard library is used; a million nodes take ten
seconds.
"""

import argparse
import pathlib
import random
import sqlite3
import sys
import zlib

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "src" / "profile" / "schema.sql"
TICK_NS = 100_000_000
START_UNIX_NS = 1_790_000_000_000_000_000
SITE = "/srv/venv/lib/python3.13/site-packages/"
STDLIB = "/usr/lib/python3.13/"
PACKAGES = (
    "pandas/core",
    "pandas/io",
    "numpy/lib",
    "sqlalchemy/orm",
    "sqlalchemy/engine",
    "flask",
    "werkzeug/routing",
    "pydantic",
)
MODULES = (
    "frame series indexing groupby merge reshape parsers common base api session query mapper loading result cursor "
    "app views routes schema model cache worker tasks report export clean score train features store"
).split()
VERBS = "load read parse make build get set apply merge join group concat take insert copy resolve fetch walk visit step flush".split()
NOUNS = "rows frame block index column values chunk table record item batch key config cache page node plan token event".split()
HOSTILE = (
    "</script><script>document.title='broken out'</script>",
    "\"><img src=x onerror=document.title='broken'>",
    "<!--<script>",
    "]]>&lt;&#x3c;\u2028\u2029",
    "\u202egnp.exe\x1b[31m\x07",
    "a'b\"c`d${e}\\u003c",
    "x" * 3000,
    "name\nwith\nlines\tand tabs",
)


class Draw:
    """Random numbers that no version of Python draws otherwise."""

    def __init__(self, seed):
        self.random = random.Random(seed).random

    def below(self, n):
        return int(self.random() * n)

    def skewed(self, n):
        x = self.random()
        return int(x * x * x * n)

    def pick(self, items):
        return items[int(self.random() * len(items))]


def make_files(draw, options):
    files = []
    for i in range(24):
        package = ("service", "service/jobs", "service/data")[i % 3]
        files.append((f"/srv/app/{package}/{MODULES[i % len(MODULES)]}{'' if i < 16 else i}.py", "user"))
    for package in PACKAGES:
        for i in range(20):
            files.append((f"{SITE}{package}/{MODULES[i]}.py", "site"))
    for name in (
        "json/decoder",
        "threading",
        "asyncio/base_events",
        "asyncio/events",
        "concurrent/futures/thread",
        "csv",
        "re/_parser",
    ):
        files.append((f"{STDLIB}{name}.py", "stdlib"))
    files += [("<frozen importlib._bootstrap>", "frozen"), ("<string>", "interactive")]
    if options.hostile:
        files += [(f"/srv/app/{text}.py", "user") for text in HOSTILE]
    return files


def make_functions(draw, options, files):
    functions = []
    names = set()
    for number, _ in enumerate(files):
        for at in range(6 + draw.below(30)):
            name = f"{draw.pick(VERBS)}_{draw.pick(NOUNS)}"
            if at % 3:
                name = f"{draw.pick(NOUNS).title()}{draw.pick(NOUNS).title()}.{name}"
            name = "<module>" if at == 0 else name
            while (number, name) in names:
                name += f"_{draw.below(100)}"
            names.add((number, name))
            functions.append((number, name, 1 if at == 0 else 3 + at * 24))
    if options.hostile:
        functions += [(draw.below(24), text, 7) for text in HOSTILE]
    return functions


def make_frames(draw, options, functions, files):
    """(function, line, end_line, col, end_col, module, caller), and of each function its frames."""
    frames, of_function = [], []
    for function, (_, _, first) in enumerate(functions):
        mine, places = [], set()
        for _ in range(2 + draw.below(7)):
            col = 4 * (1 + draw.below(3))
            place = (first + 1 + draw.below(20), col, col + 8 + draw.below(40))
            if place not in places:
                places.add(place)
                mine.append(len(frames))
                frames.append((function, place[0], None, place[1], place[2], None, None))
        of_function.append(mine)
    return frames, of_function


def make_natives(draw, functions, files, frames):
    """Innermost frames of loaded objects, some with inlined callers."""
    natives = []
    for name in ("libnumcore.so.3", "libarrow.so.2400", "libc.so.6"):
        module = len(files)
        files.append((f"/usr/lib/x86_64-linux-gnu/{name}", "native"))
        for number in range(40):
            functions.append(
                (module, f"{draw.pick(VERBS)}_{draw.pick(NOUNS)}_{number}({draw.pick(NOUNS)}*, unsigned long)", 0)
            )
            line = draw.below(900)
            natives.append(len(frames))
            inlined = draw.below(4) == 0
            frames.append((len(functions) - 1, line, None, None, None, module, len(frames) + 1 if inlined else None))
            if inlined:
                functions.append((module, f"outer_{draw.pick(VERBS)}_{number}", 0))
                frames.append((len(functions) - 1, line + 5, None, None, None, module, None))
    return natives


def make_stacks(draw, options, functions, of_function, natives):
    """(parent, frame, kind) by id, in the order of a walk through the tree; children of a node have different frames."""
    count = len(of_function)
    callees = [[draw.skewed(count) for _ in range(3 + draw.below(3))] for _ in range(count)]
    outermost = [f for f in range(count) if functions[f][0] < 24][:12]
    stacks = [(None, None, 0), (0, None, 2)]
    path = [[0, outermost, draw.below(1000), 0]]  # id, callees, where its choices begin, how many were taken
    while len(stacks) < options.nodes - options.deep:
        top = path[-1]
        calls = top[1]
        if top[3] >= 24 or (
            len(path) > 1 and draw.random() < (0.36 if len(path) < 12 else 0.49 if len(path) < 40 else 0.6)
        ):
            if len(path) > 1:
                path.pop()
                continue
        choice = top[2] + top[3]
        top[3] += 1
        if natives and len(path) > 4 and draw.random() < 0.1 and top[3] < len(natives):
            stacks.append((top[0], natives[choice % len(natives)], 4))
            continue
        function = calls[choice % len(calls)]
        mine = of_function[function]
        frame = mine[choice // len(calls) % len(mine)]
        if choice // len(calls) - top[2] // len(calls) >= len(mine):
            top[3] = 24
            if len(path) > 1:
                continue
            top[2], top[3] = draw.below(1000), 0
        if draw.random() < 0.01:
            stacks.append((top[0], None, 3))
            top[3] = 24
            continue
        stacks.append((top[0], frame, 1))
        path.append([len(stacks) - 1, callees[function], draw.below(1000), 0])
    for at in range(options.deep):
        parent = len(stacks) - 1 if at else 0
        stacks.append((parent, of_function[outermost[at % 2]][0], 1))
    return stacks[: max(options.nodes, 2)]


def unique(stacks):
    """Nodes of the same parent and frame become one."""
    ids, moved, kept = {}, [], []
    for parent, frame, kind in stacks:
        key = (None if parent is None else moved[parent], frame, kind)
        if key not in ids:
            ids[key] = len(kept)
            kept.append(key)
        moved.append(ids[key])
    return kept


def make_blocks(draw, options, stacks, threads, frames):
    """Stat rows [stack, thread, allocator, allocations, allocated, varints] and their cells [stat, born, lived, blocks, bytes].

    A line allocates through one allocator, as a rule, and blocks of like size; a part of the tree runs on one thread.
    """
    stats, cells = [], []
    kinds = [(4, 4, 4, 0, 0, 5, 6, 1, 2, 7)[draw.below(10)] for _ in frames]
    sizes = [(56, 64, 200, 3000, 60000)[draw.skewed(5)] + 8 * draw.skewed(40) for _ in frames]
    depth, runs_on = [0] * len(stacks), [0] * len(stacks)
    for stack in range(1, len(stacks)):
        parent, frame, _ = stacks[stack]
        depth[stack] = depth[parent] + 1
        runs_on[stack] = draw.skewed(len(threads)) if depth[stack] < 5 else runs_on[parent]
        if stack > 2 and draw.random() < 0.45:
            continue
        for number in range(2 if draw.random() < 0.06 else 1):
            thread = runs_on[stack] if number == 0 else draw.skewed(len(threads))
            allocator = 0 if frame is None else kinds[frame] if draw.random() < 0.9 else 4
            stat = len(stats)
            count, size = 1 + draw.skewed(300), 64 if frame is None else sizes[frame]
            churn = count * size
            temporary = []
            for _ in range(draw.below(3)):
                part = draw.below(count) // 4
                temporary += [part, part * size]
            if draw.random() < 0.4:
                for _ in range(1 + draw.skewed(4)):
                    blocks = 1 + draw.skewed(60)
                    born = draw.below(options.ticks)
                    lived = 0 if draw.random() < 0.2 else 1 + draw.skewed(options.ticks)
                    if born + lived >= options.ticks:
                        lived = 0
                    weight = blocks * size + (draw.below(60_000_000) if draw.random() < 0.002 else 0)
                    cells.append([stat, born, lived, blocks, weight])
                    count += blocks
                    churn += weight
            stats.append([stack, thread, allocator, count, churn, temporary])
    return stats, cells


def varints(numbers):
    out = bytearray()
    for number in numbers:
        rest = number
        while rest >= 128:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def curve_of(ticks, cells, process_of):
    """Of each process the bytes at the end of each tick."""
    curves = {}
    for stat, born, lived, _, weight in cells:
        change = curves.setdefault(process_of[stat], [0] * (ticks + 1))
        change[born] += weight
        if lived:
            change[born + lived] -= weight
    for change in curves.values():
        for tick in range(1, ticks + 1):
            change[tick] += change[tick - 1]
    return curves


def source_of(functions, number):
    """Text in which each line that a frame may name exists."""
    last = max((first for file, _, first in functions if file == number), default=1) + 24
    lines = [f"# made up: file {number}"] + [""] * last
    for file, name, first in functions:
        if file != number or first < 1:
            continue
        lines[first - 1] = (
            "import data"
            if name == "<module>"
            else f"def {name.split('.')[-1].splitlines()[0][:60]}(rows, *, limit=10):"
        )
        for at in range(1, 22):
            lines[first - 1 + at] = (
                f"    value_{at} = [make(row, {at}) for row in rows]  # {'ä' if at % 7 == 0 else 'a'} line of text"
            )
    return "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"


def write(path, options):
    draw = Draw(options.seed)
    files = make_files(draw, options)
    functions = make_functions(draw, options, files)
    frames, of_function = make_frames(draw, options, functions, files)
    natives = make_natives(draw, functions, files, frames) if options.native else []
    stacks = unique(make_stacks(draw, options, functions, of_function, natives))
    processes = [(1, 4711), (2, 4720), (3, 4721)][: options.processes]
    threads = []
    for process, pid in processes:
        for at, name in enumerate(("MainThread", "pool-1_0", "pool-1_1", "asyncio_0")):
            threads.append((len(threads) + 1, process, pid + at, name, 1))
    base = len(threads)
    for at in range(3):
        threads.append((base + at + 1, 1, 4711 + at, threads[at][3], 0))
    if options.hostile:
        threads[0] = (*threads[0][:3], HOSTILE[0], 1)
    stats, cells = make_blocks(draw, options, stacks, threads, frames)
    cells = merge_cells(cells)
    process_of = [threads[thread][1] for _, thread, *_ in stats]
    curves = curve_of(options.ticks, cells, process_of)
    tree = [sum(column) for column in zip(*(curve[: options.ticks] for curve in curves.values()))]
    at_tree = tree.index(max(tree))
    at_peak = {process: curve.index(max(curve[: options.ticks])) for process, curve in curves.items()}
    n = len(stats)
    live, live_blocks, peak, peak_blocks, tree_peak, tree_peak_blocks = ([0] * n for _ in range(6))
    for stat, born, lived, blocks, weight in cells:
        own = at_peak[process_of[stat]]
        if not lived:
            live[stat] += weight
            live_blocks[stat] += blocks
        if born <= own and (not lived or born + lived > own):
            peak[stat] += weight
            peak_blocks[stat] += blocks
        if born <= at_tree and (not lived or born + lived > at_tree):
            tree_peak[stat] += weight
            tree_peak_blocks[stat] += blocks

    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA.read_text(encoding="utf-8"))
    db.execute(f"PRAGMA application_id = {0x48504C31}")
    db.execute("PRAGMA user_version = 1")
    texts = {i: source_of(functions, i) for i, (_, origin) in enumerate(files) if origin == "user"}
    if options.hostile:
        first = min(texts)
        texts[first] = (
            b"".join(text.replace("\n", " ").encode() + b"\n" for text in HOSTILE) * 40
            + b"x = '\xff\xfe broken \xc3'\n"
        )
    db.executemany(
        "INSERT INTO file VALUES (?, ?, ?, ?, ?)",
        (
            (
                i + 1,
                name,
                origin,
                len(texts[i]) if i in texts else None,
                zlib.compress(texts[i], 6) if i in texts else None,
            )
            for i, (name, origin) in enumerate(files)
        ),
    )
    db.executemany(
        "INSERT INTO function VALUES (?, ?, ?, ?)",
        ((i + 1, file + 1, name, first) for i, (file, name, first) in enumerate(functions)),
    )
    db.executemany(
        "INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                i + 1,
                function + 1,
                line,
                end_line or (line if col is not None else None),
                col,
                end_col,
                None if module is None else module + 1,
                None if caller is None else caller + 1,
            )
            for i, (function, line, end_line, col, end_col, module, caller) in enumerate(frames)
        ),
    )
    db.executemany(
        "INSERT INTO stack VALUES (?, ?, ?, ?)",
        ((i, parent, None if frame is None else frame + 1, kind) for i, (parent, frame, kind) in enumerate(stacks)),
    )
    db.executemany("INSERT INTO thread VALUES (?, ?, ?, ?, ?)", threads)
    db.executemany(
        "INSERT INTO thread_region VALUES (?, ?, ?)",
        (
            (base + at + 1, at + 1, region)
            for at, region in enumerate(("request route=/users", "request route=/users / query", "nightly"))
        ),
    )
    totals = {process: [0] * 6 for process, _ in processes}

    def rows():
        for i, (stack, thread, allocator, count, allocated, temporary) in enumerate(stats):
            frees, freed = count - live_blocks[i], allocated - live[i]
            sums = totals[process_of[i]]
            for at, value in enumerate((count, allocated, frees, freed, live[i], live_blocks[i])):
                sums[at] += value
            largest = allocated // count + 1
            blob = varints(temporary) if any(temporary) else None
            yield (
                i + 1, stack, process_of[i], thread + 1, allocator, count, allocated, frees, freed, live[i], live_blocks[i], peak[i],
                peak_blocks[i], tree_peak[i], tree_peak_blocks[i], largest, blob, varints((largest.bit_length(), count)), None,
            )  # fmt: skip

    db.executemany(f"INSERT INTO stat VALUES ({', '.join('?' * 19)})", rows())
    db.executemany("INSERT INTO cell_row VALUES (?, ?, ?, ?, ?)", ((stat + 1, *rest) for stat, *rest in cells))
    length_ns = options.ticks * TICK_NS
    peak_sums = {process: [0, 0] for process, _ in processes}
    for i in range(n):
        peak_sums[process_of[i]][0] += peak[i]
        peak_sums[process_of[i]][1] += peak_blocks[i]
    command = f"python -m service {HOSTILE[0]}" if options.hostile else "python -m service --rows 1000000"
    columns = [row[1] for row in db.execute("PRAGMA table_info(process)")]
    for process, pid in processes:
        t = totals[process]
        values = {
            "id": process, "pid": pid, "parent": None if process == 1 else 1, "parent_pid": 4000 if process == 1 else 4711,
            "born_by": "start" if process == 1 else "fork", "command": command, "executable": "/srv/venv/bin/python",
            "python": "3.13.0", "recorded": "objects", "reason": "", "start_ns": 0, "end_ns": length_ns, "ended": "exit", "exit_status": 0,
            "allocations": t[0], "allocated": t[1], "frees": t[2], "freed": t[3], "live": t[4], "live_blocks": t[5],
            "peak": peak_sums[process][0], "peak_ns": (at_peak.get(process, 0) + 1) * TICK_NS, "peak_blocks": peak_sums[process][1],
            "inherited_frees": 0, "unknown_frees": 3, "lost": 0, "waited_ns": 12345678, "rss_peak": peak_sums[process][0] + 50_000_000,
        }  # fmt: skip
        db.execute(
            f"INSERT INTO process ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", list(values.values())
        )
        assert set(values) <= set(columns)
        db.execute("INSERT INTO mapping VALUES (?, 'arena', 4, 4194304, 4194304, 4194304)", (process,))
        curve, before = curves.get(process, [0] * (options.ticks + 1)), 0
        for tick in range(options.ticks):
            heap = curve[tick]
            rss = heap + 40_000_000 + draw.below(1_000_000) if tick % 2 == 0 else None
            part = (
                (rss, rss - 25_000_000, 20_000_000, 5_000_000, rss - 9_000_000 if tick % 20 == 0 else None)
                if rss
                else (None,) * 5
            )
            low, high = min(heap, before), max(heap, before)
            db.execute(
                "INSERT INTO tick VALUES (?, ?, ?, ?, ?, 4194304, ?, ?, ?, ?, ?)",
                (process, tick, heap, low, high, *part),
            )
            before = heap
    for at in range(40):
        db.execute(
            "INSERT INTO mark VALUES (?, 1, 'mark', ?)",
            (at * length_ns // 41, HOSTILE[at % 8] if options.hostile else f"batch {at}"),
        )
    db.execute("INSERT INTO note VALUES (1, NULL, 'made up: no program ran')")
    everything = [sum(column) for column in zip(*totals.values())]
    meta = {
        "heapline": "0.1.0", "state": "finished", "command": command, "directory": "/srv/app", "host": "example", "options": "",
        "start_unix_ns": START_UNIX_NS, "now_ns": length_ns, "exit_status": 0, "signal": None, "root_end_ns": length_ns,
        "oom_limit": 0, "oom_scope": None, "allocations": everything[0], "allocated": everything[1], "frees": everything[2],
        "freed": everything[3], "live": everything[4], "live_blocks": everything[5], "peak": max(tree), "peak_ns": (at_tree + 1) * TICK_NS,
        "peak_blocks": sum(tree_peak_blocks), "peak_bound": max(tree), "arena_peak": 4194304 * len(processes),
        "rss_peak": max(tree) + 50_000_000 * len(processes), "pool_peak": 0, "events": everything[0] + everything[2], "lost": 0,
        "waited_ns": 12345678, "collector_cpu_ns": 2_000_000_000, "collector_rss_peak": 90_000_000, "tick_ns": TICK_NS,
        "cell_tick_ns": TICK_NS, "folded_stacks": 0, "folded_rows": 0,
    }  # fmt: skip
    db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    db.commit()
    pathlib.Path(path).unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(path),))
    return len(stacks), n, len(cells)


def merge_cells(cells):
    """One row a key."""
    merged = {}
    for stat, born, lived, blocks, weight in cells:
        at = merged.setdefault((stat, born, lived), [0, 0])
        at[0] += blocks
        at[1] += weight
    return [(*key, *value) for key, value in sorted(merged.items())]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--ticks", type=int, default=1000)
    parser.add_argument("--deep", type=int, default=0)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    nodes, stats, cells = write(options.output, options)
    print(f"{options.output}: {nodes} call-tree nodes, {stats} stat rows, {cells} cells", file=sys.stderr)


if __name__ == "__main__":
    main()
