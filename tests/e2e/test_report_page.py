"""`heapline report`: its numbers against SQL on the profile and against the other reports, whatever is folded; its page
against hostile names; its file against all that can go wrong. payload.py reads it, independently of the writer."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import handmade
import payload
import pytest
from pythons import ROOT

PAGE = Path(__file__).parent / "page"  # a script and a style of a few bytes
BIG = ROOT / "tests/tools/big_profile.py"
SUMS = (
    "allocations",
    "allocated",
    "frees",
    "freed",
    "live",
    "live_blocks",
    "peak",
    "peak_blocks",
    "tree_peak",
    "tree_peak_blocks",
)


def write_big(path, *options):
    subprocess.run([sys.executable, str(BIG), str(path), *options], check=True, stderr=subprocess.DEVNULL)
    return path


def report(heapline, profile, *options, name="report.html", expect=0):
    """The page's bytes."""
    path = heapline.folder / name
    finished = heapline("report", str(profile), "--bundle", str(PAGE), "-f", "-o", str(path), *options)
    assert finished.exit == expect, finished
    return path.read_bytes()


@pytest.fixture(params=["hand", "one", "tree", "native", "merged", "real"])
def profile(heapline, request):
    path = heapline.folder / f"{request.param}.heapline"
    if request.param == "hand":
        handmade.write(path)
    elif request.param == "native":
        write_big(path, "--nodes", "3000", "--ticks", "60", "--deep", "500", "--native")
    elif request.param == "real":
        return heapline.run(
            "import json\nkeep = [json.loads('[1, 2, 3, {\"a\": 4}]') for _ in range(4000)]\ndel keep[::2]\n"
        )
    elif request.param == "merged":
        parts = [heapline.folder / f"part{i}.heapline" for i in range(2)]
        for i, part in enumerate(parts):
            tool = [heapline.tool("make_profile"), part, f"seed={i + 7}", "processes=2"]
            subprocess.run(tool, check=True, stdout=subprocess.DEVNULL)
            database = sqlite3.connect(part)
            database.execute("UPDATE meta SET value = ? WHERE key = 'host'", (f"host{i}",))
            database.commit()
            database.close()
        assert heapline("merge", "-o", str(path), *map(str, parts)).exit == 0
    else:
        options = [] if request.param == "one" else ["processes=3", "threads=2", "folded=1", "end=oom"]
        subprocess.run([heapline.tool("make_profile"), path, *options], check=True, stdout=subprocess.DEVNULL)
    return heapline.profile(path)


# ------------------------------------------------------------------------------------------------------ both as dicts


def of_sql(profile):
    """Sums of stat rows and cells by stack (as the frames on it), process, thread, allocator; from the database alone."""
    frames = {
        row["id"]: row
        for row in profile.sql(
            """SELECT frame.id, frame.line, end_line, col, end_col, caller, function.name, function.first_line, file.path, object.path AS module
            FROM frame LEFT JOIN function ON function.id = frame.function LEFT JOIN file ON file.id = function.file
            LEFT JOIN file object ON object.id = frame.module"""
        )
    }

    def one(frame):
        row = frames[frame]
        path, name = row["path"], row["name"]
        if path == "<heapline>" or (path[:1] in "[(" and path == name):
            path = None
        return (name, row["first_line"], path, row["line"], row["end_line"], row["col"], row["end_col"], row["module"])

    stacks = {}
    for row in profile.sql("SELECT id, parent, frame, kind FROM stack ORDER BY id"):
        if row["id"] == 0:
            stacks[0] = ()
            continue
        chain, frame = [], row["frame"]
        while frame is not None:  # calls inlined into one another, the innermost first
            chain.append((row["kind"], one(frame)))
            frame = frames[frame]["caller"] if frames[frame]["module"] is not None else None
        stacks[row["id"]] = (*stacks[row["parent"]], *(reversed(chain) if chain else [(row["kind"], None)]))
    keys, sums, cells = {}, defaultdict(Counter), defaultdict(Counter)
    for row in profile.sql(
        "SELECT stat.*, allocator.name AS allocator_name FROM stat JOIN allocator ON allocator.id = stat.allocator"
    ):
        key = keys[row["id"]] = (stacks[row["stack"]], row["process"], row["thread"], row["allocator_name"])
        for name in SUMS:
            sums[key][name] += row[name]
        sums[key]["largest"] = max(sums[key]["largest"], row["largest"])
        numbers = list(payload.varints(row["temporary"] or b""))
        for bucket, (count, size) in enumerate(zip(numbers[::2], numbers[1::2], strict=True)):
            sums[key][f"temporary_{bucket}_count"] += count
            sums[key][f"temporary_{bucket}_bytes"] += size
    for row in profile.sql("SELECT * FROM cell_row"):
        at = (row["born"], row["lived"])
        cells[keys[row["stat"]]][(*at, "blocks")] += row["blocks"]
        cells[keys[row["stat"]]][(*at, "bytes")] += row["bytes"]
    return sums, cells


def paths_of(page):
    """Of each stack the frames on it, or None in place of what is below an (other)."""
    frame, function, file, strings = page.table["frame"], page.table["function"], page.table["file"], page.strings

    def one(row):
        at = frame["function"][row]
        own = function["file"][at]
        path = None if own is None else strings[file["path"][own]]
        module = frame["module"][row]
        return (
            strings[function["name"][at]],
            function["first_line"][at],
            path,
            frame["line"][row],
            *(frame[name][row] for name in ("end_line", "col", "end_col")),
            strings[file["path"][module - 1]] if module else None,
        )

    stack, paths = page.table["stack"], [()]
    for row in range(1, page.rows["stack"]):
        kind, of = stack["kind"][row], stack["frame"][row]
        assert stack["parent"][row] < row
        paths.append((*paths[stack["parent"][row]], (kind, one(of - 1) if of else None)))
    return paths


def ids_of(profile, table):
    return [row["id"] for row in profile.sql(f"SELECT id FROM {table} ORDER BY id")]


def of_page(page, profile):
    paths, sums, cells, keys = paths_of(page), defaultdict(Counter), defaultdict(Counter), []
    processes, threads = ids_of(profile, "process"), ids_of(profile, "thread")
    of = page.table["stat"]
    for row in range(page.rows["stat"]):
        thread = of["thread"][row]
        key = (
            paths[of["stack"][row]],
            processes[of["process"][row]],
            None if thread is None else threads[thread],
            page.meta["allocators"][of["allocator"][row]],
        )
        assert key not in sums
        keys.append(key)
        for name, values in of.items():
            if name not in ("stack", "process", "thread", "allocator"):
                sums[key][name] = values[row]
    of = page.table["cell"]
    for stat_row, born, lived, blocks, size in zip(
        *(of[name] for name in ("stat", "born", "lived", "blocks", "bytes")), strict=True
    ):
        assert (born, lived, "blocks") not in cells[keys[stat_row]]
        cells[keys[stat_row]][(born, lived, "blocks")] = blocks
        cells[keys[stat_row]][(born, lived, "bytes")] = size
    return sums, cells


def plain(counters):
    """Without zeros, which are a matter of form."""
    return {key: {name: value for name, value in counter.items() if value} for key, counter in counters.items()}


# ------------------------------------------------------------------------------------------------------- whole profiles


def test_every_table_is_that_of_the_profile(heapline, profile):
    page = payload.read(report(heapline, profile.path))["data"]
    sums, cells = of_sql(profile)
    page_sums, page_cells = of_page(page, profile)
    assert plain(page_sums) == plain(sums)
    assert plain(page_cells) == plain(cells)
    assert page.meta["budget"]["folded_nodes"] == 0
    ticks = profile.sql(
        """SELECT process, tick, heap, heap_low, heap_high, arena, rss, rss_anon, rss_file, rss_shmem, pss,
        (SELECT resident FROM pool_tick p WHERE p.process = tick.process AND p.tick = tick.tick AND EXISTS (SELECT 1 FROM pool))
        FROM tick ORDER BY process, tick"""
    )
    processes = ids_of(profile, "process")
    of = page.table["tick"]
    names = ("tick", "heap", "low", "high", "arena", "rss", "rss_anon", "rss_file", "rss_shmem", "pss", "pool")
    rows = list(zip([processes[row] for row in of["process"]], *(of[name] for name in names), strict=True))
    assert rows == [tuple(row) for row in ticks]
    assert page.meta["tick_ns"] == profile.value("SELECT value FROM meta WHERE key = 'tick_ns'")


def test_meta_is_that_of_the_profile(heapline, profile):
    meta = payload.read(report(heapline, profile.path))["data"].meta
    processes, threads = ids_of(profile, "process"), ids_of(profile, "thread")
    assert len(meta["processes"]) == len(processes) and len(meta["threads"]) == len(threads)
    for mine, row in zip(meta["processes"], profile.sql("SELECT * FROM process ORDER BY id"), strict=True):
        assert mine["parent"] == (None if row["parent"] is None else processes.index(row["parent"]))
        for name in (
            "pid",
            "command",
            "executable",
            "python",
            "recorded",
            "reason",
            "born_by",
            "ended",
            "start_ns",
            "allocations",
            "allocated",
            "live",
            "peak",
            "peak_ns",
        ):
            assert mine[name] == row[name], name
    for mine, row in zip(
        meta["threads"],
        profile.sql("SELECT * FROM thread LEFT JOIN thread_region ON thread = id ORDER BY id"),
        strict=True,
    ):
        assert (processes[mine["process"]], mine["name"], mine["threads"]) == (
            row["process"],
            row["name"],
            row["threads"],
        )
        assert (mine["tid"], mine["region"], threads[mine["base"]]) == (
            row["tid"] or None,
            row["region"],
            row["base"] or row["id"],
        )
    marks = [tuple(row) for row in profile.sql("SELECT time_ns, process, kind, name FROM mark ORDER BY time_ns, rowid")]
    assert [
        (m["time_ns"], None if m["process"] is None else processes[m["process"]], m["kind"], m["name"])
        for m in meta["marks"]
    ] == marks
    mappings = {(row["process"], row["class"], row["peak"]) for row in profile.sql("SELECT * FROM mapping")}
    assert {(processes[m["process"]], m["class"], m["peak"]) for m in meta["mappings"]} == mappings
    assert [n["text"] for n in meta["notes"]] == [
        row["text"] for row in profile.sql("SELECT text FROM note ORDER BY id")
    ]
    assert [a["name"] for a in profile.sql("SELECT name FROM allocator ORDER BY id")] == meta["allocators"][:-1]


def test_lines_of_profiled_functions_are_there(heapline):
    program = heapline.folder / "app.py"
    program.write_text(
        "def work(n):\n    keep = [bytearray(n) for _ in range(9)]\n    del keep[1:]\n    return keep\n\nfor i in range(3):\n    work(10_000)\n"
    )
    recorded = heapline.run(program, options=["--lines", "app:work"])
    page = payload.read(report(heapline, recorded.path))["data"]
    functions, lines = page.table["line_function"], page.table["line_profile"]
    names = ("line", "hits", "allocated", "freed", "allocations", "highest", "temporary", "largest", "rss")
    rows = recorded.sql(f"SELECT function, {', '.join(names)} FROM line_profile ORDER BY function, line")
    ids = ids_of(recorded, "line_function")
    assert (
        [tuple(row) for row in rows]
        == list(zip([ids[f] for f in lines["function"]], *(lines[name] for name in names), strict=True))
        != []
    )
    assert [page.strings[name] for name in functions["name"]] == ["work"]
    assert page.strings[page.table["file"]["path"][functions["file"][0]]].endswith("app.py")
    assert (functions["process"], functions["first_line"], functions["last_line"]) == ([0], [1], [4])


def check_totals(page, profile):
    stats, totals = profile.stats(), page.meta["totals"]
    for name in totals:
        if name == "peak_ns":
            assert totals[name] // 1000 == round(stats["peak_time_s"] * 1e6)
        elif name != "peak_seen_bytes":
            assert totals[name] == stats[name], name
    moments = {m["moment"]: m for m in page.meta["moments"]}
    for moment, option in [
        ("peak", []),
        ("end", ["--at", "end"]),
        ("leaks", ["--leaks"]),
        ("allocated", ["--allocated"]),
        ("temporary", ["--temporary"]),
    ]:
        table = profile.json("table", "-n", "1", *option)
        assert (moments[moment]["bytes"], moments[moment]["count"]) == (table["total_bytes"], table["total_count"]), (
            moment
        )
        assert table["exact"]
    peak = "tree_peak" if page.meta["recorded_processes"] > 1 else "peak"
    for name, blocks, moment in [
        (peak, peak + "_blocks", "peak"),
        ("live", "live_blocks", "end"),
        ("allocated", "allocations", "allocated"),
    ]:
        assert sum(page.column("stat", name)) == moments[moment]["bytes"]
        assert sum(page.column("stat", blocks)) == moments[moment]["count"]
    within = [sum(page.column("stat", f"temporary_{i}_{what}")) for what in ("bytes", "count") for i in (0, 1)]
    assert (sum(within[:2]), sum(within[2:])) == (moments["temporary"]["bytes"], moments["temporary"]["count"])
    assert (
        " ".join(page.meta["verdict"]).startswith(page.meta["verdict"][0])
        and stats["verdict"] in page.meta["verdict"][0]
    )


def test_totals_are_those_of_stats(heapline, profile):
    check_totals(payload.read(report(heapline, profile.path))["data"], profile)


def by_line(page, bytes_name, blocks_name, leaf):
    """As `heapline table` has it: by the line that a stack is charged to."""
    stack, site, function, strings = page.table["stack"], page.table["site"], page.table["function"], page.strings
    yours = [0] * page.rows["stack"]
    own = [0] * page.rows["stack"]
    for row in range(page.rows["stack"]):
        yours[row] = stack["yours"][row] - 1 if stack["yours"][row] else yours[stack["parent"][row]]
        frame = stack["frame"][row]
        own[row] = (
            stack["leaf"][row] - 1 if stack["leaf"][row] else page.table["frame"]["site"][frame - 1] if frame else -1
        )
    sums = defaultdict(lambda: [0, 0])
    of = page.table["stat"]
    for row in range(page.rows["stat"]):
        at = (own if leaf else yours)[of["stack"][row]]
        kind, fn = site["kind"][at], site["function"][at]
        name = {0: "(no Python)", 1: "(interpreter start-up)", 3: "(deeper)"}.get(kind) or strings[
            function["name"][fn - 1]
        ]
        file = function["file"][fn - 1] if fn else None
        key = (name, "" if file is None else strings[page.table["file"]["path"][file]], site["line"][at])
        sums[key][0] += of[bytes_name][row]
        sums[key][1] += of[blocks_name][row]
    return {key: tuple(value) for key, value in sums.items() if any(value)}


@pytest.mark.parametrize("leaf", [False, True])
@pytest.mark.parametrize("moment", ["peak", "end", "allocated"])
def test_lines_are_those_of_the_table(heapline, profile, leaf, moment):
    page = payload.read(report(heapline, profile.path))["data"]
    peak = "tree_peak" if page.meta["recorded_processes"] > 1 else "peak"
    names = {
        "peak": (peak, peak + "_blocks"),
        "end": ("live", "live_blocks"),
        "allocated": ("allocated", "allocations"),
    }[moment]
    option = ["--allocated"] if moment == "allocated" else ["--at", moment]
    sums = defaultdict(lambda: [0, 0])
    for row in profile.table(*option, *(["--leaf"] if leaf else [])):
        key = (row["function"], row.get("file") or "", row.get("line") or 0)
        sums[key][0] += row["bytes"]
        sums[key][1] += row["count"]
    if page.meta["native_only"]:
        pytest.skip("other words")
    assert by_line(page, *names, leaf) == {key: tuple(value) for key, value in sums.items()}


def test_source_text_is_that_of_the_profile(heapline):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "500", "--ticks", "20")
    page = payload.read(report(heapline, path))["data"]
    texts = {
        row["path"]: zlib.decompress(row["source"])
        for row in heapline.profile(path).sql("SELECT path, source FROM file WHERE source IS NOT NULL")
    }
    file = page.table["file"]
    mine = {page.strings[p]: page.sources[s - 1] for p, s in zip(file["path"], file["source"], strict=True) if s}
    assert mine == texts
    without = payload.read(report(heapline, path, "--no-source"))["data"]
    assert without.sources == [] and not any(without.column("file", "source"))


@pytest.mark.parametrize("text", [b"x = 1", b"x = 1\n", b"\n", b"a\r\nb", b"a\n\n", b"\xff\xfe"])
def test_source_text_is_kept_as_it_was(heapline, text):
    path = handmade.write(heapline.folder / "p.heapline", source=text)
    assert payload.read(report(heapline, path))["data"].sources == [text]


@pytest.mark.parametrize(
    ("name", "there"),
    [("module.py", True), ("fast.c", True), ("passwords.txt", False), ("id_rsa", False), (".py", True)],
)
def test_only_source_is_read_from_the_disk(heapline, name, there):
    file = heapline.folder / name
    file.write_text("text of it\n")
    os.utime(file, (1, 1))
    path = handmade.write(
        heapline.folder / "p.heapline", names={"app.py": str(file)}, source=None, meta={"start_unix_ns": 10**18}
    )
    assert payload.read(report(heapline, path))["data"].sources == ([b"text of it\n"] if there else [])


def test_private_source_is_left_out_and_said(heapline):
    program = heapline.folder / "secret.py"
    program.write_text("keep = [bytearray(1000) for _ in range(100)]\n")
    program.chmod(0o600)
    recorded = heapline.run(program)
    assert recorded.value("SELECT count(*) FROM file WHERE source IS NOT NULL AND path LIKE '%secret.py'") == 1
    finished = heapline("report", str(recorded.path), "--bundle", str(PAGE))
    assert "others may not read" in finished.stderr
    page = payload.read(recorded.path.with_suffix(".html").read_bytes())["data"]
    assert not any(b"bytearray" in text for text in page.sources) and page.meta["sources_left_out"]["private"] == 1
    page = payload.read(report(heapline, recorded.path, "--private-source"))["data"]
    assert any(b"bytearray" in text for text in page.sources)
    program.chmod(0o644)
    page = payload.read(report(heapline, recorded.path))["data"]
    assert any(b"bytearray" in text for text in page.sources)


def test_recorded_without_source_has_none(heapline):
    program = heapline.folder / "plain.py"
    program.write_text("keep = [bytearray(1000) for _ in range(100)]\n")
    recorded = heapline.run(program, options=["--no-source"])
    assert payload.read(report(heapline, recorded.path))["data"].sources == []


# ------------------------------------------------------------------------------------------------------------ folding


def folded_sums(sums, kept):
    """Sums of rows whose stack is not kept moved to an (other) below the nearest kept caller."""
    folded = defaultdict(Counter)
    for (stack, *rest), counter in sums.items():
        near = stack
        while near not in kept:
            near = near[:-1]
        key = (stack if near == stack else (*near, (5, None)), *rest)
        for name, value in counter.items():
            folded[key][name] = max(folded[key][name], value) if name == "largest" else folded[key][name] + value
    return folded


@pytest.mark.parametrize("budget", [60_000, 100_000, 150_000])
@pytest.mark.parametrize("shape", [[], ["--native", "--deep", "600"], ["--processes", "1"]])
def test_folding_keeps_every_sum(heapline, budget, shape):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "20000", "--ticks", "200", *shape)
    text = report(heapline, path, "--budget", str(budget))
    assert budget * 0.5 < len(text) <= budget
    profile, page = heapline.profile(path), payload.read(text)["data"]
    check_totals(page, profile)
    assert 0 < page.meta["budget"]["folded_nodes"] < 23000 and page.meta["budget"]["folded_share_most"] < 1
    sums, cells = of_sql(profile)
    page_sums, page_cells = of_page(page, profile)
    kept = {path for path in paths_of(page) if not path or path[-1][0] != 5}
    assert plain(page_sums) == plain(folded_sums(sums, kept))
    if page.meta["cell_tick_ns"] == profile.value("SELECT value FROM meta WHERE key = 'cell_tick_ns'"):
        assert plain(page_cells) == plain(folded_sums(cells, kept))
    assert sum(page.column("tick", "heap")) > 0
    # No folded node is heavier than it says, by the peak.
    weight = Counter()
    for (stack, *_), counter in sums.items():
        name = "tree_peak" if page.meta["recorded_processes"] > 1 else "peak"
        for depth in range(len(stack) + 1) if counter[name] else ():
            weight[stack[:depth]] += counter[name]
    most = max((value for stack, value in weight.items() if stack not in kept), default=0)
    assert most == page.meta["budget"]["folded_bytes_most"]
    assert most <= page.meta["budget"]["folded_share_most"] * weight[()] * 1.000001 + 1


def alive(cells, tick):
    total = Counter()
    for (_, process, thread, allocator), counter in cells.items():
        for (born, lived, what), value in counter.items():
            if born < tick and (not lived or born + lived >= tick):
                total[process, thread, allocator, what] += value
    return total


def test_longer_ticks_of_cells_stay_exact_at_their_ends(heapline):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "15000", "--ticks", "256")
    text = report(heapline, path, "--budget", "60kB", "--no-source")
    assert len(text) <= 60_000
    profile, page = heapline.profile(path), payload.read(text)["data"]
    factor = page.meta["cell_tick_ns"] // profile.value("SELECT value FROM meta WHERE key = 'cell_tick_ns'")
    assert factor > 1, "the test is about this"
    cells, page_cells = of_sql(profile)[1], of_page(page, profile)[1]
    for tick in range(0, 256 // factor + 1, 3):
        assert alive(page_cells, tick) == alive(cells, tick * factor)
    check_totals(page, profile)


def test_many_processes_have_coarser_ticks(heapline):
    path = handmade.write(heapline.folder / "p.heapline")
    database = sqlite3.connect(path)
    for tick in range(100, 40000):
        database.execute(
            "INSERT INTO tick VALUES (1, ?, ?, ?, ?, 0, ?, NULL, NULL, NULL, NULL)",
            (tick, tick * 1000, tick * 500, tick * 2000, tick if tick % 3 else None),
        )
    database.commit()
    database.close()
    page = payload.read(report(heapline, path, "--budget", "100kB"))["data"]
    factor = page.meta["tick_ns"] // 10_000_000
    assert factor > 1 and factor & (factor - 1) == 0
    expected = {}
    for row in heapline.profile(path).sql("SELECT * FROM tick ORDER BY tick"):
        low, high, _, rss = expected.get(row["tick"] // factor, (1 << 60, 0, 0, None))
        rss = max((r for r in (rss, row["rss"]) if r is not None), default=None)
        expected[row["tick"] // factor] = (min(low, row["heap_low"]), max(high, row["heap_high"]), row["heap"], rss)
    of = page.table["tick"]
    assert (
        dict(zip(of["tick"], zip(of["low"], of["high"], of["heap"], of["rss"], strict=True), strict=True)) == expected
    )


@pytest.mark.parametrize("budget", ["30kB", "50kB", "80kB", "123456", "2MB"])
def test_the_file_is_never_larger_than_its_budget(heapline, budget):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "20000", "--ticks", "100", "--hostile")
    finished = heapline("report", str(path), "--bundle", str(PAGE), "-f", "-o", "x.html", "--budget", budget)
    size = int(budget.replace("kB", "000").replace("MB", "000000"))
    if finished.exit == 0:
        assert (heapline.folder / "x.html").stat().st_size <= size
    else:
        assert finished.exit == 2 and "--budget" in finished.stderr and not (heapline.folder / "x.html").exists()
        assert size < 80_000


def test_without_a_budget_nothing_is_folded(heapline):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "20000", "--ticks", "100", "--deep", "10000")
    page = payload.read(report(heapline, path, "--budget", "0"))["data"]
    assert page.meta["budget"]["folded_nodes"] == 0
    assert page.rows["stack"] == heapline.profile(path).value("SELECT count(*) FROM stack")


# ---------------------------------------------------------------------------------------------------------- the page


class Parts(html.parser.HTMLParser):
    """Elements, and the text of each."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.comments = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def handle_comment(self, data):
        self.comments.append(data)

    def of(self, tag):
        return [element for element in self.elements if element[0] == tag]


ELEMENTS = [
    "html",
    "head",
    "meta",
    "meta",
    "meta",
    "meta",
    "meta",
    "meta",
    "title",
    "style",
    "body",
    "div",
    "pre",
    "noscript",
    "p",
    "script",
    "script",
]


def check_page(text, scripts=2):
    parts = Parts(text.decode("utf-8"))
    tags = [element[0] for element in parts.elements]
    assert tags == ELEMENTS + ["script"] * (scripts - 2)
    for tag, attributes, _ in parts.elements:
        allowed = {
            "html": {"lang"}, "meta": {"charset", "http-equiv", "content", "name"}, "body": {"data-view", "data-state"},
            "div": {"id"}, "pre": {"id"}, "script": {"type", "id"},
        }.get(tag, set())  # fmt: skip
        assert set(attributes) <= allowed, (tag, attributes)
    policy = next(a["content"] for _, a, _ in parts.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy and "http" not in policy
    script = parts.of("script")[-1]
    assert (
        script[1] == {}
        and rules["script-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(script[2].encode()).digest()).decode()}'"
    )
    style = parts.of("style")[0]
    assert rules["style-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(style[2].encode()).digest()).decode()}'"
    for _, attributes, data in parts.of("script")[:-1]:
        assert attributes["type"] == "application/octet-stream" and re.fullmatch("[A-Za-z0-9+/]+={0,2}", data)
    assert not re.search(rb"(src|href)\s*=|https?://|@import|url\(", text)
    return parts


def test_the_page_is_what_it_says(heapline, profile):
    text = report(heapline, profile.path)
    parts = check_page(text)
    assert (
        parts.of("script")[-1][2] == (PAGE / "viewer.js").read_text()
        and parts.of("style")[0][2] == (PAGE / "viewer.css").read_text()
    )
    stats = profile.stats()
    assert stats["verdict"] in parts.of("pre")[0][2]
    assert parts.of("title")[0][2] == payload.read(text)["data"].meta["title"]
    size = re.search(r"(peak|add up to) ([0-9.]+ [kMG]?B)", parts.of("title")[0][2])
    assert size and size.group(2) in parts.of("pre")[0][2]
    assert parts.of("body")[0][1] == {"data-view": "overview", "data-state": ""}


def test_hostile_names_stay_text(heapline):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "800", "--ticks", "20", "--hostile", "--native")
    parts = check_page(report(heapline, path))
    assert "<script>" in parts.of("title")[0][2] and "broken" in parts.of("pre")[0][2]
    page = payload.read(report(heapline, path))["data"]
    names = {
        row["name"]
        for row in heapline.profile(path).sql(
            "SELECT name FROM function JOIN frame ON frame.function = function.id JOIN stack ON stack.frame = frame.id"
        )
    }
    assert names <= {page.strings[name] for name in page.table["function"]["name"]}
    assert any(b"\xff\xfe broken" in text for text in page.sources)


EVIL = [
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    '" onload="alert(1)',
    "' onclick='alert(1)",
    "--><script>alert(1)</script><!--",
    "&lt;/script&gt;&#60;script&#62;",
    "\u2028\u2029\u202e\x00\x08\x1b[2J",
    "<!--<script>",
    "]]>",
    "\ud800".encode("utf-8", "surrogatepass"),
    b"\xff\xfe\xc3(\xf0\x9f",
    "{{constructor.constructor('alert(1)')()}}",
]


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_nothing_breaks_out(heapline, evil):
    as_text = evil.decode("utf-8", "surrogateescape") if isinstance(evil, bytes) else evil
    path = handmade.write(heapline.folder / "p.heapline")
    database = sqlite3.connect(path)
    # SQLite takes any bytes as text.
    raw = (evil if isinstance(evil, bytes) else evil.encode()).replace(b"\0", b"")
    for table, column in [
        ("function", "name"),
        ("file", "path"),
        ("process", "command"),
        ("process", "reason"),
        ("process", "ended"),
        ("thread", "name"),
        ("allocator", "name"),
    ]:
        database.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT){' || id' if column == 'path' else ''}", (raw,))
    for key in ("command", "directory", "host", "options", "heapline", "state", "oom_scope"):
        database.execute("INSERT OR REPLACE INTO meta VALUES (?, CAST(? AS TEXT))", (key, raw))
    database.execute("INSERT INTO mark VALUES (5, 1, CAST(? AS TEXT), CAST(? AS TEXT))", (raw, raw))
    database.execute("INSERT INTO note VALUES (9, 1, CAST(? AS TEXT))", (raw,))
    database.execute(
        "UPDATE file SET source = ?, source_bytes = ? WHERE id = 1", (zlib.compress(raw + b"\n"), len(raw) + 1)
    )
    database.commit()
    database.close()
    text = report(heapline, path)
    check_page(text)
    page = payload.read(text)["data"]
    repaired = raw.decode("utf-8", "replace")
    if isinstance(evil, str):
        assert repaired in page.strings and as_text.replace("\0", "") == page.meta["processes"][0]["command"]
    else:
        assert any("\ufffd" in text for text in page.strings)


def test_the_old_profile_comes_along(heapline):
    old, new = (
        write_big(heapline.folder / f"{name}.heapline", "--nodes", nodes, "--ticks", "50")
        for name, nodes in [("old", "3000"), ("new", "4000")]
    )
    text = report(heapline, new, "--compare", str(old))
    check_page(text, scripts=3)
    both = payload.read(text)
    assert payload.read(report(heapline, old))["data"].table == both["old"].table
    assert payload.read(report(heapline, new))["data"].table == both["data"].table
    match = both["data"].meta["match"]
    assert len(match) == both["old"].rows["frame"] and "match" not in both["old"].meta
    names = {}
    for name, page in both.items():
        frame, function = page.table["frame"], page.table["function"]
        names[name] = [
            (page.strings[function["name"][f]], page.strings[page.table["file"]["path"][function["file"][f]]])
            for f in frame["function"]
        ]
    found = [(was, at) for was, at in enumerate(match) if at >= 0]
    assert len(found) > 0.9 * len(match)
    assert all(names["old"][was] == names["data"][at] for was, at in found)


BEFORE = """
def load(n):
    keep = []
    keep.append(bytearray(n)); keep.append(bytearray(n + 1))
    gone = bytearray(n)
    return keep

kept = load(100_000)
"""
AFTER = """
# a new line
import json

def load(n):
    # another
    keep = []
    keep.append(bytearray(n)); keep.append(bytearray(n + 1))
    fresh = bytearray(3 * n)
    return keep, fresh

kept = load(100_000)
"""


def test_lines_are_matched_across_edits_as_diff_matches_them(heapline):
    program = heapline.folder / "app.py"
    program.write_text(BEFORE)
    old = heapline.run(program)
    program.write_text(AFTER)
    new = heapline.run(program)
    both = payload.read(report(heapline, new.path, "--compare", str(old.path)))

    def lines(page):
        frame, function, file = page.table["frame"], page.table["function"], page.table["file"]
        return [
            (page.strings[function["name"][f]], line, col)
            if page.strings[file["path"][function["file"][f]]].endswith("app.py")
            else None
            for f, line, col in zip(frame["function"], frame["line"], frame["col"], strict=True)
        ]

    was, now = lines(both["old"]), lines(both["data"])
    pairs = {was[i]: now[at] if at >= 0 else None for i, at in enumerate(both["data"].meta["match"]) if was[i]}
    appends = {line: at for line, at in pairs.items() if line[0] == "load" and line[1] == 4}
    assert len(appends) >= 1 and all(at and at[1] == 8 and at[2] == line[2] for line, at in appends.items())
    assert [at for line, at in pairs.items() if line[1] == 5] == [None]
    assert {at[1] for line, at in pairs.items() if line[0] == "<module>" and line[1] == 8 and at} == {12}


def test_a_comparison_keeps_the_budget(heapline):
    old, new = (
        write_big(heapline.folder / f"{seed}.heapline", "--nodes", "40000", "--ticks", "100", "--seed", seed)
        for seed in "12"
    )
    text = report(heapline, new, "--compare", str(old), "--budget", "500kB")
    assert 250_000 < len(text) <= 500_000
    for name, path in [("data", new), ("old", old)]:
        check_totals(payload.read(text)[name], heapline.profile(path))


@pytest.mark.parametrize(
    ("words", "view", "state"),
    [
        (["flamegraph"], "flame", ""),
        (["table"], "table", "view=table"),
        (["table", "--leaks", "--leaf"], "table", "view=table&at=end&leaf=1"),
        (["table", "--temporary", "16", "--pid", "100"], "table", "view=table&at=temporary&within=16&process=0"),
        (["table", "--at", "0.5s"], "table", "view=table&at=range&show=alive&from=0.000000000&to=0.500000000"),
        (["timeline"], "timeline", "view=timeline"),
        (["lines"], "source", "view=source"),
        (["profiled"], "lines", "view=lines"),
    ],
)
def test_other_commands_open_the_page_at_their_view(heapline, words, view, state):
    path = handmade.write(heapline.folder / "p.heapline")
    bundle = ["--bundle", str(PAGE)] if words[0] == "flamegraph" else []
    finished = heapline(*words, str(path), "-o", "x.html", *bundle)
    if finished.exit == 125 and not bundle:
        pytest.skip("built without the page")
    assert finished.exit == 0, finished
    text = (heapline.folder / "x.html").read_bytes()
    assert f'<body data-view="{view}" data-state="{state.replace("&", "&#38;")}">'.encode() in text
    assert payload.read(text)["data"].table == payload.read(report(heapline, path))["data"].table


# ----------------------------------------------------------------------------------------------------------- the file


def test_the_page_lies_beside_the_profile(heapline):
    folder = heapline.folder / "a folder"
    folder.mkdir()
    path = handmade.write(folder / "app.12.heapline")
    finished = heapline("report", "a folder/app.12.heapline", "--bundle", str(PAGE))
    assert finished.exit == 0 and finished.stderr == "", finished
    assert (folder / "app.12.html").exists() and "app.12.html" in finished.stdout
    path.rename(folder / "odd name")
    assert heapline("report", "a folder/odd name", "--bundle", str(PAGE)).exit == 0
    assert (folder / "odd name.html").exists()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((folder / "app.12.html").stat().st_mode) == 0o666 & ~mask


def test_a_file_that_is_there_stays(heapline):
    path = handmade.write(heapline.folder / "p.heapline")
    other = heapline.folder / "x.html"
    other.write_text("mine")
    finished = heapline("report", str(path), "--bundle", str(PAGE), "-o", "x.html")
    assert finished.exit == 2 and "exists already" in finished.stderr and other.read_text() == "mine"
    link = heapline.folder / "link.html"
    link.symlink_to(other)
    assert heapline("report", str(path), "--bundle", str(PAGE), "-o", "link.html", "-f").exit == 0
    assert link.is_symlink() and b"heapline-data" in other.read_bytes()


def test_stdout(heapline):
    path = handmade.write(heapline.folder / "p.heapline")
    finished = heapline("report", str(path), "--bundle", str(PAGE), "-o", "-")
    assert finished.exit == 0 and finished.stdout.encode() == report(heapline, path)
    full = subprocess.run(
        [heapline.binary, "report", path, "--bundle", PAGE, "-o", "-"],
        stdout=open("/dev/full", "wb"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert full.returncode == 3 and "no space left" in full.stderr.lower()
    early = subprocess.Popen(
        [heapline.binary, "report", path, "--bundle", PAGE, "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    early.stdout.close()
    assert early.wait() == 0 and early.stderr.read() == b""


def test_a_full_disk_leaves_what_was_there(heapline):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "5000", "--ticks", "50")
    old = heapline.folder / "x.html"
    old.write_text("the old one")

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [heapline.binary, "report", path, "--bundle", PAGE, "-o", old, "-f"]
    finished = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert finished.returncode == 3 and "x.html" in finished.stderr and "cannot be written" in finished.stderr
    assert old.read_text() == "the old one"
    assert sorted(p.name for p in heapline.folder.iterdir()) == ["p.heapline", "x.html"]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 2, "which profile"),
        (["p.heapline", "q.heapline"], 2, "one profile at a time"),
        (["missing.heapline"], 3, "missing.heapline"),
        (["text.heapline"], 3, "not a heapline profile"),
        (["p.heapline", "-o", "nowhere/x.html"], 2, "does not exist"),
        (["p.heapline", "-o", "."], 2, ""),
        (["p.heapline", "-o", ""], 2, "missing"),
        (["p.heapline", "-o", "/dev/null"], 2, "not a regular file"),
        (["p.heapline", "--budget", "many"], 2, "--budget"),
        (["p.heapline", "--budget", "20kB", "-o", "x.html"], 2, "--budget"),
        (["p.heapline", "--open", "-o", "-"], 2, "--open"),
        (["p.heapline", "--editor", "javascript:alert('{path}')"], 2, "--editor"),
        (["p.heapline", "--editor", "data:{path}"], 2, "--editor"),
        (["p.heapline", "--editor", "notepad"], 2, "--editor"),
        (["p.heapline", "--compare", "missing.heapline", "-o", "x.html"], 3, "missing.heapline"),
        (["p.heapline", "--no-source", "--private-source"], 2, "exclude"),
    ],
)
def test_mistakes(heapline, words, status, says):
    handmade.write(heapline.folder / "p.heapline")
    (heapline.folder / "text.heapline").write_text("hello\n" * 100)
    before = sorted(p.name for p in heapline.folder.iterdir())
    finished = heapline("report", *words, "--bundle", str(PAGE))
    if words[1:] == ["-o", "."]:  # a folder: the page gets a name in it
        return
    assert finished.exit == status and says in finished.stderr and finished.stderr.startswith("heapline"), finished
    assert sorted(p.name for p in heapline.folder.iterdir()) == before


@pytest.mark.parametrize(
    "words",
    [
        ["table", "--json", "-o", "x.html"],
        ["table", "-o", "x.csv"],
        ["timeline", "--csv", "-o", "x.html"],
        ["lines", "-f"],
    ],
)
def test_mistakes_of_the_other_commands(heapline, words):
    handmade.write(heapline.folder / "p.heapline")
    finished = heapline(words[0], "p.heapline", *words[1:])
    assert finished.exit == 2 and "-o" in finished.stderr, finished


@pytest.mark.parametrize(
    ("script", "word"),
    [("", "built without the page"), ("a</script>b", "damaged"), ("a<!--b", "damaged"), ("a\r\nb", "damaged")],
)
def test_a_bundle_that_cannot_be(heapline, script, word):
    bundle = heapline.folder / "bundle"
    bundle.mkdir()
    (bundle / "viewer.js").write_bytes(script.encode())
    (bundle / "viewer.css").write_text("a{}")
    handmade.write(heapline.folder / "p.heapline")
    finished = heapline("report", "p.heapline", "--bundle", str(bundle), "-o", "x.html")
    assert finished.exit == (3 if script else 125) and word in finished.stderr, finished
    assert not (heapline.folder / "x.html").exists()


def test_notices_stand_in_a_comment(heapline):
    bundle = heapline.folder / "bundle"
    bundle.mkdir()
    (bundle / "viewer.js").write_text("1")
    (bundle / "viewer.css").write_text("a{}")
    (bundle / "notices.txt").write_text("preact, MIT --> <script>alert(1)</script> --!> --\n")
    handmade.write(heapline.folder / "p.heapline")
    assert heapline("report", "p.heapline", "--bundle", str(bundle), "-o", "x.html").exit == 0
    parts = Parts((heapline.folder / "x.html").read_text())
    assert len(parts.comments) == 1 and "preact, MIT" in parts.comments[0]
    assert [element[0] for element in parts.elements] == ELEMENTS


def test_open(heapline):
    path = handmade.write(heapline.folder / "p.heapline")
    tools = heapline.folder / "bin"
    tools.mkdir()
    finished = heapline("report", str(path), "--bundle", str(PAGE), "--open", env={"PATH": str(tools)})
    assert finished.exit == 127 and "xdg-open is not installed" in finished.stderr and "p.html" in finished.stderr
    opener = tools / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$1" >{heapline.folder}/opened\n')
    opener.chmod(0o755)
    assert heapline("report", str(path), "--bundle", str(PAGE), "--open", "-f", env={"PATH": str(tools)}).exit == 0
    assert (heapline.folder / "opened").read_text().strip() == str(heapline.folder / "p.html")
    opener.write_text("#!/bin/sh\nexit 3\n")
    finished = heapline("report", str(path), "--bundle", str(PAGE), "--open", "-f", env={"PATH": str(tools)})
    assert finished.exit == 127 and "found no browser" in finished.stderr


def test_a_running_recording_can_be_looked_at(heapline):
    running = heapline.start(
        "import time\nkeep = bytearray(5_000_000)\ntime.sleep(60)\n",
        options=["--checkpoint", "100ms"] if checkpoint_option(heapline) else [],
    )
    for _ in range(300):
        if running.path.exists():
            break
        signal.sigtimedwait([], 0.1)
    page = payload.read(report(heapline, running.path))["data"]
    assert page.meta["running"] and "running" in page.meta["verdict"][0]
    running.kill()


def checkpoint_option(heapline):
    return "--checkpoint " in heapline("run", "--help").stdout


def test_two_reports_of_a_profile_are_equal(heapline, profile):
    assert report(heapline, profile.path) == report(heapline, profile.path)


def test_json_in_the_header_is_strict(heapline):
    path = write_big(heapline.folder / "p.heapline", "--nodes", "300", "--ticks", "20", "--hostile")
    data = zlib.decompress(payload.blobs(report(heapline, path))["data"], 31)

    def refuse(name):
        raise AssertionError(name)

    header = json.loads(data[8 : 8 + int.from_bytes(data[4:8], "little")], parse_constant=refuse)
    assert header["format"] == 1
