//! How strong a sandbox is, as measured: a program of kavach's own tries from inside what is to be
//! refused.
//!
//! ```text
//! measured [..] (standard), as claimed
//! syscall_filter: observed, [..] probes refused[..]
//! landlock: not claimed, not asked for; 1 of 1 probe went through
//! refused       ptrace(2): EPERM inside, ESRCH outside
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Control, Sandbox, SandboxConfig};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The policy `basic`; every option of a sandbox can be verified.
    let config = SandboxConfig::builder().build();
    let found = Sandbox::verify(config).await?;

    // What is claimed and was seen to go through is an error of its own.
    for control in found.claimed_not_observed() {
        println!(
            "claimed, not observed: {}: {}",
            control.control, control.why
        );
    }
    assert!(found.holds());
    assert_eq!(found.measured, found.claimed);
    println!("measured {}, as claimed", found.measured);

    for control in [Control::SyscallFilter, Control::Landlock] {
        if let Some(seen) = found.control(control) {
            println!("{control}: {}, {}", seen.observation, seen.why);
        }
    }
    // Every probe: what was tried, what happened inside, and outside for comparison.
    for probe in found.probes.iter().filter(|p| p.what == "ptrace(2)") {
        let outside = probe.outside.as_deref().unwrap_or("not tried");
        println!(
            "{:<13} {}: {} inside, {outside} outside",
            probe.outcome, probe.what, probe.seen
        );
    }
    Ok(())
}
