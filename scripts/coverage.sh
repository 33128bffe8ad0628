#!/usr/bin/env bash
# Line coverage of the library: runs all tests of the workspace with counting
# programs, then prints the share of each file and of the whole.
#
#   scripts/coverage.sh [ARGUMENTS OF cargo test]
#
# Counted is crates/kavach/src without its own test modules. A process that is
# killed counts nothing, and the agent, which has no standard library, cannot
# count: what only they run shows as not run. The table stays in
# target/coverage/lines.txt. The virtual machine's tests are not among them.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh coverage
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
target=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} == /* ]] && target=$CARGO_TARGET_DIR

# Not below a directory that the ordinary user's half cannot enter.
counts=$(mktemp -d /var/tmp/kavach-coverage.XXXXXX)
trap 'rm -rf "$counts"' EXIT
chmod 0777 "$counts"
# What root's half made is added to by the other one.
setfacl -d -m u::rw,g::rw,o::rw "$counts"

export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/coverage-rustc
# %m: one file for each program; 4: as many of it as write at once.
export LLVM_PROFILE_FILE=$counts/%4m.profraw
mkdir -p "$target/coverage"
programs=$(cargo test --workspace --no-run --message-format=json "$@" |
    python3 -c '
import json, sys
for line in sys.stdin:
    unit = json.loads(line)
    if unit.get("executable"):
        print(unit["executable"])
')
status=0
cargo test --workspace --no-fail-fast "$@" >"$target/coverage/tests.txt" 2>&1 || status=$?
grep -E '^test .*FAILED|^test result' "$target/coverage/tests.txt" || true
((status == 0)) || echo "coverage: some tests failed while counting; see target/coverage/tests.txt"

"llvm-profdata-$llvm" merge --sparse --failure-mode=warn -o "$counts/all.profdata" "$counts"/*.profraw
objects=()
for program in $programs; do objects+=(--object "$program"); done
"llvm-cov-$llvm" export --summary-only --instr-profile "$counts/all.profdata" \
    --ignore-filename-regex '/tests?/|/tests?\.rs$|_tests?\.rs$|/\.cargo/|/rustc/' "${objects[@]}" |
    python3 -c '
import json, os, sys
files = json.load(sys.stdin)["data"][0]["files"]
here = os.path.join(os.getcwd(), "crates/kavach/src/")
rows = [(f["filename"].removeprefix(here), f["summary"]["lines"]) for f in files if f["filename"].startswith(here)]
for name, lines in sorted(rows, key=lambda row: row[1]["percent"]):
    print("%6.1f %%  %5d of %5d  %s" % (lines["percent"], lines["covered"], lines["count"], name))
count, covered = (sum(lines[key] for _, lines in rows) for key in ("count", "covered"))
print("coverage: %.1f %% of %d lines of the library, %d files" % (100 * covered / count, count, len(rows)))
' | tee "$target/coverage/lines.txt" | tail -n 25
