"""The magics of IPython and Jupyter: `%load_ext heapline` (docs/notebooks.md). Nothing of IPython is imported here but by name and
late: heapline needs none."""

from __future__ import annotations

import ast
import sys
from typing import Any

from heapline._cells import CellResult
from heapline._measure import Measure
from heapline._recording import HeaplineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass


def usage_error(text: str) -> Exception:
    from importlib import import_module

    error: Exception = import_module("IPython.core.error").UsageError(text)
    return error


def _options(line: str, letters: str, names: dict[str, str]) -> tuple[dict[str, list[str]], str]:
    """The options at the beginning of a line, and the rest of it as it is. Letters with a colon take a value."""
    given: dict[str, list[str]] = {}
    rest = line.strip()
    while rest.startswith("-") and not rest.startswith("- "):
        word, _, after = rest.partition(" ")
        after = after.lstrip()
        if word == "--":
            return given, after
        name = names.get(word, word[1:2] if word[1:2] != "-" else "")
        at = letters.find(name) if name else -1
        if at < 0:
            raise usage_error(f"unknown option {word}")
        if letters[at + 1 : at + 2] == ":":
            value = word[2:] if word[1] != "-" else ""
            if not value:
                value, _, after = after.partition(" ")
            if not value:
                raise usage_error(f"option {word}: its value is missing")
            given.setdefault(name, []).append(value)
        else:
            given[name] = []
            if word[1] != "-" and len(word) > 2:
                after = f"-{word[2:]} {after}"
        rest = after.lstrip()
    return given, rest


class Code:
    """Code of a cell or a line, compiled as IPython does it: with its magics, its future statements, its source in linecache."""

    def __init__(self, shell: Any, text: str, *, cell: bool) -> None:
        self.shell = shell
        # Numbered as the notebook numbers the cell, whose first line is the magic.
        source = ("\n" if cell else "") + shell.transform_cell(text)
        self.magic, number = _magics_place(shell)
        self.file: str = shell.compile.cache(source, number, raw_code=source)
        module = shell.compile.ast_parse(source, self.file) if not cell or source.strip() else ast.Module([], [])
        module = shell.transform_ast(module)
        last = module.body.pop() if module.body and isinstance(module.body[-1], ast.Expr) else None
        self._parts = [self._compile(module, "exec")] if module.body else []
        self._last = self._compile(ast.Expression(last.value), "eval") if last is not None else None

    def _compile(self, tree: ast.AST, mode: str) -> Any:
        with self.shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if self.shell.autoawait else 0):
            return self.shell.compile(tree, self.file, mode)

    @property
    def awaits(self) -> bool:
        return any(code.co_flags & 0x80 for code in (*self._parts, self._last) if code is not None)

    def run(self, namespace: dict[str, Any]) -> Any:
        """The value of the last expression."""
        __tracebackhide__ = True
        for code in self._parts:
            exec(code, namespace)
        return eval(self._last, namespace) if self._last is not None else None

    async def run_async(self, namespace: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        value = None
        for code in (*self._parts, self._last):
            if code is not None:
                value = eval(code, namespace)
                if code.co_flags & 0x80:
                    value = await value
        return value if self._last is not None else None


def _magics_place(shell: Any) -> tuple[tuple[str, int], int]:
    """Where the magic stands: file and line; and the number of that cell."""
    numbers = getattr(shell.compile, "_filename_map", {})
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file in numbers:
            return (file, frame.f_lineno), numbers[file]
        frame = frame.f_back  # type: ignore[assignment]
    return ("", 0), shell.execution_count


def label_of(shell: Any, file: str) -> str:
    """What people call a file: "In [3]" for a cell."""
    number = getattr(shell.compile, "_filename_map", {}).get(file)
    if number is not None:
        return f"In [{number}]"
    return file.rpartition("/")[2] or file


def _display(shown: object) -> None:
    from importlib import import_module

    import_module("IPython.display").display(shown)


def _as_the_cell(shell: Any, error: BaseException, file: str) -> None:
    """The traceback that IPython shows begins in the cell, and not in the magic that ran it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    if trace is None or isinstance(error, SyntaxError):
        return
    try:
        lines = shell.InteractiveTB.structured_traceback(type(error), error, trace, tb_offset=0)
        error._render_traceback_ = lambda: _once(error, lines)  # type: ignore[attr-defined]
    except Exception:
        pass


def _once(error: BaseException, lines: list[str]) -> list[str]:
    del error._render_traceback_  # type: ignore[attr-defined]
    return lines


class Magics:
    """Of one shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    # ------------------------------------------------------------------------------------------------ %%heapline

    def heapline(self, line: str = "", cell: str | None = None) -> Any:
        """What a statement or a cell takes: peak, what it keeps, allocations, and its lines.

            %heapline [-o] [-q] statement
            %%heapline [-o] [-q]
            code ...

        -o, --return  return the result (a heapline CellResult), instead of what the code's last expression gives
        -q, --quiet   show nothing

        A recording begins for it where none is on. Exact: everything is counted, nothing is sampled."""
        options, rest = _options(line, "oqA", {"--return": "o", "--quiet": "q", "--await": "A"})
        if cell is not None and rest:
            raise usage_error(f"%%heapline: only options can stand on its first line, not: {rest}")
        if cell is None and not rest:
            raise usage_error("%heapline needs a statement, %%heapline a cell")
        code = Code(self.shell, rest if cell is None else cell, cell=cell is not None)
        if "A" in options:
            return self._heapline_async(code, options)
        if code.awaits:
            runner = self.shell.loop_runner
            return runner(self._heapline_async(code, options))
        run = _Run(self.shell, code, options)
        with run:
            run.keep(code.run(self.shell.user_ns))
        return run.returned

    async def _heapline_async(self, code: Code, options: dict[str, list[str]]) -> Any:
        run = _Run(self.shell, code, options)
        with run:
            run.keep(await code.run_async(self.shell.user_ns))
        return run.returned


_strangers: set[int] = set()
"""The threads that were there before: the notebook's own, which save its history and carry its output."""


class _Run:
    """The block in which a cell runs; its result is shown at the end, whatever the end is."""

    value: Any = None
    returned: Any = None

    def __init__(self, shell: Any, code: Code, options: dict[str, list[str]]) -> None:
        self.shell, self.code, self.options = shell, code, options

    def keep(self, value: Any) -> None:
        """What the code gives is kept where it is returned: what is dropped counts as freed."""
        self.value = None if "o" in self.options else value

    def __enter__(self) -> None:
        self.measure = Measure()
        self.measure.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.measure.__exit__(None, None, None)
        shell, file = self.shell, self.code.file
        result = CellResult(
            self.measure, label_of(shell, file), file, lambda file: label_of(shell, file), self.code.magic, _strangers
        )
        wanted = "o" in self.options and error is None
        if not wanted and "q" not in self.options:
            _display(result)
        self.returned = result if wanted else self.value
        self.value = None
        if error is not None:
            _as_the_cell(shell, error, file)


def _await_cells(lines: list[str]) -> list[str]:
    """Of IPython's transformations: a cell under %%heapline that awaits is awaited itself, as the loop of a notebook runs already."""
    if (
        not lines
        or not lines[0].startswith("%%heapline")
        or not any("await" in line or "async" in line for line in lines)
    ):
        return lines
    name, _, line = lines[0].rstrip("\n").partition(" ")
    if name != "%%heapline":
        return lines
    body = "".join(lines[1:])
    shell = sys.modules["IPython"].get_ipython()
    try:
        if not Code(shell, body, cell=True).awaits:
            return lines
    except SyntaxError:
        return lines
    return [f"await get_ipython().run_cell_magic('heapline', {'--await ' + line!r}, {body!r})\n"]


def load(shell: Any) -> None:
    import threading

    here = threading.get_native_id()
    _strangers.update(thread.native_id for thread in threading.enumerate() if thread.native_id not in (None, here))
    magics = Magics(shell)
    shell.register_magic_function(magics.heapline, "line_cell", "heapline")
    transforms = shell.input_transformers_cleanup
    if _await_cells not in transforms:
        transforms.append(_await_cells)


def unload(shell: Any) -> None:
    for kind, names in (("line", ("heapline",)), ("cell", ("heapline",))):
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    if _await_cells in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(_await_cells)


__all__ = ["HeaplineError", "Magics", "load", "unload"]
