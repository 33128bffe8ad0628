//! Calls that no profile lets through. Each profile stands trial for each.

use syscalls::x86_64::Sysno::{self, *};

use super::{call, variants};
use crate::seccomp::{Action, SyscallData, abi};

#[track_caller]
fn denied_everywhere(syscall: Sysno, args: [u64; 6]) {
    for (profile, options) in variants() {
        assert!(
            profile.decide(&options, &call(syscall, args)).is_denial(),
            "{} lets {}({args:x?}) through under {options:?}",
            profile.name,
            syscall.name(),
        );
    }
}

#[test]
fn calls_that_are_dangerous_whatever_their_arguments() {
    for syscall in [
        ptrace,
        process_vm_readv,
        process_vm_writev,
        process_madvise,
        process_mrelease,
        pidfd_getfd,
        kcmp,
        move_pages,
        migrate_pages,
        bpf,
        perf_event_open,
        userfaultfd,
        kexec_load,
        kexec_file_load,
        init_module,
        finit_module,
        delete_module,
        create_module,
        query_module,
        quotactl,
        quotactl_fd,
        mount,
        umount2,
        open_tree,
        open_tree_attr,
        move_mount,
        fsopen,
        fsconfig,
        fsmount,
        fspick,
        mount_setattr,
        pivot_root,
        chroot,
        setns,
        unshare,
        swapon,
        swapoff,
        settimeofday,
        clock_settime,
        clock_adjtime,
        adjtimex,
        sethostname,
        setdomainname,
        reboot,
        acct,
        keyctl,
        add_key,
        request_key,
        iopl,
        ioperm,
        modify_ldt,
        lookup_dcookie,
        nfsservctl,
        vhangup,
        syslog,
        name_to_handle_at,
        open_by_handle_at,
        fanotify_init,
        fanotify_mark,
        io_uring_setup,
        io_uring_enter,
        io_uring_register,
        clone3,
        openat2,
        memfd_secret,
        file_setattr,
        uselib,
        sysfs,
        ustat,
        lsm_set_self_attr,
    ] {
        denied_everywhere(syscall, [0; 6]);
        denied_everywhere(syscall, [u64::MAX; 6]);
    }
}

#[test]
fn calls_with_a_fallback_get_enosys() {
    for syscall in [
        clone3,
        openat2,
        memfd_secret,
        io_uring_setup,
        io_uring_enter,
        statmount,
    ] {
        for (profile, options) in variants() {
            let action = profile.decide(&options, &call(syscall, [0; 6]));
            assert_eq!(
                action,
                Action::ENOSYS,
                "{} in {}",
                syscall.name(),
                profile.name
            );
        }
    }
}

#[test]
fn other_calling_conventions() {
    for (profile, options) in variants() {
        for arch in [0x4000_0003, 0xc000_00b7, 0, u32::MAX] {
            let data = SyscallData {
                nr: 1,
                arch,
                args: [0; 6],
            };
            assert_eq!(profile.decide(&options, &data), Action::KillProcess);
        }
        for nr in [
            0x4000_0000,
            0x4000_0001,
            0x4000_0200,
            0x4000_0208,
            0x7fff_ffff,
        ] {
            let data = SyscallData {
                nr,
                arch: abi::AUDIT_ARCH_X86_64,
                args: [0; 6],
            };
            assert_eq!(profile.decide(&options, &data), Action::EPERM);
        }
    }
}

#[test]
fn numbers_without_a_name_look_like_an_older_kernel() {
    for (profile, options) in variants() {
        for nr in [
            337,
            423,
            Sysno::last().id() as u32 + 1,
            600,
            1023,
            0x3fff_ffff,
            u32::MAX,
        ] {
            let data = SyscallData {
                nr,
                arch: abi::AUDIT_ARCH_X86_64,
                args: [0; 6],
            };
            assert_eq!(profile.decide(&options, &data), Action::ENOSYS, "{nr}");
        }
    }
}

#[test]
fn terminal_injection_with_and_without_high_bits() {
    // TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD, FIOASYNC, FIOSETOWN, SIOCSPGRP
    for request in [0x5412, 0x541c, 0x541d, 0x5423, 0x5452, 0x8901, 0x8902] {
        for high in [0, 1 << 32, 0xffff_ffff << 32, 1 << 63] {
            denied_everywhere(ioctl, [0, request | high, 0, 0, 0, 0]);
        }
    }
}

#[test]
fn namespaces_by_clone() {
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        let flags = 1_u64 << bit;
        denied_everywhere(clone, [flags, 0, 0, 0, 0, 0]);
        denied_everywhere(clone, [flags | 0x11, 0, 0, 0, 0, 0]);
        denied_everywhere(clone, [flags | 0xffff_ffff << 32, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn setuid_and_setgid_bits_by_every_call_that_takes_a_mode() {
    const CREATE: u64 = 0o101;
    const TMPFILE: u64 = 0o20_200_001;
    for bits in [0o4755, 0o2755, 0o6755, 0o4000 | 7 << 32] {
        for syscall in [chmod, fchmod, creat, mknod] {
            denied_everywhere(syscall, [0, bits, 0, 0, 0, 0]);
        }
        for syscall in [fchmodat, fchmodat2, mknodat] {
            denied_everywhere(syscall, [0, 0, bits, 0, 0, 0]);
        }
        for flags in [CREATE, TMPFILE, CREATE | 1 << 40] {
            denied_everywhere(open, [0, flags, bits, 0, 0, 0]);
            denied_everywhere(openat, [0, 0, flags, bits, 0, 0]);
        }
    }
}

#[test]
fn device_nodes_and_socket_inodes() {
    // S_IFCHR, S_IFBLK, S_IFSOCK
    for kind in [0o020_000, 0o060_000, 0o140_000] {
        denied_everywhere(mknod, [0, kind | 0o666, 0, 0, 0, 0]);
        denied_everywhere(mknodat, [0, 0, kind | 0o666, 0, 0, 0]);
        denied_everywhere(mknod, [0, kind | 1 << 32, 0, 0, 0, 0]);
    }
}

#[test]
fn socket_families_and_types() {
    for family in 0..64 {
        for kind in 0..16 {
            let usual = matches!(family, 1 | 2 | 10 | 16);
            if !usual {
                denied_everywhere(socket, [family, kind, 0, 0, 0, 0]);
            }
            if family != 1 {
                denied_everywhere(socketpair, [family, kind, 0, 0, 0, 0]);
            }
        }
    }
    const RAW: u64 = 3;
    const CLOEXEC: u64 = 0o2_000_000;
    for family in [1, 2, 10] {
        denied_everywhere(socket, [family, RAW, 0, 0, 0, 0]);
        denied_everywhere(
            socket,
            [family | 1 << 32, RAW | CLOEXEC | 1 << 33, 1, 0, 0, 0],
        );
    }
    // NETLINK_NETFILTER, NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC; DCCP, SCTP, SMC
    for protocol in [12, 15, 16] {
        denied_everywhere(socket, [16, RAW, protocol, 0, 0, 0]);
    }
    for protocol in [33, 132, 256] {
        denied_everywhere(socket, [2, 1, protocol, 0, 0, 0]);
    }
}

#[test]
fn strict_makes_no_socket_that_could_name_the_host() {
    let strict = |syscall, args| super::decided("strict", syscall, args);
    assert_eq!(strict(socket, [1, 1, 0, 0, 0, 0]), Action::EPERM);
    assert_eq!(strict(socket, [2, 1, 0, 0, 0, 0]), Action::EPERM);
    assert_eq!(strict(socket, [10, 2, 0, 0, 0, 0]), Action::EPERM);
    assert_eq!(
        strict(socketpair, [1, 2, 0, 0, 0, 0]),
        Action::EPERM,
        "SOCK_DGRAM"
    );
    assert_eq!(
        strict(socketpair, [1, 3, 0, 0, 0, 0]),
        Action::EPERM,
        "SOCK_RAW is SOCK_DGRAM"
    );
    assert_eq!(strict(connect, [3, 0, 0, 0, 0, 0]), Action::EPERM);
    assert_eq!(strict(bind, [3, 0, 0, 0, 0, 0]), Action::EPERM);
    assert_eq!(
        strict(sendto, [3, 1, 1, 0, 0x7fff_0000_0000, 110]),
        Action::EPERM
    );
    assert_eq!(
        strict(sendto, [3, 1, 1, 0, 1 << 32, 110]),
        Action::EPERM,
        "high word alone"
    );
}

#[test]
fn personalities_and_prctl_options() {
    // READ_IMPLIES_EXEC, MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT
    for persona in [0x040_0000, 0x010_0000, 0x020_0000, 0x044_0000] {
        denied_everywhere(personality, [persona, 0, 0, 0, 0, 0]);
        denied_everywhere(personality, [persona | 1 << 32, 0, 0, 0, 0, 0]);
    }
    // PR_SET_SECUREBITS, PR_SET_MM, PR_SET_PTRACER, PR_SCHED_CORE, PR_SET_MEMORY_MERGE
    for option in [28, 35, 0x5961_6d61, 62, 67] {
        denied_everywhere(prctl, [option, 0, 0, 0, 0, 0]);
        denied_everywhere(prctl, [option | 1 << 32, 0, 0, 0, 0, 0]);
    }
    // PR_SET_SPECULATION_CTRL, PR_SPEC_ENABLE
    denied_everywhere(prctl, [53, 0, 2, 0, 0, 0]);
}

#[test]
fn limits_of_other_processes_and_signals_by_descriptor() {
    for pid in [1, 2, 0xffff_ffff, 1 | 1 << 32] {
        denied_everywhere(prlimit64, [pid, 7, 0, 0, 0, 0]);
    }
    // F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE; F_SETFL with O_ASYNC
    for command in [8, 10, 15, 1024] {
        denied_everywhere(fcntl, [0, command, 1, 0, 0, 0]);
        denied_everywhere(fcntl, [0, command | 1 << 32, 1, 0, 0, 0]);
    }
    denied_everywhere(fcntl, [0, 4, 0o20_000, 0, 0, 0]);
}

#[test]
fn a_listener_of_the_guest() {
    for flags in [1 << 3, 1 << 5, 1 << 3 | 1, 1 << 3 | 1 << 32] {
        denied_everywhere(seccomp, [1, flags, 0, 0, 0, 0]);
    }
}

#[test]
fn options_close_what_they_name() {
    for (profile, options) in variants() {
        let denied = |syscall| profile.decide(&options, &call(syscall, [0; 6])).is_denial();
        assert_eq!(denied(memfd_create), options.deny_unmapped_memory);
        assert_eq!(denied(sched_setaffinity), options.pin_cpus);
        assert!(!options.deny_unmapped_memory || denied(shmget));
    }
}
