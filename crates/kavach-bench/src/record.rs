//! What is measured, as data: one file for each user who measured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One run, as one user.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// `root`, or the user's name.
    pub(crate) who: String,
    pub(crate) rounds: usize,
    /// About the machine, in order.
    pub(crate) machine: Vec<(String, String)>,
    pub(crate) rows: Vec<Row>,
    pub(crate) numbers: Vec<Number>,
    /// What each jail enforced.
    pub(crate) jails: Vec<Jail>,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
}

/// Times of one thing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) steps: BTreeMap<String, Step>,
}

/// Times of one step.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) count: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) min_us: f64,
}

/// Something that is not a time of a turn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Number {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// What a jail enforced, read back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Jail {
    pub(crate) label: String,
    /// The control and what was read, in order.
    pub(crate) controls: Vec<(String, String)>,
}

impl Record {
    /// A step of a row.
    pub(crate) fn step(&self, row: &str, step: &str) -> Option<Step> {
        let row = self.rows.iter().find(|r| r.id == row)?;
        row.steps.get(step).copied()
    }

    /// The median of a row's whole, in microseconds.
    pub(crate) fn total(&self, row: &str) -> Option<f64> {
        self.step(row, "total").map(|s| s.p50_us)
    }

    pub(crate) fn number(&self, id: &str) -> Option<f64> {
        self.numbers.iter().find(|n| n.id == id).map(|n| n.value)
    }

    pub(crate) fn add(&mut self, id: &str, label: &str, value: f64, unit: &str) {
        self.numbers.push(Number {
            id: id.into(),
            label: label.into(),
            value,
            unit: unit.into(),
        });
    }
}

impl Step {
    /// Of sorted times.
    pub(crate) fn of(sorted: &[Duration]) -> Self {
        Self {
            count: sorted.len(),
            p50_us: quantile(sorted, 50),
            p99_us: quantile(sorted, 99),
            min_us: quantile(sorted, 0),
        }
    }
}

/// The smallest value that so many per cent of all do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted
        .get(at)
        .map_or(f64::NAN, |t| t.as_secs_f64() * 1_000_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let times: Vec<_> = (1..=200).map(Duration::from_micros).collect();
        let step = Step::of(&times);
        assert_eq!((step.min_us, step.p50_us, step.p99_us), (1.0, 100.0, 198.0));
    }
}
