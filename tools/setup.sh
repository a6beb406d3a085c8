#!/usr/bin/env bash
# setup.sh [test]: the system packages to build heapline, or to build and test it. Does nothing, quickly, when all are
# there. As root (or where sudo asks no password) it installs them by apt; otherwise it says which and stops. On systems
# without apt it looks for the commands only and says what to install.
set -euo pipefail

packages=(gcc libc6-dev make cmake ninja-build libsqlite3-dev zlib1g-dev libdw-dev libiberty-dev libcmocka-dev python3 python3-venv)
commands=(gcc cmake ninja python3)
if [ "${1:-}" = test ]; then
    packages+=(clang clang-tidy libclang-rt-dev g++ binutils dwz debuginfod util-linux procps musl-tools libc6-dev-i386
        heaptrack zstd libjemalloc-dev libgoogle-perftools-dev libmimalloc-dev chromium)
    commands+=(clang clang-tidy readelf unshare)
fi

say() { echo "setup: $*" >&2; }

if ! command -v apt-get >/dev/null; then
    missing=()
    for command in "${commands[@]}"; do command -v "$command" >/dev/null || missing+=("$command"); done
    [ ${#missing[@]} = 0 ] && exit 0
    say "missing: ${missing[*]}"
    say "install what your system calls these (Debian's names): ${packages[*]}"
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
# The page of heapline report is made by npm, and what is missing without it is only that. In some systems it is in nodejs.
page=()
command -v npm >/dev/null || page=(nodejs npm)
[ ${#missing[@]} = 0 ] && [ ${#page[@]} = 0 ] && exit 0

if [ "$(id -u)" = 0 ]; then
    become=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    become=(sudo -n)
elif [ ${#missing[@]} = 0 ]; then
    say "heapline report will be without its page: sudo apt-get install ${page[*]}"
    exit 0
else
    say "these packages are missing: sudo apt-get install ${missing[*]} ${page[*]}"
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; }
[ ${#missing[@]} = 0 ] || say "installing ${missing[*]}"
if [ ${#missing[@]} != 0 ] && ! install "${missing[@]}"; then
    "${become[@]}" apt-get update >"$log" 2>&1 || true
    # The first is a part of clang itself in older suites; the others are not there for every processor or suite.
    known=()
    for package in "${missing[@]}"; do
        case $package in libclang-rt-dev | libc6-dev-i386 | musl-tools | heaptrack | lib*alloc-dev | libgoogle-perftools-dev) ;; *) known+=("$package"); continue ;; esac
        if apt-cache show "$package" >/dev/null 2>&1; then known+=("$package"); fi
    done
    [ ${#known[@]} = 0 ] || install "${known[@]}" || { tail -15 "$log" >&2; say "apt-get could not install ${known[*]}"; exit 1; }
fi
if [ ${#page[@]} != 0 ]; then
    say "installing ${page[*]}"
    install "${page[@]}" || { "${become[@]}" apt-get update >"$log" 2>&1 && install "${page[@]}"; } ||
        say "npm cannot be installed here: heapline report will be without its page"
fi
