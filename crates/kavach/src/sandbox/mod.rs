//! A sandbox: created, used, ended.

mod child;
mod core;
mod exec;
mod inject;
mod start;
mod stdio;
mod streams;
mod workspace;

use std::sync::Arc;
use std::time::Duration;

pub use child::Child;
pub use streams::{ChildStdin, ChildStream};

use self::core::Core;
use crate::audit::AuditKind;
use crate::command::IntoCommand;
use crate::config::SandboxConfig;
use crate::enforcement::EnforcementReport;
use crate::error::Result;
use crate::lifecycle::{self, SandboxState};
use crate::plan::Plan;
use crate::result::ExecResult;
use crate::scoring::StrengthScore;
use crate::supervisor::supervisor;
use crate::verify::{self, Claims, Verification};
use crate::workspace::{Applied, ApplyOptions, Changes};

/// How long a drop waits for the end of what it ends.
const DROP_PATIENCE: Duration = Duration::from_secs(10);

/// A sandbox and everything in it. Dropping it kills every process and removes every trace.
///
/// It is one trust domain: its commands see the same files, processes and network, and what one
/// leaves running in the background lives until the sandbox ends.
#[derive(Debug)]
pub struct Sandbox {
    core: Arc<Core>,
}

/// Concurrent use of a sandbox. Cloning is cheap; a handle does not keep the sandbox alive.
#[derive(Debug, Clone)]
pub struct SandboxHandle {
    core: Arc<Core>,
}

impl Sandbox {
    /// Builds the sandbox of `config`. Its restrictions are in place and its report is ready;
    /// no guest has run.
    ///
    /// # Errors
    /// What is wrong with the config, a required control that cannot be enforced here, a step of
    /// the setup that failed, a hook's veto. Nothing is left behind.
    pub async fn create(config: SandboxConfig) -> Result<Self> {
        start::create(config).await
    }

    /// Measures the strength of sandboxes of `config`: a program of kavach's own is run in them as
    /// every command is, and tries what they are to refuse. The module
    /// [`verify`](mod@crate::verify) has what the answer says and what it does not.
    ///
    /// The sandboxes are made for it and destroyed after it, some three to five of them, one after
    /// another; most probes are made once more outside, without isolation, as a comparison. None
    /// does anything that outlives it, and limits are gone past by a little, where they are small
    /// enough. Hooks and secrets of the config are in force.
    ///
    /// ```no_run
    /// # async fn check() -> kavach::Result<()> {
    /// use kavach::{Sandbox, SandboxConfig, SandboxPolicy};
    ///
    /// let config = SandboxConfig::builder().policy(SandboxPolicy::strict()).build();
    /// let verification = Sandbox::verify(config).await?;
    /// println!("{} measured", verification.measured);
    /// for control in verification.claimed_not_observed() {
    ///     println!("{}: {}", control.control, control.why);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sandbox::create`] and [`Sandbox::exec`]. That a control does not hold is no error
    /// here: it is in the answer.
    pub async fn verify(config: SandboxConfig) -> Result<Verification> {
        verify::verify(config).await
    }

    /// What it says of itself, to be measured.
    pub(crate) fn claims(&self) -> Claims {
        Claims {
            policy: self.core.spec().policy.clone(),
            plan: self.core.plan().clone(),
            report: self.core.report().clone(),
            circumstances: self.core.circumstances(),
        }
    }

    /// A handle for use from several places at once.
    #[must_use]
    pub fn handle(&self) -> SandboxHandle {
        SandboxHandle {
            core: self.core.clone(),
        }
    }

    /// Changes the state: Running opens the sandbox for commands, Paused stops every process where
    /// it stands, Stopped kills everything at once, Destroyed closes the book. When this returns
    /// it is done; it blocks for as long as that takes.
    ///
    /// # Errors
    /// [`KavachError::InvalidTransition`](crate::KavachError::InvalidTransition),
    /// [`KavachError::Unsupported`](crate::KavachError::Unsupported) where this host cannot
    /// pause, a hook's veto, or what the kernel answered.
    pub fn transition(&mut self, to: SandboxState) -> Result<()> {
        self.core.transition_blocking(to)
    }

    /// Runs a command to its end and captures its output.
    ///
    /// Text is split into words as a POSIX shell would, and the program is started directly, with
    /// no shell; see [`Command::shell`](crate::Command::shell) for one. Dropping the future kills
    /// the command with everything it started.
    ///
    /// # Errors
    /// Only what kept kavach from doing its job: a command that fails or is ended by a limit is
    /// an `Ok` with its [`Termination`](crate::Termination).
    pub async fn exec(&self, command: impl IntoCommand) -> Result<ExecResult> {
        exec::exec(&self.core, command.into_command()?).await
    }

    /// Starts a command and returns a handle with its streams. Needs a tokio runtime on the
    /// caller's side, which the streams use.
    ///
    /// # Errors
    /// As [`Sandbox::exec`].
    pub async fn spawn(&self, command: impl IntoCommand) -> Result<Child> {
        exec::spawn(&self.core, command.into_command()?).await
    }

    /// Lists what the guests changed in the workspace, in Running, Paused and Stopped. Guests may
    /// run on meanwhile; each entry is listed as it was at some moment. Nothing is written.
    ///
    /// # Errors
    /// [`KavachError::NoWorkspace`](crate::KavachError::NoWorkspace), and those of
    /// [`workspace::changes`](crate::workspace::changes).
    pub async fn changes(&self) -> Result<Changes> {
        workspace::changes(&self.core).await
    }

    /// Writes changes of the workspace to the host, each file whole or not at all, in Running,
    /// Paused and Stopped. What is refused is in the answer, and keeps nothing else from being
    /// applied unless the options say so.
    ///
    /// In Running every process is held still meanwhile where this host can
    /// ([`Applied::stood_still`]), and no command starts. Who ends the sandbox meanwhile ends the
    /// apply too, between two files. Dropping the future does not: it goes on.
    ///
    /// ```no_run
    /// # async fn session() -> kavach::Result<()> {
    /// use kavach::{ApplyOptions, Sandbox, SandboxConfig, SandboxState, Workspace};
    ///
    /// let config = SandboxConfig::builder()
    ///     .workspace(Workspace::new("/srv/project"))
    ///     .build();
    /// let mut sandbox = Sandbox::create(config).await?;
    /// sandbox.transition(SandboxState::Running)?;
    /// sandbox.exec("make").await?;
    ///
    /// let changes = sandbox.changes().await?;
    /// println!("{}", changes.summary());
    /// let options = ApplyOptions::new().changes(changes).only(["src", "Makefile"]);
    /// for refused in sandbox.apply(options).await?.refused {
    ///     println!("not applied: {refused}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sandbox::changes`], those of [`workspace::apply`](crate::workspace::apply), and a
    /// hook's veto.
    pub async fn apply(&self, options: ApplyOptions) -> Result<Applied> {
        workspace::apply(&self.core, options).await
    }

    /// Ends the sandbox in good order: SIGTERM to every process, and after `grace` SIGKILL to
    /// those that are left. A paused sandbox is killed at once: its processes could not act on a
    /// signal.
    ///
    /// # Errors
    /// [`KavachError::InvalidTransition`](crate::KavachError::InvalidTransition) where it has
    /// ended already.
    pub async fn stop(&mut self, grace: Duration) -> Result<()> {
        self.core.stop(grace).await
    }

    /// Ends the sandbox from any state but Destroyed: kills everything and removes every trace.
    ///
    /// # Errors
    /// [`KavachError::InvalidTransition`](crate::KavachError::InvalidTransition) the second
    /// time.
    pub async fn destroy(&mut self) -> Result<()> {
        self.core.destroy().await
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> SandboxState {
        self.core.state()
    }

    /// The name on this host: in the process list and in audit events.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.core.name().id
    }

    /// What is enforced, with the evidence that was read back.
    #[must_use]
    pub fn report(&self) -> &EnforcementReport {
        self.core.report()
    }

    /// The strength of this sandbox on this host, computed from the report.
    #[must_use]
    pub fn strength(&self) -> StrengthScore {
        self.core.strength()
    }

    /// Asks and tells the hooks of something that happens to this sandbox.
    pub(crate) fn announce(&self, kind: AuditKind) -> Result<()> {
        self.core.audit().before(kind.clone())?;
        self.core.audit().after(kind);
        Ok(())
    }

    /// Kills every process in it and waits until none is left; its files stay.
    pub(crate) async fn end_processes(&self) -> Result<()> {
        let core = self.core.clone();
        core::on_supervisor(
            "end its processes",
            async move { core.end_processes().await },
        )
        .await
    }

    /// What was planned.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.core.plan()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let Ok(path) = lifecycle::path_to_destroyed(self.core.state()) else {
            return;
        };
        let from = self.core.state();
        let Ok(supervisor) = supervisor() else { return };
        let core = self.core.clone();
        // Blocks, so that nothing is left when a program ends right after this. A hang is bounded:
        // the task goes on without us.
        supervisor.wait_at_most(DROP_PATIENCE, async move { core.end_now().await });
        let steps = std::iter::once(from)
            .chain(path.iter().copied())
            .zip(path.iter().copied());
        let events = steps.map(|(from, to)| AuditKind::Transition { from, to });
        if supervisor.is_current() {
            // Nobody took the sandbox that was made; hooks are not told on this thread.
            let (core, events) = (self.core.clone(), events.collect());
            supervisor.spawn(async move { core.audit().after_elsewhere(events).await });
        } else {
            events.for_each(|event| self.core.audit().after(event));
        }
    }
}

impl SandboxHandle {
    /// As [`Sandbox::changes`].
    ///
    /// # Errors
    /// As [`Sandbox::changes`].
    pub async fn changes(&self) -> Result<Changes> {
        workspace::changes(&self.core).await
    }

    /// As [`Sandbox::apply`].
    ///
    /// # Errors
    /// As [`Sandbox::apply`].
    pub async fn apply(&self, options: ApplyOptions) -> Result<Applied> {
        workspace::apply(&self.core, options).await
    }

    /// As [`Sandbox::exec`].
    ///
    /// # Errors
    /// As [`Sandbox::exec`].
    pub async fn exec(&self, command: impl IntoCommand) -> Result<ExecResult> {
        exec::exec(&self.core, command.into_command()?).await
    }

    /// As [`Sandbox::spawn`].
    ///
    /// # Errors
    /// As [`Sandbox::spawn`].
    pub async fn spawn(&self, command: impl IntoCommand) -> Result<Child> {
        exec::spawn(&self.core, command.into_command()?).await
    }

    /// Changes the state, without blocking the caller's thread.
    ///
    /// # Errors
    /// As [`Sandbox::transition`].
    pub async fn transition(&self, to: SandboxState) -> Result<()> {
        self.core.transition(to).await
    }

    /// As [`Sandbox::stop`].
    ///
    /// # Errors
    /// As [`Sandbox::stop`].
    pub async fn stop(&self, grace: Duration) -> Result<()> {
        self.core.stop(grace).await
    }

    /// As [`Sandbox::destroy`].
    ///
    /// # Errors
    /// As [`Sandbox::destroy`].
    pub async fn destroy(&self) -> Result<()> {
        self.core.destroy().await
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> SandboxState {
        self.core.state()
    }
}
