"""heapline tells which line of a Python program took, holds and gave back every byte of memory.

This package carries the command and the library that it preloads:

    heapline run app.py          (or: python -m heapline run app.py)
    heapline stats app.4711.heapline

Nothing of it needs to be importable in the program that is recorded. A program may also record itself, or a part of what it
does:

    import heapline

    with heapline.track("part.heapline"):
        ...

docs/python-api.md has the rest. Sizes are bytes, times seconds.
"""

from __future__ import annotations

from heapline._binary import binary
from heapline._live import Usage, heap_bytes, mark, peak_bytes, region, reset_peak, snapshot, usage
from heapline._recording import HeaplineError, Recording, is_recording, start, stop, track

__all__ = [
    "HeaplineError",
    "Recording",
    "Usage",
    "__version__",
    "binary",
    "heap_bytes",
    "is_recording",
    "mark",
    "peak_bytes",
    "region",
    "reset_peak",
    "snapshot",
    "start",
    "stop",
    "track",
    "usage",
]


def __getattr__(name: str) -> str:
    if name == "__version__":  # asked for seldom, and dear
        from heapline._binary import version

        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
