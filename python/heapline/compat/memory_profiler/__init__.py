"""The interface of memory_profiler 0.61, with its figures read from /proc instead of through psutil.

    from heapline.compat.memory_profiler import profile, memory_usage
    python -m heapline.compat.memory_profiler app.py

`heapline install-shims DIR` puts it where `import memory_profiler` finds it. docs/memory-profiler.md says what is the same,
what is corrected and what is missing. These files need nothing but the standard library of CPython 3.6 or newer on Linux: the
heapline command carries them along and gives them to the Python of `heapline mprof run`.
"""

# mypy: ignore-errors

from .backends import _get_memory, choose_backend  # noqa: F401 (the former is used by others though it has no public name)
from .decorator import profile
from .lines import CodeMap, LineProfiler
from .output import LogFile, show_results
from .stamps import TimeStamper
from .usage import MemitResult, memory_usage

__version__ = "0.61.0"  # whose interface this is
__all__ = [
    "CodeMap",
    "LineProfiler",
    "LogFile",
    "MemitResult",
    "TimeStamper",
    "choose_backend",
    "memory_usage",
    "profile",
    "show_results",
]

for _name in __all__:  # they are pickled, and shown, as what this package has
    globals()[_name].__module__ = __name__

del _name
