//! What changes from one policy to another, each change with a witness: something that the one
//! allows and the other denies.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SandboxPolicy;
use super::order::{Level, profile_rank};
use super::section::{Compared, Key, Pair, Section as _};
use super::value::{Amount, Rule};
use super::words::{asked_by, without};
use crate::control::Control;
use crate::seccomp::{SyscallData, Witness, allowed_beyond};

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The second policy allows what the first denied.
    Weaker,
    /// The second denies what the first allowed.
    Stricter,
    /// Each allows something that the other denies.
    Both,
    /// Neither: the values differ and nothing follows from it.
    None,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Effect::Weaker => "weaker",
            Effect::Stricter => "stricter",
            Effect::Both => "both",
            Effect::None => "no effect",
        })
    }
}

/// Something that a sandbox or its guest might do. [`SandboxPolicy::allows`] says whether a
/// policy lets it. `Display` puts it in words: "use 1024 MiB of memory".
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    words: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    /// What the value of a key decides.
    Value(&'static Key, Amount),
    /// What a control prevents, or starting where it does not hold in full.
    Level(Control, Level),
    /// A system call.
    Call(SyscallData),
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// As its words.
impl Serialize for Act {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.words)
    }
}

/// A difference between two policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The key that makes it, for instance `limits.memory_mb`.
    pub key: String,
    /// Its value in the first policy, for people.
    pub from: String,
    /// Its value in the second.
    pub to: String,
    /// Which way it goes.
    pub effect: Effect,
    /// Something that the second allows and the first denies.
    pub allows: Option<Act>,
    /// Something that the first allows and the second denies.
    pub denies: Option<Act>,
}

impl Change {
    fn new(
        key: impl Into<String>,
        values: [String; 2],
        allows: Option<Act>,
        denies: Option<Act>,
    ) -> Self {
        let [from, to] = values;
        let effect = match (&allows, &denies) {
            (Some(_), Some(_)) => Effect::Both,
            (Some(_), None) => Effect::Weaker,
            (None, Some(_)) => Effect::Stricter,
            (None, None) => Effect::None,
        };
        Self {
            key: key.into(),
            from,
            to,
            effect,
            allows,
            denies,
        }
    }
}

impl SandboxPolicy {
    /// Every difference from this policy to another, apart from the names.
    ///
    /// Paths are compared by their names, system call profiles call by call with no network.
    /// It compares what is asked; whether a host can hold it, the plan says.
    #[must_use]
    pub fn diff(&self, to: &SandboxPolicy) -> Vec<Change> {
        let mut changes = Vec::new();
        for control in Control::ALL {
            changes.extend(self.diff_of_control(to, control));
        }
        changes.extend(self.diff_of_profile(to));
        let pair = Pair { from: self, to };
        let mut compared = Vec::new();
        self.filesystem.compare(&to.filesystem, pair, &mut compared);
        self.namespaces.compare(&to.namespaces, pair, &mut compared);
        self.limits.compare(&to.limits, pair, &mut compared);
        for Compared {
            key,
            values,
            gained,
            lost,
        } in compared
        {
            // A switch of a control was told with the control.
            if changes.iter().any(|change| change.key == key.path) {
                continue;
            }
            let act = |amount: Amount| Act {
                words: in_words(&key.rule, &amount),
                what: What::Value(key, amount),
            };
            changes.push(Change::new(
                key.path,
                values,
                gained.map(act),
                lost.map(act),
            ));
        }
        changes
    }

    /// Whether this policy allows nothing that `other` denies, by its values and names.
    ///
    /// A partial order (but for values that mean nothing): of two policies neither may be as
    /// strict as the other. [`SandboxPolicy::merge`] gives one that is as strict as both.
    #[must_use]
    pub fn is_at_least_as_strict_as(&self, other: &SandboxPolicy) -> bool {
        other
            .diff(self)
            .iter()
            .all(|change| change.allows.is_none())
    }

    /// Whether this policy lets something happen.
    #[must_use]
    pub fn allows(&self, act: &Act) -> bool {
        match &act.what {
            What::Value(key, amount) => {
                if key
                    .rule
                    .control
                    .is_some_and(|control| !self.asks_for(control))
                {
                    return true;
                }
                let parts = [
                    self.filesystem.permits(key.path, amount),
                    self.namespaces.permits(key.path, amount),
                    self.limits.permits(key.path, amount),
                ];
                parts.into_iter().flatten().any(|permits| permits)
            }
            What::Level(control, level) => self.level(*control) <= *level,
            What::Call(data) => {
                if !self.asks_for(Control::SyscallFilter) {
                    return true;
                }
                let profile = self.profile();
                profile
                    .is_some_and(|profile| !profile.decide(&Default::default(), data).is_denial())
            }
        }
    }

    fn profile(&self) -> Option<&'static crate::seccomp::Profile> {
        let name = self.syscall_filter.profile.as_deref()?;
        crate::seccomp::Profile::by_name(name).ok()
    }

    /// The change in how much a control is insisted on.
    fn diff_of_control(&self, to: &SandboxPolicy, control: Control) -> Option<Change> {
        // Two pairs of controls are asked for by one value each; one line for each is enough,
        // unless a requirement tells them apart.
        let twin = match control {
            Control::NetworkNamespace => Some(Control::Network),
            Control::Disk => Some(Control::FilesystemView),
            _ => None,
        };
        let levels = |control| [self.level(control), to.level(control)];
        let [before, after] = levels(control);
        if before == after || twin.is_some_and(|twin| levels(twin) == [before, after]) {
            return None;
        }
        let act = |level: Level| Act {
            words: match level {
                Level::NotAsked => without(control).to_owned(),
                Level::Preferred | Level::Required => {
                    format!("start where `{control}` cannot be had")
                }
                Level::Approximate => {
                    format!("start where `{control}` is held by a weaker mechanism alone")
                }
            },
            what: What::Level(control, level),
        };
        let (key, values) = self.key_of_control(to, control, [before, after]);
        Some(Change::new(
            key,
            values,
            (after < before).then(|| act(after)),
            (before < after).then(|| act(before)),
        ))
    }

    /// The key that makes a control's level differ, with its two values.
    fn key_of_control(
        &self,
        to: &SandboxPolicy,
        control: Control,
        levels: [Level; 2],
    ) -> (String, [String; 2]) {
        let policies = [self, to];
        let asks = policies.map(|policy| policy.would_ask_for(control));
        if let Some((key, value)) = asked_by(control)
            && asks[0] != asks[1]
        {
            return (key.to_owned(), policies.map(value));
        }
        let said = policies.map(|policy| policy.requirement(control));
        if said[0] == said[1] {
            let values = policies.map(|policy| policy.accept_approximate.contains(&control));
            let words = values.map(|accepted| {
                let not = if accepted { "" } else { "not " };
                format!("{control} {not}accepted")
            });
            return ("accept_approximate".to_owned(), words);
        }
        let key = format!("requirements.{control}");
        (key, levels.map(|level| level.as_str().to_owned()))
    }

    /// The change of the system call profile, where both have one.
    fn diff_of_profile(&self, to: &SandboxPolicy) -> Option<Change> {
        let filter = Control::SyscallFilter;
        let names = [self, to].map(|policy| policy.syscall_filter.profile.as_deref());
        if names[0] == names[1] || !self.asks_for(filter) || !to.asks_for(filter) {
            return None;
        }
        let key = "syscall_filter.profile";
        let shown = names.map(|name| name.unwrap_or("none").to_owned());
        let witness = |narrow: &SandboxPolicy, wide: &SandboxPolicy| {
            let calls = allowed_beyond(wide.profile()?, narrow.profile()?);
            calls.split_first().map(|(first, rest)| Act {
                words: calls_in_words(first, rest),
                what: What::Call(first.data),
            })
        };
        match (self.profile(), to.profile()) {
            (Some(_), Some(_)) => Some(Change::new(
                key,
                shown,
                witness(self, to),
                witness(to, self),
            )),
            // A name that is not known has no calls to compare.
            _ if profile_rank(names[0]) == profile_rank(names[1]) => None,
            _ => Some(Change::new(key, shown, None, None)),
        }
    }
}

/// What an amount is, in the words of its key.
fn in_words(rule: &Rule, amount: &Amount) -> String {
    let amount = match amount {
        Amount::Number(number) => format!("{number} {}", rule.unit),
        Amount::Path(path) => format!("{path:?}"),
        Amount::Setting(_) => String::new(),
    };
    rule.weaker.replace("{}", &amount)
}

fn calls_in_words(first: &Witness, rest: &[Witness]) -> String {
    const SHOWN: usize = 8;
    let mut names = vec![first.name];
    names.extend(rest.iter().map(|witness| witness.name));
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let names = names.join(", ");
    match more {
        0 => format!("make calls of {names}"),
        more => format!("make calls of {names} and {more} more"),
    }
}
