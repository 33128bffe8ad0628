//! Every compiled profile against its rules: all numbers, all calling conventions, and arguments
//! at the edges of each rule.
//!
//! The filter's own bytes are loaded and interpreted by an interpreter that shares nothing with
//! the compiler, after the kernel's own checks; what it returns is compared with a reader of the
//! rules that shares nothing with the compiler either.

use std::collections::BTreeSet;

use kavach::seccomp::{Condition, Options, Profile, Rule, compile};
use kavach_fuzz::bpf::{ALLOW, Call, ERRNO, Filter, KILL_PROCESS};
use kavach_fuzz::reference::{X86_64, all_options, boundaries, decide};
use syscalls::x86_64::Sysno;

const EPERM: u32 = ERRNO | 1;
const ENOSYS: u32 = ERRNO | 38;

/// Both profiles under every combination of options.
fn variants() -> impl Iterator<Item = (&'static Profile, Options, Filter)> {
    Profile::NAMES.iter().flat_map(|name| {
        all_options().map(move |options| {
            let profile = Profile::by_name(name).expect("one of the names");
            let program = compile(profile, &options).expect("profiles compile");
            let filter = Filter::load(&program.to_bytes()).expect("the kernel takes it");
            (profile, options, filter)
        })
    })
}

#[track_caller]
fn agree(profile: &Profile, options: &Options, filter: &Filter, call: Call) -> u32 {
    let seen = filter.run(&call);
    let expected = decide(profile, options, &call);
    assert_eq!(
        seen, expected,
        "{} {options:?} {call:x?}: {seen:#x}, the rules say {expected:#x}",
        profile.name
    );
    seen
}

/// Argument lists that say nothing of any rule.
fn plain() -> Vec<[u64; 6]> {
    let mut lists: Vec<[u64; 6]> = [0, 1, u64::MAX, 0xffff_ffff, 1 << 32, 1 << 63]
        .map(|value| [value; 6])
        .into();
    lists.push([0x7fff_dead_beef; 6]);
    lists
}

/// The rules of a call, in the order in which they are asked, whatever the options.
fn rules_of(profile: &Profile, nr: u32) -> Vec<&'static Rule> {
    let Some(name) = Sysno::new(nr as usize) else {
        return Vec::new();
    };
    profile
        .groups
        .iter()
        .flat_map(|group| group.rules)
        .filter(|rule| rule.syscalls.contains(&name))
        .collect()
}

/// Arguments around each rule of a call: every edge of each condition beside others that are met,
/// that are not, and at edges of their own.
fn around(rules: &[&'static Rule]) -> BTreeSet<[u64; 6]> {
    let mut lists = BTreeSet::new();
    for rule in rules {
        let met = met(rule.when);
        lists.insert(met);
        for condition in rule.when {
            for value in boundaries(condition) {
                for base in [met, [0; 6], [u64::MAX; 6]] {
                    lists.insert(with(base, condition, value));
                }
            }
        }
        for (at, first) in rule.when.iter().enumerate() {
            for second in &rule.when[at + 1..] {
                for one in boundaries(first).into_iter().step_by(7) {
                    for other in boundaries(second).into_iter().step_by(7) {
                        lists.insert(with(with(met, first, one), second, other));
                    }
                }
            }
        }
    }
    lists
}

fn with(mut args: [u64; 6], condition: &Condition, value: u64) -> [u64; 6] {
    args[usize::from(condition.arg)] = value;
    args
}

/// Arguments that meet all of these, so that the last one too is reached.
fn met(conditions: &[Condition]) -> [u64; 6] {
    conditions.iter().fold([0; 6], |args, condition| {
        let met = boundaries(condition)
            .into_iter()
            .map(|value| with(args, condition, value))
            .find(|args| condition.holds(args));
        met.expect("a condition that can be met")
    })
}

#[test]
fn every_number_gets_what_the_rules_say_at_every_edge() {
    let (mut calls, mut allowed, mut refused) = (0_u64, 0_u64, 0_u64);
    for (profile, options, filter) in variants() {
        for nr in 0..=600 {
            for args in plain().into_iter().chain(around(&rules_of(profile, nr))) {
                let call = Call {
                    nr,
                    arch: X86_64,
                    args,
                };
                calls += 1;
                match agree(profile, &options, &filter, call) {
                    ALLOW => allowed += 1,
                    _ => refused += 1,
                }
            }
        }
    }
    println!("{calls} calls: {allowed} allowed, {refused} refused");
    // Else the edges were not found, and the comparison says nothing.
    assert!(calls > 500_000 && allowed > 50_000 && refused > 50_000);
}

#[test]
fn no_x32_call_and_no_unknown_number_reaches_the_kernel() {
    for (profile, options, filter) in variants() {
        for low in 0..=600_u32 {
            for (bits, expected) in [
                (1 << 30, EPERM),
                (1 << 31, ENOSYS),
                (3 << 30, ENOSYS),
                // Beyond the table, below x32: as of a kernel that does not know it.
                (1 << 29, ENOSYS),
                (1 << 16, ENOSYS),
                (1 << 10, ENOSYS),
            ] {
                for args in plain().into_iter().take(3) {
                    let call = Call {
                        nr: low | bits,
                        arch: X86_64,
                        args,
                    };
                    assert_eq!(
                        agree(profile, &options, &filter, call),
                        expected,
                        "{call:x?}"
                    );
                }
            }
        }
        for bit in 9..32 {
            for nr in [
                1_u32 << bit,
                (1 << bit) - 1,
                (1 << bit) + 1,
                u32::MAX >> (31 - bit),
            ] {
                let call = Call {
                    nr,
                    arch: X86_64,
                    args: [0; 6],
                };
                agree(profile, &options, &filter, call);
            }
        }
    }
}

/// Machines of `linux/audit.h` with their sizes and byte orders.
fn architectures() -> Vec<u32> {
    // ELF machine numbers: SPARC, i386, M68K, MIPS, PARISC, PPC, PPC64, S390, ARM, SH, SPARCV9,
    // IA64, x86_64, CRIS, M32R, XTENSA, MICROBLAZE, AARCH64, UNICORE, RISCV, CSKY, LOONGARCH, ALPHA.
    let machines: [u32; 23] = [
        2, 3, 4, 8, 15, 20, 21, 22, 40, 42, 43, 50, 62, 76, 88, 94, 189, 183, 110, 243, 252, 258,
        0x9026,
    ];
    let flags = (0..8_u32).map(|bits| bits << 29);
    let known = flags.flat_map(|flags| machines.map(|machine| machine | flags));
    let near = (0..32).map(|bit| X86_64 ^ 1 << bit);
    let mut all: Vec<u32> = known.chain(near).chain([0, 1, u32::MAX]).collect();
    all.retain(|arch| *arch != X86_64);
    all
}

#[test]
fn every_other_calling_convention_ends_the_process() {
    let architectures = architectures();
    assert!(architectures.contains(&0x4000_0003), "i386");
    for (profile, options, filter) in variants() {
        for arch in &architectures {
            for nr in (0..=600).chain([1 << 30, 1 << 31, u32::MAX]) {
                let call = Call {
                    nr,
                    arch: *arch,
                    args: [0; 6],
                };
                let seen = agree(profile, &options, &filter, call);
                assert_eq!(seen, KILL_PROCESS, "{call:x?}");
            }
        }
    }
}

/// The two readers of the rules are two: were one wrong, this would say which calls differ.
#[test]
fn the_library_explains_what_its_filter_does() {
    for (profile, options, _) in variants() {
        for nr in 0..=600 {
            for args in around(&rules_of(profile, nr)).into_iter().step_by(11) {
                let data = kavach::seccomp::SyscallData {
                    nr,
                    arch: X86_64,
                    args,
                };
                let explained = match profile.decide(&options, &data) {
                    kavach::seccomp::Action::Allow => ALLOW,
                    kavach::seccomp::Action::Errno(number) => ERRNO | u32::from(number),
                    kavach::seccomp::Action::KillProcess => KILL_PROCESS,
                };
                let call = Call {
                    nr,
                    arch: X86_64,
                    args,
                };
                assert_eq!(explained, decide(profile, &options, &call), "{call:x?}");
            }
        }
    }
}

/// The comparison has teeth: a filter that differs in one instruction is told by some call.
#[test]
fn a_filter_with_one_wrong_instruction_is_found_out() {
    let profile = Profile::by_name("strict").unwrap();
    let options = Options::default();
    let bytes = compile(profile, &options).unwrap().to_bytes();
    let right = Filter::load(&bytes).unwrap();
    let beyond = (9..32).flat_map(|bit| [(1_u32 << bit) - 1, 1 << bit]);
    let calls: Vec<Call> = (0..=600)
        .chain(beyond)
        .flat_map(|nr| {
            let lists = plain()
                .into_iter()
                .take(2)
                .chain(around(&rules_of(profile, nr)));
            lists.map(move |args| Call {
                nr,
                arch: X86_64,
                args,
            })
        })
        .chain(architectures().into_iter().map(|arch| Call {
            nr: 1,
            arch,
            args: [0; 6],
        }))
        .collect();
    let expected: Vec<u32> = calls.iter().map(|call| right.run(call)).collect();
    let mut unseen = Vec::new();
    for (at, i) in bytes.chunks_exact(8).enumerate() {
        let mut wrong = bytes.clone();
        let [code, jt, jf, k] = [0, 2, 3, 4].map(|field| 8 * at + field);
        match i[0] {
            // A comparison that halves a list may be off and mean the same: turn it round.
            0x35 => wrong.swap(jt, jf),
            0x15 | 0x45 => wrong[k] ^= 4,
            // A mask: by another bit, for a socket's types 1 and 5 differ in that one.
            0x54 => wrong[k] ^= 8,
            // An offset, an action.
            0x20 | 0x06 => wrong[k] ^= 4,
            // A long jump may lead a little further, to the same answer: elsewhere at all.
            0x05 => wrong[code..k].copy_from_slice(&[0x06, 0, 0, 0]),
            other => panic!("{other:#x}"),
        }
        let differs = |filter: &Filter| {
            calls
                .iter()
                .zip(&expected)
                .any(|(call, expected)| filter.run(call) != *expected)
        };
        // What the kernel refuses to load is told too.
        if Filter::load(&wrong).is_ok_and(|filter| !differs(&filter)) {
            unseen.push(at);
        }
    }
    assert!(unseen.is_empty(), "no call tells instructions {unseen:?}");
}

#[test]
fn what_the_kernel_would_not_load_is_no_filter() {
    let fine = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f];
    assert!(Filter::load(&fine).is_ok());
    let jump_out = [0x15, 0, 1, 0, 0, 0, 0, 0];
    let load_past = [0x20, 0, 0, 0, 64, 0, 0, 0];
    let load_odd = [0x20, 0, 0, 0, 2, 0, 0, 0];
    let modulo = [0x94, 0, 0, 0, 2, 0, 0, 0];
    for wrong in [jump_out, load_past, load_odd, modulo] {
        assert!(Filter::load(&[wrong, fine].concat()).is_err(), "{wrong:x?}");
    }
    assert!(Filter::load(&[]).is_err());
    assert!(
        Filter::load(&[0x20, 0, 0, 0, 0, 0, 0, 0]).is_err(),
        "no return"
    );
    assert!(Filter::load(&fine.repeat(4097)).is_err(), "too long");
}
