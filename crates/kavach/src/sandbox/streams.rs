//! The caller's ends of a running command's streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::supervise::Master;

/// The writing end of a command's standard input.
#[derive(Debug)]
pub struct ChildStdin(pub(super) Input);

#[derive(Debug)]
pub(super) enum Input {
    Pipe(Sender),
    Terminal(Typist),
}

/// The reading end of a command's standard output or error.
#[derive(Debug)]
pub struct ChildStream(pub(super) Output);

#[derive(Debug)]
pub(super) enum Output {
    Pipe(Receiver),
    Terminal(Master),
}

/// Who types at a terminal.
#[derive(Debug)]
pub(super) struct Typist {
    master: Master,
    /// What was typed last is no end of a line.
    mid_line: bool,
    /// The rest of what is typed as the end of the input, once that was asked for.
    end: Option<Vec<u8>>,
}

impl Typist {
    pub(super) fn new(master: Master) -> Self {
        Self {
            master,
            mid_line: false,
            end: None,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(self.master.poll_write(cx, bytes))?;
        if let Some(last) = n.checked_sub(1).and_then(|at| bytes.get(at)) {
            self.mid_line = *last != b'\n';
        }
        Poll::Ready(Ok(n))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (master, mid_line) = (&self.master, self.mid_line);
        let rest = self
            .end
            .get_or_insert_with(|| master.end_of_input(mid_line));
        while !rest.is_empty() {
            let n = ready!(master.poll_write(cx, rest))?;
            rest.drain(..n.min(rest.len()));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        if self.end.is_none() {
            // A terminal that takes no more has a guest that does not read, and would not see it.
            let end = self.master.end_of_input(self.mid_line);
            let _ = self.master.write_now(&end);
        }
    }
}

impl AsyncRead for ChildStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Output::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Output::Terminal(master) => master.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ChildStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Input::Pipe(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Input::Terminal(typist) => typist.poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Input::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
            // What was written is in the kernel's hands.
            Input::Terminal(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Input::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Input::Terminal(typist) => typist.poll_end(cx),
        }
    }
}
