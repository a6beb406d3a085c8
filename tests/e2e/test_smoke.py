"""The backbone, end to end: a program's bytes arrive in the profile, on every CPython."""

PROGRAM = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.free.restype = None

def kept():
    return [libc.malloc(100003) for _ in range(10)]

def given_back():
    for _ in range(1000):
        libc.free(libc.malloc(50001))

blocks = kept()
given_back()
print("done")
"""


def test_the_program_runs_as_it_does_alone(heapline, each_python):
    profile = heapline.run(PROGRAM, python=each_python)
    assert profile.stdout == "done\n"
    assert profile.exit == 0


def test_bytes_reach_the_function_that_took_them(heapline, each_python):
    profile = heapline.run(PROGRAM, python=each_python)
    assert profile.leaked(function="kept", allocator="malloc", callees=True) == (1_000_030, 10)
    given_back = profile.allocated(function="given_back", allocator="malloc")
    if each_python.version >= (3, 0):
        assert given_back == (50_001_000, 1000)
    else:  # 2.7 takes blocks of its free lists and large lists straight from malloc, on the same line
        assert 0 <= given_back.bytes - 50_001_000 < 100_000
    assert profile.leaked(function="given_back", allocator="malloc") == (0, 0)


def test_sums_over_call_sites_equal_the_process_row(heapline, each_python):
    profile = heapline.run(PROGRAM, python=each_python)
    process = profile.sql("SELECT * FROM process WHERE id = 1")[0]
    sums = profile.sql(
        "SELECT sum(allocated), sum(allocations), sum(freed), sum(frees), sum(live), sum(peak) FROM stat"
    )[0]
    assert tuple(sums) == tuple(
        process[name] for name in ("allocated", "allocations", "freed", "frees", "live", "peak")
    )
    assert process["lost"] == 0


def test_stats_of_a_run(heapline, python):
    stats = heapline.run(PROGRAM, python=python).stats()
    assert stats["exit"] == 0 and stats["signal"] is None
    assert stats["peak_bytes"] >= 1_000_030
    assert stats["live_end_bytes"] >= 1_000_030
    assert stats["allocated_bytes"] - stats["freed_bytes"] == stats["live_end_bytes"]
    assert stats["events_lost"] == 0
