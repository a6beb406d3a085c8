"""The interface of memory_profiler's module mprof: reads .dat files, and runs `heapline mprof` for the rest.

The heapline command carries this file along, for `heapline install-shims` and for pictures by matplotlib.
"""

# Untyped, as what it stands in for: callers pass and replace whatever that takes.
# mypy: ignore-errors

import glob
import math
import os
import shutil
import sys
import time
from collections import defaultdict


def _binary():
    try:
        from heapline import binary

        return binary()
    except (ImportError, FileNotFoundError):
        path = shutil.which("heapline")
        if path is None:
            sys.exit("mprof: the heapline command is not on PATH")
        return path


def main():
    """`mprof ARGUMENTS`: becomes `heapline mprof ARGUMENTS`."""
    path = _binary()
    sys.stdout.flush()
    os.execv(path, [path, "mprof", *sys.argv[1:]])


def run_action():
    """`mprof run` with the arguments of sys.argv."""
    sys.argv.insert(1, "run")
    main()


def get_profile_filenames(args):
    """The files that indices (negative: from the newest) and names mean, each once; "all": those of this folder."""
    profiles = sorted(glob.glob("mprofile_" + 14 * "[0-9]" + ".dat"))
    if args == "all":
        return profiles
    names = []
    for arg in args:
        if os.path.isfile(str(arg)):
            name = arg
        else:
            try:
                name = profiles[int(arg)]
            except IndexError:
                raise ValueError("Invalid index (non-existing file): %s" % arg) from None
            except ValueError:
                kind = "Path %s is a directory" if os.path.isdir(arg) else "File %s not found"
                raise ValueError(kind % arg) from None
        if name not in names:
            names.append(name)
    return names


def read_mprofile_file(filename):
    """What is in a .dat file: mem_usage (MiB), timestamp, func_timestamp ({name: [[begin, end, MiB at begin, MiB at end,
    depth]]}), children ({pid: [(MiB, time)]}), cmd_line, filename. Lines that are no records are skipped."""
    mem_usage, timestamp, functions, children, cmd_line = [], [], {}, defaultdict(list), None
    with open(filename, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            field, _, value = line.partition(" ")
            try:
                if field == "MEM":
                    mib, when = map(float, value.split())
                    mem_usage.append(mib)
                    timestamp.append(when)
                elif field == "CHLD":
                    pid, mib, when = value.split()
                    children[pid].append((float(mib), float(when)))
                elif field == "FUNC":
                    words = value.rstrip("\n").split(" ")
                    depth = [int(words.pop())] if "." not in words[-1] else []  # every other figure has a point
                    mem_start, start, mem_end, end = map(float, words[-4:])
                    name = " ".join(words[:-4]).replace("\u00a0", " ")
                    functions.setdefault(name, []).append([start, end, mem_start, mem_end, *depth])
                elif field == "CMDLINE":
                    cmd_line = value
            except ValueError:
                pass
    return {
        "mem_usage": mem_usage,
        "timestamp": timestamp,
        "func_timestamp": functions,
        "filename": filename,
        "cmd_line": cmd_line,
        "children": children,
    }


def function_labels(dotted_function_names):
    """{name: the shortest end of it that no other of them has}"""
    names = list(dict.fromkeys(dotted_function_names))
    labels = {}
    for name in names:
        parts = name.split(".")
        for level in range(1, len(parts) + 1):
            label = ".".join(parts[-level:])
            if all(other == name or ".".join(other.split(".")[-level:]) != label for other in names):
                break
        labels[name] = label
    return labels


def filter_mprofile_mem_usage_by_function(prof, func):
    """The samples taken while a function ran, and what was measured at its begins and ends; all when it is None."""
    if func is None:
        return prof["mem_usage"]
    if func not in prof["func_timestamp"]:
        raise ValueError(str(func) + " was not found.")
    calls = prof["func_timestamp"][func]
    found = [
        mib
        for mib, when in zip(prof["mem_usage"], prof["timestamp"])
        if any(call[0] <= when <= call[1] for call in calls)
    ]
    return found + [mib for call in calls for mib in call[2:4]]


# ------------------------------------------------------------------------------------------------------ matplotlib


def _curve(profile, with_calls):
    points = list(zip(profile["timestamp"], profile["mem_usage"]))
    for calls in profile["func_timestamp"].values() if with_calls else ():
        for call in calls:
            points += [(call[0], call[2]), (call[1], call[3])]
    return sorted(points)


def _draw(axes, profile, options, with_calls, index):
    colours = ["k", "b", "r", "g", "c", "y", "m"]
    points = _curve(profile, with_calls)
    start = points[0][0]
    times = [when - start for when, _ in points]
    memory = [mib for _, mib in points]
    label = time.strftime("%d / %m / %Y - start at %H:%M:%S", time.localtime(start))
    label += ".%03d" % min(999, round(math.modf(start)[0] * 1000))
    if options.slope:
        import numpy

        slope, at_first = numpy.polyfit(times, memory, 1)
        axes.plot(times, [at_first + slope * t for t in times], "--" + colours[index % 7])
        label += " slope %.5f" % slope
    axes.plot(times, memory, "-" + colours[index % 7], label=label)
    for n, (pid, samples) in enumerate(profile["children"].items(), index + 1):
        axes.plot([when - start for _, when in samples], [mib for mib, _ in samples], "-" + colours[n % 7],
                  linewidth=1, label="child %s" % pid)  # fmt: skip
    top = max(range(len(memory)), key=memory.__getitem__)
    axes.axhline(memory[top], color="r", linestyle="--", linewidth=1)
    axes.axvline(times[top], color="r", linestyle="--", linewidth=1)
    if not with_calls:
        return
    labels = function_labels(profile["func_timestamp"])
    flame = axes.twinx() if options.flame else None
    deepest = 0
    for n, (name, calls) in enumerate(profile["func_timestamp"].items()):
        colour = "C%d" % (n % 10)
        text = "%s %.3fs" % (labels[name], sum(call[1] - call[0] for call in calls))
        text += " in %d calls" % len(calls) if len(calls) > 1 else ""
        for call in calls:
            begin, end, depth = call[0] - start, call[1] - start, (call[4] if len(call) > 4 else 0)
            deepest = max(deepest, depth)
            if flame:
                flame.fill_betweenx((depth, depth + 1), begin, end, color=colour, alpha=0.5)
                flame.text(begin, depth + 1, labels[name], va="top", fontsize=8, clip_on=True)
            else:
                axes.plot([begin], [call[2]], marker="$[$", color=colour, markersize=12, linestyle="none", label=text)
                axes.plot([end], [call[3]], marker="$]$", color=colour, markersize=12, linestyle="none")
                text = "_nolegend_"
    if flame:
        flame.set_ylim(0, deepest + 2)
        flame.set_yticks([])


def _matplotlib_main(argv):
    """`heapline mprof plot` for what is no SVG, or with --backend."""
    import argparse

    parser = argparse.ArgumentParser(prog="mprof plot")
    parser.add_argument("--title")
    parser.add_argument("--output")
    parser.add_argument("--window", type=lambda text: [float(part) for part in text.split(",")])
    parser.add_argument("--backend")
    for flag in ("--no-function-ts", "--flame", "--slope"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("profiles", nargs="+")
    options = parser.parse_args(argv)
    try:
        import matplotlib

        if options.backend or options.output:
            matplotlib.use(options.backend or "Agg")
        import matplotlib.pyplot as pyplot
    except (ImportError, ValueError) as error:
        sys.exit(
            "heapline: mprof: matplotlib, which this needs, cannot be used by %s: %s (SVG needs no matplotlib: "
            "heapline mprof plot -o FILE.svg)" % (sys.executable, error)
        )
    figure = pyplot.figure(figsize=(14, 6), dpi=90)
    axes = figure.add_axes([0.1, 0.1, 0.8, 0.8] if options.flame else [0.1, 0.1, 0.6, 0.75])
    profiles = [read_mprofile_file(name) for name in options.profiles]
    for index, profile in enumerate(profiles):
        if not profile["timestamp"]:
            sys.exit("heapline: mprof: %s: no memory usage values have been found in it" % profile["filename"])
        _draw(axes, profile, options, len(profiles) == 1 and not options.no_function_ts, index)
    if options.window:
        axes.set_xlim(*options.window)
    axes.set_xlabel("time (in seconds)")
    axes.set_ylabel("memory used (in MiB)")
    axes.set_title(
        options.title or (profiles[0]["cmd_line"] or "").strip() if len(profiles) == 1 else options.title or ""
    )
    axes.grid(True)
    if not options.flame:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), framealpha=0.5)
    if options.output:
        pyplot.savefig(options.output)
    else:
        pyplot.show()


if __name__ == "__main__":
    main()
