//! A directory of the host to work in, and the other directories that are more than read paths.

use std::path::{Path, PathBuf};

use crate::error::{KavachError, Result};
use crate::policy::{Filesystem, View, check_path};

/// A directory of the host that the guest works in: it sees what is there and may change all of
/// it, and the host's directory stays as it is until somebody applies the changes.
///
/// It is an overlay (kernel: filesystems/overlayfs.rst), shown at the directory's own path, and
/// commands start in it. Its quota is the policy's
/// [`workspace_mb`](crate::policy::Filesystem::workspace_mb) and
/// [`workspace_inodes`](crate::policy::Filesystem::workspace_inodes).
///
/// What it does not protect from: the guest reads everything below the directory that its owner
/// may read. Files in it that belong to others than its owner show as theirs, and what the guest
/// may do with them depends on who kavach is (docs/adr/0007).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    directory: PathBuf,
    upper: Upper,
}

/// Where the writes to a workspace go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upper {
    /// To memory, up to the policy's quota; gone with the sandbox.
    #[default]
    Tmpfs,
    /// To this directory of the host, which has no quota and stays: a later sandbox with the same
    /// two directories goes on where this one ended. kavach makes the directory `layers` in it,
    /// which only its owner can enter. It needs a file system with extended attributes of users (ext4, xfs, btrfs)
    /// and, as it is a host path that a guest writes to, a system call filter.
    Directory(PathBuf),
}

impl Workspace {
    /// The directory at this absolute path, whose changes are kept in memory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            upper: Upper::Tmpfs,
        }
    }

    /// Where the writes go. Default: [`Upper::Tmpfs`].
    #[must_use]
    pub fn upper(mut self, upper: Upper) -> Self {
        self.upper = upper;
        self
    }

    /// The directory, on the host and inside.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the writes go.
    #[must_use]
    pub fn get_upper(&self) -> &Upper {
        &self.upper
    }

    pub(crate) fn upper_directory(&self) -> Option<&Path> {
        match &self.upper {
            Upper::Tmpfs => None,
            Upper::Directory(path) => Some(path),
        }
    }
}

/// Where the sandbox has mounts of its own, whose host namesakes would undo it.
const KERNELS: [&str; 3] = ["/proc", "/dev", "/sys"];

/// A directory that a config names, and the field that does.
struct Named<'a> {
    field: String,
    path: &'a Path,
}

/// Checks what can be known of the directories without the host: their form, and that none lies
/// in another.
pub(super) fn check(
    workspace: Option<&Workspace>,
    rootfs: Option<&Path>,
    fs: &Filesystem,
) -> Result<()> {
    let named = |field: &str, path| Named {
        field: field.to_owned(),
        path,
    };
    let mut shown: Vec<Named<'_>> = Vec::new();
    shown.extend(workspace.map(|w| named("workspace", w.directory())));
    let write_through = fs.write_through.iter().enumerate();
    shown.extend(write_through.map(|(index, path)| Named {
        field: format!("filesystem.write_through[{index}]"),
        path,
    }));
    let upper = workspace.and_then(Workspace::upper_directory);
    let upper = upper.map(|path| named("workspace.upper", path));
    let root = rootfs.map(|path| named("rootfs", path));
    for directory in shown.iter().chain(&upper).chain(&root) {
        check_path(&directory.field, directory.path)?;
        check_kernels(directory)?;
    }
    for (index, one) in shown.iter().enumerate() {
        let others = shown.get(index + 1..).unwrap_or_default();
        for other in others.iter().chain(&upper) {
            check_apart(one, other)?;
        }
        for read in &fs.read {
            // Above it is fine: the directory is then laid over its part of what is read-only.
            if read.starts_with(one.path) {
                return Err(clash(one, "filesystem.read", read));
            }
        }
    }
    if let Some(upper) = &upper {
        for read in &fs.read {
            if upper.path.starts_with(read) || read.starts_with(upper.path) {
                return Err(clash(upper, "filesystem.read", read));
            }
        }
        if fs.view == View::Host {
            return Err(KavachError::invalid(
                "workspace.upper",
                "the guest would reach it by its own path",
                "filesystem.view = \"private\"",
                "keep the changes in memory, or use the private view",
            ));
        }
    }
    if root.is_some() && fs.view == View::Host {
        return Err(KavachError::invalid(
            "rootfs",
            "the guest sees the host's own root",
            "filesystem.view = \"private\"",
            "use the private view, or leave the rootfs out",
        ));
    }
    Ok(())
}

fn check_kernels(directory: &Named<'_>) -> Result<()> {
    let own = KERNELS.iter().any(|own| directory.path.starts_with(own));
    if directory.path != Path::new("/") && !own {
        return Ok(());
    }
    Err(KavachError::invalid(
        &directory.field,
        format!("{:?}", directory.path),
        "a directory below /, outside /proc, /dev and /sys",
        "name the directory of one project",
    ))
}

fn check_apart(one: &Named<'_>, other: &Named<'_>) -> Result<()> {
    if one.path.starts_with(other.path) || other.path.starts_with(one.path) {
        return Err(clash(one, &other.field, other.path));
    }
    Ok(())
}

fn clash(one: &Named<'_>, field: &str, other: &Path) -> KavachError {
    KavachError::invalid(
        &one.field,
        format!("{:?} and {field} {other:?} lie in one another", one.path),
        "directories that are apart: what is writable in one way cannot be otherwise inside",
        "name one of the two, or move one",
    )
}
