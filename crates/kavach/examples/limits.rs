//! Time, memory and output have limits; which one ended a program is in its result.
//!
//! ```text
//! time:   timed out, exit code 124
//! memory: out of memory, exit code 137
//! output: exited with status 0, exit code 0
//!         1024 bytes kept, truncated: true
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{
    Command, ExecResult, IntoCommand, Sandbox, SandboxConfig, SandboxPolicy, SandboxState,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The clock of a command. The config's own `timeout_ms` is for each that has none.
    let result = run(Command::new("sleep").arg("1000").timeout_ms(200)).await?;
    println!("time:   {}", end(&result));

    // More than there is, for it waits for a line to end: the kernel or kavach kills it.
    let result = run("tail /dev/zero").await?;
    println!("memory: {}", end(&result));

    // Output past its limit is dropped, and never waits in memory.
    let result = run("head -c 1000000 /dev/zero").await?;
    println!("output: {}", end(&result));
    let (kept, cut) = (result.stdout.len(), result.stdout_truncated);
    println!("        {kept} bytes kept, truncated: {cut}");
    Ok(())
}

/// A sandbox for each: where there are no control groups, a limit ends the whole sandbox.
async fn run(command: impl IntoCommand) -> kavach::Result<ExecResult> {
    // `strict` has limits of memory, processes and CPU. These replace two of its numbers.
    let config = SandboxConfig::builder()
        .policy(SandboxPolicy::strict())
        .memory_mb(64)
        .output_limit_kb(1)
        .build();
    let mut sandbox = Sandbox::create(config).await?;
    sandbox.transition(SandboxState::Running)?;
    let result = sandbox.exec(command).await?;
    sandbox.destroy().await?;
    Ok(result)
}

fn end(result: &ExecResult) -> String {
    format!("{}, exit code {}", result.termination, result.exit_code)
}
