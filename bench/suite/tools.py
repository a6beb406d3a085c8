"""heapline and its peers: whether each is there, how it starts a program, the file it makes, its first report."""

import dataclasses
import glob
import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Optional

from suite import machine


@dataclasses.dataclass(frozen=True)
class Context:
    """Where things are."""

    python: str
    heapline: str
    packages: dict  # {package: version} installed for `python`


@dataclasses.dataclass(frozen=True)
class Tool:
    name: str  # family and mode: "memray --aggregate"
    start: Callable  # (context, output file, program's argv, is native) -> argv
    version: Callable  # context -> version, or None when absent
    runs_native: bool = False
    level: str = "malloc"  # malloc, objects, samples, lines: what it records, for the tables
    file: str = ""  # name of the file it makes; a glob when the tool chooses
    report: Optional[Callable] = None  # (context, file) -> argv of the first report that answers "what took memory?"
    once: bool = False  # far slower than the others: one round is enough

    @property
    def family(self):
        return self.name.split()[0]

    def command(self, context, folder, workload, factor):
        argv = [workload.program(), *workload.arguments(factor)]
        return self.start(context, os.path.join(folder, self.file or "out"), argv, workload.is_native)

    def made(self, folder):
        """Bytes of the file that the run has left, or None."""
        found = glob.glob(os.path.join(folder, self.file), recursive=True) if self.file else []
        return sum(os.path.getsize(path) for path in found if os.path.isfile(path)) if found else None


def package(name):
    return lambda context: context.packages.get(name)


def plain(context, output, argv, native):
    return argv if native else [context.python, *argv]


def heapline(*options):
    def start(context, output, argv, native):
        program = ["--", *argv] if native else ["--python", context.python, *argv]
        return [context.heapline, "run", *options, "-o", output, "-f", *program]

    return start


def heapline_version(context):
    if not os.access(context.heapline, os.X_OK):
        return None
    out = subprocess.run([context.heapline, "--version"], capture_output=True, text=True).stdout.split()
    return out[-1] if out else "unknown"


def memray(*options):
    return lambda context, output, argv, native: [
        context.python,
        "-m",
        "memray",
        "run",
        "-q",
        "-f",
        *options,
        "-o",
        output,
        *argv,
    ]


def scalene(context, output, argv, native):
    return [context.python, "-m", "scalene", "run", "-o", output, argv[0], "---", *argv[1:]]


def memory_profiler(context, output, argv, native):
    return [context.python, "-m", "memory_profiler", *argv]


def fil(context, output, argv, native):
    beside = Path(context.python).with_name("fil-profile")
    return [str(beside), "-o", os.path.dirname(output), "--no-browser", "run", *argv]


def tracemalloc(frames):
    return lambda context, output, argv, native: [context.python, "-X", "tracemalloc=%d" % frames, *argv]


def heaptrack(*options):
    def start(context, output, argv, native):
        program = argv if native else [context.python, *argv]
        return [shutil.which("heaptrack"), *options, "-o", output, *program]

    return start


def heaptrack_version(context):
    path = shutil.which("heaptrack")
    if not path:
        return None
    return subprocess.run([path, "--version"], capture_output=True, text=True).stdout.split()[-1]


def memray_report(name):
    return lambda context, file: [context.python, "-m", "memray", name, file]


TOOLS = [
    Tool("plain", plain, lambda context: machine.python_version(context.python), runs_native=True, level=""),
    Tool(
        "heapline --malloc-only",
        heapline("--malloc-only"),
        heapline_version,
        runs_native=True,
        file="out.heapline",
        report=lambda context, file: [context.heapline, "stats", file],
    ),
    Tool(
        "heapline",
        heapline(),
        heapline_version,
        level="objects",
        file="out.heapline",
        report=lambda context, file: [context.heapline, "stats", file],
    ),
    Tool(
        "heapline --native --malloc-only",
        heapline("--native", "--malloc-only"),
        heapline_version,
        file="out.heapline",
        report=lambda context, file: [context.heapline, "stats", file],
    ),
    Tool(
        "heapline --native",
        heapline("--native"),
        heapline_version,
        level="objects",
        file="out.heapline",
        report=lambda context, file: [context.heapline, "stats", file],
    ),
    Tool("memray", memray(), package("memray"), file="out.bin", report=memray_report("stats")),
    Tool(
        "memray --trace-python-allocators",
        memray("--trace-python-allocators"),
        package("memray"),
        level="objects",
        file="out.bin",
        report=memray_report("stats"),
    ),
    Tool("memray --native", memray("--native"), package("memray"), file="out.bin", report=memray_report("stats")),
    Tool(
        "memray --aggregate", memray("--aggregate"), package("memray"), file="out.bin", report=memray_report("summary")
    ),
    Tool(
        "tracemalloc 1 frame", tracemalloc(1), lambda context: machine.python_version(context.python), level="objects"
    ),
    Tool(
        "tracemalloc 25 frames",
        tracemalloc(25),
        lambda context: machine.python_version(context.python),
        level="objects",
    ),
    Tool("scalene", scalene, package("scalene"), level="samples", file="out.json"),
    Tool("fil", fil, package("filprofiler"), level="objects", file="**/*.prof"),
    Tool(
        "heaptrack",
        heaptrack(),
        heaptrack_version,
        runs_native=True,
        file="out*",
        report=lambda context, file: ["heaptrack_print", file],
    ),
    Tool("memory_profiler", memory_profiler, package("memory_profiler"), level="lines", once=True),
]

PACKAGES = ("memray", "memory_profiler", "scalene", "filprofiler", "pyperformance", "numpy", "pandas")


def chosen(names):
    """Tools whose full name or family is among `names`; all for an empty list. `plain` is always in."""
    known = {tool.name for tool in TOOLS} | {tool.family for tool in TOOLS}
    for name in names:
        if name not in known:
            raise SystemExit("run.py: no such tool: %s (known: %s)" % (name, ", ".join(sorted(known))))
    return [tool for tool in TOOLS if not names or tool.name == "plain" or tool.name in names or tool.family in names]


def context(python, heapline_path):
    return Context(python, heapline_path, machine.package_versions(python, PACKAGES))


def runnable(workload, tool, context):
    if workload.needs and workload.needs not in context.packages:
        return False
    return tool.runs_native or not workload.is_native
