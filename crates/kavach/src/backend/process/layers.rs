//! The two layers of a workspace, as the host reaches them.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::instance::blocking;
use super::privileged;
use crate::agent::Rehearsal;
use crate::error::{KavachError, Result};
use crate::host::directories::{id, open};
use crate::plan::{HostDirectory, Plan, UpperPlan};
use crate::workspace::Layers;

/// The magic number of tmpfs (linux/magic.h).
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// What kavach makes in an upper directory on the host: a directory that only its owner may
/// enter, the overlay's upper directory, and what overlayfs needs beside it.
///
/// The first is no formality. A setuid program of the workspace keeps its bit when it is copied
/// up, and a guest that writes through a map changes it without losing the bit.
const LAYERS: &str = "layers";
const UPPER: &str = "upper";
const WORK: &str = "work";

fn failed(op: &str, path: &Path) -> impl FnOnce(Errno) -> KavachError {
    let (op, path) = (op.to_owned(), path.to_path_buf());
    move |e| KavachError::HostIo {
        op,
        path,
        source: e.into(),
    }
}

/// What is to be done on the host before anything is started: looking through what guests may
/// write to, and making what an overlay needs in an upper directory.
///
/// Returns the lock of the upper directory, to be held as long as something writes to it: the
/// kernel lets two overlays use one, and says that what comes of it is undefined.
pub(super) async fn prepare(plan: &Plan) -> Result<Option<OwnedFd>> {
    for directory in plan.write_through() {
        let (root, path) = (hold(directory)?, directory.path.clone());
        blocking(move || privileged::check_none(&root, &path)).await??;
    }
    let Some((lower, UpperPlan::Directory(upper))) = plan.workspace() else {
        return Ok(None);
    };
    let mode = fs::fstat(hold(lower)?).map_err(failed("look at", &lower.path))?;
    let mode = Mode::from_raw_mode(mode.st_mode) & Mode::from_raw_mode(0o1777) | Mode::RWXU;
    let layers = make(&hold(upper)?, LAYERS, Mode::RWXU, upper)?;
    let lock = lock(&layers, &upper.path)?;
    make(&layers, UPPER, mode, upper)?;
    check_attributes(&make(&layers, WORK, Mode::RWXU, upper)?, &upper.path)?;
    Ok(Some(lock))
}

fn lock(layers: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let layers = readable(layers).map_err(failed("open", path))?;
    match fs::flock(&layers, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(layers),
        Err(Errno::WOULDBLOCK) => Err(KavachError::invalid(
            "workspace.upper",
            format!("{path:?} is in use by another sandbox"),
            "a directory for this workspace alone",
            "name another directory, or end the other sandbox",
        )),
        Err(e) => Err(failed("lock", path)(e)),
    }
}

/// An O_PATH descriptor, opened.
fn readable(directory: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(directory, ".", flags, Mode::empty())
}

/// A directory of the owner's with this mode; one that is there gets the mode of a new one only
/// where it is for the owner alone.
fn make(above: &OwnedFd, name: &str, mode: Mode, upper: &HostDirectory) -> Result<OwnedFd> {
    let path = upper.path.join(name);
    let is_new = match fs::mkdirat(above, name, Mode::RWXU) {
        Err(Errno::EXIST) => false,
        made => made.map(|()| true).map_err(failed("make", &path))?,
    };
    let made = below(above, name).map_err(failed("open", &path))?;
    if is_new && let Some(owner) = upper.owner {
        use rustix::process::{Gid, Uid};
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        fs::chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(failed("give to its owner", &path))?;
    }
    if is_new || mode == Mode::RWXU {
        // By the directory that was opened; not left to the umask.
        let name = format!("/proc/self/fd/{}", made.as_raw_fd());
        fs::chmod(name, mode).map_err(failed("set the mode of", &path))?;
    }
    Ok(made)
}

/// Overlayfs goes on without extended attributes, and then fails where they are needed.
fn check_attributes(work: &OwnedFd, path: &Path) -> Result<()> {
    let work = readable(work).map_err(failed("open", &path.join(WORK)))?;
    match fs::fsetxattr(work, "user.kavach", b"y", XattrFlags::empty()) {
        Ok(()) => Ok(()),
        Err(e) => Err(KavachError::Setup {
            step: "keep extended attributes of users".into(),
            on: path.display().to_string(),
            source: e.into(),
            fix: Some("name a directory on ext4, xfs or btrfs".into()),
        }),
    }
}

/// The directory of a plan, if it is still the one that was looked at.
fn hold(directory: &HostDirectory) -> Result<OwnedFd> {
    let found = open(&directory.path).and_then(|found| match id(&found)? {
        seen if seen == directory.id => Ok(found),
        _ => Err(Errno::STALE),
    });
    found.map_err(|e| KavachError::Setup {
        step: "open the directory that was looked at".into(),
        on: directory.path.display().to_string(),
        source: e.into(),
        fix: Some("something else was put in its place meanwhile: try again".into()),
    })
}

fn below(directory: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    fs::openat2(directory, name, flags, Mode::empty(), resolve)
}

/// The layers of a sandbox that waits in its rehearsal. `guest` is the owner of what the guest
/// makes, as the host sees it.
pub(super) fn layers(
    plan: &Plan,
    rehearsal: &mut Rehearsal,
    guest: (u32, u32),
) -> Result<Option<Layers>> {
    let passed = rehearsal.take_upper();
    let Some((lower, upper)) = plan.workspace() else {
        return match passed {
            None => Ok(None),
            Some(_) => Err(broken("passed a directory that nobody asked for")),
        };
    };
    let upper = match (upper, passed) {
        (UpperPlan::Tmpfs { .. }, Some(passed)) => {
            check(passed.as_fd(), guest)?;
            passed
        }
        (UpperPlan::Directory(directory), None) => {
            let layers = below(hold(directory)?, LAYERS);
            layers
                .and_then(|layers| below(layers, UPPER))
                .map_err(failed("open the upper layer in", &directory.path))?
        }

        _ => return Err(broken("did not pass the workspace's upper directory")),
    };
    Ok(Some(Layers {
        lower: hold(lower)?,
        upper,
        target: lower.path.clone(),
        userxattr: true,
    }))
}

/// What the agent passed is the empty directory of the guest's on a tmpfs, or nothing is used.
fn check(upper: BorrowedFd<'_>, (uid, gid): (u32, u32)) -> Result<()> {
    let look = || -> io::Result<bool> {
        let stat = fs::fstat(upper)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut entries = fs::Dir::read_from(fs::openat(upper, ".", flags, Mode::empty())?)?;
        let is_empty = entries
            .all(|entry| entry.is_ok_and(|entry| [c".", c".."].contains(&entry.file_name())));
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && (stat.st_uid, stat.st_gid) == (uid, gid)
            && fs::fstatfs(upper)?.f_type == TMPFS_MAGIC
            && is_empty)
    };
    match look() {
        Ok(true) => Ok(()),
        Ok(false) => Err(broken(
            "passed something else than an empty upper directory",
        )),
        Err(e) => Err(broken(&format!("passed what cannot be looked at: {e}"))),
    }
}

fn broken(problem: &str) -> KavachError {
    KavachError::Agent {
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
