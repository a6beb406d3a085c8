"""Numbers of all tests in a file: saved, and compared with. JSON, a line for each test, in the order of their names."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any, NamedTuple

import pytest

from heapline._pytest.sizes import count, shown, size

SCHEMA = "heapline.tests/1"
FIGURES = {  # of --heapline-fail-over, as `heapline diff` calls them, and in the file
    "peak": "peak_bytes",
    "leak": "leaked_bytes",
    "allocated": "allocated_bytes",
    "allocations": "allocations",
    "temporary": "temporary",
}
KEYS = ("peak_bytes", "allocations", "allocated_bytes", "temporary", "leaked_bytes")
SMALL = {"peak_bytes": 64 << 10, "leaked_bytes": 64 << 10, "allocated_bytes": 64 << 10}  # growth that no share is of
SMALL_COUNT = 100


class GrowthLimit(NamedTuple):
    """--heapline-fail-over."""

    figure: str
    share: float | None
    """0.05 for 5%; None: `amount` it is."""
    amount: int
    words: str

    @property
    def key(self) -> str:
        return FIGURES[self.figure]

    def text(self, value: int) -> str:
        return shown(value) if self.key.endswith("_bytes") else f"{value:,}"

    def exceeded(self, old: int, new: int) -> bool:
        grown = new - old
        if self.share is None:
            return grown > self.amount
        return grown > old * self.share and grown > SMALL.get(self.key, SMALL_COUNT)


def parse_limits(words: list[str]) -> list[GrowthLimit]:
    """[FIGURE:]LIMIT, as of `heapline diff --fail-over`. pytest.UsageError."""
    result = []
    for word in words:
        figure, colon, limit = word.rpartition(":")
        figure = figure if colon else "peak"
        if figure not in FIGURES:
            raise pytest.UsageError(f"--heapline-fail-over {word}: no such figure (one of: {', '.join(FIGURES)})")
        try:
            if limit.strip().endswith("%"):
                result.append(GrowthLimit(figure, float(limit.strip()[:-1]) / 100, 0, word))
            else:
                parse = count if figure in ("allocations", "temporary") else size
                result.append(GrowthLimit(figure, None, parse(limit, word), word))
        except ValueError:
            example = "5000" if figure in ("allocations", "temporary") else "10MB"
            raise pytest.UsageError(
                f"--heapline-fail-over {word}: neither a share, such as 5%, nor {example}"
            ) from None
    return result


class Baseline:
    """A file to compare with. Raises pytest.UsageError where it cannot be used."""

    def __init__(self, path: str, limits: list[GrowthLimit]) -> None:
        self.path = path
        self.limits = limits

        def wrong(why: str) -> pytest.UsageError:
            return pytest.UsageError(f"--heapline-compare {path}: {why}")

        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except OSError as error:
            raise wrong(f"{error.strerror} (--heapline-save {os.path.basename(path)} makes it)") from None
        except ValueError as error:  # also what is not UTF-8
            raise wrong(f"is no JSON: {error}") from None
        schema = content.get("schema") if isinstance(content, dict) else None
        if not isinstance(schema, str) or not schema.startswith("heapline.tests/"):
            raise wrong("was not made by --heapline-save")
        if schema != SCHEMA:
            raise wrong(f"is of another version of heapline ({schema}, not {SCHEMA}): save it again")
        tests = content.get("tests")
        if not isinstance(tests, dict) or not all(map(_is_row, tests.values())):
            raise wrong("is damaged: `tests` is not as --heapline-save writes it")
        self.tests: dict[str, dict[str, int]] = tests
        self.python = str(content.get("python", ""))
        self.recorded = str(content.get("recorded", ""))

    def grew(self, nodeid: str, values: dict[str, Any]) -> list[tuple[GrowthLimit, int, int]]:
        """The limits that a test exceeds, with its old and new value."""
        old = self.tests.get(nodeid)
        if old is None:
            return []
        return [
            (limit, old[limit.key], values[limit.key])
            for limit in self.limits
            if limit.key in values and limit.exceeded(old[limit.key], values[limit.key])
        ]


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(type(row.get(key)) is int and row[key] >= 0 for key in KEYS)


def save(path: str, tests: dict[str, dict[str, Any]], python: str, recorded: str) -> None:
    """Replaces the file, or leaves it as it is. OSError."""
    rows = [
        f"  {json.dumps(nodeid)}: {json.dumps({key: values[key] for key in KEYS})}"
        for nodeid, values in sorted(tests.items())
    ]
    head = {"schema": SCHEMA, "python": python, "recorded": recorded}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    text = "\n".join(["{", *lines, ' "tests": {', ",\n".join(rows), " }", "}", ""])
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=".heapline-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
