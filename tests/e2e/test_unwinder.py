"""The tracker's walk up the native stack is libgcc's: compared at every malloc of programs, by a library that is preloaded
(tests/preload/unwindcheck.c)."""

import json
import os
import shutil
import subprocess

import pytest
from pythons import ROOT

WORK = r"""
from __future__ import print_function
import hashlib, json, os, re, signal, sqlite3, sys, threading, zlib
sys.setrecursionlimit(5000)

class Node(object):
    def __init__(self, depth): self.below = [Node(depth - 1) for _ in range(2)] if depth else []
    def __lt__(self, other): return len(json.dumps([1, 2])) < 0
    def __del__(self): json.loads('{"a": [1, "b"]}')

def down(n):
    return down(n - 1) if n else json.loads(json.dumps({str(i): list(range(i)) for i in range(20)}))

def handler(number, frame): down(5)

def work(seed):
    for i in range(2):
        down(i * 30)
        os.kill(os.getpid(), signal.SIGALRM)
        sorted([Node(1), Node(2), Node(1)])
        re.compile("(a|b)*c{%d}[x-z]+" % (seed * 10 + i + 1)).findall("abcxyz" * 50)
        zlib.decompress(zlib.compress(os.urandom(20000)))
        hashlib.sha256(b"x" * 5000).hexdigest()
        b = sqlite3.connect(":memory:")
        b.create_function("f", 1, lambda v: len(json.dumps([v] * 9)))
        b.execute("CREATE TABLE t(x)")
        b.executemany("INSERT INTO t VALUES (?)", ((k,) for k in range(100)))
        b.execute("SELECT sum(f(x)), group_concat(x) FROM t ORDER BY x").fetchall()
        b.close()

signal.signal(signal.SIGALRM, handler)
threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
[t.start() for t in threads]
work(9)
[t.join() for t in threads]
"""

NUMPY = """
import numpy as np
import os
a = np.random.default_rng(1).random((200, 200))
for i in range(int(os.environ.get("ROUNDS", 3))):
    np.linalg.svd(a); np.linalg.solve(a, a); np.fft.fft2(a); np.sort(a, axis=None); a @ a
    np.apply_along_axis(lambda row: np.array(sorted(row)), 0, a[:20, :20])
    np.einsum("ij,jk->ik", a, a); np.array([str(v) for v in a[0]]).astype(float)
"""

FRAMES = """
import io, os
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
rng = np.random.default_rng(2)
df = pd.DataFrame({"k": rng.integers(0, 50, 20000), "v": rng.random(20000), "s": ["n%d" % (i % 97) for i in range(20000)]})
for i in range(int(os.environ.get("ROUNDS", 3))):
    g = df.groupby("k").agg({"v": ["mean", "sum"], "s": "nunique"})
    m = df.merge(df.groupby("s")["v"].mean().reset_index(), on="s").sort_values(["k", "v_x"])
    text = io.StringIO(); df.head(3000).to_csv(text); text.seek(0); pd.read_csv(text)
    table = pa.Table.from_pandas(df)
    out = pa.BufferOutputStream(); pq.write_table(table, out); pq.read_table(pa.BufferReader(out.getvalue()))
    table.group_by("s").aggregate([("v", "sum")]); pc.sort_indices(table, [("v", "ascending")])
    df["s"].str.upper().apply(len); df.pivot_table("v", "k", "s")
    try: pa.array([1, "x"])
    except pa.lib.ArrowInvalid: pass
"""

DUCKDB = """
import duckdb
db = duckdb.connect()
db.execute("CREATE TABLE t AS SELECT range AS k, range % 97 AS g, random() AS v, 'name ' || (range % 1013) AS s FROM range(200000)")
for i in range(12):
    db.execute("SELECT g, sum(v), count(DISTINCT s), max(s) FROM t GROUP BY g ORDER BY 2").fetchall()
    db.execute("SELECT a.s, count(*) FROM t a JOIN t b ON a.k = b.k + ? GROUP BY ALL ORDER BY ALL LIMIT 50", [i]).fetchall()
    db.execute("SELECT k, lag(v) OVER (PARTITION BY g ORDER BY k), regexp_replace(s, '[0-9]', 'x') FROM t WHERE v > 0.9").fetchall()
    db.execute("SELECT list(s), struct_pack(a := g) FROM t WHERE k < 20000 GROUP BY g").fetchall()
    for text in ("SELECT nothing", "SELEC", "SELECT 1/0, 'x'::INTEGER"):
        try: db.execute(text)
        except duckdb.Error: pass
    db.execute(f"COPY t TO 'out{i}.parquet'")
    db.execute(f"SELECT count(*) FROM 'out{i}.parquet' WHERE g = 5").fetchall()
"""


def check(binary, folder, command, env=None, timeout=300):
    """The sums over all processes of the program."""
    out = folder / "counts"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}
    checked = {"LD_PRELOAD": str(binary.parent / "tools" / "libunwindcheck.so"), "UNWINDCHECK_OUT": str(out)}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **checked, **(env or {})},
        text=True,
        capture_output=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    counts = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(one["different"] for one in counts) == 0, f"{counts}\n{done.stderr[-8000:]}"
    return {name: sum(one[name] for one in counts) for name in counts[0]}


def run_python(binary, folder, python, program, env=None, timeout=300):
    if python.root:
        pytest.skip("its libc is another one than that of the library that checks")
    file = folder / "program.py"
    file.write_text(program)
    return check(binary, folder, [python.path, str(file)], env, timeout)


def test_python_with_threads_and_signals(heapline_binary, tmp_path, each_python):
    # Free-threaded builds always have their own allocator: there libraries alone call malloc.
    own = each_python.free_threaded
    environment = {} if own else {"PYTHONMALLOC": "malloc"}
    counts = run_python(heapline_binary, tmp_path, each_python, WORK, environment)
    assert counts["checked"] > (500 if own else 5_000) and counts["frames"] > (5_000 if own else 100_000)
    # libgcc knows no frame pointers: it ends at code without .eh_frame, where the walk of the tracker goes on.
    assert counts["libgcc_shorter"] == 0


@pytest.mark.pythons("3.12")
def test_numpy(heapline_binary, tmp_path, each_python):
    environment = each_python.numpy or each_python.packages("numpy")
    if environment is None:
        pytest.skip("numpy cannot be had")
    counts = run_python(heapline_binary, tmp_path, each_python, NUMPY, environment)
    assert counts["checked"] > 10_000 and counts["frames"] > 200_000


# What a signal, a jump, a coroutine or a thread's end does to stacks, in C (tests/tools/hazards.c).
HAZARDS = [f"{case}{stack}" for case in ("handler", "handler-jump", "leaf") for stack in ("", "-onstack")]
HAZARDS += [
    "longjmp",
    "contexts",
    "contexts-unmapped",
    "contexts-taken",
    "assembly",
    "exits",
    "tiny",
    "overflow",
    "many",
]
CROSS = "aarch64-linux-gnu"


@pytest.mark.parametrize("case", HAZARDS)
def test_hazards(heapline_binary, tmp_path, case):
    counts = check(heapline_binary, tmp_path, [str(heapline_binary.parent / "tools" / "hazards"), case])
    assert counts["checked"] > 5 and counts["frames"] > 100
    # libgcc does not step over code without .eh_frame.
    assert (counts["libgcc_shorter"] > 0) == (case == "assembly")


@pytest.fixture(scope="session")
def aarch64(tmp_path_factory):
    """A folder with the hazards, the library that checks, and the tracker, for aarch64."""
    compiler = shutil.which(f"{CROSS}-gcc")
    if not compiler or not shutil.which("qemu-aarch64"):
        pytest.skip(f"{CROSS}-gcc and qemu-aarch64 are not installed (Debian: gcc-{CROSS}, qemu-user)")
    folder = tmp_path_factory.mktemp("aarch64")
    strict = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wno-unused-parameter"]
    shared = ["-O2", "-fPIC", "-shared", "-fno-omit-frame-pointer", "-fno-builtin-malloc", "-fno-stack-protector"]
    tracker = ROOT / "src" / "tracker"
    include = [f"-I{tracker}", f"-I{ROOT / 'src' / 'wire'}", '-DHEAPLINE_VERSION="test"']
    check_sources = [ROOT / "tests" / "preload" / "unwindcheck.c", tracker / "unwinder.c", tracker / "cfi.c"]
    for target, options, sources in (
        ("hazards", ["-O1", "-fno-builtin"], [ROOT / "tests" / "tools" / "hazards.c"]),
        ("libunwindcheck.so", [*strict, *shared, *include], check_sources),
        ("libheapline.so", [*strict, *shared, *include], sorted(tracker.glob("*.c"))),
    ):
        command = [
            compiler,
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-g",
            *options,
            *map(str, sources),
            "-o",
            str(folder / target),
        ]
        built = subprocess.run([*command, "-ldl", "-lpthread", "-lgcc_s"], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.parametrize("case", HAZARDS)
def test_hazards_on_aarch64(aarch64, tmp_path, case):
    """Under qemu-user, whose way back from a signal handler is that of the kernel: mov x8, #139; svc #0, without .eh_frame."""
    out = tmp_path / "counts"
    command = ["qemu-aarch64", "-L", f"/usr/{CROSS}", "-E", f"LD_PRELOAD={aarch64 / 'libunwindcheck.so'}"]
    command += ["-E", f"UNWINDCHECK_OUT={out}", str(aarch64 / "hazards"), case]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "done", done.stderr[-4000:]
    counts = json.loads(out.read_text())
    assert counts["different"] == 0, done.stderr[-4000:]
    assert counts["checked"] > 5 and counts["frames"] > 100
    assert (counts["libgcc_shorter"] > 0) == (case == "assembly")


def test_the_tracker_for_aarch64_is_loaded(aarch64):
    command = ["qemu-aarch64", "-L", f"/usr/{CROSS}", "-E", f"LD_PRELOAD={aarch64 / 'libheapline.so'}"]
    done = subprocess.run([*command, str(aarch64 / "hazards"), "handler"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


# Programs of what is most of a data scientist's process. Each: its packages, the program, its environment, and how many
# stacks it has at least.
LIBRARIES = {
    "numpy": (["numpy"], NUMPY, {"PYTHONMALLOC": "malloc", "ROUNDS": "40"}, 250_000),
    "frames": (["numpy", "pandas", "pyarrow"], FRAMES, {"PYTHONMALLOC": "malloc", "ROUNDS": "12"}, 2_000_000),
    "duckdb": (["duckdb"], DUCKDB, {}, 1_000_000),  # one C++ library of 60 MB, with threads and exceptions of its own
}


@pytest.mark.long
@pytest.mark.pythons("3.12")
@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries(heapline_binary, tmp_path, each_python, name):
    """Every allocation of a run that imports and uses them."""
    packages, program, extra, least = LIBRARIES[name]
    environment = each_python.packages(*packages)
    if environment is None:
        pytest.skip(f"{', '.join(packages)} cannot be had")
    counts = run_python(heapline_binary, tmp_path, each_python, program, {**environment, **extra}, timeout=3000)
    print(counts)
    assert counts["checked"] > least and counts["frames"] > 15 * counts["checked"]
    # libgcc ends where code has no .eh_frame: hand-written assembly, whose frame pointer the tracker's walk follows.
    assert counts["libgcc_shorter"] < counts["checked"] / 100
