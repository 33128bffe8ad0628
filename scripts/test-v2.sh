#!/usr/bin/env bash
# Runs the tests that depend on the kernel inside a virtual machine that has
# control groups of version 2 and no other, under systemd, as most machines of
# users have them:
#
#   scripts/test-v2.sh [--full] [FILTER]
#
# --full             also what depends little on the kernel, for a second one
# FILTER             only tests whose names have it
# KAVACH_VM_KERNEL   Debian package of the kernel (default: the one that this
#                    release's linux-image-cloud-amd64 stands for)
# KAVACH_VM_TIMEOUT  seconds until the machine counts as hung (default: 2400)
#
# Needs no privileges and no KVM. Everything it makes is in target/vm. Ends
# with the lines that scripts/test.sh counts; a machine that panics, hangs or
# ends without its closing line is a failed test. What cannot be had is a skip
# with the reason, or with KAVACH_REQUIRE_ALL=1 a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

selection=core filter=
for argument; do
    case $argument in
    --full) selection=full ;;
    -*)
        echo "test-v2: unknown option '$argument'" >&2
        exit 2
        ;;
    *) filter=$argument ;;
    esac
done

out=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} == /* ]] && out=$CARGO_TARGET_DIR
vm=$out/vm
mkdir -p "$vm"
machine=the_machine_ran_to_its_end

# As the tests themselves: into the log of scripts/test.sh, or to standard error.
note() {
    if [[ ${KAVACH_SKIP_LOG:-} ]]; then cat >>"$KAVACH_SKIP_LOG"; else cat >&2; fi
}

# Counted by scripts/test.sh like a test program of its own.
skip() {
    printf 'SKIP: vm::%s: %s\n' "$machine" "$1" | note
    printf 'test vm::%s ... ignored, %s\n\ntest result: ok. 0 passed; 0 failed; 1 ignored\n' "$machine" "$1"
    exit 0
}

# The same for what scripts/setup.sh brings.
lacking() {
    [[ ${KAVACH_REQUIRE_ALL:-} == 1 ]] || skip "$1"
    printf 'vm: %s\ntest vm::%s ... FAILED\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n' "$1" "$machine"
    exit 1
}

[[ $(uname -m) == x86_64 ]] || skip "the machine and its kernel are x86_64, this host is $(uname -m)"
[[ ${KAVACH_VM_KERNEL:-} || $(. /etc/os-release && echo "${ID:-}") == debian ]] ||
    skip "the machine is made of Debian's packages; elsewhere KAVACH_VM_KERNEL must name the kernel's"
scripts/setup.sh v2 || lacking "scripts/setup.sh v2 failed: see above"
exec 9>"$vm/lock"
flock 9

# The kernel, unpacked and not installed: the host's /boot stays as it is.
kernel=${KAVACH_VM_KERNEL:-linux-image-cloud-amd64}
# A package without a kernel of its own depends on the newest that has one.
resolve() {
    image=$(apt-cache depends "$kernel" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    image=${image:-$kernel}
}
fetch() {
    resolve
    rm -f "$vm/$image"_*.deb
    (cd "$vm" && apt-get -q -o APT::Sandbox::User=root download "$image") >"$vm/download.txt" 2>&1
}
update() {
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    "${as_root[@]}" apt-get update -qq
}
resolve
if ! compgen -G "$vm/$image/boot/vmlinuz-*" >/dev/null; then
    fetch || { update && fetch; } ||
        lacking "the kernel package $image cannot be downloaded: $(tail -n 1 "$vm/download.txt")"
    rm -rf "$vm/$image.partial"
    dpkg-deb -x "$vm/$image"_*.deb "$vm/$image.partial"
    rm -f "$vm/$image"_*.deb
    mv "$vm/$image.partial" "$vm/$image"
fi
vmlinuz=$(echo "$vm/$image"/boot/vmlinuz-*)
release=${vmlinuz##*/vmlinuz-}
# vm-6.1::name is the test `name` under Linux 6.1.
prefix=vm-$(cut -d. -f1,2 <<<"$release")

# The test programs, as scripts/test.sh builds them; without the lines of their sources.
rm -rf "$vm/bin" && mkdir "$vm/bin"
cargo test --quiet --workspace --lib --test cgroup_v2 --test isolation --test lifecycle \
    --no-run --message-format=json-render-diagnostics |
    python3 -c '
import json, sys
for line in sys.stdin:
    unit = json.loads(line)
    name = unit.get("target", {}).get("name")
    if unit.get("executable") and name in ("kavach", "cgroup_v2", "isolation", "lifecycle"):
        print(name, unit["executable"])
' >"$vm/programs.txt"
files=()
while read -r name program; do
    strip --strip-debug -o "$vm/bin/$name" "$program"
    files+=(--file "$vm/bin/$name=suite/bin/$name")
done <"$vm/programs.txt"
# An emulated processor compiles slowly.
for source in crates/kavach/tests/guests/*.c; do
    guest=$(basename "$source" .c)
    cc -O1 -pthread -o "$vm/bin/$guest" "$source"
    files+=(--file "$vm/bin/$guest=suite/guests/$guest")
done
printf '%s %s\n' "$selection" "$filter" >"$vm/selection"
files+=(--file "$vm/selection=suite/selection")
# Modules, in the order in which they need each other: overlayfs, which workspaces
# are made of, and a disk; what the kernel has built in is no file.
index=10
for module in fs/overlayfs/overlay drivers/virtio/virtio_ring drivers/virtio/virtio \
    drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci_legacy_dev \
    drivers/virtio/virtio_pci drivers/block/virtio_blk lib/crc16 fs/mbcache fs/jbd2/jbd2 fs/ext4/ext4; do
    file=$vm/$image/lib/modules/$release/kernel/$module.ko
    # Newer packages compress them.
    [[ ! -e $file.xz ]] || xz -dkf "$file.xz"
    [[ ! -e $file ]] || files+=(--file "$file=suite/modules/$((index++))-${module##*/}.ko")
done
# Homes are on ext4: a tmpfs of an older kernel has neither mapped ids nor user attributes.
rm -f "$vm/disk"
truncate -s 2G "$vm/disk"
PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -m 0 "$vm/disk"

# What is on this machine and the tests use: their guests, and systemd.
packages=(base-files base-passwd bash busybox-static coreutils dash dbus dbus-user-session findutils
    gcc git grep gzip hostname libc-bin libc6-dev libpam-systemd libpam-modules login mawk mount
    passwd procps python3 sed systemd tar util-linux)
scripts/vm/image.py "$vm/initrd" "${files[@]}" --tree scripts/vm/guest \
    "${packages[@]/#/--package=}" \
    --drop '^/usr/share/(bug|doc|gcc|gdb|i18n|info|lintian|locale|man|perl|zoneinfo)/' \
    --drop '^/usr/lib/(udev|systemd/system-generators)/' \
    --drop '/lib([atl]|ub|hwa)san|/gprofng|/lto|/perl/5[.0-9]*/(auto/)?(CORE|Encode|unicore)' \
    --drop '/(git-(daemon|http-.*|imap-.*|sh-i18n.*|shell)|scalar|.*(lto-dump.*|gold|dwp))$' \
    --drop '/lib(m|m-[0-9.]*|mvec|c)\.a$|/ldconfig\.real$|^/etc/(cron|apt|dpkg)'

echo "vm: $image on QEMU (TCG), console in ${vm#"$PWD"/}/console.txt"
status=0
# Without cx16: as QEMU 7.2 emulates cmpxchg16b, the allocator of newer kernels trips over it.
timeout "${KAVACH_VM_TIMEOUT:-2400}" qemu-system-x86_64 \
    -accel tcg,thread=multi -M q35 -cpu max,-cx16 -smp 2 -m 5G \
    -nodefaults -no-user-config -no-reboot -display none \
    -serial "file:$vm/console.txt" -serial stdio \
    -drive "file=$vm/disk,format=raw,if=none,id=homes,cache=unsafe" -device virtio-blk-pci,drive=homes \
    -kernel "$vmlinuz" -initrd "$vm/initrd" \
    -append "console=ttyS0 quiet panic=-1 systemd.show_status=no systemd.log_target=console" \
    </dev/null 2>&1 | sed -u 's/\r$//' | tee "$vm/suite.txt" |
    sed -u -E "s/^test ([^ ]+ +\.\.\. )/test $prefix::\1/" | grep -v --line-buffered '^SKIP: ' || status=$?

sed -n "s/^SKIP: /&$prefix::/p" "$vm/suite.txt" | note
echo
if grep -q '^vm: end, status ' "$vm/suite.txt"; then
    grep -q '^vm: end, status 0$' "$vm/suite.txt" && failed=0 || failed=1
    printf 'test %s::%s ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n' "$prefix" "$machine"
    exit "$failed"
fi
echo "vm: no closing line (status $status of QEMU; 124 is a hang). The console's end:"
tail -n 30 "$vm/console.txt"
printf 'test %s::%s ... FAILED\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n' "$prefix" "$machine"
exit 1
