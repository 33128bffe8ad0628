//! Calls of ordinary programs, which a tighter rule must not hit by accident.

use syscalls::x86_64::Sysno::{self, *};

use super::{call, decided, variants};
use crate::seccomp::{Action, Options, Profile};

#[track_caller]
fn allowed_everywhere(syscall: Sysno, args: [u64; 6]) {
    for (profile, options) in variants() {
        assert_eq!(
            profile.decide(&options, &call(syscall, args)),
            Action::Allow,
            "{} in {} under {options:?}",
            syscall.name(),
            profile.name,
        );
    }
}

#[test]
fn calls_without_conditions() {
    for syscall in [
        read,
        write,
        close,
        close_range,
        mmap,
        mprotect,
        brk,
        execve,
        fork,
        vfork,
        wait4,
        waitid,
        exit_group,
        futex,
        rseq,
        set_robust_list,
        rt_sigaction,
        kill,
        pipe2,
        dup3,
        newfstatat,
        statx,
        getdents64,
        readlink,
        renameat2,
        unlinkat,
        mkdirat,
        fchownat,
        utimensat,
        epoll_wait,
        eventfd2,
        clock_nanosleep,
        getrandom,
        uname,
        sysinfo,
        setsid,
        setpgid,
        setgroups,
        setuid,
        copy_file_range,
        sendfile,
        pidfd_open,
        landlock_create_ruleset,
        sched_getaffinity,
        recvmsg,
    ] {
        allowed_everywhere(syscall, [0; 6]);
        allowed_everywhere(syscall, [u64::MAX; 6]);
    }
}

#[test]
fn threads_and_children_of_glibc() {
    // pthread_create, fork, posix_spawn
    for flags in [0x003d_0f00, 0x0120_0011, 0x0000_4111] {
        allowed_everywhere(clone, [flags, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn opening_and_creating() {
    allowed_everywhere(openat, [0xffff_ff9c, 0, 0o2_000_000, 0, 0, 0]);
    allowed_everywhere(openat, [0xffff_ff9c, 0, 0o101, 0o666, 0, 0]);
    // The mode register of a call that does not create holds anything.
    allowed_everywhere(openat, [0xffff_ff9c, 0, 0o2_200_000, u64::MAX, 0, 0]);
    allowed_everywhere(open, [0, 0o2, u64::MAX, 0, 0, 0]);
    allowed_everywhere(chmod, [0, 0o1777, 0, 0, 0, 0]);
    allowed_everywhere(fchmodat, [0, 0, 0o755, 0, 0, 0]);
    allowed_everywhere(mkdirat, [0, 0, 0o2755, 0, 0, 0]);
    allowed_everywhere(mknodat, [0, 0, 0o010_644, 0, 0, 0]);
}

#[test]
fn terminals_and_descriptors() {
    // TCGETS, TCSETSF, TIOCSPGRP, TIOCGWINSZ, FIONREAD, FIOCLEX, FICLONE, TIOCGPTN
    for request in [
        0x5401,
        0x5404,
        0x5410,
        0x5413,
        0x541b,
        0x5451,
        0x4004_9409,
        0x8004_5430,
    ] {
        allowed_everywhere(ioctl, [0, request, 0, 0, 0, 0]);
        // A caller that sign-extended a request of type int.
        allowed_everywhere(ioctl, [0, request | 0xffff_ffff << 32, 0, 0, 0, 0]);
    }
    // F_DUPFD_CLOEXEC, F_SETFL O_NONBLOCK, F_OFD_SETLK
    for args in [
        [0, 1030, 3, 0, 0, 0],
        [0, 4, 0o4000, 0, 0, 0],
        [0, 37, 0, 0, 0, 0],
    ] {
        allowed_everywhere(fcntl, args);
    }
}

#[test]
fn own_limits_names_and_personality() {
    allowed_everywhere(prlimit64, [0, 3, 0, 1, 0, 0]);
    allowed_everywhere(prctl, [15, 1, 0, 0, 0, 0]);
    allowed_everywhere(prctl, [0x5356_4d41, 0, 0, 0, 0, 0]);
    allowed_everywhere(prctl, [53, 0, 4, 0, 0, 0]);
    allowed_everywhere(personality, [0xffff_ffff, 0, 0, 0, 0, 0]);
    allowed_everywhere(personality, [u64::MAX, 0, 0, 0, 0, 0]);
    allowed_everywhere(arch_prctl, [0x1002, 1, 0, 0, 0, 0]);
    allowed_everywhere(seccomp, [1, 1, 0, 0, 0, 0]);
}

#[test]
fn socketpairs_of_python_and_node() {
    allowed_everywhere(socketpair, [1, 0o2_000_001, 0, 0, 0, 0]);
    allowed_everywhere(sendto, [3, 1, 1, 0, 0, 0]);
    allowed_everywhere(sendmsg, [3, 1, 0, 0, 0, 0]);
}

#[test]
fn basic_leaves_loopback_to_the_network_namespace() {
    for args in [
        [1, 1, 0, 0, 0, 0],
        [2, 1, 6, 0, 0, 0],
        [10, 0o2_004_002, 17, 0, 0, 0],
    ] {
        assert_eq!(decided("basic", socket, args), Action::Allow);
    }
    assert_eq!(
        decided("basic", socket, [16, 0o2_000_003, 0, 0, 0, 0]),
        Action::Allow
    );
}

#[test]
fn strict_opens_internet_sockets_with_the_network() {
    let strict = Profile::by_name("strict").unwrap();
    let options = Options {
        network: true,
        ..Options::default()
    };
    for (syscall, args) in [
        (socket, [2, 1, 6, 0, 0, 0]),
        (socket, [10, 0o2_004_002, 0, 0, 0, 0]),
        (connect, [3, 1, 16, 0, 0, 0]),
        (sendto, [3, 1, 1, 0, 1, 16]),
        (ioctl, [3, 0x8933, 0, 0, 0, 0]),
        (setsockopt, [3, 6, 1, 0, 0, 0]),
    ] {
        assert_eq!(
            strict.decide(&options, &call(syscall, args)),
            Action::Allow,
            "{args:?}"
        );
    }
    assert!(
        strict
            .decide(&options, &call(socket, [1, 1, 0, 0, 0, 0]))
            .is_denial()
    );
}

#[test]
fn basic_gives_up_named_unix_sockets_where_host_directories_are_shown() {
    let basic = Profile::by_name("basic").unwrap();
    let options = Options {
        deny_unix_sockets: true,
        ..Options::default()
    };
    const UNIX: u64 = 1;
    for (syscall, kind, expected) in [
        (socket, 1, Action::Errno(1)),
        (socket, 2, Action::Errno(1)),
        (socket, 5, Action::Errno(1)),
        (socketpair, 2, Action::Errno(1)),
        (socketpair, 1, Action::Allow),
        (socketpair, 5, Action::Allow),
    ] {
        let args = [UNIX, kind, 0, 0, 0, 0];
        assert_eq!(
            basic.decide(&options, &call(syscall, args)),
            expected,
            "{syscall} {kind}"
        );
        assert_eq!(
            decided("basic", syscall, args),
            Action::Allow,
            "control: {syscall} {kind}"
        );
    }
}
