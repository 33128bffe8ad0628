//! What this host can do: facts as plain data, so that a plan can be made for any host.

mod cgroups;
pub(crate) mod directories;
mod facts;
mod fakes;
mod probe;

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
