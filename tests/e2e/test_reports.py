"""Reports against SQL, against figures counted on paper, and against hostile input."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import unicodedata

import handmade
import pytest
from handmade import MB

REPORTS = ["stats", "tree", "table", "summary", "lines", "timeline", "processes"]
VIEWS = [
    [],
    ["--at", "end"],
    ["--at", "45%"],
    ["--at", "0.62s"],
    ["--leaks"],
    ["--allocated"],
    ["--temporary"],
    ["--temporary", "64"],
]


@pytest.fixture
def profile(heapline):
    return heapline.profile(handmade.write(heapline.folder / "hand.heapline"))


@pytest.fixture(params=["one", "tree"])
def made_up(heapline, request):
    """A larger one with random blocks, through the real writer."""
    path = heapline.folder / "made.heapline"
    options = [] if request.param == "one" else ["processes=3", "threads=2", "folded=1", "end=oom"]
    subprocess.run([heapline.tool("make_profile"), path, *options], check=True, stdout=subprocess.DEVNULL)
    return heapline.profile(path)


def columns(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


# ------------------------------------------------------------------------------------------------------ known figures


def test_stats_json_has_every_promised_key(profile):
    stats = profile.stats()
    assert stats["schema"] == "heapline.stats/1"
    expected = {
        "command": "app.py x",
        "exit": 0,
        "signal": None,
        "duration_s": 1.0,
        "peak_bytes": 42 * MB,
        "peak_time_s": 0.5,
        "allocations": 10,
        "allocated_bytes": 52 * MB,
        "frees": 5,
        "freed_bytes": 25 * MB,
        "live_end_bytes": 27 * MB,
        "live_end_blocks": 5,
        "arena_peak_bytes": MB,
        "rss_peak_bytes": 60 * MB,
        "threads": 1,
        "processes": 1,
        "events": 16,
        "events_lost": 0,
        "waited_s": 0,
        "collector_cpu_s": 0.005,
        "collector_rss_peak_bytes": 20 * MB,
        "folded_stacks": 0,
        "python": "3.12.1",
        "exact": True,
    }
    assert {key: stats[key] for key in expected} == expected
    assert stats["sizes"] == [
        {"from": 1 << 19, "below": 1 << 20, "count": 2},
        {"from": 1 << 23, "below": 1 << 24, "count": 4},
    ]
    rss = stats["rss_at_peak"]
    assert rss["rss_bytes"] == sum(rss[key] for key in rss if key not in ("rss_bytes", "time_s"))


@pytest.mark.parametrize(
    ("view", "load"),
    [
        ([], 30),
        (["--at", "end"], 15),
        (["--at", "60%"], 29),
        (["--at", "15%"], 0),
        (["--at", "900ms"], 15),
        (["--leaks"], 15),
        (["--allocated"], 40),
        (["--temporary"], 5),
    ],
)
def test_library_memory_belongs_to_the_users_line(profile, view, load):
    rows = profile.table(*view)
    assert sum(row["bytes"] for row in rows if (row["function"], row["line"]) == ("load", 5)) == load * MB
    for row in rows:
        if row["function"] == "load":
            assert row["file"] == "/home/u/app/app.py"
            assert [(f["function"], f["line"]) for f in row["stack"]] == [
                ("JSONDecoder.decode", 337),
                ("load", 5),
                ("main", 10),
                ("<module>", 13),
            ]
    leaf = profile.table("--leaf", *view)
    assert sum(row["bytes"] for row in leaf if row["function"] == "JSONDecoder.decode") == load * MB


def test_summary_counts_callees_once_and_own_adds_up(profile):
    rows = {row["function"]: row for row in profile.json("summary")["rows"]}
    assert (rows["main"]["total_bytes"], rows["main"]["own_bytes"]) == (40 * MB, 10 * MB)
    assert (rows["load"]["total_bytes"], rows["load"]["own_bytes"]) == (30 * MB, 30 * MB)
    assert rows["<module>"]["total_bytes"] == 40 * MB
    assert rows["(no Python)"]["own_bytes"] == 2 * MB
    assert "JSONDecoder.decode" not in rows


def test_lines_beside_the_source(profile):
    [file] = profile.json("lines")["files"]
    lines = {line["line"]: line for line in file["lines"]}
    assert lines[5]["source"] == "    return json.load(open(path))"
    assert [lines[5][key] for key in ("allocated_bytes", "freed_bytes", "peak_bytes", "end_bytes", "allocations")] == [
        40 * MB,
        25 * MB,
        30 * MB,
        15 * MB,
        6,
    ]
    assert lines[10]["peak_bytes"] == 0 and lines[10]["peak_with_calls_bytes"] == 30 * MB


GOLDEN = {
    ("table", 80): """\
app.py x ended well (exit status 0) after 1.00 s
peak 42.0 MB at 500 ms, 71.4 % of it at app.py:5 in load

  Bytes   Share            Blocks  Line      Function
30.0 MB  71.4 %  ███████▏       3  app.py:5  load
10.0 MB  23.8 %  ██▍            1  app.py:9  main
2.00 MB   4.8 %  ▌              3            (no Python)
42.0 MB   100 %                 7  total
""",
    ("tree", 80): """\
app.py x ended well (exit status 0) after 1.00 s
peak 42.0 MB at 500 ms, 71.4 % of it at app.py:5 in load

  Total   Share      Own  Other  Blocks  Call
42.0 MB   100 %                       7  (all)
40.0 MB  95.2 %                       4  ├ <module>  app.py:13
30.0 MB  71.4 %                       3  │ ├ main  app.py:10
30.0 MB  71.4 %  30.0 MB              3  │ │ load  app.py:5
10.0 MB  23.8 %  10.0 MB              1  │ └ main  app.py:9
2.00 MB   4.8 %  2.00 MB              3  └ (no Python)

Own: by the line itself and the libraries it called (--leaf shows their frames).
Other: by calls that are not shown (-n shows more). Total: own, other and the
rows right below.
""",
    ("processes", 80): """\
app.py x ended well (exit status 0) after 1.00 s
peak 42.0 MB at 500 ms, 71.4 % of it at app.py:5 in load

Pid     Peak  Allocated  RSS peak  Ran for  Ended   Python  Command
100  42.0 MB    52.0 MB   60.0 MB   1.00 s  exit 0  3.12.1  app.py x
""",
    ("lines", 80): """\
app.py x ended well (exit status 0) after 1.00 s
peak 42.0 MB at 500 ms, 71.4 % of it at app.py:5 in load

app.py
Line  Allocated    Freed  At peak   At end  Count  Source
   3
   4                                               def load(path):
   5    40.0 MB  25.0 MB  30.0 MB  15.0 MB      6      return json.load(open(pa…
   6
   7
   8                                               def main():
   9    10.0 MB      0 B  10.0 MB  10.0 MB      1      keep = [0] * 1_250_000
  10                                                   return load("x")
  11
        50.0 MB  25.0 MB  40.0 MB  25.0 MB      7  (the file)
""",
}


@pytest.mark.parametrize(("report", "width"), GOLDEN)
def test_text_is_as_documented(profile, heapline, report, width):
    finished = heapline(report, str(profile.path), env={"COLUMNS": str(width)})
    assert finished.exit == 0
    assert finished.stdout.startswith(GOLDEN[report, width])


# ------------------------------------------------------------------------------------------------ sums against SQL


@pytest.mark.parametrize("view", VIEWS, ids=" ".join)
def test_rows_add_up_to_the_total(made_up, view):
    table = made_up.json("table", *view)
    assert table["exact"]
    for options in ([], ["--leaf"], ["-n", "7"]):
        t = made_up.json("table", *options, *view)
        assert sum(r["bytes"] for r in t["rows"]) + t["other"]["bytes"] == t["total_bytes"] == table["total_bytes"]
        assert sum(r["count"] for r in t["rows"]) + t["other"]["count"] == t["total_count"]
        s = made_up.json("summary", *options, *view)
        assert sum(r["own_bytes"] for r in s["rows"]) + s["other"]["own_bytes"] == table["total_bytes"]
        tree = {n["id"]: n for n in made_up.json("tree", *options, *view)["nodes"]}
        below = dict.fromkeys(tree, 0)
        for node in tree.values():
            if node["parent"] is not None:
                below[node["parent"]] += node["total_bytes"]
        for i, node in tree.items():
            assert node["total_bytes"] == node["own_bytes"] + node["other_bytes"] + below[i]
        if tree:
            assert tree[0]["total_bytes"] == table["total_bytes"]
    rows = list(csv.DictReader(io.StringIO(made_up.text("table", "--csv", *view))))
    assert sum(int(row["bytes"]) for row in rows) == table["total_bytes"]


def test_json_equals_sql(made_up):
    stats = made_up.stats()
    one = len(made_up.processes()) == 1
    for key, query in {
        "allocations": "SELECT sum(allocations) FROM stat",
        "allocated_bytes": "SELECT sum(allocated) FROM stat",
        "frees": "SELECT sum(frees) FROM stat",
        "freed_bytes": "SELECT sum(freed) FROM stat",
        "live_end_bytes": "SELECT sum(live) FROM stat",
        "live_end_blocks": "SELECT sum(live_blocks) FROM stat",
        "peak_bytes": f"SELECT sum({'peak' if one else 'tree_peak'}) FROM stat",
        "total_bytes": "SELECT value FROM meta WHERE key = 'peak'",
        "processes": "SELECT count(*) FROM process",
    }.items():
        assert stats[key] == made_up.value(query), key
    lines = made_up.json("lines")
    for key in ("allocated_bytes", "freed_bytes", "peak_bytes", "end_bytes", "allocations", "frees"):
        rows = sum(line[key] for file in lines["files"] for line in file["lines"]) + lines["no_file"][key]
        assert rows == lines["total"][key], key
    assert lines["total"]["allocated_bytes"] == stats["allocated_bytes"]
    for group in ("by_allocator", "by_module", "by_thread"):
        assert sum(row["bytes"] for row in stats[group]) == stats["peak_bytes"]
        assert sum(row["allocations"] for row in stats[group]) == stats["allocations"]


@pytest.mark.parametrize("options", [[], ["--allocated", "--leaf"], ["-n", "3"]], ids=" ".join)
def test_compact_json_is_the_same_table(made_up, options):
    spelled, compact = made_up.json("table", *options), made_up.json("table", "--compact", *options)
    sites = compact.pop("sites")
    for row in compact["rows"]:
        row["stack"] = [sites[number] for number in row["stack"]]
        row.update(sites[row.pop("site")])
    assert compact == spelled and spelled["rows"]


def test_allocated_since_equals_sql(made_up):
    tick, now = (
        int(made_up.value("SELECT value FROM meta WHERE key = ?", [key])) for key in ("cell_tick_ns", "now_ns")
    )
    ended = "SELECT id FROM process WHERE ended <> 'running' AND end_ns <= ?"
    found = 0
    for since, until in [(20, 60), (35.5, 90), (60, 60), (50, None)]:
        first = int(now * since / 100) // tick
        if until is None:
            view, died, values = ["--leaks"], "died IS NULL", [first]
        else:
            behind = int(now * until / 100) // tick
            view, values = ["--at", f"{until}%"], [first, behind, behind, behind * tick]
            died = f"born < ? AND (died IS NULL OR died >= ?) AND process NOT IN ({ended})"
        rows = made_up.table(*view, "--since", f"{since}%")
        sums = made_up.sql(
            f"SELECT sum(bytes) AS bytes, sum(blocks) AS blocks FROM cell JOIN stat ON stat.id = stat WHERE born >= ? AND {died}",
            values,
        )[0]
        assert (sum(row["bytes"] for row in rows), sum(row["count"] for row in rows)) == (
            sums["bytes"] or 0,
            sums["blocks"] or 0,
        ), (since, until)
        found += sums["bytes"] or 0
        selection = made_up.json("table", *view, "--since", f"{since}%")["selection"]
        assert selection["since_s"] == pytest.approx(first * tick / 1e9)
    assert found
    assert made_up.table("--leaks", "--since", "0s") == made_up.table("--leaks")
    assert " allocated from " in made_up.text("table", "--leaks", "--since", "50%")


def test_processes_and_threads_are_parts_of_the_whole(made_up):
    whole = made_up.json("table", "--allocated")["total_bytes"]
    assert whole == sum(
        made_up.json("table", "--allocated", "--pid", str(p["pid"]))["total_bytes"] for p in made_up.processes()
    )
    tids = [row["tid"] for row in made_up.sql("SELECT tid FROM thread")]
    assert whole == sum(made_up.json("table", "--allocated", "--thread", str(tid))["total_bytes"] for tid in tids)
    for process in made_up.processes():
        assert made_up.json("table", "--pid", str(process["pid"]))["total_bytes"] == process["peak_bytes"]


def test_timeline_holds_the_peak_and_agrees_with_the_cells(made_up):
    timeline = made_up.json("timeline")
    if len(made_up.processes()) == 1:
        assert max(p["heap_high_bytes"] for p in timeline["points"]) == timeline["peak_bytes"]
    for point in timeline["points"][:-1:17]:
        at = made_up.json("table", "--at", f"{point['time_s'] * 1000 + 0.001}ms")
        assert at["total_bytes"] == point["heap_bytes"], point
    rows = list(csv.DictReader(io.StringIO(made_up.text("timeline", "--csv"))))
    assert [int(r["heap"]) for r in rows] == [p["heap_bytes"] for p in timeline["points"]]


# -------------------------------------------------------------------------------------------------- a real recording


def test_shares_of_the_peak_add_up_across_checkpoints(heapline):
    profile = heapline.run("""
        import time
        def first(): return bytearray(50_000_000)
        def second(): return bytearray(120_000_000)
        x = first(); del x; time.sleep(1.4)
        y = second(); del y; time.sleep(1.4)
        """)
    table = profile.json("table")
    assert table["exact"] and table["total_bytes"] == profile.stats()["peak_bytes"] < 140_000_000
    assert profile.at_peak(function="first").bytes == 0


def test_a_library_that_is_the_program_counts_as_yours(heapline):
    (heapline.folder / "x.json").write_text(json.dumps(list(range(100_000))))
    profile = heapline.run(["-m", "json.tool", "x.json", "y.json"])
    top = profile.stats()["top_by_bytes"][0]
    assert "/json/" in top["file"], top


def test_code_that_a_library_generates_is_the_librarys(heapline):
    profile = heapline.run("""
        import collections
        Pair = collections.namedtuple("Pair", "a b")
        keep = [Pair(i, [i]) for i in range(10_000)]
        """)
    assert not [row for row in profile.table("--allocated") if row["file"] == "<string>"]
    assert [row for row in profile.table("--allocated", "--leaf") if row["file"] == "<string>"]


def test_any_moment_of_a_recording_adds_up(heapline):
    profile = heapline.run("""
        import random, time
        random.seed(1)
        keep, end = [], time.time() + 2.6
        while time.time() < end:  # several checkpoints; lines that are never run again after one
            exec(f"keep.append([bytearray(random.randrange(2000)) for _ in range(20)])  #{time.time()}")
            if len(keep) > 200:
                del keep[random.randrange(200)]
            time.sleep(0.001)
        """)
    for percent in range(0, 101, 4):
        assert profile.json("table", "--at", f"{percent}%")["exact"], percent


def test_a_running_recording_says_so(heapline):
    path = heapline.folder / "r.heapline"
    handmade.write(path, meta={"state": "running", "exit_status": None, "root_end_ns": None})
    text = heapline("stats", path).stdout  # nobody records into it any more, so nobody knows whether the program runs
    assert text.startswith("app.py x was still running at 1.00 s, when this profile was last saved\n"), text
    assert "alive when last saved 27.0 MB" in text
    assert heapline.profile(path).stats()["state"] == "running"


def test_out_of_memory_names_limit_holder_and_growth(heapline):
    path = heapline.folder / "oom.heapline"
    handmade.write(path, meta={"signal": 9, "exit_status": None, "oom_scope": "cgroup /jobs/7", "oom_limit": 64 * MB})
    lines = heapline("stats", path, env={"COLUMNS": "200"}).stdout.splitlines()
    assert lines[0] == "app.py x was killed: out of memory (cgroup /jobs/7, limit 64.0 MB) after 1.00 s"
    assert "27.0 MB alive when it ended" in lines[1] and "MB/s" in lines[1] and "app.py:5 in load" in lines[1]


@pytest.mark.parametrize("bound, words", [(42 * MB + 1000, ""), (45 * MB, " (at most 45.0 MB)")])
def test_a_bound_is_told_where_it_reads_otherwise_than_the_peak(heapline, bound, words):
    path = handmade.write(heapline.folder / "tree.heapline", meta={"peak_bound": bound})
    with sqlite3.connect(path) as database:
        database.execute("CREATE TEMP TABLE child AS SELECT * FROM process")
        database.execute("UPDATE child SET id = 2, pid = 101, parent = 1")
        database.execute("INSERT INTO process SELECT * FROM child")
    stats = heapline("stats", path).stdout
    assert stats.splitlines()[1].startswith(f"peak 42.0 MB at 500 ms{words}, "), stats
    assert "the program waited" in stats


def test_growth_before_the_end_does_not_count_a_halt(heapline):
    path = heapline.folder / "oom.heapline"
    handmade.write(path, meta={"signal": 9, "exit_status": None, "oom_scope": "machine", "oom_limit": 64 * MB})
    with sqlite3.connect(path) as database:
        database.execute(
            "INSERT INTO tick SELECT process, 90, heap, heap, heap, arena, 1, 1, 1, 0, NULL FROM tick WHERE tick = 80"
        )
    growth = heapline("stats", path, env={"COLUMNS": "200"}).stdout.splitlines()[1]
    assert "27.0 MB alive when it ended, up from 12.0 MB within 700 ms (21.4 MB/s)" in growth, growth


@pytest.mark.parametrize("report", ["stats", "tree", "table", "summary", "timeline"])
def test_nothing_is_said_in_words(heapline, report):
    unfit = heapline.profile(
        handmade.write(heapline.folder / "empty.heapline", meta={key: 0 for key in ("peak", "peak_blocks", "rss_peak")})
    )
    database = sqlite3.connect(unfit.path)
    for statement in (
        "DELETE FROM stat",
        "DELETE FROM cell_row",
        "DELETE FROM tick",
        "UPDATE process SET allocations = 0, allocated = 0, frees = 0, freed = 0, live = 0, live_blocks = 0, peak = 0",
    ):
        database.execute(statement)
    database.commit()
    database.close()
    text = unfit.text(report)
    assert "\n\nNothing was recorded: no allocation is in this profile.\n" in text, text
    assert "Share" not in text and "Lines by" not in text and "total" not in text and "▼" not in text, text


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (["--leaks"], "Everything that was allocated was freed."),
        (["--at", "end"], "Nothing was alive at the end."),
        (["--at", "50%"], "Nothing was alive at 500 ms."),
        (["--temporary", "4"], "Nothing was freed within 4 allocations."),
        ([], "Nothing of it was alive at the peak."),
        (["--allocated"], "Nothing was allocated."),
    ],
)
def test_a_view_of_nothing_is_said_in_words(heapline, view, words):
    profile = heapline.profile(handmade.write(heapline.folder / "one.heapline"))
    database = sqlite3.connect(profile.path)
    database.execute("INSERT INTO thread VALUES (2, 1, 101, 'idle', 1)")
    database.commit()
    database.close()
    for report in ("table", "tree", "summary", "stats"):
        text = profile.text(report, "--thread", "idle", *view)
        assert f"\n\n{words}\n" in text, text
        assert "Share" not in text or report == "stats"


def test_the_end_is_the_whole_of_the_recording(heapline, profile):
    end = profile.json("table", "--at", "end")
    assert end["total_bytes"] == 27 * MB
    for when in ("100%", "1s", "1000ms", "1.0s"):
        assert profile.json("table", "--at", when) == end, when
    assert profile.json("table", "--at", "99%")["selection"]["moment"] == "time"
    finished = heapline("table", profile.path, "--at", "100s")
    assert (finished.exit, finished.stdout) == (2, "")
    assert "--at 100s: that is past its end, it is 1.00 s long" in finished.stderr
    later = heapline.profile(
        handmade.write(heapline.folder / "later.heapline", meta={"now_ns": 1_003_000_000})
    )  # 1.00 s, for people
    assert later.json("table", "--at", "1s")["total_bytes"] == 27 * MB
    assert later.json("table", "--at", "100%")["total_bytes"] == 27 * MB


def test_recursion_is_one_row(heapline):
    profile = heapline.run(
        """
        import sys
        sys.setrecursionlimit(5000)
        def end():
            return bytearray(3_000_000)
        def r(n):
            keep = bytearray(100)
            if n == 0:
                return end()
            return r(n - 1)
        r(2000)
        """
    )
    for options in ([], ["--leaf"]):
        text = profile.text("tree", "-n", "12", *options).split("\n\n")[1]
        (row,) = [line for line in text.splitlines() if "program.py:10" in line]
        assert row.endswith("r  program.py:10 × 2,000"), text
        (end,) = [line for line in text.splitlines() if "program.py:5" in line]
        assert end.split()[:2] == ["3.00", "MB"], text
    assert "r  program.py:10 x 2,000" in heapline("tree", profile.path, env={"LC_ALL": "C"}).stdout
    nodes = profile.json("tree")["nodes"]
    assert sum(node["line"] == 10 and node["file"].endswith("program.py") for node in nodes) == 2000


def test_a_stack_that_was_cut_is_charged_as_the_whole_one(heapline):
    """Of a recursion in python -c: what is left of the stack is the user's as before."""
    path = handmade.write(
        heapline.folder / "cut.heapline", names={"app.py": "<string>", "command": "-c x"}, source=None
    )
    with sqlite3.connect(path) as database:
        database.execute("UPDATE file SET origin = 'interactive' WHERE id = 1")
        database.execute("INSERT INTO file VALUES (9, '<heapline>', 'interactive', NULL, NULL)")
        database.execute("INSERT INTO function VALUES (9, 9, '(outer frames, cut)', 0)")
        database.execute("INSERT INTO frame (id, function, line) VALUES (9, 9, 0)")
        database.execute("UPDATE stack SET frame = 9 WHERE id = 2")
    profile = heapline.profile(path)
    assert [(row["function"], row["line"], row["bytes"]) for row in profile.table()] == [
        ("load", 5, 30 * MB),
        ("main", 9, 10 * MB),
        ("(no Python)", 0, 2 * MB),
    ]
    assert "<heapline>" not in profile.text("tree", "--leaf") + profile.text("summary", "--leaf")


@pytest.mark.pythons("3.12", "3.13")  # before, a comprehension stands between the calls
def test_what_joined_calls_call_is_joined_too(heapline, each_python):
    profile = heapline.run(
        """
        class Node:
            def __init__(self, depth):
                self.data = bytearray(1000 * depth + 10)
                self.below = [Node(depth - 1) for _ in range(2)] if depth else []
        keep = Node(9)
        """,
        python=each_python,
    )
    nodes = profile.json("tree")["nodes"]
    line = {node["id"]: node["line"] for node in nodes}
    inner = sum(node["total_bytes"] for node in nodes if node["line"] == 4 and line[node["parent"]] == 5)
    assert inner > sum(1000 * depth << (9 - depth) for depth in range(9))
    rows = profile.text("tree", "-n", "0").split("\n\n")[1].splitlines()
    assert [row for row in rows if row.endswith("program.py:5 × 10")], rows
    (own,) = [row.split()[:2] for row in rows if "program.py:4" in row and "MB" in row]
    assert float(own[0]) * MB == pytest.approx(inner, rel=0.01), rows


def test_json_of_a_table_has_a_bound(heapline):
    program = "keep = []\n" + "\n".join(f"keep.append(bytearray({i}))" for i in range(1, 1501)) + "\n"
    profile = heapline.run(program)
    some, everything = profile.json("table", "--allocated"), profile.json("table", "--allocated", "-n", "0")
    assert len(some["rows"]) == 1000 and some["rows"] == everything["rows"][:1000]
    rest = everything["rows"][1000:]
    assert some["other"] == {
        "rows": len(rest),
        "bytes": sum(row["bytes"] for row in rest),
        "count": sum(row["count"] for row in rest),
    }
    assert everything["other"] == {"rows": 0, "bytes": 0, "count": 0}
    assert len(list(csv.DictReader(io.StringIO(profile.text("table", "--allocated", "--csv"))))) > 1500


# ------------------------------------------------------------------------------------------------ terminals and pipes


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_every_width_keeps_its_lines_within_it(made_up, heapline, report, width):
    finished = heapline(report, str(made_up.path), env={"COLUMNS": str(width)})
    assert finished.exit == 0
    body = finished.stdout.split("\n\n", 1)[1]  # the verdict may run over
    most = max(width, 72 if report == "stats" else 50)  # facts are sentences, and no number is cut
    wide = [line for line in body.splitlines() if columns(line) > most]
    assert not wide


@pytest.mark.parametrize("report", REPORTS)
def test_colour_only_where_it_is_wanted(profile, heapline, report):
    assert "\033" not in heapline(report, str(profile.path)).stdout
    forced = heapline(report, str(profile.path), env={"CLICOLOR_FORCE": "1"}).stdout
    assert "\033[" in forced
    assert "\033" not in heapline(report, str(profile.path), env={"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}).stdout
    assert "\033" in heapline(report, str(profile.path), "--color=always", env={"NO_COLOR": "1"}).stdout
    assert "\033" not in heapline(report, str(profile.path), "--json", "--color=always").stdout


def test_ascii_where_the_locale_is(profile, heapline):
    for report in REPORTS:
        assert heapline(report, str(profile.path), env={"LC_ALL": "C"}).stdout.isascii()


@pytest.mark.parametrize("report", REPORTS)
def test_names_cannot_speak_to_the_terminal(heapline, report):
    evil = "\033]0;x\a\033[2J\u202ex\n\r"
    path = handmade.write(
        heapline.folder / "evil.heapline",
        source=b"\033[2J = 1\n" * 13,
        names={key: key + evil for key in ("load", "main", "app.py", "decode", "thread", "command")},
        meta={"directory": "/"},
    )
    for options in ([], ["--leaf"]) if report in ("table", "tree", "summary", "lines", "stats") else ([],):
        finished = heapline(report, str(path), *options, env={"COLUMNS": "400"})
        assert finished.exit == 0
        assert not set(finished.stdout) & {"\033", "\a", "\r", "\u202e"}, finished
    assert json.loads(heapline(report, str(path), "--json").stdout)["schema"]


def test_wide_characters_keep_columns_aligned(heapline):
    path = handmade.write(
        heapline.folder / "wide.heapline", names={"load": "読み込み", "main": "größe", "app.py": "/home/u/app/資料.py"}
    )
    text = heapline("table", str(path), env={"COLUMNS": "80"}).stdout
    header, *rows = [line for line in text.split("\n\n")[1].splitlines()]
    at = columns(header[: header.index("Function")])
    for name in ("読み込み", "größe", "(no Python)"):
        row = next(row for row in rows if name in row)
        assert columns(row[: row.index(name)]) == at


@pytest.mark.parametrize("options", [["table", "--json"], ["stats"], ["lines", "--json"]])
def test_a_reader_that_leaves_early_is_no_error(made_up, heapline, options):
    read, write = os.pipe()
    process = subprocess.Popen([heapline.binary, *options, made_up.path], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    os.close(read)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, b"")


def test_a_full_disk_is_told(profile, heapline):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [heapline.binary, "stats", profile.path], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert process.returncode == 3
    assert process.stderr.startswith("heapline: cannot write the report:")


def test_csv_is_quoted(heapline):
    path = handmade.write(heapline.folder / "q.heapline", names={"load": 'lo"ad,\n2', "main": "=1+1"})
    rows = list(csv.DictReader(io.StringIO(heapline("table", str(path), "--csv").stdout, newline="")))
    assert {row["function"] for row in rows} == {'lo"ad,\n2', " =1+1", "(no Python)"}
    assert sum(int(row["bytes"]) for row in rows) == 42 * MB


# --------------------------------------------------------------------------------------------------- bad files, usage

BAD = {
    "empty": b"",
    "memray": b"memray\0\0\0\0",
    "text": b"hello\n" * 100,
    "sqlite": None,
    "newer": None,
    "cut": None,
    "damaged": None,
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_line(heapline, kind):
    path = heapline.folder / "bad.heapline"
    good = handmade.write(heapline.folder / "good.heapline").read_bytes()
    if kind == "newer":
        good = good[:60] + (99).to_bytes(4, "big") + good[64:]
    elif kind == "sqlite":
        good = good[:68] + bytes(4) + good[72:]
    elif kind == "cut":
        good = good[: len(good) // 2]
    elif kind == "damaged":
        good = good[:4096] + bytes(0xA5 for _ in range(len(good) - 4096))
    path.write_bytes(good if BAD[kind] is None else BAD[kind])
    for report in REPORTS:
        finished = heapline(report, str(path))
        assert finished.exit == 3, finished
        assert finished.stdout == ""
        assert finished.stderr.startswith(f"heapline: {path}: ") and finished.stderr.count("\n") == 1, finished


def test_every_byte_of_a_page_may_be_wrong(heapline):
    """Reports of a damaged file may be refused or odd, but end well."""
    good = bytearray(handmade.write(heapline.folder / "good.heapline").read_bytes())
    path = heapline.folder / "flipped.heapline"
    for at in range(4096, len(good), 1031):
        flipped = bytearray(good)
        flipped[at] ^= 0xFF
        path.write_bytes(flipped)
        for report in ("stats", "tree"):
            assert heapline(report, str(path)).exit in (0, 3), (report, at)


@pytest.mark.parametrize(
    "words",
    [
        ["table"],
        ["table", "--at", "soon", "P"],
        ["table", "--leaks", "--allocated", "P"],
        ["table", "--json", "--csv", "P"],
        ["table", "P", "Q"],
        ["table", "--pid", "7", "P"],
        ["table", "--thread", "nobody", "P"],
        ["table", "--at", "1.1s", "P"],
        ["table", "--at", "101%", "P"],
        ["lines", "P", "nothing"],
        ["table", "--temporary=2000", "P"],
        ["table", "--compact", "P"],
        ["table", "--since", "0.2s", "P"],
        ["table", "--since", "0.2s", "--allocated", "P"],
        ["table", "--since", "soon", "--leaks", "P"],
        ["table", "--since", "1.1s", "--leaks", "P"],
        ["table", "--since", "0.8s", "--at", "0.5s", "P"],
        ["table", "--srot", "count", "P"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_exit_2(profile, heapline, words):
    finished = heapline(*[str(profile.path) if word == "P" else word for word in words])
    assert finished.exit == 2, finished
    assert finished.stdout == "" and finished.stderr.startswith("heapline")


def test_a_missing_file_is_exit_3(heapline):
    finished = heapline("stats", "nowhere.heapline")
    assert finished.exit == 3 and "nowhere.heapline" in finished.stderr


# --------------------------------------------------------------------------------------------------------- source text


def test_source_from_the_disk_only_if_unchanged(heapline):
    app = heapline.folder / "app.py"
    app.write_bytes(handmade.SOURCE)
    os.utime(app, (1000, 1000))
    names = {"app.py": str(app)}
    after = handmade.write(
        heapline.folder / "a.heapline", source=None, names=names, meta={"start_unix_ns": 2000 * 10**9}
    )
    before = handmade.write(
        heapline.folder / "b.heapline", source=None, names=names, meta={"start_unix_ns": 500 * 10**9}
    )
    assert "return json.load" in heapline("lines", str(after)).stdout
    text = heapline("lines", str(before)).stdout
    assert "return json.load" not in text and "changed since" in text and "30.0 MB" in text


def test_lines_of_named_functions_and_files(profile):
    text = profile.text("lines", "main")
    assert "keep = [0]" in text and "def load" not in text
    (file,) = profile.json("lines", "main")["files"]
    assert {line["line"]: line["named"] for line in file["lines"]} == {5: False, 9: True, 10: True, 13: False}
    (file,) = profile.json("lines", "app.py")["files"]
    assert all(line["named"] for line in file["lines"])
    assert not any("named" in line for file in profile.json("lines")["files"] for line in file["lines"])
    assert "def load" in profile.text("lines", "app.py")
    assert "import json" in profile.text("lines", "--all")


def test_lines_of_a_function_are_not_those_of_the_interpreter(heapline):
    profile = heapline.run(
        """
        import runpy, textwrap
        def main():
            return [bytearray(1000) for _ in range(100)]
        def wrap():
            return textwrap.wrap("a b " * 1000, 10)
        keep = [main(), wrap()]
        """
    )
    database = sqlite3.connect(profile.path)
    assert database.execute("SELECT count(*) FROM function WHERE name = 'wrap'").fetchone()[0] >= 1
    files = "SELECT path FROM function JOIN file ON file.id = function.file WHERE name = "
    assert database.execute(files + "'main' AND path = '<frozen site>'").fetchall(), "nothing to tell apart"
    ((other,),) = database.execute(
        "SELECT name FROM function JOIN file ON file.id = function.file WHERE path = '<frozen site>' "
        "AND name NOT IN ('main', '<module>') ORDER BY name LIMIT 1"
    ).fetchall()
    database.close()
    text = profile.text("lines", "main")
    assert "def main" in text and "<frozen site>" not in text
    both = profile.text("lines", "main", "<frozen site>")
    assert both.index("\nprogram.py\n") < both.index("\n<frozen site>\n")
    assert "\n<frozen site>\n" in profile.text("lines", other)
