//! A command started through the agent, and what its launch's failures mean.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use tokio::task::JoinHandle;

use kavach_proto::{Ended, ExecRequest, Failure, Step};

use super::link::{Commands, End};
use crate::backend::{GuestEnd, Launch};
use crate::error::{KavachError, Result};
use crate::result::Usage;

/// A command of an agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentGuest {
    commands: Commands,
    id: u32,
    end: End,
}

impl AgentGuest {
    /// Starts `launch`; `cgroups` are the cgroup.procs files that the command enters first. A task of
    /// its own: whoever stops waiting must not cut a frame in half.
    pub(crate) fn start(
        commands: &Commands,
        launch: Launch,
        cgroups: Vec<OwnedFd>,
    ) -> JoinHandle<Result<Self>> {
        let commands = commands.clone();
        tokio::spawn(async move { Self::launch(&commands, &launch, &cgroups).await })
    }

    /// The result of [`AgentGuest::start`].
    pub(crate) fn started(
        task: std::result::Result<Result<Self>, tokio::task::JoinError>,
    ) -> Result<Self> {
        task.unwrap_or(Err(KavachError::SandboxGone {
            act: "start a command",
        }))
    }

    async fn launch(commands: &Commands, launch: &Launch, cgroups: &[OwnedFd]) -> Result<Self> {
        // Holds the environment and with it secrets.
        let mut payload = zeroize::Zeroizing::new(Vec::with_capacity(4096));
        let targets: Vec<u32> = launch.fds.iter().map(|(_, target)| *target).collect();
        ExecRequest::write(
            &mut *payload,
            launch.cwd.as_os_str().as_bytes(),
            launch.terminal,
            &targets,
            launch.argv.iter().map(|arg| arg.as_bytes()),
            launch.env.iter().map(|var| var.as_slice()),
        );
        let own = launch.fds.iter().map(|(fd, _)| fd.as_fd());
        let fds: Vec<_> = own.chain(cgroups.iter().map(AsFd::as_fd)).collect();
        match commands.launch(&payload, &fds).await? {
            Ok((id, end)) => Ok(Self {
                commands: commands.clone(),
                id,
                end,
            }),
            Err(failure) => Err(explain(&failure, launch)),
        }
    }

    async fn ended(&self) -> Result<Ended> {
        let mut end = self.end.clone();
        let ended = end
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|ended| *ended);
        ended.ok_or_else(|| KavachError::AgentDied {
            how: "while a command ran".into(),
        })
    }

    pub(crate) async fn wait(&self) -> Result<GuestEnd> {
        let ended = self.ended().await?;
        Ok(match ended.signal() {
            Some(signal) => GuestEnd::Signaled(signal.into()),
            None => GuestEnd::Exited(ended.exit_code().unwrap_or(0).into()),
        })
    }

    pub(crate) async fn signal(&self, signal: i32) -> Result<()> {
        let signal = u32::try_from(signal).ok().filter(|n| (1..=64).contains(n));
        let Some(signal) = signal else {
            return Err(KavachError::invalid(
                "signal",
                "not the number of a signal",
                "1 to 64",
                "see signal(7)",
            ));
        };
        self.commands.signal(self.id, signal, true).await
    }

    /// What wait4(2) said: the first process and the children it waited for.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        if let Some(ended) = *self.end.borrow() {
            usage.cpu_user = Some(Duration::from_micros(ended.user_us));
            usage.cpu_system = Some(Duration::from_micros(ended.system_us));
            usage.memory_peak_bytes = Some(ended.max_rss_kb.saturating_mul(1024));
        }
        usage
    }
}

/// What a failed launch means to the caller.
fn explain(failure: &Failure, launch: &Launch) -> KavachError {
    let source = io::Error::from_raw_os_error(failure.errno.cast_signed());
    let program = launch
        .argv
        .first()
        .map(|p| shown(&p.to_string_lossy()))
        .unwrap_or_default();
    let missing = matches!(
        source.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    );
    match Step::from_number(failure.step) {
        Some(Step::Execute) if missing => {
            let path = launch.env.iter().find_map(|var| var.strip_prefix(b"PATH="));
            let searched = match path {
                _ if program.contains('/') => program.clone(),
                Some(path) => shown(&OsStr::from_bytes(path).to_string_lossy()),
                None => "/usr/local/bin:/usr/bin:/bin".into(),
            };
            KavachError::CommandNotFound { program, searched }
        }
        Some(Step::Execute) => KavachError::CommandNotExecutable { program, source },
        Some(Step::WorkingDirectory) => KavachError::PathMissing {
            field: "cwd".into(),
            path: launch.cwd.clone(),
            source,
        },
        step => KavachError::Setup {
            step: step.map_or("start a command", Step::text).into(),
            on: program,
            source,
            fix: None,
        },
    }
}

/// A name in a message: a control character in it must not forge a line of its own.
fn shown(name: &str) -> String {
    let escape = |c: char| c.is_control().then(|| c.escape_default().to_string());
    name.chars()
        .map(|c| escape(c).unwrap_or_else(|| c.to_string()))
        .collect()
}
