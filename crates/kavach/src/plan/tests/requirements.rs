//! Every control switched off or merely preferred, one by one and in pairs: the plan is what was
//! asked less that control, or there is none; and no row claims what the plan does not have.

use super::*;
use crate::enforcement::EnforcementReport;
use crate::policy::{PRESETS, View};
use crate::scoring::{Circumstances, score_backend, strength};

/// These are required under every policy.
const ALWAYS: [Control; 3] = [
    Control::Capabilities,
    Control::NoNewPrivs,
    Control::AgentProtection,
];

fn with(mut policy: SandboxPolicy, changes: &[(Control, Requirement)]) -> SandboxPolicy {
    policy.requirements.extend(changes.iter().copied());
    policy
}

fn try_plan(policy: &SandboxPolicy, host: &HostFacts) -> Result<Plan> {
    let config = SandboxConfig::builder().policy(policy.clone()).build();
    plan(&config.validate()?, host)
}

fn hosts() -> Vec<HostFacts> {
    vec![
        HostFacts::modern_root(),
        HostFacts::modern_root().without_cgroups(),
        HostFacts::modern_root().without_userns().without_landlock(),
        HostFacts::modern_user(),
        HostFacts::modern_user().without_userns().without_seccomp(),
        HostFacts {
            cgroups: HostFacts::modern_root().with_cgroup_v1().cgroups,
            ..HostFacts::modern_user()
        },
        HostFacts::in_docker(),
    ]
}

/// Whether what a row claims is part of the plan.
fn is_in(plan: &Plan, control: Control) -> bool {
    let has = |resource| plan.rlimits.iter().any(|r| r.resource == resource);
    let (ns, limits) = (plan.namespaces, plan.limits);
    match control {
        Control::SyscallFilter => plan.syscall_filter.is_some(),
        Control::FilesystemView => plan.view.private_root && ns.mount && ns.pid,
        Control::ReadOnlyRoot => plan.view.private_root && plan.view.read_only_root,
        Control::Landlock => plan.landlock.is_some(),
        Control::UserNamespace => ns.user && plan.mapping != Mapping::None,
        Control::PidNamespace => ns.pid && ns.mount,
        Control::MountNamespace => ns.mount,
        Control::NetworkNamespace => ns.network,
        Control::IpcNamespace => ns.ipc,
        Control::UtsNamespace => ns.uts && plan.identity.hostname.is_some(),
        Control::CgroupNamespace => ns.cgroup,
        Control::Network => ns.network && plan.network == Network::Off,
        Control::Memory => by_cgroup(limits.memory_bytes),
        Control::Cpu => by_cgroup(limits.cpus),
        Control::CpuTime => by_cgroup(limits.cpu_time_ms),
        Control::Pids => by_cgroup(limits.pids),
        Control::OpenFiles => has(Resource::OpenFiles),
        Control::FileSize => has(Resource::FileSize),
        Control::Disk => {
            let sized = |step: &MountStep| {
                matches!(step, MountStep::Tmpfs { size_bytes, inodes, .. }
                    if *size_bytes > 0 && *inodes > 0)
            };
            plan.view.private_root && plan.view.mounts.iter().any(sized)
        }
        Control::WallTime => plan.wall_limit_ms.is_some(),
        // Part of every start; nothing in the plan switches them.
        Control::Capabilities
        | Control::NoNewPrivs
        | Control::AgentProtection
        | Control::Output
        | Control::Credentials => true,
        Control::Hardware => false,
    }
}

fn by_cgroup<T>(limit: Option<PlannedLimit<T>>) -> bool {
    limit.is_some_and(|l| matches!(l.mechanism, LimitMechanism::Cgroup(_)))
}

/// What every plan owes, whatever was asked.
fn check_honest(plan: &Plan, policy: &SandboxPolicy, about: &str) {
    for row in &plan.controls {
        if row.expected == ControlState::Enforced {
            assert!(is_in(plan, row.control), "{about}: {row:?}");
        }
    }
    for control in Control::ALL {
        if policy.asks_for(control) {
            assert!(
                plan.control(control).is_some(),
                "{about}: no row of {control}"
            );
        }
    }
    let rows = plan.controls.iter().map(PlannedControl::to_row).collect();
    let report = EnforcementReport::new(plan.backend, rows);
    let circumstances = Circumstances {
        guest_is_host_root: plan.guest_is_host_root(),
        ..Circumstances::default()
    };
    let score = strength(plan.backend, policy, &report, circumstances);
    assert!(score <= score_backend(plan.backend, policy), "{about}");
}

/// A row without its points, which follow from the policy as a whole.
fn claims(plan: &Plan, but: Control) -> Vec<(Control, &str, Requirement, ControlState, &str)> {
    let rows = plan.controls.iter().filter(|row| row.control != but);
    rows.map(|r| {
        let (requested, mechanism) = (r.requested.as_str(), r.mechanism.as_str());
        (r.control, requested, r.requirement, r.expected, mechanism)
    })
    .collect()
}

#[test]
fn pairs_of_controls_off_or_preferred_never_leave_a_false_row() {
    use Requirement::{Off, Preferred};
    let mut plans = 0;
    for name in PRESETS {
        for host in hosts() {
            for (first, second) in Control::ALL
                .into_iter()
                .flat_map(|a| Control::ALL.map(|b| (a, b)))
            {
                for (a, b) in [(Off, Off), (Off, Preferred), (Preferred, Preferred)] {
                    let changes = [(second, b), (first, a)];
                    let policy = with(preset(name), &changes);
                    if let Ok(plan) = try_plan(&policy, &host) {
                        plans += 1;
                        check_honest(&plan, &policy, &format!("{name} {changes:?}"));
                    }
                }
            }
        }
    }
    assert!(plans > 10_000, "{plans}: nearly everything is refused");
}

#[test]
fn all_controls_but_one_preferred_never_leave_a_false_row() {
    for name in PRESETS {
        for host in hosts() {
            for off in Control::ALL {
                let changes: Vec<_> = Control::ALL
                    .into_iter()
                    .filter(|c| !ALWAYS.contains(c) && *c != off)
                    .map(|c| (c, Requirement::Preferred))
                    .collect();
                let policy = with(preset(name), &changes);
                let about = format!("{name} all preferred but {off}");
                if let Ok(plan) = try_plan(&policy, &host) {
                    check_honest(&plan, &policy, &about);
                }
            }
        }
    }
}

#[test]
fn a_control_that_is_off_changes_no_other_row() {
    for name in PRESETS {
        for host in hosts() {
            let Ok(whole) = try_plan(&preset(name), &host) else {
                continue;
            };
            for off in Control::ALL {
                let policy = with(preset(name), &[(off, Requirement::Off)]);
                if let Ok(plan) = try_plan(&policy, &host) {
                    assert_eq!(claims(&plan, off), claims(&whole, off), "{name} {off}");
                    assert_eq!(
                        plan.view.private_root, whole.view.private_root,
                        "{name} {off}"
                    );
                    assert_eq!(plan.network, whole.network, "{name} {off}");
                }
            }
        }
    }
}

#[test]
fn what_is_preferred_is_done_where_it_can_be() {
    for name in PRESETS {
        let host = HostFacts::modern_root();
        let whole = planned(name, &host);
        for preferred in Control::ALL.into_iter().filter(|c| !ALWAYS.contains(c)) {
            let policy = with(preset(name), &[(preferred, Requirement::Preferred)]);
            let mut plan = try_plan(&policy, &host).unwrap();
            for row in &mut plan.controls {
                if row.control == preferred {
                    assert_eq!(row.requirement, Requirement::Preferred);
                    row.requirement = Requirement::Required;
                }
            }
            assert_eq!(plan, whole, "{name} {preferred}");
        }
    }
}

#[test]
fn what_the_rest_of_a_preset_needs_cannot_be_switched_off_alone() {
    let refused = |name: &str| -> Vec<Control> {
        let off = |control: &Control| {
            let policy = with(preset(name), &[(*control, Requirement::Off)]);
            let err = policy.validate().err();
            if let Some(err) = &err {
                assert_eq!(err.code(), "KV-INVALID-CONFIG", "{err}");
                let text = err.to_string();
                assert!(text.contains(&format!("requirements.{control}")), "{text}");
            }
            err.is_some()
        };
        let left = Control::ALL.into_iter().filter(|c| !ALWAYS.contains(c));
        left.filter(off).collect()
    };
    assert_eq!(refused("minimal"), [Control::MountNamespace]);
    for name in ["basic", "strict"] {
        assert_eq!(
            refused(name),
            [
                Control::FilesystemView,
                Control::PidNamespace,
                Control::MountNamespace,
                Control::NetworkNamespace,
                Control::Network,
            ],
            "{name}"
        );
    }
}

#[test]
fn a_refused_contradiction_names_both_sides() {
    let said = |change: fn(&mut SandboxPolicy)| {
        let mut policy = preset("basic");
        change(&mut policy);
        policy.validate().unwrap_err().to_string()
    };
    let text = said(|p| {
        p.requirements
            .insert(Control::PidNamespace, Requirement::Off);
        p.requirements.insert(Control::Disk, Requirement::Off);
    });
    assert!(
        text.contains("requirements.pid_namespace")
            && text.contains("filesystem.view = \"private\""),
        "{text}"
    );
    let text = said(|p| {
        p.filesystem.read_only_root = true;
        p.requirements.insert(Control::Disk, Requirement::Off);
        p.requirements
            .insert(Control::FilesystemView, Requirement::Off);
    });
    assert!(
        text.contains("requirements.filesystem_view") && text.contains("read_only_root = true"),
        "{text}"
    );
    let text = said(|p| {
        p.requirements
            .insert(Control::NetworkNamespace, Requirement::Off);
    });
    assert!(
        text.contains("requirements.network_namespace") && text.contains("network = \"off\""),
        "{text}"
    );
}

#[test]
fn the_plan_itself_refuses_a_view_without_its_namespaces() {
    // Past the checks of a policy, as if one of them were forgotten.
    let host = HostFacts::modern_root();
    let refused = |off: Control| {
        let mut spec = spec(preset("basic"));
        spec.policy.requirements.insert(off, Requirement::Off);
        match plan(&spec, &host) {
            Err(KavachError::ControlUnavailable { control, .. }) => control,
            other => panic!("not refused: {other:?}"),
        }
    };
    assert_eq!(refused(Control::PidNamespace), Control::FilesystemView);
    assert_eq!(refused(Control::MountNamespace), Control::FilesystemView);
    assert_eq!(refused(Control::NetworkNamespace), Control::Network);
}

#[test]
fn a_host_view_that_is_asked_for_by_name_has_no_row_of_a_private_one() {
    let mut policy = preset("strict");
    policy.filesystem.view = View::Host;
    policy.filesystem.read_only_root = false;
    let plan = try_plan(&policy, &HostFacts::modern_root()).unwrap();
    assert!(!plan.view.private_root);
    for control in [
        Control::FilesystemView,
        Control::ReadOnlyRoot,
        Control::Disk,
    ] {
        assert_eq!(plan.control(control), None, "{control}");
    }
}

#[test]
fn a_network_that_is_on_has_no_row_and_costs_its_points() {
    for name in ["basic", "strict"] {
        for host in hosts() {
            let mut policy = preset(name);
            policy.network = Network::On;
            let Ok(plan) = try_plan(&policy, &host) else {
                continue;
            };
            assert_eq!(plan.network, Network::On);
            assert!(!plan.namespaces.network && plan.control(Control::Network).is_none());
            assert_eq!(plan.control(Control::NetworkNamespace), None);
            assert!(plan.syscall_filter.unwrap().options.network);
            let points = |policy| score_backend(Backend::Process, policy).value();
            assert_eq!(points(&policy) + 2, points(&preset(name)));
        }
    }
    // Both rows off, and not only one, is the same thing said otherwise.
    let off = [Control::Network, Control::NetworkNamespace].map(|c| (c, Requirement::Off));
    let plan = try_plan(&with(preset("basic"), &off), &HostFacts::modern_root()).unwrap();
    assert_eq!(plan.network, Network::On);
    assert!(plan.syscall_filter.unwrap().options.network);
}
