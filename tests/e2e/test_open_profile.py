"""heapline.open(): reading profiles in Python (docs/python-api.md). What it says is what the reports say, and what happened."""

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
import textwrap
import time

import handmade
import pytest
from handmade import MB
from pythons import ROOT

sys.path.insert(0, str(ROOT / "python"))

import heapline as package
from heapline import reading

SINCE = pytest.mark.pythons(since=(3, 8))


@pytest.fixture(autouse=True)
def command(heapline_binary, monkeypatch):
    """The command under test, whatever is installed."""
    monkeypatch.setattr(reading, "binary", lambda: str(heapline_binary))


def environment(heapline):
    path = os.pathsep.join([str(heapline.binary.parent), os.environ.get("PATH", "")])
    return {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def place(row):
    return tuple(
        row.get(key, default) for key, default in [("function", ""), ("file", ""), ("line", 0), ("native", False)]
    )


def table_of(records):
    return [
        {
            "place": (row.function, row.file, row.line, row.native),
            "bytes": row.bytes,
            "count": row.blocks,
            "stack": [(frame.function, frame.file, frame.line, frame.native) for frame in row.stack],
        }
        for row in records
    ]


def table_of_json(rows):
    return [
        {
            "place": place(row),
            "bytes": row["bytes"],
            "count": row["count"],
            "stack": [place(frame) for frame in row["stack"]],
        }
        for row in rows
    ]


def agree(record, row, but=()):
    """Every field of a record has the value of the row of JSON, whose key it is named like."""
    names = getattr(record, "_fields", None) or [field.name for field in dataclasses.fields(record)]
    names = [name for name in names if name not in but]
    assert len(names) >= 3
    assert {name: getattr(record, name) for name in names} == {name: row.get(name) for name in names}


def agree_all(records, rows):
    assert len(records) == len(rows)
    for record, row in zip(records, rows):
        agree(record, row)


# ------------------------------------------------------------------------------------------- the numbers of the reports


@pytest.fixture(params=["hand", "one", "tree", "native", "merged"])
def profile(heapline, request):
    path = heapline.folder / f"{request.param}.heapline"
    if request.param == "hand":
        handmade.write(path)
    elif request.param == "native":
        return heapline.run(["-c", "x = [bytes(1000 + i) for i in range(100)]; import json"], options=["--native"])
    elif request.param == "merged":
        hosts = {"a": {"host": "a"}, "b": {"host": "b", "start_unix_ns": 300_000_000}}
        parts = [handmade.write(heapline.folder / f"{name}.heapline", meta=meta) for name, meta in hosts.items()]
        finished = heapline("merge", "-o", path, *parts)
        assert finished.exit == 0, finished
    else:
        options = [] if request.param == "one" else ["processes=3", "threads=2", "folded=1", "end=oom"]
        subprocess.run([heapline.tool("make_profile"), path, *options], check=True, stdout=subprocess.DEVNULL)
    return heapline.profile(path)


def test_selections_are_those_of_the_table(profile):
    opened = package.open(profile.path)
    duration = opened.timeline.duration_s
    found = 0
    for records, options in [
        (opened.peak, []),
        (opened.leaks, ["--leaks"]),
        (opened.allocated, ["--allocated"]),
        (opened.temporary(), ["--temporary"]),
        (opened.temporary(100), ["--temporary=100"]),
        (opened.at(duration / 2), [f"--at={duration / 2:.9f}"]),
        (opened.at("80%"), ["--at=80%"]),
        (opened.at("end"), ["--at=end"]),
        (opened.between(duration / 4, duration / 2), [f"--since={duration / 4:.9f}", f"--at={duration / 2:.9f}"]),
        (opened.between("10%", "end"), ["--since=10%", "--at=end"]),
    ]:
        report = profile.json("table", "-n", "0", *options)
        assert table_of(records) == table_of_json(report["rows"])
        assert (records.total_bytes, records.total_blocks) == (report["total_bytes"], report["total_count"])
        assert sum(row.bytes for row in records) == records.total_bytes
        assert sum(row.blocks for row in records) == records.total_blocks
        assert records.exact is report["exact"] is True
        assert records.moment == report["selection"]["moment"]
        for key in ("time_s", "since_s", "within"):
            assert getattr(records, key) == report["selection"].get(key)
        shown = csv.DictReader(io.StringIO(profile_csv(profile, options)))
        assert sorted((int(row["bytes"]), int(row["count"]), int(row["line"])) for row in shown) == sorted(
            (site.bytes, site.blocks, site.line) for site in records.by_line()
        )
        found += len(records) > 0
    assert found >= 5


def profile_csv(profile, options):
    return profile.heapline("table", str(profile.path), "--csv", *options).stdout


def test_narrowed_selections_are_those_of_the_table(profile):
    opened = package.open(profile.path)
    thread = opened.threads[0]
    choices = [({"leaf": True}, ["--leaf"]), ({"thread": thread.name}, ["--thread", thread.name])]
    if len({process.pid for process in opened.processes}) == len(opened.processes):
        choices.append(({"pid": thread.pid, "leaf": True}, ["--pid", str(thread.pid), "--leaf"]))
    if "native" in profile.path.name or any(frame.native for row in opened.peak for frame in row.stack):
        choices += [({"frames": "native"}, ["--native-only"]), ({"frames": "python"}, ["--python-only"])]
        native = opened.only(frames="native").peak
        assert all(row.native and row.module for row in native if row.stack)
    for arguments, options in choices:
        rows = profile.json("table", "-n", "0", *options)["rows"]
        assert table_of(opened.only(**arguments).peak) == table_of_json(rows)
        assert rows


def test_stats_are_those_of_the_report(profile):
    stats, report = package.open(profile.path).stats, profile.stats()
    lists = {"top_by_bytes", "top_by_count", "top_native", "sizes", "by_allocator", "by_module", "libraries"}
    lists |= {"by_region", "rss_at_peak", "notes"}
    agree(stats, report, lists)
    assert list(stats.notes) == report["notes"]
    assert (stats.rss_at_peak and stats.rss_at_peak._asdict()) == report["rss_at_peak"]
    for key in ("top_by_bytes", "top_by_count"):
        sites = getattr(stats, key)
        assert [(site.bytes, site.blocks, site.function, site.file, site.line) for site in sites] == [
            (row["bytes"], row["count"], row["function"], row["file"], row["line"]) for row in report[key]
        ]
    for key in ("by_allocator", "by_module", "libraries", "by_region"):
        groups = report.get(key, [])
        assert [tuple(group) for group in getattr(stats, key)] == [
            (*(g[k] for k in ("name", "bytes", "count", "allocated_bytes", "allocations")), g.get("module"))
            for g in groups
        ]
    assert [(site.bytes, site.blocks, site.line, site.module, site.caller.line) for site in stats.top_native] == [
        (row["bytes"], row["count"], row["line"], row.get("module"), row["caller"]["line"])
        for row in report.get("top_native", [])
    ]
    assert [tuple(size) for size in stats.sizes] == [tuple(size.values()) for size in report["sizes"]]
    assert stats.peak_bytes == profile.value("SELECT value FROM meta WHERE key = 'peak'")


def test_lines_timeline_processes_threads_are_those_of_the_reports(profile):
    opened = package.open(profile.path)
    lines, report = opened.lines(), profile.json("lines")
    expected = [(file["file"], *line.values()) for file in report["files"] for line in file["lines"]]
    assert [tuple(line) for line in lines] == expected and expected
    assert lines.total._asdict() == report["total"] and lines.no_file._asdict() == report["no_file"]
    assert [file._asdict() for file in lines.files] == [
        {key: value for key, value in file.items() if key != "lines"} for file in report["files"]
    ]
    timeline, report = opened.timeline, profile.json("timeline")
    agree_all(timeline, report["points"])
    agree_all(timeline.marks, report["marks"])
    assert len(timeline)
    for key in ("duration_s", "tick_s", "peak_bytes", "peak_time_s"):
        assert getattr(timeline, key) == report[key]
    report = profile.json("processes")
    agree_all(opened.processes, report["processes"])
    agree_all(opened.recordings, report.get("recordings", []))
    assert bool(opened.recordings) == ("merged" in profile.path.name)
    assert [tuple(thread) for thread in opened.threads] == [
        tuple(t[k] for k in ("name", "tid", "threads", "pid", "bytes", "count", "allocated_bytes", "allocations"))
        for t in profile.stats()["by_thread"]
    ]
    assert sum(thread.allocated_bytes for thread in opened.threads) <= opened.stats.allocated_bytes


def test_figures_counted_on_paper(heapline):
    with package.open(handmade.write(heapline.folder / "hand.heapline")) as opened:
        assert {(site.function, site.line): site.bytes for site in opened.peak.by_line()} == {
            ("load", 5): 30 * MB,
            ("main", 9): 10 * MB,
            ("(no Python)", 0): 2 * MB,
        }
        (load,) = [row for row in opened.peak if row.line == 5]
        assert [frame.function for frame in load.stack][-2:] == ["main", "<module>"]
        assert load.file == "/home/u/app/app.py"
        assert [(line.line, line.allocated_bytes, line.freed_bytes) for line in opened.lines("load")] == [
            (5, 40 * MB, 25 * MB)
        ]
        assert opened.lines("load")[0].source == "    return json.load(open(path))"
        assert {line.line for line in opened.lines("main")} == {9, 10}
        assert opened.lines("main", "load").total.peak_bytes == 42 * MB
        assert len(opened.lines("app.py")) == 4
        assert opened.report("tree", "-n", "2")["schema"] == "heapline.tree/1"
    with pytest.raises(ValueError, match="closed"):
        opened.at(0)
    assert opened.peak.total_bytes == 42 * MB  # is read already


def test_profiled_functions_are_those_of_the_report(heapline):
    path = handmade.write(heapline.folder / "hand.heapline", profiled=True)
    report = heapline.profile(path).json("profiled")["functions"]
    with package.open(path) as opened:
        main, load = opened.profiled
        assert (len(opened.profiled), opened.stats.profiled_functions) == (2, 2) and opened.profiled[:1] == (main,)
        for function, row in zip(opened.profiled, report):
            for key in ("function", "file", "first_line", "last_line", "processes"):
                assert getattr(function, key) == row[key]
            assert function.total._asdict() == row["total"]
            place = {"function": row["function"], "file": row["file"]}
            assert [line._asdict() for line in function] == [{**place, **line} for line in row["lines"]]
        assert load[1].hits == 3 and load[1].net_bytes == 15 * MB and load[1].rss_bytes == 60 * MB
        assert list(opened.profiled.lines) == [*main, *load]
        assert [list(function) for function in opened.only(pid=100).profiled] == [list(main), list(load)]
        with pytest.raises(ValueError, match="thread"):
            opened.only(thread="t").profiled  # noqa: B018
    with package.open(handmade.write(heapline.folder / "none.heapline")) as opened:
        assert len(opened.profiled) == 0 and list(opened.profiled.lines) == []


def test_marks_and_regions_of_a_program_that_records_itself(heapline):
    program = """
import heapline
with heapline.track("inside.heapline"):
    heapline.mark("begun")
    with heapline.region("request", route="/a"):
        kept = bytearray(3000000)
    other = bytearray(2000000)
print(heapline.open("inside.heapline").only(region="request").leaks.total_bytes)
"""
    finished = heapline.plain(program, env=environment(heapline))
    assert finished.exit == 0, finished
    profile = heapline.profile(heapline.folder / "inside.heapline")
    opened = package.open(profile.path)
    within = opened.only(region="request route=/a").leaks
    assert 3000000 <= within.total_bytes < 3010000 and finished.stdout == f"{within.total_bytes}\n"
    assert opened.leaks.total_bytes >= within.total_bytes + 2000000
    assert [mark.name for mark in opened.timeline.marks if mark.kind in ("mark", "region")] == [
        "begun",
        "request route=/a",
    ]
    assert [(group.name, group.allocated_bytes) for group in opened.stats.by_region] == [
        (row["name"], row["allocated_bytes"]) for row in profile.stats()["by_region"]
    ]
    assert any(group.name == "request route=/a" for group in opened.stats.by_region)
    with pytest.raises(ValueError, match="region"):
        _ = opened.only(region="nothing").peak


# ------------------------------------------------------------------------------------------------- a known sequence

SEQUENCE = """
import ctypes, threading, time
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def first():
    return libc.malloc(10000003)
def second():
    return libc.malloc(5000011)
def spike():
    libc.free(libc.malloc(70000009))
def drop(block):
    libc.free(block)
time.sleep(0.1)
a = first()
time.sleep(0.3)
b = second()
time.sleep(0.3)
drop(a)
time.sleep(0.3)
spike()
thread = threading.Thread(target=second, name="second")
thread.start()
thread.join()
"""

READ = """
import json, sys
import heapline
with heapline.open(sys.argv[1]) as profile:
    heap = [(point.time_s, point.heap_bytes) for point in profile.timeline]
    begun = next(time for time, size in heap if size >= 10000003)
    both = next(time for time, size in heap if size >= 15000014)
    gone = next(time for time, size in heap if time > both and size < 15000014)
    def functions(records):
        return {row.function: [row.bytes, row.blocks] for row in records if row.function in ("first", "second", "spike")}
    print(json.dumps({
        "version": sys.version_info[:2],
        "peak": functions(profile.peak),
        "leaks": functions(profile.leaks),
        "temporary": functions(profile.temporary(0)),
        "allocated": functions(profile.allocated),
        "at first": functions(profile.at(both - 0.1)),
        "at second": functions(profile.at(gone - 0.1)),
        "between": functions(profile.between(both - 0.1, gone - 0.1)),
        "born early": functions(profile.between(0, gone - 0.1)),
        "late": functions(profile.between(gone + 0.1, "end")),
        "lines": [list(line[1:8]) for line in profile.lines("second")],
        "thread": functions(profile.only(thread="second").allocated),
        "stack": [frame.function for row in profile.leaks if row.function == "second" for frame in row.stack],
        "exit": profile.stats.exit,
    }))
"""


@pytest.fixture(scope="module")
def known(heapline_binary, tmp_path_factory):
    from recording import Heapline

    return Heapline(heapline_binary, tmp_path_factory.mktemp("known")).run(SEQUENCE, options=["--malloc-only"])


@SINCE
def test_a_known_sequence_on_every_python(heapline, known, each_python):
    ended = each_python.run("-c", READ, str(known.path), env=environment(heapline))
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    first, second, twice, spike = [10000003, 1], [5000011, 1], [10000022, 2], [70000009, 1]
    assert tuple(said["version"]) == each_python.version
    assert said["peak"] == {"second": second, "spike": spike}
    assert said["allocated"]["first"] == first and said["allocated"]["spike"] == spike
    assert said["temporary"] == {"spike": spike}
    assert said["at first"] == {"first": first}
    assert said["at second"] == {"first": first, "second": second}
    assert said["between"] == {"second": second}
    assert said["born early"] == said["at second"]
    assert said["late"] == {"second": second}
    assert [line[1:3] for line in said["lines"] if line[1] > 5000000] == [twice]
    assert said["thread"] == {"second": second}
    assert "second" in said["stack"] and "<module>" in said["stack"]
    assert said["exit"] == 0


# ---------------------------------------------------------------------------------------------------- files and errors


@pytest.mark.parametrize("kind", ["empty", "memray", "text", "sqlite", "newer", "cut", "damaged", "directory", "fifo"])
def test_what_is_no_profile_is_an_error_with_the_commands_words(heapline, kind):
    good = handmade.write(heapline.folder / "good.heapline").read_bytes()
    path = heapline.folder / f"bad {kind}.heapline"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "memray": b"memray\0\0\0\0",
                "text": b"hello\n" * 100,
                "sqlite": good[:68] + bytes(4) + good[72:],
                "newer": good[:60] + (99).to_bytes(4, "big") + good[64:],
                "cut": good[: len(good) // 2],
                "damaged": good[:4096] + bytes(0xA5 for _ in range(len(good) - 4096)),
            }[kind]
        )
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(package.ProfileError) as caught:
        package.open(path)
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    finished = heapline("stats", str(path))
    assert f"heapline: {caught.value}\n" == finished.stderr
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file(heapline):
    with pytest.raises(FileNotFoundError) as caught:
        package.open(heapline.folder / "nowhere.heapline")
    assert caught.value.filename == str(heapline.folder / "nowhere.heapline")


def test_a_missing_command(heapline, monkeypatch):
    path = handmade.write(heapline.folder / "hand.heapline")

    def none():
        raise FileNotFoundError("the heapline command is in none of ..")

    monkeypatch.setattr(reading, "binary", none)
    with pytest.raises(FileNotFoundError, match="heapline command"):
        package.open(path)


@pytest.mark.parametrize(
    "name",
    [
        "with blanks.heapline",
        "größe ☃.heapline",
        "-n.heapline",
        "new\nline",
        b"latin-1 \xfc".decode(errors="surrogateescape"),
    ],
    ids=ascii,
)
def test_any_name_of_a_file(heapline, monkeypatch, name):
    monkeypatch.chdir(heapline.folder)
    handmade.write(heapline.folder / "hand.heapline").rename(name)
    with package.open(name) as opened:
        assert opened.path == name
        assert opened.stats.peak_bytes == 42 * MB


def test_wrong_questions(heapline):
    opened = package.open(handmade.write(heapline.folder / "hand.heapline"))
    for question, words in [
        (lambda: opened.at(1.1), "past its end"),
        (lambda: opened.at(-1), "--at -1"),
        (lambda: opened.at("soon"), "--at soon"),
        (lambda: opened.between(0.8, 0.5), "after --at"),
        (lambda: opened.temporary(2000), "0 to 1024"),
        (lambda: opened.lines("nothing"), "no file or function"),
        (lambda: opened.only(pid=7).peak, "no process 7"),
        (lambda: opened.only(thread="nobody").peak, "no thread"),
        (lambda: opened.only(thread="MainThread").timeline, "--thread"),
        (lambda: opened.only(frames="native").peak, "no native frame"),
        (lambda: opened.only(frames="all of them"), "frames='all of them'"),
        (lambda: opened.report("sttas"), "sttas"),
    ]:
        with pytest.raises(ValueError, match=words):
            question()


def test_an_unfinished_recording_keeps_its_state(heapline):
    running = heapline.start("import time\nkept = []\nwhile True:\n    kept.append(bytes(100000)); time.sleep(0.01)\n")
    until = time.monotonic() + 30
    while not (running.path.exists() and running.path.stat().st_size) and time.monotonic() < until:
        time.sleep(0.05)
    opened = package.open(running.path)
    assert opened.stats.state == "running" and opened.stats.exit is None
    before = running.path.stat().st_ino
    while running.path.stat().st_ino == before and time.monotonic() < until:
        time.sleep(0.05)
    later = package.open(running.path)
    assert later.stats.allocated_bytes > opened.stats.allocated_bytes
    assert opened.peak.total_bytes == opened.stats.peak_bytes  # asked for only now, and of the same state
    assert opened.leaks.total_bytes == opened.stats.live_end_bytes
    running.path.unlink()
    assert opened.allocated.total_bytes == opened.stats.allocated_bytes
    running.kill()


# ----------------------------------------------------------------------------------------------- other forms, the cost


def test_pandas_and_arrow(heapline, python, known, profile):
    packages = python.packages("pandas", "pyarrow")
    if packages is None:
        pytest.skip("pandas and pyarrow cannot be had")
    path = os.pathsep.join(filter(None, [str(ROOT / "python"), packages.get("PYTHONPATH")]))
    program = textwrap.dedent("""
        import sys, heapline
        profile = heapline.open(sys.argv[1])
        for table in (profile.peak, profile.peak.by_line(), profile.lines(), profile.timeline, profile.timeline.marks,
                      profile.processes, profile.threads, profile.recordings, profile.at(0), profile.profiled.lines):
            frame, arrow = table.to_pandas(), table.to_arrow()
            assert len(frame) == len(arrow) == len(table)
            fields = list(frame.columns)
            assert fields == arrow.column_names
            for row, plain in zip(table, arrow.to_pylist()):
                for name, value in zip(fields, row):
                    if name == "stack":
                        value = [frame._asdict() for frame in value]
                    elif name == "labels":
                        value = list(value.items())
                    assert plain[name] == value, (name, value, plain)
            for name in fields:
                for a, b in zip(frame[name], (getattr(row, name) for row in table)):
                    assert a == b or b is None, (name, a, b)
        assert int(profile.peak.to_pandas()["bytes"].sum()) == profile.stats.peak_bytes
        assert profile.timeline.to_pandas()["rss_bytes"].dtype == "Int64"
        assert len(profile.profiled.to_pandas()) == len(profile.profiled.to_arrow()) == len(profile.profiled.lines)
        print("well")
    """)
    hand = heapline.profile(handmade.write(heapline.folder / "hand.heapline", profiled=True))
    for recorded in (known, profile, hand):
        ended = python.run("-c", program, str(recorded.path), env={**environment(heapline), "PYTHONPATH": path})
        assert ended.stdout == "well\n", ended.stderr


@SINCE
def test_import_is_cheap(heapline, each_python):
    program = textwrap.dedent("""
        import sys
        before = set(sys.modules)
        import heapline
        dear = {"json", "subprocess", "dataclasses", "typing", "importlib.metadata", "heapline.reading", "ctypes", "re",
                "threading", "shutil"}
        print(sorted(dear & (set(sys.modules) - before)))
        assert "open" in dir(heapline) and callable(heapline.open) and issubclass(heapline.ProfileError, Exception)
    """)
    ended = each_python.run("-c", program, env=environment(heapline))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[]\n"


def test_a_program_that_reads_profiles_is_checked_strictly(tmp_path):
    mypy = ROOT / "build" / "lint" / "bin" / "mypy"
    if not mypy.exists():
        pytest.skip("tools/lint.sh --style, which brings mypy, has not run")
    good = """
        import heapline

        profile: heapline.Profile = heapline.open("x")
        total: int = sum(row.bytes for row in profile.peak)
        names: list[str] = [frame.function for row in profile.between(1, 2.5)[:10] for frame in row.stack]
        rss: int | None = profile.timeline[-1].rss_bytes
        for line in profile.lines("main"):
            text: str | None = line.source
        site: str = profile.leaks.by_line()[0].file
        highest: int = max(line.highest_bytes for function in profile.profiled for line in function)
    """
    for text, status in [
        (good, 0),
        ('import heapline\nheapline.opne("x")\n', 1),
        ('import heapline\nx: str = heapline.open("x").peak[0].bytes\n', 1),
    ]:
        path = tmp_path / "reads.py"
        path.write_text(textwrap.dedent(text))
        ended = subprocess.run(
            [mypy, "--strict", "--python-version", "3.12", "--cache-dir", tmp_path / "cache", path],
            capture_output=True,
            text=True,
            env={**os.environ, "MYPYPATH": str(ROOT / "python")},
        )
        assert ended.returncode == status, ended.stdout
