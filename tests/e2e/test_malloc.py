"""Each function of the malloc family, as the C standard and glibc define it (docs/semantics.md, "Blocks")."""

import subprocess

import pytest
from truth import must_be_equal, tell


def test_every_function_and_failure_counts_as_it_should(heapline):
    base = tell(heapline, "family", "none")
    told = tell(heapline, "family", "all")
    must_be_equal(base, told)
    assert told.stats["peak_bytes"] - base.stats["live_end_bytes"] == told.truth["peak_bytes"]


def test_results_and_errno_are_those_without_heapline(heapline):
    tool, truth = str(heapline.tool("family")), str(heapline.folder / "truth.json")
    plain = heapline.plain(["--", tool, truth, "all"])
    recorded = heapline.run(["--", tool, truth, "all"], options=["--malloc-only"])
    assert plain.exit == 0
    assert recorded.stdout == plain.stdout


def test_allocators_are_told_apart(heapline):
    profile = tell(heapline, "family", "all").profile
    assert profile.allocated(allocator="calloc").count == 2
    assert profile.allocated(allocator="aligned").count == 6
    assert profile.allocated(allocator="realloc").count == 8


def test_free_sized_is_a_free(heapline):
    told = tell(heapline, "family", "all")
    assert told.profile.leaked().bytes - tell(heapline, "family", "none").profile.leaked().bytes == 27


@pytest.mark.parametrize("library", ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"])
def test_an_allocator_that_the_user_preloads_keeps_its_work(heapline, library):
    found = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    paths = [line.split("=>")[1].strip() for line in found.splitlines() if line.strip().startswith(library)]
    if not paths:
        pytest.skip(f"{library} is not installed")
    env = {"LD_PRELOAD": paths[0]}
    base = tell(heapline, "order", 4, 0, 1, "portable", env=env)
    must_be_equal(base, tell(heapline, "order", 4, 50_000, 1, "portable", env=env))
