"""Nothing: what starting Python, and a profiler with it, costs."""

import os

if os.environ.get("BENCH_PROGRAM_CPU"):
    os.sched_setaffinity(0, {int(os.environ["BENCH_PROGRAM_CPU"])})
