"""The library in this process: libheapline.so by ctypes (src/tracker/inside.h).

Where `heapline run` has preloaded it, that one is used. It is loaded when a recording is first asked for, and never unloaded.
"""

from __future__ import annotations

import ctypes
import os
import sys

from heapline._binary import binary, library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

NOT, BY_OTHERS, BY_ITSELF, OVER = range(4)  # heapline_recorded

LEVELS = ("nothing", "malloc", "stacks", "objects")  # hl_recording


class Tracker:
    """The functions of the library. `enter` and `leave` keep the GIL, the others give it up."""

    def __init__(self) -> None:
        program = ctypes.CDLL(None)
        self.preloaded = hasattr(program, "heapline_tracker_version")
        self.quiet = not self.preloaded  # nothing can be recorded now
        self.library = program if self.preloaded else ctypes.CDLL(library(binary()))
        with_gil = ctypes.PyDLL(None, handle=self.library._handle)
        functions = self.library
        functions.heapline_begin.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
        functions.heapline_reason.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        functions.heapline_reason.restype = None
        functions.heapline_name.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        functions.heapline_name.restype = None
        self._name = functions.heapline_name
        functions.heapline_mark.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        functions.heapline_mark.restype = None
        with_gil.heapline_numbers.argtypes = [ctypes.c_int]
        with_gil.heapline_numbers.restype = ctypes.c_void_p
        functions.heapline_sync.argtypes = functions.heapline_checkpoint.argtypes = [ctypes.c_uint32]
        with_gil.heapline_lines_add.argtypes = [ctypes.py_object, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
        with_gil.heapline_lines_remove.argtypes = [ctypes.py_object]
        with_gil.heapline_lines_reason.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        with_gil.heapline_lines_reason.restype = None
        self._add_lines = with_gil.heapline_lines_add
        self._remove_lines = with_gil.heapline_lines_remove
        self._lines_reason = with_gil.heapline_lines_reason
        self._mark = functions.heapline_mark
        self._sync = functions.heapline_sync
        self._checkpoint = functions.heapline_checkpoint
        self._numbers = with_gil.heapline_numbers
        self._begin = functions.heapline_begin
        self._reason = functions.heapline_reason
        self._end = functions.heapline_end
        self._state = with_gil.heapline_state
        self._enter = with_gil.heapline_enter
        self._leave = with_gil.heapline_leave

    def state(self) -> int:
        return int(self._state())

    def begin(self, options: str) -> tuple[int, str]:
        """Starts a collector. An errno code or 0, and the profile's path or what the collector said."""
        text = ctypes.create_string_buffer(8192)
        self.quiet = False
        error = self._begin(os.fsencode(binary()), os.fsencode(options), text, len(text))
        return -error, os.fsdecode(text.value)

    def name_threads(self) -> None:
        """Tells what the threads are called that run already."""
        threading = sys.modules.get("threading")
        names = {os.getpid(): "MainThread"}
        if threading is not None:
            for thread in threading.enumerate():
                names[getattr(thread, "native_id", None) or 0] = thread.name  # 3.7 has none
        names.pop(0, None)
        for tid, name in names.items():
            text = name.encode(errors="replace")
            self._name(tid, text, len(text))

    def enter(self) -> int:
        return int(self._enter())

    def leave(self) -> None:
        self._leave()

    def end(self) -> int:
        """An errno code, or 0."""
        self.quiet = not self.preloaded
        return -int(self._end())

    def reason(self) -> str:
        text = ctypes.create_string_buffer(512)
        self._reason(text, len(text))
        return text.value.decode(errors="replace")

    def forked(self) -> None:
        self.library.heapline_forked()

    def mark(self, kind: int, name: str) -> None:
        text = name.encode(errors="surrogateescape")
        self._mark(kind, text, len(text))

    def numbers(self) -> tuple[int, int]:
        """Two addresses: of the word that says that somebody looks, and of the three numbers; 0: nothing is recorded."""
        return self._numbers(0) or 0, self._numbers(1) or 0

    def part(self) -> int:
        """The address of what the collector says of the process's part; 0: nothing is recorded."""
        return self._numbers(2) or 0

    def add_lines(self, code: CodeType, name: str, flags: int) -> int:
        """An errno code, or 0."""
        text = name.encode(errors="replace")
        return -int(self._add_lines(code, text, len(text), flags))

    def remove_lines(self, code: CodeType) -> None:
        self._remove_lines(code)

    def lines_reason(self) -> str:
        text = ctypes.create_string_buffer(512)
        self._lines_reason(text, len(text))
        return text.value.decode(errors="replace")

    def sync(self, limit_ms: int) -> int:
        return -int(self._sync(limit_ms))

    def checkpoint(self, limit_ms: int) -> int:
        return -int(self._checkpoint(limit_ms))
