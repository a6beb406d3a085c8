"""Programs with an allocator in their executable: the loader looks there first, so no library sees its blocks. What it maps is
counted, and the run says so."""

import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")

# An allocator that maps 1 MiB at a time and never gives back: 34 blocks of 30,000 bytes.
ALLOCATOR = r"""
#define _GNU_SOURCE
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#ifdef HIDDEN
#pragma GCC visibility push(hidden)
#endif
static char *at;
static size_t left;
__attribute__((noinline)) static void more(void)
{
    at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    left = 1 << 20;
}
void *malloc(size_t n)
{
    n = (n + 31) & ~(size_t)15;
    if (n > left)
        more();
    char *p = at;
    at += n;
    left -= n;
    *(size_t *)p = n - 16;
    return p + 16;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t size) { return malloc(n * size); }
void *realloc(void *old, size_t n)
{
    void *p = malloc(n);
    if (old)
        memcpy(p, old, *(size_t *)((char *)old - 16) < n ? *(size_t *)((char *)old - 16) : n);
    return p;
}
#ifdef HIDDEN
#pragma GCC visibility pop
#endif
"""
# Defines malloc, too, but only to count the calls of the real one.
WRAPPER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
int calls;
void *malloc(size_t n)
{
    static void *(*next)(size_t);
    if (!next)
        next = dlsym(RTLD_NEXT, "malloc");
    calls++;
    return next(n);
}
"""
MAIN = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char *kept[1000];
int main(int argc, char **argv)
{
    for (int i = 0; i < 1000; i++)
        kept[i] = memset(malloc(30000), i, 30000);
    for (int i = 0; i < 1000; i++)
        if (kept[i][29999] != (char)i)
            return 1;
    char *copy = strdup(argv[0]); /* allocated in libc */
    if (argc > 1)
        usleep(300000);
    return !copy || strcmp(copy, argv[0]);
}
"""
IN_PART = "blocks of the malloc inside it{} are not seen, only what that maps"


def build(folder, *options, **sources):
    for name, text in sources.items():
        (folder / f"{name}.c").write_text(text)
    command = ["cc", "-g", "-O1", "-fno-builtin-malloc", "-o", "prog", *(f"{name}.c" for name in sources), *options]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return made.returncode == 0


def says_so(profile, name=""):
    """One line at the end of the run, one in front of each report, a reason and a note in the profile."""
    text = IN_PART.format(name)
    assert sum(text in line for line in profile.stderr.splitlines()) == 1, profile.finished
    assert profile.value("SELECT reason FROM process") == text
    head = profile.text("table").splitlines()[2]
    assert head.startswith(f"recorded in part: {text}")
    assert text in " ".join(profile.text("processes").split())
    assert len([note for note in profile.stats()["notes"] if note.startswith("the executable has ")]) == 1


@pytest.mark.parametrize("hidden", [False, True], ids=["exported", "hidden"])
def test_an_executable_that_defines_malloc_is_seen_through_its_mappings(heapline, hidden):
    assert build(heapline.folder, *(["-DHIDDEN"] if hidden else []), allocator=ALLOCATOR, main=MAIN)
    profile = heapline.run(["--", "./prog"])
    says_so(profile)
    stats = profile.stats()
    mapped = profile.allocated(function="more", allocator="mmap")
    # 30, or 29: what start-up makes it map, before the recording has begun, is not seen.
    assert mapped.count == (30 if hidden else 29) and mapped.bytes == mapped.count << 20
    blocks = profile.allocated(allocator=("malloc", "calloc", "realloc"))
    assert blocks == ((len("./prog") + 1, 1) if hidden else (0, 0))  # strdup's, which calls libc's malloc where it can
    assert stats["peak_bytes"] == mapped.bytes + blocks.bytes and stats["events_lost"] == stats["unknown_frees"] == 0


def test_without_symbols_an_exported_one_is_found(heapline):
    assert build(heapline.folder, "-s", allocator=ALLOCATOR, main=MAIN)
    says_so(heapline.run(["--", "./prog"]))


def test_a_malloc_that_calls_the_next_one_hides_nothing(heapline):
    assert build(heapline.folder, wrapper=WRAPPER, main=MAIN)
    profile = heapline.run(["--", "./prog"])
    assert "in part" not in profile.stderr and not profile.stats()["notes"]
    assert profile.value("SELECT reason FROM process") == ""
    assert profile.leaked(function="main", callees=True) == (1000 * 30000 + len("./prog") + 1, 1001)
    assert profile.table()[0]["function"] == "malloc"  # the program's own, which is the innermost frame of its code
    assert profile.table()[0]["stack"][1]["function"] == "main"


@pytest.mark.parametrize(
    "library, name", [("jemalloc", "jemalloc"), ("tcmalloc_minimal", "tcmalloc")], ids=["jemalloc", "tcmalloc"]
)
@pytest.mark.parametrize("hidden", [False, True], ids=["exported", "hidden"])
def test_an_allocator_that_is_linked_statically(heapline, library, name, hidden):
    options = ["-Wl,-Bstatic", f"-l{library}", "-Wl,-Bdynamic", "-lstdc++", "-lm", "-lpthread"]
    options += ["-Wl,--exclude-libs,ALL"] if hidden else []
    if not build(heapline.folder, *options, main=MAIN):
        pytest.skip(f"no static {library} on this machine")
    profile = heapline.run(["--", "./prog", "stay"])
    says_so(profile, f" ({name})")
    if name == "jemalloc":  # it reserves more than it uses: what is resident is told
        assert profile.stats()["pool_peak_bytes"] > 20_000_000  # of 30 MB; what start-up made it map is not seen
        assert "that prog gave out by itself" in profile.stderr
    assert profile.allocated(allocator=("malloc", "calloc", "realloc")).count in ((1, 2) if hidden else (0,))


def test_a_child_with_its_own_malloc_says_so(heapline):
    assert build(heapline.folder, allocator=ALLOCATOR, main=MAIN)
    code = "import os, subprocess\nsubprocess.check_call(['./prog'])\n"
    profile = heapline.run(code, options=["--children=all"])
    assert "in part" not in profile.stderr
    rows = profile.sql("SELECT command, reason FROM process ORDER BY id")
    assert rows[0][1] == "" and (rows[1][0], rows[1][1]) == ("./prog", IN_PART.format("")), rows
