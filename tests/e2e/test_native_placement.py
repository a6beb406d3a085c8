"""Where Python frames stand among C frames: in place of the evaluation loops that run them, and nowhere else."""

from pathlib import Path

import pytest
from native_names import functions, names, place
from stackread import PROGRAMS, read_stacks

LOOPS = ("_PyEval_EvalFrameDefault", "PyEval_EvalFrameEx")


def loops_of(python, paths):
    """{object: [(from, to)]} of the evaluation loops; of 2.7, PyEval_EvalFrameEx is the loop."""
    name = LOOPS[python.version < (3, 6)]
    found = {}
    for path in paths:
        parts = [
            (at, at + size) for at, size, symbol in functions(path) if symbol.split(".")[0] == name and size > 1000
        ]
        if parts and ("python" in Path(path).name):
            found[path] = parts
    return found


def read(binary, folder, python, objects, program, *arguments):
    if python.root:
        pytest.skip("its files are in another root")
    got = read_stacks(
        binary, folder, python, str(PROGRAMS / program), *arguments, objects=objects, marks=True, native=True
    )
    assert got.facts["status"] == got.facts["missing"] == got.facts["contradictions"] == got.facts["lost"] == 0
    return got


@pytest.mark.parametrize("objects", [True, False], ids=["objects", "malloc-only"])
@pytest.mark.parametrize("program", ["stacks.py", "callbacks.py"])
def test_no_evaluation_loop_is_left(heapline_binary, tmp_path, each_python, objects, program):
    arguments = [str(tmp_path / "want"), "3", "40", "malloc"] if program == "stacks.py" else []
    got = read(heapline_binary, tmp_path, each_python, objects, program, *arguments)
    stacks = [stack for each in got.by_size.values() for stack in each]
    mixed = [stack for stack in stacks if any(not frame.startswith("~ ") for frame in stack)]
    assert len(mixed) > 80
    paths = {place(frame)[0] for stack in mixed for frame in stack if frame.startswith("~ /")}
    loops = loops_of(each_python, paths)
    if not loops:
        pytest.skip("it does not say where its evaluation loop is")
    left = []
    for stack in mixed:
        for frame in stack:
            if frame.startswith("~ /"):
                path, offset = place(frame)
                if any(low < offset <= high for low, high in loops.get(path, ())):
                    left.append((frame, stack[:12]))
    assert not left, f"{len(left)} frames in {len(mixed)} stacks, for example {left[:2]}"


def between(stack, outer, inner):
    """C functions between a Python function and the one it has called, from the inside out."""
    frames = [frame.split()[0] if not frame.startswith("~ ") else None for frame in stack]
    high = next(i for i, name in enumerate(frames) if name and name.split(".")[-1] == outer)
    low = max(i for i, name in enumerate(frames[:high]) if name and name.split(".")[-1] == inner)
    assert all(name is None for name in frames[low + 1 : high]), stack
    return stack[low + 1 : high]


@pytest.mark.parametrize("objects", [True, False], ids=["objects", "malloc-only"])
def test_callbacks_have_their_c_frames_between(heapline_binary, tmp_path, each_python, objects):
    got = read(heapline_binary, tmp_path, each_python, objects, "callbacks.py")
    for size in range(100001, 100006):
        assert len(got.by_size[size]) == 20
    shapes = {  # outer and inner Python function, an object that the C frames between must be of
        100001: ("sorter", "key", "python"),
        100002: ("calls_back", "key", "_ctypes"),
        100003: ("ends", "__del__", "python"),
        100004: ("draws", "generator", "python"),
        100005: ("nested", "sorter_of_drawn", "python"),
    }
    for size, (outer, inner, library) in shapes.items():
        for stack in got.by_size[size]:
            found = [place(frame)[0] for frame in between(stack, outer, inner)]
            assert found and any(library in Path(path).name for path in found), (size, names(stack)[:25])
    for stack in got.by_size[100005]:
        assert between(stack, "draws", "generator") and not names(stack)[-1].startswith(("[", "("))
    # What get() calls: ctypes and its libffi, then malloc's caller; below the module, the interpreter's start.
    for stack in got.by_size[100001]:
        assert stack[0].startswith("~ ") and any(part in place(stack[0])[0] for part in ("ffi", "_ctypes")), stack[:3]
