# ruff: noqa
# fmt: off
"""Allocates blocks of unique sizes in many shapes of stack and writes down what sys._getframe says of each.

stacks.py OUT THREADS ROUNDS [malloc]: lines "T size|function file:line|..", innermost first. With "malloc" the blocks come
from libc's malloc, called without the GIL. For CPython 2.7 and later. Each block and its log stand on one line.
"""
import ctypes
import itertools
import random
import sys
import threading

OUT, THREADS, ROUNDS, MALLOC = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "malloc" in sys.argv
sys.setrecursionlimit(3000)
counter, lines, lock = itertools.count(100000), [], threading.Lock()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]


def log(size, depth=1):
    frame, parts = sys._getframe(depth), []
    while frame:
        code = frame.f_code
        parts.append("%s %s:%d" % (getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno))
        frame = frame.f_back
    lines.append("T %d|%s\n" % (size, "|".join(parts)))


def unique():
    with lock:
        return next(counter)


HEADER = sys.getsizeof(b"")
if MALLOC:
    def al(): size = unique(); libc.free(libc.malloc(size)); log(size)
    def leaf(k): size = unique(); p = libc.malloc(size); log(size); libc.free(p); return k
elif sys.version_info >= (3, 15):
    def al(): size = unique(); b = bytes(size - HEADER); log(size); return len(b)
    def leaf(k): size = unique(); b = bytes(size - HEADER); log(size); return k
else:
    def al(): size = unique(); b = b"x" * (size - HEADER); log(size); return len(b)
    def leaf(k): size = unique(); b = bytearray(size - 1); log(size); return k


def rec(depth, k):
    if depth and k % 7 == 0: al()
    return rec(depth - 1, k + 1) if depth else leaf(k)


def gen(k):
    for i in range(3):
        yield leaf(k + i); al()


def gen_user(k):
    for v in gen(k):
        leaf(k)
    def sub(): return sum(1 for _ in gen(k + 1))
    return sub() + sum(1 for _ in gen(k)) + len([leaf(i) for i in range(2)]) + len({leaf(i) for i in range(2)})


class C(object):
    def __init__(self, k): self.k = leaf(k)
    def __getattr__(self, name): return leaf(3)
    def __lt__(self, other): al(); return True
    def __del__(self): al()
    @property
    def value(self): return leaf(1)
    @staticmethod
    def static(*args, **kwargs): return leaf(2)


class D(C):
    def __init__(self, k): super(D, self).__init__(k); al()
    def __new__(cls, k): al(); return object.__new__(cls)


def raising(depth):
    if depth:
        raising(depth - 1)
    else:
        al(); raise ValueError


def closing(g):
    def inner():
        try:
            yield leaf(1)
        finally:
            al()
    i = inner(); next(i); i.close()
    j = inner(); next(j); del j


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
called_back = CALLBACK(lambda k: leaf(k))


def tracer(frame, event, arg):
    # Until 3.9 a traced frame's f_lineno lags behind its instruction, but for "line" events.
    if event == "line" or sys.version_info >= (3, 10): al()
    return tracer if frame.f_code.co_name in ("rec", "gen") else None


def traced(k):
    before = sys.gettrace()
    sys.settrace(tracer)
    rec(3, k); gen_user(k)
    sys.settrace(before)
    rec(3, k)


if sys.version_info >= (3, 6):
    exec("""
import asyncio
async def co(k): leaf(k); await asyncio.sleep(0); al(); return await inner(k)
async def inner(k): await asyncio.sleep(0); return leaf(k)
async def agen(k):
    for i in range(2): leaf(i); yield i; await asyncio.sleep(0); al()
async def main(k):
    await asyncio.gather(*[co(i) for i in range(3)])
    async for v in agen(k): leaf(v)
    return [leaf(v) async for v in agen(k)]
def coroutines(k):
    loop = asyncio.new_event_loop(); loop.run_until_complete(main(k)); loop.close()
""")
else:
    def coroutines(k): return leaf(k)


def decorated(f):
    def wrapper(*args, **kwargs): al(); return f(*args, **kwargs)
    return wrapper


def painted(n):
    # Leaves None's address all over the C stack, where the frame that the interpreter has there will lie uninitialized.
    libc.getpid(*[ctypes.c_void_p(id(None))] * n)
    return map(leaf, (1,))


def over_painted():
    for n in range(8, 128, 5):
        list(painted(n))
        list(painted(n))
        sorted([1], key=lambda x: list(painted(n)))
        sorted([1], key=lambda x: list(painted(n)))


@decorated
@decorated
def many_arguments(a, b=1, *c, **d): return leaf(a) + (lambda: leaf(b))()


def call(k, R):
    w = k % 16
    if w == 0: rec(R.randrange(40), k)
    elif w == 1: gen_user(k)
    elif w == 2: sorted([3, 1, 2], key=lambda x: leaf(x))
    elif w == 3: C(k).zzz
    elif w == 4: exec("al(); leaf(%d)" % k, globals())
    elif w == 5:
        try: raising(R.randrange(60))
        except ValueError: al()
    elif w == 6: list(map(leaf, range(3)))
    elif w == 7: sorted([C(1), C(2)])
    elif w == 8: closing(k)
    elif w == 9: called_back(k)
    elif w == 10: coroutines(k)
    elif w == 11: D(k).value; D.static(1, a=2)
    elif w == 12: traced(k)
    elif w == 13: many_arguments(1, 2, 3, x=4)
    elif w == 14: eval("leaf(%d)" % k); [leaf(i) for i in range(2)]
    else: rec(300 if k % 5 == 0 else 2, 1)


def many(seed):
    R = random.Random(seed)
    for _ in range(ROUNDS):
        call(R.randrange(10000), R)
    over_painted()


if hasattr(sys, "setswitchinterval"):
    sys.setswitchinterval(1e-5)
threads = [threading.Thread(target=many, args=(i,)) for i in range(1, THREADS)]
[t.start() for t in threads]; many(0); [t.join() for t in threads]
with open(OUT, "w") as out:
    out.writelines(lines)
