"""Python objects: the same events whatever allocator the interpreter was told to use, and no arena counted as heap."""

import pytest
from recording import NATIVE, OBJECTS

WORK = """
import gc
gc.disable()
class P(object):
    def __init__(self, i):
        self.a = i; self.b = [i]; self.c = {i: i}
def grow():
    a = []
    for i in range(3000):
        a.append(b"x" * (i % 900))
    return a
def work():
    keep = [P(1000000 + i) for i in range(2000)]
    text = [str(p.a) + "x" * 600 for p in keep]
    return keep, text, grow(), [frozenset([i]) for i in range(500)], bytearray(100), 10 ** 500
# What start-up left in the interpreter's free lists differs from one allocator to another; so they are emptied first.
def drain(n):
    return [[[], {}, (i, i), i + 0.5, 10 ** 6 + i, P(i), P(i).__init__, iter([]), (i,), (i, i, i), range(i), slice(i)]
            for i in range(n)]
drained = drain(3000)
x = work()
del x
"""


def modes(python):
    if python.free_threaded:
        return [{}, {"PYTHONMALLOC": "debug"}, {"PYTHONMALLOC": "mimalloc_debug"}]
    names = ["pymalloc", "malloc", "debug", "malloc_debug", "pymalloc_debug"]
    if python.version >= (3, 13):
        names += ["mimalloc", "mimalloc_debug"]
    return [{}] + [{"PYTHONMALLOC": name} for name in names]


@pytest.mark.pythons(since=(3, 6))
def test_each_pythonmalloc_gives_the_same_objects(heapline, each_python):
    def counts(env, options=()):
        profile = heapline.run(WORK, python=each_python, env=env)
        assert profile.exit == 0, profile.finished
        # Free-threaded builds give buffers back late, with lists of what is to be given back.
        allocators = "object" if each_python.free_threaded else OBJECTS
        where = {"function": "work", "callees": True, "allocator": allocators}
        return (*profile.allocated(**where), *profile.freed(**where))

    results = {env.get("PYTHONMALLOC", "default"): counts(env) for env in modes(each_python)}
    if each_python.version >= (3, 7):
        results["-X dev"] = counts({"PYTHONDEVMODE": "1"})
    assert results["default"][1] > 10_000
    assert len(set(results.values())) == 1, results


@pytest.mark.pythons(since=(3, 6))
def test_objects_are_not_counted_below_again(heapline, each_python):
    """In function work everything is an object: malloc and mmap below PyMem are not heap."""
    for env in modes(each_python):
        profile = heapline.run(WORK, python=each_python, env=env)
        native = profile.allocated(function="work", callees=True, allocator=NATIVE)
        assert native.count <= 20, (env, native)  # the interpreter's own few: data stack chunks, dtoa, raw strings


@pytest.mark.pythons(since=(3, 6))
@pytest.mark.parametrize("options", [[], ["--malloc-only"]], ids=["objects", "malloc-only"])
def test_arenas_are_a_class_of_their_own(heapline, each_python, options):
    if each_python.free_threaded:
        pytest.skip("mimalloc takes its pages from one reservation that it never commits")
    profile = heapline.run(
        """
        x = [object() for i in range(400000)]
        """,
        python=each_python,
        options=options,
    )
    assert profile.allocated(allocator="mmap").bytes < 300_000  # no arena among the heap's mappings
    assert profile.stats()["arena_peak_bytes"] > 6_000_000


@pytest.mark.pythons(since=(3, 6))
def test_totals_agree_with_tracemalloc(heapline, each_python):
    """tracemalloc hooks the same domains, in front of ours: what it says is alive, we say, to the byte."""
    profile = heapline.run(
        """
        import tracemalloc
        def work():
            a = tuple([str(i) * 3 for i in range(5000)])
            b = frozenset([str(i) * 2 for i in range(3000)])
            c = bytearray(12345)
            return a, b, c
        tracemalloc.start(1)
        kept = work()
        snapshot = tracemalloc.take_snapshot()
        own = [s for s in snapshot.statistics("lineno") if s.traceback[0].filename.endswith("program.py")
               and s.traceback[0].lineno in (4, 5, 6)]
        print(sum(s.size for s in own), sum(s.count for s in own))
        import os, sys
        sys.stdout.flush(); os._exit(0)
        """,
        python=each_python,
    )
    size, count = map(int, profile.stdout.split())
    live = [profile.live(file="program.py", line=line, allocator=("object", "buffer")) for line in (4, 5, 6)]
    assert (sum(part.bytes for part in live), sum(part.count for part in live)) == (size, count)


@pytest.mark.pythons(since=(3, 6))
def test_blocks_agree_with_getallocatedblocks(heapline, each_python):
    profile = heapline.run(
        """
        import sys, os
        def work():
            return [object() for i in range(10000)]
        before = sys.getallocatedblocks()
        kept = work()
        after = sys.getallocatedblocks()
        print(after - before)
        sys.stdout.flush(); os._exit(0)
        """,
        python=each_python,
        env={"PYTHONMALLOC": "debug"} if each_python.debug else {},
    )
    made = int(profile.stdout)
    live = profile.live(function="work", callees=True, allocator=OBJECTS).count
    assert abs(made - live) <= 10, (made, live)


@pytest.mark.pythons("2.7")
def test_two_seven_has_objects_where_libpython_is_shared(heapline, each_python):
    """It lets nobody in: its calls of PyObject_Malloc are caught in slots, those of later modules too."""
    if each_python.static:
        pytest.skip("its own calls go through no slot")
    profile = heapline.run(
        """
        class Plain(object):
            __slots__ = ()
        def keep():
            return [Plain() for i in range(100000)]
        def renew():
            for i in range(1000):
                t = str(i) * 2
        def in_a_module():
            import cPickle
            return cPickle.loads(cPickle.dumps([(i,) for i in range(5000)], 2))
        kept = keep()
        renew()
        loaded = in_a_module()
        """,
        python=each_python,
    )
    [row] = profile.sql("SELECT recorded, reason, unknown_frees, lost FROM process")
    assert tuple(row) == ("objects", "", 0, 0)
    kept = profile.allocated(function="keep", allocator="object", callees=True)
    assert 0 <= kept.count - 100_000 <= 10 and 0 <= kept.bytes - 1_600_000 <= 1000  # two lists and an iterator, too
    assert kept.count - profile.freed(function="keep", allocator="object", callees=True).count <= 5  # in free lists
    renewed = profile.allocated(function="renew", allocator="object")
    assert renewed.count >= 1000 and renewed == profile.freed(function="renew", allocator="object")
    assert profile.allocated(function="in_a_module", allocator="object", callees=True).count >= 10_000
    assert profile.allocated(allocator="mmap").bytes < 300_000  # no arena among the heap's mappings
    assert profile.stats()["arena_peak_bytes"] > 1_000_000


@pytest.mark.pythons("2.7")
def test_two_seven_without_objects(heapline, each_python):
    profile = heapline.run("x = [object() for i in range(100000)]\n", python=each_python, options=["--malloc-only"])
    [row] = profile.sql("SELECT recorded, reason FROM process")
    assert tuple(row) == ("stacks", "")
    assert profile.allocated(allocator=OBJECTS).count == 0
    assert profile.stats()["arena_peak_bytes"] > 1_000_000
