"""`pip install .`: one wheel for every Python 3 of the platform, with the command and the library that it preloads."""

import platform
import subprocess
import sys
import venv
import zipfile

import pytest
from pythons import ROOT, all_pythons
from recording import Heapline

PROGRAM = """
def kept():
    return bytearray(3_000_017)

block = kept()
"""


def pip(*arguments, python=sys.executable):
    finished = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip(
        "wheel",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        folder,
        "--config-settings",  # -C is as of pip 23.1
        f"build-dir={folder}/build",
        ".",
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A virtual environment with heapline and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    pip("install", "-q", "--no-index", wheel, python=folder / "bin" / "python")
    return folder


def test_one_wheel_serves_every_python(wheel):
    name, _, python, abi, platform = wheel.stem.split("-")
    assert (name, python, abi) == ("heapline", "py3", "none")
    assert platform.startswith(("linux_", "manylinux"))


def test_the_library_lies_where_the_command_looks(environment):
    assert (environment / "lib" / "heapline" / "libheapline.so").exists()


def test_python_m_heapline_is_the_command(environment):
    command = subprocess.run([environment / "bin" / "heapline", "--version"], capture_output=True, text=True)
    module = subprocess.run(
        [environment / "bin" / "python", "-m", "heapline", "--version"], capture_output=True, text=True
    )
    assert command.returncode == module.returncode == 0
    assert command.stdout == module.stdout != ""
    attribute = subprocess.run(
        [environment / "bin" / "python", "-c", "import heapline; print(heapline.__version__)"],
        capture_output=True,
        text=True,
    )
    assert command.stdout.split()[1] == attribute.stdout.strip()


def test_it_records_the_environments_own_python(environment, tmp_path):
    """With no --python: the interpreter beside the installed command."""
    program, profile = tmp_path / "program.py", tmp_path / "profile"
    program.write_text(PROGRAM)
    heapline = Heapline(environment / "bin" / "heapline", tmp_path)
    finished = heapline("run", "-o", profile, program)
    assert finished.exit == 0, finished
    python = heapline.profile(profile).value("SELECT executable FROM process WHERE id = 1")
    assert python.startswith(str(environment)) or python.endswith(f"python{sys.version_info[0]}.{sys.version_info[1]}")
    assert heapline.profile(profile).allocated(function="kept").bytes >= 3_000_017


def test_the_package_finds_what_was_installed_with_it(environment, tmp_path):
    """A program in the environment records itself, with nothing of it on PATH."""
    program = "import heapline\nwith heapline.track('inside.heapline') as t:\n    block = bytearray(3_000_017)\nprint(t.recorded)\n"
    finished = subprocess.run(
        [environment / "bin" / "python", "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (finished.returncode, finished.stdout) == (0, "objects\n"), finished
    profile = Heapline(environment / "bin" / "heapline", tmp_path).profile(tmp_path / "inside.heapline")
    assert profile.allocated().bytes >= 3_000_017


def test_the_installed_package_reads_profiles(environment, tmp_path):
    """With the command that was installed with it, and no other on PATH."""
    profile = Heapline(environment / "bin" / "heapline", tmp_path).run(PROGRAM)
    program = (
        "import heapline, sys; print(heapline.open(sys.argv[1]).lines('kept').total.peak_bytes, heapline.binary())"
    )
    finished = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", program, profile.path],
        capture_output=True,
        text=True,
        env={"PATH": "/nowhere"},
    )
    assert finished.stdout == f"{profile.stats()['peak_bytes']} {environment / 'bin' / 'heapline'}\n", finished.stderr


@pytest.mark.parametrize("name", ["3.8", "3.13", "3.14"])
def test_it_records_a_python_that_has_no_heapline(environment, tmp_path, name):
    if name not in all_pythons():
        pytest.skip(f"CPython {name} is not on this machine")
    profile = Heapline(environment / "bin" / "heapline", tmp_path).run(PROGRAM, python=all_pythons()[name])
    assert profile.allocated(function="kept").bytes >= 3_000_017


# Where libc had these inline until 2.33: with an old one the same source calls __xstat and the like.
ONCE_INLINE = {"stat", "fstat", "lstat", "fstatat", "__libc_start_main"}


def symbols(path):
    """(name, version) of each symbol that a file needs, and of each that it has."""
    text = subprocess.run(["readelf", "-W", "--dyn-syms", path], capture_output=True, text=True, check=True).stdout
    needed, has = set(), set()
    for words in (line.split() for line in text.splitlines()):
        if len(words) >= 8 and "@" in words[7]:
            name, _, version = words[7].partition("@")
            (needed if words[6] == "UND" else has).add((name, version.lstrip("@")))
    return needed, has


def glibc(version):
    return tuple(int(part) for part in version.removeprefix("GLIBC_").split("."))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_the_sources_need_no_function_newer_than_glibc_2_17(heapline_binary):
    """A release wheel is linked for 2.17 (tools/wheel.sh); each function that is called must have been there by then."""
    libraries = set()
    for line in subprocess.run(["ldd", heapline_binary], capture_output=True, text=True).stdout.splitlines():
        if any(name in line for name in ("libc.so", "libm.so", "ld-linux", "libpthread")):
            libraries.add(line.split()[-2])
    oldest = {}
    for library in libraries:
        for name, version in symbols(library)[1]:
            if version.startswith("GLIBC_2"):
                oldest[name] = min(oldest.get(name, (9,)), glibc(version))
    for path in (heapline_binary, heapline_binary.parent / "libheapline.so"):
        needed = {name for name, version in symbols(path)[0] if version.startswith("GLIBC_")} - ONCE_INLINE
        assert len(needed) > 20
        assert {name: oldest[name] for name in needed if oldest[name] > (2, 17)} == {}


def test_the_check_of_release_wheels_tells_good_from_bad(wheel, tmp_path):
    def check(glibc, path):
        return subprocess.run(
            [
                sys.executable,
                ROOT / "tools" / "wheel_check.py",
                "--glibc",
                glibc,
                "--processor",
                platform.machine(),
                path,
            ],
            capture_output=True,
            text=True,
        )

    assert check("2.99", wheel).returncode == 0
    finished = check("2.2", wheel)
    assert finished.returncode == 1 and "libheapline.so: needs symbols of GLIBC_" in finished.stdout
    empty = tmp_path / "empty.whl"
    zipfile.ZipFile(empty, "w").close()
    assert check("2.99", empty).returncode == 1
