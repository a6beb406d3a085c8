"""`pip install .`: one wheel for every Python 3 of the platform, with the command and the library that it preloads."""

import subprocess
import sys
import venv

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


@pytest.mark.parametrize("name", ["3.8", "3.13", "3.14"])
def test_it_records_a_python_that_has_no_heapline(environment, tmp_path, name):
    if name not in all_pythons():
        pytest.skip(f"CPython {name} is not on this machine")
    profile = Heapline(environment / "bin" / "heapline", tmp_path).run(PROGRAM, python=all_pythons()[name])
    assert profile.allocated(function="kept").bytes >= 3_000_017
