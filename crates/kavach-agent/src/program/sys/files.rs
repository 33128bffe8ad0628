//! Files, sockets and memory.

use core::ffi::CStr;
use core::ops::Deref;

use super::*;

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

/// Level and type of a cmsghdr that carries descriptors.
const SOL_SOCKET_SCM_RIGHTS: u64 = 1 | (1 << 32);

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

/// Sends on a socket without SIGPIPE, with a descriptor beside the first byte. How many bytes
/// were sent.
pub(crate) fn send_descriptor(fd: i32, buf: &[u8], passed: &Fd) -> Res<usize> {
    const MSG_NOSIGNAL: usize = 0x4000;
    // cmsghdr (len: u64, level: i32, type: i32), then the descriptor and padding.
    let mut control: [u64; 3] = [16 + 4, SOL_SOCKET_SCM_RIGHTS, u64::from(passed.0 as u32)];
    let mut iov = [buf.as_ptr() as usize, buf.len()];
    let msg = MsgHdr {
        name: 0,
        name_len: 0,
        iov: &raw mut iov,
        iov_len: 1,
        control: control.as_mut_ptr().cast(),
        control_len: size_of_val(&control),
        flags: 0,
    };
    loop {
        let n = call!(
            "msg and what it points to outlive the call; the kernel only reads them",
            nr::SENDMSG,
            sign(fd),
            &raw const msg,
            MSG_NOSIGNAL
        );
        if n != Err(EINTR) {
            return n;
        }
    }
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
        // unix(7): there was no free number for one of them.
        Err(EMFILE)
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
