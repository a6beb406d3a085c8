"""Every block's Python stack is the one that sys._getframe sees, on each CPython, in many shapes of stack."""

import pytest
from stackread import PROGRAMS, assert_same, load, python_part, read_stacks

MODES = {  # objects, marks, native
    "objects": (True, True, False),
    "objects-without-marks": (True, False, False),
    "malloc-only": (False, True, False),
    "native": (True, True, True),
    "native-malloc-only": (False, True, True),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threads", [1, 5])
def test_stacks_are_the_interpreters_own(heapline_binary, tmp_path, each_python, mode, threads, request):
    objects, marks, native = MODES[mode]
    rounds = 600 if request.config.getoption("--long") else 60
    # Blocks of a debug build are larger below PyMem, and free-threaded builds have none of malloc there.
    malloc = not objects and (each_python.debug or each_python.free_threaded)
    got = read_stacks(
        heapline_binary,
        tmp_path,
        each_python,
        str(PROGRAMS / "stacks.py"),
        str(tmp_path / "want"),
        str(threads),
        str(rounds),
        *["malloc"] * malloc,
        objects=objects,
        marks=marks,
        native=native,
    )
    assert got.facts["missing"] == got.facts["contradictions"] == got.facts["lost"] == 0
    assert_same(load(tmp_path / "want"), python_part(got.by_size) if native else got.by_size)


def test_without_the_gil(heapline_binary, tmp_path, each_python):
    """ctypes releases it around malloc: there is no current thread state, but the thread's own stands still."""
    got = read_stacks(
        heapline_binary, tmp_path, each_python, str(PROGRAMS / "stacks.py"), str(tmp_path / "want"), "5", "40", "malloc"
    )
    assert assert_same(load(tmp_path / "want"), got.by_size) > 500


@pytest.mark.pythons("3.14", "3.15")
def test_chains_are_right_under_the_jit(heapline_binary, tmp_path, each_python):
    """Lines of the innermost frame may be stale inside a trace; functions, and lines of callers, may not."""
    got = read_stacks(
        heapline_binary,
        tmp_path,
        each_python,
        str(PROGRAMS / "stacks.py"),
        str(tmp_path / "want"),
        "1",
        "300",
        env={"PYTHON_JIT": "1"},
    )
    assert got.facts["missing"] == got.facts["contradictions"] == 0

    def without_leaf_line(stacks):
        return {
            size: [[stack[0].rsplit(":", 1)[0], *stack[1:]] if stack else [] for stack in each]
            for size, each in stacks.items()
        }

    assert_same(without_leaf_line(load(tmp_path / "want")), without_leaf_line(got.by_size))


DEEP = """
import sys
sys.setrecursionlimit(200000)
def down(n): return down(n - 1) if n else bytearray(499_999)
if sys.version_info >= (3, 11):
    down(40000)
for depth in (0, 30, 600, 900):
    down(depth)
"""


@pytest.mark.pythons(since=(3, 11))
def test_a_stack_that_is_too_deep_is_cut_at_its_outer_end(heapline_binary, tmp_path, each_python):
    program = tmp_path / "deep.py"
    program.write_text(DEEP)
    got = read_stacks(
        heapline_binary, tmp_path, each_python, str(program), sizes=(499_990, 510_000), env={"STACKREAD_TEXTS": "1"}
    )
    stacks = [stack for stacks in got.by_size.values() for stack in stacks]
    cut = [stack for stack in stacks if len(stack) > 2000]
    assert len(cut) == 1 and cut[0][0].startswith("down ") and "(outer frames, cut)" in cut[0][-1]
    whole = sorted(len(stack) for stack in stacks if len(stack) <= 2000)
    assert whole == [2, 32, 602, 902]
    assert got.facts["missing"] == got.facts["contradictions"] == 0
    assert got.output.count("a Python stack was too deep") == 1


NAMES = """# -*- coding: utf-8 -*-
def make(name):
    source = "def f(n):\\n    return bytearray(n)\\n"
    if str is bytes:
        source = source.encode()
    scope = {}
    exec(compile(source, name + ".py", "exec"), scope)
    f = scope["f"]
    if hasattr(f.__code__, "replace"):
        more = {"co_qualname": name} if hasattr(f.__code__, "co_qualname") else {}
        f.__code__ = f.__code__.replace(co_name=name, **more)
    return f
for i, name in enumerate(["ascii", "h\\u00e9llo", "\\u65e5\\u672c\\u8a9e", "\\U0001f40d\\u00e9x", "x" * 3000]):
    make(name)(100_000 + i * 1000)
"""


@pytest.mark.pythons(since=(3, 8))
def test_names_of_any_alphabet(heapline_binary, tmp_path, each_python):
    program = tmp_path / "names.py"
    program.write_text(NAMES)
    got = read_stacks(heapline_binary, tmp_path, each_python, str(program), sizes=(100_000, 105_000))
    names = {stack[0] for stacks in got.by_size.values() for stack in stacks if stack and stack[0].endswith(".py:2")}
    wanted = ["ascii", "h\u00e9llo", "\u65e5\u672c\u8a9e", "\U0001f40d\u00e9x", "x" * 3000]
    assert {f"{name} {name}.py:2" for name in wanted} <= names


THREAD_NAMES = """
# -*- coding: utf-8 -*-
import threading, sys
class Own(threading.Thread):
    def run(self): bytearray(200000)
class Hidden(threading.Thread):
    @property
    def _name(self): raise RuntimeError("not to be called by a profiler")
    @_name.setter
    def _name(self, value): pass
    def run(self): bytearray(200000)
class Odd(threading.Thread):
    def __getattribute__(self, name):
        calls.append(name)
        return super(Odd, self).__getattribute__(name)
    def run(self): bytearray(200000)
calls = []
def work(): bytearray(200000)
threads = [threading.Thread(target=work, name="a worker with a name of more than 15 characters"), Odd(name="odd"),
           Own(name=u"h\\u00e9ron" if sys.version_info >= (3, 10) else "heron")]
if (3, 10) <= sys.version_info < (3, 14):  # later ones ask for it themselves
    threads.append(Hidden())
for t in threads:
    t.start(); t.join()
import gc; gc.collect()
"""


def test_threads_have_their_python_names(heapline, each_python):
    profile = heapline.run(THREAD_NAMES, python=each_python)
    assert profile.stderr.count("Traceback") == 0
    names = {row["name"] for row in profile.sql("SELECT name FROM thread")}
    heron = "h\u00e9ron" if each_python.version >= (3, 10) else "heron"
    assert {"MainThread", "a worker with a name of more than 15 characters", heron} <= names
    for name in ("a worker with a name of more than 15 characters", heron):
        assert profile.allocated(thread=name).bytes >= 200_000
