"""A recording without a parent command: the variables that `heapline env` prints, and the program starts the rest."""

import os
import shlex
import signal
import subprocess
import time

import pytest
from pythons import default_python

PROGRAM = """
import os, sys
print([name for name in os.environ if "HEAPLINE" in name or name == "LD_PRELOAD"], flush=True)
kept = [bytearray(1000 + i % 3) for i in range(3000)]
"""


def run(heapline, command, *options, **more):
    """Runs a command as a job script would, with the variables of `heapline env`, and `more`."""
    printed = heapline("env", "-o", str(heapline.folder / "started.heapline"), *options)
    assert printed.exit == 0, printed
    changed = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in more.items())
    shell = ["sh", "-c", f'{printed.stdout}\n{changed}exec "$@"', "sh", *command]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "HEAPLINE", "PYTHON"))}
    return subprocess.run(shell, env=env, cwd=heapline.folder, capture_output=True, text=True, timeout=60)


def finished_profile(heapline, seconds=15):
    """The collector ends on its own, soon after the program."""
    path = heapline.folder / "started.heapline"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists():
            profile = heapline.profile(path)
            if profile.stats()["state"] == "finished":
                return profile
        time.sleep(0.1)
    pytest.fail("no finished profile")


def test_the_first_process_starts_the_collector(heapline):
    finished = run(heapline, [default_python().path, "-c", PROGRAM])
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "[]\n", "")
    profile = finished_profile(heapline)
    assert profile.stats()["exit"] == 0
    assert profile.stats()["events_lost"] == 0
    assert profile.allocated().bytes > 3_000_000


def test_processes_that_are_not_python_hand_the_variables_on(heapline):
    python = default_python().path
    program = shlex.quote(PROGRAM)
    finished = run(heapline, ["sh", "-c", f"/bin/true; {python} -c {program}; exit 5"])
    assert (finished.returncode, finished.stdout) == (5, "[]\n")
    assert [row["exit"] for row in finished_profile(heapline).processes() if row["python"]] == [0]


def test_how_it_ended_is_told(heapline):
    finished = run(heapline, [default_python().path, "-c", PROGRAM + "os._exit(7)"])
    assert finished.returncode == 7
    assert finished_profile(heapline).stats()["exit"] == 7


def test_a_killed_program_leaves_a_whole_profile(heapline):
    finished = run(heapline, [default_python().path, "-c", PROGRAM + "os.kill(os.getpid(), 9)"])
    assert finished.returncode == -signal.SIGKILL
    stats = finished_profile(heapline).stats()
    assert stats["allocated_bytes"] > 3_000_000
    assert stats["exit"] is None


def test_any_program_with_children_all(heapline):
    truth = str(heapline.folder / "truth.json")
    command = [str(heapline.tool("order")), truth, "2", "20000", "1"]
    assert run(heapline, command, "--children=all").returncode == 0
    assert finished_profile(heapline).stats()["allocations"] > 30_000


@pytest.mark.parametrize("binary", ["/nonexistent/heapline", "/bin/false", "/bin/sleep"])
def test_without_a_collector_the_program_runs_as_ever(heapline, binary):
    begin = time.monotonic()
    finished = run(heapline, [default_python().path, "-c", PROGRAM], HEAPLINE_START=binary)
    assert (finished.returncode, finished.stdout) == (0, "[]\n")
    assert time.monotonic() - begin < 10


def test_the_programs_own_waiting_sees_no_child_of_ours(heapline):
    program = "import os\ntry:\n    os.wait()\nexcept ChildProcessError:\n    print('none')\n"
    finished = run(heapline, [default_python().path, "-c", program])
    assert finished.stdout == "none\n"
