#!/usr/bin/env bash
# How long does it take to start, run and remove a sandbox around /bin/true?
# kavach and bubblewrap are timed in the same run, on the same machine; prints
# both medians and their ratio. The two do not build the same jail: strict adds
# a syscall filter, Landlock, limits and a private root, bwrap here has none.
#
#   scripts/bench.sh [RUNS]      (default: 100)
#
# The raw times stay in target/bench/start.json.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-100}
target=${CARGO_TARGET_DIR:-target}
scripts/setup.sh bench
cargo build --release --quiet -p kavach-cli
mkdir -p "$target/bench"

# -N: no shell between the stopwatch and the program.
hyperfine -N --warmup 10 --runs "$runs" --export-json "$target/bench/start.json" \
    --command-name "kavach exec --policy strict" \
    "$target/release/kavach exec --policy strict -- /bin/true" \
    --command-name "bwrap --unshare-all" \
    "bwrap --unshare-all --ro-bind / / /bin/true"

python3 - "$target/bench/start.json" <<'PY'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    kavach, bwrap = (r["median"] * 1000 for r in json.load(file)["results"])
print(f"median: kavach {kavach:.2f} ms, bwrap {bwrap:.2f} ms, ratio {kavach / bwrap:.2f}")
PY

# The same from inside one process, step by step: what a caller of the library pays.
cargo run --release --quiet -p kavach --example bench -- "$runs"
