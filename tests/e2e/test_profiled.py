"""Functions profiled line by line: the report of known figures, and recordings of programs whose lines have known sums."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time

import handmade
import pytest
from handmade import MB


@pytest.fixture
def hand(heapline):
    return heapline.profile(handmade.write(heapline.folder / "hand.heapline", profiled=True))


def lines_of(profile, function, *options):
    """By line: the figures of one function."""
    found = [f for f in profile.json("profiled", *options)["functions"] if f["function"] == function]
    assert len(found) == 1, (function, found)
    return {line["line"]: line for line in found[0]["lines"]}


# ------------------------------------------------------------------------------------------------------ known figures

LOAD = {
    "hits": 3,
    "allocated_bytes": 40 * MB,
    "freed_bytes": 25 * MB,
    "net_bytes": 15 * MB,
    "allocations": 6,
    "highest_bytes": 30 * MB,
    "temporary_bytes": 5 * MB,
    "largest_bytes": 15 * MB,
    "rss_bytes": 60 * MB,
}


def test_json_has_every_promised_key(hand):
    report = hand.json("profiled")
    assert {key: report[key] for key in ("schema", "profile", "state")} == {
        "schema": "heapline.profiled/1",
        "profile": str(hand.path),
        "state": "finished",
    }
    main, load = report["functions"]
    assert load["function"] == "load" and load["file"] == "/home/u/app/app.py" and load["processes"] == 1
    assert (load["first_line"], load["last_line"]) == (4, 5)
    assert load["total"] == LOAD  # of both images
    zeros = {**dict.fromkeys(LOAD, 0), "rss_bytes": None}
    assert load["lines"] == [
        {"line": 4, **zeros, "source": "def load(path):"},
        {"line": 5, **LOAD, "source": "    return json.load(open(path))"},
    ]
    assert [(line["line"], line["net_bytes"]) for line in main["lines"]] == [(8, 0), (9, 10 * MB), (10, 15 * MB)]
    compact = hand.json("profiled", "--compact")["functions"]
    assert compact[1]["lines"] == [{"line": 5, **LOAD}]
    assert hand.json("stats")["profiled_functions"] == hand.json("summary")["profiled_functions"] == 2
    assert "2 functions were profiled line by line" in hand.text("stats")


def test_csv_says_the_same(hand):
    rows = list(csv.DictReader(io.StringIO(hand.text("profiled", "--csv"))))
    functions = hand.json("profiled")["functions"]
    assert len(rows) == sum(len(f["lines"]) for f in functions) == 5
    of_json = [(f["file"], f["function"], f["first_line"], line) for f in functions for line in f["lines"]]
    for row, (file, function, first_line, line) in zip(rows, of_json):
        assert (row["file"], row["function"], int(row["first_line"])) == (file, function, first_line)
        for key in ("line", "hits", "allocations"):
            assert int(row[key]) == line[key]
        for key in ("allocated", "freed", "net", "highest", "temporary", "largest"):
            assert int(row[key]) == line[key + "_bytes"]
        assert (int(row["rss"]) if row["rss"] else None) == line["rss_bytes"] and row["source"] == line["source"]


def test_text_fits_any_width(hand):
    for width in (40, 60, 80, 132):
        finished = hand.heapline("profiled", str(hand.path), env={"COLUMNS": str(width)})
        assert finished.exit == 0, finished
        table = [line for line in finished.stdout.split("\n") if "app.py" not in line]
        assert all(len(line) <= width for line in table), finished
    wide = finished.stdout.split("\n")
    (row,) = [line for line in wide if "json.load" in line]
    assert " ".join(row.split()).startswith("5 3 40.0 MB 25.0 MB 15.0 MB 30.0 MB 5.00 MB 15.0 MB 60.0 MB return")
    assert "load  app.py:4" in finished.stdout
    (unrun,) = [line for line in wide if "def load" in line]
    assert unrun.split() == ["4", "def", "load(path):"]


def test_order_of_functions(hand):
    def order(*options):
        return [f["function"] for f in hand.json("profiled", *options)["functions"]]

    assert order() == ["main", "load"] and order("--sort", "place") == ["load", "main"]
    assert order("--sort", "count") == ["main", "load"]


def test_functions_and_files_are_asked_for_by_name(heapline, hand):
    def names(*words):
        return [f["function"] for f in hand.json("profiled", *words)["functions"]]

    assert names("load") == ["load"] and names("app.py") == ["main", "load"] == names("load", "main")
    finished = heapline("profiled", str(hand.path), "nix")
    assert finished.exit == 2 and 'no function or file "nix"' in finished.stderr and "main, load" in finished.stderr


def test_a_pid_shows_one_process(heapline, hand):
    database = sqlite3.connect(hand.path)
    database.execute(
        "INSERT INTO process SELECT 2, 101, 1, 100, 'fork', command, executable, python, recorded, reason, "
        "start_ns, end_ns, ended, exit_status, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM process"
    )
    database.execute("UPDATE line_function SET process = 2 WHERE id = 3")
    database.commit()
    assert lines_of(hand, "load")[5]["allocated_bytes"] == 40 * MB
    assert hand.json("profiled")["functions"][1]["processes"] == 2
    assert "load  app.py:4, in 2 processes" in hand.text("profiled")
    assert lines_of(hand, "load", "--pid", "100")[5]["allocated_bytes"] == 30 * MB
    assert lines_of(hand, "load", "--pid", "101")[5]["allocated_bytes"] == 10 * MB
    database.execute("DELETE FROM line_function WHERE process = 2")
    database.commit()
    finished = heapline("profiled", str(hand.path), "--pid", "101")
    assert finished.exit == 2 and "process 101 has run no function" in finished.stderr


def test_a_profile_without_any_says_what_to_do(heapline):
    path = handmade.write(heapline.folder / "none.heapline")
    for statement in ("SELECT 1", "DROP TABLE line_profile", "DROP TABLE line_function"):
        database = sqlite3.connect(path)
        database.execute(statement)
        database.commit()
        for option in ([], ["--json"], ["--csv"]):
            finished = heapline("profiled", str(path), *option)
            assert finished.exit == 2 and finished.stdout == "", finished
            assert "@heapline.profile" in finished.stderr and "--lines" in finished.stderr
        assert json.loads(heapline("stats", str(path), "--json").stdout)["profiled_functions"] == 0


def test_compact_leaves_out_lines_without_memory(heapline):
    source = b"".join(b"x%d = %d\n" % (i, i) for i in range(1, 61))
    path = handmade.write(heapline.folder / "long.heapline", source=source)
    database = sqlite3.connect(path)
    database.execute("INSERT INTO line_function VALUES (1, 1, 1, 'f', 1, 60)")
    for line in range(1, 61):
        bytes = {10: 5 * MB, 40: 7 * MB}.get(line, 0)
        row = (1, line, 1, bytes, 0, int(bytes > 0), bytes, 0, bytes, None)
        database.execute("INSERT INTO line_profile VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    profile = heapline.profile(path)
    text = profile.text("profiled", "--compact")
    shown = [int(line.split()[0]) for line in text.split("\n") if line.strip()[:1].isdigit() and " = " in line]
    assert shown == [*range(8, 13), *range(38, 43)]
    assert [line.strip() for line in text.split("\n") if "without memory" in line] == [
        "(7 lines without memory)",
        "(25 lines without memory)",
        "(18 lines without memory)",
    ]
    assert profile.text("profiled").count(" = ") == 60


def test_source_is_not_needed(heapline):
    profile = heapline.profile(handmade.write(heapline.folder / "hand.heapline", profiled=True, source=None))
    text = profile.text("profiled")
    assert "neither in the profile nor on this machine" in text and "40.0 MB" in text
    assert list(lines_of(profile, "load")) == [5]  # those that ran


def test_merged_profiles_have_one_table_for_a_function(heapline):
    parts = [
        handmade.write(heapline.folder / f"{host}.heapline", profiled=True, meta={"host": host}, source=source)
        for host, source in (("a", None), ("b", handmade.SOURCE))
    ]
    assert heapline("merge", "-o", "all.heapline", *parts).exit == 0
    assert (
        heapline(
            "merge",
            "-o",
            "more.heapline",
            "all.heapline",
            handmade.write(heapline.folder / "c.heapline", profiled=True, meta={"host": "c"}),
        ).exit
        == 0
    )
    for name, times in (("all.heapline", 2), ("more.heapline", 3)):
        profile = heapline.profile(heapline.folder / name)
        assert profile.json("profiled")["functions"][1]["processes"] == times
        line = lines_of(profile, "load")[5]
        for key in ("hits", "allocated_bytes", "freed_bytes", "net_bytes", "allocations", "temporary_bytes"):
            assert line[key] == times * LOAD[key]
        for key in ("highest_bytes", "largest_bytes", "rss_bytes"):
            assert line[key] == LOAD[key]
        assert line["source"] == "    return json.load(open(path))"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE line_function SET first_line = -5, last_line = 9223372036854775807",
        "UPDATE line_function SET first_line = 'x', name = char(27, 10), last_line = NULL",
        "UPDATE line_function SET file = 77, process = 99",
        "UPDATE line_profile SET allocated = -1, freed = 'x', hits = x'00'",
        "UPDATE line_profile SET allocated = 9223372036854775807",
        "UPDATE line_profile SET line = 9223372036854775807 WHERE function = 1 AND line = 9",
        "UPDATE line_profile SET line = -1 WHERE function = 1 AND line = 9",
        "UPDATE line_function SET id = 9223372036854775807 WHERE id = 2",
        "DELETE FROM line_function WHERE id = 1",
        "DELETE FROM line_profile",
    ],
)
def test_damaged_rows_are_shown_or_refused(heapline, hand, damage):
    database = sqlite3.connect(hand.path)
    try:
        database.execute(damage)
    except sqlite3.IntegrityError:
        database.execute("DROP TABLE line_function")
        database.execute("CREATE TABLE line_function (id, process, file, name, first_line, last_line)")
        database.execute("INSERT INTO line_function VALUES (1, 1, 1, 'main', 8, 10), (2, 1, 1, 'load', 4, 5)")
        database.execute(damage)
    database.commit()
    other = handmade.write(heapline.folder / "other.heapline", profiled=True, meta={"host": "o"})
    for option in ([], ["--compact"], ["--json"], ["--csv"], ["--pid", "100"]):
        assert heapline("profiled", str(hand.path), *option).exit in (0, 2, 3)
    finished = heapline("merge", "-f", "-o", "x.heapline", hand.path, other)
    assert finished.exit in (0, 3), finished
    if finished.exit == 0:
        assert heapline("profiled", "x.heapline").exit in (0, 3)


# -------------------------------------------------------------------------------------------------- real recordings

SINCE = pytest.mark.pythons(since=(3, 8))
MIB = 1 << 20

MARK = """
import ctypes
def profile(function, flags=0):
    add = ctypes.PyDLL(None).heapline_lines_add
    add.argtypes = [ctypes.py_object, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    name = function.__qualname__.encode()
    assert add(function.__code__, name, len(name), flags) == 0
    return function
"""

# Lines that allocate by themselves, by callees (profiled or not), in recursion, generators, exceptions, methods.
MANY = (
    MARK
    + """
def helper(n):
    keep = [bytearray(n) for _ in range(10)]
    return keep[0]

@profile
def inner(n):
    a = bytearray(n)
    b = helper(n)
    return a

@profile
def outer(n):
    total = []
    for i in range(n):
        total.append(inner(2000 + i))
        x = str(i + 100000)
        bytearray(3000)
    d = {str(k): k for k in range(1000)}
    return total

@profile
def deep(n):
    keep = bytearray(4000)
    if n:
        return deep(n - 1)
    return None

@profile
def generator(n):
    for i in range(n):
        a = bytearray(5000 + i)
        yield a
        del a

@profile
def raises(n):
    try:
        a = bytearray(n)
        raise ValueError("x" * 3000)
    except ValueError as e:
        b = bytearray(n)
    finally:
        c = bytearray(n)
    raise KeyError(c)

class C:
    @profile
    def method(self, n):
        return [bytearray(n)
                for _ in range(5)]

@profile
def consume():
    out = 0
    for a in generator(20):
        out += len(a)
    return out

outer(50)
deep(30)
consume()
try:
    raises(6000)
except KeyError:
    pass
C().method(7000)
"""
)


def of_stacks(profile):
    """What the call tree has for each line of Python, with all that it called, once where it is on a stack more than once:
    (path, function's own name, line) -> bytes and count."""
    frames = {
        row[0]: row[1:]
        for row in profile.sql(
            "SELECT frame.id, path, function.name, line FROM frame JOIN function ON function.id = frame.function JOIN file ON "
            "file.id = function.file"
        )
    }
    stacks = {row[0]: (row[1], row[2]) for row in profile.sql("SELECT id, parent, frame FROM stack")}
    sums = {}
    for leaf, *own in profile.sql("SELECT stack, sum(allocated), sum(allocations) FROM stat GROUP BY stack"):
        lines, stack = set(), leaf
        while stack:
            stack, frame = stacks[stack][0], frames.get(stacks[stack][1])
            if frame:
                lines.add((frame[0], frame[1].split(".")[-1], frame[2]))
        for line in lines:
            sums[line] = tuple(a + b for a, b in zip(sums.get(line, (0, 0)), own))
    return sums


@SINCE
def test_each_line_has_what_the_call_tree_has_for_it(heapline, each_python):
    """Two ways of counting: by line marks in the order of events, and by the stacks of allocations."""
    profile = heapline.run(MANY, python=each_python)
    assert profile.exit == 0, profile.finished
    expected = of_stacks(profile)
    rows = profile.sql(
        "SELECT path, name, line, first_line, allocated, allocations FROM line_profile JOIN line_function ON "
        "line_function.id = line_profile.function JOIN file ON file.id = line_function.file"
    )
    found = {(row[0], row[1].split(".")[-1], row[2]): (row[4], row[5]) for row in rows}
    assert len({key[1] for key in found}) == 7 and len(found) > 25
    for key, sums in found.items():
        assert sums == expected.get(key, (0, 0)), key
    first_lines = {(row[0], row[1].split(".")[-1]): row[3] for row in rows}
    for path, function, line in expected.keys() - found.keys():
        if (path, function) in first_lines:  # 3.11 makes a frame object before the first line
            assert each_python.version == (3, 11) and line == first_lines[path, function]


def test_hits_and_sizes_are_those_of_the_program(heapline):
    profile = heapline.run(MANY)
    outer, inner, deep = (lines_of(profile, name) for name in ("outer", "inner", "deep"))
    by_text = {line["source"].strip(): line for line in outer.values()}
    assert by_text["for i in range(n):"]["hits"] == 51 and by_text["return total"]["hits"] == 1
    assert by_text["def outer(n):"]["hits"] == 0
    spike = by_text["bytearray(3000)"]
    assert spike["hits"] == 50 and spike["net_bytes"] == 0 and spike["largest_bytes"] == 3001
    assert spike["allocated_bytes"] == spike["temporary_bytes"] == 50 * spike["highest_bytes"] >= 50 * 3001
    a = next(line for line in inner.values() if line["source"] == "    a = bytearray(n)")
    assert 0 <= a["net_bytes"] - sum(2001 + i for i in range(50)) <= 50 * 100 and a["largest_bytes"] == 2050
    recursive = next(line for line in deep.values() if "deep(n - 1)" in line["source"])
    assert recursive["hits"] == 30 and 30 * 4001 <= recursive["allocated_bytes"] <= 30 * 4400  # not 30 + 29 + ..
    assert recursive["net_bytes"] < 1000 <= 29 * 4001 <= recursive["highest_bytes"]
    method = lines_of(profile, "C.method")
    assert 5 * 7001 <= max(line["allocated_bytes"] for line in method.values()) <= 5 * 7200


def test_a_spike_in_a_loop_nets_to_zero(heapline):
    program = (
        MARK
        + """
@profile
def spikes(n):
    for i in range(n):
        bytearray(100 << 20)
        x = bytearray(100 << 20); del x
spikes(7)
"""
    )
    lines = lines_of(heapline.run(program), "spikes")
    spikes = [line for line in lines.values() if "bytearray" in line["source"]]
    assert len(spikes) == 2
    for line in spikes:
        assert line["hits"] == 7 and line["net_bytes"] == 0
        assert 0 <= line["highest_bytes"] - 100 * MIB <= 200
        assert 0 <= line["temporary_bytes"] - 7 * 100 * MIB <= 7 * 200
        assert line["temporary_bytes"] == line["allocated_bytes"] == line["freed_bytes"]
        assert line["largest_bytes"] == 100 * MIB + 1


def test_memory_that_is_not_touched_counts(heapline, python):
    numpy = python.numpy
    if numpy is None:
        pytest.skip("no numpy")
    program = (
        MARK
        + """
import numpy as np
def make(n):
    a = np.empty(n, dtype=np.uint8)
    b = np.zeros(n, dtype=np.uint8)
    del a
    return b
profile(make, 1)
make(512 << 20)
"""
    )
    lines = lines_of(heapline.run(program, python=python, env=numpy), "make")
    empty, zeros, gone = (next(x for x in lines.values() if text in x["source"]) for text in ("empty", "zeros", "del"))
    for line in (empty, zeros):
        assert 0 <= line["net_bytes"] - 512 * MIB <= 2000 and 0 <= line["highest_bytes"] - 512 * MIB <= 4000
        assert line["largest_bytes"] == 512 * MIB
        assert line["rss_bytes"] < 300 * MIB
    assert -2000 <= gone["net_bytes"] + 512 * MIB <= 0


@SINCE
def test_resident_memory_after_lines(heapline, each_python):
    """Only where it was asked for: as the program itself reads it at that moment."""
    program = (
        MARK
        + """
import os, resource
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def work():
    a = bytearray(64 << 20)
    seen = resident()
    del a
    return seen
def other():
    return bytearray(1000)
profile(work, 1)
profile(other)
other()
print(work())
"""
    )
    profile = heapline.run(program, python=each_python)
    seen = int(profile.finished.stdout)
    lines = {x["source"].strip(): x["rss_bytes"] for x in lines_of(profile, "work").values()}
    assert abs(lines["a = bytearray(64 << 20)"] - seen) < 2 * MIB and seen > 64 * MIB
    assert 0 < lines["del a"] < seen + 2 * MIB
    if not each_python.free_threaded:  # whose allocator keeps what is freed
        assert lines["del a"] < seen - 60 * MIB
    assert {line["rss_bytes"] for line in lines_of(profile, "other").values()} == {None}


def test_threads_are_added_up(heapline):
    program = (
        MARK
        + """
import threading
@profile
def work(n):
    kept = []
    for i in range(n):
        kept.append(bytearray(3000))
    return kept
def idle():
    return [bytearray(100000) for _ in range(200)]
threads = [threading.Thread(target=work, args=(500,)) for _ in range(8)] + [threading.Thread(target=idle)]
for t in threads: t.start()
for t in threads: t.join()
"""
    )
    lines = lines_of(heapline.run(program), "work")
    (append,) = [line for line in lines.values() if "append" in line["source"]]
    assert append["hits"] == 8 * 500
    assert 8 * 500 * 3001 <= append["allocated_bytes"] <= 8 * 500 * 3200 and append["largest_bytes"] < 100000


@pytest.mark.parametrize("how", ["fork", "multiprocessing-fork", "multiprocessing-spawn"])
def test_processes_are_added_up(heapline, how):
    body = (
        MARK
        + """
@profile
def work(n):
    kept = []
    for i in range(n):
        kept.append(bytearray(3000))
    return len(kept)
"""
    )
    if how == "fork":
        program = (
            body
            + """
import os
for k in range(4):
    if os.fork() == 0:
        work(100 * (k + 1))
        os._exit(0)
for k in range(4): os.wait()
"""
        )
    else:
        method = how.split("-")[1]
        program = (
            body
            + f"""
import multiprocessing
if __name__ == "__main__":
    processes = [multiprocessing.get_context("{method}").Process(target=work, args=(100 * (k + 1),)) for k in range(4)]
    for p in processes: p.start()
    for p in processes: p.join()
"""
        )
    profile = heapline.run(program)
    assert profile.exit == 0, profile.finished
    (function,) = [f for f in profile.json("profiled")["functions"]]
    (append,) = [line for line in function["lines"] if "append" in line["source"]]
    assert append["hits"] == 1000 and 1000 * 3001 <= append["allocated_bytes"] <= 1000 * 3300
    assert function["processes"] == 4
    pids = [
        pid
        for (pid,) in profile.sql(
            "SELECT pid FROM process WHERE id IN (SELECT process FROM line_function) ORDER BY pid"
        )
    ]
    hits = []
    for pid in pids:
        hits += [x["hits"] for x in lines_of(profile, "work", "--pid", str(pid)).values() if "append" in x["source"]]
    assert sorted(hits) == [100, 200, 300, 400]


def test_a_child_begins_in_the_lines_in_which_it_was_forked(heapline):
    program = (
        MARK
        + """
import os
@profile
def work():
    before = bytearray(50000)
    pid = os.fork()
    after = bytearray(40000)
    if pid == 0:
        os._exit(0)
    os.wait()
work()
"""
    )
    lines = lines_of(heapline.run(program), "work")
    by_text = {line["source"].strip(): line for line in lines.values()}
    assert by_text["before = bytearray(50000)"]["hits"] == 1 and by_text["after = bytearray(40000)"]["hits"] == 2
    assert 2 * 40001 <= by_text["after = bytearray(40000)"]["allocated_bytes"] <= 2 * 40100
    assert 50001 <= by_text["before = bytearray(50000)"]["allocated_bytes"] <= 50100


def test_what_a_killed_program_did_is_there(heapline):
    program = (
        MARK
        + """
import os, signal
@profile
def work(n):
    kept = []
    for i in range(n):
        kept.append(bytearray(3000))
    os.kill(os.getpid(), signal.SIGKILL)
work(100000)
"""
    )
    profile = heapline.run(program, check=False)
    assert profile.exit == -9, profile.finished
    by_text = {line["source"].strip(): line for line in lines_of(profile, "work").values()}
    append = by_text["kept.append(bytearray(3000))"]
    assert append["hits"] == 100000 and by_text["for i in range(n):"]["hits"] == 100001
    assert append["allocated_bytes"] - append["freed_bytes"] >= 100000 * 3001
    kill = by_text["os.kill(os.getpid(), signal.SIGKILL)"]
    assert kill["hits"] == 1
    assert "work" in profile.stderr and "heapline profiled" in profile.stderr


def test_a_killed_child_gives_its_counters_back(heapline):
    """More processes, one after the other, than there are chunks for counters."""
    program = (
        MARK
        + """
import os, signal
@profile
def work(n):
    kept = bytearray(n)
    os.kill(os.getpid(), signal.SIGKILL)
for k in range(200):
    if os.fork() == 0:
        work(10000 + k)
    os.wait()
work.__name__
"""
    )
    profile = heapline.run(program, options=["--interval", "50ms"])
    assert profile.exit == 0, profile.finished
    by_text = {line["source"].strip(): line for line in lines_of(profile, "work").values()}
    assert by_text["kept = bytearray(n)"]["hits"] == 200
    assert 200 * 10001 <= by_text["kept = bytearray(n)"]["allocated_bytes"] <= 200 * 10400
    assert not [note for note in profile.stats()["notes"] if "no room" in note]


def test_a_running_program_can_be_read(heapline):
    program = (
        MARK
        + """
import time, sys
@profile
def work():
    kept = bytearray(123456)
    print("ready", flush=True)
    time.sleep(60)
work()
"""
    )
    running = heapline.start(program)
    assert running.process.stdout.readline() == "ready\n"
    for _ in range(200):  # a checkpoint comes within a second or two
        time.sleep(0.1)
        if running.path.exists() and running.profile().stats()["profiled_functions"]:
            by_text = {line["source"].strip(): line for line in lines_of(running.profile(), "work").values()}
            if by_text["time.sleep(60)"]["hits"]:
                break
    kept = by_text["kept = bytearray(123456)"]
    assert kept["hits"] == 1 and 123457 <= kept["allocated_bytes"] <= 123600


# ------------------------------------------------------------------------------------------------ heapline run --lines

PACKAGE = """
class Cache:
    def fill(self, n):
        self.kept = [bytearray(3000) for _ in range(n)]
        return len(self.kept)

    @staticmethod
    def make(n):
        return bytearray(n)

def outer():
    def inner(n):
        return bytearray(n)
    return inner
"""


@SINCE
def test_functions_are_named_on_the_command_line(heapline, each_python):
    (heapline.folder / "pkg").mkdir()
    (heapline.folder / "pkg" / "__init__.py").write_text("")
    (heapline.folder / "pkg" / "mod.py").write_text(PACKAGE)
    program = """
from pkg.mod import Cache, outer
def main():
    cache = Cache()
    cache.fill(100)
    return cache, Cache.make(5000), outer()(6000)
kept = main()
"""
    names = [
        "--lines",
        "__main__:main,pkg.mod:Cache.fill",
        "--lines=pkg.mod:Cache.make",
        "--lines",
        "pkg.mod:outer.inner",
    ]
    profile = heapline.run(program, python=each_python, options=names)
    functions = {f["function"]: f for f in profile.json("profiled")["functions"]}
    assert {name.split(".")[-1] for name in functions} == {"main", "fill", "make", "inner"}, functions
    (make,) = [x for name, f in functions.items() if name.endswith("make") for x in f["lines"] if x["hits"]]
    assert make["hits"] == 1 and 5001 <= make["allocated_bytes"] <= 5100
    assert make["source"] == "        return bytearray(n)"
    (fill,) = [
        x for name, f in functions.items() if name.endswith("fill") for x in f["lines"] if "for _" in x["source"]
    ]
    assert 100 * 3001 <= fill["net_bytes"] <= 100 * 3200
    (outer,) = [x for x in lines_of(profile, "main").values() if "outer()" in x["source"]]
    assert outer["hits"] == 1 and 11002 <= outer["allocated_bytes"] <= 13000
    assert "main" in profile.stderr and "heapline profiled" in profile.stderr
    for function, row in ((f, line) for f in functions.values() for line in f["lines"]):
        assert row["net_bytes"] == row["allocated_bytes"] - row["freed_bytes"], function


def test_a_name_that_is_no_function_is_told(heapline):
    profile = heapline.run("x = 1\n\n", options=["--lines", "__main__:nothing"])
    assert "heapline: --lines: no code of a function called __main__:nothing" in profile.stderr


@pytest.mark.parametrize(
    "bad",
    [
        "app",
        "app:",
        ":f",
        "app:f,",
        "a b:f",
        "1a:f",
        "a..b:f",
        "a:f.",
        "a:<lambda>",
        "a:" + 600 * "f",
        64 * "a:b," + "a:b",
    ],
)
def test_wrong_names_are_refused(heapline, bad):
    for command in (["run", "--lines", bad, "-c", "pass"], ["env", "--lines", bad]):
        finished = heapline(*command)
        assert finished.exit in (2, 125) and "--lines" in finished.stderr and finished.stderr.count("\n") == 1, finished
    assert not list(heapline.folder.glob("*.heapline"))


def test_options_reach_programs_by_heapline_env(heapline):
    finished = heapline("env", "--lines", "a:b.<locals>.c", "--lines=d:e,f:g", "--line-rss")
    assert "--lines=a:b.<locals>.c" in finished.stdout and "--lines=d:e,f:g" in finished.stdout
    assert "--line-rss" in finished.stdout
    assert "--line-rss goes with --lines" in heapline("env", "--line-rss").stderr
