//! One reaper per host process: a child in a session of its own that cleans up after a host that
//! was killed, and does nothing while it lives. See the agent's module of the same name.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kavach_proto::{HEADER_LEN, Header, Kind, ReaperOrder};

use super::children::HeldChild;
use super::image::image;
use crate::error::{KavachError, Result};

/// The reaper of this process. Not waited for by anybody else: it outlives this process by design.
struct Reaper {
    /// Its end tells the reaper that this process is gone. Never closed otherwise.
    connection: UnixStream,
    child: HeldChild,
}

static REAPER: Mutex<Option<Reaper>> = Mutex::new(None);

/// Starts the reaper of this process if there is none: it will clean the groups whose names begin
/// with `prefix` under each of `bases` (a directory and how groups in it are frozen: 0 not, 1
/// `freezer.state`, 2 `cgroup.freeze`).
pub(crate) fn ensure(prefix: &str, bases: &[(PathBuf, u8)]) -> Result<()> {
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    if !reaper.as_mut().is_some_and(Reaper::is_silent) && !bases.is_empty() {
        // What is wrong with the image is said as it is, not as a fault of the reaper.
        let image = image()?;
        let started = start(image, prefix, bases).map_err(|source| KavachError::Setup {
            step: "start the reaper".into(),
            on: "the agent".into(),
            source,
            fix: None,
        })?;
        if let Some(dead) = reaper.replace(started) {
            dead.child.end();
        }
    }
    Ok(())
}

impl Reaper {
    /// It never sends again, so anything but silence means that it has died.
    fn is_silent(&mut self) -> bool {
        loop {
            match self.connection.read(&mut [0]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                answer => {
                    return answer.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
                }
            }
        }
    }
}

fn start(image: &OwnedFd, prefix: &str, bases: &[(PathBuf, u8)]) -> io::Result<Reaper> {
    let (connection, theirs) = UnixStream::pair()?;
    let child = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
        .arg0("kavach-reaper")
        .arg("reap")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut reaper = Reaper {
        connection,
        child: HeldChild::new(child),
    };
    match order(&mut reaper.connection, prefix, bases) {
        Ok(()) => Ok(reaper),
        Err(e) => {
            reaper.child.end();
            Err(e)
        }
    }
}

/// Tells a new reaper what to do, and waits until it can.
fn order(connection: &mut UnixStream, prefix: &str, bases: &[(PathBuf, u8)]) -> io::Result<()> {
    let mut payload = Vec::new();
    let entries = bases
        .iter()
        .map(|(path, freezer)| (*freezer, path.as_os_str().as_bytes()));
    ReaperOrder::write(&mut payload, prefix.as_bytes(), entries);
    let header = Header::new(
        Kind::Reap,
        0,
        u32::try_from(payload.len()).unwrap_or(u32::MAX),
    );
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    connection.write_all(&header.encode())?;
    connection.write_all(&payload)?;
    // Only once it has left this session is it out of reach of what ends this process.
    let mut answer = [0; HEADER_LEN];
    connection.read_exact(&mut answer)?;
    match Header::decode(answer, true) {
        Ok(Header {
            kind: Kind::Ready, ..
        }) => connection.set_nonblocking(true),
        other => Err(io::Error::other(format!("the reaper answered {other:?}"))),
    }
}
