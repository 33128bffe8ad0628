//! The controlling end of a command's terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, retry_on_intr};
use rustix::termios::{SpecialCodeIndex, tcgetattr, tcsetwinsize};
use tokio::io::ReadBuf;
use tokio::io::unix::AsyncFd;

use crate::command::PtySize;

/// One reader, one writer, and whoever changes its size. The terminal hangs up with the last.
#[derive(Debug, Clone)]
pub(crate) struct Master(Arc<AsyncFd<OwnedFd>>);

impl Master {
    /// Takes a non-blocking descriptor. On a runtime, which the waiting is then done by.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "`register` is unsafe for types whose descriptor may change or close; an OwnedFd's does neither"
        )]
        let fd = AsyncFd::new(fd)?;
        Ok(Self(Arc::new(fd)))
    }

    /// What the command wrote. Nothing is its end: nobody has the other end open any more, for
    /// which the kernel's word is EIO.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let read = ready.try_io(|fd| {
                let read = retry_on_intr(|| rustix::io::read(fd, buf.initialize_unfilled()));
                Ok(read?)
            });
            match read.map(ended) {
                Ok(read) => return Poll::Ready(read.map(|n| buf.advance(n))),
                Err(_would_block) => {}
            }
        }
    }

    /// The same, without a look at what the reactor has seen so far.
    pub(crate) fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let read = retry_on_intr(|| rustix::io::read(self.0.as_fd(), &mut *buf));
        ended(read.map_err(io::Error::from))
    }

    /// Types some of `bytes`.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let write = |fd| retry_on_intr(|| rustix::io::write(fd, bytes));
            match ready.try_io(|fd| Ok(write(fd)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    /// Types what fits, at once.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0.as_fd(), bytes)?)
    }

    /// Types all of `bytes` and then the end of the input.
    pub(crate) async fn type_in(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mid_line = bytes.last().is_some_and(|b| *b != b'\n');
        while !bytes.is_empty() {
            let n = std::future::poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        let end = self.end_of_input(mid_line);
        let mut end = end.as_slice();
        while !end.is_empty() {
            let n = std::future::poll_fn(|cx| self.poll_write(cx, end)).await?;
            end = end.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// What is typed to say that no more will be: nothing where the guest has disabled it. In the
    /// middle of a line the first one ends the line (`termios(3)`, VEOF).
    pub(crate) fn end_of_input(&self, mid_line: bool) -> Vec<u8> {
        let settings = tcgetattr(self.0.as_fd());
        let eof = settings.map_or(0, |s| s.special_codes[SpecialCodeIndex::VEOF]);
        match eof {
            0 => Vec::new(),
            eof => vec![eof; 1 + usize::from(mid_line)],
        }
    }

    pub(crate) fn resize(&self, size: PtySize) -> io::Result<()> {
        Ok(tcsetwinsize(self.0.as_fd(), size.into())?)
    }
}

fn ended(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(e) if Errno::from_io_error(&e) == Some(Errno::IO) => Ok(0),
        read => read,
    }
}
