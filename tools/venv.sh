#!/usr/bin/env bash
# venv.sh: makes or completes build/venv, the virtual environment of the tests and the demo (tests/requirements.txt).
# Takes the first python3 that is new enough and can make one: the system's, then PATH's.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=build/venv
stamp=$venv/requirements.txt
cmp -s tests/requirements.txt $stamp && $venv/bin/python -c 'import pytest' 2>/dev/null && exit 0

say() { echo "venv: $*" >&2; }
mkdir -p build
if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf $venv
    for python in /usr/bin/python3 python3; do
        command -v $python >/dev/null || continue
        $python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
        $python -m venv $venv && break
    done
    [ -x $venv/bin/python ] || { say "no python3 here is 3.9 or newer and has venv (Debian: apt-get install python3-venv)"; exit 1; }
fi
$venv/bin/python -m pip install -q --disable-pip-version-check -r tests/requirements.txt ||
    { say "pip could not install tests/requirements.txt (no network?)"; exit 1; }
cp tests/requirements.txt $stamp
