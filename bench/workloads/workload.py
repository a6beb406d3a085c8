"""What the workloads share: the command line (a scale), the CPU to run on, the decorator that memory_profiler wants, and
the checksum line that the harness compares between tools, so that a profiler that changes a result is noticed."""

import builtins
import os
import sys
import time


def own_cpu():
    """Moves this thread to the CPU in BENCH_PROGRAM_CPU, away from what the profiler has started on another."""
    cpu = os.environ.get("BENCH_PROGRAM_CPU")
    if cpu:
        os.sched_setaffinity(0, {int(cpu)})


def decorated(function):
    """`function` under memory_profiler's decorator when the program runs under memory_profiler, else itself."""
    return getattr(builtins, "profile", lambda undecorated: undecorated)(function)


def run(work, scale):
    """Runs work(scale), the scale from the command line or the default that takes one to three seconds."""
    own_cpu()
    if len(sys.argv) > 1:
        scale = int(sys.argv[1])
    start = time.perf_counter()
    checksum = decorated(work)(scale)
    print("checksum %s" % checksum)
    print("seconds %.6f" % (time.perf_counter() - start), file=sys.stderr)
