"""The example that README starts with: numpy in four threads, on every CPython that has numpy."""

import pytest
from pythons import ROOT

STATIONS = 40
READINGS_BYTES = 100_000 * 3 * 8
EXAMPLE = ROOT / "examples" / "stations.py"


@pytest.mark.pythons(since=(3, 6))
def test_the_line_that_holds_the_memory_is_named(heapline, each_python):
    environment = each_python.numpy
    if environment is None:
        pytest.skip(f"no numpy for {each_python}")
    profile = heapline.run(EXAMPLE, python=each_python, args=[str(STATIONS)], env=environment)
    assert profile.stdout.startswith(f"{STATIONS} stations, ")
    # Each station's smoothed readings stay alive, whole, through the view of their last hour.
    smoothed = READINGS_BYTES - 60 * 3 * 8
    held = profile.at_peak(function="smooth").bytes
    assert STATIONS * smoothed * 0.8 < held < (STATIONS + 8) * READINGS_BYTES
    # Of lines of Python: the threads that numpy's own library starts on old versions have buffers, too.
    heaviest = next(row for row in profile.table("-n", "3") if row["line"])
    assert (heaviest["function"], heaviest["file"].rpartition("/")[2]) == ("smooth", "stations.py")


def test_threads_have_their_python_names(heapline, each_python):
    environment = each_python.numpy if each_python.version >= (3, 6) else None
    if environment is None:
        pytest.skip(f"no numpy for {each_python}")
    profile = heapline.run(EXAMPLE, python=each_python, args=["4"], env=environment)
    names = {row["name"] for row in profile.sql("SELECT name FROM thread")}
    assert {f"station-{i}" for i in range(4)} <= names
