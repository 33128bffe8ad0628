//! The group of one command.

use std::os::fd::OwnedFd;

use super::error::CgroupError;
use super::files::{ControlFiles, ReadOnce};
use super::kill::{self, KillOutcome};
use super::limits::set_and_check;
use super::stats::{self, Events, Usage};
use super::tree::{self, Dir, Made, join_fd};
use super::{Controller, Version};

/// The group of one command, below the guest group that holds the limits.
///
/// Dropping it does nothing: kill it, read its counters, then remove it.
#[derive(Debug)]
pub(crate) struct Leaf {
    io: &'static dyn ControlFiles,
    dirs: Vec<Dir>,
    /// What a process enters: the leaf, or where there is none the guest group.
    enter: Vec<Dir>,
    guest: Vec<Dir>,
    /// Counters of the guest group when this leaf was made.
    at_start: Events,
}

impl Leaf {
    /// Makes `exec.<id>` below `guest` in every hierarchy that counts or stops something; the
    /// scheduler's alone holds a quota, and that is the guest group's. Where there is no other, it
    /// has to do: without a group of its own a command could not be killed.
    pub(super) fn create(
        io: &'static dyn ControlFiles,
        guest: &[Dir],
        id: u64,
    ) -> Result<Self, CgroupError> {
        let child = |dir: &Dir| dir.child(&format!("exec.{id}"));
        let nothing_else = guest.iter().all(Dir::only_schedules);
        let is_made = |dir: &Dir| nothing_else || !dir.only_schedules();
        let dirs: Vec<_> = guest.iter().filter(|dir| is_made(dir)).map(child).collect();
        let enter = guest
            .iter()
            .map(|dir| match is_made(dir) {
                true => child(dir),
                false => dir.clone(),
            })
            .collect();
        let mut made = Made::new(io);
        for dir in &dirs {
            made.dir(&dir.path)?;
            if dir.version == Version::V2 && dir.has(Controller::Memory) {
                // Half a command is no use: its processes die together.
                let file = dir.path.join("memory.oom.group");
                set_and_check(io, &file, "1", Controller::Memory)?;
            }
        }
        let at_start = stats::limit_events(&ReadOnce::new(io), guest);
        made.keep();
        Ok(Self {
            io,
            dirs,
            enter,
            guest: guest.to_vec(),
            at_start,
        })
    }

    /// One write-only, close-on-exec descriptor for each hierarchy. A process of
    /// one thread that writes `0` to all of them is in this leaf from then on.
    ///
    /// # Errors
    /// [`CgroupError::Read`] naming the file that cannot be opened.
    pub(crate) fn join_fds(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        self.enter.iter().map(join_fd).collect()
    }

    /// Kills everything in this leaf; blocks for about a second at most. Read
    /// [`counters`](Self::counters) before: on a host without a freezer, forks
    /// are refused while killing, and that counts.
    ///
    /// # Errors
    /// A control file cannot be read or written, or a signal is refused.
    pub(crate) fn kill(&self) -> Result<KillOutcome, CgroupError> {
        kill::kill(self.io, &self.dirs)
    }

    /// The processes of this leaf, 0 for one outside this pid namespace.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub(crate) fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        tree::pids(self.io, &self.dirs)
    }

    /// Whether no process is left. Zombies do not count.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub(crate) fn is_empty(&self) -> Result<bool, CgroupError> {
        Ok(self.pids()?.is_empty())
    }

    /// What this leaf has used, and limits hit since it was made, each file read once.
    ///
    /// OOM kills are those of this leaf; the other counters belong to the guest group, so that of
    /// commands that run at once each sees the hits of all.
    pub(crate) fn counters(&self) -> (Usage, Events) {
        let io = &ReadOnce::new(self.io);
        let usage = stats::usage(io, &self.dirs);
        // A refused fork, or charge of memory, raises the peak of the leaf
        // before the guest group, which holds the limit, refuses it; that
        // group's does not rise.
        let memory_peak = stats::memory_peak(io, &self.guest);
        let pids_peak = stats::pids_peak(io, &self.guest);
        let usage = Usage {
            memory_peak_bytes: usage.memory_peak_bytes.min(memory_peak),
            pids_peak: usage.pids_peak.min(pids_peak),
            ..usage
        };
        let group = stats::limit_events(io, &self.guest).since(self.at_start);
        let own_forks = stats::fork_failures(io, &self.dirs);
        let events = Events {
            oom_kills: stats::oom_kills(io, &self.dirs),
            // The kernel counts each refused fork in one of the two.
            pids_limit_hits: match (group.pids_limit_hits, own_forks) {
                (Some(group), Some(own)) => Some(group.saturating_add(own)),
                (group, own) => group.or(own),
            },
            ..group
        };
        (usage, events.with_oom_as_hit())
    }

    /// The usage of [`counters`](Self::counters).
    #[cfg(test)]
    pub(crate) fn usage(&self) -> Usage {
        self.counters().0
    }

    /// The events of [`counters`](Self::counters).
    #[cfg(test)]
    pub(crate) fn events(&self) -> Events {
        self.counters().1
    }

    /// Removes the leaf. A second call is no error.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] while a process is left: the kernel lets a group
    /// go a moment after its last process, so try again.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        tree::remove_known(self.io, &self.dirs, |_| Vec::new())
    }
}
