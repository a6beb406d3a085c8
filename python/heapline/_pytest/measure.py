"""Measures tests, in the process that runs them: one recording for all, in which each test is a part with books of its own
(heapline._part). In the call phase of a test the part is open; then it is closed, and what is freed of it is still seen until the
next test begins.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import heapq
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from heapline import _part
from heapline._pytest import details, limits
from heapline._pytest.limits import Exceeded, Limits
from heapline._pytest.settings import Settings
from heapline._recording import HeaplineError, track

if TYPE_CHECKING:
    from heapline._part import Numbers

LITTLE = 16 << 10  # bytes that a test may leave behind before all generations are collected
PROPERTIES = ("peak_bytes", "allocations", "allocated_bytes", "temporary", "leaked_bytes")

_active = False  # a session of this process measures; one within it (pytester) does not


class Measured:
    """A test that has been, or is being, measured."""

    def __init__(self, item: pytest.Item) -> None:
        self.nodeid = item.nodeid
        self.file = str(getattr(item, "path", None) or getattr(item, "fspath", ""))
        self.limits = Limits()
        self.closed = False
        self.failed = False
        self.limited = False  # a limit was exceeded
        self.numbers: Numbers | None = None
        self.values: dict[str, Any] = {}
        self.sections: list[tuple[str, str]] = []
        self.profile = ""
        """The test's own, once it is written."""


def _file_name(nodeid: str) -> str:
    name = re.sub(r"[^\w.\[\]=,-]+", "-", nodeid.replace("::", "-")).strip("-")
    if len(name.encode()) > 150:
        name = name.encode()[:120].decode(errors="ignore") + "-" + hashlib.sha256(nodeid.encode()).hexdigest()[:16]
    return name


class Measuring:
    """The plugin of a process that runs tests."""

    def __init__(self, config: pytest.Config, settings: Settings, worker: str) -> None:
        self.config = config
        self.settings = settings
        self.worker = worker
        self.problem = ""
        """Why nothing, or nothing more, is measured."""
        self.reason = ""
        """Why less is recorded than was asked for."""
        self.recorded = "objects"
        self.track: track | None = None
        self.on = False
        self.folder = ""
        self.written = 0
        self.heaviest: list[tuple[int, str]] = []  # a heap: peak, node id
        self.profiles: dict[str, Measured] = {}  # of the heaviest
        self.grown: dict[str, Measured] = {}  # of those that grew too much, beside the baseline
        self.item: pytest.Item | None = None
        self.test: Measured | None = None
        self.lines: dict[str, list[dict[str, Any]]] = {}
        self.root = str(config.rootpath)

    # ------------------------------------------------------------------------------------------- the recording

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, Any, None]:
        self._begin()
        try:
            yield
        finally:
            self._end()

    def _begin(self) -> None:
        global _active  # noqa: PLW0603
        if self.config.option.collectonly:
            return
        if _active:
            self.problem = "another session of pytest in this process measures"
            return
        try:
            kept = self.settings.folder
            if kept:
                os.makedirs(kept, exist_ok=True)
            self.folder = tempfile.mkdtemp(prefix="heapline-pytest-")
            name = f"session-{self.worker}.heapline" if self.worker else "session.heapline"
            self.track = track(
                os.path.join(kept or self.folder, name),
                native=self.settings.native,
                python_objects=not self.settings.malloc_only,
                children="python" if kept else "none",
                overwrite=True,
            )
            recording = self.track.__enter__()
        except Exception as error:
            self.track = None
            self._clear()
            self.problem = str(error) or type(error).__name__
            return
        if recording.own:
            self.recorded, self.reason = recording.recorded, recording.reason
        self.on = _active = True

    def _stop(self, error: BaseException) -> None:
        """Nothing is measured from here on."""
        self.on = False
        self.problem = str(error) or type(error).__name__

    def _end(self) -> None:
        global _active  # noqa: PLW0603
        if self.track is not None:
            _active = False
            try:
                if self.on:
                    self._finish_test()
                    _part.end()
                self.track.__exit__(None, None, None)
            except Exception as error:
                self.problem = self.problem or str(error)
            self.on = False
            self.track = None
        try:
            for test in [*self.profiles.values(), *self.grown.values()]:
                if test.nodeid not in self.lines and test.profile:
                    self.lines[test.nodeid] = details.lines_of(
                        details.records_of(test.profile, "peak"), test.file, False
                    )
        except Exception as error:
            self.problem = self.problem or str(error)
        self._clear()

    def _clear(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = ""

    def output(self) -> dict[str, Any]:
        """What the session says in the end, in plain values."""
        return {
            "problem": self.problem,
            "reason": self.reason,
            "recorded": self.recorded,
            "lines": self.lines,
            "version": "{}.{}".format(*sys.version_info),
        }

    # --------------------------------------------------------------------------------------------------- a test

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, None]:
        self._finish_test()
        test = Measured(item)
        try:
            for marker in item.iter_markers():
                if marker.name in self.settings.markers:
                    test.limits.add(marker.name, marker.args, dict(marker.kwargs))
        except (TypeError, ValueError) as error:
            outcome = yield
            _force(outcome, WrongMarker(f"a marker is wrong: {error}", pytrace=False))
            return
        if not self.on or not (self.settings.report or test.limits.limits):
            yield
            return
        self.item, self.test = item, test
        try:
            _part.begin(test.nodeid, this_thread=test.limits.this_thread)
        except Exception as error:
            self._stop(error)
        outcome = yield
        if not self.on:
            return
        failure = None
        try:
            test.failed = outcome.excinfo is not None or bool(getattr(item, "_excinfo", None))  # unittest's own
            failure = self._close(test)
        except Exception as error:
            self._stop(error)
        if failure is not None:
            _force(outcome, failure)

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, None]:
        """Where pytest calls the test function itself, the part is what that does, without pytest around it."""
        test = self.test
        if not self.on or test is None or pyfuncitem is not self.item or test.closed:
            yield
            return
        try:
            _part.begin(this_thread=test.limits.this_thread)
            yield
            _part.close()
        except HeaplineError as error:
            self._stop(error)

    def _close(self, test: Measured) -> BaseException | None:
        """The call is over. A limit that is exceeded: what is to be raised."""
        _part.close()
        numbers = test.numbers = _part.numbers()
        test.closed = True
        test.values = {
            "peak_bytes": numbers.peak,
            "allocations": numbers.allocations,
            "allocated_bytes": numbers.allocated,
            "temporary": numbers.temporary,
        }
        if test.failed:
            return None
        found = []
        for limit in test.limits.limits:
            if limit.figure == "leaks":
                continue
            if limit.each:
                over = self._kept(test, limit)
            else:
                over = limits.exceeded(limit, numbers)
            if over:
                found.append(over)
        return self._failure(test, found)

    def _kept(self, test: Measured, limit: limits.Limit) -> Exceeded | None:
        """limit_leaks."""
        gc.collect()
        if not limits.exceeded(limit, _part.numbers()):
            return None
        test.profile = ""  # what is alive now is to be in it
        return limits.exceeded_by_stacks(limit, details.records_of(self._write(test), "kept"))

    def _failure(self, test: Measured, found: list[Exceeded]) -> BaseException | None:
        if not found:
            return None
        text = []
        for over in found:
            figure = limits.FIGURES[over.figure]
            text.append(over.text)
            try:
                records = over.records or details.records_of(self._write(test), over.figure)
                lines = details.lines_of(records, test.file, not figure.bytes)
            except OSError as error:
                text.append(f"  (no call stacks: {error})")
                continue
            width = self.settings.width
            text += details.summary_lines(lines[0], self.root, width, not figure.bytes) if lines else []
            body = [row for line in lines for row in details.stack_lines(line, self.root, width, not figure.bytes)]
            test.sections.append((f"heapline: {figure.heading}", "\n".join(body)))
        test.limited = True
        self._keep_profile(test)
        return LimitExceeded("\n".join(text), pytrace=False)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, None]:
        outcome = yield
        test = self.test
        if not self.on or test is None or item is not self.item or not test.closed or "leaked_bytes" in test.values:
            return
        failure = None
        try:
            failure = self._torn_down(item, test, outcome.excinfo is None)
        except Exception as error:
            self._stop(error)
        if failure is not None:
            _force(outcome, failure)

    def _torn_down(self, item: pytest.Item, test: Measured, well: bool) -> BaseException | None:
        gc.collect(1)
        numbers = _part.numbers()
        if numbers.heap > LITTLE:
            gc.collect()
            numbers = _part.numbers()
        if numbers.heap > LITTLE and getattr(item, "funcargs", None):
            item.funcargs.clear()  # type: ignore[attr-defined]  # as pytest itself does, after this hook
            gc.collect()
            numbers = _part.numbers()
        test.values["leaked_bytes"] = numbers.heap
        if self.settings.report:
            item.user_properties[:] = [
                p for p in item.user_properties if not p[0].startswith("heapline_")
            ]  # of a retry
            item.user_properties.extend((f"heapline_{name}", test.values[name]) for name in PROPERTIES)
        if test.failed:
            return None
        self._rank(test)
        found = [limits.exceeded(limit, numbers) for limit in test.limits.limits if limit.figure == "leaks"]
        over = [each for each in found if each]
        if over and well:
            test.profile = ""
            return self._failure(test, over)
        return None

    def _finish_test(self) -> None:
        self.item = self.test = None

    # ------------------------------------------------------------------------------------------------- profiles

    def _write(self, test: Measured) -> str:
        if not test.profile:
            self.written += 1
            path = os.path.join(self.folder, f"{self.written}.heapline")
            _part.write(path)
            test.profile = path
        return test.profile

    def _keep_profile(self, test: Measured) -> None:
        """In the user's folder."""
        if self.settings.folder and test.profile:
            with contextlib.suppress(OSError):
                shutil.copyfile(test.profile, self._kept_path(test))

    def _kept_path(self, test: Measured) -> str:
        return os.path.join(self.settings.folder, _file_name(test.nodeid) + ".heapline")

    def _rank(self, test: Measured) -> None:
        """The heaviest so far, and those that grew, get a profile, in which their lines are."""
        if not self.settings.report:
            return
        if self.settings.baseline is not None and self.settings.baseline.grew(test.nodeid, test.values):
            self._write(test)
            self.grown[test.nodeid] = test
            self._keep_profile(test)
        most = self.settings.most
        peak = test.values["peak_bytes"]
        if most and len(self.heaviest) >= most and peak <= self.heaviest[0][0]:
            return
        self._write(test)
        self._keep_profile(test)
        heapq.heappush(self.heaviest, (peak, test.nodeid))
        self.profiles[test.nodeid] = test
        while most and len(self.heaviest) > most:
            _, nodeid = heapq.heappop(self.heaviest)
            gone = self.profiles.pop(nodeid, None)
            if gone and gone.profile and not gone.limited and nodeid not in self.grown:
                for path in (gone.profile, self._kept_path(gone) if self.settings.folder else ""):
                    with contextlib.suppress(OSError):
                        os.unlink(path)

    # -------------------------------------------------------------------------------------------------- reports

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Generator[None, Any, None]:
        outcome = yield
        test = self.test
        if test is None or item is not self.item or not test.closed or outcome.excinfo is not None:
            return
        report = outcome.get_result()
        if call.when == "call":
            test.values["outcome"] = report.outcome
        report.sections.extend(test.sections)
        test.sections = []
        if call.when == "teardown" and "leaked_bytes" in test.values:
            report.heapline = dict(test.values)


class LimitExceeded(pytest.fail.Exception):  # type: ignore[misc,name-defined]
    """A test took more than its marker allows."""

    __module__ = "builtins"  # as pytest.fail.Exception: it is shown without it


class WrongMarker(pytest.fail.Exception):  # type: ignore[misc,name-defined]
    """A marker that cannot be understood."""

    __module__ = "builtins"


def _force(outcome: Any, error: BaseException) -> None:
    """The hook fails with `error`."""
    if outcome.excinfo is not None:
        return
    if hasattr(outcome, "force_exception"):  # pluggy 1.1
        outcome.force_exception(error)
    else:
        raise error
