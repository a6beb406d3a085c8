"""The backend heap: bytes that the process has allocated and not freed, exactly, from heapline's own recorder.

Where nothing is recorded yet, a recording is begun, and goes on until the process ends. The figure is the heap since the
recording began, without what the profiler itself holds.
"""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import contextlib
import inspect
import sys

_TWO_20 = float(2**20)  # a double holds whole bytes of this up to 8 PiB, so nothing is rounded
# What a trace function is called with for a line or an offset above the small integers: not the program's. From 3.14 on it
# comes from a free list.
_BOXED = sys.getsizeof(257) if (3, 12) <= sys.version_info < (3, 14) else 0
_LOCALS_IN_A_DICT = sys.version_info < (3, 13)

_meter = None


def is_available():
    """Whether the package heapline is there, for this Python."""
    global _meter  # noqa: PLW0603
    if _meter is None and sys.implementation.name == "cpython" and sys.version_info >= (3, 8):
        try:
            from heapline._meter import meter

            _meter = meter
        except ImportError:
            pass
    return _meter is not None


def begin():
    """Begins a recording where none is on. heapline.HeaplineError when none can begin."""
    if not is_available():
        raise ImportError("the backend heap needs the package heapline, in CPython 3.8 or newer")
    _meter.open()


def enter(frame, event):
    """MiB in use, as a trace function is called. From here to leave() is the profiler's own."""
    held = _meter.enter()
    if _BOXED and (frame.f_lineno if event == "line" else frame.f_lasti) > 256:
        held -= _BOXED
    return held / _TWO_20


def leave():
    _meter.leave()


def now():
    """MiB in use."""
    begin()
    try:
        return _meter.enter() / _TWO_20
    finally:
        _meter.leave()


def reset_peak():
    begin()
    from heapline import reset_peak

    reset_peak()


def peak():
    """MiB that were in use at most since reset_peak()."""
    from heapline import peak_bytes

    return (peak_bytes(sync=True) - _meter.own()) / _TWO_20


@contextlib.contextmanager
def aside():
    """What is taken in this block is the profiler's own."""
    begin()
    _meter.enter()
    try:
        yield
    finally:
        _meter.leave()


def make_room(frame):
    """Before 3.13 a traced frame has a dict of its locals, which would grow while lines run that bind more of them: it is made
    large enough before the first."""
    code = frame.f_code
    names = len(code.co_varnames) + len(code.co_cellvars) + len(code.co_freevars)
    if not _LOCALS_IN_A_DICT or names <= 5 or not code.co_flags & inspect.CO_OPTIMIZED:
        return
    values = frame.f_locals
    used, room, fillers = len(values), 5, []
    while room - used < 2 * names:  # names that are deleted and bound again take a new place
        filler = " %d" % len(fillers)
        fillers.append(filler)
        values[filler] = None
        used += 1
        if used > room:
            size = 8
            while size < (used - 1) * 3:
                size *= 2
            room = size * 2 // 3
    for filler in fillers:
        del values[filler]
