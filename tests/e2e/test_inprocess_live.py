"""What a recorded program asks about itself: heap_bytes, peak_bytes, reset_peak, snapshot, mark, region."""

import pytest
from test_inprocess import SINCE, environment, run

NUMBERS = """
import heapline, sys
def numbers():
    return heapline.heap_bytes(sync=True)
def peak():
    return heapline.peak_bytes(sync=True)
numbers_before = None
"""


def asked(heapline, program, how, **options):
    """The program's output when it records itself, or under heapline run."""
    if how == "inside":
        body = "\n".join("    " + line for line in program.strip().splitlines())
        text = NUMBERS + "with heapline.track('inside.heapline'):\n" + body + "\n"
        return run(heapline, text, **options).stdout
    return heapline.run(NUMBERS + program + "\n", env=environment(heapline), **options).stdout


@SINCE
@pytest.mark.parametrize("how", ["inside", "run"])
def test_heap_and_peak_are_exact(heapline, each_python, how):
    program = """
kept = None
for i in range(5): numbers(), peak()
before = numbers()
kept = bytearray(10_000_000)
after = numbers()
assert 10_000_000 <= after - before < 10_010_000, (before, after)
kept = None
assert abs(numbers() - before) < 10_000
assert peak() >= before + 10_000_000
heapline.reset_peak()
assert peak() - before < 50_000, (peak(), before)
base = numbers()
kept = bytearray(3_000_000)
kept = None
assert 2_999_000 <= peak() - base < 3_050_000, (peak(), base)
print("exact")
"""
    assert asked(heapline, program, how, python=each_python) == "exact\n"


def test_the_profiles_peak_is_not_reset(heapline):
    program = (
        NUMBERS
        + """
with heapline.track("inside.heapline"):
    kept = bytearray(10_000_000)
    kept = None
    heapline.reset_peak()
    kept = bytearray(1_000_000)
    assert peak() < 5_000_000
"""
    )
    profile = run(heapline, program)
    assert profile.stats()["peak_bytes"] > 10_000_000
    assert profile.value("SELECT max(heap_high) FROM tick") == profile.stats()["peak_bytes"]


def test_numbers_are_fresh(heapline):
    program = (
        NUMBERS
        + """
import time
with heapline.track("inside.heapline"):
    ages = []
    heapline.heap_bytes()
    time.sleep(0.1)
    for i in range(200):
        kept = [bytearray(1000) for k in range(100)]
        ages.append(heapline.usage().age)
        time.sleep(0.001)
    ages.sort()
print(ages[100])
"""
    )
    assert 0 <= float(run(heapline, program).stdout) < 0.5  # 1 ms on a machine that has nothing else to do


def test_numbers_of_several_threads(heapline):
    program = (
        NUMBERS
        + """
import threading
with heapline.track("inside.heapline"):
    held = []
    before = numbers()
    def thread():
        for i in range(100):
            held.append(bytearray(10_000))
            heapline.heap_bytes(sync=True)
    threads = [threading.Thread(target=thread) for i in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert numbers() - before >= 4_000_000
print("well")
"""
    )
    assert run(heapline, program).stdout == "well\n"


def test_nothing_is_recorded(heapline):
    program = """
import heapline, gc
for ask in (heapline.heap_bytes, heapline.peak_bytes, heapline.usage, lambda: heapline.heap_bytes(sync=True)):
    try:
        ask()
    except heapline.HeaplineError as error:
        assert "not being recorded" in str(error)
    else:
        raise AssertionError
heapline.mark("nothing")
with heapline.region("nothing"): pass
heapline.reset_peak()
with heapline.track("inside.heapline"):
    assert heapline.heap_bytes(sync=True) > 0
try:
    heapline.heap_bytes()
except heapline.HeaplineError:
    print("well")
"""
    assert run(heapline, program).stdout == "well\n"


def test_a_forked_child_has_its_own_numbers(heapline):
    program = (
        NUMBERS
        + """
import os
with heapline.track("inside.heapline"):
    kept = bytearray(5_000_000)
    assert numbers() >= 5_000_000
    pid = os.fork()
    if pid == 0:
        try:
            more = bytearray(1_000_000)
            assert 1_000_000 <= numbers() < 4_000_000, numbers()
            os._exit(0)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert numbers() >= 5_000_000
"""
    )
    run(heapline, program)


def test_snapshot(heapline):
    program = """
import heapline, os
with heapline.track("inside.heapline"):
    first = bytearray(1_000_000)
    path = heapline.snapshot("first.heapline")
    assert path == os.path.abspath("first.heapline")
    second = bytearray(2_000_000)
    heapline.snapshot("second.heapline")
    try:
        heapline.snapshot("first.heapline")
    except FileExistsError:
        print("exists")
    try:
        heapline.snapshot("/nonexistent/folder/x.heapline")
    except OSError:
        print("no such folder")
    third = bytearray(3_000_000)
"""
    profile = run(heapline, program)
    assert profile.stdout == "exists\nno such folder\n"
    held = lambda p: [p.live(line=line).bytes >= 1_000_000 for line in (4, 7, 17)]
    assert held(heapline.profile(heapline.folder / "first.heapline")) == [True, False, False]
    assert held(heapline.profile(heapline.folder / "second.heapline")) == [True, True, False]
    assert held(profile) == [True, True, True]


def test_marks_and_regions(heapline):
    program = """
import heapline, time
with heapline.track("inside.heapline"):
    heapline.mark("begun")
    time.sleep(0.05)
    with heapline.region("request", route="/users", n=3):
        kept = bytearray(1_000_000)
        time.sleep(0.1)
    heapline.mark("ünïcode " + "é" * 300)
"""
    profile = run(heapline, program)
    marks = profile.json("timeline")["marks"]
    assert [(m["kind"], m["name"]) for m in marks[:3]] == [
        ("mark", "begun"),
        ("region", "request route=/users n=3"),
        ("region end", "request route=/users n=3"),
    ]
    assert marks[3]["name"].startswith("ünïcode éé") and len(marks[3]["name"].encode()) <= 448
    begin, end = marks[1]["time_s"], marks[2]["time_s"]
    assert 0.04 < begin and 0.08 < end - begin < 1
    text = profile.text("timeline")
    assert "Marks" in text and "request route=/users n=3" in text
    profile.text("timeline", "--csv")


def test_many_marks(heapline):
    program = """
import heapline
with heapline.track("inside.heapline"):
    for i in range(60_000):
        with heapline.region("r"): pass
"""
    profile = run(heapline, program)
    assert profile.value("SELECT count(*) FROM mark WHERE kind LIKE 'region%'") <= 100_000
    assert "100,000 marks" in " ".join(profile.stats()["notes"])
    assert "later ones" in profile.text("timeline")


REGIONS = """
import heapline, threading
def take(n): return [bytearray(n) for i in range(10)]
def request(kept, route):
    with heapline.region("request", route=route):
        kept.append(take(10_000))
        with heapline.region("query"):
            kept.append(take(20_000))
        kept.append(take(30_000))
with heapline.track("inside.heapline"):
    kept = [take(1_000)]
    threads = [threading.Thread(target=request, args=(kept, f"/{i % 2}")) for i in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    request(kept, "/0")
    del kept[1:]
    kept.append(take(2_000))
"""


def test_reports_select_by_region(heapline):
    profile = run(heapline, REGIONS)

    def allocated(*options):
        return profile.json("stats", "--allocated", *options)["total_bytes"]

    def about(found, expected):
        return expected <= found < expected * 1.02 + 2_000

    assert about(allocated("--region", "request"), 5 * 600_000)
    assert about(allocated("--region", "query"), 5 * 200_000)
    assert about(allocated("--region", "request route=/0"), 3 * 600_000)
    assert about(allocated("--region", "request route=/1 / query"), 2 * 200_000)
    assert about(allocated("--region", "request", "--thread", "MainThread"), 600_000)
    assert profile.json("stats", "--at", "end", "--region", "request")["total_bytes"] < 5_000
    by_region = {row["name"]: row for row in profile.json("stats", "--allocated")["by_region"]}
    assert set(by_region) == {
        "(outside of all)",
        *(f"request route=/{i}{inner}" for i in range(2) for inner in ("", " / query")),
    }
    text = profile.text("stats")
    assert "Regions" in text and "/ query" in text
    threads = [row["name"] for row in profile.json("stats", "--allocated")["by_thread"]]
    assert len(threads) == 5 and threads.count("MainThread") == 1
    assert profile.stats()["threads"] == 5
    assert profile.value("SELECT sum(allocated) FROM stat") == profile.stats()["allocated_bytes"]
    assert "region request" in profile.text("table", "--region", "request")
    wrong = heapline("table", str(profile.path), "--region", "nothing")
    assert wrong.exit == 2 and "no region" in wrong.stderr


def test_regions_of_merged_profiles(heapline):
    names = ("first.heapline", "second.heapline")
    for name in names:
        run(heapline, REGIONS.replace("inside.heapline", name), name=name)
    finished = heapline("merge", "-q", "-o", "merged.heapline", *names)
    assert finished.exit == 0, finished
    total = [
        heapline.profile(heapline.folder / name).json("stats", "--allocated", "--region", "query")["total_bytes"]
        for name in (*names, "merged.heapline")
    ]
    assert total[0] + total[1] == total[2] > 2_000_000


def test_more_regions_than_are_told_apart(heapline):
    program = """
import heapline
with heapline.track("inside.heapline"):
    for i in range(400):
        with heapline.region("request", id=i):
            bytearray(10_000)
    for i in range(40):
        heapline.region("deep").__enter__()
    kept = bytearray(1_000_000)
    for i in range(50):
        heapline.region("deep").__exit__(None, None, None)
    kept = bytearray(2_000_000)
"""
    profile = run(heapline, program)
    assert profile.value("SELECT count(DISTINCT region) FROM thread_region") <= 255
    assert "255 regions" in " ".join(profile.stats()["notes"])
    assert profile.value("SELECT sum(allocated) FROM stat") == profile.stats()["allocated_bytes"]
    assert profile.allocated(line=12).bytes >= 2_000_000


@SINCE
def test_a_forked_child_may_record_itself_while_its_parent_goes_on(heapline, each_python):
    """What the child was forked with is its parent's memory too."""
    program = (
        NUMBERS
        + """
import os
heapline.start("inside.heapline", children="none")
first = bytearray(1_000_000)
if os.fork() == 0:
    heapline.start("child.heapline")
    before = numbers()
    kept = bytearray(3_000_000)
    assert 3_000_000 <= numbers() - before < 3_010_000
    heapline.stop()
    os._exit(0)
assert os.wait()[1] == 0
before = numbers()
kept = bytearray(10_000_000)
assert 10_000_000 <= numbers() - before < 10_010_000, (before, numbers())
heapline.stop()
"""
    )
    profile = run(heapline, program, python=each_python)
    assert profile.stats()["peak_bytes"] > 11_000_000
    assert heapline.profile(heapline.folder / "child.heapline").stats()["peak_bytes"] > 3_000_000
