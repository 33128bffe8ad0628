//! The standard streams of a command: the guest's ends, and the host's.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::core::Core;
use crate::command::{Command, Stdin};
use crate::error::{KavachError, Result};
use crate::supervise::{Master, Source, feed};

/// The guest's ends. What is missing is the command's terminal.
#[derive(Debug)]
pub(super) struct GuestEnds {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// The host's ends of the pipes among them.
#[derive(Debug)]
pub(super) struct HostEnds {
    /// Where the caller writes, if it wants to.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// The pipes of a command.
pub(super) fn pipes(core: &Core, command: &Command) -> Result<(GuestEnds, HostEnds)> {
    let has_terminal = command.get_pty().is_some();
    let (stdin, to_stdin) = match has_terminal {
        true => (None, None),
        false => input(core, command.get_stdin())?,
    };
    let output = |is_pipe: bool| match is_pipe {
        true => pipe_with(PipeFlags::CLOEXEC)
            .map(|(read, write)| (Some(read), Some(write)))
            .map_err(pipe_failed),
        false => Ok((None, None)),
    };
    let (stdout, out) = output(!has_terminal)?;
    let (stderr, err) = output(!has_terminal || command.is_stderr_apart())?;
    let guest = GuestEnds {
        stdin,
        stdout: out,
        stderr: err,
    };
    let host = HostEnds {
        stdin: to_stdin,
        stdout,
        stderr,
    };
    Ok((guest, host))
}

impl GuestEnds {
    /// The descriptors of the command under their numbers; `slave` where there is no pipe.
    pub(super) fn numbered(self, slave: Option<&OwnedFd>) -> Result<Vec<(OwnedFd, u32)>> {
        let mut fds = Vec::with_capacity(3);
        for (number, pipe) in (0..).zip([self.stdin, self.stdout, self.stderr]) {
            let fd = match (pipe, slave) {
                (Some(pipe), _) => Some(pipe),
                (None, Some(slave)) => Some(slave.try_clone().map_err(pipe_failed)?),
                (None, None) => None,
            };
            fds.extend(fd.map(|fd| (fd, number)));
        }
        Ok(fds)
    }
}

/// Where the output and the errors of a command are captured from. Its input is typed if it has a
/// terminal.
pub(super) fn sources(
    host: HostEnds,
    terminal: Option<OwnedFd>,
    command: &Command,
    ended: &watch::Receiver<bool>,
) -> Result<(Option<Source>, Option<Source>)> {
    let pipe = |fd: Option<OwnedFd>| {
        let pipe = fd.map(Receiver::from_owned_fd).transpose();
        pipe.map(|pipe| pipe.map(Source::Pipe)).map_err(pipe_failed)
    };
    let out = match terminal {
        Some(terminal) => {
            let master = Master::new(terminal).map_err(pipe_failed)?;
            type_in(master.clone(), command.get_stdin(), ended.clone());
            Some(Source::Terminal(master))
        }
        None => pipe(host.stdout)?,
    };
    Ok((out, pipe(host.stderr)?))
}

/// The guest's end of standard input, and the caller's if there is one.
fn input(core: &Core, stdin: &Stdin) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    let secret = core.spec().injections().stdin.as_ref();
    let bytes = match (stdin, secret) {
        (Stdin::Piped, _) => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(pipe_failed)?;
            return Ok((Some(read), Some(write)));
        }
        (Stdin::Bytes(bytes), _) => Zeroizing::new(bytes.clone()),
        (Stdin::Empty, Some(secret)) => secret.clone(),
        (Stdin::Empty, None) => Zeroizing::default(),
    };
    Ok((Some(feed(bytes).map_err(pipe_failed)?), None))
}

/// Types the input of a command, until it has ended. A guest that does not read it is no error.
pub(super) fn type_in(master: Master, stdin: &Stdin, mut ended: watch::Receiver<bool>) {
    let bytes = match stdin {
        Stdin::Piped => return,
        Stdin::Empty => Zeroizing::default(),
        Stdin::Bytes(bytes) => Zeroizing::new(bytes.clone()),
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = master.type_in(&bytes) => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
    });
}

pub(super) fn pipe_failed(source: impl Into<io::Error>) -> KavachError {
    KavachError::HostIo {
        op: "make the streams of a command".into(),
        path: "pipe(2)".into(),
        source: source.into(),
    }
}
