//! Removing what host processes that died left behind.
//!
//! While a host process lives its sandboxes end with it, and when it is killed a small reaper of
//! its own removes their control groups. What stays is left only where the reaper was killed too.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::cgroup::gc::{Stale, clean, stale};
use crate::cgroup::name::Owner;
use crate::cgroup::probe;
use crate::error::{KavachError, Result};

/// The control groups of one sandbox whose host process is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Leftover {
    /// The process id that the host process had.
    pub host_pid: u32,
    /// The owner's name, as far as it stands in the group's name: 32 plain characters.
    pub agent_id: String,
    /// The groups, one in each hierarchy.
    pub paths: Vec<PathBuf>,
}

/// A leftover that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Removed {
    /// What it was.
    pub leftover: Leftover,
    /// Processes of the guest that still lived, and were killed.
    pub killed_processes: usize,
    /// Directories removed, those below the groups included.
    pub removed_directories: usize,
}

/// A leftover that could not be removed.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotRemoved {
    /// What it is.
    pub leftover: Leftover,
    /// Why.
    pub error: KavachError,
}

/// What [`gc()`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// What is gone.
    pub removed: Vec<Removed>,
    /// What is still there.
    pub failed: Vec<NotRemoved>,
}

/// What [`gc()`] would remove. Removes nothing.
///
/// Only groups are found that carry a name of kavach's, lie where this process itself would make
/// groups (in version 2: in its own group or one above it), belong to its own user, and were made
/// by a process of this pid namespace that is known to be dead. Groups that another login session
/// or service left in its own place are not seen; the session's manager removes those.
///
/// # Errors
/// [`KavachError::HostIo`] where `/proc` does not tell live processes from dead ones.
pub fn find() -> Result<Vec<Leftover>> {
    Ok(search()?.iter().map(leftover).collect())
}

/// Kills and removes what [`find`] finds. Blocks, for some seconds at most per leftover. Several
/// may run at once: what another removed first is no error.
///
/// Lock files of uid ranges in `/run/kavach/uid-ranges` that a killed host left stay: they are empty,
/// and later sandboxes take them over.
///
/// # Errors
/// As [`find`]. What cannot be removed is no error of the whole: it stands in the report.
pub fn gc() -> Result<GcReport> {
    let mut report = GcReport::default();
    for stale in search()? {
        let leftover = leftover(&stale);
        match clean(&stale) {
            Ok(cleaned) => report.removed.push(Removed {
                leftover,
                killed_processes: cleaned.killed,
                removed_directories: cleaned.removed,
            }),
            Err(error) => report.failed.push(NotRemoved {
                leftover,
                error: error.into(),
            }),
        }
    }
    Ok(report)
}

fn search() -> Result<Vec<Stale>> {
    // Without /proc every owner would count as alive, and the answer would be a false "nothing".
    Owner::current(0, "").map_err(|source| KavachError::HostIo {
        op: "tell live processes from dead ones".into(),
        path: "/proc/self".into(),
        source,
    })?;
    let user = rustix::process::geteuid().as_raw();
    let mut found = stale(&probe::probe(), &probe::unified_chain());
    // A group that is gone meanwhile needs no removal.
    found.retain(|stale| {
        let mut owners = stale.paths().filter_map(|path| path.metadata().ok());
        owners.all(|meta| meta.uid() == user)
    });
    Ok(found)
}

fn leftover(stale: &Stale) -> Leftover {
    Leftover {
        host_pid: stale.owner.pid,
        agent_id: stale.owner.agent.clone(),
        paths: stale.paths().cloned().collect(),
    }
}
