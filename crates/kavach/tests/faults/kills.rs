//! kill -9 at random moments: of the host process in the middle of anything, of the agent, of a
//! guest.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kavach::workspace::ApplyOptions;
use kavach::{Command, KavachError, Sandbox, SandboxState, Termination};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::AsyncReadExt as _;

use crate::common::{Random, agents_of, cgroups, child, comes_true, marker, number, sleeping};
use crate::common::{until, with_text};
use crate::life::{Around, config, is_temporary, life, renew, runtime, workspace};
use crate::place::{self, Who, place};
use crate::tally::Tally;

const ROUNDS: u64 = 24;

pub(crate) fn trials() -> Vec<Trial> {
    let around = place::Around::Nothing;
    ["kill_host", "kill_agent", "kill_guest"]
        .into_iter()
        .flat_map(|name| place::trials(name, &Who::BOTH, around, place::nothing))
        .collect()
}

/// The seed that was asked for, or one of the time.
pub(crate) fn seed(name: &str) -> u64 {
    let by_time = || std::process::id().into();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let by_time = since.map_or_else(|_| by_time(), |since| since.subsec_nanos().into());
    let seed = number("KAVACH_SEED").unwrap_or(by_time);
    println!("{name}: KAVACH_SEED={seed}");
    seed
}

/// A host that lives one life after the other, and says when each begins.
pub(crate) fn busy_host() {
    let work = workspace();
    let runtime = runtime();
    loop {
        println!("begin");
        life(&runtime, config("strict", &work)).unwrap();
        renew(&work);
    }
}

/// Takes the status of every child that has ended; true when none is left.
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

/// Kills a host at a random moment of its first lives. Whatever it leaves becomes a child of this
/// process (PR_SET_CHILD_SUBREAPER), so that nothing can hide.
pub(crate) fn kill_host() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let seed = seed("kill_host");
    let mut random = Random(seed);
    let work = workspace();
    // How long a life takes here: the moments are spread over it.
    let took = {
        let mut host = start();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
        lines.next();
        let began = Instant::now();
        lines.next();
        let took = began.elapsed();
        end(host);
        took
    };
    let mut before = Around::now();
    let mut tally = Tally::new("kill host");
    let mut slowest = Duration::ZERO;
    for round in 0..number("KAVACH_ROUNDS").unwrap_or(ROUNDS) {
        let mut host = start();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
        // In the first life, in which what a process keeps is made, or in the second.
        for _ in 0..1 + random.below(2) {
            lines.next();
        }
        // The moment is what is varied; nothing is waited for by it.
        std::thread::sleep(took.mul_f64(random.below(1000) as f64 / 1000.0));
        let began = Instant::now();
        let prefix = format!("kavach.{}.", host.id());
        drop(lines);
        end(host);
        slowest = slowest.max(began.elapsed());
        tally.round("gone");
        let at = format!("KAVACH_SEED={seed}, round {round}");
        let groups = cgroups(&prefix);
        if !groups.is_empty() {
            tally.wrong(format!("{at}: {groups:?}"));
        }
        // Lock files of killed hosts are taken over by later ones, and a temporary file by the
        // next apply: neither is a process's, a mount's or a group's.
        let file = std::fs::read_to_string(work.join("file"));
        if !matches!(file.as_deref(), Ok("old\n" | "new\n")) && file.is_ok() {
            tally.wrong(format!("{at}: the workspace has {file:?}"));
        }
        remove_temporary(&work);
        renew(&work);
        tally.settled(&mut before, &at);
    }
    println!("kill host: all gone after at most {slowest:?}");
    life(&runtime(), config("strict", &work)).unwrap();
    tally.end();
}

/// What an apply that was killed leaves until the next one.
fn remove_temporary(work: &Path) {
    for entry in std::fs::read_dir(work).unwrap().flatten() {
        if is_temporary(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn start() -> Child {
    let mut command = child("busy_host");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Kills it, and waits until all that it had is gone.
fn end(mut host: Child) {
    host.kill().unwrap();
    until("everything of a killed host to be gone", no_children);
}

fn kill(pid: i32, signal: Signal) {
    // It may just have ended by itself.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// What a sandbox is at when its agent, or its guest, is killed.
const MOMENTS: [&str; 6] = ["exec", "stream", "paused", "launch", "apply", "idle"];

/// Kills the agent while something is under way.
pub(crate) fn kill_agent() {
    victims("kill agent", |id, _| agents_of(id));
}

/// Kills the command while something is under way: an end like any other.
pub(crate) fn kill_guest() {
    victims("kill guest", |_, mark| sleeping(mark));
}

fn victims(name: &str, find: fn(&str, &str) -> Vec<i32>) {
    let seed = seed(name);
    let mut random = Random(seed);
    let work = workspace();
    let runtime = runtime();
    let expected = life(&runtime, config("strict", &work)).unwrap();
    renew(&work);
    let mut before = Around::now();
    let mut tally = Tally::new(name);
    for round in 0..number("KAVACH_ROUNDS").unwrap_or(ROUNDS) {
        let moment = MOMENTS[random.below(MOMENTS.len() as u64) as usize];
        let at = format!("KAVACH_SEED={seed}, round {round}, {moment}");
        match runtime.block_on(one(moment, &mut random, find, name)) {
            Ok(end) => tally.round(end),
            Err(wrong) => {
                tally.round("wrong");
                tally.wrong(format!("{at}: {wrong}"));
            }
        }
        remove_temporary(&work);
        renew(&work);
        tally.settled(&mut before, &at);
    }
    let next = life(&runtime, config("strict", &work)).unwrap();
    assert_eq!(next, expected);
    tally.end();
}

/// One sandbox and one kill. How it ended, or what was wrong with it.
async fn one(
    moment: &str,
    random: &mut Random,
    find: fn(&str, &str) -> Vec<i32>,
    name: &str,
) -> Result<String, String> {
    let is_agent = name == "kill agent";
    let work = place().join("work");
    let mut sandbox = Sandbox::create(config("strict", &work))
        .await
        .map_err(|e| e.to_string())?;
    sandbox
        .transition(SandboxState::Running)
        .map_err(|e| e.to_string())?;
    let (mark, id) = (marker(), sandbox.id().to_owned());
    let script = match moment {
        "stream" => format!("sleep {mark} & exec yes"),
        // More than one process, and one that has left its session.
        _ => format!(
            "setsid sleep {mark} & echo x > '{}/file'; exec sleep {mark}",
            work.display()
        ),
    };
    let command = Command::shell(script);
    let mut child = None;
    if moment == "launch" {
        // The kill comes while commands start.
        let handle = sandbox.handle();
        let starting = tokio::spawn(async move { handle.exec("true").await });
        let delay = Duration::from_micros(random.below(3000));
        let (victims, result) = tokio::join!(
            async {
                tokio::time::sleep(delay).await;
                let victims = find(&id, &mark);
                victims.iter().for_each(|pid| kill(*pid, Signal::KILL));
                victims
            },
            starting
        );
        let result = result.map_err(|e| e.to_string())?;
        let end = told(&result);
        let allowed = match &result {
            Ok(result) => result.success(),
            Err(e) => {
                !victims.is_empty() && e.code() == "KV-AGENT-DIED" || e.code() == "KV-NOT-RUNNING"
            }
        };
        drop(sandbox);
        return if allowed { Ok(end) } else { Err(end) };
    }
    if moment != "idle" {
        child = Some(sandbox.spawn(command).await.map_err(|e| e.to_string())?);
        let expected = if moment == "stream" { 1 } else { 2 };
        if !comes_true(|| sleeping(&mark).len() == expected) {
            return Err("the command does not run".into());
        }
    }
    if let (Some(child), "stream") = (&mut child, moment) {
        let mut some = vec![0; 1 + random.below(100_000) as usize];
        let out = child.stdout.as_mut().ok_or("no stdout")?;
        out.read_exact(&mut some).await.map_err(|e| e.to_string())?;
    }
    let mut paused = false;
    if moment == "paused" {
        paused = match sandbox.transition(SandboxState::Paused) {
            Ok(()) => true,
            Err(KavachError::Unsupported { .. }) => false,
            Err(e) => return Err(e.to_string()),
        };
    }
    let applying = (moment == "apply").then(|| {
        let handle = sandbox.handle();
        tokio::spawn(async move { handle.apply(ApplyOptions::new()).await })
    });
    std::thread::sleep(Duration::from_micros(random.below(1500)));
    for victim in find(&id, &mark) {
        kill(victim, Signal::KILL);
    }
    if let Some(applying) = applying {
        match applying.await.map_err(|e| e.to_string())? {
            Ok(_) => {}
            Err(e) if is_agent && ["KV-NOT-RUNNING", "KV-AGENT-DIED"].contains(&e.code()) => {}
            Err(e) => return Err(format!("apply: {}: {e}", e.code())),
        }
    }
    if paused && !is_agent {
        // A frozen process takes the signal when it goes on.
        sandbox
            .transition(SandboxState::Running)
            .map_err(|e| e.to_string())?;
    }
    let end = match (&mut child, is_agent, paused) {
        // A frozen agent takes it at the end of the sandbox alone.
        (Some(_), true, true) => "paused".to_owned(),
        (Some(child), true, false) => match child.wait().await {
            Err(e) if e.code() == "KV-AGENT-DIED" => e.code().to_owned(),
            other => return Err(told(&other)),
        },
        (Some(child), false, _) if moment == "stream" => {
            // The sleep was killed, the writer goes on until its reader is gone.
            drop(child.stdout.take());
            let end = child.wait().await;
            match &end {
                Ok(r)
                    if matches!(
                        r.termination,
                        Termination::Signaled(13) | Termination::Exited(1)
                    ) =>
                {
                    told(&end)
                }
                _ => return Err(told(&end)),
            }
        }
        (Some(child), false, _) => {
            let end = child.wait().await;
            match &end {
                Ok(r) if r.termination == Termination::Signaled(9) => told(&end),
                _ => return Err(told(&end)),
            }
        }
        (None, _, _) => "idle".to_owned(),
    };
    if is_agent && !paused {
        until("the sandbox to notice", || {
            sandbox.state() == SandboxState::Stopped
        });
    } else if !paused {
        let after = sandbox.exec("true").await.map_err(|e| e.to_string())?;
        if !after.success() {
            return Err(format!("the next command: {}", after.termination));
        }
    }
    sandbox.destroy().await.map_err(|e| e.to_string())?;
    match with_text(&mark)[..] {
        [] => Ok(end),
        ref left => Err(format!("left: {left:?}")),
    }
}

fn told(result: &Result<kavach::ExecResult, KavachError>) -> String {
    match result {
        Ok(result) => result.termination.to_string(),
        Err(e) => e.code().to_owned(),
    }
}
