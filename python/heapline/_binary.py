"""Where the installed command and its library are."""

from __future__ import annotations

import os
import sys


def version() -> str:
    """The version of the installed package; "unknown" in a checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of_package

    try:
        return of_package("heapline")
    except PackageNotFoundError:
        return "unknown"


def binary() -> str:
    """The path of the `heapline` command that belongs to this package: the one installed with it, wherever pip put its
    scripts (a virtual environment, the user's folder, a --target folder), then whatever PATH has.

    Raises FileNotFoundError when there is none."""
    import shutil
    import sysconfig

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
    found = shutil.which("heapline")
    if found:
        return found
    raise FileNotFoundError(
        f"the heapline command is in none of {', '.join(folders)} and not on PATH (is heapline installed?)"
    )


def library(command: str) -> str:
    """The path of libheapline.so that belongs to the command at `command`.

    Raises FileNotFoundError when there is none."""
    from glob import escape, glob

    folder = os.path.dirname(os.path.realpath(command))
    places = (
        "libheapline.so",
        "../lib/heapline/libheapline.so",
        "../lib/*-linux-*/heapline/libheapline.so",
        "../lib64/heapline/libheapline.so",
        "../lib/libheapline.so",
    )
    for place in places:
        for path in glob(os.path.join(escape(folder), place)):
            return os.path.realpath(path)
    raise FileNotFoundError(f"libheapline.so is not where it belongs beside {command} (install heapline again)")
