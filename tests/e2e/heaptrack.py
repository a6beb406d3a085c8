"""Runs a program under heaptrack and reads its data file: every allocation and free, in order, with the stack behind it.

The file is text behind zstd or gzip, numbers in hexadecimal: s LENGTH TEXT is the next string; i IP MODULE [FUNCTION FILE LINE]..
the next instruction with the calls inlined there, innermost first; t INSTRUCTION CALLER the next stack; a BYTES STACK the next
kind of allocation; + KIND and - KIND make and free a block of it. Numbers of strings, instructions and stacks begin at 1,
those of kinds at 0.
"""

from __future__ import annotations

import collections
import gzip
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Frame(NamedTuple):
    function: str
    module: str


class Block(NamedTuple):
    """A kind of block: its size and where it came from, innermost frame first."""

    bytes: int
    stack: tuple[Frame, ...]


@dataclass
class Counted:
    """What heaptrack counted, without the kinds of blocks that were left out."""

    allocations: int = 0
    allocated_bytes: int = 0
    frees: int = 0
    peak_bytes: int = 0
    live: collections.Counter[Block] = field(default_factory=collections.Counter)  # how many at the end
    made: collections.Counter[Block] = field(default_factory=collections.Counter)

    @property
    def leaked_bytes(self) -> int:
        return sum(block.bytes * n for block, n in self.live.items())

    @property
    def leaked_blocks(self) -> int:
        return self.live.total()


class Heaptrack:
    def __init__(self, path: Path):
        self.path = path
        self.strings, self.instructions, self.stacks, self.kinds = [""], [()], [(0, 0)], []
        self.events: list[int] = []  # kind + 1: made; -(kind + 1): freed
        packed = path.read_bytes()
        if path.suffix == ".zst":
            packed = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout
        else:
            packed = gzip.decompress(packed)
        for line in packed.decode(errors="replace").split("\n"):
            self._read(line)

    def _read(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "s":
            self.strings.append(rest.partition(" ")[2])
        elif kind in ("+", "-"):
            self.events.append((int(rest, 16) + 1) * (1 if kind == "+" else -1))
        elif kind == "a":
            self.kinds.append(tuple(int(word, 16) for word in rest.split()))
        elif kind == "t":
            self.stacks.append(tuple(int(word, 16) for word in rest.split()))
        elif kind == "i":
            _, module, *names = [int(word, 16) for word in rest.split()]
            functions = [self.strings[name] for name in names[0::3]] or [""]
            self.instructions.append(tuple(Frame(name, self.strings[module]) for name in functions))

    def stack(self, number: int) -> tuple[Frame, ...]:
        frames: list[Frame] = []
        while number:
            instruction, number = self.stacks[number]
            frames.extend(self.instructions[instruction])
        return tuple(frames)

    def count(self, leave_out=lambda block: False) -> Counted:
        blocks = [Block(size, self.stack(stack)) for size, stack in self.kinds]
        out = [leave_out(block) for block in blocks]
        counted, heap = Counted(), 0
        live, made = [0] * len(blocks), [0] * len(blocks)
        for event in self.events:
            kind = abs(event) - 1
            if out[kind]:
                continue
            size = blocks[kind].bytes
            if event > 0:
                made[kind] += 1
                live[kind] += 1
                counted.allocations += 1
                counted.allocated_bytes += size
                heap += size
                counted.peak_bytes = max(counted.peak_bytes, heap)
            else:
                live[kind] -= 1
                counted.frees += 1
                heap -= size
        for kind, block in enumerate(blocks):
            counted.live[block] += live[kind]
            counted.made[block] += made[kind]
        return counted


def is_here() -> bool:
    return all(shutil.which(command) for command in ("heaptrack", "heaptrack_print", "zstd"))


def run(folder: Path, command: list[str], env: dict[str, str]) -> Heaptrack:
    path = folder / "record"
    words = ["heaptrack", "-o", str(path), *command]
    finished = subprocess.run(words, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    written = [path.with_suffix(suffix) for suffix in (".zst", ".gz") if path.with_suffix(suffix).exists()]
    assert finished.returncode == 0 and written, finished
    return Heaptrack(written[0])
