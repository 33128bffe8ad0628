//! Output line by line, while the program runs; then its end.
//!
//! ```text
//! line 1
//! line 2
//! line 3
//! exited with status 3
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Command, Sandbox, SandboxConfig, SandboxState};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
    sandbox.transition(SandboxState::Running)?;

    let script = "for n in 1 2 3; do echo line $n; done; exit 3";
    let mut child = sandbox.spawn(Command::shell(script)).await?;

    // A program whose output nobody reads blocks when the pipe is full: take it and read it.
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            println!("{line}");
        }
    }

    let result = child.wait().await?;
    println!("{}", result.termination);

    sandbox.destroy().await?;
    Ok(())
}
