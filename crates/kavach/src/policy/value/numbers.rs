//! Numbers of which less is stricter.

use std::fmt;

use super::{Amount, Rule, Value};
use crate::policy::validate::Wrong;

/// A number of which less is stricter.
pub(crate) trait Number: Copy + PartialEq + fmt::Display {
    /// For comparing. Every range lies where this is exact.
    fn as_f64(self) -> f64;
}

impl Number for u32 {
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Number for u64 {
    fn as_f64(self) -> f64 {
        // Ranges end far below 2^53; what lies above is refused, rounded or not.
        self as f64
    }
}

impl Number for f64 {
    fn as_f64(self) -> f64 {
        self
    }
}

fn check_number<N: Number>(number: N, rule: &Rule, wrong: &mut Vec<(String, Wrong)>) {
    let Some((least, most)) = rule.range else {
        return;
    };
    // Written so that NaN is outside too.
    if (least..=most).contains(&number.as_f64()) {
        return;
    }
    let fix = if number.as_f64() == 0.0 {
        "leave it out"
    } else {
        "give a number in the range"
    };
    let wrong_number = Wrong::new(number.to_string(), rule.range_in_words(), fix);
    wrong.push((String::new(), wrong_number));
}

fn with_unit<N: Number>(number: N, rule: &Rule) -> String {
    match rule.unit {
        "" => number.to_string(),
        unit => format!("{number} {unit}"),
    }
}

/// A number that is always there.
impl Value for u64 {
    type Written = u64;

    fn write(&self) -> Option<u64> {
        Some(*self)
    }

    fn read(&mut self, written: u64) {
        *self = written;
    }

    fn check(&self, rule: &Rule, wrong: &mut Vec<(String, Wrong)>) {
        check_number(*self, rule, wrong);
    }

    fn stricter(&self, other: &Self) -> Self {
        *self.min(other)
    }

    fn denies_of(&self, other: &Self) -> Option<Amount> {
        (other > self).then(|| Amount::Number(other.as_f64()))
    }

    fn permits(&self, amount: &Amount) -> bool {
        matches!(amount, Amount::Number(used) if *used <= self.as_f64())
    }

    fn shown(&self, rule: &Rule) -> String {
        with_unit(*self, rule)
    }
}

/// A limit that may be absent: then there is none.
impl<N: Number> Value for Option<N> {
    type Written = N;

    fn write(&self) -> Option<N> {
        *self
    }

    fn read(&mut self, written: N) {
        *self = Some(written);
    }

    fn check(&self, rule: &Rule, wrong: &mut Vec<(String, Wrong)>) {
        if let Some(number) = self {
            check_number(*number, rule, wrong);
        }
    }

    fn stricter(&self, other: &Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) if b.as_f64() < a.as_f64() => *other,
            (Some(_), _) => *self,
            (None, _) => *other,
        }
    }

    fn denies_of(&self, other: &Self) -> Option<Amount> {
        let own = self.as_ref()?.as_f64();
        match other {
            // Without a limit, also one more than is allowed here.
            None => Some(Amount::Number(own + 1.0)),
            Some(other) => (other.as_f64() > own).then(|| Amount::Number(other.as_f64())),
        }
    }

    fn permits(&self, amount: &Amount) -> bool {
        match (self, amount) {
            (None, Amount::Number(_)) => true,
            (Some(limit), Amount::Number(used)) => *used <= limit.as_f64(),
            _ => false,
        }
    }

    fn shown(&self, rule: &Rule) -> String {
        self.map_or_else(|| "no limit".to_owned(), |limit| with_unit(limit, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_stricter_than_none_and_a_lower_one_than_a_higher() {
        assert_eq!(Some(5_u64).stricter(&None), Some(5));
        assert_eq!(None.stricter(&Some(5_u32)), Some(5));
        assert_eq!(Some(0.5).stricter(&Some(2.0)), Some(0.5));
    }

    #[test]
    fn what_one_denies_of_another_is_permitted_there_alone() {
        for weaker in [None, Some(6_u64)] {
            let amount = Some(5).denies_of(&weaker).unwrap();
            assert!(weaker.permits(&amount) && !Some(5_u64).permits(&amount));
        }
        for as_strict in [Some(5_u64), Some(4)] {
            assert_eq!(Some(5).denies_of(&as_strict), None);
        }
        assert_eq!(None.denies_of(&Some(5_u64)), None);
    }
}
