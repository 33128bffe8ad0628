//! Why kavach could not do its job. How a *guest* ended is no error: see
//! [`Termination`](crate::result::Termination).

mod clone;
mod shortage;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::backend::{Backend, Unavailable};
use crate::control::Control;
use crate::lifecycle::SandboxState;
use crate::policy::PolicyProblem;

/// A result whose error is [`KavachError`].
pub type Result<T, E = KavachError> = std::result::Result<T, E>;

/// One variant per kind of failed act, with what failed, why, and the cause from below.
///
/// [`KavachError::code`] is stable across versions and made for programs;
/// [`KavachError::hint`] says what to try and is made for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KavachError {
    /// The lifecycle has no such step.
    #[error("a sandbox that is {from} cannot become {to}")]
    InvalidTransition {
        /// The state it is in.
        from: SandboxState,
        /// The state that was asked for.
        to: SandboxState,
    },

    /// The act needs a running sandbox.
    #[error("cannot {act}: the sandbox is {state}, not running")]
    NotRunning {
        /// The state it is in.
        state: SandboxState,
        /// What was tried, as a verb.
        act: &'static str,
    },

    /// No system call profile has this name.
    #[error("unknown system call profile `{name}`")]
    UnknownProfile {
        /// The name that was given.
        name: String,
        /// The known name nearest to it.
        nearest: Option<String>,
        /// All known names.
        known: Vec<&'static str>,
    },

    /// No policy preset has this name.
    #[error("unknown policy preset `{name}`")]
    UnknownPreset {
        /// The name that was given.
        name: String,
        /// The known name nearest to it.
        nearest: Option<String>,
        /// All known names.
        known: Vec<&'static str>,
    },

    /// No backend has this name.
    #[error("unknown backend `{name}`")]
    UnknownBackend {
        /// The name that was given.
        name: String,
        /// The known name nearest to it.
        nearest: Option<String>,
        /// All known names.
        known: Vec<&'static str>,
    },

    /// No control has this name.
    #[error("unknown control `{name}`")]
    UnknownControl {
        /// The name that was given.
        name: String,
        /// The known name nearest to it.
        nearest: Option<String>,
    },

    /// A value of the config, of a policy, or of a command is out of its range or form.
    #[error("{field}: {problem}; required: {required}")]
    InvalidConfig {
        /// The field, for instance `limits.pids`.
        field: String,
        /// What is wrong with its value.
        problem: String,
        /// What is accepted.
        required: String,
        /// What to do.
        fix: String,
    },

    /// A policy file does not say what a policy file can say.
    #[error("{}", first_of(.problems))]
    InvalidPolicy {
        /// Everything that is wrong, file by file; never empty.
        problems: Vec<PolicyProblem>,
    },

    /// A path that the config or policy names is not there.
    #[error("{field}: cannot use {path:?}: {source}")]
    PathMissing {
        /// The field that names it.
        field: String,
        /// The path.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },

    /// A required control cannot be enforced here. Nothing of the guest has run.
    #[error("cannot enforce {control}: required: {required}; found: {found}")]
    ControlUnavailable {
        /// The control.
        control: Control,
        /// What it needs.
        required: String,
        /// What is here.
        found: String,
        /// How to get it.
        fix: String,
    },

    /// The backend cannot be used.
    #[error("backend `{backend}` is {reason}")]
    BackendUnavailable {
        /// The backend.
        backend: Backend,
        /// Why not.
        reason: Unavailable,
        /// What to do, where the reason alone does not say it.
        hint: Option<String>,
    },

    /// A command line cannot be split into words.
    #[error("command syntax at byte {position}: {problem}")]
    CommandSyntax {
        /// The byte where the faulty part starts, from 0.
        position: usize,
        /// What is wrong.
        problem: &'static str,
    },

    /// The sandbox has no such program.
    #[error("command not found: {program}")]
    CommandNotFound {
        /// The program as it was named.
        program: String,
        /// Where it was looked for, inside the sandbox.
        searched: String,
    },

    /// The program is there but cannot be started.
    #[error("cannot start {program}: {source}")]
    CommandNotExecutable {
        /// The program as it was named.
        program: String,
        /// Why the kernel refused.
        source: io::Error,
    },

    /// A step of building the sandbox failed.
    #[error("sandbox setup failed at {step} on {on}: {source}")]
    Setup {
        /// The step, for instance `mount tmpfs`.
        step: String,
        /// What it acted on.
        on: String,
        /// The kernel's answer.
        source: io::Error,
        /// What to do, where it is known.
        fix: Option<String>,
    },

    /// The agent inside the sandbox broke the protocol. It is not trusted any further.
    #[error("the agent broke the protocol: {problem}")]
    Agent {
        /// What it did.
        problem: String,
    },

    /// The agent inside the sandbox is gone, and the sandbox with it.
    #[error("the agent died: {how}")]
    AgentDied {
        /// What is known of its end.
        how: String,
    },

    /// An act on a control group failed.
    #[error("cgroup: cannot {op} {path:?}: {source}")]
    Cgroup {
        /// The act, as a verb.
        op: String,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A secret was referred to that was never registered.
    #[error("no secret is registered as `{name}`")]
    SecretMissing {
        /// Its name; values never appear in errors.
        name: String,
    },

    /// A secret cannot be given to the guest in the way that was asked.
    #[error("cannot deliver the secret `{name}`: {reason}")]
    SecretUndeliverable {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },

    /// A hook forbade the act before it began.
    #[error("vetoed by the hook `{hook}`: {act}: {reason}")]
    Vetoed {
        /// What was about to be done.
        act: String,
        /// The hook's reason.
        reason: String,
        /// The hook's name.
        hook: String,
    },

    /// A hook panicked. What it may have wanted to forbid is unknown, so the act is not done.
    #[error("the hook `{hook}` panicked at: {act}")]
    HookPanicked {
        /// The hook's name.
        hook: String,
        /// What was about to be done.
        act: String,
    },

    /// The sandbox ended while the act was waiting or under way.
    #[error("cannot {act}: the sandbox is gone")]
    SandboxGone {
        /// What was tried, as a verb.
        act: &'static str,
    },

    /// The backend, on this host, has not this ability.
    #[error("cannot {act} with backend `{backend}`: {reason}")]
    Unsupported {
        /// What was tried, as a verb.
        act: String,
        /// The backend.
        backend: Backend,
        /// What is missing.
        reason: String,
        /// What to do instead, where there is something.
        hint: Option<String>,
    },

    /// The sandbox has no workspace.
    #[error("cannot {act}: the sandbox has no workspace")]
    NoWorkspace {
        /// What was tried, as a verb.
        act: &'static str,
    },

    /// A guest made more in its workspace than is looked at. Nothing was applied.
    #[error("the workspace has more than {limit} {what}, found at {path}")]
    WorkspaceLimit {
        /// What there is too much of.
        what: &'static str,
        /// The limit, see [`workspace::Limits`](crate::workspace::Limits).
        limit: usize,
        /// Where the walk was; escaped, and cut if it is long.
        path: String,
    },

    /// The overlay's upper directory holds what kavach's mounts never make, so that it cannot be
    /// told what the guest changed. Nothing was applied.
    #[error("cannot read the workspace's upper directory: {problem} at {path}")]
    WorkspaceLayer {
        /// What it holds.
        problem: &'static str,
        /// Where; escaped.
        path: String,
    },

    /// Another apply changes the same directory at this moment.
    #[error("the workspace is being changed by another apply")]
    WorkspaceBusy,

    /// The host refused plain input or output that kavach itself needs.
    #[error("cannot {op} {path:?}: {source}")]
    HostIo {
        /// The act, as a verb.
        op: String,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The first problem, and how many more there are.
fn first_of(problems: &[PolicyProblem]) -> String {
    match problems {
        [] => "the policy is not valid".to_owned(),
        [only] => only.to_string(),
        [first, more @ ..] => format!("{first} (and {} more)", more.len()),
    }
}

/// "did you mean …; known: …" for a name that is not known.
fn names_hint(nearest: Option<&String>, known: &[&str]) -> String {
    let known = known.join(", ");
    match nearest {
        Some(name) => format!("did you mean `{name}`? known: {known}"),
        None => format!("known: {known}"),
    }
}

impl KavachError {
    /// A stable code for programs. It names the kind of failure, not its details.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            KavachError::InvalidTransition { .. } => "KV-INVALID-TRANSITION",
            KavachError::NotRunning { .. } => "KV-NOT-RUNNING",
            KavachError::UnknownProfile { .. } => "KV-UNKNOWN-PROFILE",
            KavachError::UnknownPreset { .. } => "KV-UNKNOWN-PRESET",
            KavachError::UnknownBackend { .. } => "KV-UNKNOWN-BACKEND",
            KavachError::UnknownControl { .. } => "KV-UNKNOWN-CONTROL",
            KavachError::InvalidConfig { .. } => "KV-INVALID-CONFIG",
            KavachError::InvalidPolicy { .. } => "KV-INVALID-POLICY",
            KavachError::PathMissing { .. } => "KV-PATH-MISSING",
            KavachError::ControlUnavailable { .. } => "KV-CONTROL-UNAVAILABLE",
            KavachError::BackendUnavailable { .. } => "KV-BACKEND-UNAVAILABLE",
            KavachError::CommandSyntax { .. } => "KV-COMMAND-SYNTAX",
            KavachError::CommandNotFound { .. } => "KV-COMMAND-NOT-FOUND",
            KavachError::CommandNotExecutable { .. } => "KV-COMMAND-NOT-EXECUTABLE",
            KavachError::Setup { .. } => "KV-SETUP",
            KavachError::Agent { .. } => "KV-AGENT",
            KavachError::AgentDied { .. } => "KV-AGENT-DIED",
            KavachError::Cgroup { .. } => "KV-CGROUP",
            KavachError::SecretMissing { .. } => "KV-SECRET-MISSING",
            KavachError::SecretUndeliverable { .. } => "KV-SECRET-UNDELIVERABLE",
            KavachError::Vetoed { .. } => "KV-VETOED",
            KavachError::HookPanicked { .. } => "KV-HOOK-PANICKED",
            KavachError::SandboxGone { .. } => "KV-SANDBOX-GONE",
            KavachError::Unsupported { .. } => "KV-UNSUPPORTED",
            KavachError::NoWorkspace { .. } => "KV-NO-WORKSPACE",
            KavachError::WorkspaceLimit { .. } => "KV-WORKSPACE-LIMIT",
            KavachError::WorkspaceLayer { .. } => "KV-WORKSPACE-LAYER",
            KavachError::WorkspaceBusy => "KV-WORKSPACE-BUSY",
            KavachError::HostIo { .. } => "KV-HOST-IO",
        }
    }

    /// What to try, where something can be said.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        if let Some(hint) = shortage::hint(self) {
            return Some(hint.into());
        }
        match self {
            KavachError::InvalidTransition { from, .. } => {
                let next: Vec<&str> = from.successors().map(SandboxState::as_str).collect();
                Some(if next.is_empty() {
                    "create a new sandbox".into()
                } else {
                    format!("from {from} it can become: {}", next.join(", ")).into()
                })
            }
            KavachError::NotRunning { state, .. } => Some(match state {
                SandboxState::Created | SandboxState::Paused => {
                    "call transition(SandboxState::Running) first".into()
                }
                SandboxState::Running => return None,
                SandboxState::Stopped | SandboxState::Destroyed => "create a new sandbox".into(),
            }),
            KavachError::UnknownProfile { nearest, known, .. }
            | KavachError::UnknownPreset { nearest, known, .. }
            | KavachError::UnknownBackend { nearest, known, .. } => {
                Some(names_hint(nearest.as_ref(), known).into())
            }
            KavachError::UnknownControl { nearest, .. } => {
                Some(names_hint(nearest.as_ref(), &Control::ALL.map(Control::as_str)).into())
            }
            KavachError::InvalidConfig { fix, .. }
            | KavachError::ControlUnavailable { fix, .. } => {
                (!fix.is_empty()).then_some(Cow::Borrowed(fix))
            }
            KavachError::InvalidPolicy { problems } => problems
                .first()
                .and_then(PolicyProblem::hint)
                .map(Into::into),
            KavachError::PathMissing { .. } => {
                Some("correct the path, or create it before the sandbox".into())
            }
            KavachError::BackendUnavailable { reason, hint, .. } => match (hint, reason) {
                (Some(hint), _) => Some(Cow::Borrowed(hint)),
                (None, Unavailable::NotCompiled { feature }) => {
                    Some(format!("build kavach with `--features {feature}`").into())
                }
                (None, Unavailable::Planned { .. }) => {
                    Some("choose another backend, for instance `process`".into())
                }
                (None, Unavailable::Unusable { .. }) => {
                    Some("`kavach doctor` shows what is missing and how to get it".into())
                }
            },
            KavachError::CommandSyntax { .. } => {
                Some("exec splits words and nothing more; for a script use Command::shell".into())
            }
            KavachError::CommandNotFound { searched, .. } => {
                Some(format!("looked in {searched}, inside the sandbox").into())
            }
            KavachError::Setup { fix, .. } => fix.as_deref().map(Cow::Borrowed),
            KavachError::SecretMissing { .. } => {
                Some("register it with CredentialProxy::register first".into())
            }
            KavachError::SandboxGone { .. } | KavachError::AgentDied { .. } => {
                Some("create a new sandbox".into())
            }
            KavachError::Unsupported { hint, .. } => hint.as_deref().map(Cow::Borrowed),
            KavachError::NoWorkspace { .. } => Some("give it one in its config".into()),
            KavachError::WorkspaceLimit { .. } => {
                Some("raise the limit in workspace::Limits, or end the sandbox".into())
            }
            KavachError::WorkspaceLayer { .. } => Some(
                "mount it with redirect_dir=nofollow,metacopy=off and the marks that userxattr says"
                    .into(),
            ),
            KavachError::WorkspaceBusy => Some("try again when that has ended".into()),
            KavachError::CommandNotExecutable { .. }
            | KavachError::Agent { .. }
            | KavachError::Cgroup { .. }
            | KavachError::SecretUndeliverable { .. }
            | KavachError::Vetoed { .. }
            | KavachError::HookPanicked { .. }
            | KavachError::HostIo { .. } => None,
        }
    }

    /// An [`KavachError::InvalidConfig`] of these four parts.
    pub(crate) fn invalid(
        field: impl Into<String>,
        problem: impl Into<String>,
        required: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        KavachError::InvalidConfig {
            field: field.into(),
            problem: problem.into(),
            required: required.into(),
            fix: fix.into(),
        }
    }
}

#[cfg(test)]
mod tests;
