"""The same runs under heapline and heaptrack: totals, peak, leaks and call sites are equal, but for what is named here.

What heaptrack counts otherwise (docs/semantics.md, "Beside heaptrack"):
- it brings libstdc++ and libunwind into the program: in one without C++, libstdc++'s pool for exceptions (72,704 bytes on
  x86-64) is an allocation more; in one with threads, each has a larger table of thread-local storage;
- it makes libstdc++ give that pool back at exit, so that it is not taken for a leak; here it is what it is, never freed;
- realloc(p, 0) frees p for libc and for heapline; heaptrack goes on counting it;
- it does not look at mmap.
"""

from __future__ import annotations

import collections
import shutil
import subprocess
from pathlib import Path

import heaptrack
import pytest

pytestmark = pytest.mark.skipif(not heaptrack.is_here(), reason="no heaptrack on this machine")

C_PROGRAM = r"""
#include <stdlib.h>
#include <string.h>
static void *kept[500];
__attribute__((noinline)) static void keep(int i)
{
    kept[i] = malloc(1000 + i);
}
__attribute__((noinline)) static void *grow(void)
{
    char *p = NULL;
    for (int i = 1; i <= 100; i++) {
        p = realloc(p, i * 100);
        p[0] = 1;
    }
    return p;
}
__attribute__((noinline)) static void churn(void)
{
    for (int i = 0; i < 5000; i++) {
        void *volatile p = malloc(64);
        free(p);
    }
}
__attribute__((noinline)) static void others(void)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, 300))
        abort();
    free(p);
    free(aligned_alloc(64, 640));
    free(calloc(10, 33));
    free(malloc(0));
    free(NULL);
    free(strdup("eight.."));
}
__attribute__((noinline)) static void realloc_to_nothing(void)
{
    void *p = malloc(10);
    p = realloc(p, 0);
}
int main(void)
{
    for (int i = 0; i < 500; i++)
        keep(i);
    void *grown = grow();
    churn();
    others();
    realloc_to_nothing();
    free(grown);
    for (int i = 0; i < 250; i++)
        free(kept[i]);
    return 0;
}
"""
CPP_PROGRAM = r"""
#include <list>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

static std::map<int, std::string> table; // destroyed at exit, like `lists`
static std::vector<std::list<long>> lists(4);

__attribute__((noinline)) static void fill_table()
{
    for (int i = 0; i < 2000; i++)
        table[i * 7 % 2000] = std::string(20 + i % 100, 'x');
}

__attribute__((noinline)) static int throw_deeply(int depth)
{
    std::string text(100, 'y');
    if (depth == 0)
        throw std::runtime_error(text + " thrown");
    return throw_deeply(depth - 1) + static_cast<int>(text.size());
}

__attribute__((noinline)) static int catch_all()
{
    int caught = 0;
    for (int i = 0; i < 300; i++) {
        try {
            throw_deeply(i % 10);
        } catch (const std::exception &e) {
            caught += static_cast<int>(std::string(e.what()).size());
        }
    }
    return caught;
}

__attribute__((noinline)) static void work(int number)
{
    std::unordered_map<std::string, std::unique_ptr<long>> scratch;
    for (long i = 0; i < 3000; i++) {
        lists[number].push_back(i);
        scratch["a key that is longer than a short one: " + std::to_string(i % 500)] = std::make_unique<long>(i);
    }
}

__attribute__((noinline)) static char *leak(std::size_t bytes)
{
    return new char[bytes];
}

int main()
{
    fill_table();
    int caught = catch_all();
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back(work, i);
    for (auto &thread : threads)
        thread.join();
    { // well above what the threads had at once, whatever that was
        std::vector<double> numbers(2000000);
        caught += numbers[caught] != 0;
    }
    for (int i = 0; i < 10; i++)
        caught += leak(10001) == nullptr;
    return caught == 0;
}
"""


def is_pool_of_libstdcxx(block: heaptrack.Block) -> bool:
    return block.bytes == 72704 and "libstdc++" in block.stack[0].module


def is_table_of_a_thread(block: heaptrack.Block) -> bool:
    """One that libc takes for a new thread: 16 bytes for each loaded object that has thread-local storage."""
    return any("_dl_allocate_tls" in frame.function or "allocate_dtv" in frame.function for frame in block.stack[:4])


def plain(function: str) -> str:
    """Names of one function in libc differ by the alias that was found; those of unnamed ones by how they are written."""
    for prefix in ("__GI_", "_GI_"):
        function = function.removeprefix(prefix)
    return "" if "+0x" in function else function.partition("(")[0]


ALLOCATORS = ("malloc", "calloc", "realloc", "operator new", "operator new[]")
LIBRARIES = ("libc.so", "libstdc++.so", "ld-linux", "libheaptrack")


def site(stack) -> str:
    """The innermost frame outside the C and C++ libraries: its function, or its file where that has no name."""
    for function, module in stack:
        if not any(name in module for name in LIBRARIES) and plain(function) not in ALLOCATORS:
            return plain(function) or Path(module).name
    return "?"


def sites_of_heaptrack(blocks: dict[heaptrack.Block, int], by_bytes: bool) -> collections.Counter[str]:
    sites: collections.Counter[str] = collections.Counter()
    for block, n in blocks.items():
        sites[site(block.stack)] += n * (block.bytes if by_bytes else 1)
    return +sites


def sites_of_heapline(profile, moment: str, column: str) -> collections.Counter[str]:
    sites: collections.Counter[str] = collections.Counter()
    for row in profile.table(moment, "--leaf", "-n", "1000000"):
        stack = [(frame["function"], frame.get("module", "")) for frame in row["stack"]]
        if not any(function == "_dl_allocate_tls" for function, _ in stack):  # nor are they in heaptrack's
            sites[site(stack)] += row[column]
    return +sites


def compare(heapline, command, *, cpp=False, realloc_to_nothing=()):
    """Runs the command under both, and asserts what must be equal: all sums but those of a thread's tables, once heaptrack's
    own blocks are left out and what it takes for freed, or for leaked, is put right."""
    record = heaptrack.run(heapline.folder, command, env=heapline.environment())
    profile = heapline.run(["--", *command])
    stats = profile.stats()
    assert stats["events_lost"] == stats["unknown_frees"] == 0
    assert all(row["name"] != "mmap" for row in stats["by_allocator"]), "heaptrack would not see it"

    theirs = record.count(lambda block: is_table_of_a_thread(block) or (not cpp and is_pool_of_libstdcxx(block)))
    made, gone, kept, high = (
        sums(function="_dl_allocate_tls", callees=True)
        for sums in (profile.allocated, profile.freed, profile.leaked, profile.at_peak)
    )
    pool = (1, 72704) if cpp else (0, 0)
    left = len(realloc_to_nothing), sum(realloc_to_nothing)
    assert {
        "allocations": stats["allocations"] - made.count,
        "bytes": stats["allocated_bytes"] - made.bytes,
        "frees": stats["frees"] - gone.count,
        "leaked blocks": stats["live_end_blocks"] - kept.count,
        "leaked bytes": stats["live_end_bytes"] - kept.bytes,
        "peak": stats["peak_bytes"] - high.bytes,
    } == {
        "allocations": theirs.allocations,
        "bytes": theirs.allocated_bytes,
        "frees": theirs.frees + left[0] - pool[0],
        "leaked blocks": theirs.leaked_blocks - left[0] + pool[0],
        "leaked bytes": theirs.leaked_bytes - left[1] + pool[1],
        "peak": theirs.peak_bytes,
    }
    return profile, theirs


needs_compiler = pytest.mark.skipif(not shutil.which("cc") or not shutil.which("c++"), reason="no C and C++ compilers")


@needs_compiler
def test_a_c_program(heapline):
    (heapline.folder / "known.c").write_text(C_PROGRAM)
    subprocess.run(["cc", "-g", "-O0", "-o", "known", "known.c"], cwd=heapline.folder, check=True)
    profile, theirs = compare(heapline, ["./known"], realloc_to_nothing=[10])
    # And both are what the program does.
    assert theirs.allocations == profile.stats()["allocations"] == 500 + 100 + 5000 + 5 + 1
    assert profile.stats()["peak_bytes"] == sum(range(1000, 1500)) + 100 * 100 + 640
    assert profile.stats()["live_end_bytes"] == sum(range(1250, 1500))
    expected = {"keep": 500, "grow": 100, "churn": 5000, "others": 5, "realloc_to_nothing": 1}
    assert sites_of_heapline(profile, "--allocated", "count") == expected
    assert sites_of_heaptrack(theirs.made, False) == expected
    assert sites_of_heapline(profile, "--leaks", "bytes") == {"keep": sum(range(1250, 1500))}


@needs_compiler
def test_what_heaptrack_print_prints(heapline):
    """The user's view of the same file: rounded totals, and exact sums by stack for flame graphs."""
    (heapline.folder / "known.c").write_text(C_PROGRAM)
    subprocess.run(["cc", "-g", "-O0", "-o", "known", "known.c"], cwd=heapline.folder, check=True)
    heaptrack.run(heapline.folder, ["./known"], env=heapline.environment())
    profile = heapline.run(["--", "./known"])
    (record,) = heapline.folder.glob("record.*")
    for cost, moment, column in (
        ("allocations", "--allocated", "count"),
        ("leaked", "--leaks", "bytes"),
        ("peak", "--at=100%", ""),
    ):
        words = ["heaptrack_print", "--flamegraph-cost-type", cost, "-F", "flames", record]
        subprocess.run(words, cwd=heapline.folder, capture_output=True, check=True)
        theirs: collections.Counter[str] = collections.Counter()
        for line in (heapline.folder / "flames").read_text().splitlines():
            stack, _, n = line.rpartition(" ")
            frames = [frame.partition(" (")[0] for frame in stack.rstrip(";").split(";")]
            if "main" in frames:
                theirs[frames[frames.index("main") + 1]] += int(n)
        theirs = +theirs
        if column:
            ours = sites_of_heapline(profile, moment, column)
            left = {"realloc_to_nothing": 10} if cost == "leaked" else {}
            assert theirs == ours + collections.Counter(left)
        else:
            at_peak = {row["function"]: row["bytes"] for row in profile.table("--leaf")}
            assert theirs == at_peak == {"keep": sum(range(1000, 1500)), "grow": 10000, "others": 640}


@needs_compiler
def test_a_cpp_program_with_containers_exceptions_and_threads(heapline):
    (heapline.folder / "things.cpp").write_text(CPP_PROGRAM)
    command = ["c++", "-g", "-O1", "-pthread", "-o", "things", "things.cpp"]
    subprocess.run(command, cwd=heapline.folder, check=True)
    profile, theirs = compare(heapline, ["./things"], cpp=True)
    assert theirs.peak_bytes > 16_000_000
    # Both tell inlined calls; the rest of the stack is the same, too.
    found = sites_of_heapline(profile, "--allocated", "count")
    assert found == sites_of_heaptrack(theirs.made, False)
    leaks = sites_of_heapline(profile, "--leaks", "bytes")
    assert leaks.pop("?") == 72704  # libstdc++'s pool: nobody outside it and the loader has asked for it
    assert leaks == sites_of_heaptrack(theirs.live, True) and leaks["leak"] == 100_010


SQL = """
create table rows (id integer primary key, name text, number real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
    insert into rows select i, 'row ' || i, i * 1.5 from n;
create index names on rows (name);
select count(*), sum(number), max(length(name)) from rows group by id % 7;
select group_concat(name) from (select name from rows order by number desc limit 1000);
"""


def git_folder(folder: Path) -> None:
    words = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*words, "init", "-q", "."], cwd=folder, check=True)
    for i in range(5):
        (folder / "file").write_text("".join(f"line {i} {k}\n" for k in range(300)))
        subprocess.run([*words, "add", "file"], cwd=folder, check=True)
        subprocess.run([*words, "commit", "-qm", f"change {i}"], cwd=folder, check=True)


PROGRAMS = {
    "sqlite3": ["sqlite3", "-batch", ":memory:", SQL],
    "git": ["git", "--no-pager", "log", "-p", "--stat"],
    "sort": ["sort", "-r", "/etc/services"],
    "awk": ["awk", "{ n[$1] = n[$1] $2 } END { for (k in n) print k, n[k] }", "/etc/services"],
    "ls": ["ls", "-laR", "/usr/share/doc"],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_the_machine(heapline, name):
    command = PROGRAMS[name]
    if not shutil.which(command[0]) or not all(Path(word).exists() for word in command[1:] if word[0] == "/"):
        pytest.skip(f"no {' '.join(command)[:40]} on this machine")
    if name == "git":
        git_folder(heapline.folder)
    profile, theirs = compare(heapline, command)
    found = sites_of_heapline(profile, "--allocated", "count")
    expected = sites_of_heaptrack(theirs.made, False)
    assert found == expected
    assert sites_of_heapline(profile, "--leaks", "bytes") == sites_of_heaptrack(theirs.live, True)
