"""The interface of memory_profiler 0.61, with its figures read from /proc instead of through psutil.

    from heapline.compat.memory_profiler import profile, memory_usage
    python -m heapline.compat.memory_profiler app.py

`heapline install-shims DIR` puts it where `import memory_profiler` finds it. docs/memory-profiler.md says what is the same,
what is corrected and what is missing. This file needs nothing but the standard library of CPython 3.6 or newer on Linux: the
heapline command carries it along and gives it to the Python of `heapline mprof run`.
"""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import builtins
import dis
import functools
import inspect
import io
import linecache
import logging
import marshal
import os
import subprocess
import sys
import threading
import time
import types
import warnings

try:
    import tracemalloc

    has_tracemalloc = True
except ImportError:
    has_tracemalloc = False

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

_TWO_20 = float(2**20)
_PAGE = os.sysconf("SC_PAGE_SIZE")


# ------------------------------------------------------------------------------------------------------ /proc
# The functions between here and the next rule use nothing but `os` and `time`: they run in the sampler's process too.


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


def _bytes_of(pid, backend):
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


def _children_mib(pid, backend, without=0):
    """(pid, MiB) of each process below `pid` that is still there."""
    result = []
    for child in _descendants(pid, without):
        try:
            result.append((child, _bytes_of(child, backend) / 1048576.0))
        except OSError:
            pass
    return result


def _one_sample(pid, backend, include_children, without=0):
    mib = _bytes_of(pid, backend) / 1048576.0
    if include_children:
        mib += sum(child for _, child in _children_mib(pid, backend, without))
    return mib, time.time()


def _sampler_main(pid, backend, interval, timeout, include_children, multiprocess, commands, ready):
    """In the sampler's process: samples until `commands` ends or has a byte; the list of (MiB, time, children)."""
    me = os.getpid()
    began = time.time()
    samples = []

    def take():
        try:
            mib, when = _one_sample(pid, backend, include_children, me)
            samples.append((mib, when, _children_mib(pid, backend, me) if multiprocess else []))
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


# ------------------------------------------------------------------------------------------------------ one figure

_here = types.SimpleNamespace(
    statm=(0, -1),  # the process that it is of, and a descriptor that stays open
    session=None,  # the profiler of `python -m` or `mprof run`
)


def _own_rss():
    pid, fd = _here.statm
    if pid != os.getpid():
        fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        _here.statm = os.getpid(), fd
    try:
        return int(os.pread(fd, 100, 0).split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):  # somebody has closed our descriptor, and it may be another's now
        _here.statm = (0, -1)
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
    if backend == "tracemalloc":
        if not own:
            raise ValueError("the backend tracemalloc can see the process only in which it runs")
        mib = _traced(filename if filename != "<unknown>" else None) / _TWO_20
    elif own and backend in ("psutil", "posix"):
        mib = _own_rss() / _TWO_20
    else:
        mib = _bytes_of(os.getpid() if own else pid, backend) / _TWO_20
    if include_children:
        mib += sum(child for _, child in _children_mib(os.getpid() if own else pid, backend))
    return (mib, time.time()) if timestamps else mib


def choose_backend(new_backend=None):
    """The backend that will be used for `new_backend`: itself where it is available, else another, with a warning.
    KeyError for an unknown name."""
    available = {
        "psutil": True,
        "psutil_pss": True,
        "psutil_uss": True,
        "posix": True,
        "tracemalloc": has_tracemalloc,
    }
    if new_backend is None:
        return "psutil"
    if available[new_backend]:
        return new_backend
    warnings.warn(f"{new_backend} can not be used, psutil used instead", stacklevel=2)
    return "psutil"


# ------------------------------------------------------------------------------------------------------ memory_usage

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
marshal.dump(_sampler_main(*arguments, commands, ready), stdout)
"""
_SAMPLER_FUNCTIONS = (_rss, _shares, _bytes_of, _descendants, _children_mib, _one_sample, _sampler_main)


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
        marshal.dump((tuple(f.__code__ for f in _SAMPLER_FUNCTIONS), arguments), self.process.stdin)
        self.process.stdin.flush()
        if self.process.stdout.read(1) != b".":
            self.stop()

    def stop(self):
        """The samples, as _sampler_main has them."""
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


class _TracemallocSampler(threading.Thread):
    """Samples from a thread: only this process can see what tracemalloc knows."""

    def __init__(self, interval, timeout):
        super().__init__(daemon=True, name="memory_usage")
        self.interval, self.end = interval, timeout and time.time() + timeout
        self.ended = threading.Event()
        self.samples = []
        self.take()
        self.start()

    def take(self):
        if not self.end or time.time() < self.end:
            self.samples.append((*_get_memory(-1, "tracemalloc", timestamps=True), []))

    def run(self):
        while not self.ended.wait(self.interval):
            self.take()

    def stop(self):
        self.ended.set()
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
    exact = max_usage and backend in ("psutil", "posix") and not include_children
    before = _highest_rss() if exact else 0.0
    if backend == "tracemalloc":
        sampler = _TracemallocSampler(interval, timeout)
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
        children = _children_mib(os.getpid() if pid == -1 else pid, backend) if multiprocess else []
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
    max_usage       only the highest; of a function's RSS that is the kernel's high-water mark where it moved
    retval          (memory, what the function returned)
    stream          write MEM and CHLD lines to it instead of returning samples
    backend         psutil (RSS), psutil_pss, psutil_uss, posix (RSS), tracemalloc
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


# ------------------------------------------------------------------------------------------------------ wrapping


def _decorate(thing, wrap):
    """`wrap` applied to the functions of whatever can be decorated: descriptors keep their kind, of a class each function
    that it defines is wrapped."""
    if isinstance(thing, (classmethod, staticmethod)):
        return type(thing)(_decorate(thing.__func__, wrap))
    if isinstance(thing, property):
        parts = [part and _decorate(part, wrap) for part in (thing.fget, thing.fset, thing.fdel)]
        return property(*parts, thing.__doc__)
    if isinstance(thing, type):
        for name, value in list(vars(thing).items()):
            if isinstance(value, (types.FunctionType, classmethod, staticmethod, property)):
                setattr(thing, name, _decorate(value, wrap))
        return thing
    if not callable(thing):
        raise ValueError("Value must be callable")
    return wrap(thing)


class _Driven:
    """Runs a generator or coroutine step by step, each step inside `around()`."""

    def __init__(self, steps, around):
        self.steps, self.around = steps, around

    def __iter__(self):
        value, error = None, None
        while True:
            try:
                with self.around():
                    item = self.steps.send(value) if error is None else self.steps.throw(error)
            except StopIteration as stop:
                return stop.value
            value, error = None, None
            try:
                value = yield item
            except GeneratorExit:
                with self.around():
                    self.steps.close()
                raise
            except BaseException as caught:
                error = caught

    __await__ = __iter__


def _wrap(func, whole, around):
    """`func` within `with whole() as one:` from its call to its end, and within `with around(one):` while code of it runs.
    Coroutine functions stay coroutine functions, and generators and async generators what they are."""
    if inspect.iscoroutinefunction(func):

        async def wrapper(*args, **kwargs):
            with whole() as one:
                return await _Driven(func(*args, **kwargs), lambda: around(one))

    elif inspect.isasyncgenfunction(func):

        async def wrapper(*args, **kwargs):
            with whole() as one:
                steps = func(*args, **kwargs)
                value, error = None, None
                try:
                    while True:
                        next_step = steps.asend(value) if error is None else steps.athrow(error)
                        try:
                            item = await _Driven(next_step, lambda: around(one))
                        except StopAsyncIteration:
                            return
                        value, error = None, None
                        try:
                            value = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as caught:
                            error = caught
                finally:
                    await _Driven(steps.aclose(), lambda: around(one))

    elif inspect.isgeneratorfunction(func):

        def wrapper(*args, **kwargs):
            with whole() as one:
                return (yield from _Driven(func(*args, **kwargs), lambda: around(one)))

    else:

        def wrapper(*args, **kwargs):
            with whole() as one, around(one):
                return func(*args, **kwargs)

    return functools.wraps(func)(wrapper)


class _Nothing:
    def __init__(self, one=None):
        pass

    def __enter__(self):
        return None

    def __exit__(self, *exc):
        return None


# ------------------------------------------------------------------------------------------------------ time stamps


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
        return _decorate(func, self.wrap_function)

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
        return _wrap(func, lambda: _Mark(self, func), _Nothing)

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


# ------------------------------------------------------------------------------------------------------ lines


def _lines_of(code):
    """The numbers of its source lines, decorators among them; from the code itself where there is no source."""
    try:
        text, first = inspect.getsourcelines(code)
        return range(first, first + len(text))
    except (OSError, TypeError, IndexError):
        pass
    codes, last = [code], code.co_firstlineno
    while codes:
        one = codes.pop()
        codes.extend(filter(inspect.iscode, one.co_consts))
        if hasattr(one, "co_lines"):
            last = max([last, *(line for _, _, line in one.co_lines() if line)])
        else:
            at = one.co_firstlineno
            for step in one.co_lnotab[1::2]:
                at += step - 256 * (step > 127)
                last = max(last, at)
    return range(code.co_firstlineno, last + 1)


class CodeMap(dict):
    """{code object: {line: (increment MiB, usage MiB, occurrences)}}; code inside of a function has that function's lines."""

    def __init__(self, include_children=False, backend="psutil"):
        super().__init__()
        self.include_children = include_children
        self.backend = backend
        self._toplevel = []
        self._lock = threading.Lock()

    def add(self, code, toplevel_code=None):
        if code in self:
            return
        if toplevel_code is None:
            filename = code.co_filename
            if filename.endswith((".pyc", ".pyo")):
                filename = filename[:-1]
            toplevel_code = code
            self._toplevel.append((filename, code, _lines_of(code)))
            self[code] = {}
        else:
            self[code] = self[toplevel_code]
        for inner in filter(inspect.iscode, code.co_consts):
            self.add(inner, toplevel_code=toplevel_code)

    def _record(self, lines, lineno, increment, usage):
        """One execution of a line."""
        with self._lock:
            old = lines.get(lineno, (0.0, 0.0, 0))
            lines[lineno] = (old[0] + increment, max(old[1], usage), old[2] + 1)

    def items(self):
        """(file, iterator over (line, its measures or None)) for each function that was measured."""
        for filename, code, linenos in self._toplevel:
            measures = self[code]
            if measures:
                yield filename, ((line, measures.get(line)) for line in linenos)


class _FrameTrace:
    """The local trace function of one frame. It stays with a generator's frame while that is suspended."""

    __slots__ = ("began", "carried", "code", "failing", "gone", "lineno", "lines", "next", "profiler")

    def __init__(self, profiler, code, lines):
        self.profiler, self.code, self.lines = profiler, code, lines
        self.lineno = None  # of the line that is being executed
        self.began = 0.0  # memory at its begin, or when the frame was resumed in it
        self.carried = 0.0  # what earlier stretches of it, before a suspension, have added
        self.gone = 0.0  # of the change since, what frames below with the same table have booked
        self.failing = False  # an exception has been raised since the line began
        self.next = None  # the local trace function of whoever was there before us

    def __call__(self, frame, event, arg):
        if event == "line":
            self.failing = False
            self.profiler._line(self, frame.f_lineno)
        elif event == "exception":
            self.failing = True
        elif event == "return":
            self.profiler._leave(self, frame)
        if self.next is not None:
            self.next = self.next(frame, event, arg)
        return self


class _Thread(threading.local):
    """What a line profiler knows of one thread."""

    count = 0  # how often it is enabled
    before = None  # the trace function that it took the place of

    def __init__(self):
        super().__init__()
        self.running = []  # states of the frames that run, the innermost last


class LineProfiler:
    """Measures the memory after each line of the functions that were added, while it is enabled.

    A line's increment is what memory was after it less what it was before it, summed over its executions; what another
    function of the same table has booked meanwhile (a comprehension, a nested function, the function itself again) is left
    to the lines of that."""

    def __init__(self, **kw):
        self.backend = choose_backend(kw.get("backend"))
        self.include_children = kw.get("include_children", False)
        self.max_mem = kw.get("max_mem")
        self.code_map = CodeMap(include_children=self.include_children, backend=self.backend)
        self._thread = _Thread()

    @property
    def enable_count(self):
        """How often it is enabled in this thread."""
        return self._thread.count

    def __call__(self, func=None, precision=1):
        if func is None:
            return functools.partial(self, precision=precision)

        def add_and_wrap(f):
            self.add_function(f)
            return self.wrap_function(f)

        return _decorate(func, add_and_wrap)

    def add_function(self, func):
        """The function itself, below any decorator that says what it wraps, will be measured."""
        inner = inspect.unwrap(func)
        while isinstance(inner, functools.partial):
            inner = inspect.unwrap(inner.func)
        code = getattr(inner, "__code__", None)
        if code is None:
            warnings.warn(f"Could not extract a code object for the object {func!r}", stacklevel=3)
        else:
            self.code_map.add(code)

    def wrap_function(self, func):
        return _wrap(func, _Nothing, lambda _: self)

    def runctx(self, cmd, globals, locals):
        """Executes a statement under the profiler."""
        with self:
            exec(cmd, globals, locals)
        return self

    def __enter__(self):
        self.enable_by_count()
        return self

    def __exit__(self, *exc):
        self.disable_by_count()

    def enable_by_count(self):
        if self.enable_count == 0:
            self.enable()
        self._thread.count += 1

    def disable_by_count(self):
        if self.enable_count > 0:
            self._thread.count -= 1
            if self._thread.count == 0:
                self.disable()

    def enable(self):
        self._thread.before = sys.gettrace()
        sys.settrace(self.trace_memory_usage if self.max_mem is None else self.trace_max_mem)

    def disable(self):
        sys.settrace(self._thread.before)

    # The trace functions.

    def _memory(self, code):
        return _get_memory(-1, self.backend, include_children=self.include_children, filename=code.co_filename)

    def _state_of(self, frame):
        """Of a frame that is resumed: what it was left with."""
        at = frame.f_trace
        while isinstance(at, _FrameTrace):
            if at.profiler is self:
                return at
            at = at.next
        return None

    def trace_memory_usage(self, frame, event, arg):
        """For sys.settrace: called when a frame is entered or resumed."""
        before = self._thread.before
        code = frame.f_code
        lines = self.code_map.get(code)
        if lines is None:
            return before(frame, event, arg) if before is not None else None
        state = self._state_of(frame)
        if event == "call":
            if state is None:
                state = _FrameTrace(self, code, lines)
            state.began, state.gone = self._memory(code), 0.0
            self._thread.running.append(state)
            if state.lineno is None and any(code is top[1] for top in self.code_map._toplevel):
                # Its first line stands for what was there at the first call.
                first = lines.get(code.co_firstlineno) is None
                self.code_map._record(lines, code.co_firstlineno, state.began if first else 0.0, state.began)
        if before is not None:
            state.next = before(frame, event, arg)
        return state

    def _close_line(self, state):
        """The memory now, and what the line has added since it began or was resumed."""
        now = self._memory(state.code)
        added = now - state.began - state.gone
        for other in self._thread.running:
            if other is not state and other.lines is state.lines:
                other.gone += added
        return now, added

    def _line(self, state, lineno):
        if state.lineno is None:
            state.lineno = lineno
            state.began, state.gone = self._memory(state.code), 0.0
            return
        now, added = self._close_line(state)
        self.code_map._record(state.lines, state.lineno, state.carried + added, now)
        state.lineno, state.began, state.carried, state.gone = lineno, now, 0.0, 0.0

    def _leave(self, state, frame):
        """A frame returns, is left by an exception, or is suspended."""
        running = self._thread.running
        if running and running[-1] is state:
            running.pop()
        elif state in running:
            running.remove(state)
        if state.lineno is None:
            return
        now, added = self._close_line(state)
        if not state.failing and _is_suspended(frame):
            state.carried += added
            return
        self.code_map._record(state.lines, state.lineno, state.carried + added, now)
        state.lineno, state.carried = None, 0.0

    def trace_max_mem(self, frame, event, arg):
        """For sys.settrace: starts pdb as soon as memory is at max_mem in a function that was added."""
        if frame.f_code not in self.code_map:
            return None
        if event in ("line", "return"):
            now = self._memory(frame.f_code)
            if now >= self.max_mem:
                import pdb

                sys.stdout.write(f"Current memory {now:.2f} MiB exceeded the maximum of {self.max_mem:.2f} MiB\n")
                sys.stdout.write("Stepping into the debugger \n")
                self.max_mem = float("inf")
                debugger = pdb.Pdb()
                debugger.set_trace(frame)
                return debugger.trace_dispatch
        return self.trace_max_mem


_GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_YIELDS = (dis.opmap["YIELD_VALUE"], dis.opmap.get("RESUME"))  # in 3.13 it is already at the one behind it
_YIELD_FROM = dis.opmap.get("YIELD_FROM")  # before 3.11; a frame that waits in one is at the instruction before it


def _is_suspended(frame):
    """Whether a frame that is left without an exception will go on: it is at an instruction that gives a value away."""
    code, at = frame.f_code, frame.f_lasti
    if not code.co_flags & _GENERATORS or at < 0:
        return False
    text = code.co_code
    return text[at] in _YIELDS or (_YIELD_FROM in text[at : at + 3 : 2] if _YIELD_FROM is not None else False)


def show_results(prof, stream=None, precision=1):
    """Writes a table for each function that was measured."""
    stream = sys.stdout if stream is None else stream
    template = "{0:>6} {1:>12} {2:>12}  {3:>10}   {4:<}"
    number = f"{{:{precision + 4}.{precision}f}} MiB"
    for filename, lines in prof.code_map.items():
        header = template.format("Line #", "Mem usage", "Increment", "Occurrences", "Line Contents")
        stream.write("Filename: " + filename + "\n\n")
        stream.write(header + "\n")
        stream.write("=" * len(header) + "\n")
        text = linecache.getlines(filename)
        for lineno, measures in lines:
            increment = usage = occurrences = ""
            if measures:
                increment, usage, occurrences = number.format(measures[0]), number.format(measures[1]), measures[2]
            source = text[lineno - 1] if lineno <= len(text) else ""
            line = template.format(lineno, usage, increment, occurrences, source)
            stream.write(line if line.endswith("\n") else line + "\n")
        stream.write("\n\n")


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


def profile(func=None, stream=None, precision=1, backend="psutil"):
    """Decorator: prints a table of memory by line after each call. With HEAPLINE=0 in the environment it does nothing; under
    `python -m` and `mprof run` it is their `profile`, unless it has a stream of its own."""
    if func is None:
        return functools.partial(profile, stream=stream, precision=precision, backend=backend)
    backend = choose_backend(backend)
    if os.environ.get("HEAPLINE") == "0":
        return func
    if _here.session is not None and stream is None:
        return _here.session(func)
    if backend == "tracemalloc" and not tracemalloc.is_tracing():
        tracemalloc.start()

    def wrap(f):
        return _wrap(f, lambda: _Shown(f, backend, stream, precision), lambda profiler: profiler)

    return _decorate(func, wrap)


def _timestamp(name="<block>"):
    """As builtin `profile` under `mprof run`: with profile.timestamp("loading"): marks a block. Elsewhere it does nothing."""
    return _here.session.timestamp(name) if isinstance(_here.session, TimeStamper) else _Nothing()


profile.timestamp = _timestamp


class LogFile:
    """A file-like object that sends what is written to a logger; with reportIncrementFlag only headings and lines whose
    increment is above zero."""

    def __init__(self, name=None, reportIncrementFlag=False):
        self.logger = logging.getLogger(name)
        self.reportIncrementFlag = reportIncrementFlag

    def write(self, msg, level=logging.INFO):
        if not self.reportIncrementFlag or "Filename:" in msg or "Line Contents" in msg or self._grew(msg):
            self.logger.log(level, msg)

    @staticmethod
    def _grew(msg):
        parts = msg.split("MiB")
        try:
            return len(parts) > 2 and float(parts[1]) > 0
        except ValueError:  # a source line that says MiB
            return False

    def flush(self):
        for handler in self.logger.handlers:
            handler.flush()


# ------------------------------------------------------------------------------------------------------ python -m


def _find_script(name):
    if os.path.isfile(name):
        return name
    for folder in os.getenv("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if folder and os.path.isfile(path):
            return path
    sys.stderr.write(f"Could not find script {name}\n")
    raise SystemExit(1)


def _run_script(path, arguments):
    """As `python path arguments` does: in a module of its own that is the real `__main__`, so that what it defines can be
    pickled."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=builtins, __spec__=None, __package__=None, __cached__=None)
    sys.modules["__main__"] = main
    sys.argv = [path, *arguments]
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0:1] = [os.path.dirname(os.path.abspath(path))]
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    exec(code, main.__dict__)


def _run_module(name, arguments):
    import runpy

    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _main(argv):
    """The command line of `python -m memory_profiler`; also what `heapline mprof run` starts a Python program with."""
    import argparse
    import signal

    parser = argparse.ArgumentParser(prog="memory_profiler", usage="python -m memory_profiler script_file.py")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--pdb-mmem", dest="max_mem", metavar="MAXMEM", type=float, help="step into the debugger when memory exceeds MAXMEM")  # fmt: skip
    parser.add_argument("--precision", type=int, default=3, help="digits after the point")
    parser.add_argument("-o", dest="output", help="append the results to this file")
    parser.add_argument("--timestamp", action="store_true", help="only begin and end of decorated functions")
    parser.add_argument("--include-children", action="store_true", help="with the memory of all descendants")
    parser.add_argument("--backend", choices=["tracemalloc", "psutil", "psutil_pss", "psutil_uss", "posix"], default="psutil")  # fmt: skip
    parser.add_argument("program", nargs=argparse.REMAINDER, help="a script that ends in .py, or a module, and its arguments")  # fmt: skip
    options = parser.parse_args(argv)
    program = options.program[1:] if options.program[:1] == ["--"] else options.program
    as_module = program[:1] == ["-m"]
    program = program[as_module:]
    if not program:
        print("A program to run must be provided. Use -h for help")
        raise SystemExit(1)
    output = options.output and os.path.abspath(options.output)  # the program may go to another folder

    backend = choose_backend(options.backend)
    if options.timestamp:
        _here.session = TimeStamper(backend, include_children=options.include_children)
    else:
        _here.session = LineProfiler(
            max_mem=options.max_mem, backend=backend, include_children=options.include_children
        )
    session, pid = _here.session, os.getpid()
    builtins.profile = session
    sys.modules.setdefault("memory_profiler", sys.modules[__name__])
    if backend == "tracemalloc":
        tracemalloc.start()
    try:
        is_script = not as_module and (program[0].endswith(".py") or os.path.isfile(program[0]))
        (_run_script if is_script else _run_module)(_find_script(program[0]) if is_script else program[0], program[1:])
    except SystemExit:
        raise
    except BaseException:
        kind, error, trace = sys.exc_info()
        ours = (_main.__code__.co_filename, "<frozen runpy>", getattr(sys.modules.get("runpy"), "__file__", None))
        while trace is not None and trace.tb_frame.f_code.co_filename in ours:
            trace = trace.tb_next
        sys.excepthook(kind, error.with_traceback(trace), trace)
        if kind is KeyboardInterrupt:  # as Python itself does
            _show_session(session, options, output, pid)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        raise SystemExit(1) from None
    finally:
        _show_session(session, options, output, pid)


def _show_session(session, options, output, pid):
    """Writes the results, once, and not in a process that the program has forked."""
    if os.getpid() != pid or _here.session is None:
        return
    _here.session = None
    text = io.StringIO()
    if options.timestamp:
        session.show_results(stream=text)
    else:
        show_results(session, precision=options.precision, stream=text)
    if output is None:
        sys.stdout.write(text.getvalue())
    else:
        with open(output, "ab", 0) as file:  # one write: `mprof run` appends to the same file
            file.write(text.getvalue().encode("utf-8", "replace"))


if __name__ == "__main__":
    # One module, whatever name the program imports it by.
    sys.modules["memory_profiler"] = sys.modules["heapline.compat.memory_profiler"] = sys.modules["__main__"]
    __name__ = "memory_profiler"
    _main(sys.argv[1:])
