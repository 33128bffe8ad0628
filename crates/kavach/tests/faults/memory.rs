//! The control group that the host process itself is in runs out of memory: for what a guest takes,
//! and for what the host takes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kavach::{Sandbox, SandboxState};
use libtest_mimic::Trial;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::common::{marker, number, sleeping, until};
use crate::life::{Around, config, life, runtime, workspace};
use crate::place::{self, Who, place};
use crate::tally::Tally;

/// Room for a host and its sandboxes, not for a guest that takes what its policy allows.
const LIMIT: &str = "100663296";

pub(crate) fn trials() -> Vec<Trial> {
    place::trials("memory", &[Who::Root], place::Around::Nothing, missing)
}

fn missing(_: Who) -> Option<String> {
    group_of_this().is_none().then(|| {
        "the cgroup controller memory of version 1, in which groups are limited with those below"
            .to_owned()
    })
}

/// This process's own memory group.
fn group_of_this() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (held, path) = rest.split_once(':')?;
        let holds = held.split(',').any(|name| name == "memory");
        holds.then(|| path.trim_start_matches('/').to_owned())
    })?;
    let dir = Path::new("/sys/fs/cgroup/memory").join(path);
    let whole = fs::read_to_string(dir.join("memory.use_hierarchy")).ok()?;
    (whole.trim() == "1").then_some(dir)
}

/// A host with two sandboxes, in each of which a process sleeps. Says so, and runs out of memory.
pub(crate) fn hungry_host(args: &[String]) {
    let [who, mark] = args else {
        panic!("hungry_host WHO MARK")
    };
    let work = place().join("work");
    runtime().block_on(async {
        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut sandbox = Sandbox::create(config("strict", &work)).await.unwrap();
            sandbox.transition(SandboxState::Running).unwrap();
            let sleep = kavach::Command::new("sleep").arg(mark.as_str());
            let child = sandbox.spawn(sleep).await.unwrap();
            kept.push((sandbox, child));
        }
        println!("ready");
        if who == "guest" {
            // tail keeps what may be a line's beginning.
            let end = kept[0].0.exec("tail /dev/zero").await;
            println!(
                "{}",
                end.map_or_else(|e| e.code().to_owned(), |r| r.termination.to_string())
            );
            for (mut sandbox, _child) in kept {
                let end = sandbox.destroy().await;
                println!("{}", end.map_or_else(|e| e.code(), |()| "destroyed"));
            }
            return;
        }
        let mut taken = Vec::new();
        loop {
            taken.push(vec![1_u8; 1 << 20]);
        }
    });
}

pub(crate) fn memory() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let work = workspace();
    let mut before = Around::now();
    let mut tally = Tally::new("memory");
    let group = group_of_this().unwrap();
    for round in 0..number("KAVACH_ROUNDS").unwrap_or(4) {
        let who = ["guest", "host"][(round % 2) as usize];
        let at = format!("round {round}, {who}");
        let dir = group.join(format!("kavach-faults-{}-{round}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("memory.limit_in_bytes"), LIMIT).unwrap();
        let mark = marker();
        let enter = format!("echo $$ > '{}/cgroup.procs' && exec \"$@\"", dir.display());
        let mut host = Command::new("sh")
            .args(["-c", &enter, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--child", "hungry_host", who, &mark])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(host.stdout.take().unwrap()).lines();
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        let status = host.wait().unwrap();
        let words = said.join(", ");
        match who {
            "guest" => {
                tally.round(format!("guest: {words}"));
                let right = ["ready", "out of memory", "destroyed", "destroyed"];
                if !status.success() || said.len() != 4 || said[2..] != right[2..] {
                    tally.wrong(format!("{at}: {status}: {words}"));
                }
            }
            _ => {
                tally.round(format!("host: {status}"));
                if said != ["ready"] || status.success() {
                    tally.wrong(format!("{at}: {status}: {words}"));
                }
            }
        }
        until("everything of the host to be gone", no_children);
        if !sleeping(&mark).is_empty() {
            tally.wrong(format!("{at}: a guest lives"));
        }
        // Empty, but for what nobody removed.
        until("the group of the test to be removed", || {
            fs::remove_dir(&dir).is_ok()
        });
        tally.settled(&mut before, &at);
    }
    life(&runtime(), config("strict", &work)).unwrap();
    tally.end();
}

fn no_children() -> bool {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}
