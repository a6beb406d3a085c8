"""Which lines of a test did it: read from the profile of the test, by the test's own lines first."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from heapline._pytest.sizes import cut, cut_front, shown

if TYPE_CHECKING:
    from heapline.reading import Record, Records

SHOWN = 3
MATTERS = 0.02  # of all
FRAMES = 12

# What a line of the test did is a dict of plain values, which travel between the processes of xdist: bytes, blocks, file, line,
# function, source, and `stack`: the heaviest way from there inwards, a list of [function, file, line, source].


def records_of(path: str, figure: str) -> Records:
    """What a profile says of a figure (limits.FIGURES)."""
    from heapline import reading

    profile = reading.Profile(reading._File(path))
    try:
        if figure == "peak":
            return profile.peak
        if figure in ("leaks", "kept"):
            return profile.leaks
        return profile.temporary() if figure == "temporary" else profile.allocated
    finally:
        profile.close()


def _source(file: str, line: int) -> str:
    return linecache.getline(file, line).strip() if line else ""


def _is_own(file: str, test_file: str) -> bool:
    return file == test_file or file.startswith("<doctest ")


def _charged(record: Record) -> int:
    """Of a stack that does not pass through the test's file (of another thread, of pytest): the line of somebody's own code."""
    place = (record.file, record.line)
    if record.file.startswith("<frozen") or "-packages" + os.sep in record.file:
        return 0
    return next((i for i, frame in enumerate(record.stack) if (frame.file, frame.line) == place), 0)


def lines_of(records: Iterable[Record], test_file: str, by_blocks: bool) -> list[dict[str, Any]]:
    """The heaviest lines: the test's own first, which are of each stack the outermost frame in the test's file; then others, if
    they matter."""
    sums: dict[tuple[str, int], dict[str, Any]] = {}
    for record in records:
        stack = record.stack
        at = next((i for i in reversed(range(len(stack))) if _is_own(stack[i].file, test_file)), None)
        own = at is not None
        if at is None:
            at = _charged(record)
        elif _source(stack[at].file, stack[at].line).startswith("@"):  # a decorator's own call of the function
            at = next((i for i in reversed(range(at)) if _is_own(stack[i].file, test_file)), at)
        frame = stack[at] if stack else None
        key = (frame.file, frame.line) if frame else ("", 0)
        line = sums.setdefault(key, {"bytes": 0, "blocks": 0, "own": own, "heaviest": -1})
        line["bytes"] += record.bytes
        line["blocks"] += record.blocks
        weight = record.blocks if by_blocks else record.bytes
        if weight > line["heaviest"]:
            line["heaviest"] = weight
            line["heaviest_bytes"], line["heaviest_blocks"] = record.bytes, record.blocks
            line["function"] = frame.function if frame else ""
            line["stack"] = [[f.function, f.file, f.line] for f in reversed(stack[:at])]

    def weight_of(line: dict[str, Any]) -> int:
        return int(line["blocks" if by_blocks else "bytes"])

    least = sum(map(weight_of, sums.values())) * MATTERS
    places = [place for place in sums.items() if weight_of(place[1]) >= least]
    places.sort(key=lambda place: (not place[1]["own"], -weight_of(place[1])))
    result = []
    for (file, number), line in places[:SHOWN]:
        line.update(file=file, line=number, source=_source(file, number))
        del line["heaviest"]
        if len(line["stack"]) > FRAMES:
            half = FRAMES // 2
            left_out = len(line["stack"]) - 2 * half
            line["stack"] = [*line["stack"][:half], [f"({left_out} more calls)", "", 0], *line["stack"][-half:]]
        line["stack"] = [[*frame, _source(frame[1], frame[2])] for frame in line["stack"]]
        result.append(line)
    return result


def _place(function: str, file: str, line: int, root: str, width: int) -> str:
    if not file:
        return function or "(no Python code)"
    inside = os.path.relpath(file, root) if os.path.isabs(file) and file.startswith(root + os.sep) else file
    for marker in (os.sep + "site-packages" + os.sep, os.sep + "lib" + os.sep):
        if os.path.isabs(inside) and marker in inside:
            inside = inside[inside.rindex(marker) + len(marker) :]
            break
    behind = f":{line}" if line else ""
    name = function.rpartition(".<locals>.")[2]
    if not name:
        return cut_front(inside, width - len(behind)) + behind
    room = max(min(len(inside), 24), width - len(behind) - len(name) - 4)
    where = f"{cut_front(inside, room)}{behind} in "
    return where + cut(name, width - len(where))


def _amount(line: dict[str, Any], by_blocks: bool) -> str:
    return f"{line['blocks']:,}" if by_blocks else shown(line["bytes"])


def summary_lines(line: dict[str, Any], root: str, width: int, by_blocks: bool = False) -> list[str]:
    """A line in two rows: where it is, what it says."""
    amount = f"{_amount(line, by_blocks):>10}  "
    where = _place(line["function"], line["file"], line["line"], root, width - len(amount))
    rows = [amount + where]
    if line["source"]:
        rows.append(" " * (len(amount) + 2) + cut(line["source"], width - len(amount) - 2))
    return rows


def stack_lines(line: dict[str, Any], root: str, width: int, by_blocks: bool = False) -> list[str]:
    """The same, and then the calls inwards from there."""
    rows = summary_lines(line, root, width, by_blocks)
    if not line["stack"]:
        return rows
    inner = {"bytes": line["heaviest_bytes"], "blocks": line["heaviest_blocks"]}
    whole = inner["bytes"] == line["bytes"] and inner["blocks"] == line["blocks"]
    rows.append(" " * 14 + ("through" if whole else f"{_amount(inner, by_blocks)} of it through"))
    for function, file, number, source in line["stack"]:
        rows.append(" " * 16 + _place(function, file, number, root, width - 16))
        if source:
            rows.append(" " * 18 + cut(source, width - 18))
    return rows
