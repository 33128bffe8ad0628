//! Changing the host's directory, one entry at a time, each in one step.
//!
//! The steps of a file: made under a temporary name in the directory, filled, given owner and
//! permissions, synced, renamed (rename(2): who looks sees the old file or the new one). Nothing
//! here follows a link, and everything is done by the descriptor of a directory that was reached
//! without one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fchown, mkdirat, openat, renameat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;

use super::change::Change;
use super::check::{Directories, no_directory, same_as_listed};
use super::content::Cancel;
use super::entry::{Entry, EntryKind};
use super::node::{Node, names};
use super::refusal::Refusal;
use super::stage::Staged;
use super::temporary;

pub(super) type Done<T> = Result<T, Refusal>;

/// The host's side of an apply.
#[derive(Debug)]
pub(super) struct Host<'a> {
    pub(super) dirs: Directories<'a>,
    /// The owner of the workspace, where the caller is root and may give files away.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) euid: u32,
    /// Files that lost a name and have others: that changed them too.
    pub(super) lost_a_name: Vec<Entry>,
    pub(super) max_file_bytes: u64,
    pub(super) cancel: &'a Cancel,
}

pub(super) fn act(what: &'static str) -> impl FnOnce(Errno) -> Refusal {
    move |e| Refusal::host(what)(e.into())
}

pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & 0o7777)
}

impl Host<'_> {
    /// The directory of a change, and its entry there, which must be the listed one.
    fn place(&mut self, change: &Change) -> Done<(Rc<OwnedFd>, Option<Node>)> {
        let (dir, name) = change.path.split();
        let dir = self.dirs.open(dir).map_err(no_directory)?;
        let node = Node::find(&*dir, name).map_err(Refusal::host("look at it"))?;
        same_as_listed(change, node.as_ref())?;
        Ok((dir, node))
    }

    /// Puts what was staged in its place.
    pub(super) fn put(&mut self, change: &Change, staged: &Staged) -> Done<()> {
        let from = self.dirs.open(&staged.dir).map_err(no_directory)?;
        let (dir, old) = self.place(change)?;
        let name = change.path.split().1;
        if let Some(old) = old {
            renameat(&*from, &*staged.temp, &*dir, name).map_err(act("replace it"))?;
            self.lost_name(&old);
            return Ok(());
        }
        rename_to_free(&from, &staged.temp, &dir, name)
    }

    /// The same where a directory is, which must be empty by now: they change places.
    pub(super) fn put_over_directory(&mut self, change: &Change, staged: &Staged) -> Done<()> {
        let from = self.dirs.open(&staged.dir).map_err(no_directory)?;
        let (dir, old) = self.place(change)?;
        let name = change.path.split().1;
        if let Some(old) = old {
            let listed = old.open_directory().map_err(Refusal::host("list it"))?;
            if names(listed)
                .map_err(Refusal::host("list it"))?
                .next()
                .is_some()
            {
                return Err(Refusal::NotEmpty);
            }
        }
        let swap = || {
            let flags = RenameFlags::EXCHANGE;
            renameat_with(&*from, &*staged.temp, &*dir, name, flags).map_err(act("replace it"))
        };
        swap()?;
        match unlinkat(&*from, &*staged.temp, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(()),
            // Something came into it a moment ago.
            Err(_) => {
                swap()?;
                Err(Refusal::NotEmpty)
            }
        }
    }

    /// Makes a directory, ready before it has its name. It can be written until the end of the
    /// apply, whatever its permissions: files still come into it.
    pub(super) fn make_directory(&mut self, change: &Change) -> Done<()> {
        let (dir, old) = self.place(change)?;
        let bits = change.after.as_ref().map_or(0, |after| after.mode) & 0o777;
        let temp = temporary::name();
        mkdirat(&*dir, &*temp, mode(0o700)).map_err(act("make the directory"))?;
        let done = self.dress(&dir, &temp, bits | 0o700).and_then(|()| {
            let name = change.path.split().1;
            match &old {
                None => rename_to_free(&dir, &temp, &dir, name),
                // The file that was there has the temporary name then.
                Some(_) => renameat_with(&*dir, &*temp, &*dir, name, RenameFlags::EXCHANGE)
                    .map_err(act("replace it")),
            }
        });
        let removed = temporary::remove(&*dir, temp.as_bytes());
        done?;
        removed.map_err(Refusal::host("remove what was there"))?;
        if let Some(old) = old {
            self.lost_name(&old);
        }
        Ok(())
    }

    /// Owner and permissions of a directory that has no name yet.
    fn dress(&self, dir: &OwnedFd, temp: &str, bits: u32) -> Done<()> {
        let made = Node::look(dir, temp.as_bytes()).map_err(Refusal::host("look at it"))?;
        if made.kind() != EntryKind::Directory || made.meta.uid() != self.euid {
            return Err(Refusal::Conflict);
        }
        let fd = made
            .open_directory()
            .map_err(Refusal::host("open the directory"))?;
        let owner = self
            .new_owner(dir)
            .map_err(Refusal::host("look at the directory"))?;
        if let Some((uid, gid)) = owner {
            fchown(&fd, Some(uid), gid).map_err(|_| Refusal::Owner)?;
        }
        let inherited = made.meta.mode() & 0o2000;
        fchmod(&fd, mode(bits | inherited)).map_err(act("set its permissions"))
    }

    /// Sets the permissions of the host's entry.
    pub(super) fn chmod(&mut self, change: &Change) -> Done<()> {
        let (_, node) = self.place(change)?;
        let (Some(node), Some(after)) = (node, &change.after) else {
            return Err(Refusal::Conflict);
        };
        let kept = node.meta.mode() & after.mode & 0o7000;
        chmod_node(&node, after.mode & 0o777 | kept)
    }

    /// Gives a directory that was made the permissions that would have kept files out.
    pub(super) fn close_directory(&mut self, change: &Change) -> Done<()> {
        let (dir, name) = change.path.split();
        let dir = self.dirs.open(dir).map_err(no_directory)?;
        let node = Node::look(&*dir, name).map_err(Refusal::host("look at it"))?;
        let bits = change.after.as_ref().map_or(0, |after| after.mode) & 0o777;
        chmod_node(&node, bits | node.meta.mode() & 0o2000)
    }

    /// Removes an entry; a directory must be empty by now. What is gone already is no failure.
    pub(super) fn remove(&mut self, change: &Change) -> Done<()> {
        let (dir, old) = match self.place(change) {
            Err(Refusal::NoDirectory) => return Ok(()),
            place => place?,
        };
        let Some(old) = old else { return Ok(()) };
        let flags = match old.kind() {
            EntryKind::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        match unlinkat(&*dir, change.path.split().1, flags) {
            Ok(()) | Err(Errno::NOENT) => {
                self.lost_name(&old);
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Refusal::NotEmpty),
            Err(e) => Err(act("remove it")(e)),
        }
    }

    fn lost_name(&mut self, old: &Node) {
        if old.meta.nlink() > 1
            && old.kind() != EntryKind::Directory
            && let Ok(now) = old.again()
        {
            self.lost_a_name.push(now);
        }
    }

    /// The entry as it is now.
    pub(super) fn look(&mut self, change: &Change) -> Option<Entry> {
        let (dir, name) = change.path.split();
        let dir = self.dirs.open(dir).ok()?;
        Node::look(&*dir, name).ok()?.entry().ok()
    }

    /// Has the names in a directory reach the disk.
    pub(super) fn sync_directory(&mut self, path: &[u8]) -> io::Result<()> {
        let dir = self.dirs.open(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&*dir, ".", flags, Mode::empty())?;
        match rustix::fs::fsync(&dir) {
            // A filesystem that has no such thing.
            Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Gives an entry a name that is free.
fn rename_to_free(from: &OwnedFd, temp: &str, dir: &OwnedFd, name: &[u8]) -> Done<()> {
    match renameat_with(from, temp, dir, name, RenameFlags::NOREPLACE) {
        // A filesystem that cannot promise it (NFS): the name was free a moment ago.
        Err(Errno::INVAL) => renameat(from, temp, dir, name),
        Err(Errno::EXIST) => return Err(Refusal::Conflict),
        done => done,
    }
    .map_err(act("put it in its place"))
}

/// By the entry's descriptor and not its name: chmod(2) follows links.
fn chmod_node(node: &Node, bits: u32) -> Done<()> {
    if node.kind() == EntryKind::Symlink {
        return Err(Refusal::Conflict);
    }
    rustix::fs::chmod(node.magic(), mode(bits)).map_err(act("set its permissions"))
}
