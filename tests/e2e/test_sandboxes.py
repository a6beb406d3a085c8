"""Programs that shut themselves in (pid namespaces, seccomp) run as they do alone."""

import os
import subprocess

import pytest

# readlinkat, faccessat, membarrier, getrusage
SYSTEM_CALLS = {"x86_64": [267, 269, 324, 98], "aarch64": [78, 48, 283, 165]}


def same(heapline, program, **options):
    """The program's output and end are as without us; its profile."""
    plain = heapline.plain(program, **options)
    profile = heapline.run(program, check=False, **options)
    assert (profile.exit, profile.stdout) == (plain.exit, plain.stdout), f"{plain}\n{profile.finished}"
    assert profile.stats()["events_lost"] == 0
    return profile


@pytest.fixture
def pid_namespaces():
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a pid namespace")


def test_another_pid_namespace_is_not_mistaken_for_ours(heapline, python, pid_namespaces):
    """Its pids mean other processes outside: the collector must not watch those, and not wait for their end."""
    profile = same(
        heapline,
        """
import ctypes, os, subprocess, sys
code = "import os; kept = [bytes(1000) for _ in range(2000)]; print(os.getpid())"
print(subprocess.run(["unshare", "--pid", "--fork", sys.executable, "-c", code], capture_output=True, text=True))
assert ctypes.CDLL(None).unshare(0x20000000) == 0
pid = os.fork()
if pid == 0:
    kept = [bytes(1000) for _ in range(2000)]
    grandchild = os.fork()
    if grandchild == 0:
        subprocess.run([sys.executable, "-c", code])
        os._exit(4)
    os._exit(os.waitpid(grandchild, 0)[1] >> 8)
print(os.waitpid(pid, 0)[1] >> 8)
""",
        python=python,
    )
    assert "(exit status 0)" in profile.text("stats")
    rows = profile.processes()
    assert rows[0]["followed"] and not any(row["pid"] < 10 for row in rows)
    assert all(row["exit"] is not None for row in rows), rows
    assert sum(row["followed"] for row in rows) == 1, rows


def test_a_forked_child_makes_no_system_call_that_seccomp_could_forbid(heapline, python):
    numbers = SYSTEM_CALLS.get(os.uname().machine)
    if not numbers:
        pytest.skip("system call numbers of this processor are not in the test")
    profile = same(
        heapline,
        f"""
import ctypes, os, struct
def step(code, value, no=0):
    return struct.pack("HBBI", code, 0, no, value)
KILL, ALLOW = 0x80000000, 0x7fff0000
rules = step(0x20, 0) + b"".join(step(0x15, number, 1) + step(6, KILL) for number in {numbers}) + step(6, ALLOW)
text = ctypes.create_string_buffer(rules)
filter = struct.pack("HxxxxxxQ", len(rules) // 8, ctypes.addressof(text))
prctl = ctypes.CDLL(None).prctl
print(prctl(38, 1, 0, 0, 0), prctl(22, 2, ctypes.c_char_p(filter), 0, 0))
kept = [bytes(1000) for _ in range(1000)]
pid = os.fork()
if pid == 0:
    def in_child():
        return [bytes(1000) for _ in range(1000)]
    kept = in_child()
    os._exit(3)
print(os.waitpid(pid, 0)[1])
""",
        python=python,
    )
    assert profile.stdout == "0 0\n768\n"
    assert profile.allocated(function="in_child", callees=True).bytes >= 1_000_000
