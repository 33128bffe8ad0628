//! Making new files and links under temporary names, complete before they have their own.

use std::fs::{File, FileTimes};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr, getxattr,
    listxattr, openat, symlinkat,
};
use rustix::io::Errno;

use super::change::Change;
use super::check::no_directory;
use super::content::{self, NotCopied};
use super::entry::{Entry, EntryKind};
use super::node::{Node, magic};
use super::refusal::Refusal;
use super::temporary;
use super::write::{Done, Host, act, mode};

/// A new file or link under its temporary name. Removed when it is dropped before its time.
#[derive(Debug)]
pub(super) struct Staged {
    /// Where it is.
    pub(super) dir: Vec<u8>,
    pub(super) temp: String,
    /// The new file, until it is synced.
    pub(super) file: Option<File>,
}

impl Host<'_> {
    /// The nearest directory above a path that is there, and its path. Where the directory of an
    /// entry is still to be made, the entry waits in the one above it.
    fn nearest(&mut self, path: &[u8], above: bool) -> Done<(Vec<u8>, Rc<OwnedFd>)> {
        let mut at = path;
        loop {
            match self.dirs.open(at) {
                Ok(dir) => return Ok((at.to_vec(), dir)),
                Err(e) if above && super::node::is_gone(&e) && !at.is_empty() => {
                    at = super::path::split(at).0;
                }
                Err(e) => return Err(no_directory(e)),
            }
        }
    }

    /// Makes the new file or link of a change under a temporary name. With `early`, its directory
    /// may be one that is still to be made.
    pub(super) fn stage(&mut self, change: &Change, source: &Node, early: bool) -> Done<Staged> {
        let (at, name) = change.path.split();
        let (at, dir) = self.nearest(at, early)?;
        let old = match &change.before {
            Some(before) if before.kind == EntryKind::File => {
                Node::find(&*dir, name).map_err(Refusal::host("look at it"))?
            }
            _ => None,
        };
        match change.after.as_ref().map(|after| (after, &after.target)) {
            Some((_, Some(target))) => self.stage_link(at, &dir, target),
            Some((after, None)) => self.stage_file(at, &dir, after, source, old.as_ref()),
            None => Err(Refusal::Stale),
        }
    }

    fn stage_link(&self, at: Vec<u8>, dir: &OwnedFd, target: &[u8]) -> Done<Staged> {
        let temp = temporary::name();
        symlinkat(target, dir, &*temp).map_err(act("make the link"))?;
        let staged = Staged {
            dir: at,
            temp,
            file: None,
        };
        let chown = || -> io::Result<()> {
            if let Some((uid, gid)) = self.new_owner(dir)? {
                let link = Node::look(dir, staged.temp.as_bytes())?;
                chownat(&link, "", Some(uid), gid, AtFlags::EMPTY_PATH)?;
            }
            Ok(())
        };
        match chown() {
            Ok(()) => Ok(staged),
            Err(e) => {
                self.discard_in(dir, &staged);
                Err(Refusal::host("give the link to its owner")(e))
            }
        }
    }

    fn stage_file(
        &self,
        at: Vec<u8>,
        dir: &OwnedFd,
        after: &Entry,
        source: &Node,
        old: Option<&Node>,
    ) -> Done<Staged> {
        let temp = temporary::name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW;
        let file = openat(dir, &*temp, flags | OFlags::CLOEXEC, mode(0o600));
        let file = File::from(file.map_err(act("make a file in the directory"))?);
        let staged = Staged {
            dir: at,
            temp,
            file: None,
        };
        match self.fill(dir, &file, after, source, old) {
            Ok(()) => Ok(Staged {
                file: Some(file),
                ..staged
            }),
            Err(refusal) => {
                // On a full disk the next file needs the room now: until a process that another
                // thread is just starting execs, it holds a copy of the descriptor.
                if let Err(e) = file.set_len(0) {
                    tracing::debug!(error = %e, "a discarded file keeps its room a little longer");
                }
                self.discard_in(dir, &staged);
                Err(refusal)
            }
        }
    }

    /// Content, owner, permissions, attributes, time.
    fn fill(
        &self,
        dir: &OwnedFd,
        file: &File,
        after: &Entry,
        source: &Node,
        old: Option<&Node>,
    ) -> Done<()> {
        let from = source.open().map_err(|_| Refusal::Unreadable)?;
        content::copy(&from, file, self.max_file_bytes, self.cancel).map_err(|e| match e {
            NotCopied::TooLarge => Refusal::TooLarge {
                limit: self.max_file_bytes,
            },
            NotCopied::Io(e) => Refusal::host("copy its content")(e),
        })?;
        match old {
            Some(old) => self.keep_owner(file, old)?,
            None => {
                let owner = self
                    .new_owner(dir)
                    .map_err(Refusal::host("look at the directory"))?;
                if let Some((uid, gid)) = owner {
                    fchown(file, Some(uid), gid).map_err(|_| Refusal::Owner)?;
                }
            }
        }
        if let Some(old) = old {
            keep_attributes(file, old).map_err(Refusal::host("keep its attributes"))?;
        }
        // After the owner, and after an access list, whose mask the group's bits are.
        fchmod(file, mode(after.mode & 0o777)).map_err(act("set its permissions"))?;
        let modified = source
            .meta
            .modified()
            .map_err(Refusal::host("read its time"))?;
        file.set_times(FileTimes::new().set_modified(modified))
            .map_err(Refusal::host("set its time"))
    }

    /// Who a new entry belongs to, where that is not by itself so. The group of a directory with
    /// setgid goes to what is made in it.
    pub(super) fn new_owner(&self, dir: &OwnedFd) -> io::Result<Option<(Uid, Option<Gid>)>> {
        let Some((uid, gid)) = self.owner else {
            return Ok(None);
        };
        let inherits = rustix::fs::fstat(dir)?.st_mode & 0o2000 != 0;
        let gid = (!inherits).then(|| Gid::from_raw(gid));
        Ok(Some((Uid::from_raw(uid), gid)))
    }

    /// A file that is replaced keeps its owner and group.
    fn keep_owner(&self, file: &File, old: &Node) -> Done<()> {
        let now = file.metadata().map_err(Refusal::host("look at it"))?;
        let (uid, gid) = (old.meta.uid(), old.meta.gid());
        let differs = |is: u32, was: u32| (is != was).then_some(was);
        let uid = differs(now.uid(), uid).map(Uid::from_raw);
        let gid = differs(now.gid(), gid).map(Gid::from_raw);
        if uid.is_some() || gid.is_some() {
            fchown(file, uid, gid).map_err(|_| Refusal::Owner)?;
        }
        Ok(())
    }

    /// Removes what was staged.
    pub(super) fn discard(&mut self, staged: &Staged) {
        match self.dirs.open(&staged.dir) {
            Ok(dir) => self.discard_in(&dir, staged),
            Err(e) => tracing::warn!(error = %e, "a temporary file stays until the next apply"),
        }
    }

    fn discard_in(&self, dir: &OwnedFd, staged: &Staged) {
        if let Err(e) = temporary::remove(dir, staged.temp.as_bytes()) {
            tracing::warn!(error = %e, "a temporary file stays until the next apply");
        }
    }
}

/// What the host gave a file beside its content stays with its successor: access lists and the
/// user's own attributes. File capabilities and all other attributes do not.
fn keep_attributes(file: &File, old: &Node) -> io::Result<()> {
    let from = old.magic();
    let mut list = vec![0; 1 << 16];
    let len = match listxattr(&*from, &mut *list) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for name in list[..len].split(|b| *b == 0) {
        if name != b"system.posix_acl_access" && !name.starts_with(b"user.") {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let len = getxattr(&*from, name, &mut *value)?;
        fsetxattr(file.as_fd(), name, &value[..len], XattrFlags::empty())?;
    }
    Ok(())
}

/// Opens a file again, for somebody who may only read it.
pub(super) fn read_only(file: &File) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(rustix::fs::CWD, magic(file), flags, Mode::empty())?.into())
}
