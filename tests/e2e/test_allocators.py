"""jemalloc, mimalloc and tcmalloc as libraries: linked, or preloaded beside heapline's own, with native stacks. Every block is
seen through their malloc, and they keep their work. (test_malloc.py has the totals of all functions; test_own_malloc.py has
allocators inside the executable.)"""

import json
import shutil
import subprocess

import pytest

LIBRARIES = ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"]
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")

# Writes what it has allocated, in total and by function, and which library its malloc is of.
PROGRAM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void *kept[4][1000];
__attribute__((noinline)) static void *keep(size_t bytes)
{
    return memset(malloc(bytes), 1, bytes);
}
__attribute__((noinline)) static char *grow(char *old, size_t bytes)
{
    char *p = realloc(old, bytes);
    p[bytes - 1] = 1;
    return p;
}
static void *work(void *argument)
{
    long number = (long)argument;
    char *p = NULL;
    for (int i = 0; i < 1000; i++) {
        kept[number][i] = keep(1000 + (size_t)i);
        p = grow(p, 100 + 50 * (size_t)i);
    }
    free(p);
    for (int i = 0; i < 500; i++)
        free(kept[number][i]);
    return kept[number][0];
}
int main(int argc, char **argv)
{
    pthread_t threads[4];
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    void *big = keep(5000000); /* mapped by the allocator */
    free(big);
    if (argc > 1) { /* whose malloc it is */
        Dl_info info;
        void *found = dlsym(RTLD_DEFAULT, "mallctl");
        found = found ? found : dlsym(RTLD_DEFAULT, "mi_malloc");
        found = found ? found : dlsym(RTLD_DEFAULT, "tc_malloc");
        puts(found && dladdr(found, &info) ? info.dli_fname : "libc");
    }
    return 0;
}
"""


@pytest.fixture(params=LIBRARIES)
def library(request):
    found = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    paths = [line.split("=>")[1].strip() for line in found.splitlines() if line.strip().startswith(request.param)]
    if not paths:
        pytest.skip(f"{request.param} is not installed")
    return paths[0]


@pytest.mark.parametrize("how", ["linked", "preloaded"])
def test_blocks_have_their_stacks(heapline, library, how):
    (heapline.folder / "prog.c").write_text(PROGRAM)
    linked = ["-Wl,--no-as-needed", library] if how == "linked" else []
    command = ["cc", "-g", "-O1", "-fno-builtin", "-pthread", "-o", "prog", "prog.c", *linked]
    subprocess.run(command, cwd=heapline.folder, check=True)
    env = {} if how == "linked" else {"LD_PRELOAD": library}
    plain = heapline.plain(["--", "./prog", "say"], env=env)
    profile = heapline.run(["--", "./prog", "say"], env=env)
    assert profile.stdout == plain.stdout and library.partition(".so")[0] in plain.stdout
    stats = profile.stats()
    assert stats["events_lost"] == stats["unknown_frees"] == 0
    assert "in part" not in profile.stderr and "not seen" not in profile.stderr

    kept = sum(range(1000, 2000))
    grown = sum(100 + 50 * i for i in range(1000))
    assert profile.allocated(function="keep") == (4 * kept + 5_000_000, 4001)
    assert profile.allocated(function="grow") == (4 * grown, 4000)
    assert profile.leaked(function="keep") == (4 * sum(range(1500, 2000)), 2000)
    assert profile.leaked(function="grow") == (0, 0)
    # The rest is libc's, for the threads and the output; what the allocator maps for itself is not the program's.
    assert not [row for row in stats["by_allocator"] if row["name"] == "mmap"]
    assert stats["allocations"] < 8001 + 40
    row = max(profile.table("--allocated", "--leaf"), key=lambda row: row["bytes"])
    assert [frame["function"] for frame in row["stack"]][:2] == ["grow", "work"], row


@pytest.mark.parametrize("threads", [1, 4])
def test_totals_are_the_programs_own_log(heapline, library, threads):
    """tests/tools/order.c knows its blocks; here with native stacks and the library linked by nobody, preloaded."""
    tool, truth = str(heapline.tool("order")), heapline.folder / "truth.json"
    told = []
    for events in (0, 20_000):
        truth.unlink(missing_ok=True)
        profile = heapline.run(["--", tool, str(truth), str(threads), str(events), "7", "portable"],
                               env={"LD_PRELOAD": library})  # fmt: skip
        told.append((profile.stats(), json.loads(truth.read_text())))
    (base, _), (stats, known) = told
    found = {name: stats[name] - base[name] for name in ("allocations", "allocated_bytes", "frees", "freed_bytes")} | {
        "live_bytes": stats["live_end_bytes"] - base["live_end_bytes"]
    }
    assert found == {name: known[name] for name in found}
