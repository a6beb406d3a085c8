"""The command line of `python -m memory_profiler`; `heapline mprof run` starts Python programs with it too."""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import builtins
import io
import os
import sys
import types

from . import __version__
from .backends import NAMES as BACKENDS
from .backends import check_backend, choose_backend
from .decorator import here
from .lines import LineProfiler
from .output import show_results
from .stamps import TimeStamper


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
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=builtins, __spec__=None, __package__=None, __cached__=None)
    sys.modules["__main__"] = module
    sys.argv = [path, *arguments]
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0:1] = [os.path.dirname(os.path.abspath(path))]
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    exec(code, module.__dict__)


def _run_module(name, arguments):
    import runpy

    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def main(argv):
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
    parser.add_argument("--backend", choices=BACKENDS)  # fmt: skip
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
    try:
        check_backend(backend, include_children=options.include_children)
    except ValueError as error:
        parser.error(str(error))
    if options.timestamp:
        here.session = TimeStamper(backend, include_children=options.include_children)
    else:
        here.session = LineProfiler(max_mem=options.max_mem, backend=backend, include_children=options.include_children)
    session, pid = here.session, os.getpid()
    builtins.profile = session
    # One module, whatever name the program imports it by.
    for name in ("memory_profiler", "heapline.compat.memory_profiler"):
        sys.modules[name] = sys.modules[__package__]
    if backend == "tracemalloc":
        import tracemalloc

        tracemalloc.start()
    try:
        is_script = not as_module and (program[0].endswith(".py") or os.path.isfile(program[0]))
        (_run_script if is_script else _run_module)(_find_script(program[0]) if is_script else program[0], program[1:])
    except SystemExit:
        raise
    except BaseException:
        kind, error, trace = sys.exc_info()
        ours = (main.__code__.co_filename, "<frozen runpy>", getattr(sys.modules.get("runpy"), "__file__", None))
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
    if os.getpid() != pid or here.session is None:
        return
    here.session = None
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
