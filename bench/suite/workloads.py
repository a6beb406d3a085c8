"""What is run: the list of workloads, by suite, each with the scale at which it takes one to three seconds."""

import dataclasses
import subprocess
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
WORK = BENCH / "work"
SCRIPTS = BENCH / "workloads"


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    suite: str
    script: str  # a file in workloads/, or "pairs", the C program
    scale: int
    before: tuple = ()  # arguments in front of the scale
    after: tuple = ()  # and behind it
    threads: int = 1  # that allocate
    needs: str = ""  # a package that must be installed

    @property
    def is_native(self):
        return self.script == "pairs"

    def arguments(self, factor):
        return [*self.before, str(max(1, round(self.scale * factor))), *self.after]

    def program(self):
        return str(WORK / self.script) if self.is_native else str(SCRIPTS / self.script)


def own(name, scale, threads=1, needs=""):
    return Workload(name, "own", name + ".py", scale, threads=threads, needs=needs)


def pyperformance(name, scale, benchmark, *arguments):
    return Workload(
        name, "pyperformance", "pyperformance_case.py", scale, after=(benchmark, *arguments), needs="pyperformance"
    )


def native(name, scale, kind, threads):
    return Workload(name, "native", "pairs", scale, before=(kind, str(threads)), threads=threads)


EMPTY = Workload("empty", "startup", "empty.py", 1)

WORKLOADS = [
    own("calls", 1_000),
    own("blocks", 1_500_000),
    own("functions", 1_500_000),
    own("json_churn", 40_000),
    own("arrays", 16_000, needs="numpy"),
    own("frames", 160, needs="pandas"),
    own("deep", 60_000),
    own("visitor", 500),
    own("server", 120_000),
    own("threads", 1_600_000, threads=4),
    own("imports", 1, needs="pandas"),
    pyperformance("async_tree_none", 3, "async_tree", "none"),
    pyperformance("async_tree_io", 2, "async_tree", "io"),
    pyperformance("async_tree_memoization", 3, "async_tree", "memoization"),
    pyperformance("async_tree_mixed", 2, "async_tree", "cpu_io_mixed"),
    pyperformance("deltablue", 500, "deltablue"),
    pyperformance("raytrace", 6, "raytrace"),
    pyperformance("spectral_norm", 18, "spectral_norm"),
    pyperformance("pickle_pure_python", 320, "pickle", "--pure-python", "pickle"),
    pyperformance("unpickle_pure_python", 450, "pickle", "--pure-python", "unpickle"),
    pyperformance("json_dumps", 160, "json_dumps"),
    pyperformance("mdp", 1, "mdp"),
    pyperformance("telco", 240, "telco"),
    pyperformance("regex_effbot", 70, "regex_effbot"),
    pyperformance("fannkuch", 5, "fannkuch"),
    pyperformance("go", 14, "go"),
    pyperformance("hexiom", 320, "hexiom"),
    pyperformance("nqueens", 18, "nqueens"),
    pyperformance("nbody", 22, "nbody"),
    native("pair_1_thread", 60_000_000, "tight", 1),
    native("pair_2_threads", 60_000_000, "tight", 2),
    native("pair_4_threads", 60_000_000, "tight", 4),
    native("churn_1_thread", 10_000_000, "churn", 1),
    native("churn_2_threads", 10_000_000, "churn", 2),
]

# About 66 M events with Python objects, as the run in the table of comparison.
BIG = pyperformance("pprint_format", 3, "pprint:pprint_pformat")

SUITES = ("own", "pyperformance", "native", "startup")
QUICK = (
    "calls",
    "json_churn",
    "deep",
    "threads",
    "deltablue",
    "spectral_norm",
    "telco",
    "pair_1_thread",
    "pair_2_threads",
)


def build_native():
    """Compiles the C programs into bench/work. Raises when there is no compiler."""
    WORK.mkdir(exist_ok=True)
    for name in ("pairs", "stacks"):
        source, target = BENCH / "native" / (name + ".c"), WORK / name
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            options = ["-std=gnu11", "-O2", "-fno-builtin", "-o", str(target), str(source), "-lpthread", "-ldl"]
            subprocess.run(["cc", *options], check=True)
