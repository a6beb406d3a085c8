"""heapline.profile: functions of which each line is measured, exactly (docs/python-api.md, "Lines of functions").

The decorator returns what it is given: the library is told the code object, and nothing is put between a function and its callers.
While nothing is recorded that is all that happens; the library is not even loaded for it.
"""

from __future__ import annotations

import os
import sys

from heapline._recording import HeaplineError, Recording, _state, is_recording, start, stop, track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType, TracebackType
    from typing import Any, Protocol, TypeVar, overload

    from heapline._tables import LineTables

    T = TypeVar("T")

    class Stream(Protocol):
        def write(self, text: str, /) -> object: ...

else:
    overload = lambda function: function


_RSS = 1  # hl_lines_flags


class _Registry:
    """The functions that are profiled."""

    def __init__(self) -> None:
        self.decorated: dict[CodeType, str] = {}
        self.blocks: dict[CodeType, int] = {}  # blocks that are in it now
        self.seen: set[CodeType] = set()
        self.streams: dict[tuple[str, int], Any] = {}
        self.recording: Recording | None = None  # that a decorator has begun
        self.pid = 0
        self.warned = False
        self.preloaded: bool | None = None  # not asked yet


_registry = _Registry()


def _on() -> str:
    return os.environ.get("HEAPLINE", "")


def _is_preloaded() -> bool:
    """Under heapline run, which has taken its variables out of os.environ; asked without loading ctypes."""
    if _registry.preloaded is None:
        try:
            with open("/proc/self/maps", "rb") as maps:
                _registry.preloaded = b"libheapline" in maps.read()
        except OSError:
            _registry.preloaded = True  # who knows: then the library is loaded for it
    return _registry.preloaded


def add(code: CodeType, name: str, flags: int) -> None:
    """Tells the library, or remembers it until that is loaded."""
    _registry.seen.add(code)
    if _state.tracker is None and not _is_preloaded():
        _state.pending_lines[code] = (name, flags)
        return
    try:
        tracker = _state.loaded()
    except HeaplineError:
        return  # not installed whole: then nothing is recorded either
    if tracker.add_lines(code, name, flags) and not _registry.warned:
        _registry.warned = True
        import warnings

        warnings.warn(f"heapline.profile: {tracker.lines_reason()}", RuntimeWarning, stacklevel=4)


def remove(code: CodeType) -> None:
    _state.pending_lines.pop(code, None)
    if _state.tracker is not None:
        _state.tracker.remove_lines(code)


# ------------------------------------------------------------------------------------------------ what is decorated


def functions_of(thing: Any, seen: set[int] | None = None) -> Iterator[tuple[CodeType, str]]:
    """The code objects of whatever can be decorated, each with its function's qualified name: of descriptors the functions
    behind them, of decorated functions those that say that they were wrapped, of a class all that its body defines."""
    seen = set() if seen is None else seen
    if thing is None or id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, type):
        begin = thing.__qualname__ + "."
        for value in list(vars(thing).values()):
            for code, name in functions_of(value, seen):
                if name.startswith(begin):
                    yield code, name
        return
    if isinstance(thing, property):
        for part in (thing.fget, thing.fset, thing.fdel):
            yield from functions_of(part, seen)
        return
    inner = getattr(thing, "__wrapped__", None)
    if inner is not None:
        yield from functions_of(inner, seen)
        return
    own: Any = getattr(thing, "__code__", None)
    if own is not None:
        yield own, getattr(thing, "__qualname__", own.co_name)
        return
    for name in ("__func__", "func"):  # methods, classmethod, staticmethod; partial, cached_property
        inner = getattr(thing, name, None)
        if inner is not None and (callable(inner) or hasattr(inner, "__func__")):
            yield from functions_of(inner, seen)
            return


def _decorate(thing: Any, flags: int, stream: Any) -> None:
    functions = list(functions_of(thing))
    if not functions and not isinstance(thing, type):
        raise TypeError(f"heapline.profile: {thing!r} has no Python code that could be profiled")
    for code, name in functions:
        _registry.decorated[code] = name
        if stream is not None:
            _registry.streams[code.co_filename, code.co_firstlineno] = stream
        add(code, name, flags)
    if _on() == "1" and _registry.pid == 0:
        _begin()


def _begin() -> None:
    """HEAPLINE=1: the first decoration begins a recording, whose tables are printed at the end."""
    _registry.pid = os.getpid()
    if is_recording():
        return  # whoever has begun it shows them
    import atexit

    try:
        _registry.recording = start()
    except HeaplineError as error:
        sys.stderr.write(f"heapline: {error}\n")
        return
    atexit.register(_at_exit)


def _at_exit() -> None:
    recording = _registry.recording
    if recording is None or _registry.pid != os.getpid():  # a forked child is in its parent's tables
        return
    _registry.recording = None
    try:
        if _state.started is recording:
            stop()
        from heapline._tables import LineTables, open_tables

        tables = open_tables(recording.path)
        for stream, functions in tables.by_stream(_registry.streams):
            LineTables(functions).print_table(stream)
        sys.stderr.write(f"heapline: heapline stats {os.path.relpath(recording.path)} has more\n")
    except (HeaplineError, OSError, ValueError) as error:
        sys.stderr.write(f"heapline: {recording.path}: no tables: {error}\n")


# ------------------------------------------------------------------------------------------------ blocks


class Lines:
    """Lines of some code objects, from begin() to end(), as tables. A recording begins for it where none is on."""

    def __init__(self, codes: dict[CodeType, str], flags: int) -> None:
        self._codes = codes
        self._flags = flags
        self._folder = ""

    def begin(self) -> None:
        import tempfile

        self._pid = os.getpid()
        again = any(code in _registry.seen for code in self._codes)
        self._folder = tempfile.mkdtemp(prefix="heapline-")
        self._track = track(os.path.join(self._folder, "lines.heapline"))
        try:
            self._recording = self._track.__enter__()
            self._before = self._snapshot() if again and not self._recording.own else None
            for code, name in self._codes.items():
                count = _registry.blocks.get(code, 0)
                _registry.blocks[code] = count + 1
                if count == 0 and code not in _registry.decorated:
                    add(code, name, self._flags)
        except BaseException:
            self._remove()
            raise

    def end(self) -> LineTables | None:
        """None: within `heapline run`, whose profile has them."""
        if self._pid != os.getpid():
            return None
        try:
            if not self._recording.own:
                tables = self._snapshot()
                return None if tables is None else tables.of(self._codes).since(self._before)
            self._track.__exit__(None, None, None)
            from heapline._tables import open_tables

            return open_tables(self._recording.path)
        finally:
            self._remove()

    def _snapshot(self) -> LineTables | None:
        if not self._recording.path:
            return None
        from heapline._live import snapshot
        from heapline._tables import open_tables

        return open_tables(snapshot(os.path.join(self._folder, "snapshot.heapline"), overwrite=True))

    def _remove(self) -> None:
        import shutil

        for code in self._codes:
            count = _registry.blocks.pop(code, 0) - 1
            if count > 0:
                _registry.blocks[code] = count
            else:
                if code not in _registry.decorated:
                    remove(code)
        try:
            self._track.__exit__(None, None, None)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def _name_of(frame: FrameType) -> str:
    code = frame.f_code
    return getattr(code, "co_qualname", code.co_name)


class _Options:
    """heapline.profile(...): a decorator, and a context manager."""

    def __init__(self, rss: bool, per_call: bool, stream: Stream | None, show: bool) -> None:
        self._flags = _RSS if rss else 0
        self._per_call = per_call
        self._stream = stream
        self._show = show
        self._open: list[tuple[Lines, LineTables]] = []

    def __call__(self, thing: T) -> T:
        if _on() == "0":
            return thing
        _decorate(thing, self._flags, self._stream)
        if self._per_call:
            from heapline._per_call import wrapped

            result: T = wrapped(thing, self._flags, self._stream)
            return result
        return thing

    def __enter__(self) -> LineTables:
        return self._begin(sys._getframe(1))

    def _begin(self, frame: FrameType) -> LineTables:
        from heapline._tables import LineTables

        result = LineTables(())
        if _on() == "0":
            return result
        lines = Lines({frame.f_code: _name_of(frame)}, self._flags)
        lines.begin()
        self._open.append((lines, result))
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._open:
            return
        lines, result = self._open.pop()
        tables = lines.end()
        if tables is not None:
            result.take(tables)
            if self._show and not result and sys.version_info < (3, 12):
                stream: Any = sys.stderr if self._stream is None else self._stream
                stream.write(
                    "heapline.profile: before CPython 3.12 lines are seen in calls that begin in the block: decorate\n"
                )
            elif self._show:
                result.print_table(self._stream)


class _Profile:
    """Profiles functions line by line: as a decorator, `@heapline.profile`, on functions, methods, classes, and whatever
    wraps them; as a block, `with heapline.profile:`, the function that it stands in. Called with options it gives the same:

    rss: also the resident memory after each line.
    per_call: a table after each outermost call, not only at the end. It wraps the function, and costs a snapshot a call.
    stream: where tables are written (default: sys.stderr).
    show: whether a block prints its table.

    HEAPLINE=0 in the environment: nothing happens at all. HEAPLINE=1: a recording begins with the first decoration, and tables are
    printed at the end. Else lines are profiled while something is recorded: heapline run, start(), track()."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[_Options]] = {}

    @overload
    def __call__(self, thing: T, /) -> T: ...
    @overload
    def __call__(  # noqa: F811
        self,
        thing: None = None,
        /,
        *,
        rss: bool = False,
        per_call: bool = False,
        stream: Stream | None = None,
        show: bool = True,
    ) -> _Options: ...
    def __call__(  # noqa: F811 (typing, which knows overload, is not loaded)
        self,
        thing: Any = None,
        /,
        *,
        rss: bool = False,
        per_call: bool = False,
        stream: Stream | None = None,
        show: bool = True,
    ) -> Any:
        options = _Options(rss, per_call, stream, show)
        return options if thing is None else options(thing)

    def __enter__(self) -> LineTables:
        frame = sys._getframe(1)
        block = _Options(False, False, None, True)
        result = block._begin(frame)
        self._blocks.setdefault(id(frame), []).append(block)
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        key = id(sys._getframe(1))
        blocks = self._blocks[key]
        block = blocks.pop()
        if not blocks:
            del self._blocks[key]
        block.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return "heapline.profile"


profile = _Profile()
