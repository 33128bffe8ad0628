//! Many sandboxes side by side, and several commands in one.
//!
//! ```text
//! sandboxes: 0 1 4 9 16 25 36 49
//! commands:  0 1 8 27
//! one sees what another wrote: shared
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Command, Sandbox, SandboxConfig, SandboxState};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A sandbox for each job: they see nothing of one another.
    let mut jobs = JoinSet::new();
    for n in 0..8 {
        jobs.spawn(async move {
            let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
            sandbox.transition(SandboxState::Running)?;
            let result = sandbox
                .exec(Command::shell(format!("echo $(({n} * {n}))")))
                .await?;
            sandbox.destroy().await?;
            anyhow::Ok(result.stdout.trim().parse::<u32>()?)
        });
    }
    let mut squares = jobs
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    squares.sort_unstable();
    println!("sandboxes: {}", list(&squares));

    // One sandbox is one world: its commands run side by side and share files and processes. A
    // handle can be cloned and sent to other tasks.
    let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
    sandbox.transition(SandboxState::Running)?;
    let mut jobs = JoinSet::new();
    for n in 0..4 {
        let handle = sandbox.handle();
        jobs.spawn(async move {
            let script = format!("echo $(({n} * {n} * {n}))");
            let result = handle.exec(Command::shell(script)).await?;
            anyhow::Ok(result.stdout.trim().parse::<u32>()?)
        });
    }
    let mut cubes = jobs
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    cubes.sort_unstable();
    println!("commands:  {}", list(&cubes));

    sandbox
        .exec(Command::shell("echo shared > /tmp/note"))
        .await?;
    let result = sandbox.exec("cat /tmp/note").await?;
    print!("one sees what another wrote: {}", result.stdout);

    sandbox.destroy().await?;
    Ok(())
}

fn list(numbers: &[u32]) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(" ")
}
