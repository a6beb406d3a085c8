"""heapline tells which line of a Python program took, holds and gave back every byte of memory.

This package carries the command and the library that it preloads:

    heapline run app.py          (or: python -m heapline run app.py)
    heapline stats app.4711.heapline

Nothing of it needs to be importable in the program that is recorded. A program may also record itself, or a part of what it
does:

    import heapline

    with heapline.track("part.heapline"):
        ...

and any profile can be read:

    profile = heapline.open("part.heapline")
    for record in profile.peak:
        print(record.bytes, record.file, record.line)

docs/python-api.md has the rest. Sizes are bytes, times seconds.
"""

from __future__ import annotations

from heapline._binary import binary
from heapline._live import Usage, heap_bytes, mark, peak_bytes, region, reset_peak, snapshot, usage
from heapline._recording import HeaplineError, Recording, is_recording, start, stop, track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heapline._lines import profile
    from heapline.reading import Profile, ProfileError, open

    __version__: str

__all__ = [
    "HeaplineError",
    "Profile",
    "ProfileError",
    "Recording",
    "Usage",
    "__version__",
    "binary",
    "heap_bytes",
    "is_recording",
    "mark",
    "open",
    "peak_bytes",
    "profile",
    "region",
    "reset_peak",
    "snapshot",
    "start",
    "stop",
    "track",
    "usage",
]


if not TYPE_CHECKING:  # else every name would seem to be there

    def __getattr__(name: str) -> object:
        """What is asked for seldom, and dear to load."""
        if name == "__version__":
            from heapline._binary import version

            return version()
        if name == "profile":
            from heapline._lines import profile

            globals()[name] = profile
            return profile
        if name in ("Profile", "ProfileError", "open"):
            from heapline import reading

            return getattr(reading, name)
        if name in ("load_ipython_extension", "unload_ipython_extension"):
            from heapline import _magics

            return _magics.load if name.startswith("load") else _magics.unload
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
