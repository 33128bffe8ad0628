//! The life of a sandbox: five states and one table of what may follow what.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{KavachError, Result};

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxState {
    /// The jail and its agent stand; no guest has run.
    Created,
    /// Guests may be started.
    Running,
    /// Every process is frozen; the clock of each exec stands still.
    Paused,
    /// Every process is gone; the report can still be read.
    Stopped,
    /// Nothing is left. Final.
    Destroyed,
}

/// The whole transition relation. Everything that asks "may it?" asks this table.
const TRANSITIONS: [(SandboxState, SandboxState); 7] = [
    (SandboxState::Created, SandboxState::Running),
    (SandboxState::Created, SandboxState::Stopped),
    (SandboxState::Running, SandboxState::Paused),
    (SandboxState::Paused, SandboxState::Running),
    (SandboxState::Running, SandboxState::Stopped),
    (SandboxState::Paused, SandboxState::Stopped),
    (SandboxState::Stopped, SandboxState::Destroyed),
];

impl SandboxState {
    /// Every state, in the order of a life.
    pub const ALL: [SandboxState; 5] = [
        SandboxState::Created,
        SandboxState::Running,
        SandboxState::Paused,
        SandboxState::Stopped,
        SandboxState::Destroyed,
    ];

    /// The name in reports and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            SandboxState::Created => "created",
            SandboxState::Running => "running",
            SandboxState::Paused => "paused",
            SandboxState::Stopped => "stopped",
            SandboxState::Destroyed => "destroyed",
        }
    }

    /// Whether commands may be started.
    #[must_use]
    pub const fn allows_exec(self) -> bool {
        matches!(self, SandboxState::Running)
    }

    /// Whether processes of the sandbox may exist.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(
            self,
            SandboxState::Created | SandboxState::Running | SandboxState::Paused
        )
    }

    /// The states that may follow directly.
    pub fn successors(self) -> impl Iterator<Item = SandboxState> {
        TRANSITIONS
            .into_iter()
            .filter(move |(from, _)| *from == self)
            .map(|(_, to)| to)
    }
}

impl fmt::Display for SandboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a sandbox may go from `from` to `to` in one step.
#[must_use]
pub fn can(from: SandboxState, to: SandboxState) -> bool {
    TRANSITIONS.contains(&(from, to))
}

/// Like [`can`], as a result.
///
/// # Errors
/// [`KavachError::InvalidTransition`] where the table has no such step.
pub fn check(from: SandboxState, to: SandboxState) -> Result<()> {
    if can(from, to) {
        Ok(())
    } else {
        Err(KavachError::InvalidTransition { from, to })
    }
}

/// The steps by which `destroy` ends a sandbox that is in `from`: through `Stopped` where it
/// still lives.
///
/// # Errors
/// [`KavachError::InvalidTransition`] from `Destroyed`: nothing is left to destroy.
pub fn path_to_destroyed(from: SandboxState) -> Result<&'static [SandboxState]> {
    match from {
        SandboxState::Created | SandboxState::Running | SandboxState::Paused => {
            Ok(&[SandboxState::Stopped, SandboxState::Destroyed])
        }
        SandboxState::Stopped => Ok(&[SandboxState::Destroyed]),
        SandboxState::Destroyed => Err(KavachError::InvalidTransition {
            from,
            to: SandboxState::Destroyed,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SandboxState::{Created, Destroyed, Paused, Running, Stopped};

    #[test]
    fn the_relation_is_exactly_the_seven_legal_steps() {
        let mut legal = Vec::new();
        for from in SandboxState::ALL {
            for to in SandboxState::ALL {
                if can(from, to) {
                    legal.push((from, to));
                }
                assert_eq!(check(from, to).is_ok(), can(from, to));
                assert_eq!(from.successors().any(|s| s == to), can(from, to));
            }
        }
        assert_eq!(
            legal,
            [
                (Created, Running),
                (Created, Stopped),
                (Running, Paused),
                (Running, Stopped),
                (Paused, Running),
                (Paused, Stopped),
                (Stopped, Destroyed),
            ]
        );
    }

    #[test]
    fn destroyed_absorbs() {
        assert_eq!(Destroyed.successors().count(), 0);
        assert!(path_to_destroyed(Destroyed).is_err());
    }

    #[test]
    fn no_state_follows_itself() {
        for state in SandboxState::ALL {
            assert!(!can(state, state), "{state}");
        }
    }

    #[test]
    fn exec_is_legal_in_running_alone() {
        for state in SandboxState::ALL {
            assert_eq!(state.allows_exec(), state == Running);
        }
    }

    #[test]
    fn a_stopped_sandbox_never_lives_again() {
        for state in [Stopped, Destroyed] {
            assert!(!state.is_live());
            assert!(state.successors().all(|next| !next.is_live()));
        }
    }

    #[test]
    fn every_state_reaches_destroyed_by_legal_steps_through_stopped() {
        for state in SandboxState::ALL {
            if state == Destroyed {
                continue;
            }
            let mut at = state;
            let mut passed_stopped = at == Stopped;
            for &next in path_to_destroyed(state).unwrap() {
                assert!(can(at, next), "{at} -> {next}");
                at = next;
                passed_stopped |= at == Stopped;
            }
            assert_eq!(at, Destroyed);
            assert!(passed_stopped);
        }
    }

    #[test]
    fn an_illegal_step_names_both_states() {
        let text = check(Stopped, Running).unwrap_err().to_string();
        assert!(
            text.contains("stopped") && text.contains("running"),
            "{text}"
        );
    }
}
