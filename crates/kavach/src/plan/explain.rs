//! A policy explained for one host: what becomes of each control, and what its points are.

use serde::Serialize;

use super::settle::Settler;
use super::{Plan, plan_with};
use crate::backend::Backend;
use crate::config::Spec;
use crate::control::{Control, ControlState, Requirement};
use crate::enforcement::EnforcementReport;
use crate::error::Result;
use crate::host::HostFacts;
use crate::scoring::{self, Breakdown, Circumstances, StrengthScore};

/// What keeps a control from being held in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Obstacle {
    /// The control.
    pub control: Control,
    /// What it needs.
    pub required: String,
    /// What is here.
    pub found: String,
    /// How to get it.
    pub fix: String,
    /// Whether nothing starts because of it. Else the control is held by a weaker mechanism, or
    /// may be missing.
    pub blocks: bool,
}

/// One control: what is asked, and what becomes of it here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExplainedControl {
    /// The control.
    pub control: Control,
    /// What was asked for, in words and units; empty where it was not.
    pub requested: String,
    /// How much the policy insists; [`Requirement::Off`] where it does not ask.
    pub requirement: Requirement,
    /// What is expected; `None` where it was not asked for.
    pub state: Option<ControlState>,
    /// What will hold it; for an absent one, what is missing.
    pub mechanism: String,
    /// What stands in the way.
    pub obstacle: Option<Obstacle>,
    /// What it adds to the score here; negative where its loss costs more than it brings.
    pub points: i16,
}

/// What a policy means on one host. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// What would run the guest.
    pub backend: Backend,
    /// The policy's name.
    pub policy: String,
    /// Every control, in the order of [`Control::ALL`].
    pub controls: Vec<ExplainedControl>,
    /// Whether a sandbox can be started: no obstacle blocks.
    pub starts: bool,
    /// What the scale gives the policy if all of it held.
    pub scale: StrengthScore,
    /// The strength to expect here; `None` where nothing starts.
    pub strength: Option<StrengthScore>,
    /// What the strength is made of; what it would be made of, where nothing starts.
    pub breakdown: Breakdown,
}

/// Explains what `spec` means on a host with these facts. Where [`plan`](super::plan) stops at
/// the first required control that cannot be held, this goes on and names them all.
///
/// Pure, as the plan is. What the kernel says of a sandbox that was built may still differ, which
/// ends it: then nothing of a guest runs.
///
/// # Errors
/// As [`plan`](super::plan), but for controls: a backend that this build does not have, and paths
/// that cannot be shown.
pub fn explain(spec: &Spec, host: &HostFacts) -> Result<Explanation> {
    let policy = &spec.policy;
    let settler = Settler::surveying(spec.backend, policy);
    let (plan, obstacles) = plan_with(settler, spec, host)?;
    let starts = !obstacles.iter().any(|obstacle| obstacle.blocks);
    let rows = plan
        .controls
        .iter()
        .map(|planned| planned.to_row())
        .collect();
    let report = EnforcementReport::new(spec.backend, rows);
    let circumstances = Circumstances {
        guest_is_host_root: plan.guest_is_host_root(),
        ..Circumstances::default()
    };
    let breakdown = scoring::breakdown(spec.backend, policy, &report, circumstances);
    let controls = Control::ALL
        .into_iter()
        .map(|control| explained(control, &plan, &obstacles, &breakdown))
        .collect();
    Ok(Explanation {
        backend: spec.backend,
        policy: policy.name.clone(),
        controls,
        starts,
        scale: scoring::score_backend(spec.backend, policy),
        strength: starts.then(|| breakdown.score()),
        breakdown,
    })
}

fn explained(
    control: Control,
    plan: &Plan,
    obstacles: &[Obstacle],
    breakdown: &Breakdown,
) -> ExplainedControl {
    let obstacle = obstacles
        .iter()
        .find(|obstacle| obstacle.control == control);
    let points = breakdown.points_of(control);
    match plan.control(control) {
        Some(planned) => ExplainedControl {
            control,
            requested: planned.requested.clone(),
            requirement: planned.requirement,
            state: Some(planned.expected),
            mechanism: planned.mechanism.clone(),
            obstacle: obstacle.cloned(),
            points,
        },
        None => ExplainedControl {
            control,
            requested: String::new(),
            requirement: Requirement::Off,
            state: None,
            mechanism: String::new(),
            obstacle: None,
            points,
        },
    }
}
