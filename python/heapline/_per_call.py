"""heapline.profile(per_call=True): a table after each outermost call. The one form that wraps the function."""

from __future__ import annotations

import functools
from typing import Any

from heapline._lines import Lines, functions_of
from heapline._recording import HeaplineError, _state


class _Call:
    """A call; those within it, in any thread, are part of it."""

    depth = 0

    def __init__(self, codes: dict[Any, str], flags: int, stream: Any) -> None:
        self.codes, self.flags, self.stream = codes, flags, stream
        self.lines: Lines | None = None

    def __enter__(self) -> None:
        self.depth += 1
        if self.depth > 1 or _state.recording is None:
            return  # nothing is recorded, or by others, whose profile has the lines
        lines = Lines(self.codes, self.flags)
        lines.begin()
        self.lines = lines

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if self.depth or self.lines is None:
            return
        lines, self.lines = self.lines, None
        try:
            tables = lines.end()
        except HeaplineError:
            return
        if tables is not None:
            tables.print_table(self.stream)


def wrapped(thing: Any, flags: int, stream: Any) -> Any:
    if isinstance(thing, (classmethod, staticmethod)):
        return type(thing)(wrapped(thing.__func__, flags, stream))
    if isinstance(thing, property):
        fget, fset, fdel = (part and wrapped(part, flags, stream) for part in (thing.fget, thing.fset, thing.fdel))
        return property(fget, fset, fdel, thing.__doc__)
    if isinstance(thing, type):
        for name, value in list(vars(thing).items()):
            if any(True for _ in functions_of(value)) and not isinstance(value, type):
                setattr(thing, name, wrapped(value, flags, stream))
        return thing
    import inspect

    call = _Call(dict(functions_of(thing)), flags, stream)
    if inspect.iscoroutinefunction(thing):

        @functools.wraps(thing)
        async def wrapper(*args: Any, **keywords: Any) -> Any:
            with call:
                return await thing(*args, **keywords)

    elif inspect.isgeneratorfunction(thing):

        @functools.wraps(thing)
        def wrapper(*args: Any, **keywords: Any) -> Any:
            with call:
                return (yield from thing(*args, **keywords))

    elif inspect.isasyncgenfunction(thing):
        return thing  # its table is that at the end

    else:

        @functools.wraps(thing)
        def wrapper(*args: Any, **keywords: Any) -> Any:
            with call:
                return thing(*args, **keywords)

    return wrapper
