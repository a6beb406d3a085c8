"""heapline's plugin for pytest: docs/pytest.md.

    pytest --heapline                                    what each test took, the heaviest with their lines
    pytest --heapline-compare base.json --heapline-fail-over 5%
    @pytest.mark.limit_memory("24 MB")                   and limit_leaks, heapline_limit: whether or not --heapline is given

This file is all that is loaded of it while nobody asks for anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from heapline._pytest.limits import Stack, StackFrame
    from heapline._pytest.settings import Settings

__all__ = ["Stack", "StackFrame"]

MARKERS = ("limit_memory", "limit_leaks", "heapline_limit")

_OPTIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("--heapline", {"action": "store_true"}, "report the memory that each test takes"),
    ("--heapline-most", {"metavar": "N"}, "tests in the report, the heaviest first (default 5; 0: all)"),
    ("--heapline-native", {"action": "store_true"}, "record C frames too"),
    ("--heapline-malloc-only", {"action": "store_true"}, "leave out Python's own objects: cheaper"),
    ("--heapline-dir", {"metavar": "DIR"}, "keep the profile of the session, and one of each test in the report"),
    ("--heapline-save", {"metavar": "FILE"}, "write the numbers of all tests to FILE (JSON)"),
    ("--heapline-compare", {"metavar": "FILE"}, "compare with the numbers in FILE, which --heapline-save wrote"),
    (
        "--heapline-fail-over",
        {"metavar": "[FIGURE:]LIMIT", "action": "append"},
        "with --heapline-compare: fail when a test's peak grew by more than LIMIT (5%%, 10MB), or FIGURE did: peak, leak, "
        "allocated, allocations, temporary; may be given several times",
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("heapline", "memory (heapline)")
    for name, how, text in _OPTIONS:
        ini = name[2:].replace("-", "_")
        default = None if how.get("action") != "store_true" else False
        group.addoption(name, dest=ini, default=default, help=text, **how)
        kind = {"store_true": "bool", "append": "args"}.get(how.get("action", ""), "string")
        empty = {"bool": False, "args": []}.get(kind, "")  # pytest 7 has [] where there is no default
        parser.addini(ini, f"as {name}", type=kind, default=empty)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    foreign = config.pluginmanager.hasplugin("memray") or config.pluginmanager.hasplugin("memray_manager")
    if not foreign:
        for text in (
            "limit_memory(limit, current_thread_only=False): fail the test if it holds `limit` or more at its peak "
            '("24 MB" is 24 * 2^20 bytes)',
            "limit_leaks(location_limit, filter_fn=None, current_thread_only=False): fail the test if a call stack in it keeps "
            "`location_limit` or more",
        ):
            config.addinivalue_line("markers", text)
    config.addinivalue_line(
        "markers",
        "heapline_limit(peak=, leaks=, allocations=, allocated=, temporary=, current_thread_only=False): fail the test if it "
        'takes more ("24 MB" is 24 * 10^6 bytes, "24 MiB" 24 * 2^20)',
    )
    if any(config.getoption(name[2:].replace("-", "_")) for name, _, _ in _OPTIONS) or config.getini("heapline"):
        _load(config)
    elif any(config.getini(name[2:].replace("-", "_")) for name, _, _ in _OPTIONS):
        _load(config)
    config.pluginmanager.register(_Watch(config), "heapline-watch")


def _is_controller(config: pytest.Config) -> bool:
    """Of xdist, whose workers run the tests."""
    return not hasattr(config, "workerinput") and config.getoption("dist", "no") != "no"


def _load(config: pytest.Config) -> None:
    """Makes the plugins that do something, once."""
    if config.pluginmanager.hasplugin("heapline-results"):
        return
    from heapline._pytest.results import Results
    from heapline._pytest.settings import Settings

    settings = Settings(config)
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    said = getattr(config, "workerinput", {}).get("heapline")
    if said:
        settings.from_controller(said)
    results = Results(config, settings)
    if not _is_controller(config):
        from heapline._pytest.measure import Measuring

        measuring = Measuring(config, settings, worker)
        config.pluginmanager.register(measuring, "heapline-measuring")
        results.measuring = measuring
    config.pluginmanager.register(results, "heapline-results")


class _Watch:
    """Looks whether any test is marked; speaks with the workers of xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            if any(marker.name in MARKERS for marker in item.iter_markers()):
                _load(self.config)
                return

    def _settings(self) -> Settings | None:
        results = self.config.pluginmanager.getplugin("heapline-results")
        return results.settings if results is not None else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        settings = self._settings()
        if settings is not None:
            node.workerinput["heapline"] = settings.to_worker()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        if getattr(node, "workeroutput", {}).get("heapline") and self._settings() is None:
            _load(self.config)  # of marked tests only: what could not be measured is to be told
            self.config.pluginmanager.getplugin("heapline-results").pytest_testnodedown(node, error)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        output = getattr(self.config, "workeroutput", None)
        measuring = self.config.pluginmanager.getplugin("heapline-measuring")
        if output is not None and measuring is not None:
            output["heapline"] = measuring.output()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in __all__:
            from heapline._pytest import limits

            return getattr(limits, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
