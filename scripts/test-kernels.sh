#!/usr/bin/env bash
# scripts/test-v2.sh under each kernel that users of Debian 12 have: its own, and
# the later one of its backports. Arguments go to scripts/test-v2.sh (--full, FILTER).
#
# A later kernel has a later Landlock, other system calls, and other rules for
# tmpfs; which of them a test needs, it says itself.
set -uo pipefail
cd "$(dirname "$0")/.."

kernels=(linux-image-cloud-amd64 linux-image-6.12-cloud-amd64)
failed=0
for kernel in "${kernels[@]}"; do
    echo "kernels: $kernel"
    KAVACH_VM_KERNEL=$kernel scripts/test-v2.sh "$@" || failed=1
done
exit "$failed"
