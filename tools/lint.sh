#!/usr/bin/env bash
# lint.sh [--format | --style]: formatting and static checks of all sources; every finding fails.
#
#   (nothing)   the style, and clang-tidy on the C files that differ from the main branch (LINT_ALL=1: on all)
#   --style     clang-format, ruff and mypy (of the package) only: seconds
#   --format    formats the sources in place
#
# Formatters of one version for everybody, from PyPI, in build/lint. All of it takes a minute or two on two CPUs.
set -uo pipefail
cd "$(dirname "$0")/.."

tools=(clang-format==14.0.6 ruff==0.17.5 mypy==2.3.1 pytest==9.2.0) # pytest: the types that its plugin is checked with
venv=build/lint
if [ "$(cat $venv/tools 2>/dev/null)" != "${tools[*]}" ]; then
    { mkdir -p build && python3 -m venv $venv && $venv/bin/python -m pip install -q --disable-pip-version-check "${tools[@]}"; } ||
        { echo "lint: cannot install ${tools[*]} into $venv (no network, or python3-venv is missing?)" >&2; exit 1; }
    echo "${tools[*]}" >$venv/tools
fi
c_files() { git ls-files --cached --others --exclude-standard '*.c' '*.h'; }

if [ "${1:-}" = --format ]; then
    c_files | xargs -r $venv/bin/clang-format -i
    $venv/bin/ruff format -q . && $venv/bin/ruff check -q --fix .
    exit
fi

status=0
different=$(c_files | xargs -r $venv/bin/clang-format --dry-run -Werror 2>&1 | sed -n 's/:[0-9]*:[0-9]*: error:.*//p' | sort | uniq -c)
if [ -n "$different" ]; then
    echo "clang-format would change (make format):"
    echo "$different"
    status=1
fi
$venv/bin/ruff format -q --check . >build/lint/format.log 2>&1 || { echo "ruff format would change:"; grep -E '^ *-->' build/lint/format.log; status=1; }
$venv/bin/ruff check -q --output-format=concise . || status=1
# heapline.compat has the interface of modules without types.
$venv/bin/mypy --strict --no-error-summary --cache-dir build/lint/mypy --exclude '/compat/' python/heapline || status=1
[ "${1:-}" = --style ] && exit $status

command -v clang-tidy >/dev/null || { echo "lint: install clang-tidy (Debian: apt-get install clang-tidy)" >&2; exit 1; }
cmake --preset debug >/dev/null || exit 1
if [ -n "${LINT_ALL:-}" ]; then
    files=$(git ls-files 'src/*.c' 'tests/*.c')
else
    base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main)
    files=$(git diff --name-only --diff-filter=d "$base" -- '*.c'; git ls-files --others --exclude-standard '*.c')
fi
# Only what the debug preset compiles: the fuzz targets are not among it. Notes are in the log, findings on the terminal.
for file in $files; do grep -q "\"$PWD/$file\"" build/debug/compile_commands.json && echo "$file"; done |
    xargs -r -n 1 -P "$(nproc)" clang-tidy -p build/debug --quiet >build/lint/tidy.log 2>/dev/null || status=1
grep -E ': (error|warning): ' build/lint/tidy.log | sort -u | sed "s|^$PWD/||"
exit $status
