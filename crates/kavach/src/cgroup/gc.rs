//! Removing what hosts that died left behind.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::error::CgroupError;
use super::files::KERNEL;
use super::kill::{self, KillOutcome};
use super::name::Owner;
use super::probe::{CgroupSupport, Place};
use super::tree::{self, Dir};
use super::{Controller, Version};

/// Most groups that one search returns; a later search finds the rest.
const MOST: usize = 10_000;
/// Calls of the (itself bounded) kill before a group is given up.
const ATTEMPTS: u32 = 5;
/// Tries of removing directories that are still in use: about one second.
const REMOVALS: u32 = 500;

/// How the groups in a directory are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FreezerKind {
    /// They are not.
    None,
    /// `freezer.state`.
    V1,
    /// `cgroup.freeze`.
    V2,
}

/// The distinct directories in which sandbox groups are made, for a reaper
/// that removes them without this module.
pub(crate) fn base_dirs(support: &CgroupSupport) -> Vec<(PathBuf, FreezerKind)> {
    let kind = |version, controllers: &[Controller]| match version {
        Version::V1 if controllers.contains(&Controller::Freezer) => FreezerKind::V1,
        Version::V1 => FreezerKind::None,
        Version::V2 => FreezerKind::V2,
    };
    let places = support.places().into_iter();
    places
        .map(|(place, held)| (place.base, kind(place.version, &held)))
        .collect()
}

/// The groups of a sandbox whose host is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stale {
    /// Who made it.
    pub(crate) owner: Owner,
    dirs: Vec<Dir>,
}

impl Stale {
    /// The directories, one for each hierarchy that has the group.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.dirs.iter().map(|dir| &dir.path)
    }
}

/// What a cleaning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleaned {
    /// Processes that were in the group.
    pub(crate) killed: usize,
    /// Directories removed, leaves included.
    pub(crate) removed: usize,
}

/// Finds the groups of dead hosts in the places of `support`, and in the
/// version 2 groups `more`. Only groups with a name of kavach's own, made in
/// this pid namespace, are ever returned.
pub(crate) fn stale(support: &CgroupSupport, more: &[PathBuf]) -> Vec<Stale> {
    let mut found: Vec<Stale> = Vec::new();
    let places = support.places();
    let known = |path: &PathBuf| places.iter().any(|(place, _)| place.base == *path);
    // What every group of version 2 can do without a controller suffices to kill.
    let core = [Controller::Cpuacct, Controller::Freezer];
    let more = more.iter().filter(|path| !known(path)).map(|path| {
        let place = Place {
            version: Version::V2,
            base: path.clone(),
        };
        (place, core.to_vec())
    });
    for (place, controllers) in places.iter().cloned().chain(more) {
        search(&place, &controllers, &mut found);
    }
    found
}

fn search(place: &Place, controllers: &[Controller], found: &mut Vec<Stale>) {
    let Ok(entries) = fs::read_dir(&place.base) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(Owner::parse) else {
            continue;
        };
        let dir = Dir {
            version: place.version,
            path: entry.path(),
            controllers: controllers.to_vec(),
        };
        let room = found.len() < MOST;
        match found.iter_mut().find(|known| known.owner == owner) {
            Some(known) => known.dirs.push(dir),
            None if room && owner.is_dead() => {
                found.push(Stale {
                    owner,
                    dirs: vec![dir],
                });
            }
            None => {}
        }
    }
}

/// Thaws, kills and removes what [`stale`] found. Blocks for some seconds at
/// most. A group that another process removed meanwhile is no error.
///
/// # Errors
/// [`CgroupError::Unkillable`], [`CgroupError::Busy`], or a control file fails.
pub(crate) fn clean(stale: &Stale) -> Result<Cleaned, CgroupError> {
    let killed = tree::pids(&KERNEL, &stale.dirs)?.len();
    let mut left = killed;
    for _ in 0..ATTEMPTS {
        match kill::kill(&KERNEL, &stale.dirs)? {
            KillOutcome::Gone => {
                left = 0;
                break;
            }
            // A frozen base: nothing of ours to thaw, so only time can help.
            KillOutcome::PendingThaw => {
                left = tree::pids(&KERNEL, &stale.dirs)?.len();
            }
            KillOutcome::Alive { count } => left = count,
        }
    }
    if left > 0 {
        let path = stale
            .dirs
            .first()
            .map(|dir| dir.path.clone())
            .unwrap_or_default();
        return Err(CgroupError::Unkillable { path, count: left });
    }
    let removed = remove(stale)?;
    Ok(Cleaned { killed, removed })
}

/// Removes the directories, waiting for the kernel to let go of the last
/// process, which it does a moment after it is no longer listed.
fn remove(stale: &Stale) -> Result<usize, CgroupError> {
    let mut removed = 0;
    for _ in 0..REMOVALS {
        let (count, result) = tree::remove(&KERNEL, &stale.dirs);
        removed += count;
        match result {
            Ok(()) => return Ok(removed),
            Err(CgroupError::Busy { .. }) => thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(error),
        }
    }
    tree::remove(&KERNEL, &stale.dirs).1.map(|()| removed)
}
