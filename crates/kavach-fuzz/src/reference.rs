//! What a profile says of a call, read off its rules one by one: the slowest and plainest way.
//!
//! The library has such a reader of its own (`Profile::decide`), which shares its choice of rules
//! with the compiler. This one shares nothing but the types.

use kavach::seccomp::{Action, Condition, Given, Options, Profile, Rule, Test, Width};
use syscalls::x86_64::Sysno;

use crate::bpf::{ALLOW, Call, ERRNO, KILL_PROCESS};

/// `AUDIT_ARCH_X86_64`: machine 62, 64 bits, little-endian (linux/audit.h).
pub const X86_64: u32 = 62 | 1 << 31 | 1 << 30;

/// What the kernel is to do with a call, as a filter returns it.
#[must_use]
pub fn decide(profile: &Profile, options: &Options, call: &Call) -> u32 {
    if call.arch != X86_64 {
        return KILL_PROCESS;
    }
    let Some(name) = usize::try_from(call.nr).ok().and_then(Sysno::new) else {
        let x32 = call.nr & (1 << 30) != 0 && call.nr & (1 << 31) == 0;
        return ERRNO | if x32 { 1 } else { 38 };
    };
    for group in profile.groups {
        for rule in group.rules {
            if rule.syscalls.contains(&name) && applies(rule, options, &call.args) {
                return match rule.action {
                    Action::Allow => ALLOW,
                    Action::Errno(number) => ERRNO | u32::from(number),
                    Action::KillProcess => KILL_PROCESS,
                };
            }
        }
    }
    ERRNO | 1
}

fn applies(rule: &Rule, options: &Options, args: &[u64; 6]) -> bool {
    let given = match rule.given {
        Given::Always => true,
        Given::Network(on) => on == options.network,
        Given::DenyUnmappedMemory(on) => on == options.deny_unmapped_memory,
        Given::PinCpus(on) => on == options.pin_cpus,
        Given::DenyUnixSockets(on) => on == options.deny_unix_sockets,
    };
    given && rule.when.iter().all(|condition| holds(condition, args))
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let register = args[usize::from(condition.arg)];
    let seen = match condition.width {
        Width::Int => u64::from(register as u32),
        Width::Long => register,
    };
    let kept = seen & condition.mask;
    match condition.test {
        Test::AnyOf(values) => values.contains(&kept),
        Test::NoneOf(values) => !values.contains(&kept),
    }
}

/// Every combination of options.
pub fn all_options() -> impl Iterator<Item = Options> {
    (0..16_u8).map(|bits| Options {
        network: bits & 1 != 0,
        deny_unmapped_memory: bits & 2 != 0,
        pin_cpus: bits & 4 != 0,
        deny_unix_sockets: bits & 8 != 0,
    })
}

/// Values of a register at which a condition may change its mind: each of its values, its
/// neighbours, each of its bits flipped, the high word set in the ways that callers and attackers
/// set it.
#[must_use]
pub fn boundaries(condition: &Condition) -> Vec<u64> {
    let (Test::AnyOf(values) | Test::NoneOf(values)) = condition.test;
    let mut samples = vec![
        0,
        u64::MAX,
        u64::from(u32::MAX),
        condition.mask,
        !condition.mask,
    ];
    for &value in values {
        samples.extend([
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value ^ condition.mask,
            value & condition.mask,
            value | !condition.mask,
            value | u64::from(u32::MAX) << 32,
            // As a caller's `int` arrives, sign-extended.
            value as u32 as i32 as i64 as u64,
            value << 32,
            value >> 32,
        ]);
        samples.extend((0..64).map(|bit| value ^ 1 << bit));
    }
    samples.sort_unstable();
    samples.dedup();
    samples
}
