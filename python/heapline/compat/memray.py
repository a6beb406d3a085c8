"""The Python interface of memray, on heapline's recorder: `from heapline.compat import memray` in place of `import memray`.

    with memray.Tracker("output.bin"):
        ...
    with memray.FileReader("output.bin") as reader:
        for record in reader.get_high_watermark_allocation_records():
            print(record.size, record.stack_trace()[0])

The files are heapline's profiles, so every report of `heapline` reads them, and none of memray's does. What is not here, and why,
is in docs/memray.md. Sizes are bytes.
"""

# ruff: noqa: UP006, UP035 (evaluated by 3.8)

import os
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from typing import Iterator, List, NamedTuple, Optional, Tuple, Union

from heapline._recording import HeaplineError, _state, track
from heapline.reading import Frame, Profile, Record
from heapline.reading import open as _open

AnyPath = Union[str, "os.PathLike[str]"]
Location = Tuple[str, str, int]

__all__ = [
    "AllocationRecord",
    "Destination",
    "FileDestination",
    "FileFormat",
    "FileReader",
    "MemorySnapshot",
    "Metadata",
    "Tracker",
]


class FileFormat(IntEnum):
    """Accepted by Tracker. There is one format: it holds what both of memray's do."""

    ALL_ALLOCATIONS = 0
    AGGREGATED_ALLOCATIONS = 1


class Destination:
    """Where a Tracker's profile goes to."""


class FileDestination(Destination):
    """A file. `compress_on_exit` and `buffered` are accepted: a profile is small, and is always replaced whole."""

    def __init__(
        self, path: AnyPath, overwrite: bool = False, compress_on_exit: bool = True, buffered: bool = False
    ) -> None:
        self.path = path
        self.overwrite = overwrite


class Tracker:
    """Records the process within a `with` block, once.

    As with memray: one at a time (RuntimeError), an existing file is an error unless the destination says overwrite=True, Python's own
    objects count only with trace_python_allocators=True, forked children only with follow_fork=True. Then executed children are
    followed too. Threads that run already are recorded with their stacks.

    Unlike it: object lifetimes cannot be tracked (RuntimeError). In a process that `heapline run` records there is no profile of
    its own to write: that is a RuntimeError too, as a second Tracker is."""

    def __init__(
        self,
        file_name: Optional[AnyPath] = None,
        *,
        destination: Optional[Destination] = None,
        native_traces: bool = False,
        memory_interval_ms: int = 10,
        follow_fork: bool = False,
        trace_python_allocators: bool = False,
        track_object_lifetimes: bool = False,
        file_format: FileFormat = FileFormat.ALL_ALLOCATIONS,
    ) -> None:
        if (file_name is None) == (destination is None):
            raise TypeError("either file_name or destination is needed, and not both")
        if track_object_lifetimes:
            raise RuntimeError("heapline does not track the lifetimes of objects")
        if destination is None:
            assert file_name is not None
            destination = FileDestination(file_name)
        if not isinstance(destination, FileDestination):
            raise TypeError("heapline writes to files only: FileDestination(path)")
        FileFormat(file_format)
        self._destination = destination
        self._used = False
        self._track = track(
            destination.path,
            native=native_traces,
            python_objects=trace_python_allocators,
            children="python" if follow_fork else "none",
            overwrite=destination.overwrite,
            interval=memory_interval_ms / 1000,
        )

    def __enter__(self) -> "Tracker":
        if self._used:
            raise RuntimeError("this Tracker has been used: make another one")
        if _state.loaded().state():
            raise RuntimeError("this process is being recorded already")
        self._used = True
        try:
            recording = self._track.__enter__()
        except HeaplineError as error:
            raise RuntimeError(str(error)) from None
        if not recording.own:  # another thread was faster
            self._track.__exit__(None, None, None)
            raise RuntimeError("this process is being recorded already")
        return self

    def __exit__(self, *exception: object) -> None:
        self._track.__exit__(None, None, None)


def _location(frame: Frame) -> Location:
    return frame.function, frame.file, frame.line


class AllocationRecord:
    """What one call stack holds, all its allocations together: `size` bytes in `n_allocations` blocks."""

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def size(self) -> int:
        return self._record.bytes

    @property
    def n_allocations(self) -> int:
        return self._record.blocks

    def _stack(self, most: Optional[int], python: bool, native: bool) -> List[Location]:
        frames = [_location(f) for f in self._record.stack if (native if f.native else python)]
        return frames if most is None else frames[:most]

    def stack_trace(self, max_stacks: Optional[int] = None) -> List[Location]:
        """Python's calls, the innermost first: function, file, line."""
        return self._stack(max_stacks, True, False)

    def native_stack_trace(self, max_stacks: Optional[int] = None) -> List[Location]:
        """Those of C, C++, Rust, Fortran; empty unless they were recorded (native_traces)."""
        return self._stack(max_stacks, False, True)

    def hybrid_stack_trace(self, max_stacks: Optional[int] = None) -> List[Location]:
        """Both, as they called each other."""
        return self._stack(max_stacks, True, True)

    def __repr__(self) -> str:
        return f"<AllocationRecord of {self.size:,} bytes in {self.n_allocations:,} blocks: {self.stack_trace(1)}>"


class MemorySnapshot(NamedTuple):
    """`time` is in ms since 1970; `rss` and `heap` in bytes."""

    time: int
    rss: int
    heap: int


class Metadata(NamedTuple):
    start_time: datetime
    end_time: datetime
    total_allocations: int
    peak_memory: int
    command_line: str
    pid: int
    has_native_traces: bool
    trace_python_allocators: bool


class FileReader:
    """A profile, read. Threads are merged, as memray does by default; for anything else there is heapline.open()."""

    def __init__(self, file_name: AnyPath, *, report_progress: bool = False, max_memory_records: int = 10000) -> None:
        self._profile: Optional[Profile] = _open(file_name)
        self._most = max_memory_records

    def __enter__(self) -> "FileReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._profile is not None:
            self._profile.close()
        self._profile = None

    @property
    def closed(self) -> bool:
        return self._profile is None

    @property
    def _open_profile(self) -> Profile:
        if self._profile is None:
            raise ValueError("the file is closed")
        return self._profile

    @staticmethod
    def _records(records: Iterator[Record]) -> Iterator[AllocationRecord]:
        for record in records:
            yield AllocationRecord(record)

    def get_high_watermark_allocation_records(self, merge_threads: bool = True) -> Iterator[AllocationRecord]:
        """What was alive at the peak."""
        _only_merged(merge_threads)
        return self._records(iter(self._open_profile.peak))

    def get_leaked_allocation_records(self, merge_threads: bool = True) -> Iterator[AllocationRecord]:
        """What was not freed at the end of the block."""
        _only_merged(merge_threads)
        return self._records(iter(self._open_profile.leaks))

    def get_temporary_allocation_records(
        self, merge_threads: bool = True, threshold: int = 1
    ) -> Iterator[AllocationRecord]:
        """What was freed within `threshold` further allocations of its thread. heapline counts in powers of two: it is
        rounded down to 0, 1, 2, 4 .. 1024."""
        _only_merged(merge_threads)
        return self._records(iter(self._open_profile.temporary(threshold)))

    def get_memory_snapshots(self) -> Iterator[MemorySnapshot]:
        """Heap and resident memory over time, of all processes together, where both are known."""
        profile = self._open_profile
        start_ms = profile.stats.start_unix_ns // 1_000_000
        points = [point for point in profile.timeline if point.rss_bytes is not None]
        step = max(1, -(-len(points) // self._most))
        for point in points[::step]:
            yield MemorySnapshot(int(start_ms + point.time_s * 1000), point.rss_bytes or 0, point.heap_bytes)

    @property
    def metadata(self) -> Metadata:
        profile = self._open_profile
        stats = profile.stats
        start = datetime.fromtimestamp(stats.start_unix_ns / 1e9, timezone.utc)
        return Metadata(
            start_time=start,
            end_time=start + timedelta(seconds=stats.duration_s),
            total_allocations=stats.allocations,
            peak_memory=stats.peak_bytes,
            command_line=stats.command,
            pid=profile.processes[0].pid,
            has_native_traces=stats.native,
            trace_python_allocators=profile.processes[0].recorded == "objects",
        )


def _only_merged(merge_threads: bool) -> None:
    if not merge_threads:
        raise NotImplementedError("threads apart: heapline.open(path).only(thread=..) has the records of one")
