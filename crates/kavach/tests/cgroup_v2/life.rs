//! Pause, kill, and what is left.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use kavach::{Command, SandboxState, Termination};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{group, groups_of, key, mark, processes, read, run, sleeping, strict, until};

pub(crate) fn pause() {
    run(async {
        let mut sandbox = strict(|_| {}).await;
        let (agent, guest) = (group().join("agent"), group().join("guest"));
        let mark = mark();
        let mut child = sandbox
            .spawn(Command::new("sleep").arg(&*mark))
            .await
            .unwrap();
        until("the guest to start", || sleeping(&mark).len() == 1);
        sandbox.transition(SandboxState::Paused).unwrap();
        assert_eq!(read(&guest, "cgroup.freeze"), "1");
        assert_eq!(key(&guest, "cgroup.events", "frozen"), 1);
        assert_eq!(key(&agent, "cgroup.events", "frozen"), 0);
        // A frozen guest of version 2 dies at once.
        let result = child.kill(Duration::ZERO).await.unwrap();
        assert_eq!(result.termination, Termination::Killed);
        assert_eq!(sleeping(&mark), [0; 0]);
        assert_eq!(key(&guest, "cgroup.events", "frozen"), 1);
        sandbox.transition(SandboxState::Running).unwrap();
        assert_eq!(read(&guest, "cgroup.freeze"), "0");
        assert!(sandbox.exec("true").await.unwrap().success());
    });
}

pub(crate) fn timeout() {
    run(async {
        let sandbox = strict(|_| {}).await;
        let (mark, other) = (mark(), mark());
        let bystander = sandbox
            .spawn(Command::new("sleep").arg(&*other))
            .await
            .unwrap();
        let script = format!("trap '' TERM HUP; setsid sleep {mark} & sleep {mark}");
        let command = Command::shell(script).timeout_ms(1500);
        let result = sandbox.exec(command).await.unwrap();
        assert_eq!(result.termination, Termination::TimedOut);
        assert_eq!(sleeping(&mark), [0; 0]);
        assert_eq!(sleeping(&other).len(), 1, "no other command's tree");
        let guest = group().join("guest");
        // The command's own group is released after its result.
        until("the leaf of the other alone", || {
            let leaves = std::fs::read_dir(&guest).unwrap().flatten();
            leaves.filter(|entry| entry.path().is_dir()).count() == 1
        });
        drop(bystander);
    });
}

pub(crate) fn destroyed() {
    run(async {
        for state in [SandboxState::Running, SandboxState::Paused] {
            let mut sandbox = strict(|_| {}).await;
            let mark = mark();
            let script = format!("setsid sleep {mark} >/dev/null 2>&1 &");
            assert!(
                sandbox
                    .exec(Command::shell(script))
                    .await
                    .unwrap()
                    .success()
            );
            until("the daemon to start", || sleeping(&mark).len() == 1);
            if state == SandboxState::Paused {
                sandbox.transition(state).unwrap();
            }
            sandbox.destroy().await.unwrap();
            assert_eq!(sleeping(&mark), [0; 0]);
            assert!(groups_of(std::process::id()).is_empty());
        }
    });
}

/// A host: makes a sandbox with a daemon in it, pauses it, says so, and waits.
pub(crate) fn host() {
    let _sandbox = run(async {
        let mut sandbox = strict(|_| {}).await;
        let mark = mark();
        let script = format!("setsid sleep {mark} >/dev/null 2>&1 &");
        assert!(
            sandbox
                .exec(Command::shell(script))
                .await
                .unwrap()
                .success()
        );
        until("the daemon to start", || sleeping(&mark).len() == 1);
        sandbox.transition(SandboxState::Paused).unwrap();
        sandbox
    });
    let mut out = std::io::stdout();
    out.write_all(b"ready\n").unwrap();
    out.flush().unwrap();
    // Until the one who started it closes it, or for ever.
    let _ = std::io::stdin().read(&mut [0]);
}

/// Starts such a host and waits until it is ready. Its sandbox's daemon is known by its mark.
fn start() -> (Child, String) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--child", "host"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut host = command.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(host.stdout.as_mut().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let mark = format!("9{:09}{:06}", host.id(), 1);
    assert_eq!(sleeping(&mark).len(), 1);
    assert_eq!(groups_of(host.id()).len(), 1);
    (host, mark)
}

fn end(mut host: Child) {
    host.kill().unwrap();
    host.wait().unwrap();
}

pub(crate) fn killed() {
    let (host, mark) = start();
    let pid = host.id();
    end(host);
    until("the frozen guest to be gone", || sleeping(&mark).is_empty());
    until("the groups to be gone", || groups_of(pid).is_empty());
}

pub(crate) fn collected() {
    let (host, mark) = start();
    let pid = host.id();
    let reapers = processes(|reaper, line| {
        let stat = std::fs::read_to_string(format!("/proc/{reaper}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        line.starts_with("kavach-reaper\0") && parent == Some(pid.to_string().as_str())
    });
    let [reaper] = reapers[..] else {
        panic!("{reapers:?}")
    };
    let reaper = Pid::from_raw(reaper).unwrap();
    kill_process(reaper, Signal::KILL).unwrap();
    end(host);
    until("the guest to be gone", || sleeping(&mark).is_empty());
    assert_eq!(groups_of(pid).len(), 1, "nobody is left to remove it");
    let report = kavach::gc().unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(
        report
            .removed
            .iter()
            .any(|removed| removed.leftover.host_pid == pid)
    );
    assert!(groups_of(pid).is_empty());
}
