//! What the guest sees of files, and the Landlock rules over it.

use super::*;

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
fn landlock_denies_tcp_without_a_network_and_scopes_the_sandbox() {
    let scopes = access::SCOPE_ABSTRACT_UNIX_SOCKET | access::SCOPE_SIGNAL;
    let offline = planned("strict", &HostFacts::modern_root())
        .landlock
        .unwrap();
    assert_eq!((offline.handled_net, offline.scoped), (3, scopes));
    let mut policy = preset("strict");
    policy.network = Network::On;
    let online = plan(&spec(policy), &HostFacts::modern_root())
        .unwrap()
        .landlock
        .unwrap();
    assert_eq!((online.handled_net, online.scoped), (0, scopes));
}

#[test]
fn scopes_come_with_abi_6() {
    let host = HostFacts::modern_root().with_landlock_abi(5);
    assert_eq!(planned("strict", &host).landlock.unwrap().scoped, 0);
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
        (None, "No such file"),
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

/// What a plan makes read-only outside /proc.
fn read_only(plan: &Plan) -> Vec<std::path::PathBuf> {
    let steps = plan.view.mounts.iter().filter_map(|step| match step {
        MountStep::ReadOnlyRemount { target } if !target.starts_with("/proc") => {
            Some(target.clone())
        }
        _ => None,
    });
    steps.collect()
}

#[test]
fn a_host_view_shows_every_mount_of_control_groups_read_only() {
    for mut host in [HostFacts::modern_root(), HostFacts::modern_user()] {
        host.cgroup_mounts = vec!["/srv/x/cgroup".into(), "/sys/fs/cgroup".into()];
        let minimal = planned("minimal", &host);
        assert_eq!(read_only(&minimal), host.cgroup_mounts);
        // After the proc, which could lie over one of them.
        assert!(matches!(minimal.view.mounts[0], MountStep::Proc { .. }));
        // A private view has no /sys at all.
        assert!(read_only(&planned("basic", &host)).is_empty());
    }
}

#[test]
fn a_limit_is_refused_where_the_guest_could_write_itself_out_of_its_group() {
    let mut policy = preset("minimal");
    policy.namespaces.mount = false;
    policy.namespaces.pid = false;
    let host = HostFacts::modern_root();
    plan(&spec(policy.clone()), &host).unwrap();
    type Set = fn(&mut SandboxPolicy);
    let limits: [(Control, Set); 4] = [
        (Control::Memory, |p| p.limits.memory_mb = Some(64)),
        (Control::Pids, |p| p.limits.pids = Some(64)),
        (Control::Cpu, |p| p.limits.cpus = Some(1.0)),
        (Control::CpuTime, |p| p.limits.cpu_time_ms = Some(64)),
    ];
    for (control, set) in limits {
        let mut limited = policy.clone();
        set(&mut limited);
        let (refused, _, found, fix) = refusal(limited.clone(), &host);
        assert_eq!(refused, control);
        assert!(
            found.contains("write itself out") && fix.contains("namespaces.mount"),
            "{found} {fix}"
        );
        // Ids that own nothing on the host can write nothing either.
        limited.namespaces.user = true;
        let plan = plan(&spec(limited), &host).unwrap();
        assert_eq!(state(&plan, control), Some(ControlState::Enforced));
    }
}

#[test]
fn a_read_path_through_a_link_is_refused_where_the_policy_says_so() {
    let host = HostFacts::modern_root().with_link("/srv/now");
    let mut policy = preset("basic");
    policy.filesystem.read = vec!["/srv/now".into()];
    plan(&spec(policy.clone()), &host).unwrap();
    policy.filesystem.read_links = crate::policy::Links::Refuse;
    let error = plan(&spec(policy.clone()), &host).unwrap_err();
    assert_eq!(error.code(), "KV-INVALID-CONFIG");
    assert!(error.to_string().contains("filesystem.read[0]"), "{error}");
    let host = HostFacts::modern_root().with_path("/srv/now", PathKind::Directory);
    plan(&spec(policy), &host).unwrap();
}
