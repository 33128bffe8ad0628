//! The user's terminal while a program has it.
//!
//! The program's own terminal does the work: echo, line editing, turning Ctrl-C into a signal. So
//! the user's is put into raw mode and passes every key on. Whatever ends the program or kavach,
//! it is put back: settings of the kernel (`termios(3)`), and what the program set in the
//! emulator ([`Screen`]). The one exception is a SIGKILL to kavach itself. No helper could do it
//! then: the shell takes the terminal at once, with settings of its own, and a helper that comes
//! a moment later would undo those. bash puts the settings back by itself; where nobody does,
//! `stty sane` helps, and `reset` against an odd screen.

use std::io::IsTerminal as _;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use kavach::PtySize;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpgrp, getpid, kill_process};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    Action, LocalModes, OptionalActions, QueueSelector, Termios, tcflow, tcflush, tcgetattr,
    tcgetpgrp, tcgetwinsize, tcsetattr,
};

use crate::cli::TerminalArgs;
use crate::error::{CliError, Result};
use crate::screen::Screen;

/// What the kernel's settings were; `None` while they are so.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether the program gets a terminal: as asked for, else where it would have one without
/// kavach. With input or output redirected it is part of a pipeline, and line ends, echo and
/// signals of a terminal would be in the way.
pub(crate) fn is_wanted(args: &TerminalArgs) -> bool {
    args.tty || (!args.no_tty && stdin().is_terminal() && stdout().is_terminal())
}

/// The size of the user's terminal, by whichever stream is one.
pub(crate) fn size() -> PtySize {
    let known = [stdin(), stdout(), stderr()]
        .into_iter()
        .find_map(|fd| tcgetwinsize(fd).ok());
    known.map_or_else(PtySize::default, |size| {
        PtySize::new(size.ws_row, size.ws_col)
    })
}

/// The user's terminal in raw mode, until dropped.
#[derive(Debug)]
pub(crate) struct UserTerminal {
    /// What the program has set in the emulator, where output goes to one.
    screen: Arc<Mutex<Screen>>,
}

impl UserTerminal {
    /// Takes the terminal. In a background job this waits, as the kernel stops such a job here.
    ///
    /// Ctrl-C stays a signal to kavach until [`UserTerminal::pass_every_key`]: a program whose
    /// start hangs cannot be interrupted by a key that nobody reads.
    pub(crate) fn take() -> Result<Self> {
        restore_before_panics();
        let this = Self {
            screen: Arc::default(),
        };
        if stdin().is_terminal() {
            let settings = tcgetattr(stdin()).map_err(failed)?;
            *saved() = Some(settings);
        }
        this.make_raw(LocalModes::ISIG).map_err(failed)?;
        Ok(this)
    }

    /// The program has started: from here on every key is its own.
    pub(crate) fn pass_every_key(&self) -> Result<()> {
        self.make_raw(LocalModes::empty()).map_err(failed)
    }

    /// The filter for what the program writes.
    pub(crate) fn screen(&self) -> Arc<Mutex<Screen>> {
        self.screen.clone()
    }

    /// Raw, but for these modes.
    fn make_raw(&self, but: LocalModes) -> rustix::io::Result<()> {
        let settings = saved().clone();
        match settings {
            Some(mut settings) => {
                let kept = settings.local_modes & but;
                settings.make_raw();
                settings.local_modes |= kept;
                tcsetattr(stdin(), OptionalActions::Now, &settings)
            }
            None => Ok(()),
        }
    }

    /// Stops kavach, as a shell would see an ordinary program stopped. [`UserTerminal::resume`]
    /// comes with SIGCONT.
    pub(crate) fn suspend(&self) {
        write(&lock(&self.screen).undo());
        restore(false);
        // SIGTSTP has a handler; this stops all the same.
        let _ = kill_process(getpid(), Signal::STOP);
    }

    /// Takes the terminal again after a stop. In the background it is somebody else's. One that
    /// has gone away (the kernel sends SIGCONT then, too) needs nothing; SIGHUP tells of that.
    pub(crate) fn resume(&self) {
        if is_in_foreground() && self.make_raw(LocalModes::empty()).is_ok() {
            write(&lock(&self.screen).redo());
        }
    }
}

impl Drop for UserTerminal {
    fn drop(&mut self) {
        let mut end = String::new();
        lock(&self.screen).finish(&mut end);
        make_room();
        write(&end);
        restore(true);
        *saved() = None;
    }
}

pub(crate) fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn saved() -> MutexGuard<'static, Option<Termios>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the kernel's settings back; at the end without what was typed for the program, or by the
/// emulator as its answer to it. Neither waits: a terminal that is stopped must not keep kavach.
fn restore(at_the_end: bool) {
    if !is_in_foreground() {
        return;
    }
    if let Some(settings) = &*saved() {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(stdin(), OptionalActions::Now, settings);
        if at_the_end {
            let _ = tcflush(stdin(), QueueSelector::IFlush);
        }
    }
}

/// Whether the terminal is this job's now. One that is not this session's has no jobs.
fn is_in_foreground() -> bool {
    tcgetpgrp(stdin()).map_or(true, |group| group == getpgrp())
}

/// How long a terminal that was emptied may take to take something.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Drops what is on its way to a user who does not keep up with it, so that what undoes the
/// program's screen arrives, whatever the program has written before.
fn make_room() {
    // In the background the terminal is somebody else's, and this would stop kavach.
    if stdout().is_terminal() && !takes(AT_ONCE) && is_in_foreground() {
        let _ = tcflush(stdout(), QueueSelector::OFlush);
        // Flushing a pseudo-terminal wakes nobody; this has a write under way look again.
        let _ = tcflow(stdout(), Action::OOff);
        let _ = tcflow(stdout(), Action::OOn);
        let _ = takes(PATIENCE);
    }
}

/// Whether the user's terminal takes a few bytes.
fn takes(within: Timespec) -> bool {
    let out: BorrowedFd<'_> = stdout();
    let mut fds = [PollFd::new(&out, PollFlags::OUT)];
    matches!(poll(&mut fds, Some(&within)), Ok(1..))
}

/// Writes a few bytes to the user's terminal, if it takes them.
fn write(text: &str) {
    if !text.is_empty() && stdout().is_terminal() && takes(AT_ONCE) {
        let _ = rustix::io::write(stdout(), text.as_bytes());
    }
}

/// A panic's message on a raw terminal would be a staircase.
fn restore_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore(false);
            before(info);
        }));
    });
}

fn failed(source: rustix::io::Errno) -> CliError {
    CliError::io("set up the terminal")(source.into())
}
