"""%load_ext heapline: in IPython's shell, and in a real kernel that nbclient talks to (docs/notebooks.md)."""

import json
import os
import textwrap

import pytest
from test_inprocess import environment

SINCE = pytest.mark.pythons(since=(3, 8), kinds=("release",))
MB50 = 50 * 2**20

SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="NoColor")
def run(text):
    return shell.run_cell(text, store_history=True)
def answer(name, value):
    print("ANSWER", json.dumps([name, value]))
run("%load_ext heapline")
"""

KERNEL = """
import json, sys, nbclient, nbformat
notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}})
notebook.cells = [nbformat.v4.new_code_cell(text) for text in json.load(open('cells.json'))]
nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3", allow_errors=True).execute()
json.dump([cell.outputs for cell in notebook.cells], sys.stdout)
"""


def packages(python, *names):
    found = python.packages(*names)
    if found is None:
        pytest.skip(f"CPython {python.kind}: no {' and '.join(names)} for it")
    return found


def in_shell(heapline, python, program, **more):
    """Runs a program with `run(cell)` and `answer(name, value)`: what it printed, and its answers."""
    extra = packages(python, "IPython")
    ours = environment(heapline, **more)
    path = os.pathsep.join(filter(None, [ours["PYTHONPATH"], extra.get("PYTHONPATH")]))
    finished = heapline.plain(
        SHELL + textwrap.dedent(program),
        python=python,
        env={**ours, "PYTHONPATH": path, "IPYTHONDIR": str(heapline.folder / "ipython")},
    )
    assert finished.exit == 0, finished
    lines = finished.stdout.splitlines()
    answers = dict(json.loads(line[7:]) for line in lines if line.startswith("ANSWER "))
    return finished.stdout, answers


@SINCE
def test_a_statement_is_measured_to_the_byte(heapline, each_python):
    text, answers = in_shell(
        heapline,
        each_python,
        """
        run("%heapline -q pass")  # before 3.11 a function keeps the frame of its first call
        run("r = %heapline -o z = bytearray(50 * 2**20)")
        r = shell.user_ns["r"]
        answer("facts", [r.peak_bytes, r.kept_bytes, r.allocations, r.allocated_bytes])
        answer("lines", [row[:4] + row[5:] for row in r.lines])
        run("r = %heapline -o [0 for _ in range(3)] and bytearray(50 * 2**20)")
        answer("dropped", [shell.user_ns["r"].peak_bytes, shell.user_ns["r"].kept_bytes])
        """,
    )
    peak, kept, allocations, allocated = answers["facts"]
    assert 0 <= peak - MB50 < 1000 and 0 <= kept - MB50 < 800, answers
    assert allocations == 2 and 0 <= allocated - MB50 < 200, answers
    ((_, line, label, source, allocated, count, kept),) = answers["lines"]
    assert (line, label, source) == (1, "In [3]", "z = bytearray(50 * 2**20)"), answers
    assert 0 <= allocated - MB50 < 200 and count == 2 and 0 <= kept - MB50 < 200, answers
    peak, kept = answers["dropped"]
    assert 0 <= peak - MB50 < 1500 and kept < 1500, answers
    assert "At peak" not in text  # -o returns it, and what is assigned is not shown


@SINCE
def test_a_cell_shows_its_lines_and_gives_its_value(heapline, each_python):
    text, answers = in_shell(
        heapline,
        each_python,
        '''
        run("def work(n):\\n    return [bytearray(1000) for i in range(n)]")
        run("""%%heapline
        big = bytearray(20_000_000)
        rows = work(2000)
        del big
        len(rows)""")
        answer("value", shell.user_ns["_"])
        run("%heapline -o -q rows = work(2000)")
        r = shell.user_ns["_"]
        html = r._repr_html_()
        answer("result", [type(r).__name__, r.kept_bytes, len(r.profile.peak) > 0, html.count("<svg"), html.count("<table")])
        answer("path", r.save("saved.heapline"))
        ''',
    )
    assert answers["value"] == 2000
    head = text.splitlines()[0]
    assert head.startswith("peak 22.1 MB, kept 2.1") and "allocated 22.3 MB" in head, text
    lines = [line.split() for line in text.splitlines()]
    assert ["2", "20.0", "MB", "0", "20.0", "MB", "2", "big", "=", "bytearray(20_000_000)"] in lines, text
    assert ["5", "len(rows)"] in lines or any(line[:1] == ["5"] and line[-1] == "len(rows)" for line in lines), text
    assert "█" in text.splitlines()[1], text
    other, *_ = (line for line in lines if line and line[0] == "In" and line[1] == "[2]:2")
    assert "return [bytearray(1000) for i in range(n)]" in " ".join(other)
    kind, kept, recorded, curves, tables = answers["result"]
    assert (kind, recorded, curves, tables) == ("CellResult", True, 1, 1)
    assert abs(kept - 2000 * 1058) < 40000
    assert heapline.profile(answers["path"]).stats()["events_lost"] == 0


@SINCE
def test_an_error_is_shown_as_ipython_does_after_the_result(heapline, each_python):
    text, answers = in_shell(
        heapline,
        each_python,
        '''
        r = run("""%%heapline
        w = bytearray(3_000_000)
        1 / 0
        v = 2""")
        answer("error", type(r.error_in_exec).__name__)
        answer("recording", __import__("heapline").is_recording())
        r = run("%heapline w = (")
        answer("syntax", isinstance(r.error_in_exec or r.error_before_exec, SyntaxError))
        r = run("%heapline -x 1")
        answer("usage", type(r.error_in_exec).__name__)
        r = run("%heapline raise SystemExit(3)")
        answer("exit", type(r.error_in_exec).__name__)
        r = run("%heapline raise KeyboardInterrupt")
        answer("interrupt", type(r.error_in_exec).__name__)
        answer("after", run("%heapline -q 7").result)
        ''',
    )
    assert answers == {
        "error": "ZeroDivisionError",
        "recording": False,
        "syntax": True,
        "usage": "UsageError",
        "exit": "SystemExit",
        "interrupt": "KeyboardInterrupt",
        "after": 7,
    }
    assert text.index("peak 3.00 MB") < text.index("ZeroDivisionError")
    shown = text[text.index("ZeroDivisionError") : text.index("division by zero")]
    assert "1 / 0" in shown and "run_cell_magic" not in shown and "_magics" not in shown, shown


@SINCE
def test_within_a_recording_that_is_on(heapline, each_python):
    _, answers = in_shell(
        heapline,
        each_python,
        """
        run("import heapline; kept = bytearray(9_000_000); heapline.start('outer.heapline')")
        run("other = bytearray(8_000_000)")
        run("r = %heapline -o [bytearray(1000) for i in range(3000)] and None")
        r = shell.user_ns["r"]
        answer("facts", [r.peak_bytes, r.kept_bytes, r.allocated_bytes])
        answer("sources", [row.source for row in r.lines])
        answer("recording", heapline.is_recording() if "heapline" in globals() else __import__("heapline").is_recording())
        run("heapline.stop()")
        """,
    )
    peak, kept, allocated = answers["facts"]
    assert abs(peak - 3000 * 1058) < 40000 and kept < 4000 and 3000 * 1058 - 9000 < allocated < 3000 * 1200, answers
    assert answers["recording"] is True
    assert answers["sources"] == ["[bytearray(1000) for i in range(3000)] and None"]
    assert heapline.profile(heapline.folder / "outer.heapline").stats()["peak_bytes"] > 8_000_000


@SINCE
def test_threads_and_children_of_a_cell_count(heapline, each_python):
    _, answers = in_shell(
        heapline,
        each_python,
        '''
        run("import threading, subprocess, sys\\nkept = []\\ndef work():\\n    kept.append(bytearray(3_000_000))")
        run("""%%heapline -o -q
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()""")
        r = shell.user_ns["_"]
        answer("thread", [r.peak_bytes, r.allocated_bytes, [row[5] for row in r.lines if row.label == "In [2]"]])
        run("%heapline -o -q subprocess.call([sys.executable, '-c', 'bytearray(30_000_000)'])")
        r = shell.user_ns["_"]
        answer("child", [r.peak_bytes, r.family_peak_bytes])
        ''',
    )
    peak, allocated, lines = answers["thread"]
    assert abs(peak - 3_000_000) < 60000 and abs(allocated - 3_000_000) < 60000
    assert any(abs(line - 3_000_000) < 1000 for line in lines), answers
    peak, family = answers["child"]
    assert peak < 2_000_000 and 30_000_000 < family < 40_000_000


def test_under_heapline_run_it_is_a_part_of_that(heapline, python):
    folder = packages(python, "IPython").get("PYTHONPATH")
    ours = environment(heapline)
    path = os.pathsep.join(filter(None, [ours["PYTHONPATH"], folder]))
    profile = heapline.run(
        SHELL + 'for _ in range(2): run("%heapline z = bytearray(7_000_000)")\n',
        python=python,
        env={**ours, "PYTHONPATH": path},
    )
    shown = profile.stdout.splitlines()
    assert [line[: line.index("time")] for line in shown if "time" in line] == [
        "peak 7.00 MB, kept 7.00 MB, allocations 2, allocated 7.00 MB, "
    ] * 2, shown
    assert profile.stats()["allocated_bytes"] > 14_000_000


@SINCE
def test_in_a_real_kernel(heapline, each_python):
    extra = packages(each_python, "ipykernel", "nbclient")
    ours = environment(heapline)
    path = os.pathsep.join(filter(None, [ours["PYTHONPATH"], extra.get("PYTHONPATH")]))
    cells = [
        "%load_ext heapline",
        "def work(n):\n    '<b>&'\n    return [bytearray(1000) for i in range(n)]",
        "%%heapline\nrows = work(20000)  # <script>alert('&')</script>\nlen(rows)",
        "r = %heapline -o work(100)\nr.allocations > 100, r.peak_bytes > 100_000",
        "%%heapline\nimport asyncio\nwaited = bytearray(4_000_000)\nawait asyncio.sleep(0.01)\n5",
        "%%heapline\nwaited = bytearray(4_000_000)\nimport os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(30)",
        "%%heapline\nfrom concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n    n = sum(map(len, pool.map(work, [1000, 1000])))\nn",
        "1 + 1",
    ]
    (heapline.folder / "cells.json").write_text(json.dumps(cells))
    finished = heapline.plain(
        KERNEL,
        python=each_python,
        env={**ours, "PYTHONPATH": path, "IPYTHONDIR": str(heapline.folder), "HOME": str(heapline.folder)},
    )
    assert finished.exit == 0, finished
    outputs = json.loads(finished.stdout)
    shown = [output["data"] for cell in outputs for output in cell if output["output_type"] == "display_data"]
    values = [
        output["data"]["text/plain"] for cell in outputs for output in cell if output["output_type"] == "execute_result"
    ]
    errors = [
        (output["ename"], "\n".join(output["traceback"]))
        for cell in outputs
        for output in cell
        if output["output_type"] == "error"
    ]
    assert values == ["20000", "(True, True)", "5", "2000", "2"], outputs
    ((error, trace),) = errors
    assert error == "KeyboardInterrupt" and "run_cell_magic" not in trace, trace
    assert len(shown) == 4, outputs
    for data in shown:
        assert (
            "<svg" in data["text/html"]
            and "<script" not in data["text/html"]
            and data["text/plain"].startswith("peak ")
        )
    assert "rows = work(20000)  # &lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in shown[0]["text/html"]
    assert "peak 21." in shown[0]["text/plain"] and "In [2]:3" in shown[0]["text/plain"]
    assert "peak 4.0" in shown[1]["text/plain"] and "peak 4.0" in shown[2]["text/plain"]
    assert "In [2]:3" in shown[3]["text/plain"]
