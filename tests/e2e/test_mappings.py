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
    "over_two",
    "file",
    "shared",
    "stack",
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
