#!/usr/bin/env bash
# Writes the pass matrix (docs/security/matrix.md and matrix.json) from a real
# run of the suites with the attacks, as root and as the ordinary users that
# they make:
#
#   scripts/matrix.sh          runs them
#   scripts/matrix.sh DIR      takes the run whose test-output.txt and skips.txt
#                              are in DIR (scripts/test.sh leaves them in target)
#
# Fails where a trial failed, and where a case was not run.
set -euo pipefail
cd "$(dirname "$0")/.."

if (($# > 0)); then
    from=$(realpath "$1")
else
    from=$PWD/${CARGO_TARGET_DIR:-target}/matrix
    [[ ${CARGO_TARGET_DIR:-} == /* ]] && from=$CARGO_TARGET_DIR/matrix
    ((EUID == 0)) || echo "matrix: not as root: root's half will be missing" >&2
    rm -rf "$from"
    mkdir -p "$from"
    export KAVACH_SKIP_LOG=$from/skips.txt
    : >"$KAVACH_SKIP_LOG"
    # Trials that become an ordinary user record their skips too.
    chmod 0666 "$KAVACH_SKIP_LOG"
    run() {
        echo "matrix: cargo test $*"
        CARGO_TERM_COLOR=never cargo test --no-fail-fast "$@" >>"$from/test-output.txt" 2>&1 ||
            { echo "matrix: something failed, see ${from#"$PWD"/}/test-output.txt" >&2; }
    }
    run -p kavach --test isolation
    run -p kavach --test lifecycle
    run -p kavach --test workspace
    run -p kavach --lib agent::
    run -p kavach-cli --test hostile --test policy --test terminal --test tty --test workspace
fi
KAVACH_WRITE_MATRIX=$from cargo test -q -p kavach --test attacks matrix::
echo "matrix: docs/security/matrix.md"
