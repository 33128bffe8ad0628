#!/usr/bin/env bash
# Runs all tests, then lists the skips and prints the closing counts:
#
#   SKIP: name of the test: what is missing
#   N passed, N failed, N skipped
#
# Arguments go to `cargo test`; without any, the tests of scripts/test-v2.sh run
# too, in their virtual machine, and each fuzz target for KAVACH_FUZZ_SECONDS
# (default: 6), which counts as a test. The exit code is that of the first that
# failed.
# How a test skips is told in docs/development/testing.md.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} == /* ]] && out=$CARGO_TARGET_DIR
mkdir -p "$out"
log=$out/test-output.txt
summary=$out/test-summary.txt
export KAVACH_SKIP_LOG=$out/skips.txt
: >"$KAVACH_SKIP_LOG"
# Tests that drop to an ordinary user must still be able to record a skip.
chmod 0666 "$KAVACH_SKIP_LOG"

set +e
# CARGO_TERM_COLOR off: the lines are parsed below.
CARGO_TERM_COLOR=never cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if (($# == 0)); then
    scripts/test-v2.sh 2>&1 | tee -a "$log"
    machine=${PIPESTATUS[0]}
    ((status)) || status=$machine
    printf 'test %s ... ignored, %s\n\ntest result: ok. 0 passed; 0 failed; 1 ignored\n' \
        vm-6.12::the_machine_ran_to_its_end "a run has time for one kernel: make test-kernels has both" |
        tee -a "$log"
    scripts/fuzz.sh --all "${KAVACH_FUZZ_SECONDS:-6}" 2>&1 | tee -a "$log"
    fuzzed=${PIPESTATUS[0]}
    ((status)) || status=$fuzzed
fi
set -e

# A test that skips itself has "passed" as far as the test harness knows: it is
# moved to the skipped. One that the harness reports as ignored is a skip
# already, and the log only adds the reason.
awk -v skips="$KAVACH_SKIP_LOG" '
    FILENAME == skips {
        if ($0 !~ /^SKIP: /) next
        name = $0
        sub(/^SKIP: /, "", name)
        sub(/: .*/, "", name)
        if (!(name in reason)) { order[++n] = name }
        reason[name] = $0
        next
    }
    /^test .* \.\.\. ignored/ {
        name = $0
        sub(/^test /, "", name)
        why = name
        # libtest-mimic pads the names to one width.
        sub(/ *\.\.\. ignored.*/, "", name)
        sub(/.* \.\.\. ignored(, )?/, "", why)
        ignored[name] = 1
        if (!(name in reason)) {
            order[++n] = name
            reason[name] = "SKIP: " name ": " (why == "" ? "ignored, no reason given" : why)
        }
    }
    /^fuzz: [a-z_]+: .* executions, 0 crashes$/ { passed++ }
    /^fuzz: [a-z_]+: .* executions, [1-9][0-9]* crashes$/ { failed++ }
    /^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i - 1)
            if ($i ~ /^failed/) failed += $(i - 1)
            if ($i ~ /^ignored/) skipped += $(i - 1)
        }
    }
    END {
        for (i = 1; i <= n; i++) {
            print reason[order[i]]
            if (!(order[i] in ignored)) { passed--; skipped++ }
        }
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    }
' "$KAVACH_SKIP_LOG" "$log" >"$summary"

echo
cat "$summary"
exit "$status"
