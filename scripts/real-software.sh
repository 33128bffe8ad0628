#!/usr/bin/env bash
# Runs programs' own tests outside and inside a sandbox as an ordinary user, and
# prints each difference: see scripts/real-software.py.
#
#   scripts/real-software.sh [--policy NAME]... [MODULE... | all]
#
# Started as root it runs as the user kavach-test. The findings, judged, are in
# docs/security/real-software.md.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh real-software
cargo build --release --quiet -p kavach-cli
target=${CARGO_TARGET_DIR:-target}

work=$(mktemp -d /var/tmp/kavach-real.XXXXXX)
trap 'rm -rf "$work"' EXIT
install -m 755 "$target/release/kavach" scripts/real-software.py "$work/"
mkdir "$work/results"
user=()
if ((EUID == 0)); then
    id kavach-test >/dev/null 2>&1 || useradd --create-home kavach-test
    chown kavach-test: "$work/results"
    chmod 755 "$work"
    user=(setpriv --reuid kavach-test --regid kavach-test --clear-groups --inh-caps=-all --reset-env)
fi
"${user[@]}" "$work/real-software.py" --kavach "$work/kavach" --work "$work/results" "$@"
