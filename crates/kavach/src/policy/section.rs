//! The table form of a policy's sections: one row for each key says everything about it.
//!
//! From the rows the macro makes the public struct with its default, the form in a file (every
//! key optional, unknown ones refused), and for each key its range, the merge, the comparison and
//! the place in errors. A key that is added as a row is added everywhere; what else there is to do
//! stands in the documentation of [`crate::policy`].

use super::SandboxPolicy;
use super::validate::Wrong;
use super::value::{Amount, Rule, Value};
use crate::control::Control;

/// A key and what is fixed for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Key {
    /// The whole path, for instance `limits.memory_mb`.
    pub(crate) path: &'static str,
    /// What is fixed for it.
    pub(crate) rule: Rule,
}

/// Two policies whose values are compared key by key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// The one.
    pub(crate) from: &'a SandboxPolicy,
    /// The other.
    pub(crate) to: &'a SandboxPolicy,
}

/// What a comparison found of one key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    /// The key.
    pub(crate) key: &'static Key,
    /// The two values, for people.
    pub(crate) values: [String; 2],
    /// What the second permits and the first denies.
    pub(crate) gained: Option<Amount>,
    /// What the first permits and the second denies.
    pub(crate) lost: Option<Amount>,
}

impl Pair<'_> {
    fn ask_for(&self, control: Option<Control>) -> (bool, bool) {
        control.map_or((true, true), |control| {
            (self.from.asks_for(control), self.to.asks_for(control))
        })
    }

    /// The stricter value. A value that its policy makes no use of does not count against one
    /// that is in use.
    pub(crate) fn stricter<V: Value>(&self, rule: &Rule, from: &V, to: &V) -> V {
        match self.ask_for(rule.control) {
            (true, false) => from.clone(),
            (false, true) => to.clone(),
            _ => from.stricter(to),
        }
    }

    /// Compares two values. A switch says no more than the control that it asks for, and where
    /// one policy does not ask for the control, the value is not what makes the difference.
    pub(crate) fn compare<V: Value>(
        &self,
        key: &'static Key,
        from: &V,
        to: &V,
        out: &mut Vec<Compared>,
    ) {
        if from == to {
            return;
        }
        let counts = !key.rule.is_switch && self.ask_for(key.rule.control) == (true, true);
        out.push(Compared {
            key,
            values: [from.shown(&key.rule), to.shown(&key.rule)],
            gained: from.denies_of(to).filter(|_| counts),
            lost: to.denies_of(from).filter(|_| counts),
        });
    }
}

/// A value that is wrong, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// The key, for instance `filesystem.read[1]`.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) wrong: Wrong,
}

/// Checks one value.
pub(crate) fn check<V: Value>(key: &Key, value: &V, faults: &mut Vec<Fault>) {
    let mut wrong = Vec::new();
    value.check(&key.rule, &mut wrong);
    faults.extend(wrong.into_iter().map(|(place, wrong)| Fault {
        key: format!("{}{place}", key.path),
        wrong,
    }));
}

/// A part of a policy that is a table in a file.
pub(crate) trait Section {
    /// The form in a file.
    type Text;

    /// Every key, in the order of the rows.
    const KEYS: &'static [Key];

    /// The whole section as a file says it.
    fn text(&self) -> Self::Text;

    /// Takes what a file says; the rest stays.
    fn overlay(&mut self, text: Self::Text);

    /// Checks every value against its range and form.
    fn check(&self, faults: &mut Vec<Fault>);

    /// The stricter of each two values.
    fn stricter(&self, other: &Self, pair: Pair<'_>) -> Self;

    /// Compares each two values.
    fn compare(&self, other: &Self, pair: Pair<'_>, out: &mut Vec<Compared>);

    /// Whether the value of this key lets something happen; `None` where the key is not here.
    fn permits(&self, key: &str, amount: &Amount) -> Option<bool>;
}

macro_rules! section {
    (
        $(#[$about:meta])*
        struct $Section:ident($at:literal), in a file $Text:ident($expecting:literal);
        $(
            $(#[$doc:meta])*
            $field:ident: $kind:ty = $default:expr, $rule:expr;
        )+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $Section {
            $($(#[$doc])* pub $field: $kind,)+
        }

        impl Default for $Section {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        $(#[$about])*
        #[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields, expecting = $expecting)]
        pub(crate) struct $Text {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<<$kind as $crate::policy::value::Value>::Written>,
            )+
        }

        impl $crate::policy::section::Section for $Section {
            type Text = $Text;

            const KEYS: &'static [$crate::policy::section::Key] = &[
                $($crate::policy::section::Key {
                    path: concat!($at, ".", stringify!($field)),
                    rule: $rule,
                },)+
            ];

            fn text(&self) -> $Text {
                use $crate::policy::value::Value;
                $Text { $($field: Value::write(&self.$field),)+ }
            }

            fn overlay(&mut self, text: $Text) {
                $(if let Some(written) = text.$field {
                    $crate::policy::value::Value::read(&mut self.$field, written);
                })+
            }

            fn check(&self, faults: &mut Vec<$crate::policy::section::Fault>) {
                let mut keys = Self::KEYS.iter();
                $(if let Some(key) = keys.next() {
                    $crate::policy::section::check(key, &self.$field, faults);
                })+
            }

            fn stricter(&self, other: &Self, pair: $crate::policy::section::Pair<'_>) -> Self {
                Self { $($field: pair.stricter(&$rule, &self.$field, &other.$field),)+ }
            }

            fn compare(
                &self,
                other: &Self,
                pair: $crate::policy::section::Pair<'_>,
                out: &mut Vec<$crate::policy::section::Compared>,
            ) {
                let mut keys = Self::KEYS.iter();
                $(if let Some(key) = keys.next() {
                    pair.compare(key, &self.$field, &other.$field, out);
                })+
            }

            fn permits(&self, key: &str, amount: &$crate::policy::value::Amount) -> Option<bool> {
                $(if key == concat!($at, ".", stringify!($field)) {
                    return Some($crate::policy::value::Value::permits(&self.$field, amount));
                })+
                None
            }
        }
    };
}

pub(crate) use section;
