"""A random tree of processes that know what they have alive (tests/tools/descent.c), against the profile of all of them."""

import json
import os
import time

import pytest

SEEDS = range(1, 21)


def record(heapline, *words):
    path = heapline.folder / "truth.json"
    path.unlink(missing_ok=True)
    command = ["--", str(heapline.tool("descent")), str(path), *map(str, words)]
    profile = heapline.run(command, options=["--malloc-only", "--children=all"])
    return profile, json.loads(path.read_text())


def ending(status):
    return ("signal", os.WTERMSIG(status)) if os.WIFSIGNALED(status) else ("exit", os.WEXITSTATUS(status))


def processes_must_be_equal(profile, truth):
    """All that is known of each process, and of all together, whatever the order of their events."""
    known = truth["processes"]
    lives = [dict(row) for row in profile.sql("SELECT * FROM process")]
    assert sorted(row["pid"] for row in lives) == sorted(process["pid"] for process in known)
    rows = {row["pid"]: row for row in lives}
    ids = {row["pid"]: row["id"] for row in lives}
    for process in known:
        row = rows[process["pid"]]
        names = ["allocations", "allocated", "frees", "freed", "live", "peak", "inherited_frees"]
        assert {name: row[name] for name in names} == {name: process[name] for name in names}, (process, row)
        assert row["live_blocks"] == process["allocations"] - process["frees"]
        assert (row["unknown_frees"], row["lost"]) == (0, 0)
        assert (row["ended"], row["exit_status"]) == ending(process["status"]), (process, row)
        if process["parent"] >= 0:
            assert row["parent"] == ids[known[process["parent"]]["pid"]]
        sums = profile.sql(
            "SELECT coalesce(sum(allocated), 0) AS a, coalesce(sum(freed), 0) AS f, coalesce(sum(live), 0) AS l, "
            f"coalesce(sum(peak), 0) AS p FROM stat WHERE process = {row['id']}"
        )[0]
        assert tuple(sums) == (row["allocated"], row["freed"], row["live"], row["peak"])
    meta = {row["key"]: row["value"] for row in profile.sql("SELECT key, value FROM meta")}
    for name in ["allocations", "allocated", "frees", "freed", "live"]:
        assert int(meta[name]) == sum(process[name] for process in known), name
    peak = int(meta["peak"])
    assert profile.value("SELECT sum(tree_peak) FROM stat") == peak
    assert max(process["peak"] for process in known) <= peak <= int(meta["peak_bound"])
    return peak


def turns(heapline, seed, lives):
    profile, truth = record(heapline, "turns", seed, lives)
    assert processes_must_be_equal(profile, truth) == truth["tree_peak"]
    return len(truth["processes"])


def together(heapline, seed, lives, ms):
    """The order of events of processes that run at once is the collector's, within what they do in one of its passes. One
    that gets no processor for as long as a round lasts knows even less: then rounds last longer."""
    for _ in range(3):
        profile, truth = record(heapline, "together", seed, lives, ms)
        peak = processes_must_be_equal(profile, truth)
        slack = sum(sorted(process["range"] for process in truth["processes"][1:])[-5:])
        assert slack < truth["tree_peak"] / 4
        if abs(peak - truth["tree_peak"]) <= slack:
            return
        ms *= 4
    assert abs(peak - truth["tree_peak"]) <= slack, (peak, truth["tree_peak"])


def test_processes_that_take_turns(heapline):
    assert sum(turns(heapline, seed, 25) for seed in SEEDS) > 200


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_processes_at_once(heapline, seed):
    together(heapline, seed, 12, 60)


@pytest.mark.long
def test_many_processes(heapline):
    until = time.monotonic() + 600
    for seed in range(1000, 100000):
        turns(heapline, seed, 20 + seed % 150)
        together(heapline, seed, 20 + seed % 20, 100)
        if time.monotonic() > until:
            break
