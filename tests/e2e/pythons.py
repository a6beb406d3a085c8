"""Every CPython that this machine has: on PATH, in pyenv, and in the folder that tools/pythons.sh fills.

An interpreter is known by a short id (3.12, 3.13-debug, 3.14t). EXPECTED lists the ids that heapline supports, so that
a test which cannot run on one of them says so by name instead of being silently absent.
"""

from __future__ import annotations

import functools
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = (
    ["2.7"]
    + [f"3.{minor}" for minor in range(6, 16)]
    + [f"3.{minor}-debug" for minor in (13, 14, 15)]
    + [f"3.{minor}t" for minor in (13, 14, 15)]
)

# Runs under 2.7 too. A debug build has sys.gettotalrefcount, a free-threaded one Py_GIL_DISABLED.
PROBE = """
import platform, sys, sysconfig
free_threaded = bool(sysconfig.get_config_var('Py_GIL_DISABLED'))
print('|'.join([platform.python_implementation(), platform.python_version(), str(int(hasattr(sys, 'gettotalrefcount'))),
    str(int(free_threaded)), sys.executable]))
"""


@dataclass(frozen=True)
class Python:
    path: str  # as seen by the command, that is inside `root` if there is one
    version: tuple[int, int]
    full_version: str
    debug: bool
    free_threaded: bool
    static: bool  # the interpreter is in the executable, not in libpython3.x.so
    root: Path | None = None  # a Debian of its own, entered by tools/inside

    @property
    def kind(self) -> str:
        return "{}.{}{}{}".format(*self.version, "t" * self.free_threaded, "-debug" * self.debug)

    @property
    def prefix(self) -> list[str]:
        """What goes in front of a command line that uses this interpreter."""
        return [str(ROOT / "tools" / "inside"), str(self.root)] if self.root else []

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        options = {"capture_output": True, "text": True, "timeout": 120, **options}
        return subprocess.run([*self.prefix, self.path, *arguments], **options)

    def has(self, module: str) -> bool:
        return self.run("-c", f"import {module}").returncode == 0

    @property
    def numpy(self) -> dict[str, str] | None:
        """The environment in which this interpreter has numpy; None when it has none (tools/pythons.sh)."""
        environment = {
            "PYTHONPATH": str(cache_folder() / "numpy" / "{}.{}{}".format(*self.version, "t" * self.free_threaded))
        }
        for candidate in ({}, environment):
            if self.run("-c", "import numpy", env={**os.environ, **candidate}).returncode == 0:
                return candidate
        return None

    def packages(self, *names: str) -> dict[str, str] | None:
        """The environment in which this interpreter has packages of PyPI: its own, or a folder that they are installed into
        once. None where they cannot be had. What is named is both what is installed and what is imported."""
        if self.root:
            return None
        statement = "import " + ", ".join(names)
        folder = (
            cache_folder() / "packages" / "{}.{}{}".format(*self.version, "t" * self.free_threaded) / "-".join(names)
        )
        environment = {"PYTHONPATH": str(folder)}
        for candidate in ({}, environment):
            if self.run("-c", statement, env={**os.environ, **candidate}).returncode == 0:
                return candidate
        pip = ("-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:", "--target")
        try:
            self.run(*pip, str(folder), *names, timeout=900)
        except subprocess.TimeoutExpired:
            return None
        return environment if self.run("-c", statement, env={**os.environ, **environment}).returncode == 0 else None

    def __str__(self) -> str:
        return f"CPython {self.full_version}{'t' * self.free_threaded}{' debug' * self.debug} ({self.path})"


def cache_folder() -> Path:
    """Where tools/pythons.sh puts what it brings up."""
    if "HEAPLINE_PYTHONS" in os.environ:
        return Path(os.environ["HEAPLINE_PYTHONS"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heapline" / "pythons"


def probe(path: Path, root: Path | None = None) -> Python | None:
    prefix = [str(ROOT / "tools" / "inside"), str(root)] if root else []
    try:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        answer = subprocess.run(
            [*prefix, str(path), "-c", PROBE], capture_output=True, text=True, timeout=60, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = answer.stdout.strip().split("|")
    if answer.returncode or len(fields) != 5 or fields[0] != "CPython":
        return None
    _, full_version, debug, free_threaded, executable = fields
    executable = os.path.realpath(executable) if root is None else executable
    major, minor = full_version.split(".")[:2]
    on_host = (root / executable.lstrip("/")) if root else Path(executable)
    return Python(
        executable,
        (int(major), int(minor)),
        full_version,
        debug == "1",
        free_threaded == "1",
        b"libpython" not in needed_libraries(on_host),
        root,
    )


def needed_libraries(executable: Path) -> bytes:
    """What it is linked with: by readelf where there is one, else by a search that can only err to shared."""
    try:
        return subprocess.run(["readelf", "-d", executable], capture_output=True).stdout
    except OSError:
        return executable.read_bytes()


def candidates() -> list[tuple[Path, Path | None]]:
    """In an order that does not depend on PATH as far as that goes, so that ids mean the same at every start."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found: list[tuple[Path, Path | None]] = [(path, None) for path in sorted(pyenv.glob("versions/*/bin/python"))]
    for folder in map(Path, os.get_exec_path()):
        if folder.name != "shims":  # pyenv's shims are scripts; the interpreters behind them come below
            found += [
                (path, None)
                for path in sorted(folder.glob("python[23]*"))
                if path.name[6:].strip("23.0145678td9") == ""
            ]
    cache = cache_folder()
    found += [(path, None) for path in sorted(cache.glob("built/*/bin/python3.*[0-9t]"))]
    for root in sorted(path.parent for path in cache.glob("*/ready")):
        names = [path for path in sorted((root / "usr/bin").glob("python3.*")) if path.name[8:].rstrip("d").isdigit()]
        found += [(Path("/usr/bin") / path.name, root) for path in names]
    return found


@functools.cache
def all_pythons() -> dict[str, Python]:
    """By id. Two builds of one kind are told apart by how they are linked (3.11, 3.11-static), else by patch level."""
    by_id: dict[str, Python] = {}
    seen: set[tuple[int, int]] = set()
    for path, root in candidates():
        on_host = os.path.realpath(root / str(path).lstrip("/") if root else path)
        try:
            file = (os.stat(on_host).st_dev, os.stat(on_host).st_ino)  # one build may have several names
        except OSError:
            continue
        if file in seen:
            continue
        seen.add(file)
        python = probe(path, root)
        if not python:
            continue
        linked = f"{python.kind}-{'static' if python.static else 'shared'}"
        for name in (python.kind, linked, f"{linked}-{python.full_version}"):
            if name not in by_id:
                by_id[name] = python
                break
    return dict(sorted(by_id.items(), key=lambda item: (item[1].version, item[0])))


def default_python() -> Python:
    """The newest ordinary build outside a root of its own: what tests use that do not care."""
    ordinary = [
        python
        for python in all_pythons().values()
        if not (python.debug or python.free_threaded or python.root) and python.version >= (3, 8)
    ]
    if not ordinary:
        raise RuntimeError("the end-to-end tests need a CPython 3.8 or newer on PATH")
    return max(ordinary, key=lambda python: python.version)


if __name__ == "__main__":
    for name, python in all_pythons().items():
        print(f"{name:16} {python}{' in ' + str(python.root) if python.root else ''}")
    for name in EXPECTED:
        if name not in all_pythons():
            print(f"{name:16} absent")
