//! The standard streams of a command that is captured whole.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::terminal::Master;

/// Bytes per read. Output past the limit is read all the same, so that the guest never blocks on
/// a full pipe.
const CHUNK: usize = 64 * 1024;
/// After the command has ended, what is left in the pipe is taken: at most the largest pipe that
/// a guest may make, for a background process may go on writing.
const MOST_LEFT: usize = 1 << 20;

/// A stream, cut at its limit.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub(crate) bytes: Vec<u8>,
    pub(crate) truncated: bool,
}

/// Where output comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A pipe of one stream.
    Pipe(Receiver),
    /// A terminal.
    Terminal(Master),
}

impl Source {
    /// The next bytes; none at the end. Cancel safe.
    async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Pipe(pipe) => loop {
                pipe.readable().await?;
                match pipe.try_read(buf) {
                    Err(e) if is_passing(&e) => {}
                    read => return read,
                }
            },
            Source::Terminal(master) => {
                let mut buf = ReadBuf::new(buf);
                std::future::poll_fn(|cx| master.poll_read(cx, &mut buf)).await?;
                Ok(buf.filled().len())
            }
        }
    }

    /// What is there now. The kernel is asked, not `try_read`: that answers from what the reactor
    /// has seen so far, and the news of the command's end may overtake the news of its output.
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Pipe(pipe) => Ok(retry_on_intr(|| rustix::io::read(pipe, &mut *buf))?),
            Source::Terminal(master) => master.read_now(buf),
        }
    }
}

/// Nothing now, or a signal came first: neither is the end.
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Reads a source until its end or, once `ended` is true, until it is empty. At most `limit` bytes
/// are kept; `over` is told when more came.
pub(crate) async fn capture(
    from: Source,
    limit: u64,
    mut ended: watch::Receiver<bool>,
    over: watch::Sender<bool>,
) -> Captured {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut kept = Captured::default();
    let mut chunk = vec![0; CHUNK];
    let mut take = |bytes: &[u8]| {
        let room = limit - kept.bytes.len();
        kept.bytes
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or(&[]));
        if bytes.len() > room && !kept.truncated {
            kept.truncated = true;
            over.send_replace(true);
        }
    };
    loop {
        let draining = *ended.borrow_and_update();
        if draining {
            let mut left = MOST_LEFT;
            while let Ok(n @ 1..) = from.read_now(&mut chunk) {
                take(chunk.get(..n).unwrap_or(&[]));
                left = left.saturating_sub(n);
                if left == 0 {
                    break;
                }
            }
            return kept;
        }
        tokio::select! {
            read = from.read(&mut chunk) => match read {
                Ok(n @ 1..) => take(chunk.get(..n).unwrap_or(&[])),
                Ok(0) => return kept,
                // What is missing is not passed off as the whole.
                Err(_) => {
                    kept.truncated = true;
                    return kept;
                }
            },
            changed = ended.changed() => {
                if changed.is_err() {
                    return kept;
                }
            }
        }
    }
}

/// A pipe whose read end is for a guest; the bytes are written as it reads them. A guest that
/// does not read them, or ends first, is no error.
pub(crate) fn feed(bytes: Zeroizing<Vec<u8>>) -> io::Result<OwnedFd> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    if !bytes.is_empty() {
        let mut write = Sender::from_owned_fd(write)?;
        tokio::spawn(async move {
            let _ = write.write_all(&bytes).await;
        });
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_kept_although_the_end_is_known_first() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let from = Source::Pipe(Receiver::from_owned_fd(read).unwrap());
        rustix::io::write(&write, b"last words").unwrap();
        // The reactor has had no turn since the write, and the writer lives on.
        let (_ended, ended) = watch::channel(true);
        let kept = capture(from, 100, ended, watch::channel(false).0).await;
        assert_eq!(kept.bytes, b"last words");
    }
}
