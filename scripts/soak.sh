#!/usr/bin/env bash
# Soak and scale, with counters before and after: sandboxes in a row, many at once,
# and random acts on many against a model of the contract. As root each part runs
# as root and as the ordinary user kavach-test.
#
#   scripts/soak.sh [--row N] [--user-row N] [--at-once N] [--minutes M]
#
# The defaults are those of docs/security/soak.md: 100000 in a row as root, 20000 as
# the user, 1000 at once, 10 minutes of random acts. `--row 200 --user-row 200
# --at-once 50 --minutes 0` is a short look that it works.
#
# Exits 1 if anything is left or an answer was not allowed.
set -euo pipefail
cd "$(dirname "$0")/.."

row=100000 user_row=20000 at_once=1000 minutes=10
while (($#)); do
    value=${2:?$1 needs a number}
    case $1 in
    --row) row=$value ;;
    --user-row) user_row=$value ;;
    --at-once) at_once=$value ;;
    --minutes) minutes=$value ;;
    *)
        echo "soak: unknown argument '$1'" >&2
        exit 2
        ;;
    esac
    shift 2
done

private=()
users=("")
if ((EUID == 0)); then
    # Others may work on this machine too.
    private=(--private)
    id -u kavach-test >/dev/null 2>&1 || useradd --create-home kavach-test
    users=("" kavach-test)
fi

echo "kavach $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1), Linux $(uname -r), $(nproc) CPUs, $(date -u +%F)"
status=0
for user in "${users[@]}"; do
    as=(${user:+--user "$user"})
    name=${user:-$(id -un)}
    in_a_row=$row
    [[ $user ]] && in_a_row=$user_row
    echo "== $in_a_row in a row, as $name"
    scripts/leaks.sh "${private[@]}" "${as[@]}" "$in_a_row" || status=1
    echo "== $at_once at once, as $name"
    scripts/leaks.sh "${private[@]}" "${as[@]}" --at-once "$at_once" "$((at_once * 2))" || status=1
done
echo "== random acts against the model, $minutes minutes for each user"
KAVACH_SECONDS=$((minutes * 60 + 1)) cargo test --quiet -p kavach --test faults -- --test-threads 1 model |
    grep -E 'model|fault|test result' || status=1
exit "$status"
