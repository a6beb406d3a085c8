"""heapline merge: totals of parts, every report of the whole, times, labels, and what is refused."""

from __future__ import annotations

import re
import sqlite3
import subprocess

import handmade
import pytest
from handmade import MB, ROOT

REPORTS = ["stats", "tree", "table", "summary", "lines", "timeline", "processes"]
SUMS = [
    "allocations",
    "allocated_bytes",
    "frees",
    "freed_bytes",
    "live_end_bytes",
    "live_end_blocks",
    "peak_bytes",
    "peak_blocks",
    "arena_peak_bytes",
    "rss_peak_bytes",
    "processes",
    "threads",
    "events",
    "events_lost",
]


def merge(heapline, *paths, options=()):
    finished = heapline("merge", "-o", "all.heapline", "-f", *options, *paths)
    assert finished.exit == 0, finished
    return heapline.profile(heapline.folder / "all.heapline")


def make(heapline, name, *settings):
    path = heapline.folder / name
    subprocess.run([heapline.tool("make_profile"), path, *settings], check=True, stdout=subprocess.DEVNULL)
    return heapline.profile(path)


def change(path, *statements):
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def rename(profile, host):
    """Made-up profiles are all of one machine."""
    change(profile.path, f"INSERT OR REPLACE INTO meta VALUES ('host', '{host}')")
    return profile


def by_line(rows):
    sums = {}
    for row in rows:
        key = (row["file"], row["line"], row["function"])
        sums[key] = sums.get(key, 0) + row["bytes"]
    return {key: bytes for key, bytes in sums.items() if bytes}


def check_whole(whole, parts):
    """All reports work, and are the sums of the parts'."""
    for report in REPORTS:
        assert whole.text(report)
    stats, of_parts = whole.stats(), [part.stats() for part in parts]
    for key in SUMS:
        assert stats[key] == sum(part[key] for part in of_parts), key
    assert stats["recordings"] == len(parts) and stats["exact"]
    for view in (["--leaks"], ["--allocated"], ["--temporary"], [], ["--leaf"], ["--leaf", "--allocated"]):
        table = whole.json("table", "-n", "0", *view)
        assert table["exact"] and sum(row["bytes"] for row in table["rows"]) == table["total_bytes"]
        expected = {}
        for part in parts:
            for key, bytes in by_line(part.json("table", "-n", "0", *view)["rows"]).items():
                expected[key] = expected.get(key, 0) + bytes
        assert by_line(table["rows"]) == expected, view
    for percent in range(0, 101, 5):
        assert whole.json("table", "--at", f"{percent}%")["exact"], percent
    processes = whole.processes()
    assert [p["peak_bytes"] for p in sorted(processes, key=lambda p: p["id"])] == [
        p["peak_bytes"] for part in parts for p in sorted(part.processes(), key=lambda p: p["id"])
    ]
    assert whole.value("PRAGMA integrity_check") == "ok"
    assert not whole.sql("SELECT 1 FROM stack WHERE parent >= id")
    seen = stats["peak_seen_bytes"]
    assert max(p["heap_bytes"] for p in whole.json("timeline")["points"]) == seen <= stats["peak_bytes"]


# ------------------------------------------------------------------------------------------------------------ made up


def test_made_up_profiles_add_up(heapline):
    parts = [
        rename(make(heapline, "a.heapline", "seed=1"), "a"),
        rename(make(heapline, "b.heapline", "seed=2", "processes=3", "threads=2", "folded=1"), "b"),
        rename(make(heapline, "c.heapline", "seed=3", "ticks=400"), "c"),
    ]
    check_whole(merge(heapline, *[part.path for part in parts]), parts)


def test_merging_in_steps_gives_the_same(heapline):
    parts = [rename(make(heapline, f"{i}.heapline", f"seed={i}", "processes=2"), f"h{i}") for i in range(3)]
    whole = merge(heapline, *[part.path for part in parts])
    at_once = whole.stats(), whole.table("--allocated"), whole.json("processes")["recordings"]
    two = merge(heapline, *[part.path for part in parts[:2]], options=["--label", "half=1"])
    two.path.rename(heapline.folder / "two.heapline")
    whole = merge(heapline, heapline.folder / "two.heapline", parts[2].path)
    check_whole(whole, parts)
    strip = lambda recordings: [{k: v for k, v in r.items() if k != "labels"} for r in recordings]
    assert strip(whole.json("processes")["recordings"]) == strip(at_once[2])
    assert [r["labels"] for r in whole.json("processes")["recordings"]] == [{"half": "1"}, {"half": "1"}, {}]
    assert whole.table("--allocated") == at_once[1]
    assert whole.stats()["peak_bytes"] == at_once[0]["peak_bytes"]


@pytest.mark.parametrize(("first", "second"), [(1, 8), (8, 1), (1, 2)])
def test_ticks_of_different_lengths(heapline, first, second):
    parts = [
        rename(make(heapline, "a.heapline", "seed=1", f"cell_ticks={first}"), "a"),
        rename(make(heapline, "b.heapline", "seed=2", f"cell_ticks={second}"), "b"),
    ]
    check_whole(merge(heapline, *[part.path for part in parts]), parts)


@pytest.mark.parametrize("tick", [10_000_000, 7_000_000, 40_000_000, 3_333_333])
@pytest.mark.parametrize("later", [0, 10_000_000, 123_456_789, 5_000_000_000])
def test_times_are_those_of_the_clocks(heapline, tick, later):
    start = 1_700_000_000_000_000_000
    a = handmade.write(heapline.folder / "a.heapline", meta={"start_unix_ns": start + later, "host": "a"})
    b = handmade.write(
        heapline.folder / "b.heapline",
        meta={"start_unix_ns": start, "host": "b", "tick_ns": tick, "cell_tick_ns": tick},
    )
    if tick > 10_000_000:
        change(
            b,
            "UPDATE tick SET tick = tick / 4",
            "UPDATE cell_row SET lived = iif(lived, (born + lived) / 4 - born / 4, 0), born = born / 4",
        )
    whole = merge(heapline, a, b)
    check_whole(whole, [heapline.profile(a), heapline.profile(b)])
    first, second = whole.json("processes")["recordings"]
    assert second["start_s"] == 0 and abs(first["start_s"] - later / 1e9) <= 0.005
    assert whole.stats()["duration_s"] == pytest.approx(1 + later / 1e9, abs=0.01)
    at = whole.json("table", "--at", f"{(later + 600_000_000) // 1_000_000 + max(tick, 10_000_000) // 1_000_000}ms")
    own = heapline.profile(a).json("table", "--at", "610ms")
    if later >= 1_000_000_000:  # b has ended by then
        assert at["total_bytes"] == own["total_bytes"]
    started = merge(heapline, a, b, options=["--align", "start"])
    assert [r["start_s"] for r in started.json("processes")["recordings"]] == [0, 0]
    check_whole(started, [heapline.profile(a), heapline.profile(b)])


def test_the_figures_can_be_counted(heapline):
    a = handmade.write(heapline.folder / "r0.heapline", meta={"host": "n1"})
    b = handmade.write(heapline.folder / "r1.heapline", meta={"host": "n2", "exit_status": 3})
    for path, rank in ((a, 0), (b, 1)):
        change(path, f"INSERT INTO label VALUES ('rank', '{rank}')", "INSERT INTO label VALUES ('job', 'x')")
    whole = merge(heapline, a, b, options=["--label", "night=yes"])
    assert whole.value("SELECT count(*) FROM stack") == heapline.profile(a).value("SELECT count(*) FROM stack")
    assert whole.value("SELECT count(*) FROM file") == 2
    stats = whole.stats()
    assert (stats["peak_bytes"], stats["peak_bound_bytes"], stats["exit"]) == (84 * MB, 84 * MB, None)
    assert stats["peak_seen_bytes"] == 82 * MB
    lines = whole.text("stats").splitlines()
    assert lines[0] == "app.py x in 2 recordings: 1 failed (r1.heapline with exit status 3) within 1.00 s"
    assert lines[1].startswith("peaks add up to 84.0 MB, together at least 82.0 MB at 510 ms, 71.4 % of it at app.py:5")
    assert "Lines by bytes, at the recordings' own peaks" in whole.text("stats")
    assert {row["key"]: row["value"] for row in whole.sql("SELECT key, value FROM label")} == {
        "job": "x",
        "night": "yes",
    }
    assert [r["labels"] for r in whole.json("processes")["recordings"]] == [
        {"job": "x", "rank": "0"},
        {"job": "x", "rank": "1"},
    ]
    shown = heapline("processes", whole.path, env={"COLUMNS": "160"}).stdout
    assert "r1.heapline" in shown and "job=x, rank=1" in shown and "exit 3" in shown
    finished = heapline("table", whole.path, "--pid", "100")
    assert finished.exit == 2 and "several recordings have a process 100" in finished.stderr
    assert heapline("check", whole.path, "--max-peak", "84MB").exit == 0
    assert heapline("check", whole.path, "--max-peak", "83MB").exit == 1
    assert heapline("diff", a, whole.path, "--fail-over", "42MB").exit == 0


def test_another_text_of_a_file_is_told(heapline):
    a = handmade.write(heapline.folder / "a.heapline", meta={"host": "a"})
    b = handmade.write(heapline.folder / "b.heapline", meta={"host": "b"}, source=handmade.SOURCE + b"# edited\n")
    none = handmade.write(heapline.folder / "c.heapline", meta={"host": "c"}, source=None)
    whole = merge(heapline, none, a, b)
    (note,) = whole.stats()["notes"]
    assert note.startswith("the source text of /home/u/app/app.py is not the same in all recordings"), note
    assert merge(heapline, none, a).stats()["notes"] == []
    assert "return json.load(open(" in heapline("lines", heapline.folder / "all.heapline").stdout


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.fixture
def two(heapline):
    return [handmade.write(heapline.folder / f"{h}.heapline", meta={"host": h}) for h in ("a", "b")]


def refused(heapline, status, *words):
    finished = heapline("merge", *words)
    assert (finished.exit, finished.stdout) == (status, ""), finished
    assert len(finished.stderr.splitlines()) == 1 and finished.stderr.startswith("heapline: "), finished
    return finished.stderr


def test_the_same_recording_twice_is_refused(heapline, two):
    copy = heapline.folder / "copy.heapline"
    copy.write_bytes(two[0].read_bytes())
    for paths in ([two[0], two[0]], [two[0], two[1], copy]):
        assert "hold the same recording (process 100 on a)" in refused(heapline, 2, "-o", "x.heapline", *paths)
    whole = merge(heapline, *two)
    assert "same recording" in refused(heapline, 2, "-o", "x.heapline", copy, whole.path)
    assert not (heapline.folder / "x.heapline").exists()


@pytest.mark.parametrize("kind", ["missing", "empty", "memray", "text", "newer", "cut"])
def test_what_is_no_profile_is_refused(heapline, two, kind):
    bad = heapline.folder / "bad"
    whole = two[0].read_bytes()
    content = {
        "empty": b"",
        "memray": b"memray\0" + bytes(200),
        "text": b"hello" * 50,
        "newer": whole[:60] + b"\0\0\0\x09" + whole[64:],
        "cut": whole[: len(whole) // 2],
    }
    if kind != "missing":
        bad.write_bytes(content[kind])
    for paths in ([bad, *two], [*two, bad]):
        assert "bad: " in refused(heapline, 3, "-o", "x.heapline", *paths)
    assert not list(heapline.folder.glob("x.heapline")) and not list(heapline.folder.glob("*.partial"))


def test_bad_usage_is_exit_2(heapline, two):
    refused(heapline, 2, "-o", "x.heapline")
    refused(heapline, 2, "-o", "x.heapline", two[0])
    refused(heapline, 2, *two)
    refused(heapline, 2, "-o", "x.heapline", "--label", "novalue", *two)
    refused(heapline, 2, "-o", "x.heapline", "--align", "sun", *two)
    refused(heapline, 2, "-o", "none/x.heapline", *two)
    refused(heapline, 2, "-f", "-o", two[1], *two)
    (heapline.folder / "x.heapline").write_text("mine")
    assert "exists already" in refused(heapline, 2, "-o", "x.heapline", *two)
    assert (heapline.folder / "x.heapline").read_text() == "mine"


def test_what_a_newer_version_added_is_left_out_and_told(heapline, two):
    change(two[1], "CREATE TABLE line_event (id INTEGER)", "INSERT OR REPLACE INTO meta VALUES ('heapline', '9.9')")
    (note,) = merge(heapline, *two).stats()["notes"]
    assert note == "b.heapline: was written by a newer heapline 9.9; what that added is left out here"


def test_profiles_of_before_are_merged(heapline, two):
    for table in ("pool", "pool_tick", "recording", "recording_label"):
        change(two[0], f"DROP TABLE {table}")
    check_whole(merge(heapline, *two), [heapline.profile(path) for path in two])


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE frame SET caller = id, module = 2",
        "UPDATE frame SET caller = 6 - id, module = 1",
        "UPDATE stack SET parent = 6 - id",
        "UPDATE stack SET frame = 77",
        "UPDATE stat SET stack = 99",
        "UPDATE stat SET id = 9223372036854775807 WHERE id = 3",
        "UPDATE process SET id = 9223372036854775807",
        "UPDATE process SET start_ns = 9223372036854775807, end_ns = -1",
        "UPDATE tick SET tick = 9223372036854775807 WHERE tick = 80",
        "UPDATE tick SET tick = 'x' WHERE tick = 80",
        "UPDATE cell_row SET born = -9223372036854775807",
        "UPDATE meta SET value = 9223372036854775807 WHERE key IN ('start_unix_ns', 'tick_ns', 'peak', 'now_ns')",
        "UPDATE meta SET value = -5 WHERE key IN ('start_unix_ns', 'tick_ns', 'cell_tick_ns', 'events')",
        "DELETE FROM process",
        "DELETE FROM stack",
        "DELETE FROM meta",
        "UPDATE file SET source_bytes = 9223372036854775807",
    ],
)
def test_damaged_rows_are_merged_or_refused(heapline, two, damage):
    change(two[1], damage)
    for paths in (two, two[::-1]):
        finished = heapline("merge", "-f", "-o", "x.heapline", *paths)
        assert finished.exit in (0, 3), finished
        if finished.exit == 0:
            for report in REPORTS:
                assert heapline(report, "x.heapline").exit in (0, 3)


def test_every_column_of_the_schema_is_thought_of(heapline, two):
    """A table or column that somebody adds must be merged, too (src/profile/merge_rows.c)."""
    code = (ROOT / "src/profile/merge_rows.c").read_text()
    database = sqlite3.connect(two[0])
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if table in ("meta", "label"):  # merge.c makes new ones
            continue
        statements = re.findall(rf"INSERT (?:OR \w+ )?INTO main\.{table}\b.*?(?:;|\),\n|\",\n)", code, re.S)
        for row in database.execute(f"PRAGMA table_info({table})"):
            named = any(re.search(rf"\b{row[1]}\b", statement) for statement in statements)
            by_itself = row[1] == "id" and table in ("file", "function", "note")
            assert named or by_itself, (table, row[1])


# -------------------------------------------------------------------------------------------------- real recordings

PROGRAM = """
import sys, time
def hold(n):
    return bytearray(n)
rank = int(sys.argv[1])
keep = hold(10_000_000 * (rank + 1))
time.sleep(0.2)
names = [str(i) for i in range(1000 * rank)]
"""


def test_three_ranks_of_one_program(heapline):
    parts = [
        heapline.run(
            PROGRAM, args=[str(rank)], options=["--label", f"rank={rank}", "--interval", f"{10 + 20 * rank}ms"]
        )
        for rank in range(3)
    ]
    whole = merge(heapline, *[part.path for part in parts])
    check_whole(whole, parts)
    held = [row for row in whole.table() if row["function"] == "hold"]
    assert 60_000_000 <= sum(row["bytes"] for row in held) < 60_001_000 and len({row["line"] for row in held}) == 1
    assert [r["labels"] for r in whole.json("processes")["recordings"]] == [{"rank": str(rank)} for rank in range(3)]
    for part in parts:
        pid = part.processes()[0]["pid"]
        assert whole.json("table", "--pid", str(pid))["total_bytes"] == part.stats()["peak_bytes"]
    seen = whole.stats()["peak_seen_bytes"]  # one after the other, so never together
    assert 30_000_000 < seen < 45_000_000
    together = merge(heapline, *[part.path for part in parts], options=["--align=start"])
    assert together.stats()["peak_seen_bytes"] > 60_000_000
    assert heapline("diff", parts[0].path, whole.path, "--fail-over", "5%").exit == 1


def test_native_frames_and_a_process_tree(heapline):
    native = heapline.run(PROGRAM, args=["0"], options=["--native"])
    tree = heapline.run(
        """
        import multiprocessing
        def work(n):
            return len(bytearray(n))
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map(work, [5_000_000] * 4))
        """
    )
    again = heapline.run(PROGRAM, args=["1"], options=["--native"])
    parts = [native, tree, again]
    whole = merge(heapline, *[part.path for part in parts])
    check_whole(whole, parts)
    for options in (["--python-only"], ["--native-only"]):
        table = whole.json("table", "-n", "0", *options)
        assert table["exact"] and sum(row["bytes"] for row in table["rows"]) == table["total_bytes"]


def test_a_recording_of_a_killed_program(heapline):
    killed = heapline.run(
        PROGRAM + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n", args=["0"], check=False
    )
    fine = heapline.run(PROGRAM, args=["1"])
    whole = merge(heapline, killed.path, fine.path)
    check_whole(whole, [killed, fine])
    assert "1 failed (" in whole.text("stats") and "by SIGKILL" in whole.text("stats").splitlines()[0]


def test_recordings_that_were_stopped(heapline):
    paths = [
        handmade.write(
            heapline.folder / f"{host}.heapline",
            meta={"host": host, "state": state, "exit_status": exit_status, "root_end_ns": None},
        )
        for host, state, exit_status in (("a", "stopped", None), ("b", "stopped", None), ("c", "running", None))
    ]
    assert " in 3 recordings: 1 had not ended, 2 until they were stopped within 1.00 s\n" in merge(
        heapline, *paths
    ).text("stats")
    assert " in 2 recordings: 2 until they were stopped within 1.00 s\n" in merge(heapline, *paths[:2]).text("stats")


def test_two_profiles_of_64_k_stacks_are_merged_in_seconds(heapline):
    import resource

    parts = [
        rename(
            make(heapline, f"{seed}.heapline", f"seed={seed}", "codes=4000", "nodes=65000", "stats=65000"), f"h{seed}"
        )
        for seed in (1, 2)
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    whole = merge(heapline, *[part.path for part in parts])
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 4
    assert whole.json("table", "-n", "5")["exact"]
