//! What the profiles and the compiler promise.

mod compiled;
mod dangers;
mod ordinary;
mod rules;

use syscalls::x86_64::Sysno;

use super::{Action, Condition, Options, Profile, SyscallData, Test, abi};

/// Both profiles under every combination of options.
fn variants() -> impl Iterator<Item = (&'static Profile, Options)> {
    Profile::NAMES.iter().flat_map(|name| {
        (0..16).map(move |bits| {
            let options = Options {
                network: bits & 1 != 0,
                deny_unmapped_memory: bits & 2 != 0,
                pin_cpus: bits & 4 != 0,
                deny_unix_sockets: bits & 8 != 0,
            };
            (Profile::by_name(name).unwrap(), options)
        })
    })
}

fn call(syscall: Sysno, args: [u64; 6]) -> SyscallData {
    SyscallData {
        nr: syscall.id().unsigned_abs(),
        arch: abi::AUDIT_ARCH_X86_64,
        args,
    }
}

/// What `profile` does with a call under the default options.
fn decided(profile: &str, syscall: Sysno, args: [u64; 6]) -> Action {
    Profile::by_name(profile)
        .unwrap()
        .decide(&Options::default(), &call(syscall, args))
}

/// Values of one argument at which a condition may change its mind.
fn boundary_values(condition: &Condition) -> Vec<u64> {
    let (Test::AnyOf(values) | Test::NoneOf(values)) = condition.test;
    let mut samples = vec![0, u64::MAX, 0xffff_ffff, condition.mask, !condition.mask];
    for &value in values {
        samples.extend([
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value | 1 << 32,
        ]);
        samples.extend([
            value | 0xffff_ffff << 32,
            value ^ condition.mask,
            value | 1 << 63,
        ]);
    }
    samples
}

/// All calls that have a name. `Sysno::iter` of syscalls 0.8.1 leaves out the last.
fn named_calls() -> impl Iterator<Item = Sysno> {
    (0..Sysno::table_size()).filter_map(Sysno::new)
}
