"""The heap at points of the program's order of events, without what a profiler written in Python takes itself.

A measurement is two marks in the recorder's ring: one when the profiler begins its work, one when it has ended it. What lies
between them is the profiler's own, and is left out of every figure that follows. Only the first waits for the collector: that
publishes the heap at the last two marks.
"""

from __future__ import annotations

import os
from _thread import RLock

from heapline._recording import HeaplineError, _state, begin_unwritten

_MEASURE = 12  # hl_mark_kind
_LIMIT_MS = 60000


class Meter:
    """Of the whole process. The profiler's work is between enter() and leave(), of one thread at a time."""

    def __init__(self) -> None:
        self.forked()

    def forked(self) -> None:
        self._lock = RLock()
        self._depth = 0
        self._own = 0  # bytes that the profiler holds
        self._inside = 0  # the heap when its work began,
        self._pending = False  # and it has ended since: what it has taken is not in _own yet
        self._values: memoryview | None = None
        self._recording: object = None

    def open(self) -> None:
        """Begins a recording where none is on. HeaplineError when none can begin."""
        with self._lock:
            if self._values is not None and self._values[2] and self._recording is _state.recording:
                return
            begun = self._find() is None
            if begun:
                begin_unwritten()
            if not self._attach():
                raise HeaplineError("the recording that was to begin is not there")
            for _ in range(3):  # what the first calls take once is no line's
                self.enter()
                self.leave()
            if begun:
                self.enter()
                self._own = self._inside
                self.leave()

    def _find(self) -> int | None:
        with _state.lock:
            return _state.loaded().numbers()[1] or None

    def _attach(self) -> bool:
        """Finds where the collector publishes the numbers of the recording that is on; whether one is."""
        import ctypes

        values = self._find()
        self._recording = _state.recording
        self._own, self._pending = 0, False
        if values is None:
            self._values = None
            return False
        tracker = _state.loaded()
        functions = ctypes.PyDLL(None, handle=tracker.library._handle)
        functions.heapline_mark.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        functions.heapline_mark.restype = None
        self._mark = functions.heapline_mark
        self._sync = tracker._sync
        self._values = memoryview((ctypes.c_uint64 * 5).from_address(values)).cast("B").cast("Q")
        return True

    def enter(self) -> int:
        """Bytes in use here, without the profiler's own. What is taken from here to leave() is its own."""
        self._lock.acquire()
        self._depth += 1
        if self._depth > 1:  # the program's code that the profiler calls
            return self._inside - self._own
        values = self._values
        if values is None or self._recording is not _state.recording:
            return self._go_on()
        self._mark(_MEASURE, b"", 0)
        if self._sync(_LIMIT_MS):
            return self._go_on()
        if self._pending:
            self._own += values[4] - self._inside
            self._pending = False
        self._inside = values[3]
        return self._inside - self._own

    def _go_on(self) -> int:
        """The recording has ended, and perhaps another one has begun: the figure goes on from where it was."""
        was = self._inside - self._own
        if self._attach():
            self._mark(_MEASURE, b"", 0)
            if self._sync(_LIMIT_MS) == 0 and self._values is not None:
                self._inside = self._values[3]
        self._own = self._inside - was
        return was

    def leave(self) -> None:
        self._depth -= 1
        if not self._depth and self._values is not None:
            self._pending = True
            self._mark(_MEASURE, b"", 0)
        self._lock.release()

    def own(self) -> int:
        """Bytes that the profiler holds: not in the figures of enter(), and in those of heap_bytes()."""
        self.enter()
        try:
            return self._own
        finally:
            self.leave()


meter = Meter()
os.register_at_fork(after_in_child=meter.forked)
