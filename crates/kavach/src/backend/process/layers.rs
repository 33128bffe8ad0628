//! The two layers of a workspace, as the host reaches them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use crate::agent::Rehearsal;
use crate::error::{KavachError, Result};
use crate::host::directories::{id, open};
use crate::plan::{HostDirectory, Plan, UpperPlan};
use crate::workspace::Layers;

/// The magic number of tmpfs (linux/magic.h).
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// Where the writes of a workspace on disk are, in its upper directory, and what overlayfs needs
/// beside them.
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

/// Makes what the overlay needs in an upper directory on the host, before anything is started.
pub(super) fn prepare(plan: &Plan) -> Result<()> {
    let Some((lower, UpperPlan::Directory(upper))) = plan.workspace() else {
        return Ok(());
    };
    let mode = fs::fstat(hold(lower)?).map_err(failed("look at", &lower.path))?;
    let mode = Mode::from_raw_mode(mode.st_mode) & Mode::from_raw_mode(0o1777) | Mode::RWXU;
    let directory = hold(upper)?;
    for (name, mode) in [(UPPER, mode), (WORK, Mode::RWXU)] {
        let path = upper.path.join(name);
        match fs::mkdirat(&directory, name, Mode::RWXU) {
            Err(Errno::EXIST) => continue,
            made => made.map_err(failed("make", &path))?,
        }
        let made = below(&directory, name).map_err(failed("open", &path))?;
        let owner = upper.owner.map(|owner| {
            use rustix::process::{Gid, Uid};
            (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid))
        });
        if let Some((uid, gid)) = owner {
            fs::chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                .map_err(failed("give to its owner", &path))?;
        }
        // Not left to the umask.
        fs::chmodat(&directory, name, mode, AtFlags::empty())
            .map_err(failed("set the mode of", &path))?;
    }
    check_attributes(&directory, &upper.path)
}

/// Overlayfs goes on without extended attributes, and then fails where they are needed.
fn check_attributes(directory: &OwnedFd, path: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let work = fs::openat(directory, WORK, flags, Mode::empty());
    let work = work.map_err(failed("open", &path.join(WORK)))?;
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
            below(hold(directory)?, UPPER).map_err(failed("open", &directory.path.join(UPPER)))?
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
