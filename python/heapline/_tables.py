"""Tables of functions that were profiled line by line: shown, compared, written."""

from __future__ import annotations

import csv
import io
import json
import linecache
import os
import sys

from heapline import _show
from heapline.reading import Profiled, ProfiledFunction, open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType
    from typing import Any

_SUMS = ("hits", "allocated_bytes", "freed_bytes", "net_bytes", "allocations", "temporary_bytes")


class LineTables(Profiled):
    """Functions with what each of their lines did, those that allocated the most first: a sequence; each is one of its lines
    (heapline.reading.ProfiledFunction). In a notebook it shows itself."""

    def __init__(self, functions: Iterable[dict[str, Any]]) -> None:
        self._fill([_with_source(function) for function in functions])

    def _fill(self, functions: list[dict[str, Any]]) -> None:
        self._reports = functions
        super().__init__({"functions": functions})

    def take(self, other: LineTables) -> None:
        """Becomes what another one is."""
        self._fill(other._reports)

    def of(self, codes: dict[CodeType, str]) -> LineTables:
        """Only these functions."""
        places = {(code.co_filename, name) for code, name in codes.items()}
        return LineTables(f for f in self._reports if (f["file"], f["function"]) in places)

    def since(self, before: LineTables | None) -> LineTables:
        """Less what was there before; the highest of a line stay what they are."""
        if before is None:
            return self
        old = {_place(f): f for f in before._reports}
        result = []
        for function in self._reports:
            now = function
            was = old.get(_place(function))
            if was is not None:
                lines = {line["line"]: line for line in was["lines"]}
                now = {
                    **function,
                    "lines": [_less(line, lines.get(line["line"], {})) for line in function["lines"]],
                    "total": _less(function["total"], was["total"]),
                }
            if any(line["hits"] for line in now["lines"]):
                result.append(now)
        return LineTables(result)

    def by_stream(self, streams: dict[tuple[str, int], Any]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        groups: dict[int, tuple[Any, list[dict[str, Any]]]] = {}
        for function in self._reports:
            stream = streams.get((function["file"], function["first_line"]))
            groups.setdefault(id(stream), (stream, []))[1].append(function)
        return iter(groups.values())

    # Written.

    def print_table(self, stream: Any = None) -> None:
        """Writes the tables as text; to sys.stderr without `stream`."""
        text = str(self)
        if text:
            (sys.stderr if stream is None else stream).write(text + "\n")

    def to_json(self) -> str:
        """The functions as in `heapline profiled --json`."""
        return json.dumps({"schema": "heapline.profiled/1", "functions": self._reports}, indent=1)

    def to_csv(self) -> str:
        """A row a line, as `heapline profiled --csv`."""
        text = io.StringIO()
        names = ("hits", "allocated", "freed", "net", "allocations", "highest", "temporary", "largest", "rss")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "function", "first_line", "line", *names, "source"])
        for f in self._reports:
            for line in f["lines"]:
                numbers = [line.get(name, line.get(name + "_bytes")) for name in names]
                writer.writerow(
                    [f["file"], f["function"], f["first_line"], line["line"], *numbers, line.get("source") or ""]
                )
        return text.getvalue()

    # Shown.

    def __str__(self) -> str:
        return "\n".join(f"{title}  {more}\n{rows.text()}" for title, more, rows in self._tables())

    def __repr__(self) -> str:
        return f"<heapline.LineTables of {', '.join(f['function'] for f in self._reports) or 'nothing'}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self) if cycle or not self else str(self))

    def _repr_html_(self) -> str:
        parts = [_show.head(title, more) + rows.html() for title, more, rows in self._tables()]
        return _show.page(*(parts or [_show.note("no line of a profiled function has run")]))

    def _tables(self) -> Iterator[tuple[str, str, _show.Rows]]:
        for f in self._reports:
            lines = f["lines"]
            total = f["total"]
            ran = [bool(line["hits"]) for line in lines]

            def of(name: str, lines: list[Any] = lines, ran: list[bool] = ran) -> list[int | None]:
                return [line[name] if there else None for line, there in zip(lines, ran)]

            whole = total["allocated_bytes"]
            columns = [
                ("Hits", _show.count_column(of("hits"))),
                ("Allocated", _show.bytes_column(of("allocated_bytes"), whole=whole)),
                ("Freed", _show.bytes_column(of("freed_bytes"))),
                ("Net", _show.bytes_column(of("net_bytes"))),
                ("Highest", _show.bytes_column(of("highest_bytes"))),
                ("Temporary", _show.bytes_column(of("temporary_bytes"))),
                ("Largest", _show.bytes_column(of("largest_bytes"))),
            ]
            rss = of("rss_bytes")
            if any(rss):
                columns.append(("RSS", _show.bytes_column(rss)))
            more = (
                f"{_label(f['file'])}:{f['first_line']}, {_show.size(whole)} allocated in "
                f"{_show.number_of(total['allocations'], 'allocation')}, net {_show.size(total['net_bytes'])}"
            )
            source = [line.get("source") or "" for line in lines]
            yield f["function"], more, _show.Rows([str(line["line"]) for line in lines], source, *columns)


def _place(function: dict[str, Any]) -> tuple[Any, ...]:
    return function["file"], function["first_line"], function["function"]


def _less(line: dict[str, Any], was: dict[str, Any]) -> dict[str, Any]:
    return {**line, **{name: line[name] - was.get(name, 0) for name in _SUMS if name in line}}


def _with_source(function: dict[str, Any]) -> dict[str, Any]:
    """Code of cells and of exec has its text only here."""
    if all(line.get("source") is not None for line in function["lines"]):
        return function
    text = linecache.getlines(function["file"])
    lines = [
        line
        if line.get("source") is not None or not 0 < line["line"] <= len(text)
        else {**line, "source": text[line["line"] - 1].rstrip("\n")}
        for line in function["lines"]
    ]
    return {**function, "lines": lines}


def _label(file: str) -> str:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    number = getattr(getattr(shell, "compile", None), "_filename_map", {}).get(file)
    if number is not None:
        return f"In [{number}]"
    near = os.path.relpath(file) if os.path.isabs(file) else file
    return file if near.startswith("..") else near


def open_tables(path: str) -> LineTables:
    with open(path) as profile:
        return LineTables(profile.report("profiled")["functions"] if profile.stats.profiled_functions else ())


__all__ = ["LineTables", "ProfiledFunction", "open_tables"]
