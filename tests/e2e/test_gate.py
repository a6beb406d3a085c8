"""heapline check and heapline diff: limits, lines found again after edits, every format of the outcome."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import xml.etree.ElementTree as ET

import handmade
import pytest
from handmade import MB

ALL_FORMATS = [[], ["--json"], ["--markdown"], ["--github"]]


@pytest.fixture
def hand(heapline):
    return handmade.write(heapline.folder / "hand.heapline")


@pytest.fixture
def moved(heapline):
    """The same program with three lines above its functions and 50 MB more in main, on line 9 + 3."""
    path = handmade.write(heapline.folder / "moved.heapline", source=b"#\n#\n#\n" + handmade.SOURCE)
    change(
        path,
        "UPDATE frame SET line = line + 3 WHERE function <> 4",
        "UPDATE function SET first_line = first_line + 3 WHERE id IN (2, 3)",
        f"UPDATE stat SET allocated = allocated + {50 * MB}, live = live + {50 * MB}, peak = peak + {50 * MB}, "
        f"tree_peak = tree_peak + {50 * MB} WHERE id = 2",
        f"UPDATE process SET allocated = allocated + {50 * MB}, live = live + {50 * MB}, peak = peak + {50 * MB}",
        f"UPDATE meta SET value = value + {50 * MB} WHERE key IN ('peak', 'peak_bound')",
    )
    return path


def change(path, *statements):
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def lines_of(outcome):
    return [
        (row["function"], row["line"], row["new"]["peak_bytes"] - row["old"]["peak_bytes"]) for row in outcome["lines"]
    ]


# ------------------------------------------------------------------------------------------------------------- check


@pytest.mark.parametrize(
    ("limit", "within", "beyond"),
    [
        ("peak", 42 * MB, 42 * MB - 1),
        ("leak", "27MB", "26999999"),
        ("allocated", 52 * MB, 52 * MB - 1),
        ("allocations", 10, 9),
        ("temporary", 1, 0),
        ("rss-peak", 60 * MB, 60 * MB - 1),
    ],
)
def test_a_limit_is_the_most_that_is_allowed(heapline, hand, limit, within, beyond):
    assert heapline("check", hand, f"--max-{limit}", within).exit == 0
    finished = heapline("check", hand, f"--max-{limit}", beyond, "--json")
    assert finished.exit == 1, finished
    outcome = json.loads(finished.stdout)
    assert (outcome["schema"], outcome["outcome"]) == ("heapline.check/1", "failed")
    (judged,) = outcome["limits"]
    assert (judged["figure"], judged["over"], judged["exceeded"]) == (limit, 1, True)


def test_the_lines_that_hold_the_peak_are_named(heapline, hand):
    finished = heapline("check", hand, "--max-peak", "40MB", "--max-leak", "1GB")
    assert finished.exit == 1
    text = finished.stdout
    assert "FAILED  peak: 42.0 MB, over the limit of 40.0 MB by 2.00 MB (5.0 %)\n" in text
    assert "ok      not freed: 27.0 MB, within the limit of 1.00 GB\n" in text
    assert re.search(r"30\.0 MB +71\.4 %  app\.py:5 in load\n +return json\.load\(open\(path\)\)\n", text), text
    assert re.search(r"10\.0 MB +23\.8 %  app\.py:9 in main\n +keep = \[0\]", text), text
    assert re.search(r"42\.0 MB +100 %  total\n$", text), text


def test_within_the_limits_nothing_is_listed(heapline, hand):
    finished = heapline("check", hand, "--max-peak", "1GB")
    assert finished.exit == 0
    assert "Lines" not in finished.stdout and "FAILED" not in finished.stdout


@pytest.mark.parametrize("meta", [{"lost": 3}, {"state": "running", "exit_status": None, "root_end_ns": None}])
def test_what_was_not_recorded_whole_is_not_passed(heapline, meta):
    path = handmade.write(heapline.folder / "part.heapline", meta=meta)
    for options in ALL_FORMATS:
        finished = heapline("check", path, "--max-peak", "1GB", "--junit", "x.xml", *options)
        assert finished.exit == 4, finished
        assert ET.parse(heapline.folder / "x.xml").find(".//error") is not None
    assert heapline("check", path, "--max-peak", "1MB").exit == 1  # what is known is enough
    assert heapline("diff", path, path).exit == 0  # nothing is asked
    assert heapline("diff", path, path, "--fail-over", "5%").exit == 4


# -------------------------------------------------------------------------------------------------------------- diff


def test_a_line_is_found_again_where_it_moved_to(heapline, hand, moved):
    outcome = json.loads(heapline("diff", hand, moved, "--json").stdout)
    assert lines_of(outcome) == [("main", 12, 50 * MB)]
    assert outcome["lines"][0]["in"] == "both"
    assert outcome["other"] == {"lines": 0, "growth": 0}
    assert lines_of(json.loads(heapline("diff", moved, hand, "--json").stdout)) == [("main", 9, -50 * MB)]
    assert json.loads(heapline("diff", hand, hand, "--json").stdout)["lines"] == []


def test_without_source_a_line_is_known_by_its_place_in_the_function(heapline, hand, moved):
    for path in (hand, moved):
        change(path, "UPDATE file SET source = NULL, source_bytes = NULL")
    assert lines_of(json.loads(heapline("diff", hand, moved, "--json").stdout)) == [("main", 12, 50 * MB)]


def test_a_renamed_function_is_new(heapline, hand):
    path = handmade.write(heapline.folder / "renamed.heapline", names={"main": "start"})
    outcome = json.loads(heapline("diff", hand, path, "--json").stdout)
    assert lines_of(outcome) == [("start", 9, 10 * MB), ("main", 9, -10 * MB)]
    assert [row["in"] for row in outcome["lines"]] == ["new", "old"]


def test_a_checkout_elsewhere_is_the_same_program(heapline, hand):
    path = handmade.write(heapline.folder / "else.heapline", names={"app.py": "/builds/17/app/app.py"})
    assert json.loads(heapline("diff", hand, path, "--json").stdout)["lines"] == []


@pytest.mark.parametrize(
    ("limit", "exit"),
    [
        ("5%", 1),
        ("119%", 1),
        ("120%", 0),
        ("49.9MB", 1),
        ("50MB", 0),
        ("peak:50MB", 0),
        ("leak:0%", 1),
        ("leak:1GB", 0),
        ("allocations:0", 0),
        ("allocations:0%", 0),
        ("rss-peak:1B", 0),
        ("temporary:0", 0),
        ("allocated:49MB", 1),
    ],
)
def test_growth_over_a_limit_is_exit_1(heapline, hand, moved, limit, exit):
    finished = heapline("diff", hand, moved, "--fail-over", limit)
    assert finished.exit == exit, finished
    assert (finished.stdout.count("FAILED"), finished.stdout.count("ok  ")) == (exit, 1 - exit)
    assert heapline("diff", moved, hand, "--fail-over", limit).exit == 0


def test_each_limit_counts_for_itself(heapline, hand, moved):
    assert heapline("diff", hand, moved, "--fail-over", "1000%", "--fail-over", "10MB").exit == 1
    assert heapline("diff", hand, moved, "--fail-over", "1000%", "--fail-over", "1GB").exit == 0


@pytest.mark.parametrize("bad", ["5", "5%x", "", "x", "-5%", "nan%", "peaks:5%", "allocations:5MB", "peak:", "1e400MB"])
def test_limits_that_say_nothing_are_exit_2(heapline, hand, bad):
    finished = heapline("diff", hand, hand, "--fail-over", bad)
    if bad == "5":  # bytes
        assert finished.exit == 0
        return
    assert (finished.exit, finished.stdout) == (2, ""), finished
    assert finished.stderr.startswith("heapline: diff: --fail-over")


def test_growth_by_line_adds_up_to_the_growth_in_all(heapline):
    paths = []
    for seed in (1, 2):
        paths.append(heapline.folder / f"{seed}.heapline")
        subprocess.run([heapline.tool("make_profile"), paths[-1], f"seed={seed}", "processes=2"], check=True, stdout=-3)
    for options in ([], ["--leaf"], ["-n", "3"], ["-n", "0"]):
        for sort in ("peak", "leak", "allocated", "allocations", "temporary"):
            outcome = json.loads(heapline("diff", *paths, "--json", "--sort", sort, *options).stdout)
            key = {"allocations": "allocations", "temporary": "temporary_allocations"}.get(sort, f"{sort}_bytes")
            growth = sum(row["new"][key] - row["old"][key] for row in outcome["lines"]) + outcome["other"]["growth"]
            assert growth == outcome["new"][key] - outcome["old"][key], (options, sort)
    for path in paths:
        stats = heapline.profile(path).stats()
        side = json.loads(heapline("diff", path, path, "--json").stdout)["old"]
        assert [side[key] for key in ("peak_bytes", "allocated_bytes", "allocations", "rss_peak_bytes")] == [
            stats[key] for key in ("peak_bytes", "allocated_bytes", "allocations", "rss_peak_bytes")
        ]
        assert side["leak_bytes"] == stats["live_end_bytes"]
        assert side["temporary_allocations"] == heapline.profile(path).json("table", "--temporary")["total_count"]


# ----------------------------------------------------------------------------------------------------------- formats


def test_github_annotations_point_at_the_line(heapline, hand, moved):
    finished = heapline("diff", hand, moved, "--fail-over", "5%", "--github")
    assert finished.exit == 1
    assert finished.stdout == (
        "::error file=app.py,line=12,title=heapline diff::peak: 92.0 MB, 42.0 MB before (+50.0 MB, +119.0 %25), over the "
        "limit of +5 %25%0Aapp.py:12 in main: +50.0 MB, now 60.0 MB (at the peak)\n"
    )
    rooted = heapline("check", hand, "--max-peak", "1MB", "--github", env={"GITHUB_WORKSPACE": "/home/u/"})
    assert rooted.stdout.startswith("::error file=app/app.py,line=5,title=heapline check::peak: 42.0 MB"), rooted
    kept = heapline("check", hand, "--max-peak", "1GB", "--github")
    assert (kept.exit, kept.stdout.split("::")[1]) == (0, "notice title=heapline check")


def test_annotations_name_no_file_of_a_library(heapline, hand):
    text = heapline("check", hand, "--max-peak", "1MB", "--leaf", "--github").stdout
    first = text.splitlines()[0]
    assert (
        first.startswith("::error title=heapline check::peak") and "json/decoder.py:337 in JSONDecoder.decode" in first
    )


def test_annotations_leave_out_what_does_not_matter(heapline, hand):
    change(hand, "UPDATE stat SET live = 252000 WHERE id = 1")  # less than a hundredth of what is never freed
    text = heapline("check", hand, "--max-leak", "1MB", "--github").stdout
    assert [line.split(" ")[0] for line in text.splitlines()] == ["::error", "::warning"]


def test_a_file_outside_the_working_directory_is_no_place_for_an_annotation(heapline):
    path = handmade.write(heapline.folder / "out.heapline", names={"app.py": "/elsewhere/app.py"})
    assert heapline("check", path, "--max-peak", "1MB", "--github").stdout.startswith("::error title=")
    rooted = heapline("check", path, "--max-peak", "1MB", "--github", env={"GITHUB_WORKSPACE": "/elsewhere"}).stdout
    assert rooted.startswith("::error file=app.py,line=5,title=")


def test_another_interpreter_is_told(heapline, hand):
    other = handmade.write(heapline.folder / "other.heapline")
    change(other, "UPDATE process SET python = '3.13.0'")
    words = "the interpreters differ, and so does their own memory: Python 3.12.1 and 3.13.0"
    for options in ALL_FORMATS:
        assert words in heapline("diff", hand, other, *options).stdout
        assert "interpreters" not in heapline("diff", hand, hand, *options).stdout


def test_markdown_is_a_table(heapline, hand, moved):
    text = heapline("diff", hand, moved, "--fail-over", "5%", "--markdown").stdout
    assert text.startswith("### heapline diff: failed\n")
    assert "| Peak | 42.0 MB | 92.0 MB | +50.0 MB | +119.0 % |\n" in text
    assert "| +50.0 MB | 10.0 MB | 60.0 MB | `app.py:12 in main` | `keep = [0] * 1_250_000` |\n" in text
    assert "- **FAILED** peak: 92.0 MB, 42.0 MB before" in text


def test_junit_has_a_case_a_limit(heapline, hand):
    finished = heapline("check", hand, "--max-peak", "40MB", "--max-leak", "1GB", "--junit", "out.xml", "--json")
    assert finished.exit == 1
    assert json.loads(finished.stdout)["outcome"] == "failed"  # beside it
    suite = ET.parse(heapline.folder / "out.xml").getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    peak, leak = suite.findall("testcase")
    assert peak.get("name") == "peak at most 40.0 MB" and "over the limit" in peak.find("failure").get("message")
    assert "30.0 MB  app.py:5 in load: return json.load(open(path))\n" in peak.find("failure").text
    assert leak.find("failure") is None


HOSTILE = "\x1b[31m\n::error::owned]]></failure>|`` ` <script>&\"'\u202e\udcff"


@pytest.mark.parametrize("name", ["load", "main", "app.py", "command"])
def test_names_cannot_break_out_of_a_format(heapline, name):
    hostile = HOSTILE.encode("utf-8", "surrogateescape").decode("utf-8", "ignore")
    path = handmade.write(
        heapline.folder / "evil.heapline", names={name: hostile}, source=b"\n\n\n\n" + hostile.encode() + b"\n" * 8
    )
    for command in (["check", path, "--max-peak", "1MB"], ["diff", path, path, "--fail-over", "0%"]):
        for options in ALL_FORMATS:
            text = heapline(*command, "--junit", "evil.xml", *options, env={"CLICOLOR_FORCE": ""}).stdout
            assert "\x1b" not in text
            assert "\u202e" not in text or options == ["--json"]
            if options == ["--json"]:
                json.loads(text)
            if options == ["--github"]:
                assert all(
                    re.match(r"::(error|warning|notice) (file=[^:]*,line=\d+,)?title=heapline (check|diff)::", line)
                    for line in text.splitlines()
                ), text
            if options == ["--markdown"]:
                assert "\n::" not in text
                rows = [line for line in text.splitlines() if line.startswith("|")]
                bars = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
                assert bars <= {5, 6}, text
            ET.parse(heapline.folder / "evil.xml")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8", ""])
def test_the_locale_changes_no_number(heapline, hand, moved, locale):
    env = {"LC_ALL": locale, "LANG": locale}
    for options in ALL_FORMATS:
        one = heapline("diff", hand.name, moved.name, "--fail-over", "0.5%", *options, env=env)
        two = heapline("diff", hand.name, moved.name, "--fail-over", "0.5%", *options)
        assert (one.exit, one.stdout) == (1, two.stdout)
    profile = handmade.write(heapline.folder / "wide.heapline", names={"load": "läd"})
    ascii_only = heapline("check", profile, "--max-peak", "1MB", env={"LC_ALL": "C"})
    assert ascii_only.stdout.isascii()
    assert "läd" in heapline("check", profile, "--max-peak", "1MB", "--markdown", env={"LC_ALL": "C"}).stdout


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_fits_its_width(heapline, hand, moved, width):
    for command in (["check", hand, "--max-peak", "1MB"], ["diff", hand, moved]):
        text = heapline(*command, env={"COLUMNS": str(width)}).stdout
        listed = text[text.index("Lines") :]
        assert max(map(len, listed.splitlines()[1:])) <= width, text


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("kind", ["missing", "empty", "memray", "text", "sqlite", "newer", "cut"])
def test_bad_files_are_exit_3_and_an_error_in_junit(heapline, hand, kind):
    path = heapline.folder / "bad"
    whole = hand.read_bytes()
    content = {
        "empty": b"",
        "memray": b"memray\0" + bytes(200),
        "text": b"hello" * 50,
        "sqlite": whole[:68] + bytes(4) + whole[72:],
        "newer": whole[:60] + b"\0\0\0\x09" + whole[64:],
        "cut": whole[: len(whole) // 2],
    }
    if kind != "missing":
        path.write_bytes(content[kind])
    for command in (["check", path, "--max-peak", "1MB"], ["diff", path, hand], ["diff", hand, path]):
        finished = heapline(*command, "--junit", "bad.xml")
        assert (finished.exit, finished.stdout) == (3, ""), finished
        assert len(finished.stderr.splitlines()) == 1 and finished.stderr.startswith(f"heapline: {path}: ")
        assert ET.parse(heapline.folder / "bad.xml").find(".//error").get("type") == "profile"


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["check", "HAND"],
        ["check", "HAND", "HAND", "--max-peak", "1MB"],
        ["check", "HAND", "--max-peak", "much"],
        ["check", "HAND", "--max-peak", "1MB", "--json", "--markdown"],
        ["check", "HAND", "--max-peak", "1MB", "--junit="],
        ["diff"],
        ["diff", "HAND"],
        ["diff", "HAND", "HAND", "HAND"],
        ["diff", "HAND", "HAND", "--sort", "size"],
        ["diff", "HAND", "HAND", "--github", "--json"],
    ],
)
def test_bad_usage_is_exit_2(heapline, hand, words):
    finished = heapline(*[hand if word == "HAND" else word for word in words])
    assert (finished.exit, finished.stdout) == (2, ""), finished
    assert len(finished.stderr.splitlines()) == 1


def test_a_junit_file_that_cannot_be_written_is_told(heapline, hand):
    finished = heapline("check", hand, "--max-peak", "1GB", "--junit", "none/x.xml")
    assert finished.exit == 3 and "none/x.xml: cannot be written" in finished.stderr


def test_a_reader_that_leaves_early_changes_no_status(heapline, hand):
    for options in ALL_FORMATS:
        command = [heapline.binary, "check", hand, "--max-peak", "1MB", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (1, b"")
        process.stderr.close()


# -------------------------------------------------------------------------------------------------- real recordings

PROGRAM = """\
import json
{above}

def load(n):
    return [json.loads('{{"a": [%d, %d]}}' % (i, i)) for i in range(n)]


def transform(rows):
    scratch = [bytearray(2000) for _ in range(5000)]
    out = {{i: row["a"][0] for i, row in enumerate(rows)}}
    {added}
    return out, scratch


def main():
    rows = load(30_000)
    return transform(rows)


kept = main()
"""


def record(heapline, name, *, above="", added="pass", **options):
    path = heapline.folder / "app.py"
    path.write_text(PROGRAM.format(above=above, added=added))
    profile = heapline.run(path, options=["-o", f"{name}.heapline"], **options)
    return profile.path


def test_50_mb_more_fail_on_their_line_below_30_new_ones(heapline):
    old = record(heapline, "old")
    new = record(
        heapline, "new", above="\n".join(f"X{i} = {i}" for i in range(30)), added="extra = bytearray(50_000_000)"
    )
    assert heapline("diff", old, new).exit == 0
    finished = heapline("diff", old, new, "--fail-over", "5%", "--fail-over", "10MB", "--json")
    assert finished.exit == 1, finished
    outcome = json.loads(finished.stdout)
    first = outcome["lines"][0]
    text = (heapline.folder / "app.py").read_text().splitlines()
    line = next(i + 1 for i, code in enumerate(text) if "extra" in code)
    assert (first["function"], first["line"], first["source"]) == ("transform", line, "extra = bytearray(50_000_000)")
    growth = first["new"]["peak_bytes"] - first["old"]["peak_bytes"]
    assert 50_000_000 <= growth <= 50_000_200 and first["in"] == "new"
    others = [abs(row["new"]["peak_bytes"] - row["old"]["peak_bytes"]) for row in outcome["lines"][1:]]
    assert all(change < 1_000_000 for change in others), outcome["lines"][:5]  # out may be growing at the peak
    github = heapline("diff", old, new, "--fail-over", "5%", "--github").stdout
    assert github.startswith(f"::error file=app.py,line={line},"), github
    assert heapline("diff", new, old, "--fail-over", "5%").exit == 0
    assert heapline("check", new, "--max-peak", "20MB").exit == 1


def test_noise_stays_under_one_percent(heapline):
    limits = [
        word for figure in ("peak", "leak", "allocated", "allocations") for word in ("--fail-over", f"{figure}:1%")
    ]
    modules = ["base64", "textwrap", "string", "bisect"]
    imports = lambda order: "\n".join(f"import {name}" for name in order)
    record(heapline, "warm", above=imports(modules))  # the compiled modules are there from now on
    old = record(heapline, "old", above=imports(modules), env={"PYTHONHASHSEED": "1"})
    for seed in ("2", "77", "random"):
        new = record(heapline, f"new{seed}", above=imports(modules[::-1]), env={"PYTHONHASHSEED": seed})
        for a, b in ((old, new), (new, old)):
            finished = heapline("diff", a, b, *limits)
            assert finished.exit == 0, finished


def test_native_frames_are_compared_too(heapline):
    old = record(heapline, "old")
    native = heapline.run(heapline.folder / "app.py", options=["-o", "native.heapline", "--native"]).path
    outcome = json.loads(heapline("diff", old, native, "--json").stdout)
    assert abs(outcome["new"]["peak_bytes"] - outcome["old"]["peak_bytes"]) < outcome["old"]["peak_bytes"] / 50
    rows = [row for row in outcome["lines"] if abs(row["new"]["peak_bytes"] - row["old"]["peak_bytes"]) > 200_000]
    assert not rows, rows
    again = heapline.run(heapline.folder / "app.py", options=["-o", "again.heapline", "--native"]).path
    leaf = json.loads(heapline("diff", native, again, "--json", "--leaf", "--sort", "allocated").stdout)
    assert leaf["new"]["allocated_bytes"] == sum(
        row["bytes"] for row in heapline.profile(again).table("--allocated", "--leaf")
    )


def test_64_k_stacks_twice(heapline):
    paths = []
    for seed in (1, 2):
        paths.append(heapline.folder / f"{seed}.heapline")
        options = [f"seed={seed}", "codes=4000", "nodes=65000", "stats=65000", "blocks=200000"]
        subprocess.run([heapline.tool("make_profile"), paths[-1], *options], check=True, stdout=subprocess.DEVNULL)
    old, new = (json.loads(heapline("stats", path, "--json").stdout) for path in paths)
    differ = json.loads(heapline("diff", *paths, "--json", "-n", "0").stdout)
    growth = sum(row["new"]["peak_bytes"] - row["old"]["peak_bytes"] for row in differ["lines"])
    growth += differ["other"]["growth"]
    assert growth == new["peak_bytes"] - old["peak_bytes"] != 0


def test_help_is_in_the_documentation(heapline):
    from pythons import ROOT

    for command in ("check", "diff", "merge"):
        page = (ROOT / "docs" / f"heapline-{command}.md").read_text()
        shown = heapline("help", command).stdout
        indented = "".join(f"    {line}\n" if line else "\n" for line in shown.splitlines())
        assert indented in page + "\n", command
        assert f"  {command:<11} " in heapline("help").stdout
