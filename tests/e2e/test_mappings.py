"""mmap, munmap, mremap and mprotect (docs/semantics.md, "Mappings"). The scenarios are in tests/tools/mappings.c."""

import pytest
from truth import must_be_sound, tell

SCENARIOS = [
    "simple",
    "kept",
    "grown",
    "shrunk",
    "failed_mremap",
    "moved",
    "reservation",
    "failed_munmap",
    "fixed",
    "fixed_reservation",
    "partial",
    "in_parts",
    "over_two",
    "file",
    "shared",
    "stack",
    "pool",
    "small_pool",
    "dontunmap",
    "many",
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_bytes_allocated_freed_live_and_at_the_peak(heapline, scenario):
    base = tell(heapline, "mappings", "none")
    told = tell(heapline, "mappings", scenario)
    must_be_sound(told)
    found = {
        "allocations": told.stats["allocations"] - base.stats["allocations"],
        "allocated_bytes": told.stats["allocated_bytes"] - base.stats["allocated_bytes"],
        "freed_bytes": told.stats["freed_bytes"] - base.stats["freed_bytes"],
        "live_bytes": told.stats["live_end_bytes"] - base.stats["live_end_bytes"],
        "peak_bytes": told.stats["peak_bytes"] - base.stats["peak_bytes"],
    }
    assert found == {name: told.truth[name] for name in found}


def test_parts_of_a_mapping_are_alive_until_they_go(heapline):
    """At any time, by the reports and by the cells, what is alive is what has not gone yet; one block until nothing is left."""
    told = tell(heapline, "mappings", "in_parts")
    must_be_sound(told)
    profile = told.profile
    mib, tick_s = 1 << 20, profile.value("SELECT value FROM meta WHERE key = 'tick_ns'") / 1e9
    assert profile.value("SELECT value FROM meta WHERE key = 'cell_tick_ns'") == tick_s * 1e9
    own = "SELECT id FROM stat WHERE allocator = (SELECT id FROM allocator WHERE name = 'mmap')"
    others = told.stats["live_end_bytes"]  # libc's, from before the first mapping to the end
    ticks = profile.sql("SELECT tick, heap FROM tick ORDER BY tick")
    found = []
    for tick, heap in ticks[:-1]:
        alive = profile.sql(
            f"SELECT coalesce(sum(bytes), 0), coalesce(sum(blocks), 0) FROM cell WHERE stat IN ({own})"
            " AND born <= :tick AND (died > :tick OR died IS NULL)",
            {"tick": tick},
        )[0]
        if heap - others >= 2 * mib or found:
            assert alive[0] == max(heap - others, 0), tick
            found.append((alive[0] // mib, alive[1]))
            at = f"--at={(tick + 1) * tick_s:.6f}s"
            rows = [row for row in profile.table(at) if row["bytes"] >= mib]
            assert sum(row["bytes"] for row in rows) // mib == alive[0] // mib, at
            assert profile.json("tree", at)["total_bytes"] == heap, at
    steps = [step for step, after in zip(found, [*found[1:], None]) if step != after]
    assert steps == [(8, 1), (6, 1), (5, 1), (2, 1), (0, 0)]


def test_a_munmap_costs_the_same_however_many_mappings_there_are(heapline):
    told = tell(heapline, "mappings", "many")
    assert told.truth["seconds"] < 3, "28,000 mappings and 24,000 unmappings"


def test_dlopen_costs_nothing_extra(heapline):
    libraries = ["libm.so.6", "libz.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"]
    command = ["--", str(heapline.tool("dlopens")), "100", *libraries]

    def seconds(finished):
        assert finished.exit == 0, finished
        return float(finished.stdout)

    plain = min(seconds(heapline.plain(command)) for _ in range(5))
    recorded = min(seconds(heapline.run(command, options=["--malloc-only"]).finished) for _ in range(5))
    assert recorded < plain * 3 + 0.01
