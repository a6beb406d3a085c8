"""CodeMap and LineProfiler: memory after each line of functions, by sys.settrace."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import dis
import functools
import inspect
import sys
import threading
import warnings

from . import heap
from .backends import _get_memory, check_backend, choose_backend
from .wrapping import Nothing, decorate, wrap


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

    def forget(self):
        """All measures: as if nothing had run."""
        for lines in self.values():
            lines.clear()

    def items(self):
        """(file, iterator over (line, its measures or None)) for each function that was measured."""
        for filename, code, linenos in self._toplevel:
            measures = self[code]
            if measures:
                yield filename, ((line, measures.get(line)) for line in linenos)


class _FrameTrace:
    """The local trace function of one frame. It stays with a generator's frame while that is suspended."""

    __slots__ = ("began", "carried", "code", "failing", "gone", "lineno", "lines", "next", "profiler")

    def __init__(self, profiler):
        self.profiler = profiler

    def begin(self, code, lines):
        self.code, self.lines = code, lines
        self.lineno = None  # of the line that is being executed
        self.began = 0.0  # memory at its begin, or when the frame was resumed in it
        self.carried = 0.0  # what earlier stretches of it, before a suspension, have added
        self.gone = 0.0  # of the change since, what frames below with the same table have booked
        self.failing = False  # an exception has been raised since the line began
        self.next = None  # the local trace function of whoever was there before us

    def __call__(self, frame, event, arg):
        if event not in ("line", "return") or not self.profiler.exact:
            return self.step(frame, event, arg)
        now = heap.enter(frame, event)
        try:
            return self.step(frame, event, arg, now)
        finally:
            heap.leave()

    def step(self, frame, event, arg, now=None):
        if event == "line":
            self.failing = False
            self.profiler._line(self, frame.f_lineno, now)
        elif event == "exception":
            self.failing = True
        elif event == "return":
            self.profiler._leave(self, frame, now)
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

    def __new__(cls, *args, **kw):
        """What a subclass need not know of: some do not call __init__ of this class."""
        self = super().__new__(cls)
        self.include_children, self.max_mem = False, None
        self._thread = _Thread()
        self._ended = []  # states of frames that have: to free them would be counted to a line of a caller
        return self

    def __init__(self, **kw):
        self.backend = choose_backend(kw.get("backend"))
        self.include_children = kw.get("include_children", False)
        self.max_mem = kw.get("max_mem")
        self.code_map = CodeMap(include_children=self.include_children, backend=self.backend)
        check_backend(self.backend, include_children=self.include_children)

    @property
    def enable_count(self):
        """How often it is enabled in this thread."""
        return self._thread.count

    @enable_count.setter
    def enable_count(self, count):
        self._thread.count = count

    @property
    def exact(self):
        """Whether each execution of a line is measured to the byte."""
        return self.backend == "heap"

    def __call__(self, func=None, precision=1):
        if func is None:
            return functools.partial(self, precision=precision)

        def add_and_wrap(f):
            self.add_function(f)
            return self.wrap_function(f)

        return decorate(func, add_and_wrap)

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
        return wrap(func, Nothing, lambda _: self)

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
        if self.exact:
            heap.begin()
        self._thread.before = sys.gettrace()
        sys.settrace(self.trace_memory_usage if self.max_mem is None else self.trace_max_mem)

    def disable(self):
        before, self._thread.before = self._thread.before, None
        sys.settrace(before)

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
        if not self.exact:
            return self._begin(frame, event, arg, code, lines, before)
        heap.make_room(frame)
        now = heap.enter(frame, event)
        try:
            return self._begin(frame, event, arg, code, lines, before, now)
        finally:
            heap.leave()

    def _begin(self, frame, event, arg, code, lines, before, now=None):
        state = self._state_of(frame)
        if event == "call":
            if state is None:
                state = self._ended.pop() if self._ended else _FrameTrace(self)
                state.begin(code, lines)
            state.began, state.gone = self._memory(code) if now is None else now, 0.0
            self._thread.running.append(state)
            if state.lineno is None and any(code is top[1] for top in self.code_map._toplevel):
                # Its first line stands for what was there at the first call.
                first = lines.get(code.co_firstlineno) is None
                self.code_map._record(lines, code.co_firstlineno, state.began if first else 0.0, state.began)
        if before is not None:
            state.next = before(frame, event, arg)
        return state

    def _close_line(self, state, now):
        """The memory now, and what the line has added since it began or was resumed."""
        if now is None:
            now = self._memory(state.code)
        added = now - state.began - state.gone
        for other in self._thread.running:
            if other is not state and other.lines is state.lines:
                other.gone += added
        return now, added

    def _line(self, state, lineno, now=None):
        if state.lineno is None:
            state.lineno = lineno
            state.began, state.gone = self._memory(state.code) if now is None else now, 0.0
            return
        now, added = self._close_line(state, now)
        self.code_map._record(state.lines, state.lineno, state.carried + added, now)
        state.lineno, state.began, state.carried, state.gone = lineno, now, 0.0, 0.0

    def _leave(self, state, frame, now=None):
        """A frame returns, is left by an exception, or is suspended."""
        running = self._thread.running
        if running and running[-1] is state:
            running.pop()
        elif state in running:
            running.remove(state)
        if state.lineno is not None:
            now, added = self._close_line(state, now)
            if not state.failing and _is_suspended(frame):
                state.carried += added
                return
            self.code_map._record(state.lines, state.lineno, state.carried + added, now)
            state.lineno, state.carried = None, 0.0
        if self.exact:
            self._ended.append(state)

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
