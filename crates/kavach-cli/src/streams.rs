//! The guest's standard streams: passed on as they come, or kept.

use std::io::{self, IsTerminal as _, Read as _};

use kavach::sandbox::{ChildStdin, ChildStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::error::{CliError, Result};
use crate::terminal::Neutraliser;

/// Bytes in flight per stream.
const CHUNK: usize = 64 * 1024;

/// A stream that was kept, cut at its limit.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) truncated: bool,
}

/// Passes the guest's standard output on.
pub(crate) async fn to_stdout(from: ChildStream) -> Result<()> {
    let terminal = io::stdout().is_terminal();
    pass(from, tokio::io::stdout(), terminal)
        .await
        .map_err(CliError::io("write to standard output"))
}

/// Passes the guest's standard error on.
pub(crate) async fn to_stderr(from: ChildStream) -> Result<()> {
    let terminal = io::stderr().is_terminal();
    pass(from, tokio::io::stderr(), terminal)
        .await
        .map_err(CliError::io("write to standard error"))
}

/// Returns at the end of the stream, and when the reader has gone away. Then `from` is dropped,
/// and the guest meets a closed pipe, just as it would without kavach between.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    terminal: bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut neutraliser = terminal.then(Neutraliser::default);
    let mut text = String::new();
    loop {
        let n = from.read(&mut chunk).await?;
        let bytes = chunk.get(..n).unwrap_or_default();
        let bytes = match &mut neutraliser {
            None => bytes,
            Some(neutraliser) => {
                text.clear();
                if n == 0 {
                    neutraliser.finish(&mut text);
                } else {
                    neutraliser.feed(bytes, &mut text);
                }
                text.as_bytes()
            }
        };
        // Flushed at once: a prompt has no newline.
        let written = match to.write_all(bytes).await {
            Ok(()) => to.flush().await,
            error => error,
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// Keeps the first `limit` bytes and drops the rest; says when there is a rest.
pub(crate) async fn keep(
    mut from: ChildStream,
    limit: usize,
    over: mpsc::Sender<()>,
) -> Result<Kept> {
    let mut chunk = vec![0; CHUNK];
    let mut kept = Kept::default();
    loop {
        let n = from
            .read(&mut chunk)
            .await
            .map_err(CliError::io("read the program's output"))?;
        if n == 0 {
            return Ok(kept);
        }
        let room = limit.saturating_sub(kept.bytes.len());
        kept.bytes
            .extend_from_slice(chunk.get(..n.min(room)).unwrap_or_default());
        if n > room && !kept.truncated {
            kept.truncated = true;
            // Full or closed: it is known already, or nobody wants to know.
            let _ = over.try_send(());
        }
    }
}

/// Passes kavach's standard input to the guest until either ends. An error is one of reading: a
/// cut input must not look like a whole one.
pub(crate) async fn from_stdin(mut to: ChildStdin) -> Result<()> {
    let (chunks, mut incoming) = mpsc::channel::<io::Result<Vec<u8>>>(1);
    // A thread of its own: a read from a terminal cannot be interrupted, and must hold up
    // nothing. It ends with the process.
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || read_stdin(&chunks))
        .map_err(CliError::io("start a thread"))?;
    while let Some(chunk) = incoming.recv().await {
        let chunk = chunk.map_err(CliError::io("read standard input"))?;
        if to.write_all(&chunk).await.is_err() {
            // The guest reads no more.
            break;
        }
    }
    Ok(())
}

fn read_stdin(chunks: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut stdin = io::stdin().lock();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match stdin.read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => Ok(chunk.get(..n).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if chunks.blocking_send(read).is_err() || failed {
            return;
        }
    }
}
