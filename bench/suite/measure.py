"""Runs one command and measures it: wall time, CPU time with all helpers, and in a run of its own, memory.

CPU time is exact and needs no rights: the harness is the "child subreaper" of what it starts, so that also a helper that
left its parent and its session (heapline's collector does) becomes our child when its parent ends; we reap every one of
them, and wait4() tells what each, with the children that it had reaped itself, has used.

Memory is sampled from /proc, which costs CPU, hence never in the run that is timed.
"""

import ctypes
import dataclasses
import os
import re
import signal
import tempfile
import time
from pathlib import Path

from suite import machine

PR_SET_CHILD_SUBREAPER = 36
LINGER_S = 20.0  # how long a helper may outlive the command


@dataclasses.dataclass
class Sample:
    wall_s: float  # until the command itself had ended
    cpu_s: float  # user and system time of every process that it started
    done_s: float  # until the last of them had ended
    status: object  # exit status; "signal N"; "limit" when it was stopped for taking too long
    output: str
    errors: str
    foreign: float  # share of one CPU that others used meanwhile: a busy machine is seen in the results

    @property
    def ok(self):
        return self.status == 0

    @property
    def checksum(self):
        found = re.findall(r"^checksum (.*)$", self.output, re.M)
        return found[-1] if found else None

    def number(self, name):
        """A number that the program printed of itself, as in `ns_each 5.8`."""
        found = re.findall(r"^%s ([\d.]+)$" % name, self.output + "\n" + self.errors, re.M)
        return float(found[-1]) if found else None


@dataclasses.dataclass
class Memory:
    program_bytes: int = 0  # high-water mark of the resident set of the profiled program itself
    all_bytes: int = 0  # highest sum of the proportional sets of all processes
    helpers_bytes: int = 0  # highest resident set of one other process (a collector, a front end)
    status: object = None


def become_subreaper():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})


def start(argv, environment, cpus, output, errors):
    """Starts argv on the given CPUs, with nothing on stdin, in a process group of its own. Returns its pid."""
    ours = os.sched_getaffinity(0)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
        (os.POSIX_SPAWN_DUP2, errors.fileno(), 2),
    ]
    os.sched_setaffinity(0, cpus or ours)
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT],
        )
    finally:
        os.sched_setaffinity(0, ours)


def parents():
    """{pid: parent pid} of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            found[int(name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
    return found


def descendants():
    parent_of = parents()
    family, size = {os.getpid()}, 0
    while len(family) != size:
        size = len(family)
        family |= {pid for pid, parent in parent_of.items() if parent in family}
    return family - {os.getpid()}


def stop_all():
    """Ends what this harness has started, and nothing else."""
    for pid in descendants():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def reap(main_pid, limit_s, while_waiting=None, every_s=None):
    """Waits for main_pid and everything below it. Returns (status, seconds to its end, seconds to all ends, CPU)."""
    begin = time.perf_counter()
    status = ended_s = None
    cpu_s, stopped = 0.0, False
    while True:
        try:
            pid, code, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return ("limit" if stopped else status), ended_s, time.perf_counter() - begin, cpu_s
        elapsed = time.perf_counter() - begin
        if pid:
            cpu_s += usage.ru_utime + usage.ru_stime
            if pid == main_pid:
                ended_s = elapsed
                exit_code = os.waitstatus_to_exitcode(code)
                status = exit_code if exit_code >= 0 else "signal %d" % -exit_code
            continue
        if elapsed > (limit_s if ended_s is None else ended_s + LINGER_S):
            stopped = stopped or ended_s is None
            stop_all()
        if while_waiting:
            while_waiting()
        signal.sigtimedwait({signal.SIGCHLD}, every_s or 0.25)


def run(argv, environment, cpus=None, limit_s=120.0):
    """One timed run."""
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        tempfile.TemporaryFile("w+", errors="replace") as errors,
    ):
        busy_s, begin = machine.busy_seconds(), time.perf_counter()
        pid = start(argv, environment, cpus, output, errors)
        status, wall_s, done_s, cpu_s = reap(pid, limit_s)
        elapsed = time.perf_counter() - begin
        foreign = max(0.0, machine.busy_seconds() - busy_s - cpu_s) / elapsed
        output.seek(0)
        errors.seek(0)
        return Sample(wall_s, cpu_s, done_s, status, output.read(), errors.read()[-4000:], foreign)


def status_field(pid, field):
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def proportional_bytes(pid):
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def run_for_memory(argv, environment, executable, limit_s=240.0, every_s=0.02):
    """One run that is sampled. `executable` says which process is the program: of those that run this file, the one
    that grew largest."""
    highest, is_program = {}, {}
    memory = Memory()
    executable = os.path.realpath(executable)

    def sample():
        together = 0
        for pid in descendants():
            try:
                is_program[pid] = os.readlink("/proc/%d/exe" % pid) == executable
                highest[pid] = max(highest.get(pid, 0), status_field(pid, "VmHWM"))
                together += proportional_bytes(pid)
            except OSError:
                continue  # it ended meanwhile, or is a zombie
        memory.all_bytes = max(memory.all_bytes, together)

    with open(os.devnull, "w") as nowhere:
        memory.status = reap(start(argv, environment, None, nowhere, nowhere), limit_s, sample, every_s)[0]
    programs = [pid for pid in highest if is_program[pid]]
    program = max(programs, key=highest.get, default=None)
    memory.program_bytes = highest.get(program, 0)
    memory.helpers_bytes = max((bytes_ for pid, bytes_ in highest.items() if pid != program), default=0)
    return memory
