"""heapline.profile: the decorator, blocks, and when they do something (docs/python-api.md)."""

import textwrap

import pytest
from test_inprocess import SINCE, environment

WORK = """
def work(n, profile=None):
    kept = [None] * n
    for i in range(n):
        kept[i] = bytearray(2000)
    big = bytearray(1000000)
    del big
    return kept
"""


def ran(heapline, program, *, python=None, exit=0, **more):
    finished = heapline.plain(textwrap.dedent(program), python=python, env=environment(heapline, **more))
    assert finished.exit == exit, finished
    return finished


def profiles(heapline):
    return [heapline.profile(path) for path in sorted(heapline.folder.glob("*.heapline"))]


def lines(profile, name):
    (function,) = (f for f in profile.json("profiled")["functions"] if f["function"] == name)
    return {(line["source"] or "").strip(): line for line in function["lines"]}


@SINCE
@pytest.mark.parametrize("end", ["", "raise ValueError('no')", "import sys; sys.exit(3)"])
def test_tables_at_the_end(heapline, each_python, end):
    program = "import heapline\n@heapline.profile" + WORK + "work(10); work(10)\n" + end + "\n"
    exit = 0 if not end else 3 if "sys" in end else 1
    finished = ran(heapline, program, python=each_python, exit=exit, HEAPLINE="1")
    (profile,) = profiles(heapline)
    found = lines(profile, "work")
    assert found["kept[i] = bytearray(2000)"]["hits"] == 20
    assert 20 * 2001 <= found["kept[i] = bytearray(2000)"]["allocated_bytes"] <= 20 * 2120
    big = found["big = bytearray(1000000)"]
    assert big["hits"] == 2 and 0 <= big["highest_bytes"] - 1000001 < 100 and big["largest_bytes"] - 1000001 in (0, 32)
    assert 0 <= found["del big"]["freed_bytes"] - 2 * 1000001 < 200
    assert finished.stderr.count("kept[i] = bytearray(2000)") == 1, finished
    assert "1.00 MB" in finished.stderr


@SINCE
def test_every_kind_is_the_same_object_and_is_profiled(heapline, each_python):
    program = """
    import asyncio, functools, heapline, inspect, json, pickle
    def passes(f):
        @functools.wraps(f)
        def inner(*a):
            return f(*a)
        return inner
    def plain():
        return bytearray(3000)
    async def waits():
        await asyncio.sleep(0)
        return bytearray(3000)
    def gives():
        yield bytearray(3000)
    async def agives():
        yield bytearray(3000)
    small = lambda: (
        bytearray(3000))
    same = []
    def check(f):
        g = heapline.profile(f)
        same.append(g is f)
        return g
    for f in (plain, waits, gives, agives, small): check(f)
    @check
    class Things:
        def method(self):
            return bytearray(3000)
        @classmethod
        def of_class(cls):
            return bytearray(3000)
        @staticmethod
        def static():
            return bytearray(3000)
        @property
        def prop(self):
            return bytearray(3000)
        @functools.cached_property
        def cached(self):
            return bytearray(3000)
    class Single:
        @check
        @classmethod
        def outside(cls):
            return bytearray(3000)
        @classmethod
        @check
        def inside(cls):
            return bytearray(3000)
    @check
    @passes
    def under():
        return bytearray(3000)
    @passes
    @check
    def over():
        return bytearray(3000)
    def parted(n):
        return bytearray(n)
    part = check(functools.partial(parted, 3000))
    async def run():
        await waits()
        async for _ in agives(): pass
    with heapline.track("kinds.heapline"):
        plain(); small(); list(gives()); asyncio.run(run())
        t = Things(); t.method(); t.of_class(); t.static(); t.prop; t.cached
        Single.outside(); Single.inside(); under(); over(); part()
    print(json.dumps([all(same), inspect.iscoroutinefunction(waits), pickle.loads(pickle.dumps(plain)) is plain]))
    try:
        heapline.profile(5)
    except TypeError as error:
        print(error)
    """
    finished = ran(heapline, program, python=each_python)
    assert finished.stdout.splitlines()[0] == "[true, true, true]"
    assert "no Python code" in finished.stdout
    names = {
        *(
            "plain",
            "waits",
            "gives",
            "agives",
            "<lambda>",
            "under",
            "over",
            "parted",
            "Single.outside",
            "Single.inside",
        ),
        *("Things." + name for name in ("method", "of_class", "static", "prop", "cached")),
    }
    functions = heapline.profile(heapline.folder / "kinds.heapline").json("profiled")["functions"]
    assert {f["function"] for f in functions} == names
    for f in functions:
        assert 0 <= max(line["allocated_bytes"] for line in f["lines"]) - 3001 < 400, f


ON_ONE_LINE = """
import asyncio, heapline
class Things:
    def one(self): return bytearray(3000)
def two(): x = bytearray(3000); return [x,
    bytearray(3000)]
small = lambda n=3: [bytearray(3000) for _ in range(n)]
def gives(): yield bytearray(3000); yield bytearray(3000)
async def waits(): return bytearray(3000)
def raises(): bytearray(3000); raise ValueError
def closes(z): return lambda: (z, bytearray(3000))
def loops(n=4):
    while n: n -= 1
def work():
    Things().one(); two(); small(); list(gives()); asyncio.run(waits()); closes(1)()
    try: raises()
    except ValueError: pass
    loops()
work()  # what has run before is profiled as well
for f in Things.one, two, small, gives, waits, raises, loops, closes(1):
    heapline.profile(f)
for _ in range(7):
    work()
"""


@SINCE
@pytest.mark.parametrize("how", ["HEAPLINE=1", "run", "run --lines"])
def test_a_function_on_one_line(heapline, each_python, how):
    if how == "HEAPLINE=1":
        ran(heapline, ON_ONE_LINE, python=each_python, HEAPLINE="1")
        (profile,) = profiles(heapline)
    else:
        options = ["--lines", "__main__:loops"] if "--lines" in how else []
        profile = heapline.run(ON_ONE_LINE, options=options, python=each_python, env=environment(heapline))
        assert profile.exit == 0, profile.finished
    times = 8 if "--lines" in how else 7
    found = {f["function"]: f["lines"] for f in profile.json("profiled")["functions"]}
    assert set(found) == {
        "Things.one",
        "two",
        "<lambda>",
        "gives",
        "waits",
        "raises",
        "loops",
        "closes.<locals>.<lambda>",
    }
    for name, hits, blocks in [
        ("Things.one", 7, 7),
        ("two", 14, 7),  # its head, the second line, and the head again
        ("<lambda>", 7, 21),
        ("gives", 7, 14),
        ("waits", 7, 7),
        ("raises", 7, 7),
        ("closes.<locals>.<lambda>", 7, 7),
    ]:
        head = found[name][0]
        assert head["hits"] == hits, (name, head)
        assert 0 <= head["allocated_bytes"] - blocks * 3001 < 7 * 1000, (name, head)
    # A loop on one line is one execution where the interpreter tells of it once, else one a round.
    assert found["loops"][-1]["hits"] in (times, times * 4, times * 5), found["loops"]


@SINCE
def test_off_is_free(heapline, each_python):
    program = """
    import heapline, sys
    def work(): return 1
    before = work.__code__
    print(heapline.profile(work) is work, "ctypes" in sys.modules, work.__code__ is before)
    options = heapline.profile(rss=True, per_call=(heapline is None))
    print(options(work) is work)
    """
    for switch in {}, {"HEAPLINE": "0"}:
        assert ran(heapline, program, python=each_python, **switch).stdout == "True False True\nTrue\n"
    program = "import heapline, sys\nwith heapline.profile() as r:\n    x = 1\nwith heapline.profile:\n    x = 1\nprint(len(r), 'ctypes' in sys.modules)\n"
    assert ran(heapline, program, python=each_python, HEAPLINE="0").stdout == "0 False\n"
    assert profiles(heapline) == []


@SINCE
def test_threads_and_forked_children_are_in_one_table(heapline, each_python):
    program = (
        "import heapline, threading, os, multiprocessing\n@heapline.profile"
        + WORK
        + """
if __name__ == "__main__":
    threads = [threading.Thread(target=work, args=(10,)) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    pid = os.fork()
    if pid == 0:
        work(10)
        raise SystemExit(0)
    os.waitpid(pid, 0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(sum(map(len, pool.map(work, [10] * 4))))
"""
    )
    finished = ran(heapline, program, python=each_python, HEAPLINE="1")
    (profile,) = profiles(heapline)
    assert finished.stdout == "40\n"
    assert finished.stderr.count("kept[i] = bytearray(2000)") == 1, finished
    assert lines(profile, "work")["kept[i] = bytearray(2000)"]["hits"] == 80


@pytest.mark.pythons(since=(3, 12))
def test_a_block(heapline, each_python):
    program = """
    import heapline, json, io
    def work():
        out = io.StringIO()
        with heapline.profile(stream=out) as result:
            for i in range(3):
                x = bytearray(2000)
        x = bytearray(2000)
        return result, out
    for _ in range(2):
        result, out = work()
        (function,) = result
        (line,) = (line for line in function if line.source.strip() == "x = bytearray(2000)" and line.hits)
        assert "x = bytearray(2000)" in out.getvalue()
        assert json.loads(result.to_json())["functions"][0]["function"] == "work"
        assert result.to_csv().startswith("file,function,first_line,line,hits") and "<table" in result._repr_html_()
        print(function.function, line.hits, line.largest_bytes, heapline.is_recording())
    """
    largest = 2001 + 32 * (each_python.version >= (3, 15))  # since then a bytearray's bytes have a header
    assert ran(heapline, program, python=each_python).stdout == f"work 3 {largest} False\n" * 2


@SINCE
def test_a_table_after_each_call(heapline, each_python):
    program = (
        "import heapline\n@heapline.profile(per_call=True)"
        + WORK
        + """
with heapline.track("calls.heapline"):
    work(5); work(7)
"""
    )
    finished = ran(heapline, program, python=each_python)
    rows = [line.split() for line in finished.stderr.splitlines() if "kept[i] = bytearray(2000)" in line]
    assert [row[1] for row in rows] == ["5", "7"], finished


@SINCE
@pytest.mark.parametrize("switch", [{}, {"HEAPLINE": "1"}], ids=["unset", "1"])
def test_under_heapline_run(heapline, each_python, switch):
    program = "import heapline\n@heapline.profile" + WORK + "work(10)\n"
    profile = heapline.run(program, python=each_python, env=environment(heapline, **switch))
    assert lines(profile, "work")["kept[i] = bytearray(2000)"]["hits"] == 10
    assert len(profiles(heapline)) == 1


def test_code_made_by_exec_has_its_source(heapline, python):
    program = """
    import heapline, linecache
    text = "def made():\\n    return bytearray(3000)\\n"
    linecache.cache["<made>"] = (len(text), None, text.splitlines(True), "<made>")
    space = {}
    exec(compile(text, "<made>", "exec"), space)
    heapline.profile(space["made"])
    space["made"]()
    """
    finished = ran(heapline, program, python=python, HEAPLINE="1")
    assert "return bytearray(3000)" in finished.stderr, finished
