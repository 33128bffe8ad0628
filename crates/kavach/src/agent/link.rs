//! A serving agent: commands are started, signalled and awaited by number.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kavach_proto::{Ended, Failure, Kind, SignalRequest};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};

use super::connection::{self, Frame, broken};
use crate::error::{KavachError, Result};

/// What the agent's answers are waited for by.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) started: HashMap<u32, oneshot::Sender<std::result::Result<u32, Failure>>>,
    pub(super) ended: HashMap<u32, watch::Sender<Option<Ended>>>,
    pub(super) ptmx: HashMap<u32, oneshot::Sender<std::result::Result<OwnedFd, Failure>>>,
    pub(super) idle: Vec<oneshot::Sender<()>>,
    /// The connection is over; nothing will be answered any more.
    closed: bool,
}

/// How a command ended, once it has; closed without a value when the agent is gone first.
pub(crate) type End = watch::Receiver<Option<Ended>>;

/// A connection to an agent that serves, and the process behind it.
#[derive(Debug)]
pub(crate) struct Agent {
    pid: Pid,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    commands: Commands,
    ended: watch::Receiver<bool>,
    /// It was ended from this side.
    killed: AtomicBool,
}

/// The part of an agent that a command keeps.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    writer: Arc<tokio::sync::Mutex<Option<OwnedWriteHalf>>>,
    waiting: Arc<Mutex<Waiting>>,
    next: Arc<AtomicU32>,
}

impl Agent {
    /// Must be called on the supervisor thread.
    pub(super) fn new(
        reader: OwnedReadHalf,
        writer: OwnedWriteHalf,
        pid: Pid,
        pidfd: OwnedFd,
    ) -> Result<Self> {
        #[expect(
            deprecated,
            reason = "`register` is unsafe for types whose descriptor may change or close; an OwnedFd's does neither"
        )]
        let watched = AsyncFd::try_new(pidfd);
        let pidfd = match watched {
            Ok(pidfd) => Arc::new(pidfd),
            Err(e) => {
                let (pidfd, source) = e.into_parts();
                // Nobody else would take its status.
                drop((reader, writer));
                gone(&pidfd);
                return Err(KavachError::HostIo {
                    op: "watch the sandbox's first process".into(),
                    path: format!("/proc/{}", pid.as_raw_nonzero()).into(),
                    source,
                });
            }
        };
        let commands = Commands {
            writer: Arc::new(tokio::sync::Mutex::new(Some(writer))),
            waiting: Arc::default(),
            next: Arc::new(AtomicU32::new(1)),
        };
        let (end, ended) = watch::channel(false);
        tokio::spawn(listen(reader, commands.waiting.clone(), pidfd.clone(), end));
        Ok(Self {
            pid,
            pidfd,
            commands,
            ended,
            killed: AtomicBool::new(false),
        })
    }

    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) const fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Kills the agent, and with it every process of its pid namespace; returns once the kernel
    /// has ended all of them.
    pub(crate) async fn kill(&self) {
        // One that had ended before was not ended from here, whoever cleans up after it.
        if !*self.ended.borrow() {
            self.killed.store(true, Ordering::Release);
        }
        if let Err(e) = pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL)
            && e != Errno::SRCH
        {
            // Where signals by descriptor are refused (a filter around this process that is older
            // than they are), the agent ends with its connection.
            tracing::warn!(error = %e, "an agent cannot be killed, and is asked to end");
            self.close().await;
        }
        self.ended().await;
    }

    /// Whether [`Agent::kill`] ended it: then its end is nobody's fault.
    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Lets go of the agent: it ends what it started and then itself (backend noop).
    pub(crate) async fn close(&self) {
        self.commands.writer.lock().await.take();
    }

    /// Returns once the agent has ended.
    pub(crate) async fn ended(&self) {
        // An error means that the task which would say so has ended after saying it.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// Kills a process that nobody else watches and takes its status.
pub(super) fn gone(pidfd: &OwnedFd) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let _ = retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED));
}

impl Commands {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(
        &self,
        kind: Kind,
        id: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let mut writer = self.writer.lock().await;
        let sent = match writer.as_mut() {
            Some(writer) => connection::send(writer, kind, id, payload, fds).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        sent.map_err(|e| match e.kind() {
            io::ErrorKind::InvalidInput => KavachError::InvalidConfig {
                field: "command".into(),
                problem: e.to_string(),
                required: "at most 4 MiB of arguments and environment".into(),
                fix: "pass large data through stdin or a file".into(),
            },
            _ => KavachError::AgentDied {
                how: format!("its socket is closed: {e}"),
            },
        })
    }

    /// Starts a command. The outer result is the connection's, the inner one the launch's.
    pub(crate) async fn launch(
        &self,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<std::result::Result<(u32, End), Failure>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (started, answer) = oneshot::channel();
        let (ended, end) = watch::channel(None);
        {
            let mut waiting = self.waiting();
            if waiting.closed {
                return Err(KavachError::AgentDied {
                    how: "its connection is closed".into(),
                });
            }
            waiting.started.insert(id, started);
            waiting.ended.insert(id, ended);
        }
        let launched = match self.send(Kind::Exec, id, payload, fds).await {
            Ok(()) => answer.await.map_err(|_| KavachError::AgentDied {
                how: "while it started a command".into(),
            }),
            Err(e) => Err(e),
        };
        match launched {
            Ok(Ok(_inner_pid)) => Ok(Ok((id, end))),
            Ok(Err(failure)) => {
                self.waiting().ended.remove(&id);
                Ok(Err(failure))
            }
            Err(e) => {
                let mut waiting = self.waiting();
                waiting.started.remove(&id);
                waiting.ended.remove(&id);
                Err(e)
            }
        }
    }

    /// The sandbox's `/dev/ptmx`, as an `O_PATH` descriptor of whatever the agent finds there. The
    /// outer result is the connection's, the inner one the agent's.
    pub(super) async fn ptmx(&self) -> Result<std::result::Result<OwnedFd, Failure>> {
        let died = || KavachError::AgentDied {
            how: "while it was asked for a terminal".into(),
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (passed, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.closed {
                return Err(died());
            }
            waiting.ptmx.insert(id, passed);
        }
        // A task of its own: whoever stops waiting must not cut a frame in half.
        let commands = self.clone();
        let asked = tokio::spawn(async move { commands.send(Kind::AskPtmx, id, &[], &[]).await });
        if let Err(e) = asked.await.unwrap_or_else(|_| Err(died())) {
            self.waiting().ptmx.remove(&id);
            return Err(e);
        }
        answer.await.map_err(|_| died())
    }

    /// Signals the first process of a command, or its whole process group.
    pub(crate) async fn signal(&self, id: u32, signal: u32, group: bool) -> Result<()> {
        let mut payload = Vec::new();
        SignalRequest { signal, group }.write(&mut payload);
        self.send(Kind::Signal, id, &payload, &[]).await
    }

    /// Signals every guest process; the receiver resolves when none is left.
    pub(crate) async fn signal_all(&self, signal: u32) -> Result<oneshot::Receiver<()>> {
        let (idle, none_left) = oneshot::channel();
        self.waiting().idle.push(idle);
        let mut payload = Vec::new();
        SignalRequest {
            signal,
            group: true,
        }
        .write(&mut payload);
        self.send(Kind::SignalAll, 0, &payload, &[]).await?;
        Ok(none_left)
    }
}

/// Hands the agent's frames to whoever waits for them, until it is gone or says what it must not.
pub(super) async fn hear(reader: &mut OwnedReadHalf, waiting: &Mutex<Waiting>) {
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let handled = match connection::receive(reader).await {
            Ok(Some(frame)) => deliver(frame, &mut lock()),
            Ok(None) => break,
            Err(e) => Err(e),
        };
        if let Err(e) = handled {
            tracing::warn!(error = %e, "ending a sandbox whose agent broke the protocol");
            break;
        }
    }
    // Dropping the senders tells everybody who waits.
    *lock() = Waiting {
        closed: true,
        ..Waiting::default()
    };
}

/// Hears the agent to the end of the connection, and sees to it that it has ended then.
async fn listen(
    mut reader: OwnedReadHalf,
    waiting: Arc<Mutex<Waiting>>,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    end: watch::Sender<bool>,
) {
    hear(&mut reader, &waiting).await;
    // Broken protocol or closed socket: either way it must not live on.
    let _ = pidfd_send_signal(pidfd.get_ref(), Signal::KILL);
    loop {
        let Ok(mut ready) = pidfd.readable().await else {
            break;
        };
        let id = || WaitId::PidFd(pidfd.get_ref().as_fd());
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match retry_on_intr(|| waitid(id(), options)) {
            Ok(None) => ready.clear_ready(),
            // Ended and reaped, or reaped by a caller that waits for all its children.
            Ok(Some(_)) | Err(_) => break,
        }
    }
    // Nobody may be listening.
    let _ = end.send(true);
}

fn deliver(frame: Frame, waiting: &mut Waiting) -> Result<()> {
    let kind = frame.kind;
    let malformed = |e: kavach_proto::Malformed| broken(format_args!("{kind:?}: {e:?}"));
    match kind {
        Kind::Started => {
            let pid = frame.number()?;
            let sender = waiting.started.remove(&frame.id);
            let sender = sender.ok_or_else(|| broken(format_args!("started {}", frame.id)))?;
            let _ = sender.send(Ok(pid));
        }
        Kind::LaunchFailed => {
            let failure = Failure::read(&frame.payload).map_err(malformed)?;
            if let Some(sender) = waiting.ptmx.remove(&frame.id) {
                let _ = sender.send(Err(failure));
                return Ok(());
            }
            let sender = waiting.started.remove(&frame.id);
            let sender = sender.ok_or_else(|| broken(format_args!("failed {}", frame.id)))?;
            let _ = sender.send(Err(failure));
        }
        Kind::Exited => {
            let ended = Ended::read(&frame.payload).map_err(malformed)?;
            let sender = waiting.ended.remove(&frame.id);
            let sender = sender.ok_or_else(|| broken(format_args!("ended {}", frame.id)))?;
            let _ = sender.send(Some(ended));
        }
        Kind::Ptmx => {
            let sender = waiting.ptmx.remove(&frame.id);
            let (Some(sender), Some(ptmx)) = (sender, frame.fd) else {
                return Err(broken(format_args!("passed a terminal unasked")));
            };
            let _ = sender.send(Ok(ptmx));
        }
        Kind::Idle => {
            for sender in waiting.idle.drain(..) {
                let _ = sender.send(());
            }
        }
        other => return Err(broken(format_args!("said {other:?} while serving"))),
    }
    Ok(())
}
