//! Creates, uses and destroys sandboxes in a row, and compares the descriptors of this process
//! before and after: `leaks [N] [POLICY]` (default: 1000, strict). `scripts/leaks.sh` runs it
//! and counts what is left on the host.
#![allow(
    clippy::print_stdout,
    reason = "a program that reports on standard output"
)]

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use kavach::{Sandbox, SandboxConfig, SandboxPolicy, SandboxState};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let count: u64 = match args.next() {
        Some(text) => text.parse().context("the number of sandboxes")?,
        None => 1000,
    };
    let preset = args.next().unwrap_or_else(|| "strict".into());
    let policy = SandboxPolicy::from_preset(&preset)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // What kavach makes once per process and keeps (its thread, the agent's image, the reaper's
    // connection) is no leak.
    runtime.block_on(one(&policy))?;

    let before = descriptors()?;
    println!("fds before: {}", before.len());
    let start = Instant::now();
    for _ in 0..count {
        runtime.block_on(one(&policy))?;
    }
    let took = start.elapsed().as_secs_f64();
    let after = descriptors()?;
    println!("fds after:  {}", after.len());
    println!(
        "{count} sandboxes ({preset}) in {took:.2} s: {:.0} per second",
        f64::from(u32::try_from(count)?) / took
    );
    if before != after {
        bail!("descriptors differ\nbefore: {before:#?}\nafter: {after:#?}");
    }
    Ok(())
}

/// A whole life.
async fn one(policy: &SandboxPolicy) -> anyhow::Result<()> {
    let config = SandboxConfig::builder()
        .policy(policy.clone())
        .agent_id("leaks")
        .build();
    let mut sandbox = Sandbox::create(config).await.context("create")?;
    sandbox.transition(SandboxState::Running)?;
    let result = sandbox.exec("/bin/true").await.context("exec")?;
    ensure!(result.success(), "/bin/true: {result:?}");
    sandbox.destroy().await.context("destroy")
}

/// What the descriptors of this process are open on, sorted, numbers of inodes left out.
fn descriptors() -> anyhow::Result<Vec<String>> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        // The listing's own descriptor is gone by the time it is asked about.
        if let Ok(target) = std::fs::read_link(entry?.path()) {
            let target = target.to_string_lossy().into_owned();
            let kind = target.split_once(":[").map_or(&*target, |(kind, _)| kind);
            open.push(kind.to_owned());
        }
    }
    open.sort();
    Ok(open)
}
