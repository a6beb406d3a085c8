"""Reports of native stacks: inlined calls, libraries, Python's frames and native ones by themselves, C programs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess

import handmade
import pytest
from test_profile_format import QUERIES

MB = handmade.MB
LEAK_C = """#include <stdlib.h>
#include <string.h>

static inline __attribute__((always_inline)) void *make_node(size_t bytes)
{
    return memset(malloc(bytes), 1, bytes);
}

__attribute__((noinline)) void *grow(size_t bytes)
{
    void *node = make_node(bytes);
    return (char *)node + 1;
}

void *leak(int times)
{
    void *last = 0;
    for (int i = 0; i < times; i++)
        last = grow(100000);
    return last;
}
"""
LEAK_PY = """import ctypes
library = ctypes.CDLL("./libleak.so")

def work():
    library.leak(50)

work()
"""
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")


def compile_c(folder, output, *options, **sources):
    for name, text in sources.items():
        (folder / f"{name}.c").write_text(text)
    names = [f"{name}.c" for name in sources]
    subprocess.run(["cc", "-g", "-O2", "-o", output, *options, *names], cwd=folder, check=True)


def names(row):
    return [frame["function"] for frame in row["stack"]]


# ------------------------------------------------------------------------------------------------------ real programs


@needs_compiler
@pytest.mark.pythons("3.8", "3.11", "3.12", "3.13", "3.11-static")
def test_a_leak_in_c_has_its_line_and_the_python_line_that_called_it(heapline, each_python):
    compile_c(heapline.folder, "libleak.so", "-shared", "-fPIC", leak=LEAK_C)
    profile = heapline.run(LEAK_PY, options=["--native", "--malloc-only"], python=each_python)
    assert profile.exit == 0, profile.finished

    top = profile.stats("--leaks")["top_by_bytes"][0]
    assert (top["function"], top["line"], top["bytes"], top["count"]) == ("work", 5, 5_000_000, 50)
    row = profile.table("--leaks", "--leaf")[0]
    assert row["bytes"] == 5_000_000 and row["count"] == 50
    assert (row["function"], row["line"], row["inlined"], row["native"]) == ("make_node", 6, True, True)
    assert row["file"].endswith("leak.c") and row["module"].endswith("libleak.so")
    stack = row["stack"]
    assert names(row)[:3] == ["make_node", "grow", "leak"]
    assert [frame["line"] for frame in stack[:3]] == [6, 11, 19]
    assert [frame.get("inlined", False) for frame in stack[:3]] == [True, False, False]
    python_frames = [(frame["function"], frame["line"]) for frame in stack if "native" not in frame]
    assert python_frames == [("work", 5), ("<module>", 7)]

    text = profile.text("table", "--leaks", "--leaf", "-n", "1")
    assert "leak.c:6" in text and "make_node" in text and "(inlined)" not in text, text
    library = max(profile.stats("--leaks")["libraries"], key=lambda library: library["bytes"])
    assert (library["name"], library["bytes"], library["count"]) == ("libleak.so", 5_000_000, 50)

    python_only = profile.table("--leaks", "--python-only")
    assert names(python_only[0]) == ["work", "<module>"] and python_only[0]["bytes"] == 5_000_000
    native_only = profile.table("--leaks", "--native-only")
    assert names(native_only[0])[:3] == ["make_node", "grow", "leak"] and native_only[0]["bytes"] == 5_000_000
    assert all(frame["native"] for row in native_only for frame in row["stack"])
    totals = {
        option: profile.json("table", *option.split())["total_bytes"]
        for option in ("", "--python-only", "--native-only")
    }
    assert len(set(totals.values())) == 1, totals


@needs_compiler
def test_a_c_program_is_reported_in_its_own_words(heapline):
    main = "void *leak(int);\nint main(void)\n{\n    leak(20);\n    return 0;\n}\n"
    compile_c(heapline.folder, "prog", main=main, leak=LEAK_C)
    profile = heapline.run(["--", "./prog"])
    assert profile.exit == 0, profile.finished
    texts = [profile.stderr]
    for report in (["stats"], ["table"], ["table", "--leaf"], ["tree"], ["tree", "--leaf"], ["summary"], ["lines"],
                   ["timeline"], ["stats", "--leaks"]):  # fmt: skip
        texts.append(profile.text(*report))
    for text in texts:
        assert "ython" not in text, text
    assert "100 % of it at leak.c:6 in make_node" in profile.stderr
    [row] = profile.table()
    assert (row["function"], row["line"], row["bytes"]) == ("make_node", 6, 2_000_000)
    assert names(row)[:4] == ["make_node", "grow", "leak", "main"]
    assert [library["name"] for library in profile.stats()["libraries"]] == ["prog"]
    assert "return memset(malloc(" in profile.text("lines", "leak.c")
    refused = profile.heapline("tree", str(profile.path), "--python-only")
    assert refused.exit == 2 and "no frame of Python" in refused.stderr


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
def test_templates_are_not_the_programs_own_lines(heapline):
    (heapline.folder / "rows.cpp").write_text(
        "#include <map>\n#include <string>\n#include <vector>\n\n\n"
        "__attribute__((noinline)) static void fill(std::map<int, std::string> &rows, std::vector<double> &numbers)\n{\n"
        "    for (int i = 0; i < 1000; i++)\n"
        "        rows[i] = std::string(1000, 'x');\n"
        "    numbers.resize(1000000);\n    numbers[0] = 1;\n}\n\n"
        "int main()\n{\n"
        "    std::map<int, std::string> rows;\n    std::vector<double> numbers;\n"
        "    fill(rows, numbers);\n    return rows.size() == 0;\n}\n"
    )
    subprocess.run(["c++", "-g", "-O2", "-o", "rows", "rows.cpp"], cwd=heapline.folder, check=True)
    profile = heapline.run(["--", "./rows"])
    top = {row["line"]: row for row in profile.stats()["top_by_bytes"]}
    assert top[10]["bytes"] == 8_000_000 and top[9]["count"] == 2000, top
    assert all(top[line]["file"].endswith("rows.cpp") and "fill" in top[line]["function"] for line in (9, 10)), top
    text = profile.text("lines", "fill")
    assert "numbers.resize" in text and "for (int i" in text and "#include <map>" not in text, text


@needs_compiler
def test_what_a_thread_needs_is_charged_to_the_line_that_makes_it(heapline):
    main = (
        "#include <pthread.h>\n#include <stdlib.h>\n"
        "static void *work(void *unused)\n{\n    (void)unused;\n    return NULL;\n}\n\n"
        "int main(void)\n{\n    pthread_t thread;\n"
        "    if (pthread_create(&thread, NULL, work, NULL))\n        return 1;\n"
        "    return pthread_join(thread, NULL);\n}\n"
    )
    compile_c(heapline.folder, "prog", "-pthread", main=main)
    profile = heapline.run(["--", "./prog"])
    assert profile.exit == 0, profile.finished
    rows = profile.table("--allocated")
    assert ("main", 12) in [(row["function"], row["line"]) for row in rows], rows
    assert not [row for row in rows if row["module"].endswith("/libheapline.so")], rows
    assert "libheapline.so" not in [library["name"] for library in profile.stats("--allocated")["libraries"]]


@needs_compiler
def test_source_of_c_files_is_kept(heapline):
    compile_c(heapline.folder, "prog", leak=LEAK_C + "int main(void)\n{\n    return leak(20) == 0;\n}\n")
    profile = heapline.run(["--", "./prog"])
    (heapline.folder / "leak.c").unlink()
    assert "return memset(malloc(" in profile.text("lines", "leak.c")


@pytest.mark.pythons("3.11", "3.12", "3.13", "3.11-static")
def test_numpy_is_named_as_the_library(heapline, each_python):
    environment = each_python.numpy
    if environment is None:
        pytest.skip(f"no numpy for {each_python}")
    program = "import numpy\n\ndef work():\n    return numpy.zeros(2_000_000)\n\nkeep = work()\n"
    profile = heapline.run(program, options=["--native"], python=each_python, env=environment)
    assert profile.exit == 0, profile.finished
    libraries = profile.stats()["libraries"]
    assert sum(row["bytes"] for row in libraries if "_multiarray_umath" in row["name"]) >= 16_000_000, libraries
    assert sum(row["bytes"] for row in profile.table() if row["function"] == "work" and row["line"] == 4) >= 16_000_000
    assert any(
        row["bytes"] >= 16_000_000 and "_multiarray_umath" in row["module"] for row in profile.table("--native-only")
    )


# --------------------------------------------------------------------------------------------------- a profile by hand

FILES = {
    10: "/usr/lib/libmade.so.1",
    11: "/lib/x86_64-linux-gnu/libc.so.6",
    12: "/tmp/build/../Objects/list.c",
    13: "/tmp/other/Objects/list.c",
    14: "./malloc/malloc.c",
    15: "/opt/lib/libmade.so.1",
}


@pytest.fixture
def merged(heapline):
    """handmade's profile, its 30 MB of decode taken by native frames below it: decode -> outer -> inner, which is inlined
    into outer, -> malloc of libc. And 10 MB of main by another object of the same name."""
    path = handmade.write(heapline.folder / "made.heapline")
    database = sqlite3.connect(path)
    put = database.execute
    for row in FILES.items():
        put("INSERT INTO file VALUES (?, ?, 'user', NULL, NULL)", row)
    for row in [(10, 12, "outer"), (11, 13, "inner"), (12, 14, "__libc_malloc"), (13, 15, "libmade.so.1+0x10")]:
        put("INSERT INTO function VALUES (?, ?, ?, 0)", row)
    for row in [(10, 11, 7, 10, 11), (11, 10, 70, 10, None), (12, 12, 3300, 11, None), (13, 13, 0, 15, None)]:
        put("INSERT INTO frame (id, function, line, module, caller) VALUES (?, ?, ?, ?, ?)", row)
    for row in [(10, 6, 10, 4), (11, 10, 12, 4), (12, 3, 13, 4)]:
        put("INSERT INTO stack VALUES (?, ?, ?, ?)", row)
    put("UPDATE stat SET stack = 11 WHERE stack = 6")
    put("UPDATE stat SET stack = 12 WHERE stack = 3")
    database.commit()
    database.close()
    return path


def report(heapline, *words, width=80, utf8=True):
    finished = heapline(*words, env={"COLUMNS": str(width), "LC_ALL": "C.UTF-8" if utf8 else "C"})
    assert finished.exit == 0, finished
    return finished.stdout


@pytest.mark.parametrize("width", [40, 80, 200])
def test_trees_fit_and_mark_native_frames(heapline, merged, width):
    for words in (
        ["tree"],
        ["tree", "--leaf"],
        ["table", "--leaf"],
        ["summary", "--leaf"],
        ["stats"],
        ["tree", "--native-only"],
    ):
        text = report(heapline, *words, merged, width=width)
        if width > 40:
            assert max(map(len, text.splitlines())) <= width, text
    text = report(heapline, "tree", "--leaf", merged, width=width)
    marked = [line for line in text.splitlines() if "◦" in line]
    assert len(marked) == 4 + 1, text  # outer, inner, malloc, libmade.so.1+0x10; and what the sign means
    assert ("inner (inlined)" in text) == (width == 200), text
    assert "~ outer" in report(heapline, "tree", "--leaf", merged, width=200, utf8=False)
    assert "\x1b[2m" in report(heapline, "tree", "--leaf", merged, "--color", "always")
    assert "◦" not in report(heapline, "tree", merged) and "outer" not in report(heapline, "tree", merged)


def test_files_of_one_name_have_different_labels(heapline, merged):
    text = report(heapline, "table", "--leaf", merged, width=200) + report(
        heapline, "tree", "--leaf", merged, width=200
    )
    assert "build/../Objects/list.c:70" in text and "other/Objects/list.c:7" in text, text
    assert "malloc/malloc.c:3300" in text, text
    libraries = {
        row["name"]: row["bytes"] for row in json.loads(report(heapline, "stats", merged, "--json"))["libraries"]
    }
    assert libraries == {"usr/lib/libmade.so.1": 30 * MB, "opt/lib/libmade.so.1": 10 * MB, "(no native frame)": 2 * MB}


def test_inlined_calls_are_frames_of_json(heapline, merged):
    rows = json.loads(report(heapline, "table", "--leaf", merged, "--json"))["rows"]
    assert [names(row) for row in rows][:2] == [
        ["__libc_malloc", "inner", "outer", "JSONDecoder.decode", "load", "main", "<module>"],
        ["libmade.so.1+0x10", "main", "<module>"],
    ]
    frames = rows[0]["stack"]
    assert [frame.get("inlined", False) for frame in frames] == [False, True, False, False, False, False, False]
    assert [frame.get("module") for frame in frames[:4]] == [FILES[11], FILES[10], FILES[10], None]


@pytest.mark.parametrize("options, expected", [
    ([], [("load", 30), ("main", 10), ("(no Python)", 2)]),
    (["--python-only"], [("load", 30), ("main", 10), ("(no Python)", 2)]),
    (["--python-only", "--leaf"], [("JSONDecoder.decode", 30), ("main", 10), ("(no Python)", 2)]),
    (["--leaf"], [("__libc_malloc", 30), ("libmade.so.1+0x10", 10), ("(no Python)", 2)]),
    (["--native-only"], [("__libc_malloc", 30), ("libmade.so.1+0x10", 10), ("(no stack)", 2)]),
])  # fmt: skip
def test_who_is_charged(heapline, merged, options, expected):
    rows = json.loads(report(heapline, "table", merged, "--json", *options))["rows"]
    assert [(row["function"], row["bytes"] // MB) for row in rows] == expected
    tree = json.loads(report(heapline, "tree", merged, "--json", *options))["nodes"]
    assert tree[0]["total_bytes"] == 42 * MB == sum(node["own_bytes"] for node in tree)
    summary = json.loads(report(heapline, "summary", merged, "--json", *options))["rows"]
    assert sum(row["own_bytes"] for row in summary) == 42 * MB
    inner = [row["total_bytes"] for row in summary if row["function"] == "inner"]
    assert inner == ([30 * MB] if options in (["--leaf"], ["--native-only"]) else [])


def test_what_is_folded_below_a_native_frame_is_on_no_line(heapline, merged):
    with sqlite3.connect(merged) as database:
        database.execute("INSERT INTO stack VALUES (20, 0, 13, 4)")
        database.execute("INSERT INTO stack VALUES (21, 20, NULL, 3)")
        database.execute("UPDATE stat SET stack = 21 WHERE stack = 1")
    rows = json.loads(report(heapline, "table", merged, "--json"))["rows"]
    deeper = [row for row in rows if row["function"] == "(deeper)"]
    assert [(row["file"], row["line"], row["bytes"], row.get("native")) for row in deeper] == [("", 0, 2 * MB, None)]


def test_a_place_without_a_file_has_none(heapline, merged):
    with sqlite3.connect(merged) as database:
        database.execute("INSERT INTO file VALUES (20, '[generated code]', 'native', NULL, NULL)")
        database.execute("INSERT INTO function VALUES (20, 20, '[generated code]', 0)")
        database.execute("INSERT INTO frame (id, function, line, module) VALUES (20, 20, 0, 20)")
        database.execute("INSERT INTO stack VALUES (20, 6, 20, 4)")
        database.execute("UPDATE stat SET stack = 20 WHERE stack = 11")
    for command in ("lines", "summary", "table", "tree"):
        for line in report(heapline, command, "--leaf", merged).splitlines():
            assert line.count("[generated code]") < 2 and line != "[generated code]", line
    found = json.loads(report(heapline, "lines", "--leaf", merged, "--json"))
    assert found["no_file"]["peak_bytes"] == (30 + 2) * MB


def test_wrong_choices_are_said(heapline, merged):
    plain = handmade.write(heapline.folder / "plain.heapline")
    finished = heapline("table", plain, "--native-only")
    assert finished.exit == 2 and "no native frame is in it" in finished.stderr
    finished = heapline("table", merged, "--native-only", "--python-only")
    assert finished.exit == 2 and "exclude" in finished.stderr
    assert "libraries" not in json.loads(report(heapline, "stats", plain, "--json"))
    assert "Libraries" not in report(heapline, "stats", plain) and "Libraries" in report(heapline, "stats", merged)


def test_a_circle_of_callers_ends(heapline, merged):
    with sqlite3.connect(merged) as database:
        database.execute("UPDATE frame SET caller = 10 WHERE id = 11")
    rows = json.loads(report(heapline, "table", "--leaf", merged, "--json"))["rows"]
    assert rows[0]["bytes"] == 30 * MB and 10 < len(rows[0]["stack"]) < 100


def by_library(path):
    with sqlite3.connect(path) as database:
        (sql,) = [sql for title, sql in QUERIES.items() if "by library" in title]
        return dict(database.execute(sql).fetchall())


def test_the_query_by_library(heapline, merged):
    assert by_library(merged) == {FILES[10]: 30 * MB, FILES[15]: 10 * MB, "(no native frame)": 2 * MB}


@needs_compiler
def test_the_query_by_library_of_a_real_program(heapline):
    compile_c(heapline.folder, "libleak.so", "-shared", "-fPIC", leak=LEAK_C)
    profile = heapline.run(LEAK_PY, options=["--native", "--malloc-only"])
    found = by_library(profile.path)
    assert [size for path, size in found.items() if path.endswith("libleak.so")] == [5_000_000]
    assert sum(found.values()) == profile.stats()["peak_bytes"]


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
def test_the_recorder_and_the_loaders_start_are_no_places(heapline):
    """A thread's start goes through a hook of the recorder's and allocates; what constructors of libraries allocate is called
    by the loader's first function, which has no unwind information and needs none."""
    text = "#include <thread>\nint main()\n{\n    std::thread thread([] {});\n    thread.join();\n    return 0;\n}\n"
    (heapline.folder / "start.cpp").write_text(text)
    subprocess.run(["c++", "-g", "-pthread", "-o", "start", "start.cpp"], cwd=heapline.folder, check=True)
    profile = heapline.run(["--", "./start"])
    assert profile.value("SELECT count(*) FROM file WHERE path LIKE '%libheapline%'") == 0
    assert profile.value("SELECT count(*) FROM function WHERE name LIKE '[no unwind%'") == 0
    rows = profile.table("--allocated", "--leaf")
    assert any("_dl_allocate_tls" in names(row) and "main" in names(row) for row in rows), rows
    assert {row["name"] for row in profile.stats()["libraries"]} == {"start", "libstdc++.so.6"}


@needs_compiler
@pytest.mark.parametrize("pie", ["-no-pie", "-pie"])
def test_an_executable_with_gaps_between_its_segments(heapline, pie):
    """The loader's fast answer about an address in it tells the segment, not the executable."""
    main = "void *leak(int);\nint main(void)\n{\n    leak(20);\n    return 0;\n}\n"
    gaps = [pie, "-Wl,-z,max-page-size=0x200000", "-Wl,-z,separate-code"]
    compile_c(heapline.folder, "prog", *gaps, main=main, leak=LEAK_C)
    profile = heapline.run(["--", "./prog"])
    assert profile.exit == 0, profile.finished
    [row] = profile.table("--leaf")
    assert names(row)[:4] == ["make_node", "grow", "leak", "main"] and row["line"] == 6, row
