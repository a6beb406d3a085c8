"""Parts of a recording with books of their own (heapline._part): each is what a recording of its own would have been."""

import json

import pytest
from test_inprocess import SINCE, environment, run

HEAD = """
import gc, json, os, sys
import heapline
from heapline import _part
def told(numbers):
    return {name: getattr(numbers, name) for name in type(numbers).__slots__}
"""
NOISE = 20_000  # the calls of heapline's own functions that are in the part


def asked(heapline, program, how="inside", **options):
    """The program's output when it records itself, or under heapline run."""
    if how == "inside":
        body = "\n".join("    " + line for line in program.strip().splitlines())
        return run(heapline, HEAD + "with heapline.track('inside.heapline'):\n" + body + "\n", **options).stdout
    return heapline.run(HEAD + program + "\n", env=environment(heapline), **options).stdout


@SINCE
@pytest.mark.parametrize("how", ["inside", "run"])
def test_numbers_are_of_what_was_allocated_in_the_part(heapline, each_python, how):
    program = """
old = [bytearray(1_000_000) for _ in range(30)]
_part.begin("first")
old.clear()                              # 30 MB from before: of no account
kept = [bytearray(2_000_000) for _ in range(3)]
spike = bytearray(10_000_000)
del spike
_part.close()
after = bytearray(50_000_000)            # nor is what comes after it
first = told(_part.numbers())
kept.pop()
later = told(_part.numbers())
_part.begin("second")
second = told(_part.numbers())
_part.end()
print(json.dumps([first, later, second]))
"""
    first, later, second = json.loads(asked(heapline, program, how, python=each_python))
    assert 16_000_000 <= first["peak"] < 16_000_000 + NOISE
    assert 6_000_000 <= first["heap"] < 6_000_000 + NOISE
    assert 4 <= first["allocations"] < 200
    assert 16_000_000 <= first["allocated"] < 16_000_000 + NOISE
    assert 10_000_000 <= first["temporary_bytes"] < 10_000_000 + NOISE
    assert later["peak"] == first["peak"] and later["allocations"] == first["allocations"]
    assert 4_000_000 <= later["heap"] < 4_000_000 + NOISE
    assert second["peak"] < NOISE and second["heap"] < NOISE


WORK = """
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def deep(n, kept):
    kept.append(bytearray(SIZES[n]))
    if n:
        deep(n - 1, kept)
SIZES = [300_000, *range(1000, 13_000, 1000)]
def work():
    a, c = [], []
    deep(12, a)
    b = bytearray(500_000)
    for _ in range(9):
        b.extend(bytes(400_000))         # realloc
    for i in range(40):
        deep(i % 7, c)
    del a
    m = libc.mmap(None, 3 << 20, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    libc.munmap(m + 1, 4096)             # fails: changes nothing
    libc.munmap(m + (1 << 20), 1 << 20)
    d = bytearray(7_000_000)
    d = None
    libc.munmap(m, 4096)
    return b, c
"""
KINDS = {
    "peak": ("tree_peak", "tree_peak_blocks"),
    "live": ("live", "live_blocks"),
    "allocated": ("allocated", "allocations"),
    "freed": ("freed", "frees"),
}


def by_line(profile):
    """What the lines of WORK did, kind by kind."""
    columns = ", ".join(f"sum({bytes}), sum({blocks})" for bytes, blocks in KINDS.values())
    rows = profile.sql(
        f"SELECT function, line, allocator, {columns} FROM call_site WHERE function IN ('deep', 'work') GROUP BY 1, 2, 3"
    )
    return {tuple(row)[:3]: tuple(row)[3:] for row in rows}


def test_a_part_is_what_a_recording_of_its_own_is(heapline):
    """The profile of the part beside one of the same work by track(). Without Python's small objects, of which the interpreter keeps
    some for later."""
    program = (
        HEAD
        + WORK
        + """
def before_it():
    work()                               # what is made once is made
    before = []
    deep(12, before)
    deep(12, before)
    gc.collect()
    return before
before = before_it()
with heapline.track("alone.heapline", python_objects=False):
    before.clear()
    result = work()
del result, before
with heapline.track("inside.heapline", python_objects=False):
    before = before_it()
    _part.begin()
    before.clear()
    result = work()
    _part.close()
    numbers = told(_part.numbers())
    _part.write("part.heapline")
    try:
        _part.write("part.heapline")
    except FileExistsError:
        print(json.dumps(numbers))
"""
    )
    numbers = json.loads(run(heapline, program).stdout)
    alone, part = (heapline.profile(heapline.folder / f"{name}.heapline") for name in ("alone", "part"))
    assert len(by_line(alone)) >= 6
    assert by_line(part) == by_line(alone)
    of_work = lambda profile, *options: [
        (row["line"], row["bytes"], row["count"]) for row in profile.table(*options) if row["function"] == "deep"
    ]
    for options in [], ["--leaks"], ["--temporary"], ["--temporary=100"]:
        assert of_work(part, *options) == of_work(alone, *options)
    stats = part.stats()
    assert stats["peak_bytes"] == numbers["peak"]
    assert (stats["allocations"], stats["allocated_bytes"]) == (numbers["allocations"], numbers["allocated"])
    sums = part.sql("SELECT sum(tree_peak), sum(allocations), sum(allocated) FROM stat")[0]
    assert tuple(sums) == (numbers["peak"], numbers["allocations"], numbers["allocated"])


def test_only_this_thread(heapline):
    program = """
import threading
kept = []
def elsewhere():
    for _ in range(20):
        kept.append(bytearray(1_000_000))
def here_and_there():
    thread = threading.Thread(target=elsewhere)
    thread.start()
    kept.append(bytearray(3_000_000))
    thread.join()
_part.begin(this_thread=True)
here_and_there()
mine = told(_part.numbers())
_part.begin()
here_and_there()
all = told(_part.numbers())
print(json.dumps([mine, all]))
"""
    mine, all = json.loads(asked(heapline, program))
    assert 3_000_000 <= mine["heap"] <= mine["peak"] < 3_000_000 + NOISE
    assert 23_000_000 <= all["heap"] <= all["peak"] < 23_000_000 + NOISE


@pytest.mark.parametrize("cause", ["stacks", "rows"])
def test_sums_stay_exact_when_stacks_are_folded(heapline, cause):
    """More call stacks than are kept, within a part, made before and in it."""
    program = """
sys.setrecursionlimit(5000)
import random, threading
source = "def f(n, way, kept):\\n    if n == 0:\\n        kept.append(bytearray(600)); return\\n    w = way % 4; way //= 4\\n"
source += "".join(f"    if w == {i}: return f(n - 1, way, kept)\\n" for i in range(4))
exec(compile(source, "ways.py", "exec"))
def branch(first, n, kept):
    for way in range(first, first + n):
        f(9, way, kept)
before, kept = [], []
branch(0, 60_000, before)
_part.begin()
branch(30_000, 60_000, kept)
del kept[::2]
before.clear()
branch(100_000, 100_000, kept)
del kept[:50_000]
_part.close()
numbers = told(_part.numbers())
_part.write("part.heapline")
print(json.dumps(numbers))
"""
    if cause == "rows":
        program = program.replace(
            "branch(100_000, 100_000, kept)", "heapline.region('in').__enter__(); branch(30_000, 90_000, kept)"
        )
    numbers = json.loads(asked(heapline, program, timeout=180))
    part = heapline.profile(heapline.folder / "part.heapline")
    sums = part.sql(
        "SELECT sum(tree_peak), sum(allocations), sum(allocated), sum(live), sum(live_blocks), sum(tree_peak_blocks) FROM stat"
    )[0]
    assert tuple(sums)[:5] == tuple(numbers[name] for name in ("peak", "allocations", "allocated", "heap", "blocks"))
    assert part.value("SELECT value FROM meta WHERE key = 'peak_blocks'") == sums[5]
    whole = heapline.profile(heapline.folder / "inside.heapline")
    assert whole.value("SELECT value FROM meta WHERE key = 'folded_stacks'") > 10_000
    least = {"stacks": 80_000, "rows": 70_000}[cause]
    assert least * 601 <= numbers["heap"] < least * 601 * 1.2 + 5_000_000


def test_a_forked_child_is_not_in_it(heapline):
    program = """
_part.begin()
pid = os.fork()
if pid == 0:
    kept = bytearray(50_000_000)
    os._exit(0)
os.waitpid(pid, 0)
print(json.dumps(told(_part.numbers())))
"""
    numbers = json.loads(asked(heapline, program))
    assert numbers["peak"] < NOISE


def test_parts_cost_little(heapline):
    """10,000 of them, as of as many tests: no memory, no rows of their own, and the marks in the timeline."""
    program = """
for i in range(10_000):
    _part.begin(f"test {i}")
    bytearray(5000)
    _part.close()
    if i % 100 == 0:
        assert 5000 < _part.numbers().peak < 5000 + 20_000
"""
    asked(heapline, program)
    profile = heapline.profile(heapline.folder / "inside.heapline")
    assert profile.value("SELECT count(*) FROM mark WHERE name LIKE 'test %'") == 10_000
    assert profile.value("SELECT count(*) FROM stat") < 500
