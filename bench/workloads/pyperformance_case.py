"""Runs one benchmark of the installed pyperformance package a fixed number of times, in this process.

    pyperformance_case.py SCALE BENCHMARK [the benchmark's own arguments]

BENCHMARK is the name of its folder without "bm_". Its run_benchmark.py is executed as it is; only the module `pyperf`,
which would start worker processes and choose the number of loops itself, is replaced by the few calls that the
benchmarks make of it. So every tool sees the same work in one process.
"""

import argparse
import asyncio
import importlib.util
import os
import platform
import runpy
import sys
import time
import types

import workload


class Runner:
    """Stands for pyperf.Runner: calls what it is given `scale` times."""

    scale = 1
    only = None  # of a file with several benchmarks, the one to run
    done = 0

    def __init__(self, *unused, **options):
        self.metadata = {}
        self.argparser = argparse.ArgumentParser()

    def parse_args(self, args=None):
        self.args = self.argparser.parse_args(args)
        return self.args

    def wanted(self, name):
        if self.only not in (None, name):
            return False
        Runner.done += self.scale
        return True

    def bench_func(self, name, function, *args, inner_loops=None, **options):
        if self.wanted(name):
            function = workload.decorated(function)
            for _ in range(self.scale):
                function(*args)

    def bench_time_func(self, name, function, *args, inner_loops=None, **options):
        if self.wanted(name):
            workload.decorated(function)(self.scale, *args)

    def bench_async_func(self, name, function, *args, inner_loops=None, loop_factory=None, **options):
        async def repeat():
            for _ in range(self.scale):
                await function(*args)

        if self.wanted(name):
            asyncio.run(repeat())


def folder(benchmark):
    spec = importlib.util.find_spec("pyperformance")
    if spec is None:
        sys.exit("pyperformance is not installed in %s (run bench/setup.sh)" % sys.executable)
    return os.path.join(spec.submodule_search_locations[0], "data-files", "benchmarks", "bm_" + benchmark)


def main():
    workload.own_cpu()
    Runner.scale = int(sys.argv[1])
    benchmark, _, Runner.only = sys.argv[2].partition(":")
    Runner.only = Runner.only or None
    pyperf = types.ModuleType("pyperf")
    pyperf.Runner = Runner
    pyperf.perf_counter = time.perf_counter
    pyperf.python_implementation = lambda: platform.python_implementation().lower()
    pyperf.python_has_jit = lambda: False
    sys.modules["pyperf"] = pyperf
    sys.modules.pop("pickle", None)  # a profiler may have imported it; bm_pickle must import its own without C code
    script = os.path.join(folder(benchmark), "run_benchmark.py")
    sys.argv[:] = [script, *sys.argv[3:]]
    sys.path.insert(0, os.path.dirname(script))
    start = time.perf_counter()
    runpy.run_path(script, run_name="__main__")
    print("checksum %d" % Runner.done)
    print("seconds %.6f" % (time.perf_counter() - start), file=sys.stderr)


main()
