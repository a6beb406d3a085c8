"""What `%%heapline` shows and returns: peak, what is kept, allocations, a curve, and the lines of the cell with what they did."""

from __future__ import annotations

import linecache
import os
from typing import Any, NamedTuple

from heapline import _show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from heapline._measure import Measure
    from heapline.reading import Line, Lines, Profile

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
MANY = 10  # lines outside the cell


class CellLine(NamedTuple):
    """A line of code that took memory while the cell ran."""

    file: str
    line: int
    label: str
    """The cell or the file, as people call it: "In [3]", "work.py"."""
    source: str
    peak_bytes: int
    """What of the peak it holds."""
    allocated_bytes: int
    allocations: int
    kept_bytes: int
    """What it has allocated and is not freed."""


class CellResult:
    """What a cell took. In a notebook it shows itself; the fields are there for further use."""

    peak_bytes: int
    """The highest that was in use of what the process allocated in the cell; exact."""
    kept_bytes: int
    """What of that is alive after the cell; exact."""
    allocations: int
    allocated_bytes: int
    family_peak_bytes: int | None = None
    """With child processes, the highest of the sum; None where there were none."""
    duration_s: float
    lines: Sequence[CellLine]
    """Those of the cell in order, then others, the heaviest first."""
    curve: Sequence[tuple[float, int]]
    """(seconds since the beginning, highest heap in bytes since the point before); none within a recording that was on before."""
    profile: Profile | None
    """All that was recorded, as of heapline.open(); within a recording that was on before: what was allocated in the cell."""
    note: str

    def __init__(
        self,
        measure: Measure,
        name: str,
        own_file: str,
        label: Callable[[str], str],
        magic: tuple[str, int] = ("", 0),
        strangers: Collection[int] = (),
    ) -> None:
        self.name = name
        self.peak_bytes = measure.peak_bytes
        self.kept_bytes = measure.kept_bytes
        self.duration_s = measure.duration_s
        self.profile = measure.whole or measure.part
        self.note = measure.note
        self.allocations, self.allocated_bytes = measure.allocations, measure.allocated_bytes
        self.lines, self.curve = (), ()
        self._file = own_file
        self._label = label
        if measure.part is not None:
            self._read(measure.part, measure, magic, strangers)

    def _read(self, part: Profile, measure: Measure, magic: tuple[str, int], strangers: Collection[int]) -> None:
        sums: dict[tuple[str, int], Line] = {}
        total = [0, 0]
        _add(sums, total, part.lines(), 1)
        for thread in part.threads:
            if thread.tid in strangers and thread.allocations:
                _add(sums, total, part.only(thread=thread.tid).lines(), -1)
        whole = measure.whole
        if whole is not None:
            if whole.stats.processes > 1:
                self.family_peak_bytes = whole.stats.peak_bytes
                _add(sums, total, whole.lines(), 1)
                _add(sums, total, whole.only(pid=os.getpid()).lines(), -1)
            self.curve = [
                (point.time_s - measure.begin_s, point.heap_high_bytes)
                for point in whole.timeline
                if point.time_s > measure.begin_s
            ]
        for key in [key for key in sums if key[0].startswith(_PACKAGE) or key == magic]:  # what we did ourselves
            line = sums.pop(key)
            total = [total[0] - line.allocations, total[1] - line.allocated_bytes]
        self.allocations, self.allocated_bytes = total
        rows = [self._line(line) for line in sums.values()]
        rows = [row for row in rows if row.allocations and not row.file.startswith("<frozen ")]
        own = sorted((row for row in rows if row.file == self._file), key=lambda row: row.line)
        others = [row for row in rows if row.file != self._file]
        others.sort(key=lambda row: (row.peak_bytes, row.allocated_bytes), reverse=True)
        self.lines = (*own, *others)

    def _line(self, line: Line) -> CellLine:
        source = linecache.getline(line.file, line.line) or line.source or ""
        return CellLine(
            line.file,
            line.line,
            self._label(line.file),
            source.rstrip("\n"),
            line.peak_bytes,
            line.allocated_bytes,
            line.allocations,
            line.end_bytes,
        )

    def save(self, path: str) -> str:
        """Writes the profile to `path`, for the reports of the command. Returns its absolute path. FileExistsError: there is such
        a file."""
        if self.profile is None:
            raise ValueError(f"there is no profile: {self.note}")
        return self.profile.save(path)

    # Shown.

    def _facts(self) -> list[tuple[str, str]]:
        result = [("peak", _show.size(self.peak_bytes))]
        if self.family_peak_bytes is not None:
            result.append(("peak with children", _show.size(self.family_peak_bytes)))
        result.append(("kept", _show.size(self.kept_bytes)))
        result += [("allocations", f"{self.allocations:,}"), ("allocated", _show.size(self.allocated_bytes))]
        return [*result, ("time", _show.duration(self.duration_s))]

    def _tables(self) -> Iterable[tuple[str, str, _show.Rows]]:
        """Heading, more of it, table."""
        own = {row.line: row for row in self.lines if row.file == self._file}
        text = linecache.getlines(self._file)
        while text and not text[-1].strip():
            text = text[:-1]
        first = 2 if len(text) > 1 and not text[0].strip() else 1  # the magic's own line is not shown
        if own or len(text) > 1:
            numbers = range(first, max([len(text), *own]) + 1)
            found = [own.get(number) for number in numbers]
            source = [text[number - 1] if number <= len(text) else "" for number in numbers]
            yield self.name, "", self._rows([str(number) for number in numbers], found, source)
        rest = [row for row in self.lines if row.file != self._file]
        if rest:
            shown = rest[:MANY]
            more = f"the {MANY} heaviest of {len(rest):,}" if len(rest) > MANY else ""
            places = [f"{row.label}:{row.line}" for row in shown]
            yield "Other lines", more, self._rows(places, shown, [row.source.strip() for row in shown])

    def _rows(self, places: Sequence[str], rows: Sequence[CellLine | None], source: Sequence[str]) -> _show.Rows:
        whole = self.family_peak_bytes or self.peak_bytes
        numbers = [
            ("At peak", _show.bytes_column([row and row.peak_bytes for row in rows], whole=whole)),
            ("Kept", _show.bytes_column([row and row.kept_bytes for row in rows])),
            ("Allocated", _show.bytes_column([row and row.allocated_bytes for row in rows])),
            ("Allocations", _show.count_column([row and row.allocations for row in rows])),
        ]
        return _show.Rows(places, source, *numbers)

    def __str__(self) -> str:
        parts = [", ".join(f"{name} {value}" for name, value in self._facts()) + "\n"]
        line = _show.sparkline(self.curve)
        if line.strip():
            parts.append(line + "\n")
        for title, more, rows in self._tables():
            parts.append(f"\n{title}{' (' + more + ')' if more else ''}\n{rows.text()}")
        if self.note:
            parts.append(self.note + "\n")
        return "".join(parts).rstrip("\n")

    def __repr__(self) -> str:
        return f"<heapline {self.name}: {', '.join(f'{name} {value}' for name, value in self._facts())}>"

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text(repr(self) if cycle else str(self))  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        parts = [_show.facts(*self._facts()), _show.curve(self.curve)]
        for title, more, rows in self._tables():
            parts += [_show.head(title, more), rows.html()]
        if self.note:
            parts.append(_show.note(self.note))
        return _show.page(*parts)


def _add(sums: dict[tuple[str, int], Line], total: list[int], lines: Lines, sign: int) -> None:
    total[0] += sign * lines.total.allocations
    total[1] += sign * lines.total.allocated_bytes
    for line in lines:
        key = line.file, line.line
        before = sums.get(key)
        if before is None:
            before = line._replace(**_ZERO)
        both: dict[str, Any] = {name: getattr(before, name) + sign * getattr(line, name) for name in _ZERO}
        sums[key] = before._replace(**both)


_ZERO: dict[str, Any] = dict.fromkeys(
    (
        "allocated_bytes",
        "allocations",
        "freed_bytes",
        "frees",
        "peak_bytes",
        "end_bytes",
        "peak_with_calls_bytes",
    ),
    0,
)
