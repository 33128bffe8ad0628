//! From answers to a score. No I/O.

use std::collections::BTreeSet;

use super::answer::Answer;
use super::battery::{Probe, Untried};
use super::limits::Lone;
use super::means::{Means, Reading};
use super::{Claims, MeasuredControl, Observation, Outcome, Probed, Verification};
use crate::control::{Control, ControlState};
use crate::enforcement::{EnforcementReport, EnforcementRow};
use crate::result::ExecResult;
use crate::scoring::{self, Breakdown};

/// How many probes a line names.
const MOST_NAMED: usize = 3;

/// A probe that was made, or was not.
#[derive(Debug)]
pub(super) struct Made {
    control: Control,
    what: String,
    outcome: Outcome,
    seen: String,
    outside: Option<String>,
    answered_by: Option<Control>,
}

impl Made {
    pub(super) fn together(
        probe: &Probe,
        inside: Option<Answer>,
        outside: Option<Answer>,
        claims: &Claims,
    ) -> Self {
        let outcome = match inside.map(|inside| probe.means.read(inside, outside)) {
            Some(Reading::Effect) => Outcome::Effect,
            Some(Reading::Refused) if goes_through_outside(probe.means, outside) => {
                Outcome::Refused
            }
            Some(Reading::Refused | Reading::Nothing) | None => Outcome::Inconclusive,
        };
        let answered_by = match outcome {
            Outcome::Refused if probe.is_filtered(claims) => Some(Control::SyscallFilter),
            Outcome::Refused => Some(probe.control).filter(|control| claims.has(*control)),
            Outcome::Effect | Outcome::Inconclusive | Outcome::NotTried => None,
        };
        let text = |answer: Option<Answer>| match answer {
            None => "no answer".to_owned(),
            Some(Answer::Done) if matches!(probe.means, Means::AtMost(_)) => "and more".into(),
            Some(Answer::Value(n)) if probe.means == Means::Layers => format!("{n} more fit"),
            Some(answer) => answer.text(),
        };
        Self {
            control: probe.control,
            what: probe.what.clone(),
            outcome,
            seen: text(inside),
            outside: probe.means.is_compared().then(|| text(outside)),
            answered_by,
        }
    }

    pub(super) fn alone(probe: &Lone, result: &ExecResult, answer: Option<Answer>) -> Self {
        let (reading, seen) = probe.read(result, answer);
        let outcome = match reading {
            Reading::Effect => Outcome::Effect,
            Reading::Refused => Outcome::Refused,
            Reading::Nothing => Outcome::Inconclusive,
        };
        Self {
            control: probe.control,
            what: probe.what.clone(),
            outcome,
            seen,
            outside: None,
            answered_by: (outcome == Outcome::Refused).then_some(probe.control),
        }
    }

    pub(super) fn not(untried: Untried) -> Self {
        Self {
            control: untried.control,
            what: untried.what,
            outcome: Outcome::NotTried,
            seen: untried.why,
            outside: None,
            answered_by: None,
        }
    }
}

/// Whether the same went through outside, where that has to be known.
fn goes_through_outside(means: Means, outside: Option<Answer>) -> bool {
    if !means.is_compared() {
        return true;
    }
    match (means, outside) {
        // Refused inside means fewer than there.
        (Means::Layers, Some(Answer::Value(_))) => true,
        (_, Some(answer)) => means.read(answer, None) == Reading::Effect,
        (_, None) => false,
    }
}

/// What the probes make of the claims.
pub(super) fn judge(claims: &Claims, mut made: Vec<Made>) -> Verification {
    made.sort_by_key(|probe| probe.control);
    let claimed = claims.breakdown(&claims.report);
    let observations: Vec<(Control, Observation, String)> = Control::ALL
        .into_iter()
        .filter_map(|control| observe(control, claims, &made))
        .collect();
    let mut measured = claims.breakdown(&seen(claims, &observations));
    rename(&mut measured, claims);
    let controls = observations.into_iter().map(|(control, observation, why)| {
        let points = measured.points_of(control) - claimed.points_of(control);
        MeasuredControl {
            control,
            claimed: claims.state(control),
            observation,
            why,
            points,
        }
    });
    let controls = controls.collect();
    let probes = made.into_iter().map(|made| Probed {
        expected: !(claims.has(made.control) && made.outcome == Outcome::Effect),
        control: made.control,
        what: made.what,
        outcome: made.outcome,
        seen: made.seen,
        outside: made.outside,
        answered_by: made.answered_by,
    });
    Verification {
        backend: claims.plan.backend,
        policy: claims.policy.name.clone(),
        claimed: claimed.score(),
        measured: measured.score(),
        breakdown: measured,
        controls,
        probes: probes.collect(),
    }
}

fn observe(
    control: Control,
    claims: &Claims,
    made: &[Made],
) -> Option<(Control, Observation, String)> {
    let own: Vec<&Made> = made.iter().filter(|m| m.control == control).collect();
    let of = |outcome| own.iter().filter(move |m| m.outcome == outcome);
    let count = |outcome| of(outcome).count();
    let (effects, refused) = (count(Outcome::Effect), count(Outcome::Refused));
    let total = own.len();
    if !claims.has(control) {
        let row = claims.report.get(control);
        let absent = match row.filter(|row| row.is_requested()) {
            Some(row) => format!("asked for and absent: {}", row.mechanism),
            None => "not asked for".into(),
        };
        let through = format!("{absent}; {effects} of {} went through", probes(total));
        return (total > 0).then_some((control, Observation::NotClaimed, through));
    }
    let unclear = total - effects - refused;
    Some(if effects > 0 {
        let named: Vec<&str> = of(Outcome::Effect)
            .take(MOST_NAMED)
            .map(|m| m.what.as_str())
            .collect();
        let more = match effects - named.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let why = format!("went through: {}{more}", named.join("; "));
        (control, Observation::NotObserved, why)
    } else if refused > 0 {
        let rest = match unclear {
            0 => String::new(),
            n => format!(", {n} could not tell"),
        };
        let why = format!("{refused} of {} refused{rest}", probes(total));
        (control, Observation::Observed, why)
    } else {
        let why = match own.first() {
            None => "there is no probe of it".to_owned(),
            Some(Made {
                outcome: Outcome::Inconclusive,
                outside: Some(outside),
                seen,
                ..
            }) => format!("no probe could tell: {seen} inside, {outside} outside"),
            Some(made) => made.seen.clone(),
        };
        (control, Observation::NotMeasured, why)
    })
}

fn probes(count: usize) -> String {
    match count {
        1 => "1 probe".into(),
        n => format!("{n} probes"),
    }
}

/// The report as far as it was seen. What no probe can tell keeps its row where the score gives
/// nothing for it, and is absent where it does: points are for what was seen.
fn seen(claims: &Claims, observations: &[(Control, Observation, String)]) -> EnforcementReport {
    let lost: BTreeSet<Control> = observations
        .iter()
        .filter(|(control, observation, _)| match observation {
            Observation::NotObserved => true,
            Observation::NotMeasured => scoring::has_points(*control),
            Observation::Observed | Observation::NotClaimed => false,
        })
        .map(|(control, ..)| *control)
        .collect();
    let rows = claims.report.rows.iter().map(|row| EnforcementRow {
        state: match lost.contains(&row.control) {
            true => ControlState::Absent,
            false => row.state,
        },
        ..row.clone()
    });
    EnforcementReport::new(claims.report.backend, rows.collect())
}

/// Says of what is lost by the measurement that it is.
fn rename(measured: &mut Breakdown, claims: &Claims) {
    for item in &mut measured.items {
        let claimed = item.control.is_some_and(|control| claims.has(control));
        if item.what == scoring::NOT_HELD && claimed {
            item.what = "claimed, and not seen to hold";
        }
    }
}
