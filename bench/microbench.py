#!/usr/bin/env python3
"""What one event costs: nanoseconds in the program and in the collector, and instructions in the program.

    python3 bench/microbench.py [--rounds 5] [--instructions]
    python3 bench/microbench.py --stacks

An event is an allocation or a free, so a malloc and its free are two, and so are an object and its end. Nanoseconds in the
program are the program's own measurement of its loop, plain and recorded in turn, best of the rounds; the collector's are
its CPU time divided by the events it took. Instructions come from callgrind (valgrind), plain and recorded, and do not
depend on how busy the machine is; they need `valgrind`, and a minute a row.

With --stacks: what the native stack of an allocation costs, by depth and by how many frames are new, beside libgcc's
backtrace() and libunwind's unw_backtrace() (when libunwind8 is installed). "added" is the whole event and its free.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from run import RESULTS, default_python
from suite import machine, measure, rounds, tables, tools, workloads
from suite.workloads import BENCH, Workload, native


def at_depth(depth, count):
    return Workload("object, %d deep" % depth, "micro", "objects_at_depth.py", count, after=(str(depth),))


CASES = [
    (native("malloc + free, 1 thread", 30_000_000, "tight", 1), "--malloc-only"),
    (native("malloc + free, 2 threads", 30_000_000, "tight", 2), "--malloc-only"),
    (native("malloc + free, 4 threads", 30_000_000, "tight", 4), "--malloc-only"),
    (native("random sizes, 100,000 live, 1 thread", 10_000_000, "churn", 1), "--malloc-only"),
    (at_depth(1, 15_000_000), ""),
    (at_depth(10, 15_000_000), ""),
    (at_depth(50, 15_000_000), ""),
    (at_depth(200, 15_000_000), ""),
]
# Where instructions are counted: real programs, and the two extremes.
COUNTED = [("json_churn", 0.02), ("functions", 0.02), ("deep", 0.005), ("spectral_norm", 0.06), ("server", 0.02)]


def profile_facts(context, file):
    """`stats --json` of a profile, or {} with a word why not."""
    out = subprocess.run([context.heapline, "stats", "--json", file], capture_output=True, text=True)
    if out.returncode != 0:
        print("stats --json failed: %s" % out.stderr.strip())
        return {}
    return json.loads(out.stdout)


def one_case(context, workload, option, count, environment):
    """(plain ns, recorded ns, facts of the last profile), best of `count` rounds, taken in turn."""
    recorder = next(tool for tool in tools.TOOLS if tool.name == ("heapline " + option).strip())
    plain = tools.TOOLS[0]
    best, facts = {}, {}
    for _ in range(count):
        for tool in (plain, recorder):
            with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
                sample = measure.run(tool.command(context, folder, workload, 1.0), environment)
                if not sample.ok:
                    raise SystemExit(
                        "%s under %s: %s: %s" % (workload.name, tool.name, sample.status, sample.errors[-500:])
                    )
                value = sample.number("ns_each")
                best[tool.name] = min(value, best.get(tool.name, value))
                if tool is recorder:
                    facts = profile_facts(context, os.path.join(folder, tool.file))
    return best["plain"], best[recorder.name], facts


def nanoseconds(context, count, environment):
    rows = [["", "plain, ns", "recorded, ns", "added an event", "collector an event", "events"]]
    for workload, option in CASES:
        plain, recorded, facts = one_case(context, workload, option, count, environment)
        events, cpu_s = facts.get("events"), facts.get("collector_cpu_s")
        rows.append(
            [
                workload.name,
                "%.1f" % plain,
                "%.1f" % recorded,
                "%.1f" % ((recorded - plain) / 2),
                "%.1f" % (cpu_s / events * 1e9) if events and cpu_s else "–",
                "%.1f M" % (events / 1e6) if events else "–",
            ]
        )
        print("  ".join(rows[-1]), flush=True)
    return rows


def instructions_of(argv, environment, folder, executable):
    """Instructions that callgrind counts in the program itself."""
    target = os.path.join(folder, "callgrind.%p")
    valgrind = [shutil.which("valgrind"), "--tool=callgrind", "--callgrind-out-file=" + target, "--quiet"]
    at = argv.index(executable)
    sample = measure.run(argv[:at] + valgrind + argv[at:], environment, limit_s=600)
    if not sample.ok:
        return None
    totals = []
    for path in Path(folder).glob("callgrind.*"):
        found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(errors="replace"), re.M)
        totals += [int(found.group(1))] if found else []
    return max(totals, default=None)


def recorded_command(context, folder, option, argv):
    """heapline with an executable behind `--`, so that valgrind can stand between."""
    options = [option] if option else []
    return [context.heapline, "run", *options, "-o", os.path.join(folder, "out.heapline"), "-f", "--", *argv]


def instructions(context, environment):
    """Counted at two lengths of each program, and the difference taken: what starting costs is in neither number."""
    rows = [["instructions added an event", "malloc level", "with objects", "events with objects"]]
    known = {workload.name: workload for workload in workloads.WORKLOADS}
    for name, factor in COUNTED:
        workload = known[name]
        cells, plain = [], None
        for option in (None, "--malloc-only", ""):
            counted, events = [], []
            for length in (factor, 3 * factor):
                argv = [context.python, workload.program(), *workload.arguments(length)]
                with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
                    command = argv if option is None else recorded_command(context, folder, option, argv)
                    counted.append(instructions_of(command, environment, folder, context.python))
                    if option is not None and counted[-1]:
                        events.append(profile_facts(context, os.path.join(folder, "out.heapline")).get("events"))
            if None in counted or None in events:
                cells.append("–")
            elif option is None:
                plain = counted[1] - counted[0]
            elif events[1] - events[0] < 10_000:
                cells.append("few events")
            else:
                cells.append("%.1f" % ((counted[1] - counted[0] - plain) / (events[1] - events[0])))
        rows.append([name, *cells, "%.2f M" % ((events[1] - events[0]) / 1e6) if None not in events else "–"])
        print("  ".join(rows[-1]), flush=True)
    return rows


def stacks(context, count, environment):
    """Rows of bench/native/stacks.c, plain and recorded in turn, the best of each; and the price of a frame."""
    program, best = str(workloads.WORK / "stacks"), {}
    for _ in range(count):
        for recorded in (False, True):
            with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
                argv = [program, "1000000"]
                argv = recorded_command(context, folder, "--malloc-only", argv) if recorded else argv
                done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
            for line in done.stdout.splitlines():
                row = json.loads(line) if line.startswith("{") else {}
                key = (row.pop("frames"), row.pop("new")) if row else None
                figures = {"recorded_ns": row["allocate_ns"]} if row and recorded else row
                kept = best.setdefault(key, {}) if row else {}
                for name, value in figures.items():
                    kept[name] = min(value, kept.get(name, value))
    rows = [["frames, new ones", "added, ns", "backtrace, ns", "unw_backtrace, ns"]]
    added = {key: row["recorded_ns"] - row["allocate_ns"] for key, row in best.items()}
    for key, row in best.items():
        cells = ["%.1f" % row[name] if name in row else "–" for name in ("backtrace_ns", "libunwind_ns")]
        rows.append(["%d, %d" % key, "%.1f" % added[key], *cells])
    rows.append(["a frame that is as it was", "%.2f" % ((added[60, 0] - added[10, 0]) / 50), "–", "–"])
    rows.append(["the same, behind 2 new ones", "%.2f" % ((added[60, 2] - added[10, 2]) / 50), "–", "–"])
    rows.append(["a new frame", "%.1f" % ((added[30, 5] - added[30, 2]) / 3), "–", "–"])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--python", default=default_python())
    parser.add_argument("--heapline", default=str(BENCH.parent / "build" / "release" / "heapline"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instructions", action="store_true", help="count instructions too (valgrind)")
    parser.add_argument("--stacks", action="store_true", help="only what native stacks cost")
    parser.add_argument("--name", help="of the file in bench/results; default: nothing is written")
    options = parser.parse_args()
    workloads.build_native()
    context = tools.context(os.path.abspath(options.python), os.path.abspath(options.heapline))
    measure.become_subreaper()
    environment = rounds.clean_environment()
    cases = stacks if options.stacks else nanoseconds
    parts = [cases(context, options.rounds, environment)]
    if options.instructions:
        parts.append(instructions(context, environment))
    text = "\n\n".join(tables.as_markdown(rows) for rows in parts)
    if options.name:
        RESULTS.mkdir(exist_ok=True)
        head = [machine.sentence(machine.describe()), "Python " + machine.python_version(context.python)]
        head.append("heapline " + str(tools.heapline_version(context)))
        (RESULTS / (options.name + ".md")).write_text(
            "# What one event costs\n\n- %s\n\n%s\n" % ("\n- ".join(head), text)
        )
    print("\n" + "\n\n".join(tables.as_text(rows) for rows in parts))


if __name__ == "__main__":
    main()
