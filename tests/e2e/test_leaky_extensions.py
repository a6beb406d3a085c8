"""Extensions of Python in C, C++ and Rust that leak: their line, and the line of Python that called it."""

import shutil
import subprocess
from pathlib import Path

import pytest

C_MODULE = r"""
#include <Python.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *next;
    char text[9992];
};
static struct node *cache;

static struct node *new_node(const char *text)
{
    struct node *node = malloc(sizeof *node);
    strncpy(node->text, text, sizeof node->text - 1);
    node->text[sizeof node->text - 1] = '\0';
    return node;
}

static PyObject *remember(PyObject *self, PyObject *argument)
{
    const char *text = PyUnicode_AsUTF8(argument);
    if (!text)
        return NULL;
    struct node *node = new_node(text);
    node->next = cache;
    cache = node;
    free(malloc(2000)); /* and some that it does not leak */
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"remember", remember, METH_O, NULL}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "leaky", NULL, -1, methods};
PyMODINIT_FUNC PyInit_leaky(void) { return PyModule_Create(&module); }
"""
C_LINE = 1 + C_MODULE[: C_MODULE.index("malloc(sizeof")].count("\n")
CPP_LIBRARY = r"""
#include <map>
#include <string>
#include <vector>

struct Shelf {
    std::map<int, std::vector<double>> rows;
    void put(int key, std::size_t n)
    {
        rows[key].resize(n);
    }
};
static Shelf *shelf = new Shelf;

extern "C" int store(int key)
{
    std::string scratch(5000, 'x');
    shelf->put(key, 1000);
    return static_cast<int>(scratch.size());
}
"""
CPP_LINE = 1 + CPP_LIBRARY[: CPP_LIBRARY.index("rows[key].resize")].count("\n")
RUST_LIBRARY = r"""
fn leak_one(bytes: usize) -> &'static mut [u8] {
    let block: Vec<u8> = vec![1; bytes];
    Box::leak(block.into_boxed_slice())
}

#[no_mangle]
pub extern "C" fn store(key: i32) -> i32 {
    let scratch: Vec<u8> = Vec::with_capacity(5000);
    let kept = leak_one(8000);
    std::hint::black_box(&kept);
    kept[0] as i32 + key + scratch.len() as i32
}
"""
RUST_LINE = 1 + RUST_LIBRARY[: RUST_LIBRARY.index("let block")].count("\n")
WITH_CTYPES = """import ctypes
library = ctypes.CDLL("./libleaky.so")

def fill():
    for i in range(100):
        library.store(i)

fill()
"""


def below(stack, suffix):
    """The places of a file in a stack, innermost first."""
    return [(frame["function"], frame["line"]) for frame in stack if frame["file"].endswith(suffix)]


def check(profile, bytes_each, file, line, function, python_line):
    """100 blocks at a line of native code, called by a line of Python, first in each report of leaks."""
    top = profile.stats("--leaks")["top_by_bytes"][0]
    assert (top["function"], top["line"], top["count"]) == ("fill", python_line, 100), top
    assert top["bytes"] == 100 * bytes_each
    native = profile.stats("--leaks")["top_native"][0]
    assert (native["line"], native["bytes"], native["count"]) == (line, 100 * bytes_each, 100), native
    assert native["file"].endswith(file) and function in native["function"]
    assert (native["caller"]["function"], native["caller"]["line"]) == ("fill", python_line)
    text = profile.text("stats", "--leaks")
    (shown,) = [text_line for text_line in text.splitlines() if f"{file}:{line}" in text_line]
    assert f"program.py:{python_line}" in shown, text
    library = profile.stats("--leaks")["libraries"][0]
    assert library["bytes"] >= 100 * bytes_each and "leaky" in library["name"], library


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.pythons("3.8", "3.11", "3.12", "3.13", "3.13t")
def test_a_c_extension(heapline, each_python):
    said = subprocess.run([each_python.path, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
                          capture_output=True, text=True)  # fmt: skip
    include = Path(said.stdout.strip())
    if not (include / "Python.h").exists():
        pytest.skip(f"no headers of {each_python}")
    (heapline.folder / "leaky.c").write_text(C_MODULE)
    command = ["cc", "-g", "-O2", "-shared", "-fPIC", f"-I{include}", "-o", "leaky.so", "leaky.c"]
    subprocess.run(command, cwd=heapline.folder, check=True)
    program = "import leaky\n\ndef fill():\n    for i in range(100):\n        leaky.remember(str(i))\n\nfill()\n"
    profile = heapline.run(program, options=["--native", "--malloc-only"], python=each_python)
    check(profile, 10_000, "leaky.c", C_LINE, "new_node", 5)
    row = profile.table("--leaks", "--leaf")[0]
    assert [function for function, _ in below(row["stack"], "leaky.c")] == ["new_node", "remember"]
    assert below(row["stack"], "program.py") == [("fill", 5), ("<module>", 7)]


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
def test_a_cpp_library(heapline):
    (heapline.folder / "leaky.cpp").write_text(CPP_LIBRARY)
    command = ["c++", "-g", "-O1", "-shared", "-fPIC", "-o", "libleaky.so", "leaky.cpp"]
    subprocess.run(command, cwd=heapline.folder, check=True)
    profile = heapline.run(WITH_CTYPES, options=["--native", "--malloc-only"])
    rows = profile.table("--leaks", "--leaf")
    kept = [row for row in rows if ("Shelf::put(int, unsigned long)", CPP_LINE) in below(row["stack"], "leaky.cpp")]
    assert sum(row["bytes"] for row in kept) > 100 * 8000 and sum(row["count"] for row in kept) == 200
    assert all(below(row["stack"], "program.py")[0] == ("fill", 6) for row in kept)
    native = profile.stats("--leaks")["top_native"][0]
    assert (native["line"], native["function"]) == (CPP_LINE, "Shelf::put(int, unsigned long)"), native
    assert native["file"].endswith("leaky.cpp") and native["count"] == 200
    assert (native["caller"]["function"], native["caller"]["line"]) == ("fill", 6)


@pytest.mark.skipif(not shutil.which("rustc"), reason="no Rust compiler")
def test_a_rust_library(heapline):
    (heapline.folder / "leaky.rs").write_text(RUST_LIBRARY)
    command = ["rustc", "-g", "-O", "--crate-type", "cdylib", "-o", "libleaky.so", "leaky.rs"]
    made = subprocess.run(command, cwd=heapline.folder, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"rustc makes no library on this machine: {made.stderr[-200:]}")
    profile = heapline.run(WITH_CTYPES, options=["--native", "--malloc-only"])
    check(profile, 8000, "leaky.rs", RUST_LINE, "leak_one", 6)
    row = profile.table("--leaks", "--leaf")[0]
    assert [function.rpartition("::")[2] for function, _ in below(row["stack"], "leaky.rs")] == ["leak_one", "store"]
