//! Too few descriptors, processes, bytes: at every number, so that each call that wants one more
//! is once the one that does not get it.

use std::fs;
use std::path::{Path, PathBuf};

use kavach::SandboxConfig;
use kavach::config::{Upper, Workspace};
use libtest_mimic::Trial;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use crate::common::{is_root, number};
use crate::life::{Around, Seen, config, life, renew, runtime, workspace};
use crate::place::{self, Who, place};
use crate::tally::Tally;

/// What a life may say that had too little of something.
const SHORT: &[&str] = &[
    "KV-SETUP",
    "KV-HOST-IO",
    "KV-CGROUP",
    "KV-AGENT",
    "KV-AGENT-DIED",
    "KV-CONTROL-UNAVAILABLE",
    "KV-PATH-MISSING",
    "KV-COMMAND-NOT-EXECUTABLE",
];

pub(crate) fn trials() -> Vec<Trial> {
    let around = place::Around::Nothing;
    let trials = |name, whos: &[Who], missing: fn(Who) -> Option<String>| {
        place::trials(name, whos, around, missing)
    };
    let mut all = trials("descriptors", &Who::BOTH, place::nothing);
    all.extend(trials("descriptors_at_first", &Who::BOTH, place::nothing));
    all.extend(trials("processes_of_a_group", &[Who::Root], no_pids));
    all.extend(trials("processes_of_a_user", &[Who::User], no_root));
    all.extend(trials("processes_at_first", &[Who::User], no_root));
    all.extend(trials("disk", &[Who::Root], place::nothing));
    all
}

fn no_root(_: Who) -> Option<String> {
    // A limit of the user's own would count the user's other processes.
    (!is_root()).then(|| "root, to become a user who has no other processes".to_owned())
}

fn no_pids(_: Who) -> Option<String> {
    let there = Path::new("/sys/fs/cgroup/pids/cgroup.procs").exists();
    (!there).then(|| "the cgroup controller pids of version 1".to_owned())
}

/// A life that says what it had too little of, or one like any other; what can be tried again is
/// tried by the next.
fn judged(
    tally: &mut Tally,
    runtime: &Runtime,
    config: SandboxConfig,
    expected: &Seen,
    at: &str,
    lift: impl FnOnce(),
) {
    let result = life(runtime, config);
    lift();
    match &result {
        // The guest is in the same limit.
        Ok(seen) if seen.refused.is_empty() && cannot_fork(seen) => tally.round("guest told"),
        Ok(seen) if seen.refused.is_empty() && seen != expected => {
            tally.round("wrong");
            tally.wrong(format!("{at}: {}", seen.unlike(expected)));
        }
        Ok(seen) if !seen.refused.is_empty() => {
            tally.round("refused");
            if seen.applied != "old\n" {
                tally.wrong(format!("{at}: {seen:?}"));
            }
        }
        _ => tally.life(&result, SHORT, at),
    }
}

/// Whether a command of the guest was told that there is no room for one more process. It keeps
/// its restrictions, as far as it came to tell of them.
fn cannot_fork(seen: &Seen) -> bool {
    seen.probe.contains("Cannot fork") || seen.streamed.starts_with("exited with status 2 ")
}

fn limit(resource: Resource, current: Option<u64>) {
    let maximum = getrlimit(resource).maximum;
    let current = current.or(maximum);
    setrlimit(resource, Rlimit { current, maximum }).unwrap();
}

/// Every number of descriptors from none left to enough, in a process that has had a sandbox.
pub(crate) fn descriptors() {
    let work = workspace();
    let runtime = runtime();
    let expected = life(&runtime, config("strict", &work)).unwrap();
    renew(&work);
    let mut before = Around::now();
    let mut tally = Tally::new("descriptors");
    for round in 0..number("KAVACH_ROUNDS").map_or(1, |rounds| rounds.div_ceil(58)) {
        for n in 3..=60 {
            limit(Resource::Nofile, Some(n));
            let at = format!("round {round}, at most {n} descriptors");
            let lift = || limit(Resource::Nofile, None);
            judged(
                &mut tally,
                &runtime,
                config("strict", &work),
                &expected,
                &at,
                lift,
            );
            renew(&work);
            tally.settled(&mut before, &at);
        }
    }
    let next = life(&runtime, config("strict", &work)).unwrap();
    assert_eq!(next, expected);
    assert!(tally.count("ok") > 0, "{tally:?}");
    tally.end();
}

/// The same in a process in which everything is made for the first time: each number in one of its
/// own.
pub(crate) fn descriptors_at_first() {
    at_first("descriptors at the first use", "nofile", 3..61);
}

/// The same for processes and threads of a user.
pub(crate) fn processes_at_first() {
    at_first("processes of a user at the first use", "nproc", 0..12);
}

fn at_first(name: &str, resource: &str, numbers: std::ops::Range<u64>) {
    let mut tally = Tally::new(name);
    let program = std::env::current_exe().unwrap();
    let count = numbers.end - numbers.start;
    for round in 0..number("KAVACH_ROUNDS").map_or(1, |rounds| rounds.div_ceil(count)) {
        for n in numbers.clone() {
            let said = std::process::Command::new(&program)
                .args(["--child", "first_life", resource, &n.to_string()])
                .output()
                .unwrap();
            let said_well = String::from_utf8_lossy(&said.stdout);
            // A library prints nothing, and no thread of it panics.
            let said_ill = String::from_utf8_lossy(&said.stderr);
            let at = format!("round {round}, {resource} {n}");
            match said_well.trim() {
                end if said.status.success() && said_ill.is_empty() => tally.round(end),
                end => {
                    tally.round("wrong");
                    tally.wrong(format!("{at}: {}: {end} {said_ill}", said.status));
                }
            }
        }
    }
    tally.end();
}

/// The child of that: says how its first life ended; the second one has enough.
pub(crate) fn first_life(args: &[String]) {
    let [resource, most] = args else {
        panic!("first_life RESOURCE NUMBER")
    };
    let work = workspace();
    let runtime = runtime();
    let number: u64 = most.parse().unwrap();
    let (resource, number) = match resource.as_str() {
        "nofile" => (Resource::Nofile, number),
        _ => (Resource::Nproc, tasks_of_user() + number),
    };
    limit(resource, Some(number));
    let mut tally = Tally::new("first");
    let result = life(&runtime, config("strict", &work));
    limit(resource, None);
    match &result {
        Ok(seen) if cannot_fork(seen) => {}
        _ => tally.life(&result, SHORT, most),
    }
    assert!(!tally.is_wrong(), "{tally:?}");
    renew(&work);
    Around::await_no_sandbox();
    let end = result.map_or_else(|e| e.code(), |_| "ok");
    life(&runtime, config("strict", &work)).unwrap();
    renew(&work);
    // What the process keeps may have been made by the second life only; of its sandboxes nothing
    // is left in either case.
    Around::await_no_sandbox();
    println!("{end}");
}

/// A control group with room for few processes, the test in it.
struct Cramped(PathBuf);

impl Cramped {
    fn new() -> Self {
        let base = Path::new("/sys/fs/cgroup/pids");
        let dir = base.join(format!("kavach-faults-{}", rustix::process::getpid()));
        // Of an earlier run that was cut off, in another pid namespace.
        let _ = fs::remove_dir(&dir);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        Self(dir)
    }

    fn used(&self) -> u64 {
        let text = fs::read_to_string(self.0.join("pids.current")).unwrap();
        text.trim().parse().unwrap()
    }

    fn limit(&self, most: Option<u64>) {
        let most = most.map_or_else(|| "max".to_owned(), |most| most.to_string());
        fs::write(self.0.join("pids.max"), most).unwrap();
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let out = Path::new("/sys/fs/cgroup/pids/cgroup.procs");
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            let _ = fs::write(out, pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

pub(crate) fn processes_of_a_group() {
    let work = workspace();
    let group = Cramped::new();
    let used = || group.used();
    let set = |most| group.limit(most);
    processes("processes of a group", &work, used, set);
}

pub(crate) fn processes_of_a_user() {
    let work = workspace();
    let set = |most| limit(Resource::Nproc, most);
    processes("processes of a user", &work, tasks_of_user, set);
}

/// Threads and processes of this user.
fn tasks_of_user() -> u64 {
    let own = fs::read_dir("/proc").unwrap().flatten();
    let tasks = own.filter(|entry| {
        use std::os::unix::fs::MetadataExt as _;
        let user = rustix::process::getuid().as_raw();
        entry.metadata().is_ok_and(|meta| meta.uid() == user)
    });
    let count = tasks.map(|entry| fs::read_dir(entry.path().join("task")));
    count.flatten().map(|tasks| tasks.count() as u64).sum()
}

fn processes(name: &str, work: &Path, used: impl Fn() -> u64, set: impl Fn(Option<u64>)) {
    let runtime = runtime();
    let expected = life(&runtime, config("strict", work)).unwrap();
    renew(work);
    let mut before = Around::now();
    let mut tally = Tally::new(name);
    for round in 0..number("KAVACH_ROUNDS").map_or(2, |rounds| rounds.div_ceil(16)) {
        for more in 0..16 {
            set(Some(used() + more));
            let at = format!("round {round}, {more} more");
            judged(
                &mut tally,
                &runtime,
                config("strict", work),
                &expected,
                &at,
                || set(None),
            );
            renew(work);
            tally.settled(&mut before, &at);
        }
    }
    let next = life(&runtime, config("strict", work)).unwrap();
    assert_eq!(next, expected);
    assert!(tally.count("ok") < tally.rounds(), "{tally:?}");
    tally.end();
}

/// A file system with no room left, for the target of an apply and for the upper directory.
pub(crate) fn disk() {
    let runtime = runtime();
    let small = place().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&small)
        .status();
    assert!(mounted.unwrap().success());
    let (work, upper) = (small.join("work"), small.join("upper"));
    for dir in [&work, &upper] {
        fs::create_dir(dir).unwrap();
    }
    renew(&work);
    let policy = || kavach::SandboxPolicy::strict();
    let with = |upper: Upper| {
        let workspace = Workspace::new(&work).upper(upper);
        let builder = SandboxConfig::builder().policy(policy());
        builder.workspace(workspace).build()
    };
    let expected = life(&runtime, with(Upper::Tmpfs)).unwrap();
    renew(&work);
    let mut before = Around::now();
    let mut tally = Tally::new("disk");
    let filling = small.join("filling");
    for round in 0..number("KAVACH_ROUNDS").map_or(2, |rounds| rounds.div_ceil(66)) {
        // Pages that are left: none, one, and so on.
        for left in 0..33 {
            for on_disk in [false, true] {
                let at = format!("round {round}, {left} pages left, upper on disk: {on_disk}");
                fill(&filling, left);
                let upper = match on_disk {
                    true => Upper::Directory(upper.clone()),
                    false => Upper::Tmpfs,
                };
                let result = life(&runtime, with(upper));
                fs::remove_file(&filling).unwrap();
                let content = fs::read_to_string(work.join("file")).unwrap();
                // The new file, the old one, or the guest was told that its disk is full.
                match &result {
                    Ok(seen) if seen.refused.is_empty() => {
                        let full = on_disk && seen.streamed.starts_with("exited with status");
                        tally.round(if *seen == expected {
                            "ok"
                        } else {
                            "guest told"
                        });
                        if *seen != expected && !full {
                            tally.wrong(format!("{at}: {}", seen.unlike(&expected)));
                        }
                    }
                    Ok(seen) => {
                        tally.round("refused");
                        if content != "old\n" || !seen.refused[0].contains("No space left") {
                            tally.wrong(format!("{at}: {content:?}, {:?}", seen.refused));
                        }
                    }
                    Err(_) => tally.life(&result, SHORT, &at),
                }
                if content != "old\n" && content != "new\n" && content.is_empty() != on_disk {
                    tally.wrong(format!("{at}: the file is {content:?}"));
                }
                renew(&work);
                let _ = fs::remove_dir_all(small.join("upper/layers"));
                tally.settled(&mut before, &at);
            }
        }
    }
    let next = life(&runtime, with(Upper::Tmpfs)).unwrap();
    assert_eq!(next, expected);
    tally.end();
}

/// Fills the file system but for so many pages.
fn fill(file: &Path, left: u64) {
    use std::io::Write as _;
    let mut filling = fs::File::create(file).unwrap();
    let page = [1; 4096];
    while filling.write_all(&page).is_ok() {}
    let len = filling.metadata().unwrap().len();
    filling.set_len(len.saturating_sub(left * 4096)).unwrap();
}
