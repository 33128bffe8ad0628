//! What this host can do: facts as plain data, so that a plan can be made for any host.

mod cgroups;
#[cfg_attr(
    not(feature = "process"),
    allow(
        dead_code,
        reason = "a part of it is for backends that show directories"
    )
)]
pub(crate) mod directories;
mod facts;
mod fakes;
mod probe;

use std::path::PathBuf;

use crate::error::Result;

pub(crate) use cgroups::Host;
pub use directories::{Directory, DirectoryKind, FileId, RootEntry, RootFacts};
pub use facts::{
    Availability, CgroupFacts, CgroupVersion, ControllerFacts, HostFacts, IdRange, PathKind,
};

/// What this host can do, as this process.
///
/// Reads some files of /proc and /sys and looks at about sixty paths; starts nothing. That a user
/// namespace can be made is read from the switches that forbid it; a container's seccomp profile
/// may still refuse it, which shows at the start and is reported there.
#[must_use]
pub fn probe() -> HostFacts {
    Host::look().facts
}

/// Makes room for sandboxes in the control group that this process was given: where it is alone in
/// a delegated group of version 2, moves it into a leaf of that group, `kavach-host`.
///
/// A group that holds processes hands no controllers to groups below it (`cgroups(7)`, "no
/// internal processes"), so that the limits of sandboxes would be held by weaker mechanisms, or
/// outside of the group and of what limits the group itself. A service with `Delegate=yes` calls
/// this once, before it starts other processes and before its first sandbox; the command line
/// does. Nothing happens, and `None` is the answer, where other processes are in the group, where
/// it does not belong to this process alone, or where there is no need. The leaf stays until the
/// group itself is removed, which systemd does when the service ends.
///
/// # Errors
/// [`KavachError::Setup`](crate::KavachError::Setup) where the leaf cannot be made or entered.
pub fn step_aside() -> Result<Option<PathBuf>> {
    Ok(crate::cgroup::probe::step_aside()?)
}
