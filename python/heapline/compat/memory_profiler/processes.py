"""Memory of processes, read from /proc. The functions use nothing but each other, `os` and `time`: memory_usage sends them to
the process that samples."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import os
import time


def _rss(pid):
    with open("/proc/%d/statm" % pid, "rb", 0) as file:
        pages = int(file.read().split()[1])
    if pages == 0:
        raise ProcessLookupError(3, "process %d has ended" % pid)
    return pages * os.sysconf("SC_PAGE_SIZE")


def _shares(pid, prefix):
    try:
        file = open("/proc/%d/smaps_rollup" % pid, "rb")
    except FileNotFoundError:
        file = open("/proc/%d/smaps" % pid, "rb")
    with file:
        return sum(int(line.split()[1]) for line in file if line.startswith(prefix)) * 1024


def bytes_of(pid, backend):
    """Memory of one process. ProcessLookupError when it is not there any more."""
    try:
        if backend == "psutil_pss":
            return _shares(pid, b"Pss:")
        if backend == "psutil_uss":
            return _shares(pid, b"Private_")
        return _rss(pid)
    except FileNotFoundError:
        raise ProcessLookupError(3, "there is no process %d" % pid) from None


def _descendants(pid, without):
    """The pids of all processes below `pid`, without one of them."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb", 0) as file:
                    words = file.read().rpartition(b")")[2].split()
                parents[int(name)] = int(words[1]), int(words[19])
            except (OSError, IndexError):
                pass
    found, new = set(), {pid}
    while new:
        new = {
            child
            for child, (parent, start) in parents.items()
            if parent in new and child not in found and parent in parents and parents[parent][1] <= start
        } - {without}
        found |= new
    return sorted(found)


def children_mib(pid, backend, without=0):
    """(pid, MiB) of each process below `pid` that is still there."""
    result = []
    for child in _descendants(pid, without):
        try:
            result.append((child, bytes_of(child, backend) / 1048576.0))
        except OSError:
            pass
    return result


def _one_sample(pid, backend, include_children, without=0):
    mib = bytes_of(pid, backend) / 1048576.0
    if include_children:
        mib += sum(child for _, child in children_mib(pid, backend, without))
    return mib, time.time()


def sampler_main(pid, backend, interval, timeout, include_children, multiprocess, commands, ready):
    """In the sampler's process: samples until `commands` ends or has a byte; the list of (MiB, time, children)."""
    me = os.getpid()
    began = time.time()
    samples = []

    def take():
        try:
            mib, when = _one_sample(pid, backend, include_children, me)
            samples.append((mib, when, children_mib(pid, backend, me) if multiprocess else []))
        except OSError:
            return False
        return True

    take()
    ready()
    next_time = time.time()
    while True:
        next_time = max(next_time + interval, time.time())
        stop = commands(max(0.0, next_time - time.time()))
        if timeout is None or time.time() - began < timeout:
            stop = not take() or stop
        if stop:
            return samples


SAMPLER_FUNCTIONS = (_rss, _shares, bytes_of, _descendants, children_mib, _one_sample, sampler_main)
