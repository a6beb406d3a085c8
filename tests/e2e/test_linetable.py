"""Our reading of line tables against each interpreter's own, for every instruction (tests/tools/linetable.c)."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "code_objects.py"


def compare(heapline_binary, python, what, *options):
    """The tool's last line as numbers: code objects, instructions, differences."""
    tool = heapline_binary.parent / "tools" / "linetable"
    asked = subprocess.Popen(
        [*python.prefix, python.path, "-S", *options, SCRIPT, what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=False,
    )
    told = subprocess.run([tool], stdin=asked.stdout, capture_output=True, text=True, check=False)
    asked.stdout.close()
    complaints = asked.stderr.read().decode()
    assert asked.wait() == 0, complaints
    assert told.returncode == 0, told.stdout + told.stderr
    return [int(word) for word in told.stdout.splitlines()[-1].split() if word.isdigit()]


def test_sample_agrees_with_the_interpreter(heapline_binary, each_python):
    codes, instructions, differences = compare(heapline_binary, each_python, "sample")
    assert codes > 500 and instructions > 20000 and differences == 0


@pytest.mark.pythons(since=(3, 11))
def test_without_columns_too(heapline_binary, each_python):
    assert compare(heapline_binary, each_python, "sample", "-X", "no_debug_ranges")[2] == 0


@pytest.mark.long
def test_whole_standard_library_agrees(heapline_binary, each_python):
    codes, instructions, differences = compare(heapline_binary, each_python, "all")
    print(f"{each_python.kind}: {codes} code objects, {instructions} instructions, {differences} differences")
    assert codes > 15000 and instructions > 1000000 and differences == 0


def test_the_tool_sees_a_difference(heapline_binary):
    """A comparison that could not fail would prove nothing."""
    import struct

    right = struct.pack("<4sIiI", b"HLCO", 0x030D, 10, 3) + bytes([0x80 | 11 << 3, 4, 9]) + struct.pack("<I", 1)
    for end_column, exit_status in ((9, 0), (8, 1)):
        told = subprocess.run(
            [heapline_binary.parent / "tools" / "linetable"],
            capture_output=True,
            check=False,
            input=right + struct.pack("<Iiiii", 0, 11, 11, 4, end_column),
        )
        assert told.returncode == exit_status
