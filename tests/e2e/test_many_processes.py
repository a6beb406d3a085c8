"""Many processes: what the collector takes and what the profile weighs have bounds, and no sum is lost for it."""

CHILDREN = 40
HEAVY_BYTES = 500_000

PARENT = f"""
import subprocess, sys
CHILD = '''
import json, asyncio, argparse, unittest, email.message, http.client
def child_keeps():
    return bytearray({HEAVY_BYTES})
kept = child_keeps()
'''
def parent_keeps():
    return [bytearray({HEAVY_BYTES}) for _ in range(10)]
kept = parent_keeps()
for _ in range({CHILDREN}):
    subprocess.run([sys.executable, "-c", CHILD], check=True)
"""

MIB = 1 << 20
ROWS = 64 << 10
FILE_BYTES = 9 * MIB
RSS_BYTES = 150 * MIB  # and 40 bytes a live block; about 110 MiB are usual


def test_forty_pythons_stay_within_bounds(heapline):
    path = heapline.folder / "parent.py"
    path.write_text(PARENT)
    profile = heapline.run(path, timeout=240)
    assert profile.exit == 0
    assert profile.value("SELECT count(*) FROM process WHERE recorded = 'objects'") == 1 + CHILDREN
    assert profile.value("SELECT value FROM meta WHERE key = 'folded_rows'") > 0

    assert profile.value("SELECT count(*) FROM stat") <= ROWS
    assert profile.path.stat().st_size < FILE_BYTES
    live_blocks = profile.value("SELECT max(live_blocks) FROM process")
    assert profile.value("SELECT value FROM meta WHERE key = 'collector_rss_peak'") < RSS_BYTES + 40 * live_blocks

    for row in profile.sql(
        "SELECT process.*, sum(stat.allocations) AS n, sum(stat.allocated) AS a, sum(stat.freed) AS f, "
        "sum(stat.live) AS l, sum(stat.peak) AS p "
        "FROM process JOIN stat ON stat.process = process.id GROUP BY process.id"
    ):
        assert (row["n"], row["a"], row["f"], row["l"], row["p"]) == (
            row["allocations"],
            row["allocated"],
            row["freed"],
            row["live"],
            row["peak"],
        )
        assert row["lost"] == 0
    assert profile.value("SELECT sum(tree_peak) FROM stat") == profile.value(
        "SELECT value FROM meta WHERE key = 'peak'"
    )

    # What is heavy in its process has its line, in each of them.
    kept = profile.sql(
        "SELECT process, sum(allocated) AS bytes FROM call_site WHERE function LIKE '%child_keeps' GROUP BY process"
    )
    assert len(kept) == CHILDREN
    assert all(row["bytes"] >= HEAVY_BYTES for row in kept)
    parent = profile.value("SELECT sum(allocated) FROM call_site WHERE process = 1 AND function LIKE '%parent_keeps%'")
    assert parent >= 10 * HEAVY_BYTES
