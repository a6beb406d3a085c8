"""Programs of tests/tools that know their own allocations (truth.h), and the profile beside what they know.

Libc allocates in such programs too (a thread's storage, for one). So each runs twice: once doing nothing, which gives what
is not its own, and once in earnest; the difference must be the truth, to the byte.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from recording import Heapline, Profile

SAME_NAMES = {
    "allocations": "allocations",
    "allocated_bytes": "allocated_bytes",
    "frees": "frees",
    "freed_bytes": "freed_bytes",
    "live_bytes": "live_end_bytes",
    "live_blocks": "live_end_blocks",
}


class Told(NamedTuple):
    profile: Profile
    stats: dict[str, Any]
    truth: dict[str, Any]


def tell(heapline: Heapline, tool: str, *words: Any, env: dict[str, str] | None = None, timeout: float = 120) -> Told:
    """Runs a tool whose first argument is the file that it writes the truth to."""
    path = heapline.folder / "truth.json"
    path.unlink(missing_ok=True)
    command = ["--", str(heapline.tool(tool)), str(path), *map(str, words)]
    profile = heapline.run(command, options=["--malloc-only"], env=env, timeout=timeout)
    return Told(profile, profile.stats(), json.loads(path.read_text()))


def must_be_sound(told: Told) -> None:
    """What holds for every run: nothing lost, no free without its block, and the shares of the peak add up to it."""
    assert told.stats["events_lost"] == 0
    assert told.stats["unknown_frees"] == 0
    assert told.profile.value("SELECT coalesce(sum(peak), 0) FROM stat") == told.stats["peak_bytes"]
    assert told.profile.value("SELECT coalesce(sum(live), 0) FROM stat") == told.stats["live_end_bytes"]
    assert told.profile.value("SELECT coalesce(sum(allocated), 0) FROM stat") == told.stats["allocated_bytes"]


def must_be_equal(base: Told, told: Told) -> None:
    """All totals of a run, less those of the run that did nothing, are the truth."""
    must_be_sound(base)
    must_be_sound(told)
    found = {name: told.stats[column] - base.stats[column] for name, column in SAME_NAMES.items()}
    assert found == {name: told.truth[name] for name in SAME_NAMES}
