//! What the tests share.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kavach::{KavachError, Sandbox, SandboxConfig, SandboxPolicy, SandboxState};
use libtest_mimic::Trial;

/// The longest that anything here is waited for. Nothing takes a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The name of a test, with who runs it where this is not the one who started the suite.
fn named(name: &str) -> String {
    std::env::var("KAVACH_TEST_AS").map_or_else(|_| name.to_owned(), |who| format!("{who}::{name}"))
}

/// A test that runs everywhere.
pub(crate) fn test(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(named(name), move || {
        run();
        Ok(())
    })
}

/// A test that needs something; skipped, with what is missing, where it is not there.
pub(crate) fn test_with(
    name: &str,
    missing: Option<&str>,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    if let Some(missing) = missing {
        let line = format!("SKIP: {}: {missing}\n", named(name));
        match std::env::var_os("KAVACH_SKIP_LOG") {
            Some(log) => {
                let log = fs::OpenOptions::new().append(true).open(log);
                log.unwrap().write_all(line.as_bytes()).unwrap();
            }
            None => eprint!("{line}"),
        }
    }
    test(name, run).with_ignored_flag(missing.is_some())
}

/// What keeps this user on this host from having cgroups with a freezer, if anything.
pub(crate) fn no_freezer() -> Option<&'static str> {
    static ANSWER: OnceLock<Option<String>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| {
        let paused = run(async {
            let mut sandbox = running("minimal").await;
            sandbox.transition(SandboxState::Paused)
        });
        match paused {
            Ok(()) => None,
            Err(KavachError::Unsupported { reason, .. }) => Some(reason),
            Err(e) => panic!("{e}"),
        }
    });
    answer.as_deref()
}

/// The reverse, for what holds only without.
pub(crate) fn a_freezer() -> Option<&'static str> {
    match no_freezer() {
        None => Some("this user has control groups here; it states what holds without them"),
        Some(_) => None,
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a test's body on a runtime of its own.
pub(crate) fn run<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(body)
}

pub(crate) fn config(preset: &str) -> SandboxConfig {
    let policy = SandboxPolicy::from_preset(preset).unwrap();
    SandboxConfig::builder().policy(policy).build()
}

pub(crate) async fn created(preset: &str) -> Sandbox {
    Sandbox::create(config(preset)).await.unwrap()
}

pub(crate) async fn running(preset: &str) -> Sandbox {
    let mut sandbox = created(preset).await;
    sandbox.transition(SandboxState::Running).unwrap();
    sandbox
}

/// Words for `sleep` that sleep for ever and are seen in no other process.
pub(crate) fn marker() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("9{:09}{n:06}", std::process::id())
}

/// Asks again and again, for a bounded time.
pub(crate) fn until(what: &str, done: impl FnMut() -> bool) {
    assert!(comes_true(done), "waited in vain: {what}");
}

/// Whether it comes true within [`PATIENCE`].
pub(crate) fn comes_true(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        // Leaves the processor to those that are waited for; nothing depends on the length.
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Each process of the host that is not a zombie, with its command line.
pub(crate) fn processes() -> Vec<(i32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // One that ended since has no command line any more, like a zombie.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !line.is_empty() {
            all.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    all
}

/// The processes whose command line holds `text`.
pub(crate) fn with_text(text: &str) -> Vec<i32> {
    let matching = processes()
        .into_iter()
        .filter(|(_, line)| line.contains(text));
    matching.map(|(pid, _)| pid).collect()
}

/// The processes that sleep for `mark`; a shell that was told to start one is none.
pub(crate) fn sleeping(mark: &str) -> Vec<i32> {
    let sleep = format!("sleep {mark} ");
    let matching = processes().into_iter().filter(|(_, line)| *line == sleep);
    matching.map(|(pid, _)| pid).collect()
}

/// Waits until exactly one process sleeps for `mark`.
pub(crate) fn the_sleeper(mark: &str) -> i32 {
    let mut found = Vec::new();
    until("a process to sleep", || {
        found = sleeping(mark);
        found.len() == 1
    });
    found[0]
}

/// Waits until exactly one process has `text` in its command line.
pub(crate) fn the_one_with(text: &str) -> i32 {
    let mut found = Vec::new();
    until("a process to start", || {
        found = with_text(text);
        found.len() == 1
    });
    found[0]
}

/// PID 1 of a sandbox, by the name in its title.
pub(crate) fn agents_of(id: &str) -> Vec<i32> {
    with_text(&format!("kavach-agent [{id}]"))
}

/// The control groups of this host whose names begin with `prefix`.
pub(crate) fn cgroups(prefix: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    found.push(entry.path());
                } else {
                    walk(&entry.path(), prefix, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), prefix, &mut found);
    found
}

/// The control groups of one sandbox of this process.
pub(crate) fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let (pid, seq) = id.split_once('-').unwrap();
    let all = cgroups(&format!("kavach.{pid}."));
    let own = all.into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.split('.').nth(3) == Some(seq)
    });
    own.collect()
}

/// Nothing of the sandbox is on the host. At once, not after a while: who has waited for the end
/// of a sandbox has waited for this.
#[track_caller]
pub(crate) fn assert_gone(id: &str) {
    assert_eq!(agents_of(id), [0; 0]);
    assert_eq!(cgroups_of(id), <[PathBuf; 0]>::default());
}

/// Ticks of processor time that a process has had.
pub(crate) fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
    // utime and stime, fields 14 and 15 of proc_pid_stat(5); `fields` begins at the second.
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}

/// Kinds of the open descriptors of this process.
pub(crate) fn descriptors() -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            let target = target.to_string_lossy().into_owned();
            open.push(target.split_once(":[").map_or(&*target, |t| t.0).to_owned());
        }
    }
    open.sort();
    open
}

/// Waits until no more descriptors are open than `before`; fewer can be, where what was counted
/// then was about to be closed.
pub(crate) fn descriptors_settle(before: &[String]) {
    let mut now = Vec::new();
    let settled = comes_true(|| {
        now = descriptors();
        now.len() <= before.len()
    });
    assert!(settled, "before: {before:#?}, now: {now:#?}");
}

/// This program again, as one of the children of `main`.
pub(crate) fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--child", name]);
    command
}

/// Runs such a child to its end; it must succeed.
pub(crate) fn run_child(name: &str) {
    let status = child(name).status().unwrap();
    assert!(status.success(), "{name}: {status}");
}

/// Numbers that look random and are the same for the same seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A number from the environment, for seeds and rounds.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}
