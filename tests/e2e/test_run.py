"""`heapline run`: the program behaves as it does alone, and what cannot be started is refused with its own status."""

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import time

import pytest

SHOW = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "path0": sys.path[0], "main": __name__, "file": globals().get("__file__"),
    "environ": dict(os.environ), "orig": getattr(sys, "orig_argv", None) and sys.orig_argv[1:], "cwd": os.getcwd(),
    "flags": list(sys.flags), "stdin": sys.stdin.read() if sys.stdin else None, "executable": sys.executable,
    "fds": sorted(os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")
                  if os.path.exists("/proc/self/fd/" + fd)),
    "mask": [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn", "SigCgt"))],
}))
"""


def same_program(heapline, program, **options):
    """Runs it alone and recorded; the two results."""
    return heapline.plain(program, **options), heapline.run(program, **options).finished


# --------------------------------------------------------------------------------------------- the program sees no trace


def test_the_program_sees_the_same_world(heapline, each_python):
    plain, recorded = same_program(
        heapline, SHOW, python=each_python, args=["a b", "-f", "--output", "x", "-q"], env={"FOO": "bar"}
    )
    alone, under = json.loads(plain.stdout), json.loads(recorded.stdout)
    for names in (alone, under):  # pipes have numbers that differ
        names["fds"] = [name.split(":")[0] for name in names["fds"]]
        names["environ"].pop("_", None)
    assert under == alone


def test_the_users_own_preload_stays(heapline, python):
    library = "libm.so.6"
    shown = heapline.run(SHOW, python=python, env={"LD_PRELOAD": library})
    assert json.loads(shown.stdout)["environ"]["LD_PRELOAD"] == library
    assert "HEAPLINE_" not in shown.stdout


@pytest.mark.parametrize("target", [["-m", "program", "x"], ["-c", "import program", "x"], ["program.py", "x"], ["."]])
def test_each_form_of_target_is_what_python_makes_of_it(heapline, python, target):
    (heapline.folder / "program.py").write_text(SHOW)
    (heapline.folder / "__main__.py").write_text("import sys; sys.argv[0] = 'main'; import program\n")
    plain, recorded = same_program(heapline, target, python=python)
    keys = ("argv", "path0", "main", "file", "orig")
    alone, under = json.loads(plain.stdout), json.loads(recorded.stdout)
    assert {key: under[key] for key in keys} == {key: alone[key] for key in keys}


def test_a_program_of_any_kind_behind_two_dashes(heapline):
    run = heapline.run(["--", "sh", "-c", 'echo "$0 $*"; exit 3', "zero", "-o", "b"], check=False)
    assert (run.stdout, run.exit) == ("zero -o b\n", 3)


def test_a_script_without_a_first_line_is_run_by_sh(heapline):
    script = heapline.folder / "script"
    script.write_text("echo $1\n")
    script.chmod(0o755)
    assert heapline.run(["--", "./script", "one"]).stdout == "one\n"


def test_without_a_target_python_reads_its_input(heapline, python):
    run = heapline(
        "run",
        "-q",
        "--python",
        python.path,
        stdin=subprocess.PIPE,
        timeout=20,
        prefix=["sh", "-c", "echo 'print(6*7)' | exec \"$@\"", "sh"],
    )
    assert (run.stdout, run.stderr, run.exit) == ("42\n", "", 0)
    assert list(heapline.folder.glob("python.*.heapline"))


def test_stdin_reaches_the_program(heapline, python):
    source = heapline.folder / "input"
    source.write_text("one\ntwo\n")
    with open(source) as stdin:
        assert heapline.run("import sys\nprint(len(sys.stdin.read()))\n", python=python, stdin=stdin).stdout == "8\n"


def test_a_pipe_that_the_program_closes_is_closed(heapline, python):
    """Neither the parent nor the collector may keep the reader waiting."""
    running = heapline.start("import os, time\nos.close(1)\ntime.sleep(30)\n", python=python)
    start = time.monotonic()
    assert running.process.stdout.read() == ""
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_standard_descriptors_stay_closed(heapline, python, closed):
    program = (
        "import os\nopen('seen', 'w').write(repr([fd for fd in range(3) if os.path.exists('/proc/self/fd/%d' % fd)]))\n"
    )
    closing = " ".join(f"{fd}<&-" if fd == 0 else f"{fd}>&-" for fd in closed)
    run = heapline.run(program, python=python)  # compare with open ones first
    assert (heapline.folder / "seen").read_text() == "[0, 1, 2]"
    run = heapline(
        "run",
        "-o",
        "closed.heapline",
        "--python",
        python.path,
        "program.py",
        prefix=["sh", "-c", f'exec "$@" {closing}', "sh"],
    )
    alone = heapline.folder / "seen"
    under = alone.read_text()
    subprocess.run(["sh", "-c", f'exec "$@" {closing}', "sh", python.path, "program.py"], cwd=heapline.folder)
    assert under == alone.read_text()
    assert run.exit == 0
    assert (heapline.folder / "closed.heapline").exists()


def test_an_inherited_descriptor_reaches_the_program_and_nobody_else(heapline, python):
    ours, theirs = socket.socketpair()
    heapline.start(
        f"import os, time\nos.write({theirs.fileno()}, b'hello')\nos.close({theirs.fileno()})\ntime.sleep(30)\n",
        python=python,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    ours.settimeout(20)
    assert ours.recv(100) == b"hello"
    assert ours.recv(100) == b""  # end of file although the program still runs


# ------------------------------------------------------------------------------------------------------- exit statuses


@pytest.mark.parametrize("status", [0, 1, 2, 42, 125, 126, 127, 255])
def test_the_programs_status_is_ours(heapline, python, status):
    assert heapline.run(f"import sys\nsys.exit({status})\n", python=python, check=False).exit == status


@pytest.mark.parametrize(
    "name", ["SIGKILL", "SIGSEGV", "SIGTERM", "SIGABRT", "SIGINT", "SIGUSR1", "SIGPIPE", "SIGRTMIN"]
)
def test_death_by_a_signal_is_ours_too(heapline, python, name):
    number = getattr(signal, name)
    run = heapline.run(
        f"import os, signal\nsignal.signal({int(number)}, signal.SIG_DFL) if {int(number)} != 9 else 0\n"
        f"os.kill(os.getpid(), {int(number)})\nimport time\ntime.sleep(10)\n",
        python=python,
        check=False,
    )
    assert run.exit == -number
    assert run.path.exists()


def test_an_exception_is_printed_as_alone(heapline, python):
    plain, recorded = (
        heapline.plain("import x_y_z\n", python=python),
        heapline.run("import x_y_z\n", python=python, check=False),
    )
    assert recorded.exit == plain.exit == 1
    assert recorded.stderr.startswith(plain.stderr)


REFUSED = {
    "no such script": (["nothing.py"], 127, "nothing.py: no such file"),
    "suffix forgotten": (["app"], 127, "did you mean app.py?"),
    "a command, not a script": (["ls"], 127, "heapline run -- ls"),
    "no such command": (["--", "no-such-command"], 127, "command not found"),
    "no such path": (["--", "./nothing"], 127, "command not found"),
    "not executable": (["--", "./app.py"], 126, "cannot be executed"),
    "a folder": (["--", "."], 126, "is a folder"),
    "its interpreter is not there": (["--", "./bad-interpreter"], 126, "interpreter"),
    "a program, not a script": (["/bin/true"], 126, "not a Python script"),
    "unknown option": (["--outptu", "x", "app.py"], 125, "did you mean --output?"),
    "value missing": (["-o"], 125, "needs a value"),
    "bad interval": (["--interval", "soon", "app.py"], 125, "not a duration"),
    "interval too short": (["--interval", "1us", "app.py"], 125, "out of range"),
    "bad children": (["--children=pythn", "app.py"], 125, "did you mean python?"),
    "bad label": (["--label", "novalue", "app.py"], 125, "KEY=VALUE"),
    "no such python": (["--python", "/no/python", "app.py"], 127, "command not found"),
    "nothing behind two dashes": (["--"], 125, "no program"),
    "file exists": (["-o", "there", "app.py"], 125, "exists already"),
    "no such folder": (["-o", "no/such/x.heapline", "app.py"], 125, "does not exist"),
    "a device": (["-f", "-o", "/dev/null", "app.py"], 125, "not a regular file"),
    "a folder that takes no files": (
        ["-o", "/proc/x.heapline", "app.py"],
        125,
        "no file can be made in the folder /proc (",
    ),
    "unknown %": (["-o", "x.%q", "app.py"], 125, "%p pid"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_started_is_refused(heapline, what):
    words, status, message = REFUSED[what]
    (heapline.folder / "app.py").write_text("open('started', 'w')\n")
    (heapline.folder / "there").write_text("precious")
    bad = heapline.folder / "bad-interpreter"
    bad.write_text("#!/no/such/interpreter\n")
    bad.chmod(0o755)
    before = sorted(heapline.folder.iterdir())
    run = heapline("run", *words)
    assert run.exit == status, run
    assert message in run.stderr
    assert run.stderr.startswith("heapline: ") and run.stderr.count("\n") == 1
    assert run.stdout == ""
    assert sorted(heapline.folder.iterdir()) == before  # nothing started, nothing left behind
    assert (heapline.folder / "there").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_the_root_folder_is_named_with_one_slash(heapline, python):
    run = heapline("run", "-c", "print('started')", cwd="/", user=65534, group=65534)
    assert (run.exit, run.stdout) == (125, "")
    assert run.stderr.startswith("heapline: /") and not run.stderr.startswith("heapline: //")
    assert "the folder /: permission denied" in run.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_folder_that_may_not_be_written_is_refused(heapline, python):
    closed = heapline.folder / "closed"
    closed.mkdir(mode=0o755)
    for folder in (heapline.folder, *list(heapline.folder.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    (heapline.folder / "app.py").write_text("print('started')\n")
    run = heapline("run", "-o", "closed/x.heapline", "app.py", user=65534, group=65534)
    assert run.exit == 125
    assert "closed: permission denied" in run.stderr
    assert run.stdout == ""


# ------------------------------------------------------------------------------------------------------------ the output


def test_the_default_name_tells_script_and_pid(heapline, python):
    (heapline.folder / "app.py").write_text("import os\nprint(os.getpid())\n")
    run = heapline("run", "--python", python.path, "app.py")
    assert (heapline.folder / f"app.{run.stdout.strip()}.heapline").exists()


def test_the_names_pattern(heapline, python):
    (heapline.folder / "app.py").write_text("import os\nprint(os.getpid())\n")
    run = heapline("run", "-o", "%h-%r-%p-%%.x", "--python", python.path, "app.py", env={"SLURM_PROCID": "7"})
    assert (heapline.folder / f"{socket.gethostname()}-7-{run.stdout.strip()}-%.x").exists()


def test_a_folder_takes_the_default_name(heapline, python):
    (heapline.folder / "out").mkdir()
    heapline("run", "-o", "out", "--python", python.path, "-m", "this")
    assert [path.name.split(".")[0] for path in (heapline.folder / "out").iterdir()] == ["this"]


def test_force_overwrites_and_follows_links(heapline, python):
    (heapline.folder / "old").write_text("old")
    (heapline.folder / "link").symlink_to("old")
    run = heapline("run", "-f", "-o", "link", "--python", python.path, "-c", "pass")
    assert run.exit == 0
    assert (heapline.folder / "link").is_symlink()
    assert (heapline.folder / "old").read_bytes().startswith(b"SQLite format 3")


def test_quiet_is_silent(heapline, python):
    run = heapline("run", "-q", "--python", python.path, "-c", "print(1)")
    assert (run.stdout, run.stderr, run.exit) == ("1\n", "", 0)


def test_the_end_is_five_lines_on_stderr(heapline, python):
    run = heapline.run("import os\nkept = [bytes(50_000_000)]\nos._exit(0)\n", python=python)
    assert run.stdout == ""
    lines = run.stderr.splitlines()
    assert len(lines) == 5, run.stderr
    assert "program.py" in lines[0] and "program.py:2" in run.stderr
    assert any("MB" in line for line in lines[:2])
    assert run.path.name in run.stderr and "heapline " in lines[-1]


def test_labels_and_options_are_kept(heapline, python):
    run = heapline.run("pass\n", python=python, options=["--label", "commit=abc", "--label=empty=", "--malloc-only"])
    assert dict(map(tuple, run.sql("SELECT key, value FROM label"))) == {"commit": "abc", "empty": ""}
    assert "--malloc-only" in run.value("SELECT value FROM meta WHERE key = 'options'")
    assert "program.py" in run.value("SELECT value FROM meta WHERE key = 'command'")


def test_no_temporary_files_stay(heapline, python):
    heapline.run("import time\ntime.sleep(1.5)\n", python=python)
    assert sorted(path.name for path in heapline.folder.iterdir()) == ["1.heapline", "program.py"]


def test_a_file_size_limit_that_leaves_no_room_is_refused(heapline, python):

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))

    run = heapline.run("print('done')\n", python=python, check=False, preexec_fn=limit)
    assert run.exit == 125 and "ulimit -f" in run.stderr  # the session needs 16 MB of its own, and says so
    assert run.stdout == ""


# ---------------------------------------------------------------------------------------------------- where Python is


@pytest.mark.pythons("3.6", "3.8", "3.11", "3.12", "3.13")
def test_the_python_in_path_is_used(heapline, python, each_python):
    run = heapline(
        "run",
        "-q",
        "-c",
        "import sys; sys.stdout.write(sys.executable)",
        env={"PATH": os.path.dirname(each_python.path) + ":/usr/bin:/bin"},
        prefix=each_python.prefix,
    )
    assert os.path.dirname(run.stdout) == os.path.dirname(each_python.path)


def test_a_python_that_is_a_shell_script(heapline, python):
    shim = heapline.folder / "python3"
    shim.write_text(
        f'#!/usr/bin/env bash\nset -e\nversion=$(cat /dev/null | wc -c)\nexec env sh -c \'exec {python.path} "$@"\' sh "$@"\n'
    )
    shim.chmod(0o755)
    (heapline.folder / "app.py").write_text("kept = [bytes(1000) for _ in range(1000)]\nprint(len(kept))\n")
    run = heapline("run", "-o", "x.heapline", "--python", "./python3", "app.py")
    assert run.stdout == "1000\n", run
    profile = heapline.profile(heapline.folder / "x.heapline")
    rows = profile.sql("SELECT * FROM process ORDER BY id")
    assert len(rows) == 1, [dict(row) for row in rows]  # its helpers are no processes of the program
    assert "app.py" in rows[0]["command"] and rows[0]["allocations"] > 1000


def test_a_library_path_with_blanks(heapline, python, heapline_binary):
    folder = heapline.folder / "my: programs"
    folder.mkdir()
    for name in ("heapline", "libheapline.so"):
        (folder / name).write_bytes((heapline_binary.parent / name).read_bytes())
        (folder / name).chmod(0o755)
    run = subprocess.run(
        [
            folder / "heapline",
            "run",
            "-o",
            heapline.folder / "x.heapline",
            "--python",
            python.path,
            "-c",
            "x = bytes(12345)",
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "ERROR" not in run.stderr
    assert heapline.profile(heapline.folder / "x.heapline").value("SELECT allocations FROM process WHERE id = 1") > 100


# ------------------------------------------------------------------------------------------------ env, status and stop


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def recordings(heapline):
    """Those of this test; others may be running."""
    everything = json.loads(heapline("status", "--json").stdout)["recordings"]
    return [entry for entry in everything if entry["output"].startswith(str(heapline.folder))]


def test_env_starts_a_recording_with_no_parent(heapline, python):
    (heapline.folder / "app.py").write_text(
        "import os, sys\nkept = [bytes(1000) for _ in range(1000)]\n"
        "print([name for name in os.environ if 'HEAPLINE_' in name or name == 'LD_PRELOAD'])\n"
        "os.system(sys.executable + ' -c pass')\n"
    )
    shell = f'eval "$("$0" env -o job-%p.x --label "name=it\'s me")"; true; ls >/dev/null; {python.path} app.py; {python.path} -c pass'
    run = subprocess.run(
        ["sh", "-c", shell, heapline.binary], cwd=heapline.folder, capture_output=True, text=True, timeout=60
    )
    assert (run.stdout, run.stderr, run.returncode) == ("[]\n", "", 0)
    wait_for(lambda: not recordings(heapline))
    found = {
        heapline.profile(path).value("SELECT value FROM meta WHERE key = 'command'"): path
        for path in heapline.folder.glob("job-*.x")
    }
    assert set(found) == {"app.py", "-c pass"}
    profile = heapline.profile(found["app.py"])
    assert profile.value("SELECT value FROM label WHERE key = 'name'") == "it's me"
    assert profile.value("SELECT allocations FROM process WHERE id = 1") > 1000
    assert profile.value("SELECT count(*) FROM process WHERE python IS NOT NULL") == 2
    assert profile.value("SELECT ended FROM process WHERE id = 1") == "exit"


def test_env_refused_leaves_the_program_alone(heapline, python):
    (heapline.folder / "there").write_text("precious")
    run = subprocess.run(
        ["sh", "-c", f'eval "$("$0" env -o there)"; {python.path} -c "print(1)"', heapline.binary],
        cwd=heapline.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.stdout, run.returncode) == ("1\n", 0)
    assert run.stderr.startswith("heapline: ") and "there: exists already" in run.stderr
    assert (heapline.folder / "there").read_text() == "precious"


WAITS = "import time\nprint('up', flush=True)\ntime.sleep(60)\n"


@pytest.mark.parametrize("name", ["two.hl", "link.hl", "below/../two.hl", "hard.hl"])
def test_a_file_that_a_running_recording_writes_is_refused(heapline, python, name):
    running = heapline.start(WAITS, python=python, options=["-o", "two.hl"])
    assert running.process.stdout.readline() == "up\n"
    (heapline.folder / "below").mkdir()
    (heapline.folder / "link.hl").symlink_to("two.hl")
    if name == "hard.hl":
        wait_for(running.path.exists)
        os.kill(recordings(heapline)[0]["collector"], signal.SIGSTOP)  # or it would replace the file meanwhile
        os.link(running.path, heapline.folder / name)
    for options in (["-f"], []):
        run = heapline("run", *options, "-o", name, "--python", python.path, "-c", "print('started')")
        assert (run.exit, run.stdout) == (125, ""), run
        assert "a running recording writes this file: pid " in run.stderr and "program.py" in run.stderr, run
    os.kill(recordings(heapline)[0]["collector"], signal.SIGCONT)
    other = heapline("run", "-o", "other.hl", "--python", python.path, "-c", "print('started')")
    assert (other.exit, other.stdout) == (0, "started\n")


def test_of_two_that_begin_at_once_into_one_file_one_is_refused(heapline, python):
    program = "import time\nprint('up', flush=True)\ntime.sleep(1)\n"
    for _ in range(3):
        both = [heapline.start(program, python=python, options=["-f", "-o", "two.hl"]) for _ in range(2)]
        ended = sorted((run.finish() for run in both), key=lambda run: run.exit)
        assert [run.exit for run in ended] == [0, 125], [str(run.finished) for run in ended]
        assert (ended[0].stdout, ended[1].stdout) == ("up\n", "")


def test_env_does_not_begin_in_a_file_that_is_being_written(heapline, python):
    running = heapline.start(WAITS, python=python, options=["-o", "two.hl"])
    assert running.process.stdout.readline() == "up\n"
    shell = f'eval "$("$0" env -f -o two.hl)"; {python.path} -c "print(1)"'
    run = subprocess.run(
        ["sh", "-c", shell, heapline.binary], cwd=heapline.folder, capture_output=True, text=True, timeout=60
    )
    assert (run.stdout, run.returncode) == ("1\n", 0)
    assert "a running recording writes this file" in run.stderr and "not recorded" in run.stderr


@pytest.mark.parametrize("by", ["file", "pid"])
def test_status_waits_for_the_end(heapline, python, by):
    shell = f'eval "$("$0" env -o job.x)"; exec {python.path} -c "import time; time.sleep(1); kept = bytes(10**6)"'
    program = subprocess.Popen(["sh", "-c", shell, heapline.binary], cwd=heapline.folder, stderr=subprocess.PIPE)
    wait_for(lambda: recordings(heapline))
    wait = heapline("status", "--wait", "job.x" if by == "file" else str(program.pid))
    assert (wait.exit, wait.stdout, wait.stderr) == (0, "", "")
    assert heapline.profile(heapline.folder / "job.x").stats()["state"] == "finished"
    assert program.communicate(timeout=20)[1] == b"" and program.returncode == 0
    assert heapline("status", "--wait", "job.x").exit == 0  # it has ended already


def test_status_waits_for_no_file_that_nobody_writes(heapline):
    wait = heapline("status", "--wait", "nowhere.heapline")
    assert wait.exit == 1 and "nowhere.heapline: no such file" in wait.stderr
    assert heapline("status", "nowhere.heapline").exit == 2
    assert heapline("status", "--wait", "--json").exit == 2


def test_status_lists_and_stop_ends_a_recording(heapline, python):
    running = heapline.start(
        "import time\nkept = bytes(10_000_000)\nprint('up', flush=True)\nwhile True:\n    time.sleep(0.1)\n",
        python=python,
    )
    assert running.process.stdout.readline() == "up\n"
    (entry,) = [r for r in recordings(heapline) if r["output"] == str(running.path)]
    assert entry["command"].endswith("program.py") and entry["processes"] == 1
    text = heapline("status").stdout
    assert str(running.path) in text and str(entry["pid"]) in text
    stopped = heapline("stop", str(entry["pid"]))
    assert (stopped.stdout, stopped.exit) == (str(running.path) + "\n", 0)
    assert not [r for r in recordings(heapline) if r["output"] == str(running.path)]
    assert running.process.poll() is None  # the program goes on
    assert running.profile().value("SELECT live FROM process WHERE id = 1") >= 10_000_000
    os.kill(entry["pid"], signal.SIGTERM)
    assert running.finish().exit == -signal.SIGTERM


def test_stop_by_file(heapline, python):
    running = heapline.start("import time\nprint('up', flush=True)\ntime.sleep(60)\n", python=python)
    assert running.process.stdout.readline() == "up\n"
    wait_for(running.path.exists)
    assert heapline("stop", str(running.path)).exit == 0
    assert heapline("stop", str(running.path)).exit == 1


def test_stop_of_nothing(heapline):
    assert heapline("stop").exit == 2
    stop = heapline("stop", "no.heapline")
    assert stop.exit == 1 and "heapline status" in stop.stderr


def test_the_registry_of_somebody_else_is_not_trusted(heapline, python):
    open_to_all = heapline.folder / "runtime" / "heapline"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    env = {"XDG_RUNTIME_DIR": str(open_to_all.parent)}
    running = heapline.start("import time\nprint('up', flush=True)\ntime.sleep(60)\n", python=python, env=env)
    assert running.process.stdout.readline() == "up\n"
    assert not list(open_to_all.iterdir())
    assert [
        r
        for r in json.loads(heapline("status", "--json", env=env).stdout)["recordings"]
        if r["output"] == str(running.path)
    ]


def test_the_registry_is_closed_to_others(heapline, python):
    runtime = heapline.folder / "runtime"
    runtime.mkdir(mode=0o700)
    heapline.run("pass\n", python=python, env={"XDG_RUNTIME_DIR": str(runtime)})
    folder = runtime / "heapline"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(folder.iterdir())  # ended recordings leave nothing


# --------------------------------------------------------------------------------------------------------------- words


def test_help_and_version(heapline):
    assert heapline("--version").stdout.startswith("heapline ")
    assert "run" in heapline("help").stdout
    assert "--malloc-only" in heapline("help", "run").stdout
    assert heapline("run", "--help").stdout == heapline("help", "run").stdout
    assert (heapline("rnu").exit, heapline().exit) == (2, 2)
    assert "did you mean run?" in heapline("rnu").stderr
    assert "heapline run app.py" in heapline("app.py").stderr


@pytest.mark.parametrize("option", ["-X", "-I", "-W"])
def test_options_of_the_interpreter_have_a_place(heapline, option):
    refused = heapline("run", option, "dev", "app.py")
    assert refused.exit == 125
    assert (
        f"{option}: no such option; those of the interpreter come behind it: heapline run -- python" in refused.stderr
    )
