"""Threads that come, wait, are cancelled and end, with exact totals. The program is tests/tools/threads.c."""

import pytest
from truth import must_be_equal, tell


@pytest.mark.parametrize(
    "mode, threads",
    [
        ("burst", 8),
        ("burst", 100),
        ("idle", 3000),
        ("churn", 3000),
        ("cancel", 30),
        ("late", 300),
    ],
)
def test_totals_are_exact(heapline, mode, threads):
    must_be_equal(tell(heapline, "threads", mode, threads, "empty"), tell(heapline, "threads", mode, threads))


def test_more_active_threads_than_chunks_do_not_wait_for_each_other(heapline):
    must_be_equal(tell(heapline, "threads", "burst", 300, "empty"), tell(heapline, "threads", "burst", 300))


def test_more_threads_than_writers_lose_nothing(heapline):
    base = tell(heapline, "threads", "idle", 5000, "empty")
    told = tell(heapline, "threads", "idle", 5000)
    must_be_equal(base, told)
    notes = [row["text"] for row in told.profile.sql("SELECT text FROM note")]
    assert any("more threads at once" in text for text in notes)


def test_idle_threads_take_no_memory_of_the_program(heapline):
    told = tell(heapline, "threads", "idle", 3000)
    pool_and_slots_bytes = 16 << 20
    assert told.profile.value("SELECT max(rss_shmem) FROM tick") < pool_and_slots_bytes + (8 << 20)


def test_threads_have_the_names_that_the_program_gives_them(heapline):
    told = tell(heapline, "threads", "named", 6)
    must_be_equal(tell(heapline, "threads", "named", 6, "empty"), told)
    for i in range(6):
        assert told.profile.leaked(thread=f"worker-{i}").bytes == 12345
