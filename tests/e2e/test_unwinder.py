"""The tracker's walk up the native stack is libgcc's: compared at every malloc of programs, by a library that is preloaded
(tests/preload/unwindcheck.c)."""

import json
import os
import subprocess

import pytest

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
a = np.random.default_rng(1).random((200, 200))
for i in range(3):
    np.linalg.svd(a); np.linalg.solve(a, a); np.fft.fft2(a); np.sort(a, axis=None); a @ a
    np.apply_along_axis(lambda row: np.array(sorted(row)), 0, a[:20, :20])
    np.einsum("ij,jk->ik", a, a); np.array([str(v) for v in a[0]]).astype(float)
"""

FRAMES = """
import io, os
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
rng = np.random.default_rng(2)
df = pd.DataFrame({"k": rng.integers(0, 50, 20000), "v": rng.random(20000), "s": ["n%d" % (i % 97) for i in range(20000)]})
for i in range(3):
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
    environment = each_python.numpy
    if environment is None:
        pytest.skip("numpy is not installed")
    counts = run_python(heapline_binary, tmp_path, each_python, NUMPY, environment)
    assert counts["checked"] > 10_000 and counts["frames"] > 200_000


@pytest.mark.long
def test_pandas_and_pyarrow(heapline_binary, tmp_path, python):
    """Every allocation of what is most of a data scientist's process: some 100 million frames."""
    if not (python.has("pandas") and python.has("pyarrow")):
        pytest.skip("pandas and pyarrow are not installed")
    counts = run_python(heapline_binary, tmp_path, python, FRAMES, {"PYTHONMALLOC": "malloc"}, timeout=3000)
    assert counts["checked"] > 1_000_000 and counts["frames"] > 20_000_000
