"""A program sees how its children ended as it does alone, whichever of the wait functions it asks."""

PROGRAM = """
import os, signal, subprocess, sys

def child(end):
    pid = os.fork()
    if pid == 0:
        end()
    return pid

def exits():
    os._exit(5)

def dies():
    os.kill(os.getpid(), signal.SIGTERM)

for end in exits, dies:
    print(end.__name__, flush=True)
    child(end)
    print("wait", os.wait()[1])
    print("waitpid", os.waitpid(child(end), 0)[1])
    child(end)
    print("wait3", os.wait3(0)[1])
    print("wait4", os.wait4(child(end), 0)[1])
    result = os.waitid(os.P_PID, child(end), os.WEXITED)
    print("waitid", result.si_code, result.si_status)

print(subprocess.call([sys.executable, "-c", "import sys; sys.exit(3)"]), subprocess.call(["sh", "-c", "kill -9 $$"]))
print(os.system("exit 4") >> 8, os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "exit 6"]))
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no child")
still = child(signal.pause)
print(os.waitpid(still, os.WNOHANG) == (0, 0))
os.kill(still, signal.SIGKILL)
print(os.waitpid(still, 0)[1])
"""


def test_every_wait_function_tells_what_it_tells_alone(heapline, python):
    alone = heapline.plain(PROGRAM, python=python)
    assert alone.exit == 0 and "waitpid 1280" in alone.stdout, alone
    assert heapline.run(PROGRAM, python=python).stdout == alone.stdout


def test_the_profile_knows_how_children_ended(heapline, python):
    profile = heapline.run(PROGRAM, python=python)
    ended = profile.sql("SELECT ended, exit_status FROM process WHERE born_by = 'fork' AND recorded != 'nothing'")
    assert [tuple(row) for row in ended].count(("exit", 5)) == 5
    assert [tuple(row) for row in ended].count(("signal", 15)) == 5
