"""TimeStamper: when decorated functions and blocks began and ended, with the memory then (--timestamp, mprof run)."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import sys
import threading
import types

from .backends import _get_memory
from .wrapping import Nothing, decorate, wrap


class _Mark:
    """One call of a function, or one block: memory and time at its begin and at its end."""

    def __init__(self, stamper, func):
        self.stamper, self.func = stamper, func

    def __enter__(self):
        stamper = self.stamper
        depth = stamper._depth.__dict__
        depth["now"] = depth.get("now", -1) + 1
        self.times = [stamper._measure()]
        with stamper._lock:
            stamper.functions[self.func].append(self.times)
            stamper.stack[self.func].append(depth["now"])
        return self

    def __exit__(self, *exc):
        self.stamper._depth.now -= 1
        self.times.append(self.stamper._measure())


class TimeStamper:
    """A profiler that only records begin and end of decorated functions and blocks."""

    def __init__(self, backend="psutil", include_children=False):
        self.functions = {}
        self.stack = {}
        self.backend = backend
        self.include_children = include_children
        self._blocks = {}
        self._depth = threading.local()
        self._lock = threading.Lock()

    @property
    def current_stack_level(self):
        """Depth of the innermost open mark of this thread; -1 outside of all."""
        return self._depth.__dict__.get("now", -1)

    def _measure(self):
        return _get_memory(-1, self.backend, timestamps=True, include_children=self.include_children)

    def __call__(self, func=None, precision=None):
        if func is None:
            return self
        return decorate(func, self.wrap_function)

    def timestamp(self, name="<block>"):
        """with profile.timestamp("loading"): marks a block."""
        if name not in self._blocks:
            block = types.FunctionType(compile("0", "<block>", "eval"), {})
            block.__module__, block.__name__ = "", name
            self._blocks[name] = block
            self.add_function(block)
        return _Mark(self, self._blocks[name])

    def add_function(self, func):
        with self._lock:
            self.functions.setdefault(func, [])
            self.stack.setdefault(func, [])

    def wrap_function(self, func):
        self.add_function(func)
        return wrap(func, lambda: _Mark(self, func), Nothing)

    def show_results(self, stream=None):
        """A FUNC line for each call that has ended. A blank in a name is written as U+00A0, for readers split at blanks."""
        stream = sys.stdout if stream is None else stream
        for func, calls in self.functions.items():
            name = "{}.{}".format(func.__module__, getattr(func, "__name__", type(func).__name__))
            name = "\u00a0".join(name.split())
            for times, level in zip(calls, self.stack[func]):
                if len(times) == 2:
                    numbers = "{:.4f} {:.4f} {:.4f} {:.4f} {:d}".format(*times[0], *times[1], level)
                    stream.write(f"FUNC {name} {numbers}\n")
