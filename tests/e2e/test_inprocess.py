"""Recordings that a program begins and ends itself: `import heapline` (docs/python-api.md)."""

import os
import subprocess

import pytest
from pythons import ROOT, all_pythons
from recording import Sum

SINCE = pytest.mark.pythons(since=(3, 8))

# Sizes that pymalloc does not serve, so that they reach malloc; every line of work() has a known sum.
WORK = """
import os, sys, threading
SIZES = [2000 + i for i in range(500)]
SMALL = [40 + i % 300 for i in range(700)]
def work():
    kept = [None] * 500
    small = [None] * 700
    for i, size in enumerate(SIZES):
        kept[i] = bytearray(size)          # large
    for i, size in enumerate(SMALL):
        small[i] = bytearray(size)         # small
    for i, size in enumerate(SIZES):
        bytearray(size)                    # temporary
    for i in range(0, 500, 2):
        kept[i] = None                     # half of them
    return kept, small
work()  # the interpreter makes some objects of its own at the first call
"""
LINES = {
    text.split("#")[1].strip(): number for number, text in enumerate(("\n" + WORK).split("\n"), 0) if "#" in text[20:]
}
ALL = sum(2001 + i for i in range(500))  # a bytearray asks for one byte more
HALF = sum(2001 + i for i in range(1, 500, 2))
TRACK_WORK = "import heapline\nwith heapline.track('inside.heapline'):\n    kept = work()\n"
FEW = 200  # bytes that the interpreter may keep of its own


def environment(heapline, **more):
    path = os.pathsep.join([str(heapline.binary.parent), os.environ.get("PATH", "")])
    return {"PYTHONPATH": str(ROOT / "python"), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(heapline, program, *, python=None, name="inside.heapline", exit=0, **options):
    """Runs a program that records itself into `name`; its profile."""
    finished = heapline.plain(program, python=python, env=environment(heapline), **options)
    assert finished.exit == exit, finished
    profile = heapline.profile(heapline.folder / name)
    profile.finished = finished
    return profile


def of_lines(profile):
    """What the known lines of work() did: (line, allocator) -> allocations, bytes, alive, and their blocks."""
    rows = profile.sql(
        "SELECT line, allocator, sum(allocations), sum(allocated), sum(live), sum(live_blocks) FROM call_site "
        "WHERE function = 'work' GROUP BY line, allocator"
    )
    return {(row[0], row[1]): tuple(row)[2:] for row in rows if row[0] in list(LINES.values())[:3]}


# ------------------------------------------------------------------------------------------------------- exactness


@SINCE
def test_a_block_is_recorded_to_the_byte(heapline, each_python):
    profile = run(heapline, WORK + TRACK_WORK, python=each_python)
    header = overhead(heapline, each_python)
    allocated = lambda what: profile.allocated(function="work", line=LINES[what])
    assert near(allocated("large"), (ALL + 500 * header, 1000))
    assert allocated("small") == (sum(41 + i % 300 for i in range(700)) + 700 * header, 1400)
    assert allocated("temporary") == (ALL + 500 * header, 1000)
    assert near(profile.live(function="work", line=LINES["large"]), (HALF + 250 * header, 500))
    assert profile.live(function="work", line=LINES["temporary"]) == (0, 0)
    stats = profile.stats()
    assert stats["events_lost"] == 0
    assert stats["unknown_frees"] == 0
    assert stats["state"] == "stopped"


def near(found, expected):
    """Exact, but for what the interpreter has no free object for at that moment, and makes and keeps: a tuple for arguments."""
    return 0 <= found.bytes - expected[0] <= FEW and 0 <= found.count - expected[1] <= 4


def overhead(heapline, python):
    """What a bytearray takes beside its bytes, as tracemalloc sees it."""
    program = """
import tracemalloc
tracemalloc.start()
kept = [None] * 100
before = tracemalloc.get_traced_memory()[0]
for i in range(100): kept[i] = bytearray(2000)
print(((tracemalloc.get_traced_memory()[0] - before) // 100 - 2001) // 8 * 8)
"""
    return int(heapline.plain(program, python=python).stdout)


@SINCE
def test_it_is_the_same_as_under_heapline_run(heapline, each_python):
    inside = of_lines(run(heapline, WORK + TRACK_WORK, python=each_python))
    once = of_lines(heapline.run(WORK + "os._exit(0)\n", python=each_python))
    twice = of_lines(heapline.run(WORK + "kept = work()\nos._exit(0)\n", python=each_python))
    assert set(inside) == set(twice) and len(inside) >= 3
    for key, row in inside.items():
        expected = tuple(a - b for a, b in zip(twice[key], once[key]))
        assert near(Sum(row[1], row[0]), expected[1::-1]), key
        assert near(Sum(row[2], row[3]), expected[2:]), key


@SINCE
def test_without_python_objects(heapline, each_python):
    program = (
        WORK
        + "import heapline\nwith heapline.track('inside.heapline', python_objects=False) as t:\n    kept = work()\n"
        "print(t.recorded)\n"
    )
    profile = run(heapline, program, python=each_python)
    outside = heapline.run(WORK + "kept = work()\nos._exit(0)\n", python=each_python, options=["--malloc-only"])
    large = {"function": "work", "line": LINES["large"]}
    assert 2 * profile.allocated(**large).bytes == outside.allocated(**large).bytes  # that one has the first call, too
    if not each_python.free_threaded:  # there objects are mimalloc's, large ones too
        assert profile.allocated(**large).count == 500 and profile.allocated(**large).bytes >= ALL
    assert profile.allocated(allocator=("object", "buffer")).count == 0
    assert profile.stdout == "stacks\n"


@SINCE
def test_threads(heapline, each_python):
    program = (
        WORK
        + """
import heapline
results = []
def thread():
    work()
with heapline.track('inside.heapline'):
    threads = [threading.Thread(target=thread, name=f"worker {i}") for i in range(6)]
    for t in threads: t.start()
    for t in threads: t.join()
"""
    )
    profile = run(heapline, program, python=each_python)
    header = overhead(heapline, each_python)
    assert near(profile.allocated(function="work", line=LINES["large"]), (6 * (ALL + 500 * header), 6000))
    assert profile.live(function="work").bytes < FEW
    assert profile.allocated(function="work", line=LINES["large"], thread="worker 3").count in (1000, 1001)
    assert profile.stats()["events_lost"] == 0


@SINCE
def test_threads_that_ran_before(heapline, each_python):
    program = (
        WORK
        + """
import heapline
begin, done, end = threading.Event(), threading.Semaphore(0), threading.Event()
def thread():
    kept = [bytearray(3000) for i in range(100)]
    begin.wait()
    del kept
    work()
    done.release()
    end.wait()
threads = [threading.Thread(target=thread) for i in range(4)]
for t in threads: t.start()
with heapline.track('inside.heapline'):
    begin.set()
    for t in threads: done.acquire()
end.set()
for t in threads: t.join()
"""
    )
    profile = run(heapline, program, python=each_python)
    expected = 4 * (ALL + 500 * overhead(heapline, each_python)), 4000
    assert near(profile.allocated(function="work", line=LINES["large"]), expected)
    stats = profile.stats()
    assert stats["events_lost"] == 0
    assert stats["unknown_frees"] == 0
    assert stats["earlier_frees"] >= 4 * 200  # what was there before, and its objects


def test_native_stacks(heapline):
    program = WORK + "import heapline\nwith heapline.track('inside.heapline', native=True):\n    kept = work()\n"
    profile = run(heapline, program)
    assert profile.value("SELECT count(*) FROM stack WHERE kind = 4") > 0
    rows = profile.table("--function", "work") if False else profile.table()
    assert any("work" in row["function"] for row in rows)


# --------------------------------------------------------------------------------------------- objects loaded later


@SINCE
def test_a_library_that_is_loaded_later(heapline, each_python):
    program = """
import heapline
def use():
    import sqlite3
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES (zeroblob(3000000))")
    return database
with heapline.track('inside.heapline', python_objects=False):
    database = use()
"""
    if heapline.plain(["-c", "import sqlite3"], python=each_python).exit:
        pytest.skip("this interpreter has no sqlite3")
    profile = run(heapline, program, python=each_python)
    assert profile.allocated(function="use", line=7, allocator="malloc").bytes > 3_000_000


def test_each_dlopen_costs_its_own_object_only(heapline):
    """600 times open and close: what is known is not looked through again."""
    program = """
import ctypes, _ctypes, time, heapline, sys
name = ctypes.util.find_library("z") if hasattr(ctypes, "util") else "libz.so.1"
import ctypes.util
name = ctypes.util.find_library("expat") or "libexpat.so.1"
def rounds():
    begin = time.process_time()
    for i in range(600):
        _ctypes.dlclose(ctypes.CDLL(name)._handle)
    return time.process_time() - begin
rounds()
plain = rounds()
with heapline.track('inside.heapline', python_objects=False):
    recorded = rounds()
print(recorded / plain)
"""
    profile = run(heapline, program)
    assert float(profile.stdout) < 20  # of CPU time; hundreds when all is looked through each time


def test_a_name_is_searched_in_the_callers_folders(heapline, tmp_path):
    """RUNPATH and $ORIGIN mean those of the object that calls dlopen, also when the call comes through our hook."""
    folder = tmp_path / "deep" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "a.c").write_text("#include <dlfcn.h>\nvoid *open_it(const char *n) { return dlopen(n, RTLD_NOW); }\n")
    (tmp_path / "b.c").write_text("int b_is_here(void) { return 7; }\n")
    for source, output, options in (
        ("a.c", tmp_path / "deep" / "liba.so", ["-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/inner"]),
        ("b.c", folder / "libhiddenb.so", []),
    ):
        subprocess.run(["cc", "-shared", "-fPIC", source, "-o", output, *options], cwd=tmp_path, check=True)
    program = f"""
import ctypes, heapline
a = ctypes.CDLL({str(tmp_path / "deep" / "liba.so")!r})
a.open_it.restype = ctypes.c_void_p
with heapline.track('inside.heapline'):
    print(bool(a.open_it(b"libhiddenb.so")), bool(a.open_it(b"$ORIGIN/inner/libhiddenb.so")), bool(a.open_it(b"libnone.so")))
"""
    assert run(heapline, program).stdout == "True True False\n"


# ------------------------------------------------------------------------------------------------- nothing remains

SLOTS = """
import ctypes, re, subprocess, os
NAMES = {"malloc", "free", "calloc", "realloc", "posix_memalign", "mmap", "mmap64", "munmap", "fork", "dlopen", "dlclose",
         "execve", "pthread_create", "mprotect", "waitpid", "wait4", "_exit"}
def objects():
    bases = {}
    for line in open("/proc/self/maps"):
        fields = line.split(None, 5)
        path = fields[5].strip() if len(fields) > 5 else ""
        if path.startswith("/") and "heapline" not in os.path.basename(path) and path not in bases and fields[2] == "00000000":
            bases[path] = int(fields[0].split("-")[0], 16)
    return bases
def places():
    found = []
    for path, base in objects().items():
        head = open(path, "rb").read(18)
        if head[:4] != b"\\x7fELF":
            continue
        base = 0 if head[16] == 2 else base
        text = subprocess.run(["readelf", "-rW", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
        for line in text.splitlines():
            fields = line.split()
            if len(fields) >= 5 and fields[2] in ("R_X86_64_JUMP_SLOT", "R_X86_64_GLOB_DAT", "R_X86_64_64"):
                if fields[4].split("@")[0] in NAMES:
                    found.append(base + int(fields[0], 16))
    return found
def contents():
    return [ctypes.c_uint64.from_address(at).value for at in PLACES]
def protections():
    return [line.split()[:2] for line in open("/proc/self/maps") if ".so" in line and "heapline" not in line]
class Allocator(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc", "free")]
def allocators():
    found = []
    for domain in range(3):
        a = Allocator()
        ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(a))
        found.append((a.context, a.malloc, a.calloc, a.realloc, a.free))
    a = Allocator()
    ctypes.pythonapi.PyObject_GetArenaAllocator(ctypes.byref(a))
    found.append((a.context, a.malloc, a.calloc))
    def_ = ctypes.c_uint64.from_address(id(type((lambda: 0).__code__)) + type.__basicsize__ * 0 + 48).value
    return found + [def_]
PLACES = places()
"""


@SINCE
def test_everything_is_put_back(heapline, each_python):
    """Slots to the byte, the protection of their pages, the interpreter's allocators."""
    program = (
        SLOTS
        + """
import heapline
with heapline.track("warm.heapline"): pass
before = contents(), allocators()
maps = protections()
with heapline.track("inside.heapline"):
    inside = contents(), allocators()
after = contents(), allocators()
assert len(PLACES) > 20, len(PLACES)
changed = sum(a != b for a, b in zip(before[0], inside[0]))
assert changed > len(PLACES) * 0.6, (changed, len(PLACES))
assert before[1] != inside[1]
assert before == after
assert protections() == maps
print("as before")
"""
    )
    assert run(heapline, program, python=each_python).stdout == "as before\n"


@SINCE
def test_what_was_loaded_meanwhile_is_put_back_too(heapline, each_python):
    """No slot anywhere leads into the recorder after a recording; while it is on, those of a new library do."""
    program = (
        SLOTS
        + """
import heapline
def ours():
    lines = [line.split()[0].split("-") for line in open("/proc/self/maps") if "libheapline" in line]
    low, high = int(lines[0][0], 16), int(lines[-1][1], 16)
    found = 0
    for at in places():
        found += low <= ctypes.c_uint64.from_address(at).value < high
    return found
with heapline.track("warm.heapline"): pass
known = len(PLACES)
with heapline.track("inside.heapline"):
    import sqlite3, _decimal, _lsprof
    inside = ours()
    assert len(places()) > known, "nothing new was loaded"
assert inside > known * 0.6, (inside, known)
assert ours() == 0
print("none")
"""
    )
    if heapline.plain(["-c", "import sqlite3, _decimal, _lsprof"], python=each_python).exit:
        pytest.skip("this interpreter has no sqlite3")
    if each_python.static:
        program = program.replace('assert len(places()) > known, "nothing new was loaded"', "")
    assert run(heapline, program, python=each_python).stdout == "none\n"


@pytest.mark.parametrize("name", ["3.11-static", "3.12"])
@pytest.mark.parametrize("library", ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"])
def test_another_malloc_keeps_its_work(heapline, library, name):
    """Preloaded by the user: blocks from before are freed by it, in an executable that has stubs (3.11-static), too."""
    known = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    if library not in known or name not in all_pythons():
        pytest.skip(f"{library} or CPython {name} is not on this machine")
    program = """
import heapline, threading, json
def busy():
    for i in range(100): json.loads(json.dumps(list(range(3000))))
threads = [threading.Thread(target=busy) for i in range(3)]
for t in threads: t.start()
before = [bytearray(5000) for i in range(500)]
kept = [None] * 500
for k in range(5):
    with heapline.track("inside.heapline", overwrite=True, python_objects=False) as t:
        for i in range(500): kept[i] = bytearray(2000 + i)
        del before[-50:]
for t in threads: t.join()
"""
    finished = heapline.plain(program, python=all_pythons()[name], env=environment(heapline, LD_PRELOAD=library))
    assert finished.exit == 0, finished
    profile = heapline.profile(heapline.folder / "inside.heapline")
    assert profile.allocated(line=11, allocator="malloc") == (ALL, 500)
    stats = profile.stats()
    assert stats["events_lost"] == stats["unknown_frees"] == 0
    assert stats["earlier_frees"] >= 50


def test_somebody_elses_allocator_in_front_of_ours_stays(heapline):
    program = """
import heapline, tracemalloc
with heapline.track("inside.heapline"):
    tracemalloc.start()
    kept = [bytearray(1000) for i in range(100)]
more = [bytearray(1000) for i in range(100)]
assert tracemalloc.get_traced_memory()[0] > 200_000
tracemalloc.stop()
with heapline.track("second.heapline"):
    kept = [bytearray(1000) for i in range(100)]
print("well")
"""
    profile = run(heapline, program, name="second.heapline")
    assert profile.stdout == "well\n"
    assert profile.allocated(line=10).bytes >= 100_100


# --------------------------------------------------------------------------------------------------------- children


@SINCE
def test_children_are_followed(heapline, each_python):
    program = """
import heapline, os, subprocess, sys
def child():
    kept = [bytearray(10_000) for i in range(100)]
with heapline.track("inside.heapline"):
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.run([sys.executable, "-c", "def other():\\n    kept = [bytearray(20_000) for i in range(100)]\\nother()"], check=True)
    print(sorted(name for name in os.environ if "HEAPLINE" in name or name == "LD_PRELOAD"))
subprocess.run([sys.executable, "-c", "kept = bytearray(1)"], check=True)
"""
    profile = run(heapline, program, python=each_python)
    assert profile.stdout == "[]\n"
    processes = profile.processes()
    assert len(processes) == 3
    assert all(process["recorded"] == "objects" for process in processes)
    assert profile.allocated(function="child", callees=True).bytes >= 1_000_100
    assert profile.allocated(function="other", callees=True).bytes >= 2_000_100


def test_no_children(heapline):
    program = """
import heapline, os, subprocess, sys
with heapline.track("inside.heapline", children="none"):
    subprocess.run([sys.executable, "-c", "pass"], check=True)
"""
    processes = run(heapline, program).processes()
    assert [process["recorded"] for process in processes] == ["objects", "nothing"]


def test_a_forked_child_leaves_its_parents_block(heapline):
    program = """
import heapline, os, sys
try:
    with heapline.track("inside.heapline"):
        if os.fork() == 0:
            raise SystemExit(3)
        pid, status = os.wait()
        kept = bytearray(1_000_000)
except SystemExit:
    assert heapline.is_recording()
    try:
        heapline.stop()
    except heapline.HeaplineError:
        os._exit(3)
print(os.WEXITSTATUS(status))
"""
    profile = run(heapline, program)
    assert profile.stdout == "3\n"
    assert profile.allocated(line=8).bytes >= 1_000_000


# ------------------------------------------------------------------------------------------------ start, stop, track


def test_start_and_stop(heapline):
    program = (
        WORK
        + """
import heapline
assert not heapline.is_recording()
recording = heapline.start("inside.heapline", labels={"a": "b"})
kept = work()
assert heapline.is_recording()
try:
    heapline.start("second.heapline")
except heapline.HeaplineError as error:
    print(error)
assert heapline.stop() == recording.path == os.path.abspath("inside.heapline")
assert not heapline.is_recording()
try:
    heapline.stop()
except heapline.HeaplineError as error:
    print(error)
try:
    heapline.start("inside.heapline")
except FileExistsError as error:
    print("exists")
heapline.start("inside.heapline", overwrite=True)
heapline.stop()
first = heapline.start(); heapline.stop()
second = heapline.start(); heapline.stop()
assert first.path != second.path and os.path.exists(first.path) and os.path.exists(second.path)
"""
    )
    profile = run(heapline, program)
    lines = profile.stdout.splitlines()
    assert "is being recorded already" in lines[0]
    assert lines[1].startswith("nothing to stop")
    assert lines[2] == "exists"
    assert profile.allocated(function="work").count == 0  # the second recording of that name


def test_a_recording_that_is_not_stopped_ends_with_the_program(heapline):
    import time

    profile = run(
        heapline, WORK + "import heapline\nheapline.start('inside.heapline')\nkept = work()\nsys.exit(4)\n", exit=4
    )
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if profile.path.exists() and profile.stats()["state"] == "finished":
            break
        time.sleep(0.05)
    assert profile.stats()["exit"] == 4
    assert profile.allocated(function="work", line=LINES["large"]).count in (
        1000,
        1001,
    )  # 3.13 makes an object of its own


def test_nested(heapline):
    program = """
import heapline
with heapline.track("inside.heapline") as outer:
    with heapline.track("inner.heapline") as inner:
        kept = bytearray(1_000_000)
    assert outer.own and not inner.own and inner.path == outer.path
    more = bytearray(2_000_000)
import os
assert not os.path.exists("inner.heapline")
heapline.start("second.heapline")
with heapline.track("inner.heapline") as inner:
    kept = bytearray(3_000_000)
assert heapline.is_recording()
heapline.stop()
"""
    profile = run(heapline, program)
    assert profile.allocated(line=5).bytes >= 1_000_000
    assert profile.allocated(line=7).bytes >= 2_000_000
    marks = [tuple(row) for row in profile.sql("SELECT kind, name FROM mark WHERE kind LIKE 'track%'")]
    assert marks == [("track", "inner.heapline"), ("track end", "inner.heapline")]
    assert heapline.profile(heapline.folder / "second.heapline").allocated(line=12).bytes >= 3_000_000


def test_inside_heapline_run(heapline):
    program = (
        WORK
        + """
import heapline
assert heapline.is_recording()
with heapline.track("inside.heapline") as t:
    kept = work()
assert not t.own and heapline.is_recording()
heapline.start("inside.heapline"); heapline.stop()
assert not os.path.exists("inside.heapline")
"""
    )
    profile = heapline.run(program, env=environment(heapline))
    assert profile.allocated(function="work", line=LINES["large"]).count in (2000, 2001)
    kinds = [row["kind"] for row in profile.sql("SELECT kind FROM mark WHERE kind LIKE 'track%'")]
    assert kinds == ["track", "track end", "track", "track end"]


def test_what_cannot_be_recorded_is_said(heapline):
    program = """
import heapline
try:
    heapline.start("/nonexistent/folder/x.heapline")
except heapline.HeaplineError as error:
    print(error)
try:
    heapline.start("x.heapline", children="some")
except ValueError as error:
    print(error)
assert not heapline.is_recording()
with heapline.track("inside.heapline"):
    kept = bytearray(1_000_000)
"""
    lines = run(heapline, program).stdout.splitlines()
    assert "/nonexistent/folder/x.heapline" in lines[0] and "does not exist" in lines[0]
    assert lines[1].startswith("children='some'")


def test_an_interruption_leaves_nothing_half_begun(heapline):
    program = """
import heapline
from heapline import _tracker
def interrupted(self):
    raise KeyboardInterrupt
whole = _tracker.Tracker.name_threads
_tracker.Tracker.name_threads = interrupted
for i in range(3):
    try:
        heapline.start(f"{i}.heapline")
    except KeyboardInterrupt:
        assert not heapline.is_recording()
_tracker.Tracker.name_threads = whole
with heapline.track("inside.heapline"):
    kept = bytearray(1_000_000)
print("well")
"""
    profile = run(heapline, program)
    assert profile.stdout == "well\n"
    assert profile.allocated(line=15).bytes >= 1_000_000


def test_heapline_stop_ends_it_too(heapline):
    program = f"""
import heapline, subprocess, time
heapline.start("inside.heapline")
kept = bytearray(1_000_000)
subprocess.run([{str(heapline.binary)!r}, "stop", "inside.heapline"], check=True, stdout=subprocess.DEVNULL)
more = [bytearray(1000) for i in range(100_000)]
assert not heapline.is_recording()
heapline.start("second.heapline")
print(heapline.stop().endswith("second.heapline"))
"""
    profile = run(heapline, program)
    assert profile.stdout == "True\n"
    assert profile.allocated(line=4).bytes >= 1_000_000


def test_a_dead_collector_is_noticed(heapline):
    program = """
import heapline, os, signal, glob
heapline.start("inside.heapline")
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        words = open(path).read().split("\\0")
    except OSError:  # it has ended
        continue
    if "collect" in words and str(os.getpid()) in words:
        os.kill(int(path.split("/")[2]), signal.SIGKILL)
kept = [bytearray(100) for i in range(300_000)]
try:
    heapline.stop()
except heapline.HeaplineError as error:
    print(error)
with heapline.track("second.heapline"):
    kept = bytearray(1_000_000)
print("well")
"""
    profile = run(heapline, program, name="second.heapline")
    lines = profile.stdout.splitlines()
    assert "its collector has died" in lines[0]
    assert lines[1] == "well"
    assert profile.allocated(line=17).bytes >= 1_000_000


# ---------------------------------------------------------------------------------------------------------- stress

BUSY = """
import heapline, os, sys, threading, time
rounds, threads = int(sys.argv[1]), int(sys.argv[2])
over = False
def busy(n):
    import json, re
    text = json.dumps({"a": list(range(50)), "b": "x" * 3000})
    done = 0
    while not over:
        value = json.loads(text)
        kept = [bytearray(700 + n) for i in range(20)]
        value = sorted(value["a"], reverse=True)
        t = threading.Thread(target=lambda: bytearray(5000)) if done % 50 == 0 else None
        if t: t.start(); t.join()
        done += 1
all_threads = [threading.Thread(target=busy, args=(i,), daemon=True) for i in range(threads)]
for t in all_threads: t.start()
def mapped():
    return sum(1 for line in open("/proc/self/maps") if "memfd:heapline" in line)
for i in range(rounds):
    with heapline.track("inside.heapline", overwrite=True, python_objects=i % 3 != 0, native=i % 5 == 0):
        kept = bytearray(1_000_000)
        time.sleep(0.001 * (i % 4))
over = True
for t in all_threads: t.join()
print(mapped())
"""


def test_begun_and_ended_by_many_threads_that_fork(heapline):
    """Blocks of track() that overlap, forks at any moment of them, and children that begin recordings of their own."""
    program = """
import heapline, os, random, sys, threading, time, signal
errors = []
def child(n, i):
    try:
        kept = [bytearray(1000) for k in range(200)]
        if not heapline.is_recording():
            with heapline.track(f"child-{os.getpid()}.heapline", overwrite=True) as t:
                more = [bytearray(1000) for k in range(200)]
            assert os.path.getsize(t.path) > 10000 or not t.own
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
def one(n):
    try:
        for i in range(12):
            with heapline.track(f"thread-{n}.heapline", overwrite=True):
                kept = [bytearray(2000) for k in range(100)]
                time.sleep(random.random() * 0.01)
            if i % 3 == 0:
                pid = os.fork()
                if pid == 0:
                    child(n, i)
                status = os.waitpid(pid, 0)[1]
                assert status == 0, status
    except BaseException as error:
        errors.append(error)
signal.alarm(100)
threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
assert not errors, errors
assert not heapline.is_recording()
print("well")
"""
    finished = heapline.plain(program, env=environment(heapline), timeout=120)
    assert finished.exit == 0 and finished.stdout == "well\n", finished


def test_after_heapline_stop_under_heapline_run(heapline):
    """The preloaded library records again when it is asked to."""
    program = f"""
import heapline, subprocess
subprocess.run([{str(heapline.binary)!r}, "stop", str(__import__("os").getpid())], check=True, stdout=subprocess.DEVNULL)
more = [bytearray(1000) for i in range(100_000)]
with heapline.track("inside.heapline") as t:
    kept = bytearray(1_000_000)
print(t.own, heapline.is_recording())
"""
    outside = heapline.run(program, env=environment(heapline))
    assert outside.stdout == "True False\n"
    profile = heapline.profile(heapline.folder / "inside.heapline")
    assert profile.allocated(line=6).bytes >= 1_000_000


KEPT = 1 + BUSY.split("\n").index("        kept = bytearray(1_000_000)")


def test_begun_and_ended_many_times_under_load(heapline):
    rounds = 200
    profile = run(heapline, BUSY, args=[str(rounds), "8"], timeout=400)
    assert int(profile.stdout) < 100  # what no thread uses any more is given back
    assert profile.allocated(line=KEPT, callees=True).bytes >= 1_000_000
    assert profile.stats()["unknown_frees"] == 0


@pytest.mark.pythons(since=(3, 8))
def test_begun_and_ended_under_load(heapline, each_python):
    profile = run(heapline, BUSY, python=each_python, args=["6", "4"], timeout=300)
    assert profile.allocated(line=KEPT, callees=True).bytes >= 1_000_000
