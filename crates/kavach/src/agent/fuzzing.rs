//! What the host makes of a connection that a taken-over agent writes to.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use kavach_proto::{Ended, Failure};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{oneshot, watch};

use super::link::{Waiting, hear};

/// What the host waits for, beforehand. The number of each is its place in the list, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The start and the end of a command.
    Command,
    /// The way to terminals.
    Terminal,
    /// That no guest is left.
    Idle,
}

/// What became of one of them.
#[derive(Debug)]
pub enum Answer {
    /// A command, whether it started and how it ended.
    Command(Option<Result<u32, Failure>>, Option<Ended>),
    /// A descriptor.
    Terminal(Option<Result<OwnedFd, Failure>>),
    /// Whether it was said that no guest is left.
    Idle(bool),
}

enum Receiver {
    Command(
        oneshot::Receiver<Result<u32, Failure>>,
        watch::Receiver<Option<Ended>>,
    ),
    Terminal(oneshot::Receiver<Result<OwnedFd, Failure>>),
    Idle(oneshot::Receiver<()>),
}

/// Reads `socket` to its end as a serving agent's, for somebody who waits for these.
///
/// # Errors
/// Where the runtime or the socket cannot be made use of.
pub fn hears(asked: &[Asked], socket: UnixStream) -> io::Result<Vec<Answer>> {
    let mut waiting = Waiting::default();
    let mut receivers = Vec::new();
    for (asked, id) in asked.iter().zip(1..) {
        receivers.push(match asked {
            Asked::Command => {
                let (started, start) = oneshot::channel();
                let (ended, end) = watch::channel(None);
                waiting.started.insert(id, started);
                waiting.ended.insert(id, ended);
                Receiver::Command(start, end)
            }
            Asked::Terminal => {
                let (passed, answer) = oneshot::channel();
                waiting.ptmx.insert(id, passed);
                Receiver::Terminal(answer)
            }
            Asked::Idle => {
                let (idle, none_left) = oneshot::channel();
                waiting.idle.push(idle);
                Receiver::Idle(none_left)
            }
        });
    }
    let waiting = Mutex::new(waiting);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    socket.set_nonblocking(true)?;
    runtime.block_on(async {
        let (mut reader, _writer) = tokio::net::UnixStream::from_std(socket)?.into_split();
        hear(&mut reader, &waiting).await;
        io::Result::Ok(())
    })?;
    receivers
        .into_iter()
        .map(answer)
        .collect::<Option<_>>()
        .ok_or_else(|| io::Error::other("somebody would wait for ever"))
}

/// `None` where the answer is still to come: nobody is left who could give it.
fn answer(receiver: Receiver) -> Option<Answer> {
    Some(match receiver {
        Receiver::Command(start, end) => Answer::Command(had(start)?, *end.borrow()),
        Receiver::Terminal(passed) => Answer::Terminal(had(passed)?),
        Receiver::Idle(idle) => Answer::Idle(had(idle)?.is_some()),
    })
}

fn had<T>(mut receiver: oneshot::Receiver<T>) -> Option<Option<T>> {
    match receiver.try_recv() {
        Ok(value) => Some(Some(value)),
        Err(TryRecvError::Closed) => Some(None),
        Err(TryRecvError::Empty) => None,
    }
}
