//! A line on the terminal about work that takes longer than a second.
//!
//! Written on standard error, where that is a terminal that kavach has in front of a person, and
//! removed again before anything else is written: a guest's output never meets it. One line with
//! the seconds is all there is to say, as nothing here knows how much is left; so there is no
//! bar, and no crate for bars.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::stdio::stderr;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::cli::OutputArgs;
use crate::terminal::plain;

/// What is quicker needs no word.
const PATIENCE: Duration = Duration::from_secs(1);
/// The line moves, or it would look stuck.
const STEP: Duration = Duration::from_millis(250);
const WHEEL: [char; 4] = ['|', '/', '-', '\\'];

/// The line, from now on until this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// `what` is being done: "building the sandbox".
    pub(crate) fn start(how: OutputArgs, what: impl Into<String>) -> Self {
        if !is_wanted(how) {
            return Self { drawing: None };
        }
        let (done, ended) = mpsc::channel();
        let what = plain(&what.into());
        let drawing = thread::Builder::new()
            .name("progress".into())
            .spawn(move || {
                let began = Instant::now();
                let mut wait = PATIENCE;
                let mut turns = WHEEL.into_iter().cycle();
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(wait) {
                    wait = STEP;
                    draw(turns.next(), &what, began.elapsed());
                }
                if wait == STEP {
                    erase();
                }
            });
        // Without a thread for it the work goes on without the line.
        Self {
            drawing: drawing.ok().map(|thread| (done, thread)),
        }
    }
}

impl Drop for Progress {
    /// Returns when the line is gone.
    fn drop(&mut self) {
        if let Some((done, thread)) = self.drawing.take() {
            drop(done);
            // It does not panic; if it did, the line would stay.
            let _ = thread.join();
        }
    }
}

/// Not for programs, logs and those who asked for quiet. In the background it would draw over
/// what somebody types; a dumb terminal cannot remove a line.
fn is_wanted(how: OutputArgs) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let can_erase = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    !how.json
        && !how.quiet
        && io::stderr().is_terminal()
        && can_erase
        && !is_set("CI")
        && tcgetpgrp(stderr()).is_ok_and(|group| group == getpgrp())
}

/// Without colours, so that `NO_COLOR` has nothing to forbid.
fn draw(turn: Option<char>, what: &str, elapsed: Duration) {
    let line = line(turn.unwrap_or(' '), what, elapsed.as_secs());
    // One that is wider than the terminal would go on in the next row, where it is not erased.
    let columns = tcgetwinsize(stderr()).map_or(80, |size| usize::from(size.ws_col));
    let cut: String = line.chars().take(columns.saturating_sub(1)).collect();
    write(&format!("\r\x1b[K{cut}"));
}

fn line(turn: char, what: &str, seconds: u64) -> String {
    format!("{turn} kavach: {what} ({seconds} s)")
}

fn erase() {
    write("\r\x1b[K");
}

/// Only where it does not wait: a terminal that is stopped (Ctrl-S) must not keep kavach.
fn write(text: &str) {
    let mut err = io::stderr().lock();
    let end = stderr();
    let mut fds = [PollFd::new(&end, PollFlags::OUT)];
    let at_once = Timespec::default();
    if matches!(poll(&mut fds, Some(&at_once)), Ok(1..)) {
        // A terminal that is gone needs no line.
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_and_how_long() {
        assert_eq!(
            line('|', "building the sandbox", 12),
            "| kavach: building the sandbox (12 s)"
        );
    }

    #[test]
    fn nothing_is_drawn_for_programs_and_the_quiet() {
        for (json, quiet) in [(true, false), (false, true)] {
            assert!(!is_wanted(OutputArgs { json, quiet }));
        }
    }
}
