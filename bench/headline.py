#!/usr/bin/env python3
"""The table of comparison in README.md, from one go of the benchmark and four measurements more.

    python3 bench/run.py --placement free,one --name NAME     first: everything, or suite by suite under several names
    python3 bench/headline.py NAME [NAME ...]                 then: bench/results/NAME-headline.md and .json

Measured here and not in the go: what the collector needs for 1 M and 10 M live blocks, and the size of a profile of about
66 M events, with the time of the first reports from it. heapline and memray are measured alike where memray has the row.
"""

import argparse
import json
import os
import sqlite3
import tempfile
from pathlib import Path

from run import RESULTS, default_python
from suite import measure, rounds, tables, tools, workloads
from suite.tables import MIB, number
from suite.workloads import BENCH, native

MALLOC, OBJECTS = "heapline --malloc-only", "heapline"
PEER, PEER_OBJECTS = "memray", "memray --trace-python-allocators"
LIVE_BLOCKS = (1_000_000, 10_000_000)


def facts_of(context, file, environment):
    sample = measure.run([context.heapline, "stats", "--json", file], environment)
    return json.loads(sample.output) if sample.ok else {}


def tool_named(name):
    return next(tool for tool in tools.TOOLS if tool.name == name)


def collector_memory(context, environment):
    """{live blocks: highest resident bytes of the collector}"""
    found = {}
    for blocks in LIVE_BLOCKS:
        with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
            workload = native("live", blocks, "live", 1)
            tool = tool_named(MALLOC)
            sample = measure.run(tool.command(context, folder, workload, 1.0), environment)
            if sample.ok:
                facts = facts_of(context, os.path.join(folder, tool.file), environment)
                found[blocks] = facts.get("collector_rss_peak_bytes")
    return found


def text_and_symbols(file):
    """Bytes of source text in a profile, which the table leaves out."""
    with sqlite3.connect("file:%s?mode=ro" % file, uri=True) as database:
        return database.execute("SELECT coalesce(sum(length(source)), 0) FROM file").fetchone()[0]


def fastest(argv, environment, times=5):
    samples = [measure.run(argv, environment) for _ in range(times)]
    good = [sample.wall_s for sample in samples if sample.ok]
    return min(good) if good else None


def big_profile(context, environment):
    """{tool: events, bytes, seconds of stats and tree} of the run with about 66 M events."""
    found = {}
    for name in (OBJECTS, PEER_OBJECTS):
        tool = tool_named(name)
        if not tool.version(context):
            continue
        with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
            sample = measure.run(tool.command(context, folder, workloads.BIG, 1.0), environment, limit_s=300)
            if not sample.ok:
                print("%s: %s %s" % (name, sample.status, sample.errors[-300:]))
                continue
            file = os.path.join(folder, tool.file)
            one = found[name] = {"bytes": os.path.getsize(file), "run_s": sample.wall_s}
            if name == OBJECTS:
                facts = facts_of(context, file, environment)
                one.update({key: facts.get(key) for key in ("events", "collector_cpu_s", "collector_rss_peak_bytes")})
                one["text_bytes"] = text_and_symbols(file)
                commands = {what: [context.heapline, what, file] for what in ("stats", "tree")}
            else:
                commands = {what: [context.python, "-m", "memray", what, file] for what in ("stats", "tree")}
            for what, argv in commands.items():
                one[what + "_s"] = fastest(argv, environment, 5 if name == OBJECTS else 1)
    return found


def mean(figures, tool, placement="free"):
    value, count = figures.mean("pyperformance", tool, placement)
    return number(value), count


def extra_inside(figures, tool):
    values = [figures.extra_memory(w.name, tool, "program_bytes") for w in figures.workloads]
    values = [value / MIB for value in values if value is not None]
    return "%.0f to %.0f MiB" % (min(values), max(values)) if values else "–"


def spread(value, form):
    return "–" if value is None else form % value


def rows(figures, collector, big):
    """The rows of the table, in its order: what, heapline, memray, the aim."""
    ours, peers = big.get(OBJECTS, {}), big.get(PEER_OBJECTS, {})
    per_block = "–"
    if all(collector.get(blocks) for blocks in LIVE_BLOCKS):
        few, many = (collector[blocks] for blocks in LIVE_BLOCKS)
        each = (many - few) / (LIVE_BLOCKS[1] - LIVE_BLOCKS[0])
        per_block = "%.0f MiB at 1 M live blocks, %.0f MiB at 10 M: %.0f bytes a block" % (few / MIB, many / MIB, each)
    cases = mean(figures, MALLOC)[1]

    def ratio(workload, tool, placement="free"):
        return number(figures.ratio(workload, tool, placement))

    def of_big(one):
        if not one:
            return "–"
        size = one["bytes"] - one.get("text_bytes", 0)
        return "%.2f MB%s" % (size / 1e6, " (%.1f M events)" % (one["events"] / 1e6) if one.get("events") else "")

    def reports(one):
        return "–" if not one else "%s / %s s" % (number(one["stats_s"], "%.2f"), number(one["tree_s"], "%.2f"))

    return [
        ["", "heapline", "memray", "reach", "aim at"],
        ["malloc level, geometric mean over %d pyperformance cases" % cases, mean(figures, MALLOC)[0],
         mean(figures, PEER)[0], "1.05", "1.01"],
        ["Python objects too (the default)", mean(figures, OBJECTS)[0], mean(figures, PEER_OBJECTS)[0], "1.30", "1.15"],
        ["the same on one CPU, collector included", mean(figures, OBJECTS, "one")[0],
         mean(figures, PEER_OBJECTS, "one")[0], "1.7", "1.45"],
        ["recursive calls, no allocation: malloc level", ratio("calls", MALLOC), ratio("calls", PEER), "1.02", "1.00"],
        ["recursive calls, no allocation: objects", ratio("calls", OBJECTS), ratio("calls", PEER_OBJECTS), "1.02",
         "1.00"],
        ["200-deep recursion allocating at each level, objects", ratio("deep", OBJECTS), ratio("deep", PEER_OBJECTS),
         "1.3", "1.15"],
        ["malloc and free pair, 2 threads, malloc level, added",
         spread(figures.ns_added("pair_2_threads", MALLOC), "%.0f ns"), "–", "50 ns", "30 ns"],
        ["extra memory inside the program", extra_inside(figures, OBJECTS), extra_inside(figures, PEER_OBJECTS),
         "32 MiB fixed", "16 MiB"],
        ["collector's memory", per_block, "", "64 MiB + 40 bytes a live block", ""],
        ["profile of a 66 M event run, source text apart", of_big(ours), of_big(peers), "3 MB", "1 MB"],
        ["stats / tree from it", reports(ours), reports(peers), "0.3 s", "0.1 s"],
        ["added to an empty program", spread(figures.startup_added(OBJECTS), "%.3f s"),
         spread(figures.startup_added(PEER_OBJECTS), "%.3f s"), "0.06 s", "0.02 s"],
    ]  # fmt: skip


def add(to, more):
    """Puts into a dict of dicts what it has not: of two goes that measured the same, the first counts."""
    for key, value in more.items():
        if isinstance(to.setdefault(key, value), dict):
            add(to[key], value)


def merged(goes):
    """One go of several that measured different suites or placements."""
    first, *others = goes
    for other in others:
        for what in ("runs", "memory", "files", "startup", "versions"):
            add(first[what], other[what])
    return first


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="+", help="of goes in bench/results; the first has the start-up that counts")
    parser.add_argument("--python", default=default_python())
    parser.add_argument("--heapline", default=str(BENCH.parent / "build" / "release" / "heapline"))
    parser.add_argument("--again", action="store_true", help="only make the table again from what is written")
    options = parser.parse_args()
    go = merged(json.loads((RESULTS / (name + ".json")).read_text()) for name in options.names)
    path = Path(RESULTS, options.names[0] + "-headline.json")
    if options.again:
        extra = json.loads(path.read_text())
        extra["collector"] = {int(blocks): value for blocks, value in extra["collector"].items()}
    else:
        workloads.build_native()
        context = tools.context(os.path.abspath(options.python), os.path.abspath(options.heapline))
        measure.become_subreaper()
        environment = rounds.clean_environment()
        extra = {"collector": collector_memory(context, environment), "big": big_profile(context, environment)}
        path.write_text(json.dumps(extra, indent=1, sort_keys=True) + "\n")
    table = rows(tables.Figures(go, workloads.WORKLOADS), extra["collector"], extra["big"])
    head = "# heapline and memray %s, Python %s\n\n%s, %s\n\n" % (
        go["versions"].get("memray", ""), go["python"], go["date"], "%s, %d CPUs" % (
            go["machine"]["cpu"], go["machine"]["cpus"]))  # fmt: skip
    path.with_suffix(".md").write_text(head + tables.as_markdown(table) + "\n")
    print(tables.as_text(table))


if __name__ == "__main__":
    main()
