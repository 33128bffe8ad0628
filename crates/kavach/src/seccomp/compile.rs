//! From a profile to a program: a balanced tree over ranges of numbers.

use syscalls::x86_64::Sysno;

use super::abi;
use super::assemble::{Assembler, Label};
use super::profile::{Action, Condition, Options, Profile, Rule, Test, Width, unnamed};
use super::program::{MAX_INSTRUCTIONS, Program, code, offset};

/// System calls have six (syscall(2)).
const LAST_ARGUMENT: u8 = 5;

/// A profile could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// There are no profiles for this processor yet.
    #[error("seccomp profiles exist for x86_64 only, this is {arch}")]
    UnsupportedArchitecture {
        /// The architecture, as Rust names it.
        arch: &'static str,
    },
    /// The kernel takes no longer programs than [`MAX_INSTRUCTIONS`].
    #[error(
        "profile {profile:?} compiles to {instructions} instructions, the kernel takes {MAX_INSTRUCTIONS}"
    )]
    TooLong {
        /// The profile.
        profile: &'static str,
        /// How long it would be.
        instructions: usize,
    },
    /// A condition is on an argument that no system call has: the kernel would not load it.
    #[error("profile {profile:?} has a rule on argument {arg}, the last one is 5")]
    NoSuchArgument {
        /// The profile.
        profile: &'static str,
        /// The argument.
        arg: u8,
    },
}

/// Compiles a profile. The program does for every call what
/// [`Profile::decide`] says.
///
/// # Errors
/// [`CompileError::UnsupportedArchitecture`] on processors other than x86_64;
/// [`CompileError::TooLong`] and [`CompileError::NoSuchArgument`], which the profiles of this
/// crate never meet.
pub fn compile(profile: &Profile, options: &Options) -> Result<Program, CompileError> {
    compile_for(std::env::consts::ARCH, profile, options)
}

/// [`compile`] for a named architecture.
pub(super) fn compile_for(
    arch: &'static str,
    profile: &Profile,
    options: &Options,
) -> Result<Program, CompileError> {
    if arch != "x86_64" {
        return Err(CompileError::UnsupportedArchitecture { arch });
    }
    let rules = profile.groups.iter().flat_map(|group| group.rules);
    let mut conditions = rules.flat_map(|rule| rule.when);
    if let Some(beyond) = conditions.find(|condition| condition.arg > LAST_ARGUMENT) {
        return Err(CompileError::NoSuchArgument {
            profile: profile.name,
            arg: beyond.arg,
        });
    }
    let mut asm = Assembler::default();
    let ranges = ranges(profile, options);
    let judge = tree(&mut asm, &ranges);
    let native = asm.load(offset::NR, judge);
    let foreign = asm.ret(returned(Action::KillProcess));
    let checked = asm.branch(code::IF_EQUAL, abi::AUDIT_ARCH_X86_64, native, foreign);
    let start = asm.load(offset::ARCH, checked);
    let program = asm.finish(start);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong {
            profile: profile.name,
            instructions: program.len(),
        });
    }
    Ok(program)
}

/// What a call gets: cases in order, then the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    cases: Vec<(&'static [Condition], Action)>,
    otherwise: Action,
}

impl Outcome {
    fn always(otherwise: Action) -> Self {
        Self {
            cases: Vec::new(),
            otherwise,
        }
    }

    fn of<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let mut outcome = Self::always(Action::EPERM);
        for rule in rules {
            if rule.when.is_empty() {
                outcome.otherwise = rule.action;
                break;
            }
            outcome.cases.push((rule.when, rule.action));
        }
        outcome
    }
}

/// Numbers from `first` up to the next range, and what they get.
#[derive(Debug)]
struct Range {
    first: u32,
    outcome: Outcome,
}

/// The whole number space in ascending order, equal neighbours merged.
fn ranges(profile: &Profile, options: &Options) -> Vec<Range> {
    let above_table = Sysno::last().id().unsigned_abs() + 1;
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |first: u32, outcome: Outcome| {
        if ranges.last().is_none_or(|last| last.outcome != outcome) {
            ranges.push(Range { first, outcome });
        }
    };
    for nr in 0..above_table {
        let named = usize::try_from(nr).ok().and_then(Sysno::new);
        add(
            nr,
            named.map_or_else(
                || Outcome::always(unnamed(nr)),
                |syscall| Outcome::of(profile.rules_of(options, syscall)),
            ),
        );
    }
    for first in [above_table, abi::X32_SYSCALL_BIT, abi::X32_SYSCALL_BIT << 1] {
        add(first, Outcome::always(unnamed(first)));
    }
    ranges
}

/// A binary search with the number in the accumulator.
fn tree(asm: &mut Assembler, ranges: &[Range]) -> Label {
    match ranges {
        // The number space is never empty; the closed answer if it were.
        [] => asm.ret(returned(Action::EPERM)),
        [only] => cases(asm, &only.outcome),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let first_high = high.first().map_or(u32::MAX, |range| range.first);
            let above = tree(asm, high);
            let below = tree(asm, low);
            asm.branch(code::IF_AT_LEAST, first_high, above, below)
        }
    }
}

/// The cases of one outcome, the last written first.
fn cases(asm: &mut Assembler, outcome: &Outcome) -> Label {
    let mut next = asm.ret(returned(outcome.otherwise));
    for (conditions, action) in outcome.cases.iter().rev() {
        let mut matched = asm.ret(returned(*action));
        for condition in conditions.iter().rev() {
            matched = test(asm, condition, matched, next);
        }
        next = matched;
    }
    next
}

/// One condition: each word that counts is loaded, masked and looked up.
fn test(asm: &mut Assembler, condition: &Condition, holds: Label, fails: Label) -> Label {
    let (values, inside, outside) = match condition.test {
        Test::AnyOf(values) => (values, holds, fails),
        Test::NoneOf(values) => (values, fails, holds),
    };
    let low = Word {
        at: offset::low(condition.arg),
        mask: low_word(condition.mask),
    };
    match condition.width {
        Width::Int => {
            // A value with bits above an int's can never be met.
            let values: Vec<u32> = values
                .iter()
                .filter_map(|&value| u32::try_from(value).ok())
                .collect();
            lookup(asm, low, &values, inside, outside)
        }
        Width::Long => {
            let high = Word {
                at: offset::high(condition.arg),
                mask: high_word(condition.mask),
            };
            values.iter().rev().fold(outside, |outside, &value| {
                let rest = lookup(asm, low, &[low_word(value)], inside, outside);
                lookup(asm, high, &[high_word(value)], rest, outside)
            })
        }
    }
}

/// A word of an argument and the bits of it that count.
#[derive(Debug, Clone, Copy)]
struct Word {
    at: u32,
    mask: u32,
}

/// Is the masked word one of `values`?
fn lookup(asm: &mut Assembler, word: Word, values: &[u32], inside: Label, outside: Label) -> Label {
    if word.mask != u32::MAX && values == [0] {
        let any_bit = asm.branch(code::IF_ANY_BIT, word.mask, outside, inside);
        return asm.load(word.at, any_bit);
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut found = search(asm, &sorted, inside, outside);
    if word.mask != u32::MAX {
        found = asm.and(word.mask, found);
    }
    asm.load(word.at, found)
}

/// How many values are compared one after another before the list is halved.
const LINEAR: usize = 4;

/// Is the accumulator in the sorted list?
fn search(asm: &mut Assembler, sorted: &[u32], inside: Label, outside: Label) -> Label {
    if sorted.len() <= LINEAR {
        return sorted.iter().rev().fold(outside, |next, &value| {
            asm.branch(code::IF_EQUAL, value, inside, next)
        });
    }
    let (low, high) = sorted.split_at(sorted.len() / 2);
    let first_high = high.first().copied().unwrap_or(u32::MAX);
    let above = search(asm, high, inside, outside);
    let below = search(asm, low, inside, outside);
    asm.branch(code::IF_AT_LEAST, first_high, above, below)
}

/// The value that the kernel takes for an action.
fn returned(action: Action) -> u32 {
    match action {
        Action::Allow => abi::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => abi::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::KillProcess => abi::SECCOMP_RET_KILL_PROCESS,
    }
}

const fn low_word(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

const fn high_word(value: u64) -> u32 {
    (value >> 32) as u32
}
