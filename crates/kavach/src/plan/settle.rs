//! Failing closed, in one place: what becomes of each control that a policy asks for.

use super::{Obstacle, PlannedControl};
use crate::backend::Backend;
use crate::control::{Control, ControlState, Requirement};
use crate::error::{KavachError, Result};
use crate::policy::SandboxPolicy;
use crate::scoring::points_if_absent;

/// What a host has for a control.
pub(super) enum Outcome {
    /// A mechanism that holds it in full.
    Held { mechanism: String },
    /// A weaker one, and what the full one would need.
    Approximate { mechanism: String, lack: Lack },
    /// None.
    Missing(Lack),
}

/// What is not there.
#[derive(Debug, Clone)]
pub(super) struct Lack {
    required: String,
    found: String,
    fix: String,
}

impl Lack {
    pub(super) fn new(
        required: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            required: required.into(),
            found: found.into(),
            fix: fix.into(),
        }
    }
}

impl Outcome {
    pub(super) fn held(mechanism: impl Into<String>) -> Self {
        Outcome::Held {
            mechanism: mechanism.into(),
        }
    }

    pub(super) fn missing(
        required: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Outcome::Missing(Lack::new(required, found, fix))
    }
}

/// Collects the rows of a plan, and stops it at the first required control that is not held.
pub(super) struct Settler<'a> {
    backend: Backend,
    policy: &'a SandboxPolicy,
    rows: Vec<PlannedControl>,
    /// What stands in the way of controls; collected instead of stopping, where it is wanted.
    obstacles: Option<Vec<Obstacle>>,
}

impl<'a> Settler<'a> {
    pub(super) fn new(backend: Backend, policy: &'a SandboxPolicy) -> Self {
        Self {
            backend,
            policy,
            rows: Vec::new(),
            obstacles: None,
        }
    }

    /// One that goes on where a required control is not held, as if it were preferred: for
    /// telling everything that stands in the way. Nothing may be started from its rows.
    pub(super) fn surveying(backend: Backend, policy: &'a SandboxPolicy) -> Self {
        Self {
            obstacles: Some(Vec::new()),
            ..Self::new(backend, policy)
        }
    }

    /// Decides a control that the policy may have asked for; nothing happens where it has not.
    pub(super) fn settle(
        &mut self,
        control: Control,
        requested: impl Into<String>,
        outcome: impl FnOnce() -> Outcome,
    ) -> Result<()> {
        if self.policy.asks_for(control) {
            self.add(control, requested, outcome())
        } else {
            Ok(())
        }
    }

    /// Decides a control that is needed, whether or not the policy asked for it.
    pub(super) fn add(
        &mut self,
        control: Control,
        requested: impl Into<String>,
        outcome: Outcome,
    ) -> Result<()> {
        let required = self.policy.requirement(control) == Requirement::Required;
        let accepted = self.policy.accept_approximate.contains(&control);
        let (expected, mechanism, lack) = match outcome {
            Outcome::Held { mechanism } => (ControlState::Enforced, mechanism, None),
            Outcome::Approximate { mechanism, lack } => {
                (ControlState::Approximate, mechanism, Some(lack))
            }
            Outcome::Missing(lack) => (
                ControlState::Absent,
                format!("required: {}; found: {}", lack.required, lack.found),
                Some(lack),
            ),
        };
        if let Some(lack) = lack {
            let weaker = expected == ControlState::Approximate;
            let blocks = required && !(weaker && accepted);
            let obstacle = Obstacle::new(control, lack, blocks, weaker && blocks);
            match &mut self.obstacles {
                Some(obstacles) => obstacles.push(obstacle),
                None if blocks => return Err(obstacle.into_error()),
                None => {}
            }
        }
        self.push(control, requested.into(), expected, mechanism);
        Ok(())
    }

    /// Records a control as absent without regard to its requirement.
    pub(super) fn record_absent(&mut self, control: Control) {
        if self.policy.asks_for(control) {
            let mechanism = format!("backend `{}` enforces nothing", self.backend);
            self.push(control, "on".to_owned(), ControlState::Absent, mechanism);
        }
    }

    /// Whether the policy asks for a control.
    pub(super) fn asks_for(&self, control: Control) -> bool {
        self.policy.asks_for(control)
    }

    /// Whether a control was asked for and is expected to hold in full.
    pub(super) fn holds(&self, control: Control) -> bool {
        self.state(control).is_some_and(ControlState::holds)
    }

    /// What is expected of a control; `None` where it was not asked for.
    pub(super) fn state(&self, control: Control) -> Option<ControlState> {
        self.rows
            .iter()
            .find(|row| row.control == control)
            .map(|row| row.expected)
    }

    /// The rows, in the order of a report, and what stands in the way of them.
    pub(super) fn into_rows(mut self) -> (Vec<PlannedControl>, Vec<Obstacle>) {
        self.rows.sort_by_key(|row| row.control);
        (self.rows, self.obstacles.unwrap_or_default())
    }

    fn push(
        &mut self,
        control: Control,
        requested: String,
        expected: ControlState,
        mechanism: String,
    ) {
        self.rows.push(PlannedControl {
            control,
            requested,
            requirement: self.policy.requirement(control),
            expected,
            mechanism,
            points_if_lost: points_if_absent(self.backend, self.policy, control),
        });
    }
}

impl Obstacle {
    fn new(control: Control, lack: Lack, blocks: bool, weaker_would_do: bool) -> Self {
        let mut fix = lack.fix;
        if weaker_would_do {
            fix.push_str(&format!(
                "; or accept a weaker mechanism with accept_approximate = [\"{control}\"]"
            ));
        }
        Self {
            control,
            required: lack.required,
            found: lack.found,
            fix,
            blocks,
        }
    }

    fn into_error(self) -> KavachError {
        KavachError::ControlUnavailable {
            control: self.control,
            required: self.required,
            found: self.found,
            fix: self.fix,
        }
    }
}
