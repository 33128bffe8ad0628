#!/usr/bin/env bash
# Where the time of a strict sandbox's life goes, step by step: tracepoints of the
# scheduler and of system calls, by perf; as root. Prints Markdown.
#
#   scripts/profile.sh [--user] [LIVES]      (default: 100)
#
# --user  the lives are those of the ordinary user kavach-test
set -euo pipefail
cd "$(dirname "$0")/.."

as=()
if [[ ${1:-} == --user ]]; then
    as=(setpriv --reuid kavach-test --regid kavach-test --clear-groups --inh-caps=-all --reset-env)
    shift
fi
lives=${1:-100}
if ((EUID != 0)) || ! command -v perf >/dev/null 2>&1; then
    echo "profile: needs root and perf (Debian: linux-perf)" >&2
    exit 1
fi

cargo build --release --quiet -p kavach-bench
target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d /var/tmp/kavach-profile.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/guests"
cc -O2 -static -o "$work/guests/true" crates/kavach-bench/guests/true.c
install -m 755 "$target/release/kavach-bench" "$work/"

perf record --quiet --all-cpus --mmap-pages 8192 --count 1 --output "$work/perf.data" \
    -e raw_syscalls:sys_enter,raw_syscalls:sys_exit \
    -e sched:sched_switch,sched:sched_wakeup \
    -e sched:sched_process_fork,sched:sched_process_exec,sched:sched_process_exit \
    -- "${as[@]}" "$work/kavach-bench" lives --count "$lives" --guests "$work/guests" >&2
perf script --input "$work/perf.data" --ns --fields comm,tid,time,event,trace 2>/dev/null |
    scripts/profile.py
