"""Reading profiles: `heapline.open(path)`.

Every number is the one that the terminal reports give, for it comes from them: the `heapline` command that belongs to this
package is asked for JSON, and what it says is put into typed records here. Nothing is computed anew.

Sizes are bytes, times are seconds since the recording began. Records are plain tuples with names (Stats is a frozen
dataclass); their fields are named like the keys of the reports' JSON (docs/heapline-*.md).
"""

# ruff: noqa: UP006, UP035 (what is written here is evaluated by 3.8, and by to_arrow)

import builtins
import json
import os
import subprocess
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import import_module
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    overload,
)

from heapline._binary import binary

AnyPath = Union[str, "os.PathLike[str]"]
Time = Union[float, str]


class ProfileError(Exception):
    """The file is not a profile that this heapline can read: foreign, damaged, cut short, empty, or written by a newer
    heapline. The text is that of the command."""


# ------------------------------------------------------------------------------------------------------------ records


class Frame(NamedTuple):
    """One call of a stack."""

    function: str
    file: str
    """The source file's path; "" where there is none."""
    line: int
    """0: unknown."""
    native: bool = False
    """C, C++, Rust, Fortran ..."""
    module: Optional[str] = None
    """Of native frames: the path of the loaded object."""
    inlined: bool = False
    """The compiler put this call into the next frame."""


class Record(NamedTuple):
    """What one call stack holds, or took, in a selection."""

    bytes: int
    blocks: int
    """Allocations, where the selection is of those."""
    function: str
    file: str
    line: int
    """Function, file and line are the place that is charged: your line that called, or with leaf the innermost frame."""
    native: bool
    module: Optional[str]
    inlined: bool
    stack: Tuple[Frame, ...]
    """Innermost frame first; empty where no Python code ran."""


class Site(NamedTuple):
    """What is charged to one line of code in a selection."""

    bytes: int
    blocks: int
    function: str
    file: str
    line: int
    native: bool = False
    module: Optional[str] = None
    inlined: bool = False


class NativeSite(NamedTuple):
    """What a line of an extension holds, and the line that it did it for."""

    bytes: int
    blocks: int
    function: str
    file: str
    line: int
    native: bool
    module: Optional[str]
    inlined: bool
    caller: Frame
    """The place that is charged."""


class Line(NamedTuple):
    """A source line beside what it took, gave back and held."""

    file: str
    line: int
    allocated_bytes: int
    """All that it ever took."""
    allocations: int
    freed_bytes: int
    """What of that was given back, by whomever."""
    frees: int
    peak_bytes: int
    """Its share of the peak."""
    end_bytes: int
    """What was never freed."""
    peak_with_calls_bytes: int
    """At the peak, together with all that the line called."""
    source: Optional[str]
    """The text of the line, None where it is not known."""


class ProfiledLine(NamedTuple):
    """A line of a function that was profiled line by line: what it did with all that it called, in its own thread
    (docs/semantics.md, "Lines of profiled functions")."""

    function: str
    file: str
    line: int
    hits: int
    """How often it was executed."""
    allocated_bytes: int
    freed_bytes: int
    net_bytes: int
    """Allocated less freed."""
    allocations: int
    highest_bytes: int
    """The most by which allocated less freed was above what it was when an execution began."""
    temporary_bytes: int
    """Allocated and freed within one execution."""
    largest_bytes: int
    """The largest single allocation."""
    rss_bytes: Optional[int]
    """The highest resident memory after an execution; None: not looked at."""
    source: Optional[str]
    """The text of the line, None where it is not known."""


class ProfiledSums(NamedTuple):
    """The sums of all lines of a function; highest, largest and rss are the highest of them."""

    hits: int
    allocated_bytes: int
    freed_bytes: int
    net_bytes: int
    allocations: int
    highest_bytes: int
    temporary_bytes: int
    largest_bytes: int
    rss_bytes: Optional[int]


class Sums(NamedTuple):
    """The sums of several lines."""

    allocated_bytes: int
    allocations: int
    freed_bytes: int
    frees: int
    peak_bytes: int
    end_bytes: int


class FileSums(NamedTuple):
    """The sums of all lines of a file."""

    file: str
    allocated_bytes: int
    allocations: int
    freed_bytes: int
    frees: int
    peak_bytes: int
    end_bytes: int


class Point(NamedTuple):
    """Heap and RSS in one tick; they stay as they are until the next point."""

    time_s: float
    """The end of the tick."""
    heap_bytes: int
    """At the end of the tick; low and high are the extremes within it (of several processes: bounds)."""
    heap_low_bytes: int
    heap_high_bytes: int
    arena_bytes: int
    rss_bytes: Optional[int]
    """None before the first sample."""
    rss_anon_bytes: Optional[int]
    rss_file_bytes: Optional[int]
    rss_shmem_bytes: Optional[int]
    pss_bytes: Optional[int]


class Process(NamedTuple):
    """A process of the recording, also one that was not followed: one life of a pid, through exec."""

    pid: int
    parent: Optional[int]
    """A pid."""
    id: int
    """Its number in the profile; 1 is the program itself. A pid may have several lives."""
    parent_id: Optional[int]
    born_by: str
    command: str
    executable: str
    python: Optional[str]
    """The version of its interpreter; None: not Python."""
    followed: bool
    recorded: str
    """What is recorded: "objects", "stacks" (no Python objects), "malloc" (no Python stacks either), "nothing"."""
    reason: str
    """Why it is less; "" where nothing is missing."""
    start_s: float
    end_s: float
    ended: str
    """"running", "exit", "signal", "lost"."""
    exit: Optional[int]
    signal: Optional[int]
    peak_bytes: int
    peak_time_s: float
    allocations: int
    allocated_bytes: int
    frees: int
    freed_bytes: int
    live_end_bytes: int
    live_end_blocks: int
    inherited_frees: int
    unknown_frees: int
    earlier_frees: int
    events_lost: int
    waited_s: float
    rss_peak_bytes: int


class MergedRecording(NamedTuple):
    """One of the recordings in a merged profile (docs/heapline-merge.md). Times are those of the merged profile."""

    id: int
    name: str
    first_process: int
    """Its processes have this `id` to that of `last_process`; 0: there are none."""
    last_process: int
    host: str
    command: str
    labels: Dict[str, str]
    start_s: float
    duration_s: float
    state: str
    exit: Optional[int]
    signal: Optional[int]
    peak_bytes: int
    peak_bound_bytes: int
    peak_time_s: float
    rss_peak_bytes: int


class Mark(NamedTuple):
    """What a program has said of a moment: heapline.mark(), heapline.region(), heapline.track()."""

    time_s: float
    kind: str
    """"mark", "region", "region end", "track", "track end"."""
    name: str
    pid: int


class Thread(NamedTuple):
    """A thread, or a group of threads of like name."""

    name: str
    tid: Optional[int]
    """None: a group."""
    threads: int
    """How many threads it stands for."""
    pid: int
    peak_bytes: int
    """Its share of the peak."""
    peak_blocks: int
    allocated_bytes: int
    allocations: int


class Group(NamedTuple):
    """What belongs to an allocator, a module, a library or a region."""

    name: str
    bytes: int
    """At the peak."""
    blocks: int
    allocated_bytes: int
    allocations: int
    module: Optional[str] = None
    """Of libraries: the path of the loaded object."""


class Size(NamedTuple):
    """How many allocations were of `from_bytes` to less than `below_bytes`."""

    from_bytes: int
    below_bytes: int
    allocations: int


class RssParts(NamedTuple):
    """How RSS divided while the heap was at its peak (docs/heapline-stats.md). The rest may be negative."""

    time_s: float
    rss_bytes: int
    heap_bytes: int
    arena_slack_bytes: int
    pool_bytes: int
    file_bytes: int
    shared_bytes: int
    rest_bytes: int


@dataclass(frozen=True)
class Stats:
    """The one page about a recording: `heapline stats`."""

    command: str
    start_unix_ns: int
    """When the recording began, by the clock."""
    native: bool
    """Some stack has native frames."""
    verdict: str
    """How it ended, in words."""
    state: str
    """"running", "finished", "stopped"."""
    exit: Optional[int]
    """Exit status; None when a signal ended it, or while it runs."""
    signal: Optional[int]
    signal_name: Optional[str]
    out_of_memory: bool
    out_of_memory_scope: Optional[str]
    out_of_memory_limit_bytes: int
    duration_s: float
    peak_bytes: int
    peak_blocks: int
    peak_time_s: float
    peak_bound_bytes: int
    """What the peak of several processes together cannot have exceeded."""
    peak_seen_bytes: Optional[int]
    """Of a merged profile, whose peak is the sum of its recordings': what they held together at some moment at least."""
    allocations: int
    allocated_bytes: int
    frees: int
    freed_bytes: int
    live_end_bytes: int
    live_end_blocks: int
    unknown_frees: int
    inherited_frees: int
    earlier_frees: int
    """Of blocks from before heapline.start()."""
    arena_peak_bytes: int
    rss_peak_bytes: int
    rss_at_peak: Optional[RssParts]
    """None: RSS was not sampled."""
    pool_peak_bytes: int
    pool_libraries: Optional[str]
    threads: int
    processes: int
    recordings: Optional[int]
    """Of a merged profile: how many there are in it."""
    python: Optional[str]
    events: int
    events_lost: int
    waited_s: float
    collector_cpu_s: float
    collector_rss_peak_bytes: int
    folded_stacks: int
    profiled_functions: int
    """How many functions were profiled line by line."""
    exact: bool
    """The rows add up to the profile's own totals."""
    top_by_bytes: Tuple[Site, ...]
    """The heaviest lines at the peak."""
    top_by_count: Tuple[Site, ...]
    """The lines with the most allocations; bytes are those that they allocated."""
    top_native: Tuple[NativeSite, ...]
    """The heaviest lines of extensions; empty without native frames, or without Python."""
    sizes: Tuple[Size, ...]
    by_allocator: Tuple[Group, ...]
    by_module: Tuple[Group, ...]
    libraries: Tuple[Group, ...]
    """By loaded object; empty without native frames."""
    by_region: Tuple[Group, ...]
    """By heapline.region(); empty where the program has none."""
    notes: Tuple[str, ...]
    """What is missing in the recording, and why."""


# ------------------------------------------------------------------------------------------------------------- tables

Row = TypeVar("Row", bound=Tuple[Any, ...])


class Table(Sequence[Row]):
    """Records in the order of the report, as a sequence."""

    def __init__(self, kind: Type[Row], rows: Iterable[Row]) -> None:
        self._kind = kind
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Tuple[Row, ...]: ...
    def __getitem__(self, index: Union[int, slice]) -> Union[Row, Tuple[Row, ...]]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<heapline {self._kind.__name__} table, {len(self):,} rows>"

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a column for each field. ImportError where pandas is not installed."""
        pandas = import_module("pandas")
        dtypes = {int: "int64", float: "float64", bool: "bool", str: str, Optional[int]: "Int64"}
        columns = {}
        for i, (name, kind) in enumerate(self._kind.__annotations__.items()):
            column = [row[i] for row in self._rows]
            columns[name] = pandas.Series(column, dtype=dtypes.get(kind, object))
        return pandas.DataFrame(columns)

    def to_arrow(self) -> Any:
        """A pyarrow.Table with a column for each field; stacks are lists of structs. ImportError where pyarrow is not
        installed."""
        arrow = import_module("pyarrow")
        schema = arrow.schema([_arrow_field(arrow, *field) for field in self._kind.__annotations__.items()])
        return arrow.Table.from_arrays(
            [arrow.array([_plain(row[i]) for row in self._rows], type=field.type) for i, field in enumerate(schema)],
            schema=schema,
        )


def _plain(value: Any) -> Any:
    """As Arrow takes it: frames as dictionaries, dictionaries as pairs."""
    if isinstance(value, dict):
        return list(value.items())
    return [frame._asdict() for frame in value] if isinstance(value, tuple) else value


def _arrow_field(arrow: Any, name: str, kind: Any) -> Any:
    types = {int: "int64", float: "float64", bool: "bool_", str: "string"}
    if kind == Tuple[Frame, ...]:
        frame = arrow.struct([_arrow_field(arrow, *field) for field in Frame.__annotations__.items()])
        return arrow.field(name, arrow.list_(frame), nullable=False)
    if kind == Dict[str, str]:
        return arrow.field(name, arrow.map_(arrow.string(), arrow.string()), nullable=False)
    optional = type(None) in get_args(kind)
    return arrow.field(name, getattr(arrow, types[get_args(kind)[0] if optional else kind])(), nullable=optional)


class Records(Table[Record]):
    """A selection of the profile: what each call stack holds in it, the heaviest first. The rows add up to the totals."""

    moment: str
    """"peak", "end", "leaks", "time", "allocated", "temporary"."""
    total_bytes: int
    total_blocks: int
    exact: bool
    """The total is that of the profile's own books."""
    time_s: Optional[float]
    """The moment, as it was rounded down to a tick; None where it is none."""
    since_s: Optional[float]
    """Only blocks allocated from then on; None: all."""
    within: Optional[int]
    """Of temporary ones: the threshold, as it was rounded down to 0, 1, 2, 4 .. 1024."""

    def __init__(self, report: Dict[str, Any]) -> None:
        frames = [_record(Frame, site) for site in report["sites"]]
        super().__init__(
            Record,
            (
                Record._make(
                    (row["bytes"], row["count"], *frames[row["site"]], tuple([frames[i] for i in row["stack"]]))
                )
                for row in report["rows"]
            ),
        )
        self._sites = [row["site"] for row in report["rows"]]
        chosen = report["selection"]
        self.moment = chosen["moment"]
        self.total_bytes = report["total_bytes"]
        self.total_blocks = report["total_count"]
        self.exact = report["exact"]
        self.time_s = chosen.get("time_s")
        self.since_s = chosen.get("since_s")
        self.within = chosen.get("within")

    def by_line(self) -> Table[Site]:
        """The rows of each line of code added up, the heaviest first: what `heapline table` shows."""
        sums: Dict[int, Tuple[int, int, Record]] = {}
        for number, row in zip(self._sites, self):
            held, blocks, _ = sums.get(number, (0, 0, row))
            sums[number] = (held + row.bytes, blocks + row.blocks, row)
        sites = (Site(held, blocks, *row[2:8]) for held, blocks, row in sums.values())
        return Table(Site, sorted(sites, key=lambda site: (-site.bytes, -site.blocks)))

    def __repr__(self) -> str:
        return f"<heapline.Records of {self.moment}, {self.total_bytes:,} bytes in {self.total_blocks:,} blocks, {len(self):,} stacks>"


class Lines(Table[Line]):
    """Source lines, file by file, the heaviest file first."""

    files: Tuple[FileSums, ...]
    """Of each file that has lines here, the sums of all its lines."""
    no_file: Sums
    """What has no line of Python (or, without Python, no known stack)."""
    total: Sums
    """Of the whole selection, whatever lines were asked for."""

    def __init__(self, report: Dict[str, Any]) -> None:
        rows = ({"file": file["file"], **line} for file in report["files"] for line in file["lines"])
        super().__init__(Line, [_record(Line, row) for row in rows if row.get("named", True)])
        self.files = tuple(_record(FileSums, file) for file in report["files"])
        self.no_file = _record(Sums, report["no_file"])
        self.total = _record(Sums, report["total"])


class ProfiledFunction(Table[ProfiledLine]):
    """A function that was profiled line by line: its lines, also those that never ran, of all processes together."""

    function: str
    """Its qualified name."""
    file: str
    first_line: int
    last_line: int
    processes: int
    """How many have run it."""
    total: ProfiledSums

    def __init__(self, report: Dict[str, Any]) -> None:
        place = {"function": report["function"], "file": report["file"]}
        super().__init__(ProfiledLine, [_record(ProfiledLine, {**place, **line}) for line in report["lines"]])
        self.function = report["function"]
        self.file = report["file"]
        self.first_line = report["first_line"]
        self.last_line = report["last_line"]
        self.processes = report["processes"]
        self.total = _record(ProfiledSums, report["total"])

    def __repr__(self) -> str:
        return f"<heapline.ProfiledFunction {self.function}, {self.file}:{self.first_line}, {len(self):,} lines>"


class Profiled(Sequence[ProfiledFunction]):
    """Functions that were profiled line by line, those that allocated the most first."""

    lines: Table[ProfiledLine]
    """The lines of all of them, one function after the other."""

    def __init__(self, report: Dict[str, Any]) -> None:
        self._functions = tuple(ProfiledFunction(function) for function in report["functions"])
        self.lines = Table(ProfiledLine, (line for function in self._functions for line in function))

    @overload
    def __getitem__(self, index: int) -> ProfiledFunction: ...
    @overload
    def __getitem__(self, index: slice) -> Tuple[ProfiledFunction, ...]: ...
    def __getitem__(self, index: Union[int, slice]) -> Union[ProfiledFunction, Tuple[ProfiledFunction, ...]]:
        return self._functions[index]

    def __len__(self) -> int:
        return len(self._functions)

    def __repr__(self) -> str:
        return f"<heapline.Profiled, {len(self):,} functions>"

    def to_pandas(self) -> Any:
        """`lines` as a pandas.DataFrame."""
        return self.lines.to_pandas()

    def to_arrow(self) -> Any:
        """`lines` as a pyarrow.Table."""
        return self.lines.to_arrow()


class Timeline(Table[Point]):
    """Heap and RSS over time, one point for each tick in which something changed."""

    duration_s: float
    tick_s: float
    peak_bytes: int
    peak_time_s: float
    marks: Table[Mark]
    """In the order of time."""

    def __init__(self, report: Dict[str, Any]) -> None:
        super().__init__(Point, (_record(Point, point) for point in report["points"]))
        self.duration_s = report["duration_s"]
        self.tick_s = report["tick_s"]
        self.peak_bytes = report["peak_bytes"]
        self.peak_time_s = report["peak_time_s"]
        self.marks = Table(Mark, (_record(Mark, mark) for mark in report["marks"]))


Named = TypeVar("Named", bound=Any)


def _record(kind: Type[Named], values: Dict[str, Any]) -> Named:
    """A row of JSON. (Its key "count" cannot be a name here: tuples have a method of that name.) Keys that this version does not know are left out."""
    known = {name: values[name] for name in kind._fields if name in values}
    if "blocks" in kind._fields:
        known["blocks"] = values["count"]
    record: Named = kind(**known)
    return record


def _stats(report: Dict[str, Any]) -> Stats:
    def groups(key: str) -> Tuple[Group, ...]:
        return tuple(_record(Group, group) for group in report.get(key, ()))

    rss = report["rss_at_peak"]
    made: Dict[str, Any] = {
        "rss_at_peak": _record(RssParts, rss) if rss else None,
        "top_by_bytes": tuple(_record(Site, row) for row in report["top_by_bytes"]),
        "top_by_count": tuple(_record(Site, row) for row in report["top_by_count"]),
        "top_native": tuple(
            NativeSite(*_record(Site, row), _record(Frame, row["caller"])) for row in report.get("top_native", ())
        ),
        "sizes": tuple(Size(size["from"], size["below"], size["count"]) for size in report["sizes"]),
        "by_allocator": groups("by_allocator"),
        "by_module": groups("by_module"),
        "libraries": groups("libraries"),
        "by_region": groups("by_region"),
        "notes": tuple(report["notes"]),
    }
    values: Dict[str, Any] = {field.name: made.get(field.name, report.get(field.name)) for field in fields(Stats)}
    return Stats(**values)


def _thread(row: Dict[str, Any]) -> Thread:
    return _record(Thread, {**row, "peak_bytes": row["bytes"], "peak_blocks": row["count"]})


# ------------------------------------------------------------------------------------------------------------ profile


class _File:
    """An open profile. A recording that replaces the file does not change it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    __del__ = close


AS_STANDARD_INPUT = "/proc/self/fd/0"


class Profile:
    """A profile: one state of a recording. Made by heapline.open(); usable in a `with` statement, or left to close itself.

    What is asked for first costs one run of the command, some hundredths of a second; what is an attribute is kept then.
    """

    path: str

    def __init__(self, file: _File, narrowed: Sequence[str] = ()) -> None:
        self.path = file.path
        self._file = file
        self._narrowed = tuple(narrowed)

    def __repr__(self) -> str:
        return f"<heapline.Profile {' '.join((repr(self.path), *self._narrowed))}>"

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def save(self, path: AnyPath) -> str:
        """Writes a copy of the profile to `path`, for the reports of the command, and returns its absolute path. FileExistsError:
        there is such a file."""
        if self._file.descriptor < 0:
            raise ValueError(f"{self.path}: the profile is closed")
        whole = os.path.abspath(os.fspath(path))
        size = os.fstat(self._file.descriptor).st_size
        with builtins.open(whole, "xb") as copy:
            at = 0
            while at < size:
                piece = os.pread(self._file.descriptor, 1 << 20, at)
                if not piece:
                    break
                copy.write(piece)
                at += len(piece)
        return whole

    def close(self) -> None:
        """Closes the file, also for what only() has made of this. What has been read already can still be used."""
        self._file.close()

    def only(
        self,
        *,
        pid: Optional[int] = None,
        thread: Union[str, int, None] = None,
        region: Optional[str] = None,
        leaf: bool = False,
        frames: str = "all",
    ) -> "Profile":
        """The same profile, narrowed.

        pid: only this process. thread: only threads of this name, or the thread with this id. region: only what was allocated
        in this region (heapline.region() in the program). leaf: charge the innermost
        frame, also inside libraries, not your line that called. frames: "python" leaves out native frames, "native" those of
        Python.

        ValueError: `frames` is none of these; and, when it is used, where the profile has no such process, thread or
        region, or where the report cannot be narrowed in this way (timeline, processes and profiled to a thread or region; stats, threads
        and lines to frames)."""
        if frames not in ("all", "python", "native"):
            raise ValueError(f'frames={frames!r}: neither "all", "python" nor "native"')
        options = [f"--pid={pid}"] if pid is not None else []
        options += [f"--thread={thread}"] if thread is not None else []
        options += [f"--region={region}"] if region is not None else []
        options += ["--leaf"] if leaf else []
        options += [f"--{frames}-only"] if frames != "all" else []
        return Profile(self._file, options)

    def report(self, command: str, *options: str) -> Dict[str, Any]:
        """The JSON of any report: report("tree", "-n", "50") is `heapline tree -n 50 --json`. Its keys are in
        docs/heapline-<command>.md.

        ValueError with the command's words where an option is wrong, or the profile has not what it asks for; ProfileError
        where the file cannot be read; FileNotFoundError where the heapline command is not installed."""
        return self._run(command, options)

    def _run(self, command: str, options: Sequence[str], names: Sequence[str] = ()) -> Dict[str, Any]:
        if self._file.descriptor < 0:
            raise ValueError(f"{self.path}: the profile is closed")
        narrowed = self._narrowed
        if command in ("timeline", "processes", "profiled"):  # whatever frames are charged
            narrowed = tuple(option for option in narrowed if option.startswith(("--pid", "--thread", "--region")))
        words = [binary(), command, *options, *narrowed, "--json", "--", AS_STANDARD_INPUT, *names]
        ended = subprocess.run(words, stdin=self._file.descriptor, capture_output=True, check=False)
        if ended.returncode == 0:
            report: Dict[str, Any] = json.loads(ended.stdout)
            return report
        said = ended.stderr.decode("utf-8", "replace").strip()
        said = said[len("heapline: ") :] if said.startswith("heapline: ") else said
        said = said.replace(AS_STANDARD_INPUT, self.path)
        if ended.returncode == 2:
            raise ValueError(said)
        raise ProfileError(said or f"{self.path}: heapline {command} ended with status {ended.returncode}")

    def _records(self, *options: str) -> Records:
        return Records(self._run("table", ("--rows=0", "--compact", *options)))

    @cached_property
    def stats(self) -> Stats:
        """Totals, peak, how the program ended: `heapline stats`."""
        return _stats(self._run("stats", ()))

    @cached_property
    def peak(self) -> Records:
        """What was alive at the peak: `heapline table`. Of several processes: at the peak of their sum."""
        return self._records()

    @cached_property
    def leaks(self) -> Records:
        """What was alive when each process ended; while it runs, what is alive now: `heapline table --leaks`."""
        return self._records("--leaks")

    @cached_property
    def allocated(self) -> Records:
        """Everything that was allocated, freed or not: `heapline table --allocated`."""
        return self._records("--allocated")

    def temporary(self, threshold: int = 1) -> Records:
        """What was freed when at most `threshold` later allocations of the thread that made it had happened: `heapline table
        --temporary=N`. Kept at 0, 1, 2, 4 .. 1024; what lies between two of them counts as the lower one (`within`).

        ValueError: not 0 to 1024."""
        return self._records(f"--temporary={threshold}")

    def at(self, time: Time) -> Records:
        """What was alive at a time in seconds, or "80%" of the recording, or at its "end": `heapline table --at`. Exact, at
        the last tick boundary up to then (`time_s`).

        ValueError: past the end of the recording, or no time."""
        return self._records(f"--at={_time(time)}")

    def between(self, begin: Time, end: Time) -> Records:
        """What was allocated from `begin` on and alive at `end`: `heapline table --since BEGIN --at END`. Exact, for both times
        rounded down to tick boundaries (`since_s`, `time_s`). Times as of at(); an `end` of "end" gives what was never freed.

        ValueError: past the end of the recording, `begin` after `end`, or no times."""
        return self._records(f"--since={_time(begin)}", f"--at={_time(end)}")

    def lines(self, *names: AnyPath) -> Lines:
        """Source lines beside what they took, gave back and held: `heapline lines`. Of all files, or of the functions ("main",
        "Cache.fill") and files ("app.py", a whole path) that are named.

        ValueError: the profile has no such function or file."""
        return Lines(self._run("lines", ("--files=0",), [os.fspath(name) for name in names]))

    @cached_property
    def profiled(self) -> Profiled:
        """Functions that were profiled line by line, and what each of their lines did: `heapline profiled`. Empty where there are
        none.

        ValueError: this is narrowed to a process that ran none of them, or to a thread or region."""
        return Profiled(self._run("profiled", ()) if self.stats.profiled_functions else {"functions": ()})

    @cached_property
    def timeline(self) -> Timeline:
        """Heap and RSS over time: `heapline timeline`."""
        return Timeline(self._run("timeline", ()))

    @cached_property
    def processes(self) -> Table[Process]:
        """Every process, also those that were not followed, each parent before its children: `heapline processes`."""
        return Table(Process, (_record(Process, row) for row in self._run("processes", ())["processes"]))

    @cached_property
    def recordings(self) -> Table[MergedRecording]:
        """The recordings in a merged profile; empty where it is of one."""
        rows = self._run("processes", ()).get("recordings", ())
        return Table(MergedRecording, (_record(MergedRecording, row) for row in rows))

    @cached_property
    def threads(self) -> Table[Thread]:
        """The threads that allocated, by their share of the peak: as in `heapline stats`."""
        return Table(Thread, (_thread(row) for row in self._run("stats", ())["by_thread"]))


def _time(time: Time) -> str:
    return time if isinstance(time, str) else f"{time:.9f}"


def open(path: AnyPath) -> Profile:
    """Opens a profile that heapline has written; also one of a program that still runs (its last state on disk, some seconds
    old; open it again for a newer one), and one that was merged.

    FileNotFoundError, PermissionError: as of the built-in open. ProfileError: the file is not a profile that this heapline can
    read; the text says why. FileNotFoundError also where the heapline command is not installed."""
    profile = Profile(_File(os.fspath(path)))
    try:
        profile.stats  # noqa: B018 (is it a profile at all)
    except BaseException:
        profile.close()
        raise
    return profile
