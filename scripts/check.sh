#!/usr/bin/env bash
# Everything that must hold before a change is merged, tests apart: format,
# lints, documentation, each feature alone, none and all, dependency licences.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '== %s\n' "$*"; }

step "format"
# By file and not by `cargo fmt`: the agent's own root file, which a build
# script hands to the compiler, belongs to no target that cargo knows.
git ls-files -z --cached --others --exclude-standard -- '*.rs' |
    xargs -0 rustfmt --check --edition 2024

step "clippy: all targets"
cargo clippy --quiet --workspace --all-targets -- -D warnings
step "clippy: all targets, full"
cargo clippy --quiet --workspace --all-targets --features kavach/full,kavach-cli/full -- -D warnings
step "clippy: benchmarks with the peer that is linked"
cargo clippy --quiet -p kavach-bench --all-targets --features hakoniwa -- -D warnings

step "clippy: the fuzzer"
scripts/setup.sh fuzz >/dev/null
cargo clippy --quiet -p kavach-fuzz --all-targets --features libfuzzer -- -D warnings

for feature in process gvisor firecracker wasm oci sgx sev full; do
    step "clippy: $feature alone"
    cargo clippy --quiet -p kavach -p kavach-cli \
        --no-default-features --features "$feature" -- -D warnings
done
step "clippy: no feature"
cargo clippy --quiet -p kavach -p kavach-cli --no-default-features -- -D warnings

step "rustdoc"
# Libraries only: the binary has the library's name, and both would be
# written to the same page.
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --lib --no-deps --features kavach/full

step "dependencies: licences, sources, versions"
# Known vulnerabilities (`cargo deny check advisories`) need a clone of the
# advisory database from GitHub: CI does that, so that this works offline.
cargo deny --log-level error check bans licenses sources

step "packages"
# Collects each published crate from its own sources (`make package` also
# builds them), and asks the registry for dependencies that were withdrawn.
report=$(cargo package --workspace --exclude kavach-bench --exclude kavach-fuzz --allow-dirty --no-verify 2>&1) || {
    printf '%s\n' "$report" >&2
    exit 1
}
if grep -F "is yanked" <<<"$report" >&2; then
    exit 1
fi

step "all checks passed"
