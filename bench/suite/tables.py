"""What is made of the samples: ratios to the plain program with start-up taken off, geometric means, and tables of them
for the terminal and in Markdown."""

import math
import statistics

MIB = 2**20


def best(samples, what):
    return min(one[what] for one in samples)


def median(samples, what):
    return statistics.median(one[what] for one in samples)


PICK = {"best": best, "median": median}


def geometric_mean(values):
    return math.exp(sum(math.log(value) for value in values) / len(values))


class Figures:
    """Questions to the results of one go."""

    def __init__(self, results, workload_list):
        self.results = results
        self.workloads = [workload for workload in workload_list if workload.name in results["runs"]]

    def samples(self, workload, tool, placement):
        return self.results["runs"].get(workload, {}).get(tool, {}).get(placement, [])

    def tools(self):
        """Names in the order in which they were run, plain first."""
        return list(self.results["startup"])

    def net(self, workload, tool, placement, what, pick):
        """Seconds of the workload itself: start-up of the tool taken off. None when it did not get through."""
        samples = self.samples(workload, tool, placement)
        startup = self.results["startup"].get(tool, {}).get(placement)
        if not samples or not startup or any(one["status"] != 0 for one in samples):
            return None
        return max(PICK[pick](samples, what) - PICK[pick](startup, what), 1e-6)

    def ratio(self, workload, tool, placement="free", what="wall_s", pick="best"):
        ours, plain = (self.net(workload, name, placement, what, pick) for name in (tool, "plain"))
        return ours / plain if ours and plain else None

    def over_limit(self, workload, tool, placement):
        return any(one["status"] == "limit" for one in self.samples(workload, tool, placement))

    def mean(self, suite, tool, placement="free", what="wall_s", pick="best"):
        """(geometric mean over the suite's workloads, how many of them)"""
        ratios = [
            self.ratio(workload.name, tool, placement, what, pick)
            for workload in self.workloads
            if workload.suite == suite
        ]
        ratios = [ratio for ratio in ratios if ratio]
        return (geometric_mean(ratios), len(ratios)) if ratios else (None, 0)

    def startup_added(self, tool, placement="free", what="wall_s", pick="median"):
        startup = self.results["startup"]
        if tool not in startup or placement not in startup[tool]:
            return None
        return PICK[pick](startup[tool][placement], what) - PICK[pick](startup["plain"][placement], what)

    def extra_memory(self, workload, tool, where):
        memory = self.results["memory"].get(workload, {})
        return memory[tool][where] - memory["plain"][where] if tool in memory and "plain" in memory else None

    def ns_added(self, workload, tool, placement="free"):
        ours, plain = (self.samples(workload, name, placement) for name in (tool, "plain"))
        if not ours or not plain or any("ns_each" not in one for one in ours + plain):
            return None
        return best(ours, "ns_each") - best(plain, "ns_each")


def short(tool):
    """A column's head."""
    names = {
        "heapline --malloc-only": "heapline malloc",
        "heapline": "heapline objects",
        "heapline --native --malloc-only": "hl. native malloc",
        "heapline --native": "hl. native objects",
        "memray": "memray",
        "memray --trace-python-allocators": "memray objects",
        "memray --aggregate": "memray aggr.",
        "tracemalloc 1 frame": "tracem. 1",
        "tracemalloc 25 frames": "tracem. 25",
        "memory_profiler": "mem_profiler",
    }
    return names.get(tool, tool)


def number(value, form="%.2f"):
    return "–" if value is None else form % value


def ratio_table(figures, suite, placement, pick):
    """Rows: workloads; columns: wall / CPU of each tool as a ratio to the plain program."""
    tools = [tool for tool in figures.tools() if tool != "plain"]
    rows = [["workload", "plain, s"] + [short(tool) for tool in tools]]
    for workload in figures.workloads:
        if workload.suite != suite:
            continue
        plain = figures.net(workload.name, "plain", placement, "wall_s", pick)
        row = [workload.name, number(plain)]
        for tool in tools:
            if figures.over_limit(workload.name, tool, placement):
                limit = figures.samples(workload.name, tool, placement)[0]["wall_s"]
                row.append("> %.0f" % (limit / plain) if plain else "> limit")
                continue
            wall, cpu = (figures.ratio(workload.name, tool, placement, what, pick) for what in ("wall_s", "cpu_s"))
            failed = wall is None and figures.samples(workload.name, tool, placement)
            row.append("failed" if failed else "–" if wall is None else "%s / %s" % (number(wall), number(cpu)))
        rows.append(row)
    means = ["geometric mean", ""]
    for tool in tools:
        (wall, count), (cpu, _) = (figures.mean(suite, tool, placement, what, pick) for what in ("wall_s", "cpu_s"))
        of = "" if count == len(rows) - 1 else " (%d of %d)" % (count, len(rows) - 1)
        means.append("–" if wall is None else "%s / %s%s" % (number(wall), number(cpu), of))
    return [*rows, means] if len(rows) > 1 else None


def native_table(figures, placement):
    tools = [
        tool
        for tool in figures.tools()
        if any(figures.samples(w.name, tool, placement) for w in figures.workloads if w.suite == "native")
    ]
    rows = [["ns in each thread, best", *[short(tool) for tool in tools]]]
    for workload in figures.workloads:
        if workload.suite == "native":
            samples = [figures.samples(workload.name, tool, placement) for tool in tools]
            rows.append(
                [workload.name]
                + [
                    number(best(those, "ns_each"), "%.1f") if those and all("ns_each" in one for one in those) else "–"
                    for those in samples
                ]
            )
    return rows if len(rows) > 1 else None


def startup_table(figures, placements):
    rows = [["start-up, ms", *["%s: median (best)" % placement for placement in placements], "CPU, free"]]
    for tool in figures.tools():
        row = [short(tool)]
        for placement in placements:
            samples = figures.results["startup"][tool].get(placement)
            row.append(
                "–" if not samples else "%.1f (%.1f)" % (median(samples, "wall_s") * 1e3, best(samples, "wall_s") * 1e3)
            )
        samples = figures.results["startup"][tool].get(placements[0])
        rows.append([*row, number(samples and median(samples, "cpu_s") * 1e3, "%.1f")])
    return rows


def memory_table(figures):
    tools = [tool for tool in figures.tools() if tool != "plain"]
    rows = [["extra MiB: program / all", "plain"] + [short(tool) for tool in tools]]
    for workload in figures.workloads:
        plain = figures.results["memory"].get(workload.name, {}).get("plain")
        if not plain:
            continue
        row = [workload.name, "%.0f" % (plain["program_bytes"] / MIB)]
        for tool in tools:
            inside, together = (
                figures.extra_memory(workload.name, tool, where) for where in ("program_bytes", "all_bytes")
            )
            row.append("–" if inside is None else "%.1f / %.1f" % (inside / MIB, together / MIB))
        rows.append(row)
    return rows if len(rows) > 1 else None


def file_table(figures):
    tools = [tool for tool in figures.tools() if any(tool in files for files in figures.results["files"].values())]
    rows = [["file KB; first report, s", *[short(tool) for tool in tools]]]
    for workload in figures.workloads:
        files = figures.results["files"].get(workload.name)
        if files:
            rows.append(
                [workload.name]
                + [
                    "–"
                    if tool not in files
                    else "%.0f" % (files[tool]["bytes"] / 1e3)
                    + ("; %.2f" % files[tool]["report_s"] if files[tool].get("report_s") else "")
                    for tool in tools
                ]
            )
    return rows if len(rows) > 1 else None


def as_text(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def as_markdown(rows):
    lines = ["| %s |" % " | ".join(row) for row in rows]
    lines.insert(1, "| --- |" + " ---: |" * (len(rows[0]) - 1))
    return "\n".join(lines)
