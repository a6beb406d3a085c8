"""The real memory_profiler, to compare with: a virtual environment of its own, made when a test first asks for it."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest
from pythons import Python, cache_folder

VERSION = "0.61.0"


@functools.lru_cache(None)
def environment(python: Python) -> Path | str:
    """Its folder, or why there is none."""
    folder = cache_folder() / f"memory_profiler-{VERSION}" / python.kind
    if not (folder / "complete").exists():
        for command in (
            [python.path, "-m", "venv", "--clear", str(folder)],
            [
                str(folder / "bin" / "pip"),
                "install",
                "-q",
                "--disable-pip-version-check",
                f"memory_profiler=={VERSION}",
            ],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                return f"{' '.join(command)}: {done.stderr.strip()[-200:]}"
        (folder / "complete").touch()
    return folder


def original_folder(python: Python) -> Path:
    """`bin` of an environment with memory_profiler; skips the test where there can be none."""
    found = environment(python)
    if isinstance(found, str):
        pytest.skip(f"memory_profiler {VERSION} cannot be installed here: {found}")
    return found / "bin"
