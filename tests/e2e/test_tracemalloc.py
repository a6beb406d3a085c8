"""A program that uses tracemalloc works under heapline, and tracemalloc's figures are those it has alone."""

import pytest

PROGRAM = """
import tracemalloc
tracemalloc.start(5)

def kept():
    blocks = []
    for i in range(1000):
        blocks.append(bytes(1000 + i))
    return blocks

blocks = kept()
traced, peak = tracemalloc.get_traced_memory()
statistics = tracemalloc.take_snapshot().statistics("lineno")
own = [statistic for statistic in statistics if statistic.traceback[0].filename == __file__]
largest = max(own, key=lambda statistic: statistic.size)
print(largest.traceback[0].lineno, largest.count, largest.size, peak >= traced > 1_499_500)
tracemalloc.stop()
blocks += kept()
print(len(blocks))
"""


@pytest.mark.pythons(since=(3, 6))
@pytest.mark.parametrize("variable", [None, "PYTHONTRACEMALLOC", "PYTHONDEVMODE"])
def test_tracemalloc_sees_what_it_sees_alone(heapline, each_python, variable):
    env = {variable: "1"} if variable else {}
    alone = heapline.plain(PROGRAM, python=each_python, env=env)
    assert alone.exit == 0, alone
    profile = heapline.run(PROGRAM, python=each_python, env=env)
    assert profile.stdout == alone.stdout
    # Both lists of blocks were made in kept, whatever else was; tracemalloc's own records are malloc's.
    kept = profile.allocated(function="kept", allocator=("object", "buffer"))
    assert kept.bytes >= 2 * 1_499_500 and kept.count >= 2000


@pytest.mark.pythons("3.12")
def test_blocks_are_exact_while_tracemalloc_runs(heapline, each_python):
    profile = heapline.run(
        """
import tracemalloc
tracemalloc.start()
def drops(count):
    for _ in range(count):
        bytes(10_000)
drops(300)
tracemalloc.stop()
drops(200)
""",
        python=each_python,
    )
    drops = {"function": "drops", "allocator": ("object", "buffer")}
    assert 500 * 10_033 <= profile.allocated(**drops).bytes < 500 * 10_033 + 30_000
    assert profile.live(**drops).bytes < 1000
