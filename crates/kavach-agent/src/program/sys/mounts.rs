//! Mounts and the directories they are made in.

use core::ffi::CStr;

use super::*;

pub(crate) const MOUNT_ATTR_RDONLY: u64 = 1;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 2;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 4;
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 8;
const MS_PRIVATE: u64 = 1 << 18;
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

/// Adds mount attributes to the mount of `fd`, and to those below it if `recursive`, and cuts
/// them off from the host's: a copy of a shared mount (every mount where systemd runs) is its
/// peer, so that mounts made in one would show in the other.
pub(crate) fn mount_set(fd: &Fd, attrs: u64, recursive: bool) -> Res<()> {
    // struct mount_attr: set, clear, propagation, the user namespace of an idmapped mount.
    let attr = [attrs, 0, MS_PRIVATE, 0];
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

/// Shows the owners of a detached mount, and of those below it, through the maps of a user
/// namespace (mount_setattr(2), MOUNT_ATTR_IDMAP). The file system must know how to.
pub(crate) fn mount_idmap(fd: &Fd, users: &Fd) -> Res<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let attr = [MOUNT_ATTR_IDMAP, 0, 0, users.0 as u64];
    call!(
        "an empty path, attr outlives the call",
        nr::MOUNT_SETATTR,
        sign(fd.0),
        c"".as_ptr(),
        AT_EMPTY_PATH | AT_RECURSIVE,
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

/// The value of an option that has none.
pub(crate) const NO_VALUE: &CStr = c"";

/// A new detached file system of `kind` with string options, or [`NO_VALUE`] for flags.
pub(crate) fn new_filesystem(kind: &CStr, options: &[(&CStr, &CStr)], attrs: u64) -> Res<Fd> {
    const SET_FLAG: usize = 0;
    const SET_STRING: usize = 1;
    const CREATE: usize = 6;
    let fs = Fd(call!("kind is a C string", nr::FSOPEN, kind.as_ptr(), 1)? as i32);
    for (key, value) in options {
        let (command, value) = if value.is_empty() {
            (SET_FLAG, core::ptr::null())
        } else {
            (SET_STRING, value.as_ptr())
        };
        call!(
            "a C string, and a C string or null",
            nr::FSCONFIG,
            sign(fs.0),
            command,
            key.as_ptr(),
            value,
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
    const MS_REC_PRIVATE: usize = 0x4000 | MS_PRIVATE as usize;
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

/// What stat(2) says of an open file, as far as it is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u32,
}

pub(crate) fn stat(fd: &Fd) -> Res<Stat> {
    // struct stat of x86_64: st_dev and st_ino are the first two words, st_mode is the low half
    // of the fourth.
    let mut stat = [0u64; 18];
    call!("144 bytes", nr::FSTAT, sign(fd.0), stat.as_mut_ptr())?;
    Ok(Stat {
        device: stat[0],
        inode: stat[1],
        mode: stat[3] as u32,
    })
}

pub(crate) fn is_directory(fd: &Fd) -> Res<bool> {
    Ok(stat(fd)?.mode & 0o170_000 == 0o040_000)
}
