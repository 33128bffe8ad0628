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
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod probe;
mod unseen;

use std::path::PathBuf;

use crate::error::Result;

pub(crate) use cgroups::Host;
pub use directories::{Directory, DirectoryKind, FileId, RootEntry, RootFacts};
pub use facts::{
    Availability, CgroupFacts, CgroupVersion, ControllerFacts, HostFacts, IdRange, PathKind,
};
pub use unseen::Unseen;

/// What this host can do, as this process.
///
/// Reads some files of /proc and /sys and looks at about sixty paths; starts nothing. That a user
/// namespace can be made is read from the switches that forbid it; a container's seccomp profile
/// may still refuse it, which shows at the start and is reported there.
#[must_use]
pub fn probe() -> HostFacts {
    Host::look().facts
}

/// Bytes of memory that can be had without swapping, by the kernel's own estimate (proc(5),
/// MemAvailable). `None` where it says nothing.
pub(crate) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Makes room for sandboxes in this process's own control group: where it is alone in a group of
/// version 2 that it may write, moves it into a leaf of that group, `kavach-host`.
///
/// A group that holds processes hands no controllers to groups below it (`cgroups(7)`, "no
/// internal processes"). The limits of sandboxes would then be held by weaker mechanisms, or in a
/// group beside, where nothing that limits this process's own group holds for them. A service with
/// `Delegate=yes` calls this once, before it starts other processes and before its first sandbox;
/// the command line does.
///
/// Nothing happens, and `None` is the answer, where other processes are in the group (move them
/// yourself, or use systemd's `DelegateSubgroup=`), where this user may not write it, and where
/// there is no need. Otherwise the answer is the leaf; it stays until the group itself is removed,
/// which systemd does when the service or scope ends.
///
/// # Errors
/// [`KavachError::Setup`](crate::KavachError::Setup) where the leaf cannot be made or entered.
pub fn step_aside() -> Result<Option<PathBuf>> {
    Ok(crate::cgroup::probe::step_aside()?)
}
