//! What a key of a policy can hold, and what each kind of value has to know: its range, its form
//! in a file, which of two is the stricter, and what one lets a guest do that another does not.

mod numbers;
mod paths;
mod settings;

use std::path::PathBuf;

use super::validate::Wrong;
use crate::control::Control;
pub(crate) use settings::Setting;

/// What is fixed for one key, whatever a policy sets it to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rule {
    /// The control that the value belongs to. Where a policy does not ask for it, the value
    /// means nothing.
    pub(crate) control: Option<Control>,
    /// Whether this value is what asks for the control.
    pub(crate) is_switch: bool,
    /// Least and most, of a number.
    pub(crate) range: Option<(f64, f64)>,
    /// The unit of a number, in the plural.
    pub(crate) unit: &'static str,
    /// What a weaker value lets the guest do: "{}" is the amount with its unit.
    pub(crate) weaker: &'static str,
}

impl Rule {
    /// A number in this range.
    pub(crate) const fn number(
        least: f64,
        most: f64,
        unit: &'static str,
        weaker: &'static str,
    ) -> Self {
        Self {
            control: None,
            is_switch: false,
            range: Some((least, most)),
            unit,
            weaker,
        }
    }

    /// Anything else.
    pub(crate) const fn plain(weaker: &'static str) -> Self {
        Self {
            control: None,
            is_switch: false,
            range: None,
            unit: "",
            weaker,
        }
    }

    /// The value that asks for a control.
    pub(crate) const fn asks_for(control: Control) -> Self {
        Self {
            control: Some(control),
            is_switch: true,
            range: None,
            unit: "",
            weaker: "",
        }
    }

    /// The same, for a value that belongs to this control.
    pub(crate) const fn of(self, control: Control) -> Self {
        Self {
            control: Some(control),
            ..self
        }
    }

    /// What the range says of a number, in words.
    pub(crate) fn range_in_words(&self) -> String {
        let unit = match self.unit {
            "" => String::new(),
            unit => format!(" {unit}"),
        };
        self.range
            .map(|(least, most)| format!("{least} to {most}{unit}"))
            .unwrap_or_default()
    }
}

/// Something that a guest might do, as far as one key decides it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Amount {
    /// Using this much.
    Number(f64),
    /// What a setting of this weakness, and every weaker one, lets happen.
    Setting(u8),
    /// Seeing this path of the host.
    Path(PathBuf),
}

/// A value of one key.
pub(crate) trait Value: Clone + PartialEq {
    /// Its form in a file.
    type Written: Clone;

    /// The form in a file; `None` where a file says it by leaving the key out.
    fn write(&self) -> Option<Self::Written>;

    /// Takes what a file says.
    fn read(&mut self, written: Self::Written);

    /// What is wrong with it, each with the end of its key.
    fn check(&self, _: &Rule, _: &mut Vec<(String, Wrong)>) {}

    /// The stricter of two; where each is stricter in its own way, what both allow.
    fn stricter(&self, other: &Self) -> Self;

    /// Something that `other` permits and this does not.
    fn denies_of(&self, other: &Self) -> Option<Amount>;

    /// Whether it lets this happen.
    fn permits(&self, amount: &Amount) -> bool;

    /// For people.
    fn shown(&self, rule: &Rule) -> String;
}
