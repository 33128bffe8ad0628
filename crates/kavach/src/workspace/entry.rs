//! One entry of a tree: what it is, and what tells one state of it from another.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::path::escaped;

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// The permissions, with the setuid, setgid and sticky bits. In JSON an octal number as text,
    /// for instance `"0644"`.
    #[serde(serialize_with = "octal")]
    pub mode: u32,
    /// Length in bytes, for a file; holes count. Else 0.
    pub size: u64,
    /// How many names it has; 1 for a directory. Each of several is applied as a file of its own.
    pub links: u64,
    /// Where a symbolic link points; escaped like paths in JSON.
    #[serde(serialize_with = "target")]
    pub target: Option<Vec<u8>>,
    /// Recognises the file of which the rest was read.
    #[serde(skip)]
    pub(super) stamp: Stamp,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{mode:04o}"))
}

fn target<S: Serializer>(target: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    target.as_deref().map(escaped).serialize(serializer)
}

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl EntryKind {
    /// Every type.
    pub const ALL: [EntryKind; 7] = [
        EntryKind::File,
        EntryKind::Directory,
        EntryKind::Symlink,
        EntryKind::Fifo,
        EntryKind::Socket,
        EntryKind::CharDevice,
        EntryKind::BlockDevice,
    ];

    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = metadata.file_type();
        if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Symlink
        } else if kind.is_fifo() {
            Self::Fifo
        } else if kind.is_socket() {
            Self::Socket
        } else if kind.is_char_device() {
            Self::CharDevice
        } else if kind.is_block_device() {
            Self::BlockDevice
        } else {
            Self::File
        }
    }

    pub(super) const fn is_special(self) -> bool {
        match self {
            Self::Fifo | Self::Socket | Self::CharDevice | Self::BlockDevice => true,
            Self::File | Self::Directory | Self::Symlink => false,
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
        })
    }
}

/// A moment of the host's clock, as files have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    seconds: i64,
    nanoseconds: i64,
}

impl Moment {
    /// The moment this many nanoseconds later; less than a second.
    pub(super) const fn later_by(self, nanoseconds: i64) -> Self {
        let sum = self.nanoseconds + nanoseconds;
        Self {
            seconds: self.seconds.saturating_add(sum / 1_000_000_000),
            nanoseconds: sum % 1_000_000_000,
        }
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        // Before 1970 or after the year 292 277 026 596 no sandbox began.
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(since.subsec_nanos()),
        }
    }
}

/// What tells one state of a file from another. The guest can set neither the inode's number nor
/// its change time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mode: u32,
    modified: Moment,
    pub(super) changed: Moment,
}

impl Stamp {
    /// What file it is, by device and inode.
    pub(super) const fn file(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            modified: Moment {
                seconds: metadata.mtime(),
                nanoseconds: metadata.mtime_nsec(),
            },
            changed: Moment {
                seconds: metadata.ctime(),
                nanoseconds: metadata.ctime_nsec(),
            },
        }
    }
}

impl Entry {
    pub(super) fn new(metadata: &Metadata, target: Option<Vec<u8>>) -> Self {
        let kind = EntryKind::of(metadata);
        let is_file = kind == EntryKind::File;
        Self {
            kind,
            mode: metadata.mode() & 0o7777,
            size: if is_file { metadata.size() } else { 0 },
            links: match kind {
                EntryKind::Directory => 1,
                _ => metadata.nlink(),
            },
            target,
            stamp: Stamp::of(metadata),
        }
    }

    /// Whether `now` is the entry that this describes, unchanged.
    ///
    /// A directory's times and size change with what is in it, and are its own. The change time
    /// of a file with several names changes when another name of it is replaced.
    pub(super) fn is(&self, now: &Entry) -> bool {
        let (a, b) = (&self.stamp, &now.stamp);
        match self.kind {
            EntryKind::Directory => a.mode == b.mode,
            _ if self.links > 1 => {
                Stamp {
                    changed: b.changed,
                    ..*a
                } == *b
            }
            _ => a == b,
        }
    }
}
