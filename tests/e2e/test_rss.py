"""Resident memory (docs/semantics.md, "RSS"): the kernel's own numbers are the oracle."""

import sqlite3

import handmade
import pytest
import pythons
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
    """One allocation, touched over two seconds without another: RSS follows."""
    code = """
    import mmap, time
    block = mmap.mmap(-1, 200 << 20, mmap.MAP_PRIVATE)  # a bytearray would be touched by being made
    page = b"x"
    for i in range(20):
        time.sleep(0.1)
        block[i * (10 << 20):(i + 1) * (10 << 20):4096] = page * 2560
    """
    profile = heapline.run(code)
    tick_s = profile.value("SELECT value FROM meta WHERE key = 'tick_ns'") / 1e9
    rows = profile.sql("SELECT tick, rss FROM tick WHERE rss IS NOT NULL ORDER BY tick")
    assert len({rss // (10 * MB) for _, rss in rows}) > 10, "steps of 10 MB, 20 of them"
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


def test_memory_is_divided_after_it_has_been_touched(heapline):
    """A block is at the heap's peak before any page of it is resident; the sample that is shown comes after."""
    profile = heapline.run("import time\nblock = b'x' * (400 << 20)\ntime.sleep(0.2)\n")
    rss = profile.stats()["rss_at_peak"]
    assert rss["heap_bytes"] > 400 * MB
    assert rss["rest_bytes"] > -40 * MB, rss
    assert "not resident then" not in profile.text("stats") or rss["rest_bytes"] < 0


def test_memory_that_is_never_touched_is_said_to_be_so(heapline):
    profile = heapline.run("import mmap, time\nblock = mmap.mmap(-1, 400 << 20, mmap.MAP_PRIVATE)\ntime.sleep(0.2)\n")
    assert profile.stats()["rss_at_peak"]["rest_bytes"] < -350 * MB
    assert "of the heap not resident then" in profile.text("stats")


# ------------------------------------------------------------------------------- libraries with an allocator of their own


def test_a_pool_that_a_library_gives_memory_out_of_is_told(heapline):
    """1 GiB mapped readable and writable with MAP_NORESERVE, 40 MiB of it touched, then 20 left."""
    mib = 1 << 20
    truth = heapline.folder / "truth.json"
    profile = heapline.run(["--", str(heapline.tool("mappings")), str(truth), "pool"])
    stats = profile.stats()
    assert abs(stats["pool_peak_bytes"] - 40 * mib) < mib
    assert stats["pool_libraries"] == "mappings"
    assert stats["peak_bytes"] < mib, "it is not in the heap"
    note = [text for text in stats["notes"] if text.startswith("mappings gives out memory by itself, from 1.07 GB")]
    assert len(note) == 1 and "ARROW" not in note[0]
    found = [resident // mib for (resident,) in profile.sql("SELECT resident FROM pool_tick ORDER BY tick")]
    assert found[-1] == 20 and 40 in found
    assert profile.value("SELECT count(*) FROM pool_tick JOIN tick USING (process, tick) WHERE resident > rss") == 0
    text = profile.text("stats")
    assert "of it in memory that mappings gives out itself (not by line)" in text
    for report in ["stats", "summary"]:
        assert "not in these numbers: up to 41.9 MB that mappings gave out by itself" in profile.text(report)
    assert "not seen:  up to 41.9 MB that mappings gave out by itself" in profile.stderr


def test_small_pools_are_not_worth_a_note(heapline):
    profile = heapline.run(["--", str(heapline.tool("mappings")), str(heapline.folder / "truth.json"), "small_pool"])
    assert profile.stats()["notes"] == []
    assert profile.stats()["pool_libraries"] is None
    assert "gave out by itself" not in profile.text("stats") + profile.stderr


def test_the_interpreters_own_mimalloc_is_no_such_library(heapline):
    """Its objects are counted one by one."""
    python = pythons.all_pythons().get("3.13")
    if python is None:
        pytest.skip("no Python 3.13")
    profile = heapline.run("x = [str(i) for i in range(200000)]\n", python=python, env={"PYTHONMALLOC": "mimalloc"})
    assert profile.value("SELECT mapped FROM mapping WHERE class = 'reservation'") >= 1 << 30
    assert profile.value("SELECT count FROM mapping WHERE class = 'pool'") == 0
    assert profile.stats()["notes"] == []


def test_arrow_is_named_with_what_to_do(heapline):
    if heapline.plain("import pyarrow, pyarrow.compute\n").exit != 0:
        pytest.skip("its Python has no pyarrow")
    code = """
        import pyarrow, pyarrow.compute, time
        a = pyarrow.compute.add(pyarrow.array(range(1000)), 1)
        kept = [pyarrow.compute.random(5_000_000) for _ in range(2)]
        print(pyarrow.default_memory_pool().backend_name, pyarrow.total_allocated_bytes())
        time.sleep(0.3)
        """
    profile = heapline.run(code)
    backend, told = profile.stdout.split()
    if backend != "mimalloc":
        pytest.skip(backend)
    stats = profile.stats()
    assert stats["pool_libraries"].startswith("libarrow.so")
    assert stats["pool_peak_bytes"] >= int(told)
    assert any("ARROW_DEFAULT_MEMORY_POOL=system" in note for note in stats["notes"])
    profile = heapline.run(code, env={"ARROW_DEFAULT_MEMORY_POOL": "system"})
    assert profile.stats()["pool_libraries"] is None
    assert profile.allocated(allocator="aligned").bytes >= int(told)


def test_a_profile_from_before_pools_were_known_can_be_read(heapline):
    path = handmade.write(heapline.folder / "old.heapline")
    database = sqlite3.connect(path)
    database.execute("DROP TABLE pool")
    database.execute("DROP TABLE pool_tick")
    database.commit()
    database.close()
    stats = heapline.profile(path).stats()
    assert stats["rss_at_peak"]["pool_bytes"] == 0 and stats["pool_libraries"] is None
