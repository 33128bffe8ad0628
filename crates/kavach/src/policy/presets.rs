//! The three policies that have names.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Filesystem, Limits, Namespaces, Network, OnOutput, SandboxPolicy, SyscallFilter, View,
};
use crate::control::Control;
use crate::error::{KavachError, Result};

/// The names that [`SandboxPolicy::from_preset`] knows, from the weakest to the strongest.
pub const PRESETS: [&str; 3] = ["minimal", "basic", "strict"];

impl SandboxPolicy {
    /// No restrictions beyond what the backend is.
    ///
    /// On the process backend: own pid, ipc, uts and mount namespaces; files and network as the
    /// caller has them; no filter, no limits. Does not protect the caller's files, secrets or
    /// network from the guest.
    ///
    /// It asks for no user namespace. An ordinary user needs one to make the others: the plan
    /// then adds it and says so.
    #[must_use]
    pub fn minimal() -> Self {
        Self {
            name: "minimal".into(),
            syscall_filter: SyscallFilter { profile: None },
            filesystem: Filesystem {
                view: View::Host,
                ..Filesystem::default()
            },
            landlock: false,
            network: Network::On,
            namespaces: Namespaces {
                user: false,
                cgroup: false,
                ..Namespaces::default()
            },
            limits: Limits::default(),
            requirements: BTreeMap::new(),
            accept_approximate: BTreeSet::new(),
        }
    }

    /// The default: a system call allowlist, no network, a private filesystem, every namespace.
    ///
    /// No limit of memory or processes: a guest can exhaust the host.
    #[must_use]
    pub fn basic() -> Self {
        Self {
            name: "basic".into(),
            syscall_filter: SyscallFilter {
                profile: Some("basic".into()),
            },
            filesystem: Filesystem::default(),
            landlock: false,
            network: Network::Off,
            namespaces: Namespaces::default(),
            limits: Limits::default(),
            requirements: BTreeMap::new(),
            accept_approximate: BTreeSet::new(),
        }
    }

    /// Everything locked down, and ordinary programs still run: a tight allowlist, Landlock, no
    /// network, a read-only root, 512 MiB of memory, one CPU, 64 processes, 1024 open files.
    ///
    /// The limits of memory, CPU and processes may be held approximately, so that it also runs
    /// for an ordinary user on a host that delegates no cgroup; the report and the score say so.
    /// File size has no limit of its own: the quota of the scratch directories bounds it.
    #[must_use]
    pub fn strict() -> Self {
        Self {
            name: "strict".into(),
            syscall_filter: SyscallFilter {
                profile: Some("strict".into()),
            },
            filesystem: Filesystem {
                read_only_root: true,
                // Within the 512 MiB of memory, to which they count.
                workspace_mb: 256,
                workspace_inodes: 65_536,
                ..Filesystem::default()
            },
            landlock: true,
            network: Network::Off,
            namespaces: Namespaces::default(),
            limits: Limits {
                memory_mb: Some(512),
                cpus: Some(1.0),
                cpu_time_ms: None,
                pids: Some(64),
                // Enough for every program of the day and the usual soft default of Linux.
                open_files: Some(1024),
                file_size_mb: None,
                output_kb: 1024,
                on_output: OnOutput::Truncate,
            },
            requirements: BTreeMap::new(),
            accept_approximate: BTreeSet::from([Control::Memory, Control::Cpu, Control::Pids]),
        }
    }

    /// The preset of this name.
    ///
    /// # Errors
    /// [`KavachError::UnknownPreset`] with the nearest known name.
    pub fn from_preset(name: &str) -> Result<Self> {
        match name {
            "minimal" => Ok(Self::minimal()),
            "basic" => Ok(Self::basic()),
            "strict" => Ok(Self::strict()),
            unknown => Err(KavachError::UnknownPreset {
                name: crate::names::shown(unknown),
                nearest: crate::names::nearest(unknown, PRESETS),
                known: PRESETS.to_vec(),
            }),
        }
    }
}

/// [`SandboxPolicy::basic`].
impl Default for SandboxPolicy {
    fn default() -> Self {
        Self::basic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_carries_its_name() {
        for name in PRESETS {
            let policy = SandboxPolicy::from_preset(name).unwrap();
            assert_eq!(policy.name, name);
            policy.validate().unwrap();
        }
    }

    #[test]
    fn the_default_is_basic() {
        assert_eq!(SandboxPolicy::default(), SandboxPolicy::basic());
    }

    #[test]
    fn a_misspelt_preset_names_the_nearest() {
        let err = SandboxPolicy::from_preset("stirct").unwrap_err();
        assert_eq!(err.code(), "KV-UNKNOWN-PRESET");
        assert_eq!(
            err.hint().unwrap(),
            "did you mean `strict`? known: minimal, basic, strict"
        );
    }

    #[test]
    fn minimal_asks_for_its_four_namespaces_alone() {
        let policy = SandboxPolicy::minimal();
        let asked: Vec<Control> = Control::ALL
            .into_iter()
            .filter(|c| policy.asks_for(*c))
            .collect();
        assert_eq!(
            asked,
            [
                Control::PidNamespace,
                Control::MountNamespace,
                Control::IpcNamespace,
                Control::UtsNamespace,
                Control::Capabilities,
                Control::NoNewPrivs,
                Control::AgentProtection,
                Control::Output,
            ]
        );
    }

    #[test]
    fn basic_sets_no_limit_and_strict_the_promised_ones() {
        assert!(!SandboxPolicy::basic().asks_for(Control::Memory));
        assert!(!SandboxPolicy::basic().asks_for(Control::Pids));
        let strict = SandboxPolicy::strict().limits;
        assert_eq!(
            (strict.memory_mb, strict.cpus, strict.pids),
            (Some(512), Some(1.0), Some(64))
        );
    }

    #[test]
    fn only_strict_accepts_approximate_mechanisms_and_for_limits_alone() {
        assert!(SandboxPolicy::minimal().accept_approximate.is_empty());
        assert!(SandboxPolicy::basic().accept_approximate.is_empty());
        let strict = SandboxPolicy::strict().accept_approximate;
        assert!(strict.iter().all(|control| control.may_be_approximate()));
        assert_eq!(strict.len(), 3);
    }
}
