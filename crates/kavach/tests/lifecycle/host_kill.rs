//! The host process dies of SIGKILL: at chosen points and at random ones.
//!
//! A driver in a process of its own adopts orphans (PR_SET_CHILD_SUBREAPER), so that every
//! process which a killed host leaves becomes its child and none can hide. The times from the
//! kill until nothing is left are printed; what is asserted is that it happens at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use kavach::{Command, Sandbox, SandboxConfig, SandboxState};
use libtest_mimic::Trial;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::common::{
    Random, cgroups, child, marker, number, processes, run, run_child, test, the_sleeper, until,
    with_text,
};

const ROUNDS: u64 = 40;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("host_kill::nothing_outlives_a_killed_host", || {
        run_child("host_kill")
    })]
}

/// A host: `host VARIANT MARK`. Creates sandboxes with a daemon in each, says so, and waits.
pub(crate) fn host(args: &[String]) {
    let [variant, mark] = args else {
        panic!("host VARIANT MARK")
    };
    let (variant, mark) = (variant.clone(), mark.clone());
    let make = move || {
        run(async {
            let config = SandboxConfig::builder().agent_id(&mark).build();
            let mut sandbox = Sandbox::create(config).await.unwrap();
            if variant == "created" {
                return sandbox;
            }
            sandbox.transition(SandboxState::Running).unwrap();
            let script = format!("trap '' HUP TERM; setsid sleep {mark} >/dev/null 2>&1 &");
            assert!(
                sandbox
                    .exec(Command::shell(script))
                    .await
                    .unwrap()
                    .success()
            );
            the_sleeper(&mark);
            if variant == "paused" {
                sandbox.transition(SandboxState::Paused).unwrap();
            }
            sandbox
        })
    };
    // The thread that creates it ends: the sandbox must not be tied to it.
    let _sandbox = std::thread::spawn(make).join().unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    // Until the driver closes it, or for ever.
    let _ = std::io::stdin().read(&mut [0]);
}

fn start(variant: &str, mark: &str) -> Child {
    let mut command = child("host");
    command
        .args([variant, mark])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn await_ready(host: &mut Child) {
    let mut line = String::new();
    BufReader::new(host.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
}

/// Takes the status of every ended child; true when there is no child left.
fn no_children() -> bool {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(rustix::io::Errno::CHILD) => return true,
            Err(e) => panic!("{e}"),
        }
    }
}

fn mounts() -> usize {
    std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .count()
}

/// Kills the host and waits until nothing is left. How long that took: processes of the sandbox,
/// and everything with the reaper and the control groups.
fn kill(mut host: Child, mark: &str, mounts_before: usize) -> (Duration, Duration) {
    let groups = format!("kavach.{}.", host.id());
    let killed = Instant::now();
    host.kill().unwrap();
    until("the processes of the sandbox to be gone", || {
        no_children();
        with_text(mark).is_empty()
    });
    let processes_gone = killed.elapsed();
    until("the reaper to be gone", no_children);
    assert_eq!(cgroups(&groups), <[std::path::PathBuf; 0]>::default());
    assert_eq!(mounts(), mounts_before);
    (processes_gone, killed.elapsed())
}

pub(crate) fn driver() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let mounts_before = mounts();

    let mut variants = vec!["created", "running"];
    // Creates a sandbox in this process to find out; its reaper is this process's child for ever.
    let can_pause = {
        let mut asked = child("host");
        let mark = marker();
        asked
            .args(["paused", &mark])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        asked.stderr(Stdio::null()).status().unwrap().success()
    };
    until("the host that was asked to be gone", no_children);
    if can_pause {
        variants.push("paused");
    }
    for variant in variants {
        let mark = marker();
        let mut host = start(variant, &mark);
        await_ready(&mut host);
        let (processes, all) = kill(host, &mark, mounts_before);
        println!("host_kill: {variant}: processes gone after {processes:?}, all after {all:?}");
    }

    let by_time = || {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        now.as_nanos() as u64
    };
    let seed = number("KAVACH_SEED").unwrap_or_else(by_time);
    let rounds = number("KAVACH_ROUNDS").unwrap_or(ROUNDS);
    println!("host_kill: KAVACH_SEED={seed} KAVACH_ROUNDS={rounds}");
    let mut random = Random(seed);
    let (mut most_processes, mut most) = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        let variant = if can_pause && random.below(3) == 0 {
            "paused"
        } else {
            "running"
        };
        let mark = marker();
        let host = start(variant, &mark);
        // The delay is what is varied here; nothing is waited for by it.
        let delay = Duration::from_micros(random.below(60_000));
        std::thread::sleep(delay);
        let (processes, all) = kill(host, &mark, mounts_before);
        most_processes = most_processes.max(processes);
        most = most.max(all);
        assert!(
            !self::processes()
                .iter()
                .any(|(_, line)| line.contains(&mark)),
            "KAVACH_SEED={seed}, round {round}, {variant} after {delay:?}"
        );
    }
    println!(
        "host_kill: {rounds} random kills: processes gone after at most {most_processes:?}, all \
         after at most {most:?}"
    );
}
