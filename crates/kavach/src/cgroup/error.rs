//! What can go wrong with a control group.

use std::io;
use std::path::PathBuf;

/// A failed act on a control group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CgroupError {
    /// No controller of any hierarchy can be used on this host.
    #[error("no control group can be made on this host")]
    NoController,
    /// The name was not made by [`super::name::Owner`].
    #[error("{name:?} is not the name of a sandbox group")]
    InvalidName {
        /// The refused name.
        name: String,
    },
    /// A limit that the kernel cannot hold.
    #[error("limit {field} = {value}: {reason}")]
    InvalidLimit {
        /// Name of the field in [`super::limits::Limits`].
        field: &'static str,
        /// The refused value.
        value: u64,
        /// What the field accepts.
        reason: &'static str,
    },
    /// A directory could not be made.
    #[error("cannot make the control group {}: {source}", path.display())]
    MakeDir {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A control file refused a value.
    #[error("cannot write {value:?} to {}: {source}", path.display())]
    Write {
        /// The control file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A control file could not be read or opened.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The control file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel took a value and holds another.
    #[error("{} holds {read:?} after {wrote:?} was written", path.display())]
    Readback {
        /// The control file.
        path: PathBuf,
        /// What was written.
        wrote: String,
        /// What it reads.
        read: String,
    },
    /// The group has no freezer in any hierarchy.
    #[error("this host offers no freezer")]
    NoFreezer,
    /// A group still has processes or children; try again after they are gone.
    #[error("the control group {} is still in use", path.display())]
    Busy {
        /// The directory that is in use.
        path: PathBuf,
    },
    /// A directory could not be removed, and waiting will not help.
    #[error("cannot remove the control group {}: {source}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A process could not be signalled.
    #[error("cannot kill process {pid}: {source}")]
    Signal {
        /// The process, in the pid namespace of the caller.
        pid: i32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Processes outlived every round of killing.
    #[error("{count} processes of {} outlive SIGKILL", path.display())]
    Unkillable {
        /// The group.
        path: PathBuf,
        /// How many are left.
        count: usize,
    },
}

impl CgroupError {
    /// What to try, where something can be tried.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoController => Some(
                "run as root, or inside a delegated subtree: \
                 systemd-run --user --scope -p Delegate=yes",
            ),
            Self::InvalidLimit { .. } => Some("choose a value in the accepted range"),
            Self::MakeDir { .. } => Some(
                "check that the parent is writable, and its cgroup.max.descendants and \
                 cgroup.max.depth",
            ),
            Self::Write { .. } | Self::Readback { .. } => {
                Some("an ancestor group may hold a tighter limit; lower the requested one")
            }
            Self::Busy { .. } => Some("kill the group, then remove it again"),
            Self::NoFreezer => Some("mount the v1 freezer, or use cgroup v2 on Linux 5.2 or newer"),
            Self::Unkillable { .. } => {
                Some("the processes wait in the kernel (state D): look at /proc/PID/stack")
            }
            Self::InvalidName { .. }
            | Self::Read { .. }
            | Self::Remove { .. }
            | Self::Signal { .. } => None,
        }
    }
}

impl From<CgroupError> for crate::error::KavachError {
    fn from(error: CgroupError) -> Self {
        let fix = error.hint().map(str::to_owned);
        Self::Setup {
            step: "control groups".into(),
            on: "this host's hierarchies".into(),
            source: io::Error::other(error),
            fix,
        }
    }
}
