//! The document of `verify`.

use kavach::verify::{MeasuredControl, Observation, Outcome, Probed};
use kavach::{Backend, Control, ControlState, Verification};
use serde::Serialize;

use super::documents::tag;
use super::parts::Strength;

tag!(VerifyTag, "kavach.verify/1");

/// `kavach verify --json`: the strength of a sandbox as it was measured.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Verify<'a> {
    /// The name and version of this document.
    schema: VerifyTag,
    /// The backend's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::backends"))]
    backend: Backend,
    /// The policy's name.
    policy: &'a str,
    /// The strength by what was seen refused.
    measured: Strength,
    /// The strength by the enforcement report.
    claimed: Strength,
    /// Whether nothing that is claimed was seen to fail.
    holds: bool,
    /// What the measured strength is made of; the points add up to it.
    items: Vec<Item>,
    /// Every control that is claimed, or of which a probe was made.
    controls: Vec<Measured<'a>>,
    /// Every probe.
    probes: Vec<Probe<'a>>,
}

/// Points, and what they are for.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Item {
    /// What they are for, or why they are lost.
    what: &'static str,
    /// The control that they belong to; null where it is none.
    #[cfg_attr(test, schemars(schema_with = "super::schema::control_or_null"))]
    control: Option<Control>,
    /// The points; negative where they are lost.
    points: i16,
}

/// A control, and what was seen of it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Measured<'a> {
    /// The control's name.
    #[cfg_attr(test, schemars(schema_with = "super::schema::controls"))]
    control: Control,
    /// What the enforcement report says.
    #[cfg_attr(test, schemars(schema_with = "super::schema::states"))]
    claimed: ControlState,
    /// What was seen. `not_observed` is an error: it is claimed, and a probe went through.
    #[cfg_attr(test, schemars(schema_with = "super::schema::observations"))]
    observation: Observation,
    /// Why it is called so.
    why: &'a str,
    /// What the measured strength has less of it than the claimed one.
    points: i16,
}

/// What was tried, and what happened.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Probe<'a> {
    /// The control whose promise was tried.
    #[cfg_attr(test, schemars(schema_with = "super::schema::controls"))]
    control: Control,
    /// What was tried.
    what: &'a str,
    /// What became of it.
    #[cfg_attr(test, schemars(schema_with = "super::schema::outcomes"))]
    outcome: Outcome,
    /// How that was seen, or why nothing was tried.
    seen: &'a str,
    /// How the same went outside; null where it was not tried there.
    outside: Option<&'a str>,
    /// Which control answered; null where it is no evidence.
    #[cfg_attr(test, schemars(schema_with = "super::schema::control_or_null"))]
    answered_by: Option<Control>,
    /// Whether it agrees with the enforcement report.
    expected: bool,
}

impl<'a> From<&'a Verification> for Verify<'a> {
    fn from(found: &'a Verification) -> Self {
        let items = found.breakdown.items.iter().map(|item| Item {
            what: item.what,
            control: item.control,
            points: item.points,
        });
        Self {
            schema: VerifyTag::Here,
            backend: found.backend,
            policy: &found.policy,
            measured: found.measured.into(),
            claimed: found.claimed.into(),
            holds: found.holds(),
            items: items.collect(),
            controls: found.controls.iter().map(Measured::from).collect(),
            probes: found.probes.iter().map(Probe::from).collect(),
        }
    }
}

impl<'a> From<&'a MeasuredControl> for Measured<'a> {
    fn from(control: &'a MeasuredControl) -> Self {
        Self {
            control: control.control,
            claimed: control.claimed,
            observation: control.observation,
            why: &control.why,
            points: control.points,
        }
    }
}

impl<'a> From<&'a Probed> for Probe<'a> {
    fn from(probe: &'a Probed) -> Self {
        Self {
            control: probe.control,
            what: &probe.what,
            outcome: probe.outcome,
            seen: &probe.seen,
            outside: probe.outside.as_deref(),
            answered_by: probe.answered_by,
            expected: probe.expected,
        }
    }
}
