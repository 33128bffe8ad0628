//! A workspace: a directory of the host that a guest works in without changing it, until
//! somebody applies what it did.
//!
//! The guest sees an overlay: the host's directory below, and above it an upper directory that
//! takes every write.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

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
