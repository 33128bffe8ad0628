//! What only the probes of `kavach verify` call.

use core::ffi::CStr;

use kavach_proto::probe::Attempt;

use super::*;

/// Makes a call that does nothing wherever it gets through.
pub(crate) fn attempt(attempt: &Attempt) -> Res<usize> {
    let [a, b, c, d, e, f] = attempt.arguments();
    call!(
        "an Attempt comes from the table of kavach-proto alone, where every pointer is null or \
         the last address: the kernel can follow none of them",
        attempt.number(),
        a,
        b,
        c,
        d,
        e,
        f
    )
}

/// `getpid` as an i386 program calls it. Where the kernel has no such way in, or a filter closes
/// it, the process is ended by a signal.
pub(crate) fn i386_getpid() -> Res<usize> {
    const GETPID_OF_I386: usize = 20;
    let ret: usize;
    // SAFETY: a call without arguments; some kernels clear r8 to r11 on this way.
    unsafe {
        asm!("int 0x80", inlateout("rax") GETPID_OF_I386 => ret, out("rcx") _, out("r8") _,
            out("r9") _, out("r10") _, out("r11") _, options(nostack));
    }
    // The lower half is the answer.
    check(ret as u32 as i32 as isize)
}

pub(crate) fn getppid() -> u32 {
    call!("no pointers", nr::GETPPID).unwrap_or(0) as u32
}

pub(crate) fn is_open(fd: i32) -> bool {
    const F_GETFD: usize = 1;
    call!("no pointers", nr::FCNTL, sign(fd), F_GETFD).is_ok()
}

/// Removes a name that is no directory.
pub(crate) fn unlink(path: &CStr) -> Res<()> {
    call!(
        "path is a C string",
        nr::UNLINKAT,
        sign(AT_FDCWD),
        path.as_ptr(),
        0
    )
    .map(drop)
}

/// The text of a symbolic link, as much as there is room for.
pub(crate) fn read_link<'b>(path: &CStr, buf: &'b mut [u8]) -> Res<&'b [u8]> {
    let n = call!(
        "path is a C string, buf is writable for its length",
        nr::READLINKAT,
        sign(AT_FDCWD),
        path.as_ptr(),
        buf.as_mut_ptr(),
        buf.len()
    )?;
    Ok(buf.get(..n).unwrap_or(&[]))
}

/// A connected stream socket. The address is as the kernel has it, family first.
pub(crate) fn connect(family: u16, address: &[u8]) -> Res<Fd> {
    const STREAM: usize = 1;
    let socket = Fd(call!("no pointers", nr::SOCKET, family, STREAM | O_CLOEXEC, 0)? as i32);
    call!(
        "address is readable for its length",
        nr::CONNECT,
        sign(socket.0),
        address.as_ptr(),
        address.len()
    )?;
    Ok(socket)
}

/// A new file without a name in `directory`, open for both ways.
pub(crate) fn unnamed_file(directory: &CStr, mode: u32) -> Res<Fd> {
    const O_TMPFILE: usize = 0o20_000_000 | O_DIRECTORY;
    call!(
        "directory is a C string",
        nr::OPENAT,
        sign(AT_FDCWD),
        directory.as_ptr(),
        O_TMPFILE | O_RDWR | O_CLOEXEC,
        mode
    )
    .map(|fd| Fd(fd as i32))
}

pub(crate) fn write_at(fd: &Fd, buf: &[u8], offset: u64) -> Res<usize> {
    call!(
        "buf is readable for its length",
        nr::PWRITE64,
        sign(fd.0),
        buf.as_ptr(),
        buf.len(),
        offset
    )
}

/// Reserves the first `bytes` of a file; its size stays.
pub(crate) fn reserve(fd: &Fd, bytes: u64) -> Res<()> {
    const KEEP_SIZE: usize = 1;
    call!(
        "no pointers",
        nr::FALLOCATE,
        sign(fd.0),
        KEEP_SIZE,
        0,
        bytes
    )
    .map(drop)
}

/// Sets the niceness of this process.
pub(crate) fn set_niceness(value: i32) -> Res<()> {
    const PRIO_PROCESS: usize = 0;
    call!("no pointers", nr::SETPRIORITY, PRIO_PROCESS, 0, sign(value)).map(drop)
}

/// Milliseconds of processor time that this process has used.
pub(crate) fn cpu_time_ms() -> u64 {
    const CLOCK_PROCESS_CPUTIME_ID: usize = 2;
    let mut time = [0u64; 2];
    let _ = call!(
        "time is writable",
        nr::CLOCK_GETTIME,
        CLOCK_PROCESS_CPUTIME_ID,
        time.as_mut_ptr()
    );
    time[0] * 1000 + time[1] / 1_000_000
}
