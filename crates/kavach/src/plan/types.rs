//! The parts of a plan.

use std::path::PathBuf;

use serde::Serialize;

use super::{HostDirectory, UpperPlan};
use crate::backend::Backend;
use crate::control::{Control, ControlState, Requirement};
use crate::enforcement::EnforcementRow;
use crate::host::{CgroupVersion, FileId};
use crate::policy::{Network, OnOutput};

/// Everything a backend needs to build a sandbox, and what the report expects of it.
///
/// It holds no secret and no open file: it can be printed, stored and compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// What runs the guest.
    pub backend: Backend,
    /// Who the guest is.
    pub identity: Identity,
    /// Which namespaces are made.
    pub namespaces: NamespacePlan,
    /// How user ids inside relate to those outside.
    pub mapping: Mapping,
    /// What the guest sees of files.
    pub view: ViewPlan,
    /// Whether the guest reaches a network.
    pub network: Network,
    /// The system call filter.
    pub syscall_filter: Option<FilterPlan>,
    /// The path rules.
    pub landlock: Option<LandlockPlan>,
    /// The limits, each with what holds it.
    pub limits: LimitsPlan,
    /// Limits of each process, set inside the user namespace before the guest starts.
    pub rlimits: Vec<Rlimit>,
    /// Captured bytes of each output stream.
    pub output_limit_bytes: u64,
    /// What happens past it.
    pub on_output: OnOutput,
    /// Time limit of each command on the wall clock, paused time not counted.
    pub wall_limit_ms: Option<u64>,
    /// The clean environment. What the config sets is laid over it by
    /// [`Spec::environment`](crate::config::Spec::environment) and is not part of the plan: it
    /// may be secret.
    pub env: Vec<(String, String)>,
    /// A row per control that was asked for, with what is expected to hold it.
    pub controls: Vec<PlannedControl>,
}

/// Who the guest is, as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Identity {
    /// The owner's name; empty where none was given.
    pub agent_id: String,
    /// The host name; `None`: the host's own.
    pub hostname: Option<String>,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Home directory inside.
    pub home: PathBuf,
    /// Where commands start unless they say otherwise.
    pub cwd: PathBuf,
}

/// Which namespaces are made. What is not made is shared with the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NamespacePlan {
    /// User ids.
    pub user: bool,
    /// Processes.
    pub pid: bool,
    /// Mounts.
    pub mount: bool,
    /// Network; the loopback inside is brought up.
    pub network: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// Paths of control groups.
    pub cgroup: bool,
}

/// How user and group ids inside relate to those outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mapping {
    /// No user namespace: the ids are the host's.
    None,
    /// The caller's own id appears inside as these; no other id exists. `setgroups` is denied,
    /// as `user_namespaces(7)` demands of an unprivileged map.
    SelfSingle {
        /// User id inside.
        uid: u32,
        /// Group id inside.
        gid: u32,
    },
    /// This many ids from 0 inside, on an unprivileged range outside that no other live sandbox
    /// has. The starter chooses the range, under a lock.
    Range {
        /// How many ids.
        count: u32,
    },
}

/// What the guest sees of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ViewPlan {
    /// Whether there is a root of the sandbox's own: a new tmpfs, entered by `pivot_root(2)`.
    /// Else the caller's mounts are kept, with private propagation.
    pub private_root: bool,
    /// Size of the root tmpfs itself, in bytes; 0 without one.
    pub root_size_bytes: u64,
    /// How many inodes it may have.
    pub root_inodes: u64,
    /// What is made in it, in this order.
    pub mounts: Vec<MountStep>,
    /// Whether the root tmpfs is made read-only after the last step. Mounts on it stay as they
    /// are.
    pub read_only_root: bool,
}

/// Whom a new file or directory belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Id 0 inside; under [`Mapping::SelfSingle`], where 0 does not exist, the guest.
    Root,
    /// The guest.
    Guest,
}

/// One step of building the view. Every target is absolute, normalised and inside; every one is
/// resolved beneath the new root without following symbolic links. Missing parents are made as
/// directories of mode 0755 of [`Owner::Root`].
///
/// Every mount is `nosuid`, and `nodev` unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MountStep {
    /// A directory; one that exists gets mode and owner.
    Dir {
        /// Where.
        target: PathBuf,
        /// Its mode, whatever the umask.
        #[serde(serialize_with = "as_octal")]
        mode: u32,
        /// Whose.
        owner: Owner,
    },
    /// A symbolic link.
    Symlink {
        /// Where.
        target: PathBuf,
        /// Its text.
        link: PathBuf,
    },
    /// A regular file.
    File {
        /// Where.
        target: PathBuf,
        /// Its mode, whatever the umask.
        #[serde(serialize_with = "as_octal")]
        mode: u32,
        /// Whose.
        owner: Owner,
        /// What is in it.
        #[serde(serialize_with = "as_text")]
        contents: Vec<u8>,
    },
    /// A host path. Its last part may be a symbolic link, which is followed on the host.
    Bind {
        /// The path on the host.
        source: PathBuf,
        /// Where; made as a directory or an empty file, after `is_dir`, if it is not there.
        target: PathBuf,
        /// Whether source and target are directories.
        is_dir: bool,
        /// Whether it cannot be written through this mount, nor through mounts below it.
        read_only: bool,
        /// Whether device nodes work.
        allow_dev: bool,
        /// Whether mounts below it come along. In a user namespace the kernel refuses to leave
        /// them out (`EINVAL`), because they may hide things.
        recursive: bool,
        /// Whether a source that has gone since the probe is left out.
        optional: bool,
        /// Which file the source must be, where it was looked at on behalf of a config.
        #[serde(skip_serializing_if = "Option::is_none")]
        pinned: Option<FileId>,
    },
    /// An overlay over a host directory, at that directory's own path.
    Workspace {
        /// The directory, on the host and inside.
        lower: HostDirectory,
        /// Where the writes go.
        upper: UpperPlan,
    },
    /// A host directory shown at its own path, to be written to, with what is mounted below it.
    WriteThrough {
        /// The directory.
        directory: HostDirectory,
    },
    /// A path of the new root shown a second time.
    BindInside {
        /// The path inside.
        source: PathBuf,
        /// Where.
        target: PathBuf,
    },
    /// A new tmpfs.
    Tmpfs {
        /// Where.
        target: PathBuf,
        /// Most bytes.
        size_bytes: u64,
        /// Most inodes; 0: the kernel's default.
        inodes: u64,
        /// Mode of its root.
        #[serde(serialize_with = "as_octal")]
        mode: u32,
        /// Whether nothing can be executed from it.
        noexec: bool,
    },
    /// A new proc of the sandbox's pid namespace.
    Proc {
        /// Where.
        target: PathBuf,
        /// `hidepid=`: 2 hides processes that the reader may not trace; 0 hides none.
        hidepid: u8,
    },
    /// A new devpts instance (`newinstance`, `ptmxmode=0666`, `mode=0620`).
    DevPts {
        /// Where.
        target: PathBuf,
    },
    /// An empty unwritable file over a file; skipped where there is none.
    MaskFile {
        /// Where.
        target: PathBuf,
    },
    /// An empty unwritable directory over a directory; skipped where there is none.
    MaskDir {
        /// Where.
        target: PathBuf,
    },
    /// Makes what is at the target read-only, together with every mount below it. The target is
    /// bound onto itself first if it is no mount; skipped where it is not there.
    ReadOnlyRemount {
        /// Where.
        target: PathBuf,
    },
    /// Takes a mount out of sight (`MNT_DETACH`) and removes its directory. What was bound from
    /// it stays.
    Detach {
        /// Where.
        target: PathBuf,
    },
}

/// Contents of files are text: a list of numbers would be of no use to a reader.
fn as_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

/// Modes are read in octal.
fn as_octal<S: serde::Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

/// The system call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FilterPlan {
    /// The allowlist.
    pub profile: String,
    /// What it depends on beside.
    pub options: FilterOptions,
}

/// What an allowlist depends on beside its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FilterOptions {
    /// Internet sockets are allowed.
    pub network: bool,
    /// `memfd_create` is denied: where no cgroup counts it, memory in an unmapped memfd would
    /// escape the supervisor's sum.
    pub deny_memfd: bool,
    /// Unix sockets with a name are denied: where host directories are shown, a socket in one of
    /// them could be connected to by its path, whatever the network namespace.
    pub deny_unix_sockets: bool,
    /// `sched_setaffinity` is denied: where no cgroup holds the CPU limit, the set of CPUs does.
    pub pin_cpus: bool,
}

impl From<FilterOptions> for crate::seccomp::Options {
    fn from(plan: FilterOptions) -> Self {
        Self {
            network: plan.network,
            deny_unmapped_memory: plan.deny_memfd,
            pin_cpus: plan.pin_cpus,
            deny_unix_sockets: plan.deny_unix_sockets,
        }
    }
}

/// A Landlock ruleset in the kernel's own numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LandlockPlan {
    /// The kernel's ABI, cut to the newest that kavach knows.
    pub abi: u32,
    /// `handled_access_fs`: denied where no rule allows it.
    pub handled_fs: u64,
    /// `handled_access_net`: likewise; no rule allows any.
    pub handled_net: u64,
    /// `scoped`.
    pub scoped: u64,
    /// What is allowed.
    pub rules: Vec<LandlockRule>,
}

/// Rights below one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LandlockRule {
    /// The path, inside.
    pub path: PathBuf,
    /// `allowed_access`.
    pub access: u64,
}

/// What holds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitMechanism {
    /// A control group in this kind of hierarchy.
    Cgroup(CgroupVersion),
    /// The weaker mechanism that the control's row names.
    Approximate,
    /// Nothing: the limit was preferred and cannot be held here.
    None,
}

/// A limit and what holds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlannedLimit<T> {
    /// The limit.
    pub limit: T,
    /// What holds it.
    pub mechanism: LimitMechanism,
}

/// The limits of the whole tree. `None`: not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LimitsPlan {
    /// Bytes of memory.
    pub memory_bytes: Option<PlannedLimit<u64>>,
    /// Processes and threads.
    pub pids: Option<PlannedLimit<u32>>,
    /// CPUs' worth of time.
    pub cpus: Option<PlannedLimit<f64>>,
    /// Milliseconds of CPU time in all.
    pub cpu_time_ms: Option<PlannedLimit<u64>>,
    /// On how many CPUs the tree may run; set where the CPU limit is approximate.
    pub affinity_cpus: Option<u32>,
}

/// A resource of `setrlimit(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resource {
    /// `RLIMIT_CPU`, in seconds.
    Cpu,
    /// `RLIMIT_FSIZE`, in bytes.
    FileSize,
    /// `RLIMIT_CORE`, in bytes.
    Core,
    /// `RLIMIT_NPROC`; counts per user namespace since Linux 5.14.
    Processes,
    /// `RLIMIT_NOFILE`.
    OpenFiles,
}

/// A limit of each process. A hard limit above the caller's own is lowered to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rlimit {
    /// What is limited.
    pub resource: Resource,
    /// Where it begins to bite.
    pub soft: u64,
    /// How far the guest may raise it.
    pub hard: u64,
}

/// A control that was asked for, and what is expected to hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedControl {
    /// The control.
    pub control: Control,
    /// What was asked for, in words and units.
    pub requested: String,
    /// How much the policy insists.
    pub requirement: Requirement,
    /// What is expected.
    pub expected: ControlState,
    /// What will hold it; for an absent one, what is missing.
    pub mechanism: String,
    /// Points that the score loses where it does not hold in full.
    pub points_if_lost: u8,
}

impl PlannedControl {
    /// The row of a report, still without evidence.
    #[must_use]
    pub fn to_row(&self) -> EnforcementRow {
        EnforcementRow::new(
            self.control,
            self.requested.clone(),
            self.requirement,
            self.expected,
            self.mechanism.clone(),
        )
    }
}

impl Plan {
    /// The planned row of a control, if it was asked for.
    #[must_use]
    pub fn control(&self, control: Control) -> Option<&PlannedControl> {
        self.controls
            .iter()
            .find(|planned| planned.control == control)
    }

    /// Whether the guest would be the host's root, without a user namespace in between.
    #[must_use]
    pub fn guest_is_host_root(&self) -> bool {
        self.identity.uid == 0 && self.mapping == Mapping::None
    }
}
