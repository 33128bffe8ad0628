#!/usr/bin/env bash
# Creates, uses and destroys sandboxes in a row, in one process, and compares
# what is on the host before and after: nothing may be left.
#
#   scripts/leaks.sh [--user NAME] [--private] [--at-once K] [N]     (default: 10000)
#
# --at-once K  K sandboxes side by side, then the next K (default: 1)
# --user NAME  as root: run the sandboxes as this ordinary user
# --private    as root: count inside a PID, mount and IPC namespace and a /tmp
#              and /run/kavach of the script's own, for a machine on which others
#              work too. Cgroups have no such view: those are counted whose names
#              say that they were made in this PID namespace.
#
# The example prints its own descriptors, threads and memory, before and after,
# and fails if any are left. Exits 1 on a difference.
set -euo pipefail
cd "$(dirname "$0")/.."

user= private= at_once=1 count=10000
while (($#)); do
    case $1 in
    --user)
        user=${2:?--user needs a name}
        shift
        ;;
    --private) private=1 ;;
    --at-once)
        at_once=${2:?--at-once needs a number}
        shift
        ;;
    [0-9]*) count=$1 ;;
    *)
        echo "leaks: unknown argument '$1'" >&2
        exit 2
        ;;
    esac
    shift
done
if [[ ($user || $private) && $EUID -ne 0 ]]; then
    echo "leaks: --user and --private need root" >&2
    exit 2
fi
if [[ $user ]] && ! id -u "$user" >/dev/null 2>&1; then
    echo "leaks: no such user: $user" >&2
    exit 2
fi

if [[ ! ${KAVACH_LEAKS_WORK:-} ]]; then
    cargo build --release --quiet -p kavach --example leaks
    # A place that an ordinary user can read, and that --private does not hide.
    KAVACH_LEAKS_WORK=$(mktemp -d /var/tmp/kavach-leaks.XXXXXX)
    export KAVACH_LEAKS_WORK
    trap 'rm -rf "$KAVACH_LEAKS_WORK"' EXIT
    chmod 0755 "$KAVACH_LEAKS_WORK"
    cp "${CARGO_TARGET_DIR:-target}/release/examples/leaks" "$KAVACH_LEAKS_WORK/leaks"
    if [[ $private ]]; then
        status=0
        unshare --pid --fork --mount --mount-proc --ipc \
            "$0" --private ${user:+--user "$user"} --at-once "$at_once" "$count" || status=$?
        exit "$status"
    fi
elif [[ $private ]]; then
    mount -t tmpfs -o mode=1777 tmpfs /tmp
    mkdir -p /run/kavach
    mount -t tmpfs -o mode=0755 tmpfs /run/kavach
fi

# The pattern of the cgroups that are counted.
cgroups='*'
if [[ $private ]]; then
    pid_namespace=$(readlink /proc/self/ns/pid)
    cgroups="*/kavach.*.${pid_namespace//[^0-9]/}*"
fi

work=$KAVACH_LEAKS_WORK
kinds=(processes mounts cgroups namespaces files)

# snapshot NAME: writes one listing per kind. Each listing is made by a single
# command writing to a file, so that it counts the same helpers every time.
snapshot() {
    local to=$work/$1
    mkdir -p "$to"
    # Kernel threads (children of 2) come and go by themselves.
    ps -eo ppid=,pid=,comm= >"$to/raw"
    awk '$1 != 2 && $2 != 2 { print $3 }' "$to/raw" | sort >"$to/processes"
    cut -d' ' -f5 /proc/self/mountinfo | sort >"$to/mounts"
    find /sys/fs/cgroup -type d -path "$cgroups" 2>/dev/null | sort >"$to/cgroups" || true
    lsns --noheadings --output TYPE,NS >"$to/raw"
    sort "$to/raw" >"$to/namespaces"
    find /tmp /run/kavach "${XDG_RUNTIME_DIR:-/run/kavach}" 2>/dev/null | sort -u >"$to/files" || true
}

counted() { wc -l <"$work/$1/$2"; }

show() {
    local kind
    printf '%-6s' "$2"
    for kind in "${kinds[@]}"; do
        printf '  %s %d' "$kind" "$(counted "$1" "$kind")"
    done
    printf '\n'
}

same() {
    local kind
    for kind in "${kinds[@]}"; do
        [[ $(counted before "$kind") == "$(counted after "$kind")" ]] || return 1
    done
}

as_user=()
if [[ $user ]]; then
    as_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --reset-env)
fi

# One first: what is made once per host and kept (the directory of the lock
# file, kavach's parent cgroup) is no leak; what is made per sandbox is.
"${as_user[@]}" "$work/leaks" 1 >/dev/null

# Some twenty descriptors each.
ulimit -n "$(ulimit -Hn)"

snapshot before
show before BEFORE
status=0
"${as_user[@]}" "$work/leaks" "$count" strict "$at_once" || status=$?
if ((status != 0)); then
    echo "leaks: the example failed with $status" >&2
fi

# Network namespaces and memory cgroups go asynchronously: wait for them, but
# not for ever.
deadline=$((SECONDS + 10))
while snapshot after && ! same && ((SECONDS < deadline)); do
    sleep 0.2
done
show after AFTER

if ! same; then
    for kind in "${kinds[@]}"; do
        if [[ $(counted before "$kind") != "$(counted after "$kind")" ]]; then
            echo "leaks: $kind differ:" >&2
            diff "$work/before/$kind" "$work/after/$kind" | grep '^[<>]' | head -20 >&2 || true
        fi
    done
    status=1
fi
((status == 0)) && echo "leaks: nothing left after $count sandboxes"
exit "$((status != 0))"
