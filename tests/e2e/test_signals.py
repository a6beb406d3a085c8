"""Signals, the terminal and job control: the program under `heapline run` gets what it would get alone, once."""

import os
import pty
import random
import re
import select
import signal
import subprocess
import time

import pytest

# Says which signals it gets, and on "end" in its input, or SIGTERM's second time, ends.
LISTEN = """
import os, signal, sys, time
def got(number, frame):
    os.write(1, ("got %s\\n" % signal.Signals(number).name).encode())
for name in ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGALRM"):
    signal.signal(getattr(signal, name), got)
os.write(1, ("up %d\\n" % os.getpid()).encode())
until = time.time() + 60
while time.time() < until and not os.path.exists("end"):
    time.sleep(0.02)
sys.exit(5)
"""


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return found


def state_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


class Listening:
    """LISTEN under heapline, its stdout read line by line."""

    def __init__(self, heapline, python, **options):
        self.heapline = heapline
        self.running = heapline.start(LISTEN, python=python, **options)
        self.parent = self.running.process.pid
        self.pid = int(self.line().split()[1])

    def line(self, seconds=20):
        stdout = self.running.process.stdout
        assert select.select([stdout], [], [], seconds)[0], "nothing was said"
        return stdout.readline().rstrip()

    def silent(self, seconds=0.3):
        return not select.select([self.running.process.stdout], [], [], seconds)[0]

    def end(self):
        (self.heapline.folder / "end").touch()
        return self.running.finish()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM"])
def test_a_signal_to_heapline_reaches_the_program_once(heapline, python, name):
    listening = Listening(heapline, python)
    os.kill(listening.parent, getattr(signal, name))
    assert listening.line() == "got " + name
    assert listening.silent()
    assert listening.end().exit == 5


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_to_the_group_reaches_the_program_once(heapline, python, name):
    listening = Listening(heapline, python)
    for _ in range(3):  # each time anew
        os.killpg(listening.parent, getattr(signal, name))
        assert listening.line() == "got " + name
        assert listening.silent()
    os.kill(listening.parent, getattr(signal, name))
    assert listening.line() == "got " + name
    assert listening.silent()
    assert listening.end().exit == 5


def test_timeout_ends_it_as_it_ends_the_program(heapline, python):
    run = heapline(
        "run", "-q", "--python", python.path, "-c", "import time; time.sleep(60)", prefix=["timeout", "1"], timeout=20
    )
    assert run.exit == 124


def test_a_signal_that_ends_the_program_leaves_a_profile(heapline, python):
    running = heapline.start(
        "import time\nkept = bytes(7_000_000)\nprint('up', flush=True)\ntime.sleep(60)\n", python=python
    )
    running.process.stdout.readline()
    os.kill(running.process.pid, signal.SIGTERM)
    profile = running.finish()
    assert profile.exit == -signal.SIGTERM
    row = profile.sql("SELECT * FROM process WHERE id = 1")[0]
    assert (row["ended"], row["exit_status"]) == ("signal", signal.SIGTERM)
    assert row["live"] >= 7_000_000


def test_a_program_may_signal_its_parent(heapline, python):
    """What it sends to its parent is meant for whoever started it."""
    got = []
    before = signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    try:
        run = heapline.run("import os, signal\nos.kill(os.getppid(), signal.SIGUSR1)\n", python=python)
        wait_for(lambda: got)
        assert run.exit == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ignored_signals_stay_ignored(heapline, python):
    """nohup, and callers that ignore SIGCHLD or SIGPIPE."""
    program = "print([line for line in open('/proc/self/status') if line.startswith(('SigIgn', 'SigBlk'))])\n"

    def ignore():
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    options = {"python": python, "preexec_fn": ignore, "restore_signals": False}
    assert heapline.run(program, **options).stdout == heapline.plain(program, **options).stdout


def test_setsid_and_background(heapline, python):
    run = heapline(
        "run", "-o", "x.heapline", "--python", python.path, "-c", "print('done')", prefix=["setsid", "-w", "nohup"]
    )
    assert run.stdout == "done\n"


# ------------------------------------------------------------------------------------------------------- the terminal


class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self, folder):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(PS1="$ ", TERM="dumb", HISTFILE="/dev/null")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern, seconds=20):
        """Waits for a pattern in what has been shown since the last one; the match."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], f"no {pattern!r} in {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:  # the other side has gone
                assert re.search(pattern, self.seen), f"ended without {pattern!r}: {self.seen!r}"
        self.seen = self.seen[found.end() :]
        return found

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(heapline):
    shell = Terminal(heapline.folder)
    yield shell
    shell.close()


def start_listening(heapline, python, terminal):
    (heapline.folder / "listen.py").write_text(LISTEN)
    terminal.type(f"{heapline.binary} run -o x.heapline --python {python.path} listen.py\n")
    return int(terminal.until(r"up (\d+)\r\n")[1])


def test_control_c_reaches_the_program_once(heapline, python, terminal):
    start_listening(heapline, python, terminal)
    for _ in range(2):
        terminal.type("\x03")
        terminal.until("got SIGINT")
        time.sleep(0.3)
    terminal.type("\x1c")
    terminal.until("got SIGQUIT")
    time.sleep(0.3)
    (heapline.folder / "end").touch()
    terminal.until(r"\$ ")
    terminal.type("echo status=$?\n")
    terminal.until("status=5")
    assert "got" not in terminal.seen


def test_control_c_ends_a_program_that_does_not_catch_it(heapline, python, terminal):
    # Many short sleeps: a signal that comes just before a long one waits for its end, in plain Python too.
    code = 'import time; print("u" + "p"); [time.sleep(0.1) for i in range(600)]'
    terminal.type(f"{heapline.binary} run -o x.heapline --python {python.path} -c '{code}'\n")
    terminal.until("up\r\n")
    terminal.type("\x03")
    terminal.until("KeyboardInterrupt")
    terminal.until(r"\$ ")
    terminal.type("echo status=$?\n")
    terminal.until("status=130")
    assert (heapline.folder / "x.heapline").exists()


def test_control_z_stops_and_the_shell_continues(heapline, python, terminal):
    pid = start_listening(heapline, python, terminal)
    for resume in ("fg", "bg"):
        terminal.type("\x1a")
        wait_for(lambda: state_of(pid) == "T")
        terminal.until("Stopped")
        terminal.type(resume + "\n")
        terminal.until("got SIGCONT")
        wait_for(lambda: state_of(pid) in "SR")
    terminal.type("fg\n")
    (heapline.folder / "end").touch()
    terminal.until("status 5")
    terminal.type("echo status=$?\n")
    terminal.until("status=5")


def test_a_program_that_catches_control_z_is_not_stopped(heapline, python, terminal):
    (heapline.folder / "program.py").write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTSTP, lambda *_: os.write(1, b'not stopping\\n'))\n"
        "os.write(1, b'up\\n')\nuntil = time.time() + 60\n"
        "while time.time() < until and not os.path.exists('end'): time.sleep(0.02)\n"
    )
    terminal.type(f"{heapline.binary} run -q -o x.heapline --python {python.path} program.py; echo status=$?\n")
    terminal.until("up\r\n")
    terminal.type("\x1a")
    terminal.until("not stopping")
    (heapline.folder / "end").touch()
    terminal.until("status=0")


def test_reading_in_the_background_stops_the_job(heapline, python, terminal):
    terminal.type(f"{heapline.binary} run -q -o x.heapline --python {python.path} -c 'print(\"said \" + input())' &\n")
    time.sleep(1)
    terminal.type("\n")
    terminal.until(r"Stopped\(|Stopped")
    terminal.type("fg\n")
    terminal.until("run -q")
    terminal.type("hello\n")
    terminal.until("said hello")


def test_the_program_has_the_terminal(heapline, python, terminal):
    terminal.type(
        f"{heapline.binary} run -q -o x.heapline --python {python.path} -c "
        "'import os, sys; print([os.isatty(fd) for fd in range(3)], os.getpgrp() == os.tcgetpgrp(0), len(os.get_terminal_size()))'\n"
    )
    terminal.until(r"\[True, True, True\] True 2")


def test_hang_up_reaches_the_program(heapline, python):
    """The terminal goes away while heapline is the session's leader, as with ssh -t host heapline run."""
    (heapline.folder / "listen.py").write_text(
        LISTEN.replace('os.write(1, ("got', "open('log', 'a').write((\"got").replace("name).encode())", "name))")
    )
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(heapline.folder)
        os.execv(
            heapline.binary, [str(heapline.binary), "run", "-o", "x.heapline", "--python", python.path, "listen.py"]
        )
    shown = b""
    while b"up " not in shown:
        shown += os.read(fd, 1000)
    os.close(fd)
    log = heapline.folder / "log"
    wait_for(lambda: log.exists() and "SIGHUP" in log.read_text())
    time.sleep(0.3)
    assert log.read_text().count("SIGHUP") == 1
    (heapline.folder / "end").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert (heapline.folder / "x.heapline").exists()


# -------------------------------------------------------------------------------------------------- deaths of all kinds


def adds_up(profile):
    process = profile.sql("SELECT * FROM process WHERE id = 1")[0]
    sums = profile.sql(
        "SELECT sum(allocated), sum(allocations), sum(freed), sum(frees), sum(live), sum(peak) FROM stat"
    )[0]
    assert tuple(sums) == tuple(
        process[name] for name in ("allocated", "allocations", "freed", "frees", "live", "peak")
    )
    assert process["allocated"] - process["freed"] == process["live"]
    return process


BUSY = """
import random, threading
def work(seed):
    r, kept = random.Random(seed), []
    while True:
        kept.append(bytes(r.randrange(5000)))
        if len(kept) > 2000:
            del kept[:r.randrange(2000)]
for seed in range(3):
    threading.Thread(target=work, args=(seed,), daemon=True).start()
print("up", flush=True)
work(9)
"""


def killed_profiles(heapline, python, moments):
    for moment in moments:
        running = heapline.start(BUSY, python=python)
        if moment > 0.2:
            running.process.stdout.readline()
        time.sleep(moment)
        children = subprocess.run(
            ["pgrep", "-P", str(running.process.pid), "-f", "program"], capture_output=True, text=True
        )
        for pid in children.stdout.split():
            if os.path.realpath(f"/proc/{pid}/exe") != str(heapline.binary):
                os.kill(int(pid), signal.SIGKILL)
                break
        else:  # killed before it had begun
            running.kill()
            continue
        profile = running.finish()
        assert profile.exit == -signal.SIGKILL, profile.finished
        process = adds_up(profile)
        assert (process["ended"], process["exit_status"]) == ("signal", signal.SIGKILL)
        yield process


def test_a_program_killed_at_any_moment_leaves_a_profile_that_adds_up(heapline, python):
    moments = [random.Random(3).random() * 1.2 for _ in range(6)]
    rows = list(killed_profiles(heapline, python, moments))
    assert len(rows) >= 4 and any(row["allocations"] > 10000 for row in rows)


@pytest.mark.long
def test_fifty_programs_killed_at_random_moments(heapline, python):
    moments = [random.random() * 3 for _ in range(50)]
    assert len(list(killed_profiles(heapline, python, moments))) >= 40


@pytest.mark.parametrize(
    "how", ["os._exit(3)", "os.abort()", "import ctypes; ctypes.string_at(0)", "os.kill(os.getpid(), 9)"]
)
def test_every_sudden_end_keeps_what_was_recorded(heapline, python, how):
    program = f"import os\nkept = [bytes(100_000) for _ in range(100)]\n{how}\n"
    profile = heapline.run(program, python=python, check=False)
    assert adds_up(profile)["live"] >= 10_000_000
    assert profile.leaked(file="program.py", line=2).bytes >= 10_000_000


def collector_of(heapline, path):
    import json

    entries = json.loads(heapline("status", "--json").stdout)["recordings"]
    return next(entry["collector"] for entry in entries if entry["output"] == str(path))


def test_the_program_goes_on_when_the_collector_is_killed(heapline, python):
    program = """
import os, time
print("up", flush=True)
while not os.path.exists("go"): time.sleep(0.01)
for _ in range(300):
    kept = [bytes(i % 700) for i in range(3000)]
print("done", flush=True)
"""
    running = heapline.start(program, python=python)
    running.process.stdout.readline()
    os.kill(collector_of(heapline, running.path), signal.SIGKILL)
    (heapline.folder / "go").touch()
    start = time.monotonic()
    profile = running.finish()
    assert (profile.stdout, profile.exit) == ("done\n", 0)
    assert time.monotonic() - start < 20
    assert "collector has died" in profile.stderr


def test_the_program_goes_on_when_the_collector_is_stopped(heapline, python):
    program = """
import os, time
print("up", flush=True)
while not os.path.exists("go"): time.sleep(0.01)
for _ in range(1000):
    kept = [bytes(i % 700) for i in range(3000)]
print("done", flush=True)
"""
    running = heapline.start(program, python=python)
    running.process.stdout.readline()
    collector = collector_of(heapline, running.path)
    os.kill(collector, signal.SIGSTOP)
    (heapline.folder / "go").touch()
    assert select.select([running.process.stdout], [], [], 60)[0], "the program hangs"
    assert running.process.stdout.readline() == "done\n"
    os.kill(collector, signal.SIGCONT)
    assert running.finish().exit == 0


def test_when_heapline_is_killed_the_program_and_its_recording_go_on(heapline, python):
    program = """
import os, time
print("up %d" % os.getpid(), flush=True)
while not os.path.exists("go"): time.sleep(0.01)
kept = [bytes(100_000) for _ in range(100)]
open("done", "w")
os._exit(4)
"""
    running = heapline.start(program, python=python)
    pid = int(running.process.stdout.readline().split()[1])
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    time.sleep(0.2)
    assert state_of(pid) in ("S", "R")
    (heapline.folder / "go").touch()
    wait_for(lambda: (heapline.folder / "done").exists())
    profile = running.profile()
    wait_for(lambda: profile.path.exists() and profile.value("SELECT ended FROM process WHERE id = 1") != "running")
    row = adds_up(profile)
    assert (row["ended"], row["exit_status"]) == ("exit", 4) and row["live"] >= 10_000_000


# ------------------------------------------------------------------------------------------------------- out of memory


def cgroup_folders():
    """The memory cgroups that this process is in, version 2 first, with the names of the limit."""
    mine = dict(line.strip().split(":", 2)[1:] for line in open("/proc/self/cgroup"))
    for line in open("/proc/self/mountinfo"):
        fields, behind = line.split(" - ")
        mount, kind, options = fields.split()[4], behind.split()[0], behind.split()[-1]
        if kind == "cgroup2":
            yield mount + mine.get("", "/").rstrip("/"), "memory.max", "memory.swap.max"
            yield mount, "memory.max", "memory.swap.max"
        elif kind == "cgroup" and "memory" in options.split(","):
            yield mount + mine.get("memory", "/").rstrip("/"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


@pytest.fixture
def small_cgroup():
    """A cgroup with 120 MB for whoever moves in."""
    for parent, limit, swap in cgroup_folders():
        group = f"{parent}/heapline-test-{os.getpid()}"
        try:
            os.mkdir(group)
        except OSError:
            continue
        try:
            with open(f"{group}/{limit}", "w") as file:
                file.write(str(LIMIT))
        except OSError:
            os.rmdir(group)
            continue
        if os.path.exists(f"{group}/{swap}"):
            with open(f"{group}/{swap}", "w") as file:
                file.write("0" if "max" in swap else str(LIMIT))
        yield group
        wait_for(lambda: not open(group + "/cgroup.procs").read())
        os.rmdir(group)
        return
    pytest.skip("this machine lets nobody make a cgroup with a memory limit")


LIMIT = 120 << 20


def run_within(heapline, python, cgroup, **options):
    """Records program.py as x.heapline, with all of it in the cgroup."""
    within = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh"]
    return heapline("run", "-o", "x.heapline", "--python", python.path, "program.py", prefix=within, **options)


def test_out_of_memory_names_the_limit_and_what_held_it(heapline, python, small_cgroup):
    (heapline.folder / "program.py").write_text("""
def load():
    kept = []
    while True:
        kept.append(b"x" * 1_000_000)
load()
""")
    run = run_within(heapline, python, small_cgroup)
    profile = heapline.profile(heapline.folder / "x.heapline")
    assert run.exit == -signal.SIGKILL, run
    assert adds_up(profile)["live"] > 60_000_000
    assert profile.value("SELECT value FROM meta WHERE key = 'oom_limit'") == LIMIT
    first = run.stderr.splitlines()[0]
    assert "out of memory" in first and "125.8 MB" in first and os.path.basename(small_cgroup) in first
    assert "program.py:5" in run.stderr


def test_a_child_that_ran_out_of_memory_is_noted(heapline, python, small_cgroup):
    """And another one, and the program itself, that are killed later by somebody are not."""
    (heapline.folder / "program.py").write_text("""
import os, signal

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
    print(pid)

def load():
    kept = []
    while True:
        kept.append(b"x" * 1_000_000)

child(load)
child(lambda: os.kill(os.getpid(), signal.SIGKILL))
os.kill(os.getpid(), signal.SIGKILL)
""")
    run = run_within(heapline, python, small_cgroup, env={"PYTHONUNBUFFERED": "1"})
    assert run.exit == -signal.SIGKILL, run
    hungry, _ = run.stdout.split()
    assert "out of memory" not in run.stderr.splitlines()[0]
    assert f"  killed:    process {hungry} by SIGKILL, out of memory, and 1 more" in run.stderr.splitlines(), run
    stats = heapline("stats", "x.heapline", env={"COLUMNS": "200"}).stdout
    noted = [line.strip() for line in stats.splitlines() if "out of memory" in line]
    assert len(noted) == 1 and noted[0].startswith(f"process {hungry}: was killed: out of memory (cgroup "), stats
    assert noted[0].endswith("limit 125.8 MB)")


def test_a_plain_sigkill_is_not_called_out_of_memory(heapline, python):
    run = heapline.run("import os\nos.kill(os.getpid(), 9)\n", python=python, check=False)
    assert "out of memory" not in run.stderr and "SIGKILL" in run.stderr
