//! Looking at the directories of the host that a config wants shown under the guest's own rights:
//! workspaces, write-through directories, roots.
//!
//! They are looked at harder than read paths. What is behind a symbolic link may be another
//! directory a moment later, and writes would land there; so none is followed, and the identity
//! that was seen here is what the agent must find when it mounts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{HostFacts, PathKind};
use crate::cgroup::layout::{LARGEST_MOUNTINFO, unescape};

/// Most entries of a root directory that are looked at.
const MOST_ENTRIES: usize = 256;

/// Which file this is: two looks that see the same numbers saw the same file (stat(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// A directory that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Directory {
    /// Which one it is.
    pub id: FileId,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// What is mounted below it.
    pub mounts_below: Vec<PathBuf>,
}

impl Directory {
    /// A directory of this owner, with nothing mounted below it.
    #[must_use]
    pub const fn new(id: FileId, uid: u32, gid: u32) -> Self {
        Self {
            id,
            uid,
            gid,
            mounts_below: Vec::new(),
        }
    }
}

/// What is at a path that is to be a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DirectoryKind {
    /// A directory.
    Directory(Directory),
    /// Something else.
    Other,
    /// A symbolic link, or one on the way to it; the path without links, where there is one.
    Link(Option<PathBuf>),
    /// It could not be looked at, with the error number.
    Unreadable(i32),
}

/// An entry of a root directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RootEntry {
    /// What it is.
    pub kind: PathKind,
    /// Which one it is.
    pub id: FileId,
    /// Whether it is a directory with nothing in it.
    pub is_empty: bool,
}

/// The root directory of another system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RootFacts {
    /// Its entries by name.
    pub entries: BTreeMap<OsString, RootEntry>,
    /// Whether there were more than are listed.
    pub truncated: bool,
    /// Which of the files and directories that a sandbox lays its own over are there, as what
    /// they are: `/var/tmp`, `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname`.
    pub places: Vec<PathBuf>,
}

/// Places of a root directory that the sandbox lays its own over: with whether each is a
/// directory.
const PLACES: [(&str, bool); 4] = [
    ("/var/tmp", true),
    ("/etc/resolv.conf", false),
    ("/etc/hosts", false),
    ("/etc/hostname", false),
];

impl HostFacts {
    /// Looks at directories, for instance those of
    /// [`Spec::host_directories`](crate::config::Spec::host_directories).
    #[must_use]
    pub fn looking_at_directories<'a>(mut self, paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut mounts = None;
        for path in paths {
            let mounts = mounts.get_or_insert_with(mount_points);
            let kind = look(path, mounts.as_deref());
            self.directories.insert(path.to_path_buf(), kind);
        }
        self
    }

    /// Looks at the directory that is to be the root of a sandbox.
    #[must_use]
    pub fn looking_at_root(mut self, path: Option<&Path>) -> Self {
        if let Some(path) = path {
            let root = open(path).ok().and_then(|root| list(&root).ok());
            self.root = root;
        }
        self
    }
}

/// Every mount point of this process; `None` where the list cannot be read whole.
fn mount_points() -> Option<Vec<PathBuf>> {
    use io::Read as _;
    let mut text = Vec::new();
    let most = u64::try_from(LARGEST_MOUNTINFO).unwrap_or(u64::MAX);
    let file = std::fs::File::open("/proc/self/mountinfo").ok()?;
    // One more, so that a longer file is seen to be too long.
    let read = file.take(most.saturating_add(1)).read_to_end(&mut text);
    if read.ok()? > LARGEST_MOUNTINFO {
        return None;
    }
    let lines = text.split(|b| *b == b'\n');
    // proc_pid_mountinfo(5): the fifth field.
    let points = lines.filter_map(|line| line.split(|b| *b == b' ').nth(4));
    Some(
        points
            .map(|point| OsString::from_vec(unescape(point)).into())
            .collect(),
    )
}

/// Refers to a directory without following a symbolic link anywhere on the way. ELOOP where
/// there is one, ENOTDIR where it is no directory.
pub(crate) fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(CWD, path, flags, Mode::empty(), resolve)
}

/// The identity of what is at a path that no symbolic link stands on the way to.
pub(super) fn id_without_links(path: &Path) -> rustix::io::Result<FileId> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    id(&fs::openat2(CWD, path, flags, Mode::empty(), resolve)?)
}

/// The identity of an open file.
pub(crate) fn id(fd: &OwnedFd) -> rustix::io::Result<FileId> {
    fs::fstat(fd).map(|stat| id_of(&stat))
}

fn id_of(stat: &fs::Stat) -> FileId {
    FileId {
        device: stat.st_dev,
        inode: stat.st_ino,
    }
}

fn look(path: &Path, mounts: Option<&[PathBuf]>) -> DirectoryKind {
    let Some(mounts) = mounts else {
        // Nobody can tell what is mounted below.
        return DirectoryKind::Unreadable(Errno::IO.raw_os_error());
    };
    match open(path).and_then(|fd| fs::fstat(&fd)) {
        Ok(stat) => DirectoryKind::Directory(Directory {
            id: id_of(&stat),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mounts_below: mounts
                .iter()
                .filter(|mount| mount.starts_with(path) && *mount != path)
                .cloned()
                .collect(),
        }),
        Err(Errno::LOOP) => DirectoryKind::Link(path.canonicalize().ok()),
        Err(Errno::NOTDIR) => match fs::lstat(path) {
            Ok(_) => DirectoryKind::Other,
            Err(e) => DirectoryKind::Unreadable(e.raw_os_error()),
        },
        Err(e) => DirectoryKind::Unreadable(e.raw_os_error()),
    }
}

/// The entries of a root directory, none of them followed out of it.
fn list(root: &OwnedFd) -> io::Result<RootFacts> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut facts = RootFacts {
        entries: BTreeMap::new(),
        truncated: false,
        places: Vec::new(),
    };
    for entry in fs::Dir::read_from(fs::openat(root, c".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        if facts.entries.len() == MOST_ENTRIES {
            facts.truncated = true;
            break;
        }
        let stat = fs::statat(root, name, fs::AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => PathKind::Directory,
            FileType::RegularFile => PathKind::File,
            FileType::Symlink => {
                let text = fs::readlinkat(root, name, Vec::new())?;
                PathKind::Symlink(std::ffi::OsStr::from_bytes(text.as_bytes()).into())
            }
            _ => PathKind::Special,
        };
        let is_empty = kind == PathKind::Directory && is_empty(root, name);
        let name = std::ffi::OsStr::from_bytes(name.to_bytes()).to_owned();
        let id = id_of(&stat);
        facts.entries.insert(name, RootEntry { kind, id, is_empty });
    }
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for (place, is_dir) in PLACES {
        let below = place.trim_start_matches('/');
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = fs::openat2(root, below, flags, Mode::empty(), within);
        let wanted = match is_dir {
            true => FileType::Directory,
            false => FileType::RegularFile,
        };
        let stat = found.and_then(|fd| fs::fstat(&fd));
        if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == wanted) {
            facts.places.push(place.into());
        }
    }
    Ok(facts)
}

/// Whether nothing is in a directory, as far as the caller may look.
fn is_empty(root: &OwnedFd, name: &std::ffi::CStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entries = fs::openat(root, name, flags, Mode::empty()).and_then(fs::Dir::read_from);
    entries.is_ok_and(|entries| {
        let mut names = entries.map(|entry| entry.map(|e| e.file_name().to_owned()));
        !names.any(|name| name.map_or(true, |name| ![c".", c".."].contains(&name.as_c_str())))
    })
}
