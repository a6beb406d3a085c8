"""heapline tells which line of a Python program took, holds and gave back every byte of memory.

This package carries the command and the library that it preloads:

    heapline run app.py          (or: python -m heapline run app.py)
    heapline stats app.4711.heapline

Nothing of it needs to be importable in the program that is recorded.
"""

from heapline._binary import __version__, binary

__all__ = ["__version__", "binary"]
