"""`heapline mprof`: the verbs, options, output and files of memory_profiler's mprof, and what is better than there."""

import os
import re
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest
from original import original_folder

MARKS = """
import sys, time

@profile
def work(mib):
    block = bytearray(mib << 20)
    time.sleep(0.25)
    return block

@profile
def fails():
    raise ValueError

@profile
def outer():
    kept = work(60)
    try:
        fails()
    except ValueError:
        pass
    work(20)

outer()
with profile.timestamp("two words"):
    time.sleep(0.05)
"""
HOLD = "import time; block = bytearray({mib} << 20); time.sleep({seconds})"


def mprof(heapline, *words, **options):
    return heapline("mprof", *words, **options)


def records(path, word):
    """The fields behind `word` of all such lines."""
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    return [fields[1:] for fields in lines if fields[0] == word]


def peak_of(heapline, *words):
    shown = mprof(heapline, "peak", *words)
    assert shown.exit == 0, shown
    return float(re.search(r"\t([\d.]+) MiB", shown.stdout)[1])


@pytest.fixture
def script(heapline):
    def write(text, name="app.py"):
        (heapline.folder / name).write_text(text)
        return name

    return write


# ------------------------------------------------------------------------------------------------------------ run


def test_run_samples_and_writes_the_format(heapline, python):
    began = time.time()
    run = mprof(heapline, "run", "-T", "0.05", python.path, "-c", HOLD.format(mib=50, seconds=0.5))
    assert run.exit == 0, run
    assert run.stdout == "mprof: Sampling memory every 0.05s\nrunning new process\n"
    [path] = heapline.folder.glob("mprofile_*.dat")
    assert re.fullmatch(r"mprofile_\d{14}\.dat", path.name)
    lines = path.read_text().splitlines()
    assert lines[0] == f"CMDLINE {python.path} -c '{HOLD.format(mib=50, seconds=0.5)}'"
    assert all(re.fullmatch(r"MEM \d+\.\d{6} \d+\.\d{4}", line) for line in lines[1:])
    samples = [(float(mib), float(when)) for mib, when in records(path, "MEM")]
    assert 4 <= len(samples) <= 100
    assert began - 0.01 <= samples[0][1] and samples[-1][1] <= time.time() + 0.01
    assert [when for _, when in samples] == sorted(when for _, when in samples)
    assert 55 < max(samples)[0] < 75
    assert peak_of(heapline) == pytest.approx(max(samples)[0], abs=0.001)


def test_a_script_has_function_marks(heapline, script):
    run = mprof(heapline, "run", script(MARKS), "argument")
    assert run.exit == 0 and "running as a Python program...\n" in run.stdout, run
    [path] = heapline.folder.glob("mprofile_*.dat")
    assert path.read_text().startswith("CMDLINE ")
    marks = records(path, "FUNC")
    assert [(name, int(depth)) for name, *_, depth in marks] == [
        ("__main__.work", 1),
        ("__main__.work", 1),
        ("__main__.fails", 1),  # an exception ends a call as a return does: what follows has its own depth
        ("__main__.outer", 0),
        (".two\u00a0words", 0),
    ]
    begin_mib, begin, end_mib, end = map(float, marks[0][1:5])
    assert 59 < end_mib - begin_mib < 62 and 0.24 < end - begin < 1
    assert peak_of(heapline, "--func", "__main__.work", str(path)) > begin_mib + 79
    assert mprof(heapline, "peak", "--func", "work", str(path)).stdout == f"{path}\tNaN MiB\n"


def test_function_marks_on_each_python(heapline, each_python, script):
    if each_python.version < (3, 6):
        pytest.skip("function marks need Python 3.6")
    if each_python.root:
        pytest.skip("inside a root of its own heapline mprof would have to be installed")
    run = mprof(heapline, "run", "-o", "x.dat", "--python", each_python.path, "-B", script(MARKS))
    assert run.exit == 0 and not run.stderr, run
    assert len(records(heapline.folder / "x.dat", "FUNC")) == 5


def test_an_imported_profile_has_marks_too(heapline, script):
    """The most asked question about mprof: `from memory_profiler import profile` was never heard of. Here it need not even be
    installed."""
    run = mprof(heapline, "run", "-o", "x.dat", script("from memory_profiler import profile\n" + MARKS))
    assert run.exit == 0 and "Line #" not in run.stdout, run
    assert len(records(heapline.folder / "x.dat", "FUNC")) == 5


def test_marks_of_a_program_that_changes_its_folder_and_fails(heapline, script):
    text = "import os\n@profile\ndef f(): pass\nf(); os.chdir('/')\nraise KeyError('lost')\n"
    run = mprof(heapline, "run", "-E", "-o", "x.dat", script(text))
    assert run.exit == 1
    assert run.stderr.splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "app.py", line 5, in <module>',
        "    raise KeyError('lost')",
    ], run
    assert len(records(heapline.folder / "x.dat", "FUNC")) == 1


def test_a_script_runs_in_the_real_main(heapline, script):
    """Its functions can be pickled, so multiprocessing works in scripts with @profile."""
    text = """
import multiprocessing, pickle, sys

@profile
def square(n):
    return n * n

if __name__ == "__main__":
    assert pickle.loads(pickle.dumps(square)) is square
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(square, range(4)))
    print(sys.argv, __file__, sys.modules["__main__"].square is square)
"""
    run = mprof(heapline, "run", "-E", "-o", "x.dat", script(text), "-x", "--interval", "-1")
    assert run.exit == 0, run
    assert run.stdout.splitlines()[-2:] == [
        "[0, 1, 4, 9]",
        "['app.py', '-x', '--interval', '-1'] app.py True",
    ]


def test_marks_of_generators_coroutines_methods_and_threads(heapline, script):
    text = """
import asyncio, threading, time

@profile
def numbers():
    yield 1
    time.sleep(0.15)
    yield 2

@profile
async def coroutine():
    await asyncio.sleep(0.15)
    return 5

class Thing:
    @profile
    def method(self): time.sleep(0.15)
    @classmethod
    @profile
    def under(cls): return cls
    @profile
    @classmethod
    def over(cls): return cls

async def main():
    return await asyncio.create_task(coroutine())

assert list(numbers()) == [1, 2]
assert asyncio.run(main()) == 5 and asyncio.iscoroutinefunction(coroutine)
assert Thing.over() is Thing and Thing().under() is Thing
threads = [threading.Thread(target=Thing().method) for _ in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    run = mprof(heapline, "run", "-E", "-o", "x.dat", script(text))
    assert run.exit == 0, run
    marks = {}
    for name, _, begin, _, end, depth in records(heapline.folder / "x.dat", "FUNC"):
        marks.setdefault(name, []).append((float(end) - float(begin), int(depth)))
    assert set(marks) == {"__main__." + name for name in ("numbers", "coroutine", "method", "under", "over")}
    assert all(
        seconds > 0.14 for name in ("numbers", "coroutine", "method") for seconds, _ in marks["__main__." + name]
    )
    assert [depth for _, depth in marks["__main__.method"]] == [0, 0]  # side by side, not one in the other


@pytest.mark.parametrize("words", [["-m", "thing"], ["thing"]])
def test_a_module_is_run(heapline, script, python, words):
    script("import sys\n@profile\ndef f(): pass\nf(); print(__name__, sys.argv[1:])\n", "thing.py")
    run = mprof(heapline, "run", "--python", "-o", "x.dat", python.path, *words, "a")
    assert run.stdout.endswith("__main__ ['a']\n"), run
    assert records(heapline.folder / "x.dat", "FUNC")[0][0] == "__main__.f"


def test_children_are_added_or_have_a_series_each(heapline, python):
    child = HOLD.format(mib=70, seconds=0.8)
    text = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '''{child}'''])"
    for options in ([], ["-C"], ["-M"], ["-C", "-M"]):
        done = mprof(heapline, "run", *options, "-T", "0.05", "-o", f"x{''.join(options)}.dat", python.path, "-c", text)
        assert done.exit == 0, done
    assert peak_of(heapline, "x.dat") < 50
    assert peak_of(heapline, "x-C.dat") > 85
    assert peak_of(heapline, "x-M.dat") < 50
    assert peak_of(heapline, "x-C-M.dat") > 85
    assert not records(heapline.folder / "x-C.dat", "CHLD")
    pids = {pid for pid, _, _ in records(heapline.folder / "x-M.dat", "CHLD")}
    assert len(pids) == 1
    shown = mprof(heapline, "peak", "x-M.dat").stdout.splitlines()
    assert re.fullmatch(rf"  Child {pids.pop()}\t\t\t(7|8)\d\.\d{{3}} MiB", shown[1])


def test_pss_and_uss_count_shared_pages_less(heapline, python):
    """Two forked children share a block of 60 MiB with their parent: RSS counts it three times, PSS once."""
    text = """
import os, time
block = bytearray(60 << 20)
children = [os.fork() or time.sleep(60) for _ in range(2)]
time.sleep(0.7)
for pid in children: os.kill(pid, 9)
"""
    peaks = {}
    for backend in ("psutil", "posix", "psutil_pss", "psutil_uss"):
        run = mprof(heapline, "run", "-C", "--backend", backend, "-o", backend, python.path, "-c", text)
        assert run.exit == 0, run
        peaks[backend] = peak_of(heapline, backend)
    assert peaks["psutil"] > 180 and abs(peaks["posix"] - peaks["psutil"]) < 10
    assert 60 < peaks["psutil_pss"] < 110
    # Alone in memory until it forks, the parent has up to 60 MiB by itself; afterwards nobody has.
    assert peaks["psutil_uss"] < 110
    refused = mprof(heapline, "run", "--backend", "tracemalloc", "true")
    assert refused.exit == 2 and "only the program itself" in refused.stderr


@pytest.mark.parametrize(
    ("command", "without", "with_e"), [("exit 7", 0, 7), ("true", 0, 0), ("kill -SEGV $$", 0, -signal.SIGSEGV)]
)
def test_exit_status(heapline, command, without, with_e):
    assert mprof(heapline, "run", "-o", "x.dat", "sh", "-c", command).exit == without
    done = mprof(heapline, "run", "-E", "-o", "x.dat", "sh", "-c", command)
    assert done.exit == with_e, done
    assert ("the program" in done.stderr) == (with_e != 0)


def test_what_cannot_be_run_leaves_no_file(heapline):
    assert mprof(heapline, "run", "not-there").exit == 127
    assert mprof(heapline, "run", "/").exit == 126
    assert mprof(heapline, "run").exit == 2
    assert os.listdir(heapline.folder) == []


def test_timeout_ends_the_sampling_and_not_the_program(heapline):
    began = time.monotonic()
    done = mprof(
        heapline, "run", "-t", "0.3", "-o", "x.dat", "sh", "-c", "sleep 3; touch done", stdout=None, stderr=None
    )
    assert done.exit == 0 and time.monotonic() - began < 2.5
    assert not (heapline.folder / "done").exists()
    done = mprof(heapline, "run", "-E", "-t", "0.2", "-o", "y.dat", "sh", "-c", "sleep 0.8; exit 3")
    assert done.exit == 3
    samples = records(heapline.folder / "y.dat", "MEM")
    assert 1 <= len(samples) <= 3
    deadline = time.monotonic() + 20
    while not (heapline.folder / "done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_runs_in_one_second_have_two_files(heapline):
    for _ in range(3):
        assert mprof(heapline, "run", "true").exit == 0
    names = sorted(path.name for path in heapline.folder.iterdir())
    assert len(names) == 3
    assert all(len(records(heapline.folder / name, "CMDLINE")) == 1 for name in names)


def test_a_signal_to_mprof_reaches_the_program(heapline):
    text = "trap 'echo got; exit 4' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        [str(heapline.binary), "mprof", "run", "-E", "-o", "x.dat", "sh", "-c", text],
        cwd=heapline.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.stdout.readline() != "ready\n":
        pass
    process.terminate()
    assert process.wait(10) == 4 and process.stdout.read() == "got\n"


def test_a_full_disk_is_said_and_the_program_goes_on(heapline):
    done = mprof(heapline, "run", "-o", "/dev/full", "sh", "-c", "echo here")
    assert done.exit == 1 and done.stdout.endswith("here\n"), done
    assert done.stderr.count("cannot write") == 1


# ------------------------------------------------------------------------------------------------------------ attach


def test_attach_by_pid_and_by_name_until_the_process_ends(heapline, python):
    name = heapline.folder / "quaintname"
    shutil.copy(shutil.which("sleep"), name)
    for hint in ("pid", "uaintnam"):
        process = subprocess.Popen([str(name), "1"])
        time.sleep(0.1)
        try:
            done = mprof(heapline, "attach", "-o", f"{hint}.dat", str(process.pid) if hint == "pid" else hint)
        finally:
            process.kill()
            process.wait()
        assert done.exit == 0, done
        assert done.stdout.splitlines()[1].startswith("attaching to existing process, using hint: ")
        assert 3 <= len(records(heapline.folder / f"{hint}.dat", "MEM")) <= 12
        assert records(heapline.folder / f"{hint}.dat", "CMDLINE") == [[str(name), "1"]]
    gone = mprof(heapline, "run", "--attach", "uaintnam")
    assert gone.exit == 1 and "no process" in gone.stderr
    assert mprof(heapline, "attach", "999999999").exit == 1


def test_attach_ends_by_a_signal_and_leaves_the_process(heapline):
    sleeper = subprocess.Popen(["sleep", "30"])
    command = [str(heapline.binary), "mprof", "attach", "-o", "x.dat", str(sleeper.pid)]
    attached = subprocess.Popen(command, cwd=heapline.folder, stdout=subprocess.PIPE)
    try:
        time.sleep(0.4)
        attached.send_signal(signal.SIGINT)
        assert attached.wait(10) == 0
        assert sleeper.poll() is None
        assert len(records(heapline.folder / "x.dat", "MEM")) >= 2
    finally:
        sleeper.kill()
        sleeper.wait()
        attached.kill()


# ------------------------------------------------------------------------------------------------------------ files


def some_files(heapline, n=3):
    names = [f"mprofile_2026112316062{i}.dat" for i in range(n)]
    for i, name in enumerate(names):
        (heapline.folder / name).write_text(f"CMDLINE app {i}\nMEM {i + 1}.500000 1000.0000\nMEM 1.0 1001.0\n")
    return names


def test_list_rm_clean_and_peak_by_index(heapline):
    names = some_files(heapline)
    (heapline.folder / "mprofile_of_an_example.dat").write_text("mine")  # 14 letters, and not one of ours
    assert mprof(heapline, "list").stdout == "".join(
        f"{i} {name} 16:06:2{i} 23/11/2026\n" for i, name in enumerate(names)
    )
    assert mprof(heapline, "peak").stdout == f"Using last profile data.\n{names[2]}\t3.500 MiB\n"
    assert mprof(heapline, "peak", "0", "-1").stdout == f"{names[0]}\t1.500 MiB\n{names[2]}\t3.500 MiB\n"
    dry = mprof(heapline, "rm", "-1", "--dry-run")
    assert dry.stdout == f"Files to be removed: \n{names[2]}\n" and (heapline.folder / names[2]).exists()
    refused = mprof(heapline, "rm", "0", "7")
    assert refused.exit == 1 and (heapline.folder / names[0]).exists()
    assert mprof(heapline, "rm", "-1", names[0]).exit == 0
    assert sorted(os.listdir(heapline.folder)) == sorted([names[1], "mprofile_of_an_example.dat"])
    assert mprof(heapline, "clean", "--dry-run").stdout == f"Files to be removed: \n{names[1]}\n"
    assert mprof(heapline, "clean").exit == 0
    assert os.listdir(heapline.folder) == ["mprofile_of_an_example.dat"]
    assert mprof(heapline, "peak").exit == 1
    assert mprof(heapline, "rm").exit == 2


def test_verbs_and_their_help(heapline):
    assert mprof(heapline).exit == 2
    near = mprof(heapline, "plto")
    assert near.exit == 2 and "did you mean plot?" in near.stderr
    for verb in ("run", "attach", "plot", "peak", "list", "rm", "clean"):
        shown = mprof(heapline, verb, "--help")
        assert shown.exit == 0 and f"usage: heapline mprof {verb}" in shown.stdout
        assert mprof(heapline, verb, "--version").stdout.startswith("heapline ")


# ------------------------------------------------------------------------------------------------------------ plot

SVG = "{http://www.w3.org/2000/svg}"


def texts(path):
    return ["".join(element.itertext()) for element in ET.parse(path).iter(SVG + "text")]


def test_plot_writes_svg_without_matplotlib(heapline, script):
    mprof(heapline, "run", "-o", "mprofile_20261123160629.dat", script(MARKS), "<b>")
    done = mprof(heapline, "plot", "--slope")
    assert done.stdout == "Using last profile data.\nmprofile_20261123160629.svg\n", done
    shown = texts(heapline.folder / "mprofile_20261123160629.svg")
    assert shown[0].endswith("app.py <b>")
    assert {"time (in seconds)", "memory used (in MiB)"} <= set(shown)
    legend = "\n".join(shown)
    assert re.search(r"\d\d / \d\d / 20\d\d - start at \d\d:\d\d:\d\d\.\d{3} slope -?\d+\.\d{5}", legend)
    assert re.search(r"^work \d\.\d{3}s in 2 calls$", legend, re.M)
    assert re.search(r"^two words 0\.\d{3}s$", legend, re.M)
    marks = [e for e in ET.parse(heapline.folder / "mprofile_20261123160629.svg").iter() if e.get("class") == "mark"]
    assert len(marks) == 2 * 5
    mprof(heapline, "plot", "-n", "-t", "My title", "-o", "plain.svg")
    assert "My title" in texts(heapline.folder / "plain.svg")
    assert "work" not in (heapline.folder / "plain.svg").read_text()
    mprof(heapline, "plot", "-f", "-o", "flame.svg")
    flame = [e for e in ET.parse(heapline.folder / "flame.svg").iter() if e.get("class") == "flame"]
    assert len(flame) == 5 and len({e.get("y") for e in flame}) == 2
    piped = mprof(heapline, "plot", "-o", "-")
    assert ET.fromstring(piped.stdout).tag == SVG + "svg"


def test_plot_of_several_files_and_a_window(heapline):
    names = some_files(heapline)
    done = mprof(heapline, "plot", "0", "-1", "-w", "0.25,0.75", "-o", "x.svg")
    assert done.exit == 0, done
    drawing = ET.parse(heapline.folder / "x.svg")
    assert len([e for e in drawing.iter() if e.get("class") == "curve"]) == 2
    ticks = [
        float(e.text) for e in drawing.iter(SVG + "text") if e.get("class") == "mid" and (e.text or "").startswith("0")
    ]
    assert ticks[0] == 0.25 and ticks[-1] == 0.75
    mib = [float(e.text) for e in drawing.iter(SVG + "text") if e.get("class") == "end"]
    assert 0.8 < min(mib) <= 1 and 3.5 <= max(mib) < 3.7  # the samples are outside, the lines between them inside
    assert mprof(heapline, "plot", "-w", "3", names[0]).exit == 2
    (heapline.folder / "empty.dat").write_text("CMDLINE x\n")
    empty = mprof(heapline, "plot", "empty.dat")
    assert empty.exit == 1 and "no memory usage values" in empty.stderr and not (heapline.folder / "empty.svg").exists()


def test_other_pictures_are_for_matplotlib(heapline):
    some_files(heapline)
    done = mprof(heapline, "plot", "-o", "x.pdf")
    if done.exit == 0:
        assert (heapline.folder / "x.pdf").read_bytes().startswith(b"%PDF")
    else:
        assert "matplotlib" in done.stderr and "SVG needs no matplotlib" in done.stderr, done


# ------------------------------------------------------------------------------------------------ beside the original


def test_files_are_read_by_the_original_and_the_other_way(heapline, python, script):
    """Both run the same program; each reads what the other has written, and finds the same."""
    folder = original_folder(python)
    script(MARKS)
    ours = mprof(heapline, "run", "-o", "ours.dat", "--python", str(folder / "python"), "app.py")
    assert ours.exit == 0, ours
    theirs = subprocess.run(
        [str(folder / "mprof"), "run", "-o", "theirs.dat", "app.py"],
        cwd=heapline.folder,
        capture_output=True,
        text=True,
    )
    assert theirs.returncode == 0, theirs
    commands = [records(heapline.folder / name, "CMDLINE") for name in ("ours.dat", "theirs.dat")]
    assert [[command[1:] for command in file] for file in commands] == [[["app.py"]], [["app.py"]]]
    for name in ("ours.dat", "theirs.dat"):
        functions = ["__main__.work", "__main__.outer"]
        for options in ([], *(["--func", function] for function in functions)):
            by_us = mprof(heapline, "peak", *options, name).stdout
            by_them = subprocess.run(
                [str(folder / "mprof"), "peak", *options, name], cwd=heapline.folder, capture_output=True, text=True
            )
            if name == "theirs.dat" and by_them.returncode != 0:
                assert "not enough values" in by_them.stderr or "could not convert" in by_them.stderr
                continue  # the original cannot read its own file: a name in it has a blank
            mib = lambda text: float(text.split("\t")[1].split()[0])
            assert by_them.returncode == 0, by_them
            # Ours has begin and end of calls among the figures of a function.
            assert mib(by_us) == mib(by_them.stdout) or (options and mib(by_us) > mib(by_them.stdout))
    assert peak_of(heapline, "ours.dat") == pytest.approx(peak_of(heapline, "theirs.dat"), rel=0.25)
