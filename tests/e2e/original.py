"""The real memory_profiler and memray, to compare with: each in a virtual environment of its own, made when a test first asks."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest
from pythons import Python, cache_folder

VERSION = "0.61.0"
VERSIONS = {"memory_profiler": VERSION, "memray": "1.20.0"}


@functools.lru_cache(None)
def environment(python: Python, package: str = "memory_profiler") -> Path | str:
    """Its folder, or why there is none."""
    folder = cache_folder() / f"{package}-{VERSIONS[package]}" / python.kind
    if not (folder / "complete").exists():
        for command in (
            [python.path, "-m", "venv", "--clear", str(folder)],
            [
                str(folder / "bin" / "pip"),
                "install",
                "-q",
                "--only-binary=:all:",
                "--disable-pip-version-check",
                f"{package}=={VERSIONS[package]}",
            ],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                return f"{' '.join(command)}: {done.stderr.strip()[-200:]}"
        (folder / "complete").touch()
    return folder


def original_folder(python: Python, package: str = "memory_profiler") -> Path:
    """`bin` of an environment with it; skips the test where there can be none."""
    if python.root:
        pytest.skip(f"{package} is installed for interpreters of this system only")
    found = environment(python, package)
    if isinstance(found, str):
        pytest.skip(f"{package} {VERSIONS[package]} cannot be installed here: {found}")
    return found / "bin"
