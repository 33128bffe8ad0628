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
use core::ffi::CStr;
use core::ops::Deref;

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
pub(crate) const EPIPE: Errno = Errno(32);
pub(crate) const ENAMETOOLONG: Errno = Errno(36);
pub(crate) const EPROTO: Errno = Errno(71);

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
    pub(super) const NANOSLEEP: usize = 35;
    pub(super) const GETPID: usize = 39;
    pub(super) const SOCKET: usize = 41;
    pub(super) const SENDTO: usize = 44;
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
    pub(super) const SETSID: usize = 112;
    pub(super) const SETGROUPS: usize = 116;
    pub(super) const SETRESUID: usize = 117;
    pub(super) const SETRESGID: usize = 119;
    pub(super) const CAPSET: usize = 126;
    pub(super) const PIVOT_ROOT: usize = 155;
    pub(super) const PRCTL: usize = 157;
    pub(super) const MOUNT: usize = 165;
    pub(super) const UMOUNT2: usize = 166;
    pub(super) const SETHOSTNAME: usize = 170;
    pub(super) const SCHED_SETAFFINITY: usize = 203;
    pub(super) const GETDENTS64: usize = 217;
    pub(super) const OPENAT: usize = 257;
    pub(super) const MKDIRAT: usize = 258;
    pub(super) const FCHOWNAT: usize = 260;
    pub(super) const UNLINKAT: usize = 263;
    pub(super) const SYMLINKAT: usize = 266;
    pub(super) const PPOLL: usize = 271;
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

/// "Relative to the working directory."
pub(crate) const AT_FDCWD: i32 = -100;
pub(crate) const O_RDONLY: usize = 0;
pub(crate) const O_WRONLY: usize = 1;
pub(crate) const O_RDWR: usize = 2;
pub(crate) const O_CREAT: usize = 0o100;
pub(crate) const O_EXCL: usize = 0o200;
pub(crate) const O_DIRECTORY: usize = 0o200_000;
pub(crate) const O_NOFOLLOW: usize = 0o400_000;
pub(crate) const O_CLOEXEC: usize = 0o2_000_000;
pub(crate) const O_PATH: usize = 0o10_000_000;

pub(crate) fn open(dir: i32, path: &CStr, flags: usize) -> Res<Fd> {
    call!(
        "path is a C string",
        nr::OPENAT,
        sign(dir),
        path.as_ptr(),
        flags | O_CLOEXEC,
        0
    )
    .map(|fd| Fd(fd as i32))
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path` as if `root` were the root directory: neither `..` nor an absolute symlink nor a
/// magic link leaves it (openat2(2), RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS).
pub(crate) fn open_in_root(root: &Fd, path: &CStr, flags: usize, mode: u32) -> Res<Fd> {
    let how = OpenHow {
        flags: (flags | O_CLOEXEC) as u64,
        mode: mode.into(),
        resolve: 0x10 | 0x02,
    };
    call!(
        "path is a C string, how outlives the call",
        nr::OPENAT2,
        sign(root.0),
        path.as_ptr(),
        &raw const how,
        size_of::<OpenHow>()
    )
    .map(|fd| Fd(fd as i32))
}

pub(crate) fn read(fd: i32, buf: &mut [u8]) -> Res<usize> {
    loop {
        let n = call!(
            "buf is writable for its length",
            nr::READ,
            sign(fd),
            buf.as_mut_ptr(),
            buf.len()
        );
        if n != Err(EINTR) {
            return n;
        }
    }
}

pub(crate) fn write(fd: i32, buf: &[u8]) -> Res<usize> {
    loop {
        let n = call!(
            "buf is readable for its length",
            nr::WRITE,
            sign(fd),
            buf.as_ptr(),
            buf.len()
        );
        if n != Err(EINTR) {
            return n;
        }
    }
}

/// Sends on a socket without SIGPIPE.
pub(crate) fn send(fd: i32, buf: &[u8]) -> Res<usize> {
    const MSG_NOSIGNAL: usize = 0x4000;
    loop {
        let n = call!(
            "buf is readable for its length, no address",
            nr::SENDTO,
            sign(fd),
            buf.as_ptr(),
            buf.len(),
            MSG_NOSIGNAL
        );
        if n != Err(EINTR) {
            return n;
        }
    }
}

/// Descriptors received with a message.
#[derive(Debug)]
pub(crate) struct Received<const N: usize> {
    fds: [i32; N],
    count: usize,
}

impl<const N: usize> Received<N> {
    pub(crate) const fn none() -> Self {
        Self {
            fds: [-1; N],
            count: 0,
        }
    }

    pub(crate) fn as_slice(&self) -> &[i32] {
        self.fds.get(..self.count).unwrap_or(&[])
    }
}

impl<const N: usize> Drop for Received<N> {
    fn drop(&mut self) {
        for fd in self.as_slice() {
            drop(Fd(*fd));
        }
    }
}

#[repr(C)]
struct MsgHdr {
    name: usize,
    name_len: u32,
    iov: *mut [usize; 2],
    iov_len: usize,
    control: *mut u8,
    control_len: usize,
    flags: i32,
}

/// Receives bytes and the descriptors that came with them. Too many descriptors are an error.
pub(crate) fn receive<const N: usize>(fd: i32, buf: &mut [u8]) -> Res<(usize, Received<N>)> {
    const MSG_CTRUNC: i32 = 8;
    const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
    // cmsghdr (len: u64, level: i32, type: i32), then the descriptors.
    let mut control = [0u64; 2 + 32];
    let mut iov = [buf.as_mut_ptr() as usize, buf.len()];
    let mut msg = MsgHdr {
        name: 0,
        name_len: 0,
        iov: &raw mut iov,
        iov_len: 1,
        control: control.as_mut_ptr().cast(),
        control_len: (16 + 4 * N).min(size_of_val(&control)),
        flags: 0,
    };
    let n = loop {
        let n = call!(
            "msg and what it points to outlive the call; the kernel writes within their lengths",
            nr::RECVMSG,
            sign(fd),
            &raw mut msg,
            MSG_CMSG_CLOEXEC
        );
        if n != Err(EINTR) {
            break n?;
        }
    };
    let mut got = Received {
        fds: [-1; N],
        count: 0,
    };
    let (len, kind) = (control[0] as usize, control[1]);
    const SOL_SOCKET_SCM_RIGHTS: u64 = 1 | (1 << 32);
    if msg.control_len >= 16 && kind == SOL_SOCKET_SCM_RIGHTS && len >= 16 {
        let count = ((len - 16) / 4).min(N);
        for i in 0..count {
            let word = control.get(2 + i / 2).copied().unwrap_or(0);
            if let Some(slot) = got.fds.get_mut(i) {
                *slot = (word >> (32 * (i % 2))) as u32 as i32;
                got.count = i + 1;
            }
        }
    }
    if msg.flags & MSG_CTRUNC != 0 {
        Err(EPROTO)
    } else {
        Ok((n, got))
    }
}

/// Anonymous memory, zeroed, freed when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    ptr: *mut u8,
    len: usize,
}

impl Region {
    pub(crate) fn new(len: usize) -> Res<Self> {
        let len = len.max(1);
        let ptr = call!(
            "no pointers: the kernel chooses the place",
            nr::MMAP,
            0,
            len,
            3,
            0x22,
            sign(-1),
            0
        )?;
        Ok(Self {
            ptr: ptr as *mut u8,
            len,
        })
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: mapped readable and writable for `len` bytes, owned by self alone.
        unsafe { core::slice::from_raw_parts_mut(self.ptr, self.len) }
    }

    /// The region as a list of pointers.
    pub(crate) fn as_pointers(&mut self) -> &mut [usize] {
        // SAFETY: page-aligned, zeroed, large enough for len / 8 words, owned by self alone.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.cast(), self.len / size_of::<usize>()) }
    }
}

impl Deref for Region {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: mapped readable for `len` bytes, owned by self, not mutated while borrowed.
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = call!(
            "the mapping is ours and nobody borrows it any more",
            nr::MUNMAP,
            self.ptr,
            self.len
        );
    }
}

pub(crate) fn set_cloexec_above(first: u32) -> Res<()> {
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    call!(
        "no pointers",
        nr::CLOSE_RANGE,
        first,
        u32::MAX,
        CLOSE_RANGE_CLOEXEC
    )
    .map(drop)
}

pub(crate) fn close_above(first: u32) -> Res<()> {
    call!("no pointers", nr::CLOSE_RANGE, first, u32::MAX, 0).map(drop)
}

/// A duplicate with a number of at least `least`, closed on exec.
pub(crate) fn dup_above(fd: i32, least: u32) -> Res<i32> {
    const F_DUPFD_CLOEXEC: usize = 1030;
    call!("no pointers", nr::FCNTL, sign(fd), F_DUPFD_CLOEXEC, least).map(|fd| fd as i32)
}

/// Puts `fd` at `target`, to be kept over exec. The two must differ.
pub(crate) fn dup_to(fd: i32, target: u32) -> Res<()> {
    call!("no pointers", nr::DUP3, sign(fd), target, 0).map(drop)
}

pub(crate) fn pipe() -> Res<(Fd, Fd)> {
    let mut ends = [0i32; 2];
    call!(
        "room for two descriptors",
        nr::PIPE2,
        ends.as_mut_ptr(),
        O_CLOEXEC
    )?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

// --- processes -------------------------------------------------------------------------------

pub(crate) const SIGKILL: u32 = 9;
pub(crate) const SIGCHLD: u32 = 17;

/// A process with a copy of this one's memory, in the namespaces of `flags` (CLONE_NEW*, perhaps
/// CLONE_PARENT). Returns 0 in the child. Never CLONE_VM or CLONE_THREAD.
pub(crate) fn fork(flags: usize) -> Res<u32> {
    const SHARING: usize = 0x100 | 0x10000;
    call!(
        "no stack and no tid pointers; memory is copied, not shared",
        nr::CLONE,
        (flags & !SHARING) | SIGCHLD as usize,
        0,
        0,
        0,
        0
    )
    .map(|pid| pid as u32)
}

/// Times and sizes as wait4 reports them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rusage {
    pub(crate) user: [i64; 2],
    pub(crate) system: [i64; 2],
    pub(crate) max_rss: i64,
    rest: [i64; 13],
}

/// An ended child, if there is one: pid, status, usage. `ECHILD` when there are no children.
pub(crate) fn wait_any(block: bool) -> Res<Option<(u32, u32, Rusage)>> {
    let mut status = 0u32;
    let mut usage = Rusage::default();
    loop {
        let pid = call!(
            "status and usage outlive the call",
            nr::WAIT4,
            sign(-1),
            &raw mut status,
            usize::from(!block),
            &raw mut usage
        );
        match pid {
            Err(EINTR) => {}
            Err(e) => return Err(e),
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((pid as u32, status, usage))),
        }
    }
}

/// kill(2); a negative `pid` means a process group, -1 every process that may be signalled.
pub(crate) fn kill(pid: i32, signal: u32) -> Res<()> {
    call!("no pointers", nr::KILL, sign(pid), signal).map(drop)
}

pub(crate) fn pidfd(pid: u32) -> Res<Fd> {
    call!("no pointers", nr::PIDFD_OPEN, pid, 0).map(|fd| Fd(fd as i32))
}

pub(crate) fn pidfd_kill(fd: &Fd) -> Res<()> {
    call!(
        "no siginfo",
        nr::PIDFD_SEND_SIGNAL,
        sign(fd.0),
        SIGKILL,
        0,
        0
    )
    .map(drop)
}

pub(crate) fn getpid() -> u32 {
    call!("no pointers", nr::GETPID).unwrap_or(0) as u32
}

pub(crate) fn exit(code: u32) -> ! {
    loop {
        let _ = call!("no pointers", nr::EXIT_GROUP, code);
    }
}

pub(crate) fn sleep_ms(ms: u64) {
    let time = [ms / 1000, ms % 1000 * 1_000_000];
    let _ = call!("time outlives the call", nr::NANOSLEEP, time.as_ptr(), 0);
}

pub(crate) fn setsid() -> Res<()> {
    call!("no pointers", nr::SETSID).map(drop)
}

/// Every signal that can be caught back to its default action.
pub(crate) fn default_signals() -> Res<()> {
    // struct kernel_sigaction: handler SIG_DFL, flags, restorer, mask.
    let action = [0u64; 4];
    for signal in 1..=64 {
        if signal != SIGKILL && signal != 19 {
            call!(
                "action outlives the call",
                nr::RT_SIGACTION,
                signal,
                action.as_ptr(),
                0,
                8
            )?;
        }
    }
    Ok(())
}

/// Blocks exactly the signals of `mask` (bit n-1 for signal n).
pub(crate) fn block_signals(mask: u64) -> Res<()> {
    const SIG_SETMASK: usize = 2;
    call!(
        "mask outlives the call",
        nr::RT_SIGPROCMASK,
        SIG_SETMASK,
        &raw const mask,
        0,
        8
    )
    .map(drop)
}

/// A descriptor that becomes readable when a blocked SIGCHLD arrives.
pub(crate) fn child_events() -> Res<Fd> {
    const SFD_NONBLOCK_CLOEXEC: usize = 0o4000 | 0o2_000_000;
    let mask: u64 = 1 << (SIGCHLD - 1);
    call!(
        "mask outlives the call",
        nr::SIGNALFD4,
        sign(-1),
        &raw const mask,
        8,
        SFD_NONBLOCK_CLOEXEC
    )
    .map(|fd| Fd(fd as i32))
}

/// Waits until one of two descriptors is readable or hung up: which of them are.
pub(crate) fn poll2(a: i32, b: i32) -> Res<(bool, bool)> {
    const POLLIN: i16 = 1;
    #[repr(C)]
    struct PollFd {
        fd: i32,
        events: i16,
        revents: i16,
    }
    let mut fds = [a, b].map(|fd| PollFd {
        fd,
        events: POLLIN,
        revents: 0,
    });
    loop {
        let n = call!("two entries", nr::PPOLL, fds.as_mut_ptr(), 2, 0, 0, 8);
        if n != Err(EINTR) {
            n?;
            return Ok((fds[0].revents != 0, fds[1].revents != 0));
        }
    }
}

pub(crate) fn chdir(path: &CStr) -> Res<()> {
    call!("path is a C string", nr::CHDIR, path.as_ptr()).map(drop)
}

pub(crate) fn fchdir(fd: &Fd) -> Res<()> {
    call!("no pointers", nr::FCHDIR, sign(fd.0)).map(drop)
}

pub(crate) fn umask(mask: u32) {
    let _ = call!("no pointers", nr::UMASK, mask);
}

/// Returns only with an error. `argv` and `envp` are null-terminated lists of C strings.
pub(crate) fn execve(path: &CStr, argv: &[usize], envp: &[usize]) -> Errno {
    if argv.last() != Some(&0) || envp.last() != Some(&0) {
        return EINVAL;
    }
    match call!(
        "lists end in null; their strings are C strings inside the frame, which is still mapped",
        nr::EXECVE,
        path.as_ptr(),
        argv.as_ptr(),
        envp.as_ptr()
    ) {
        Err(e) => e,
        Ok(_) => EINVAL,
    }
}

// --- identity and restrictions -----------------------------------------------------------------

pub(crate) fn set_ids(uid: u32, gid: u32) -> Res<()> {
    call!("no pointers", nr::SETRESGID, gid, gid, gid)?;
    call!("no pointers", nr::SETRESUID, uid, uid, uid).map(drop)
}

pub(crate) fn clear_groups() -> Res<()> {
    call!("an empty list", nr::SETGROUPS, 0, 0).map(drop)
}

/// prctl(2) with integer arguments only.
pub(crate) fn prctl(option: usize, a: usize, b: usize) -> Res<usize> {
    call!(
        "options used here take no pointers",
        nr::PRCTL,
        option,
        a,
        b,
        0,
        0
    )
}

/// Empties the effective, permitted and inheritable capability sets.
pub(crate) fn drop_capabilities() -> Res<()> {
    const VERSION_3: u64 = 0x2008_0522;
    let header = [VERSION_3];
    let none = [0u32; 6];
    call!(
        "header (version 3, pid 0) and data outlive the call",
        nr::CAPSET,
        header.as_ptr(),
        none.as_ptr()
    )
    .map(drop)
}

pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Res<()> {
    let limit = [soft, hard];
    call!(
        "limit outlives the call",
        nr::PRLIMIT64,
        0,
        resource,
        limit.as_ptr(),
        0
    )
    .map(drop)
}

pub(crate) fn set_affinity(mask: &[u8]) -> Res<()> {
    call!(
        "mask is readable for its length",
        nr::SCHED_SETAFFINITY,
        0,
        mask.len(),
        mask.as_ptr()
    )
    .map(drop)
}

pub(crate) fn landlock_ruleset(fs: u64, net: u64, scoped: u64) -> Res<Fd> {
    let attr = [fs, net, scoped];
    // A kernel whose structure is shorter accepts the longer one when its tail is zero.
    call!(
        "attr outlives the call",
        nr::LANDLOCK_CREATE_RULESET,
        attr.as_ptr(),
        size_of_val(&attr),
        0
    )
    .map(|fd| Fd(fd as i32))
}

pub(crate) fn landlock_allow(ruleset: &Fd, access: u64, below: &Fd) -> Res<()> {
    const RULE_PATH_BENEATH: usize = 1;
    #[repr(C, packed)]
    struct PathBeneath {
        access: u64,
        parent: i32,
    }
    let rule = PathBeneath {
        access,
        parent: below.0,
    };
    call!(
        "rule outlives the call",
        nr::LANDLOCK_ADD_RULE,
        sign(ruleset.0),
        RULE_PATH_BENEATH,
        &raw const rule,
        0
    )
    .map(drop)
}

pub(crate) fn landlock_enter(ruleset: i32) -> Res<()> {
    call!("no pointers", nr::LANDLOCK_RESTRICT_SELF, sign(ruleset), 0).map(drop)
}

/// Loads a seccomp filter: eight bytes per instruction.
pub(crate) fn seccomp_filter(program: &[u8]) -> Res<()> {
    const SET_MODE_FILTER: usize = 1;
    #[repr(C)]
    struct Fprog {
        len: u16,
        filter: *const u8,
    }
    let fprog = Fprog {
        len: (program.len() / 8) as u16,
        filter: program.as_ptr(),
    };
    call!(
        "program is readable for len instructions; alignment is no demand of copy_from_user",
        nr::SECCOMP,
        SET_MODE_FILTER,
        0,
        &raw const fprog
    )
    .map(drop)
}

// --- mounts --------------------------------------------------------------------------------------

pub(crate) const MOUNT_ATTR_RDONLY: u64 = 1;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 2;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 4;
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 8;
const AT_EMPTY_PATH: usize = 0x1000;
const AT_RECURSIVE: usize = 0x8000;

/// A detached copy of what is mounted at `path`, submounts included.
pub(crate) fn open_tree(dir: i32, path: &CStr) -> Res<Fd> {
    const OPEN_TREE_CLONE: usize = 1;
    call!(
        "path is a C string",
        nr::OPEN_TREE,
        sign(dir),
        path.as_ptr(),
        OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE
    )
    .map(|fd| Fd(fd as i32))
}

/// Adds mount attributes to the mount of `fd`, and to those below it if `recursive`.
pub(crate) fn mount_set(fd: &Fd, attrs: u64, recursive: bool) -> Res<()> {
    let attr = [attrs, 0, 0, 0];
    call!(
        "an empty path, attr outlives the call",
        nr::MOUNT_SETATTR,
        sign(fd.0),
        c"".as_ptr(),
        AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 },
        attr.as_ptr(),
        size_of_val(&attr)
    )
    .map(drop)
}

/// Attaches a detached mount at the place that `target` refers to.
pub(crate) fn attach(mount: &Fd, target: &Fd) -> Res<()> {
    const F_EMPTY_T_EMPTY: usize = 0x4 | 0x40;
    call!(
        "two empty paths",
        nr::MOVE_MOUNT,
        sign(mount.0),
        c"".as_ptr(),
        sign(target.0),
        c"".as_ptr(),
        F_EMPTY_T_EMPTY
    )
    .map(drop)
}

/// A new detached file system of `kind` with string options.
pub(crate) fn new_filesystem(kind: &CStr, options: &[(&CStr, &CStr)], attrs: u64) -> Res<Fd> {
    const SET_STRING: usize = 1;
    const CREATE: usize = 6;
    let fs = Fd(call!("kind is a C string", nr::FSOPEN, kind.as_ptr(), 1)? as i32);
    for (key, value) in options {
        call!(
            "two C strings",
            nr::FSCONFIG,
            sign(fs.0),
            SET_STRING,
            key.as_ptr(),
            value.as_ptr(),
            0
        )?;
    }
    call!(
        "no key, no value",
        nr::FSCONFIG,
        sign(fs.0),
        CREATE,
        0,
        0,
        0
    )?;
    call!("no pointers", nr::FSMOUNT, sign(fs.0), 1, attrs).map(|fd| Fd(fd as i32))
}

/// Keeps what is mounted from here on to this mount namespace.
pub(crate) fn make_mounts_private() -> Res<()> {
    const MS_REC_PRIVATE: usize = 0x4000 | (1 << 18);
    call!(
        "C strings or null",
        nr::MOUNT,
        0,
        c"/".as_ptr(),
        0,
        MS_REC_PRIVATE,
        0
    )
    .map(drop)
}

/// Makes the working directory the root and lets go of the old root.
pub(crate) fn pivot_here() -> Res<()> {
    const MNT_DETACH: usize = 2;
    let here = c".".as_ptr();
    // The old root ends up stacked on the new one (pivot_root(2), "pivot_root(".", ".")").
    call!("two C strings", nr::PIVOT_ROOT, here, here)?;
    call!("a C string", nr::UMOUNT2, here, MNT_DETACH)?;
    chdir(c"/")
}

pub(crate) fn mkdir(dir: &Fd, name: &CStr, mode: u32) -> Res<()> {
    call!(
        "name is a C string",
        nr::MKDIRAT,
        sign(dir.0),
        name.as_ptr(),
        mode
    )
    .map(drop)
}

pub(crate) fn rmdir(dir: &Fd, name: &CStr) -> Res<()> {
    const AT_REMOVEDIR: usize = 0x200;
    call!(
        "name is a C string",
        nr::UNLINKAT,
        sign(dir.0),
        name.as_ptr(),
        AT_REMOVEDIR
    )
    .map(drop)
}

/// Takes a mount out of sight; `name` is relative to the working directory.
pub(crate) fn unmount(name: &CStr) -> Res<()> {
    const MNT_DETACH_NOFOLLOW: usize = 2 | 8;
    call!(
        "name is a C string",
        nr::UMOUNT2,
        name.as_ptr(),
        MNT_DETACH_NOFOLLOW
    )
    .map(drop)
}

pub(crate) fn chown(what: &Fd, uid: u32, gid: u32) -> Res<()> {
    call!(
        "an empty path",
        nr::FCHOWNAT,
        sign(what.0),
        c"".as_ptr(),
        uid,
        gid,
        AT_EMPTY_PATH
    )
    .map(drop)
}

pub(crate) fn symlink(to: &CStr, dir: &Fd, name: &CStr) -> Res<()> {
    call!(
        "two C strings",
        nr::SYMLINKAT,
        to.as_ptr(),
        sign(dir.0),
        name.as_ptr()
    )
    .map(drop)
}

/// Raw directory entries (struct linux_dirent64).
pub(crate) fn read_dir(dir: &Fd, buf: &mut [u8]) -> Res<usize> {
    call!(
        "buf is writable for its length",
        nr::GETDENTS64,
        sign(dir.0),
        buf.as_mut_ptr(),
        buf.len()
    )
}

pub(crate) fn is_directory(fd: &Fd) -> Res<bool> {
    // struct stat: st_mode is the u32 at byte 24 on x86_64.
    let mut stat = [0u32; 36];
    call!("144 bytes", nr::FSTAT, sign(fd.0), stat.as_mut_ptr())?;
    Ok(stat[6] & 0o170_000 == 0o040_000)
}

pub(crate) fn set_hostname(name: &CStr) -> Res<()> {
    call!(
        "name is readable for its length",
        nr::SETHOSTNAME,
        name.as_ptr(),
        name.count_bytes()
    )
    .map(drop)
}

/// Brings up `lo`.
pub(crate) fn loopback_up() -> Res<()> {
    const AF_INET_DGRAM: (usize, usize) = (2, 2);
    const SIOCSIFFLAGS: usize = 0x8914;
    const IFF_UP: u8 = 1;
    let socket = Fd(call!(
        "no pointers",
        nr::SOCKET,
        AF_INET_DGRAM.0,
        AF_INET_DGRAM.1 | O_CLOEXEC,
        0
    )? as i32);
    // struct ifreq: name[16], flags (i16), padding.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16] = IFF_UP;
    call!(
        "request outlives the call",
        nr::IOCTL,
        sign(socket.0),
        SIOCSIFFLAGS,
        request.as_mut_ptr()
    )
    .map(drop)
}

/// The arguments of the process, from the stack as the kernel laid it.
#[derive(Debug)]
pub(crate) struct Args {
    list: *const *const core::ffi::c_char,
    count: usize,
}

impl Args {
    /// # Safety
    /// `stack` must be the stack pointer at process entry: argc, then argv.
    pub(crate) const unsafe fn from_stack(stack: *const usize) -> Self {
        // SAFETY: the System V ABI puts argc there.
        let count = unsafe { *stack };
        // SAFETY: argv follows argc.
        let list = unsafe { stack.add(1) };
        Self {
            list: list.cast(),
            count,
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&CStr> {
        if index >= self.count {
            return None;
        }
        // SAFETY: within argv, by the check above.
        let slot = unsafe { self.list.add(index) };
        // SAFETY: an entry of argv, which lives as long as the process.
        let arg = unsafe { *slot };
        // SAFETY: the kernel's argv entries are C strings that live as long as the process.
        Some(unsafe { CStr::from_ptr(arg) })
    }
}
