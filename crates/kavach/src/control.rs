//! The controls a sandbox can have, what a policy asks of each, and what became of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::KavachError;

/// One protection that a policy can ask for and a report has a row for.
///
/// A control names an effect, not the mechanism that brings it about: `Memory` may be held by
/// a cgroup or, weaker, by a supervisor that sums and kills. The report names the mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Control {
    /// A system call allowlist (`seccomp(2)`). Does not see what pointers point to.
    SyscallFilter,
    /// A root of the sandbox's own, in which only chosen host paths appear.
    FilesystemView,
    /// The root filesystem cannot be written; only the capped scratch directories can.
    ReadOnlyRoot,
    /// Path rules of `landlock(7)`, a second line behind the view. Cannot deny below an allow.
    Landlock,
    /// A user namespace: root inside is nobody outside (`user_namespaces(7)`).
    UserNamespace,
    /// Host processes are invisible and cannot be signalled (`pid_namespaces(7)`).
    PidNamespace,
    /// Mounts of the sandbox stay its own (`mount_namespaces(7)`).
    MountNamespace,
    /// A network stack of its own, without interfaces to the outside (`network_namespaces(7)`).
    NetworkNamespace,
    /// System V IPC and POSIX message queues of its own (`ipc_namespaces(7)`).
    IpcNamespace,
    /// A host name of its own (`uts_namespaces(7)`).
    UtsNamespace,
    /// The host's cgroup paths are hidden (`cgroup_namespaces(7)`).
    CgroupNamespace,
    /// No network is reachable, by whatever mechanism. Says nothing about pathname sockets,
    /// which the filesystem view keeps away.
    Network,
    /// No capability in any of the five sets (`capabilities(7)`).
    Capabilities,
    /// `execve` grants nothing: setuid bits and file capabilities are ignored
    /// (`PR_SET_NO_NEW_PRIVS`).
    NoNewPrivs,
    /// The agent inside cannot be traced, read or written by the guest.
    AgentProtection,
    /// Memory of all the guest's processes together.
    Memory,
    /// How many CPUs' worth of time may be used at a time.
    Cpu,
    /// CPU time used in all.
    CpuTime,
    /// How many processes and threads may exist at a time.
    Pids,
    /// How many files one process may have open (`RLIMIT_NOFILE`).
    OpenFiles,
    /// How large one file may grow (`RLIMIT_FSIZE`).
    FileSize,
    /// Bytes and inodes of the writable directories together.
    Disk,
    /// Captured bytes of each output stream.
    Output,
    /// Time on the wall clock, paused time not counted.
    WallTime,
    /// Secrets reach the guest only by the chosen way.
    Credentials,
    /// Memory encrypted, or isolated, by the processor.
    Hardware,
}

impl Control {
    /// Whether kavach's supervisor holds it, outside the sandbox, on every backend.
    #[must_use]
    pub const fn is_supervised(self) -> bool {
        matches!(self, Self::Output | Self::WallTime | Self::Credentials)
    }

    /// Every control, in the order of a report.
    pub const ALL: [Control; 26] = [
        Control::SyscallFilter,
        Control::FilesystemView,
        Control::ReadOnlyRoot,
        Control::Landlock,
        Control::UserNamespace,
        Control::PidNamespace,
        Control::MountNamespace,
        Control::NetworkNamespace,
        Control::IpcNamespace,
        Control::UtsNamespace,
        Control::CgroupNamespace,
        Control::Network,
        Control::Capabilities,
        Control::NoNewPrivs,
        Control::AgentProtection,
        Control::Memory,
        Control::Cpu,
        Control::CpuTime,
        Control::Pids,
        Control::OpenFiles,
        Control::FileSize,
        Control::Disk,
        Control::Output,
        Control::WallTime,
        Control::Credentials,
        Control::Hardware,
    ];

    /// The name in policy files, reports and errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Control::SyscallFilter => "syscall_filter",
            Control::FilesystemView => "filesystem_view",
            Control::ReadOnlyRoot => "read_only_root",
            Control::Landlock => "landlock",
            Control::UserNamespace => "user_namespace",
            Control::PidNamespace => "pid_namespace",
            Control::MountNamespace => "mount_namespace",
            Control::NetworkNamespace => "network_namespace",
            Control::IpcNamespace => "ipc_namespace",
            Control::UtsNamespace => "uts_namespace",
            Control::CgroupNamespace => "cgroup_namespace",
            Control::Network => "network",
            Control::Capabilities => "capabilities",
            Control::NoNewPrivs => "no_new_privs",
            Control::AgentProtection => "agent_protection",
            Control::Memory => "memory",
            Control::Cpu => "cpu",
            Control::CpuTime => "cpu_time",
            Control::Pids => "pids",
            Control::OpenFiles => "open_files",
            Control::FileSize => "file_size",
            Control::Disk => "disk",
            Control::Output => "output",
            Control::WallTime => "wall_time",
            Control::Credentials => "credentials",
            Control::Hardware => "hardware",
        }
    }

    /// Whether an approximate mechanism may ever satisfy this control.
    ///
    /// Only resource limits can be held approximately: half a namespace is none.
    #[must_use]
    pub const fn may_be_approximate(self) -> bool {
        matches!(
            self,
            Control::Memory | Control::Cpu | Control::CpuTime | Control::Pids | Control::Disk
        )
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Control {
    type Err = KavachError;

    /// # Errors
    /// [`KavachError::UnknownControl`] with the nearest known name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Control::ALL
            .into_iter()
            .find(|c| c.as_str() == name)
            .ok_or_else(|| KavachError::UnknownControl {
                name: crate::names::shown(name),
                nearest: crate::names::nearest(name, Control::ALL.map(Control::as_str)),
            })
    }
}

/// What a policy demands of a control that it asks for.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// If it cannot be enforced here, nothing starts.
    #[default]
    Required,
    /// If it cannot be enforced here, the loss is recorded and costs its points.
    Preferred,
    /// Not asked for, whatever the rest of the policy says. Refused for a control that another
    /// one, still asked for, needs: a private view without its namespaces is no view.
    Off,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Requirement::Required => "required",
            Requirement::Preferred => "preferred",
            Requirement::Off => "off",
        })
    }
}

/// What became of a control in one sandbox on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlState {
    /// Held by a mechanism that was asked for and read back.
    Enforced,
    /// Held by what the backend is, with nothing to switch on.
    Inherent,
    /// Held by a weaker mechanism, which the row names.
    Approximate,
    /// Not held.
    Absent,
}

impl ControlState {
    /// Whether the control holds in full.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(self, ControlState::Enforced | ControlState::Inherent)
    }
}

impl fmt::Display for ControlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ControlState::Enforced => "enforced",
            ControlState::Inherent => "inherent",
            ControlState::Approximate => "approximate",
            ControlState::Absent => "absent",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_control_has_one_name_in_text_and_in_serde() {
        for control in Control::ALL {
            assert_eq!(control.to_string().parse::<Control>().unwrap(), control);
            let quoted = serde_json::to_string(&control).unwrap();
            assert_eq!(quoted, format!("\"{control}\""));
        }
        let mut names = Control::ALL.map(Control::as_str).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Control::ALL.len());
    }

    #[test]
    fn a_misspelt_control_names_the_nearest() {
        let err = "memroy".parse::<Control>().unwrap_err();
        assert!(err.hint().unwrap().contains("`memory`"), "{:?}", err.hint());
    }

    #[test]
    fn only_resource_limits_may_be_approximate() {
        assert!(Control::Memory.may_be_approximate());
        for control in [
            Control::SyscallFilter,
            Control::Network,
            Control::UserNamespace,
        ] {
            assert!(!control.may_be_approximate());
        }
    }
}
