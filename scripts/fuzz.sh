#!/usr/bin/env bash
# Fuzzes kavach, guided by coverage.
#
#   scripts/fuzz.sh --list                   the targets
#   scripts/fuzz.sh TARGET [SECONDS]         one of them (default: 60 seconds)
#   scripts/fuzz.sh --all [SECONDS]          each for so long, one after another (default: 60)
#   scripts/fuzz.sh --replay TARGET FILE     one input
#   scripts/fuzz.sh --minimise TARGET FILE   a smaller input that still fails
#
# It ends with a line for each target:
#
#   fuzz: TARGET: N executions, N crashes
#
# and the exit code is 1 where something crashed, hung (10 s) or took too much
# memory. What it learns stays in target/fuzz/corpus and makes the next run
# better; the seeds are crates/kavach-fuzz/corpus. See docs/development/fuzzing.md.
set -euo pipefail
cd "$(dirname "$0")/.."

crate=crates/kavach-fuzz
out=${CARGO_TARGET_DIR:-target}
[[ $out == /* ]] || out=$PWD/$out
out=$out/fuzz
# By name and not by the host's own: with it the flags below are for the targets
# alone, and not for build scripts and macros, which have nowhere to count to.
triple=$(uname -m)-unknown-linux-gnu
program=$out/$triple/fuzz/kavach-fuzz

usage() {
    sed -n '4,8s/^# *//p' "$0" >&2
    exit 2
}

targets() { sed -n 's/^ *name: "\(.*\)",$/\1/p' $crate/src/lib.rs; }

build() {
    scripts/setup.sh fuzz
    # LLVM's own pass, which a stable compiler has too; what cargo-fuzz sets, but
    # for the address sanitizer, which is nightly's and finds what safe code has
    # not.
    local flags=(-Cpasses=sancov-module)
    local option
    for option in level=4 inline-8bit-counters pc-table trace-compares; do
        flags+=("-Cllvm-args=-sanitizer-coverage-$option")
    done
    RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$out cargo build --quiet --locked -p kavach-fuzz \
        --features libfuzzer --bin kavach-fuzz --profile fuzz --target "$triple"
}

# run TARGET ARGUMENT…: the fuzzer itself.
run() {
    local target=$1
    shift
    local dictionary=$crate/dictionaries/$target.dict
    local options=(-timeout=10 -rss_limit_mb=4096 -max_len=4096 -print_final_stats=1)
    options+=("-artifact_prefix=$out/artifacts/$target/")
    [[ ! -e $dictionary ]] || options+=("-dict=$dictionary")
    mkdir -p "$out/corpus/$target" "$out/artifacts/$target"
    KAVACH_FUZZ_TARGET=$target "$program" "${options[@]}" "$@"
}

# fuzz TARGET SECONDS: says what came of it; fails where something was found.
fuzz() {
    local target=$1 seconds=$2 log=$out/$1.log status=0 executions crashes
    run "$target" "-max_total_time=$seconds" "$out/corpus/$target" "$crate/corpus/$target" \
        >"$log" 2>&1 || status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    crashes=$((status != 0))
    printf 'fuzz: %s: %s executions, %s crashes\n' "$target" "${executions:-unknown}" "$crashes"
    ((status == 0)) && return
    grep -E -A 3 'panicked at|ERROR: libFuzzer|Test unit written' "$log" >&2 || tail -n 20 "$log" >&2
    echo "fuzz: $target: the whole log is $log" >&2
    return 1
}

known() {
    targets | grep -qx -- "${1:-}" || {
        echo "fuzz: no target '${1:-}'; scripts/fuzz.sh --list shows them" >&2
        exit 2
    }
}

seconds() {
    [[ $1 =~ ^[1-9][0-9]*$ ]] || usage
    echo "$1"
}

case ${1:-} in
--list) targets ;;
--all)
    each=$(seconds "${2:-60}")
    build
    failed=0
    for target in $(targets); do
        fuzz "$target" "$each" || failed=1
    done
    exit $failed
    ;;
--replay | --minimise)
    known "${2:-}"
    [[ -e ${3:-} ]] || usage
    build
    if [[ $1 == --replay ]]; then
        run "$2" "$3"
    else
        run "$2" -minimize_crash=1 -max_total_time=60 "-exact_artifact_path=$out/minimised" "$3"
        echo "fuzz: $out/minimised"
    fi
    ;;
-* | '') usage ;;
*)
    known "$1"
    each=$(seconds "${2:-60}")
    build
    fuzz "$1" "$each"
    ;;
esac
