//! Who steps aside, and who stays.

use super::aside::step_aside;
use super::fake::{FakeHost, FakeKernel, ROOT, USER};
use super::fake_tests::{ALL, create, limits};

const SERVICE: &str = "/system.slice/x.service";
const SCOPE: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
/// The process in the group of a [`FakeHost`].
const ALONE: u32 = 1;

fn left(host: &FakeHost, kernel: &'static FakeKernel) -> Option<String> {
    let leaf = step_aside(kernel, &host.layout(), ALONE).unwrap()?;
    let shown = leaf.strip_prefix(&host.root).unwrap();
    Some(shown.to_string_lossy().into_owned())
}

/// What the kernel does when a process moves.
fn emptied(host: FakeHost, own: &str) -> FakeHost {
    host.set(&format!("unified{own}/cgroup.procs"), "")
}

#[test]
fn a_service_alone_in_what_it_was_given_steps_into_a_leaf() {
    let host = FakeHost::new().v2(ALL, SERVICE, true);
    let host = host.delegate(&format!("unified{SERVICE}"));
    assert!(host.probe(&USER).memory.is_err());
    let leaf = format!("unified{SERVICE}/kavach-host");
    assert_eq!(left(&host, &USER), Some(leaf.clone()));
    assert_eq!(host.read(&format!("{leaf}/cgroup.procs")), "1");
    let host = emptied(host, SERVICE);
    let group = create(&host, &USER, &limits()).unwrap();
    assert_eq!(group.evidence().len(), 4);
    assert!(
        host.groups()
            .iter()
            .all(|group| group.to_string_lossy().contains(SERVICE))
    );
}

#[test]
fn a_scope_keeps_its_sandboxes_to_itself() {
    let host = FakeHost::new().v2(ALL, SCOPE, true);
    let host = host.delegate("unified/user.slice/user-1000.slice/user@1000.service");
    let leaf = format!("unified{SCOPE}/kavach-host");
    assert_eq!(left(&host, &USER), Some(leaf));
    let host = emptied(host, SCOPE);
    let _group = create(&host, &USER, &limits()).unwrap();
    assert!(
        host.groups()
            .iter()
            .all(|group| group.to_string_lossy().contains(SCOPE))
    );
}

#[test]
fn the_only_process_of_a_container_steps_into_a_leaf() {
    let host = FakeHost::new().v2(ALL, "/", false);
    assert_eq!(left(&host, &ROOT), Some("unified/kavach-host".into()));
}

#[test]
fn others_in_the_group_are_left_where_they_are() {
    let host = FakeHost::new().v2(ALL, SERVICE, true);
    let host = host.delegate(&format!("unified{SERVICE}"));
    let host = host.set(&format!("unified{SERVICE}/cgroup.procs"), "1\n2\n");
    assert_eq!(left(&host, &USER), None);
    assert!(
        !host
            .root
            .join(format!("unified{SERVICE}/kavach-host"))
            .exists()
    );
}

#[test]
fn nobody_moves_without_need() {
    let at_the_root = FakeHost::new().v2(ALL, "/", true);
    let not_given = FakeHost::new().v2(ALL, SERVICE, true);
    let nothing_to_hand_on = FakeHost::new().v2("", SERVICE, true);
    let nothing_to_hand_on = nothing_to_hand_on.delegate(&format!("unified{SERVICE}"));
    assert_eq!(left(&at_the_root, &ROOT), None);
    assert_eq!(left(&not_given, &USER), None);
    assert_eq!(left(&nothing_to_hand_on, &USER), None);
    assert_eq!(left(&FakeHost::new(), &ROOT), None);
    let v1 = FakeHost::new()
        .v1("memory", "/")
        .v1("pids", "/")
        .v1("cpu", "/");
    let hybrid = v1.v2("", "/", true);
    assert_eq!(left(&hybrid, &ROOT), None);
}

#[test]
fn the_leaf_of_an_earlier_process_is_used_again() {
    let host = FakeHost::new().v2(ALL, SERVICE, true);
    let host = host.delegate(&format!("unified{SERVICE}"));
    assert!(left(&host, &USER).is_some());
    assert!(left(&host, &USER).is_some());
}
