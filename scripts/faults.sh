#!/usr/bin/env bash
# Tries every fault many times (crates/kavach/tests/faults) and prints for each the
# rounds, what was left over and how the rounds ended:
#
#   fault kill host (root): rounds 300, leftovers 0, wrong 0; gone 300
#
#   scripts/faults.sh [ROUNDS] [FILTER]      (default: 300, all)
#
# ROUNDS is about how many there are of each; the walks of failing calls spread
# them over all calls of a life. KAVACH_SEED repeats a run of those that are random.
# As root it runs each as the ordinary user kavach-test, too. Exits 1 if anything
# was left or wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-300}
if [[ ! $rounds =~ ^[0-9]+$ ]]; then
    echo "faults: not a number of rounds: '$rounds'" >&2
    exit 2
fi
shift $(($# > 0))
cargo build --quiet -p kavach --test faults
log=${CARGO_TARGET_DIR:-target}/faults.txt

status=0
KAVACH_ROUNDS=$rounds RUST_BACKTRACE=0 cargo test --quiet -p kavach --test faults -- "$@" \
    >"$log" 2>&1 || status=$?
# A name that the harness printed may stand before the first line of a child.
sed -nE 's/^(test [^ ]+ +\.\.\. )?(fault .*)/\2/p' "$log" | sort
grep -E '^(SKIP|  [A-Z].* (left|call|round)|test result)|panicked|FAILED' "$log" || true
if ((status)); then
    echo "faults: something was left or wrong; the whole output: $log" >&2
fi
exit "$((status != 0))"
