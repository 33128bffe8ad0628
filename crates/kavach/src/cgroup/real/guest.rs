//! Limits, freezing and killing of real processes.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use super::super::error::CgroupError;
use super::super::kill::KillOutcome;
use super::super::layout::Layout;
use super::super::limits::{CpuQuota, Limits};
use super::super::probe::{CgroupSupport, Place, Unavailable, probe_layout};
use super::super::{Version, files};
use super::{SPIN, Scratch, Shell, available, host, until, version};

#[test]
fn limits_are_held_and_read_back() {
    let Some(support) = host() else { return };
    let limits = Limits {
        memory_bytes: Some(512 << 20),
        pids_max: Some(64),
        cpu_quota: Some(CpuQuota {
            quota_us: 50_000,
            period_us: 100_000,
        }),
        deny_swap: true,
    };
    let scratch = Scratch::new(&support, &limits);
    let mechanisms: Vec<_> = scratch
        .group
        .evidence()
        .iter()
        .map(|evidence| evidence.mechanism.as_str())
        .collect();
    let expected = match version(&support) {
        Version::V1 => [
            "cgroup v1 memory.limit_in_bytes = 536870912",
            "cgroup v1 pids.max = 64",
            "cgroup v1 cpu.cfs_quota_us = 50000",
        ],
        Version::V2 => [
            "cgroup v2 memory.max = 536870912",
            "cgroup v2 pids.max = 64",
            "cgroup v2 cpu.max = 50000 100000",
        ],
    };
    for mechanism in expected {
        assert!(mechanisms.contains(&mechanism), "{mechanisms:?}");
    }
    // The quota bites, and is seen to.
    let leaf = scratch.group.leaf(1).unwrap();
    let _shell = Shell::start_in(SPIN, &leaf);
    until("the quota to throttle", || {
        leaf.events().nr_throttled > Some(0)
    });
    until("throttled time to add up", || {
        leaf.events().throttled_us > Some(0)
    });
    scratch.end();
}

#[test]
fn a_fork_bomb_is_held_and_seen() {
    let Some(support) = host() else { return };
    let limits = Limits {
        pids_max: Some(16),
        ..Limits::default()
    };
    let scratch = Scratch::new(&support, &limits);
    let leaf = scratch.group.leaf(1).unwrap();
    let other = scratch.group.leaf(2).unwrap();
    assert_eq!(leaf.events().pids_limit_hits, Some(0));
    let script = "i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done";
    let mut shell = Shell::start_in(script, &leaf);
    assert!(
        !shell.0.wait().unwrap().success(),
        "a shell that cannot fork gives up"
    );
    assert!(leaf.pids().unwrap().len() <= 16);
    assert!(leaf.events().pids_limit_hits > Some(0));
    assert_eq!(leaf.usage().pids_peak, scratch.group.usage().pids_peak);
    assert!(
        leaf.usage().pids_peak.is_none_or(|peak| peak == 16),
        "{:?}",
        leaf.usage()
    );
    assert_eq!(leaf.kill().unwrap(), KillOutcome::Gone);
    assert!(leaf.is_empty().unwrap() && other.is_empty().unwrap());
    scratch.end();
}

#[test]
fn running_out_of_memory_is_counted_in_the_victims_leaf() {
    let Some(support) = host() else { return };
    let limits = Limits {
        memory_bytes: Some(32 << 20),
        deny_swap: true,
        ..Limits::default()
    };
    let scratch = Scratch::new(&support, &limits);
    let (victim, bystander) = (
        scratch.group.leaf(1).unwrap(),
        scratch.group.leaf(2).unwrap(),
    );
    let spin = Shell::start_in(SPIN, &bystander);
    let script = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";
    let mut shell = Shell::start_in(script, &victim);
    assert_eq!(shell.0.wait().unwrap().signal(), Some(9));
    let events = victim.events();
    // Version 2 kills the leaf as a whole (memory.oom.group) and counts the
    // victim, with which it begins, a second time.
    let kills = match version(&support) {
        Version::V1 => 1,
        Version::V2 => 2,
    };
    assert_eq!(events.oom_kills, Some(kills));
    assert!(events.memory_limit_hits > Some(0), "{events:?}");
    assert_eq!(bystander.events().oom_kills, Some(0));
    assert_eq!(scratch.group.events().oom_kills, Some(kills));
    assert_eq!(bystander.pids().unwrap(), [spin.pid()]);
    let peak = victim.usage().memory_peak_bytes.unwrap();
    assert!((16 << 20..=32 << 20).contains(&peak), "{peak}");
    scratch.end();
}

#[test]
fn a_frozen_guest_uses_no_cpu_while_its_agent_runs() {
    let Some(support) = host() else { return };
    let scratch = Scratch::new(&support, &Limits::default());
    let group = &scratch.group;
    let leaf = group.leaf(1).unwrap();
    let _guest = Shell::start_in(SPIN, &leaf);
    let used = || leaf.usage().cpu_total_us.unwrap();
    until("the guest to run", || used() > 1000);
    assert!(!group.frozen().unwrap());
    group.freeze().unwrap();
    until("the guest to freeze", || group.frozen().unwrap());
    let before = used();
    // The agent's CPU time is the clock: it can only pass if it is not frozen.
    let agent = Shell::new(SPIN);
    group.add_agent(agent.0.id()).unwrap();
    let agent = agent.go();
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", agent.0.id())).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        rest.split_whitespace()
            .nth(11)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    until("the agent to use CPU time", || ticks() >= 5);
    assert_eq!(used(), before);
    group.thaw().unwrap();
    until("the guest to run again", || used() > before + 1000);
    scratch.end();
}

#[test]
fn killing_a_leaf_takes_a_daemon_and_spares_the_neighbour() {
    let Some(support) = host() else { return };
    let scratch = Scratch::new(&support, &Limits::default());
    let (leaf, other) = (
        scratch.group.leaf(1).unwrap(),
        scratch.group.leaf(2).unwrap(),
    );
    let neighbour = Shell::start_in(SPIN, &other);
    let script = "setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & sleep 1000' & sleep 1000";
    let mut shell = Shell::start_in(script, &leaf);
    until("the whole tree", || leaf.pids().unwrap().len() == 5);
    assert!(matches!(leaf.remove(), Err(CgroupError::Busy { .. })));
    assert_eq!(leaf.kill().unwrap(), KillOutcome::Gone);
    assert_eq!(shell.0.wait().unwrap().signal(), Some(9));
    assert_eq!(other.pids().unwrap(), [neighbour.pid()]);
    until("the leaf to be removed", || leaf.remove().is_ok());
    scratch.end();
}

#[test]
fn a_leaf_under_a_frozen_guest_dies_at_once_or_on_the_thaw() {
    let Some(support) = host() else { return };
    let scratch = Scratch::new(&support, &Limits::default());
    let leaf = scratch.group.leaf(1).unwrap();
    let mut shell = Shell::start_in(SPIN, &leaf);
    scratch.group.freeze().unwrap();
    until("the guest to freeze", || scratch.group.frozen().unwrap());
    let pending = version(&support) == Version::V1;
    let expected = if pending {
        KillOutcome::PendingThaw
    } else {
        KillOutcome::Gone
    };
    assert_eq!(leaf.kill().unwrap(), expected);
    assert!(scratch.group.frozen().unwrap(), "the pause holds");
    assert_eq!(leaf.is_empty().unwrap(), !pending);
    scratch.group.thaw().unwrap();
    assert_eq!(shell.0.wait().unwrap().signal(), Some(9));
    scratch.end();
}

#[test]
fn a_paused_sandbox_is_killed_at_once() {
    let Some(support) = host() else { return };
    let scratch = Scratch::new(&support, &Limits::default());
    let leaf = scratch.group.leaf(1).unwrap();
    let agent = Shell::new(SPIN);
    scratch.group.add_agent(agent.0.id()).unwrap();
    let _agent = agent.go();
    let mut shell = Shell::start_in(SPIN, &leaf);
    scratch.group.freeze().unwrap();
    until("the guest to freeze", || scratch.group.frozen().unwrap());
    assert_eq!(scratch.group.kill_all().unwrap(), KillOutcome::Gone);
    assert_eq!(shell.0.wait().unwrap().signal(), Some(9));
    assert!(scratch.group.is_empty().unwrap());
    scratch.end();
}

#[test]
fn without_a_freezer_a_forking_tree_still_dies() {
    let Some(support) = host() else { return };
    let no = CgroupSupport {
        freezer: Err(Unavailable::NotMounted),
        ..support
    };
    let scratch = Scratch::new(
        &no,
        &Limits {
            pids_max: Some(50),
            ..Limits::default()
        },
    );
    assert!(!scratch.group.freezer_available());
    let leaf = scratch.group.leaf(1).unwrap();
    // Two that keep starting each other anew.
    let script = "f() { sleep 0 & wait; }; (while :; do f; done) & while :; do f; done";
    let _shell = Shell::start_in(script, &leaf);
    until("the tree", || leaf.pids().unwrap().len() >= 3);
    until("the tree to die", || {
        leaf.kill().unwrap() == KillOutcome::Gone
    });
    scratch.end();
}

#[test]
fn the_unified_hierarchy_of_this_host_freezes_and_kills() {
    let Some(mut support) = host() else { return };
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let cgroup = fs::read("/proc/self/cgroup").unwrap();
    let layout = Layout::parse(&cgroup, &mounts).unwrap();
    let own = layout.v2.clone().and_then(|mount| mount.own);
    let missing = (own.is_none() || version(&support) == Version::V2)
        .then(|| "a cgroup v2 mount beside those of version 1".to_owned());
    if !available(missing.as_slice()) {
        return;
    }
    // As if there were no version 1 at all; and what the probe says of it.
    let bare = Layout {
        v1: Vec::new(),
        ..layout
    };
    let v2 = probe_layout(&files::KERNEL, &bare);
    let place = Place {
        version: Version::V2,
        base: own.unwrap(),
    };
    assert_eq!(v2.freezer, Ok(place.clone()));
    assert!(
        matches!(v2.memory, Err(Unavailable::NotOffered { .. })),
        "{:?}",
        v2.memory
    );
    support.freezer = Ok(place.clone());
    support.cpuacct = Ok(place);

    let scratch = Scratch::new(
        &support,
        &Limits {
            pids_max: Some(32),
            ..Limits::default()
        },
    );
    let leaf = scratch.group.leaf(1).unwrap();
    let mut shell = Shell::start_in("setsid sleep 1000 & while :; do :; done", &leaf);
    until("CPU use", || leaf.usage().cpu_total_us > Some(1000));
    scratch.group.freeze().unwrap();
    until("the guest to freeze", || scratch.group.frozen().unwrap());
    assert_eq!(
        leaf.kill().unwrap(),
        KillOutcome::Gone,
        "version 2 kills what is frozen"
    );
    assert_eq!(shell.0.wait().unwrap().signal(), Some(9));
    scratch.end();
}
