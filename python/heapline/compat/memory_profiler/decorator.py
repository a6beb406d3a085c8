"""The decorator `profile`, which prints a table after each call."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import functools
import os
import types

from . import heap
from .backends import choose_backend
from .lines import LineProfiler
from .output import show_results
from .stamps import TimeStamper
from .wrapping import Nothing, decorate, wrap

try:
    import tracemalloc
except ImportError:
    tracemalloc = None

here = types.SimpleNamespace(session=None)  # the profiler of `python -m` or `mprof run`


class _Shown:
    """A profiler for one call, whose table is printed at its end, however it ends."""

    def __init__(self, func, backend, stream, precision):
        self.profiler = LineProfiler(backend=backend)
        self.profiler.add_function(func)
        self.stream, self.precision = stream, precision

    def __enter__(self):
        return self.profiler

    def __exit__(self, *exc):
        show_results(self.profiler, stream=self.stream, precision=self.precision)


class _ShownAside(_Shown):
    """Of the backend heap: what it takes and gives back is counted to no line of a profiled caller. To free a profiler would be:
    they are used again."""

    def __init__(self, func, backend, stream, precision, unused):
        self.unused = unused
        with heap.aside():
            if unused:
                self.profiler, self.stream, self.precision = unused.pop(), stream, precision
            else:
                super().__init__(func, backend, stream, precision)

    def __exit__(self, *exc):
        with heap.aside():
            super().__exit__(*exc)
            self.profiler.code_map.forget()
            self.unused.append(self.profiler)


def profile(func=None, stream=None, precision=1, backend=None):
    """Decorator: prints a table of memory by line after each call. With HEAPLINE=0 in the environment it does nothing; under
    `python -m` and `mprof run` it is their `profile`, unless it has a stream of its own."""
    if func is None:
        return functools.partial(profile, stream=stream, precision=precision, backend=backend)
    backend = choose_backend(backend)
    if os.environ.get("HEAPLINE") == "0":
        return func
    if here.session is not None and stream is None:
        return here.session(func)
    if backend == "tracemalloc" and not tracemalloc.is_tracing():
        tracemalloc.start()

    def shown(f):
        unused = []
        if backend == "heap":
            return wrap(f, lambda: _ShownAside(f, backend, stream, precision, unused), lambda profiler: profiler)
        return wrap(f, lambda: _Shown(f, backend, stream, precision), lambda profiler: profiler)

    return decorate(func, shown)


def _timestamp(name="<block>"):
    """As builtin `profile` under `mprof run`: with profile.timestamp("loading"): marks a block. Elsewhere it does nothing."""
    return here.session.timestamp(name) if isinstance(here.session, TimeStamper) else Nothing()


profile.timestamp = _timestamp
