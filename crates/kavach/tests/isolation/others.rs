//! Other processes: the host's, and the sandbox's own first one.

use kavach::Command;

use crate::harness::{Setting, Suite};
use crate::world::{ISOLATING, Victim, World, act};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("processes");
    suite.each(
        "control_a_host_process_is_visible",
        &["noop"],
        visible_control,
    );
    suite.each("host_processes_are_invisible", &ISOLATING, invisible);
    suite.each(
        "control_a_host_process_is_killed",
        &["noop"],
        killed_control,
    );
    suite.each("host_processes_are_unkillable", &ISOLATING, unkillable);
    for (way, inside) in SIGNALS {
        suite.each(&format!("control_{way}"), &["noop"], move |s| {
            signalled(s, way, "EFFECT");
        });
        suite.each(way, &ISOLATING, move |s| signalled(s, way, inside));
    }
    suite.each("pid_1_survives_every_signal", &ISOLATING, pid_1_signals);
    for (attack, answer) in ON_PID_1 {
        suite.subject("on_a_child");
        suite.each(&format!("control_{attack}"), &["noop"], move |s| {
            assert_eq!(
                World::of(s.policy).said(act("process", &[attack, "child"])),
                "EFFECT"
            );
        });
        suite.subject("on_pid_1");
        suite.each(attack, &ISOLATING, move |s| {
            assert_eq!(
                World::of(s.policy).said(act("process", &[attack, "1"])),
                *answer
            );
        });
        // Under `minimal` too, which hides no process of the sandbox. There is no filter there to
        // keep a guest from limits of processes with its own uid (prlimit(2) asks for nothing
        // else), and root's guest is root of the host: it may count the agent's descriptors.
        if !matches!(*attack, "limit" | "fd") {
            suite.each(attack, &["minimal"], move |s| {
                let said = World::of(s.policy).said(act("process", &[attack, "1"]));
                let refused = ["errno EACCES", "errno EPERM"].contains(&said.as_str());
                assert!(refused, "{said}");
            });
        }
    }
}

/// Each attack on the agent, with what the kernel must answer. The view's `hidepid` hides PID 1
/// altogether, so that its files are not there; calls that take a pid find an agent that is not
/// dumpable.
const ON_PID_1: &[(&str, &str)] = &[
    ("mem", "errno ENOENT"),
    ("mem_write", "errno ENOENT"),
    ("environ", "errno ENOENT"),
    ("maps", "errno ENOENT"),
    ("auxv", "errno ENOENT"),
    ("root", "errno ENOENT"),
    ("cwd", "errno ENOENT"),
    ("exe", "errno ENOENT"),
    ("fd", "errno ENOENT"),
    ("fd0", "errno ENOENT"),
    ("seize", "errno EPERM"),
    ("attach", "errno EPERM"),
    ("vm_readv", "errno EPERM"),
    ("vm_writev", "errno EPERM"),
    ("getfd", "errno EPERM"),
    ("limit", "errno EPERM"),
];

/// Every way to send a signal, with the answer where nobody has the number. What names the
/// receiver of a later signal is refused whoever it names.
const SIGNALS: &[(&str, &str)] = &[
    ("kill_thread", "errno ESRCH"),
    ("kill_queued", "errno ESRCH"),
    ("kill_pidfd", "errno ESRCH"),
    ("sigio", "errno EPERM"),
    ("sigio_ex", "errno EPERM"),
    ("sigio_ioctl", "errno EPERM"),
];

fn signalled(s: Setting, way: &str, expected: &str) {
    let (world, mut victim) = (World::of(s.policy), Victim::new());
    let said = world.said(act("process", &[way, &victim.pid()]));
    assert_eq!(said, expected);
    if expected == "EFFECT" {
        assert!(!victim.0.wait().unwrap().success(), "the signal ends it");
    } else {
        assert!(victim.is_alive());
    }
}

fn visible_control(s: Setting) {
    let (world, victim) = (World::of(s.policy), Victim::new());
    let look = format!(
        "test -d /proc/{} && ps -e -o pid= | grep -cw {0}",
        victim.pid()
    );
    assert_eq!(world.sh(&look), "1");
}

fn invisible(s: Setting) {
    let (world, victim) = (World::of(s.policy), Victim::new());
    let look = format!(
        "test -e /proc/{} || echo absent; ps -e -o args= | grep -c '^sleep 600'; true",
        victim.pid()
    );
    assert_eq!(world.sh(&look), "absent\n0");
    // The shell and what it starts; not even the agent.
    let pids: usize = world.sh("ls -d /proc/[0-9]* | wc -l").parse().unwrap();
    assert!((1..=4).contains(&pids), "{pids} processes");
}

fn killed_control(s: Setting) {
    let (world, mut victim) = (World::of(s.policy), Victim::new());
    assert_eq!(
        world.said(act("process", &["set_owner", &victim.pid()])),
        "EFFECT"
    );
    assert_eq!(
        world.said(act("process", &["kill", &victim.pid()])),
        "EFFECT"
    );
    assert!(!victim.0.wait().unwrap().success());
}

fn unkillable(s: Setting) {
    let (world, mut victim) = (World::of(s.policy), Victim::new());
    for attack in ["kill", "set_owner", "limit", "seize"] {
        let said = world.said(act("process", &[attack, &victim.pid()]));
        // Refused by the filter before the pid is looked up, or nobody has this pid here.
        let answer = match attack {
            "kill" => "errno ESRCH",
            _ => "errno EPERM",
        };
        assert_eq!(said, answer, "{attack}");
    }
    // Every process it can signal is its own.
    let all = world.run(Command::shell("trap '' TERM; kill -TERM -1; echo alive"));
    assert_eq!(all.stdout, "alive\n");
    assert!(victim.is_alive());
}

fn pid_1_signals(s: Setting) {
    let world = World::of(s.policy);
    world.sh("for n in $(seq 1 64); do kill -$n 1 2>/dev/null; done; true");
    assert_eq!(world.said("echo there"), "there");
}
