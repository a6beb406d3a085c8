"""Code objects die and their addresses are used again: a block belongs to the code that ran, not to what lay there before."""

import pytest
from stackread import read_stacks

EXEC = """
import sys
N = 3000
def main():
    for k in range(N):
        scope = {}
        exec("def f%d(n): return bytearray(n - 1)" % k, scope)
        scope["f%d" % k](100001 + k)
main()
"""

REPLACE = """
import types
N = 3000
def base(n):
    x = bytearray(n - 1)
names = ["f%d" % k for k in range(N)]
make, code, G, FT = base.__code__.replace, base.__code__, globals(), types.FunctionType
more = [{"co_qualname": name} if hasattr(code, "co_qualname") else {} for name in names]
def main():
    for k in range(N):
        FT(make(co_name=names[k], **more[k]), G)(100001 + k)
main()
"""

THREADS = """
import threading
N = 600
def work(thread):
    for k in range(N):
        scope = {}
        exec("def f%d_%d(n): return bytearray(n - 1)" % (thread, k), scope)
        scope["f%d_%d" % (thread, k)](100001 + thread * N + k)
threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def run(heapline_binary, tmp_path, python, text, objects):
    if python.version >= (3, 15):
        text = text.replace("bytearray(n - 1)", "b'x' * (n - 33)")  # a bytearray keeps a bytes object
    program = tmp_path / "program.py"
    program.write_text(text)
    return read_stacks(heapline_binary, tmp_path, python, str(program), objects=objects, sizes=(100_000, 110_000))


@pytest.mark.parametrize("objects", [True, False], ids=["objects", "malloc-only"])
@pytest.mark.parametrize("text", [EXEC, REPLACE, THREADS], ids=["exec", "replace", "threads"])
def test_new_code_at_an_old_address(heapline_binary, tmp_path, each_python, text, objects):
    if text is REPLACE and each_python.version < (3, 8):
        pytest.skip("code.replace came with 3.8")
    if not objects and (each_python.debug or each_python.free_threaded):
        pytest.skip("malloc sees these blocks with other sizes, or not at all")
    got = run(heapline_binary, tmp_path, each_python, text, objects)
    count = 3000
    wrong = []
    for k in range(count):
        name = f"f{k // 600}_{k % 600}" if text is THREADS else f"f{k}"
        stacks = got.by_size.get(100_001 + k, [])
        if not any(stack and stack[0].split()[0] == name for stack in stacks):
            wrong.append((k, [stack[:1] for stack in stacks]))
    assert not wrong, f"{len(wrong)} of {count}: {wrong[:5]}"
    assert got.facts["missing"] == got.facts["contradictions"] == 0
