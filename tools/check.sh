#!/usr/bin/env bash
# check.sh: all that `make test` runs, one stage after the other: lint, the C tests, again under ASan and UBSan, again under
# TSan, the fuzzers, the report's page in Node.js and in Chromium, then pytest on every CPython found, whose summary ends the
# output. A failing stage does not stop the others; the exit status tells. Output of the stages goes to build/log, and of a
# failing one to the terminal too.
#
# FUZZ_SECONDS (60) for each fuzz target; PYTEST_ARGUMENTS go to pytest (for example "--long" or "-k threads").
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/log
failed=()

stage() { # NAME COMMAND...
    local name=$1 started=$SECONDS log="build/log/${1// /-}.log"
    shift
    if "$@" >"$log" 2>&1; then
        printf '%-24s ok     %4d s  %s\n' "$name" $((SECONDS - started)) "$(grep -E '^100% tests passed' "$log" | sed 's/.* out of/of/' | tr '\n' ' ')"
    else
        failed+=("$name")
        printf '%-24s FAILED %4d s  (%s)\n' "$name" $((SECONDS - started)) "$log"
        grep -vE '^\[[0-9]+/[0-9]+\]| Passed ' "$log" | tail -60
    fi
}

c_tests() { # PRESET
    cmake --preset "$1" && cmake --build --preset "$1" &&
        ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
            ctest --preset "$1" --no-tests=error
}

fuzz_one() { # PROGRAM
    local name corpus
    name=$(basename "$1")
    corpus=build/fuzz-corpus/$name
    mkdir -p "$corpus" build/fuzz-findings
    "$1" -seed=1 -max_total_time="${FUZZ_SECONDS:-60}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz-findings/$name-" "$corpus" $(ls -d "tests/fuzz/corpus/${name#fuzz_}" 2>/dev/null)
}

page_checks() { # types, style and tests of viewer/
    (cd viewer && npm run check)
}

page_in_chromium() { # a made-up page, hostile, and one of the program that `make demo` records
    local folder=build/page
    mkdir -p "$folder" && build/release/heapline run -q -f -o "$folder/stations.heapline" --lines __main__:smooth --python build/venv/bin/python \
        examples/stations.py && build/release/heapline report -f -o "$folder/stations.html" "$folder/stations.heapline" &&
        node viewer/browser/run.mjs "$folder/stations.html"
}

stage "lint" env LINT_ALL=1 tools/lint.sh
stage "C tests" c_tests release
stage "C tests, ASan and UBSan" c_tests asan
stage "C tests, TSan" c_tests tsan
if ls tests/fuzz/fuzz_*.c >/dev/null 2>&1; then
    stage "fuzzers, build" sh -c 'cmake --preset fuzz && cmake --build --preset fuzz'
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        stage "$name" fuzz_one "build/fuzz/$name"
    done
fi
if [ "$(node -p 'process.versions.node.split(".")[0] >= 20' 2>/dev/null)" != true ] || ! [ -d viewer/node_modules ]; then
    printf '%-24s skipped: no Node.js 20 with npm\n' "page of the report"
else
    stage "page of the report" page_checks
    if [ -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
        stage "page in Chromium" page_in_chromium
    else
        printf '%-24s skipped: no Chromium\n' "page in Chromium"
    fi
fi
[ ${#failed[@]} = 0 ] || printf '\nfailed so far: %s\n' "$(IFS=,; echo "${failed[*]}")"

# shellcheck disable=SC2086
build/venv/bin/python -m pytest tests/e2e -rs -q ${PYTEST_ARGUMENTS:-}
status=$?
[ $status = 0 ] && [ ${#failed[@]} = 0 ]
