"""docs/profile-format.md: its example queries run and give what Python computes from the plain tables."""

import re
import sqlite3
import subprocess
import zlib
from collections import Counter

import pytest
from pythons import ROOT

PAGE = (ROOT / "docs" / "profile-format.md").read_text()
QUERIES = dict(re.findall(r"^### (.*?)\n.*?```sql\n(.*?)```", PAGE, re.S | re.M))
TOTALS = ("allocations", "allocated", "frees", "freed", "live", "live_blocks")


@pytest.fixture(scope="module")
def make_profile(heapline_binary, tmp_path_factory):
    def make(*settings):
        path = tmp_path_factory.mktemp("profile") / "made.heapline"
        subprocess.run([heapline_binary.parent / "tools" / "make_profile", path, *settings], check=True)
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        database.row_factory = sqlite3.Row
        return database

    return make


@pytest.fixture(scope="module")
def profile(make_profile):
    return make_profile("processes=3", "threads=3", "ticks=150", "seed=7")


def query(profile, words):
    (sql,) = [sql for title, sql in QUERIES.items() if words in title]
    return [tuple(row) for row in profile.execute(sql)]


def meta(profile, key):
    return profile.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]


def places(profile):
    """stat.id -> (file, function, line), from the tables alone; (None, None, None) without Python."""
    files = dict(tuple(row) for row in profile.execute("SELECT id, path FROM file"))
    functions = {row[0]: (files[row[1]], row[2]) for row in profile.execute("SELECT id, file, name FROM function")}
    frames = {row[0]: (*functions[row[1]], row[2]) for row in profile.execute("SELECT id, function, line FROM frame")}
    stacks = {row[0]: frames.get(row[1], (None, None, None)) for row in profile.execute("SELECT id, frame FROM stack")}
    return {row[0]: stacks[row[1]] for row in profile.execute("SELECT id, stack FROM stat")}


def varints(blob):
    values, value, shift = [], 0, 0
    for byte in blob or b"":
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    return values


def test_the_page_has_seven_queries():
    assert len(QUERIES) == 7


def test_peak_lines(profile):
    place, expected = places(profile), Counter()
    for row in profile.execute("SELECT id, tree_peak FROM stat"):
        expected[place[row[0]]] += row[1]
    got = query(profile, "at the peak")
    assert len(got) == 10
    assert [row[3] for row in got] == [n for _, n in expected.most_common(10)]
    assert all(expected[file, function, line] == n for file, line, function, n, _ in got)


def test_leaks_by_file(profile):
    place, expected = places(profile), Counter()
    for row in profile.execute("SELECT id, live, live_blocks FROM stat"):
        if row[2]:
            expected[place[row[0]][0] or "(no Python)"] += row[1]
    got = query(profile, "never freed")
    assert {row[0]: row[1] for row in got} == expected
    assert sum(row[1] for row in got) == meta(profile, "live")


def test_heap_over_time(profile):
    got = query(profile, "over time")
    assert [round(row[0], 6) for row in got] == [round((t + 1) * 0.01, 6) for t in range(150)]
    assert max(row[2] for row in got) == profile.execute("SELECT peak FROM process WHERE id = 1").fetchone()[0]
    assert got[-1][1] == profile.execute("SELECT live FROM process WHERE id = 1").fetchone()[0]


@pytest.mark.parametrize("cell_ticks", [1, 2, 4])
def test_born_in_a_range_and_alive_after_it(make_profile, cell_ticks):
    profile = make_profile("ticks=200", f"cell_ticks={cell_ticks}", "seed=3")
    tick = meta(profile, "cell_tick_ns")
    first, behind = 500_000_000 // tick, 1_000_000_000 // tick
    place, expected = places(profile), Counter()
    for stat, born, lived, size in profile.execute("SELECT stat, born, lived, bytes FROM cell_row"):
        if first <= born < behind and (lived == 0 or born + lived >= behind):
            expected[place[stat][0], place[stat][2]] += size
    got = query(profile, "still alive")
    assert expected and {(row[0], row[1]): row[2] for row in got} == expected


def test_cells_give_the_heap_at_tick_ends(make_profile):
    """The formula of the page for what is alive at a moment, against the heap's curve."""
    profile = make_profile("ticks=100", "seed=5")
    for tick, heap in profile.execute("SELECT tick, heap FROM tick WHERE process = 1"):
        alive = profile.execute(
            "SELECT coalesce(sum(bytes), 0) FROM cell WHERE born < :t AND (died >= :t OR died IS NULL)", {"t": tick + 1}
        ).fetchone()[0]
        assert alive == heap


def test_temporary_by_function(profile):
    place, expected = places(profile), Counter()
    for stat, blob in profile.execute("SELECT id, temporary FROM stat"):
        blocks = varints(blob)[0::2]
        if blocks:
            expected[place[stat][:2]] += sum(blocks[:6])  # 0, 1, 2, 4, 8, 16
    got = query(profile, "Temporary")
    assert {(row[0], row[1]): row[2] for row in got} == expected


@pytest.mark.parametrize("view, column, total", [("size_histogram", "sizes", "allocations"),
                                                 ("lifetime_histogram", "lifetimes", "frees")])  # fmt: skip
def test_histogram_views(profile, view, column, total):
    for stat, blob, count in profile.execute(f"SELECT id, {column}, {total} FROM stat LIMIT 100").fetchall():
        values = varints(blob)
        rows = profile.execute(f"SELECT bucket, blocks FROM {view} WHERE stat = ?", (stat,)).fetchall()
        assert [tuple(row) for row in rows] == list(zip(values[0::2], values[1::2]))
        assert sum(row[1] for row in rows) == count


def test_sums_are_exact(profile):
    for column in TOTALS:
        total = meta(profile, column)
        assert profile.execute(f"SELECT sum({column}) FROM stat").fetchone()[0] == total
        assert profile.execute(f"SELECT sum({column}) FROM process").fetchone()[0] == total
    for process, peak in profile.execute("SELECT id, peak FROM process").fetchall():
        assert profile.execute("SELECT sum(peak) FROM stat WHERE process = ?", (process,)).fetchone()[0] == peak
    assert profile.execute("SELECT sum(tree_peak) FROM stat").fetchone()[0] == meta(profile, "peak")


def test_every_key_of_meta_is_documented(profile):
    keys = {row[0] for row in profile.execute("SELECT key FROM meta")}
    section = PAGE.split("## Keys of `meta`")[1].split("\n## ")[0]
    documented = {key for row in re.findall(r"^\| (`.*?) \|", section, re.M) for key in re.findall(r"`(\w+)`", row)}
    assert keys == documented


def test_every_table_is_documented(profile):
    tables = {row[0] for row in profile.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")}
    assert {name for name in tables if f"`{name}`" not in PAGE} == set()


def test_the_header_is_as_documented(profile):
    path = profile.execute("PRAGMA database_list").fetchone()[2]
    with open(path, "rb") as file:
        header = file.read(100)
    assert header.startswith(b"SQLite format 3\0") and header[68:72] == b"HPL1" and header[60:64] == b"\0\0\0\1"
    assert profile.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_source_text_is_embedded(make_profile, tmp_path):
    profile = make_profile(f"source={tmp_path / 'src'}")
    rows = profile.execute("SELECT path, origin, source_bytes, source FROM file WHERE source IS NOT NULL").fetchall()
    assert {row["origin"] for row in rows} == {"user", "site", "stdlib"}
    for path, _, size, source in rows:
        with open(path, "rb") as file:
            text = file.read()
        assert size == len(text) and zlib.decompress(source) == text
