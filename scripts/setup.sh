#!/usr/bin/env bash
# Installs what a fresh Debian 12 machine lacks, and says what and why.
#
#   scripts/setup.sh [build|test|check|bench|fuzz|coverage|real-software|v2]      (default: test)
#
# build  what `cargo build` needs
# test   also what the tests run or compare with
# check  also the licence checker, which is compiled (some minutes, once)
# bench  also what the peers need
# fuzz   also the compiler of LLVM's fuzzer
# coverage  also what reads the counts of instrumented programs
# real-software  also programs whose own tests are run inside
# v2     also the emulator, and what the machine in it is made of
#
# Idempotent: when everything is there it asks apt nothing and takes a moment.
set -euo pipefail

group=${1:-test}
case $group in
build | test | check | bench | fuzz | coverage | real-software | v2) ;;
*)
    echo "setup: unknown group '$group'; one of: build, test, check, bench, fuzz, coverage, real-software, v2" >&2
    exit 2
    ;;
esac

missing=()

# want PACKAGE PROGRAM REASON: notes the package if the program (or, given an
# absolute path, the file) is not there.
want() {
    local package=$1 program=$2 reason=$3
    if [[ $program != /* || ! -e $program ]] && ! PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1; then
        echo "setup: $package is missing: $reason"
        missing+=("$package")
    fi
}

want gcc cc "the linker that cargo calls, and a compiler the strict policy must be able to run"
want libc6-dev /usr/include/stdio.h "headers and start files for cc"

if [[ $group != build && $group != fuzz ]]; then
    want git git "guest of the tests: clone and commit inside the sandbox"
    want python3 python3 "guest of the tests: subprocesses, threads"
    # The program is there without the package: ask for the module itself.
    if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
        echo "setup: python3-venv is missing: guest of the tests: a virtual environment"
        missing+=(python3-venv)
    fi
    want vim-tiny vi "guest of the tests: an editor on a terminal"
    want less less "guest of the tests: a pager on a terminal"
    want tmux tmux "guest of the tests: a program that makes terminals"
    want nodejs node "guest of the tests: a runtime that reserves much address space"
    want busybox-static busybox "guest of the tests: one static program that needs no library"
    want bubblewrap bwrap "the peer that kavach is measured and compared against"
    want uidmap newuidmap "maps a range of uids for an ordinary user"
    want util-linux setpriv "runs the ordinary-user part of the tests when started as root"
    want procps ps "counts processes before and after"
    want groff-base groff "formats the manual pages"
    want man-db man "shows them"
    want zsh zsh "reads its completion script"
    want fish fish "reads its completion script, and completes"
    # Helps when a test fails; no test needs it.
    want strace strace "shows the system calls of a failing test"
fi
if [[ $group == bench ]]; then
    want libseccomp-dev /usr/include/seccomp.h "the peer hakoniwa links it; kavach itself does not"
fi

if [[ $group == fuzz ]]; then
    want g++ g++ "LLVM's fuzzer is C++, and comes as source"
fi

if [[ $group == real-software ]]; then
    want libpython3.11-testsuite /usr/lib/python3.11/test/test_posix.py "tests that programs come with"
    want stress-ng stress-ng "asks the kernel for everything, much of it"
fi

if [[ $group == coverage ]]; then
    # The readers must be of the LLVM that rustc has.
    llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    want "llvm-$llvm" "llvm-cov-$llvm" "reads what instrumented programs count"
    want acl setfacl "lets the ordinary user's half add to the same counts"
fi

if [[ $group == v2 ]]; then
    want qemu-system-x86 qemu-system-x86_64 "emulates a machine with control groups of version 2"
    want systemd /lib/systemd/systemd "first process of that machine, as on those of users"
    want e2fsprogs mkfs.ext4 "makes the disk with that machine's homes"
    want dbus dbus-daemon "systemd-run speaks to systemd through it"
    want dbus-user-session /usr/lib/systemd/user/dbus.socket "the same for an ordinary user"
    want libpam-systemd /usr/share/pam-configs/systemd "gives an ordinary user groups of its own"
fi

if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: no apt-get here; install with this system's package manager: ${missing[*]}" >&2
        exit 1
    fi
    as_root=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "setup: neither root nor sudo; run as root: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo is missing; kavach needs Rust 1.95 or later (https://rustup.rs)" >&2
    exit 1
fi
if [[ $group == check ]] && ! command -v cargo-deny >/dev/null 2>&1; then
    echo "setup: cargo-deny is missing: checks the dependencies' licences and sources"
    echo "setup: compiling it, once; this takes some minutes"
    cargo install --quiet --locked cargo-deny
fi
echo "setup: complete ($group)"
