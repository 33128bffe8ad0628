//! Directories of the host in a plan: those that a guest works in.

use std::path::PathBuf;

use serde::Serialize;

use super::{MountStep, Plan};
use crate::host::FileId;

/// A directory of the host that is shown under the guest's own rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HostDirectory {
    /// Its path, without symbolic links.
    pub path: PathBuf,
    /// Which directory must be there.
    pub id: FileId,
    /// The ids on the host that show as the guest's own: an idmapped mount (`mount_setattr(2)`).
    /// `None` where the guest has the caller's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<HostIds>,
}

/// A user and a group of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HostIds {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Where the writes to a workspace go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UpperPlan {
    /// To a tmpfs that nothing inside can reach otherwise.
    Tmpfs {
        /// Most bytes.
        size_bytes: u64,
        /// Most inodes.
        inodes: u64,
    },
    /// To `upper` in this directory, which the starter makes.
    Directory(HostDirectory),
}

impl Plan {
    /// The workspace's step of the view, if there is one.
    #[must_use]
    pub fn workspace(&self) -> Option<(&HostDirectory, &UpperPlan)> {
        self.view.mounts.iter().find_map(|step| match step {
            MountStep::Workspace { lower, upper } => Some((lower, upper)),
            _ => None,
        })
    }

    /// The host directories that the guest writes to.
    pub fn write_through(&self) -> impl Iterator<Item = &HostDirectory> {
        self.view.mounts.iter().filter_map(|step| match step {
            MountStep::WriteThrough { directory } => Some(directory),
            _ => None,
        })
    }
}
