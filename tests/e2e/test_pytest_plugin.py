"""heapline's plugin for pytest (docs/pytest.md), in runs of pytest of their own."""

import hashlib
import json
import os
import re
import textwrap
import xml.etree.ElementTree as xml

import pytest
from pythons import ROOT, cache_folder, default_python
from test_inprocess import SINCE

PLUGIN = ("-p", "heapline.pytest_plugin", "-p", "no:cacheprovider")
NOISE = 20_000  # what a test function's own frames, lists and first calls may come to


def packages(python, *wanted, modules=("pytest",)):
    """A folder with packages of PyPI for this interpreter, made once; skips where they cannot be had."""
    name = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:12]
    folder = cache_folder() / "packages" / "{}.{}{}".format(*python.version, "t" * python.free_threaded) / name
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    there = lambda: python.run("-c", "import " + ", ".join(modules), env=environment).returncode == 0
    if not python.root and not there():
        python.run(
            "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder), *wanted, timeout=900
        )
    if python.root or not there():
        pytest.skip(f"no {' '.join(wanted)} for this CPython: pip cannot install it")
    return folder


class Suite:
    """A folder of tests, and runs of it."""

    def __init__(self, heapline, python=None, wanted=("pytest",), modules=("pytest",), plugin=PLUGIN):
        self.heapline = heapline
        self.python = python or default_python()
        self.packages = packages(self.python, *wanted, modules=modules)
        self.plugin = plugin

    def write(self, text, name="test_it.py"):
        (self.heapline.folder / name).write_text(textwrap.dedent(text))

    def run(self, *options, columns=80, exit=None, under=None, env=None, timeout=180):
        environment = {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(self.packages)]),
            "PATH": os.pathsep.join([str(self.heapline.binary.parent), os.environ.get("PATH", "")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": str(columns),
            **(env or {}),
        }
        arguments = ["-m", "pytest", *self.plugin, *options]
        if under:
            self.profile = self.heapline.run(
                arguments, python=self.python, env=environment, check=False, timeout=timeout, options=under
            )
            finished = self.profile.finished
        else:
            finished = self.heapline.plain(arguments, python=self.python, env=environment, timeout=timeout)
        if exit is not None:
            assert finished.exit == exit, finished
        self.output = finished.stdout + finished.stderr
        return finished

    def numbers(self, *options, **how):
        """The numbers of the tests that passed, by their names without the file's."""
        path = self.heapline.folder / "numbers.json"
        path.unlink(missing_ok=True)
        self.run("--heapline-save", path.name, *options, **how)
        content = json.loads(path.read_text())
        assert content["schema"] == "heapline.tests/1"
        assert list(content["tests"]) == sorted(content["tests"])
        return {name.split("::", 1)[1]: values for name, values in content["tests"].items()}


KNOWN = """
    import pytest

    KEPT = []

    @pytest.fixture
    def ballast():
        return [bytearray(1_000_000) for _ in range(20)]

    def test_spike():
        spike = bytearray(10_000_000)
        del spike
        again = bytearray(4_000_000)

    def test_frees_what_it_has_not_made(ballast):
        ballast.clear()
        own = bytearray(3_000_000)

    def test_leaves():
        KEPT.append(bytearray(2_000_000))

    class Node:
        pass

    def test_cycle():
        node = Node()
        node.itself, node.weight = node, bytearray(5_000_000)

    def test_many():
        for _ in [None] * 1000:
            bytearray(700)

    @pytest.mark.parametrize("megabytes", [1, 2])
    def test_each(megabytes):
        held = bytearray(megabytes * 1_000_000)
"""
EXPECTED = {  # peak, left
    "test_spike": (10_000_000, 0),
    "test_frees_what_it_has_not_made": (3_000_000, 0),
    "test_leaves": (2_000_000, 2_000_000),
    "test_cycle": (5_000_000, 0),
    "test_many": (0, 0),
    "test_each[1]": (1_000_000, 0),
    "test_each[2]": (2_000_000, 0),
}


def check_known(numbers):
    assert set(numbers) == set(EXPECTED)
    for name, (peak, left) in EXPECTED.items():
        assert peak <= numbers[name]["peak_bytes"] < peak + NOISE, (name, numbers[name])
        assert left <= numbers[name]["leaked_bytes"] < left + NOISE, (name, numbers[name])
    many = numbers["test_many"]
    assert 2000 <= many["allocations"] < 2300  # an object and its buffer
    assert 701_000 <= many["allocated_bytes"] < 701_000 + 200 * 1000
    assert 2000 <= many["temporary"] < 2300
    assert 14_000_000 <= numbers["test_spike"]["allocated_bytes"] < 14_000_000 + NOISE


@SINCE
def test_known_numbers(heapline, each_python):
    suite = Suite(heapline, each_python)
    suite.write(KNOWN)
    check_known(suite.numbers("--heapline"))
    assert "7 passed" in suite.output, suite.output


LIMITS = """
    import pytest

    KEPT = []

    @pytest.mark.limit_memory("24 MB")
    def test_below():
        held = bytearray(24 * 2**20 - 5000)

    @pytest.mark.limit_memory("24 MB")
    def test_above():
        held = bytearray(24 * 2**20)

    @pytest.mark.limit_leaks("1 MB")
    def test_many_small_leaks():
        KEPT.append(bytearray(2**20 - 5000))
        KEPT.append(bytearray(2**20 - 5000))

    @pytest.mark.limit_leaks("1 MB")
    def test_one_large_leak():
        for _ in range(4):
            KEPT.append(bytearray(2**18))

    @pytest.mark.heapline_limit(peak="1 MB")
    def test_own_peak():
        held = bytearray(1_000_000)

    @pytest.mark.heapline_limit(peak="1 MiB", allocations=100, allocated="2 MB", temporary=1000)
    def test_own_fits():
        held = bytearray(1_000_000)

    @pytest.mark.heapline_limit(allocations=500)
    def test_own_allocations():
        for _ in range(300):
            bytearray(600)

    @pytest.mark.heapline_limit(temporary=500)
    def test_own_temporary():
        for _ in range(300):
            bytearray(600)

    @pytest.mark.heapline_limit(allocated="1 MB")
    def test_own_allocated():
        for _ in range(300):
            bytearray(6000)

    @pytest.mark.heapline_limit(leaks="1 MB")
    def test_own_leaks():
        KEPT.append(bytearray(1_100_000))

    def test_unmarked():
        held = bytearray(50_000_000)
"""


@SINCE
def test_limits_are_enforced_without_heapline_being_asked(heapline, each_python):
    suite = Suite(heapline, each_python)
    suite.write(LIMITS)
    suite.run("-rA", exit=1)
    outcomes = dict(re.findall(r"^(PASSED|FAILED|ERROR) test_it.py::(\w+)", suite.output, re.M)[::-1])
    outcomes = {}
    for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR) test_it.py::(\w+)", suite.output, re.M):
        outcomes.setdefault(name, []).append(outcome)
    assert outcomes == {
        "test_below": ["PASSED"],
        "test_above": ["FAILED"],
        "test_many_small_leaks": ["PASSED"],
        "test_one_large_leak": ["FAILED"],
        "test_own_peak": ["FAILED"],
        "test_own_fits": ["PASSED"],
        "test_own_allocations": ["FAILED"],
        "test_own_temporary": ["FAILED"],
        "test_own_allocated": ["FAILED"],
        "test_own_leaks": ["PASSED", "ERROR"],
        "test_unmarked": ["PASSED"],
    }
    assert "heapline: the" not in suite.output and "not everything" not in suite.output
    assert 'held 25.2 MB at its peak: limit_memory("24 MB") allows 25.2 MB, 24 MiB' in suite.output
    assert 'kept more than limit_leaks("1 MB") allows at one call stack, 1.05 MB at it' in suite.output


def test_a_failure_names_the_tests_own_line_first(heapline):
    suite = Suite(heapline)
    suite.write("def read(n):\n    return parse(bytearray(n))\n\ndef parse(raw):\n    return raw\n", "library.py")
    suite.write(
        """
        import library
        import pytest

        @pytest.mark.limit_memory("1 MB")
        def test_reads():
            small = library.read(300_000)
            large = [library.read(1_000_000) for _ in range(3)]
        """
    )
    suite.run(exit=1)
    failure = suite.output[suite.output.index("held 3.30 MB") :].split("\n")
    assert failure[0] == 'held 3.30 MB at its peak: limit_memory("1 MB") allows 1.05 MB, 1 MiB'
    assert failure[1].split() == "3.00 MB test_it.py:8 in test_reads".split()
    assert failure[2].strip() == "large = [library.read(1_000_000) for _ in range(3)]"
    assert failure[3].strip("- ") == "heapline: held at the peak"
    section = "\n".join(failure[4:])
    at = [
        section.index(text)
        for text in ("test_it.py:8 in test_reads", "library.py:2 in read", "return parse(bytearray(n))")
    ]
    assert at == sorted(at)
    assert section.index("test_it.py:7 in test_reads") > at[-1]
    assert re.search(r"FAILED test_it.py::test_reads - LimitExceeded: held 3.30 MB", suite.output)


@pytest.mark.parametrize("columns", [80, 120])
def test_output_fits_the_terminal(heapline, columns):
    suite = Suite(heapline)
    deep = "/".join(["a_rather_long_name_of_a_folder"] * 5)
    (heapline.folder / deep).mkdir(parents=True)
    suite.write(
        """
        import pytest

        @pytest.mark.limit_memory("1 MB")
        @pytest.mark.parametrize("name", ["of a long parameter that goes on and on and on, beyond all bounds, as some do"])
        def test_with_a_name_that_says_all_that_it_does_and_a_little_more(name):
            something_with_a_long_name = [bytearray(1_000_000) for something_else_with_a_long_name in range(3)], "and more"
        """,
        deep + "/test_long.py",
    )
    suite.write(LIMITS)
    suite.run("--heapline", "--heapline-save", "numbers.json", columns=columns, exit=1)
    suite.run(
        "--heapline-compare", "numbers.json", "--heapline-fail-over", "5%", "--deselect", "test_it.py::test_unmarked",
        columns=columns, exit=1,
    )  # fmt: skip
    said = suite.output[suite.output.index("= FAILURES") : suite.output.index("= short test summary")]
    longest = max((line for line in said.splitlines() if not line.startswith("_ test_")), key=len)  # pytest's own
    assert len(longest) <= columns, longest


def test_filter_fn_gets_stacks(heapline):
    suite = Suite(heapline)
    suite.write(
        """
        import pytest
        from heapline.pytest_plugin import Stack, StackFrame

        CACHE, SEEN = [], []

        class Cache:
            def fill(self):
                CACHE.append(bytearray(3_000_000))

        def not_the_cache(stack):
            assert isinstance(stack, Stack) and all(isinstance(frame, StackFrame) for frame in stack.frames)
            SEEN.append(stack)
            return not any(frame.function == "fill" and frame.filename == __file__ for frame in stack.frames)

        @pytest.mark.limit_leaks("1 MB", filter_fn=not_the_cache)
        def test_cache():
            Cache().fill()
            CACHE.append(bytearray(10))

        def test_seen():
            (stack,) = SEEN  # once for each stack above the limit
            assert [(frame.function, frame.lineno) for frame in stack.frames[:2]] == [("fill", 9), ("test_cache", 18)]

        @pytest.mark.limit_leaks("1 MB", filter_fn=not_the_cache)
        def test_other():
            Cache().fill()
            CACHE.append(bytearray(3_000_000))
        """
    )
    suite.run(exit=1)
    assert "1 failed, 2 passed" in suite.output, suite.output
    failure = suite.output[suite.output.index("heapline: kept") :]
    assert "in test_other" in failure and "fill" not in failure.split("short test summary")[0]


def test_current_thread_only(heapline):
    suite = Suite(heapline)
    suite.write(
        """
        import threading
        import pytest

        def work():
            held = []
            thread = threading.Thread(target=lambda: held.append(bytearray(5 * 2**20)))
            thread.start()
            thread.join()

        @pytest.mark.limit_memory("2 MB")
        def test_all():
            work()

        @pytest.mark.limit_memory("2 MB", current_thread_only=True)
        def test_this_thread():
            work()
        """
    )
    suite.run("-rA", exit=1)
    assert "FAILED test_it.py::test_all" in suite.output and "PASSED test_it.py::test_this_thread" in suite.output


def test_wrong_markers_fail_their_tests_only(heapline):
    suite = Suite(heapline)
    suite.write(
        """
        import pytest

        @pytest.mark.limit_memory("24 megabytes")
        def test_size(): pass

        @pytest.mark.limit_memory("24 MB", warmup=3)
        def test_argument(): pass

        @pytest.mark.heapline_limit(speed=3)
        def test_figure(): pass

        def test_right(): pass
        """
    )
    suite.run(exit=1)
    assert "3 failed, 1 passed" in suite.output
    assert "limit_memory: Invalid memory size format: 24 megabytes" in suite.output
    assert "speed= is none of peak, leaks, allocations, allocated, temporary" in suite.output


def test_a_limit_is_a_failure_like_any_other(heapline):
    """xfail, --lf, -x, and a test that fails for itself."""
    suite = Suite(heapline)
    suite.write(
        """
        import pytest

        @pytest.mark.xfail
        @pytest.mark.limit_memory("1 MB")
        def test_expected():
            held = bytearray(2_000_000)

        @pytest.mark.limit_memory("1 MB")
        def test_fails_itself():
            held = bytearray(2_000_000)
            assert held is None

        @pytest.mark.limit_memory("1 MB")
        def test_above():
            held = bytearray(2_000_000)

        def test_last(): pass
        """
    )
    suite.run(exit=1)
    assert "2 failed, 1 passed, 1 xfailed" in suite.output
    assert suite.output.count("LimitExceeded") == 1
    suite.run("-x", "--deselect", "test_it.py::test_fails_itself", exit=1)
    assert "1 failed, 1 deselected, 1 xfailed" in suite.output


# ------------------------------------------------------------------------------------------- kinds of tests, versions


@pytest.mark.parametrize("version", ["pytest==7.0.1", "pytest==7.4.4", "pytest==8.0.2"])
def test_older_versions_of_pytest(heapline, version):
    suite = Suite(heapline, wanted=(version,))
    suite.write(KNOWN)
    check_known(suite.numbers("--heapline"))
    suite.write(LIMITS)
    suite.run(exit=1)
    assert "6 failed, 5 passed, 1 error" in suite.output, suite.output


def test_kinds_of_tests(heapline):
    suite = Suite(
        heapline,
        wanted=("pytest", "hypothesis", "pytest-asyncio", "anyio", "pytest-rerunfailures"),
        modules=("pytest", "hypothesis", "pytest_asyncio", "anyio", "pytest_rerunfailures"),
    )
    suite.write(
        """
        import asyncio, unittest
        import pytest
        from hypothesis import given, settings, strategies

        @pytest.mark.asyncio
        async def test_asyncio():
            held = bytearray(2_000_000)
            await asyncio.sleep(0.001)

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_anyio():
            held = bytearray(3_000_000)
            await asyncio.sleep(0.001)

        class TestUnit(unittest.TestCase):
            def setUp(self):
                self.ballast = bytearray(4_000_000)
            def test_unit(self):
                held = bytearray(1_000_000)
            @pytest.mark.limit_memory("1 MB")
            def test_above(self):
                held = bytearray(100)

        class TestClass:
            def setup_method(self):
                self.ballast = bytearray(4_000_000)
            def test_method(self):
                held = bytearray(1_500_000)

        @settings(max_examples=30, deadline=None)
        @given(strategies.integers(0, 10))
        def test_hypothesis(n):
            held = bytearray(6_000_000 + n)

        def documented():
            '''
            >>> held = bytearray(7_000_000)
            >>> del held
            '''

        runs = []

        @pytest.mark.flaky(reruns=2)
        def test_retried():
            runs.append(1)
            held = bytearray((10 - len(runs)) * 1_000_000)
            assert len(runs) == 3

        @pytest.fixture
        def box():
            yield []

        def test_the_fixture_holds_it(box):
            box.append(bytearray(8_000_000))

        @pytest.fixture(scope="module")
        def cupboard():
            return []

        def test_a_wider_fixture_holds_it(cupboard):
            cupboard.append(bytearray(9_000_000))

        def test_last(cupboard): pass
        """
    )
    numbers = suite.numbers("--doctest-modules", "-W", "ignore", "-o", "asyncio_default_fixture_loop_scope=function")
    assert suite.output.count("LimitExceeded") >= 1 and "1 failed" in suite.output, suite.output
    peaks = {
        "test_asyncio": 2_000_000,
        "test_anyio": 3_000_000,
        "TestUnit::test_unit": 5_000_000,
        "TestClass::test_method": 1_500_000,
        "test_it.documented": 7_000_000,
        "test_retried": 7_000_000,
        "test_the_fixture_holds_it": 8_000_000,
        "test_a_wider_fixture_holds_it": 9_000_000,
    }
    for name, peak in peaks.items():
        assert peak <= numbers[name]["peak_bytes"] < peak + 500_000, (name, numbers[name])
        if name != "test_a_wider_fixture_holds_it":
            assert numbers[name]["leaked_bytes"] < 200_000, (name, numbers[name])
    assert 6_000_000 <= numbers["test_hypothesis"]["peak_bytes"] < 15_000_000
    assert numbers["test_a_wider_fixture_holds_it"]["leaked_bytes"] >= 9_000_000


def test_subtests(heapline):
    suite = Suite(heapline, wanted=("pytest>=9",))
    suite.write(
        """
        import pytest

        @pytest.mark.limit_memory("5 MB")
        def test_parts(subtests):
            for i in range(3):
                with subtests.test(i=i):
                    held = bytearray(1_000_000 * (i + 1))
        """
    )
    numbers = suite.numbers(exit=0)
    assert 3_000_000 <= numbers["test_parts"]["peak_bytes"] < 5_100_000


def test_numbers_are_in_junit_xml(heapline):
    suite = Suite(heapline)
    suite.write(KNOWN)
    numbers = suite.numbers("--junitxml=junit.xml")
    for case in xml.parse(heapline.folder / "junit.xml").iter("testcase"):
        properties = {each.get("name"): int(each.get("value")) for each in case.iter("property")}
        assert properties == {f"heapline_{key}": value for key, value in numbers[case.get("name")].items()}


# --------------------------------------------------------------------------------------------------------- baseline


def test_the_gate(heapline):
    suite = Suite(heapline)
    suite.write(KNOWN)
    suite.run("--heapline-save", "base/line.json", exit=0)
    base = heapline.folder / "base" / "line.json"
    first = base.read_text()
    assert first.count("\n") == len(EXPECTED) + 7 and len(first) < 2500
    suite.run("--heapline-save", "base/line.json", exit=0)
    suite.run(
        "--heapline-compare", "base/line.json", "--heapline-fail-over", "5%", "--heapline-fail-over", "leak:1MB", exit=0
    )
    assert "7 tests compared, none grew by more than 5%, leak:1MB" in suite.output

    changed = KNOWN.replace("bytearray(10_000_000)", "bytearray(10_600_000)")  # + 6 %
    changed = changed.replace("bytearray(2_000_000)", "bytearray(3_500_000)")  # left behind
    changed = changed.replace("bytearray(3_000_000)", "bytearray(1_000_000)")  # less
    changed = changed.replace("def test_cycle", "def test_renamed")
    suite.write(changed)
    suite.run("--heapline-compare", "base/line.json", exit=0)
    assert (
        "6 tests compared" in suite.output and "-2.00 MB  test_it.py::test_frees_what_it_has_not_made" in suite.output
    )
    suite.run(
        "--heapline-compare",
        "base/line.json",
        "--heapline-fail-over",
        "7%",
        "--deselect",
        "test_it.py::test_leaves",
        exit=0,
    )
    suite.run(
        "--heapline-compare", "base/line.json", "--heapline-fail-over", "5%", "--heapline-fail-over", "leak:1MB", exit=1
    )
    said = suite.output[suite.output.index("compared with") :]
    assert (
        "FAILED  test_it.py::test_spike\n        peak: 10.6 MB, 10.0 MB before (+600.0 kB, +6.0 %), over +5%\n" in said
    )
    assert "10.6 MB  test_it.py:11 in test_spike" in said and "spike = bytearray(10_600_000)" in said
    assert "leak: 3.50 MB, 2.00 MB before (+1.50 MB, +75.0 %), over +1MB" in said
    assert "1 test not in the baseline: test_it.py::test_renamed" in said
    assert "1 test in the baseline and not run: test_it.py::test_cycle" in said
    assert "2 tests grew by more than 5%, leak:1MB" in said
    suite.run("--heapline-compare", "base/line.json", "--heapline-fail-over", "700kB", "-k", "spike", exit=0)
    suite.run("--heapline-compare", "base/line.json", "--heapline-fail-over", "500kB", "-k", "spike", exit=1)


@pytest.mark.parametrize(
    "content, why",
    [
        (None, "No such file"),
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[1]", "was not made by --heapline-save"),
        (b'{"schema": "heapline.tests/9", "tests": {}}', "another version of heapline"),
        (b'{"schema": "heapline.tests/1"}', "damaged"),
        (b'{"schema": "heapline.tests/1", "tests": {"a": {"peak_bytes": "3"}}}', "damaged"),
    ],
)
def test_a_bad_baseline_is_a_usage_error(heapline, content, why):
    suite = Suite(heapline)
    suite.write("def test_nothing(): pass")
    if content is not None:
        (heapline.folder / "base.json").write_bytes(content)
    suite.run("--heapline-compare", "base.json", exit=4)
    assert why in suite.output and "Traceback" not in suite.output


@pytest.mark.parametrize(
    "options, why",
    [
        (["--heapline-fail-over", "5%"], "with what?"),
        (["--heapline-compare", "b.json", "--heapline-fail-over", "5x"], "neither a share"),
        (["--heapline-compare", "b.json", "--heapline-fail-over", "rss:5%"], "no such figure"),
        (["--heapline", "--heapline-most", "few"], "no number of tests"),
    ],
)
def test_wrong_options_are_usage_errors(heapline, options, why):
    suite = Suite(heapline)
    suite.write("def test_nothing(): pass")
    suite.run(*options, exit=4)
    assert why in suite.output and "Traceback" not in suite.output


def test_settings_in_the_ini_file(heapline):
    suite = Suite(heapline)
    suite.write(KNOWN)
    suite.write(
        "[pytest]\nheapline = true\nheapline_most = 2\nheapline_dir = kept\nheapline_save = n.json\nheapline_malloc_only = true\n",
        "pytest.ini",
    )
    suite.run(exit=0)
    assert "heapline: the 2 heaviest of 7 tests" in suite.output
    assert json.loads((heapline.folder / "n.json").read_text())["recorded"] == "stacks"
    kept = {path.name for path in (heapline.folder / "kept").iterdir()}
    assert kept == {"session.heapline", "test_it.py-test_spike.heapline", "test_it.py-test_cycle.heapline"}
    one = heapline.profile(heapline.folder / "kept" / "test_it.py-test_spike.heapline")
    assert 10_000_000 <= one.stats()["peak_bytes"] < 10_000_000 + NOISE
    session = heapline.profile(heapline.folder / "kept" / "session.heapline")
    assert {row[0] for row in session.sql("SELECT name FROM mark")} >= {f"test_it.py::{name}" for name in EXPECTED}


# ------------------------------------------------------------------------------------------------------- many processes


@pytest.mark.parametrize("dist", ["load", "loadscope", "worksteal", "each"])
def test_xdist(heapline, dist):
    suite = Suite(heapline, wanted=("pytest", "pytest-xdist"), modules=("pytest", "xdist"))
    suite.write(KNOWN)
    alone = suite.numbers()
    assert "spike = bytearray(10_000_000)" in suite.output
    several = suite.numbers("-n", "2", "--dist", dist)
    check_known(several)
    assert "spike = bytearray(10_000_000)" in suite.output and "heapline: the 5 heaviest of 7 tests" in suite.output
    for name in alone:
        for key in ("peak_bytes", "leaked_bytes"):
            assert abs(alone[name][key] - several[name][key]) < 4000, (name, key)
    suite.run("-n", "2", "--dist", dist, "--heapline-compare", "numbers.json", "--heapline-fail-over", "5%", exit=0)
    suite.write(KNOWN.replace("bytearray(10_000_000)", "bytearray(11_000_000)"))
    suite.run("-n", "2", "--dist", dist, "--heapline-compare", "numbers.json", "--heapline-fail-over", "5%", exit=1)
    assert "11.0 MB  test_it.py:11 in test_spike" in suite.output


def test_a_worker_that_crashes_loses_its_test_only(heapline):
    suite = Suite(heapline, wanted=("pytest", "pytest-xdist"), modules=("pytest", "xdist"))
    suite.write(KNOWN + "\n    def test_zz_crash():\n        import os\n        os.kill(os.getpid(), 9)\n")
    numbers = suite.numbers("-n", "1", "--max-worker-restart", "1")
    assert "1 failed, 7 passed" in suite.output, suite.output
    check_known(numbers)


def test_limits_and_xdist(heapline):
    suite = Suite(heapline, wanted=("pytest", "pytest-xdist"), modules=("pytest", "xdist"))
    suite.write(LIMITS)
    suite.run("-n", "2", exit=1)
    assert "6 failed, 5 passed, 1 error" in suite.output, suite.output
    assert "held 25.2 MB at its peak" in suite.output and "held = bytearray(24 * 2**20)" in suite.output


def test_under_heapline_run(heapline):
    suite = Suite(heapline)
    suite.write(KNOWN)
    check_known(suite.numbers("--heapline", under=["--children=none"]))
    assert "spike = bytearray(10_000_000)" in suite.output
    assert suite.profile.stats()["peak_bytes"] > 20_000_000
    names = {row[0] for row in suite.profile.sql("SELECT name FROM mark WHERE kind = 'mark'")}
    assert "test_it.py::test_spike" in names


def test_a_session_within_a_session(heapline):
    """pytester, as tests of plugins use it."""
    suite = Suite(heapline)
    suite.write(
        """
        pytest_plugins = "pytester"

        def test_inner(pytester):
            held = bytearray(3_000_000)
            pytester.makepyfile("def test_innermost():\\n    held = bytearray(9_000_000)")
            pytester.runpytest_inprocess("-p", "heapline.pytest_plugin", "--heapline").assert_outcomes(passed=1)
        """
    )
    numbers = suite.numbers(exit=0)
    assert 12_000_000 <= numbers["test_inner"]["peak_bytes"] < 20_000_000


# ------------------------------------------------------------------------------------------------ beside other tools


README = """
    import pytest

    def test_track():
        x = [bytearray(1000) for _ in range(40)]

    @pytest.mark.limit_memory("100 KB")
    def test_memory_exceed():
        x = [bytearray(1000) for _ in range(120)]

    @pytest.mark.limit_memory("24 MB")
    def test_foobar():
        pass  # do some stuff that allocates memory

    @pytest.mark.limit_leaks("1 MB")
    def test_foobar_leaks():
        for _ in range(100):
            sorted(range(1000))
"""
MEMRAY = {"wanted": ("pytest", "pytest-memray"), "modules": ("pytest", "pytest_memray")}


def test_the_examples_of_pytest_memray(heapline):
    suite = Suite(heapline)
    suite.write(README)
    suite.run("--heapline", "-rA", exit=1)
    assert "1 failed, 3 passed" in suite.output
    assert "FAILED test_it.py::test_memory_exceed - LimitExceeded: held 12" in suite.output


def test_beside_pytest_memray(heapline):
    """Installed both: it handles its own markers, heapline the rest; each number is measured by one of them at a time."""
    suite = Suite(heapline, **MEMRAY)
    suite.write(
        README
        + "\n    @pytest.mark.heapline_limit(peak='1 MB')\n    def test_own():\n        x = bytearray(1_100_000)\n"
    )
    suite.run("-rA", exit=1)
    assert "MEMORY PROBLEMS test_it.py::test_memory_exceed" in suite.output and "Test was limited to" in suite.output
    assert suite.output.count("LimitExceeded") >= 1 and "held 1.10 MB" in suite.output
    assert "held 12" not in suite.output
    suite.run("-p", "no:memray", "-rA", exit=1)
    assert "held 12" in suite.output and "Test was limited to" not in suite.output


def test_peaks_are_those_of_memray(heapline):
    suite = Suite(heapline, **MEMRAY)
    suite.write(
        """
        import ctypes, mmap

        def test_buffers():
            kept = []
            for i in range(200):
                kept.append(bytearray(5000 * i))
                if i % 3 == 0:
                    kept.pop(len(kept) // 2)

        def test_growing():
            grows = bytearray()
            for i in range(300):
                grows += bytes(10_000)

        def test_objects():
            held = {i: [str(i), (i, i + 1)] for i in range(30_000)}
        """
    )
    ours = suite.numbers("-p", "no:memray")
    suite.run("--memray", "--trace-python-allocators", "--memray-bin-path", "bins", exit=0)
    theirs = {}
    for path in (heapline.folder / "bins" / "metadata").iterdir():
        said = json.loads(path.read_text())
        theirs[said["test_id"].split("::")[1]] = said["peak_memory"]
    assert set(theirs) == set(ours)
    for name in ("test_buffers", "test_objects"):
        assert abs(ours[name]["peak_bytes"] - theirs[name]) < max(0.005 * theirs[name], NOISE), (
            name,
            ours[name],
            theirs,
        )
    # memray frees the old block of a realloc before it counts the new one, as we do
    assert abs(ours["test_growing"]["peak_bytes"] - theirs["test_growing"]) < 0.02 * theirs["test_growing"] + NOISE


def test_peaks_are_those_of_tracemalloc(heapline):
    suite = Suite(heapline)
    suite.write(
        """
        def test_objects():
            held = {i: [str(i), (i, i + 1)] for i in range(30_000)}

        def test_buffers():
            kept = [bytearray(1000 * i) for i in range(300)]
        """
    )
    ours = suite.numbers()
    suite.write(
        """
        import json, tracemalloc
        import pytest

        @pytest.hookimpl(hookwrapper=True, trylast=True)
        def pytest_pyfunc_call(pyfuncitem):
            tracemalloc.start()
            yield
            with open(pyfuncitem.name, "w") as file:
                file.write(str(tracemalloc.get_traced_memory()[1]))
            tracemalloc.stop()
        """,
        "conftest.py",
    )
    suite.run(exit=0)
    for name in ours:
        theirs = int((heapline.folder / name).read_text())
        assert abs(ours[name]["peak_bytes"] - theirs) < 0.001 * theirs + 5000, (name, ours[name], theirs)


# ------------------------------------------------------------------------------------------------------------- costs


def test_nothing_is_loaded_unless_asked(heapline):
    suite = Suite(heapline)
    suite.write(
        """
        import sys

        def test_modules():
            assert "heapline.pytest_plugin" in sys.modules
            assert not [name for name in sys.modules if name.startswith(("heapline._pytest", "heapline.reading", "heapline._part"))]
            assert "heapline" not in open("/proc/self/maps").read().replace("heapline/python", "")
        """
    )
    suite.run(exit=0)


def test_it_is_found_by_its_entry_point_and_can_be_left_out(heapline):
    suite = Suite(heapline, plugin=("-p", "no:cacheprovider"))
    declared = re.search(
        r'\[project.entry-points.pytest11\]\n(\w+) = "([\w.]+)"', (ROOT / "pyproject.toml").read_text()
    )
    info = heapline.folder / "site" / "heapline-0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heapline\nVersion: 0.0\n")
    (info / "entry_points.txt").write_text(f"[pytest11]\n{declared[1]} = {declared[2]}\n")
    suite.write(LIMITS)
    path = os.pathsep.join([str(info.parent), str(ROOT / "python"), str(suite.packages)])
    suite.run("--heapline", env={"PYTHONPATH": path}, exit=1)
    assert "heapline-0.0" in suite.output and "6 failed, 5 passed, 1 error" in suite.output
    suite.run("-p", "no:heapline", env={"PYTHONPATH": path}, exit=0)
    assert "11 passed" in suite.output


def test_a_run_goes_on_where_nothing_can_be_recorded(heapline):
    suite = Suite(heapline)
    suite.write(LIMITS)
    nowhere = {"PATH": "/usr/bin:/bin", "HOME": str(heapline.folder)}
    suite.run("--heapline", "-W", "error", env=nowhere, exit=0)
    assert "11 passed" in suite.output
    assert (
        suite.output.count("nothing was measured: heapline cannot be loaded: the heapline command is in none of") == 1
    )
    suite.run("-W", "error", env=nowhere, exit=0)
    assert suite.output.count("not everything was measured") == 1


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_many_tests(heapline, count):
    suite = Suite(heapline)
    suite.write(
        f"""
        import pytest

        @pytest.mark.parametrize("i", range({count}))
        def test_one(i):
            held = bytearray(1000 + i)
        """
    )
    numbers = suite.numbers("--heapline-dir", "kept", "-q", exit=0, timeout=900)
    assert len(numbers) == count
    for i in range(count):
        assert 1000 + i <= numbers[f"test_one[{i}]"]["peak_bytes"] < 1000 + i + NOISE
    session = heapline.profile(heapline.folder / "kept" / "session.heapline")
    assert session.value("SELECT count(*) FROM mark WHERE kind = 'mark'") == count
    assert len(list((heapline.folder / "kept").iterdir())) == 6
