//! Typed events of everything that happens to a sandbox, for hooks that watch and may forbid.
//!
//! Hooks are asked on the thread of the caller whose act it is, and told on that thread or on one
//! of a pool, never on the supervisor thread: a slow hook delays its own caller and nobody else. A hook that panics before an act counts as a veto:
//! what it may have wanted to forbid is unknown.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::error::{KavachError, Result};
use crate::lifecycle::SandboxState;
use crate::result::{Denial, LimitEvent, Termination, Verdict};
use crate::worker::Worker;
use crate::workspace::Applied;

/// Something that happened, or is about to.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// Number of the event within its sandbox, from 1, without gaps.
    pub seq: u64,
    /// When, by the host's clock.
    pub time: SystemTime,
    /// Which sandbox.
    pub sandbox: String,
    /// Its owner; empty where none was given.
    pub agent_id: String,
    /// What.
    pub kind: AuditKind,
}

/// What happened. Values of secrets, of variables and of input are never part of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum AuditKind {
    /// A sandbox was built; no guest has run.
    Created {
        /// Its backend.
        backend: crate::Backend,
        /// Its policy's name.
        policy: String,
        /// Its strength; 0 in the event before the act.
        strength: u8,
    },
    /// A sandbox that stood ready was given to somebody.
    Claimed {
        /// To whom.
        tenant: String,
    },
    /// A change of state.
    Transition {
        /// From.
        from: SandboxState,
        /// To.
        to: SandboxState,
    },
    /// A command starts.
    Exec {
        /// Number of the command within its sandbox.
        exec: u64,
        /// Its words. They may hold what a caller put there; do not put secrets there.
        argv: Vec<String>,
    },
    /// A secret goes in.
    Injection {
        /// The command.
        exec: u64,
        /// The secret's name.
        name: String,
        /// How, for instance `env OPENAI_API_KEY`.
        via: String,
    },
    /// A command could not be started, or its sandbox was lost under it.
    ExecFailed {
        /// The command.
        exec: u64,
        /// The stable code of the error.
        code: &'static str,
    },
    /// A command ended.
    ExecEnded {
        /// The command.
        exec: u64,
        /// How.
        termination: Termination,
    },
    /// A limit was hit and survived.
    Limit {
        /// The command.
        exec: u64,
        /// Which.
        limit: LimitEvent,
    },
    /// A refusal that was seen.
    Denied {
        /// The command.
        exec: u64,
        /// What.
        denial: Denial,
    },
    /// Changes of the workspace are about to be written to the host.
    Apply {
        /// How many changes were listed beforehand; `None` where all are taken that there are.
        listed: Option<usize>,
    },
    /// Changes of the workspace were written to the host, or refused.
    Applied {
        /// Each change with what became of it.
        outcome: Applied,
    },
    /// Changes of the workspace could not be read or written. Some may have been applied.
    ApplyFailed {
        /// The stable code of the error.
        code: &'static str,
    },
    /// Whether the output may leave.
    Verdict {
        /// The command.
        exec: u64,
        /// The answer.
        verdict: Verdict,
    },
}

/// A hook's answer to an act that is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Do not, for this reason. The caller gets [`KavachError::Vetoed`].
    Veto(String),
}

/// Watches sandboxes and may forbid acts.
pub trait AuditHook: Send + Sync {
    /// The name that errors show.
    fn name(&self) -> &str;

    /// Called before a creation, a transition, a command, an injection and an apply. The end of a sandbox
    /// (Stopped, Destroyed) is announced but cannot be forbidden: a sandbox that nobody may end
    /// would be no safety.
    fn before(&self, event: &AuditEvent) -> Decision {
        let _ = event;
        Decision::Allow
    }

    /// Called once something has happened.
    fn after(&self, event: &AuditEvent) {
        let _ = event;
    }
}

/// The hooks of one sandbox.
#[derive(Clone)]
pub(crate) struct Audit {
    hooks: Arc<[Arc<dyn AuditHook>]>,
    seq: Arc<AtomicU64>,
    sandbox: String,
    agent_id: String,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.hooks.iter().map(|hook| hook.name().to_owned());
        f.debug_list().entries(names).finish()
    }
}

impl Audit {
    pub(crate) fn new(hooks: &[Arc<dyn AuditHook>], sandbox: &str, agent_id: &str) -> Self {
        Self {
            hooks: hooks.into(),
            seq: Arc::default(),
            sandbox: sandbox.to_owned(),
            agent_id: agent_id.to_owned(),
        }
    }

    fn event(&self, kind: AuditKind) -> AuditEvent {
        AuditEvent {
            seq: self.seq.fetch_add(1, Ordering::Relaxed) + 1,
            time: SystemTime::now(),
            sandbox: self.sandbox.clone(),
            agent_id: self.agent_id.clone(),
            kind,
        }
    }

    /// Asks every hook. The first refusal counts; the rest are not asked.
    pub(crate) fn before(&self, kind: AuditKind) -> Result<()> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        let event = self.event(kind);
        for hook in self.hooks.iter() {
            let act = || event.kind.act();
            match catch_unwind(AssertUnwindSafe(|| hook.before(&event))) {
                Ok(Decision::Allow) => {}
                Ok(Decision::Veto(reason)) => {
                    let hook = hook.name().to_owned();
                    return Err(KavachError::Vetoed {
                        act: act(),
                        reason,
                        hook,
                    });
                }
                Err(_) => {
                    let hook = hook.name().to_owned();
                    return Err(KavachError::HookPanicked { hook, act: act() });
                }
            }
        }
        Ok(())
    }

    /// Tells every hook, from a task of the supervisor, on another thread.
    pub(crate) async fn after_elsewhere(&self, kinds: Vec<AuditKind>) {
        if self.hooks.is_empty() {
            return;
        }
        let audit = self.clone();
        let told = worker_in_time().await.run(move || {
            for kind in kinds {
                audit.after(kind);
            }
        });
        if told.await.is_none() {
            tracing::error!("audit hooks could not be told");
        }
    }

    /// Tells every hook. A panic of one is logged and keeps nothing from the others.
    pub(crate) fn after(&self, kind: AuditKind) {
        if self.hooks.is_empty() {
            return;
        }
        let event = self.event(kind);
        for hook in self.hooks.iter() {
            if catch_unwind(AssertUnwindSafe(|| hook.after(&event))).is_err() {
                tracing::error!(hook = hook.name(), "an audit hook panicked");
            }
        }
    }
}

/// A thread for hooks, as soon as there is one: an event comes late rather than not at all, and
/// never keeps the supervisor thread.
async fn worker_in_time() -> Worker {
    let mut pause = Duration::from_millis(1);
    loop {
        match Worker::new() {
            Ok(worker) => return worker,
            Err(e) => tracing::warn!(error = %e, "no thread for audit hooks: they are told later"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

impl AuditKind {
    /// The act in words, for errors.
    fn act(&self) -> String {
        match self {
            Self::Created {
                backend, policy, ..
            } => {
                format!("create a sandbox (backend {backend}, policy {policy})")
            }
            Self::Claimed { tenant } => {
                format!(
                    "hand out a sandbox (tenant {})",
                    crate::names::shown(tenant)
                )
            }
            Self::Transition { from, to } => format!("go from {from} to {to}"),
            Self::Exec { argv, .. } => match argv.first() {
                // The caller may have it from somebody else: it must not forge a line of its own.
                Some(program) => format!("run {}", crate::names::shown_path(program)),
                None => "run a command".into(),
            },
            Self::Injection { name, via, .. } => format!("inject the secret `{name}` ({via})"),
            Self::Apply { .. } => "apply the changes of the workspace".into(),
            Self::ExecEnded { .. }
            | Self::ExecFailed { .. }
            | Self::Limit { .. }
            | Self::Denied { .. }
            | Self::Verdict { .. }
            | Self::Applied { .. }
            | Self::ApplyFailed { .. } => "go on".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Never;

    impl AuditHook for Never {
        fn name(&self) -> &str {
            "never"
        }
        fn before(&self, _: &AuditEvent) -> Decision {
            Decision::Veto("no".into())
        }
    }

    /// Found by fuzzing.
    #[test]
    fn a_program_s_name_forges_no_line_in_the_error_of_a_veto() {
        let audit = Audit::new(&[Arc::new(Never)], "sandbox", "agent");
        let argv = vec!["ls\n\u{1b}[2Jerror: all is well".into()];
        let error = audit.before(AuditKind::Exec { exec: 1, argv }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "vetoed by the hook `never`: run ls\\n\\u{1b}[2Jerror: all is well: no"
        );
    }
}
