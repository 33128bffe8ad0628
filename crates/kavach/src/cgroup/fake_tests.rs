//! Hosts that this machine is not, on the play kernel.

use std::path::PathBuf;

use super::error::CgroupError;
use super::fake::{FakeHost, FakeKernel, ROOT, USER};
use super::gc::{FreezerKind, base_dirs};
use super::group::SandboxGroup;
use super::kill::KillOutcome;
use super::limits::{CpuQuota, Limits};
use super::probe::{CgroupSupport, Place, Unavailable};
use super::{Controller, Version};

const NAME: &str = "kavach.1.2.3.test.4";
const ALL: &str = "cpu memory pids";
const APP: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice";

fn limits() -> Limits {
    Limits {
        memory_bytes: Some(512 << 20),
        pids_max: Some(64),
        cpu_quota: Some(CpuQuota {
            quota_us: 100_000,
            period_us: 100_000,
        }),
        deny_swap: true,
    }
}

fn v1_host() -> FakeHost {
    ["memory", "pids", "cpu,cpuacct", "freezer"]
        .into_iter()
        .fold(FakeHost::new(), |host, controllers| {
            host.v1(controllers, "/job")
        })
}

fn create(
    host: &FakeHost,
    kernel: &'static FakeKernel,
    limits: &Limits,
) -> Result<SandboxGroup, CgroupError> {
    SandboxGroup::create_with(kernel, &host.probe(kernel), NAME, limits)
}

fn bases(support: &CgroupSupport) -> Vec<Option<(Version, PathBuf)>> {
    let base = |c| {
        support
            .get(c)
            .as_ref()
            .ok()
            .map(|place| (place.version, place.base.clone()))
    };
    Controller::ALL.into_iter().map(base).collect()
}

/// Every mechanism of the evidence, in order.
fn mechanisms(group: &SandboxGroup) -> Vec<&str> {
    group
        .evidence()
        .iter()
        .map(|evidence| evidence.mechanism.as_str())
        .collect()
}

#[test]
fn v1_limits_are_set_in_the_legal_order_and_read_back() {
    let host = v1_host();
    let group = create(&host, &ROOT, &limits()).unwrap();
    assert_eq!(
        mechanisms(&group),
        [
            "cgroup v1 memory.limit_in_bytes = 536870912",
            "cgroup v1 memory.memsw.limit_in_bytes = 536870912",
            "cgroup v1 pids.max = 64",
            "cgroup v1 cpu.cfs_period_us = 100000",
            "cgroup v1 cpu.cfs_quota_us = 100000",
        ]
    );
    assert!(group.evidence().iter().all(|evidence| evidence.exact));
    let root = format!("memory/job/{NAME}");
    assert_eq!(host.read(&format!("{root}/memory.use_hierarchy")), "1");
    assert_eq!(
        host.read(&format!("{root}/guest/memory.limit_in_bytes")),
        "536870912"
    );
    assert_ne!(
        host.read(&format!("{root}/agent/memory.limit_in_bytes")),
        "536870912"
    );
    assert!(group.freezer_available());
    group.remove().unwrap();
    assert_eq!(host.groups(), <[PathBuf; 0]>::default());
    group.remove().unwrap();
}

#[test]
fn controllers_of_one_hierarchy_share_one_group() {
    let host = v1_host();
    let group = create(&host, &ROOT, &Limits::default()).unwrap();
    let leaf = group.leaf(1).unwrap();
    assert_eq!(
        leaf.procs_fds().unwrap().len(),
        4,
        "cpu and cpuacct are one"
    );
    let dirs = base_dirs(&host.probe(&ROOT));
    assert_eq!(
        dirs,
        [
            (host.root.join("memory/job"), FreezerKind::None),
            (host.root.join("pids/job"), FreezerKind::None),
            (host.root.join("cpu,cpuacct/job"), FreezerKind::None),
            (host.root.join("freezer/job"), FreezerKind::V1),
        ]
    );
}

#[test]
fn a_rounded_memory_limit_is_reported_as_it_is() {
    let host = v1_host();
    let limits = Limits {
        memory_bytes: Some(1_000_000),
        ..Limits::default()
    };
    let group = create(&host, &ROOT, &limits).unwrap();
    let evidence = &group.evidence()[0];
    assert_eq!(
        (evidence.value_read.as_str(), evidence.exact),
        ("999424", false)
    );
    assert_eq!(group.evidence().len(), 1, "swap was not denied");
}

#[test]
fn swap_that_cannot_be_denied_shows() {
    let host = FakeHost::new().v2(ALL, "/", true);
    let group = create(
        &host,
        &ROOT,
        &Limits {
            memory_bytes: None,
            ..limits()
        },
    )
    .unwrap();
    assert!(mechanisms(&group).contains(&"cgroup v2 memory.swap.max = 0"));
    group.remove().unwrap();
    // No memory.memsw in the group: a kernel that does not account swap.
    let host = FakeHost::new().v1("memory", "/");
    std::fs::write(host.root.join("memory/.v1"), "memory_without_swap").unwrap();
    assert!(matches!(
        create(&host, &ROOT, &limits()),
        Err(CgroupError::Write { .. })
    ));
    assert_eq!(host.groups(), <[PathBuf; 0]>::default());
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    for file in [
        "guest/pids.max",
        "guest/cpu.cfs_quota_us",
        "memory.memsw.limit_in_bytes",
    ] {
        let host = v1_host();
        host.fail(file, false);
        let error = create(&host, &ROOT, &limits()).unwrap_err();
        assert!(
            matches!(&error, CgroupError::Write { path, .. } if path.ends_with(file)),
            "{error}"
        );
        assert_eq!(host.groups(), <[PathBuf; 0]>::default(), "{file}");
    }
}

#[test]
fn a_value_the_kernel_did_not_keep_is_an_error() {
    let host = v1_host();
    host.fail("guest/pids.max", true);
    let error = create(&host, &ROOT, &limits()).unwrap_err();
    let CgroupError::Readback { wrote, read, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((wrote.as_str(), read.as_str()), ("64", "max"));
    assert_eq!(host.groups(), <[PathBuf; 0]>::default());
}

#[test]
fn a_name_in_use_is_refused_and_left_alone() {
    let host = v1_host();
    let first = create(&host, &ROOT, &limits()).unwrap();
    let before = host.groups();
    assert!(matches!(
        create(&host, &ROOT, &limits()),
        Err(CgroupError::MakeDir { .. })
    ));
    assert_eq!(host.groups(), before);
    first.remove().unwrap();
}

#[test]
fn only_names_of_our_own_are_taken() {
    let support = v1_host().probe(&ROOT);
    for name in ["", "..", "x/y", "kavach", "kavach.1.2.3.../..4"] {
        let result = SandboxGroup::create_with(&ROOT, &support, name, &Limits::default());
        assert!(
            matches!(result, Err(CgroupError::InvalidName { .. })),
            "{name}"
        );
    }
}

#[test]
fn v2_root_hands_controllers_down_before_it_limits() {
    let host = FakeHost::new().v2(ALL, "/", true);
    let group = create(&host, &ROOT, &limits()).unwrap();
    assert_eq!(
        mechanisms(&group),
        [
            "cgroup v2 memory.max = 536870912",
            "cgroup v2 memory.swap.max = 0",
            "cgroup v2 pids.max = 64",
            "cgroup v2 cpu.max = 100000 100000",
        ]
    );
    let leaf = group.leaf(7).unwrap();
    let exec = format!("unified/{NAME}/guest/exec.7");
    assert_eq!(host.read(&format!("{exec}/memory.oom.group")), "1");
    assert_eq!(
        host.read(&format!("{exec}/pids.max")),
        "max",
        "the guest holds the limit"
    );
    assert_eq!(
        host.read(&format!("unified/{NAME}/agent/memory.max")),
        "max"
    );
    let log = host.log();
    let at = |line: &str| log.iter().position(|have| have.ends_with(line)).unwrap();
    assert!(at("unified/cgroup.subtree_control=+memory") < at("4/cgroup.subtree_control=+memory"));
    assert!(at("guest/cgroup.subtree_control=+memory") < at("guest/memory.max=536870912"));
    leaf.remove().unwrap();
    group.remove().unwrap();
    assert_eq!(host.groups(), <[PathBuf; 0]>::default());
}

#[test]
fn v2_processes_live_in_leaves_and_keep_them_busy() {
    let host = FakeHost::new().v2(ALL, "/", true);
    let group = create(&host, &ROOT, &limits()).unwrap();
    group.add_agent(4242).unwrap();
    assert_eq!(
        host.read(&format!("unified/{NAME}/agent/cgroup.procs")),
        "4242"
    );
    assert!(!group.is_empty().unwrap());
    let error = group.remove().unwrap_err();
    assert!(matches!(error, CgroupError::Busy { .. }), "{error}");
    assert_eq!(group.kill_all().unwrap(), KillOutcome::Gone);
    group.remove().unwrap();
}

#[test]
fn v2_freezes_the_guest_and_not_the_agent() {
    let host = FakeHost::new().v2(ALL, "/", true);
    let group = create(&host, &ROOT, &Limits::default()).unwrap();
    group.freeze().unwrap();
    assert!(group.frozen().unwrap());
    assert_eq!(
        host.read(&format!("unified/{NAME}/agent/cgroup.freeze")),
        "0"
    );
    group.thaw().unwrap();
    assert!(!group.frozen().unwrap());
}

#[test]
fn v2_counters_of_the_leaf_and_of_its_limits() {
    let host = FakeHost::new().v2("cpu io memory pids", "/", true);
    let host = host.set("unified/cgroup.subtree_control", "io");
    let group = create(&host, &ROOT, &limits()).unwrap();
    let guest = format!("unified/{NAME}/guest");
    let host = host.set(&format!("{guest}/memory.events"), "max 5\noom_kill 1\n");
    let leaf = group.leaf(1).unwrap();
    let host = host.set(&format!("{guest}/memory.events"), "max 9\noom_kill 2\n");
    let host = host.set(
        &format!("{guest}/exec.1/memory.events"),
        "max 0\noom_kill 1\n",
    );
    let host = host.set(&format!("{guest}/pids.events"), "max 3\n");
    let host = host.set(
        &format!("{guest}/cpu.stat"),
        "nr_throttled 4\nthrottled_usec 17\n",
    );
    let events = leaf.events();
    assert_eq!(events.memory_limit_hits, Some(4), "since the leaf was made");
    assert_eq!(
        (events.oom_kills, events.pids_limit_hits),
        (Some(1), Some(3))
    );
    assert_eq!(
        (events.nr_throttled, events.throttled_us),
        (Some(4), Some(17))
    );
    assert_eq!(group.events().oom_kills, Some(2));
    let usage = leaf.usage();
    assert_eq!(
        (usage.memory_peak_bytes, usage.pids_peak),
        (Some(8192), Some(3))
    );
    assert_eq!(
        (usage.cpu_user_us, usage.cpu_total_us),
        (Some(20), Some(30))
    );
    assert_eq!(
        (usage.io_read_bytes, usage.io_write_bytes),
        (Some(1), Some(2))
    );
    drop(host);
}

#[test]
fn v1_without_fine_cpu_files_uses_ticks() {
    let host = v1_host();
    let group = create(&host, &ROOT, &limits()).unwrap();
    let usage = group.leaf(1).unwrap().usage();
    assert_eq!(
        (usage.cpu_total_us, usage.cpu_user_us),
        (Some(5), Some(20_000))
    );
    assert_eq!((usage.cpu_system_us, usage.pids_peak), (Some(10_000), None));
}

#[test]
fn a_systemd_scope_uses_the_slice_above_it() {
    let host = FakeHost::new().v2(ALL, &format!("{APP}/run-1.scope"), true);
    let host = host.delegate("unified/user.slice/user-1000.slice/user@1000.service");
    let support = host.probe(&USER);
    let base = host.root.join("unified").join(&APP[1..]);
    assert_eq!(bases(&support), vec![Some((Version::V2, base)); 5]);
    let group = create(&host, &USER, &limits()).unwrap();
    assert_eq!(group.evidence().len(), 4);
    group.remove().unwrap();
}

#[test]
fn a_login_session_has_no_delegated_subtree() {
    let host = FakeHost::new().v2(ALL, "/user.slice/user-1000.slice/session-3.scope", true);
    let support = host.probe(&USER);
    assert!(!support.any());
    let reason = support.memory.unwrap_err();
    assert!(
        matches!(reason, Unavailable::NotWritable { .. }),
        "{reason}"
    );
    assert!(
        reason
            .hint()
            .contains("systemd-run --user --scope -p Delegate=yes")
    );
    assert!(matches!(
        create(&host, &USER, &limits()),
        Err(CgroupError::NoController)
    ));
}

#[test]
fn the_walk_stops_at_the_border_of_the_owner() {
    // The process stands in the delegated group itself; root's groups above
    // it are not ours even where root (sudo) asks.
    let host = FakeHost::new().v2(ALL, "/system.slice/x.service", true);
    let host = host.delegate("unified/system.slice/x.service");
    for kernel in [&USER, &ROOT] {
        let support = host.probe(kernel);
        let own = host.root.join("unified/system.slice/x.service");
        assert_eq!(
            support.memory,
            Err(Unavailable::HasProcesses { path: own.clone() })
        );
        let place = Place {
            version: Version::V2,
            base: own,
        };
        assert_eq!(
            support.freezer,
            Ok(place.clone()),
            "freezing needs no controller"
        );
        assert_eq!(support.cpuacct, Ok(place));
    }
}

#[test]
fn a_container_root_with_processes_cannot_hand_controllers_down() {
    let host = FakeHost::new().v2(ALL, "/", false);
    let support = host.probe(&ROOT);
    let missing: Vec<_> = support
        .missing(&limits())
        .into_iter()
        .map(|(c, _)| c)
        .collect();
    assert_eq!(
        missing,
        [Controller::Memory, Controller::Pids, Controller::Cpu]
    );
    assert!(
        support
            .pids
            .clone()
            .unwrap_err()
            .hint()
            .contains("cgroup.procs")
    );
    // The rest still works, and tells that nothing is limited.
    let group = create(&host, &ROOT, &limits()).unwrap();
    assert_eq!(group.evidence(), []);
    assert!(group.freezer_available());
}

#[test]
fn a_container_after_its_processes_moved_to_a_child() {
    let host = FakeHost::new().v2(ALL, "/init", false);
    let base = host.root.join("unified");
    assert_eq!(
        bases(&host.probe(&ROOT)),
        vec![Some((Version::V2, base)); 5]
    );
}

#[test]
fn a_missing_controller_is_named_before_anything_is_made() {
    let host = FakeHost::new().v2("cpu pids", "/", true);
    let support = host.probe(&ROOT);
    let missing = support.missing(&limits());
    let [(Controller::Memory, reason @ Unavailable::NotOffered { .. })] = missing[..] else {
        panic!("{missing:?}")
    };
    assert!(reason.hint().contains("cgroup.subtree_control"));
    assert_eq!(support.missing(&Limits::default()), []);
}

#[test]
fn hybrid_takes_each_controller_from_where_it_is_usable() {
    let host = FakeHost::new()
        .v1("memory", "/")
        .v1("freezer", "/")
        .v1("pids", "/job");
    let host = host
        .v2("", "/user", true)
        .delegate("unified/user")
        .delegate("pids/job");
    let support = host.probe(&USER);
    let pids = (Version::V1, host.root.join("pids/job"));
    let unified = (Version::V2, host.root.join("unified/user"));
    assert_eq!(
        bases(&support),
        [None, Some(pids), None, Some(unified.clone()), Some(unified)],
        "the v1 freezer is root's, the v2 one is not"
    );
    assert!(matches!(
        support.memory,
        Err(Unavailable::NotWritable { .. })
    ));
}

#[test]
fn read_only_and_threaded_groups_say_so() {
    let host = v1_host().set(".readonly", "");
    let reason = host.probe(&ROOT).memory.unwrap_err();
    assert!(matches!(reason, Unavailable::ReadOnly { .. }), "{reason}");
    assert!(reason.hint().contains("remount"));
    let host = FakeHost::new()
        .v2(ALL, "/t", true)
        .set("unified/t/cgroup.type", "threaded\n");
    let host = host.delegate("unified/t");
    let reason = host.probe(&USER).pids.unwrap_err();
    assert!(matches!(reason, Unavailable::Threaded { .. }), "{reason}");
}

#[test]
fn a_host_without_cgroups() {
    let support = FakeHost::new().probe(&ROOT);
    assert!(!support.any());
    for controller in Controller::ALL {
        assert_eq!(support.get(controller), &Err(Unavailable::NotMounted));
    }
    assert_eq!(support.missing(&limits()).len(), 3);
}

#[test]
fn an_old_v2_kernel_has_no_freezer() {
    let host = FakeHost::new().v2(ALL, "/svc/me", true);
    std::fs::remove_file(host.root.join("unified/svc/me/cgroup.freeze")).unwrap();
    std::fs::remove_file(host.root.join("unified/svc/cgroup.freeze")).unwrap();
    let host = host.delegate("unified/svc");
    let support = host.probe(&USER);
    assert_eq!(support.freezer, Err(Unavailable::NoV2Freezer));
    assert!(support.memory.is_ok());
    let group = create(&host, &USER, &Limits::default()).unwrap();
    assert!(matches!(group.freeze(), Err(CgroupError::NoFreezer)));
    assert!(matches!(group.frozen(), Err(CgroupError::NoFreezer)));
}

#[test]
fn a_leaf_id_is_used_once() {
    let host = v1_host();
    let group = create(&host, &ROOT, &limits()).unwrap();
    let leaf = group.leaf(1).unwrap();
    assert!(matches!(group.leaf(1), Err(CgroupError::MakeDir { .. })));
    assert!(leaf.is_empty().unwrap());
    assert_eq!(leaf.kill().unwrap(), KillOutcome::Gone);
    leaf.remove().unwrap();
    group.leaf(1).unwrap().remove().unwrap();
}
