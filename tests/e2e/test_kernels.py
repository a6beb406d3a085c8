"""Old kernels and strict containers: each system call that either side makes and that may be missing or forbidden. Then a
recording is as exact as ever, or refused with one line; the program is never harmed."""

import pytest

PROGRAM = """
import os, subprocess, sys
def kept():
    return [bytearray(100_000) for _ in range(20)]
block = kept()
pid = os.fork()
if pid == 0:
    def child():
        return [bytearray(100_000) for _ in range(10)]
    block = child()
    os._exit(5)
print(os.waitpid(pid, 0)[1] >> 8, subprocess.call([sys.executable, "-c", "import sys; sys.exit(6)"]))
"""

CALLS = [
    "membarrier",  # since Linux 4.3, in the form used 4.16
    "pidfd_open",  # 5.3
    "getrandom",  # 3.17
    "close_range",  # 5.9
    "clone3",  # 5.3; containers forbid it
    "statx",  # 4.11
    "set_robust_list",  # containers of old runtimes
    "madvise",  # MADV_WIPEONFORK: 4.14
    "fallocate",
    "fsync",
    "fdatasync",
    "prlimit64",
    "sigaltstack",
    "epoll_create1",
]


@pytest.fixture
def deny(heapline):
    tool = heapline.tool("deny")
    finished = heapline("--version", prefix=[str(tool), "membarrier", "EPERM"])
    if finished.exit == 3:
        pytest.skip("this machine forbids seccomp filters")
    return lambda call, error: [str(tool), call, error]


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("call", CALLS)
def test_a_recording_without_the_call_is_as_exact(heapline, python, deny, call, error):
    if (call, error) == ("clone3", "EPERM"):
        pytest.skip("libc itself makes no thread then")
    (heapline.folder / "program.py").write_text(PROGRAM)
    finished = heapline(
        "run", "-q", "-o", "x.heapline", "--python", python.path, "program.py", prefix=deny(call, error)
    )
    assert (finished.exit, finished.stdout, finished.stderr) == (0, "5 6\n", ""), finished
    profile = heapline.profile(heapline.folder / "x.heapline")
    assert profile.allocated(function="kept", callees=True).bytes >= 2_000_000
    assert 1_000_000 <= profile.allocated(function="child", callees=True).bytes < 1_100_000
    rows = profile.sql("SELECT * FROM process ORDER BY id")
    assert [row["exit_status"] for row in rows] == [0, 5, 6]
    assert all(row["recorded"] == "objects" and row["lost"] == 0 for row in rows)


@pytest.mark.parametrize(
    ("call", "error"), [("memfd_create", "ENOSYS"), ("memfd_create", "EPERM"), ("clone3", "EPERM")]
)
def test_what_a_recording_cannot_do_without_is_refused_in_one_line(heapline, python, deny, call, error):
    (heapline.folder / "program.py").write_text(PROGRAM)
    finished = heapline("run", "-o", "x.heapline", "--python", python.path, "program.py", prefix=deny(call, error))
    if call == "clone3" and finished.exit == 0:
        pytest.skip("this libc does not ask for clone3")
    assert finished.exit == 125 and finished.stdout == "", finished
    assert finished.stderr.startswith("heapline: ") and finished.stderr.count("\n") == 1
