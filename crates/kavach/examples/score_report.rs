//! How strong a sandbox is, and how that is known: the report says what holds each control.
//!
//! ```text
//! by the scale: 63 (standard)
//! here:         [..] (standard)
//! syscall_filter is enforced
//!   by   [..]
//!   seen [..]Seccomp: 2[..]
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Backend, Control, Sandbox, SandboxConfig, SandboxPolicy, scoring};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let strict = SandboxPolicy::strict();
    println!(
        "by the scale: {}",
        scoring::score_backend(Backend::Process, &strict)
    );

    let config = SandboxConfig::builder().policy(strict).build();
    let mut sandbox = Sandbox::create(config).await?;

    // Of this sandbox on this host: what is not held in full costs its points.
    println!("here:         {}", sandbox.strength());
    for row in sandbox.report().losses() {
        assert!(row.control.may_be_approximate(), "{row:?}");
    }
    if let Some(row) = sandbox.report().get(Control::SyscallFilter) {
        println!("{} is {}", row.control, row.state);
        println!("  by   {}", row.mechanism);
        println!("  seen {}", row.evidence);
    }

    sandbox.destroy().await?;
    Ok(())
}
