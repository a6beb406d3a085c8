"""Resident memory (docs/semantics.md, "RSS"): the kernel's own numbers are the oracle."""

import sqlite3

import handmade
from handmade import MB

# What the kernel counts for a process is kept per processor and added up now and then, so two readings differ a little.
NEARLY = 2 * MB

SPIKE = """
    import resource, time
    def spike(mb):
        block = bytearray(mb << 20)
        block[::4096] = b"x" * len(block[::4096])
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
"""


def peaks(profile):
    return [row["rss_peak"] for row in profile.sql("SELECT rss_peak FROM process ORDER BY id")]


def test_a_peak_between_two_samples_is_the_kernels(heapline):
    profile = heapline.run(SPIKE + "    spike(200)\n    print(peak())")
    told = int(profile.stdout)
    assert told > 200 * MB
    assert abs(peaks(profile)[0] - told) < NEARLY
    assert abs(profile.stats()["rss_peak_bytes"] - told) < NEARLY


def test_a_peak_right_before_sigkill_is_the_kernels(heapline):
    code = (
        "    import os, signal\n    spike(200)\n    print(peak(), flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    profile = heapline.run(SPIKE + code, check=False)
    assert profile.exit == -9, profile.finished
    told = int(profile.stdout)
    assert told > 200 * MB
    assert abs(peaks(profile)[0] - told) < NEARLY


def test_what_was_before_exec_is_not_the_programs(heapline):
    """getrusage of a small program has the command that started it in it."""
    profile = heapline.run(["--", "/bin/grep", "VmHWM", "/proc/self/status"])
    told = int(profile.stdout.split()[1]) * 1024
    assert abs(peaks(profile)[0] - told) < MB / 2


def test_a_small_child_of_a_large_parent_is_small(heapline):
    """A child's getrusage begins with its parent's memory when it was made by vfork."""
    code = """
    import subprocess, sys
    block = bytearray(200 << 20)
    block[::4096] = b"x" * len(block[::4096])
    subprocess.run([sys.executable, "-c", "print([l for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"])
    """
    profile = heapline.run(code)
    told = int(profile.stdout.split()[1]) * 1024
    parent, child = peaks(profile)
    assert parent > 200 * MB
    assert abs(child - told) < NEARLY


def test_memory_that_is_touched_without_an_event_is_sampled(heapline):
    """One allocation, touched over a second without another: RSS follows."""
    code = """
    import time
    block = bytearray(200 << 20)
    page = b"x"
    for i in range(20):
        time.sleep(0.05)
        block[i * (10 << 20):(i + 1) * (10 << 20):4096] = page * 2560
    """
    profile = heapline.run(code)
    tick_s = profile.value("SELECT value FROM meta WHERE key = 'tick_ns'") / 1e9
    rows = profile.sql("SELECT tick, rss FROM tick WHERE rss IS NOT NULL ORDER BY tick")
    assert len({rss // (10 * MB) for _, rss in rows}) > 15, "steps of 10 MB, 20 of them"
    assert max((after[0] - before[0]) * tick_s for before, after in zip(rows, rows[1:])) < 0.5


def test_pss_is_empty_where_it_was_not_sampled(heapline):
    path = handmade.write(heapline.folder / "pss.heapline")
    database = sqlite3.connect(path)
    database.execute("UPDATE tick SET rss = ?, pss = ? WHERE tick = 10", (60 * MB, 59 * MB))
    database.execute("UPDATE tick SET rss = ?, pss = NULL WHERE tick = 50", (16 * MB,))
    database.execute("UPDATE tick SET rss = NULL, pss = NULL WHERE tick = 80")
    database.commit()
    database.close()
    points = heapline.profile(path).json("timeline")["points"]
    assert [(p["rss_bytes"], p["pss_bytes"]) for p in points][1:] == [
        (60 * MB, 59 * MB),
        (16 * MB, None),
        (16 * MB, None),
    ]
