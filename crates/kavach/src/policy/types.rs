//! The parts of a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::control::{Control, Requirement};

/// Everything a sandbox is asked to enforce.
///
/// Start from a preset and change parts. A policy says what is *asked*; what a sandbox really
/// enforces stands in its [`EnforcementReport`](crate::enforcement::EnforcementReport).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SandboxPolicy {
    /// The preset's name, or the file's.
    pub name: String,
    /// Which system calls the guest may make.
    pub syscall_filter: SyscallFilter,
    /// What the guest sees of files.
    pub filesystem: Filesystem,
    /// Path rules of `landlock(7)` behind the filesystem view. They cannot deny below an
    /// allowed path, and `ld.so ./program` runs what has no execute right.
    pub landlock: bool,
    /// Whether the guest reaches a network.
    pub network: Network,
    /// Which namespaces are the sandbox's own.
    pub namespaces: Namespaces,
    /// How much the guest may use.
    pub limits: Limits,
    /// How much each control is insisted on; [`Requirement::Required`] where absent.
    pub requirements: BTreeMap<Control, Requirement>,
    /// The controls that may also be held by a weaker, named mechanism. Resource limits only.
    pub accept_approximate: BTreeSet<Control>,
}

impl SandboxPolicy {
    /// How much this policy insists on a control.
    #[must_use]
    pub fn requirement(&self, control: Control) -> Requirement {
        self.requirements.get(&control).copied().unwrap_or_default()
    }

    /// Whether the policy wants the control: asked for and not switched [`Requirement::Off`].
    #[must_use]
    pub fn asks_for(&self, control: Control) -> bool {
        if self.requirement(control) == Requirement::Off {
            return false;
        }
        let limits = &self.limits;
        match control {
            Control::SyscallFilter => self.syscall_filter.profile.is_some(),
            Control::FilesystemView => self.filesystem.view == View::Private,
            Control::ReadOnlyRoot => self.filesystem.read_only_root,
            Control::Landlock => self.landlock,
            Control::UserNamespace => self.namespaces.user,
            Control::PidNamespace => self.namespaces.pid,
            Control::MountNamespace => self.namespaces.mount,
            Control::NetworkNamespace | Control::Network => self.network == Network::Off,
            Control::IpcNamespace => self.namespaces.ipc,
            Control::UtsNamespace => self.namespaces.uts,
            Control::CgroupNamespace => self.namespaces.cgroup,
            Control::Memory => limits.memory_mb.is_some(),
            Control::Cpu => limits.cpus.is_some(),
            Control::CpuTime => limits.cpu_time_ms.is_some(),
            Control::Pids => limits.pids.is_some(),
            Control::OpenFiles => limits.open_files.is_some(),
            Control::FileSize => limits.file_size_mb.is_some(),
            Control::Disk => self.filesystem.view == View::Private,
            // No policy can switch these off; a backend that lacks them reports them absent.
            Control::Capabilities
            | Control::NoNewPrivs
            | Control::AgentProtection
            | Control::Output => true,
            // The config asks for these, not the policy.
            Control::WallTime | Control::Credentials => false,
            // Inherent in some backends; nothing a policy could ask of the others.
            Control::Hardware => false,
        }
    }
}

/// The system call filter. It compares numbers and register arguments; what a pointer points to
/// it does not see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SyscallFilter {
    /// The allowlist's name, `basic` or `strict`; `None` for no filter.
    pub profile: Option<String>,
}

/// Whose filesystem the guest sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum View {
    /// The caller's own, with the caller's rights. Hides nothing and protects nothing: what
    /// the caller may ask of a daemon by a socket in it (to run a program outside every limit,
    /// too) the guest may ask as well. Control groups alone are shown read-only, where the
    /// sandbox has a mount namespace.
    Host,
    /// A root of the sandbox's own: system directories read-only, a made-up `/etc`, capped
    /// scratch directories, and the read paths.
    #[default]
    Private,
}

/// What the guest sees of files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filesystem {
    /// Whose filesystem it is. Default: private.
    pub view: View,
    /// Whether the private root itself cannot be written; the scratch directories still can.
    pub read_only_root: bool,
    /// Host paths shown read-only at their own place; absolute, normalised, at most
    /// [`MAX_READ_PATHS`](crate::policy::MAX_READ_PATHS). What lies below them is shown too.
    pub read: Vec<PathBuf>,
    /// Size of `/tmp`, `/var/tmp` and the home directory together, in MiB. Default 256: room
    /// for a virtualenv (about 40), a small `cargo build` (about 100) or gcc's temporaries,
    /// within the 512 MiB of `strict`, to which these bytes count.
    pub tmp_mb: u64,
    /// How many files and directories these may hold. Default 32768: a tree of node modules
    /// fits; at about 1 KiB of kernel memory each they stay within 32 MiB.
    pub tmp_inodes: u64,
    /// Size of `/dev/shm`, in MiB. Default 64, as container engines have it.
    pub shm_mb: u64,
    /// What a workspace's changes may take up, in MiB, where they are kept in memory. Default
    /// 1024: a build directory fits. They count to the memory limit.
    pub workspace_mb: u64,
    /// How many files and directories they may be. Default 131072: a large tree of node modules
    /// fits; at about 1 KiB of kernel memory each they stay within 128 MiB.
    pub workspace_inodes: u64,
    /// Host directories shown at their own place, to be written to: absolute, normalised, at most
    /// [`MAX_READ_PATHS`](crate::policy::MAX_READ_PATHS). A weakening by name: what a guest
    /// writes there is on the host at once, and has no quota.
    pub write_through: Vec<PathBuf>,
}

impl Default for Filesystem {
    fn default() -> Self {
        Self {
            view: View::Private,
            read_only_root: false,
            read: Vec::new(),
            tmp_mb: 256,
            tmp_inodes: 32_768,
            shm_mb: 64,
            workspace_mb: 1024,
            workspace_inodes: 131_072,
            write_through: Vec::new(),
        }
    }
}

/// Whether the guest reaches a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// No network but the sandbox's own loopback.
    #[default]
    Off,
    /// The host's network, as the caller has it. Abstract unix sockets of the host included.
    On,
}

/// Which namespaces are the sandbox's own. The network namespace follows [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Namespaces {
    /// User ids. An ordinary user needs it for every other one.
    pub user: bool,
    /// Processes.
    pub pid: bool,
    /// Mounts.
    pub mount: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// Paths of control groups.
    pub cgroup: bool,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            user: true,
            pid: true,
            mount: true,
            ipc: true,
            uts: true,
            cgroup: true,
        }
    }
}

/// What happens at the output limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnOutput {
    /// The rest is read and dropped, and the result says so. The guest is not disturbed.
    #[default]
    Truncate,
    /// The command is stopped with
    /// [`Termination::OutputExceeded`](crate::result::Termination::OutputExceeded).
    Kill,
}

/// How much the guest may use. `None` is no limit. Core dumps are always off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// Memory of all processes and of the scratch directories together, in MiB.
    pub memory_mb: Option<u64>,
    /// CPUs' worth of time at a time: 0.5 is half of one.
    pub cpus: Option<f64>,
    /// CPU time in all, in milliseconds.
    pub cpu_time_ms: Option<u64>,
    /// Processes and threads at a time.
    pub pids: Option<u32>,
    /// Open files of each process.
    pub open_files: Option<u32>,
    /// Largest file, in MiB.
    pub file_size_mb: Option<u64>,
    /// Captured bytes of each output stream, in KiB. Default 1024.
    pub output_kb: u64,
    /// What happens past it. Default: truncate.
    pub on_output: OnOutput,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mb: None,
            cpus: None,
            cpu_time_ms: None,
            pids: None,
            open_files: None,
            file_size_mb: None,
            output_kb: 1024,
            on_output: OnOutput::Truncate,
        }
    }
}
