//! The agent's executable as a sealed memfd.
//!
//! Sealed against writing, a guest that reaches `/proc/PID/exe` of the agent cannot change what
//! the host starts next (CVE-2019-5736), and no file has to be installed.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::{KavachError, Result};

/// Lives as long as the process, once it was made.
static IMAGE: OnceLock<OwnedFd> = OnceLock::new();

/// The image, made on first use. A failure is not remembered: the next caller tries again.
pub(super) fn image() -> Result<&'static OwnedFd> {
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let Some(bytes) = kavach_agent::AGENT else {
        return Err(KavachError::Setup {
            step: "start the agent".into(),
            on: std::env::consts::ARCH.into(),
            source: std::io::ErrorKind::Unsupported.into(),
            fix: Some("kavach's agent is ported to x86_64 Linux only, so far".into()),
        });
    };
    // A write past the limit would end the whole host process, by a signal (SIGXFSZ).
    let most = getrlimit(Resource::Fsize).current;
    if most.is_some_and(|most| most < bytes.len() as u64) {
        return Err(KavachError::Setup {
            step: "make the agent's memfd".into(),
            on: format!("{} bytes", bytes.len()),
            source: Errno::FBIG.into(),
            fix: Some("raise this process's limit of file size (`ulimit -f`)".into()),
        });
    }
    let made = seal(bytes).map_err(|errno| KavachError::Setup {
        step: "make the agent's memfd".into(),
        on: "memfd_create(2)".into(),
        source: errno.into(),
        fix: Some("check that the sysctl vm.memfd_noexec is below 2".into()),
    })?;
    // Where two threads made one at once, one of the two is closed again.
    Ok(IMAGE.get_or_init(|| made))
}

fn seal(bytes: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 there is no EXEC flag and every memfd is executable.
    let fd = match memfd_create("kavach-agent", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create("kavach-agent", flags)?,
        made => made?,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or(&[]);
    }
    fcntl_add_seals(
        &fd,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(fd)
}
