//! The compiled programs against the direct evaluation of the rules.

use proptest::prelude::*;
use syscalls::x86_64::Sysno;

use super::{boundary_values, named_calls, variants};
use crate::seccomp::compile::compile_for;
use crate::seccomp::program::code;
use crate::seccomp::{
    Action, CompileError, MAX_INSTRUCTIONS, Options, Profile, Program, SyscallData, abi, compile,
    interpret,
};

fn kernel_value(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(errno) => 0x0005_0000 + u32::from(errno),
        Action::KillProcess => 0x8000_0000,
    }
}

#[track_caller]
fn assert_same(profile: &Profile, options: &Options, program: &Program, data: &SyscallData) {
    let expected = kernel_value(profile.decide(options, data));
    let (seen, _) = interpret::run(program, data).unwrap();
    assert_eq!(seen, expected, "{} {options:?} {data:x?}", profile.name);
}

/// Numbers that are more likely to be got wrong than others.
fn numbers() -> impl Iterator<Item = u32> {
    let x32 = abi::X32_SYSCALL_BIT;
    (0..=1023).chain(x32..=x32 + 1023).chain([
        x32 - 1,
        2 * x32 - 1,
        2 * x32,
        3 * x32,
        3 * x32 + 59,
        u32::MAX - 1,
        u32::MAX,
    ])
}

/// Argument lists around every constant of the rules of a call.
fn arguments(profile: &Profile, options: &Options, nr: u32) -> Vec<[u64; 6]> {
    let mut lists = vec![
        [0; 6],
        [u64::MAX; 6],
        [1; 6],
        [0xffff_ffff; 6],
        [1 << 32; 6],
    ];
    let Some(syscall) = Sysno::new(nr as usize) else {
        return lists;
    };
    for rule in profile.rules_of(options, syscall) {
        // From lists that meet the rule, so that later conditions are reached.
        let mut met = [0_u64; 6];
        for condition in rule.when {
            let value = boundary_values(condition).into_iter().find(|value| {
                let mut args = met;
                args[usize::from(condition.arg)] = *value;
                condition.holds(&args)
            });
            met[usize::from(condition.arg)] = value.unwrap();
        }
        lists.push(met);
        for condition in rule.when {
            for value in boundary_values(condition) {
                for base in [met, [0; 6], [u64::MAX; 6]] {
                    let mut args = base;
                    args[usize::from(condition.arg)] = value;
                    lists.push(args);
                }
            }
        }
    }
    lists
}

#[test]
fn the_program_decides_as_the_rules_do_for_every_number() {
    for (profile, options) in variants() {
        let program = compile(profile, &options).unwrap();
        for nr in numbers() {
            for args in arguments(profile, &options, nr) {
                let data = SyscallData {
                    nr,
                    arch: abi::AUDIT_ARCH_X86_64,
                    args,
                };
                assert_same(profile, &options, &program, &data);
            }
        }
    }
}

fn any_argument() -> impl Strategy<Value = u64> {
    let constants: Vec<u64> = variants()
        .flat_map(|(profile, _)| profile.groups)
        .flat_map(|group| group.rules)
        .flat_map(|rule| rule.when)
        .flat_map(boundary_values)
        .collect();
    prop_oneof![
        3 => prop::sample::select(constants),
        1 => any::<u64>(),
        1 => any::<u32>().prop_map(u64::from),
        1 => (0_u32..64).prop_map(|bit| 1 << bit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..Default::default() })]
    #[test]
    fn the_program_decides_as_the_rules_do_for_any_call(
        which in 0_usize..16,
        nr in prop_oneof![4 => 0_u32..480, 1 => any::<u32>()],
        arch in prop_oneof![8 => Just(abi::AUDIT_ARCH_X86_64), 1 => any::<u32>()],
        args in prop::array::uniform6(any_argument()),
    ) {
        use std::sync::LazyLock;
        static PROGRAMS: LazyLock<Vec<(&'static Profile, Options, Program)>> = LazyLock::new(|| {
            variants().map(|(p, o)| (p, o, compile(p, &o).unwrap())).collect()
        });
        let (profile, options, program) = &PROGRAMS[which];
        assert_same(profile, options, program, &SyscallData { nr, arch, args });
    }
}

/// What the kernel's checker asks of a program (`bpf_check_classic`,
/// `seccomp_check_filter`).
#[test]
fn programs_are_valid_and_short() {
    for (profile, options) in variants() {
        let program = compile(profile, &options).unwrap();
        let instructions = program.instructions();
        assert!(
            program.len() <= MAX_INSTRUCTIONS / 4,
            "{}: {}",
            profile.name,
            program.len()
        );
        assert_eq!(instructions.last().unwrap().code, code::RETURN);
        assert_eq!(program.to_bytes().len(), 8 * program.len());
        for (at, i) in instructions.iter().enumerate() {
            let furthest = match i.code {
                code::RETURN => at,
                code::JUMP => at + 1 + i.k as usize,
                code::IF_EQUAL | code::IF_AT_LEAST | code::IF_ANY_BIT => {
                    at + 1 + usize::from(i.jt.max(i.jf))
                }
                code::LOAD => {
                    assert!(i.k % 4 == 0 && i.k <= 60, "{at}: {i:?}");
                    at + 1
                }
                code::AND => at + 1,
                other => panic!("{at}: unexpected code {other:#x}"),
            };
            assert!(furthest < program.len(), "{at}: {i:?}");
        }
    }
}

#[test]
fn every_instruction_can_be_reached() {
    for (profile, options) in variants() {
        let program = compile(profile, &options).unwrap();
        let instructions = program.instructions();
        let mut reached = vec![false; program.len()];
        reached[0] = true;
        for (at, i) in instructions.iter().enumerate() {
            assert!(reached[at], "{} {options:?}: {at} is dead", profile.name);
            match i.code {
                code::RETURN => {}
                code::JUMP => reached[at + 1 + i.k as usize] = true,
                code::LOAD | code::AND => reached[at + 1] = true,
                _ => {
                    reached[at + 1 + usize::from(i.jt)] = true;
                    reached[at + 1 + usize::from(i.jf)] = true;
                }
            }
        }
    }
}

/// The search is balanced: no call without conditions takes a long way.
#[test]
fn an_unconditional_answer_is_found_in_few_steps() {
    for (profile, options) in variants() {
        let program = compile(profile, &options).unwrap();
        for syscall in named_calls() {
            let conditional = profile
                .rules_of(&options, syscall)
                .any(|rule| !rule.when.is_empty());
            let data = super::call(syscall, [0; 6]);
            let (_, steps) = interpret::run(&program, &data).unwrap();
            assert!(
                conditional || steps <= 13,
                "{}: {steps} steps",
                syscall.name()
            );
        }
    }
}

#[test]
fn another_processor_is_an_error() {
    let profile = Profile::by_name("strict").unwrap();
    let error = compile_for("aarch64", profile, &Options::default()).unwrap_err();
    assert_eq!(
        error,
        CompileError::UnsupportedArchitecture { arch: "aarch64" }
    );
}

#[test]
fn a_rule_on_a_seventh_argument_is_an_error() {
    use crate::seccomp::{Group, profile};
    static GROUP: Group = Group {
        name: "seven",
        reason: "",
        rules: &[profile::allow(&[Sysno::read]).when(&[profile::int(6).any_of(&[0])])],
    };
    static PROFILE: Profile = Profile {
        name: "seven",
        summary: "",
        groups: &[&GROUP],
    };
    let error = compile(&PROFILE, &Options::default()).unwrap_err();
    let (profile, arg) = ("seven", 6);
    assert_eq!(error, CompileError::NoSuchArgument { profile, arg });
}

#[test]
fn listings_change_only_on_purpose() {
    for name in Profile::NAMES {
        let program = compile(Profile::by_name(name).unwrap(), &Options::default()).unwrap();
        insta::assert_snapshot!(format!("{name}_listing"), program);
    }
}
