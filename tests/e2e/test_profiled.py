"""Functions profiled line by line: the report of known figures, and recordings of programs whose lines have known sums."""

from __future__ import annotations

import csv
import io
import json
import sqlite3

import handmade
import pytest
from handmade import MB


@pytest.fixture
def hand(heapline):
    return heapline.profile(handmade.write(heapline.folder / "hand.heapline", profiled=True))


def lines_of(profile, function, *options):
    """By line: the figures of one function."""
    found = [f for f in profile.json("profiled", *options)["functions"] if f["function"] == function]
    assert len(found) == 1, (function, found)
    return {line["line"]: line for line in found[0]["lines"]}


# ------------------------------------------------------------------------------------------------------ known figures

LOAD = {
    "hits": 3,
    "allocated_bytes": 40 * MB,
    "freed_bytes": 25 * MB,
    "net_bytes": 15 * MB,
    "allocations": 6,
    "highest_bytes": 30 * MB,
    "temporary_bytes": 5 * MB,
    "largest_bytes": 15 * MB,
    "rss_bytes": 60 * MB,
}


def test_json_has_every_promised_key(hand):
    report = hand.json("profiled")
    assert {key: report[key] for key in ("schema", "profile", "state")} == {
        "schema": "heapline.profiled/1",
        "profile": str(hand.path),
        "state": "finished",
    }
    main, load = report["functions"]
    assert load["function"] == "load" and load["file"] == "/home/u/app/app.py" and load["processes"] == 1
    assert (load["first_line"], load["last_line"]) == (4, 5)
    assert load["total"] == LOAD  # of both images
    zeros = {**dict.fromkeys(LOAD, 0), "rss_bytes": None}
    assert load["lines"] == [
        {"line": 4, **zeros, "source": "def load(path):"},
        {"line": 5, **LOAD, "source": "    return json.load(open(path))"},
    ]
    assert [(line["line"], line["net_bytes"]) for line in main["lines"]] == [(8, 0), (9, 10 * MB), (10, 15 * MB)]
    compact = hand.json("profiled", "--compact")["functions"]
    assert compact[1]["lines"] == [{"line": 5, **LOAD}]
    assert hand.json("stats")["profiled_functions"] == hand.json("summary")["profiled_functions"] == 2
    assert "2 functions were profiled line by line" in hand.text("stats")


def test_csv_says_the_same(hand):
    rows = list(csv.DictReader(io.StringIO(hand.text("profiled", "--csv"))))
    functions = hand.json("profiled")["functions"]
    assert len(rows) == sum(len(f["lines"]) for f in functions) == 5
    of_json = [(f["file"], f["function"], f["first_line"], line) for f in functions for line in f["lines"]]
    for row, (file, function, first_line, line) in zip(rows, of_json):
        assert (row["file"], row["function"], int(row["first_line"])) == (file, function, first_line)
        for key in ("line", "hits", "allocations"):
            assert int(row[key]) == line[key]
        for key in ("allocated", "freed", "net", "highest", "temporary", "largest"):
            assert int(row[key]) == line[key + "_bytes"]
        assert (int(row["rss"]) if row["rss"] else None) == line["rss_bytes"] and row["source"] == line["source"]


def test_text_fits_any_width(hand):
    for width in (40, 60, 80, 132):
        finished = hand.heapline("profiled", str(hand.path), env={"COLUMNS": str(width)})
        assert finished.exit == 0, finished
        table = [line for line in finished.stdout.split("\n") if "app.py" not in line]
        assert all(len(line) <= width for line in table), finished
    wide = finished.stdout.split("\n")
    (row,) = [line for line in wide if "json.load" in line]
    assert " ".join(row.split()).startswith("5 3 40.0 MB 25.0 MB 15.0 MB 30.0 MB 5.00 MB 15.0 MB 60.0 MB return")
    assert "load  app.py:4" in finished.stdout
    (unrun,) = [line for line in wide if "def load" in line]
    assert unrun.split() == ["4", "def", "load(path):"]


def test_order_of_functions(hand):
    def order(*options):
        return [f["function"] for f in hand.json("profiled", *options)["functions"]]

    assert order() == ["main", "load"] and order("--sort", "place") == ["load", "main"]
    assert order("--sort", "count") == ["main", "load"]


def test_functions_and_files_are_asked_for_by_name(heapline, hand):
    def names(*words):
        return [f["function"] for f in hand.json("profiled", *words)["functions"]]

    assert names("load") == ["load"] and names("app.py") == ["main", "load"] == names("load", "main")
    finished = heapline("profiled", str(hand.path), "nix")
    assert finished.exit == 2 and 'no function or file "nix"' in finished.stderr and "main, load" in finished.stderr


def test_a_pid_shows_one_process(heapline, hand):
    database = sqlite3.connect(hand.path)
    database.execute(
        "INSERT INTO process SELECT 2, 101, 1, 100, 'fork', command, executable, python, recorded, reason, "
        "start_ns, end_ns, ended, exit_status, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM process"
    )
    database.execute("UPDATE line_function SET process = 2 WHERE id = 3")
    database.commit()
    assert lines_of(hand, "load")[5]["allocated_bytes"] == 40 * MB
    assert hand.json("profiled")["functions"][1]["processes"] == 2
    assert "load  app.py:4, in 2 processes" in hand.text("profiled")
    assert lines_of(hand, "load", "--pid", "100")[5]["allocated_bytes"] == 30 * MB
    assert lines_of(hand, "load", "--pid", "101")[5]["allocated_bytes"] == 10 * MB
    database.execute("DELETE FROM line_function WHERE process = 2")
    database.commit()
    finished = heapline("profiled", str(hand.path), "--pid", "101")
    assert finished.exit == 2 and "process 101 has run no function" in finished.stderr


def test_a_profile_without_any_says_what_to_do(heapline):
    path = handmade.write(heapline.folder / "none.heapline")
    for statement in ("SELECT 1", "DROP TABLE line_profile", "DROP TABLE line_function"):
        database = sqlite3.connect(path)
        database.execute(statement)
        database.commit()
        for option in ([], ["--json"], ["--csv"]):
            finished = heapline("profiled", str(path), *option)
            assert finished.exit == 2 and finished.stdout == "", finished
            assert "@heapline.profile" in finished.stderr and "--lines" in finished.stderr
        assert json.loads(heapline("stats", str(path), "--json").stdout)["profiled_functions"] == 0


def test_compact_leaves_out_lines_without_memory(heapline):
    source = b"".join(b"x%d = %d\n" % (i, i) for i in range(1, 61))
    path = handmade.write(heapline.folder / "long.heapline", source=source)
    database = sqlite3.connect(path)
    database.execute("INSERT INTO line_function VALUES (1, 1, 1, 'f', 1, 60)")
    for line in range(1, 61):
        bytes = {10: 5 * MB, 40: 7 * MB}.get(line, 0)
        row = (1, line, 1, bytes, 0, int(bytes > 0), bytes, 0, bytes, None)
        database.execute("INSERT INTO line_profile VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    profile = heapline.profile(path)
    text = profile.text("profiled", "--compact")
    shown = [int(line.split()[0]) for line in text.split("\n") if line.strip()[:1].isdigit() and " = " in line]
    assert shown == [*range(8, 13), *range(38, 43)]
    assert [line.strip() for line in text.split("\n") if "without memory" in line] == [
        "(7 lines without memory)",
        "(25 lines without memory)",
        "(18 lines without memory)",
    ]
    assert profile.text("profiled").count(" = ") == 60


def test_source_is_not_needed(heapline):
    profile = heapline.profile(handmade.write(heapline.folder / "hand.heapline", profiled=True, source=None))
    text = profile.text("profiled")
    assert "neither in the profile nor on this machine" in text and "40.0 MB" in text
    assert list(lines_of(profile, "load")) == [5]  # those that ran


def test_merged_profiles_have_one_table_for_a_function(heapline):
    parts = [
        handmade.write(heapline.folder / f"{host}.heapline", profiled=True, meta={"host": host}, source=source)
        for host, source in (("a", None), ("b", handmade.SOURCE))
    ]
    assert heapline("merge", "-o", "all.heapline", *parts).exit == 0
    assert (
        heapline(
            "merge",
            "-o",
            "more.heapline",
            "all.heapline",
            handmade.write(heapline.folder / "c.heapline", profiled=True, meta={"host": "c"}),
        ).exit
        == 0
    )
    for name, times in (("all.heapline", 2), ("more.heapline", 3)):
        profile = heapline.profile(heapline.folder / name)
        assert profile.json("profiled")["functions"][1]["processes"] == times
        line = lines_of(profile, "load")[5]
        for key in ("hits", "allocated_bytes", "freed_bytes", "net_bytes", "allocations", "temporary_bytes"):
            assert line[key] == times * LOAD[key]
        for key in ("highest_bytes", "largest_bytes", "rss_bytes"):
            assert line[key] == LOAD[key]
        assert line["source"] == "    return json.load(open(path))"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE line_function SET first_line = -5, last_line = 9223372036854775807",
        "UPDATE line_function SET first_line = 'x', name = char(27, 10), last_line = NULL",
        "UPDATE line_function SET file = 77, process = 99",
        "UPDATE line_profile SET allocated = -1, freed = 'x', hits = x'00'",
        "UPDATE line_profile SET allocated = 9223372036854775807",
        "UPDATE line_profile SET line = 9223372036854775807 WHERE function = 1 AND line = 9",
        "UPDATE line_profile SET line = -1 WHERE function = 1 AND line = 9",
        "UPDATE line_function SET id = 9223372036854775807 WHERE id = 2",
        "DELETE FROM line_function WHERE id = 1",
        "DELETE FROM line_profile",
    ],
)
def test_damaged_rows_are_shown_or_refused(heapline, hand, damage):
    database = sqlite3.connect(hand.path)
    try:
        database.execute(damage)
    except sqlite3.IntegrityError:
        database.execute("DROP TABLE line_function")
        database.execute("CREATE TABLE line_function (id, process, file, name, first_line, last_line)")
        database.execute("INSERT INTO line_function VALUES (1, 1, 1, 'main', 8, 10), (2, 1, 1, 'load', 4, 5)")
        database.execute(damage)
    database.commit()
    other = handmade.write(heapline.folder / "other.heapline", profiled=True, meta={"host": "o"})
    for option in ([], ["--compact"], ["--json"], ["--csv"], ["--pid", "100"]):
        assert heapline("profiled", str(hand.path), *option).exit in (0, 2, 3)
    finished = heapline("merge", "-f", "-o", "x.heapline", hand.path, other)
    assert finished.exit in (0, 3), finished
    if finished.exit == 0:
        assert heapline("profiled", "x.heapline").exit in (0, 3)
