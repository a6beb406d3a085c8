"""Runs everything in one go: for each workload, round after round, each tool in turn, so that a machine that slows down
slows all of them; the order turns with the round. Start-up first, 20 runs of an empty program under each tool."""

import os
import shutil
import sys
import tempfile
import time

from suite import measure, tools, workloads

STARTUP_RUNS = 20
PLACEMENTS = ("free", "split", "one")  # as the scheduler likes; program and helpers on two CPUs; all on one
BUSY = 0.10  # share of a CPU used by others, from which on a sample is taken again


class Session:
    """One go. Results grow in `self.results`, which is what is written as JSON."""

    def __init__(self, context, chosen_tools, options):
        self.context = context
        self.tools = chosen_tools
        self.options = options
        self.cpus = sorted(os.sched_getaffinity(0))
        self.environment = clean_environment()
        self.results = {"startup": {}, "runs": {}, "memory": {}, "files": {}, "wrong": []}

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def placed(self, placement):
        """(environment, CPUs of everything that is started) for a placement."""
        if placement == "one":
            return self.environment, {self.cpus[0]}
        if placement == "split" and len(self.cpus) > 1:
            return dict(self.environment, BENCH_PROGRAM_CPU=str(self.cpus[0])), {self.cpus[1]}
        return self.environment, None

    def measured(self, tool, workload, placement, folder):
        """One sample; taken again, up to `patience` times, when others used the CPUs meanwhile."""
        environment, cpus = self.placed(placement)
        for _ in range(self.options.patience + 1):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder)
            argv = tool.command(self.context, folder, workload, self.options.scale)
            sample = measure.run(argv, environment, cpus, self.options.limit)
            if sample.foreign < BUSY or not sample.ok:
                break
        return sample

    def startup(self):
        runs = 5 if self.options.quick else STARTUP_RUNS
        for placement in self.options.placement:
            for tool in self.tools * runs:
                with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
                    sample = self.measured(tool, workloads.EMPTY, placement, folder + "/run")
                if sample.ok:
                    self.results["startup"].setdefault(tool.name, {}).setdefault(placement, []).append(record(sample))
                elif tool.name not in self.results["wrong"]:
                    self.say("%s: cannot even start: %s: %s" % (tool.name, sample.status, sample.errors[-300:]))
                    self.results["wrong"].append(tool.name)
        self.tools = [tool for tool in self.tools if tool.name in self.results["startup"]]

    def workload(self, workload):
        able = [tool for tool in self.tools if tools.runnable(workload, tool, self.context)]
        if not able:
            self.say("%s: left out, %s is not installed" % (workload.name, workload.needs))
            return
        expected = None
        given_up = set()
        for number in range(self.options.rounds):
            for tool in able[number % len(able) :] + able[: number % len(able)]:
                if (number and tool.once) or tool.name in given_up:
                    continue
                for placement in self.options.placement:
                    with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
                        sample = self.measured(tool, workload, placement, folder + "/run")
                        if not sample.ok:
                            given_up.add(tool.name)
                            self.say(
                                "  %s, %s: %s %s"
                                % (
                                    tool.name,
                                    placement,
                                    sample.status,
                                    sample.errors.strip()[-300:].replace("\n", " | "),
                                )
                            )
                        elif number == 0 and placement == self.options.placement[0]:
                            self.file_and_report(workload, tool, folder + "/run")
                    self.keep(workload, tool, placement, sample)
                    if sample.ok and tool.name == "plain":
                        expected = expected or sample.checksum
            self.say("  %s: round %d of %d" % (workload.name, number + 1, self.options.rounds))
        for tool, by_placement in self.results["runs"][workload.name].items():
            for samples in by_placement.values():
                if any(one["checksum"] != expected for one in samples if one["status"] == 0):
                    self.results["wrong"].append("%s, %s: another result than plain Python's" % (workload.name, tool))
        if self.options.memory:
            self.memory(workload, [tool for tool in able if tool.name not in given_up and not tool.once])

    def keep(self, workload, tool, placement, sample):
        kept = self.results["runs"].setdefault(workload.name, {}).setdefault(tool.name, {})
        kept.setdefault(placement, []).append(record(sample))

    def file_and_report(self, workload, tool, folder):
        """Size of the file that a run has made, and the time to the first report from it."""
        size = tool.made(folder)
        if size is None:
            return
        entry = {"bytes": size}
        if tool.report:
            file = next(os.path.join(folder, name) for name in sorted(os.listdir(folder)))
            report = measure.run(
                [shutil.which(word) or word for word in tool.report(self.context, file)[:1]]
                + tool.report(self.context, file)[1:],
                self.environment,
                None,
                self.options.limit,
            )
            entry["report_s"] = report.wall_s if report.ok else None
        self.results["files"].setdefault(workload.name, {})[tool.name] = entry

    def memory(self, workload, able):
        for tool in able:
            with tempfile.TemporaryDirectory(dir=workloads.WORK) as folder:
                argv = tool.command(self.context, folder, workload, self.options.scale)
                executable = workload.program() if workload.is_native else self.context.python
                memory = measure.run_for_memory(argv, self.environment, executable, self.options.limit * 2)
            if memory.status == 0:
                self.results["memory"].setdefault(workload.name, {})[tool.name] = {
                    "program_bytes": memory.program_bytes,
                    "all_bytes": memory.all_bytes,
                    "helpers_bytes": memory.helpers_bytes,
                }


def record(sample):
    kept = {
        "wall_s": round(sample.wall_s, 5),
        "cpu_s": round(sample.cpu_s, 5),
        "done_s": round(sample.done_s, 5),
        "foreign": round(sample.foreign, 3),
        "status": sample.status,
        "checksum": sample.checksum,
    }
    ns_each = sample.number("ns_each")
    if ns_each is not None:
        kept["ns_each"] = ns_each
    return kept


def clean_environment():
    """What a program needs and nothing that changes how Python allocates or hashes."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return dict(kept, PYTHONHASHSEED="0", OPENBLAS_NUM_THREADS="1", TERM="dumb", COLUMNS="100")


def run(context, chosen_tools, chosen_workloads, options):
    measure.become_subreaper()
    session = Session(context, chosen_tools, options)
    began = time.time()
    session.say("start-up")
    session.startup()
    for workload in chosen_workloads:
        session.workload(workload)
    session.results["took_s"] = round(time.time() - began)
    return session.results
