//! Looking at entries without trusting their names.
//!
//! Both trees can hold what a hostile guest made: the upper one always, the lower one what was
//! applied before. So nothing is opened by a path that the kernel may follow out of the tree
//! (openat2(2)), every check is made on an opened descriptor, and a descriptor that can be read is
//! made only of one that is known to be a regular file or a directory: opening a FIFO or a device
//! has effects of its own.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{self, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::entry::{Entry, EntryKind, Moment};

/// The longest path that is handed to the kernel at once; PATH_MAX is 4096 with its NUL.
const PIECE: usize = 4000;

/// Stays below the directory it starts from, on its mount, and follows no link.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// An entry, held but not opened for reading.
#[derive(Debug)]
pub(super) struct Node {
    file: File,
    pub(super) meta: Metadata,
}

impl Node {
    /// The entry of this name in a directory; a symbolic link is itself the entry.
    ///
    /// ENOENT where there is none; EXDEV where something is mounted on it.
    pub(super) fn look(dir: impl AsFd, name: &[u8]) -> io::Result<Self> {
        // O_PATH: no permission is needed but to pass the directory, and no FIFO or device notices.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(open_beneath(dir, name, flags)?);
        let meta = file.metadata()?;
        Ok(Self { file, meta })
    }

    /// The same, `None` where there is no such entry.
    pub(super) fn find(dir: impl AsFd, name: &[u8]) -> io::Result<Option<Self>> {
        match Self::look(dir, name) {
            Ok(node) => Ok(Some(node)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn kind(&self) -> EntryKind {
        EntryKind::of(&self.meta)
    }

    /// What it is, in the words of a change.
    pub(super) fn entry(&self) -> io::Result<Entry> {
        let target = match self.kind() {
            EntryKind::Symlink => Some(self.target()?),
            _ => None,
        };
        Ok(Entry::new(&self.meta, target))
    }

    /// When it came to be, where the filesystem knows.
    pub(super) fn born(&self) -> Option<Moment> {
        self.meta.created().ok().map(Moment::from)
    }

    /// The same file as it is by now, whatever its names are.
    pub(super) fn again(&self) -> io::Result<Entry> {
        Ok(Entry::new(&self.file.metadata()?, None))
    }

    /// Where a symbolic link points.
    fn target(&self) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.file, "", Vec::new())?.into_bytes())
    }

    /// Opens a regular file for reading: this one, whatever its name stands for by now.
    pub(super) fn open(&self) -> io::Result<File> {
        if self.kind() != EntryKind::File {
            return Err(Errno::INVAL.into());
        }
        // O_NONBLOCK: a lease (fcntl(2)) must not hold kavach up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(fs::openat(CWD, self.magic(), flags, Mode::empty())?.into())
    }

    /// Opens a directory for listing.
    pub(super) fn open_directory(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::openat(&self.file, ".", flags, Mode::empty())?)
    }

    /// A path for the calls that take no such descriptor: extended attributes, chmod.
    pub(super) fn magic(&self) -> String {
        magic(&self.file)
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The name by which this process reaches an open file, whatever happens to its other names.
pub(super) fn magic(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn open_beneath(dir: impl AsFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    loop {
        match fs::openat2(&dir, path, flags, Mode::empty(), BENEATH) {
            // The kernel could not tell whether a name was moved meanwhile; openat2(2) says to
            // ask again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

/// The directory of this path below `root`, which the empty path stands for. Longer paths than
/// the kernel takes are walked in pieces.
///
/// ELOOP where a name on the way is a symbolic link, EXDEV where it is on another mount, ENOTDIR,
/// ENOENT.
pub(super) fn directory(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = open_beneath(root, b".", flags)?;
    let mut rest = path;
    while !rest.is_empty() {
        let piece = match rest.get(..PIECE) {
            // A name has at most 255 bytes: there is a slash.
            Some(long) => match long.iter().rposition(|b| *b == b'/') {
                Some(slash) => &rest[..slash],
                None => return Err(Errno::NAMETOOLONG.into()),
            },
            None => rest,
        };
        at = open_beneath(&at, piece, flags)?;
        rest = rest.get(piece.len() + 1..).unwrap_or_default();
    }
    Ok(at)
}

/// The same, opened for listing: it takes the right to read it and to pass it.
pub(super) fn list(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(
        directory(root, path)?,
        ".",
        flags,
        Mode::empty(),
    )?)
}

/// The names in a directory, but for itself and the one above.
pub(super) fn names(dir: impl AsFd) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let entries = fs::Dir::read_from(dir)?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) => match entry.file_name().to_bytes() {
            b"." | b".." => None,
            name => Some(Ok(name.to_vec())),
        },
        Err(e) => Some(Err(e.into())),
    }))
}

/// Whether an error says that the entry is not there, or not as what it was a moment ago.
pub(super) fn is_gone(e: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE]
        .iter()
        .any(|errno| is(e, *errno))
}

/// Whether an error is this answer of the kernel's.
pub(super) fn is(e: &io::Error, errno: Errno) -> bool {
    e.raw_os_error() == Some(errno.raw_os_error())
}
