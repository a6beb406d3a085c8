"""What a recorded program asks about itself while it runs: heap_bytes, peak_bytes, reset_peak, snapshot, mark, region."""

from __future__ import annotations

import errno
import os
import time

from heapline._recording import HeaplineError, _state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_MARK, _REGION, _REGION_END, _TRACK, _TRACK_END, _RESET_PEAK = range(1, 7)  # hl_mark_kind


_NOTHING = "this process is not being recorded: start() or track() first, or heapline run"


class Usage:
    """What the process holds, as the collector has published it."""

    __slots__ = ("age", "heap", "peak")

    heap: int
    """Bytes that are in use."""
    peak: int
    """The highest of `heap` since the recording began, or since reset_peak(); bytes."""
    age: float
    """Seconds since which events may be missing."""

    def __init__(self, heap: int, peak: int, age: float) -> None:
        self.heap = heap
        self.peak = peak
        self.age = age

    def __repr__(self) -> str:
        return f"Usage(heap={self.heap}, peak={self.peak}, age={self.age:.6f})"


# Views of the page that the collector writes to: heap, peak, time in ns; and of the word that says that somebody looks.
_values: memoryview | None = None
_watched: memoryview


def _forked() -> None:
    global _values  # noqa: PLW0603
    _values = None  # the child has a page of its own


os.register_at_fork(after_in_child=_forked)


def _look() -> memoryview:
    """The page, looked for. Raises HeaplineError when nothing is recorded."""
    global _values, _watched  # noqa: PLW0603
    import ctypes

    with _state.lock:
        watched, values = _state.loaded().numbers()
        if not watched or not values:
            raise HeaplineError(_NOTHING)
        _watched = memoryview(ctypes.c_uint32.from_address(watched)).cast("B").cast("I")
        found = memoryview((ctypes.c_uint64 * 3).from_address(values)).cast("B").cast("Q")
        _values = found
    if not found[2]:  # nothing has been published yet
        _sync()
    return found


def _sync(limit: float = 60.0) -> None:
    error = _state.loaded().sync(round(limit * 1000))
    if error == errno.ESRCH:
        raise HeaplineError(_NOTHING)
    if error:
        raise HeaplineError(f"the collector does not answer: {os.strerror(error)}")


def heap_bytes(*, sync: bool = False) -> int:
    """Bytes that this process holds of what it has taken since the recording began.

    It is what the collector has published last: at most about 1 ms old while the program asks and takes memory, up to 50 ms when it asks
    for the first time after a pause (usage() tells the age). sync=True waits until all that this thread has done is in it.

    Raises HeaplineError when nothing is recorded."""
    if sync:
        _sync()
    values = _values
    if values is None or not values[2]:
        values = _look()
    _watched[0] = 1
    return values[0]


def peak_bytes(*, sync: bool = False) -> int:
    """The highest heap_bytes() since the recording began, or since reset_peak(): exact, not sampled. `sync` as in heap_bytes()."""
    if sync:
        _sync()
    values = _values
    if values is None or not values[2]:
        values = _look()
    _watched[0] = 1
    return values[1]


def usage(*, sync: bool = False) -> Usage:
    """Heap, peak and the age of both."""
    heap = heap_bytes(sync=sync)
    values = _values or _look()
    return Usage(heap, values[1], max(0.0, (time.monotonic_ns() - values[2]) / 1e9))


def _put(kind: int, name: str) -> None:
    tracker = _state.tracker
    if tracker is None:
        try:
            tracker = _state.loaded()
        except HeaplineError:  # not installed whole: then nothing is recorded either
            return
    if not tracker.quiet:
        tracker.mark(kind, name)


def reset_peak() -> None:
    """From here on peak_bytes() begins anew, at what is held at this point of the order of events. The profile's peak does not
    change."""
    _put(_RESET_PEAK, "")


def mark(name: str) -> None:
    """Puts a named mark into the timeline, at this moment. Nothing happens when nothing is recorded. The collector keeps the first
    100,000 marks of a recording."""
    _put(_MARK, name)


class region:
    """A named stretch of time in the timeline, from the block's beginning to its end:

        with heapline.region("request", route="/users"):
            ...

    In the profile its name is `request route=/users`. Nothing happens when nothing is recorded."""

    def __init__(self, name: str, **attributes: object) -> None:
        self.name = " ".join([name, *(f"{key}={value}" for key, value in attributes.items())])

    def __enter__(self) -> region:
        _put(_REGION, self.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _put(_REGION_END, self.name)


def snapshot(path: str | os.PathLike[str], *, overwrite: bool = False) -> str:
    """Writes a profile of all that has been recorded so far to `path`, and goes on recording. Returns its absolute path.

    Only in a recording that this process has begun: else HeaplineError, as only that one knows where its profile is."""
    import shutil

    whole = os.path.abspath(os.fspath(path))
    with _state.lock:
        recording = _state.recording if _state.unwritten is None else None
        tracker = _state.loaded()
    if recording is None:
        raise HeaplineError("there is no recording that this process has begun: start() or track() first")
    if os.path.exists(whole) and not overwrite:
        raise FileExistsError(errno.EEXIST, "this profile exists (overwrite=True replaces it)", whole)
    error = tracker.checkpoint(60000)
    if error:
        raise HeaplineError(f"{whole}: no snapshot: {os.strerror(error)}")
    beside = f"{whole}.{os.getpid()}.part"
    try:
        shutil.copyfile(recording.path, beside)
        os.replace(beside, whole)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    return whole
