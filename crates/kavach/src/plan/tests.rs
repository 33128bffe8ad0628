//! Plans of presets on hosts that are not this one, and every rule of failing closed.

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
fn strict_without_landlock_is_refused_and_preferred_is_recorded() {
    let host = HostFacts::modern_root().without_landlock();
    let (control, required, found, fix) = refusal(preset("strict"), &host);
    assert_eq!(control, Control::Landlock);
    assert!(required.contains("5.13") && found.contains("landlock_create_ruleset"));
    assert!(fix.contains("lsm="), "{fix}");

    let plan = plan(
        &spec(preferring(preset("strict"), &[Control::Landlock])),
        &host,
    )
    .unwrap();
    assert_eq!(state(&plan, Control::Landlock), Some(ControlState::Absent));
    assert_eq!(plan.landlock, None);
}

#[test]
fn an_old_landlock_is_enforced_and_names_what_it_lacks() {
    let host = HostFacts::modern_root().with_landlock_abi(1);
    let plan = planned("strict", &host);
    let row = plan.control(Control::Landlock).unwrap();
    assert_eq!(row.expected, ControlState::Enforced);
    assert!(
        row.mechanism.contains("ABI 1 (renaming"),
        "{}",
        row.mechanism
    );
    let rules = plan.landlock.unwrap();
    assert_eq!(
        (rules.handled_fs, rules.handled_net, rules.scoped),
        (0x1fff, 0, 0)
    );
    // The kernel refuses a rule with a right that the ruleset does not handle.
    assert!(
        rules
            .rules
            .iter()
            .all(|rule| rule.access & !rules.handled_fs == 0)
    );
}

#[test]
fn landlock_denies_tcp_without_a_network_and_scopes_what_no_namespace_does() {
    let offline = planned("strict", &HostFacts::modern_root())
        .landlock
        .unwrap();
    assert_eq!((offline.handled_net, offline.scoped), (3, 0));
    let mut policy = preset("strict");
    policy.network = Network::On;
    let online = plan(&spec(policy), &HostFacts::modern_root())
        .unwrap()
        .landlock
        .unwrap();
    assert_eq!(
        (online.handled_net, online.scoped),
        (0, access::SCOPE_ABSTRACT_UNIX_SOCKET)
    );
}

#[test]
fn rules_on_files_have_no_rights_of_directories() {
    let mut policy = preset("strict");
    policy.filesystem.read = vec!["/srv/file".into()];
    let host = HostFacts::modern_root().with_path("/srv/file", PathKind::File);
    let rules = plan(&spec(policy), &host).unwrap().landlock.unwrap().rules;
    let on_files = access::EXECUTE
        | access::WRITE_FILE
        | access::READ_FILE
        | access::TRUNCATE
        | access::IOCTL_DEV;
    for path in ["/srv/file", "/dev/null", "/dev/tty"] {
        let rule = rules
            .iter()
            .find(|r| r.path == std::path::Path::new(path))
            .unwrap();
        assert_eq!(rule.access & !on_files, 0, "{path}");
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
fn a_view_that_is_preferred_and_cannot_be_had_leaves_no_half_of_it() {
    let all = Control::ALL
        .into_iter()
        .filter(|c| {
            !matches!(
                c,
                Control::Capabilities | Control::NoNewPrivs | Control::AgentProtection
            )
        })
        .collect::<Vec<_>>();
    let host = HostFacts::modern_user().without_userns();
    let plan = plan(&spec(preferring(preset("strict"), &all)), &host).unwrap();
    assert!(!plan.view.private_root && plan.view.mounts.is_empty());
    assert_eq!(plan.mapping, Mapping::None);
    assert_eq!(plan.network, Network::On);
    for control in [
        Control::FilesystemView,
        Control::ReadOnlyRoot,
        Control::Network,
        Control::PidNamespace,
        Control::Disk,
    ] {
        assert_eq!(
            state(&plan, control),
            Some(ControlState::Absent),
            "{control}"
        );
    }
}

#[test]
fn a_read_path_must_be_there_and_be_a_file_or_directory() {
    let with = |kind: Option<PathKind>| {
        let mut policy = preset("basic");
        policy.filesystem.read = vec!["/srv/data".into()];
        let mut host = HostFacts::modern_root();
        host.paths
            .extend(kind.map(|kind| ("/srv/data".into(), kind)));
        plan(&spec(policy), &host)
    };
    for (kind, errno) in [
        (None, "not found"),
        (Some(PathKind::Unreadable(13)), "denied"),
    ] {
        let err = with(kind).unwrap_err();
        assert_eq!(err.code(), "KV-PATH-MISSING");
        let text = err.to_string();
        assert!(text.contains("/srv/data") && text.contains(errno), "{text}");
        assert!(text.contains("filesystem.read[0]"), "{text}");
    }
    assert_eq!(
        with(Some(PathKind::Special)).unwrap_err().code(),
        "KV-INVALID-CONFIG"
    );
    let steps = with(Some(PathKind::Directory)).unwrap().view.mounts;
    assert!(steps.iter().any(|step| matches!(
        step,
        MountStep::Bind { target, is_dir: true, read_only: true, recursive: true, .. }
            if target == std::path::Path::new("/srv/data")
    )));
}

#[test]
fn read_paths_within_each_other_or_the_system_are_shown_once() {
    let mut policy = preset("basic");
    policy.filesystem.read = ["/srv/a/b", "/srv/a", "/srv/ab", "/usr/share", "/bin/sh"]
        .map(Into::into)
        .to_vec();
    let mut host = HostFacts::modern_root();
    for path in &policy.filesystem.read {
        host.paths.insert(path.clone(), PathKind::Directory);
    }
    let shown: Vec<std::path::PathBuf> = plan(&spec(policy), &host)
        .unwrap()
        .view
        .mounts
        .into_iter()
        .filter_map(|step| match step {
            MountStep::Bind { target, .. } if target.starts_with("/srv") => Some(target),
            MountStep::Bind { target, .. } if target.starts_with("/usr/share") => Some(target),
            MountStep::Bind { target, .. } if target.starts_with("/bin") => Some(target),
            _ => None,
        })
        .collect();
    assert_eq!(shown, ["/srv/a", "/srv/ab"].map(std::path::PathBuf::from));
}

#[test]
fn a_read_path_that_would_cover_the_sandboxs_own_is_refused() {
    for path in ["/etc", "/tmp", "/var", "/home", "/home/guest", "/run"] {
        let mut policy = preset("basic");
        policy.filesystem.read = vec![path.into()];
        let host = HostFacts::modern_root().with_path(path, PathKind::Directory);
        let err = plan(&spec(policy), &host).unwrap_err();
        assert!(err.to_string().contains("sandbox's own"), "{path}: {err}");
    }
}

#[test]
fn the_view_shows_no_secret_and_no_sys() {
    for name in ["basic", "strict"] {
        for step in planned(name, &HostFacts::modern_root()).view.mounts {
            let MountStep::Bind {
                source,
                allow_dev,
                read_only,
                ..
            } = step
            else {
                continue;
            };
            assert!(
                !source.starts_with("/sys") && !source.starts_with("/root"),
                "{source:?}"
            );
            assert!(read_only || allow_dev, "{source:?} is writable");
            if source.starts_with("/etc") {
                let below = source
                    .strip_prefix("/etc")
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                assert!(is_public_etc(&below), "{source:?}");
            }
        }
    }
}

#[test]
fn an_entry_of_etc_that_is_not_public_is_not_shown_even_if_it_was_looked_at() {
    let host = HostFacts::modern_root().with_path("/etc/shadow", PathKind::File);
    assert!(!shown(&planned("basic", &host)).contains("/etc/shadow"));
}

#[test]
fn a_system_without_merged_usr_shows_its_own_directories() {
    let host = HostFacts::modern_root().with_path("/bin", PathKind::Directory);
    let steps = planned("basic", &host).view.mounts;
    assert!(steps.iter().any(|step| matches!(
        step,
        MountStep::Bind { target, .. } if target == std::path::Path::new("/bin")
    )));
}

#[test]
fn resolver_settings_are_the_hosts_only_with_a_network() {
    let mut policy = preset("basic");
    assert!(shown(&planned("basic", &HostFacts::modern_root())).contains("hosts: files\\n"));
    policy.network = Network::On;
    let online = plan(&spec(policy), &HostFacts::modern_root()).unwrap();
    assert!(!online.namespaces.network);
    assert!(online.view.mounts.iter().any(|step| matches!(
        step,
        MountStep::Bind { source, .. } if source == std::path::Path::new("/etc/resolv.conf")
    )));
    assert!(online.syscall_filter.unwrap().options.network);
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
