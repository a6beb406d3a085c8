"""heapline.compat.memory_profiler: the interface of memory_profiler 0.61, beside the real one, and what is corrected."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap

import pytest
from original import original_folder
from pythons import ROOT

# So malloc, and the allocator of free-threaded builds, give what is freed back at once, and RSS shows what is there.
PACKAGE = {
    "PYTHONPATH": str(ROOT / "python"),
    "MALLOC_MMAP_THRESHOLD_": "100000",
    "MIMALLOC_PURGE_DELAY": "0",
}
IMPORT = "from heapline.compat.memory_profiler import *\n"
MIB = 1 << 20
MODERN = pytest.mark.pythons(since=(3, 8))


@pytest.fixture
def run(tmp_path, each_python):
    """Runs a program that has imported the module; with `json`, what it printed last."""
    if each_python.root:
        pytest.skip("inside a root of its own the package would have to be installed")

    def run_it(text, *words, env=PACKAGE, check=True, prefix=IMPORT):
        path = tmp_path / "app.py"
        path.write_text(prefix + textwrap.dedent(text))
        done = each_python.run(*words, str(path), env={**os.environ, **env}, cwd=tmp_path)
        assert not check or done.returncode == 0, done
        return done

    return run_it


def last(done):
    return json.loads(done.stdout.splitlines()[-1])


def tables(text):
    """Each table as {line: (usage, increment, occurrences, text)}, lines that ran only."""
    result = []
    for part in text.split("Filename: ")[1:]:
        rows = re.findall(r"^ *(\d+) +(-?[\d.]+) MiB +(-?[\d.]+) MiB +(\d+)   (.*)$", part, re.M)
        result.append({int(n): (float(u), float(i), int(o), text) for n, u, i, o, text in rows})
    return result


def row(table, text):
    """The one of the line with this text."""
    return next(row for row in table.values() if text in row[3])


# ------------------------------------------------------------------------------------------------------ memory_usage


@MODERN
def test_memory_usage_of_a_function(run):
    got = last(
        run("""
        import json, mmap, time
        def f(mib, factor=1):
            with mmap.mmap(-1, mib << 20) as block:  # the allocator of free-threaded builds keeps what is freed
                for page in range(0, len(block), 4096):
                    block[page] = 1
                time.sleep(0.35)
                return len(block) * factor
        print(json.dumps([memory_usage((f, (50,), {"factor": 2}), retval=True), memory_usage((f, [50])),
            memory_usage((lambda: f(50)), max_usage=True), memory_usage((f, (50,)), max_usage=True, timestamps=True),
            memory_usage((f, (50,)), timestamps=True, interval=0.05), memory_usage((f, (50,)), timeout=0.15)]))
        """)
    )
    (samples, returned), plain, highest, (high, _), stamped, short = got
    assert returned == 100 * MIB
    for one in (samples, plain):
        assert 4 <= len(one) <= 80  # before, every 0.1 s, after: 5, and more on a busy machine
        assert 49 < max(one) - one[0] < 53 and abs(one[-1] - one[0]) < 3
    assert abs(highest - max(plain)) < 2 and abs(high - highest) < 2
    times = [when for _, when in stamped]
    assert times == sorted(times) and 0.3 < times[-1] - times[0] < 10 and len(stamped) >= 5
    assert 1 <= len(short) <= 3


@MODERN
def test_a_function_runs_once_and_a_short_peak_is_seen(run):
    """The original calls a fast function up to seven times, and sees no peak between two samples."""
    calls, highest, samples = last(
        run("""
        import json, mmap
        calls = []
        def spike():
            calls.append(1)
            with mmap.mmap(-1, 200 << 20) as block:
                for page in range(0, len(block), 4096):
                    block[page] = 1
        highest = memory_usage(spike, max_usage=True)
        samples = memory_usage(spike, max_iterations=5)
        print(json.dumps([len(calls), highest, samples]))
        """)
    )
    assert calls == 2
    assert 195 < highest - samples[0] < 215
    assert len(samples) >= 2


@MODERN
def test_an_exception_leaves_the_children_alone(run):
    """The original kills every child of the caller."""
    done = run("""
        import os, subprocess, time
        child = subprocess.Popen(["sleep", "30"])
        def fails():
            raise KeyError("mine")
        try:
            memory_usage(fails)
        except KeyError as error:
            print("raised", error)
        print(child.poll())
        child.kill()
        child.wait()
        try:
            print(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            print("no other child is left")
        """)
    assert done.stdout.splitlines() == ["raised 'mine'", "None", "no other child is left"]


@MODERN
def test_the_sampler_is_none_of_the_children_and_forks_do_not_hold_it(run):
    got = last(
        run("""
        import json, os, time
        def f():
            time.sleep(0.3)
        def forks():
            if os.fork() == 0:
                os.closerange(0, 3)  # whoever reads them need not wait for this child
                time.sleep(60)
                os._exit(0)
            time.sleep(0.2)
        began = time.time()
        alone, with_children = memory_usage(f), memory_usage(f, include_children=True)
        series = memory_usage(forks, multiprocess=True)
        print(json.dumps([alone, with_children, series, time.time() - began]))
        """)
    )
    alone, with_children, series, seconds = got
    assert abs(max(with_children) - max(alone)) < 3
    assert len(series[0]) == 1 and max(map(len, series)) == 2
    assert seconds < 30  # the child, which sleeps for 60 s, is not waited for


@MODERN
def test_processes_by_pid_and_popen(run):
    got = last(
        run("""
        import json, os, subprocess, sys, time
        hold = "import time; block = bytearray(60 << 20); time.sleep(0.6)"
        start = lambda: subprocess.Popen([sys.executable, "-c", hold])
        nested = lambda: subprocess.Popen(["sh", "-c", sys.executable + " -c '" + hold + "'; true"])
        result = [memory_usage(), memory_usage(-1, interval=0.05, timeout=0.2), memory_usage(os.getpid(), timestamps=True),
            memory_usage(-1, max_usage=True), memory_usage(str(os.getpid()))]
        result += [memory_usage(start()), memory_usage(start(), max_usage=True), memory_usage(start(), timeout=0.25),
            memory_usage(nested(), include_children=True, max_usage=True), memory_usage(nested(), multiprocess=True),
            memory_usage(start(), timestamps=True)]
        try:
            memory_usage(999999999)
        except ProcessLookupError:
            result.append("lookup")
        print(json.dumps(result))
        """)
    )
    now, few, stamped, highest, text = got[:5]
    assert len(now) == len(text) == 1 and len(few) == 4 and len(stamped) == 1 and len(stamped[0]) == 2
    assert abs(highest - now[0]) < 3
    popen, popen_high, popen_short, with_children, series, popen_stamped, lookup = got[5:]
    assert max(popen) > 60 and len(popen) >= 5 and popen_high > 60
    assert 1 <= len(popen_short) <= 3
    assert with_children > 62 and max(len(sample) for sample in series) == 2
    assert max(sample[0] for sample in series) < 20 and max(sample[-1] for sample in series) > 60
    assert all(len(sample) == 2 for sample in popen_stamped) and lookup == "lookup"


@MODERN
def test_a_stream_gets_lines_of_a_dat_file(run, heapline, tmp_path):
    done = run("""
        import subprocess, sys, time
        def f():
            block = bytearray(40 << 20)
            time.sleep(0.25)
            return "kept"
        for name in ("function", "popen"):
            with open(name + ".dat", "w") as stream:
                proc = f if name == "function" else subprocess.Popen(["sleep", "0.3"])
                print(memory_usage(proc, stream=stream, multiprocess=True, retval=name == "function"))
        """)
    assert done.stdout.splitlines() == ["(None, 'kept')", "None"]  # the original throws both away
    for name, least in (("function.dat", 45), ("popen.dat", 0.3)):
        lines = (tmp_path / name).read_text().splitlines()
        assert len(lines) >= 3 and all(re.fullmatch(r"(MEM|CHLD \d+) \d+\.\d{6} \d+\.\d{4}", line) for line in lines)
        assert float(heapline("mprof", "peak", name).stdout.split()[1]) > least


@MODERN
def test_backends(run):
    got = last(
        run("""
        import json, time, warnings
        def f():
            block = bytearray(40 << 20)
            time.sleep(0.25)
        result = {}
        for name in ("psutil", "psutil_pss", "psutil_uss", "posix", "tracemalloc"):
            assert choose_backend(name) == name
            samples = memory_usage(f, backend=name)
            result[name] = [samples[0], max(samples)]
        assert choose_backend() == choose_backend(None) == "psutil"
        try:
            choose_backend("nonsense")
        except KeyError:
            print(json.dumps(result))
        """)
    )
    assert all(39.9 < high - base < 42 for base, high in got.values()), got
    assert got["psutil_uss"][0] <= got["psutil_pss"][0] <= got["psutil"][0] + 1
    assert got["tracemalloc"][0] < 5  # traced memory, and not RSS


# ------------------------------------------------------------------------------------------------------ lines


@MODERN
def test_the_table(run, tmp_path):
    done = run("""
        @profile
        def my_func():
            a = [1] * (10 ** 6)
            b = [2] * (2 * 10 ** 7)
            del b
            return a

        my_func()
        """)
    lines = done.stdout.splitlines()
    assert lines[0] == f"Filename: {tmp_path / 'app.py'}" and lines[1] == ""
    assert lines[2] == "Line #    Mem usage    Increment  Occurrences   Line Contents"
    assert lines[3] == "=" * 61
    assert re.fullmatch(r"     3 {3,5}[\d.]{3,4} MiB +[\d.]+ MiB           1   @profile", lines[4])
    assert lines[5] == "     4                                         def my_func():"
    assert done.stdout.endswith("return a\n\n\n")
    [table] = tables(done.stdout)
    assert [table[n][1] for n in (5, 6, 7, 8)] == [
        pytest.approx(7.6, abs=0.5),
        pytest.approx(152.6, abs=0.5),
        pytest.approx(-152.6, abs=0.5),
        pytest.approx(0, abs=0.2),
    ]
    assert table[3][0] == table[3][1] and table[6][0] == max(row[0] for row in table.values())


@MODERN
def test_a_spike_in_a_loop_nets_to_zero(run):
    """The original subtracts the largest value that the line before ever had: -400, -300, -400, -100 MiB."""
    [table] = tables(
        run("""
        @profile
        def f():
            for i in range(5):
                x = bytearray(100 << 20 if i == 0 else 1)
                y = i
                x = None
        f()
        """).stdout
    )
    assert [table[n][1] for n in (5, 6, 7, 8)] == [pytest.approx(v, abs=0.3) for v in (0, 100, 0, -100)]
    assert [table[n][2] for n in (5, 6, 7, 8)] == [6, 5, 5, 5]


@MODERN
def test_a_noisy_backend_does_not_walk_away(run):
    """A loop of 5,000 passes that takes nothing: what is left is the noise of 5,000 differences, and not a walk. (50,000 under
    the original: -46,181 MiB.)"""
    [table] = tables(
        run("""
        @profile(backend="psutil_uss")
        def f():
            for i in range(5000):
                x = i
        f()
        """).stdout
    )
    assert abs(table[6][1]) < 10 and table[6][2] == 5000


@MODERN
def test_functions_that_call_each_other_and_themselves(run):
    """The original books the whole RSS on the line that calls a profiled function."""
    done = run("""
        import sys
        p = LineProfiler()
        @p
        def inner():
            return bytearray(30 << 20)
        @p
        def outer():
            a = inner()
            b = [bytearray(1 << 20) for _ in range(20)]
            return a, b
        @p
        def again(n):
            kept = bytearray(10 << 20)
            if n:
                again(n - 1)
            return n
        kept = outer()
        again(3)
        show_results(p, precision=2)
        """)
    inner, outer, again = tables(done.stdout)
    assert row(inner, "return bytearray")[1] == pytest.approx(30, abs=0.3)
    assert row(outer, "a = inner()")[1:3] == (pytest.approx(30, abs=0.3), 1)
    assert row(outer, "b = [")[1] == pytest.approx(20, abs=0.6)
    assert row(again, "kept =")[1:3] == (pytest.approx(40, abs=0.5), 4)
    # Three inner calls have given theirs back, which is booked on the line that called them.
    assert row(again, "again(n - 1)")[1] == pytest.approx(-30, abs=0.5)


@MODERN
def test_exceptions_generators_coroutines_and_descriptors(run):
    """Of these the original prints nothing, or fails; on 3.12 and later its coroutines cannot be made tasks."""
    done = run("""
        import asyncio, functools, inspect

        @profile
        def fails():
            kept = bytearray(20 << 20)
            raise ValueError

        @profile
        def numbers():
            a = bytearray(20 << 20)
            got = yield 1
            assert got == "sent"
            b = bytearray(30 << 20)
            yield 2
            return a, b

        @profile
        async def coroutine():
            a = bytearray(20 << 20)
            await asyncio.sleep(0.05)
            b = bytearray(30 << 20)
            return a, b

        @profile
        async def stream():
            a = bytearray(20 << 20)
            yield 1
            b = bytearray(30 << 20)
            yield 2

        class Thing:
            @profile
            @classmethod
            def over(cls):
                return bytearray(20 << 20)
            @classmethod
            @profile
            def under(cls):
                return bytearray(20 << 20)
            @profile
            @staticmethod
            def static():
                return bytearray(20 << 20)
            @profile
            @property
            def prop(self):
                return bytearray(20 << 20)

        def decorator(f):
            @functools.wraps(f)
            def wrapper(*args):
                return f(*args)
            return wrapper

        @profile
        @decorator
        def below():
            return bytearray(20 << 20)

        try:
            fails()
        except ValueError:
            pass
        g = numbers()
        assert next(g) == 1 and g.send("sent") == 2
        other = bytearray(50 << 20)       # while it is suspended: none of its business
        assert next(g, None) is None
        async def main():
            task = asyncio.create_task(coroutine())
            await asyncio.sleep(0.02)
            other = bytearray(70 << 20)
            await task
            assert [n async for n in stream()] == [1, 2]
        asyncio.run(main())
        assert inspect.iscoroutinefunction(coroutine) and inspect.isgeneratorfunction(numbers)
        assert inspect.isasyncgenfunction(stream)
        Thing.over(), Thing.under(), Thing.static(), Thing().prop, below()
        """)
    found = tables(done.stdout)
    assert len(found) == 9
    assert row(found[0], "kept = bytearray")[1] == pytest.approx(20, abs=0.3)
    assert row(found[0], "raise ValueError")[2] == 1
    for table in found[1:4]:
        assert row(table, "a = bytearray")[1] == pytest.approx(20, abs=0.4), table
        assert row(table, "b = bytearray")[1] == pytest.approx(30, abs=0.4), table
    assert row(found[1], "got = yield")[1:3] == (pytest.approx(0, abs=0.2), 1)
    assert row(found[1], "yield 2")[1:3] == (pytest.approx(0, abs=0.2), 1)
    assert row(found[2], "await")[1:3] == (pytest.approx(0, abs=0.2), 1)
    for table in found[4:]:
        assert row(table, "return bytearray")[1] == pytest.approx(20, abs=0.3), table


@MODERN
def test_line_profiler_as_an_object(run):
    got = last(
        run("""
        import io, json, sys, threading
        def f():
            a = bytearray(20 << 20)
            return a
        p = LineProfiler(backend="psutil", include_children=True)
        p.add_function(f)
        with p:
            assert p.enable_count == 1
            f()
        p.enable_by_count(); p.enable_by_count(); f(); p.disable_by_count(); p.disable_by_count()
        p.runctx("f()", globals(), {})
        assert sys.gettrace() is None and p.enable_count == 0
        g = p(precision=2)(f)
        g()
        threads = [threading.Thread(target=g) for _ in range(2)]
        [t.start() for t in threads]; [t.join() for t in threads]
        (filename, lines), = p.code_map.items()
        stream = io.StringIO()
        show_results(p, stream=stream, precision=4)
        print(json.dumps([dict((n, m) for n, m in lines if m), stream.getvalue(), g.__name__]))
        """)
    )
    assert [measures[2] for measures in got[0].values()] == [6, 6, 6]
    assert re.search(r"\d+\.\d{4} MiB +-?\d+\.\d{4} MiB +6 +a = bytearray", got[1]) and got[2] == "f"


@MODERN
def test_a_subclass_as_pyspark_has_one(run):
    """PySpark's profiler of UDFs: replaces code_map, overrides add and items, keeps pairs in _toplevel, reads triples."""
    got = last(
        run("""
        import inspect, json
        from heapline.compat.memory_profiler import CodeMap, LineProfiler
        class Map(CodeMap):
            def add(self, code, toplevel_code=None, *, sub_lines=None, start_line=None):
                if code in self:
                    return
                if toplevel_code is None:
                    toplevel_code = code
                    self._toplevel.append((code.co_filename, code))
                    self[code] = {}
                else:
                    self[code] = self[toplevel_code]
                for inner in filter(inspect.iscode, code.co_consts):
                    self.add(inner, toplevel_code=toplevel_code)
            def items(self):
                for filename, code in self._toplevel:
                    if self[code]:
                        yield filename, iter(self[code].items())
        class Profiler(LineProfiler):
            def __init__(self, **kw):
                super().__init__(**kw)
                self.code_map = Map(include_children=kw.get("include_children", False), backend=kw.get("backend", "psutil"))
            def __call__(self, func=None, precision=1, *, sub_lines=None, start_line=None):
                self.add_function(func, sub_lines=sub_lines, start_line=start_line)
                f = self.wrap_function(func)
                f.__module__ = func.__module__
                f.__dict__.update(getattr(func, "__dict__", {}))
                return f
            def add_function(self, func, *, sub_lines=None, start_line=None):
                self.code_map.add(func.__code__, sub_lines=sub_lines, start_line=start_line)
        def udf(x):
            kept = bytearray(25 << 20)
            return sum(n for n in range(x))
        p = Profiler()
        assert p(udf, sub_lines=["a"], start_line=1)(4) == 6
        print(json.dumps([[filename, list(lines)] for filename, lines in p.code_map.items()]))
        """)
    )
    [[filename, lines]] = got
    increments = {line: increment for line, (increment, _, _) in lines}
    assert filename.endswith("app.py") and any(i == pytest.approx(25, abs=0.3) for i in increments.values())
    assert sum(1 for i in increments.values() if i > 1) == 2  # the block, and the baseline on the first line


@MODERN
def test_code_without_a_file_has_a_table(run):
    done = run("""
        import linecache
        text = "def cell():\\n    a = bytearray(20 << 20)\\n    return a\\n"
        linecache.cache["<ipython-input-1>"] = len(text), None, text.splitlines(True), "<ipython-input-1>"
        for name in ("<ipython-input-1>", "<exec>"):
            names = {}
            exec(compile(text, name, "exec"), names)
            profile(names["cell"])()
        """)
    cell, nowhere = tables(done.stdout)
    assert cell[2][1] == pytest.approx(20, abs=0.2) and nowhere[2][1] == pytest.approx(20, abs=0.2)
    assert "bytearray" in cell[2][3] and nowhere[2][3] == ""
    assert "ERROR" not in done.stdout


@MODERN
def test_lines_by_tracemalloc_and_with_children(run):
    """The original: StopIteration where the file has no traced block; --include-children does nothing for lines."""
    done = run("""
        import os, signal, tracemalloc
        p = LineProfiler(include_children=True)
        @profile(backend="tracemalloc")
        def traced():
            a = bytearray(3 << 20)
            return a
        @p
        def with_child():
            ready, go = os.pipe()
            pid = os.fork()
            if pid == 0:
                block = bytearray(40 << 20)
                os.write(go, b"x")
                signal.pause()
            os.read(ready, 1)
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        traced()
        tracemalloc.stop()
        with_child()
        show_results(p)
        """)
    traced, with_child = tables(done.stdout)
    assert row(traced, "@profile")[0] < 1 and row(traced, "a = bytearray")[1] == pytest.approx(3, abs=0.1)
    born = ("os.fork()", "if pid == 0", "os.read")  # it may come to its memory during any of these
    assert sum(row(with_child, text)[1] for text in born) > 40
    assert row(with_child, "os.read")[0] - row(with_child, "os.waitpid")[0] > -1
    assert sum(row(with_child, text)[1] for text in ("os.kill", "os.waitpid")) < -40


@MODERN
def test_functions_that_were_not_added_are_not_traced(run):
    got = last(
        run("""
        import json, sys
        traced = []
        def other():
            traced.append(sys._getframe().f_trace is not None)
        @profile
        def f():
            traced.append(sys._getframe().f_trace is not None)
            other()
        f()
        print(json.dumps(traced))
        """)
    )
    assert got == [True, False]


@MODERN
def test_switched_off_by_the_environment(run):
    done = run(
        "def f(): pass\nassert profile(f) is f and profile(precision=2)(f) is f\n", env={**PACKAGE, "HEAPLINE": "0"}
    )
    assert done.stdout == ""


@MODERN
def test_streams_and_log_files(run):
    done = run("""
        import logging, sys
        logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
        @profile(stream=LogFile("all"))
        def f():
            x = "MiB and MiB and MiB"
        @profile(stream=LogFile("some", reportIncrementFlag=True))
        def g():
            a = bytearray(20 << 20)
            x = "MiB and MiB and MiB"
            del a
        f()
        print("-" * 10)
        g()
        """)
    whole, some = done.stdout.split("-" * 10 + "\n")
    assert "=====" in whole and "Filename:" in whole
    assert "=====" not in some and "Line Contents" in some and "a = bytearray" in some
    assert "del a" not in some and "MiB and" not in some
    result = run("print(MemitResult([5.0, 7.5], 4.0, 1, None, 0.1, False))").stdout
    assert result == "peak memory: 7.50 MiB, increment: 3.50 MiB\n"


# ------------------------------------------------------------------------------------------------------ python -m


@MODERN
def test_python_dash_m(run, tmp_path):
    text = """
        import pickle, sys
        @profile
        def f():
            return bytearray(20 << 20)
        @profile
        def never():
            pass
        kept = [f(), f()]
        assert pickle.loads(pickle.dumps(f)) is f
        print(__name__, sys.argv[1:])
        raise SystemExit(3)
        """
    module = ["-m", "heapline.compat.memory_profiler"]
    done = run(text, *module, prefix="", check=False)
    assert done.returncode == 3 and done.stdout.startswith("__main__ []\n"), done
    [table] = tables(done.stdout)  # one for both calls, with three digits
    assert row(table, "return bytearray")[1:3] == (pytest.approx(40, abs=0.4), 2)
    assert re.search(r"\d\.\d{3} MiB", done.stdout)
    run(text, *module, "-o", "out.txt", "--precision", "1", prefix="", check=False)
    assert row(tables((tmp_path / "out.txt").read_text())[0], "return bytearray")[2] == 2
    imported = run("from memory_profiler import profile\n" + textwrap.dedent(text), *module, prefix="", check=False)
    assert imported.stdout.count("Filename") == 1
    stamped = run(text, *module, "--timestamp", prefix="", check=False)
    assert len(re.findall(r"^FUNC __main__\.f [\d.]+ [\d.]+ [\d.]+ [\d.]+ 0$", stamped.stdout, re.M)) == 2
    assert run("1/0", *module, prefix="", check=False).stderr.splitlines()[1].endswith('app.py", line 1, in <module>')


@MODERN
def test_debugger_above_a_limit(run, each_python, tmp_path):
    (tmp_path / "app.py").write_text(
        "@profile\ndef f():\n    a = bytearray(300 << 20)\n    b = 1\n    print('after')\nf()\n"
    )
    done = each_python.run(
        "-m", "heapline.compat.memory_profiler", "--pdb-mmem", "250", "app.py", input="p len(a)\nc\n",
        env={**os.environ, **PACKAGE}, cwd=tmp_path,
    )  # fmt: skip
    assert re.search(
        r"Current memory \d+\.\d\d MiB exceeded the maximum of 250.00 MiB\nStepping into the debugger \n", done.stdout
    )
    assert str(300 * MIB) in done.stdout and "after" in done.stdout, done


# ------------------------------------------------------------------------------------------------------ shims


def test_shims_run_programs_unchanged(heapline, python, tmp_path):
    done = heapline("install-shims", "shims")
    assert done.stdout == "shims/memory_profiler\nshims/mprof.py\nshims/bin/mprof\n", done
    assert heapline("install-shims", "shims").exit == 0  # again, over its own
    (heapline.folder / "app.py").write_text(
        "from memory_profiler import profile, memory_usage\nimport memory_profiler, mprof\n"
        "@profile\ndef f():\n    return bytearray(20 << 20)\nf()\n"
        "print(mprof.function_labels(['a.b.f', 'a.c.f', 'g']), memory_profiler.__version__)\n"
    )
    folder = heapline.folder / "shims"
    env = {**os.environ, "PYTHONPATH": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    ran = python.run("app.py", env=env, cwd=heapline.folder)
    assert "Line Contents" in ran.stdout and "{'a.b.f': 'b.f', 'a.c.f': 'c.f', 'g': 'g'} 0.61.0" in ran.stdout, ran
    module = python.run("-m", "memory_profiler", "app.py", env=env, cwd=heapline.folder)
    assert module.returncode == 0 and module.stdout.count("Filename") == 1, module
    sampled = subprocess.run(
        ["mprof", "run", "-o", "x.dat", "app.py"], env=env, cwd=heapline.folder, capture_output=True
    )
    assert sampled.returncode == 0 and "FUNC __main__.f " in (heapline.folder / "x.dat").read_text()
    read = python.run("-c", "import mprof; d = mprof.read_mprofile_file('x.dat'); print(sorted(d), len(d['func_timestamp']))",
                      env=env, cwd=heapline.folder)  # fmt: skip
    assert read.stdout.startswith("['children', 'cmd_line', 'filename', 'func_timestamp', 'mem_usage', 'timestamp'] 1")
    (folder / "mprof.py").write_text("# mine\n")
    refused = heapline("install-shims", "shims")
    assert refused.exit == 1 and "--force" in refused.stderr and (folder / "mprof.py").read_text() == "# mine\n"
    assert heapline("install-shims", "--force", "shims").exit == 0


# ------------------------------------------------------------------------------------------------ beside the original

BOTH = """
import json, os, subprocess, sys, time, warnings
{imports}
warnings.simplefilter("ignore")

@profile
def straight():
    a = [1] * (10 ** 6)
    b = bytearray(50 << 20)
    c = a[0] + 1
    del b
    return c

@profile
def loop():
    total = 0
    for i in range(4):
        total += i
    if total:
        total -= 1
    return total

def hold():
    block = bytearray(40 << 20)
    time.sleep(0.6)
    return 5

straight()
loop()
started = lambda: subprocess.Popen(["sleep", "0.4"])
shape = lambda value: type(value).__name__ if not isinstance(value, (list, tuple)) else [type(value).__name__, shape(value[0])]
print(json.dumps([
    [shape(memory_usage()), shape(memory_usage(-1, timestamps=True)), shape(memory_usage(-1, max_usage=True)),
     shape(memory_usage(started(), multiprocess=True)), shape(memory_usage(started(), max_usage=True)),
     shape(memory_usage(started(), timestamps=True)), shape(memory_usage(hold)), shape(memory_usage(hold, max_usage=True)),
     shape(memory_usage(hold, timestamps=True)), shape(memory_usage(hold, retval=True)),
     shape(memory_usage((hold, (), {{}}), max_usage=True, retval=True))],
    len(memory_usage(-1, interval=0.02, timeout=0.2)), max(memory_usage(hold)) - memory_usage()[0],
    memory_usage(hold, retval=True)[1], [name for name in ("psutil", "posix", None) if choose_backend(name)],
]))
"""


@pytest.mark.pythons("3.9", "3.11", "3.12")
def test_the_same_where_the_original_is_right(run, each_python, tmp_path):
    """Tables of straight code and simple loops, and shapes and figures of memory_usage. Where the original is wrong, other
    tests here say what is right (and docs/memory-profiler.md lists it)."""
    folder = original_folder(each_python)
    path = tmp_path / "both.py"
    imports = "from {} import profile, memory_usage, choose_backend"
    path.write_text(BOTH.format(imports=imports.format("memory_profiler")))
    theirs = subprocess.run([str(folder / "python"), str(path)], capture_output=True, text=True, timeout=120)
    assert theirs.returncode == 0, theirs
    ours = run(BOTH.format(imports=imports.format("heapline.compat.memory_profiler")), prefix="")
    lines = [re.sub(r"-?[\d.]+ MiB", "MiB", text).replace("both.py", "app.py") for text in (ours.stdout, theirs.stdout)]
    squeezed = [re.sub(r" +MiB", " MiB", text).splitlines()[:-1] for text in lines]
    assert squeezed[0] == squeezed[1]  # every line, its occurrences, its text
    for mine, other in zip(tables(ours.stdout), tables(theirs.stdout)):
        for line in list(mine)[1:]:  # the first is the baseline: psutil and its like are part of theirs
            assert mine[line][1] == pytest.approx(other[line][1], abs=0.5), (mine, other)
    mine, other = json.loads(ours.stdout.splitlines()[-1]), json.loads(theirs.stdout.splitlines()[-1])
    assert mine[0] == other[0] and mine[1] == other[1] and mine[3:] == other[3:]
    assert mine[2] == pytest.approx(other[2], abs=1) == pytest.approx(40, abs=1.5)
