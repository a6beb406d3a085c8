"""Names of native frames as stackread prints them ("~ object+offset"), by the objects' symbol tables."""

from __future__ import annotations

import bisect
import functools
import subprocess


def first_address(path: str) -> int:
    """Of the file's first loadable segment: offsets of frames are from there."""
    for line in subprocess.run(["readelf", "-lW", path], capture_output=True, text=True).stdout.splitlines():
        fields = line.split()
        if fields[:1] == ["LOAD"]:
            return int(fields[2], 16) & ~4095
    return 0


@functools.cache
def functions(path: str) -> list[tuple[int, int, str]]:
    """(offset, size, name), sorted; those that the file exports and those that strip would take away."""
    found = set()
    first = first_address(path)
    for options in ([], ["-D"]):
        listing = subprocess.run(["nm", "-S", "--defined-only", *options, path], capture_output=True, text=True).stdout
        for line in listing.splitlines():
            fields = line.split()
            if len(fields) == 4 and fields[2] in "tTwWi":
                found.add((int(fields[0], 16) - first, int(fields[1], 16), fields[3].split("@")[0]))
    return sorted(found)


def place(frame: str) -> tuple[str, int]:
    path, offset = frame[2:].rsplit("+", 1)
    return path, int(offset, 16) if offset != "0" else 0


def function(frame: str) -> str:
    """The function; the object's path when no symbol holds the offset; a Python frame and a marker as they are."""
    if not frame.startswith("~ "):
        return frame
    path, offset = place(frame)
    table = functions(path) if path.startswith("/") else []
    at = bisect.bisect_right(table, (offset, 1 << 62, "")) - 1
    if at >= 0 and offset < table[at][0] + table[at][1]:
        return table[at][2]
    return path


def names(stack: list[str]) -> list[str]:
    return [function(frame) for frame in stack]
