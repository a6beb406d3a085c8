"""The markers: what a test may take. limit_memory and limit_leaks are read as pytest-memray reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from heapline._pytest.sizes import count, memray_size, shown, size

if TYPE_CHECKING:
    from heapline._part import Numbers
    from heapline.reading import Record

MEMRAY = ("limit_memory", "limit_leaks")
OWN = "heapline_limit"


class StackFrame(NamedTuple):
    """A frame of a call stack, for limit_leaks(filter_fn=)."""

    function: str
    """Its name, without those of the classes and functions around it."""
    filename: str
    lineno: int


class Stack(NamedTuple):
    """The call stack of an allocation, for limit_leaks(filter_fn=): called with one of these; False: it may leak."""

    frames: tuple[StackFrame, ...]
    """Most recent first."""


def stack_of(record: Record) -> Stack:
    return Stack(tuple(StackFrame(frame.function.rpartition(".")[2], frame.file, frame.line) for frame in record.stack))


class Exceeded(NamedTuple):
    """A limit that was exceeded."""

    figure: str
    """A key of FIGURES."""
    text: str
    """What was taken, and what was allowed."""
    records: Sequence[Record] | None = None
    """The call stacks that are to blame; None: all that did it."""


class Limit(NamedTuple):
    """A marker's limit on one figure."""

    figure: str
    most: float
    marker: str
    """As in the source, as far as it matters."""
    each: bool = False
    """For each call stack; a stack is to blame from `most` on."""
    filter_fn: Callable[[Stack], bool] | None = None


class Limits:
    """Those of one test."""

    def __init__(self) -> None:
        self.this_thread = False
        self.limits: list[Limit] = []

    def add(self, name: str, arguments: Sequence[Any], options: dict[str, Any]) -> None:
        """A marker. ValueError, TypeError: it is wrong; the text says why."""
        if name == "limit_memory":
            self._memory(*arguments, **options)
        elif name == "limit_leaks":
            self._leaks(*arguments, **options)
        else:
            self._own(*arguments, **options)

    def _memory(self, limit: str, *, current_thread_only: bool = False) -> None:
        self.this_thread |= current_thread_only
        self.limits.append(Limit("peak", memray_size(limit, "limit_memory"), f'limit_memory("{limit}")'))

    def _leaks(
        self,
        location_limit: str,
        *,
        filter_fn: Callable[[Stack], bool] | None = None,
        current_thread_only: bool = False,
    ) -> None:
        self.this_thread |= current_thread_only
        most = memray_size(location_limit, "limit_leaks")
        self.limits.append(Limit("kept", most, f'limit_leaks("{location_limit}")', True, filter_fn))

    def _own(self, **limits: Any) -> None:
        for name, value in limits.items():
            if name == "current_thread_only":
                self.this_thread |= bool(value)
            elif name not in FIGURES or name == "kept":
                raise TypeError(f"heapline_limit: {name}= is none of {', '.join(OWN_FIGURES)}, current_thread_only")
            else:
                most = (size if FIGURES[name].bytes else count)(value, f"heapline_limit: {name}")
                self.limits.append(Limit(name, most, f"heapline_limit({name}={value!r})"))


class Figure(NamedTuple):
    """Something that is limited."""

    bytes: bool
    words: str
    """What a test did: "took {} at its peak"."""
    heading: str
    """Of the lines that did."""


FIGURES = {
    "peak": Figure(True, "held {} at its peak", "held at the peak"),
    "leaks": Figure(True, "left {} behind after its tear-down", "left behind after the tear-down"),
    "allocations": Figure(False, "made {} allocations", "allocations"),
    "allocated": Figure(True, "allocated {}, freed or not", "allocated, freed or not"),
    "temporary": Figure(False, "made {} temporary allocations", "temporary allocations"),
    "kept": Figure(True, "kept {}", "kept when the test function had returned"),
}
OWN_FIGURES = tuple(name for name in FIGURES if name != "kept")


def in_figure(figure: str, value: float) -> str:
    return shown(value) if FIGURES[figure].bytes else f"{value:,.0f}"


def value_of(numbers: Numbers, figure: str) -> int:
    if figure in ("leaks", "kept"):
        return numbers.heap
    value: int = getattr(numbers, figure)
    return value


def exceeded(limit: Limit, numbers: Numbers) -> Exceeded | None:
    """None: it is not. Of a limit for each call stack: it cannot be, as the sum of all is less."""
    value = value_of(numbers, limit.figure)
    memray = limit.marker.startswith(MEMRAY)
    if value < limit.most or (value == limit.most and not memray):
        return None
    allowed = in_figure(limit.figure, limit.most)
    if memray:
        allowed += f", {limit.most / 2**20:g} MiB" if limit.most >= 2**20 else f", {limit.most / 2**10:g} KiB"
    return Exceeded(
        limit.figure,
        f"{FIGURES[limit.figure].words.format(in_figure(limit.figure, value))}: {limit.marker} allows {allowed}",
    )


def exceeded_by_stacks(limit: Limit, records: Sequence[Record]) -> Exceeded | None:
    """Of a limit for each call stack: the records that exceed it, with what is kept by each."""
    to_blame = [
        record
        for record in records
        if record.bytes >= limit.most and (limit.filter_fn is None or limit.filter_fn(stack_of(record)))
    ]
    if not to_blame:
        return None
    worst = max(record.bytes for record in to_blame)
    places = "one call stack" if len(to_blame) == 1 else f"{len(to_blame)} call stacks"
    return Exceeded(
        limit.figure,
        f"kept more than {limit.marker} allows at {places}, {shown(worst)} at {'it' if len(to_blame) == 1 else 'the worst'}",
        to_blame,
    )
