//! Which changes may be applied: every check that needs no copy.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;

use rustix::io::Errno;

use super::change::{Change, ChangeKind};
use super::entry::{Entry, EntryKind};
use super::node::{Node, directory, is, is_gone};
use super::options::Resolved;
use super::overlay::{is_denied, is_whiteout, marks};
use super::protect::protected;
use super::refusal::Refusal;
use super::{Layers, link, temporary};

const SETGID: u32 = 0o2000;

/// What applying a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A new directory, in the place of a file or link if there is one.
    MakeDirectory,
    /// A file or link, in the place of another file or link if there is one.
    Put,
    /// A file or link in the place of a directory, once that is empty.
    PutOverDirectory,
    /// Permissions alone.
    Chmod,
    /// Nothing in its place; a directory once it is empty.
    Remove,
}

impl Act {
    pub(super) fn of(change: &Change) -> Self {
        let was_directory = matches!(&change.before, Some(b) if b.kind == EntryKind::Directory);
        match (&change.after, change.kind) {
            (None, _) => Self::Remove,
            // The guest's has left the other names of the file behind; one of them may be
            // outside the workspace.
            (_, ChangeKind::ModeChanged) if has_other_names(change) => Self::Put,
            (_, ChangeKind::ModeChanged) => Self::Chmod,
            (Some(after), _) if after.kind == EntryKind::Directory => Self::MakeDirectory,
            _ if was_directory => Self::PutOverDirectory,
            _ => Self::Put,
        }
    }
}

/// Whether the host's file has more than this name.
pub(super) fn has_other_names(change: &Change) -> bool {
    change
        .before
        .as_ref()
        .is_some_and(|before| before.links > 1)
}

/// Directories below one root, the last one kept open: changes come in the order of paths.
#[derive(Debug)]
pub(super) struct Directories<'a> {
    root: &'a OwnedFd,
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

impl<'a> Directories<'a> {
    pub(super) const fn new(root: &'a OwnedFd) -> Self {
        Self { root, last: None }
    }

    pub(super) fn open(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if let Some((at, dir)) = &self.last
            && at == path
        {
            return Ok(dir.clone());
        }
        let dir = Rc::new(directory(self.root, path)?);
        self.last = Some((path.to_vec(), dir.clone()));
        Ok(dir)
    }
}

/// Checks changes one after another, in the order of paths.
pub(super) struct Checker<'a> {
    layers: &'a Layers,
    options: &'a Resolved,
    lower: Directories<'a>,
    upper: Directories<'a>,
    /// Directories that accepted changes make, with their permissions.
    made: HashMap<&'a [u8], u32>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(layers: &'a Layers, options: &'a Resolved) -> Self {
        Self {
            layers,
            options,
            lower: Directories::new(&layers.lower),
            upper: Directories::new(&layers.upper),
            made: HashMap::new(),
        }
    }

    /// What is to be done, or why nothing.
    pub(super) fn check(&mut self, change: &'a Change) -> Result<Act, Refusal> {
        let (dir, name) = change.path.split();
        if temporary::is_name(name) {
            return Err(Refusal::Reserved);
        }
        if let Some(what) = protected(change)
            && !self.options.allow.covers(&change.path)
        {
            return Err(Refusal::Protected { what });
        }
        if change.unreadable {
            return Err(Refusal::Unreadable);
        }
        if let Some(after) = &change.after {
            self.kind_and_size(after)?;
        }
        if change.conflict && !self.options.overwrite.covers(&change.path) {
            return Err(Refusal::Conflict);
        }
        let parent = self.host(change, dir, name)?;
        if let Some(after) = &change.after {
            special_bits(change, after, parent)?;
            if let Some(target) = &after.target {
                link::check(&self.layers.lower, dir, target)?;
            }
        }
        self.guest(change, dir, name)?;
        let act = Act::of(change);
        if act == Act::MakeDirectory {
            let mode = change.after.as_ref().map_or(0, |after| after.mode);
            self.made.insert(change.path.as_bytes(), mode);
        }
        Ok(act)
    }

    fn kind_and_size(&self, after: &Entry) -> Result<(), Refusal> {
        let limit = self.options.max_file_bytes;
        match after.kind {
            kind if kind.is_special() => Err(Refusal::Special { kind }),
            EntryKind::File if after.size > limit => Err(Refusal::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    /// Whether the host still has what it had. The permissions of the directory it is in.
    fn host(&mut self, change: &Change, dir: &[u8], name: &[u8]) -> Result<u32, Refusal> {
        if let Some(mode) = self.made.get(dir) {
            return Ok(*mode);
        }
        let parent = match self.lower.open(dir) {
            // Gone on both sides.
            Err(e) if is(&e, Errno::NOENT) && change.after.is_none() => return Ok(0),
            opened => opened.map_err(no_directory)?,
        };
        let mode = rustix::fs::fstat(&*parent)
            .map_err(|e| Refusal::host("look at the directory")(e.into()))?
            .st_mode;
        let node = Node::find(&*parent, name).map_err(Refusal::host("look at it"))?;
        same_as_listed(change, node.as_ref())?;
        Ok(mode)
    }

    /// Whether the guest still has what it had.
    fn guest(&mut self, change: &Change, dir: &[u8], name: &[u8]) -> Result<(), Refusal> {
        let node = match self.upper.open(dir).and_then(|dir| Node::find(&*dir, name)) {
            Ok(node) => node,
            Err(e) if is_gone(&e) => None,
            Err(e) if is_denied(&e) => return Err(Refusal::Unreadable),
            Err(e) => return Err(Refusal::host("look at it inside")(e)),
        };
        let same = match (&change.after, &node) {
            (None, None) => true,
            (None, Some(node)) => is_whiteout(node) || self.is_marked_whiteout(node),
            (Some(after), Some(node)) => node.entry().is_ok_and(|now| after.is(&now)),
            (Some(_), None) => false,
        };
        if same { Ok(()) } else { Err(Refusal::Stale) }
    }

    fn is_marked_whiteout(&self, node: &Node) -> bool {
        node.kind() == EntryKind::File
            && marks(node, self.layers.userxattr).is_ok_and(|marks| marks.whiteout)
    }
}

/// Why a directory of the host cannot be entered.
pub(super) fn no_directory(e: io::Error) -> Refusal {
    if is(&e, Errno::NOENT) {
        Refusal::NoDirectory
    } else if is(&e, Errno::NOTDIR) {
        Refusal::Conflict
    } else {
        Refusal::host("enter the directory")(e)
    }
}

/// Whether the host's entry is the one that the change was listed against. What was deleted on
/// both sides is no conflict.
pub(super) fn same_as_listed(change: &Change, now: Option<&Node>) -> Result<(), Refusal> {
    let same = match (&change.before, now) {
        (None, None) => true,
        (Some(_), None) => change.after.is_none(),
        (Some(before), Some(now)) => now
            .entry()
            .is_ok_and(|now| before.kind == now.kind && before.is(&now)),
        (None, Some(_)) => false,
    };
    if same { Ok(()) } else { Err(Refusal::Conflict) }
}

/// A file may have none of the bits. A directory may keep what the host's has; and setgid on a
/// new one is what the kernel itself sets in a directory that has it (inode(7)).
fn special_bits(change: &Change, after: &Entry, parent: u32) -> Result<(), Refusal> {
    let kept = match (&change.before, after.kind) {
        (Some(before), EntryKind::Directory) if before.kind == EntryKind::Directory => before.mode,
        (_, EntryKind::Directory) => parent & SETGID,
        _ => 0,
    };
    if after.kind != EntryKind::Symlink && after.mode & 0o7000 & !kept != 0 {
        return Err(Refusal::SpecialBits { mode: after.mode });
    }
    Ok(())
}

/// What a change's owner of a new entry is found from: the workspace's own.
pub(super) fn owner(root: &OwnedFd) -> io::Result<(u32, u32)> {
    let meta = std::fs::File::from(root.try_clone()?).metadata()?;
    Ok((meta.uid(), meta.gid()))
}
