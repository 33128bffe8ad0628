//! Memory, processes, CPU and disk: who takes too much is held or ended, and the result says so.
//!
//! As root the kernel's cgroups hold the limits; as an ordinary user without delegated ones the
//! approximate mechanisms do, and the same attacks must end the same way.

use std::time::Duration;

use kavach::{
    Command, Control, ControlState, ExecResult, KavachError, SandboxPolicy, SandboxState,
    Termination,
};

use crate::delegate;
use crate::harness::{Setting, Suite, Who, fixture};
use crate::world::{ISOLATING, World, act, builder, eventually, marked};

const STRICT: [&str; 1] = ["strict"];
const CONTROL: [&str; 1] = ["noop"];
const MINIMAL: [&str; 1] = ["minimal"];
/// What the kernel adds to the memory of a process before it chooses whom to kill.
const SCORE: &str = "cat /proc/self/oom_score_adj";

pub(crate) fn add(suite: &mut Suite) {
    suite.subject_for("limits", Who::ALL);
    suite.each("control_100_MiB_are_granted", &CONTROL, |s| {
        assert_eq!(
            World::of(s.policy).said(act("resources", &["eat", "100"])),
            "EFFECT"
        );
    });
    suite.each("one_process_past_the_memory_limit", &STRICT, |s| {
        out_of_memory(s, 64, 8, &["eat", "4096"]);
    });
    suite.each("six_processes_of_400_MiB_under_512", &STRICT, six);
    suite.each("memory_below_the_limit_is_granted", &STRICT, |s| {
        assert_eq!(
            World::of(s.policy).said(act("resources", &["eat", "300"])),
            "EFFECT"
        );
    });
    suite.each("a_memfd_counts_as_memory", &STRICT, memfd);
    suite.each("control_a_memfd_holds_100_MiB", &CONTROL, |s| {
        assert_eq!(
            World::of(s.policy).said(act("resources", &["memfd", "100"])),
            "EFFECT"
        );
    });
    suite.each("files_in_tmp_count_as_memory", &STRICT, |s| {
        out_of_memory(s, 64, 512, &["file", "/tmp/f", "400"]);
    });
    suite.each("control_64_forks_and_more", &CONTROL, |s| {
        assert_eq!(
            World::of(s.policy).said(act("resources", &["forks", "100"])),
            "100 EFFECT"
        );
    });
    suite.each("400_forks_are_held_at_the_limit", &STRICT, forks);
    suite.each("a_fork_bomb_dies_at_the_timeout", &STRICT, bomb);
    suite.each("tmp_is_full_at_its_quota", &ISOLATING, full);
    suite.each("control_the_hosts_tmp_takes_more", &CONTROL, |s| {
        let dir = crate::world::TempDir::new();
        let file = dir.0.join("f").to_str().unwrap().to_owned();
        assert_eq!(
            World::of(s.policy).said(act("resources", &["file", &file, "32"])),
            "EFFECT"
        );
    });
    suite.each("tmp_has_no_more_inodes_than_its_quota", &ISOLATING, inodes);
    suite.each("spinning_threads_are_held_to_the_quota", &STRICT, spin);
    suite.each("control_spinning_threads_use_more", &CONTROL, spin_control);
    suite.each("cpu_time_past_its_limit", &ISOLATING, cpu_time);
    suite.each("the_report_names_each_limits_state", &STRICT, states);
    suite.each("pause_is_real_or_refused", &STRICT, pause);
    suite.each("control_a_stopped_guest_goes_on", &CONTROL, stopped);
    suite.each("out_of_memory_takes_guests_first", &ISOLATING, |s| {
        assert_eq!(World::of(s.policy).said(SCORE), "1000");
    });
    suite.each("control_the_hosts_own_score", &CONTROL, |s| {
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(World::of(s.policy).said(SCORE), own.trim());
        assert_ne!(own.trim(), "1000");
    });

    // Under a host view the files of the groups are in sight.
    suite.subject_for("limits", &[Who::Root, Who::Delegated]);
    let no_groups = |_| delegate::places().err();
    suite.each_needing("no_guest_leaves_its_groups", &MINIMAL, no_groups, stay_in);
    suite.each_needing(
        "control_groups_can_be_entered",
        &CONTROL,
        no_groups,
        |s: Setting| {
            let said = World::of(s.policy).said(leave("leave", &[]));
            assert!(said.lines().all(|line| line == "EFFECT"), "{said}");
            assert_eq!(said.lines().count(), group_files().len());
        },
    );
}

fn preset(s: Setting, change: impl FnOnce(&mut SandboxPolicy)) -> World {
    let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
    change(&mut policy);
    World::new(builder().policy(policy).read(fixture().join("guests")))
}

/// The `cgroup.procs` of the groups that this process itself is in: above the sandbox's.
fn group_files() -> Vec<String> {
    let places = delegate::places().unwrap().into_iter();
    let files = places.map(|place| place.join("cgroup.procs"));
    files
        .map(|file| file.to_str().unwrap().to_owned())
        .collect()
}

/// A guest that writes itself into those groups.
fn leave(how: &str, args: &[&str]) -> Command {
    let files = group_files();
    let files = files.iter().map(String::as_str);
    let args: Vec<&str> = [how].iter().chain(args).copied().chain(files).collect();
    act("resources", &args)
}

fn stay_in(s: Setting) {
    let world = preset(s, |policy| {
        policy.limits.memory_mb = Some(64);
        policy.limits.pids = Some(32);
    });
    for control in [Control::Memory, Control::Pids] {
        let state = world.sandbox.report().state(control);
        assert_eq!(state, ControlState::Enforced, "{control}");
    }
    let said = world.said(leave("leave", &[]));
    assert!(said.lines().all(|line| line == "errno EROFS"), "{said}");
    assert_eq!(said.lines().count(), group_files().len());

    let mark = crate::world::mark();
    let result = world.run(leave("leave_hold", &[&mark]).timeout_ms(1000));
    assert_eq!(result.termination, Termination::TimedOut);
    eventually("what timed out is gone", || marked(&mark).is_empty());

    let result = world.run(leave("leave_by_mount", &["300"]).timeout_ms(60_000));
    assert_eq!(
        result.termination,
        Termination::OutOfMemory,
        "{}",
        result.stdout
    );
}

fn event(result: &ExecResult, control: Control) -> u64 {
    let events = result
        .limit_events
        .iter()
        .filter(|event| event.control == control);
    events.map(|event| event.count).sum()
}

fn out_of_memory(s: Setting, memory_mb: u64, tmp_mb: u64, args: &[&str]) {
    let world = preset(s, |policy| {
        policy.limits.memory_mb = Some(memory_mb);
        policy.filesystem.tmp_mb = tmp_mb;
    });
    let result = world.run(act("resources", args).timeout_ms(30_000));
    assert_eq!(
        result.termination,
        Termination::OutOfMemory,
        "{}",
        result.stdout
    );
}

fn six(s: Setting) {
    let world = World::of(s.policy);
    let result = world.run(act("resources", &["eat_many", "6", "400"]).timeout_ms(60_000));
    assert_eq!(
        result.termination,
        Termination::OutOfMemory,
        "{}",
        result.stdout
    );
    let peak = result.usage.memory_peak_bytes;
    if s.who.has_cgroups() {
        assert!(peak.is_some_and(|bytes| bytes <= 513 << 20), "{peak:?}");
    }
}

/// Counted by the cgroup; without one it cannot be made.
fn memfd(s: Setting) {
    if s.who.has_cgroups() {
        out_of_memory(s, 64, 8, &["memfd", "400"]);
    } else {
        assert_eq!(
            World::of(s.policy).said(act("resources", &["memfd", "1"])),
            "errno EPERM"
        );
    }
}

fn forks(s: Setting) {
    let world = World::of(s.policy);
    let result = world.run(act("resources", &["forks", "400", "1000"]).timeout_ms(60_000));
    assert_eq!(
        result.termination,
        Termination::Exited(0),
        "{}",
        result.stderr
    );
    assert_eq!(
        result.stdout, "63 EAGAIN\n",
        "64 processes with the one that forks"
    );
    assert!(
        event(&result, Control::Pids) >= 1,
        "{:?}",
        result.limit_events
    );
    assert_eq!(
        World::of(s.policy).said("echo well"),
        "well",
        "the host can start more"
    );
}

fn bomb(s: Setting) {
    let world = World::of(s.policy);
    let result = world.run(act("resources", &["fork_bomb"]).timeout_ms(4000));
    assert_eq!(result.termination, Termination::TimedOut);
    assert!(
        event(&result, Control::Pids) >= 1,
        "{:?}",
        result.limit_events
    );
    assert_eq!(World::of(s.policy).said("echo well"), "well");
}

fn full(s: Setting) {
    let world = preset(s, |policy| policy.filesystem.tmp_mb = 16);
    let filled = world.run(act("resources", &["file", "/tmp/f", "64"]));
    let said = filled.stdout.trim_end();
    assert!(
        event(&filled, Control::Disk) > 0,
        "{:?}",
        filled.limit_events
    );
    assert!(
        said.ends_with("errno ENOSPC") && said.starts_with("after 1"),
        "{said}"
    );
    // One quota for all three.
    let home = world.said(act("resources", &["file", "/home/guest/f", "1"]));
    assert_eq!(home, "after 0 MiB errno ENOSPC");
    let shm = world.said(act("resources", &["file", "/dev/shm/f", "65"]));
    assert_eq!(shm, "after 64 MiB errno ENOSPC");
    let events = world.run("true").limit_events;
    let full = |path: &str| {
        events
            .iter()
            .any(|e| e.control == Control::Disk && e.detail.contains(path))
    };
    assert!(full("/tmp") && full("/dev/shm"), "{events:?}");
    world.sh("rm /tmp/f; echo room > /tmp/g");
    assert_eq!(
        world.said(act("resources", &["sparse", "/tmp/s", "100000"])),
        "EFFECT"
    );
    assert_eq!(
        world.sh("du -m /tmp/s | cut -f1"),
        "0",
        "a hole takes no room"
    );
}

fn inodes(s: Setting) {
    let world = preset(s, |policy| policy.filesystem.tmp_inodes = 1000);
    let said = world.said(act("resources", &["inodes", "/tmp", "5000"]));
    assert_eq!(said, "errno ENOSPC");
    let files: u32 = world.sh("ls /tmp | grep -c ^i").parse().unwrap();
    assert!((900..1000).contains(&files), "{files}");
}

/// CPU time over wall time of a guest that spins with eight threads for two seconds.
fn spinning(world: &World) -> (f64, ExecResult) {
    let result = world.run(act("resources", &["spin", "8", "2"]).timeout_ms(60_000));
    assert_eq!(result.termination, Termination::Exited(0));
    let (user, system) = (result.usage.cpu_user, result.usage.cpu_system);
    let cpu = user.expect("usage is known") + system.expect("usage is known");
    (cpu.as_secs_f64() / result.usage.wall.as_secs_f64(), result)
}

/// A quota that is far below what eight threads get on the busiest machine, and its double.
const QUOTA: f64 = 0.05;
const TOO_MUCH: f64 = 0.1;

fn spin(s: Setting) {
    let world = preset(s, |policy| policy.limits.cpus = Some(QUOTA));
    if s.who.has_cgroups() {
        let (share, result) = spinning(&world);
        assert!(share < TOO_MUCH, "{share} of a CPU");
        assert!(event(&result, Control::Cpu) > 0, "throttling is recorded");
        return;
    }
    // Held to whole CPUs by the affinity, which the guest cannot change.
    assert_eq!(world.said("nproc"), "1");
    let widen = "import os; os.sched_setaffinity(0, range(os.cpu_count()))";
    let result = world.run(Command::new("/usr/bin/python3").args(["-c", widen]));
    assert!(
        result.stderr.contains("PermissionError"),
        "{}",
        result.stderr
    );
    assert_eq!(world.said("nproc"), "1");
}

fn spin_control(s: Setting) {
    let world = World::of(s.policy);
    let (share, result) = spinning(&world);
    assert!(share > TOO_MUCH, "{share} of a CPU");
    assert_eq!(event(&result, Control::Cpu), 0);
    let cpus = std::thread::available_parallelism().unwrap();
    assert_eq!(world.said("nproc"), cpus.to_string());
}

fn cpu_time(s: Setting) {
    let world = preset(s, |policy| {
        policy.limits.cpu_time_ms = Some(1000);
        if !s.who.has_cgroups() {
            policy.accept_approximate.insert(Control::CpuTime);
        }
    });
    let result = world.run(act("resources", &["spin", "1"]).timeout_ms(60_000));
    assert_eq!(result.termination, Termination::CpuExceeded);
}

fn states(s: Setting) {
    let world = World::of(s.policy);
    let state = |control| world.sandbox.report().state(control);
    let expected = if s.who.has_cgroups() {
        ControlState::Enforced
    } else {
        ControlState::Approximate
    };
    for control in [Control::Memory, Control::Pids, Control::Cpu] {
        assert_eq!(state(control), expected, "{control}");
    }
    let score = u32::from(world.sandbox.strength().value());
    assert_eq!(score, if s.who.has_cgroups() { 63 } else { 61 });
}

/// What the freezer is for: a signal that stops the guest is undone by a timer of its own.
fn stopped(_: Setting) {
    use std::io::{BufRead as _, BufReader};
    let mut guest = std::process::Command::new(crate::world::guest("resources"))
        .arg("ticks")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(guest.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "tick");
    let pid = rustix::process::Pid::from_child(&guest);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // More than the pipe can hold of the time before.
    for _ in 0..200 {
        assert_eq!(lines.next().unwrap().unwrap(), "tick");
    }
    guest.kill().unwrap();
    guest.wait().unwrap();
}

fn pause(s: Setting) {
    let mut world = World::of(s.policy);
    let mut child = world.spawn(act("resources", &["ticks"]));
    assert!(world.read(&mut child).starts_with("tick\n"));
    let paused = world.sandbox.transition(SandboxState::Paused);
    if !s.who.has_cgroups() {
        let error = paused.unwrap_err();
        assert!(matches!(error, KavachError::Unsupported { .. }), "{error}");
        assert_eq!(world.sandbox.state(), SandboxState::Running);
        return;
    }
    paused.unwrap();
    // Empty what was written before. Its own timer sends it SIGCONT each 5 ms: were it only
    // stopped by a signal, it would write on, and the pipe would never be found empty so often.
    let quiet = world.quiet_for(&mut child, Duration::from_millis(300));
    assert!(quiet, "a paused guest writes");
    world.sandbox.transition(SandboxState::Running).unwrap();
    assert!(world.read(&mut child).starts_with("tick\n"), "it goes on");
}
