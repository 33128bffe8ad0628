use super::*;
use crate::control::Requirement;
use crate::enforcement::EnforcementRow;

fn preset(name: &str) -> SandboxPolicy {
    SandboxPolicy::from_preset(name).unwrap()
}

/// A report in which everything that `policy` asks for is enforced, but for `changed`.
fn report(policy: &SandboxPolicy, changed: &[(Control, ControlState)]) -> EnforcementReport {
    let rows = Control::ALL
        .into_iter()
        .filter(|control| policy.asks_for(*control))
        .map(|control| {
            let state = changed.iter().find(|(c, _)| *c == control);
            let state = state.map_or(ControlState::Enforced, |(_, state)| *state);
            EnforcementRow::new(control, "on", Requirement::Required, state, "test")
        })
        .collect();
    EnforcementReport::new(Backend::Process, rows)
}

fn strict_with(changed: &[(Control, ControlState)]) -> u8 {
    let policy = preset("strict");
    let report = report(&policy, changed);
    strength(Backend::Process, &policy, &report, Circumstances::default()).value()
}

#[test]
fn base_scores() {
    let bases = [
        (Backend::Noop, 0),
        (Backend::Process, 50),
        (Backend::Oci, 55),
        (Backend::Wasm, 65),
        (Backend::GVisor, 70),
        (Backend::Sgx, 80),
        (Backend::Sev, 82),
        (Backend::Firecracker, 90),
    ];
    for (backend, points) in bases {
        assert_eq!(base_score(backend), points, "{backend}");
    }
    assert_eq!(base_score_sy_agnos(), 80);
}

#[test]
fn presets_on_every_backend() {
    let expected = [
        (Backend::Noop, ["0 (minimal)", "0 (minimal)", "0 (minimal)"]),
        (
            Backend::Process,
            ["40 (basic)", "57 (standard)", "63 (standard)"],
        ),
        (
            Backend::Oci,
            ["50 (standard)", "62 (standard)", "68 (standard)"],
        ),
        (
            Backend::Wasm,
            ["65 (standard)", "69 (standard)", "69 (standard)"],
        ),
        (
            Backend::GVisor,
            ["70 (hardened)", "77 (hardened)", "83 (hardened)"],
        ),
        (
            Backend::Sgx,
            ["80 (hardened)", "84 (hardened)", "84 (hardened)"],
        ),
        (
            Backend::Sev,
            ["82 (hardened)", "84 (hardened)", "84 (hardened)"],
        ),
        (
            Backend::Firecracker,
            ["90 (fortress)", "97 (fortress)", "100 (fortress)"],
        ),
    ];
    for (backend, scores) in expected {
        for (name, score) in ["minimal", "basic", "strict"].into_iter().zip(scores) {
            assert_eq!(
                score_backend(backend, &preset(name)).to_string(),
                score,
                "{backend} {name}"
            );
        }
    }
}

#[test]
fn everything_but_the_filter_is_basic() {
    let mut policy = preset("strict");
    policy.syscall_filter.profile = None;
    assert_eq!(
        score_backend(Backend::Process, &policy).to_string(),
        "48 (basic)"
    );
}

#[test]
fn each_modifier_has_its_points() {
    let strict = preset("strict");
    let full = score_backend(Backend::Process, &strict).value();
    let without = |change: fn(&mut SandboxPolicy)| {
        let mut policy = strict.clone();
        change(&mut policy);
        full - score_backend(Backend::Process, &policy).value()
    };
    assert_eq!(without(|p| p.syscall_filter.profile = None), 5 + 10);
    assert_eq!(without(|p| p.landlock = false), 2);
    assert_eq!(without(|p| p.network = crate::policy::Network::On), 2);
    assert_eq!(without(|p| p.filesystem.read_only_root = false), 2);
    assert_eq!(without(|p| p.limits.memory_mb = None), 2);
    assert_eq!(without(|p| p.limits.pids = None), 2);
    assert_eq!(
        without(|p| (p.limits.memory_mb, p.limits.pids) = (None, None)),
        2
    );
}

#[test]
fn a_control_switched_off_counts_as_not_asked_for() {
    let mut policy = preset("strict");
    policy
        .requirements
        .insert(Control::Landlock, Requirement::Off);
    assert_eq!(score_backend(Backend::Process, &policy), 61);
}

#[test]
fn labels_change_at_their_bounds() {
    let bounds = [
        (0, "minimal"),
        (29, "minimal"),
        (30, "basic"),
        (49, "basic"),
        (50, "standard"),
        (69, "standard"),
        (70, "hardened"),
        (84, "hardened"),
        (85, "fortress"),
        (100, "fortress"),
    ];
    for (points, label) in bounds {
        assert_eq!(StrengthScore::new(points).label(), label, "{points}");
    }
    assert_eq!(StrengthScore::new(255), 100);
    assert!(StrengthScore::new(63) > StrengthScore::new(57));
}

#[test]
fn sy_agnos_is_a_tier_of_a_verified_container_alone() {
    let (minimal, strict) = (preset("minimal"), preset("strict"));
    assert_eq!(score_sy_agnos(&strict, true, Backend::Oci), 84);
    assert_eq!(score_sy_agnos(&minimal, true, Backend::GVisor), 80);
    assert_eq!(score_sy_agnos(&minimal, true, Backend::Oci), 75);
    assert_eq!(score_sy_agnos(&strict, false, Backend::Oci), 68);
    assert_eq!(score_sy_agnos(&strict, true, Backend::Process), 63);
}

#[test]
fn a_sandbox_that_enforces_all_it_was_asked_has_its_policys_score() {
    assert_eq!(strict_with(&[]), 63);
}

#[test]
fn an_absent_control_costs_all_its_points() {
    let costs = [
        (Control::SyscallFilter, 15),
        (Control::Landlock, 2),
        (Control::Network, 2),
        (Control::ReadOnlyRoot, 2),
        (Control::Memory, 2),
        (Control::Pids, 2),
        (Control::Cpu, 1),
        (Control::UserNamespace, 1),
        (Control::OpenFiles, 1),
        (Control::Capabilities, 1),
    ];
    for (control, cost) in costs {
        assert_eq!(
            strict_with(&[(control, ControlState::Absent)]),
            63 - cost,
            "{control}"
        );
    }
}

#[test]
fn memory_and_pids_are_lost_once() {
    use ControlState::{Absent, Approximate};
    let pair = |memory, pids| strict_with(&[(Control::Memory, memory), (Control::Pids, pids)]);
    assert_eq!(pair(Approximate, Approximate), 62);
    assert_eq!(pair(Absent, Absent), 61);
    assert_eq!(pair(Approximate, Absent), 61);
}

#[test]
fn a_control_without_a_row_is_lost() {
    let policy = preset("strict");
    let empty = EnforcementReport::new(Backend::Process, vec![]);
    let score = strength(Backend::Process, &policy, &empty, Circumstances::default());
    let all: u8 = 15 + 2 + 2 + 2 + 2;
    let asked = Control::ALL
        .into_iter()
        .filter(|c| policy.asks_for(*c))
        .count();
    assert_eq!(score.value(), 63 - all - (u8::try_from(asked).unwrap() - 6));
}

#[test]
fn a_lone_limit_has_no_modifier_and_still_shows_its_loss() {
    let mut policy = preset("basic");
    policy.limits.memory_mb = Some(64);
    let lost = report(&policy, &[(Control::Memory, ControlState::Absent)]);
    assert_eq!(score_backend(Backend::Process, &policy), 57);
    assert_eq!(
        strength(Backend::Process, &policy, &lost, Circumstances::default()),
        56
    );
}

#[test]
fn losses_are_taken_after_the_ceiling() {
    let policy = preset("strict");
    let lost = report(&policy, &[(Control::Landlock, ControlState::Absent)]);
    assert_eq!(
        strength(Backend::Wasm, &policy, &lost, Circumstances::default()),
        67
    );
}

#[test]
fn the_hosts_root_stays_in_the_lowest_band() {
    let policy = preset("strict");
    let root = Circumstances {
        guest_is_host_root: true,
        ..Circumstances::default()
    };
    let score = strength(Backend::Process, &policy, &report(&policy, &[]), root);
    assert_eq!(score.to_string(), "29 (minimal)");
}

#[test]
fn a_backend_without_its_defining_protection_falls_to_what_remains() {
    let policy = preset("strict");
    let full = report(&policy, &[]);
    let on = |backend, circumstances| strength(backend, &policy, &full, circumstances).value();
    let good = Circumstances::default();
    assert_eq!(
        on(
            Backend::Sgx,
            Circumstances {
                hardware_protects: false,
                ..good
            }
        ),
        63
    );
    // A plain virtual machine: 75, and its policy lifts it to the ceiling of its band.
    assert_eq!(
        on(
            Backend::Sev,
            Circumstances {
                hardware_protects: false,
                ..good
            }
        ),
        84
    );
    assert_eq!(
        on(
            Backend::Firecracker,
            Circumstances {
                jailed: false,
                ..good
            }
        ),
        95
    );
    assert_eq!(
        on(
            Backend::Firecracker,
            Circumstances {
                emulated: true,
                ..good
            }
        ),
        95
    );
    let minimal = preset("minimal");
    let plain = Circumstances {
        hardware_protects: false,
        ..good
    };
    let score = strength(Backend::Sev, &minimal, &report(&minimal, &[]), plain);
    assert_eq!(score, 75);
}

#[test]
fn noop_is_zero_whatever_is_asked() {
    let policy = preset("strict");
    let score = strength(
        Backend::Noop,
        &policy,
        &report(&policy, &[]),
        Circumstances::default(),
    );
    assert_eq!(score.to_string(), "0 (minimal)");
}
