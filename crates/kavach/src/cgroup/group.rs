//! The group of one sandbox.
//!
//! In each hierarchy: `<base>/<name>/guest`, which holds the limits, with one
//! leaf per command, and beside it the agent, unlimited: in `<base>/<name>`
//! itself, or on version 2, where processes live in leaves only, in
//! `<base>/<name>/agent`. The agent stays outside the limits so that a guest
//! that eats all memory or is frozen cannot take the one with it that has to
//! report it.
//!
//! A directory costs some 20 µs to make and as much to remove, on version 1 in
//! each hierarchy: none is made that holds nothing.

use std::os::fd::OwnedFd;

use super::error::CgroupError;
use super::files::{ControlFiles, KERNEL, read, write};
use super::kill::{self, KillOutcome};
use super::leaf::Leaf;
use super::limits::{Applier, ControlEvidence, Limits};
use super::name::Owner;
use super::probe::CgroupSupport;
use super::stats;
#[cfg(test)]
use super::stats::{Events, Usage};
use super::tree::{self, Dir, Made, enable, enable_io, find, join_fd};
use super::{Controller, Version};

/// The groups of one sandbox in every hierarchy.
///
/// Dropping it does nothing: [`kill_all`](Self::kill_all), wait, then
/// [`remove`](Self::remove). What is forgotten is found by [`super::gc`] once
/// this process is dead.
#[derive(Debug)]
pub(crate) struct SandboxGroup {
    io: &'static dyn ControlFiles,
    /// `<base>/<name>` in each hierarchy.
    roots: Vec<Dir>,
    guest: Vec<Dir>,
    evidence: Vec<ControlEvidence>,
}

impl SandboxGroup {
    /// Makes the groups of a sandbox and sets its limits. `name` comes from
    /// [`Owner`]. A limit without a controller in `support` is skipped: ask
    /// [`CgroupSupport::missing`] first.
    ///
    /// On version 2 the base group is made to hand the controllers down; that
    /// stays so when the sandbox is removed, as others may use it by then.
    ///
    /// # Errors
    /// Whatever fails, everything made so far is removed again.
    pub(crate) fn create(
        support: &CgroupSupport,
        name: &str,
        limits: &Limits,
    ) -> Result<Self, CgroupError> {
        Self::create_with(&KERNEL, support, name, limits)
    }

    pub(super) fn create_with(
        io: &'static dyn ControlFiles,
        support: &CgroupSupport,
        name: &str,
        limits: &Limits,
    ) -> Result<Self, CgroupError> {
        limits.validate()?;
        // Also what makes it a safe path component.
        if Owner::parse(name).is_none() {
            return Err(CgroupError::InvalidName {
                name: name.to_owned(),
            });
        }
        let mut made = Made::new(io);
        let mut group = Self {
            io,
            roots: Vec::new(),
            guest: Vec::new(),
            evidence: Vec::new(),
        };
        let places = support.places().into_iter().map(|(place, controllers)| {
            let root = Dir {
                version: place.version,
                path: place.base.join(name),
                controllers,
            };
            (place.base, root)
        });
        let mut places: Vec<_> = places.collect();
        // The scheduler's hierarchy without a quota holds nothing. Where there is no other, it
        // still tells the guests from the rest.
        if limits.cpu_quota.is_none() && places.iter().any(|(_, root)| !root.only_schedules()) {
            places.retain(|(_, root)| !root.only_schedules());
        }
        for (base, root) in places {
            if root.version == Version::V2 {
                enable(io, &base, &root.controllers)?;
            }
            group.make(&mut made, root, limits)?;
        }
        if group.roots.is_empty() {
            return Err(CgroupError::NoController);
        }
        made.keep();
        Ok(group)
    }

    /// Makes the directories of one hierarchy and sets its limits.
    fn make(&mut self, made: &mut Made, root: Dir, limits: &Limits) -> Result<(), CgroupError> {
        let io = self.io;
        let guest = root.child("guest");
        made.dir(&root.path)?;
        match root.version {
            // Only before it has children can a group be told to count them.
            Version::V1 if root.has(Controller::Memory) => count_children(io, &root)?,
            Version::V1 => {}
            Version::V2 => {
                enable(io, &root.path, &root.controllers)?;
                enable_io(io, &root.path);
                made.dir(&agent(&root).path)?;
            }
        }
        made.dir(&guest.path)?;
        if guest.version == Version::V2 {
            enable(io, &guest.path, &guest.controllers)?;
            enable_io(io, &guest.path);
        }
        // Looks whether the freezer is truly there: on a version 2 root the
        // probe could not.
        if guest.has(Controller::Freezer) {
            read(io, &guest.path.join(freezer_file(guest.version)))?;
        }
        self.evidence
            .extend(Applier { io, dir: &guest }.apply(limits)?);
        self.roots.push(root);
        self.guest.push(guest);
        Ok(())
    }

    /// What the kernel says it holds, one entry per value that was set.
    pub(crate) fn evidence(&self) -> &[ControlEvidence] {
        &self.evidence
    }

    /// One write-only, close-on-exec descriptor for each hierarchy. A process of
    /// one thread that writes `0` to all of them is in the agent's group from
    /// then on.
    ///
    /// # Errors
    /// [`CgroupError::Read`] naming the file that cannot be opened.
    pub(crate) fn agent_join_fds(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        self.roots
            .iter()
            .map(|root| join_fd(&agent(root)))
            .collect()
    }

    /// Moves a process, with all its threads, into the agent's group.
    #[cfg(test)]
    pub(crate) fn add_agent(&self, pid: u32) -> Result<(), CgroupError> {
        for root in &self.roots {
            let file = agent(root).path.join("cgroup.procs");
            write(self.io, &file, &pid.to_string())?;
        }
        Ok(())
    }

    /// Makes the group of one command. `id` is unique within the sandbox.
    ///
    /// # Errors
    /// Whatever fails, everything made so far is removed again.
    pub(crate) fn leaf(&self, id: u64) -> Result<Leaf, CgroupError> {
        Leaf::create(self.io, &self.guest, id)
    }

    /// Whether the guest can be frozen.
    pub(crate) fn freezer_available(&self) -> bool {
        find(&self.guest, Controller::Freezer).is_some()
    }

    /// Begins to freeze every process of the guest; the agent goes on.
    /// [`frozen`](Self::frozen) tells when it is done.
    ///
    /// # Errors
    /// [`CgroupError::NoFreezer`], or the write fails.
    pub(crate) fn freeze(&self) -> Result<(), CgroupError> {
        self.set_freezer("FROZEN", "1")
    }

    /// Lets the guest go on.
    ///
    /// # Errors
    /// [`CgroupError::NoFreezer`], or the write fails.
    pub(crate) fn thaw(&self) -> Result<(), CgroupError> {
        self.set_freezer("THAWED", "0")
    }

    fn set_freezer(&self, v1: &str, v2: &str) -> Result<(), CgroupError> {
        let dir = self.freezer()?;
        let value = match dir.version {
            Version::V1 => v1,
            Version::V2 => v2,
        };
        write(self.io, &dir.path.join(freezer_file(dir.version)), value)
    }

    /// Whether every process of the guest has stopped.
    ///
    /// # Errors
    /// [`CgroupError::NoFreezer`], or the state cannot be read.
    pub(crate) fn frozen(&self) -> Result<bool, CgroupError> {
        let dir = self.freezer()?;
        Ok(match dir.version {
            Version::V1 => read(self.io, &dir.path.join("freezer.state"))?.trim() == "FROZEN",
            Version::V2 => {
                let events = read(self.io, &dir.path.join("cgroup.events"))?;
                stats::keyed(&events, "frozen") == Some(1)
            }
        })
    }

    fn freezer(&self) -> Result<&Dir, CgroupError> {
        find(&self.guest, Controller::Freezer).ok_or(CgroupError::NoFreezer)
    }

    /// Kills the guest and the agent; a frozen guest is thawed for it. Blocks
    /// for about a second at most.
    ///
    /// # Errors
    /// A control file cannot be read or written, or a signal is refused.
    pub(crate) fn kill_all(&self) -> Result<KillOutcome, CgroupError> {
        kill::kill(self.io, &self.roots)
    }

    /// Whether neither guest nor agent has a process left.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> Result<bool, CgroupError> {
        Ok(tree::pids(self.io, &self.roots)?.is_empty())
    }

    /// Removes every directory. A second call is no error.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] while a process is left; try again.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let known = |root: &Dir| {
            let guest = root.child("guest").path;
            match root.version {
                Version::V1 => vec![guest],
                Version::V2 => vec![agent(root).path, guest],
            }
        };
        tree::remove_known(self.io, &self.roots, known)
    }

    /// What the guest has used, removed leaves included.
    #[cfg(test)]
    pub(crate) fn usage(&self) -> Usage {
        stats::usage(self.io, &self.guest)
    }

    /// Limits the guest has hit. On version 1 OOM kills and refused forks are
    /// those of leaves that still exist.
    #[cfg(test)]
    pub(crate) fn events(&self) -> Events {
        stats::group_events(self.io, &self.guest)
    }
}

/// Where the agent is.
fn agent(root: &Dir) -> Dir {
    match root.version {
        Version::V1 => root.clone(),
        Version::V2 => root.child("agent"),
    }
}

/// The file that freezes.
fn freezer_file(version: Version) -> &'static str {
    match version {
        Version::V1 => "freezer.state",
        Version::V2 => "cgroup.freeze",
    }
}

/// Version 1 before Linux 5.11: makes the limit of a group count its children,
/// without which `guest` would not hold its leaves.
fn count_children(io: &dyn ControlFiles, root: &Dir) -> Result<(), CgroupError> {
    let file = root.path.join("memory.use_hierarchy");
    match io.read(&file) {
        Ok(value) if value.trim() == "0" => {
            super::limits::set_and_check(io, &file, "1", Controller::Memory).map(drop)
        }
        // 1, or a kernel that knows nothing else.
        Ok(_) | Err(_) => Ok(()),
    }
}
