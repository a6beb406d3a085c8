"""Runs tests/tools/stackread, which names the stack of each single block, and compares with what a program logged."""

from __future__ import annotations

import collections
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from pythons import Python

PROGRAMS = Path(__file__).parent / "programs"


@dataclass
class Stacks:
    facts: dict  # the last line of stackread
    by_size: dict[int, list[list[str]]] = field(default_factory=dict)  # innermost first
    output: str = ""


def load(path: Path) -> dict[int, list[list[str]]]:
    stacks = collections.defaultdict(list)
    for line in path.read_text(errors="surrogateescape").splitlines():
        if line.startswith("T "):
            size, *frames = line.split("|")
            stacks[int(size[2:])].append(frames)
    return stacks


def read_stacks(
    binary: Path,
    folder: Path,
    python: Python,
    *arguments: str,
    objects: bool = True,
    marks: bool = True,
    native: bool = False,
    env: dict[str, str] | None = None,
    sizes: tuple[int, int] = (100_000, 1_000_000),
    timeout: float = 300,
) -> Stacks:
    got = folder / "got"
    options = {
        "RINGREAD_TRACKER": str(binary.parent / "libheapline.so"),
        "STACKREAD_OUT": str(got),
        "STACKREAD_FROM": str(sizes[0]),
        "STACKREAD_TO": str(sizes[1]),
    }
    options.update({"STACKREAD_OBJECTS": "1"} if objects else {})
    options.update({"STACKREAD_MARKS": "1"} if marks else {})
    options.update({"STACKREAD_NATIVE": "1"} if native else {})
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HEAPLINE", "LD_"))
    }
    command = [*python.prefix, str(binary.parent / "tools" / "stackread"), python.path, *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **options, **(env or {})},
        text=True,
        capture_output=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    *output, facts = done.stdout.splitlines()
    return Stacks(json.loads(facts), load(got), "\n".join(output))


def python_part(stacks: dict[int, list[list[str]]]) -> dict[int, list[list[str]]]:
    """Merged stacks without their C frames."""
    return {
        size: [[frame for frame in stack if not frame.startswith("~ ")] for stack in each]
        for size, each in stacks.items()
    }


def assert_same(want: dict[int, list[list[str]]], got: dict[int, list[list[str]]]) -> int:
    """Each logged stack must be among those recorded for its size. How many were compared."""
    compared, wrong = 0, []
    for size, stacks in want.items():
        for stack in stacks:
            compared += 1
            if stack not in got.get(size, []):
                wrong.append(f"{size}: want {stack[:6]} got {[other[:6] for other in got.get(size, [])][:2]}")
    assert not wrong, f"{len(wrong)} of {compared} stacks differ, for example\n" + "\n".join(wrong[:5])
    return compared
