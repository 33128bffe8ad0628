//! A hook sees every act before and after it, and may forbid it.
//!
//! ```text
//! 1 agent-7: create
//! 2 agent-7: become running
//! 3 agent-7: run echo hello
//! 4 agent-7: ended: exited with status 0
//! 5 agent-7: run rm -rf /
//! vetoed by the hook `no-rm`: [..]
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kavach::{AuditEvent, AuditHook, AuditKind, Decision, Sandbox, SandboxConfig, SandboxState};

/// Tells what happens, and allows no `rm`.
#[derive(Default)]
struct NoRm {
    told: AtomicU32,
}

impl NoRm {
    fn tell(&self, event: &AuditEvent, what: &str) {
        let n = self.told.fetch_add(1, Ordering::Relaxed) + 1;
        println!("{n} {}: {what}", event.agent_id);
    }
}

impl AuditHook for NoRm {
    fn name(&self) -> &str {
        "no-rm"
    }

    fn before(&self, event: &AuditEvent) -> Decision {
        match &event.kind {
            AuditKind::Created { .. } => self.tell(event, "create"),
            AuditKind::Transition {
                to: SandboxState::Running,
                ..
            } => {
                self.tell(event, "become running");
            }
            AuditKind::Exec { argv, .. } => {
                self.tell(event, &format!("run {}", argv.join(" ")));
                if argv.first().is_some_and(|program| program == "rm") {
                    return Decision::Veto("nothing is removed here".into());
                }
            }
            _ => {}
        }
        Decision::Allow
    }

    fn after(&self, event: &AuditEvent) {
        if let AuditKind::ExecEnded { termination, .. } = &event.kind {
            self.tell(event, &format!("ended: {termination}"));
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = SandboxConfig::builder()
        .agent_id("agent-7")
        .hook(Arc::new(NoRm::default()))
        .build();
    let mut sandbox = Sandbox::create(config).await?;
    sandbox.transition(SandboxState::Running)?;

    sandbox.exec("echo hello").await?;
    if let Err(error) = sandbox.exec("rm -rf /").await {
        println!("{error}");
    }

    sandbox.destroy().await?;
    Ok(())
}
