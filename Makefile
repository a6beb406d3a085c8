# The commands of this repository. Each does all the set-up that it needs, asks nothing, and is quick when repeated.
#
#   make demo      build heapline, record a real program (numpy, four threads), show its profile
#   make test      every test: C (also under ASan, UBSan, TSan), fuzzing, end to end on each CPython found
#   make build     build/release/heapline and libheapline.so
#   make pythons   bring up CPython 3.13 to 3.15 for the tests, where this machine lacks them (needs root)
#   make lint      formatting and static checks
#   make format    format the C and Python sources
#   make clean     remove build/
#
# Variables: FUZZ_SECONDS=60 for each fuzz target; PYTEST_ARGUMENTS="--long"; PYTHON=... the interpreter of the demo.

.PHONY: demo test build pythons lint format clean help
.NOTPARALLEL:
SHELL := /bin/bash
PYTHON ?= build/venv/bin/python
export FUZZ_SECONDS PYTEST_ARGUMENTS

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

build:
	@tools/setup.sh
	@mkdir -p build/log
	@{ cmake --preset release && cmake --build --preset release; } >build/log/build.log 2>&1 || { tail -40 build/log/build.log; exit 1; }

demo: build
	@tools/venv.sh
	@rm -f build/demo.heapline
	@set -x; build/release/heapline run -o build/demo.heapline --python $(PYTHON) examples/stations.py
	@echo; set -x; build/release/heapline stats build/demo.heapline
	@echo; set -x; build/release/heapline table -n 10 build/demo.heapline

test:
	@tools/setup.sh test
	@tools/venv.sh
	@tools/check.sh

pythons:
	@tools/pythons.sh

lint:
	@tools/lint.sh

format:
	@tools/lint.sh --format

clean:
	rm -rf build
