//! The data: complete, without repetition, each part with its reason.

use std::collections::BTreeMap;

use syscalls::x86_64::Sysno;

use super::{boundary_values, call, named_calls, variants};
use crate::seccomp::{Options, Profile, Rule, Test, Width};

#[test]
fn every_named_call_stands_in_exactly_one_group_of_each_profile() {
    for name in Profile::NAMES {
        let profile = Profile::by_name(name).unwrap();
        let mut groups: BTreeMap<&str, Vec<&str>> = named_calls()
            .map(|syscall| (syscall.name(), Vec::new()))
            .collect();
        for group in profile.groups {
            for syscall in group.rules.iter().flat_map(|rule| rule.syscalls) {
                let list = groups.get_mut(syscall.name()).unwrap();
                if !list.contains(&group.name) {
                    list.push(group.name);
                }
            }
        }
        groups.retain(|_, list| list.len() != 1);
        assert!(groups.is_empty(), "{name}: {groups:?}");
    }
}

#[test]
fn every_group_has_its_own_name_and_a_reason() {
    for name in Profile::NAMES {
        let profile = Profile::by_name(name).unwrap();
        let mut names: Vec<_> = profile.groups.iter().map(|group| group.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names.len(),
            profile.groups.len(),
            "{name}: a group name is repeated"
        );
        for group in profile.groups {
            assert!(
                group.reason.len() > 20,
                "{name}: {} has no reason",
                group.name
            );
            assert!(
                !group.rules.is_empty(),
                "{name}: {} has no rules",
                group.name
            );
        }
    }
}

#[test]
fn no_rule_lists_a_call_twice() {
    for (profile, _) in variants() {
        for rule in profile.groups.iter().flat_map(|group| group.rules) {
            let mut listed: Vec<_> = rule.syscalls.iter().map(|syscall| syscall.id()).collect();
            listed.sort_unstable();
            listed.dedup();
            assert_eq!(listed.len(), rule.syscalls.len(), "{:?}", rule.syscalls);
        }
    }
}

#[test]
fn every_condition_can_be_met_as_it_is_written() {
    for (profile, _) in variants() {
        for condition in profile
            .groups
            .iter()
            .flat_map(|group| group.rules)
            .flat_map(|rule| rule.when)
        {
            let (Test::AnyOf(values) | Test::NoneOf(values)) = condition.test;
            assert!(condition.arg < 6 && !values.is_empty(), "{condition:?}");
            for value in values {
                assert_eq!(
                    value & !condition.mask,
                    0,
                    "bits outside of the mask: {condition:?}"
                );
            }
            if condition.width == Width::Int {
                assert!(condition.mask <= 0xffff_ffff, "{condition:?}");
            }
        }
    }
}

/// All arguments at which one of these rules may change its mind.
fn samples(rules: &[&Rule]) -> Vec<[u64; 6]> {
    let mut samples = vec![[0; 6]];
    for arg in 0..6_u8 {
        let mut values: Vec<u64> = rules
            .iter()
            .flat_map(|rule| rule.when)
            .filter(|condition| condition.arg == arg)
            .flat_map(boundary_values)
            .collect();
        values.sort_unstable();
        values.dedup();
        if !values.is_empty() {
            samples = samples
                .iter()
                .flat_map(|sample| {
                    values.iter().map(move |&value| {
                        let mut next = *sample;
                        next[usize::from(arg)] = value;
                        next
                    })
                })
                .collect();
        }
    }
    samples
}

/// Removing any rule changes an outcome: none is shadowed, none repeats another.
/// The one exception is an unconditional `EPERM`: it says what the default would
/// do anyway, so that the refusal has its reason.
#[test]
fn every_rule_decides_something() {
    for (profile, options) in variants() {
        for syscall in named_calls() {
            let applicable: Vec<&Rule> = profile
                .groups
                .iter()
                .flat_map(|group| group.rules)
                .filter(|rule| rule.syscalls.contains(&syscall) && rule.given.holds(&options))
                .collect();
            let effective = profile.rules_of(&options, syscall).count();
            assert_eq!(
                effective,
                applicable.len(),
                "{}: a rule is never reached",
                syscall.name()
            );
            let samples = samples(&applicable);
            for (index, rule) in applicable.iter().enumerate() {
                if rule.when.is_empty() {
                    continue;
                }
                let without = |args: &[u64; 6]| {
                    applicable
                        .iter()
                        .enumerate()
                        .filter(|(other, _)| *other != index)
                        .find(|(_, rule)| rule.when.iter().all(|c| c.holds(args)))
                        .map_or(crate::seccomp::Action::EPERM, |(_, rule)| rule.action)
                };
                assert!(
                    samples.iter().any(|args| {
                        profile.decide(&options, &call(syscall, *args)) != without(args)
                    }),
                    "{} of {}: rule {index} changes nothing",
                    syscall.name(),
                    profile.name,
                );
            }
        }
    }
}

/// `strict` is the tighter one, whatever the arguments.
#[test]
fn what_basic_refuses_strict_refuses() {
    let (basic, strict) = (
        Profile::by_name("basic").unwrap(),
        Profile::by_name("strict").unwrap(),
    );
    for (_, options) in variants() {
        for syscall in named_calls() {
            let rules: Vec<&Rule> = basic
                .rules_of(&options, syscall)
                .chain(strict.rules_of(&options, syscall))
                .collect();
            for args in samples(&rules) {
                let data = call(syscall, args);
                assert!(
                    !basic.decide(&options, &data).is_denial()
                        || strict.decide(&options, &data).is_denial(),
                    "{}({args:x?})",
                    syscall.name(),
                );
            }
        }
    }
}

#[test]
fn a_misspelt_name_is_an_error_with_the_nearest() {
    let error = Profile::by_name("stritc").unwrap_err();
    assert_eq!(error.nearest, Some("strict"));
    assert_eq!(
        error.to_string(),
        r#"unknown seccomp profile "stritc", did you mean "strict"?; known: basic, strict"#
    );
    assert_eq!(
        Profile::by_name("Basic").unwrap_err().nearest,
        Some("basic")
    );
    assert_eq!(Profile::by_name("").unwrap_err().nearest, None);
    assert_eq!(Profile::by_name("unconfined").unwrap_err().nearest, None);
}

#[test]
fn an_explanation_names_the_group() {
    let profile = Profile::by_name("basic").unwrap();
    let explained = profile.explain(&Options::default(), &call(Sysno::bpf, [0; 6]));
    assert_eq!(explained.group.unwrap().name, "code in the kernel");
    assert!(explained.action.is_denial());
}
