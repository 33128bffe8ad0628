//! What a backend has to offer, as traits: an embedder can bring one of its own.
//!
//! A backend turns a [`Plan`] into an [`Instance`] and reports what it found enforced. Everything
//! common to all backends (time, output, limits, lifecycle, audit) is done above these traits.
//! Their methods are called on kavach's supervisor thread.

use std::ffi::OsString;
use std::fmt::Debug;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::command::PtySize;
use crate::enforcement::EnforcementReport;
use crate::error::Result;
use crate::plan::Plan;
use crate::result::{LimitEvent, Termination, Usage};
use crate::workspace::Layers;

/// A future of a trait method.
pub type Act<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to run guests.
pub trait Driver: Debug + Send + Sync {
    /// Which backend this is: its base score and its place in reports.
    fn backend(&self) -> Backend;

    /// Builds the sandbox of `plan`. No guest has run when it returns; the report holds what was
    /// read back from the kernel or the runtime, not what was asked.
    ///
    /// # Errors
    /// Whatever keeps the sandbox from being built. Nothing is left behind then.
    fn start<'a>(&'a self, plan: &'a Plan, sandbox: &'a SandboxName) -> Act<'a, Result<Started>>;
}

/// A sandbox that was built.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started {
    /// The sandbox.
    pub instance: Arc<dyn Instance>,
    /// What holds, with evidence.
    pub report: EnforcementReport,
    /// Whether the guest is root of the host, not of a user namespace.
    pub host_root: bool,
}

impl Started {
    /// A sandbox and its report.
    #[must_use]
    pub fn new(instance: Arc<dyn Instance>, report: EnforcementReport, host_root: bool) -> Self {
        Self {
            instance,
            report,
            host_root,
        }
    }
}

/// The name of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxName {
    /// Number of the sandbox within this process, from 1.
    pub seq: u64,
    /// Unique on this host while it lives: `PID-SEQ`.
    pub id: String,
    /// The owner's name; may be empty.
    pub agent_id: String,
}

impl SandboxName {
    /// The name of sandbox number `seq` of this process.
    #[must_use]
    pub fn new(seq: u64, agent_id: &str) -> Self {
        let id = format!("{}-{seq}", std::process::id());
        Self {
            seq,
            id,
            agent_id: agent_id.to_owned(),
        }
    }
}

/// A built sandbox.
pub trait Instance: Debug + Send + Sync {
    /// Starts a command under the sandbox's restrictions.
    ///
    /// # Errors
    /// [`crate::KavachError::CommandNotFound`], [`crate::KavachError::CommandNotExecutable`], a
    /// step of the launch, or the end of the sandbox.
    fn launch(&self, launch: Launch) -> Act<'_, Result<Arc<dyn Guest>>>;

    /// Sends a signal to every guest process; resolves when none is left.
    ///
    /// # Errors
    /// The sandbox is gone.
    fn drain(&self, signal: i32) -> Act<'_, Result<()>>;

    /// Ends everything at once and removes what the sandbox used; resolves when it is gone.
    ///
    /// # Errors
    /// Something could not be removed; processes are gone all the same.
    fn destroy(&self) -> Act<'_, Result<()>>;

    /// Resolves when the sandbox has ended, for whatever reason.
    fn ended(&self) -> Act<'_, ()>;

    /// Whether kavach itself ended the sandbox, to hold a limit of a command that could not be told
    /// apart from the rest. The other commands were then killed, and did not lose their agent.
    fn was_killed(&self) -> bool {
        false
    }

    /// The layers of its workspace, where it has one and the backend keeps it on this host. They
    /// stay after the end of its processes, until the instance is dropped.
    fn workspace(&self) -> Option<&Layers> {
        None
    }

    /// The ability to pause, where the backend has it on this host.
    ///
    /// # Errors
    /// [`crate::KavachError::Unsupported`] with what is missing.
    fn pausable(&self) -> Result<&dyn Pausable>;

    /// The ability to give commands a terminal, where the backend has it.
    ///
    /// # Errors
    /// [`crate::KavachError::Unsupported`] with what is missing.
    fn terminals(&self) -> Result<&dyn Terminals>;
}

/// The ability to make terminals inside.
pub trait Terminals: Debug + Send + Sync {
    /// A new pseudo-terminal of the sandbox's own, of this size.
    ///
    /// # Errors
    /// There are no more of them, or the sandbox has no devpts.
    fn open(&self, size: PtySize) -> Act<'_, Result<Terminal>>;
}

/// Both ends of a pseudo-terminal (`pty(7)`).
#[derive(Debug)]
#[non_exhaustive]
pub struct Terminal {
    /// The controlling end, non-blocking. No process inside ever has it.
    pub master: OwnedFd,
    /// The command's end, to be given to it as its standard streams.
    pub slave: OwnedFd,
}

impl Terminal {
    /// A terminal of these ends.
    #[must_use]
    pub fn new(master: OwnedFd, slave: OwnedFd) -> Self {
        Self { master, slave }
    }
}

/// The ability to stop and go on.
pub trait Pausable: Debug + Send + Sync {
    /// Stops every guest process; resolves when all stand still.
    ///
    /// # Errors
    /// The freezer refused or did not finish; the guests run on.
    fn pause(&self) -> Act<'_, Result<()>>;

    /// Lets them go on.
    ///
    /// # Errors
    /// The freezer refused.
    fn resume(&self) -> Act<'_, Result<()>>;
}

/// A command to start, resolved.
#[derive(Debug)]
#[non_exhaustive]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// `NAME=value` of the whole environment.
    pub env: Vec<zeroize::Zeroizing<Vec<u8>>>,
    /// The working directory, inside.
    pub cwd: PathBuf,
    /// The descriptors of the command: each with its number in it, 0 to 60.
    pub fds: Vec<(OwnedFd, u32)>,
    /// Whether descriptor 0 is a terminal that becomes the command's controlling one.
    pub terminal: bool,
}

impl Launch {
    /// A command with these parts.
    #[must_use]
    pub fn new(
        argv: Vec<OsString>,
        env: Vec<zeroize::Zeroizing<Vec<u8>>>,
        cwd: PathBuf,
        fds: Vec<(OwnedFd, u32)>,
    ) -> Self {
        Self {
            argv,
            env,
            cwd,
            fds,
            terminal: false,
        }
    }
}

/// A started command.
pub trait Guest: Debug + Send + Sync {
    /// Resolves when the command's first process has ended.
    ///
    /// # Errors
    /// The sandbox ended first.
    fn wait(&self) -> Act<'_, Result<GuestEnd>>;

    /// Sends a signal to the command's process group.
    ///
    /// # Errors
    /// The sandbox is gone.
    fn signal(&self, signal: i32) -> Act<'_, Result<()>>;

    /// Kills the command and everything it started; where the host has no means to tell that
    /// apart from the rest of the sandbox, the whole sandbox.
    ///
    /// # Errors
    /// Something survived.
    fn kill(&self) -> Act<'_, Result<()>>;

    /// How often [`Guest::breach`] has to be asked; `None`: never, the kernel holds all limits.
    fn watch_interval(&self) -> Option<Duration>;

    /// The limit that must end the command now, if there is one. `running` is false for the last
    /// question, after the first process has ended.
    fn breach(&self, running: bool) -> Option<Termination>;

    /// What it used so far.
    fn usage(&self) -> Usage;

    /// Limits that were hit and survived, so far.
    fn limit_events(&self) -> Vec<LimitEvent>;

    /// Removes what belongs to this command alone and is not in use any more.
    fn release(&self) -> Act<'_, ()>;
}

/// How a command's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestEnd {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}
