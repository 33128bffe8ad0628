//! What one profile allows and another refuses, found by trying.

use syscalls::x86_64::Sysno;

use super::abi::AUDIT_ARCH_X86_64;
use super::profile::{Action, Condition, Options, Profile, SyscallData, Test};

/// How many argument combinations of one rule are tried. A rule names a handful of values in one
/// or two arguments.
const MOST_TRIES: usize = 256;

/// A system call that one profile allows and another refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// Its name.
    pub name: &'static str,
    /// The call, with arguments that make the difference.
    pub data: SyscallData,
}

/// One call of each name that `wide` allows and `narrow` refuses, both without a network and with
/// the other [`Options`] at their defaults, in the order of their numbers.
///
/// Arguments are taken from the values that the rules of both name; a difference that none of
/// these shows is not found.
#[must_use]
pub fn allowed_beyond(wide: &Profile, narrow: &Profile) -> Vec<Witness> {
    let options = Options::default();
    let differs = |data: &SyscallData| {
        !wide.decide(&options, data).is_denial() && narrow.decide(&options, data).is_denial()
    };
    Sysno::iter()
        .filter_map(|syscall| {
            let data = arguments(wide, narrow, &options, syscall)
                .into_iter()
                .map(|args| SyscallData {
                    nr: syscall as u32,
                    arch: AUDIT_ARCH_X86_64,
                    args,
                })
                .find(differs)?;
            Some(Witness {
                name: syscall.name(),
                data,
            })
        })
        .collect()
}

/// Arguments that a rule of either profile makes a difference by; all zero first.
fn arguments(wide: &Profile, narrow: &Profile, options: &Options, syscall: Sysno) -> Vec<[u64; 6]> {
    let mut tried = vec![[0; 6]];
    let rules = wide.rules_of(options, syscall);
    for rule in rules.chain(narrow.rules_of(options, syscall)) {
        if rule.action == Action::Allow || !rule.when.is_empty() {
            tried.extend(satisfying(rule.when));
        }
    }
    tried
}

/// Arguments under which all these conditions hold.
fn satisfying(when: &[Condition]) -> Vec<[u64; 6]> {
    let mut found = vec![[0; 6]];
    for condition in when {
        let values: Vec<u64> = match condition.test {
            Test::AnyOf(values) => values.to_vec(),
            // Its lowest bit, for a mask, and numbers that no rule names.
            Test::NoneOf(_) => vec![0, 1, condition.mask & condition.mask.wrapping_neg(), 0x7fff],
        };
        let mut next = Vec::new();
        for args in &found {
            for value in &values {
                let mut args = *args;
                let Some(arg) = args.get_mut(usize::from(condition.arg)) else {
                    continue;
                };
                // Bits outside the mask may belong to another condition on this argument.
                *arg = (*arg & !condition.mask) | (value & condition.mask);
                if next.len() < MOST_TRIES && condition.holds(&args) {
                    next.push(args);
                }
            }
        }
        found = next;
    }
    found.retain(|args| when.iter().all(|condition| condition.holds(args)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_allows_nothing_that_basic_refuses() {
        let [basic, strict] = ["basic", "strict"].map(|name| Profile::by_name(name).unwrap());
        assert_eq!(allowed_beyond(strict, basic), []);
        let beyond = allowed_beyond(basic, strict);
        let names: Vec<&str> = beyond.iter().map(|witness| witness.name).collect();
        for name in ["shmget", "io_setup", "ioctl", "socket"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(!names.contains(&"read"));
    }

    #[test]
    fn a_profile_allows_nothing_beyond_itself() {
        for name in Profile::NAMES {
            let profile = Profile::by_name(name).unwrap();
            assert_eq!(allowed_beyond(profile, profile), []);
        }
    }
}
