//! A command that runs while its caller does something else.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;

use super::core::on_supervisor;
use super::stdio::{HostEnds, pipe_failed};
use super::streams::{ChildStdin, ChildStream, Input, Output, Typist};
use crate::backend::Guest;
use crate::command::PtySize;
use crate::error::{KavachError, Result};
use crate::result::ExecResult;
use crate::supervise::Master;

const SIGTERM: i32 = 15;

/// The caller's ends.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) pipes: HostEnds,
    pub(super) terminal: Option<OwnedFd>,
    /// Whether the caller wants to type.
    pub(super) types: bool,
}

type Outcome = watch::Receiver<Option<Result<ExecResult>>>;

/// A started command. Dropping the handle lets the command go on; it ends with the sandbox at the
/// latest. Closing its output by dropping the streams is seen by the command as a closed pipe.
///
/// The handle and the streams of a command that was given a terminal
/// ([`Command::pty`](crate::Command::pty)) are all ends of that one terminal: when the last of them
/// is dropped it hangs up, which ends most programs (SIGHUP).
#[derive(Debug)]
pub struct Child {
    /// Where the command reads; dropping it is the end of its input (on a terminal, the
    /// end-of-file character is typed). `None` unless it was asked for with
    /// [`Command::stdin_piped`](crate::Command::stdin_piped).
    pub stdin: Option<ChildStdin>,
    /// What the command writes. Take it and read it: a command blocks when nobody reads.
    pub stdout: Option<ChildStream>,
    /// Its errors, likewise. `None` where they go to its terminal.
    pub stderr: Option<ChildStream>,
    guest: Arc<dyn Guest>,
    terminal: Option<Master>,
    outcome: Outcome,
    cancel: Option<watch::Sender<bool>>,
}

impl Child {
    pub(super) fn new(guest: Arc<dyn Guest>, streams: Streams, outcome: Outcome) -> Result<Self> {
        let Streams {
            pipes,
            terminal,
            types,
        } = streams;
        let terminal = terminal.map(Master::new).transpose().map_err(pipe_failed)?;
        let reading = |pipe: Option<OwnedFd>| {
            let pipe = pipe.map(Receiver::from_owned_fd).transpose();
            pipe.map(|pipe| pipe.map(|pipe| ChildStream(Output::Pipe(pipe))))
                .map_err(pipe_failed)
        };
        let (stdin, stdout) = match &terminal {
            Some(master) => (
                types.then(|| ChildStdin(Input::Terminal(Typist::new(master.clone())))),
                Some(ChildStream(Output::Terminal(master.clone()))),
            ),
            None => {
                let stdin = pipes.stdin.map(Sender::from_owned_fd).transpose();
                let stdin = stdin.map_err(pipe_failed)?;
                (
                    stdin.map(|pipe| ChildStdin(Input::Pipe(pipe))),
                    reading(pipes.stdout)?,
                )
            }
        };
        Ok(Self {
            stdin,
            stdout,
            stderr: reading(pipes.stderr)?,
            guest,
            terminal,
            outcome,
            cancel: None,
        })
    }

    /// The way to have the command killed with all it started.
    pub(super) fn cancelled_by(self, cancel: Option<watch::Sender<bool>>) -> Self {
        Self { cancel, ..self }
    }

    /// Waits for the command's first process to end. The result holds no output: that went
    /// through the streams. Closes standard input first, so that a command that reads to the end
    /// does end.
    ///
    /// # Errors
    /// The sandbox ended without having been told to.
    pub async fn wait(&mut self) -> Result<ExecResult> {
        self.stdin = None;
        let mut outcome = self.outcome.clone();
        let result = outcome
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|r| r.clone());
        ended(result)
    }

    /// The result, if the command has ended.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExecResult>> {
        let result = self.outcome.borrow().clone();
        result.transpose()
    }

    /// Sends a signal to the command's process group.
    ///
    /// # Errors
    /// The sandbox is gone, or there is no such signal.
    pub async fn signal(&self, signal: i32) -> Result<()> {
        let guest = self.guest.clone();
        on_supervisor(
            "signal a command",
            async move { guest.signal(signal).await },
        )
        .await
    }

    /// Changes the size of the command's terminal; the job in its foreground gets SIGWINCH.
    ///
    /// # Errors
    /// [`KavachError::InvalidConfig`]: the command has no terminal.
    pub fn resize(&self, size: PtySize) -> Result<()> {
        let Some(terminal) = &self.terminal else {
            return Err(KavachError::invalid(
                "pty",
                "the command has no terminal",
                "a command that was given one",
                "start it with `Command::pty`",
            ));
        };
        terminal.resize(size).map_err(|source| KavachError::HostIo {
            op: "resize a terminal".into(),
            path: "/dev/ptmx".into(),
            source,
        })
    }

    /// Ends the command with everything it started: SIGTERM to its process group, and SIGKILL to
    /// what is left after `grace`; at once with a grace of zero.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub async fn kill(&mut self, grace: Duration) -> Result<ExecResult> {
        // A signal that cannot be sent finds the sandbox ending, and with it the command.
        if !grace.is_zero()
            && self.signal(SIGTERM).await.is_ok()
            && let Ok(result) = tokio::time::timeout(grace, self.wait()).await
        {
            return result;
        }
        if let Some(cancel) = &self.cancel {
            cancel.send_replace(true);
        }
        self.wait().await
    }
}

/// Every wait gets the error itself, with its code and its cause; none where nobody is left who
/// could say how the command ended.
fn ended(outcome: Option<Result<ExecResult>>) -> Result<ExecResult> {
    outcome.unwrap_or(Err(KavachError::SandboxGone {
        act: "wait for a command",
    }))
}
