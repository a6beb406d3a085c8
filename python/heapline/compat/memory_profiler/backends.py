"""The backends: one figure now, of this process or another."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import os
import time
import types
import warnings

from . import heap
from .processes import _rss, bytes_of, children_mib

try:
    import tracemalloc

    has_tracemalloc = True
except ImportError:
    has_tracemalloc = False

_TWO_20 = float(2**20)
_PAGE = os.sysconf("SC_PAGE_SIZE")

_own = types.SimpleNamespace(statm=(0, -1))  # the process that it is of, and a descriptor that stays open


def _own_rss():
    pid, fd = _own.statm
    if pid != os.getpid():
        fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        _own.statm = os.getpid(), fd
    try:
        return int(os.pread(fd, 100, 0).split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):  # somebody has closed our descriptor, and it may be another's now
        _own.statm = (0, -1)
        return _rss(os.getpid())


def _traced(filename):
    """Bytes that tracemalloc knows of, of one file or of all."""
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    if filename is None:
        return tracemalloc.get_traced_memory()[0]
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, filename)])
    return sum(trace.size for trace in snapshot.traces)


def _get_memory(pid, backend, timestamps=False, include_children=False, filename=None):
    """MiB of one process now (-1: this one), with children on request; (MiB, unix time) with `timestamps`."""
    own = pid in (-1, os.getpid())
    if backend == "heap":
        check_backend(backend, own, include_children)
        mib = heap.now()
    elif backend == "tracemalloc":
        if not own:
            raise ValueError("the backend tracemalloc can see the process only in which it runs")
        mib = _traced(filename if filename != "<unknown>" else None) / _TWO_20
    elif own and backend in ("psutil", "posix"):
        mib = _own_rss() / _TWO_20
    else:
        mib = bytes_of(os.getpid() if own else pid, backend) / _TWO_20
    if include_children:
        mib += sum(child for _, child in children_mib(os.getpid() if own else pid, backend))
    return (mib, time.time()) if timestamps else mib


NAMES = ["psutil", "psutil_pss", "psutil_uss", "posix", "tracemalloc", "heap"]


def choose_backend(new_backend=None):
    """The backend that will be used for `new_backend`: itself where it is available, else another, with a warning. None stands
    for what HEAPLINE_BACKEND in the environment says, or psutil. KeyError for an unknown name."""
    if new_backend is None:
        new_backend = os.environ.get("HEAPLINE_BACKEND") or "psutil"
    if new_backend not in NAMES:
        raise KeyError(new_backend)
    if new_backend == "heap":
        available = heap.is_available()
    else:
        available = new_backend != "tracemalloc" or has_tracemalloc
    if available:
        return new_backend
    warnings.warn(f"{new_backend} can not be used, psutil used instead", stacklevel=2)
    return "psutil"


def check_backend(backend, own=True, include_children=False, multiprocess=False):
    """ValueError where the backend heap is asked for more than this process."""
    if backend == "heap" and (not own or include_children or multiprocess):
        raise ValueError("the backend heap can see the process only in which it runs: heapline run records others")
