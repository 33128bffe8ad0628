//! The facts a plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DirectoryKind, FileId, RootFacts, Unseen};

/// Whether the host has something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// It has.
    Yes,
    /// It has not.
    No {
        /// What was seen.
        reason: String,
        /// How to get it.
        fix: String,
    },
}

impl Availability {
    /// Not there, because of `reason`; `fix` brings it.
    #[must_use]
    pub fn no(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Availability::No {
            reason: reason.into(),
            fix: fix.into(),
        }
    }

    /// Whether it is there.
    #[must_use]
    pub const fn is_yes(&self) -> bool {
        matches!(self, Availability::Yes)
    }
}

/// One line of `/proc/self/uid_map` (`user_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Which kind of control group hierarchy holds a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// A hierarchy of its own (`cgroups(7)`, version 1).
    V1,
    /// The unified hierarchy.
    V2,
}

impl CgroupVersion {
    /// `v1` or `v2`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CgroupVersion::V1 => "v1",
            CgroupVersion::V2 => "v2",
        }
    }
}

/// Whether kavach may make groups with one controller here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControllerFacts {
    /// It may, in this kind of hierarchy.
    Usable(CgroupVersion),
    /// It may not.
    Unusable {
        /// What was seen.
        reason: String,
        /// How to get it.
        fix: String,
    },
}

impl ControllerFacts {
    /// The hierarchy, where the controller can be used.
    #[must_use]
    pub const fn version(&self) -> Option<CgroupVersion> {
        match self {
            ControllerFacts::Usable(version) => Some(*version),
            ControllerFacts::Unusable { .. } => None,
        }
    }
}

/// A summary of the control groups that this process may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CgroupFacts {
    /// Memory of a tree, with an OOM kill at the limit.
    pub memory: ControllerFacts,
    /// Processes of a tree.
    pub pids: ControllerFacts,
    /// CPU quota of a tree.
    pub cpu: ControllerFacts,
    /// CPU time used by a tree (`cpuacct`, or `cpu.stat`).
    pub cpuacct: ControllerFacts,
    /// Freezing a tree. Without it a sandbox cannot be paused.
    pub freezer: ControllerFacts,
}

impl CgroupFacts {
    /// Every controller alike.
    #[must_use]
    pub fn all(facts: ControllerFacts) -> Self {
        Self {
            memory: facts.clone(),
            pids: facts.clone(),
            cpu: facts.clone(),
            cpuacct: facts.clone(),
            freezer: facts,
        }
    }

    /// No controller, because of `reason`; `fix` brings them.
    #[must_use]
    pub fn none(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::all(ControllerFacts::Unusable {
            reason: reason.into(),
            fix: fix.into(),
        })
    }
}

/// What a host path is, symlinks followed except for [`PathKind::Symlink`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, with its text. Recorded for the directories of the root alone, where the
    /// link itself is shown again; everywhere else links are followed.
    Symlink(PathBuf),
    /// A socket, device or pipe.
    Special,
    /// Not there.
    Missing,
    /// It could not be looked at, with the error number.
    Unreadable(i32),
}

/// What this host can do. A plain value: probed once, or made up by a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostFacts {
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -m`.
    pub arch: String,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Effective capabilities, as a bit set (`CapEff` of `/proc/self/status`).
    pub capabilities_effective: u64,
    /// Capability bounding set (`CapBnd`).
    pub capabilities_bounding: u64,
    /// Whether user namespaces can be made.
    pub userns: Availability,
    /// Whether AppArmor takes the rights away from user namespaces of unconfined programs
    /// (Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`).
    pub apparmor_restricts_userns: bool,
    /// The user ids that this process itself has; a range sandbox takes its own from them.
    pub uid_map: Vec<IdRange>,
    /// Landlock's ABI version; 0 where there is none.
    pub landlock_abi: u32,
    /// Why there is no Landlock; empty where there is.
    pub landlock_reason: String,
    /// Whether the kernel has seccomp filters.
    pub seccomp_filter: bool,
    /// What could not be looked at for want of something: the first, if there was any. Other facts
    /// may then be missing that are true, and no sandbox is planned from them.
    #[serde(default)]
    pub unseen: Option<Unseen>,
    /// Control groups that can be used.
    pub cgroups: CgroupFacts,
    /// Where control group hierarchies are mounted, as far as this process can reach. A guest
    /// that sees the host's files gets them read-only: whoever may write a `cgroup.procs` may
    /// leave the group that holds its limits and by which it is killed.
    pub cgroup_mounts: Vec<PathBuf>,
    /// CPUs that this process may run on.
    pub nproc: u32,
    /// Bytes of a memory page.
    pub page_size: u64,
    /// Whether `/dev/kvm` can be opened.
    pub kvm: Availability,
    /// The container this process itself is in, if one can be told (`docker`, `podman`, …).
    pub container: Option<String>,
    /// What is at the paths a plan may show. A path that is not in here was not looked at, and
    /// counts as missing.
    pub paths: BTreeMap<PathBuf, PathKind>,
    /// Which of the paths that were looked at lead through a symbolic link, or may.
    #[serde(default)]
    pub linked: BTreeSet<PathBuf>,
    /// Which files the looked-at paths of a config are, so that nothing else is shown in their
    /// place.
    pub ids: BTreeMap<PathBuf, FileId>,
    /// The directories that a config wants shown under the guest's own rights.
    pub directories: BTreeMap<PathBuf, DirectoryKind>,
    /// The directory that is to be the root of the sandbox; `None` where it was not looked at or
    /// cannot be listed.
    pub root: Option<RootFacts>,
    /// Whether tmpfs keeps extended attributes of users (Linux 6.6, `CONFIG_TMPFS_XATTR`), which
    /// an overlay without privilege keeps its marks in.
    pub tmpfs_user_xattr: bool,
}

/// The bit of `CAP_SYS_ADMIN` in a capability set (`linux/capability.h`).
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// The bits of `CAP_SETGID` and `CAP_SETUID`.
const CAP_SET_IDS: u64 = 1 << 6 | 1 << 7;

impl HostFacts {
    /// Whether this process is root and may do what root does.
    ///
    /// A root without `CAP_SYS_ADMIN`, as in an ordinary container, is treated like an ordinary
    /// user: it can make other namespaces only through a user namespace.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        self.euid == 0 && self.capabilities_effective & CAP_SYS_ADMIN != 0
    }

    /// Whether the kernel is of this version or a later one; true where its release cannot be
    /// read as a version.
    #[must_use]
    pub fn has_kernel(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.kernel_release.split(['.', '-']).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(a)), Some(Ok(b))) => (a, b) >= (major, minor),
            _ => true,
        }
    }

    /// Whether a range of user ids can be mapped: root with `CAP_SETUID` and `CAP_SETGID`, and
    /// ids to take. (`CAP_SYS_ADMIN` is not needed: `user_namespaces(7)`.)
    #[must_use]
    pub fn can_map_range(&self, count: u32) -> bool {
        // Room for one range beside the ids that this system itself uses.
        let enough = u64::from(count) * 2;
        self.euid == 0
            && self.capabilities_effective & CAP_SET_IDS == CAP_SET_IDS
            && self
                .uid_map
                .iter()
                .any(|range| range.inside_end() >= enough)
    }

    /// What is at `path`; missing where nobody looked.
    #[must_use]
    pub fn kind(&self, path: &Path) -> &PathKind {
        self.paths.get(path).unwrap_or(&PathKind::Missing)
    }

    /// Whether a file or directory is at `path`.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        matches!(
            self.kind(path),
            PathKind::File | PathKind::Directory | PathKind::Symlink(_)
        )
    }
}

impl IdRange {
    /// One past the last id, as this process sees it.
    const fn inside_end(&self) -> u64 {
        self.inside as u64 + self.count as u64
    }
}
