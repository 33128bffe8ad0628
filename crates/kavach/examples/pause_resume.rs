//! A paused sandbox stands still: no process of it runs, and its clocks stop.
//!
//! It needs a freezer: control groups that this process may make groups in.
//!
//! ```text
//! paused:  a command cannot start: cannot run a command: the sandbox is paused, not running
//! resumed: it went on and exited with status 0
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Command, Sandbox, SandboxConfig, SandboxState};
use tokio::io::AsyncWriteExt as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
    sandbox.transition(SandboxState::Running)?;

    // It waits for a line.
    let mut child = sandbox
        .spawn(Command::shell("read line").stdin_piped())
        .await?;

    sandbox.transition(SandboxState::Paused)?;
    // The line is there, but nobody moves.
    if let Some(mut input) = child.stdin.take() {
        input.write_all(b"go on\n").await?;
    }
    assert!(child.try_wait()?.is_none());
    if let Err(error) = sandbox.exec("true").await {
        println!("paused:  a command cannot start: {error}");
    }

    sandbox.transition(SandboxState::Running)?;
    let result = child.wait().await?;
    println!("resumed: it went on and {}", result.termination);

    sandbox.destroy().await?;
    Ok(())
}
