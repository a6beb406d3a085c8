"""Fixtures of the end-to-end tests.

test_something(heapline)
    The built command; heapline.run(PROGRAM) gives a Profile (recording.py).
test_everywhere(heapline, each_python)
    Once for every CPython that heapline supports; absent ones are skipped by name. Narrow it by
    @pytest.mark.pythons("3.12", "3.13t") or by
    @pytest.mark.pythons(since=(3, 12), kinds=("release", "debug", "free-threaded")).
@pytest.mark.long
    Runs only with --long.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pythons import EXPECTED, Python, all_pythons, default_python
from recording import Heapline, find_binary

ABSENT = "not on this machine"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also the long forms of the tests (minutes to hours)")
    parser.addoption(
        "--pythons", metavar="ID,..", help="only these interpreters for tests that run on each (3.12,3.14t)"
    )


def pytest_configure(config):
    # A shell starts what it puts into the background with SIGINT ignored, and that is inherited: the programs of tests would have
    # no KeyboardInterrupt. What is handled here is the default again in what is executed.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "long: takes minutes; runs only with --long")
    config.addinivalue_line(
        "markers", "pythons(*ids, since=, before=, kinds=): which interpreters `each_python` stands for"
    )


def pytest_report_header(config):
    return ["heapline: " + str(find_binary() or "not built"), "pythons: " + ", ".join(all_pythons())]


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="long form: pytest --long"))


def wanted(name: str, marker: pytest.Mark | None) -> bool:
    """Whether a test with this `pythons` marker is about the interpreter called `name`."""
    if not marker:
        return True
    if marker.args:
        return name in marker.args
    head, *suffixes = name.split("-")
    version = tuple(map(int, head.rstrip("t").split(".")))
    kind = "debug" if "debug" in suffixes else "free-threaded" if head.endswith("t") else "release"
    options = marker.kwargs
    return options.get("since", (0,)) <= version < options.get("before", (9,)) and kind in options.get("kinds", (kind,))


def pytest_generate_tests(metafunc):
    if "each_python" not in metafunc.fixturenames:
        return
    found = all_pythons()
    marker = metafunc.definition.get_closest_marker("pythons")
    only = metafunc.config.getoption("--pythons")
    names = [name for name in [*found, *(name for name in EXPECTED if name not in found)] if wanted(name, marker)]
    if only:
        names = [name for name in names if name in only.split(",")]
    metafunc.parametrize("each_python", names, indirect=True)


@pytest.fixture
def each_python(request) -> Python:
    if request.param not in all_pythons():
        pytest.skip(f"{ABSENT}: CPython {request.param} (tools/pythons.sh brings up what Debian has)")
    return all_pythons()[request.param]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """One place for all skips of absent interpreters, so that pytest's summary has one line for each interpreter."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and ABSENT in report.longrepr[2]:
        report.longrepr = (str(Path(__file__)), 1, report.longrepr[2])
    return report


@pytest.fixture(scope="session")
def heapline_binary() -> Path:
    binary = find_binary()
    if not binary:
        pytest.fail("heapline is not built: cmake --preset release && cmake --build --preset release", pytrace=False)
    return binary


@pytest.fixture
def heapline(heapline_binary, tmp_path):
    command = Heapline(heapline_binary, tmp_path)
    yield command
    command.close()


@pytest.fixture(scope="session")
def python() -> Python:
    """One ordinary interpreter, for tests that need its path or version."""
    return default_python()
