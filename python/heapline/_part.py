"""A part of the recording with books of its own: what the process allocates from begin() to close(), and what of it is freed,
until the next begin(). As a recording of its own would have it, for the price of a mark (src/collector/part.h).

One at a time in a process, whoever records it. For tools that tell apart what a program does, one thing after another.
"""

from __future__ import annotations

import os
import time

from heapline._live import _sync
from heapline._recording import HeaplineError, _state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import Structure

_BEGIN, _BEGIN_THREAD, _CLOSE, _WRITE, _END = range(7, 12)  # hl_mark_kind

_page: Structure | None = None


class Numbers:
    """What a part has come to, of the blocks that were allocated in it. Bytes, and numbers of blocks."""

    __slots__ = ("allocated", "allocations", "blocks", "heap", "peak", "temporary", "temporary_bytes")

    heap: int
    """Alive now."""
    blocks: int
    peak: int
    """The highest of `heap` before it was closed."""
    allocations: int
    allocated: int
    temporary: int
    """Blocks that were freed within one later allocation of the thread that made them."""
    temporary_bytes: int


def _forked() -> None:
    global _page  # noqa: PLW0603
    _page = None


os.register_at_fork(after_in_child=_forked)


def _look() -> Structure:
    """hl_wire_part, as the collector publishes it. Raises HeaplineError when nothing is recorded."""
    global _page  # noqa: PLW0603
    if _page is not None:
        return _page
    import ctypes

    class Page(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_uint64) for name in ("heap", "blocks", "peak", "allocations", "allocated")),
            *((name, ctypes.c_uint64) for name in ("temporary", "temporary_bytes")),
            *((name, ctypes.c_uint32) for name in ("number", "written")),
            ("error", ctypes.c_int32),
        ]

    with _state.lock:
        address = _state.loaded().part()
    if not address:
        raise HeaplineError("this process is not being recorded")
    _page = Page.from_address(address)
    return _page


def begin(name: str = "", *, this_thread: bool = False) -> None:
    """A part begins; the one before it is forgotten. `name` is put into the timeline. this_thread: only what the calling thread
    allocates is in it."""
    global _page  # noqa: PLW0603
    _page = None  # each recording has another
    _state.loaded().mark(_BEGIN_THREAD if this_thread else _BEGIN, name)


def close() -> None:
    """What is allocated from here on is not in it. What is freed of it goes on counting."""
    _state.loaded().mark(_CLOSE, "")


def end() -> None:
    """Forgets it."""
    _state.loaded().mark(_END, "")


def numbers() -> Numbers:
    """Exact, as of all that the calling thread has done. Raises HeaplineError when nothing is recorded (any more)."""
    page = _look()
    _sync()
    result = Numbers()
    for name in Numbers.__slots__:
        setattr(result, name, getattr(page, name))
    return result


def write(path: str, limit: float = 120.0) -> None:
    """Writes a profile of the part, as it is now, to `path`, where no file is, and waits until it is there. OSError."""
    page = _look()
    _sync()
    before: int = page.written
    tracker = _state.loaded()
    tracker.mark(_WRITE, os.path.abspath(path))
    until = time.monotonic() + limit
    pause = 0.0002
    while page.written == before:
        if time.monotonic() > until:
            raise TimeoutError(f"{path}: no profile within {limit:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.01)
        _sync()
    error: int = page.error
    if error:
        raise OSError(error, os.strerror(error), path)
