//! A command that runs while its caller does something else.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;

use super::core::on_supervisor;
use crate::backend::Guest;
use crate::error::{KavachError, Result};
use crate::result::ExecResult;

const SIGTERM: i32 = 15;

/// The caller's ends.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

type Outcome = watch::Receiver<Option<Result<ExecResult>>>;

/// A started command. Dropping the handle lets the command go on; it ends with the sandbox at the
/// latest. Closing its output by dropping the streams is seen by the command as a closed pipe.
#[derive(Debug)]
pub struct Child {
    /// Where the command reads; dropping it is the end of its input. `None` unless it was asked
    /// for with [`Command::stdin_piped`](crate::Command::stdin_piped).
    pub stdin: Option<ChildStdin>,
    /// What the command writes. Take it and read it: a command blocks when nobody reads.
    pub stdout: Option<ChildStream>,
    /// Its errors, likewise.
    pub stderr: Option<ChildStream>,
    guest: Arc<dyn Guest>,
    outcome: Outcome,
    cancel: Option<watch::Sender<bool>>,
}

impl Child {
    pub(super) fn new(guest: Arc<dyn Guest>, streams: Streams, outcome: Outcome) -> Result<Self> {
        let failed = |source| KavachError::HostIo {
            op: "open the streams of a command".into(),
            path: "pipe(2)".into(),
            source,
        };
        let stdin = streams
            .stdin
            .map(Sender::from_owned_fd)
            .transpose()
            .map_err(failed)?;
        let stdout = Receiver::from_owned_fd(streams.stdout).map_err(failed)?;
        let stderr = Receiver::from_owned_fd(streams.stderr).map_err(failed)?;
        Ok(Self {
            stdin: stdin.map(|pipe| ChildStdin { pipe }),
            stdout: Some(ChildStream { pipe: stdout }),
            stderr: Some(ChildStream { pipe: stderr }),
            guest,
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

/// The writing end of a command's standard input.
#[derive(Debug)]
pub struct ChildStdin {
    pipe: Sender,
}

/// The reading end of a command's standard output or error.
#[derive(Debug)]
pub struct ChildStream {
    pipe: Receiver,
}

impl AsyncRead for ChildStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
