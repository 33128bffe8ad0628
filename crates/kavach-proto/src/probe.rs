//! What `kavach verify` has tried inside: the words between the host and the probing personality
//! of the agent's program.
//!
//! The host starts that program as an ordinary command, with one group of arguments for each
//! probe: a [`verb`] and what it needs. The answer to each is one line on standard output,
//! `INDEX WORD NUMBER`, where the index counts the groups from 0. The host reads the lines as it
//! reads any guest's output.

/// What is to be tried. Each is followed by as many arguments as its description names.
pub mod verb {
    /// One call of [`super::ATTEMPTS`]: its index.
    pub const CALL: &[u8] = b"call";
    /// `getpid` by the i386 numbers and the i386 way in (`int 0x80`).
    pub const INT80: &[u8] = b"int80";
    /// Whether a path is a certain file: device, inode, path.
    pub const SAME: &[u8] = b"same";
    /// Whether a link has a certain text: text, path.
    pub const LINK: &[u8] = b"link";
    /// How many descriptors are open beside 0, 1 and 2.
    pub const DESCRIPTORS: &[u8] = b"descriptors";
    /// Open a regular file for writing, and write nothing: path.
    pub const WRITE: &[u8] = b"write";
    /// Remove a name that is not there: path.
    pub const REMOVE: &[u8] = b"remove";
    /// Connect to a TCP port of 127.0.0.1: port.
    pub const TCP: &[u8] = b"tcp";
    /// Connect to a unix socket in the abstract namespace: its name.
    pub const ABSTRACT: &[u8] = b"abstract";
    /// Look at a process in /proc: pid, start time.
    pub const SEE: &[u8] = b"see";
    /// Ask whether a process may be signalled, with signal 0: pid, start time.
    pub const SIGNAL: &[u8] = b"signal";
    /// Open a file below the agent's own directory in /proc: name.
    pub const AGENT: &[u8] = b"agent";
    /// The same of the process that has the probes run: what the agent would be without its
    /// protection.
    pub const PARENT: &[u8] = b"parent";
    /// Read a file of one's own that its mode lets nobody read.
    pub const OVERRIDE: &[u8] = b"override";
    /// Take a better priority than one has.
    pub const PRIORITY: &[u8] = b"priority";
    /// Ask whether programs may still bring privileges: the value of PR_GET_NO_NEW_PRIVS.
    pub const PRIVILEGES: &[u8] = b"privileges";
    /// How many Landlock domains still fit over this process, of the kernel's 16.
    pub const LAYERS: &[u8] = b"layers";
    /// Open files up to this many: most.
    pub const FILES: &[u8] = b"files";
    /// Write one byte past this size, into a file without a name: bytes.
    pub const SIZE: &[u8] = b"size";
    /// Reserve this much in a directory, in a file without a name: directory, bytes.
    pub const DISK: &[u8] = b"disk";
    /// Start processes up to this many, which wait and end together: most.
    pub const PROCESSES: &[u8] = b"processes";
    /// Use this much memory, for some seconds at most: bytes.
    pub const MEMORY: &[u8] = b"memory";
    /// Write this much to standard output, instead of an answer: bytes.
    pub const OUTPUT: &[u8] = b"output";
    /// Do nothing: milliseconds.
    pub const SLEEP: &[u8] = b"sleep";
    /// Compute: milliseconds on the clock of the processor time used.
    pub const SPIN: &[u8] = b"spin";
}

/// How it went.
pub mod word {
    /// It was done.
    pub const DONE: &[u8] = b"done";
    /// Refused; the number is the kernel's errno.
    pub const ERRNO: &[u8] = b"errno";
    /// The process that tried was ended by the signal of this number.
    pub const KILLED: &[u8] = b"killed";
    /// What was looked for is something else here.
    pub const OTHER: &[u8] = b"other";
    /// This number was found.
    pub const VALUE: &[u8] = b"value";
    /// What the attempt needs could not be had, for this errno: it was not made.
    pub const UNABLE: &[u8] = b"unable";
}

/// A system call that does nothing wherever it gets through: its arguments are such that every
/// kernel refuses them, with another answer than the filter's. So the answer tells who gave it.
///
/// Can be had from [`ATTEMPTS`] alone. None of their pointers is one: each is null, or the page
/// at 0 or the last one of the address space, where no process has anything.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    name: &'static str,
    number: usize,
    arguments: [usize; 6],
}

impl Attempt {
    /// The name of the call, and of its special form after a space.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The x86_64 number.
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The arguments.
    pub const fn arguments(&self) -> [usize; 6] {
        self.arguments
    }
}

const fn attempt(name: &'static str, number: usize, arguments: [usize; 6]) -> Attempt {
    Attempt {
        name,
        number,
        arguments,
    }
}

/// No descriptor, no process, all flags: -1.
const NONE: usize = usize::MAX;
const NULL: usize = 0;
const AT_FDCWD: usize = -100_isize as usize;
const SETUID_FILE: usize = 0o4755;
const CHARACTER_DEVICE: usize = 0o020_600;
const SOCKET_FILE: usize = 0o140_600;
/// A number of no socket type: refused after the family was looked at.
const NO_TYPE: usize = 15;

/// The calls that both filters refuse, one or more of each of their reasons. The comment is what
/// a kernel answers that was let have a look.
pub const ATTEMPTS: &[Attempt] = &[
    // EINVAL: no such flag.
    attempt("unshare", 272, [1, 0, 0, 0, 0, 0]),
    // EBADF
    attempt("setns", 308, [NONE, 0, 0, 0, 0, 0]),
    // EFAULT
    attempt("chroot", 161, [NULL, 0, 0, 0, 0, 0]),
    // EINVAL: a structure of no size.
    attempt("clone3", 435, [NULL, 0, 0, 0, 0, 0]),
    // EFAULT
    attempt("mount", 165, [NULL, NULL, NULL, 0, NULL, 0]),
    // EINVAL: no such flags.
    attempt("umount2", 166, [NULL, 0xffff_0000, 0, 0, 0, 0]),
    // EINVAL: no such flags.
    attempt("open_tree", 428, [NONE, NULL, 0x7fff_0000, 0, 0, 0]),
    // EINVAL: no such flags.
    attempt("mount_setattr", 442, [NONE, NULL, 0x7fff_0000, NULL, 0, 0]),
    // ESRCH
    attempt("ptrace", 101, [16, NONE, NULL, NULL, 0, 0]),
    // EINVAL: no such flags.
    attempt("process_vm_readv", 310, [NONE, NULL, 0, NULL, 0, 1]),
    // EINVAL: no such flags.
    attempt("process_vm_writev", 311, [NONE, NULL, 0, NULL, 0, 1]),
    // EINVAL: no such flags.
    attempt("pidfd_getfd", 438, [NONE, NONE, 1, 0, 0, 0]),
    // ESRCH
    attempt("kcmp", 312, [NONE, NONE, 0, 0, 0, 0]),
    // E2BIG: larger than a page. Before Linux 6.6 EPERM for who may not use it at all.
    attempt("bpf", 321, [0, NULL, 1 << 20, 0, 0, 0]),
    // EINVAL: no such flags.
    attempt("perf_event_open", 298, [NULL, 0, 0, NONE, NONE, 0]),
    // EFAULT
    attempt("add_key", 248, [NULL, NULL, NULL, 0, 0, 0]),
    // EOPNOTSUPP: no such operation.
    attempt("keyctl", 250, [9999, 0, 0, 0, 0, 0]),
    // EFAULT
    attempt("settimeofday", 164, [NONE, NULL, 0, 0, 0, 0]),
    // EINVAL: no such clock.
    attempt("clock_settime", 227, [9999, NULL, 0, 0, 0, 0]),
    // EFAULT
    attempt("adjtimex", 159, [NULL, 0, 0, 0, 0, 0]),
    // EINVAL: no such kind of quota.
    attempt("quotactl", 179, [0xff, NULL, 0, NULL, 0, 0]),
    // EINVAL: no such flags.
    attempt("userfaultfd", 323, [0x7fff_0000 | 1, 0, 0, 0, 0, 0]),
    // EFAULT. EPERM where the host has switched it off.
    attempt("io_uring_setup", 425, [1, NULL, 0, 0, 0, 0]),
    // EINVAL: no such flags.
    attempt(
        "name_to_handle_at",
        303,
        [NONE, NULL, NULL, NULL, 0x7fff_0000, 0],
    ),
    // EINVAL: a structure of no size.
    attempt("openat2", 437, [NONE, NULL, NULL, 0, 0, 0]),
    // EFAULT
    attempt("chmod setuid", 90, [NULL, SETUID_FILE, 0, 0, 0, 0]),
    // EBADF
    attempt("fchmod setuid", 91, [NONE, SETUID_FILE, 0, 0, 0, 0]),
    // EFAULT
    attempt(
        "fchmodat setuid",
        268,
        [AT_FDCWD, NULL, SETUID_FILE, 0, 0, 0],
    ),
    // EFAULT
    attempt(
        "open O_CREAT setuid",
        2,
        [NULL, 0o100, SETUID_FILE, 0, 0, 0],
    ),
    // EFAULT
    attempt("mknod device", 133, [NULL, CHARACTER_DEVICE, 0, 0, 0, 0]),
    // EFAULT
    attempt("mknod socket", 133, [NULL, SOCKET_FILE, 0, 0, 0, 0]),
    // EINVAL, as the next four: the family is there and has no such type. EAFNOSUPPORT where it
    // is not there.
    attempt("socket AF_PACKET", 41, [17, NO_TYPE, 0, 0, 0, 0]),
    attempt("socket AF_VSOCK", 41, [40, NO_TYPE, 0, 0, 0, 0]),
    attempt("socket AF_ALG", 41, [38, NO_TYPE, 0, 0, 0, 0]),
    attempt("socket AF_BLUETOOTH", 41, [31, NO_TYPE, 0, 0, 0, 0]),
    // EBADF
    attempt("ioctl TIOCSTI", 16, [NONE, 0x5412, NULL, 0, 0, 0]),
    // EBADF: the kernel drops the high half of the request, and so must the filter
    // (CVE-2019-7303).
    attempt(
        "ioctl TIOCSTI high bits",
        16,
        [NONE, 0x1_0000_5412, NULL, 0, 0, 0],
    ),
    // EBADF
    attempt("ioctl TIOCLINUX", 16, [NONE, 0x541c, NULL, 0, 0, 0]),
    // EBADF
    attempt("fcntl F_SETOWN", 72, [NONE, 8, 0, 0, 0, 0]),
    // The pid, where the kernel has x32; else ENOSYS.
    attempt("getpid by its x32 number", 0x4000_0000 | 39, [0; 6]),
];
