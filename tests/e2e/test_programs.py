"""Programs that do to their own process what daemons, servers and reloaders do, run as they do alone."""

import os

import pytest

PROGRAMS = {
    "closes every descriptor": """
import os, subprocess, sys
os.closerange(3, 65536)
print(os.listdir("/proc/self/fd")[:3], subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True))
pid = os.fork()
if pid == 0:
    os.closerange(0, 65536)
    kept = [bytes(1000) for _ in range(3000)]
    os._exit(3)
print(os.waitpid(pid, 0)[1])
""",
    "becomes a daemon": """
import os
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.closerange(writer + 1, 65536)
    kept = [bytes(1000) for _ in range(3000)]
    os.write(writer, b"%d blocks" % len(kept))
    os._exit(0)
print(os.wait()[1])
os.close(writer)
print(os.read(reader, 100))
""",
    "executes itself while threads allocate": """
import os, sys, threading
turn = int(sys.argv[1]) if len(sys.argv) > 1 else 0
def busy():
    while True:
        [bytes(i) for i in range(1000)]
for _ in range(3):
    threading.Thread(target=busy, daemon=True).start()
print(turn, os.environ.get("LD_PRELOAD"), flush=True)
if turn < 3:
    again = threading.Thread(target=os.execv, args=(sys.executable, [sys.executable, __file__, str(turn + 1)]))
    again.start()
    again.join()
os._exit(9)
""",
    "forks in threads": """
import os, threading
def fork(status):
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            kept = [bytes(1000) for _ in range(1000)]
            os._exit(status)
        assert os.waitpid(pid, 0)[1] == status << 8
threads = [threading.Thread(target=fork, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("ended")
""",
    "starts programs in every way at once": """
import os, subprocess, sys, threading
def start(number):
    for _ in range(3):
        run = subprocess.run([sys.executable, "-S", "-E", "-c", f"print({number})"], capture_output=True, text=True)
        assert (run.stdout, run.stderr) == (f"{number}\\n", ""), run
        try: subprocess.run(["/nonexistent"])
        except FileNotFoundError: pass
        assert subprocess.call("exit 3", shell=True) == 3
        assert os.system("kill -9 $$") == 9
        assert os.popen("echo 'a  b'; echo \\"$0\\"").read() == "a  b\\n/bin/sh\\n"
        assert os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "exit 4"]) == 4
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], os.environ)
        assert os.waitpid(pid, 0)[1] >> 8 == 5
    print("ended")
threads = [threading.Thread(target=start, args=(i,)) for i in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    "limits its files and processes": """
import os, resource, signal
resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
try: files = [open("/dev/null") for _ in range(20)]
except OSError as error: print(error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open("small", "wb", buffering=0) as file:
    print(file.write(b"x" * 5000))
kept = [bytes(1000) for _ in range(3000)]
pid = os.fork()
if pid == 0:
    kept = [bytes(1000) for _ in range(3000)]
    os._exit(7)
print(os.waitpid(pid, 0)[1])
""",
    "runs out of address space": """
import resource
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
kept = []
try:
    while True: kept.append(bytearray(10 << 20))
except MemoryError: print("once", 15 < len(kept) < 30)
del kept
kept = []
while True: kept.append(bytearray(1 << 20))
""",
    "allocates in signal handlers and dies of one": """
import faulthandler, signal, time
seen = 0
def handler(*_):
    global seen
    seen += 1
    [bytes(i) for i in range(100)]
for number, timer in (signal.SIGALRM, signal.ITIMER_REAL), (signal.SIGPROF, signal.ITIMER_PROF):
    signal.signal(number, handler)
    signal.setitimer(timer, 0.002, 0.002)
end = time.time() + 0.5
while time.time() < end: [bytes(i) for i in range(1000)]
print(seen > 10, flush=True)
signal.setitimer(signal.ITIMER_REAL, 0)
signal.setitimer(signal.ITIMER_PROF, 0)
faulthandler.enable()
faulthandler._sigsegv()
""",
    "is ended by its watchdog": """
import faulthandler, sys
faulthandler.dump_traceback_later(0.3, exit=True, file=open("/dev/null", "w"))
while True: [bytes(i) for i in range(1000)]
""",
    "does what it does at fork and at exit": """
import atexit, os, sys
grow = lambda: [bytes(10) for _ in range(1000)]
os.register_at_fork(before=grow, after_in_child=grow, after_in_parent=grow)
atexit.register(lambda: print(os.getpid() == first, len(grow()), flush=True))
first = os.getpid()
for status in range(4):
    pid = os.fork()
    if pid == 0: sys.exit(status)
    print(os.waitpid(pid, 0)[1] >> 8, flush=True)
""",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_that(heapline, python, what):
    plain = heapline.plain(PROGRAMS[what], python=python)
    profile = heapline.run(PROGRAMS[what], python=python, check=False)
    assert (profile.exit, profile.stdout) == (plain.exit, plain.stdout), f"{plain}\n{profile.finished}"
    stats = profile.stats()
    assert stats["events_lost"] == 0 and stats["allocations"] >= 1000
    assert stats["allocated_bytes"] - stats["freed_bytes"] == stats["live_end_bytes"] or stats["processes"] > 1


def test_a_program_that_gives_up_its_rights(heapline, python):
    """Behind chroot and setuid a child records on, and what it cannot start is not started here either."""
    if os.getuid():
        pytest.skip("chroot and setuid need root")
    program = """
import os, sys, tempfile
folder = tempfile.mkdtemp()
pid = os.fork()
if pid == 0:
    os.chroot(folder)
    os.chdir("/")
    os.setgid(65534)
    os.setuid(65534)
    def behind():
        return [bytes(1000) for _ in range(3000)]
    kept = behind()
    grandchild = os.fork()
    if grandchild == 0:
        kept = behind()
        os._exit(3)
    print(os.waitpid(grandchild, 0)[1], flush=True)
    try: os.execv(sys.executable, [sys.executable, "-c", "1"])
    except OSError as error: print(error.errno, flush=True)
    os._exit(2)
print(os.waitpid(pid, 0)[1])
os.rmdir(folder)
"""
    plain = heapline.plain(program, python=python)
    profile = heapline.run(program, python=python)
    assert (profile.exit, profile.stdout) == (plain.exit, plain.stdout)
    assert profile.allocated(function="behind", callees=True).bytes >= 6_000_000
    assert profile.stats()["events_lost"] == 0
