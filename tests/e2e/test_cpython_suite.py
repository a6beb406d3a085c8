"""CPython's own tests of what the hooks touch pass under heapline as they do without it.

Each module runs twice, plain and recorded, and the outcomes of its tests are compared one by one. A test whose outcome
differs runs again both ways, since some of them fail now and then by themselves. The short form takes a few modules on two
interpreters; --long runs every module on each.
"""

import xml.etree.ElementTree as ElementTree

import pytest

SHORT = ["test_json", "test_gc", "test_mmap", "test_threading"]
LONG = [
    *SHORT,
    "test_sys",
    "test_frame",
    "test_generators",
    "test_sys_settrace",
    "test_coroutines",
    "test_ctypes",
    "test_capi",
    "test_asyncio",
    "test_subprocess",
    "test_multiprocessing_fork",
    "test_multiprocessing_spawn",
]

# Tests that see the allocator hooks themselves: docs/semantics.md, "What a program can notice", lists them with reasons.
NOTICES = {"test.test_sys.SysModuleTest.test_debugmallocstats"}

TRIES = 3


def outcomes(report):
    """{test id: passed, failed or skipped} from regrtest's JUnit file. Of one id several times, the worst."""
    worst: dict[str, str] = {}
    order = ["skipped", "passed", "failed"]
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        name = case.get("name")
        worst[name] = max(worst.get(name, outcome), outcome, key=order.index)
    return worst


def compare(heapline, python, module, timeout):
    """What differs, as {test id: (plain, recorded)}, and the last recorded run's output."""
    seen_plain: dict[str, set[str]] = {}
    seen_recorded: dict[str, set[str]] = {}
    text = ""
    selected: list[str] = []
    for attempt in range(TRIES):
        report = [heapline.folder / f"{module}-{attempt}-{how}.xml" for how in ("plain", "recorded")]
        arguments = [["-m", "test", "--timeout", "300", "--junit-xml", str(path), *selected, module] for path in report]
        plain = heapline.plain(arguments[0], python=python, timeout=timeout)
        recorded = heapline.run(arguments[1], python=python, timeout=timeout, check=False)
        text = f"plain\n{plain}\nrecorded\n{recorded.finished}"
        if not report[0].exists() and attempt + 1 < TRIES:
            continue  # it hung by itself
        assert report[0].exists(), f"{module} did not report without heapline\n{plain}"
        assert report[1].exists(), f"{module} did not report under heapline\n{recorded.finished}"
        for name, outcome in outcomes(report[0]).items():
            seen_plain.setdefault(name, set()).add(outcome)
        for name, outcome in outcomes(report[1]).items():
            seen_recorded.setdefault(name, set()).add(outcome)
        differing = {
            name: (sorted(seen_plain.get(name, {"absent"})), sorted(seen_recorded.get(name, {"absent"})))
            for name in seen_plain.keys() | seen_recorded.keys()
            if not seen_plain.get(name, {"absent"}) & seen_recorded.get(name, {"absent"}) and name not in NOTICES
        }
        if not differing:
            break
        selected = [word for name in sorted(differing) for word in ("-m", name)]
    return differing, text


def check(heapline, python, module, timeout):
    if not python.has(f"test.{module}"):
        pytest.skip(f"{python} comes without test.{module}")
    differing, text = compare(heapline, python, module, timeout)
    assert not differing, f"{differing}\n{text}"


@pytest.mark.pythons("3.12", "3.14")
@pytest.mark.parametrize("module", SHORT)
def test_suite(heapline, each_python, module):
    check(heapline, each_python, module, timeout=300)


@pytest.mark.long
@pytest.mark.pythons(since=(3, 8))
@pytest.mark.parametrize("module", LONG)
def test_whole_suite(heapline, each_python, module):
    check(heapline, each_python, module, timeout=1800)
