//! Controls in the words of policies: the key that asks for each, and what there is without it.

use super::section::Section as _;
use super::value::{Setting as _, Value};
use super::{Limits, Namespaces, SandboxPolicy};
use crate::control::Control;

/// How the value of a key is shown.
pub(super) type Show = fn(&SandboxPolicy) -> String;

/// The key whose value asks for a control, and how to show the value. `None`: always asked for,
/// or by the config.
pub(super) fn asked_by(control: Control) -> Option<(&'static str, Show)> {
    fn namespace(key: fn(&Namespaces) -> bool, policy: &SandboxPolicy) -> String {
        key(&policy.namespaces).name().to_owned()
    }
    fn limit<V: Value>(value: &V, name: &str) -> String {
        let mut keys = Limits::KEYS.iter();
        let key = keys.find(|key| key.path.strip_prefix("limits.") == Some(name));
        key.map(|key| value.shown(&key.rule)).unwrap_or_default()
    }
    let found: (&'static str, Show) = match control {
        Control::SyscallFilter => ("syscall_filter.profile", |p| {
            p.syscall_filter
                .profile
                .clone()
                .unwrap_or_else(|| "none".into())
        }),
        Control::FilesystemView | Control::Disk => {
            ("filesystem.view", |p| p.filesystem.view.name().into())
        }
        Control::ReadOnlyRoot => ("filesystem.read_only_root", |p| {
            p.filesystem.read_only_root.name().into()
        }),
        Control::Landlock => ("landlock", |p| p.landlock.name().into()),
        Control::UserNamespace => ("namespaces.user", |p| namespace(|n| n.user, p)),
        Control::PidNamespace => ("namespaces.pid", |p| namespace(|n| n.pid, p)),
        Control::MountNamespace => ("namespaces.mount", |p| namespace(|n| n.mount, p)),
        Control::IpcNamespace => ("namespaces.ipc", |p| namespace(|n| n.ipc, p)),
        Control::UtsNamespace => ("namespaces.uts", |p| namespace(|n| n.uts, p)),
        Control::CgroupNamespace => ("namespaces.cgroup", |p| namespace(|n| n.cgroup, p)),
        Control::Network | Control::NetworkNamespace => ("network", |p| p.network.name().into()),
        Control::Memory => ("limits.memory_mb", |p| {
            limit(&p.limits.memory_mb, "memory_mb")
        }),
        Control::Cpu => ("limits.cpus", |p| limit(&p.limits.cpus, "cpus")),
        Control::CpuTime => ("limits.cpu_time_ms", |p| {
            limit(&p.limits.cpu_time_ms, "cpu_time_ms")
        }),
        Control::Pids => ("limits.pids", |p| limit(&p.limits.pids, "pids")),
        Control::OpenFiles => ("limits.open_files", |p| {
            limit(&p.limits.open_files, "open_files")
        }),
        Control::FileSize => ("limits.file_size_mb", |p| {
            limit(&p.limits.file_size_mb, "file_size_mb")
        }),
        _ => return None,
    };
    Some(found)
}

/// What a guest can do where a control is not asked for.
pub(super) const fn without(control: Control) -> &'static str {
    match control {
        Control::SyscallFilter => "make every system call that the kernel has",
        Control::FilesystemView => "see the host's own files, as the caller may",
        Control::ReadOnlyRoot => "write into the sandbox's root",
        Control::Landlock => "act on paths with the filesystem view alone in between",
        Control::UserNamespace => "run with the caller's user id, unmapped",
        Control::PidNamespace => "see and signal the host's processes",
        Control::MountNamespace => "share the host's mounts",
        Control::NetworkNamespace => "use the host's network interfaces",
        Control::IpcNamespace => "use the host's System V IPC and message queues",
        Control::UtsNamespace => "see the host's name",
        Control::CgroupNamespace => "see the paths of the host's control groups",
        Control::Network => "reach the network as the caller does",
        Control::Capabilities => "have capabilities",
        Control::NoNewPrivs => "gain privileges through execve",
        Control::AgentProtection => "trace the sandbox's first process",
        Control::Memory => "use memory without limit",
        Control::Cpu => "use every CPU at a time",
        Control::CpuTime => "use CPU time without limit",
        Control::Pids => "make processes without limit",
        Control::OpenFiles => "open as many files as the caller may",
        Control::FileSize => "write a file of any size",
        Control::Disk => "fill the scratch directories without a required quota",
        Control::Output => "have its output captured without a required bound",
        Control::WallTime => "run past its time limit",
        Control::Credentials => "get its secrets by another way",
        Control::Hardware => "run without memory encryption",
    }
}
