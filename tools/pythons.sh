#!/usr/bin/env bash
# pythons.sh [--free-threaded] [--list]: brings up the CPythons that a bare machine lacks, for tests and benchmarks.
#
#   (nothing)         3.13, 3.14 and 3.15, release and debug, with their own tests: a Debian of a later suite in a folder
#                     (1.4 GB, about a minute). Needs root, for debootstrap and for entering it (tools/inside).
#   --free-threaded   also the free-threaded builds of those whose source package Debian gives out: compiled here, three to
#                     six minutes each. Needs root only to install the headers that the build wants.
#                     With either: numpy for each version, in folders that only the tests use.
#   --list            what the tests find on this machine, and what is absent
#
# All lies in ${HEAPLINE_PYTHONS:-${XDG_CACHE_HOME:-~/.cache}/heapline/pythons}, outside the checkout. What is there is not
# made again; what was interrupted is made anew. HEAPLINE_DEBIAN_MIRROR names a mirror; otherwise it is the one that apt
# uses here, or debootstrap's own choice on a machine that is not Debian.
set -euo pipefail

cache=${HEAPLINE_PYTHONS:-${XDG_CACHE_HOME:-$HOME/.cache}/heapline/pythons}
suite=forky
versions="3.13 3.14 3.15"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
checkout=$(cd "$(dirname "$0")/.." && pwd -P)

say() { echo "pythons: $*" >&2; }
die() { say "$*"; exit 1; }

# apt's answer in one place: install what is missing, if we may.
need() { # COMMAND-OR-FILE PACKAGE...
    local what=$1
    shift
    { command -v "$what" || [ -e "$what" ]; } >/dev/null 2>&1 && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "$what is missing: install $* (Debian's names)"
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 ||
        { apt-get update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null; } ||
        die "cannot install $*"
}

mirror() {
    if [ -n "${HEAPLINE_DEBIAN_MIRROR:-}" ]; then
        echo "$HEAPLINE_DEBIAN_MIRROR"
    elif command -v apt-get >/dev/null; then
        apt-get indextargets --format '$(SITE) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2>/dev/null |
            awk '$2 == "Debian" && $3 == "Debian" { print $1; exit }'
    fi
}

debian() {
    local root=$cache/$suite packages version
    [ -e "$root/ready" ] && return
    [ "$(id -u)" = 0 ] || die "a Debian in a folder needs root (sudo $0); tests skip these interpreters until then"
    need debootstrap debootstrap
    need $keyring debian-archive-keyring
    need unshare util-linux
    packages=libsqlite3-0,zlib1g,libdw1t64,libncursesw6,procps,binutils
    for version in $versions; do packages+=,python$version,python$version-dbg,libpython$version,libpython$version-testsuite; done
    say "making a Debian $suite with CPython $versions in $root"
    rm -rf --one-file-system "$root" "$root.partial"
    debootstrap --variant=minbase --include="$packages" --keyring=$keyring $suite "$root.partial" $(mirror) sid >"$cache/$suite.log" 2>&1 ||
        { tail -5 "$cache/$suite.log" >&2; die "debootstrap failed (whole log: $cache/$suite.log); is the mirror reachable?"; }
    rm -rf "$root.partial"/var/cache/apt/archives/*.deb "$root.partial"/var/lib/apt/lists/*
    touch "$root.partial/ready"
    mv "$root.partial" "$root"
    say "ready: $root"
}

# numpy for every version that heapline supports, where PyPI has a wheel: in a folder of its own for each, which the tests
# put on PYTHONPATH, so that no interpreter of this machine is changed. Tests that want it skip where it is not.
numpys() {
    local version abi target
    for version in 3.6 3.7 3.8 3.9 3.10 3.11 3.12 3.13 3.13t 3.14 3.14t 3.15 3.15t; do
        target=$cache/numpy/$version
        [ -e "$target" ] && continue
        abi=cp${version/./}
        case $version in 3.6 | 3.7) abi+=m ;; esac
        rm -rf "$target.partial"
        python3 -m pip install -q --disable-pip-version-check --target "$target.partial" --python-version "${version%t}" --abi "$abi" \
            --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux_2_27_x86_64 \
            --platform manylinux_2_28_x86_64 --only-binary :all: --ignore-requires-python --no-deps --no-compile numpy >>"$cache/numpy.log" 2>&1 &&
            mv "$target.partial" "$target" || say "no numpy for $version (PyPI has no wheel, or cannot be reached: $cache/numpy.log)"
        rm -rf "$target.partial"
    done
}

# Sources by apt, with lists of our own, so that the machine's configuration stays as it is.
source_of() { # VERSION -> unpacked into $cache/source/VERSION
    local folder=$cache/source/$1 site
    site=$(mirror)
    [ -n "$site" ] || die "no Debian mirror known: set HEAPLINE_DEBIAN_MIRROR"
    rm -rf "$folder"
    mkdir -p "$folder/lists/partial"
    echo "deb-src [signed-by=$keyring] $site $suite main" >"$folder/sources.list"
    (
        cd "$folder"
        options=(-o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o Dir::State::lists="$folder/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
        apt-get "${options[@]}" update && apt-get "${options[@]}" source --download-only "python$1"
    ) >"$cache/source-$1.log" 2>&1 || return 1
    mkdir "$folder/tree" && tar -C "$folder/tree" --strip-components=1 -xf "$folder"/*.orig.tar.*
}

free_threaded() {
    local version target
    need gcc gcc
    need make make
    need xz xz-utils
    echo '#include <ffi.h>' | gcc -E -xc - >/dev/null 2>&1 || need ffi.h libffi-dev libssl-dev zlib1g-dev libbz2-dev liblzma-dev
    for version in $versions; do
        target=$cache/built/${version}t
        [ -e "$target/ready" ] && continue
        if ! source_of "$version"; then
            say "${version}t: Debian does not give out the source package now (log: $cache/source-$version.log)"
            continue
        fi
        say "compiling ${version}t (log: $cache/built-${version}t.log)"
        rm -rf "$target"
        (
            cd "$cache/source/$version/tree" &&
                ./configure --prefix="$target" --disable-gil --without-ensurepip CFLAGS=-O2 &&
                make -j"$(nproc)" &&
                make install
        ) >"$cache/built-${version}t.log" 2>&1 || { tail -5 "$cache/built-${version}t.log" >&2; die "compiling ${version}t failed"; }
        rm -rf "$cache/source/$version"
        touch "$target/ready"
        say "ready: $target/bin/python${version}t"
    done
}

free=
for argument; do
    case $argument in
    --free-threaded) free=yes ;;
    --list) exec python3 "$checkout/tests/e2e/pythons.py" ;;
    *) sed -n '2,/^set/p' "$0" | sed '/^set/d; s/^# \{0,1\}//' >&2; exit 2 ;;
    esac
done

mkdir -p "$cache"
exec 9>"$cache/lock"
flock -n 9 || { say "another run is at work here; waiting"; flock 9; }
status=0
(debian) || status=1
[ -z "$free" ] || (free_threaded) || status=1
mkdir -p "$cache/numpy"
numpys
exit $status
