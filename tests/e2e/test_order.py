"""Totals, live set and peak of programs whose threads hand blocks to each other (docs/semantics.md, "Moments and sums")."""

import ctypes
import json
import os
import signal
import time

import pytest
from truth import must_be_equal, must_be_sound, tell

EVENTS = 300_000


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("how", [(), ("storm",)], ids=["mixed", "realloc-storm"])
def test_totals_and_live_set_are_exact(heapline, threads, how):
    base = tell(heapline, "order", threads, 0, 1, *how)
    told = tell(heapline, "order", threads, EVENTS // threads, 1, *how)
    must_be_equal(base, told)
    if threads == 1:
        assert told.stats["peak_bytes"] - base.stats["live_end_bytes"] == told.truth["peak_bytes"]
    else:
        assert told.stats["peak_bytes"] - base.stats["live_end_bytes"] <= told.truth["peak_bytes"]


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", [(), ("storm",)], ids=["mixed", "realloc-storm"])
def test_totals_are_exact_over_millions_of_events(heapline, threads, seed, how):
    base = tell(heapline, "order", threads, 0, seed, *how)
    must_be_equal(base, tell(heapline, "order", threads, 3_000_000 // threads, seed, *how, timeout=600))


def test_realloc_race_of_threads_on_one_arena(heapline):
    """A realloc moves a block, and another thread gets the old address before realloc has returned: recorded as a free
    and an allocation afterwards, that free would hit the other thread's block."""
    env = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1"}
    base = tell(heapline, "order", 4, 0, 7, "storm", env=env)
    must_be_equal(base, tell(heapline, "order", 4, EVENTS // 4, 7, "storm", env=env))


@pytest.mark.parametrize("mode", ["allocate", "altstack-low", "altstack-high"])
def test_allocations_in_a_handler_that_interrupted_a_hook_are_counted(heapline, mode):
    base = tell(heapline, "signals", mode, 0)
    told = tell(heapline, "signals", mode, 1)
    must_be_equal(base, told)
    assert told.truth["hits"] > 100, "no hook was interrupted: this run shows nothing"
    assert told.stats["peak_bytes"] - base.stats["live_end_bytes"] == told.truth["peak_bytes"]


@pytest.mark.parametrize("mode", ["jump", "jump-altstack"])
def test_a_longjmp_out_of_a_hook_costs_at_most_that_event(heapline, mode):
    base = tell(heapline, "signals", mode, 0)
    told = tell(heapline, "signals", mode, 1)
    must_be_sound(told)
    jumps = told.truth["hits"]
    assert jumps > 100, "no hook was interrupted: this run shows nothing"
    for name in ("allocations", "frees"):
        assert abs(told.stats[name] - base.stats[name] - told.truth[name]) <= jumps


def children(run) -> list[int]:
    return [int(pid) for pid in open(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read().split()]


def collector_of(run) -> int:
    """The collector leads a session of its own."""
    (found,) = [pid for pid in children(run) if os.getsid(pid) == pid]
    return found


def test_a_collector_that_dies_early_leaves_half_of_the_recording(heapline):
    """Not only what was there at the very beginning: checkpoints come early at first."""
    run = heapline.start(
        "import time\nkept = []\nfor _ in range(300):\n    kept.append(bytes(100000))\n    time.sleep(0.01)\n"
    )
    deadline = time.time() + 20
    while not run.path.exists() and time.time() < deadline:
        time.sleep(0.01)
    time.sleep(0.7)
    os.kill(collector_of(run), signal.SIGKILL)
    assert run.profile().value("SELECT value FROM meta WHERE key = 'now_ns'") > 150_000_000
    assert run.profile().allocated(line=4).bytes > 500_000
    run.finish()


def started(heapline, seconds=8):
    path = heapline.folder / "truth.json"
    command = ["--", str(heapline.tool("signals")), str(path), "none", str(seconds)]
    run = heapline.start(command, options=["--malloc-only"])
    time.sleep(0.7)
    return run, path


def test_a_killed_collector_leaves_the_program_running(heapline):
    run, path = started(heapline, seconds=2)
    os.kill(collector_of(run), signal.SIGKILL)
    begin = time.monotonic()
    run.process.wait(timeout=20)
    assert time.monotonic() - begin < 10
    assert json.loads(path.read_text())["allocations"] > 1000, "the program has not gone on to its end"


def test_a_collector_that_was_stopped_for_a_moment_loses_nothing(heapline):
    run, path = started(heapline, seconds=2)
    collector = collector_of(run)
    os.kill(collector, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(collector, signal.SIGCONT)
    profile = run.finish()
    truth, stats = json.loads(path.read_text()), profile.stats()
    assert profile.exit == 0
    assert stats["events_lost"] == 0
    base = tell(heapline, "signals", "none", 0)
    assert stats["allocations"] - base.stats["allocations"] == truth["allocations"]
    assert stats["waited_s"] > 0.5, "the program had to wait for room"


def test_a_collector_that_stays_stopped_does_not_hold_the_program(heapline):
    run, path = started(heapline, seconds=2)
    collector = collector_of(run)
    os.kill(collector, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert path.exists(), "the program is still held after 30 s"
    finally:
        os.kill(collector, signal.SIGCONT)
    stats = run.finish().stats()
    assert stats["events_lost"] > 0, "what is missing must be told"


def waits_on(pid, thread) -> str | None:
    """The mapping in which the word lies that a thread waits on; None: it waits on none."""
    call = open(f"/proc/{pid}/task/{thread}/syscall").read().split()
    if len(call) < 2:
        return None
    word = int(call[1], 16)
    for line in open(f"/proc/{pid}/maps"):
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if low <= word < high:
            return line.split(None, 5)[5].strip() if len(line.split(None, 5)) > 5 else ""
    return None


def test_a_stopped_thread_does_not_stop_the_recording(heapline):
    """A debugger stops one thread wherever it is; the others go on and are read. Where it holds a lock of libc's malloc
    they wait for that, as they would without heapline; then it is stopped again at another moment."""
    path = heapline.folder / "truth.json"
    run = heapline.start(
        ["--", str(heapline.tool("order")), str(path), "2", "4000000000", "3"], options=["--malloc-only"]
    )
    time.sleep(0.5)
    (program,) = [pid for pid in children(run) if os.readlink(f"/proc/{pid}/exe").endswith("/order")]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    seize, interrupt, resume = 0x4206, 0x4207, 7
    going_on, stopped = sorted(int(tid) for tid in os.listdir(f"/proc/{program}/task"))
    if libc.ptrace(seize, stopped, None, None) != 0:
        pytest.skip("ptrace is not allowed here")
    for _ in range(20):
        libc.ptrace(interrupt, stopped, None, None)
        os.waitpid(stopped, 0x40000000)  # __WALL
        time.sleep(0.2)
        word = waits_on(program, going_on)
        assert word is None or "memfd:heapline" not in word, "it waits for the recording"
        if word is None:
            break
        libc.ptrace(resume, stopped, None, None)
        time.sleep(0.05)
    else:
        pytest.fail("the other thread waited each time")
    events = []
    for _ in range(2):
        time.sleep(1.5)
        events.append(run.profile().stats()["allocations"])
    run.kill()
    assert events[1] > events[0]
