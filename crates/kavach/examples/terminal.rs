//! A program that wants a terminal gets one: it has a size, and turns keys into signals.
//!
//! ```text
//! 24 80
//! 50 132
//! interrupted
//! exited with status 7
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Command, PtySize, Sandbox, SandboxConfig, SandboxState};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
    sandbox.transition(SandboxState::Running)?;

    let script = "
        trap 'echo interrupted; exit 7' INT
        stty -echo; stty size
        read go; stty size
        while :; do read go; done";
    let command = Command::shell(script)
        .pty(PtySize::new(24, 80))
        .stdin_piped();
    let mut child = sandbox.spawn(command).await?;

    // The terminal is one stream in both directions.
    if let (Some(mut keys), Some(screen)) = (child.stdin.take(), child.stdout.take()) {
        let mut lines = BufReader::new(screen).lines();
        println!("{}", lines.next_line().await?.unwrap_or_default());
        child.resize(PtySize::new(50, 132))?;
        keys.write_all(b"go\n").await?;
        println!("{}", lines.next_line().await?.unwrap_or_default());
        keys.write_all(b"\x03").await?; // Ctrl-C
        println!("{}", lines.next_line().await?.unwrap_or_default());
        println!("{}", child.wait().await?.termination);
    }

    sandbox.destroy().await?;
    Ok(())
}
