//! What is typed at the user's terminal, for the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kavach::sandbox::ChildStdin;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot};

use crate::error::{CliError, Result};
use crate::streams::read_stdin;

/// Most that is kept for a program that does not read, in bytes. What is typed after that is
/// lost, as at a terminal whose line is full. Reading goes on: the way out is found there.
const MOST_KEPT: usize = 1 << 20;

/// How the passing of keys came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeysEnd {
    /// There are no more, or nobody reads them.
    Over,
    /// The user typed the way out.
    WayOut,
}

/// Passes what is typed to the program, and watches for the way out.
pub(crate) async fn from_keys(mut to: ChildStdin) -> Result<KeysEnd> {
    let (keys, mut incoming) = mpsc::unbounded_channel::<io::Result<Vec<u8>>>();
    let (tell, way_out) = oneshot::channel();
    let kept = Arc::new(AtomicUsize::new(0));
    let adding = kept.clone();
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let (mut way, mut tell) = (WayOut::default(), Some(tell));
            read_stdin(|chunk| {
                let bytes = chunk.as_ref().map_or(0, Vec::len);
                let found = chunk.as_ref().is_ok_and(|keys| way.feed(keys));
                if found && let Some(tell) = tell.take() {
                    // It has ended otherwise.
                    let _ = tell.send(());
                }
                if adding.fetch_add(bytes, Ordering::Relaxed) > MOST_KEPT {
                    adding.fetch_sub(bytes, Ordering::Relaxed);
                    return true;
                }
                keys.send(chunk).is_ok()
            });
        })
        .map_err(CliError::io("start a thread"))?;
    let pass = async {
        while let Some(chunk) = incoming.recv().await {
            let chunk = match chunk {
                // Nobody is there any more; if the terminal is gone, SIGHUP says so.
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => break,
                chunk => chunk.map_err(CliError::io("read what is typed"))?,
            };
            if to.write_all(&chunk).await.is_err() {
                break;
            }
            kept.fetch_sub(chunk.len(), Ordering::Relaxed);
        }
        Ok(KeysEnd::Over)
    };
    tokio::select! {
        biased;
        Ok(()) = way_out => Ok(KeysEnd::WayOut),
        end = pass => end,
    }
}

/// Watches for the keys that end the sandbox whatever the program does with the others: Ctrl-]
/// three times within a second, as in systemd-nspawn(1).
#[derive(Debug, Default)]
struct WayOut {
    seen: u8,
    since: Option<Instant>,
}

impl WayOut {
    /// Whether the last of the three is among these keys.
    fn feed(&mut self, keys: &[u8]) -> bool {
        self.feed_at(keys, Instant::now())
    }

    fn feed_at(&mut self, keys: &[u8], now: Instant) -> bool {
        const KEY: u8 = 0x1d;
        const WITHIN: Duration = Duration::from_secs(1);
        for key in keys {
            let recent = self.since.is_some_and(|since| now - since <= WITHIN);
            if *key != KEY {
                self.seen = 0;
            } else if self.seen > 0 && recent {
                self.seen += 1;
            } else {
                (self.seen, self.since) = (1, Some(now));
            }
            if self.seen == 3 {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_the_key_in_a_second_are_the_way_out() {
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        let out = |keys: &[(&[u8], Instant)]| {
            let mut way = WayOut::default();
            keys.iter().any(|(keys, at)| way.feed_at(keys, *at))
        };
        assert!(out(&[(b"\x1d\x1d\x1d", now)]));
        assert!(out(&[(b"a\x1d", now), (b"\x1d", now), (b"\x1d", now)]));
        assert!(!out(&[(b"\x1d\x1d", now), (b"\x1d", later)]));
        assert!(out(&[(b"\x1d", now), (b"\x1d\x1d\x1d", later)]));
        assert!(!out(&[(b"\x1d\x1da\x1d", now)]));
    }
}
