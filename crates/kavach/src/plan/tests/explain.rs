//! Explanations of policies on hosts that are not this one.

use super::*;
use crate::plan::explain;
use crate::scoring::score_backend;

fn explained(policy: SandboxPolicy, host: &HostFacts) -> Explanation {
    explain(&spec(policy), host).unwrap()
}

#[test]
fn points_add_up_to_what_a_whole_sandbox_has() {
    for (name, score) in [("minimal", 29), ("basic", 57), ("strict", 63)] {
        let found = explained(preset(name), &HostFacts::modern_root());
        assert!(found.starts);
        assert_eq!(found.strength.unwrap(), score, "{name}");
        let sum: i16 = found.breakdown.items.iter().map(|item| item.points).sum();
        assert_eq!(sum, i16::from(score), "{name}");
        let scale = score_backend(Backend::Process, &preset(name));
        assert_eq!(found.scale, scale);
    }
}

#[test]
fn every_control_has_a_row_and_those_not_asked_for_have_no_state() {
    let found = explained(preset("basic"), &HostFacts::modern_root());
    let controls: Vec<Control> = found.controls.iter().map(|row| row.control).collect();
    assert_eq!(controls, Control::ALL);
    for row in &found.controls {
        let asked = preset("basic").asks_for(row.control);
        assert_eq!(row.state.is_some(), asked, "{}", row.control);
        assert_eq!(row.obstacle, None);
    }
}

#[test]
fn what_stands_in_the_way_is_named_for_every_control_at_once() {
    let host = HostFacts::modern_user()
        .without_landlock()
        .without_seccomp();
    let mut policy = preset("strict");
    policy.accept_approximate.remove(&Control::Pids);
    let found = explained(policy.clone(), &host);
    assert!(!found.starts);
    assert_eq!(found.strength, None);
    let obstacles: Vec<&Obstacle> = found
        .controls
        .iter()
        .filter_map(|row| row.obstacle.as_ref())
        .collect();
    let named: Vec<(Control, bool)> = obstacles.iter().map(|o| (o.control, o.blocks)).collect();
    assert_eq!(
        named,
        [
            (Control::SyscallFilter, true),
            (Control::Landlock, true),
            // Without a filter, memory outside every process and a wider CPU set cannot be denied.
            (Control::Memory, true),
            (Control::Cpu, true),
            (Control::Pids, true),
        ]
    );
    // The plan stops at the first, with the same words.
    let (control, required, found, fix) = refusal(policy, &host);
    let first = obstacles[0];
    assert_eq!(
        (control, required, found, fix),
        (
            first.control,
            first.required.clone(),
            first.found.clone(),
            first.fix.clone()
        )
    );
}

#[test]
fn a_weaker_mechanism_is_named_with_what_the_full_one_needs() {
    let found = explained(preset("strict"), &HostFacts::modern_user());
    assert!(found.starts);
    let memory = found
        .controls
        .iter()
        .find(|row| row.control == Control::Memory)
        .unwrap();
    assert_eq!(memory.state, Some(ControlState::Approximate));
    let obstacle = memory.obstacle.as_ref().unwrap();
    assert!(!obstacle.blocks && obstacle.fix.contains("Delegate=yes"));
    // Two points for the modifier, one lost for the weaker mechanism.
    assert_eq!(memory.points, 1);
    assert_eq!(found.strength.unwrap(), 61);
}

#[test]
fn noop_explains_what_it_has_not() {
    let config = SandboxConfig::builder().backend(Backend::Noop);
    let strict = config.clone().policy(preset("strict")).build();
    let found = explain(&strict.validate().unwrap(), &HostFacts::modern_root()).unwrap();
    assert!(!found.starts);
    let minimal = config.policy(preset("minimal")).build();
    let found = explain(&minimal.validate().unwrap(), &HostFacts::modern_root()).unwrap();
    assert_eq!(found.strength.unwrap(), 0);
}
