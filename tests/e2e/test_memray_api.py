"""`from heapline.compat import memray`: the interface, beside the real one (docs/memray.md)."""

import json
import os
import subprocess

import pytest
from original import original_folder
from pythons import ROOT

SINCE = pytest.mark.pythons(since=(3, 8))

WORK = """
import json, sys
def level(n):
    kept = []
    for i in range(n):
        kept.append(bytearray(1_000_000 + i))
    return kept
def churn():
    for i in range(50):
        bytearray(2_000_000)
if __name__ == "__main__":
    with memray.Tracker("out.bin"):
        kept = level(5)
        more = level(7)
        churn()
        del more
        last = level(1)
    def rows(records):
        found = {}
        for record in records:
            stack = record.stack_trace(max_stacks=1)
            if stack and record.size > 500_000:
                row = found.setdefault("%s %d" % (stack[0][0], stack[0][2]), [0, 0])
                row[0] += record.size
                row[1] += record.n_allocations
        return found
    with memray.FileReader("out.bin") as reader:
        print(json.dumps({
            "peak": rows(reader.get_high_watermark_allocation_records(merge_threads=True)),
            "leaks": rows(reader.get_leaked_allocation_records(merge_threads=True)),
            "temporary": rows(reader.get_temporary_allocation_records(merge_threads=True, threshold=1)),
            "pid": reader.metadata.pid, "peak_memory": reader.metadata.peak_memory,
            "command": reader.metadata.command_line, "native": reader.metadata.has_native_traces,
            "ran_s": (reader.metadata.end_time - reader.metadata.start_time).total_seconds(),
            "snapshots": [[s.time, s.rss, s.heap] for s in reader.get_memory_snapshots()],
            "start_ms": reader.metadata.start_time.timestamp() * 1000,
        }))
"""


def ours(heapline, python, program, **options):
    environment = {
        "PYTHONPATH": str(ROOT / "python"),
        "PATH": os.pathsep.join([str(heapline.binary.parent), os.environ.get("PATH", "")]),
    }
    return heapline.plain("from heapline.compat import memray\n" + program, python=python, env=environment, **options)


@SINCE
def test_the_same_figures_as_memray(heapline, each_python):
    """Of large blocks, byte by byte: sizes, numbers and lines of peak, leaks and temporary blocks. Changing the import is
    all that the program needs."""
    found = ours(heapline, each_python, WORK)
    assert found.exit == 0, found
    found = json.loads(found.stdout)
    folder = original_folder(each_python, "memray")
    (heapline.folder / "theirs").mkdir()
    program = heapline.folder / "theirs" / "program.py"
    program.write_text("import memray\n" + WORK)
    theirs = subprocess.run(
        [folder / "python", program.name], cwd=program.parent, capture_output=True, text=True, timeout=120
    )
    assert theirs.returncode == 0, theirs
    theirs = json.loads(theirs.stdout)
    for what in ("peak", "leaks", "temporary"):
        assert found[what] == theirs[what], what
    assert sum(size for size, _ in found["leaks"].values()) > 6_000_000
    assert abs(found["peak_memory"] - theirs["peak_memory"]) < 20_000
    assert found["native"] is theirs["native"] is False
    assert found["pid"] > 0 and found["command"].endswith("program.py")
    assert found["snapshots"] and 0 <= found["snapshots"][0][0] - found["start_ms"] < 60_000
    assert all(rss > heap for _, rss, heap in found["snapshots"])


@SINCE
def test_errors_are_those_that_programs_of_memray_expect(heapline, python):
    run = ours(
        heapline,
        python,
        """
import os
def raises(kind, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except kind as error:
        return str(error)
    raise SystemExit("not refused: %r %r" % (arguments, options))
def use(*arguments, **options):
    with memray.Tracker(*arguments, **options):
        pass
tracker = memray.Tracker("a.bin")
with tracker:
    raises(RuntimeError, use, "b.bin")
raises(RuntimeError, tracker.__enter__)
raises(FileExistsError, use, "a.bin")
use(destination=memray.FileDestination("a.bin", overwrite=True, compress_on_exit=False))
raises(TypeError, use)
raises(TypeError, use, "c.bin", destination=memray.FileDestination("c.bin"))
raises(RuntimeError, use, "c.bin", track_object_lifetimes=True)
raises(OSError, memray.FileReader, "missing.bin")
open("foreign.bin", "w").write("hello")
from heapline import ProfileError
raises(ProfileError, memray.FileReader, "foreign.bin")
reader = memray.FileReader("a.bin")
assert not reader.closed
raises(NotImplementedError, reader.get_leaked_allocation_records, merge_threads=False)
reader.close()
assert reader.closed
raises(ValueError, lambda: reader.metadata)
assert not os.path.exists("b.bin") and not os.path.exists("c.bin")
""",
    )
    assert run.exit == 0, run


@SINCE
def test_native_traces_and_python_objects_are_asked_for_alike(heapline, python):
    run = ours(
        heapline,
        python,
        """
with memray.Tracker("out.bin", native_traces=True, trace_python_allocators=True, memory_interval_ms=5):
    kept = [b"x" * (40 + i % 100) for i in range(1000)]
    large = bytearray(5_000_000)
with memray.FileReader("out.bin") as reader:
    assert reader.metadata.has_native_traces and reader.metadata.trace_python_allocators
    records = list(reader.get_leaked_allocation_records())
    large = max(records, key=lambda r: r.size)
    assert large.stack_trace()[0][2] == 5 and large.stack_trace(max_stacks=0) == []
    native, hybrid = large.native_stack_trace(), large.hybrid_stack_trace()
    assert native and len(hybrid) == len(native) + len(large.stack_trace())
    assert sum(r.n_allocations for r in records if r.stack_trace() and r.stack_trace()[0][2] == 4) >= 1000
""",
    )
    assert run.exit == 0, run


@SINCE
def test_a_forked_child_is_followed_only_if_asked(heapline, python):
    run = ours(
        heapline,
        python,
        """
import os
def sizes(follow_fork):
    with memray.Tracker("out%d.bin" % follow_fork, follow_fork=follow_fork):
        if os.fork() == 0:
            kept = bytearray(30_000_000)
            os._exit(0)
        os.wait()
    with memray.FileReader("out%d.bin" % follow_fork) as reader:
        return sum(r.size for r in reader.get_leaked_allocation_records())
assert sizes(False) < 1_000_000 < 30_000_000 <= sizes(True)
""",
    )
    assert run.exit == 0, run


def test_under_a_recording_of_others_it_is_refused(heapline, python):
    run = heapline.run(
        "from heapline.compat import memray\n"
        "try:\n    memray.Tracker('x.bin').__enter__()\nexcept RuntimeError as error:\n    print(error)\n",
        python=python,
        env={"PYTHONPATH": str(ROOT / "python")},
    )
    assert "recorded already" in run.stdout, run
