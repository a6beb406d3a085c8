"""Forked children beside threads that allocate: every process has its own totals, to the byte."""

import json

import pytest


def parts(heapline, *words):
    path = heapline.folder / "truth.json"
    command = ["--", str(heapline.tool("forks")), str(path), *map(str, words)]
    profile = heapline.run(command, options=["--malloc-only", "--children=all"])
    columns = "sum(allocations), sum(allocated), sum(frees), sum(freed), sum(live), sum(live_blocks)"
    root = profile.sql(f"SELECT {columns} FROM stat WHERE process = (SELECT min(id) FROM process)")[0]
    rest = profile.sql(f"SELECT {columns} FROM stat WHERE process != (SELECT min(id) FROM process)")[0]
    names = ["allocations", "allocated_bytes", "frees", "freed_bytes", "live_bytes", "live_blocks"]
    sums = [dict(zip(names, (value or 0 for value in row))) for row in (root, rest)]
    return profile, json.loads(path.read_text()), *sums


@pytest.mark.parametrize("how", [(), ("raw",)], ids=["fork", "clone"])
def test_a_storm_of_forks(heapline, how):
    children = 100
    _, base_truth, base, _ = parts(heapline, 0, 0)
    profile, truth, root, rest = parts(heapline, children, 1000, *how)
    stats = profile.stats()
    assert truth["children"]["bad"] == 0
    assert stats["processes"] == children + 1
    assert stats["events_lost"] == 0
    assert stats["unknown_frees"] == 0
    assert stats["inherited_frees"] == children
    assert rest["allocations"] == truth["children"]["allocations"]
    assert rest["live_bytes"] == truth["children"]["live_bytes"]
    threads = 2 * 288  # what libc makes for each
    own = {name: root[name] - base[name] + base_truth[name] for name in root}
    own["allocations"] -= 2
    own["allocated_bytes"] -= threads
    own["live_bytes"] -= threads
    own["live_blocks"] -= 2
    assert own == {name: truth[name] for name in own}
