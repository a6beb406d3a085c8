"""Names of native frames: debuginfod servers, slow ones and ^C, a machine without the binaries, broken caches."""

from __future__ import annotations

import ctypes.util
import http.server
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
    pytest.mark.skipif(not shutil.which("readelf") or not shutil.which("objcopy"), reason="no binutils"),
]
needs_client = pytest.mark.skipif(not ctypes.util.find_library("debuginfod"), reason="libdebuginfod is not installed")

GROW_C = """#include <stdlib.h>
#include <string.h>

static inline __attribute__((always_inline)) void *make_node(size_t bytes)
{
    return memset(malloc(bytes), 1, bytes);
}

__attribute__((noinline)) void *grow(size_t bytes)
{
    void *node = make_node(bytes);
    return (char *)node + 1;
}
"""
MAIN_C = """#include <stddef.h>
void *grow(size_t bytes);

int main(int argc, char **argv)
{
    void *last = 0;
    for (int i = 0; i < 50; i++)
        last = grow(100000);
    return last ? 7 : 0;
}
"""
GROWN = 5_000_000


def build_id(path) -> str:
    notes = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    return re.search(r"Build ID: ([0-9a-f]+)", notes)[1]


@pytest.fixture
def program(heapline):
    """./program has its lines in itself; those of its libgrow.so are in debug/<build id>, and nowhere else."""
    folder = heapline.folder
    (folder / "grow.c").write_text(GROW_C)
    (folder / "main.c").write_text(MAIN_C)
    cc = ["cc", "-g", "-O2", "-Wl,--build-id"]
    subprocess.run([*cc, "-fPIC", "-shared", "-o", "libgrow.so", "grow.c"], cwd=folder, check=True)
    subprocess.run([*cc, "-o", "program", "main.c", "./libgrow.so"], cwd=folder, check=True)
    (folder / "debug").mkdir()
    name = f"debug/{build_id(folder / 'libgrow.so')}"
    subprocess.run(["objcopy", "--only-keep-debug", "libgrow.so", name], cwd=folder, check=True)
    subprocess.run(["strip", "libgrow.so"], cwd=folder, check=True)
    return ["--", "./program"]


class Server:
    """A debuginfod server for the files of a folder, named by build id."""

    def __init__(self, folder: Path, pause_s: float = 0):
        self.folder, self.pause_s, self.asked, self.ends = folder, pause_s, [], threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                found = re.fullmatch(r"/buildid/([0-9a-f]+)/debuginfo", self.path)
                file = server.folder / (found[1] if found else "none")
                if not file.exists():
                    self.send_error(404)
                    return
                content = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content[:1000])  # it has begun to answer: it is slow, it does not hang
                    self.wfile.flush()
                    server.ends.wait(server.pause_s)
                    self.wfile.write(content[1000:])
                except OSError:
                    pass  # the client has gone

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self):
        self.ends.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve(heapline):
    servers = []

    def begin(pause_s: float = 0) -> Server:
        servers.append(Server(heapline.folder / "debug", pause_s))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def variables(heapline, url: str | None = None) -> dict[str, str]:
    """A home of its own for each test: nothing is known from earlier ones."""
    found = {"XDG_CACHE_HOME": str(heapline.folder / "cache"), "NO_PROXY": "*", "no_proxy": "*"}
    if url:
        found.update(DEBUGINFOD_URLS=url, DEBUGINFOD_CACHE_PATH=str(heapline.folder / "client"))
    return found


def grown(profile) -> list[tuple[str, int]]:
    """The frames of what was grown: function, line, from the innermost out."""
    row = max(profile.table("--leaf"), key=lambda row: row["bytes"])
    assert row["bytes"] == GROWN
    return [(frame["function"], frame["line"]) for frame in row["stack"]][: 3 if row["function"] == "make_node" else 2]


def adds_up(profile) -> None:
    sums = profile.sql(
        "SELECT sum(allocated), sum(allocations), sum(freed), sum(frees), sum(live), sum(peak) FROM stat"
    )[0]
    process = profile.sql("SELECT allocated, allocations, freed, frees, live, peak FROM process WHERE id = 1")[0]
    assert tuple(sums) == tuple(process)
    assert profile.value("PRAGMA integrity_check") == "ok"
    assert profile.value("SELECT value FROM meta WHERE key = 'state'") == "finished"


def children(parent: int | str) -> list[str]:
    found = []
    try:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += (task / "children").read_text().split()
    except FileNotFoundError:
        pass  # it has ended
    return found


WITH_LINES = [("make_node", 6), ("grow", 11), ("main", 8)]
WITHOUT = [("grow", 0), ("main", 8)]

# ----------------------------------------------------------------------------------------------------- debuginfod


@needs_client
def test_servers_are_asked_with_the_option_only(heapline, program, serve):
    server = serve()
    env = variables(heapline, server.url)
    profile = heapline.run(program, env=env, check=False)
    assert (profile.exit, grown(profile), server.asked) == (7, WITHOUT, [])
    assert not (heapline.folder / "client").exists()

    profile = heapline.run(program, options=["--debuginfod"], env=env, check=False)
    assert (profile.exit, grown(profile)) == (7, WITH_LINES)
    id = build_id(heapline.folder / "libgrow.so")
    assert f"/buildid/{id}/debuginfo" in server.asked
    assert len(set(server.asked)) == len(server.asked)  # each object once
    assert build_id(heapline.folder / "program") not in " ".join(server.asked)  # its lines are here
    adds_up(profile)

    # What was found is kept like any other result.
    server.asked.clear()
    profile = heapline.run(program, env=env, check=False)
    assert (grown(profile), server.asked) == (WITH_LINES, [])


@needs_client
def test_a_real_server(heapline, program):
    if not shutil.which("debuginfod"):
        pytest.skip("no debuginfod server on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["debuginfod", "-p", str(port), "-d", ":memory:", "-F", "debug"],
        cwd=heapline.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        env = variables(heapline, f"http://127.0.0.1:{port}")
        for _ in range(40):  # until it has found the file
            shutil.rmtree(heapline.folder / "client", ignore_errors=True)
            profile = heapline.run(program, options=["--debuginfod"], env=env, check=False)
            if grown(profile) == WITH_LINES:
                break
            time.sleep(0.5)
        assert grown(profile) == WITH_LINES
    finally:
        server.kill()
        server.wait()


@needs_client
def test_a_server_that_says_nothing_is_given_up(heapline, program):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)  # connections are accepted by the kernel, and that is all
        env = variables(heapline, f"http://127.0.0.1:{silent.getsockname()[1]}")
        env["DEBUGINFOD_TIMEOUT"] = "2"
        began = time.monotonic()
        profile = heapline.run(program, options=["--debuginfod"], env=env, check=False)
        took = time.monotonic() - began
    assert (profile.exit, grown(profile)) == (7, WITHOUT)
    assert took < 15, "each object waited for the server"
    assert [row["text"] for row in profile.sql("SELECT text FROM note WHERE text LIKE '%DEBUGINFOD_URLS%'")] == [
        "no server of DEBUGINFOD_URLS answered: what has no debug information here has no lines"
    ]
    assert "being looked up (^C keeps those that are found)" in profile.stderr
    adds_up(profile)


@needs_client
def test_no_server_listens(heapline, program):
    env = variables(heapline, "http://127.0.0.1:1")
    profile = heapline.run(program, options=["--debuginfod"], env=env, check=False)
    assert (profile.exit, grown(profile)) == (7, WITHOUT)
    assert len(profile.sql("SELECT 1 FROM note WHERE text LIKE '%DEBUGINFOD_URLS%'")) == 1


@pytest.mark.parametrize("urls", [None, ""])
def test_without_servers_nothing_starts(heapline, program, urls):
    without = ["env", "-u", "DEBUGINFOD_URLS"] if urls is None else ["env", "DEBUGINFOD_URLS="]
    refused = heapline("run", "--debuginfod", "-o", "x.heapline", *program, prefix=without)
    assert (refused.exit, refused.stdout) == (125, "")
    assert refused.stderr.startswith("heapline: --debuginfod: DEBUGINFOD_URLS is not set (")
    assert not (heapline.folder / "x.heapline").exists()


# ------------------------------------------------------------------------------------------- waiting on a terminal


class Waiting:
    """heapline run on a terminal of its own."""

    def __init__(self, heapline, command, env):
        self.seen, self.began = "", time.monotonic()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(heapline.folder)
            os.environ.update({**env, "LC_ALL": "C.UTF-8", "TERM": "dumb"})
            os.execv(heapline.binary, [str(heapline.binary), "run", "-o", "x.heapline", *command])

    def until(self, pattern: str, seconds: float = 30) -> str:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], f"no {pattern!r} in {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:  # the other side has gone
                assert re.search(pattern, self.seen), f"ended without {pattern!r}: {self.seen!r}"
        return self.seen

    def status(self) -> int:
        self.until(r"next:")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def shown(self) -> str:
        """What is on the terminal in the end: a line written over is not."""
        lines = []
        for line in self.seen.split("\n"):
            columns: list[str] = []
            for part in line.split("\r"):
                columns[: len(part)] = part
            lines.append("".join(columns).rstrip())
        return "\n".join(lines)


@needs_client
def test_a_slow_source_shows_a_line_that_goes_away(heapline, program, serve):
    server = serve(pause_s=4)
    waiting = Waiting(heapline, ["--debuginfod", *program], variables(heapline, server.url))
    waiting.until(r"heapline: names of native frames: [\d,]+ of [\d,]+, \d+ s \(\^C keeps these\), now lib")
    assert time.monotonic() - waiting.began < 2 + 2, "not within two seconds of the program's end"
    # All numbers are there already.
    early = heapline.profile(heapline.folder / "x.heapline")
    adds_up(early)
    assert grown(early) == WITHOUT
    assert waiting.status() == 7
    assert "names of native frames" not in waiting.shown()
    assert "exit status 7" in waiting.shown()
    profile = heapline.profile(heapline.folder / "x.heapline")
    assert grown(profile) == WITH_LINES
    adds_up(profile)


@needs_client
def test_control_c_while_waiting_keeps_the_profile(heapline, program, serve):
    server = serve(pause_s=50)
    waiting = Waiting(heapline, ["--debuginfod", *program], variables(heapline, server.url))
    waiting.until("names of native frames")
    os.write(waiting.fd, b"\x03")
    pressed = time.monotonic()
    assert waiting.status() == 7, "the program's own status"
    assert time.monotonic() - pressed < 10
    assert "the search for names of native frames has been ended; what was found is kept" in waiting.shown()
    profile = heapline.profile(heapline.folder / "x.heapline")
    adds_up(profile)
    assert grown(profile) == WITHOUT
    text = profile.value("SELECT text FROM note WHERE text LIKE '%native frames%'")
    assert re.fullmatch(r"\d+ native frames have no source line: looking for them was interrupted", text)


@needs_client
def test_control_c_twice_leaves_the_rest_to_the_background(heapline, program, serve):
    server = serve(pause_s=50)
    waiting = Waiting(heapline, ["--debuginfod", *program], variables(heapline, server.url))
    waiting.until("names of native frames")
    [collector] = map(int, children(waiting.pid))
    os.kill(collector, signal.SIGSTOP)  # it cannot be quick
    os.write(waiting.fd, b"\x03")
    waiting.until("what was found is kept")
    os.write(waiting.fd, b"\x03")
    waiting.until("x.heapline: still being written in the background")
    assert os.waitstatus_to_exitcode(os.waitpid(waiting.pid, 0)[1]) == 7
    profile = heapline.profile(heapline.folder / "x.heapline")
    adds_up(profile)
    os.kill(collector, signal.SIGCONT)
    end = time.monotonic() + 20
    while Path(f"/proc/{collector}/exe").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    adds_up(profile)
    assert profile.sql("SELECT 1 FROM note WHERE text LIKE '%was interrupted'")


@needs_client
def test_a_collector_killed_while_it_waits_leaves_a_whole_profile(heapline, program, serve):
    server = serve(pause_s=50)
    running = heapline.start(program, options=["--debuginfod"], env=variables(heapline, server.url))
    end = time.monotonic() + 30
    while not server.asked:
        assert time.monotonic() < end
        time.sleep(0.05)
    [collector] = map(int, children(running.process.pid))
    os.kill(collector, signal.SIGKILL)
    profile = running.finish()
    assert profile.exit == 7
    adds_up(profile)
    assert grown(profile) == WITHOUT


# ----------------------------------------------------------------------------------------------- objects that take long


def symbol_worker(run: int) -> int:
    """The process that reads symbols: a child of the collector, which is a child of the run."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for found in (grandchild for child in children(run) for grandchild in children(child)):
            try:
                if Path(f"/proc/{found}/comm").read_text() == "heapline-names\n":
                    return int(found)
            except FileNotFoundError:
                pass
        time.sleep(0.01)
    raise AssertionError("there is none")


WAITING_C = """#include <stddef.h>
#include <unistd.h>
void *grow(size_t bytes);

static void wait_for(const char *name)
{
    while (access(name, F_OK))
        usleep(1000);
}

int main(void)
{
    wait_for("go");
    for (int i = 0; i < 50; i++)
        grow(100000);
    wait_for("end");
    return 7;
}
"""


def test_what_takes_long_has_its_names_at_once_and_its_lines_at_the_end(heapline):
    """The process that reads debug information stands still: there is nothing slower."""
    folder = heapline.folder
    (folder / "grow.c").write_text(GROW_C)
    (folder / "main.c").write_text(WAITING_C)
    subprocess.run(["cc", "-g", "-O2", "-o", "program", "main.c", "grow.c"], cwd=folder, check=True)
    running = heapline.start(["--", "./program"], env=variables(heapline))
    worker = symbol_worker(running.process.pid)  # it is there before the first native frame
    os.kill(worker, signal.SIGSTOP)
    (folder / "go").touch()
    end = time.monotonic() + 30
    while True:
        profile = running.profile()
        if profile.path.exists() and profile.sql("SELECT 1 FROM function WHERE name = 'grow'"):
            break
        assert time.monotonic() < end
        time.sleep(0.05)
    assert grown(profile) == [("grow", 0), ("main", 0)]
    assert not Path(f"/proc/{worker}").exists()  # it was given up
    (folder / "end").touch()
    profile = running.finish()
    assert (profile.exit, grown(profile)) == (7, [("make_node", 6), ("grow", 11), ("main", 15)])
    adds_up(profile)


# ----------------------------------------------------------------------------------------------- another machine

REPORTS = [
    ["stats"],
    ["stats", "--json"],
    ["stats", "--leaks"],
    ["table", "-n", "0"],
    ["table", "--leaf", "-n", "0"],
    ["table", "--leaf", "--json", "-n", "0"],
    ["tree"],
    ["tree", "--json"],
    ["summary"],
    ["lines"],
    ["timeline"],
    ["processes"],
]


def bare_root(heapline, root: Path) -> list[str]:
    """A root folder with the command, the libraries that it needs, and nothing else. The command's path in it."""
    needed = subprocess.run(["ldd", heapline.binary], capture_output=True, text=True, check=True).stdout
    for path in [str(heapline.binary), *re.findall(r"(/\S+) \(0x", needed)]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for locale in Path("/usr/lib/locale").glob("C.[uU]*"):  # part of the C library in newer ones
        shutil.copytree(locale, root / str(locale).lstrip("/"))
    enter = ["chroot"] if os.geteuid() == 0 else ["unshare", "-r", "chroot"]
    return [*enter, str(root)]


def reports_in(enter: list[str], heapline, own_file: str) -> list[tuple]:
    """What each report prints there. Lines: of the program; the text of Python's own files is not in a profile."""
    profile = "/x.heapline" if enter else str(heapline.folder / "here" / "x.heapline")
    found = []
    for report in REPORTS:
        files = [own_file, "grow.c"] if report == ["lines"] else []
        words = [str(heapline.binary), report[0], profile, *report[1:], *files]
        done = subprocess.run(
            [*enter, *words],
            cwd=heapline.folder / "here",
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nowhere"},
            capture_output=True,
        )
        assert done.returncode == 0, (report, done)
        found.append((report, done.stdout.replace(profile.encode(), b"PROFILE"), done.stderr))
    return found


@pytest.mark.parametrize("kind", ["c", "python"])
def test_a_machine_without_the_binaries_shows_the_same(heapline, python, program, kind):
    root = heapline.folder / "root"
    enter = bare_root(heapline, root)
    if subprocess.run([*enter, str(heapline.binary), "--version"], capture_output=True).returncode:
        pytest.skip("may not chroot")
    if kind == "python":
        (heapline.folder / "app.py").write_text(
            "import ctypes\nlibrary = ctypes.CDLL('./libgrow.so')\nfor _ in range(50):\n    library.grow(100000)\n"
        )
        program = ["app.py"]
    (heapline.folder / ".debug").mkdir()
    file = heapline.folder / "debug" / build_id(heapline.folder / "libgrow.so")
    shutil.copy(file, heapline.folder / ".debug" / "libgrow.so.debug")
    subprocess.run(
        ["objcopy", "--add-gnu-debuglink=.debug/libgrow.so.debug", "libgrow.so"], cwd=heapline.folder, check=True
    )
    profile = heapline.run(
        program,
        options=["--native", "-o", "x.heapline"],
        python=python,
        env=variables(heapline),
        check=False,
    )
    assert grown(profile)[:2] == WITH_LINES[:2]
    (heapline.folder / "here").mkdir()
    shutil.copy(profile.path, heapline.folder / "here" / "x.heapline")
    shutil.copy(profile.path, root / "x.heapline")
    own_file = "app.py" if kind == "python" else "main.c"
    here = reports_in([], heapline, own_file)
    names = (b"make_node", b"grow.c", b"libgrow.so")
    text = b"".join(stdout for _, stdout, _ in here)
    assert all(name in text for name in names)
    assert reports_in(enter, heapline, own_file) == here
    # And here, when what was read to find the names has gone.
    for gone in ("libgrow.so", "program", "grow.c", "main.c", "app.py", "debug", ".debug", "cache"):
        if (heapline.folder / gone).exists():
            (heapline.folder / gone).rename(root / gone)
    assert reports_in([], heapline, own_file) == here


# -------------------------------------------------------------------------------------------------------- caches

NO_CACHES = {
    "no home": lambda folder: {"HOME": None, "XDG_CACHE_HOME": None},
    "a home that is read-only": lambda folder: {"HOME": "/proc", "XDG_CACHE_HOME": None},
    "a home that is not there": lambda folder: {"HOME": "/nonexistent/home", "XDG_CACHE_HOME": None},
    "a cache that is a file": lambda folder: {"XDG_CACHE_HOME": str(folder / "main.c")},
    "a relative cache": lambda folder: {"HOME": None, "XDG_CACHE_HOME": "cache"},
}


@pytest.mark.parametrize("where", NO_CACHES)
def test_names_are_found_without_a_cache(heapline, program, where):
    change = NO_CACHES[where](heapline.folder)
    unset = [word for name, value in change.items() if value is None for word in ("-u", name)]
    command = ["env", *unset, str(heapline.binary), "run", "-o", "x.heapline", *program]
    env = {name: value for name, value in {**os.environ, **change}.items() if value is not None}
    done = subprocess.run(command, cwd=heapline.folder, env=env, capture_output=True, text=True)
    assert done.returncode == 7, done
    assert grown(heapline.profile(heapline.folder / "x.heapline")) == WITHOUT
    assert not (heapline.folder / "cache").exists()
    assert "cache" not in done.stderr


def test_recordings_at_once_share_a_cache(heapline, program):
    env = variables(heapline)
    several = [heapline.start(program, env=env) for _ in range(6)]
    for running in several:
        profile = running.finish()
        assert (profile.exit, grown(profile)) == (7, WITHOUT)
        adds_up(profile)
    names = sorted(path.name for path in (heapline.folder / "cache/heapline/symbols").iterdir())
    assert f"1-{build_id(heapline.folder / 'program')}" in names
    assert not [name for name in names if name.startswith("new-")]
