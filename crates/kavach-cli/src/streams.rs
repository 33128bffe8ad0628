//! The guest's standard streams: passed on as they come, or kept.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use kavach::sandbox::{ChildStdin, ChildStream};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::error::{CliError, Result};
use crate::screen::Screen;
use crate::terminal::Neutraliser;
use crate::tty::lock;

/// Bytes in flight per stream.
const CHUNK: usize = 64 * 1024;
/// Bytes in one write to a terminal: a write under way cannot be taken back, and must not put off
/// what undoes the program's screen.
const TERMINAL_CHUNK: usize = 2048;

/// A stream that was kept, cut at its limit, or passed on.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) truncated: bool,
    /// It was not wanted to its end.
    pub(crate) reader_gone: bool,
}

/// What of a stream reaches the user.
#[derive(Debug)]
pub(crate) enum Filter {
    /// All of it.
    Nothing,
    /// Text and colours.
    Lines(Neutraliser),
    /// What draws on a screen. Fed even where all of it passes: it knows what to undo, which is
    /// done by who has the terminal ([`UserTerminal`](crate::tty::UserTerminal)).
    Screen {
        screen: Arc<Mutex<Screen>>,
        passes_all: bool,
    },
}

impl Filter {
    /// For a stream without a terminal of its own.
    pub(crate) fn lines(to_terminal: bool, passes_all: bool) -> Self {
        match to_terminal && !passes_all {
            true => Filter::Lines(Neutraliser::default()),
            false => Filter::Nothing,
        }
    }

    /// What is written for `bytes`; for none, at the end.
    fn apply<'b>(&mut self, bytes: &'b [u8], text: &'b mut String) -> &'b [u8] {
        text.clear();
        match self {
            Filter::Nothing => return bytes,
            Filter::Lines(neutraliser) if bytes.is_empty() => neutraliser.finish(text),
            Filter::Lines(neutraliser) => neutraliser.feed(bytes, text),
            Filter::Screen { screen, passes_all } => {
                lock(screen).feed(bytes, text);
                if *passes_all {
                    return bytes;
                }
            }
        }
        text.as_bytes()
    }
}

/// Passes the guest's standard output on.
pub(crate) async fn to_stdout(from: ChildStream, filter: Filter) -> Result<Kept> {
    let passed = match filter {
        // The standard library keeps the beginning of a line back, also from the end of a stream
        // that is given up, and writes it when kavach exits: after the undoing of the screen.
        Filter::Screen { .. } => match io::stdout().as_fd().try_clone_to_owned() {
            Ok(terminal) => pass(from, File::from_std(terminal.into()), filter).await,
            Err(error) => Err(error),
        },
        Filter::Nothing | Filter::Lines(_) => pass(from, tokio::io::stdout(), filter).await,
    };
    passed.map_err(CliError::io("write to standard output"))
}

/// Passes the guest's standard error on.
pub(crate) async fn to_stderr(from: ChildStream, filter: Filter) -> Result<Kept> {
    pass(from, tokio::io::stderr(), filter)
        .await
        .map_err(CliError::io("write to standard error"))
}

/// Returns at the end of the stream, and when the reader has gone away. Then `from` is dropped,
/// and the guest meets a closed pipe, just as it would without kavach between.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut filter: Filter,
) -> io::Result<Kept> {
    let mut chunk = vec![0; CHUNK];
    let mut text = String::new();
    loop {
        let n = from.read(&mut chunk).await?;
        let most = match filter {
            Filter::Screen { .. } => TERMINAL_CHUNK,
            Filter::Nothing | Filter::Lines(_) => CHUNK,
        };
        let bytes = filter.apply(chunk.get(..n).unwrap_or_default(), &mut text);
        match write_flushed(&mut to, bytes, most).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                let reader_gone = true;
                return Ok(Kept {
                    reader_gone,
                    ..Kept::default()
                });
            }
            other => other?,
        }
        if n == 0 {
            return Ok(Kept::default());
        }
    }
}

/// Flushed at once: a prompt has no newline.
async fn write_flushed(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    most: usize,
) -> io::Result<()> {
    for part in bytes.chunks(most) {
        to.write_all(part).await?;
        to.flush().await?;
    }
    Ok(())
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
        .spawn(move || read_stdin(|chunk| chunks.blocking_send(chunk).is_ok()))
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

/// Reads standard input until its end, an error, or until `each` wants no more.
pub(crate) fn read_stdin(mut each: impl FnMut(io::Result<Vec<u8>>) -> bool) {
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
        if !each(read) || failed {
            return;
        }
    }
}
