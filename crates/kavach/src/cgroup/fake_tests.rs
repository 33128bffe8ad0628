//! Hosts that this machine is not, on the play kernel.

use std::path::PathBuf;

use super::error::CgroupError;
use super::fake::{FakeHost, FakeKernel, ROOT};
use super::gc::{FreezerKind, base_dirs};
use super::group::SandboxGroup;
use super::kill::KillOutcome;
use super::limits::{CpuQuota, Limits};

pub(super) const NAME: &str = "kavach.1.2.3.test.4";
pub(super) const ALL: &str = "cpu memory pids";

pub(super) fn limits() -> Limits {
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

pub(super) fn v1_host() -> FakeHost {
    ["memory", "pids", "cpu,cpuacct", "freezer"]
        .into_iter()
        .fold(FakeHost::new(), |host, controllers| {
            host.v1(controllers, "/job")
        })
}

/// As many hosts mount it: the scheduler apart from its accounting.
fn v1_host_with_lone_cpu() -> FakeHost {
    ["memory", "cpu", "freezer"]
        .into_iter()
        .fold(FakeHost::new(), |host, controllers| {
            host.v1(controllers, "/job")
        })
}

pub(super) fn create(
    host: &FakeHost,
    kernel: &'static FakeKernel,
    limits: &Limits,
) -> Result<SandboxGroup, CgroupError> {
    SandboxGroup::create_with(kernel, &host.probe(kernel), NAME, limits)
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
        host.read(&format!("{root}/memory.limit_in_bytes")),
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
    assert_eq!(leaf.join_fds().unwrap().len(), 4, "cpu and cpuacct are one");
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
fn the_schedulers_own_hierarchy_gets_no_group_that_holds_nothing() {
    let host = v1_host_with_lone_cpu();
    let group = create(&host, &ROOT, &Limits::default()).unwrap();
    assert!(!host.root.join(format!("cpu/job/{NAME}")).exists());
    group.remove().unwrap();

    let group = create(&host, &ROOT, &limits()).unwrap();
    let leaf = group.leaf(1).unwrap();
    assert_eq!(leaf.join_fds().unwrap().len(), 3);
    let guest = format!("cpu/job/{NAME}/guest");
    assert_eq!(host.read(&format!("{guest}/cpu.cfs_quota_us")), "100000");
    assert!(!host.root.join(guest).join("exec.1").exists());
}

#[test]
fn where_only_the_scheduler_has_groups_a_command_still_has_its_own() {
    for limits in [Limits::default(), limits()] {
        let host = FakeHost::new().v1("cpu", "/job");
        let group = create(&host, &ROOT, &limits).unwrap();
        let leaf = group.leaf(1).unwrap();
        assert_eq!(leaf.join_fds().unwrap().len(), 1);
        let procs = format!("cpu/job/{NAME}/guest/exec.1/cgroup.procs");
        let host = host.set(&procs, "4242\n");
        assert_eq!(leaf.pids().unwrap(), [4242]);
        drop(host);
    }
}

#[test]
fn on_v2_a_command_enters_a_leaf_also_where_it_only_schedules() {
    // Booted with `cgroup_no_v1=cpu`: all the others are bound to version 1.
    let (host, unified) = (v1_host(), FakeHost::new().v2("cpu", "/", true));
    let mut support = host.probe(&ROOT);
    support.cpu = unified.probe(&ROOT).cpu;
    let group = SandboxGroup::create_with(&ROOT, &support, NAME, &limits()).unwrap();
    let leaf = group.leaf(1).unwrap();
    let exec = format!("unified/{NAME}/guest/exec.1");
    assert!(unified.root.join(exec).exists(), "guest holds no processes");
    assert_eq!(leaf.join_fds().unwrap().len(), 5);
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
    let host = FakeHost::new().v1("memory,noswap", "/job");
    let group = create(&host, &ROOT, &limits()).unwrap();
    let [limit, swap] = group.evidence() else {
        panic!("{:?}", group.evidence())
    };
    assert!(limit.exact);
    assert_eq!((swap.value_read.as_str(), swap.exact), ("absent", false));
    assert!(
        swap.mechanism
            .contains("memory.memsw.limit_in_bytes is absent")
    );
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
    let error = create(&host, &ROOT, &limits()).unwrap_err();
    assert!(matches!(error, CgroupError::MakeDir { .. }), "{error}");
    assert!(error.hint().is_some());
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
fn what_was_refused_is_in_no_peak() {
    let host = FakeHost::new().v2("cpu io memory pids", "/", true);
    let group = create(&host, &ROOT, &limits()).unwrap();
    let leaf = group.leaf(1).unwrap();
    let guest = format!("unified/{NAME}/guest");
    let host = host.set(&format!("{guest}/memory.peak"), "4096\n");
    let host = host.set(&format!("{guest}/exec.1/memory.peak"), "12288\n");
    let host = host.set(&format!("{guest}/exec.1/pids.peak"), "4\n");
    let usage = leaf.usage();
    assert_eq!(
        (usage.memory_peak_bytes, usage.pids_peak),
        (Some(4096), Some(3))
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
