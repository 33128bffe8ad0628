//! Creates, uses and destroys sandboxes, and compares what this process has before and after:
//! `leaks [N] [POLICY] [AT_ONCE]` (default: 1000, strict, 1: one after the other).
//! `scripts/leaks.sh` runs it and counts what is left on the host.
#![allow(
    clippy::print_stdout,
    reason = "a program that reports on standard output"
)]

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kavach::{Sandbox, SandboxConfig, SandboxPolicy, SandboxState};
use tokio::task::JoinSet;

/// What the allocator may keep for itself.
const MOST_MORE_KB: u64 = 16 << 10;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let count: u64 = match args.next() {
        Some(text) => text.parse().context("the number of sandboxes")?,
        None => 1000,
    };
    let preset = args.next().unwrap_or_else(|| "strict".into());
    let at_once: u64 = match args.next() {
        Some(text) => text.parse().context("the number at once")?,
        None => 1,
    };
    let policy = SandboxPolicy::from_preset(&preset)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // What kavach makes once per process and keeps (its thread, the agent's image, the reaper's
    // connection) is no leak, and neither is what the allocator keeps of the first crowd.
    runtime.block_on(crowd(&policy, at_once))?;

    let before = Counters::now()?;
    println!("before: {before}");
    let start = Instant::now();
    let mut left = count;
    while left > 0 {
        let now = left.min(at_once.max(1));
        runtime.block_on(crowd(&policy, now))?;
        left -= now;
    }
    let took = start.elapsed().as_secs_f64();
    let after = Counters::settled(&before)?;
    println!("after:  {after}");
    println!(
        "{count} sandboxes ({preset}, {at_once} at once) in {took:.2} s: {:.0} per second",
        f64::from(u32::try_from(count)?) / took
    );
    ensure!(
        before.descriptors == after.descriptors,
        "descriptors differ\nbefore: {:#?}\nafter: {:#?}",
        before.descriptors,
        after.descriptors
    );
    ensure!(after.threads <= before.threads, "threads were left");
    ensure!(
        after.resident_kb <= before.resident_kb + MOST_MORE_KB,
        "more memory than {MOST_MORE_KB} KiB was kept"
    );
    Ok(())
}

/// Whole lives, side by side.
async fn crowd(policy: &SandboxPolicy, count: u64) -> anyhow::Result<()> {
    let mut sandboxes = Vec::new();
    for _ in 0..count {
        let config = SandboxConfig::builder()
            .policy(policy.clone())
            .agent_id("leaks")
            .build();
        let mut sandbox = Sandbox::create(config).await.context("create")?;
        sandbox.transition(SandboxState::Running)?;
        sandboxes.push(sandbox);
    }
    // All are there now.
    let mut commands = JoinSet::new();
    for sandbox in &sandboxes {
        let handle = sandbox.handle();
        commands.spawn(async move { handle.exec("/bin/true").await });
    }
    while let Some(result) = commands.join_next().await {
        let result = result?.context("exec")?;
        ensure!(result.success(), "/bin/true: {result:?}");
    }
    for mut sandbox in sandboxes {
        sandbox.destroy().await.context("destroy")?;
    }
    Ok(())
}

/// What this process has.
struct Counters {
    /// What its descriptors are open on, sorted, numbers of inodes left out.
    descriptors: Vec<String>,
    threads: usize,
    resident_kb: u64,
}

impl Counters {
    fn now() -> anyhow::Result<Self> {
        let mut descriptors = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            // The listing's own descriptor is gone by the time it is asked about.
            if let Ok(target) = std::fs::read_link(entry?.path()) {
                let target = target.to_string_lossy().into_owned();
                let kind = target.split_once(":[").map_or(&*target, |(kind, _)| kind);
                // kavach keeps one for some seconds, to see that something was mounted.
                if !kind.ends_with("/mountinfo") {
                    descriptors.push(kind.to_owned());
                }
            }
        }
        descriptors.sort();
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = line.context("VmRSS")?.trim().trim_end_matches(" kB");
        Ok(Self {
            descriptors,
            threads: std::fs::read_dir("/proc/self/task")?.count(),
            resident_kb: resident.parse()?,
        })
    }

    /// As they are, once what ends by itself had its time.
    fn settled(before: &Self) -> anyhow::Result<Self> {
        let since = Instant::now();
        loop {
            let now = Self::now()?;
            let same = now.descriptors == before.descriptors && now.threads <= before.threads;
            if same || since.elapsed() > Duration::from_secs(5) {
                return Ok(now);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fds {}, threads {}, VmRSS {} KiB",
            self.descriptors.len(),
            self.threads,
            self.resident_kb
        )
    }
}
