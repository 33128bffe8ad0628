//! Files, directories, pipes, and waiting for them.

use syscalls::x86_64::Sysno::{self, *};

use crate::seccomp::abi::{
    F_NOTIFY, F_SETFL, F_SETLEASE, F_SETOWN, F_SETOWN_EX, F_SETSIG, O_ASYNC, O_CREAT,
    O_TMPFILE_BIT, S_IFIFO, S_IFMT, S_IFREG, S_ISUID_ISGID,
};
use crate::seccomp::profile::{Group, absent, allow, int, refuse};

pub(super) static IO: Group = Group {
    name: "file I/O",
    reason: "acts on descriptors that are already open; what may be opened is for the filesystem \
             view and Landlock to say",
    rules: &[allow(&[
        read,
        write,
        pread64,
        pwrite64,
        readv,
        writev,
        preadv,
        pwritev,
        preadv2,
        pwritev2,
        lseek,
        close,
        close_range,
        dup,
        dup2,
        dup3,
        pipe,
        pipe2,
        sendfile,
        splice,
        tee,
        vmsplice,
        copy_file_range,
        fsync,
        fdatasync,
        sync_file_range,
        syncfs,
        truncate,
        ftruncate,
        fallocate,
        fadvise64,
        readahead,
        flock,
    ])],
};

pub(super) static METADATA: Group = Group {
    name: "file metadata",
    reason: "reads and changes names, times, owners and attributes within the filesystem view; \
             without capabilities, trusted.*, security.* and foreign owners stay out of reach",
    rules: &[
        allow(&[
            stat, fstat, lstat, newfstatat, statx, access, faccessat, faccessat2, readlink,
            readlinkat, getdents, getdents64, getcwd, statfs, fstatfs, utime, utimes, futimesat,
            utimensat, chown, fchown, lchown, fchownat, umask,
        ]),
        allow(&[
            getxattr,
            lgetxattr,
            fgetxattr,
            listxattr,
            llistxattr,
            flistxattr,
            setxattr,
            lsetxattr,
            fsetxattr,
            removexattr,
            lremovexattr,
            fremovexattr,
            getxattrat,
            setxattrat,
            listxattrat,
            removexattrat,
            file_getattr,
        ]),
    ],
};

pub(super) static TREE: Group = Group {
    name: "directory tree",
    reason: "moves within and reshapes the writable part of the view; mkdir drops setuid and \
             setgid bits in the kernel (vfs_mkdir), so its mode needs no check",
    rules: &[allow(&[
        chdir, fchdir, mkdir, mkdirat, rmdir, rename, renameat, renameat2, link, linkat, symlink,
        symlinkat, unlink, unlinkat,
    ])],
};

// The kernel reads the mode only when the call can create (WILL_CREATE), and
// callers leave anything in the register otherwise: the check must do likewise.
pub(super) static FILE_CREATION: Group = Group {
    name: "opening and creating files",
    reason: "a file made setuid or setgid in a writable host path comes back as the caller's, \
             root included, and runs as them; the mode counts only where the call can create",
    rules: &[
        refuse(&[open]).when(&[
            int(1).masked(O_CREAT | O_TMPFILE_BIT).none_of(&[0]),
            int(2).masked(S_ISUID_ISGID).none_of(&[0]),
        ]),
        refuse(&[openat]).when(&[
            int(2).masked(O_CREAT | O_TMPFILE_BIT).none_of(&[0]),
            int(3).masked(S_ISUID_ISGID).none_of(&[0]),
        ]),
        refuse(&[creat]).when(&[int(1).masked(S_ISUID_ISGID).none_of(&[0])]),
        allow(&[open, openat, creat]),
    ],
};

pub(super) static FILE_MODES: Group = Group {
    name: "file modes",
    reason: "setuid and setgid bits are refused for the reason given under creation; all other \
             modes are the guest's own business",
    rules: &[
        allow(&[chmod, fchmod]).when(&[int(1).masked(S_ISUID_ISGID).any_of(&[0])]),
        allow(&[fchmodat, fchmodat2]).when(&[int(2).masked(S_ISUID_ISGID).any_of(&[0])]),
    ],
};

pub(super) static SPECIAL_FILES: Group = Group {
    name: "special files",
    reason: "regular files and FIFOs only: device nodes reach drivers (the kernel asks for a \
             capability too), and a socket's name in a writable host path meets host programs",
    rules: &[
        allow(&[mknod]).when(&[
            int(1).masked(S_IFMT).any_of(&[0, S_IFREG, S_IFIFO]),
            int(1).masked(S_ISUID_ISGID).any_of(&[0]),
        ]),
        allow(&[mknodat]).when(&[
            int(2).masked(S_IFMT).any_of(&[0, S_IFREG, S_IFIFO]),
            int(2).masked(S_ISUID_ISGID).any_of(&[0]),
        ]),
    ],
};

pub(super) static FCNTL_BASIC: Group = Group {
    name: "fcntl",
    reason: "descriptor flags and locks; not the commands that send signals to whom a shared \
             descriptor names (SIGIO owner, O_ASYNC), and not leases, which make the host wait \
             when it opens a shared file",
    rules: &[
        refuse(&[fcntl]).when(&[int(1).any_of(&[F_SETOWN, F_SETOWN_EX, F_SETSIG, F_SETLEASE])]),
        refuse(&[fcntl]).when(&[
            int(1).any_of(&[F_SETFL]),
            int(2).masked(O_ASYNC).none_of(&[0]),
        ]),
        allow(&[fcntl]),
    ],
};

pub(super) static FCNTL_STRICT: Group = Group {
    name: "fcntl",
    reason: "as in basic, and no dnotify, which inotify replaced",
    rules: &[
        refuse(&[fcntl]).when(&[int(1).any_of(&[
            F_SETOWN,
            F_SETOWN_EX,
            F_SETSIG,
            F_SETLEASE,
            F_NOTIFY,
        ])]),
        refuse(&[fcntl]).when(&[
            int(1).any_of(&[F_SETFL]),
            int(2).masked(O_ASYNC).none_of(&[0]),
        ]),
        allow(&[fcntl]),
    ],
};

pub(super) static WAITING: Group = Group {
    name: "waiting for events",
    reason: "event loops of shells, Python, Node and Rust; they see the guest's own descriptors",
    rules: &[allow(&[
        poll,
        ppoll,
        select,
        pselect6,
        epoll_create,
        epoll_create1,
        epoll_ctl,
        epoll_wait,
        epoll_pwait,
        epoll_pwait2,
        eventfd,
        eventfd2,
        signalfd,
        signalfd4,
        timerfd_create,
        timerfd_settime,
        timerfd_gettime,
        inotify_init,
        inotify_init1,
        inotify_add_watch,
        inotify_rm_watch,
    ])],
};

const SYNC_ALL: &[Sysno] = &[sync];

pub(super) static SYNC_ALL_BASIC: Group = Group {
    name: "sync",
    reason: "package managers and tests call it; its cost is bounded by the host's dirty pages",
    rules: &[allow(SYNC_ALL)],
};

pub(super) static SYNC_ALL_STRICT: Group = Group {
    name: "sync",
    reason: "flushes every filesystem of the host, so a loop of it slows other tenants; fsync and \
             syncfs do what the guest needs for its own files",
    rules: &[refuse(SYNC_ALL)],
};

const KERNEL_AIO: &[Sysno] = &[
    io_setup,
    io_destroy,
    io_getevents,
    io_pgetevents,
    io_submit,
    io_cancel,
];

pub(super) static KERNEL_AIO_BASIC: Group = Group {
    name: "kernel AIO",
    reason: "databases use it on their own files",
    rules: &[allow(KERNEL_AIO)],
};

pub(super) static KERNEL_AIO_STRICT: Group = Group {
    name: "kernel AIO",
    reason: "contexts come out of one host-wide pool (fs.aio-max-nr), and callers fall back to \
             threads where it is missing",
    rules: &[absent(KERNEL_AIO)],
};
