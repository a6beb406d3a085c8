#!/usr/bin/env python3
"""The benchmark: plain Python, heapline in its modes, and each peer that is installed, in one go and interleaved.

    bench/setup.sh                            once: environments with the peers, in bench/work/
    python3 bench/run.py --quick              a few workloads, one round, a minute or two
    python3 bench/run.py --suite pyperformance --tools heapline,memray --rounds 5
    python3 bench/run.py --name 2026-main     everything; bench/results/2026-main.json and .md

Ratios are to the plain program, with start-up (an empty program under the same tool, 20 runs) taken off both sides. "CPU"
is the time of all processes together: program, collector, front end. docs/benchmarks.md says more.
"""

import argparse
import datetime
import json
import os
import sys
from pathlib import Path

from suite import machine, rounds, tables, tools, workloads

BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results"


def words(text):
    return [word.strip() for word in text.split(",") if word.strip()]


def default_python():
    ready = sorted((BENCH / "work").glob("venv-*/bin/python"))
    return str(ready[0]) if ready else sys.executable


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few workloads at a third of their length, one round")
    parser.add_argument(
        "--suite", type=words, default=list(workloads.SUITES), help="own, pyperformance, native, startup"
    )
    parser.add_argument("--tools", type=words, default=[], help="names or families, as in heapline,memray; default all")
    parser.add_argument("--without", type=words, default=[], help="full names to leave out, as in 'memray --aggregate'")
    parser.add_argument("--only", type=words, default=[], help="these workloads")
    parser.add_argument("--python", default=default_python(), help="the interpreter that runs the workloads")
    parser.add_argument("--heapline", default=str(BENCH.parent / "build" / "release" / "heapline"))
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run; best and median are kept")
    parser.add_argument("--placement", type=words, default=["free"], help="free, split (two CPUs), one (CPU)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on every workload's length")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which a run is given up")
    parser.add_argument("--patience", type=int, default=1, help="how often a run is repeated that others disturbed")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave out the runs for memory")
    parser.add_argument("--name", help="of the files in bench/results; default: nothing is written")
    options = parser.parse_args()
    for suite in options.suite:
        if suite not in workloads.SUITES:
            parser.error("no such suite: %s (known: %s)" % (suite, ", ".join(workloads.SUITES)))
    for placement in options.placement:
        if placement not in rounds.PLACEMENTS:
            parser.error("no such placement: %s (known: %s)" % (placement, ", ".join(rounds.PLACEMENTS)))
    if options.quick:
        options.scale *= 0.3
        options.rounds = 1
        options.only = options.only or list(workloads.QUICK)
    return options


def selected(options):
    names = {workload.name for workload in workloads.WORKLOADS}
    for name in options.only:
        if name not in names:
            raise SystemExit("run.py: no such workload: %s (known: %s)" % (name, ", ".join(sorted(names))))
    return [
        workload
        for workload in workloads.WORKLOADS
        if workload.suite in options.suite and (not options.only or workload.name in options.only)
    ]


def report(results, chosen, options, render, head):
    """All tables of one go, rendered by `render`, each under a line that `head` makes of its title."""
    figures = tables.Figures(results, chosen)
    parts = []

    def add(title, rows):
        if rows:
            parts.append(head(title) + "\n\n" + render(rows))

    meaning = {
        "free": "as the scheduler likes",
        "split": "program and helpers on different CPUs",
        "one": "everything on one CPU",
    }
    for suite in ("pyperformance", "own"):
        for placement in options.placement:
            for pick in ("best", "median") if options.rounds > 1 else ("best",):
                add(
                    "%s: wall / CPU as ratios to the plain program, %s, %s of %d"
                    % (suite, meaning[placement], pick, options.rounds),
                    tables.ratio_table(figures, suite, placement, pick),
                )
    for placement in options.placement:
        add("malloc and free in C, %s" % meaning[placement], tables.native_table(figures, placement))
    add("start-up: an empty program", tables.startup_table(figures, options.placement))
    add("memory: what each adds, in the program and in all processes", tables.memory_table(figures))
    add("file, and time to the first report from it", tables.file_table(figures))
    disturbed = sum(
        one["foreign"] >= rounds.BUSY
        for by_tool in results["runs"].values()
        for by_placement in by_tool.values()
        for those in by_placement.values()
        for one in those
    )
    every = sum(
        len(those)
        for by_tool in results["runs"].values()
        for by_placement in by_tool.values()
        for those in by_placement.values()
    )
    if disturbed:
        parts.append(
            "%d of %d samples were taken while others used more than %d %% of a CPU."
            % (disturbed, every, rounds.BUSY * 100)
        )
    parts += ["WRONG: " + line for line in results["wrong"]]
    return "\n\n".join(parts)


def header(results):
    lines = [
        machine.sentence(results["machine"]),
        "Python " + results["python"],
        "%s, took %d s" % (results["date"], results["took_s"]),
        "`%s`" % results["command"],
    ]
    lines.append("Versions: " + ", ".join("%s %s" % pair for pair in results["versions"].items()))
    if results["absent"]:
        lines.append("Absent: " + ", ".join(results["absent"]))
    return lines


def main():
    options = arguments()
    options.python, options.heapline = os.path.abspath(options.python), os.path.abspath(options.heapline)
    workloads.build_native()
    context = tools.context(options.python, options.heapline)
    wanted = [tool for tool in tools.chosen(options.tools) if tool.name not in options.without]
    versions = {tool.family: tool.version(context) for tool in wanted}
    present = [tool for tool in wanted if versions[tool.family]]
    absent = sorted({tool.family for tool in wanted} - {tool.family for tool in present})
    chosen = selected(options)
    results = rounds.run(context, present, chosen, options)
    results.update(
        machine=machine.describe(),
        python=machine.python_version(options.python),
        date=datetime.date.today().isoformat(),
        command=machine.command_line(),
        versions={family: version for family, version in versions.items() if version and family != "plain"},
        packages=context.packages,
        absent=absent,
        rounds=options.rounds,
        scale=options.scale,
    )
    print("\n".join(header(results)), end="\n\n")
    print(report(results, chosen, options, tables.as_text, lambda title: title.upper()[0] + title[1:]))
    if options.name:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / (options.name + ".json")).write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        text = "# Benchmark of %s\n\n- %s\n\n%s\n" % (
            results["date"],
            "\n- ".join(header(results)),
            report(results, chosen, options, tables.as_markdown, lambda title: "## " + title[0].upper() + title[1:]),
        )
        (RESULTS / (options.name + ".md")).write_text(text)
        print("\nwritten: bench/results/%s.json and .md" % options.name)


if __name__ == "__main__":
    main()
