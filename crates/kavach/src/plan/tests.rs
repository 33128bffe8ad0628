//! Plans of presets on hosts that are not this one, and every rule of failing closed.

mod explain;
mod requirements;
mod view;
mod workspace;

use super::*;
use crate::config::SandboxConfig;
use crate::control::{ControlState, Requirement};
use crate::host::{CgroupFacts, ControllerFacts, PathKind};
use crate::policy::SandboxPolicy;

fn spec(policy: SandboxPolicy) -> Spec {
    SandboxConfig::builder()
        .policy(policy)
        .build()
        .validate()
        .unwrap()
}

fn preset(name: &str) -> SandboxPolicy {
    SandboxPolicy::from_preset(name).unwrap()
}

fn planned(name: &str, host: &HostFacts) -> Plan {
    plan(&spec(preset(name)), host).unwrap()
}

/// The control, what was required, what was found, the fix.
fn refusal(policy: SandboxPolicy, host: &HostFacts) -> (Control, String, String, String) {
    match plan(&spec(policy), host) {
        Err(KavachError::ControlUnavailable {
            control,
            required,
            found,
            fix,
        }) => (control, required, found, fix),
        other => panic!("not refused: {other:?}"),
    }
}

fn preferring(mut policy: SandboxPolicy, controls: &[Control]) -> SandboxPolicy {
    policy
        .requirements
        .extend(controls.iter().map(|c| (*c, Requirement::Preferred)));
    policy
}

fn state(plan: &Plan, control: Control) -> Option<ControlState> {
    plan.control(control).map(|row| row.expected)
}

/// The plan as people would read it.
fn shown(plan: &Plan) -> String {
    serde_json::to_string_pretty(plan).unwrap()
}

/// The rows alone, one on a line.
fn rows(plan: &Plan) -> String {
    let line = |row: &PlannedControl| {
        format!(
            "{:<18} {:<11} -{:<2} {} | {}\n",
            row.control, row.expected, row.points_if_lost, row.requested, row.mechanism
        )
    };
    plan.controls.iter().map(line).collect()
}

#[test]
fn strict_as_root() {
    insta::assert_snapshot!(shown(&planned("strict", &HostFacts::modern_root())));
}

#[test]
fn minimal_as_root() {
    insta::assert_snapshot!(shown(&planned("minimal", &HostFacts::modern_root())));
}

#[test]
fn rows_of_each_preset_for_root_and_for_an_ordinary_user() {
    let mut out = String::new();
    let user_with_cgroups = HostFacts {
        cgroups: HostFacts::modern_root().with_cgroup_v1().cgroups,
        ..HostFacts::modern_user()
    };
    for (host_name, host) in [
        ("root, cgroup v2", HostFacts::modern_root()),
        ("user, cgroup v1", user_with_cgroups),
    ] {
        for name in crate::policy::PRESETS {
            let plan = planned(name, &host);
            out.push_str(&format!("== {name}: {host_name}: {:?}\n", plan.mapping));
            out.push_str(&rows(&plan));
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn strict_for_an_ordinary_user_without_cgroups_is_approximate_and_says_how() {
    let plan = planned("strict", &HostFacts::modern_user());
    insta::assert_snapshot!(rows(&plan));
    for control in [Control::Memory, Control::Pids, Control::Cpu] {
        assert_eq!(
            state(&plan, control),
            Some(ControlState::Approximate),
            "{control}"
        );
    }
    let filter = plan.syscall_filter.unwrap();
    assert!(filter.options.deny_memfd && filter.options.pin_cpus && !filter.options.network);
    assert_eq!(plan.limits.affinity_cpus, Some(1));
    assert!(
        plan.rlimits
            .iter()
            .any(|r| r.resource == Resource::Processes && r.hard == 65)
    );
}

#[test]
fn the_limit_of_each_user_stands_behind_a_cgroups() {
    let plan = planned("strict", &HostFacts::modern_root());
    let most = plan
        .rlimits
        .iter()
        .find(|r| r.resource == Resource::Processes)
        .unwrap()
        .hard;
    assert!(
        most > u64::from(plan.limits.pids.unwrap().limit) + 1,
        "{most}"
    );
}

#[test]
fn a_cgroup_leaves_memfd_and_affinity_to_the_guest() {
    let options = planned("strict", &HostFacts::modern_root())
        .syscall_filter
        .unwrap()
        .options;
    assert_eq!(options, FilterOptions::default());
}

#[test]
fn a_limit_without_a_cgroup_is_refused_unless_the_policy_accepts_less() {
    let host = HostFacts::modern_user();
    for control in [Control::Memory, Control::Pids, Control::Cpu] {
        let mut policy = preset("strict");
        policy.accept_approximate.remove(&control);
        let (refused, required, found, fix) = refusal(policy.clone(), &host);
        assert_eq!(refused, control);
        assert!(
            required.contains("cgroup") && found.contains("delegated"),
            "{required} {found}"
        );
        assert!(
            fix.contains(&format!("accept_approximate = [\"{control}\"]")),
            "{fix}"
        );
        // Preferred: the weaker mechanism is better than none, and is recorded as what it is.
        let plan = plan(&spec(preferring(policy, &[control])), &host).unwrap();
        assert_eq!(state(&plan, control), Some(ControlState::Approximate));
    }
}

#[test]
fn pids_have_no_weaker_mechanism_without_a_user_namespace() {
    let mut policy = preset("strict");
    policy
        .requirements
        .insert(Control::UserNamespace, Requirement::Off);
    let host = HostFacts::modern_root().without_cgroups();
    assert_eq!(refusal(policy.clone(), &host).0, Control::Pids);
    let plan = plan(&spec(preferring(policy, &[Control::Pids])), &host).unwrap();
    assert_eq!(state(&plan, Control::Pids), Some(ControlState::Absent));
    assert_eq!(plan.limits.pids.unwrap().mechanism, LimitMechanism::None);
    assert!(
        plan.rlimits
            .iter()
            .all(|r| r.resource != Resource::Processes)
    );
}

#[test]
fn memory_and_cpu_have_no_weaker_mechanism_without_a_filter() {
    for control in [Control::Memory, Control::Cpu] {
        let mut policy = preset("strict");
        policy.syscall_filter.profile = None;
        policy.requirements.insert(
            if control == Control::Memory {
                Control::Cpu
            } else {
                Control::Memory
            },
            Requirement::Off,
        );
        assert_eq!(refusal(policy, &HostFacts::modern_user()).0, control);
    }
}

#[test]
fn an_ordinary_user_without_user_namespaces_gets_nothing_silently() {
    let host = HostFacts::modern_user().without_userns();
    for name in ["basic", "strict"] {
        let (control, _, found, fix) = refusal(preset(name), &host);
        assert_eq!(control, Control::UserNamespace);
        assert!(
            found.contains("max_user_namespaces") && fix.contains("sysctl"),
            "{found} {fix}"
        );
    }
    // minimal asks for no user namespace; what it asks for needs one all the same.
    assert_eq!(refusal(preset("minimal"), &host).0, Control::PidNamespace);
}

#[test]
fn apparmors_restriction_binds_users_and_not_root() {
    let (control, required, ..) = refusal(
        preset("basic"),
        &HostFacts::modern_user().with_apparmor_restriction(),
    );
    assert_eq!(control, Control::UserNamespace);
    assert!(required.contains("AppArmor"), "{required}");
    planned(
        "basic",
        &HostFacts::modern_root().with_apparmor_restriction(),
    );
}

#[test]
fn root_in_a_plain_container_is_told_what_the_container_needs() {
    let (control, _, found, fix) = refusal(preset("basic"), &HostFacts::in_docker());
    assert_eq!(control, Control::UserNamespace);
    assert!(
        found.contains("seccomp") && fix.contains("--security-opt"),
        "{found} {fix}"
    );
}

#[test]
fn root_is_never_mapped_onto_itself() {
    let mut host = HostFacts::modern_root();
    host.uid_map[0].count = 1;
    let (control, required, ..) = refusal(preset("basic"), &host);
    assert_eq!(control, Control::UserNamespace);
    assert!(required.contains("65536"), "{required}");
}

#[test]
fn ids_of_root_of_users_and_of_no_namespace() {
    let root = planned("basic", &HostFacts::modern_root());
    assert_eq!(root.mapping, Mapping::Range { count: 65_536 });
    assert!(!root.guest_is_host_root());
    let user = planned("basic", &HostFacts::modern_user());
    assert_eq!(
        user.mapping,
        Mapping::SelfSingle {
            uid: 1000,
            gid: 1000
        }
    );
    // minimal as root shares root's ids, and says so; as a user it keeps the user's.
    let bare = planned("minimal", &HostFacts::modern_root());
    assert!(bare.guest_is_host_root() && !bare.namespaces.user);
    let host = HostFacts {
        euid: 1234,
        egid: 99,
        ..HostFacts::modern_user()
    };
    let user = planned("minimal", &host);
    assert_eq!(user.mapping, Mapping::SelfSingle { uid: 1234, gid: 99 });
    assert!(
        user.control(Control::UserNamespace)
            .unwrap()
            .requested
            .starts_with("added")
    );
}

#[test]
fn a_filter_is_refused_where_there_is_none() {
    let host = HostFacts::modern_root().without_seccomp();
    assert_eq!(refusal(preset("basic"), &host).0, Control::SyscallFilter);
    let foreign = HostFacts {
        arch: "aarch64".into(),
        ..HostFacts::modern_root()
    };
    let (control, _, found, _) = refusal(preset("basic"), &foreign);
    assert_eq!(
        (control, found.as_str()),
        (Control::SyscallFilter, "aarch64")
    );
    let loose = preferring(preset("basic"), &[Control::SyscallFilter]);
    assert_eq!(plan(&spec(loose), &host).unwrap().syscall_filter, None);
}

#[test]
fn noop_runs_minimal_and_nothing_stronger() {
    let noop = |policy| {
        SandboxConfig::builder()
            .backend(Backend::Noop)
            .policy(policy)
            .build()
            .validate()
            .unwrap()
    };
    let bare = plan(&noop(preset("minimal")), &HostFacts::modern_root()).unwrap();
    assert_eq!(bare.namespaces, NamespacePlan::default());
    assert_eq!(
        state(&bare, Control::NoNewPrivs),
        Some(ControlState::Absent)
    );
    assert_eq!(state(&bare, Control::Output), Some(ControlState::Enforced));
    for name in ["basic", "strict"] {
        let err = plan(&noop(preset(name)), &HostFacts::modern_root()).unwrap_err();
        assert_eq!(err.code(), "KV-CONTROL-UNAVAILABLE");
        assert!(err.hint().unwrap().contains("`minimal`"));
    }
}

#[test]
fn a_backend_that_is_still_to_come_says_so() {
    let config = SandboxConfig::builder()
        .backend(Backend::Firecracker)
        .build();
    let err = plan(&config.validate().unwrap(), &HostFacts::modern_root()).unwrap_err();
    assert_eq!(
        err.to_string(),
        "backend `firecracker` is still to come with the roadmap's milestone \"Firecracker + WASM\""
    );
}

#[test]
fn a_single_missing_controller_is_named() {
    let mut policy = preset("strict");
    policy.accept_approximate.clear();
    let mut host = HostFacts::modern_root();
    host.cgroups = CgroupFacts {
        cpu: ControllerFacts::Unusable {
            reason: "cpu is not enabled".into(),
            fix: "enable".into(),
        },
        ..host.cgroups
    };
    let (control, _, found, _) = refusal(policy, &host);
    assert_eq!(
        (control, found.as_str()),
        (Control::Cpu, "cpu is not enabled")
    );
}

#[test]
fn time_limits_and_cpu_time_are_planned() {
    let config = SandboxConfig::builder()
        .timeout_ms(1500)
        .cpu_time_ms(2500)
        .build();
    let plan = plan(&config.validate().unwrap(), &HostFacts::modern_root()).unwrap();
    assert_eq!(plan.wall_limit_ms, Some(1500));
    assert_eq!(
        plan.control(Control::WallTime).unwrap().requested,
        "1500 ms"
    );
    let cpu = plan
        .rlimits
        .iter()
        .find(|r| r.resource == Resource::Cpu)
        .unwrap();
    assert_eq!((cpu.soft, cpu.hard), (3, 4));
}

#[test]
fn core_dumps_are_off_under_every_preset() {
    for name in crate::policy::PRESETS {
        let plan = planned(name, &HostFacts::modern_root());
        let core = plan
            .rlimits
            .iter()
            .find(|r| r.resource == Resource::Core)
            .unwrap();
        assert_eq!((core.soft, core.hard), (0, 0), "{name}");
    }
}

#[test]
fn what_the_plan_expects_scores_as_the_policy_promises() {
    use crate::enforcement::EnforcementReport;
    use crate::scoring::{Circumstances, strength};
    let score = |name: &str, host: &HostFacts| {
        let plan = planned(name, host);
        let rows = plan.controls.iter().map(PlannedControl::to_row).collect();
        let report = EnforcementReport::new(plan.backend, rows);
        let circumstances = Circumstances {
            guest_is_host_root: plan.guest_is_host_root(),
            ..Circumstances::default()
        };
        strength(plan.backend, &preset(name), &report, circumstances).to_string()
    };
    assert_eq!(score("strict", &HostFacts::modern_root()), "63 (standard)");
    assert_eq!(score("basic", &HostFacts::modern_user()), "57 (standard)");
    assert_eq!(score("minimal", &HostFacts::modern_user()), "40 (basic)");
    assert_eq!(score("minimal", &HostFacts::modern_root()), "29 (minimal)");
    // One point for the pair of memory and pids, one for the CPU.
    assert_eq!(score("strict", &HostFacts::modern_user()), "61 (standard)");
}

#[test]
fn the_configs_environment_lies_over_the_clean_one() {
    let config = SandboxConfig::builder()
        .env("HOME", "/x")
        .env("A", "1")
        .env("A", "2")
        .build();
    let spec = config.validate().unwrap();
    let plan = plan(&spec, &HostFacts::modern_root()).unwrap();
    let env = spec.environment(&plan);
    let get = |name: &str| {
        let values: Vec<_> = env.iter().filter(|(n, _)| n == name).collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0].1.to_str().unwrap().to_owned()
    };
    assert_eq!(
        (
            get("HOME").as_str(),
            get("A").as_str(),
            get("LANG").as_str()
        ),
        ("/x", "2", "C.UTF-8")
    );
}
