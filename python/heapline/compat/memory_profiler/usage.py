"""memory_usage: the memory of a process, or of this one while it runs a function."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import marshal
import os
import subprocess
import sys
import threading
import time

from . import heap
from .backends import _get_memory, check_backend, choose_backend
from .processes import SAMPLER_FUNCTIONS, children_mib
from .wrapping import Nothing

_SAMPLER = """
import marshal, os, select, sys, time, types
stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
codes, arguments = marshal.load(stdin)
for code in codes:
    globals()[code.co_name] = types.FunctionType(code, globals())
def commands(seconds):
    return bool(select.select([0], [], [], seconds)[0])
def ready():
    stdout.write(b"."); stdout.flush()
marshal.dump(sampler_main(*arguments, commands, ready), stdout)
"""


class _Sampler:
    """Another process that samples this one: what the measured function does, with the GIL held or in C, does not keep it
    from its work, and its memory is none of ours."""

    def __init__(self, backend, interval, timeout, include_children, multiprocess):
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _SAMPLER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith(("LD_PRELOAD", "HEAPLINE"))},
            start_new_session=True,  # ^C is for the program, which then ends the sampler
        )
        arguments = (os.getpid(), backend, float(interval), timeout, bool(include_children), bool(multiprocess))
        marshal.dump((tuple(f.__code__ for f in SAMPLER_FUNCTIONS), arguments), self.process.stdin)
        self.process.stdin.flush()
        if self.process.stdout.read(1) != b".":
            self.stop()

    def stop(self):
        """The samples, as sampler_main has them."""
        try:
            self.process.stdin.write(b".")  # not just closed: a process that the function has forked has it open too
            self.process.stdin.close()
            text = self.process.stdout.read()
        finally:
            self.process.stdout.close()
            self.process.wait()
        if self.process.returncode != 0:
            raise RuntimeError("the process that samples memory ended with status %d" % self.process.returncode)
        return marshal.loads(text)


class _ThreadSampler(threading.Thread):
    """Samples from a thread: only this process can see what tracemalloc and the heap's recorder know."""

    def __init__(self, backend, interval, timeout):
        super().__init__(daemon=True, name="memory_usage")
        self.backend, self.interval, self.end = backend, interval, timeout and time.time() + timeout
        self.running = threading.Lock()  # and no Event, which takes memory for each wait
        self.running.acquire()
        self.samples = []
        self.start()
        self.take()

    def take(self):
        if not self.end or time.time() < self.end:
            with heap.aside() if self.backend == "heap" else Nothing():
                self.samples.append((*_get_memory(-1, self.backend, timestamps=True), []))

    def run(self):
        while not self.running.acquire(timeout=self.interval):
            self.take()

    def stop(self):
        self.running.release()
        self.join()
        self.take()
        return self.samples


def _highest_rss():
    """The highest RSS that this process ever had, in MiB: the kernel saw every moment."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024.0
    return 0.0


def _write_sample(stream, mib, when, children):
    stream.write(f"MEM {mib:.6f} {when:.4f}\n")
    for pid, child in children:
        stream.write(f"CHLD {pid} {child:.6f} {when:.4f}\n")


def _shape(samples, timestamps, multiprocess):
    result = []
    for mib, when, children in samples:
        one = (mib, when) if timestamps else mib
        result.append([one, *(child for _, child in children)] if multiprocess else one)
    return result


def _usage_of_function(function, arguments, keywords, interval, timeout, timestamps, include_children, multiprocess,
                       max_usage, retval, stream, backend):  # fmt: skip
    check_backend(backend, include_children=include_children, multiprocess=multiprocess)
    if backend == "heap" and max_usage and timeout is None:  # no sample can miss it
        heap.reset_peak()
        returned = function(*arguments, **keywords)
        result = (heap.peak(), time.time()) if timestamps else heap.peak()
        return (result, returned) if retval else result
    exact = max_usage and backend in ("psutil", "posix") and not include_children
    before = _highest_rss() if exact else 0.0
    if backend in ("tracemalloc", "heap"):
        sampler = _ThreadSampler(backend, interval, timeout)
    else:
        sampler = _Sampler(backend, interval, timeout, include_children, multiprocess)
    try:
        returned = function(*arguments, **keywords)
    except BaseException:
        sampler.stop()
        raise
    after = _highest_rss() if exact else 0.0
    samples = sampler.stop()
    if stream is not None:
        for sample in samples:
            _write_sample(stream, *sample)
        result = None
    elif max_usage:
        highest = max((mib, when) for mib, when, _ in samples)
        if exact and after > before and timeout is None:  # a peak between two samples
            highest = max(highest, (after, highest[1]))
        result = highest if timestamps else highest[0]
    else:
        result = _shape(samples, timestamps, multiprocess)
    return (result, returned) if retval else result


def _usage_of_process(
    pid, ended, interval, count, timestamps, include_children, multiprocess, max_usage, stream, backend
):
    check_backend(backend, pid in (-1, os.getpid()), include_children, multiprocess)
    samples, highest = [], -1
    next_time = time.time()
    while count is None or count > 0:
        try:
            mib = _get_memory(pid, backend, include_children=include_children)
        except ProcessLookupError:
            if ended is None and not samples and highest == -1:
                raise
            break
        when = time.time()
        children = children_mib(os.getpid() if pid == -1 else pid, backend) if multiprocess else []
        if stream is not None:
            _write_sample(stream, mib, when, children)
            stream.flush()
        elif max_usage:
            highest = max(highest, mib)
        else:
            samples.append((mib, when, children))
        if count is not None:
            count -= 1
        if count == 0 or (ended is not None and ended() is not None):
            break
        next_time = max(next_time + interval, time.time())
        time.sleep(max(0.0, next_time - time.time()))
        if ended is not None and ended() is not None:
            break
    if stream is not None:
        return None
    return highest if max_usage else _shape(samples, timestamps, multiprocess)


def memory_usage(
    proc=-1,
    interval=0.1,
    timeout=None,
    timestamps=False,
    include_children=False,
    multiprocess=False,
    max_usage=False,
    retval=False,
    stream=None,
    backend=None,
    max_iterations=None,
):
    """The memory of a process, or of this one while it runs a function, in MiB.

    proc            -1 (this process), a pid, a subprocess.Popen, a function, or (function, arguments, keywords)
    interval        seconds between samples
    timeout         sample no longer than this; a function is not ended by it
    timestamps      (MiB, unix time) for each sample
    include_children  with the memory of all descendants
    multiprocess    a list for each sample: the process, then each descendant
    max_usage       only the highest; of a function's RSS that is the kernel's high-water mark where it moved, of its heap the exact peak
    retval          (memory, what the function returned)
    stream          write MEM and CHLD lines to it instead of returning samples
    backend         psutil (RSS), psutil_pss, psutil_uss, posix (RSS), tracemalloc, heap (what is allocated; this process only)
    max_iterations  accepted; a function is called once, always

    A function is sampled before it begins, each `interval`, and after its end."""
    backend = choose_backend(backend)
    if stream is not None:
        timestamps, max_usage = True, False
    if callable(proc):
        proc = (proc,)
    if isinstance(proc, (list, tuple)):
        if not 1 <= len(proc) <= 3:
            raise ValueError("proc: (function,), (function, arguments) or (function, arguments, keywords)")
        function, arguments, keywords = (*proc, *((), {})[len(proc) - 1 :])
        return _usage_of_function(function, arguments, keywords, interval, timeout, timestamps, include_children,
                                  multiprocess, max_usage, retval, stream, backend)  # fmt: skip
    count = None if timeout is None else max(1, round(timeout / interval))
    if hasattr(proc, "pid") and hasattr(proc, "poll"):
        return _usage_of_process(proc.pid, proc.poll, interval, count, timestamps, include_children, multiprocess,
                                 max_usage, stream, backend)  # fmt: skip
    return _usage_of_process(int(proc), None, interval, count or 1, timestamps, include_children, multiprocess,
                             max_usage, stream, backend)  # fmt: skip


class MemitResult:
    """What one run of %memit has measured."""

    def __init__(self, mem_usage, baseline, repeat, timeout, interval, include_children):
        self.mem_usage = mem_usage
        self.baseline = baseline
        self.repeat = repeat
        self.timeout = timeout
        self.interval = interval
        self.include_children = include_children

    def __str__(self):
        highest = max(self.mem_usage)
        return f"peak memory: {highest:.2f} MiB, increment: {highest - self.baseline:.2f} MiB"

    def _repr_pretty_(self, p, cycle):
        p.text("<MemitResult : " + str(self) + ">")
