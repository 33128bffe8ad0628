//! Profiles of any form: the real ones are two, and the compiler is for those that come.
//!
//! A profile is made of `'static` data, so what is generated is never freed: some hundred bytes
//! for each run, which scripts/fuzz.sh leaves room for.

use kavach::seccomp::{
    Action, CompileError, Condition, Given, Group, MAX_INSTRUCTIONS, Options, Profile, Rule, Test,
    Width, compile,
};
use syscalls::x86_64::Sysno;

use crate::bpf::{Call, Filter};
use crate::input::Input;
use crate::reference::{X86_64, boundaries, decide};

/// Most rules of a generated profile, and most values of a condition.
const RULES: usize = 24;
const VALUES: usize = 40;
/// About how many edges of a condition are tried in one run.
const EDGES: usize = 32;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let bits = input.byte();
    let options = Options {
        network: bits & 1 != 0,
        deny_unmapped_memory: bits & 2 != 0,
        pin_cpus: bits & 4 != 0,
        deny_unix_sockets: bits & 8 != 0,
    };
    let count = input.below(RULES);
    let rules: Vec<Rule> = (0..count).map(|_| rule(&mut input)).collect();
    let group = Group {
        name: "generated",
        reason: "generated",
        rules: rules.leak(),
    };
    let profile = Profile {
        name: "generated",
        summary: "generated",
        groups: vec![&*Box::leak(Box::new(group))].leak(),
    };
    let program = match compile(&profile, &options) {
        Ok(program) => program,
        Err(CompileError::TooLong { instructions, .. }) => {
            assert!(instructions > MAX_INSTRUCTIONS);
            return;
        }
        Err(CompileError::NoSuchArgument { arg, .. }) => {
            let mut conditions = group_rules(&profile).flat_map(|rule| rule.when);
            assert!(arg > 5 && conditions.any(|condition| condition.arg == arg));
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let filter = Filter::load(&program.to_bytes()).expect("the kernel takes it");
    let agree = |call: Call| {
        let expected = decide(&profile, &options, &call);
        assert_eq!(filter.run(&call), expected, "{call:x?}\n{program}");
    };
    let chosen: [u64; 6] = std::array::from_fn(|_| input.u64());
    for nr in 0..=600 {
        for nr in [nr, nr | 1 << 30, nr | 1 << 31] {
            for args in [[0; 6], chosen] {
                agree(Call {
                    nr,
                    arch: X86_64,
                    args,
                });
            }
        }
    }
    for arch in [0x4000_0003, 0xc000_00b7, 0, u32::MAX, input.u32()] {
        agree(Call {
            nr: input.u32(),
            arch: arch ^ u32::from(arch == X86_64),
            args: chosen,
        });
    }
    for rule in group_rules(&profile) {
        for condition in rule.when {
            // Some of the edges: which ones, the next bytes say.
            let edges = boundaries(condition);
            let step = edges.len().div_ceil(EDGES);
            for value in edges
                .into_iter()
                .skip(usize::from(input.byte()) % step)
                .step_by(step)
            {
                for name in rule.syscalls {
                    for base in [[0; 6], chosen] {
                        let mut args = base;
                        args[usize::from(condition.arg)] = value;
                        agree(Call {
                            nr: name.id() as u32,
                            arch: X86_64,
                            args,
                        });
                    }
                }
            }
        }
    }
}

fn group_rules(profile: &Profile) -> impl Iterator<Item = &'static Rule> {
    profile.groups.iter().flat_map(|group| group.rules)
}

fn rule(input: &mut Input<'_>) -> Rule {
    let shape = input.byte();
    let names = 1 + usize::from(shape & 3);
    let syscalls: Vec<Sysno> = (0..names)
        .filter_map(|_| {
            let number = usize::from(input.byte()) + 256 * usize::from(input.byte() & 1);
            Sysno::new(number)
        })
        .collect();
    let conditions = usize::from(shape >> 2 & 3);
    let when: Vec<Condition> = (0..conditions).map(|_| condition(input)).collect();
    let on = shape & 0x80 != 0;
    Rule {
        syscalls: syscalls.leak(),
        when: when.leak(),
        given: match shape >> 4 & 7 {
            0 => Given::Network(on),
            1 => Given::DenyUnmappedMemory(on),
            2 => Given::PinCpus(on),
            3 => Given::DenyUnixSockets(on),
            _ => Given::Always,
        },
        action: match input.byte() {
            0..=127 => Action::Allow,
            128 => Action::KillProcess,
            number => Action::Errno(u16::from(number)),
        },
    }
}

fn condition(input: &mut Input<'_>) -> Condition {
    let shape = input.byte();
    let mask = match shape >> 4 & 3 {
        0 => u64::MAX,
        1 => u64::from(u32::MAX),
        2 => u64::from(input.u32()),
        _ => input.u64(),
    };
    let count = input.below(VALUES);
    let first = input.u64();
    let values: Vec<u64> = (0..count as u64)
        .map(|at| match shape >> 6 {
            // Neighbours; one bit each; anything.
            0 => first.wrapping_add(at),
            1 => 1_u64.wrapping_shl(u32::from(input.byte())),
            2 => u64::from(input.u32()),
            _ => input.u64(),
        })
        .collect();
    Condition {
        // Now and then one that is not there.
        arg: match shape & 7 {
            7 if shape >> 3 != 0x1f => 0,
            6 => 1,
            arg => arg,
        },
        width: if shape & 8 == 0 {
            Width::Int
        } else {
            Width::Long
        },
        mask,
        test: match input.byte() & 1 {
            0 => Test::AnyOf(values.leak()),
            _ => Test::NoneOf(values.leak()),
        },
    }
}
