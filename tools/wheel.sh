#!/usr/bin/env bash
# wheel.sh [PROCESSOR...]: the release wheels, for x86_64 and aarch64 unless told, into build/dist. Needs cmake, ninja,
# python3 with venv, tclsh, and PyPI; the sources of SQLite, zlib, elfutils and libiberty come from Debian's archive where
# apt-get can fetch sources, or lie where HEAPLINE_VENDOR says (as `vendor` below makes it).
#
# zig compiles for a glibc of 2.17 (RHEL 7, 2014), whatever the one of this machine; those four are compiled in. What
# comes out needs libc and nothing else, and tools/wheel_check.py proves it before the wheel gets its manylinux tag.
set -euo pipefail
cd "$(dirname "$0")/.."
GLIBC=2.17
TAGS=(manylinux_2_17 manylinux2014) # the second for pip before 20.3
[ $# -gt 0 ] || set -- x86_64 aarch64
work=$PWD/build/wheel
mkdir -p "$work/sources" build/dist

say() { echo "wheel: $*" >&2; }

tools() {
    [ -x "$work/venv/bin/ninja" ] && return
    python3 -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install -q --disable-pip-version-check ziglang==0.17.1 'scikit-build-core>=0.11' ninja build wheel
}

# Debian's source packages of this release, by a list of its own, so that the machine's sources stay as they are.
fetch_sources() {
    local state=$work/apt options
    mkdir -p "$state/lists/partial"
    # shellcheck disable=SC1091
    echo "deb-src http://deb.debian.org/debian ${SUITE:-bookworm} main" >"$state/sources.list"
    options=(-o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=-" -o "Dir::State::lists=$state/lists"
        -o APT::Sandbox::User=root)
    apt-get "${options[@]}" -qq update
    (cd "$work/sources" && apt-get "${options[@]}" -qq source --download-only sqlite3 zlib elfutils libiberty)
}

vendor() {
    [ -f "$work/vendor/complete" ] && return
    fetch_sources
    rm -rf "$work/unpacked" && mkdir -p "$work/unpacked/sqlite" "$work/unpacked/zlib" "$work/unpacked/made"
    tar -xf "$work"/sources/sqlite3_*.orig.tar.* -C "$work/unpacked/sqlite" --strip-components=1
    tar -xf "$work"/sources/zlib_*.orig.tar.* -C "$work/unpacked/zlib" --strip-components=1
    (cd "$work/unpacked/made" && ../sqlite/configure && make sqlite3.c) >"$work/sqlite.log" 2>&1 ||
        { tail -20 "$work/sqlite.log" >&2; exit 1; }
    mkdir -p "$work/vendor/zlib"
    cp "$work"/unpacked/zlib/*.[ch] "$work/vendor/zlib/"
    cp "$work"/unpacked/made/sqlite3.[ch] "$work/vendor/"
    vendor_dwarf
    touch "$work/vendor/complete"
}

# Of elfutils what reads ELF and DWARF, with a configuration that holds for glibc since 2.17; of libiberty the demanglers.
vendor_dwarf() {
    local elfutils=$work/vendor/elfutils include=$work/vendor/include folder
    mkdir -p "$work/unpacked/elfutils" "$work/unpacked/libiberty" "$elfutils" "$include/elfutils" "$include/libiberty" \
        "$work/vendor/libiberty"
    tar -xf "$(find "$work/sources" -name 'elfutils_*.orig.tar.*' ! -name '*.asc')" -C "$work/unpacked/elfutils" --strip-components=1
    tar -xf "$work"/sources/libiberty_*.orig.tar.* -C "$work/unpacked/libiberty" --strip-components=1
    for folder in lib libelf libdw libebl libasm libdwelf libdwfl; do
        mkdir -p "$elfutils/$folder"
        cp "$work/unpacked/elfutils/$folder"/*.[ch] "$elfutils/$folder/"
    done
    cat >"$elfutils/config.h" <<'END'
#define HAVE_ERR_H 1
#define HAVE_VISIBILITY 1
#define HAVE_STDATOMIC_H 1
#define HAVE_FALLTHROUGH 1
#define HAVE_DECL_MEMPCPY 1
#define HAVE_DECL_MEMRCHR 1
#define HAVE_DECL_RAWMEMCHR 1
#define HAVE_DECL_POWEROF2 1
#define HAVE_DECL_REALLOCARRAY 0
#define PACKAGE_NAME "elfutils"
#include <eu-config.h>
END
    cp "$elfutils/libdw/libdw.h" "$elfutils/libdw/known-dwarf.h" "$include/elfutils/"
    cp "$elfutils/libdw/dwarf.h" "$elfutils"/libelf/{libelf,gelf,nlist}.h "$include/"
    cp "$work/unpacked/libiberty/include"/*.h "$include/libiberty/"
    cp "$work/unpacked/libiberty/libiberty"/*.[ch] "$work/vendor/libiberty/"
}

# A program that CMake takes for a compiler.
compiler() { # PROCESSOR
    local path=$work/cc-$1
    printf '#!/bin/sh\nexec "%s" -m ziglang cc -target %s-linux-gnu.%s "$@"\n' "$work/venv/bin/python" "$1" $GLIBC >"$path"
    printf '#!/bin/sh\nexec "%s" -m ziglang ar "$@"\n' "$work/venv/bin/python" >"$work/ar"
    chmod +x "$path" "$work/ar"
    echo "$path"
}

make_wheel() { # PROCESSOR
    local processor=$1 out=$work/out-$1 platform
    rm -rf "$out" "$work/build-$processor"
    CC=$(compiler "$processor") PATH=$work/venv/bin:$PATH _PYTHON_HOST_PLATFORM=linux-$processor \
        "$work/venv/bin/python" -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$out" \
        -C build-dir="$work/build-$processor" -C cmake.define.HEAPLINE_VENDOR="${HEAPLINE_VENDOR:-$work/vendor}" \
        -C cmake.define.HEAPLINE_VIEWER=ON -C cmake.define.CMAKE_AR="$work/ar" -C cmake.define.CMAKE_RANLIB=/bin/true \
        -C cmake.define.CMAKE_SYSTEM_NAME=Linux -C cmake.define.CMAKE_SYSTEM_PROCESSOR="$processor" .
    python3 tools/wheel_check.py --glibc $GLIBC --processor "$processor" "$out"/*.whl
    platform=$(printf ".%s_$processor" "${TAGS[@]}")
    "$work/venv/bin/python" -m wheel tags --remove --platform-tag "${platform#.}" "$out"/*.whl >/dev/null
    rm -f build/dist/heapline-*_"$processor".whl
    mv "$out"/*.whl build/dist/
    ls build/dist/heapline-*_"$processor".whl
}

tools
[ -n "${HEAPLINE_VENDOR:-}" ] || vendor
for processor in "$@"; do make_wheel "$processor"; done
