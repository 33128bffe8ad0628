//! Whether a policy's values are in their ranges. Whether a host can keep them, the plan says.

use std::path::{Component, Path};

use super::SandboxPolicy;
use super::section::{Fault, Section as _};
use crate::control::{Control, Requirement};
use crate::error::{KavachError, Result};

/// The system call allowlists that exist.
pub const SYSCALL_PROFILES: [&str; 2] = ["basic", "strict"];

/// How many read paths a policy may name. Each is a mount; a kernel slows down with thousands.
pub const MAX_READ_PATHS: usize = 512;

/// Longest path that Linux takes (`PATH_MAX`, with its NUL).
const PATH_MAX: usize = 4096;
/// 2^40 MiB: far above any machine, far below where bytes overflow.
pub(super) const MAX_MB: f64 = 1_099_511_627_776.0;
/// The kernel keeps inode numbers of a tmpfs in 32 bits.
pub(super) const MAX_INODES: f64 = 4_294_967_296.0;
/// The kernel's own ceiling, `PID_MAX_LIMIT` of `include/linux/threads.h`.
pub(super) const MAX_PIDS: f64 = 4_194_304.0;
/// The kernel's default ceiling, `/proc/sys/fs/nr_open`.
pub(super) const MAX_OPEN_FILES: f64 = 1_048_576.0;
/// Largest capture per stream: 1 GiB. Both streams are held in memory.
pub(super) const MAX_OUTPUT_KB: f64 = 1_048_576.0;
/// Most CPUs that a limit may name.
pub(super) const MAX_CPUS: f64 = 4096.0;
/// A year; more is no limit but a misplaced unit.
pub(crate) const MAX_MS: u64 = 366 * 24 * 3600 * 1000;
/// Longest policy name.
pub(super) const MAX_NAME: usize = 128;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// What is wrong.
    pub(crate) problem: String,
    /// What is accepted.
    pub(crate) required: String,
    /// What to do.
    pub(crate) fix: String,
    /// The known names, where the value is a name that is not known.
    pub(crate) known: &'static [&'static str],
}

impl Wrong {
    pub(crate) fn new(
        problem: impl Into<String>,
        required: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            problem: problem.into(),
            required: required.into(),
            fix: fix.into(),
            known: &[],
        }
    }
}

impl Fault {
    fn new(key: impl Into<String>, wrong: Wrong) -> Self {
        Self {
            key: key.into(),
            wrong,
        }
    }

    /// The fault as an error of its own.
    fn into_error(self) -> KavachError {
        let Wrong {
            problem,
            required,
            fix,
            known,
        } = self.wrong;
        if known.is_empty() {
            return KavachError::invalid(self.key, problem, required, fix);
        }
        KavachError::UnknownProfile {
            name: crate::names::shown(&problem),
            nearest: crate::names::nearest(&problem, known.iter().copied()),
            known: known.to_vec(),
        }
    }
}

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
        fix: "the host's own root cannot be made read-only for the guest: keep the private view, \
              or set read_only_root = false",
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
    /// The first of all faults: [`KavachError::InvalidConfig`] with the field, what is wrong and
    /// what is accepted; [`KavachError::UnknownProfile`] for a profile that does not exist.
    pub fn validate(&self) -> Result<()> {
        let mut faults = self.wrong_values();
        faults.extend(self.contradictions());
        match faults.into_iter().next() {
            Some(fault) => Err(fault.into_error()),
            None => Ok(()),
        }
    }

    /// Every value that is out of its range or form by itself.
    pub(super) fn wrong_values(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.name.len() > MAX_NAME || self.name.chars().any(char::is_control) {
            faults.push(Fault::new(
                "name",
                Wrong::new(
                    "too long, or a control character in it",
                    format!("at most {MAX_NAME} bytes without control characters"),
                    "give the policy a short plain name",
                ),
            ));
        }
        if let Some(profile) = &self.syscall_filter.profile
            && !SYSCALL_PROFILES.contains(&profile.as_str())
        {
            let wrong = Wrong {
                known: &SYSCALL_PROFILES,
                ..Wrong::new(
                    profile,
                    "\"basic\", \"strict\", or \"none\" for no filter",
                    "",
                )
            };
            faults.push(Fault::new("syscall_filter.profile", wrong));
        }
        self.filesystem.check(&mut faults);
        self.namespaces.check(&mut faults);
        self.limits.check(&mut faults);
        for control in &self.accept_approximate {
            if !control.may_be_approximate() {
                faults.push(Fault::new(
                    "accept_approximate",
                    Wrong::new(
                        format!("`{control}` has no approximate mechanism"),
                        "memory, cpu, cpu_time, pids or disk",
                        "remove it; to go without a control, make it `preferred`",
                    ),
                ));
            }
        }
        for control in [
            Control::Capabilities,
            Control::NoNewPrivs,
            Control::AgentProtection,
        ] {
            if self.requirement(control) != Requirement::Required {
                faults.push(Fault::new(
                    format!("requirements.{control}"),
                    Wrong::new(
                        "this control cannot be given up",
                        "`required`",
                        "remove the line: it is required under every policy",
                    ),
                ));
            }
        }
        faults
    }

    /// Controls that are asked for and need another that is not.
    ///
    /// Without this check a plan could only leave out what cannot be built, and a private view
    /// without mounts of its own is the host's: silence would turn one line of a policy,
    /// `requirements.pid_namespace = "off"`, into a guest that sees every file.
    pub(super) fn contradictions(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for need in &NEEDS {
            if !self.asks_for(need.control) || self.asks_for(need.needs) {
                continue;
            }
            let (key, value) = self.switched_off(need.needs);
            // One line may be missed by several controls: the first says enough.
            if faults.iter().any(|fault| fault.key == key) {
                continue;
            }
            let problem = format!("{value}, with {}", need.asked_by);
            let wrong = Wrong::new(problem, "both, or neither", need.fix);
            faults.push(Fault::new(key, wrong));
        }
        faults.extend(self.unguarded_write_through());
        faults
    }

    /// Writable host directories where nothing holds what is made in them.
    fn unguarded_write_through(&self) -> Option<Fault> {
        let field = "filesystem.write_through";
        if self.filesystem.write_through.is_empty() {
            return None;
        }
        if self.filesystem.view == super::View::Host {
            let wrong = Wrong::new(
                "the host view lets the guest write wherever the caller may",
                "filesystem.view = \"private\"",
                "use the private view, or leave write_through out",
            );
            return Some(Fault::new(field, wrong));
        }
        if self.asks_for(Control::SyscallFilter)
            && self.requirement(Control::SyscallFilter) == Requirement::Required
        {
            return None;
        }
        let wrong = Wrong::new(
            "without a required system call filter nothing keeps setuid files and sockets from \
             being made in it",
            "syscall_filter.profile = \"basic\" or \"strict\", required",
            "set a profile, or give the guest a workspace instead",
        );
        Some(Fault::new(field, wrong))
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
}

/// What is wrong with a path that is not absolute, normalised, of a sane length and without
/// control characters.
fn path_form(path: &Path) -> Option<Wrong> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let mut fix = "write the path out in full";
    let problem = if bytes.is_empty() {
        "an empty path"
    } else if bytes.len() >= PATH_MAX {
        "longer than the kernel's 4095 bytes"
    } else if bytes.iter().any(|b| *b < 0x20 || *b == 0x7f)
        || path
            .to_str()
            .is_some_and(|text| text.chars().any(char::is_control))
    {
        "a NUL, newline or other control character in it"
    } else if bytes.starts_with(b"~") || bytes.starts_with(b"$") {
        fix = "write the path out in full: nothing is filled in for `~` and `$HOME`";
        "not absolute"
    } else if !path.is_absolute() {
        "not absolute"
    } else if path.components().any(|c| matches!(c, Component::ParentDir)) {
        "`..` in it"
    } else if !is_normal(bytes) {
        "`//`, `/.` or a `/` at its end"
    } else {
        return None;
    };
    let shown = crate::names::shown(&path.to_string_lossy());
    Some(Wrong::new(
        format!("{shown:?}: {problem}"),
        "an absolute path without `..`, `.`, empty parts and control characters",
        fix,
    ))
}

/// Whether a path is absolute, normalised, of a sane length and without control characters.
pub(crate) fn check_path(field: &str, path: &Path) -> Result<()> {
    path_form(path).map_or(Ok(()), |wrong| Err(Fault::new(field, wrong).into_error()))
}

/// What is wrong with a host path that is to be shown inside at its own place.
pub(super) fn check_shown_path(path: &Path) -> Option<Wrong> {
    if let Some(wrong) = path_form(path) {
        return Some(wrong);
    }
    let own = ["/proc", "/dev"]
        .into_iter()
        .any(|own| path.starts_with(own));
    if path != Path::new("/") && !own {
        return None;
    }
    let problem = if own {
        "the sandbox has a /proc and /dev of its own; the host's would undo it"
    } else {
        "the whole host filesystem, secrets included"
    };
    Some(Wrong::new(
        format!("{path:?}: {problem}"),
        "a path below /, outside /proc and /dev",
        "name the directories that are needed, or use the host view of `minimal`",
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
