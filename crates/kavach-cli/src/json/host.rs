//! The documents of the verbs that look at the host: `backends`, `score`, `doctor` and `gc`.

use kavach::{Backend, EnforcementRow};
use serde::Serialize;

use super::documents::tag;
use super::parts::{BackendRow, Leftover, Problem, Row, Strength};

tag!(BackendsTag, "kavach.backends/1");
tag!(ScoreTag, "kavach.score/1");
tag!(ScoreHereTag, "kavach.score-here/1");
tag!(DoctorTag, "kavach.doctor/1");
tag!(GcTag, "kavach.gc/1");

/// `kavach backends --json`: what can isolate a program, and whether it can here.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Backends {
    /// The name and version of this document.
    schema: BackendsTag,
    /// All backends, by base score.
    backends: Vec<BackendRow>,
}

impl From<Vec<BackendRow>> for Backends {
    fn from(backends: Vec<BackendRow>) -> Self {
        Self {
            schema: BackendsTag::Here,
            backends,
        }
    }
}

/// `kavach score --json`: what policies are worth by the scale. Nothing was run.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Score {
    /// The name and version of this document.
    schema: ScoreTag,
    /// A score for each pair of backend and policy.
    scores: Vec<Scored>,
}

/// One backend with one policy.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Scored {
    /// The backend's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::backends"))]
    pub(crate) backend: Backend,
    /// The policy's name.
    pub(crate) policy: String,
    /// What they give if all of the policy holds.
    pub(crate) strength: Strength,
}

impl From<Vec<Scored>> for Score {
    fn from(scores: Vec<Scored>) -> Self {
        Self {
            schema: ScoreTag::Here,
            scores,
        }
    }
}

/// `kavach score --here --json`: what a real sandbox has on this host.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ScoreHere<'a> {
    /// The name and version of this document.
    schema: ScoreHereTag,
    /// The backend's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::backends"))]
    backend: Backend,
    /// The policy's name.
    policy: &'a str,
    /// The strength of the sandbox that was built just now.
    strength: Strength,
    /// What the scale gives if all of the policy holds.
    scale: Strength,
    /// Every control of the sandbox, with what holds it.
    report: Vec<Row>,
}

impl<'a> ScoreHere<'a> {
    pub(crate) fn new(
        backend: Backend,
        policy: &'a str,
        strength: Strength,
        scale: Strength,
        rows: &[EnforcementRow],
    ) -> Self {
        Self {
            schema: ScoreHereTag::Here,
            backend,
            policy,
            strength,
            scale,
            report: Row::all(rows),
        }
    }
}

/// `kavach doctor --json`: what this host can enforce, and how to get the rest.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Doctor {
    /// The name and version of this document.
    schema: DoctorTag,
    /// Whether `strict` works here.
    pub(crate) healthy: bool,
    /// The kernel's part.
    pub(crate) host: Vec<Check>,
    /// As `kavach backends --json` has them.
    pub(crate) backends: Vec<BackendRow>,
    /// Programs of backends that are still to come.
    pub(crate) binaries: Vec<Check>,
    /// A sandbox of each preset on the process backend, built just now.
    pub(crate) presets: Vec<Tried>,
}

impl Doctor {
    pub(crate) fn new(
        host: Vec<Check>,
        backends: Vec<BackendRow>,
        binaries: Vec<Check>,
        presets: Vec<Tried>,
    ) -> Self {
        let strict_works = |tried: &Tried| tried.policy == "strict" && tried.works;
        Self {
            schema: DoctorTag::Here,
            healthy: presets.iter().any(strict_works),
            host,
            backends,
            binaries,
            presets,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Check {
    /// What it is.
    pub(crate) name: String,
    /// Whether it is there.
    pub(crate) status: CheckStatus,
    /// What was found.
    pub(crate) found: String,
    /// What brings it: a command, or what to change. Null unless it is missing.
    pub(crate) fix: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckStatus {
    /// There.
    Ok,
    /// Not there.
    Missing,
    /// Neither good nor bad.
    Info,
}

/// What became of a preset on the process backend.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Tried {
    /// The preset.
    #[cfg_attr(test, schemars(schema_with = "super::schema::presets"))]
    pub(crate) policy: &'static str,
    /// Whether its sandbox was built.
    pub(crate) works: bool,
    /// The strength of that sandbox; null where it was not built.
    pub(crate) strength: Option<Strength>,
    /// The controls that were asked for and do not hold in full.
    pub(crate) losses: Vec<Row>,
    /// Every control of the sandbox, with what holds it.
    pub(crate) report: Vec<Row>,
    /// Why it was not built.
    pub(crate) error: Option<Problem>,
}

/// `kavach gc --json`: what dead host processes left behind.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Gc {
    /// The name and version of this document.
    schema: GcTag,
    /// Whether it only looked.
    pub(crate) dry_run: bool,
    /// What would be removed; only of a dry run.
    pub(crate) found: Vec<Leftover>,
    /// What was removed.
    pub(crate) removed: Vec<GcRemoved>,
    /// What could not be removed.
    pub(crate) failed: Vec<GcFailed>,
}

/// A leftover that was removed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct GcRemoved {
    /// What it was.
    pub(crate) leftover: Leftover,
    /// Processes of the guest that still lived, and were killed.
    pub(crate) killed_processes: usize,
    /// Directories removed.
    pub(crate) removed_directories: usize,
}

/// A leftover that could not be removed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct GcFailed {
    /// What it is.
    pub(crate) leftover: Leftover,
    /// Why.
    pub(crate) error: String,
}

impl Gc {
    pub(crate) fn found(found: &[kavach::gc::Leftover]) -> Self {
        Self {
            schema: GcTag::Here,
            dry_run: true,
            found: found.iter().map(Into::into).collect(),
            removed: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub(crate) fn done(report: &kavach::gc::GcReport) -> Self {
        let removed = report.removed.iter().map(|removed| GcRemoved {
            leftover: (&removed.leftover).into(),
            killed_processes: removed.killed_processes,
            removed_directories: removed.removed_directories,
        });
        let failed = report.failed.iter().map(|failed| GcFailed {
            leftover: (&failed.leftover).into(),
            error: failed.error.to_string(),
        });
        Self {
            schema: GcTag::Here,
            dry_run: false,
            found: Vec::new(),
            removed: removed.collect(),
            failed: failed.collect(),
        }
    }
}
