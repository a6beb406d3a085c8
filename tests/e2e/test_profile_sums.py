"""Profiles of real runs add up: at the end, and in every state that can be read while the program runs."""

import sqlite3
import time

import pytest

PROGRAM = """
    import os, sys, threading, time
    def build(n):
        return {i: [str(i)] * (i % 7) for i in range(n)}
    def churn(end):
        kept = []
        while time.time() < end:
            kept.append(build(200))
            if len(kept) > 60:
                del kept[::2]
            bytearray(100_000)
            time.sleep(0.002)
    end = time.time() + float(sys.argv[1])
    child = os.fork() if sys.argv[2] == "fork" else None
    threads = [threading.Thread(target=churn, args=(end,)) for _ in range(2)]
    for thread in threads: thread.start()
    churn(end)
    for thread in threads: thread.join()
    if child: os.waitpid(child, 0)
"""


def read(path):
    """The whole database as it is now, however the file is replaced meanwhile."""
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    database.deserialize(path.read_bytes())
    return database


def check(database):
    """Every sum that docs/profile-format.md promises; returns meta."""

    def one(sql, *parameters):
        return database.execute(sql, parameters).fetchone()[0]

    meta = dict(tuple(row) for row in database.execute("SELECT key, value FROM meta"))
    assert one("PRAGMA integrity_check") == "ok"
    for column in ("allocations", "allocated", "frees", "freed", "live", "live_blocks"):
        assert one(f"SELECT coalesce(sum({column}), 0) FROM process") == meta[column], column
        for process, total in database.execute(f"SELECT id, {column} FROM process").fetchall():
            assert one(f"SELECT coalesce(sum({column}), 0) FROM stat WHERE process = ?", process) == total, column
    for process, peak, blocks in database.execute("SELECT id, peak, peak_blocks FROM process").fetchall():
        assert one("SELECT coalesce(sum(peak), 0) FROM stat WHERE process = ?", process) == peak
        assert one("SELECT coalesce(sum(peak_blocks), 0) FROM stat WHERE process = ?", process) == blocks
    assert one("SELECT coalesce(sum(tree_peak), 0) FROM stat") == meta["peak"]
    assert meta["peak"] <= meta["peak_bound"]
    assert one("SELECT count(*) FROM stat WHERE live < 0 OR peak < 0 OR tree_peak < 0 OR frees > allocations") == 0
    assert one("SELECT count(*) FROM stack WHERE parent >= id") == 0
    for inner, outer in (("stat.stack", "stack"), ("stack.parent", "stack"), ("stack.frame", "frame"),
                         ("frame.function", "function"), ("function.file", "file"), ("stat.process", "process"),
                         ("stat.thread", "thread"), ("cell_row.stat", "stat"), ("tick.process", "process")):  # fmt: skip
        table, column = inner.split(".")
        lost = f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT id FROM {outer})"
        assert one(lost) == 0, inner
    return meta


def curve_differs(database, meta):
    """Ticks of process 1 at which the blocks alive by the cells are not the heap: (tick, heap, alive)."""
    ratio = meta["cell_tick_ns"] // meta["tick_ns"]
    ticks = dict(tuple(row) for row in database.execute("SELECT tick, heap FROM tick WHERE process = 1 ORDER BY tick"))
    found = []
    for tick, heap in ticks.items():
        if (tick + 1) % ratio == 0 and tick != max(ticks):  # the last one may have been cut short
            alive = database.execute(
                "SELECT coalesce(sum(cell.bytes), 0) FROM cell JOIN stat ON stat.id = cell.stat"
                " WHERE stat.process = 1 AND born < :t AND (died >= :t OR died IS NULL)",
                {"t": (tick + 1) // ratio},
            ).fetchone()[0]
            if alive != heap:
                found.append((tick, heap, alive))
    return found


@pytest.mark.pythons("2.7", "3.8", "3.10", "3.12", "3.13", "3.13t", "3.15")
@pytest.mark.parametrize("kind", ["threads", "fork"])
def test_a_finished_profile_adds_up(heapline, each_python, kind):
    program = PROGRAM.replace("100_000", "100000")
    profile = heapline.run(program, python=each_python, args=["0.6", kind])
    database = read(profile.path)
    meta = check(database)
    assert meta["state"] == "finished" and meta["exit_status"] == 0 and meta["allocations"] > 10000
    assert curve_differs(database, meta) == []


def test_every_state_on_the_way_adds_up(heapline):
    running = heapline.start(PROGRAM, args=["4", "fork"])
    states, deadline = {}, time.time() + 30
    while time.time() < deadline:
        if running.path.exists():
            meta = check(read(running.path))
            states[meta["now_ns"]] = meta
            if meta["state"] != "running":
                break
        elif running.process.poll() is not None:
            break
        time.sleep(0.05)
    running.finish()
    assert len(states) >= 4, sorted(states)
    in_order = [states[now] for now in sorted(states)]
    assert [meta["state"] for meta in in_order[-2:]] == ["running", "finished"]
    assert all(a["allocations"] <= b["allocations"] and a["peak"] <= b["peak"] for a, b in zip(in_order, in_order[1:]))
