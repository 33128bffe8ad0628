//! The parts of a policy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Filesystem, Limits, Namespaces};
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
        self.requirement(control) != Requirement::Off && self.would_ask_for(control)
    }

    /// Whether the policy's values ask for the control, switched off or not.
    pub(super) fn would_ask_for(&self, control: Control) -> bool {
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// What becomes of a read path that leads through a symbolic link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Links {
    /// It is followed: what it leads to is shown under the path's name.
    #[default]
    Follow,
    /// It is refused before the sandbox starts.
    Refuse,
}

/// Whether the guest reaches a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// No network but the sandbox's own loopback.
    #[default]
    Off,
    /// The host's network, as the caller has it. Abstract unix sockets of the host included.
    On,
}

/// What happens at the output limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnOutput {
    /// The rest is read and dropped, and the result says so. The guest is not disturbed.
    #[default]
    Truncate,
    /// The command is stopped, with `Termination::OutputExceeded`.
    Kill,
}
