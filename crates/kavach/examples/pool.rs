//! Sandboxes that stand ready: claiming one takes microseconds, making one milliseconds.
//!
//! ```text
//! alice: hello
//! alice again: her files are there
//! bob: nothing of hers
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Command, SandboxConfig, SandboxPool};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pool = SandboxPool::new(SandboxConfig::builder().build(), 2).await?;

    let alice = pool.claim("alice").await?;
    let result = alice
        .exec(Command::shell("echo hello | tee /tmp/note"))
        .await?;
    print!("alice: {}", result.stdout);
    // Kept for the same tenant alone: its processes end, its files stay.
    alice.give_back().await?;

    let alice = pool.claim("alice").await?;
    let result = alice.exec("test -e /tmp/note").await?;
    println!(
        "alice again: her files {}",
        if result.success() {
            "are there"
        } else {
            "are gone"
        }
    );
    drop(alice); // destroyed

    let bob = pool.claim("bob").await?;
    let result = bob.exec("test -e /tmp/note").await?;
    println!(
        "bob: {}",
        if result.success() {
            "her files"
        } else {
            "nothing of hers"
        }
    );
    Ok(())
}
