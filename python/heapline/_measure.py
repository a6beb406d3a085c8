"""What a piece of code takes while it runs: `Measure`, on which the magics stand.

It is a part of the recording with books of its own (_part.py). Where nothing is recorded a recording begins for it, in a temporary
folder that is gone when it ends: the open profile stays readable.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time

from heapline import _part
from heapline._recording import HeaplineError, track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from heapline.reading import Profile

_NAME = "measured"
_active = False


class Measure:
    """A context manager. After the block:"""

    peak_bytes = 0
    """The highest that was in use of what was allocated in it; exact, like all of these."""
    kept_bytes = 0
    """What of that is alive after it, and after a collection of cycles."""
    allocations = 0
    allocated_bytes = 0
    duration_s = 0.0
    part: Profile | None = None
    """What was allocated in the block. None: `note` says why."""
    whole: Profile | None = None
    """The recording, where it was begun for the block; with child processes, timeline and RSS."""
    begin_s = 0.0
    """When in the recording the block began."""
    note = ""

    def __init__(self, *, detail: bool = True, children: str = "python") -> None:
        self._detail = detail
        self._children = children

    def __enter__(self) -> Measure:
        global _active  # noqa: PLW0603
        if _active:
            raise HeaplineError("this is within code that is being measured already")
        gc.collect()
        self._folder = tempfile.mkdtemp(prefix="heapline-")
        try:
            self._track = track(self._path("whole"), interval=0.001, children=self._children)
            self._own = self._track.__enter__().own
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        _active = True
        try:
            _part.begin(_NAME)
            _part.numbers()
            self._began = time.monotonic()
            _part.begin(_NAME)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            _part.close()
            self.duration_s = time.monotonic() - self._began
            gc.collect()
            self._read()
        except (HeaplineError, OSError) as caught:
            self.note = str(caught)
        finally:
            self._close()

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name + ".heapline")

    def _read(self) -> None:
        numbers = _part.numbers()
        self.peak_bytes, self.kept_bytes = numbers.peak, numbers.heap
        self.allocations, self.allocated_bytes = numbers.allocations, numbers.allocated
        if self._detail:
            _part.write(self._path("part"))
        _part.end()
        if self._own:
            self._track.__exit__(None, None, None)
        if not self._detail:
            return
        from heapline.reading import open

        self.part = open(self._path("part"))
        if self._own:
            self.whole = open(self._path("whole"))
            marks = [mark.time_s for mark in self.whole.timeline.marks if mark.name == _NAME]
            self.begin_s = marks[-1] if marks else 0.0

    def _close(self) -> None:
        global _active  # noqa: PLW0603
        _active = False
        try:
            self._track.__exit__(None, None, None)
        except HeaplineError:
            pass
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
