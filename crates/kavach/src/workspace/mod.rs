//! A workspace: a directory of the host that a guest works in without changing it, until
//! somebody applies what it did.
//!
//! The guest sees an overlay: the host's directory below, and above it an upper directory that
//! takes every write. [`changes`] reads the difference out of the upper directory; [`apply`]
//! writes it back. Of the difference some is never written back, whatever the guest wants:
//! setuid, setgid and sticky bits, sockets, FIFOs, devices, links that lead out, anything through
//! a link, and files that programs of the host act on by themselves. Each such change is named
//! with its reason ([`Refused`]) and keeps no other from being applied, unless
//! [`ApplyOptions::all_or_nothing`] says so.
//!
//! Each file is written whole under a temporary name, synced, and renamed: who looks, and what a
//! kill at any moment leaves, is the old file or the new one. There is no journal: a kill between
//! two files leaves one applied and the other not, and temporary files of the name
//! `.kavach-apply-…` that the next apply removes.
//!
//! What it does not do. It does not judge content: that a source file is harmless is for the
//! caller to know ([`Review`]). It keeps the time of modification but no extended attribute of
//! the guest's, and makes a file of each name of a hard link. It does not guard against other
//! processes of the host that change the workspace at the same moment with hostile intent and the
//! caller's own rights. The permissions of the workspace directory itself never change.
//!
//! Sources: the kernel's filesystems/overlayfs.rst, openat2(2), rename(2), inode(7).

mod apply;
mod baseline;
mod change;
mod check;
mod content;
mod diff;
mod entry;
mod limits;
mod link;
mod node;
mod options;
mod overlay;
mod path;
mod protect;
mod refusal;
mod select;
mod stage;
mod temporary;
mod write;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use baseline::Baseline;
pub use change::{CHANGES_VERSION, Change, ChangeKind, Changes, Summary};
pub(crate) use content::Cancel;
pub use entry::{Entry, EntryKind};
pub use limits::Limits;
pub use options::{ApplyOptions, Review};
pub use path::{EntryPath, escaped};
pub use refusal::{Applied, AppliedChange, Refusal, Refused};
pub(crate) use {apply::apply as apply_until, diff::diff as changes_until};

use crate::error::{KavachError, Result};

/// The two directories of a workspace, as the host reaches them.
#[derive(Debug)]
pub struct Layers {
    /// The directory of the host, opened by the caller.
    pub lower: OwnedFd,
    /// The upper directory of the overlay. It may be in another mount namespace.
    pub upper: OwnedFd,
    /// Where the guest sees the workspace.
    pub target: PathBuf,
    /// Whether the overlay was mounted with `userxattr`: where its marks are.
    pub userxattr: bool,
}

impl Layers {
    /// The same layers, for another thread.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let again = |fd: &OwnedFd| {
            fd.try_clone().map_err(|source| KavachError::HostIo {
                op: "keep open".into(),
                path: "the workspace".into(),
                source,
            })
        };
        Ok(Self {
            lower: again(&self.lower)?,
            upper: again(&self.upper)?,
            target: self.target.clone(),
            userxattr: self.userxattr,
        })
    }
}

/// What the guest changed.
///
/// The guest may run on meanwhile: each entry is then listed as it was at some moment, not all at
/// the same. Takes time for what the guest touched: the files among it that have the host's length
/// are compared byte by byte. Blocks.
///
/// # Errors
/// [`KavachError::WorkspaceLimit`] where there is more than the limits allow,
/// [`KavachError::WorkspaceLayer`] where the upper directory is not of the kind that kavach
/// mounts, [`KavachError::HostIo`] where the host cannot read it.
pub fn changes(layers: &Layers, baseline: &Baseline, limits: Limits) -> Result<Changes> {
    diff::diff(layers, baseline, limits, &Cancel::default())
}

/// Writes changes back to the host.
///
/// New entries belong to the caller; where the caller is root, to the owner of the workspace
/// directory. A file that is replaced keeps its owner, its access lists and its own attributes;
/// other names of it (hard links) keep the old content. Permissions are the guest's, whatever the
/// caller's umask. Blocks.
///
/// # Errors
/// As [`changes`]; [`KavachError::WorkspaceBusy`] while another apply changes the same directory;
/// [`KavachError::InvalidConfig`] for a path in the options that is none of the workspace. That
/// single changes cannot be applied is no error: see [`Applied::refused`].
pub fn apply(layers: &Layers, baseline: &mut Baseline, options: ApplyOptions) -> Result<Applied> {
    apply::apply(layers, baseline, options.resolve()?, &Cancel::default())
}
