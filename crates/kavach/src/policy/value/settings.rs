//! Values with few settings, each weaker than the one before.

use super::{Amount, Rule, Value};
use crate::policy::{Links, Network, OnOutput, View};

/// A value with few settings, each weaker than the one before.
pub(crate) trait Setting: Copy + PartialEq {
    /// 0 is the strictest.
    fn weakness(self) -> u8;
    /// The name in a file.
    fn name(self) -> &'static str;
}

impl Setting for bool {
    fn weakness(self) -> u8 {
        u8::from(!self)
    }
    fn name(self) -> &'static str {
        if self { "true" } else { "false" }
    }
}

impl Setting for View {
    fn weakness(self) -> u8 {
        match self {
            View::Private => 0,
            View::Host => 1,
        }
    }
    fn name(self) -> &'static str {
        match self {
            View::Private => "private",
            View::Host => "host",
        }
    }
}

impl Setting for Links {
    fn weakness(self) -> u8 {
        match self {
            Links::Refuse => 0,
            Links::Follow => 1,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Links::Refuse => "refuse",
            Links::Follow => "follow",
        }
    }
}

impl Setting for Network {
    fn weakness(self) -> u8 {
        match self {
            Network::Off => 0,
            Network::On => 1,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Network::Off => "off",
            Network::On => "on",
        }
    }
}

impl Setting for OnOutput {
    fn weakness(self) -> u8 {
        match self {
            OnOutput::Kill => 0,
            OnOutput::Truncate => 1,
        }
    }
    fn name(self) -> &'static str {
        match self {
            OnOutput::Kill => "kill",
            OnOutput::Truncate => "truncate",
        }
    }
}

macro_rules! settings {
    ($($kind:ty)+) => {$(
        impl Value for $kind {
            type Written = Self;

            fn write(&self) -> Option<Self> {
                Some(*self)
            }

            fn read(&mut self, written: Self) {
                *self = written;
            }

            fn stricter(&self, other: &Self) -> Self {
                if self.weakness() <= other.weakness() { *self } else { *other }
            }

            fn denies_of(&self, other: &Self) -> Option<Amount> {
                let weakness = other.weakness();
                (self.weakness() < weakness).then_some(Amount::Setting(weakness))
            }

            fn permits(&self, amount: &Amount) -> bool {
                matches!(amount, Amount::Setting(weakness) if self.weakness() >= *weakness)
            }

            fn shown(&self, _: &Rule) -> String {
                self.name().to_owned()
            }
        }
    )+};
}

settings!(bool View Links Network OnOutput);
