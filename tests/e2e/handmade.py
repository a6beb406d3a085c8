"""A small profile with known figures, written from the schema with SQL alone: what reports must show can be counted on paper.

10 ms ticks, 1 s, one process (or two). app.py:
    load (line 5)    40 MB allocated, 25 MB freed, 30 MB at the peak, through json/decoder.py
    main (line 9)    10 MB allocated, all alive
    no Python         2 MB
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

from pythons import ROOT

SOURCE = b"""import json


def load(path):
    return json.load(open(path))


def main():
    keep = [0] * 1_250_000
    return load("x")


main()
"""
MB = 1_000_000


def write(
    path: Path,
    *,
    names: dict[str, str] | None = None,
    meta: dict[str, object] | None = None,
    source: bytes | None = SOURCE,
    profiled: bool = False,
) -> Path:
    """`profiled`: load and main were profiled line by line, load in two images of the process.

    `names` replaces strings of the profile: the keys "load", "main", "app.py", "decode", "thread", "command"."""
    name = {
        "load": "load",
        "main": "main",
        "app.py": "/home/u/app/app.py",
        "decode": "JSONDecoder.decode",
        "thread": "MainThread",
        "command": "app.py x",
        **(names or {}),
    }
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    database.executescript((ROOT / "src/profile/schema.sql").read_text())
    database.execute(f"PRAGMA application_id = {0x48504C31}")
    database.execute("PRAGMA user_version = 1")
    put = database.execute
    for key, value in {
        "command": name["command"],
        "directory": "/home/u/app",
        "host": "h",
        "start_unix_ns": 0,
        "state": "finished",
        "now_ns": 1_000_000_000,
        "tick_ns": 10_000_000,
        "cell_tick_ns": 10_000_000,
        "peak": 42 * MB,
        "peak_ns": 500_000_000,
        "peak_blocks": 7,
        "peak_bound": 42 * MB,
        "exit_status": 0,
        "signal": None,
        "root_end_ns": 1_000_000_000,
        "oom_limit": 0,
        "oom_scope": None,
        "events": 16,
        "lost": 0,
        "waited_ns": 0,
        "collector_cpu_ns": 5_000_000,
        "collector_rss_peak": 20 * MB,
        "folded_stacks": 0,
        "arena_peak": MB,
        "rss_peak": 60 * MB,
        **(meta or {}),
    }.items():
        put("INSERT INTO meta VALUES (?, ?)", (key, value))
    put(
        "INSERT INTO process VALUES (1, 100, NULL, 1, 'start', ?, '/usr/bin/python3', '3.12.1', 'objects', '', 0, 1000000000, "
        "'exit', 0, 10, ?, 5, ?, ?, 5, ?, 500000000, 7, 0, 0, 0, 0, ?)",
        (name["command"], 52 * MB, 25 * MB, 27 * MB, 42 * MB, 60 * MB),
    )
    put("INSERT INTO mapping VALUES (1, 'arena', 1, ?, ?, ?)", (MB, MB, MB))
    put("INSERT INTO thread VALUES (1, 1, 100, ?, 1)", (name["thread"],))
    text = zlib.compress(source) if source else None
    put("INSERT INTO file VALUES (1, ?, 'user', ?, ?)", (name["app.py"], len(source) if source else None, text))
    put("INSERT INTO file VALUES (2, '/usr/lib/python3.12/json/decoder.py', 'stdlib', NULL, NULL)")
    for row in [(1, 1, "<module>", 1), (2, 1, name["load"], 4), (3, 1, name["main"], 8), (4, 2, name["decode"], 300)]:
        put("INSERT INTO function VALUES (?, ?, ?, ?)", row)
    for row in [(1, 1, 13), (2, 3, 9), (3, 3, 10), (4, 2, 5), (5, 4, 337)]:
        put("INSERT INTO frame (id, function, line) VALUES (?, ?, ?)", row)
    for row in [
        (0, None, None, 0),
        (1, 0, None, 2),
        (2, 0, 1, 1),
        (3, 2, 2, 1),
        (4, 2, 3, 1),
        (5, 4, 4, 1),
        (6, 5, 5, 1),
    ]:
        put("INSERT INTO stack VALUES (?, ?, ?, ?)", row)
    temporary = bytes([1]) + varint(5 * MB)  # one block of 5 MB was freed before the next allocation
    sizes = bytes([20, 2, 24, 4])
    for row in [  # id, stack, process, thread, allocator, allocations, allocated, frees, freed, live, blocks, peak ..
        (1, 1, 1, 1, 0, 3, 2 * MB, 0, 0, 2 * MB, 3, 2 * MB, 3, 2 * MB, 3, MB, None, None, None),
        (2, 3, 1, 1, 4, 1, 10 * MB, 0, 0, 10 * MB, 1, 10 * MB, 1, 10 * MB, 1, 10 * MB, None, None, None),
        (3, 6, 1, 1, 4, 6, 40 * MB, 5, 25 * MB, 15 * MB, 1, 30 * MB, 3, 30 * MB, 3, 15 * MB, temporary, sizes, None),
    ]:
        put(f"INSERT INTO stat VALUES ({', '.join('?' * len(row))})", row)
    for tick, heap, high in [
        (0, 2 * MB, 2 * MB),
        (10, 12 * MB, 12 * MB),
        (50, 41 * MB, 42 * MB),
        (80, 27 * MB, 41 * MB),
    ]:
        put(
            "INSERT INTO tick VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, 0, NULL)",
            (tick, heap, min(heap, high), high, MB, heap + 10 * MB, heap + 2 * MB, 8 * MB),
        )
    for row in [(1, 0, 0, 3, 2 * MB), (2, 10, 0, 1, 10 * MB), (3, 50, 30, 2, 14 * MB), (3, 50, 0, 1, 15 * MB)]:
        put("INSERT INTO cell_row VALUES (?, ?, ?, ?, ?)", row)
    if profiled:
        for row in [(1, 1, 1, name["main"], 8, 10), (2, 1, 1, name["load"], 4, 5), (3, 1, 1, name["load"], 4, 5)]:
            put("INSERT INTO line_function VALUES (?, ?, ?, ?, ?, ?)", row)
        for row in [  # function, line, hits, allocated, freed, allocations, highest, temporary, largest, rss
            (1, 9, 1, 10 * MB, 0, 1, 10 * MB, 0, 10 * MB, None),
            (1, 10, 1, 40 * MB, 25 * MB, 6, 30 * MB, 5 * MB, 15 * MB, None),
            (2, 5, 2, 30 * MB, 25 * MB, 4, 30 * MB, 5 * MB, 14 * MB, 50 * MB),
            (3, 5, 1, 10 * MB, 0, 2, 10 * MB, 0, 15 * MB, 60 * MB),
        ]:
            put("INSERT INTO line_profile VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    database.close()
    return path


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))
