"""Where the installed command is."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("heapline")
except PackageNotFoundError:  # imported from a checkout
    __version__ = "unknown"


def binary() -> str:
    """The path of the `heapline` command that belongs to this package: the one installed with it, wherever pip put its
    scripts (a virtual environment, the user's folder, a --target folder), then whatever PATH has.

    Raises FileNotFoundError when there is none."""
    beside = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", scheme=sysconfig.get_preferred_scheme("user"))
        if sys.version_info >= (3, 10)
        else sysconfig.get_path("scripts", scheme="posix_user"),
        os.path.join(beside, "bin"),  # pip install --target
    ]
    for folder in folders:
        path = os.path.join(folder, "heapline")
        if os.access(path, os.X_OK):
            return path
    path = shutil.which("heapline")
    if path:
        return path
    raise FileNotFoundError(
        f"the heapline command is in none of {', '.join(folders)} and not on PATH (is heapline installed?)"
    )
