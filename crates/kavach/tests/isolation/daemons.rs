//! What leaves its session and its parent is dead all the same.

use kavach::{Command, SandboxState, Termination};

use crate::harness::{Setting, Suite};
use crate::world::{ISOLATING, World, act, eventually, mark, marked};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("daemons");
    suite.each("control_a_daemon_outlives_its_parent", &["noop"], outlives);
    suite.each("dead_after_a_timeout", &ISOLATING, timeout);
    suite.each("dead_after_stop", &["noop", "basic", "strict"], |s| {
        end(s, stop)
    });
    suite.each("dead_after_destroy", &["noop", "basic", "strict"], |s| {
        end(s, destroy)
    });
    suite.each("dead_after_drop", &["noop", "basic", "strict"], |s| {
        end(s, drop)
    });
    suite.each("no_zombie_is_left", &ISOLATING, zombies);
}

/// Started by hand, without any sandbox: the guest does what it claims.
fn outlives(_: Setting) {
    let mark = mark();
    let program = crate::world::guest("resources");
    let out = std::process::Command::new(program)
        .args(["daemonise", &mark])
        .output()
        .unwrap();
    assert!(out.status.success());
    eventually("the daemon is there", || marked(&mark).len() == 1);
    for pid in marked(&mark) {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

fn timeout(s: Setting) {
    let (world, mark) = (World::of(s.policy), mark());
    let result = world.run(act("resources", &["daemonise_hold", &mark]).timeout_ms(1000));
    assert_eq!(result.termination, Termination::TimedOut);
    assert_eq!(
        result.stdout, "daemon left\n",
        "what it said before is kept"
    );
    eventually("the daemon is dead", || marked(&mark).is_empty());
}

fn end(s: Setting, end: fn(World)) {
    let (world, mark) = (World::of(s.policy), mark());
    world.said(act("resources", &["daemonise", &mark]));
    world.said(act("resources", &["daemonise", &mark, "keep"]));
    eventually("both daemons are there", || marked(&mark).len() == 2);
    end(world);
    assert_eq!(
        marked(&mark),
        [0_u32; 0],
        "none is left when the call returns"
    );
}

fn stop(mut world: World) {
    world.sandbox.transition(SandboxState::Stopped).unwrap();
}

fn destroy(mut world: World) {
    world.destroy();
}

fn zombies(s: Setting) {
    let world = World::of(s.policy);
    world.sh("for i in 1 2 3 4 5; do (sleep 0 & ); done");
    let look = Command::shell("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l");
    eventually("orphans are reaped", || world.said(&look) == "0");
}
