//! Whether a policy's values are in their ranges. Whether a host can keep them, the plan says.

use std::path::{Component, Path};

use super::{SandboxPolicy, View};
use crate::control::{Control, Requirement};
use crate::error::{KavachError, Result};

/// The system call allowlists that exist.
pub const SYSCALL_PROFILES: [&str; 2] = ["basic", "strict"];

/// How many read paths a policy may name. Each is a mount; a kernel slows down with thousands.
pub const MAX_READ_PATHS: usize = 512;

/// Longest path that Linux takes (`PATH_MAX`, with its NUL).
const PATH_MAX: usize = 4096;
/// 2^40 MiB: far above any machine, far below where bytes overflow.
const MAX_MB: u64 = 1 << 40;
/// The kernel's own ceiling, `PID_MAX_LIMIT` of `include/linux/threads.h`.
const MAX_PIDS: u64 = 4_194_304;
/// The kernel's default ceiling, `/proc/sys/fs/nr_open`.
const MAX_OPEN_FILES: u64 = 1_048_576;
/// Largest capture per stream: 1 GiB. Both streams are held in memory.
const MAX_OUTPUT_KB: u64 = 1 << 20;
/// Most CPUs that a limit may name.
const MAX_CPUS: f64 = 4096.0;
/// A year; more is no limit but a misplaced unit.
pub(crate) const MAX_MS: u64 = 366 * 24 * 3600 * 1000;
/// Longest policy name.
const MAX_NAME: usize = 128;

/// A control that is nothing without another.
struct Need {
    control: Control,
    /// What in a policy asks for it.
    asked_by: &'static str,
    needs: Control,
    fix: &'static str,
}

const NEEDS: [Need; 7] = [
    Need {
        control: Control::FilesystemView,
        asked_by: "filesystem.view = \"private\"",
        needs: Control::MountNamespace,
        fix: "a private view is made of mounts: keep the namespace, or use the host view",
    },
    Need {
        control: Control::FilesystemView,
        asked_by: "filesystem.view = \"private\"",
        needs: Control::PidNamespace,
        fix: "its /proc would show the host's processes: keep the namespace, or use the host view",
    },
    Need {
        control: Control::PidNamespace,
        asked_by: "namespaces.pid = true",
        needs: Control::MountNamespace,
        fix: "a pid namespace needs a /proc of its own: keep both, or neither",
    },
    Need {
        control: Control::ReadOnlyRoot,
        asked_by: "filesystem.read_only_root = true",
        needs: Control::FilesystemView,
        fix: "the host's own root cannot be made read-only for the guest: keep the view, or \
              leave read_only_root out",
    },
    Need {
        control: Control::Disk,
        asked_by: "filesystem.view = \"private\", whose scratch directories have a quota",
        needs: Control::FilesystemView,
        fix: "for the host's own files, say so: filesystem.view = \"host\"",
    },
    Need {
        control: Control::Network,
        asked_by: "network = \"off\"",
        needs: Control::NetworkNamespace,
        fix: "only a namespace of its own keeps the network away: keep it, or set network = \"on\"",
    },
    Need {
        control: Control::NetworkNamespace,
        asked_by: "network = \"off\"",
        needs: Control::Network,
        fix: "for the host's network, say so: network = \"on\"",
    },
];

impl SandboxPolicy {
    /// Checks every value against its range and form. Touches no file.
    ///
    /// # Errors
    /// [`KavachError::InvalidConfig`] with the field, what is wrong and what is accepted;
    /// [`KavachError::UnknownProfile`] for a profile that does not exist.
    pub fn validate(&self) -> Result<()> {
        if self.name.len() > MAX_NAME || self.name.chars().any(char::is_control) {
            return Err(KavachError::invalid(
                "name",
                "too long, or a control character in it",
                format!("at most {MAX_NAME} bytes without control characters"),
                "give the policy a short plain name",
            ));
        }
        if let Some(profile) = &self.syscall_filter.profile {
            check_profile(profile)?;
        }
        self.validate_filesystem()?;
        self.validate_needs()?;
        self.validate_limits()?;
        for control in &self.accept_approximate {
            if !control.may_be_approximate() {
                return Err(KavachError::invalid(
                    "accept_approximate",
                    format!("`{control}` has no approximate mechanism"),
                    "memory, cpu, cpu_time, pids or disk",
                    "remove it; to go without a control, make it `preferred`",
                ));
            }
        }
        for control in [
            Control::Capabilities,
            Control::NoNewPrivs,
            Control::AgentProtection,
        ] {
            if self.requirement(control) != Requirement::Required {
                return Err(KavachError::invalid(
                    format!("requirements.{control}"),
                    "this control cannot be given up",
                    "`required`",
                    "remove the line: it is required under every policy",
                ));
            }
        }
        Ok(())
    }

    fn validate_filesystem(&self) -> Result<()> {
        let fs = &self.filesystem;
        range("filesystem.tmp_mb", fs.tmp_mb, 1, MAX_MB)?;
        range("filesystem.tmp_inodes", fs.tmp_inodes, 16, 1 << 32)?;
        range("filesystem.shm_mb", fs.shm_mb, 1, MAX_MB)?;
        range("filesystem.workspace_mb", fs.workspace_mb, 1, MAX_MB)?;
        range(
            "filesystem.workspace_inodes",
            fs.workspace_inodes,
            16,
            1 << 32,
        )?;
        self.validate_write_through()?;
        if fs.view == View::Host && self.asks_for(Control::ReadOnlyRoot) {
            return Err(KavachError::invalid(
                "filesystem.read_only_root",
                "the host's own root cannot be made read-only for the guest",
                "filesystem.view = \"private\"",
                "use the private view, or leave read_only_root out",
            ));
        }
        if fs.read.len() > MAX_READ_PATHS {
            return Err(KavachError::invalid(
                "filesystem.read",
                format!("{} paths", fs.read.len()),
                format!("at most {MAX_READ_PATHS}"),
                "name a directory above them",
            ));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, path) in fs.read.iter().enumerate() {
            let field = format!("filesystem.read[{index}]");
            check_path(&field, path)?;
            check_showable(&field, path)?;
            if !seen.insert(path) {
                return Err(KavachError::invalid(
                    field,
                    format!("{path:?} is named twice"),
                    "each path once",
                    "remove one of the two",
                ));
            }
        }
        Ok(())
    }

    /// Refuses writable host directories where nothing holds what is made in them.
    fn validate_write_through(&self) -> Result<()> {
        let fs = &self.filesystem;
        let field = "filesystem.write_through";
        if fs.write_through.len() > MAX_READ_PATHS {
            return Err(KavachError::invalid(
                field,
                format!("{} paths", fs.write_through.len()),
                format!("at most {MAX_READ_PATHS}"),
                "name a directory above them",
            ));
        }
        for (index, path) in fs.write_through.iter().enumerate() {
            check_path(&format!("{field}[{index}]"), path)?;
        }
        if fs.write_through.is_empty() {
            return Ok(());
        }
        if fs.view == View::Host {
            return Err(KavachError::invalid(
                field,
                "the host view lets the guest write wherever the caller may",
                "filesystem.view = \"private\"",
                "use the private view, or leave write_through out",
            ));
        }
        if self.asks_for(Control::SyscallFilter)
            && self.requirement(Control::SyscallFilter) == Requirement::Required
        {
            return Ok(());
        }
        Err(KavachError::invalid(
            field,
            "without a required system call filter nothing keeps setuid files and sockets from \
             being made in it",
            "syscall_filter.profile = \"basic\" or \"strict\", required",
            "set a profile, or give the guest a workspace instead",
        ))
    }

    /// Refuses a control that is asked for and needs another that is not.
    ///
    /// Without this check a plan could only leave out what cannot be built, and a private view
    /// without mounts of its own is the host's: silence would turn one line of a policy,
    /// `requirements.pid_namespace = "off"`, into a guest that sees every file.
    fn validate_needs(&self) -> Result<()> {
        for need in &NEEDS {
            if !self.asks_for(need.control) || self.asks_for(need.needs) {
                continue;
            }
            let (field, value) = self.switched_off(need.needs);
            return Err(KavachError::invalid(
                field,
                format!("{value}, with {}", need.asked_by),
                "both, or neither",
                need.fix,
            ));
        }
        Ok(())
    }

    /// The field that keeps a control from being asked for, and its value.
    fn switched_off(&self, control: Control) -> (String, &'static str) {
        if self.requirement(control) == Requirement::Off {
            return (format!("requirements.{control}"), "\"off\"");
        }
        match control {
            Control::MountNamespace => ("namespaces.mount".into(), "false"),
            Control::PidNamespace => ("namespaces.pid".into(), "false"),
            Control::FilesystemView => ("filesystem.view".into(), "\"host\""),
            other => (other.to_string(), "not asked for"),
        }
    }

    fn validate_limits(&self) -> Result<()> {
        let limits = &self.limits;
        optional_range("limits.memory_mb", limits.memory_mb, 1, MAX_MB)?;
        optional_range("limits.cpu_time_ms", limits.cpu_time_ms, 1, MAX_MS)?;
        optional_range("limits.pids", limits.pids.map(u64::from), 1, MAX_PIDS)?;
        // Below eight, a dynamic loader cannot even start a program.
        optional_range(
            "limits.open_files",
            limits.open_files.map(u64::from),
            8,
            MAX_OPEN_FILES,
        )?;
        optional_range("limits.file_size_mb", limits.file_size_mb, 1, MAX_MB)?;
        range("limits.output_kb", limits.output_kb, 1, MAX_OUTPUT_KB)?;
        if let Some(cpus) = limits.cpus {
            // Written so that NaN fails too. 0.01 is the kernel's least quota (1 ms of 100 ms).
            if !(0.01..=MAX_CPUS).contains(&cpus) {
                return Err(KavachError::invalid(
                    "limits.cpus",
                    cpus.to_string(),
                    format!("0.01 to {MAX_CPUS}"),
                    "give a number of CPUs, for instance 0.5 or 2.0",
                ));
            }
        }
        Ok(())
    }
}

/// Whether a profile of this name exists.
fn check_profile(name: &str) -> Result<()> {
    if SYSCALL_PROFILES.contains(&name) {
        return Ok(());
    }
    Err(KavachError::UnknownProfile {
        name: crate::names::shown(name),
        nearest: crate::names::nearest(name, SYSCALL_PROFILES),
        known: SYSCALL_PROFILES.to_vec(),
    })
}

/// Whether a path is absolute, normalised, of a sane length and without control characters.
pub(crate) fn check_path(field: &str, path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let problem = if bytes.is_empty() {
        "an empty path"
    } else if bytes.len() >= PATH_MAX {
        "longer than the kernel's 4095 bytes"
    } else if bytes.iter().any(|b| *b < 0x20 || *b == 0x7f) {
        "a NUL, newline or other control character in it"
    } else if !path.is_absolute() {
        "not absolute"
    } else if path.components().any(|c| matches!(c, Component::ParentDir)) {
        "`..` in it"
    } else if !is_normal(bytes) {
        "`//`, `/.` or a `/` at its end"
    } else {
        return Ok(());
    };
    Err(KavachError::invalid(
        field,
        format!(
            "{:?}: {problem}",
            crate::names::shown(&path.to_string_lossy())
        ),
        "an absolute path without `..`, `.`, empty parts and control characters",
        "write the path out in full",
    ))
}

/// Whether the bytes of an absolute path have no empty part and no `.`.
fn is_normal(bytes: &[u8]) -> bool {
    bytes == b"/"
        || bytes.get(1..).is_some_and(|rest| {
            rest.split(|b| *b == b'/')
                .all(|p| !p.is_empty() && p != b".")
        })
}

/// Whether a host path may be shown inside at its own place.
fn check_showable(field: &str, path: &Path) -> Result<()> {
    let own = ["/proc", "/dev"]
        .into_iter()
        .any(|own| path.starts_with(own));
    if path != Path::new("/") && !own {
        return Ok(());
    }
    let problem = if own {
        "the sandbox has a /proc and /dev of its own; the host's would undo it"
    } else {
        "the whole host filesystem, secrets included"
    };
    Err(KavachError::invalid(
        field,
        format!("{path:?}: {problem}"),
        "a path below /, outside /proc and /dev",
        "name the directories that are needed, or use the host view of `minimal`",
    ))
}

fn optional_range(field: &str, value: Option<u64>, least: u64, most: u64) -> Result<()> {
    value.map_or(Ok(()), |value| range(field, value, least, most))
}

/// Whether `value` lies in `least..=most`.
pub(crate) fn range(field: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(KavachError::invalid(
        field,
        value.to_string(),
        format!("{least} to {most}"),
        if value == 0 {
            "leave it out"
        } else {
            "give a number in the range"
        },
    ))
}
