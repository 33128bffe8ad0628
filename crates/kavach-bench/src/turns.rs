//! Rows that take turns: each round runs every row once, in an order of its own, so that a busy
//! moment of the machine and what one row leaves behind for the kernel to clean up hit all alike.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::record::{Row, Step};

/// Rounds before the first that counts: caches fill, threads start.
const WARM_UP: usize = 5;

/// What one turn took, by step.
pub(crate) type Times = Vec<(&'static str, Duration)>;

struct Turn<'a> {
    id: &'static str,
    label: String,
    work: Box<dyn FnMut() -> Result<Times> + 'a>,
    times: BTreeMap<&'static str, Vec<Duration>>,
    failed: Option<String>,
}

/// The rows of a run.
#[derive(Default)]
pub(crate) struct Turns<'a> {
    rows: Vec<Turn<'a>>,
}

impl<'a> Turns<'a> {
    /// Adds a row. One that fails once is left out from then on, with its error.
    pub(crate) fn add(
        &mut self,
        id: &'static str,
        label: impl Into<String>,
        work: impl FnMut() -> Result<Times> + 'a,
    ) {
        self.rows.push(Turn {
            id,
            label: label.into(),
            work: Box::new(work),
            times: BTreeMap::new(),
            failed: None,
        });
    }

    /// Runs all rounds. Rows, and why some are missing.
    pub(crate) fn run(mut self, rounds: usize) -> (Vec<Row>, Vec<String>) {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        for round in 0..rounds + WARM_UP {
            dice.shuffle(&mut order);
            for at in &order {
                let Some(row) = self.rows.get_mut(*at) else {
                    continue;
                };
                if row.failed.is_some() {
                    continue;
                }
                match (row.work)() {
                    Ok(times) if round >= WARM_UP => {
                        for (step, took) in times {
                            row.times.entry(step).or_default().push(took);
                        }
                    }
                    Ok(_) => {}
                    Err(e) => row.failed = Some(format!("{e:#}")),
                }
            }
        }
        let mut skipped = Vec::new();
        let mut rows = Vec::new();
        for row in self.rows {
            if let Some(e) = row.failed {
                skipped.push(format!("{}: {e}", row.label));
                continue;
            }
            let steps = row.times.into_iter().map(|(name, mut times)| {
                times.sort_unstable();
                (name.to_owned(), Step::of(&times))
            });
            rows.push(Row {
                id: row.id.into(),
                label: row.label,
                steps: steps.collect(),
            });
        }
        (rows, skipped)
    }
}

/// Marsaglia's xorshift64: the order needs to vary, not to be secret.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Fisher and Yates.
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            let other = usize::try_from(self.next() % (last as u64 + 1)).unwrap_or(0);
            order.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_one_turn_in_each_round_and_a_failing_one_is_named() {
        let (mut good, mut bad) = (0, 0);
        let mut turns = Turns::default();
        turns.add("good", "good", || {
            good += 1;
            Ok(vec![("total", Duration::from_micros(7))])
        });
        turns.add("bad", "bad", || {
            bad += 1;
            anyhow::bail!("not here")
        });
        let (rows, skipped) = turns.run(10);
        assert_eq!(skipped, ["bad: not here"]);
        let row = rows.first().expect("the good one");
        let total = row.steps.get("total").expect("its only step");
        assert_eq!((total.count, total.p50_us), (10, 7.0));
        assert_eq!((good, bad), (10 + WARM_UP, 1));
    }
}
