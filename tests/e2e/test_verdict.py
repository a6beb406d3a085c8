"""What `heapline run` says at the end, for each way in which a program or its recording can end."""

import contextlib
import os
import re
import subprocess
import textwrap

import handmade
import pytest


@pytest.fixture
def small_disk(heapline):
    """A folder with 300 kB: room for a small profile."""
    folder = heapline.folder / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small tmpfs")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", folder], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder])


def test_a_full_disk_ends_no_program(heapline, python, small_disk):
    (small_disk / "filler").write_bytes(b"x" * (270 << 10))
    run = heapline.run("print('done')\n", python=python, options=["-o", "small/x.heapline"], check=False)
    assert (run.exit, run.stdout) == (0, "done\n")
    assert run.stderr.splitlines() == [
        "heapline: small/x.heapline: no space left on device: nothing of this recording could be saved"
    ]
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


FILLS_THE_DISK = """
    import os, sqlite3, sys, time
    while True:  # until the first profile is there: it is replaced at most once a second
        try:
            if sqlite3.connect("file:small/x.heapline?mode=ro", uri=True).execute("SELECT * FROM meta").fetchall():
                break
        except sqlite3.Error:
            time.sleep(0.002)
    with open("small/filler", "wb", 0) as filler:
        try:
            while True:
                filler.write(b"x" * 1024)
        except OSError:
            pass
    kept = [bytearray(1000) for _ in range(3000)]
    time.sleep(1.2)
    sys.exit(3)
    """


def test_a_disk_that_fills_up_leaves_the_last_profile_and_says_so(heapline, python, small_disk):
    run = heapline.run(FILLS_THE_DISK, python=python, options=["-o", "small/x.heapline"], check=False)
    assert run.exit == 3
    lost, verdict, alive, *_ = run.stderr.splitlines()
    pattern = r"x\.heapline: no space left on device: the last \S+ m?s of the recording are lost, the profile holds the first "
    assert re.search(pattern, lost), run.stderr
    assert re.search(r"failed with exit status 3 after [1-9]\.\d\d s; in the first \d+ ms: ", verdict), run.stderr
    assert alive.startswith("  alive: ")
    assert "was still running at" in heapline("stats", run.path).stdout


KILLS_THE_COLLECTOR = """
    import os, sys, time
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getppid() and int(pid) != os.getpid():
            os.kill(int(pid), 9)
            time.sleep(0.2)
            sys.exit(4)
    """


def test_a_killed_collector_leaves_what_it_had_saved(heapline, python):
    program = "import time\ntime.sleep(2.3)\n" + textwrap.dedent(KILLS_THE_COLLECTOR)
    run = heapline.run(program, python=python, check=False)
    assert run.exit == 4
    lost, verdict, *_ = run.stderr.splitlines()
    assert re.search(r"the collector has died: the last .* lost, the profile holds the first [12]\.", lost), lost
    assert re.search(r"failed with exit status 4 after .* in the first [12]\.", verdict), verdict
    assert "still running" not in run.stderr


def test_the_verdict_is_never_of_an_older_recording(heapline, python, small_disk):
    handmade.write(small_disk / "x.heapline")
    with open(small_disk / "filler", "wb", 0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 1024):
            pass
    run = heapline.run(
        "import sys\nsys.exit(5)\n", python=python, options=["-f", "-o", "small/x.heapline"], check=False
    )
    assert run.exit == 5
    assert run.stderr.splitlines() == [
        "heapline: small/x.heapline: no space left on device: nothing of this recording could be saved "
        "(the file there is of an earlier one)"
    ]


@pytest.mark.parametrize(
    ("end", "ending", "label"),
    [
        ("sys.exit(0)", r"ended well \(exit status 0\) after", "not freed:"),
        ("sys.exit(3)", "failed with exit status 3 after", "not freed:"),
        ("os._exit(0)", r"ended well \(exit status 0\) after", "not freed:"),
        ("os.kill(os.getpid(), 15)", r"was killed by SIGTERM \(asked to end\) after", "alive:    "),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL after", "alive:    "),
    ],
)
def test_the_verdict_says_how_it_ended(heapline, python, end, ending, label):
    keep = "import os, sys, ctypes\nkept = [bytearray(10**6)]\nctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))\n"
    run = heapline.run(f"{keep}{end}\n", python=python, check=False)
    verdict, left, *_ = run.stderr.splitlines()
    assert re.search(rf"program\.py {ending} [0-9.]+ m?s; peak [1-9][0-9.]+ MB at ", verdict), verdict
    assert left.startswith(f"  {label} "), left


@pytest.mark.pythons(since=(3, 6))
def test_what_the_interpreter_itself_leaves_is_not_worth_a_line(heapline, each_python):
    run = heapline.run("kept = bytearray(1000)\n", python=each_python)
    assert [line.split()[0] for line in run.stderr.splitlines()] == ["heapline:", "allocated:", "profile:", "next:"]
    assert run.value("SELECT live FROM process WHERE id = 1") > 0  # the profile has it


def test_what_lines_leave_is(heapline, python):
    program = "import ctypes\nkept = [bytearray(100_000)]\nctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))\n"
    lines = heapline.run(program, python=python).stderr.splitlines()
    assert lines[1].startswith("  not freed: "), lines


def test_what_comes_next_can_be_typed(heapline, python):
    run = heapline.run("pass\n", python=python, options=["-o", "it's a file.heapline"])
    command = run.stderr.splitlines()[-1].partition("next:")[2].split(maxsplit=1)
    shown = subprocess.run(
        f"{heapline.binary} {command[1]}", shell=True, cwd=heapline.folder, capture_output=True, text=True
    )
    assert shown.returncode == 0 and "ended well" in shown.stdout, run.stderr


@pytest.mark.parametrize("words", [["stats"], ["run"], ["run", "--"], ["stop"], ["stats", "--at"], []])
def test_messages_cannot_speak_to_the_terminal(heapline, words):
    finished = heapline(*words, "\x1b]0;x\x07\n\x1b[2J\udcff")
    assert finished.exit not in (0, 1) or words == ["stop"]
    assert finished.stderr.count("\n") == 1 and finished.stderr.endswith("\n")
    assert "\\x1b]0;x\\x07\\x0a\\x1b[2J\\xff" in finished.stderr
    assert all(c >= " " or c == "\n" for c in finished.stderr)
