//! The end of a sandbox in good order: every process may say goodbye, for as long as the grace.
//!
//! ```text
//! ready
//! goodbye
//! exited with status 0
//! stopped, then destroyed
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use kavach::{Command, Sandbox, SandboxConfig, SandboxState};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(SandboxConfig::builder().build()).await?;
    sandbox.transition(SandboxState::Running)?;

    let service = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut child = sandbox.spawn(Command::shell(service)).await?;
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        println!("{}", lines.next_line().await?.unwrap_or_default());

        // SIGTERM to all, and after the grace SIGKILL to whoever is left. Returns as soon as
        // nobody is.
        sandbox.stop(Duration::from_secs(60)).await?;
        println!("{}", lines.next_line().await?.unwrap_or_default());
    }
    println!("{}", child.wait().await?.termination);

    // Dropping a sandbox kills and removes everything too; this tells whether it worked.
    let stopped = sandbox.state();
    sandbox.destroy().await?;
    println!("{stopped}, then {}", sandbox.state());
    Ok(())
}
