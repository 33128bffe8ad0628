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
    suite.each("stopping_all_others_holds_nothing_up", &ISOLATING, stopper);
    suite.each("control_memory_in_the_background", &["noop"], |s| {
        let (world, mark) = hog(s);
        eventually("it holds its memory", || resident_mb(&mark) > 800);
        end_of(world, &mark);
    });
    suite.each("memory_in_the_background_is_limited", &["strict"], |s| {
        let (world, mark) = hog(s);
        eventually("it is dead", || marked(&mark).is_empty());
        end_of(world, &mark);
    });
    suite.each("a_namespace_limits_what_it_creates", &ISOLATING, |s| {
        let limits = "cd /proc/sys/user; cat max_user_namespaces max_inotify_instances";
        assert_eq!(World::of(s.policy).said(Command::shell(limits)), "0\n16");
    });
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

/// A command can be stopped by another between its fork and its program. Every limit and the end
/// of the sandbox hold all the same.
fn stopper(s: Setting) {
    let (mut world, mark) = (World::of(s.policy), mark());
    let sleeper = format!("/usr/bin/python3 -c 'import time; time.sleep(600)' hold {mark}");
    // Not waited for: what it signals is every process but itself.
    let stop_all = format!("{sleeper} & while :; do kill -STOP -1; done");
    let _running = world.spawn(Command::new("/bin/bash").args(["-c", &stop_all]));
    for _ in 0..5 {
        // Whether it was stopped is chance; that the call returns is not. Without cgroups the end
        // of one that was stopped is the end of the sandbox, and the rest is refused.
        let Ok(result) = world.try_run(Command::new("true").timeout_ms(500)) else {
            break;
        };
        assert!(result.duration.as_secs() < 20, "{result:?}");
    }
    world.destroy();
    assert_eq!(marked(&mark), [0_u32; 0]);
}

/// A sandbox in whose background something takes 900 MiB and holds it.
fn hog(s: Setting) -> (World, String) {
    let (world, mark) = (World::of(s.policy), mark());
    let take = "import time; b = b'x' * (900 << 20); time.sleep(600)";
    world.sh(&format!(
        "setsid /usr/bin/python3 -c \"{take}\" hold {mark} >/dev/null 2>&1 &"
    ));
    (world, mark)
}

fn resident_mb(mark: &str) -> u64 {
    let resident = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    marked(mark).iter().filter_map(resident).sum::<u64>() / 1024
}

fn end_of(mut world: World, mark: &str) {
    // A sandbox that a limit has ended is Stopped already; from there on it is the same.
    world.destroy();
    assert_eq!(marked(mark), [0_u32; 0]);
}
