//! Control groups on the host side: what this host offers, one group per
//! sandbox, one leaf per command, and the removal of what dead hosts left.
//!
//! The parts, in the order in which they are used:
//!
//! 1. [`layout`] parses `/proc/self/{cgroup,mountinfo}`: pure, no I/O.
//! 2. [`probe`] asks the kernel where child groups can be made and says why
//!    not where they cannot; its answer is a plain value.
//! 3. [`group`] and [`leaf`] make, limit, freeze, kill, measure and remove.
//! 4. [`gc`] finds and removes the groups of hosts that died.
//!
//! [`aside`] comes before all, where the host process itself is in the way.
//!
//! Version 1, hybrid and version 2 hosts are served by the same types: a
//! sandbox has one directory in each *distinct* hierarchy, and every directory
//! carries the list of controllers it stands for.
//!
//! Nothing here knows of policies; a limit that has no controller is skipped,
//! and [`probe::CgroupSupport::missing`] tells so before anything is made.
//!
//! Sources: `cgroups(7)`, kernel `Documentation/admin-guide/cgroup-v1/` and
//! `cgroup-v2.rst`.

mod aside;
pub(crate) mod error;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod gc;
pub(crate) mod group;
pub(crate) mod kill;
pub(crate) mod layout;
pub(crate) mod leaf;
pub(crate) mod limits;
pub(crate) mod name;
pub(crate) mod probe;
pub(crate) mod stats;
mod tree;

#[cfg(test)]
mod aside_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fake_tests;
#[cfg(test)]
mod probe_tests;
#[cfg(test)]
mod real;

use std::fmt;

/// A resource controller that kavach uses.
///
/// On version 2 `Cpuacct` and `Freezer` are no controllers but part of every
/// cgroup (`cpu.stat`, `cgroup.freeze`); they keep their names here so that a
/// caller asks the same question on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Controller {
    /// Memory limit and accounting.
    Memory,
    /// Number of tasks (threads count).
    Pids,
    /// CPU bandwidth.
    Cpu,
    /// CPU time accounting.
    Cpuacct,
    /// Stopping and resuming a whole tree.
    Freezer,
}

impl Controller {
    /// Every controller, in a fixed order.
    pub(crate) const ALL: [Self; 5] = [
        Self::Memory,
        Self::Pids,
        Self::Cpu,
        Self::Cpuacct,
        Self::Freezer,
    ];

    /// The kernel's name, as in `/proc/self/cgroup` and `cgroup.controllers`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Freezer => "freezer",
        }
    }

    /// Whether every version 2 cgroup has this ability without a controller.
    pub(crate) const fn is_core_in_v2(self) -> bool {
        matches!(self, Self::Cpuacct | Self::Freezer)
    }

    /// The controller with the kernel's name `name`, if kavach uses it.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|controller| controller.name() == name)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The interface version of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Version {
    /// One mount per controller (or per set of them).
    V1,
    /// The unified hierarchy.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}
