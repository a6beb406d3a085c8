"""The recorder begins inside the program's first allocation, whoever makes it, and under whatever lock of libc's that is."""

import shutil
import subprocess

import pytest

# Among the first that run: constructors of libraries come before those of preloaded ones.
FIRST = r"""
#define _GNU_SOURCE
#include <locale.h>
static locale_t made;
__attribute__((constructor)) static void begin(void) { made = newlocale(LC_ALL_MASK, "POSIX", (locale_t)0); }
__attribute__((destructor)) static void end(void) { freelocale(made); }
"""
MAIN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    const char *left = dlerror(); /* of nobody's */
    setlocale(LC_ALL, "");
    free(malloc(1000));
    puts(left ? left : "no message");
    return 0;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_the_first_allocation_may_be_under_the_lock_of_locales(heapline):
    (heapline.folder / "first.c").write_text(FIRST)
    (heapline.folder / "main.c").write_text(MAIN)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libfirst.so", "first.c"], cwd=heapline.folder, check=True)
    command = ["cc", "-fno-builtin", "-o", "prog", "main.c", "-Wl,--no-as-needed", "./libfirst.so"]
    subprocess.run(command, cwd=heapline.folder, check=True)
    profile = heapline.run(["--", "./prog"], timeout=20)
    assert profile.stdout == "no message\n"
    assert profile.stats()["unknown_frees"] == 0
