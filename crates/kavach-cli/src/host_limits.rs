//! Limits of kavach's own process that would end it without a word, or with one about something
//! else.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::{Resource, getrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CliError, Result};

/// Stack that any verb gets along with, in bytes. Measured: a build without optimisation needs
/// more than 128 KiB.
const STACK: u64 = 512 * 1024;
/// Open files that nobody has used up at the start: the default of most systems.
const FILES: u64 = 1024;
/// A write past the limit of file size (`signal(7)`).
const SIGXFSZ: i32 = 25;
/// "Too many open files" and "File too large" (`errno(3)`).
const EMFILE: i32 = 24;
const EFBIG: i32 = 27;

/// Before anything else: what would end kavach by a signal later.
pub(crate) fn check() -> Result<()> {
    if getrlimit(Resource::Fsize).current.is_some() {
        survive_large_files();
    }
    match getrlimit(Resource::Stack).current {
        Some(stack) if stack < STACK => Err(CliError::HostLimit {
            limit: "stack size (`ulimit -s`)",
            found: format!("{} KiB", stack / 1024),
            fix: format!("raise it to {} KiB or more", STACK / 1024),
        }),
        _ => Ok(()),
    }
}

/// Whether there is room for the descriptors of a runtime. Its first few come with errors, but
/// tokio panics where the two for its signals cannot be had. Tried only under a limit that could
/// be used up already.
pub(crate) fn room_for_a_runtime() -> io::Result<()> {
    if getrlimit(Resource::Nofile)
        .current
        .is_none_or(|files| files >= FILES)
    {
        return Ok(());
    }
    let room: io::Result<Vec<_>> = (0..4).map(|_| UnixStream::pair()).collect();
    room.map(drop)
}

/// A write past the limit becomes an error that can be told of, in place of a signal whose
/// default is the end of the process. A handler and not "ignored", which the guest would inherit.
fn survive_large_files() {
    let runtime = room_for_a_runtime().and_then(|()| {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
    });
    if let Ok(runtime) = runtime {
        let _guard = runtime.enter();
        // The handler stays when the listener goes. Without it the signal does what it does.
        let _ = signal(SignalKind::from_raw(SIGXFSZ));
    }
}

/// The limit that was the cause, if one was: whichever of many small steps met it.
pub(crate) fn behind(error: &(dyn std::error::Error + 'static)) -> Option<CliError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let number = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        match number {
            Some(EMFILE) => {
                return Some(CliError::HostLimit {
                    limit: "open files (`ulimit -n`)",
                    found: current(Resource::Nofile),
                    fix: "raise it, for instance to 1024".into(),
                });
            }
            Some(EFBIG) => {
                return Some(CliError::HostLimit {
                    limit: "file size (`ulimit -f`)",
                    found: format!("{} bytes", current(Resource::Fsize)),
                    fix: "raise it, for instance to 1024 KiB".into(),
                });
            }
            _ => cause = error.source(),
        }
    }
    None
}

/// Whether a file would have grown past its limit.
pub(crate) fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EFBIG)
}

fn current(resource: Resource) -> String {
    let current = getrlimit(resource).current;
    current.map_or_else(|| "unlimited".into(), |limit| limit.to_string())
}
