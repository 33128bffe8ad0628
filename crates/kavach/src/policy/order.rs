//! How strict a policy is about one control, on a scale that orders policies.

use super::SandboxPolicy;
use crate::control::{Control, Requirement};

/// How much a policy insists on a control that it may ask for, from the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// It is not asked for.
    NotAsked,
    /// It may be missing.
    Preferred,
    /// A weaker mechanism may stand for it.
    Approximate,
    /// It must hold in full.
    Required,
}

impl Level {
    /// For people.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Level::NotAsked => "not asked for",
            Level::Preferred => "preferred",
            Level::Approximate => "required, approximately",
            Level::Required => "required",
        }
    }
}

/// What a policy says of one control, whether or not anything comes of it. A total order: the
/// greater is the stricter, and the greater of two says what both together demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    /// Whether the policy's value asks for the control; it may be switched off all the same.
    asks: bool,
    /// 0 off, 1 preferred, 2 required.
    requirement: u8,
    /// Whether the weaker mechanism is *not* accepted.
    in_full: bool,
}

impl Demand {
    /// The requirement.
    pub(crate) const fn requirement(self) -> Requirement {
        match self.requirement {
            0 => Requirement::Off,
            1 => Requirement::Preferred,
            _ => Requirement::Required,
        }
    }

    /// Whether the weaker mechanism is accepted.
    pub(crate) const fn accepts_approximate(self) -> bool {
        !self.in_full
    }
}

impl SandboxPolicy {
    /// What this policy says of a control.
    pub(crate) fn demand(&self, control: Control) -> Demand {
        Demand {
            asks: self.would_ask_for(control),
            requirement: match self.requirement(control) {
                Requirement::Off => 0,
                Requirement::Preferred => 1,
                Requirement::Required => 2,
            },
            in_full: !self.accept_approximate.contains(&control),
        }
    }

    /// How much this policy insists on a control.
    pub(crate) fn level(&self, control: Control) -> Level {
        // The config asks for these two; of a policy's they have the requirement alone.
        let by_config = matches!(control, Control::WallTime | Control::Credentials);
        match self.requirement(control) {
            Requirement::Off => Level::NotAsked,
            _ if !by_config && !self.asks_for(control) => Level::NotAsked,
            Requirement::Preferred => Level::Preferred,
            Requirement::Required if self.accept_approximate.contains(&control) => {
                Level::Approximate
            }
            Requirement::Required => Level::Required,
        }
    }
}

/// How strict a system call profile is: names that are not known count as the strictest, so that
/// a wrong name is not lost where policies are merged, and is refused afterwards.
pub(super) fn profile_rank(profile: Option<&str>) -> (u8, &str) {
    match profile {
        None => (0, ""),
        Some("basic") => (1, ""),
        Some("strict") => (2, ""),
        Some(unknown) => (3, unknown),
    }
}
