//! What several documents have in common.

use kavach::{Backend, Control, ControlState, EnforcementRow, Requirement, StrengthScore};
use serde::Serialize;

use crate::error::CliError;

/// A score with its band.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Strength {
    /// From 0 to 100.
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub(crate) score: u8,
    /// The band of the score.
    #[cfg_attr(test, schemars(schema_with = "super::schema::labels"))]
    pub(crate) label: &'static str,
}

impl std::fmt::Display for Strength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.score, self.label)
    }
}

impl From<StrengthScore> for Strength {
    fn from(score: StrengthScore) -> Self {
        Self {
            score: score.value(),
            label: score.label(),
        }
    }
}

/// One control of a sandbox: what was asked, what became of it, and how that is known.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Row {
    /// The control's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::controls"))]
    pub(crate) control: Control,
    /// What the policy asked for, in its own words; empty if nothing.
    requested: String,
    /// How much the policy insisted.
    #[cfg_attr(test, schemars(schema_with = "super::schema::requirements"))]
    requirement: Requirement,
    /// What became of it.
    #[cfg_attr(test, schemars(schema_with = "super::schema::states"))]
    pub(crate) state: ControlState,
    /// What holds it; for an absent control, what is missing.
    pub(crate) mechanism: String,
    /// What was read back from the kernel, before any guest ran; empty where nothing can be.
    evidence: String,
}

impl Row {
    /// Whether the policy asked for this control.
    pub(crate) fn is_requested(&self) -> bool {
        self.requirement != Requirement::Off && !self.requested.is_empty()
    }

    /// The rows of a report, in its order.
    pub(crate) fn all<'a>(rows: impl IntoIterator<Item = &'a EnforcementRow>) -> Vec<Self> {
        rows.into_iter().map(Self::from).collect()
    }
}

impl From<&EnforcementRow> for Row {
    fn from(row: &EnforcementRow) -> Self {
        Self {
            control: row.control,
            requested: row.requested.clone(),
            requirement: row.requirement,
            state: row.state,
            mechanism: row.mechanism.clone(),
            evidence: row.evidence.clone(),
        }
    }
}

/// Why something failed.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Problem {
    /// Stable across versions, for programs: `KV-…`.
    #[cfg_attr(test, schemars(regex(pattern = "^KV-[A-Z-]+$")))]
    pub(crate) code: String,
    /// What failed, for people.
    pub(crate) message: String,
    /// What to try.
    pub(crate) hint: Option<String>,
    /// The exit code of kavach that stands for it.
    pub(crate) exit_code: u8,
}

impl From<&CliError> for Problem {
    fn from(error: &CliError) -> Self {
        Self {
            code: error.code().into(),
            message: error.to_string(),
            hint: error.hint(),
            exit_code: error.exit_code(),
        }
    }
}

/// A backend, and whether it can be used here.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BackendRow {
    /// The backend's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::backends"))]
    pub(crate) backend: Backend,
    /// What it is worth without any policy, from 0 to 100.
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub(crate) base_score: u8,
    /// Whether this kavach was built with it.
    pub(crate) compiled_in: bool,
    /// Whether a sandbox of it was built here just now.
    pub(crate) usable: bool,
    /// The same in one word.
    pub(crate) status: BackendStatus,
    /// Why it cannot be used, or what is to be known of it.
    pub(crate) reason: Option<String>,
    /// What to do to get it.
    pub(crate) hint: Option<String>,
}

/// Whether a backend can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum BackendStatus {
    /// A sandbox of it was built here just now.
    Usable,
    /// It comes with a later version.
    Planned,
    /// This kavach was built without it.
    NotCompiled,
    /// This host lacks something.
    Unusable,
}

/// What the guest used; null where this host cannot tell.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Usage {
    /// Peak memory of the whole tree, in bytes.
    memory_peak_bytes: Option<u64>,
    /// CPU time in user mode, in microseconds.
    cpu_user_us: Option<u64>,
    /// CPU time in the kernel, in microseconds.
    cpu_system_us: Option<u64>,
    /// Most processes and threads at a time.
    pids_peak: Option<u64>,
    /// Bytes read from block devices.
    io_read_bytes: Option<u64>,
    /// Bytes written to block devices.
    io_written_bytes: Option<u64>,
    /// Time on the wall clock, in milliseconds; paused time does not count.
    wall_ms: u64,
}

impl From<&kavach::result::Usage> for Usage {
    fn from(usage: &kavach::result::Usage) -> Self {
        let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            memory_peak_bytes: usage.memory_peak_bytes,
            cpu_user_us: usage.cpu_user.map(us),
            cpu_system_us: usage.cpu_system.map(us),
            pids_peak: usage.pids_peak,
            io_read_bytes: usage.io_read_bytes,
            io_written_bytes: usage.io_written_bytes,
            wall_ms: milliseconds(usage.wall),
        }
    }
}

/// Whole milliseconds.
pub(crate) fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A limit that was hit and survived.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct LimitEvent {
    /// The limit.
    #[cfg_attr(test, schemars(schema_with = "super::schema::controls"))]
    control: Control,
    /// How often, where the kernel counts; else 1.
    count: u64,
    /// What was seen.
    detail: String,
}

impl From<&kavach::result::LimitEvent> for LimitEvent {
    fn from(event: &kavach::result::LimitEvent) -> Self {
        Self {
            control: event.control,
            count: event.count,
            detail: event.detail.clone(),
        }
    }
}

/// A refusal that could be seen.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Denial {
    /// The control that refused.
    #[cfg_attr(test, schemars(schema_with = "super::schema::controls"))]
    control: Control,
    /// What was refused.
    what: String,
    /// How often.
    count: u64,
}

impl From<&kavach::result::Denial> for Denial {
    fn from(denial: &kavach::result::Denial) -> Self {
        Self {
            control: denial.control,
            what: denial.what.clone(),
            count: denial.count,
        }
    }
}

/// The control groups of one sandbox whose host process is dead.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Leftover {
    /// The process id that the host process had.
    pub(crate) host_pid: u32,
    /// The owner's name, as far as it stands in the group's name.
    pub(crate) agent_id: String,
    /// The groups, one in each hierarchy.
    pub(crate) paths: Vec<String>,
}

impl From<&kavach::gc::Leftover> for Leftover {
    fn from(leftover: &kavach::gc::Leftover) -> Self {
        let paths = leftover.paths.iter();
        Self {
            host_pid: leftover.host_pid,
            agent_id: leftover.agent_id.clone(),
            paths: paths
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
        }
    }
}
