//! The strength of a sandbox as it was measured: what a guest tried, and what happened.
//!
//! [`Sandbox::verify`](crate::Sandbox::verify) builds sandboxes of a config and runs a program of
//! kavach's own in them, as every command runs. It tries what the sandbox is to refuse, and does
//! nothing that outlives it where it is not refused. Most probes are made a second time, outside,
//! by the same program without isolation: a refusal counts as evidence only where the same act
//! went through there.
//!
//! The measured score counts what was seen refused. A control that the
//! [`EnforcementReport`] claims, and whose probe went through, is
//! "claimed, not observed": an error of its own, [`Observation::NotObserved`].
//!
//! # What it does not show
//! That the controls refuse everything they should: each probe is one door of many. That the
//! kernel, hypervisor or processor has no fault. What the next sandbox has: it is a measurement
//! of these ones, on this host, at this time. And nothing of what was not tried; those controls
//! are listed as not measured, with the reason.

mod answer;
mod battery;
mod canary;
mod judge;
mod limits;
mod means;
mod run;
#[cfg(feature = "process")]
#[cfg(test)]
mod tests;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::control::{Control, ControlState};
use crate::enforcement::EnforcementReport;
use crate::plan::Plan;
use crate::policy::SandboxPolicy;
use crate::scoring::{self, Breakdown, Circumstances, StrengthScore};

pub(crate) use run::verify;

/// What was measured of the sandboxes of one config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// What ran the probes.
    pub backend: Backend,
    /// The name of the policy.
    pub policy: String,
    /// The strength by the enforcement report: [`Sandbox::strength`](crate::Sandbox::strength).
    pub claimed: StrengthScore,
    /// The strength by what was seen refused.
    pub measured: StrengthScore,
    /// What the measured strength is made of.
    pub breakdown: Breakdown,
    /// Every control that is claimed, or of which a probe was made.
    pub controls: Vec<MeasuredControl>,
    /// Every probe, in the order of the controls.
    pub probes: Vec<Probed>,
}

impl Verification {
    /// The controls that are claimed and whose probe went through.
    pub fn claimed_not_observed(&self) -> impl Iterator<Item = &MeasuredControl> {
        let not = |c: &&MeasuredControl| c.observation == Observation::NotObserved;
        self.controls.iter().filter(not)
    }

    /// Whether nothing that is claimed was seen to fail.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.claimed_not_observed().next().is_none()
    }

    /// What became of a control; `None` where it is neither claimed nor probed.
    #[must_use]
    pub fn control(&self, control: Control) -> Option<&MeasuredControl> {
        self.controls.iter().find(|c| c.control == control)
    }
}

/// A control: what the report says of it, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MeasuredControl {
    /// The control.
    pub control: Control,
    /// What the report says.
    pub claimed: ControlState,
    /// What was seen.
    pub observation: Observation,
    /// Why it is called so, in one line.
    pub why: String,
    /// What the measured strength has less of it than the claimed one, in points; never
    /// positive.
    pub points: i16,
}

/// Whether a control was seen to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Observation {
    /// Claimed; every probe of it that can tell was refused, and there was one.
    Observed,
    /// Claimed, and a probe of it went through.
    NotObserved,
    /// Claimed, and no probe could tell. Brings no points of its own, and costs none where the
    /// score has no points for it.
    NotMeasured,
    /// Not claimed: what a probe of it did is shown and counts for nothing.
    NotClaimed,
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Observation::Observed => "observed",
            Observation::NotObserved => "claimed, not observed",
            Observation::NotMeasured => "not measured",
            Observation::NotClaimed => "not claimed",
        })
    }
}

/// One probe: what was tried, and what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Probed {
    /// The control whose promise was tried.
    pub control: Control,
    /// What was tried.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How that was seen: the kernel's answer, the way the program ended, or why nothing was
    /// tried.
    pub seen: String,
    /// How the same went outside, where it was tried there too.
    pub outside: Option<String>,
    /// Which control answered, where it counts as evidence. Another one than `control` where a
    /// wall before it refused already, as the system call filter does for sockets.
    pub answered_by: Option<Control>,
    /// Whether it agrees with the report. Only a claimed control whose probe went through does
    /// not.
    pub expected: bool,
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It went through.
    Effect,
    /// It was refused.
    Refused,
    /// It was refused, and that says nothing: it is outside too, or something else was in the
    /// way.
    Inconclusive,
    /// It was not made.
    NotTried,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Effect => "EFFECT",
            Outcome::Refused => "refused",
            Outcome::Inconclusive => "inconclusive",
            Outcome::NotTried => "not tried",
        })
    }
}

/// What a sandbox says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    pub(crate) policy: SandboxPolicy,
    pub(crate) plan: Plan,
    pub(crate) report: EnforcementReport,
    pub(crate) circumstances: Circumstances,
}

impl Claims {
    fn state(&self, control: Control) -> ControlState {
        self.report.state(control)
    }

    fn has(&self, control: Control) -> bool {
        self.state(control) != ControlState::Absent
    }

    fn breakdown(&self, report: &EnforcementReport) -> Breakdown {
        scoring::breakdown(self.plan.backend, &self.policy, report, self.circumstances)
    }
}
