#!/bin/sh
# Makes the environments that the benchmark runs in: bench/work/venv-X.Y for each Python named, with the peers.
#
#     bench/setup.sh [PYTHON ...]      default: python3.12 and python3.13, from PATH or pyenv
#
# A package that has no wheel for a Python is left out and named; the benchmark then lists it as absent. heaptrack is a
# system package (Debian: apt-get install heaptrack). Nothing outside bench/work is touched.
set -eu
work=$(cd "$(dirname "$0")" && pwd)/work
mkdir -p "$work"

find_python() {
    for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c "" 2>/dev/null; then # a pyenv shim may exist and not run
            echo "$candidate"
            return
        fi
    done
}

[ $# -gt 0 ] || set -- $(find_python 3.12) $(find_python 3.13)
[ $# -gt 0 ] || set -- "$(command -v python3)"
for python in "$@"; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    venv=$work/venv-$version
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    missing=
    for package in pyperformance numpy pandas memray memory_profiler scalene filprofiler psutil; do
        # memory_profiler is pure Python and has no wheel; everything else is taken ready-made or not at all.
        only=--only-binary=:all:
        [ $package != memory_profiler ] || only=--prefer-binary
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $only $package 2>"$work/pip.log" ||
            missing="$missing $package"
    done
    echo "$venv: ready${missing:+, without$missing (see bench/work/pip.log)}"
done
command -v heaptrack >/dev/null || echo "heaptrack is not installed: it will be listed as absent"
