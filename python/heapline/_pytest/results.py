"""What all tests came to, in the process that reports: gathered from their reports (xdist brings them), shown, saved, compared."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from heapline._pytest import baseline, details
from heapline._pytest.sizes import counted, cut, cut_front, shown

if TYPE_CHECKING:
    from heapline._pytest.measure import Measuring
    from heapline._pytest.settings import Settings

LEFT = 1_000_000  # bytes left behind that are worth a line
ROWS = 20


class Results:
    """The plugin of a process that reports."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.measuring: Measuring | None = None  # in this process
        self.outputs: dict[str, dict[str, Any]] = {}  # by worker
        self.by_worker: dict[tuple[str, str], dict[str, Any]] = {}  # (node id, worker); of a retried test the last run
        self.grown: list[tuple[str, baseline.GrowthLimit, int, int]] = []
        self.errors: list[str] = []
        self.root = str(config.rootpath)

    # ------------------------------------------------------------------------------------------------ gathering

    def pytest_runtest_logreport(self, report: Any) -> None:
        values = getattr(report, "heapline", None)
        if values is not None:
            worker = getattr(report, "worker_id", "")
            self.by_worker[report.nodeid, worker] = values

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        said = getattr(node, "workeroutput", {}).get("heapline")
        if said:
            self.outputs[node.gateway.id] = said

    def tests(self) -> dict[str, dict[str, Any]]:
        """A test that several workers ran (--dist=each) has the highest of their numbers."""
        result: dict[str, dict[str, Any]] = {}
        for (nodeid, _), values in self.by_worker.items():
            other = result.get(nodeid)
            if other is None:
                result[nodeid] = dict(values)
                continue
            for key in baseline.KEYS:
                other[key] = max(other[key], values[key])
            if values.get("outcome") != "passed":
                other["outcome"] = values.get("outcome")
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.measuring is not None:
            self.outputs[""] = self.measuring.output()
        if not self.settings.report or self.config.option.collectonly:
            return
        tests = self.tests()
        passed = {nodeid: values for nodeid, values in tests.items() if values.get("outcome") == "passed"}
        if self.settings.baseline is not None:
            for nodeid, values in passed.items():
                self.grown += [(nodeid, *each) for each in self.settings.baseline.grew(nodeid, values)]
            self.grown.sort(key=lambda each: (baseline.KEYS.index(each[1].key), each[2] - each[3]))
            if self.grown and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.settings.save and (passed or not self._problems()):
            try:
                baseline.save(self.settings.save, passed, self._one("version"), self._one("recorded"))
            except OSError as error:
                self.errors.append(f"{self.settings.save}: cannot be written: {error.strerror}")
                if session.exitstatus == pytest.ExitCode.OK:
                    session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _one(self, key: str) -> str:
        """What all workers say."""
        said = sorted({str(output[key]) for output in self.outputs.values()})
        return ", ".join(said) or ("{}.{}".format(*sys.version_info) if key == "version" else "")

    def _problems(self) -> list[str]:
        by_text: dict[str, list[str]] = {}
        for worker, output in sorted(self.outputs.items()):
            for text in filter(None, (output["problem"], output["reason"])):
                by_text.setdefault(text, []).append(worker)
        return [f"{', '.join(workers)}: {text}" if workers != [""] else text for text, workers in by_text.items()]

    # -------------------------------------------------------------------------------------------------- showing

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.config.option.collectonly:
            return
        write = terminalreporter.write_line
        width = max(60, terminalreporter._tw.fullwidth)
        tests = self.tests() if self.settings.report else {}
        problems = self._problems()
        if not self.settings.report:
            for text in problems:
                write(cut(f"heapline: not everything was measured: {text}", 10 * width), yellow=True)
            return
        self._heaviest(terminalreporter, tests, width)
        if self.settings.baseline is not None:
            self._compared(terminalreporter, tests, width)
        for text in problems:
            if tests:
                write(f"not everything was measured: {text}", yellow=True)
            else:
                write(f"nothing was measured: {text}", yellow=True)
        for text in self.errors:
            write(text, red=True)
        if self.settings.folder and tests:
            write(f"profiles: {self._short(self.settings.folder)} (heapline table FILE shows one)")
        if self.settings.save and not self.errors and tests:
            write(f"saved: {self._short(self.settings.save)}")

    def _short(self, path: str) -> str:
        inside = os.path.relpath(path, str(self.config.invocation_params.dir))
        return path if inside.startswith("..") else inside

    def _heaviest(self, reporter: Any, tests: dict[str, dict[str, Any]], width: int) -> None:
        write = reporter.write_line
        most = self.settings.most
        ranked = sorted(tests.items(), key=lambda test: (-test[1]["peak_bytes"], test[0]))
        chosen = ranked[:most] if most else ranked
        of = counted(len(tests), "test")
        title = f"the {len(chosen)} heaviest of {of}" if len(chosen) < len(tests) else of
        reporter.section(f"heapline: {title}", sep="=")
        lines: dict[str, list[dict[str, Any]]] = {}
        for output in self.outputs.values():
            lines.update(output["lines"])
        if chosen:
            write(f"{'peak':>10}  test")
        for nodeid, values in chosen:
            write(f"{shown(values['peak_bytes']):>10}  {cut_front(nodeid, width - 12)}", bold=True)
            write(f"{'':12}{cut(self._figures(values), width - 12)}")
            for line in lines.get(nodeid, ()):
                for row in details.summary_lines(line, self.root, width - 2):
                    write("  " + row)
        left = [
            test for test in tests.items() if test[1]["leaked_bytes"] >= LEFT and test[1].get("outcome") == "passed"
        ]
        left.sort(key=lambda test: (-test[1]["leaked_bytes"], test[0]))
        if left:
            write("")
            write(f"{'left':>10}  test, after its tear-down")
        for nodeid, values in left[: most or None]:
            write(f"{shown(values['leaked_bytes']):>10}  {cut_front(nodeid, width - 12)}")
        if most and len(left) > most:
            write(f"{'':12}and {counted(len(left) - most, 'other')} that left {shown(LEFT)} and more")

    @staticmethod
    def _figures(values: dict[str, Any]) -> str:
        temporary = f" ({values['temporary']:,} temporary)" if values["temporary"] else ""
        allocations = counted(values["allocations"], "allocation")
        left = (
            f", {shown(values['leaked_bytes'])} left"
            if values["leaked_bytes"] and values.get("outcome") == "passed"
            else ""
        )
        return f"{allocations}{temporary} of {shown(values['allocated_bytes'])}{left}"

    def _compared(self, reporter: Any, tests: dict[str, dict[str, Any]], width: int) -> None:
        old = self.settings.baseline
        assert old is not None
        write = reporter.write_line
        reporter.section(f"heapline: compared with {self._short(old.path)}", sep="=")
        for said, now, what in (
            (old.python, self._one("version"), "Python"),
            (old.recorded, self._one("recorded"), ""),
        ):
            if said and now and said != now:
                write(f"the baseline is of {what or 'a recording of'} {said}, this run of {now}", yellow=True)
        words = ", ".join(limit.words for limit in old.limits)
        for nodeid, limit, was, is_now in self.grown[:ROWS]:
            share = f", {100 * (is_now - was) / was:+.1f} %" if was else ""
            write(f"FAILED  {cut_front(nodeid, width - 8)}", red=True, bold=True)
            write(
                f"{'':8}{limit.figure}: {limit.text(is_now)}, {limit.text(was)} before (+{limit.text(is_now - was)}{share}), "
                f"over +{limit.words.rpartition(':')[2]}"
            )
            for output in self.outputs.values():
                for line in output["lines"].get(nodeid, ())[:1]:
                    for row in details.summary_lines(line, self.root, width - 8):
                        write(f"{'':8}{row}")
        if len(self.grown) > ROWS:
            write(f"{'':8}and {counted(len(self.grown) - ROWS, 'other')} that grew by more")
        passed = {nodeid: values for nodeid, values in tests.items() if values.get("outcome") == "passed"}
        changes = [
            (values["peak_bytes"] - old.tests[nodeid]["peak_bytes"], nodeid)
            for nodeid, values in passed.items()
            if nodeid in old.tests
        ]
        failed = {each[0] for each in self.grown}
        large = [
            (change, nodeid)
            for change, nodeid in changes
            if abs(change) > max(64 << 10, old.tests[nodeid]["peak_bytes"] * 0.05) and nodeid not in failed
        ]
        large.sort(key=lambda each: -abs(each[0]))
        for change, nodeid in large[: self.settings.most or None]:
            sign = "+" if change > 0 else ""
            write(f"{sign + shown(change):>10}  {cut_front(nodeid, width - 12)}")
        if self.settings.most and len(large) > self.settings.most:
            write(f"{'':12}and {counted(len(large) - self.settings.most, 'other')} by less")
        new = [nodeid for nodeid in passed if nodeid not in old.tests]
        gone = [nodeid for nodeid in old.tests if nodeid not in tests]
        for names, what in ((new, "not in the baseline"), (gone, "in the baseline and not run")):
            if names:
                example = f": {sorted(names)[0]}" if len(names) == 1 else f", {sorted(names)[0]} .."
                write(cut(f"{counted(len(names), 'test')} {what}{example}", width))
        verdict = f"{counted(len({each[0] for each in self.grown}), 'test')} grew by more than {words}"
        if self.grown:
            write(verdict, red=True)
        elif words:
            write(f"{counted(len(changes), 'test')} compared, none grew by more than {words}", green=True)
        else:
            write(f"{counted(len(changes), 'test')} compared")
