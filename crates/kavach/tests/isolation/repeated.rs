//! The second command of a sandbox is held as the first, and a number that was given away is not
//! taken for the one that had it.

use std::time::Duration;

use kavach::{Command, Termination};

use crate::doors::closed;
use crate::harness::{Setting, Suite, Who};
use crate::world::{ISOLATING, World, act, eventually, mark, marked};

/// What no policy that isolates lets through, and every host does.
const ACTS: [&str; 3] = ["unshare_newuser", "keyctl_session", "tiocsti"];

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("repeated");
    let missing = |_| ACTS.iter().find_map(|act| closed(act));
    suite.each_needing("control_every_command_succeeds", &["noop"], missing, |s| {
        every_way(s, "EFFECT");
    });
    suite.each("every_command_is_held_the_same", &ISOLATING, |s| {
        every_way(s, "errno EPERM");
    });
    suite.subject_for("repeated", &[Who::Root]);
    let missing = |_| {
        let settable = std::path::Path::new("/proc/sys/kernel/ns_last_pid").exists();
        (!settable).then(|| "the kernel cannot choose the next pid: CHECKPOINT_RESTORE".to_owned())
    };
    suite.each_needing(
        "a_pid_used_again_is_not_killed",
        &ISOLATING,
        missing,
        reused,
    );
    suite.each_needing("control_a_pid_is_used_again", &["basic"], missing, |s| {
        let (world, mut first, mut second) = same_pid(s);
        // The number is the second one's, and the second can be killed.
        assert_eq!(world.wait(&mut first).termination, Termination::Exited(0));
        let killed = world.kill(&mut second, Duration::ZERO);
        assert_eq!(killed.termination, Termination::Killed);
    });
}

/// The first command, a second, two at once, one with streams, one on a terminal, and what a
/// command leaves in the background.
fn every_way(s: Setting, expected: &str) {
    let world = World::of(s.policy);
    for name in ACTS {
        let attack = || act("kernel", &[name]);
        let mut said: Vec<String> = (0..2).map(|_| world.said(attack())).collect();
        let together = world.run_all(vec![attack(), attack()]);
        said.extend(together.into_iter().map(|result| result.stdout));
        let mut child = world.spawn(attack().stdin_piped());
        said.push(world.expect(&mut child, "\n"));
        world.wait(&mut child);
        let size = kavach::PtySize { rows: 24, cols: 80 };
        said.push(world.run(attack().pty(size)).stdout);
        let program = crate::world::guest("kernel");
        let behind =
            format!("(setsid {program} {name} > $0.part; mv $0.part $0) & wait; cat $0; rm $0");
        let file = format!("/tmp/kavach-behind-{}", std::process::id());
        let behind = Command::new("/bin/sh").args(["-c", &format!("cd /tmp; {behind}"), &file]);
        said.push(world.said(behind));
        for said in said {
            assert_eq!(said.trim_end(), expected, "{name}");
        }
    }
}

/// A command that has ended, and another that has its number: the kernel is told which to give
/// next.
fn same_pid(s: Setting) -> (World, kavach::Child, kavach::Child) {
    let (world, mark) = (World::of(s.policy), mark());
    let _holder = world.spawn(act("resources", &["hold", &mark]));
    eventually("the holder is there", || marked(&mark).len() == 1);
    let inside = marked(&mark)[0].to_string();
    let mut first = world.spawn(Command::shell("echo $$; read line").stdin_piped());
    let number: u32 = world.expect(&mut first, "\n").trim().parse().unwrap();
    world.write(&mut first, b"\n");
    eventually("it has ended", || first.try_wait().unwrap().is_some());
    let script = format!("echo {} > /proc/sys/kernel/ns_last_pid", number - 1);
    let chosen = std::process::Command::new("nsenter")
        .args(["--target", &inside, "--pid", "sh", "-c", &script])
        .status();
    assert!(chosen.unwrap().success());
    // One that the end of its input does not end.
    let shell = "echo $$; while read line; do echo got $line; done; while :; do sleep 1; done";
    let mut second = world.spawn(Command::shell(shell).stdin_piped());
    assert_eq!(world.expect(&mut second, "\n").trim(), number.to_string());
    (world, first, second)
}

fn reused(s: Setting) {
    let (world, mut first, mut second) = same_pid(s);
    let ended = world.kill(&mut first, Duration::ZERO);
    assert_eq!(ended.termination, Termination::Exited(0), "it was over");
    world.write(&mut second, b"on\n");
    world.expect(&mut second, "got on");
}
