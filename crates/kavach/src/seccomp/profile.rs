//! What a profile is: groups of rules, each group with its reason, and the
//! direct evaluation of a system call against them.

use syscalls::x86_64::Sysno;

use super::abi;
use super::profiles;

/// What the kernel does with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Run it.
    Allow,
    /// Do not run it; the caller sees -1 with this errno (seccomp(2),
    /// `SECCOMP_RET_ERRNO`; at most 4095).
    Errno(u16),
    /// End the whole process with `SIGSYS` (`SECCOMP_RET_KILL_PROCESS`).
    KillProcess,
}

impl Action {
    /// Not permitted: the answer to a call that the guest may not make.
    pub const EPERM: Self = Self::Errno(abi::EPERM);
    /// Not implemented: the answer where a caller then takes the older call.
    pub const ENOSYS: Self = Self::Errno(abi::ENOSYS);

    /// Is the call refused?
    #[must_use]
    pub const fn is_denial(self) -> bool {
        !matches!(self, Self::Allow)
    }
}

/// How many bits of an argument the kernel looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// An `int`, `unsigned int`, `pid_t` or `umode_t`: the kernel drops the high
    /// word before it looks, so the filter must drop it too. A filter that
    /// compared 64 bits was slipped by setting high bits (CVE-2019-7303), and one
    /// that demanded a zero high word would refuse sign-extended callers.
    Int,
    /// A `long` or a pointer: both words count.
    Long,
}

/// The set that a masked argument is looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Test {
    /// The masked argument is one of these.
    AnyOf(&'static [u64]),
    /// The masked argument is none of these.
    NoneOf(&'static [u64]),
}

/// A test of one scalar argument. Pointers are never followed: another thread
/// could change what they point to between the check and the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub arg: u8,
    /// How many of its bits count.
    pub width: Width,
    /// Bits that are kept before the test.
    pub mask: u64,
    /// The test.
    pub test: Test,
}

impl Condition {
    /// Does this condition hold for these arguments?
    #[must_use]
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        let Some(&raw) = args.get(usize::from(self.arg)) else {
            return false;
        };
        let seen = match self.width {
            Width::Int => raw & 0xffff_ffff,
            Width::Long => raw,
        } & self.mask;
        match self.test {
            Test::AnyOf(values) => values.contains(&seen),
            Test::NoneOf(values) => !values.contains(&seen),
        }
    }
}

/// The argument of a condition that is being written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    arg: u8,
    width: Width,
    mask: u64,
}

/// Argument `arg`, which the kernel reads as 32 bits.
pub(crate) const fn int(arg: u8) -> Operand {
    Operand {
        arg,
        width: Width::Int,
        mask: 0xffff_ffff,
    }
}

/// Argument `arg`, which the kernel reads as 64 bits.
pub(crate) const fn long(arg: u8) -> Operand {
    Operand {
        arg,
        width: Width::Long,
        mask: u64::MAX,
    }
}

impl Operand {
    /// Only these bits of it.
    pub(crate) const fn masked(self, mask: u64) -> Self {
        Self { mask, ..self }
    }

    /// ... is one of `values`.
    pub(crate) const fn any_of(self, values: &'static [u64]) -> Condition {
        self.test(Test::AnyOf(values))
    }

    /// ... is none of `values`.
    pub(crate) const fn none_of(self, values: &'static [u64]) -> Condition {
        self.test(Test::NoneOf(values))
    }

    const fn test(self, test: Test) -> Condition {
        Condition {
            arg: self.arg,
            width: self.width,
            mask: self.mask,
            test,
        }
    }
}

/// Parts of a profile that the rest of a policy decides. The default is the
/// closed choice for the network and leaves both others to stronger mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// The guest has a network: the plain one or the loopback of a proxy. Default
    /// `false`. `strict` then refuses internet sockets too, beside the empty
    /// network namespace; `basic` leaves that to the namespace, so that programs
    /// that talk to themselves over loopback work.
    pub network: bool,
    /// Deny memory that is charged to no address space (`memfd_create`, `shmget`).
    /// Default `false`. For hosts without a memory cgroup, where the sum over
    /// processes cannot see it, and for an exec allowlist, which cannot name it.
    pub deny_unmapped_memory: bool,
    /// Deny `sched_setaffinity`. Default `false`. For hosts where the cpu limit is
    /// held by the affinity mask instead of a cgroup quota.
    pub pin_cpus: bool,
    /// Deny unix sockets that have or can be given a name, in `basic` too (`strict` always
    /// does). Default `false`. For views that show host directories: a socket in one of them
    /// can be connected to by its path, read-only mount or not, whatever the network namespace.
    pub deny_unix_sockets: bool,
}

/// Under which options a rule is part of the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Given {
    /// Under all.
    Always,
    /// Where [`Options::network`] has this value.
    Network(bool),
    /// Where [`Options::deny_unmapped_memory`] has this value.
    DenyUnmappedMemory(bool),
    /// Where [`Options::pin_cpus`] has this value.
    PinCpus(bool),
    /// Where [`Options::deny_unix_sockets`] has this value.
    DenyUnixSockets(bool),
}

impl Given {
    /// Is the rule part of the profile under these options?
    #[must_use]
    pub const fn holds(self, options: &Options) -> bool {
        match self {
            Self::Always => true,
            Self::Network(wanted) => options.network == wanted,
            Self::DenyUnmappedMemory(wanted) => options.deny_unmapped_memory == wanted,
            Self::PinCpus(wanted) => options.pin_cpus == wanted,
            Self::DenyUnixSockets(wanted) => options.deny_unix_sockets == wanted,
        }
    }
}

/// What happens to some system calls when every condition holds. The first rule
/// of a call that holds decides; where none does, the call gets `EPERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The calls.
    pub syscalls: &'static [Sysno],
    /// All of these must hold; none means always.
    pub when: &'static [Condition],
    /// Options under which the rule exists.
    pub given: Given,
    /// The outcome.
    pub action: Action,
}

/// Run these calls.
pub(crate) const fn allow(syscalls: &'static [Sysno]) -> Rule {
    Rule {
        syscalls,
        when: &[],
        given: Given::Always,
        action: Action::Allow,
    }
}

/// Refuse these calls with `EPERM`.
pub(crate) const fn refuse(syscalls: &'static [Sysno]) -> Rule {
    Rule {
        syscalls,
        when: &[],
        given: Given::Always,
        action: Action::EPERM,
    }
}

/// Answer these calls as a kernel without them would.
pub(crate) const fn absent(syscalls: &'static [Sysno]) -> Rule {
    Rule {
        syscalls,
        when: &[],
        given: Given::Always,
        action: Action::ENOSYS,
    }
}

impl Rule {
    /// ... when all of these hold.
    pub(crate) const fn when(self, when: &'static [Condition]) -> Self {
        Self { when, ..self }
    }

    /// ... under these options.
    pub(crate) const fn given(self, given: Given) -> Self {
        Self { given, ..self }
    }
}

/// Rules about one subject, and why they are as they are. All rules of a system
/// call stand in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Short name, for listings.
    pub name: &'static str,
    /// Why these calls are allowed or refused.
    pub reason: &'static str,
    /// The rules, in order.
    pub rules: &'static [Rule],
}

/// A named allowlist. Every system call that this version knows by name stands
/// in one group of each profile; numbers without a name get `ENOSYS`, because
/// newer libraries probe newer calls and fall back on that answer alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The name in policies.
    pub name: &'static str,
    /// One line on what it is for.
    pub summary: &'static str,
    /// The groups.
    pub groups: &'static [&'static Group],
}

/// A policy named a profile that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown seccomp profile {name:?}{}; known: {}",
    .nearest.map(|n| format!(", did you mean {n:?}?")).unwrap_or_default(),
    .known.join(", ")
)]
pub struct UnknownProfile {
    /// The name as it was given.
    pub name: String,
    /// The known name that is closest, if one is close.
    pub nearest: Option<&'static str>,
    /// All known names.
    pub known: &'static [&'static str],
}

/// What the kernel shows a filter of a system call (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyscallData {
    /// The number, x32 bit included.
    pub nr: u32,
    /// The calling convention, `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The arguments as they stand in the registers.
    pub args: [u64; 6],
}

impl SyscallData {
    /// A call by its own number and convention.
    #[must_use]
    pub const fn x86_64(call: Sysno, args: [u64; 6]) -> Self {
        Self {
            nr: call as u32,
            arch: abi::AUDIT_ARCH_X86_64,
            args,
        }
    }
}

/// An action and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The outcome.
    pub action: Action,
    /// The group that the call belongs to; `None` for a foreign architecture and
    /// for numbers without a name.
    pub group: Option<&'static Group>,
}

impl Profile {
    /// The names of all profiles.
    pub const NAMES: &'static [&'static str] = &["basic", "strict"];

    /// The profile of that name.
    ///
    /// # Errors
    /// [`UnknownProfile`] with the nearest known name. Names are exact: no case
    /// folding, no trimming.
    pub fn by_name(name: &str) -> Result<&'static Self, UnknownProfile> {
        match name {
            "basic" => Ok(&profiles::BASIC),
            "strict" => Ok(&profiles::STRICT),
            _ => Err(UnknownProfile {
                name: name.to_owned(),
                nearest: nearest(name, Self::NAMES),
                known: Self::NAMES,
            }),
        }
    }

    /// The rules of one call under these options, in order, up to the one that
    /// always holds.
    pub(crate) fn rules_of<'a>(
        &'a self,
        options: &'a Options,
        syscall: Sysno,
    ) -> impl Iterator<Item = &'static Rule> + 'a {
        let mut settled = false;
        self.groups
            .iter()
            .flat_map(|group| group.rules)
            .filter(move |rule| rule.syscalls.contains(&syscall) && rule.given.holds(options))
            .take_while(move |rule| !std::mem::replace(&mut settled, rule.when.is_empty()))
    }

    /// What this profile does with a call, by reading its rules; the compiled
    /// program does the same.
    #[must_use]
    pub fn decide(&self, options: &Options, data: &SyscallData) -> Action {
        self.explain(options, data).action
    }

    /// What this profile does with a call, and the group that says why.
    #[must_use]
    pub fn explain(&self, options: &Options, data: &SyscallData) -> Decision {
        if data.arch != abi::AUDIT_ARCH_X86_64 {
            return Decision {
                action: Action::KillProcess,
                group: None,
            };
        }
        let Some(syscall) = usize::try_from(data.nr).ok().and_then(Sysno::new) else {
            return Decision {
                action: unnamed(data.nr),
                group: None,
            };
        };
        let action = self
            .rules_of(options, syscall)
            .find(|rule| {
                rule.when
                    .iter()
                    .all(|condition| condition.holds(&data.args))
            })
            .map_or(Action::EPERM, |rule| rule.action);
        Decision {
            action,
            group: self.group_of(syscall),
        }
    }

    /// The group that a call belongs to.
    #[must_use]
    pub fn group_of(&self, syscall: Sysno) -> Option<&'static Group> {
        self.groups.iter().copied().find(|group| {
            group
                .rules
                .iter()
                .any(|rule| rule.syscalls.contains(&syscall))
        })
    }
}

/// The answer to a number that has no name. The x32 calls have their own table
/// in the kernel, with other argument layouts, so no rule here would fit them.
pub(crate) const fn unnamed(nr: u32) -> Action {
    match nr & abi::NR_SPACE_MASK {
        abi::X32_SYSCALL_BIT => Action::EPERM,
        _ => Action::ENOSYS,
    }
}

/// The candidate within two edits of `name`, or the closest within half its
/// length, so that `strictt` and `stritc` are recognised and `foo` is not.
fn nearest(name: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    candidates
        .iter()
        .map(|candidate| (edit_distance(&name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = substituted.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
