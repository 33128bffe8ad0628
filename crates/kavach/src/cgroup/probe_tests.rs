//! What the probe says of hosts that this machine is not.

use std::path::PathBuf;

use super::error::CgroupError;
use super::fake::{FakeHost, ROOT, USER};
use super::fake_tests::{ALL, create, limits, v1_host};
use super::limits::Limits;
use super::probe::{CgroupSupport, Place, Unavailable};
use super::{Controller, Version};

const APP: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice";

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
