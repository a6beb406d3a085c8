"""Processes: every way of making children is followed into one profile, one row a process, which says how it ended."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

# A child that keeps a known number of bytes in a function of its own.
CHILD = """
import sys
def child_keeps():
    return [bytearray(100000) for _ in range(20)]
kept = child_keeps()
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""
CHILD_BYTES = 2_000_000


@pytest.fixture
def child(heapline):
    path = heapline.folder / "child.py"
    path.write_text(CHILD)
    return path


def rows_of(profile):
    return [dict(row) for row in profile.sql("SELECT * FROM process ORDER BY id")]


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return found


def adds_up(profile):
    for row in profile.sql(
        "SELECT process.*, sum(stat.allocated) AS a, sum(stat.freed) AS f, sum(stat.live) AS l, sum(stat.peak) AS p "
        "FROM process JOIN stat ON stat.process = process.id GROUP BY process.id"
    ):
        assert (row["a"], row["f"], row["l"], row["p"]) == (row["allocated"], row["freed"], row["live"], row["peak"])
        assert row["lost"] == 0


HEAD = "import os, signal, subprocess, sys, time, ctypes\nPY = sys.executable\nCHILD = [PY, 'child.py', '3']\nlibc = ctypes.CDLL(None)\n"

# Each ends with the child's exit status 3 in `status` (a wait status).
WAYS = {
    "subprocess": "status = subprocess.call(CHILD) << 8",
    "subprocess with an empty environment": "status = subprocess.call(CHILD, env={}) << 8",
    "subprocess with another environment": "status = subprocess.call(CHILD, env={'A': 'b', 'LD_PRELOAD': 'libm.so.6'}) << 8",
    "subprocess that keeps descriptors": "status = subprocess.call(CHILD, close_fds=False) << 8",
    "subprocess with preexec_fn": "status = subprocess.call(CHILD, preexec_fn=lambda: None) << 8",
    "subprocess in a session of its own": "status = subprocess.call(CHILD, start_new_session=True) << 8",
    "subprocess through a shell": "status = subprocess.call(' '.join(CHILD), shell=True) << 8",
    "system": "status = os.system(' '.join(CHILD))",
    "popen of libc": "libc.popen.restype = ctypes.c_void_p\nlibc.pclose.argtypes = [ctypes.c_void_p]\n"
    "status = libc.pclose(libc.popen(' '.join(CHILD).encode(), b'r'))",
    "posix_spawn": "status = os.waitpid(os.posix_spawn(PY, CHILD, {}), 0)[1]",
    "posix_spawnp": "os.environ['PATH'] = os.path.dirname(PY)\nstatus = os.waitpid(os.posix_spawnp(os.path.basename(PY), CHILD, os.environ), 0)[1]",
    "fork": "pid = os.fork()\nif pid == 0:\n    exec(compile(open('child.py').read().replace('sys.argv', '[0, 3]'), 'child.py', 'exec'))\n"
    "status = os.waitpid(pid, 0)[1]",
    "fork of libc": "pid = libc.fork()\nif pid == 0:\n    os.execv(PY, CHILD)\nstatus = os.waitpid(pid, 0)[1]",
    **{
        f"fork and {name}": f"pid = os.fork()\nif pid == 0:\n    {call}\nstatus = os.waitpid(pid, 0)[1]"
        for name, call in {
            "execv": "os.execv(PY, CHILD)",
            "execve": "os.execve(PY, CHILD, {})",
            "execvp": "os.environ['PATH'] = os.path.dirname(PY)\n    os.execvp(os.path.basename(PY), CHILD)",
            "execvpe": "os.execvpe(PY, CHILD, {'A': 'b'})",
            "execl": "os.execl(PY, *CHILD)",
            "execle": "os.execle(PY, *CHILD, {})",
            "execl of libc": "libc.execl(PY.encode(), PY.encode(), b'child.py', b'3', None)",
            "execlp of libc": "libc.execlp(PY.encode(), PY.encode(), b'child.py', b'3', None)",
            "execle of libc": "libc.execle(PY.encode(), PY.encode(), b'child.py', b'3', None, (ctypes.c_char_p * 2)(b'A=b', None))",
            "fexecve": "os.execve(os.open(PY, os.O_RDONLY), CHILD, {'A': 'b'})",
            "an environment of 5,000 variables": "os.execve(PY, CHILD, {'VARIABLE_%d' % i: 'x' * 20 for i in range(5000)})",
        }.items()
    },
    "two forks, two execs": "pid = os.fork()\nif pid == 0:\n    os.execv('/bin/sh', ['sh', '-c', ' '.join(['exec'] + CHILD)])\nstatus = os.waitpid(pid, 0)[1]",
    "env -i": "status = subprocess.call(['env', '-i'] + CHILD) << 8",
    "a script with a first line": "open('script', 'w').write('#!%s\\nimport sys\\nsys.argv = [0, 3]\\n%s' % (PY, open('child.py').read()))\n"
    "os.chmod('script', 0o755)\nstatus = subprocess.call(['./script']) << 8",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_child_is_followed(heapline, python, child, way):
    profile = heapline.run(HEAD + WAYS[way] + "\nassert status == 3 << 8, status\n", python=python, timeout=60)
    children = [row for row in rows_of(profile)[1:] if row["python"]]
    assert len(children) == 1, rows_of(profile)
    row = children[0]
    assert (row["ended"], row["exit_status"]) == ("exit", 3)
    assert row["reason"] == "" and row["recorded"] == "objects"
    assert profile.allocated(function="child_keeps", pid=row["pid"], callees=True).bytes >= CHILD_BYTES
    assert row["parent"] is not None
    adds_up(profile)


@pytest.mark.parametrize("way", ["subprocess", "system", "fork", "fork and execv", "posix_spawn"])
def test_every_python_follows(heapline, each_python, child, way):
    if way == "posix_spawn" and each_python.version < (3, 8):
        pytest.skip("os.posix_spawn is newer")
    profile = heapline.run(HEAD + WAYS[way] + "\nassert status == 3 << 8, status\n", python=each_python, timeout=60)
    children = [row for row in rows_of(profile)[1:] if row["recorded"] != "nothing"]
    assert [(row["ended"], row["exit_status"]) for row in children] == [("exit", 3)]
    adds_up(profile)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(heapline, python, method):
    profile = heapline.run(
        f"""
        import multiprocessing, os
        def work(n):
            kept = [bytes(100_000) for _ in range(n)]
            return len(kept)
        def main():
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                print(sum(pool.map(work, [10, 20, 30])))
        if __name__ == "__main__":
            main()
        """,
        python=python,
    )
    assert profile.stdout == "60\n"
    rows = rows_of(profile)
    workers = [row for row in rows if profile.allocated(function="work", pid=row["pid"], callees=True).bytes]
    assert workers and all(row["id"] > 1 for row in workers)
    assert sum(profile.allocated(function="work", pid=row["pid"], callees=True).bytes for row in workers) >= 6_000_000
    assert all(row["ended"] != "running" for row in rows)
    adds_up(profile)


def test_a_process_says_how_it_ended(heapline, python):
    profile = heapline.run(
        HEAD
        + """
for ending in ("os._exit(7)", "sys.exit(8)", "os.kill(os.getpid(), 9)", "os.abort()", "raise SystemExit('words')"):
    pid = os.fork()
    if pid == 0:
        exec(ending)
    os.waitpid(pid, 0)
""",
        python=python,
    )
    assert [(row["ended"], row["exit_status"]) for row in rows_of(profile)[1:]] == [
        ("exit", 7),
        ("exit", 8),
        ("signal", 9),
        ("signal", 6),
        ("exit", 1),
    ]


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_forked_child_counts_only_its_own(heapline, python, seconds):
    """Also a child that lives for less than a tick is in the tree's peak, on top of what its parent holds meanwhile."""
    profile = heapline.run(
        HEAD
        + """
def parents():
    return [bytes(1_000_000) for _ in range(10)]
kept = parents()
pid = os.fork()
if pid == 0:
    def childs():
        return bytes(3_000_000)
    mine = childs()
    time.sleep(float(sys.argv[1]))
    del kept
    os._exit(0)
os.waitpid(pid, 0)
del kept
""",
        python=python,
        args=[seconds],
    )
    parent, child = rows_of(profile)
    assert profile.allocated(function="parents", callees=True).bytes >= 10_000_000
    assert 3_000_000 <= child["peak"] < 4_000_000
    assert child["inherited_frees"] >= 10
    assert parent["peak"] >= 10_000_000
    tree = (
        profile.value("SELECT value FROM meta WHERE key = 'peak_bytes'")
        if profile.sql("SELECT 1 FROM meta WHERE key = 'peak_bytes'")
        else profile.stats()["peak_bytes"]
    )
    assert tree >= 13_000_000


def test_exec_continues_the_row_and_ends_the_image(heapline, python, child):
    profile = heapline.run(HEAD + "kept = bytes(50_000_000)\nos.execv(PY, CHILD)\n", python=python, check=False)
    (row,) = rows_of(profile)
    assert profile.exit == 3 and (row["ended"], row["exit_status"]) == ("exit", 3)
    assert 50_000_000 <= row["peak"] < 70_000_000
    assert row["live"] < 20_000_000  # what the first image held is gone
    assert profile.allocated(function="child_keeps", callees=True).bytes >= CHILD_BYTES
    adds_up(profile)


def test_a_failed_exec_changes_nothing(heapline, python):
    profile = heapline.run(
        HEAD
        + """
for path in ("/no/such/file", "/etc/passwd", "/"):
    try: os.execv(path, ["x"])
    except OSError: pass
try: subprocess.call(["no-such-command"])
except OSError: pass
try: os.posix_spawn("/no/such/file", ["x"], {})
except OSError: pass
def after():
    return [bytes(1000) for _ in range(5000)]
kept = after()
""",
        python=python,
    )
    assert profile.allocated(function="after", callees=True).bytes >= 5_000_000
    assert rows_of(profile)[0]["recorded"] == "objects"
    adds_up(profile)


# ---------------------------------------------------------------------------------------------------- --children


def test_children_none_records_the_program_alone(heapline, python, child):
    profile = heapline.run(
        HEAD + "subprocess.call(CHILD)\nos.system(' '.join(CHILD))\npid = os.fork()\n"
        "if pid == 0:\n    kept = [bytes(100_000)]; os._exit(0)\nos.waitpid(pid, 0)\n",
        python=python,
        options=["--children=none"],
    )
    assert profile.value("SELECT count(*) FROM process WHERE allocations > 0") == 1
    assert profile.allocated(function="child_keeps", callees=True).bytes == 0
    assert profile.stdout == ""


def test_children_none_still_finds_python_behind_a_shell_script(heapline, python, child):
    shim = heapline.folder / "python3"
    shim.write_text(f'#!/bin/sh\nexec {python.path} "$@"\n')
    shim.chmod(0o755)
    run = heapline("run", "-o", "x.heapline", "--children=none", "--python", "./python3", "child.py", "3")
    assert run.exit == 3
    assert (
        heapline.profile(heapline.folder / "x.heapline").allocated(function="child_keeps", callees=True).bytes
        >= CHILD_BYTES
    )


def test_other_children_are_listed_and_with_all_recorded(heapline, python):
    program = HEAD + "subprocess.call(['sort', '/etc/passwd'], stdout=subprocess.DEVNULL)\n"
    listed = rows_of(heapline.run(program, python=python))[1]
    assert listed["recorded"] == "nothing" and "not Python" in listed["reason"] and listed["allocations"] == 0
    assert "sort" in listed["command"] and (listed["ended"], listed["exit_status"]) == ("exit", 0)
    recorded = rows_of(heapline.run(program, python=python, options=["--children=all"]))[1]
    assert recorded["recorded"] == "malloc" and recorded["allocations"] > 0


def test_python_below_a_program_that_is_not_followed(heapline, python, child):
    """A shell stands between: its Python child is followed all the same."""
    profile = heapline.run(
        HEAD + "subprocess.call(['sh', '-c', 'sh -c \"%s; true\"; true' % ' '.join(CHILD)])\n", python=python
    )
    rows = rows_of(profile)
    python_rows = [row for row in rows if row["python"]]
    assert len(python_rows) == 2 and len(rows) == 4
    by_id = {row["id"]: row for row in rows}
    row, depth = python_rows[1], 0
    while row["parent"]:
        row, depth = by_id[row["parent"]], depth + 1
    assert depth == 3 and row["id"] == 1


def test_any_program_behind_two_dashes_is_recorded(heapline):
    profile = heapline.run(["--", "sort", "/etc/passwd"])
    (row,) = rows_of(profile)
    assert row["recorded"] == "malloc" and row["allocations"] > 0 and row["python"] is None


# Programs that cannot bear the library, each with what compiles it; all sleep a little and end with status 4.
SLEEPER = "#include <unistd.h>\nint main(void) { usleep(200000); return 4; }\n"
NO_CRT = "#include <unistd.h>\nvoid _start(void) { usleep(200000); _exit(4); }\n"
UNFIT = {
    "static": ("cc -static", SLEEPER, "a statically linked program"),
    "static PIE": ("cc -static-pie", SLEEPER, "a statically linked program"),
    "musl": ("musl-gcc", SLEEPER, "a program of another libc (musl)"),
    "static musl": ("musl-gcc -static", SLEEPER, "a statically linked program"),
    "32-bit": ("gcc -m32 -nostartfiles -nodefaultlibs", NO_CRT, "a 32-bit program"),
    "AddressSanitizer": ("gcc -fsanitize=address", SLEEPER, "checked by AddressSanitizer"),
    "setuid": ("cc", SLEEPER, "a setuid program"),
}


@pytest.fixture(params=UNFIT)
def unfit(request, tmp_path):
    """A program that cannot be followed, and the reason."""
    compiler, source, reason = UNFIT[request.param]
    (tmp_path / "unfit.c").write_text(source)
    command = [*compiler.split(), "-o", tmp_path / "unfit", tmp_path / "unfit.c"]
    command += ["-lc"] if "-nodefaultlibs" in command else []
    if not shutil.which(command[0]) or subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{compiler} makes no program on this machine")
    if request.param == "setuid":
        if os.geteuid() != 0:
            pytest.skip("needs root, to make a program of another user")
        os.chown(tmp_path / "unfit", 65534, -1)
        (tmp_path / "unfit").chmod(0o4755)
        tmp_path.chmod(0o755)
    return tmp_path / "unfit", reason


def test_an_unfit_child_runs_as_alone_and_is_listed(heapline, python, unfit):
    path, reason = unfit
    profile = heapline.run(HEAD + f"assert subprocess.call([{str(path)!r}]) == 4\n", python=python, options=["-q"])
    assert profile.stderr == ""
    (row,) = rows_of(profile)[1:]
    assert row["recorded"] == "nothing" and reason in row["reason"]
    assert (row["ended"], row["exit_status"]) == ("exit", 4)
    assert reason.split()[-1] in profile.text("processes")


def test_an_unfit_program_runs_as_alone_and_says_why(heapline, unfit):
    path, reason = unfit
    profile = heapline.run(["--", str(path)], check=False)
    assert profile.exit == 4
    first, *rest = profile.stderr.splitlines()
    assert first.startswith(f"heapline: {path}: {reason}") and first.endswith(": it runs, and is not recorded")
    assert "nothing was recorded" in rest[0]
    (row,) = rows_of(profile)
    assert row["recorded"] == "nothing" and reason in row["reason"] and row["executable"] == str(path)
    assert (row["ended"], row["exit_status"]) == ("exit", 4)
    assert reason.split()[-1] in profile.text("processes")


def test_an_unfit_interpreter_of_a_script_says_why(heapline, unfit):
    path, reason = unfit
    script = heapline.folder / "script"
    script.write_text(f"#!{path} word\n")
    script.chmod(0o755)
    profile = heapline.run(["--", "./script"], check=False)
    assert profile.exit == 4 and reason in profile.stderr.splitlines()[0]
    assert profile.stderr.count("\n") == 6, profile.stderr  # the reason, and the report's lines


def test_a_static_program_that_executes_python_is_recorded_from_there(heapline, python, tmp_path, child):
    source = tmp_path / "between.c"
    source.write_text(
        "#include <unistd.h>\nint main(int n, char **v) { usleep(50000); execv(v[1], v + 1); return 9; }\n"
    )
    if subprocess.run(["cc", "-static", "-o", tmp_path / "between", source], capture_output=True).returncode:
        pytest.skip("no static libc on this machine")
    profile = heapline.run(["--", "./between", python.path, "child.py", "3"], check=False)
    (row,) = rows_of(profile)
    assert profile.exit == 3 and (row["recorded"], row["reason"], row["exit_status"]) == ("objects", "", 3)
    assert profile.allocated(function="child_keeps", callees=True).bytes >= CHILD_BYTES
    adds_up(profile)


def test_a_child_without_proc_runs_as_alone_and_is_listed(heapline, python):
    """Another mount namespace, where the recording cannot be reached."""
    try_out = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc"]
    if not shutil.which("unshare") or subprocess.run(try_out, capture_output=True).returncode:
        pytest.skip("needs the right to make mount namespaces")
    inside = "mount -t tmpfs none /proc; exec sleep 0.3"
    profile = heapline.run(
        HEAD + f"assert subprocess.call(['unshare', '-m', 'sh', '-c', '{inside}']) == 0\n",
        python=python,
        options=["-q"],
    )
    assert profile.stderr == ""
    row = rows_of(profile)[-1]
    assert row["recorded"] == "nothing" and row["reason"]


def test_a_child_behind_a_static_one_is_followed(heapline, python, tmp_path, child):
    source = tmp_path / "between.c"
    source.write_text("#include <unistd.h>\nint main(int n, char **v) { execv(v[1], v + 1); return 9; }\n")
    if subprocess.run(["cc", "-static", "-o", tmp_path / "between", source], capture_output=True).returncode:
        pytest.skip("no static libc on this machine")
    profile = heapline.run(HEAD + f"assert subprocess.call(['{tmp_path}/between'] + CHILD) == 3\n", python=python)
    assert profile.allocated(function="child_keeps", callees=True).bytes >= CHILD_BYTES


def test_a_chroot_without_the_library_prints_nothing(heapline, python):
    if os.geteuid() != 0:
        pytest.skip("needs root, to chroot")
    empty = heapline.folder / "root"
    for path in (
        "/bin/sh",
        *(
            line.split()[-2]
            for line in subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True).stdout.splitlines()
            if "/" in line
        ),
    ):
        target = empty / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
        target.chmod(0o755)
    program = (
        HEAD
        + f"pid = os.fork()\nif pid == 0:\n    os.chroot({str(empty)!r})\n    os.chdir('/')\n    os.execv('/bin/sh', ['sh', '-c', 'echo inside'])\nos.waitpid(pid, 0)\n"
    )
    profile = heapline.run(program, python=python, options=["-q"])
    assert (profile.stdout, profile.stderr) == ("inside\n", "")


def test_a_child_with_shared_asan_runs_as_alone(heapline, python, tmp_path):
    """Its runtime ends the program when another library is loaded in front of it."""
    source = tmp_path / "checked.c"
    source.write_text("#include <stdlib.h>\nint main(void) { free(malloc(9)); return 4; }\n")
    if subprocess.run(
        ["gcc", "-fsanitize=address", "-o", tmp_path / "checked", source], capture_output=True
    ).returncode:
        pytest.skip("no compiler with AddressSanitizer on this machine")
    program = (
        HEAD
        + f"assert subprocess.call(['{tmp_path}/checked']) == 4\nassert os.system('{tmp_path}/checked') == 4 << 8\n"
    )
    profile = heapline.run(program, python=python, options=["-q"])
    assert profile.stderr == ""


def test_nested_recordings(heapline, python, child):
    inner = heapline.folder / "inner.heapline"
    profile = heapline.run(
        HEAD
        + f"assert subprocess.call([{str(heapline.binary)!r}, 'run', '-q', '-o', {str(inner)!r}, '--python', PY, 'child.py', '3']) == 3\n",
        python=python,
    )
    assert heapline.profile(inner).allocated(function="child_keeps", callees=True).bytes >= CHILD_BYTES
    assert profile.allocated(function="child_keeps", callees=True).bytes == 0  # recorded once, by the inner one
    adds_up(profile)


# ------------------------------------------------------------------------------------------------------- daemons


def test_a_daemon_outlives_the_program(heapline, python):
    running = heapline.start(
        """
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.close(0); os.close(1); os.close(2)
                open("daemon", "w").write(str(os.getpid()))
                while not os.path.exists("go"): time.sleep(0.01)
                kept = [bytes(100_000) for _ in range(30)]
                while not os.path.exists("end"): time.sleep(0.01)
                os._exit(6)
            os._exit(0)
        os.wait()
        while not os.path.exists("daemon"): time.sleep(0.01)
        """,
        python=python,
    )
    ended = running.finish()
    assert ended.exit == 0
    assert "still run" in ended.stderr
    pid = int((heapline.folder / "daemon").read_text())
    row = next(row for row in rows_of(ended) if row["pid"] == pid)
    assert row["ended"] == "running"
    (heapline.folder / "go").touch()
    wait_for(lambda: ended.value("SELECT max(live) FROM process WHERE pid = ?", [pid]) >= 3_000_000)
    (heapline.folder / "end").touch()
    wait_for(lambda: ended.value("SELECT ended FROM process WHERE pid = ?", [pid]) == "exit")
    assert ended.value("SELECT exit_status FROM process WHERE pid = ?", [pid]) == 6
    adds_up(ended)


def test_a_child_that_closes_all_descriptors_is_followed(heapline, python, child):
    profile = heapline.run(
        HEAD
        + "pid = os.fork()\nif pid == 0:\n    os.closerange(3, 4096)\n    os.execv(PY, CHILD)\nos.waitpid(pid, 0)\n",
        python=python,
    )
    assert profile.allocated(function="child_keeps", callees=True).bytes >= CHILD_BYTES


def test_raw_clone_is_noticed(heapline, python):
    """A child made by the system call alone never writes into its parent's rings."""
    profile = heapline.run(
        HEAD
        + """
libc.syscall.restype = ctypes.c_long
pid = libc.syscall(56 if os.uname().machine == "x86_64" else 220, 17, 0, 0, 0, 0)
if pid == 0:
    def cloned():
        return [bytes(100_000) for _ in range(20)]
    kept = cloned()
    os._exit(5)
def parents():
    return [bytes(100_000) for _ in range(10)]
mine = parents()
os.waitpid(pid, 0)
""",
        python=python,
    )
    parent, child_row = rows_of(profile)
    assert profile.allocated(function="cloned", pid=parent["pid"], callees=True).bytes == 0
    assert profile.allocated(function="cloned", pid=child_row["pid"], callees=True).bytes >= 2_000_000
    assert 1_000_000 <= profile.allocated(function="parents", pid=parent["pid"], callees=True).bytes < 1_100_000
    assert (child_row["ended"], child_row["exit_status"]) == ("exit", 5)
    adds_up(profile)


def test_many_children_at_once(heapline, python):
    profile = heapline.run(
        HEAD
        + """
for _ in range(5):
    children = []
    for i in range(20):
        pid = os.fork()
        if pid == 0:
            kept = [bytes(1000 + i) for _ in range(200)]
            os._exit(i)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
""",
        python=python,
    )
    rows = rows_of(profile)[1:]
    assert len(rows) == 100
    assert sorted(row["exit_status"] for row in rows) == sorted(list(range(20)) * 5)
    assert all(row["ended"] == "exit" and row["allocations"] >= 200 for row in rows)
    adds_up(profile)


def test_threads_of_the_parent_go_on_while_it_forks(heapline, python):
    profile = heapline.run(
        HEAD
        + """
import threading
stop = False
def busy():
    while not stop:
        kept = [bytes(i) for i in range(300)]
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
for i in range(30):
    pid = os.fork()
    if pid == 0:
        kept = [bytes(1000) for _ in range(100)]
        os._exit(i)
    assert os.waitpid(pid, 0)[1] == i << 8
stop = True
for thread in threads: thread.join()
""",
        python=python,
    )
    assert len(rows_of(profile)) == 31
    assert rows_of(profile)[0]["unknown_frees"] < 5000
    adds_up(profile)


# ----------------------------------------------------------------------------------------------------- the report


def test_the_report_of_processes(heapline, python, child):
    profile = heapline.run(HEAD + WAYS["subprocess"], python=python)
    first, second = profile.processes()
    assert second["parent"] == first["pid"] and second["followed"] is True and second["exit"] == 3
    assert second["python"].startswith("3.") and second["peak_bytes"] >= CHILD_BYTES
    assert "child.py" in second["command"]
    assert str(second["pid"]) in profile.text("processes")
