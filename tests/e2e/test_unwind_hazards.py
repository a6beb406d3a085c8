"""Native stacks where walking is difficult (tests/tools/hazards.c): the program runs as it would alone, and each stack is
right as far as it goes, and says where it ends."""

import itertools
import shutil
import subprocess

import pytest
from native_names import names
from stackread import read_stacks

OUTERMOST = {"_start", "__libc_start_main"}
# What the block's stack begins with, by its size.
EXPECTED = {
    "handler": {
        100001: ["get", "handler_get", "raise", "raiser", "case_handler"],
        100003: ["get", "down", "case_handler"],
    },
    "handler-jump": {
        100002: ["get", "handler_jump", "raise", "raiser", "case_handler_jump"],
        100004: ["get", "down", "case_handler_jump"],
    },
    "leaf": {
        100008: ["get", "handler_fault", "leaf_fault", "case_leaf"],
        100003: ["get", "down", "case_leaf"],
    },
    "jump-anywhere": {100005: ["get", "down", "case_jump_anywhere"]},
    "longjmp": {100006: ["get", "jumper", "case_longjmp"], 100007: ["get", "down", "case_longjmp"]},
    "contexts": {size: ["get", "down", "coroutine"] for size in (100010, 100011, 100012)}
    | {100013: ["get", "down", "case_contexts"]},
    "assembly": {
        100020: ["get", "down", "get20", "without_cfi_fp", "case_assembly"],
        100021: ["get", "down", "get21", "without_cfi"],
    },
    "generated": {
        100020: ["get", "down", "get20", "[generated code]", "case_generated"],
        100021: ["get", "down", "get21", "[generated code]"],
    },
    "generated-calls": {
        100022: ["get", "down", "get22", "[generated code]", "case_generated_calls"],
    },
    "garbage": {100023: ["get", "down", "get23", "[generated code]", "[no unwind info]"]},
    "tiny": {100030: ["get", "down", "thread_get"]},
    "exits": {100031: ["get", "cleanup", "thread_exits"], 100032: ["get", "thread_exits"]},
    "many": {100033: ["get", "down", "thread_get"]},
    "forks": {100035: ["get", "down", "thread_forks"]},
    "overflow": {100040: ["get", "handler_overflow", "endless"], 100041: ["get", "down", "case_overflow"]},
    "deep": {100042: ["get", "down"], 100043: ["get", "down", "case_deep"]},
    "growsdown": {100010: ["get", "down", "coroutine"]},
}
EXPECTED["handler-onstack"] = EXPECTED["handler"]
EXPECTED["leaf-onstack"] = EXPECTED["leaf"]
EXPECTED["handler-jump-onstack"] = EXPECTED["handler-jump"]
EXPECTED["contexts-unmapped"] = EXPECTED["contexts"]
EXPECTED["contexts-taken"] = {100014: ["get", "down", "diver"]}


def read(binary, folder, command, env=None, timeout=60):
    class Program:
        prefix, path = [], command[0]

    return read_stacks(
        binary, folder, Program, *command[1:], objects=False, marks=False, native=True, env=env, timeout=timeout
    )


def begins(stack, wanted):
    """Whether these functions come first, but for libc's own; one that recurses counts once."""
    known = [name for name in stack if not name.startswith("/")]
    return [name for name, _ in itertools.groupby(known)][: len(wanted)] == wanted


@pytest.fixture
def hazards(heapline_binary):
    return str(heapline_binary.parent / "tools" / "hazards")


@pytest.mark.parametrize("case", EXPECTED)
def test_stacks(heapline_binary, tmp_path, hazards, case):
    got = read(heapline_binary, tmp_path, [hazards, case])
    assert got.facts["status"] == got.facts["missing"] == got.facts["contradictions"] == got.facts["lost"] == 0
    assert got.output.splitlines()[-1] == "done"
    for size, wanted in EXPECTED[case].items():
        stacks = {tuple(names(stack)) for stack in got.by_size[size]}
        assert stacks
        wrong = [stack[:12] for stack in stacks if not begins(stack, wanted)]
        assert not wrong, f"{len(wrong)} of {len(stacks)} stacks of {size}: {wrong[:3]}"


@pytest.mark.parametrize("case", ["handler", "handler-jump", "leaf", "longjmp", "jump-anywhere"])
def test_stacks_go_out_to_the_start(heapline_binary, tmp_path, hazards, case):
    got = read(heapline_binary, tmp_path, [hazards, case])
    for stacks in got.by_size.values():
        for stack in stacks:
            assert names(stack)[-1] in OUTERMOST, names(stack)


def test_what_has_no_information_is_said(heapline_binary, tmp_path, hazards):
    got = read(heapline_binary, tmp_path, [hazards, "assembly"])
    assert {names(stack)[-1] for stack in got.by_size[100021]} == {"[no unwind info: the program]"}
    assert {names(stack)[-1] for stack in got.by_size[100020]} <= OUTERMOST
    got = read(heapline_binary, tmp_path, [hazards, "generated"])
    assert {names(stack)[-1] for stack in got.by_size[100021]} == {"[no unwind info]"}
    assert {names(stack)[-1] for stack in got.by_size[100020]} <= OUTERMOST


@pytest.mark.parametrize("case", ["contexts", "contexts-unmapped", "contexts-taken", "growsdown"])
def test_a_coroutine_of_makecontext_begins_in_libc(heapline_binary, tmp_path, hazards, case):
    """Its outermost frame is libc's __start_context, which has no name in a stripped libc, and no caller."""
    got = read(heapline_binary, tmp_path, [hazards, case])
    for size, stacks in got.by_size.items():
        for stack in stacks if size in range(100010, 100015) and size != 100013 else []:
            assert names(stack)[-2] in ("coroutine", "diver") and "/libc" in stack[-1], stack[-3:]
    assert len({stack[-1] for stack in got.by_size[100014 if case == "contexts-taken" else 100010]}) == 1


def test_garbage_in_the_frame_pointer(heapline_binary, tmp_path, hazards):
    """On the thread's own stacks, and on a coroutine's between unreadable pages: no crash, no end before the code without
    information, none beyond it (or, by chance, frames of what did call)."""
    got = read(heapline_binary, tmp_path, [hazards, "garbage"])
    assert len(got.by_size[100023]) > 3000
    assert {len(stack) for stack in got.by_size[100023]} <= set(range(8, 12))


@pytest.mark.parametrize("depth", ["60", "250"])
def test_a_thousand_threads_have_whole_stacks(heapline, depth):
    profile = heapline.run(["--", str(heapline.tool("hazards")), "thousand", depth], options=["--malloc-only"])
    deep = profile.value(
        """
        WITH RECURSIVE placed(id, depth) AS (
            SELECT id, 0 FROM stack WHERE parent IS NULL
            UNION ALL SELECT stack.id, depth + 1 FROM stack JOIN placed ON stack.parent = placed.id)
        SELECT sum(allocations) FROM stat JOIN placed ON placed.id = stat.stack WHERE depth >= ?""",
        (int(depth),),
    )
    assert deep == 6000
    assert profile.value("SELECT count(*) FROM file WHERE path LIKE '%outer frames, cut%'") == 0


def test_too_deep_a_stack_is_cut_at_its_outer_end(heapline_binary, tmp_path, hazards):
    got = read(heapline_binary, tmp_path, [hazards, "deep"])
    assert [stack[-1] for stack in got.by_size[100042]] == ["~ (outer frames, cut)+0"] * 2
    assert all(len(stack) > 10_000 for stack in got.by_size[100042])
    assert [len(stack) for stack in got.by_size[100043]] == sorted(len(stack) for stack in got.by_size[100043])
    assert all(names(stack)[-1] in OUTERMOST for stack in got.by_size[100043])


@pytest.mark.parametrize("case", ["deep", "overflow", "handler-onstack", "many"])
def test_a_stack_without_limit(heapline_binary, tmp_path, hazards, case):
    """The kernel then lays out the address space the other way round."""
    command = ["/bin/sh", "-c", 'ulimit -s unlimited 2>/dev/null || exit 77; exec "$@"', "sh", hazards, case]
    if case == "overflow":  # would take all memory
        command[2] = 'ulimit -s 65536 || exit 77; exec "$@"'
    got = read(heapline_binary, tmp_path, command)
    if got.facts["status"] == 77 << 8:
        pytest.skip("the limit may not be raised here")
    assert got.facts["status"] == got.facts["missing"] == 0 and got.output.splitlines()[-1] == "done"


LIBRARY = 'void {name}(void (*f)(unsigned long), unsigned long n) {{ f(n); __asm__ volatile(""); }}\n'
LIBRARY += 'void call(void (*f)(unsigned long), unsigned long n) {{ {name}(f, n); __asm__ volatile(""); }}\n'


def build(folder, name, source, *options, compiler="cc"):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    target = folder / name
    suffix = ".cc" if compiler == "c++" else ".c"
    (folder / (name + suffix)).write_text(source)
    subprocess.run([compiler, "-O1", "-g", *options, str(folder / (name + suffix)), "-o", str(target)], check=True)
    return str(target)


def test_a_library_at_the_address_of_one_that_is_gone(heapline_binary, tmp_path, hazards):
    libraries = []
    for name, room in (("first", ""), ("second", "int padding(int a) { return a * 3; }\n")):
        source = room + LIBRARY.format(name=name)
        libraries.append(build(tmp_path, f"lib{name}.so", source, "-shared", "-fPIC", "-fvisibility=default"))
    got = read(heapline_binary, tmp_path, [hazards, "libraries", *libraries])
    assert got.facts["status"] == 0 and "same address" in got.output
    for size, name, library in ((100050, "first", libraries[0]), (100051, "second", libraries[1])):
        assert len(got.by_size[size]) == 10
        for stack in got.by_size[size]:
            assert names(stack)[:3] == ["get", name, "call"], names(stack)
            assert stack[1].startswith(f"~ {library}+") and names(stack)[-1] in OUTERMOST


EXCEPTIONS = r"""
#include <cstdlib>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
extern "C" __attribute__((noinline)) void get(size_t n) { void *volatile p = malloc(n); free(p); }
struct Guard { size_t n; ~Guard() { get(n); } };
extern "C" __attribute__((noinline)) void thrower(int n)
{
    Guard g{100061};
    get(100060);
    if (n) thrower(n - 1); else throw std::runtime_error(std::string(50, 'x'));
    __asm__ volatile("");
}
extern "C" __attribute__((noinline)) void catcher(int n)
{
    try { thrower(n); } catch (const std::exception &) { get(100062); }
    get(100063);
}
static void work() { for (int i = 0; i < 200; i++) catcher(i % 25); }
int main()
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++) threads.emplace_back(work);
    work();
    for (auto &t : threads) t.join();
    puts("done");
}
"""


def test_exceptions_through_frames_that_allocate(heapline_binary, tmp_path):
    program = build(tmp_path, "exceptions", EXCEPTIONS, "-pthread", compiler="c++")
    got = read(heapline_binary, tmp_path, [program])
    assert got.facts["status"] == got.facts["missing"] == 0 and got.output.splitlines()[-1] == "done"
    assert {size: len(got.by_size[size]) for size in (100060, 100061, 100062, 100063)} == {
        100060: 10400,
        100061: 10400,
        100062: 800,
        100063: 800,
    }
    for size in (100060, 100061):
        assert {names(stack)[1] for stack in got.by_size[size]} <= {"thrower", "thrower.cold"}
        found = {names(stack).count("thrower") + names(stack).count("thrower.cold") for stack in got.by_size[size]}
        assert found == set(range(1, 26))
    assert {tuple(names(stack)[:2]) for stack in got.by_size[100063]} == {("get", "catcher")}


GREENLETS = """
import ctypes, sys
from greenlet import greenlet
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def down(n, size): return down(n - 1, size) if n else libc.free(libc.malloc(size))
def body(k):
    for i in range(30):
        sorted([1], key=lambda x: down(k * 3 + i % 4, 100070 + k))
        main.switch()
main = greenlet.getcurrent()
all = [greenlet(body) for k in range(3)]
def first(i): all[i].switch(i)
def start(n, i): sorted([1], key=lambda x: start(n - 1, i) if n else first(i))  # from other depths of the C stack than later
def again(i): sorted([1], key=lambda x: all[i % 3].switch())
for i in range(3): start(i * 3, i)
for i in range(87):
    again(i)
    down(i % 5, 100073)
print("done")
"""


@pytest.mark.pythons(since=(3, 9), kinds=("release",))
def test_greenlets(heapline_binary, tmp_path, each_python):
    environment = each_python.packages("greenlet")
    if environment is None:
        pytest.skip("greenlet cannot be had")
    (tmp_path / "program.py").write_text(GREENLETS)
    got = read(heapline_binary, tmp_path, [each_python.path, str(tmp_path / "program.py")], environment)
    assert got.facts["status"] == got.facts["missing"] == 0 and got.output.splitlines()[-1] == "done"
    for k in range(3):
        assert len(got.by_size[100070 + k]) == 30
        for stack in got.by_size[100070 + k]:
            python_frames = [frame.split()[0] for frame in stack if not frame.startswith("~ ")]
            assert {frame.split(".")[-1] for frame in python_frames} == {"down", "<lambda>", "body"}
            assert python_frames[-1].endswith("body")
            # Behind the module's first function lie the frames of whoever runs there now.
            assert ["greenlet" in frame for frame in stack if frame.startswith("~ ")][-2:] == [False, True], stack
        # One for each depth, and those of before the interpreter has specialised its calls.
        assert 4 <= len({tuple(stack) for stack in got.by_size[100070 + k]}) <= 8
    for stack in got.by_size[100073]:
        assert [frame.split()[0] for frame in stack if not frame.startswith("~ ")][-1] == "<module>"
        assert names(stack)[-1] in OUTERMOST
