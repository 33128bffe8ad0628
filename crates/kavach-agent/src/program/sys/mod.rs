//! The agent's only unsafe code: raw Linux system calls behind safe signatures.
//!
//! The agent is a single-threaded static program without libc. That is what makes `fork` safe
//! here: there is no lock, no allocator and no other thread whose state a child could inherit
//! half-done. Each wrapper takes values that the type system keeps valid for the duration of the
//! call (slices, `CStr`, owned descriptors), so a caller cannot misuse memory through it.
#![allow(
    unsafe_code,
    reason = "the one module of the agent that talks to the kernel"
)]

use core::arch::asm;

/// An error number of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u32);

pub(crate) const ENOENT: Errno = Errno(2);
pub(crate) const EINTR: Errno = Errno(4);
pub(crate) const ENOEXEC: Errno = Errno(8);
pub(crate) const ECHILD: Errno = Errno(10);
pub(crate) const ENOMEM: Errno = Errno(12);
pub(crate) const EACCES: Errno = Errno(13);
pub(crate) const EEXIST: Errno = Errno(17);
pub(crate) const ENOTDIR: Errno = Errno(20);
pub(crate) const EINVAL: Errno = Errno(22);
pub(crate) const EMFILE: Errno = Errno(24);
pub(crate) const EPIPE: Errno = Errno(32);
pub(crate) const ENAMETOOLONG: Errno = Errno(36);
pub(crate) const EPROTO: Errno = Errno(71);
pub(crate) const ESTALE: Errno = Errno(116);

pub(crate) type Res<T> = Result<T, Errno>;

/// x86_64 system call numbers (arch/x86/entry/syscalls/syscall_64.tbl).
mod nr {
    pub(super) const READ: usize = 0;
    pub(super) const WRITE: usize = 1;
    pub(super) const CLOSE: usize = 3;
    pub(super) const FSTAT: usize = 5;
    pub(super) const MMAP: usize = 9;
    pub(super) const MUNMAP: usize = 11;
    pub(super) const RT_SIGACTION: usize = 13;
    pub(super) const RT_SIGPROCMASK: usize = 14;
    pub(super) const IOCTL: usize = 16;
    pub(super) const PWRITE64: usize = 18;
    pub(super) const NANOSLEEP: usize = 35;
    pub(super) const GETPID: usize = 39;
    pub(super) const SOCKET: usize = 41;
    pub(super) const CONNECT: usize = 42;
    pub(super) const SENDTO: usize = 44;
    pub(super) const SENDMSG: usize = 46;
    pub(super) const RECVMSG: usize = 47;
    pub(super) const CLONE: usize = 56;
    pub(super) const EXECVE: usize = 59;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const WAIT4: usize = 61;
    pub(super) const KILL: usize = 62;
    pub(super) const FCNTL: usize = 72;
    pub(super) const CHDIR: usize = 80;
    pub(super) const FCHDIR: usize = 81;
    pub(super) const UMASK: usize = 95;
    pub(super) const GETPPID: usize = 110;
    pub(super) const SETSID: usize = 112;
    pub(super) const SETGROUPS: usize = 116;
    pub(super) const SETRESUID: usize = 117;
    pub(super) const SETRESGID: usize = 119;
    pub(super) const SETFSUID: usize = 122;
    pub(super) const SETFSGID: usize = 123;
    pub(super) const CAPSET: usize = 126;
    pub(super) const SETPRIORITY: usize = 141;
    pub(super) const PIVOT_ROOT: usize = 155;
    pub(super) const PRCTL: usize = 157;
    pub(super) const MOUNT: usize = 165;
    pub(super) const UMOUNT2: usize = 166;
    pub(super) const SETHOSTNAME: usize = 170;
    pub(super) const SCHED_SETAFFINITY: usize = 203;
    pub(super) const GETDENTS64: usize = 217;
    pub(super) const CLOCK_GETTIME: usize = 228;
    pub(super) const OPENAT: usize = 257;
    pub(super) const MKDIRAT: usize = 258;
    pub(super) const FCHOWNAT: usize = 260;
    pub(super) const UNLINKAT: usize = 263;
    pub(super) const SYMLINKAT: usize = 266;
    pub(super) const READLINKAT: usize = 267;
    pub(super) const PPOLL: usize = 271;
    pub(super) const FALLOCATE: usize = 285;
    pub(super) const SIGNALFD4: usize = 289;
    pub(super) const DUP3: usize = 292;
    pub(super) const PIPE2: usize = 293;
    pub(super) const PRLIMIT64: usize = 302;
    pub(super) const SECCOMP: usize = 317;
    pub(super) const PIDFD_SEND_SIGNAL: usize = 424;
    pub(super) const OPEN_TREE: usize = 428;
    pub(super) const MOVE_MOUNT: usize = 429;
    pub(super) const FSOPEN: usize = 430;
    pub(super) const FSCONFIG: usize = 431;
    pub(super) const FSMOUNT: usize = 432;
    pub(super) const PIDFD_OPEN: usize = 434;
    pub(super) const CLOSE_RANGE: usize = 436;
    pub(super) const OPENAT2: usize = 437;
    pub(super) const MOUNT_SETATTR: usize = 442;
    pub(super) const LANDLOCK_CREATE_RULESET: usize = 444;
    pub(super) const LANDLOCK_ADD_RULE: usize = 445;
    pub(super) const LANDLOCK_RESTRICT_SELF: usize = 446;
}

/// The system call instruction.
///
/// # Safety
/// Every pointer among the arguments must be valid for what the call `n` does with it.
unsafe fn raw(n: usize, a: [usize; 6]) -> isize {
    let ret;
    // SAFETY: the x86_64 system call ABI: number in rax, arguments in these registers, rcx and
    // r11 clobbered. The caller answers for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") n as isize => ret, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

const fn check(ret: isize) -> Res<usize> {
    if ret < 0 {
        Err(Errno((-ret) as u32))
    } else {
        Ok(ret as usize)
    }
}

/// A call with up to six arguments. Each expansion states why its pointers are valid.
macro_rules! call {
    ($why:literal, $n:expr $(, $a:expr)*) => {{
        let given = [$($a as usize),*];
        let mut args = [0usize; 6];
        let mut i = 0;
        while i < given.len() {
            args[i] = given[i];
            i += 1;
        }
        // SAFETY: stated at each call as its first argument.
        check(unsafe { raw($n, args) })
    }};
}

const fn sign(fd: i32) -> usize {
    fd as isize as usize
}

/// A descriptor that is closed when dropped.
#[derive(Debug)]
pub(crate) struct Fd(pub(crate) i32);

impl Drop for Fd {
    fn drop(&mut self) {
        // A close that fails leaves nothing to do: the number is free on Linux either way.
        let _ = call!("no pointers", nr::CLOSE, sign(self.0));
    }
}

mod arguments;
mod files;
mod mounts;
mod probes;
mod processes;
mod restrictions;

pub(crate) use arguments::Args;
pub(crate) use files::*;
pub(crate) use mounts::*;
pub(crate) use probes::*;
pub(crate) use processes::*;
pub(crate) use restrictions::*;
