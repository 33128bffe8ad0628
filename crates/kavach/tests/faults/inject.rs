//! One system call fails: the first, the second, and so on through a whole life of a sandbox; of
//! the host process, and of the agent until it is a guest's program.
//!
//! Each life must end with a typed error or be exactly like one in which nothing failed, what the
//! guest says of its restrictions included: no call may fail and take a control with it. `inject.c`
//! says which calls fail how.

use std::fs;
use std::path::Path;
use std::process::Command;

use kavach::KavachError;
use libtest_mimic::Trial;
use rustix::io::Errno;

use crate::common::number;
use crate::life::{Around, Seen, config, life, renew, runtime, workspace};
use crate::life::{is_temporary, threads_settle};
use crate::place::{self, Who, place};
use crate::tally::Tally;

/// What a failing call of the host may mean.
const HOST: &[&str] = &[
    "KV-SETUP",
    "KV-HOST-IO",
    "KV-CGROUP",
    "KV-AGENT",
    "KV-AGENT-DIED",
    "KV-CONTROL-UNAVAILABLE",
    "KV-PATH-MISSING",
    "KV-COMMAND-NOT-EXECUTABLE",
    // A connection that fails ends the sandbox: what is asked of it afterwards is answered so.
    "KV-INVALID-TRANSITION",
    "KV-NOT-RUNNING",
];
/// The same for the agent.
const AGENT: &[&str] = HOST;

const ERRORS: [(&str, Errno); 8] = [
    ("EINTR", Errno::INTR),
    ("EAGAIN", Errno::AGAIN),
    ("ENOMEM", Errno::NOMEM),
    ("EMFILE", Errno::MFILE),
    ("ENOSPC", Errno::NOSPC),
    ("EIO", Errno::IO),
    ("ENOSYS", Errno::NOSYS),
    ("EPERM", Errno::PERM),
];

pub(crate) fn trials() -> Vec<Trial> {
    let around = place::Around::Injector;
    ["inject_host", "inject_agent", "inject_threads"]
        .into_iter()
        .flat_map(|name| place::trials(name, &Who::BOTH, around, place::compiler))
        .collect()
}

fn arm(whom: &str, error: Errno, nth: u64) {
    let error = error.raw_os_error();
    let _ = fs::metadata(format!("/.kavach-inject/arm/{whom}/{error}/{nth}"));
}

/// Whether a call was made to fail.
fn disarm() -> bool {
    let end = fs::metadata("/.kavach-inject/end").unwrap_err();
    end.kind() == std::io::ErrorKind::NotFound
}

/// Whose calls fail: "host" or "agent".
pub(crate) fn walk(whom: &str) {
    let work = workspace();
    let config = || config("strict", &work);
    let runtime = runtime();
    // Makes what the process keeps, the reaper too.
    let expected = life(&runtime, config()).unwrap();
    assert!(expected.probe.contains("NoNewPrivs:\t1"), "{expected:?}");
    assert_eq!(expected.applied, "new\n", "{expected:?}");
    renew(&work);
    let mut before = Around::now();
    // The first time nothing is armed: the check itself is checked.
    assert_eq!(before.differs(), None);
    // All calls, or evenly spread ones of all: about so many lives.
    let most = number("KAVACH_ROUNDS").unwrap_or(100);
    let only = std::env::var("KAVACH_ERRNO").ok();
    let mut tallies = Vec::new();
    for (name, error) in ERRORS {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut tally = Tally::new(format!("inject {whom} {name}"));
        let step = step(whom, error, most / ERRORS.len() as u64, || {
            let _ = life(&runtime, config());
            renew(&work);
        });
        let mut nth = number("KAVACH_NTH").unwrap_or(1 + u64::from(std::process::id()) % step);
        loop {
            arm(whom, error, nth);
            let result = life(&runtime, config());
            if !disarm() {
                break;
            }
            let at = format!("{name} at call {nth}: {}", last());
            judge(&mut tally, whom, &result, &expected, &at);
            renew(&work);
            tally.settled(&mut before, &at);
            if tally.is_hopeless() {
                break;
            }
            nth += step;
        }
        // Unarmed again: the next is fine, and its apply cleans up.
        let next = life(&runtime, config()).unwrap();
        if next != expected {
            tally.wrong(format!("the next life: {}", next.unlike(&expected)));
        }
        renew(&work);
        let files = fs::read_dir(&work).unwrap().flatten();
        assert!(!files.map(|f| f.path()).any(|f| is_temporary(&f)));
        tallies.push(tally);
    }
    Tally::end_all(tallies);
    if number("KAVACH_ROUNDS").is_some() {
        threads_settle(2);
    }
}

/// The threads and processes that a host process starts, each refused once (EAGAIN) in a process
/// of its own: later ones have threads that wait for work.
pub(crate) fn threads() {
    let mut tally = Tally::new("inject host EAGAIN at the first use");
    let program = std::env::current_exe().unwrap();
    let injector = program.with_file_name("inject");
    for nth in 1.. {
        let said = Command::new(&injector)
            .arg(place().join("injected"))
            .arg(&program)
            .args(["--child", "first_threads", &nth.to_string()])
            .output()
            .unwrap();
        let said_well = String::from_utf8_lossy(&said.stdout);
        // A library prints nothing, and no thread of it panics.
        let said_ill = String::from_utf8_lossy(&said.stderr);
        match said_well.trim() {
            "none" => break,
            end if said.status.success() && said_ill.is_empty() => tally.round(end),
            end => {
                tally.round("wrong");
                tally.wrong(format!("{nth}: {}: {end} {said_ill}", said.status));
            }
        }
    }
    assert!(tally.rounds() >= 3, "{tally:?}");
    tally.end();
}

/// The child of that: says how its first life ended, "none" if nothing was refused.
pub(crate) fn first_threads(args: &[String]) {
    let work = workspace();
    let runtime = runtime();
    arm("host", Errno::AGAIN, args[0].parse().unwrap());
    let result = life(&runtime, config("strict", &work));
    let fired = disarm();
    let mut tally = Tally::new("first");
    tally.life(&result, HOST, &last());
    assert!(!tally.is_wrong(), "{tally:?}");
    renew(&work);
    Around::await_no_sandbox();
    let next = life(&runtime, config("strict", &work)).unwrap();
    assert_eq!(next.applied, "new\n");
    renew(&work);
    match fired {
        true => println!("{}", result.map_or_else(|e| e.code(), |_| "ok")),
        false => println!("none"),
    }
}

/// How far apart the calls are that fail, so that there are about `most`.
fn step(whom: &str, error: Errno, most: u64, mut life: impl FnMut()) -> u64 {
    // Doubling, then nothing more exact: a life has no fixed number of calls.
    let mut calls = 8;
    loop {
        arm(whom, error, calls);
        life();
        if !disarm() || calls > 1 << 16 {
            return (calls / most.max(1)).max(1);
        }
        calls *= 2;
    }
}

fn judge(
    tally: &mut Tally,
    whom: &str,
    result: &Result<Seen, KavachError>,
    expected: &Seen,
    at: &str,
) {
    let allowed = if whom == "host" { HOST } else { AGENT };
    match result {
        Ok(seen) if seen == expected => tally.round("ok"),
        // What was not applied was refused, with a reason, and the host has its old file.
        Ok(seen) if !seen.refused.is_empty() && seen.applied == "old\n" => {
            let others = Seen {
                refused: Vec::new(),
                applied: expected.applied.clone(),
                ..seen.clone()
            };
            tally.round("refused");
            if others != *expected {
                tally.wrong(format!("{at}: {}", seen.unlike(expected)));
            }
        }
        Ok(seen) => {
            tally.round("wrong");
            tally.wrong(format!("{at}: {}", seen.unlike(expected)));
        }
        Err(_) => tally.life(result, allowed, at),
    }
}

/// What the injector says of the call that failed last.
fn last() -> String {
    let log: &Path = &place().join("injected");
    fs::read_to_string(log).unwrap_or_default()
}
