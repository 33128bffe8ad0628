//! What a sandbox enforces, control by control, with the evidence.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::control::{Control, ControlState, Requirement};

/// One control: what was asked, what became of it, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnforcementRow {
    /// The control.
    pub control: Control,
    /// What the policy asked for, in its own words and units (`512 MiB`); empty if nothing.
    pub requested: String,
    /// How much the policy insisted.
    pub requirement: Requirement,
    /// What became of it.
    pub state: ControlState,
    /// What holds it, for instance `cgroup v1 memory.limit_in_bytes = 536870912`; for an absent
    /// control, what is missing.
    pub mechanism: String,
    /// What was read back from the kernel or the runtime, by the host side, before any guest
    /// ran. Empty where there is nothing to read.
    pub evidence: String,
}

impl EnforcementRow {
    /// A row without evidence yet.
    #[must_use]
    pub fn new(
        control: Control,
        requested: impl Into<String>,
        requirement: Requirement,
        state: ControlState,
        mechanism: impl Into<String>,
    ) -> Self {
        Self {
            control,
            requested: requested.into(),
            requirement,
            state,
            mechanism: mechanism.into(),
            evidence: String::new(),
        }
    }

    /// The same row with what was read back.
    #[must_use]
    pub fn with_evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    /// Whether the policy asked for this control.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requirement != Requirement::Off && !self.requested.is_empty()
    }
}

/// A row per control, for one sandbox on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnforcementReport {
    /// What runs the guest.
    pub backend: Backend,
    /// The rows, in the order of [`Control::ALL`].
    pub rows: Vec<EnforcementRow>,
}

impl EnforcementReport {
    /// A report of these rows, put in the order of [`Control::ALL`].
    ///
    /// Of several rows for one control the last is kept.
    #[must_use]
    pub fn new(backend: Backend, rows: Vec<EnforcementRow>) -> Self {
        let mut kept: Vec<EnforcementRow> = Vec::with_capacity(rows.len());
        for row in rows {
            match kept.iter_mut().find(|r| r.control == row.control) {
                Some(slot) => *slot = row,
                None => kept.push(row),
            }
        }
        kept.sort_by_key(|row| row.control);
        Self {
            backend,
            rows: kept,
        }
    }

    /// The row of a control, if the report has one.
    #[must_use]
    pub fn get(&self, control: Control) -> Option<&EnforcementRow> {
        self.rows.iter().find(|row| row.control == control)
    }

    /// The state of a control; `Absent` where the report has no row: what nobody vouches for is
    /// not enforced.
    #[must_use]
    pub fn state(&self, control: Control) -> ControlState {
        self.get(control)
            .map_or(ControlState::Absent, |row| row.state)
    }

    /// The controls that were asked for and do not hold in full.
    pub fn losses(&self) -> impl Iterator<Item = &EnforcementRow> {
        self.rows
            .iter()
            .filter(|row| row.is_requested() && !row.state.holds())
    }
}

/// A table for people; programs read the serialised form.
impl fmt::Display for EnforcementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .rows
            .iter()
            .map(|r| r.requested.chars().count())
            .max()
            .unwrap_or(0);
        let width = width.clamp("requested".len(), 40);
        writeln!(
            f,
            "{:<18} {:<11} {:<width$} held by",
            "control", "state", "requested"
        )?;
        for row in &self.rows {
            let asked = if row.requested.is_empty() {
                "-"
            } else {
                &row.requested
            };
            write!(f, "{:<18} {:<11} {asked:<width$} ", row.control, row.state)?;
            writeln!(
                f,
                "{}",
                if row.mechanism.is_empty() {
                    "-"
                } else {
                    &row.mechanism
                }
            )?;
            if !row.evidence.is_empty() {
                writeln!(f, "{:<18} seen: {}", "", row.evidence)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(control: Control, state: ControlState) -> EnforcementRow {
        EnforcementRow::new(control, "on", Requirement::Required, state, "test")
    }

    #[test]
    fn a_control_without_a_row_is_absent() {
        let report = EnforcementReport::new(Backend::Process, vec![]);
        assert_eq!(report.state(Control::Network), ControlState::Absent);
        assert_eq!(report.get(Control::Network), None);
    }

    #[test]
    fn rows_are_ordered_and_the_last_word_on_a_control_stays() {
        let report = EnforcementReport::new(
            Backend::Process,
            vec![
                row(Control::Pids, ControlState::Enforced),
                row(Control::SyscallFilter, ControlState::Enforced),
                row(Control::Pids, ControlState::Approximate),
            ],
        );
        let order: Vec<Control> = report.rows.iter().map(|r| r.control).collect();
        assert_eq!(order, [Control::SyscallFilter, Control::Pids]);
        assert_eq!(report.state(Control::Pids), ControlState::Approximate);
        assert_eq!(report.losses().count(), 1);
    }

    #[test]
    fn the_table_shows_state_mechanism_and_evidence() {
        let report = EnforcementReport::new(
            Backend::Process,
            vec![row(Control::Memory, ControlState::Enforced).with_evidence("536870912")],
        );
        insta::assert_snapshot!(report);
    }
}
