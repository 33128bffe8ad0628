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

use super::image::image;
use crate::error::{KavachError, Result};

/// The connection whose end tells the reaper that this process is gone. Never closed otherwise.
static CONNECTION: Mutex<Option<UnixStream>> = Mutex::new(None);

/// Starts the reaper of this process if there is none: it will clean the groups whose names begin
/// with `prefix` under each of `bases` (a directory and how groups in it are frozen: 0 not, 1
/// `freezer.state`, 2 `cgroup.freeze`).
pub(crate) fn ensure(prefix: &str, bases: &[(PathBuf, u8)]) -> Result<()> {
    let mut connection = CONNECTION.lock().unwrap_or_else(PoisonError::into_inner);
    // It never sends again, so anything but silence means that it has died: start another.
    let silent = |c: &mut UnixStream| matches!(c.read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
    if !connection.as_mut().is_some_and(silent) && !bases.is_empty() {
        // What is wrong with the image is said as it is, not as a fault of the reaper.
        let image = image()?;
        let started = start(image, prefix, bases).map_err(|source| KavachError::Setup {
            step: "start the reaper".into(),
            on: "the agent".into(),
            source,
            fix: None,
        })?;
        *connection = Some(started);
    }
    Ok(())
}

fn start(image: &OwnedFd, prefix: &str, bases: &[(PathBuf, u8)]) -> io::Result<UnixStream> {
    let (mut ours, theirs) = UnixStream::pair()?;
    // Never waited for: it outlives this process by design, and init takes its status.
    let child = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
        .arg0("kavach-reaper")
        .arg("reap")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    drop(child);
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
    ours.set_read_timeout(Some(Duration::from_secs(10)))?;
    ours.write_all(&header.encode())?;
    ours.write_all(&payload)?;
    // Only once it has left this session is it out of reach of what ends this process.
    let mut answer = [0; HEADER_LEN];
    ours.read_exact(&mut answer)?;
    match Header::decode(answer, true) {
        Ok(Header {
            kind: Kind::Ready, ..
        }) => {
            ours.set_nonblocking(true)?;
            Ok(ours)
        }
        other => Err(io::Error::other(format!("the reaper answered {other:?}"))),
    }
}
