"""What a piece of code takes while it runs: `Measure`, on which the magics and `with heapline.profile:` stand.

Where nothing is recorded a recording begins for it, in a temporary folder that is gone when it ends: the open profile stays readable.
Where this process has begun a recording itself, what the piece did is taken out of a snapshot by its region. Under `heapline run` only
the running numbers can be asked; the profile has the rest when that ends.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time

from heapline import _live
from heapline._recording import HeaplineError, track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from heapline._recording import Recording
    from heapline.reading import Profile

INSIDE_RUN = "recorded by heapline run, whose profile has the lines when it ends"


class Measure:
    """A context manager. After the block:"""

    peak_bytes = 0
    """How much more the heap was at its highest than at the beginning; exact."""
    kept_bytes = 0
    """How much more the heap is after the block (and a collection of cycles) than before; exact."""
    duration_s = 0.0
    own = False
    """The recording was begun for it."""
    profile: Profile | None = None
    """None: there is none that can be read yet; `note` says why."""
    note = ""

    _count = 0

    def __init__(self, *, collect: bool = True, detail: bool = True, children: str = "python") -> None:
        self._collect = collect
        self._detail = detail
        self._children = children
        Measure._count += 1
        self.region = f"measured {Measure._count}"

    def __enter__(self) -> Measure:
        if self._collect:
            gc.collect()
        self._folder = tempfile.mkdtemp(prefix="heapline-")
        try:
            interval = 0.001 if self._detail else 0.1
            self._track = track(
                os.path.join(self._folder, "measured.heapline"), interval=interval, children=self._children
            )
            self._recording: Recording = self._track.__enter__()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        try:
            self.own = self._recording.own
            self._region = _live.region(self.region)
            for _ in range(2):  # what follows has been done before, and allocates as little as it can
                _live.reset_peak()
                _live.peak_bytes(sync=True)
            self._began = time.monotonic()
            self._region.__enter__()
            _live.reset_peak()
            self._before = _live.heap_bytes(sync=True)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.peak_bytes = max(0, _live.peak_bytes(sync=True) - self._before)
            self._region.__exit__(None, None, None)
            self.duration_s = time.monotonic() - self._began
            if self._collect:
                gc.collect()
            self.kept_bytes = _live.heap_bytes(sync=True) - self._before
            self._take()
        except HeaplineError as caught:
            self.note = str(caught)
        finally:
            self._close()

    def _take(self) -> None:
        """Opens the profile, or a snapshot."""
        if self.own:
            self._track.__exit__(None, None, None)
        if not self._detail:
            return
        if not self._recording.path:
            self.note = INSIDE_RUN
            return
        from heapline.reading import open

        path = self._recording.path
        if not self.own:
            path = _live.snapshot(os.path.join(self._folder, "snapshot.heapline"))
        self.profile = open(path)

    def _close(self) -> None:
        try:
            self._track.__exit__(None, None, None)
        except HeaplineError:
            pass
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
