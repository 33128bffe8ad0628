//! What the bodies share.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kavach::{Control, ExecResult, Sandbox, SandboxConfig, SandboxPolicy, SandboxState};

/// The longest that anything here is waited for. Nothing takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a body on a runtime of its own.
pub(crate) fn run<T>(body: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(body)
}

/// A running sandbox of `strict` with some of its limits changed.
pub(crate) async fn strict(change: impl FnOnce(&mut SandboxPolicy)) -> Sandbox {
    let mut policy = SandboxPolicy::strict();
    change(&mut policy);
    let config = SandboxConfig::builder().policy(policy).build();
    let mut sandbox = Sandbox::create(config)
        .await
        .unwrap_or_else(|e| panic!("{e} ({:?})", e.hint()));
    sandbox.transition(SandboxState::Running).unwrap();
    sandbox
}

/// How often a limit was hit.
pub(crate) fn hits(result: &ExecResult, control: Control) -> u64 {
    let events = result.limit_events.iter();
    let events = events.filter(|event| event.control == control);
    events.map(|event| event.count).sum()
}

/// Asks again and again, for a bounded time.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        // Leaves the processor to those that are waited for; nothing depends on the length.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The groups that sandboxes of the process `pid` have.
pub(crate) fn groups_of(pid: u32) -> Vec<PathBuf> {
    fn walk(dir: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    found.push(entry.path());
                } else {
                    walk(&entry.path(), prefix, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(
        Path::new("/sys/fs/cgroup"),
        &format!("kavach.{pid}."),
        &mut found,
    );
    found
}

/// The group of this process's only sandbox.
pub(crate) fn group() -> PathBuf {
    let mut groups = groups_of(std::process::id());
    assert_eq!(groups.len(), 1, "{groups:?}");
    groups.remove(0)
}

/// What a control file holds.
pub(crate) fn read(group: &Path, file: &str) -> String {
    let path = group.join(file);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// A line of a flat keyed file.
pub(crate) fn key(group: &Path, file: &str, key: &str) -> u64 {
    let text = read(group, file);
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let mut values = lines.filter(|(name, _)| *name == key);
    let (_, value) = values.next().unwrap_or_else(|| panic!("{file}: {text}"));
    value.parse().unwrap()
}

/// Words for `sleep` that sleep for ever and are seen in no other process.
pub(crate) fn mark() -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("9{:09}{n:06}", std::process::id())
}

/// The processes that sleep for `mark`.
pub(crate) fn sleeping(mark: &str) -> Vec<i32> {
    let line = format!("sleep\0{mark}\0");
    processes(|_, command| command == line)
}

/// The processes of the host with a command line that fits.
pub(crate) fn processes(fits: impl Fn(i32, &str) -> bool) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // One that ended since has no command line any more, like a zombie.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !line.is_empty() && fits(pid, &String::from_utf8_lossy(&line)) {
            found.push(pid);
        }
    }
    found
}
