//! What the place in which kavach stands allows, and what it does not.

use std::path::{Path, PathBuf};
use std::process::Command as HostCommand;

use kavach::host::ControllerFacts;
use kavach::{
    Command, Control, ControlState, KavachError, Sandbox, SandboxConfig, SandboxPolicy, Termination,
};
use libtest_mimic::{Failed, Trial};

use crate::settings::{as_user, child, finish, scope, service};
use crate::support::{group, run, strict};

pub(crate) fn trials() -> Vec<Trial> {
    type Body = fn() -> Result<(), Failed>;
    let trials: [(&str, Body); 4] = [
        ("a_session_without_delegation_says_what_to_do", || {
            finish(&mut as_user(&child("session")))
        }),
        ("a_crowded_group_says_how_to_make_room", || {
            // Two processes in the group that was given.
            let mut crowd = HostCommand::new("sh");
            crowd.args(["-c", "sleep 1000 & \"$@\"; s=$?; kill $!; exit $s", "sh"]);
            crowd.arg(child("crowd").get_program());
            crowd.args(child("crowd").get_args());
            finish(&mut service(&crowd))
        }),
        ("the_limit_of_a_scope_holds_its_sandboxes", || {
            finish(&mut scope(&["MemoryMax=64M"], &child("unit_limit")))
        }),
        ("groups_are_made_in_what_was_given", || {
            finish(&mut scope(&[], &child("own_group")))?;
            finish(&mut service(&child("own_group")))
        }),
    ];
    trials
        .into_iter()
        .map(|(name, body)| Trial::test(format!("containment::{name}"), body))
        .collect()
}

/// This process's own group.
fn own() -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = text.trim().strip_prefix("0::/").unwrap();
    Path::new("/sys/fs/cgroup").join(path)
}

fn unusable(facts: &ControllerFacts) -> (String, String) {
    match facts {
        ControllerFacts::Unusable { reason, fix } => (reason.clone(), fix.clone()),
        usable => panic!("{usable:?}"),
    }
}

pub(crate) fn session() {
    let (reason, fix) = unusable(&kavach::host::probe().cgroups.memory);
    assert!(
        reason.ends_with("is not writable for this user"),
        "{reason}"
    );
    assert!(
        fix.contains("`systemd-run --user --scope -p Delegate=yes`"),
        "{fix}"
    );
    run(async {
        // `strict` accepts weaker mechanisms for its limits, and says which.
        let sandbox = strict(|_| {}).await;
        for control in [Control::Memory, Control::Pids, Control::Cpu] {
            let state = sandbox.report().state(control);
            assert_eq!(state, ControlState::Approximate, "{control}");
        }
        assert_eq!(sandbox.strength().value(), 61);
        // `basic` does not: nothing runs, and the error names the way out.
        let config = SandboxConfig::builder()
            .policy(SandboxPolicy::basic())
            .memory_mb(64);
        let error = Sandbox::create(config.build()).await.unwrap_err();
        let KavachError::ControlUnavailable { control, fix, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*control, Control::Memory);
        assert!(
            fix.contains("systemd-run --user --scope -p Delegate=yes"),
            "{fix}"
        );
    });
}

pub(crate) fn crowd() {
    // It has not stepped aside: that is for those who are alone.
    let before = own();
    assert_eq!(kavach::host::step_aside().unwrap(), None);
    let (reason, fix) = unusable(&kavach::host::probe().cgroups.memory);
    assert!(reason.contains("holds processes"), "{reason}");
    let script = fix.split('`').nth(1).unwrap();
    // Its own `cat` is on the list, and gone by then: its last word is no measure.
    HostCommand::new("sh")
        .args(["-c", script])
        .status()
        .unwrap();
    assert_eq!(own(), before.join("init"));
    run(async {
        let sandbox = strict(|_| {}).await;
        assert_eq!(
            sandbox.report().state(Control::Memory),
            ControlState::Enforced
        );
        assert_eq!(group().parent(), Some(&*before));
    });
}

pub(crate) fn unit_limit() {
    run(async {
        let sandbox = strict(|_| {}).await;
        let eat = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";
        let result = sandbox.exec(Command::shell(eat)).await.unwrap();
        assert_eq!(result.termination, Termination::OutOfMemory, "{result:?}");
    });
}

pub(crate) fn own_group() {
    let given = own();
    let given = given.parent().unwrap();
    assert_eq!(own(), given.join("kavach-host"));
    run(async {
        let _sandbox = strict(|_| {}).await;
        assert_eq!(group().parent(), Some(given));
    });
}
