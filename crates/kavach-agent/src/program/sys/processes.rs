//! Processes and signals.

use core::ffi::CStr;

use super::*;

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

/// Makes `fd` the controlling terminal of this session, which it leads and which has none
/// (ioctl_tty(2), TIOCSCTTY; never by force).
pub(crate) fn take_terminal(fd: i32) -> Res<()> {
    const TIOCSCTTY: usize = 0x540e;
    call!("no pointers", nr::IOCTL, sign(fd), TIOCSCTTY, 0).map(drop)
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

/// A descriptor to wait for, as ppoll(2) takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

impl PollFd {
    /// Waits for something to read, or for the other end to hang up.
    pub(crate) const fn readable(fd: i32) -> Self {
        const POLLIN: i16 = 1;
        Self {
            fd,
            events: POLLIN,
            revents: 0,
        }
    }

    pub(crate) const fn is_ready(&self) -> bool {
        self.revents != 0
    }
}

/// Whether one of the descriptors is ready, without waiting.
pub(crate) fn is_ready_now(fds: &mut [PollFd]) -> Res<bool> {
    let zero = [0u64; 2];
    loop {
        let n = call!(
            "fds is writable for its length, the timeout outlives the call; no mask",
            nr::PPOLL,
            fds.as_mut_ptr(),
            fds.len(),
            zero.as_ptr(),
            0,
            8
        );
        if n != Err(EINTR) {
            return n.map(|ready| ready > 0);
        }
    }
}

/// Waits until one of the descriptors is ready.
pub(crate) fn poll(fds: &mut [PollFd]) -> Res<()> {
    loop {
        let n = call!(
            "fds is writable for its length; no timeout, no mask",
            nr::PPOLL,
            fds.as_mut_ptr(),
            fds.len(),
            0,
            0,
            8
        );
        if n != Err(EINTR) {
            return n.map(drop);
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
