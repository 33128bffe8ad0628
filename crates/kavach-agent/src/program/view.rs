//! The file-system view: sources are opened first, then shown one after another.
//!
//! Opening every source before anything is mounted has two reasons. As root the sources are
//! opened with the host's credentials, before the user namespace, so that a path below a
//! directory that only root may search can be shown; and a mount made early (the new root on
//! /tmp) can never hide the source of a later one.

use core::ffi::CStr;

use kavach_proto::{MAX_MOUNTS, MapKind, MountKind, MountOp, SetupReader, Step, attr, flag};

use super::channel::{At, Failed};
use super::sys::{self, AT_FDCWD, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, Errno, Fd, Res};
use super::{overlay, source};

const PATH_MAX: usize = 4096;

/// Detached copies of the host's mounts, by the index of their operation.
#[derive(Debug)]
pub(crate) struct Sources {
    fds: [i32; MAX_MOUNTS],
    mask: Mask,
}

/// What files are masked with: one copy of /dev/null, of which the second mask and all further
/// ones are copies. One for each would be simpler, but many files of the list are in few kernels,
/// and to close a mount that was never attached makes the kernel wait for an RCU grace period
/// (`dissolve_on_fput`): 50 µs each, a tenth of a sandbox in all.
#[derive(Debug)]
struct Mask {
    null: Option<Fd>,
    attached: bool,
}

impl Mask {
    fn over(&mut self, target: &Fd) -> Res<()> {
        // An optional source that was missing has no descriptor.
        let null = self.null.as_ref().ok_or(ENOENT)?;
        if self.attached {
            return sys::attach(&sys::open_tree(null.0, c"")?, target);
        }
        sys::attach(null, target)?;
        self.attached = true;
        Ok(())
    }
}

impl Sources {
    /// Opens the source of every bind, with its final attributes already on.
    pub(crate) fn open(setup: &SetupReader<'_>) -> Result<Self, Failed> {
        let mut sources = Self {
            fds: [-1; MAX_MOUNTS],
            mask: Mask {
                null: None,
                attached: false,
            },
        };
        for (index, op) in setup.mounts().enumerate() {
            if op.kind == MountKind::MaskFile && sources.mask.null.is_some() {
                continue;
            }
            match source::open(&op, index) {
                Ok(Some(fd)) if op.kind == MountKind::MaskFile => sources.mask.null = Some(fd),
                Ok(Some(fd)) => {
                    if let Some(slot) = sources.fds.get_mut(index) {
                        *slot = fd.0;
                        core::mem::forget(fd);
                    }
                }
                Ok(None) => {}
                Err(failed) if failed.errno == ENOENT && op.attrs & attr::OPTIONAL != 0 => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(sources)
    }

    fn take(&mut self, index: usize) -> Option<Fd> {
        let slot = self.fds.get_mut(index)?;
        let fd = core::mem::replace(slot, -1);
        (fd >= 0).then_some(Fd(fd))
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        for fd in self.fds.iter().filter(|fd| **fd >= 0) {
            drop(Fd(*fd));
        }
    }
}

/// set-user-ID bits and file capabilities never work in a sandbox.
pub(super) fn attributes(attrs: u32) -> u64 {
    let mut set = sys::MOUNT_ATTR_NOSUID;
    if attrs & attr::READ_ONLY != 0 {
        set |= sys::MOUNT_ATTR_RDONLY;
    }
    if attrs & attr::DEVICES == 0 {
        set |= sys::MOUNT_ATTR_NODEV;
    }
    if attrs & attr::NO_EXEC != 0 {
        set |= sys::MOUNT_ATTR_NOEXEC;
    }
    set
}

/// Who `Dir` and `File` entries for the guest are given to; `None` where only one id exists.
fn guest_ids(setup: &SetupReader<'_>) -> Option<(u32, u32)> {
    let mapping = &setup.mapping;
    (mapping.kind == MapKind::Range).then_some((mapping.uid, mapping.gid))
}

/// Builds the view of `setup` and, where it asks for a private root, moves into it. Returns the
/// upper directory of the workspace, if there is one that the host cannot reach by itself.
pub(crate) fn build(setup: &SetupReader<'_>, mut sources: Sources) -> Result<Option<Fd>, Failed> {
    sys::make_mounts_private().at(Step::Propagation)?;
    let private = setup.has(flag::PRIVATE_ROOT);
    let root = if private {
        new_root(setup).at(Step::NewRoot)?
    } else {
        sys::open(AT_FDCWD, c"/", sys::O_PATH | sys::O_DIRECTORY).at(Step::NewRoot)?
    };
    let (mut disk, mut upper) = (None, None);
    for (index, op) in setup.mounts().enumerate() {
        let source = sources.take(index);
        match op.kind {
            MountKind::Upper => {
                disk = source;
                continue;
            }
            MountKind::Overlay => {
                let lower = source.ok_or(ENOENT).at_index(Step::OpenSource, index)?;
                upper = overlay::lay(&root, &op, &lower, disk.as_ref(), guest_ids(setup))
                    .at_index(Step::Overlay, index)?;
                continue;
            }
            _ => {}
        }
        match show(&root, &op, source, &mut sources.mask) {
            Err(ENOENT | ENOTDIR) if op.attrs & attr::OPTIONAL != 0 => {}
            done => done.at_index(Step::Mount, index)?,
        }
        if let (true, Some((uid, gid))) = (op.attrs & attr::GUEST_OWNED != 0, guest_ids(setup)) {
            existing(&root, op.target)
                .and_then(|made| sys::chown(&made, uid, gid))
                .at_index(Step::Mount, index)?;
        }
    }
    if private {
        sys::fchdir(&root)
            .and_then(|()| sys::pivot_here())
            .at(Step::Pivot)?;
        if setup.has(flag::READ_ONLY_ROOT) {
            sys::mount_set(&root, sys::MOUNT_ATTR_RDONLY, false).at(Step::ReadOnlyRoot)?;
        }
    }
    Ok(upper)
}

/// A small tmpfs, mounted on some directory of the host that exists; nothing of it is left once
/// the old root is gone.
fn new_root(setup: &SetupReader<'_>) -> Res<Fd> {
    let (mut size, mut inodes) = (Digits::new(), Digits::new());
    let options = [
        (c"size", size.decimal(setup.root_size)),
        (c"nr_inodes", inodes.decimal(setup.root_inodes)),
        (c"mode", c"0755"),
    ];
    let attrs = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
    let root = sys::new_filesystem(c"tmpfs", &options, attrs)?;
    let mut last = ENOENT;
    for place in [c"/tmp", c"/usr", c"/etc"] {
        match sys::open(AT_FDCWD, place, sys::O_PATH | sys::O_DIRECTORY)
            .and_then(|place| sys::attach(&root, &place))
        {
            Ok(()) => return Ok(root),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn show(root: &Fd, op: &MountOp<'_>, source: Option<Fd>, mask: &mut Mask) -> Res<()> {
    match op.kind {
        MountKind::Dir => make_dirs(root, op.target, op.mode),
        MountKind::Symlink => in_parent(root, op.target, |dir, name| {
            sys::symlink(op.source, dir, name)
        }),
        MountKind::File => make_file(root, op.target, op.mode, op.data),
        MountKind::Bind => {
            // An optional source that was missing has no descriptor.
            let Some(source) = source else {
                return Err(ENOENT);
            };
            sys::attach(&source, &place_for(root, op.target, &source)?)
        }
        MountKind::BindInside => {
            let inside = sys::open_in_root(root, op.source, sys::O_PATH, 0)?;
            let copy = sys::open_tree(inside.0, c"")?;
            sys::mount_set(&copy, attributes(op.attrs), true)?;
            sys::attach(&copy, &place_for(root, op.target, &copy)?)
        }
        MountKind::Tmpfs => {
            let (mut size, mut inodes, mut mode) = (Digits::new(), Digits::new(), Digits::new());
            let options = [
                (c"size", size.decimal(op.size)),
                (c"nr_inodes", inodes.decimal(op.inodes)),
                (c"mode", mode.octal(op.mode.into())),
            ];
            let fs = sys::new_filesystem(c"tmpfs", &options, attributes(op.attrs))?;
            make_dirs(root, op.target, 0o755)?;
            sys::attach(&fs, &existing(root, op.target)?)
        }
        MountKind::Proc => {
            let noexec = attributes(attr::NO_EXEC);
            let mut hidepid = Digits::new();
            let options = [(c"hidepid", hidepid.decimal(op.mode.into()))];
            let fs = sys::new_filesystem(c"proc", &options, noexec)?;
            make_dirs(root, op.target, 0o555)?;
            sys::attach(&fs, &existing(root, op.target)?)
        }
        MountKind::DevPts => {
            // The kernel's terminals are few and counted for the whole host (kernel.pty.max).
            let options = [(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"max", c"64")];
            let attrs = attributes(attr::NO_EXEC | attr::DEVICES);
            let fs = sys::new_filesystem(c"devpts", &options, attrs)?;
            make_dirs(root, op.target, 0o755)?;
            sys::attach(&fs, &existing(root, op.target)?)
        }
        MountKind::MaskFile => mask.over(&existing(root, op.target)?),
        MountKind::MaskDir => {
            let target = existing(root, op.target)?;
            let attrs = attributes(attr::READ_ONLY | attr::NO_EXEC);
            let options = [(c"size", c"4k"), (c"nr_inodes", c"1"), (c"mode", c"0555")];
            sys::attach(&sys::new_filesystem(c"tmpfs", &options, attrs)?, &target)
        }
        MountKind::ReadOnly => {
            let target = existing(root, op.target)?;
            let copy = sys::open_tree(target.0, c"")?;
            sys::mount_set(&copy, attributes(op.attrs | attr::READ_ONLY), true)?;
            sys::attach(&copy, &target)
        }
        MountKind::Detach => in_parent(root, op.target, |dir, name| {
            sys::fchdir(dir)?;
            sys::unmount(name)?;
            sys::rmdir(dir, name)
        }),
        // Built by their own module.
        MountKind::Overlay | MountKind::Upper => Err(EINVAL),
    }
}

fn existing(root: &Fd, path: &CStr) -> Res<Fd> {
    sys::open_in_root(root, path, sys::O_PATH, 0)
}

/// A mount point of the same type as `source`, made if missing.
pub(super) fn place_for(root: &Fd, path: &CStr, source: &Fd) -> Res<Fd> {
    if !sys::is_directory(source)? {
        return match new_file(root, path, 0o644) {
            Err(EEXIST) => existing(root, path),
            made => made,
        };
    }
    match existing(root, path) {
        Err(ENOENT) => {}
        found => return found,
    }
    make_dirs(root, path, 0o755)?;
    existing(root, path)
}

/// A file that was not there before, and the directories above it.
fn new_file(root: &Fd, path: &CStr, mode: u32) -> Res<Fd> {
    let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
    match sys::open_in_root(root, path, flags, mode) {
        Err(ENOENT) => {
            in_parent(root, path, |_, _| Ok(()))?;
            sys::open_in_root(root, path, flags, mode)
        }
        made => made,
    }
}

fn make_file(root: &Fd, path: &CStr, mode: u32, data: &[u8]) -> Res<()> {
    let file = new_file(root, path, mode)?;
    let mut rest = data;
    while !rest.is_empty() {
        let n = sys::write(file.0, rest)?;
        rest = rest.get(n..).ok_or(EINVAL)?;
    }
    Ok(())
}

/// Makes a directory and those above it; existing ones are left as they are.
fn make_dirs(root: &Fd, path: &CStr, mode: u32) -> Res<()> {
    // Nearly always the parent is there already.
    match split(root, path, |dir, name| sys::mkdir(dir, name, mode)) {
        Ok(()) | Err(EEXIST) => return Ok(()),
        Err(ENOENT) => {}
        Err(e) => return Err(e),
    }
    let mut buf = [0u8; PATH_MAX];
    let len = path.count_bytes();
    if len + 1 > PATH_MAX {
        return Err(ENAMETOOLONG);
    }
    let mut end = 1;
    while end <= len {
        let bytes = path.to_bytes();
        while end < len && bytes.get(end) != Some(&b'/') {
            end += 1;
        }
        let prefix = bytes.get(..end).ok_or(EINVAL)?;
        let room = buf.get_mut(..=end).ok_or(ENAMETOOLONG)?;
        room.get_mut(..end).ok_or(EINVAL)?.copy_from_slice(prefix);
        *room.get_mut(end).ok_or(EINVAL)? = 0;
        let prefix = CStr::from_bytes_with_nul(room).map_err(|_| EINVAL)?;
        let mode = if end == len { mode } else { 0o755 };
        match split(root, prefix, |dir, name| sys::mkdir(dir, name, mode)) {
            Ok(()) | Err(EEXIST) => {}
            Err(e) => return Err(e),
        }
        end += 1;
    }
    Ok(())
}

/// Runs `act` with the directory that holds `path` (made if missing) and the last name.
fn in_parent(root: &Fd, path: &CStr, act: impl FnOnce(&Fd, &CStr) -> Res<()>) -> Res<()> {
    let bytes = path.to_bytes();
    if let Some(slash) = bytes.iter().rposition(|b| *b == b'/').filter(|at| *at > 0) {
        let mut buf = [0u8; PATH_MAX];
        let parent = c_string(&mut buf, bytes.get(..slash).ok_or(EINVAL)?)?;
        make_dirs(root, parent, 0o755)?;
    }
    split(root, path, act)
}

fn split(root: &Fd, path: &CStr, act: impl FnOnce(&Fd, &CStr) -> Res<()>) -> Res<()> {
    let bytes = path.to_bytes_with_nul();
    let slash = bytes.iter().rposition(|b| *b == b'/').ok_or(EINVAL)?;
    let name =
        CStr::from_bytes_with_nul(bytes.get(slash + 1..).ok_or(EINVAL)?).map_err(|_| EINVAL)?;
    if name.is_empty() {
        return Err(EEXIST);
    }
    let mut buf = [0u8; PATH_MAX];
    let parent = c_string(&mut buf, bytes.get(..=slash).ok_or(EINVAL)?)?;
    let dir = sys::open_in_root(root, parent, sys::O_PATH | sys::O_DIRECTORY, 0)?;
    act(&dir, name)
}

pub(crate) fn c_string<'b>(buf: &'b mut [u8], bytes: &[u8]) -> Result<&'b CStr, Errno> {
    let room = buf.get_mut(..=bytes.len()).ok_or(ENAMETOOLONG)?;
    let (text, nul) = room.split_at_mut(bytes.len());
    text.copy_from_slice(bytes);
    nul.fill(0);
    CStr::from_bytes_with_nul(room).map_err(|_| EINVAL)
}

/// Room for a number as text.
#[derive(Debug)]
pub(crate) struct Digits {
    buf: [u8; 24],
}

impl Digits {
    pub(crate) const fn new() -> Self {
        Self { buf: [0; 24] }
    }

    pub(crate) fn decimal(&mut self, value: u64) -> &CStr {
        self.write(value, 10)
    }

    fn octal(&mut self, value: u64) -> &CStr {
        self.write(value, 8)
    }

    fn write(&mut self, mut value: u64, base: u64) -> &CStr {
        let mut at = self.buf.len() - 1;
        loop {
            at -= 1;
            if let Some(digit) = self.buf.get_mut(at) {
                *digit = b'0' + (value % base) as u8;
            }
            value /= base;
            if value == 0 {
                break;
            }
        }
        self.buf
            .get(at..)
            .and_then(|b| CStr::from_bytes_until_nul(b).ok())
            .unwrap_or(c"0")
    }
}
