"""Writes code objects, and what this interpreter says of each of their instructions, for tests/tools/linetable.c.

    PYTHON code_objects.py sample|all|FILE.. >stream

Runs under every CPython that heapline supports, 2.7 too. `sample` is what follows here and a dozen modules of the standard
library, `all` the whole of it. The interpreter is asked through co_positions (3.11+), co_lines (3.10) or
dis.findlinestarts, and before 3.10 through PyCode_Addr2Line too, the function that tracebacks use.
"""

import ctypes
import dis
import os
import struct
import sys
import types
import warnings

VERSION = sys.version_info[0] << 8 | sys.version_info[1]
SAMPLE = (
    "abc",
    "argparse",
    "ast",
    "asyncio/base_events",
    "collections/__init__",
    "ctypes/__init__",
    "dis",
    "difflib",
    "email/message",
    "inspect",
    "json/decoder",
    "json/encoder",
    "pickle",
    "random",
    "re",
    "tempfile",
    "threading",
    "types",
    "typing",
    "unittest/case",
)

# What the standard library has little of: long jumps of lines, wide lines, expressions over many lines, empty functions.
STRANGE = [
    "x = 1" + "\n" * 400 + "y = 2\n" + "\n" * 70000 + "z = [x,\n" + "\n" * 300 + "y]\n",
    "a = b = 1\nc = (" + " + ".join(["a"] * 400) + ",\n" + " " * 600 + "b)\n",
    "def f(): pass\ndef g():\n    return lambda: (yield)\n",
    "f = 1\ntry:\n  pass\nfinally:\n  del f\n",
    "t = (\n  [i\n  for i in range(9)\n  if i\n  ],\n  {1:\n  2},\n)\n",
    "class A(object):\n    'doc'\n    def m(self, *a):\n        with self as (x,\n          y): return x\n",
    "u = '\xc3\xa4\xc3\xb6' + str(\n1)\n",
    "\n\n\n",
]


def modules(everything):
    top = os.path.dirname(os.__file__)
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(f for f in folders if f not in ("site-packages", "dist-packages", "__pycache__"))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(".py") and (everything or os.path.relpath(path, top)[:-3].replace(os.sep, "/") in SAMPLE):
                yield path


def sources(arguments):
    if arguments in (["sample"], ["all"]):
        for number, text in enumerate(STRANGE):
            yield text, "<strange %d>" % number
        arguments = modules(arguments == ["all"])
    for path in arguments:
        with open(path, "rb") as file:
            yield file.read(), path


def code_objects(code):
    todo = [code]
    while todo:
        code = todo.pop()
        yield code
        todo.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))


def number(value, unknown):
    return unknown if value is None else value


def positions(code):
    """(byte offset, line, end line, column, end column) of each instruction."""
    if VERSION >= 0x030B:
        for index, (line, end_line, column, end_column) in enumerate(code.co_positions()):
            yield index * 2, number(line, 0), number(end_line, -1), number(column, -1), number(end_column, -1)
    elif VERSION == 0x030A:
        for start, end, line in code.co_lines():
            for offset in range(start, end, 2):
                yield offset, number(line, 0), -1, -1, -1
    else:
        starts = dict(dis.findlinestarts(code))
        line = code.co_firstlineno
        for offset in range(len(code.co_code)):  # 2.7 has instructions of one and of three bytes
            line = starts.get(offset, line)
            if VERSION < 0x0306 or offset % 2 == 0:
                assert line == address_to_line(code, offset), (code, offset)
                yield offset, line, -1, -1, -1


address_to_line = ctypes.pythonapi.PyCode_Addr2Line
address_to_line.argtypes = [ctypes.py_object, ctypes.c_int]
address_to_line.restype = ctypes.c_int


def record(code):
    table = code.co_linetable if VERSION >= 0x030A else code.co_lnotab
    rows = list(positions(code))
    return b"".join(
        [
            struct.pack("<4sIiI", b"HLCO", VERSION, code.co_firstlineno, len(table)),
            bytes(table),
            struct.pack("<I", len(rows)),
        ]
        + [struct.pack("<Iiiii", *row) for row in rows]
    )


def main():
    warnings.simplefilter("ignore")
    out = getattr(sys.stdout, "buffer", sys.stdout)
    skipped = 0
    for text, name in sources(sys.argv[1:]):
        try:
            whole = compile(text, name, "exec", 0, 1)
        except (SyntaxError, ValueError, TypeError):  # the library has files that are wrong on purpose
            skipped += 1
            continue
        for code in code_objects(whole):
            out.write(record(code))
    sys.stderr.write("%d files do not compile\n" % skipped)


main()
