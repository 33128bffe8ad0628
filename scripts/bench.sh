#!/usr/bin/env bash
# Times kavach beside bubblewrap, hakoniwa and plain child processes, in the same
# run on the same machine, and writes the tables of docs/benchmarks.md.
#
#   scripts/bench.sh [--quick]
#
# --quick  a few rounds of everything: shows that it runs and that the tables can
#          be written, into target/bench and not into docs; no time is judged
#
# As root it measures as root and then as the ordinary user kavach-test, which it
# makes where it is missing. As anybody else it measures as that user alone.
# The raw numbers stay in target/bench/*.json.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=
case ${1:-} in
--quick) quick=1 ;;
"") ;;
*)
    echo "bench: unknown argument '$1'; usage: scripts/bench.sh [--quick]" >&2
    exit 2
    ;;
esac

scripts/setup.sh bench
cargo build --release --quiet -p kavach-cli
cargo build --release --quiet -p kavach-bench --features hakoniwa
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/bench"

# Where an ordinary user can reach it, and off /tmp, which sandboxes have of their own.
work=$(mktemp -d /var/tmp/kavach-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/guests"
for guest in true wait; do
    cc -O2 -static -o "$work/guests/$guest" "crates/kavach-bench/guests/$guest.c"
done
install -m 755 "$target/release/kavach" "$target/release/kavach-bench" "$work/"

commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
amount=()
document=docs/benchmarks.md
if [[ $quick ]]; then
    amount=(--rounds 3 --crowd 20 --ballast-mib 256 --seconds 0.2)
    document=$target/bench/benchmarks.md
    cp docs/benchmarks.md "$document"
fi

# measure NAME [COMMAND...]: measures through the command, into NAME.json.
measure() {
    local out=$work/out-$1/$1.json name=$1
    shift
    "$@" "$work/kavach-bench" measure --guests "$work/guests" --kavach "$work/kavach" \
        --commit "$commit" --out "$out" "${amount[@]}"
    cp "$out" "$target/bench/$name.json"
    measured+=("$target/bench/$name.json")
}

measured=()
if ((EUID == 0)); then
    user=kavach-test
    if ! id "$user" >/dev/null 2>&1; then
        useradd --create-home "$user"
    fi
    mkdir "$work/out-root"
    install -d -o "$user" "$work/out-user"
    measure root env
    measure user setpriv --reuid "$user" --regid "$user" --clear-groups \
        --inh-caps=-all --reset-env
else
    echo "bench: not root: measuring as $(id -un) alone, and writing that half only" >&2
    mkdir "$work/out-user"
    measure user env
fi

"$target/release/kavach-bench" report --into "$document" "${measured[@]}"
echo "bench: written to $document"
