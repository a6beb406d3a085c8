"""The backend `heap` of heapline.compat.memory_profiler: every figure to the byte."""

from __future__ import annotations

import json
import os
import textwrap

import pytest
from pythons import ROOT
from test_memory_profiler import row, tables

# Elsewhere objects have other sizes than sys.getsizeof says; before 3.11 tracing itself leaves up to a kilobyte in free lists.
EXACT = pytest.mark.pythons(since=(3, 11), kinds=("release",))
MODERN = pytest.mark.pythons(since=(3, 8))
BYTES = """
import sys
from heapline.compat.memory_profiler import *
def lines_of(profiler, *names):
    '''{function: {text of a line: (bytes, highest use of all lines before, times)}}, lines that ran only.'''
    import linecache
    found = {}
    for (filename, lines), top in zip(profiler.code_map.items(), profiler.code_map._toplevel):
        found[top[1].co_name] = {linecache.getline(filename, n).strip(): [round(m[0] * 2**20), m[1] * 2**20, m[2]] for n, m in lines if m}
    return found
"""


@pytest.fixture
def run(heapline, each_python):
    if each_python.root:
        pytest.skip("inside a root of its own the package would have to be installed")

    def run_it(text, *words, prefix=BYTES, check=True, under=(), **more):
        path = heapline.folder / "app.py"
        path.write_text(prefix + textwrap.dedent(text))
        temporary = heapline.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "python"),
            "PATH": os.pathsep.join([str(heapline.binary.parent), os.environ["PATH"]]),
            "TMPDIR": str(temporary),
            **more,
        }
        done = each_python.run(*words, str(path), env=env, cwd=heapline.folder)
        assert not check or done.returncode == 0, done
        assert list(temporary.iterdir()) == []  # nothing is left behind, here or there
        assert not list(heapline.folder.glob("*.heapline"))
        return done

    return run_it


def last(done):
    return json.loads(done.stdout.splitlines()[-1])


@EXACT
def test_every_line_to_the_byte(run):
    """Many locals (before 3.13 a traced frame has a dict of them), loops, and lines on both sides of 256, above which numbers of
    lines are objects."""
    got = last(
        run(
            """
        import json
        p = LineProfiler(backend="heap")
        kept = [None] * 4
        def f(passes):
            nothing = None
            block = bytearray(1000)
            for i in range(passes):
                other = bytearray(5000)
                a = b = c = d = e = i
                g = h = j = k = l = m = n = i
                other = None
            kept[0] = block
            del block
            kept[1] = bytearray(3 << 20)
            kept[1] = kept[0] = None
            kept[2] = [bytearray(100) for _ in range(50)]
            kept[2] = None
            %s
            late = bytearray(2000)
            for i in range(passes):
                late = late
                del late
                late = bytearray(2000)  # again
            return None
        p(f)(3)
        p(f)(200)
        print(json.dumps([lines_of(p)["f"], sys.getsizeof(bytearray(1000)), sys.getsizeof(bytearray(2000)),
            sys.getsizeof(bytearray(5000)), sys.getsizeof(bytearray(3 << 20))]))
        """
            % ("\n" * 240)
        )
    )
    lines, thousand, two, five, large = got
    assert lines["block = bytearray(1000)"][::2] == [2 * thousand, 2]
    assert lines["other = bytearray(5000)"][::2] == [203 * five, 203]
    assert lines["other = None"][::2] == [-203 * five, 203]
    assert lines["kept[1] = bytearray(3 << 20)"][::2] == [2 * large, 2]
    assert lines["kept[1] = kept[0] = None"][::2] == [-2 * large - 2 * thousand, 2]
    assert lines["late = late"][::2] == [0, 203] and lines["del late"][::2] == [-203 * two, 203]
    nothing = (
        "nothing = None",
        "a = b = c = d = e = i",
        "g = h = j = k = l = m = n = i",
        "kept[0] = block",
        "del block",
    )
    assert {lines[text][0] for text in nothing} == {0}
    assert lines["kept[2] = None"][0] < -2 * 50 * 150
    # 203 of the last go on to the next, and two die with their frames.
    assert sum(values[0] for text, values in lines.items() if "late" in text) == 2 * two
    use = lines["kept[1] = bytearray(3 << 20)"][1] - lines["nothing = None"][1]
    assert large + thousand <= use <= large + thousand + 200  # an int object or two
    assert lines["nothing = None"][1] < 50_000  # the heap since the recording began, with the first line


@EXACT
def test_what_the_profiler_takes_itself_is_in_no_line(run):
    """A profiled function that calls others, which get tables of their own meanwhile."""
    got = last(
        run("""
        import io, json
        @profile(backend="heap", stream=io.StringIO())
        def inner(n):
            if n == 0:
                raise KeyError
            return [inner(n - 1)] if n > 1 else None
        p = LineProfiler(backend="heap")
        text = io.StringIO()
        text.write(" " * 100000)
        text.seek(0)
        @p
        def helper():
            x = 1
            yield x
            yield x
        @p
        def outer():
            try:
                inner(0)
            except KeyError:
                pass
            inner(1)
            inner(3)
            for x in helper(): pass
            x = None
        outer()
        outer()
        outer()
        base = {text: values[0] for text, values in lines_of(p)["outer"].items()}
        for _ in range(10):
            outer()
        print(json.dumps([lines_of(p)["outer"], base]))
        """)
    )
    lines, base = got
    for text in ("for x in helper(): pass", "x = None"):
        assert lines[text][0] == base[text], text  # the first three calls may fill the interpreter's free lists
    for text, tables_shown in (("inner(1)", 1), ("inner(3)", 3)):  # 64 bytes for each table that is shown
        assert 0 <= lines[text][0] - base[text] <= 10 * tables_shown * 100, text
    for text in ("inner(0)", "except KeyError:", "pass"):  # an exception lives on in the lines that handle it
        assert abs(lines[text][0] - base[text]) < 10 * 1000, text


@EXACT
def test_generators_coroutines_and_exceptions(run):
    got = last(
        run("""
        import asyncio, json
        p = LineProfiler(backend="heap")
        @p
        def numbers():
            a = bytearray(1000)
            yield 1
            b = bytearray(2000)
            yield 2
            a = None
        @p
        async def waits():
            a = bytearray(1000)
            await asyncio.sleep(0.01)
            b = bytearray(2000)
        @p
        def fails(block):
            block.append(bytearray(1000))
            raise KeyError
        @p
        def again(n):
            a = bytearray(1000)
            if n: again(n - 1)
            a = None
        kept = []
        def all_of_them():
            for n in numbers():
                kept.append(bytearray(7000))
            async def others():
                task = asyncio.get_running_loop().create_task(waits())
                await asyncio.sleep(0)
                kept.append(bytearray(90000))
                await task
            asyncio.run(others())
            try:
                fails([])
            except KeyError:
                pass
            again(3)
        all_of_them()
        p.code_map.forget()  # the first time fills free lists of the interpreter
        all_of_them()
        print(json.dumps([lines_of(p), sys.getsizeof(bytearray(1000)), sys.getsizeof(bytearray(2000))]))
        """)
    )
    lines, one, two = got
    assert lines["numbers"]["a = bytearray(1000)"][0] == one and lines["numbers"]["a = None"][0] == -one
    assert lines["numbers"]["b = bytearray(2000)"][0] == two
    assert {lines["numbers"][text][0] for text in ("yield 1", "yield 2")} == {0}
    assert lines["waits"]["a = bytearray(1000)"][0] == one and lines["waits"]["b = bytearray(2000)"][0] == two
    assert abs(lines["waits"]["await asyncio.sleep(0.01)"][0]) < 9000  # asyncio's timer; not the 90,000 of another
    assert one <= lines["fails"]["block.append(bytearray(1000))"][0] <= one + 100
    assert lines["again"]["a = bytearray(1000)"][::2] == [4 * one, 4]
    assert lines["again"]["a = None"][::2] == [-4 * one, 4] and lines["again"]["if n: again(n - 1)"][0] == 0


@MODERN
def test_memory_usage(run):
    got = last(
        run("""
        import io, json, os, subprocess, time
        calls = []
        def spike(mib, seconds=0.0):
            calls.append(1)
            block = bytearray(mib << 20)
            time.sleep(seconds)
            return len(block)
        spike(1)
        low, value = memory_usage((spike, (0,)), backend="heap", max_usage=True, retval=True, max_iterations=5)
        high, when = memory_usage((spike, (64,)), backend="heap", max_usage=True, timestamps=True)
        samples = memory_usage((spike, (10, 0.35)), backend="heap", interval=0.05)
        capped = memory_usage((spike, (10, 0.3)), backend="heap", interval=0.02, timeout=0.1, max_usage=True)
        stream = io.StringIO()
        memory_usage((spike, (10, 0.1)), backend="heap", stream=stream)
        now = memory_usage(backend="heap") + memory_usage(os.getpid(), 0.01, 0.05, backend="heap")
        refused = []
        for arguments in ({"proc": os.getppid()}, {"proc": spike, "include_children": True}, {"multiprocess": True},
                          {"proc": subprocess.Popen(["true"])}):
            try:
                memory_usage(backend="heap", **arguments)
            except ValueError as error:
                refused.append(str(error))
        print(json.dumps([len(calls), high - low, time.time() - when, samples, capped, stream.getvalue(), now, refused, value]))
        """)
    )
    calls, rise, age, samples, capped, stream, now, refused, value = got
    assert calls == 6 and value == 0  # each once
    assert rise == pytest.approx(64, abs=0.01) and 0 <= age < 30
    assert len(samples) >= 4 and max(samples) - samples[0] == pytest.approx(10, abs=0.01)
    assert samples[-1] == pytest.approx(samples[0], abs=0.05)
    assert 10 < capped < 11.5
    assert stream.startswith("MEM ") and stream.count("MEM ") >= 2
    assert len(now) == 6 and max(now) - min(now) < 0.05
    assert len(refused) == 4 and all("only in which it runs" in text for text in refused)


@MODERN
def test_the_command_line_and_the_environment(run):
    program = """
    @profile
    def f():
        a = bytearray(5 << 20)
        del a
        return [0] * (1 << 20)
    kept = f()
    """
    module = ("-m", "heapline.compat.memory_profiler")
    for words, more in (((*module, "--backend", "heap"), {}), (module, {"HEAPLINE_BACKEND": "heap"})):
        done = run(program, *words, prefix="", **more)
        [table] = tables(done.stdout)
        assert row(table, "a = bytearray")[1] == 5.0 and row(table, "del a")[1] == -5.0  # three digits
        assert row(table, "return [0]")[1] == 8.0
        assert row(table, "@profile")[0] < 0.3  # MiB since the recording began
    by_import = run("from heapline.compat.memory_profiler import profile\n" + textwrap.dedent(program), prefix="",
                    HEAPLINE_BACKEND="heap")  # fmt: skip
    assert row(tables(by_import.stdout)[0], "return [0]")[1] == 8.0
    stamped = run(program, *module, "--timestamp", "--backend", "heap", prefix="").stdout.split()
    assert stamped[:2] == ["FUNC", "__main__.f"] and float(stamped[4]) - float(stamped[2]) == pytest.approx(8, abs=0.02)
    refused = run(program, *module, "--backend", "heap", "--include-children", prefix="", check=False)
    assert refused.returncode == 2 and "only in which it runs" in refused.stderr


def test_within_other_recordings(heapline, python):
    """Under heapline run, and where the program records itself, none is begun; one that ends, and one that follows it, are borne."""
    text = BYTES + textwrap.dedent("""
        import heapline, json
        own = "inside" in sys.argv
        if own:
            heapline.start("first.heapline")
        before = bytearray(10 << 20)
        p = LineProfiler(backend="heap")
        @p
        def f():
            a = bytearray(1 << 20)
            if own:
                heapline.stop()
                heapline.start("second.heapline")
            b = bytearray(2 << 20)
            return None
        f()
        recorded = heapline.is_recording()
        if own:
            heapline.stop()
            f2 = p(lambda: bytearray(1 << 20))
            f2()
        print(json.dumps([lines_of(p)["f"], recorded]))
        """)
    environment = {"PYTHONPATH": str(ROOT / "python"), "PATH": f"{heapline.binary.parent}:{os.environ['PATH']}"}
    profile = heapline.run(text, env=environment, python=python)
    lines, recorded = json.loads(profile.stdout.splitlines()[-1])
    assert recorded and lines["a = bytearray(1 << 20)"][1] > 11 << 20  # all that the program holds
    assert lines["b = bytearray(2 << 20)"][0] == (2 << 20) + 57
    path = heapline.folder / "app.py"
    path.write_text(text)
    done = python.run(str(path), "inside", env={**os.environ, **environment}, cwd=heapline.folder)
    assert done.returncode == 0, done
    lines, _ = json.loads(done.stdout.splitlines()[-1])
    assert lines["a = bytearray(1 << 20)"][0] == (1 << 20) + 57 and lines["b = bytearray(2 << 20)"][0] == (2 << 20) + 57
    assert lines['heapline.start("second.heapline")'][0] == 0
    assert (heapline.folder / "first.heapline").exists() and (heapline.folder / "second.heapline").exists()


@MODERN
def test_threads_and_forked_children(run):
    got = last(
        run("""
        import json, os, threading
        p = LineProfiler(backend="heap")
        @p
        def f(kept):
            for i in range(100):
                kept.append(bytearray(10000))
            return kept
        threads = [threading.Thread(target=f, args=([],)) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        times = lines_of(p)["f"]["kept.append(bytearray(10000))"][2]
        read, write = os.pipe()
        if os.fork() == 0:
            q = LineProfiler(backend="heap")
            q(f)([])
            os.write(write, json.dumps(lines_of(q)["f"]).encode())
            os._exit(0)
        os.wait()
        q = LineProfiler(backend="heap")
        q(f)([])
        print(json.dumps([times, json.loads(os.read(read, 10000)), lines_of(q)["f"]]))
        """)
    )
    times, child, parent = got
    assert times == 400
    for lines in (child, parent):
        taken, _, count = lines["kept.append(bytearray(10000))"]
        assert count == 100 and 100 * 10057 <= taken < 100 * 10057 + 30_000, lines


@MODERN
def test_without_the_package_psutil_stands_in(heapline, each_python):
    """The modules of install-shims need nothing of heapline, but for this backend."""
    if each_python.root:
        pytest.skip("inside a root of its own the files are not there")
    assert heapline("install-shims", "shims").exit == 0
    text = """
import warnings
from memory_profiler import choose_backend
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(choose_backend("heap"), caught[0].message)
"""
    environment = {**os.environ, "PYTHONPATH": str(heapline.folder / "shims")}
    done = each_python.run("-c", text, env=environment, cwd=heapline.folder)
    assert done.stdout == "psutil heap can not be used, psutil used instead\n", done
    environment["PYTHONPATH"] += os.pathsep + str(ROOT / "python")
    assert (
        each_python.run(
            "-c", text.split("with", maxsplit=1)[0] + "print(choose_backend('heap'))", env=environment
        ).stdout
        == "heap\n"
    )
