"""What the options and the configuration file ask for."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from heapline._pytest.baseline import Baseline, parse_limits
from heapline._pytest.limits import MEMRAY, OWN

if TYPE_CHECKING:
    from heapline._pytest.baseline import GrowthLimit


class Settings:
    """Of one session. Raises pytest.UsageError where an option is wrong."""

    def __init__(self, config: pytest.Config) -> None:
        folder = str(config.invocation_params.dir)

        def option(name: str) -> Any:
            value = config.getoption(name, None)
            return config.getini(name) if value in (None, False, []) else value

        def path(name: str) -> str:
            return os.path.join(folder, os.path.expanduser(str(option(name)))) if option(name) else ""

        self.native = bool(option("heapline_native"))
        self.malloc_only = bool(option("heapline_malloc_only"))
        self.folder = path("heapline_dir")
        self.save = path("heapline_save")
        self.compare = path("heapline_compare")
        most = option("heapline_most")
        try:
            self.most = int(most) if most not in (None, "") else 5
        except ValueError:
            self.most = -1
        if self.most < 0:
            raise pytest.UsageError(f"--heapline-most: {most!r} is no number of tests (0: all)")
        words = option("heapline_fail_over") or []
        self.fail_over: list[GrowthLimit] = parse_limits([words] if isinstance(words, str) else list(words))
        if self.fail_over and not self.compare:
            raise pytest.UsageError("--heapline-fail-over: with what? (--heapline-compare FILE)")
        self.report = bool(option("heapline") or self.folder or self.save or self.compare)
        self.baseline = Baseline(self.compare, self.fail_over) if self.compare else None
        self.memray = config.pluginmanager.hasplugin("memray") or config.pluginmanager.hasplugin("memray_manager")
        self.markers = (OWN,) if self.memray else (OWN, *MEMRAY)
        self.width = max(60, shutil.get_terminal_size((80, 24)).columns)

    def to_worker(self) -> dict[str, Any]:
        """What a worker of xdist cannot tell from the options, as its folder may be another."""
        return {"folder": self.folder, "compare": self.compare, "width": self.width}

    def from_controller(self, said: dict[str, Any]) -> None:
        self.folder = said["folder"]
        self.width = said["width"]
