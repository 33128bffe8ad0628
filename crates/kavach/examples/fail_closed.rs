//! What cannot be enforced is an error before anything runs, never a weaker sandbox.
//!
//! ```text
//! KV-CONTROL-UNAVAILABLE: cannot enforce syscall_filter: [..]
//!   use the policy `minimal`, or another backend
//! KV-BACKEND-UNAVAILABLE: backend `firecracker` is [..]
//! [..]
//! KV-PATH-MISSING: filesystem.read[0]: cannot use "/no/such/path": [..]
//!   correct the path, or create it before the sandbox
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use kavach::{Backend, Sandbox, SandboxConfig, SandboxPolicy};

#[tokio::main]
async fn main() {
    // The backend for tests isolates nothing, and does not pretend to.
    let nothing = SandboxConfig::builder()
        .backend(Backend::Noop)
        .policy(SandboxPolicy::strict());
    refused(nothing.build()).await;

    // Another backend is never taken in its place.
    let elsewhere = SandboxConfig::builder().backend(Backend::Firecracker);
    refused(elsewhere.build()).await;

    // Nor is a path left out that is not there.
    let missing = SandboxConfig::builder().read("/no/such/path");
    refused(missing.build()).await;
}

/// The code is for programs and stable, the text and the hint are for people.
async fn refused(config: SandboxConfig) {
    match Sandbox::create(config).await {
        Err(error) => {
            println!("{}: {error}", error.code());
            println!("  {}", error.hint().unwrap_or_default());
        }
        Ok(_) => println!("it was built"),
    }
}
