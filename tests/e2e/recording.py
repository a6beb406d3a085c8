"""What end-to-end tests ask of heapline: run a program under it, then ask its profile."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pythons import ROOT, Python, default_python

NATIVE = ("malloc", "calloc", "realloc", "aligned", "mmap")
OBJECTS = ("object", "buffer", "raw")


class Sum(NamedTuple):
    bytes: int
    count: int


@dataclass
class Finished:
    """A command that has ended. `exit` is negative for death by a signal, as in subprocess."""

    command: list[str]
    exit: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        streams = f"--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-4000:]}"
        return f"$ {' '.join(self.command)}\nexit {self.exit}\n{streams}"


class Profile:
    """A profile file and, if the test made it by `heapline.run`, how that run ended."""

    def __init__(self, heapline: Heapline, path: Path, finished: Finished | None = None):
        self.heapline = heapline
        self.path = path
        self.finished = finished

    @property
    def exit(self) -> int:
        return self.finished.exit

    @property
    def stdout(self) -> str:
        return self.finished.stdout

    @property
    def stderr(self) -> str:
        return self.finished.stderr

    # Through the reports, as a user would.

    def json(self, report: str, *options: str) -> dict[str, Any]:
        finished = self.heapline(report, str(self.path), "--json", *options)
        assert finished.exit == 0, finished
        return json.loads(finished.stdout)

    def text(self, report: str, *options: str) -> str:
        finished = self.heapline(report, str(self.path), *options)
        assert finished.exit == 0, finished
        return finished.stdout

    def stats(self, *options: str) -> dict[str, Any]:
        return self.json("stats", *options)

    def table(self, *options: str) -> list[dict[str, Any]]:
        """All rows, one for each stack."""
        return self.json("table", "-n", "0", *options)["rows"]

    def processes(self, *options: str) -> list[dict[str, Any]]:
        return self.json("processes", *options)["processes"]

    # Through SQL (src/profile/schema.sql), independent of the reports.

    def sql(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        database = sqlite3.connect(f"file:{self.path}?mode=ro&immutable=1", uri=True)
        try:
            database.row_factory = sqlite3.Row
            return database.execute(query, parameters).fetchall()
        finally:
            database.close()

    def value(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """The one value of a query with one row and one column."""
        rows = self.sql(query, parameters)
        assert len(rows) == 1 and len(rows[0].keys()) == 1, f"{query}: {len(rows)} rows"
        return rows[0][0]

    def allocated(self, **where: Any) -> Sum:
        return self._sum("allocated", "allocations", **where)

    def freed(self, **where: Any) -> Sum:
        return self._sum("freed", "frees", **where)

    def leaked(self, **where: Any) -> Sum:
        """Alive when the process ended (or, in a profile of a running program, now)."""
        return self._sum("live", "live_blocks", **where)

    live = leaked

    def at_peak(self, **where: Any) -> Sum:
        """The share of each process's own peak."""
        return self._sum("peak", "peak_blocks", **where)

    def _sum(
        self,
        bytes_column: str,
        count_column: str,
        *,
        function: str | None = None,
        file: str | None = None,
        line: int | None = None,
        thread: str | None = None,
        pid: int | None = None,
        allocator: str | Sequence[str] | None = None,
        callees: bool = False,
    ) -> Sum:
        """Sums `stat` over call tree nodes whose own frame is in `function`, in a file whose path ends with `file`, at
        `line`; with callees=True also over everything below such nodes. `allocator` is a name or several (NATIVE,
        OBJECTS)."""
        frame, rest, parameters = ["1"], ["1"], {}
        if function is not None:
            frame.append("(function.name = :function OR function.name LIKE '%.' || :function)")
            parameters["function"] = function
        if file is not None:
            frame.append("substr(file.path, -length(:file)) = :file")
            parameters["file"] = file
        if line is not None:
            frame.append("frame.line = :line")
            parameters["line"] = line
        if thread is not None:
            rest.append("stat.thread IN (SELECT id FROM thread WHERE name = :thread)")
            parameters["thread"] = thread
        if pid is not None:
            rest.append("stat.process IN (SELECT id FROM process WHERE pid = :pid)")
            parameters["pid"] = pid
        if allocator is not None:
            names = [allocator] if isinstance(allocator, str) else list(allocator)
            places = ", ".join(f":allocator{i}" for i in range(len(names)))
            rest.append(f"stat.allocator IN (SELECT id FROM allocator WHERE name IN ({places}))")
            parameters.update({f"allocator{i}": name for i, name in enumerate(names)})
        below = "UNION SELECT stack.id FROM stack JOIN wanted ON stack.parent = wanted.id" if callees else ""
        row = self.sql(
            f"""
            WITH RECURSIVE wanted(id) AS (
                SELECT stack.id FROM stack LEFT JOIN frame ON frame.id = stack.frame
                LEFT JOIN function ON function.id = frame.function LEFT JOIN file ON file.id = function.file
                WHERE {" AND ".join(frame)}
                {below})
            SELECT coalesce(sum({bytes_column}), 0), coalesce(sum({count_column}), 0)
            FROM stat WHERE stack IN wanted AND {" AND ".join(rest)}""",
            parameters,
        )[0]
        return Sum(row[0], row[1])


class Running:
    """A recording that goes on while the test does something to it."""

    def __init__(self, heapline: Heapline, process: subprocess.Popen, path: Path, command: list[str]):
        self.heapline = heapline
        self.process = process  # `heapline run` itself, leader of a process group of its own
        self.path = path
        self.command = command

    def profile(self) -> Profile:
        """The profile as it is now."""
        return Profile(self.heapline, self.path)

    def finish(self, timeout: float = 60) -> Profile:
        """Waits for the end."""
        try:
            stdout, stderr = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return Profile(self.heapline, self.path, Finished(self.command, self.process.returncode, stdout, stderr))

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Heapline:
    """The built command. Calling it runs any subcommand; `run` and `start` record a program."""

    def __init__(self, binary: Path, folder: Path):
        self.binary = binary
        self.folder = folder  # of this test: programs and profiles lie here, and it is the working folder
        self.tools = binary.parent / "tools"  # programs built from tests/tools
        self._numbers = itertools.count(1)
        self._running: list[Running] = []

    def __call__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        timeout: float = 60,
        prefix: Sequence[str] = (),
        **options: Any,
    ) -> Finished:
        command = [*prefix, str(self.binary), *map(str, arguments)]
        return self._finish(subprocess.Popen(command, **self._popen_options(env, options)), command, timeout)

    def run(
        self,
        program: str | Path | Sequence[str],
        *,
        python: Python | None = None,
        args: Sequence[str] = (),
        options: Sequence[str] = (),
        env: dict[str, str] | None = None,
        check: bool = True,
        timeout: float = 120,
        **popen_options: Any,
    ) -> Profile:
        """Runs a program to its end. `program` is the text of one (anything with a newline in it), the path of one, or
        a list that is passed as it is: ["-m", "json.tool"], ["--", "./server"]. With check, a program that fails fails
        the test."""
        command, path = self._command(program, python, args, options)
        process = subprocess.Popen(command, **self._popen_options(env, popen_options))
        finished = self._finish(process, command, timeout)
        if check:
            assert finished.exit == 0, finished
            assert path.exists(), f"no profile was written\n{finished}"
        return Profile(self, path, finished)

    def start(
        self,
        program: str | Path | Sequence[str],
        *,
        python: Python | None = None,
        args: Sequence[str] = (),
        options: Sequence[str] = (),
        env: dict[str, str] | None = None,
        **popen_options: Any,
    ) -> Running:
        """As run, but returns at once. What still runs when the test ends is killed."""
        command, path = self._command(program, python, args, options)
        running = Running(self, subprocess.Popen(command, **self._popen_options(env, popen_options)), path, command)
        self._running.append(running)
        return running

    def plain(
        self,
        program: str | Path | Sequence[str],
        *,
        python: Python | None = None,
        args: Sequence[str] = (),
        env: dict[str, str] | None = None,
        timeout: float = 120,
        **popen_options: Any,
    ) -> Finished:
        """The same program without heapline, to compare with."""
        python = python or default_python()
        command = [
            *python.prefix,
            *([] if is_executable(program) else [python.path]),
            *self._program(program),
            *args,
        ]
        command = [word for word in command if word != "--"]
        return self._finish(subprocess.Popen(command, **self._popen_options(env, popen_options)), command, timeout)

    def profile(self, path: Path | str) -> Profile:
        return Profile(self, Path(path))

    def tool(self, name: str) -> Path:
        path = self.tools / name
        assert path.exists(), f"tests/tools/{name}.c is not built beside {self.binary}"
        return path

    def close(self) -> None:
        for running in self._running:
            running.kill()

    def _command(self, program, python: Python | None, args, options) -> tuple[list[str], Path]:
        python = python or default_python()
        path = self.folder / f"{next(self._numbers)}.heapline"
        if any(option in ("-o", "--output") or option.startswith("--output=") for option in options):
            output: list[str] = []
            names = [options[i + 1] for i, option in enumerate(options) if option in ("-o", "--output")]
            path = self.folder / (names + [option[9:] for option in options if option.startswith("--output=")])[0]
        else:
            output = ["-o", str(path)]
        return [
            *python.prefix,
            str(self.binary),
            "run",
            *output,
            *([] if is_executable(program) else ["--python", python.path]),
            *options,
            *self._program(program),
            *map(str, args),
        ], path

    def _program(self, program: str | Path | Sequence[str]) -> list[str]:
        if isinstance(program, str) and "\n" in program:
            # Always the same name as long as the text is the same, so that two runs have equal command lines.
            path = self.folder / "program.py"
            if path.exists() and path.read_text() != textwrap.dedent(program):
                path = self.folder / f"program{next(self._numbers)}.py"
            path.write_text(textwrap.dedent(program))
            return [str(path)]
        if isinstance(program, (str, Path)):
            return [str(program)]
        return [str(word) for word in program]

    @staticmethod
    def environment(env: dict[str, str] | None = None) -> dict[str, str]:
        """What programs find: this process's, without what would change them."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "HEAPLINE", "LD_", "PYENV")) and name not in ("VIRTUAL_ENV", "COLUMNS")
        }
        return {**inherited, "LC_ALL": "C.UTF-8", **(env or {})}

    def _popen_options(self, env: dict[str, str] | None, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "cwd": self.folder,
            "env": self.environment(env),
            "text": True,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "start_new_session": True,
            **options,
        }

    @staticmethod
    def _finish(process: subprocess.Popen, command: list[str], timeout: float) -> Finished:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as expired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            text = lambda part: part.decode(errors="replace") if isinstance(part, bytes) else part or ""
            raise AssertionError(
                f"still running after {timeout} s\n{Finished(command, -9, text(expired.stdout), text(expired.stderr))}"
            ) from None
        return Finished(command, process.returncode, stdout or "", stderr or "")


def is_executable(program: str | Path | Sequence[str]) -> bool:
    """Whether it is ["--", "./server", ..], which needs no interpreter."""
    return not isinstance(program, (str, Path)) and list(program[:1]) == ["--"]


def find_binary() -> Path | None:
    """The command under test: $HEAPLINE, else the release build of this checkout."""
    path = Path(os.environ.get("HEAPLINE") or ROOT / "build" / "release" / "heapline").resolve()
    return path if os.access(path, os.X_OK) else None
