//! Finding what changed: a walk over the upper directory, beside the lower one.
//!
//! Only what the guest touched is in the upper directory, so the walk costs what the guest did,
//! not what the workspace holds. It does not recurse on the program's stack (a tree can be deep),
//! and holds no descriptor for a directory that waits (there can be many).

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::baseline::Baseline;
use super::change::{Change, ChangeKind, Changes};
use super::content::{Cancel, same};
use super::entry::{Entry, EntryKind, Moment};
use super::limits::{Budget, Limits};
use super::node::{Node, is, is_gone, list, names};
use super::overlay::{Marks, is_denied, is_whiteout, marks};
use super::path::{EntryPath, escaped};
use super::{Layers, temporary};
use crate::error::{KavachError, Result};

/// What is to be done in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// The guest's is laid over the host's: what is in the upper one counts.
    Merged,
    /// The guest's is in the place of the host's: what it does not hold is deleted.
    Replaced,
    /// Only the guest has it.
    New,
    /// Only the host has it: all of it is deleted.
    Deleted,
}

/// A directory with the subdirectories that still have to be visited.
#[derive(Debug)]
struct Frame {
    /// Length of its path.
    len: usize,
    subdirectories: Vec<(Box<[u8]>, Visit)>,
}

/// The entry of the host under a name of the workspace.
#[derive(Debug)]
enum Lower {
    None,
    Node(Node),
    /// Something is mounted on it: the guest saw what is below that.
    Mount,
}

#[derive(Debug)]
struct Walk<'a> {
    layers: &'a Layers,
    baseline: &'a Baseline,
    cancel: &'a Cancel,
    budget: Budget,
    /// Where the walk is.
    path: Vec<u8>,
    found: Vec<Change>,
}

/// Everything the guest changed, see [`Changes`].
pub(crate) fn diff(
    layers: &Layers,
    baseline: &Baseline,
    limits: Limits,
    cancel: &Cancel,
) -> Result<Changes> {
    let mut walk = Walk {
        layers,
        baseline,
        cancel,
        budget: Budget::new(limits),
        path: Vec::new(),
        found: Vec::new(),
    };
    let mut stack = vec![walk.enter(Visit::Merged)?];
    loop {
        let depth = stack.len();
        let Some(frame) = stack.last_mut() else { break };
        walk.path.truncate(frame.len);
        let Some((name, visit)) = frame.subdirectories.pop() else {
            stack.pop();
            continue;
        };
        walk.budget.give_back(name.len());
        walk.push(&name);
        walk.budget.depth(depth + 1, &walk.path)?;
        stack.push(walk.enter(visit)?);
    }
    Ok(Changes::new(walk.found))
}

impl Walk<'_> {
    fn failed(&self, op: &str) -> impl FnOnce(io::Error) -> KavachError {
        let (op, path) = (op.to_owned(), escaped(&self.path));
        move |source| KavachError::HostIo {
            op,
            path: path.into(),
            source,
        }
    }

    /// Makes a name the end of the path.
    fn push(&mut self, name: &[u8]) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }

    /// Looks at every entry of the directory where the walk is.
    fn enter(&mut self, visit: Visit) -> Result<Frame> {
        let mut frame = Frame {
            len: self.path.len(),
            subdirectories: Vec::new(),
        };
        let upper = match visit {
            Visit::Deleted => None,
            _ => self.open(&self.layers.upper)?,
        };
        let lower = match visit {
            Visit::New => None,
            _ => self.open(&self.layers.lower)?,
        };
        if let Some(upper) = &upper {
            for name in names(upper).map_err(self.failed("list"))? {
                let name = name.map_err(self.failed("list"))?;
                self.step(&mut frame, &name, |walk| {
                    walk.upper_entry(visit, upper, lower.as_ref(), &name)
                })?;
            }
        }
        if let (Visit::Replaced | Visit::Deleted, Some(lower)) = (visit, &lower) {
            for name in names(lower).map_err(self.failed("list"))? {
                let name = name.map_err(self.failed("list"))?;
                let hidden = match &upper {
                    Some(upper) => Node::find(upper, &name)
                        .map_err(self.failed("look at"))?
                        .is_none(),
                    None => true,
                };
                // What the upper one has, a whiteout too, was seen above.
                if hidden {
                    self.step(&mut frame, &name, |walk| {
                        let lower = walk.lower(Some(lower), &name)?;
                        walk.deleted(&lower, None)
                    })?;
                }
            }
        }
        Ok(frame)
    }

    /// Looks at one entry, and notes the directory that is to be visited.
    fn step(
        &mut self,
        frame: &mut Frame,
        name: &[u8],
        look: impl FnOnce(&mut Self) -> Result<Option<Visit>>,
    ) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(KavachError::SandboxGone {
                act: "list the changes",
            });
        }
        self.push(name);
        self.budget.entry(&self.path)?;
        if let Some(visit) = look(self)? {
            self.budget.keep(name.len(), &self.path)?;
            frame.subdirectories.push((name.into(), visit));
        }
        self.path.truncate(frame.len);
        Ok(())
    }

    /// Opens the directory where the walk is, in one of the trees. `None` where there is none any
    /// more, or none that the caller may see; the workspace itself must be there.
    fn open(&self, root: &OwnedFd) -> Result<Option<OwnedFd>> {
        match list(root, &self.path) {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if self.path.is_empty() => Err(self.failed("list the workspace")(e)),
            Err(e) if is_gone(&e) || is_denied(&e) || is(&e, Errno::XDEV) => Ok(None),
            Err(e) => Err(self.failed("list")(e)),
        }
    }

    /// The host's entry of a name.
    fn lower(&self, dir: Option<&OwnedFd>, name: &[u8]) -> Result<Lower> {
        let Some(dir) = dir else {
            return Ok(Lower::None);
        };
        match Node::find(dir, name) {
            Ok(None) => Ok(Lower::None),
            Ok(Some(node)) => Ok(Lower::Node(node)),
            Err(e) if is(&e, Errno::XDEV) => Ok(Lower::Mount),
            Err(e) => Err(self.failed("look at")(e)),
        }
    }

    /// One name of the upper directory.
    fn upper_entry(
        &mut self,
        parent: Visit,
        upper: &OwnedFd,
        lower: Option<&OwnedFd>,
        name: &[u8],
    ) -> Result<Option<Visit>> {
        let node = match Node::find(upper, name) {
            Ok(Some(node)) => node,
            Ok(None) => return Ok(None),
            Err(e) => return Err(self.failed("look at")(e)),
        };
        let lower = self.lower(lower, name)?;
        if is_whiteout(&node) {
            return self.deleted(&lower, node.born());
        }
        let (marks, mut unreadable) = self.marks(&node)?;
        if let Some(problem) = marks.elsewhere {
            return Err(KavachError::WorkspaceLayer {
                path: escaped(&self.path),
                problem,
            });
        }
        if marks.whiteout {
            return self.deleted(&lower, node.born());
        }
        let after = node.entry().map_err(self.failed("look at"))?;
        let before = match &lower {
            Lower::Node(node) => Some(node.entry().map_err(self.failed("look at"))?),
            Lower::None | Lower::Mount => None,
        };
        let is_directory = |entry: &Entry| entry.kind == EntryKind::Directory;
        let visit = match (
            before.as_ref().is_some_and(is_directory),
            is_directory(&after),
        ) {
            (_, true) if unreadable => None,
            // Below a directory that hides the host's nothing of the host shows; overlayfs does
            // not mark those directories again.
            (true, true) if marks.opaque || parent == Visit::Replaced => Some(Visit::Replaced),
            (true, true) => Some(Visit::Merged),
            (false, true) => Some(Visit::New),
            // All that was in it is gone.
            (true, false) => Some(Visit::Deleted),
            (false, false) => None,
        };
        let mut kind = kind(before.as_ref(), &after);
        if let (None, EntryKind::File, Lower::Node(lower)) = (kind, after.kind, &lower) {
            match self.is_same(&node, lower)? {
                Some(true) => {}
                Some(false) => kind = Some(ChangeKind::Changed),
                None => (kind, unreadable) = (Some(ChangeKind::Changed), true),
            }
        }
        if kind.is_none() && (unreadable || before.as_ref().map(|b| b.mode) != Some(after.mode)) {
            // A link has no permissions of its own, but kernels differ in what they show.
            kind = (after.kind != EntryKind::Symlink).then_some(ChangeKind::ModeChanged);
        }
        if let Some(kind) = kind {
            let sides = [before, Some(after)];
            self.note(kind, sides, node.born(), unreadable, marks.others)?;
        }
        Ok(visit)
    }

    /// The marks of an entry of the upper directory, and whether the caller may not read it.
    fn marks(&self, node: &Node) -> Result<(Marks, bool)> {
        if !matches!(node.kind(), EntryKind::File | EntryKind::Directory) {
            return Ok((Marks::default(), false));
        }
        match marks(node, self.layers.userxattr) {
            Ok(marks) => {
                // Asked now: who cannot open it does not know what is in it.
                let opened = match node.kind() {
                    EntryKind::Directory => node.open_directory().err(),
                    _ => node.open().err(),
                };
                Ok((marks, opened.is_some_and(|e| is_denied(&e))))
            }
            Err(e) if is_denied(&e) => Ok((Marks::default(), true)),
            Err(e) => Err(self.failed("read the attributes of")(e)),
        }
    }

    /// Whether two files of one length hold the same; `None`: the guest's cannot be read. A file
    /// of the host's that cannot be read counts as another.
    fn is_same(&self, upper: &Node, lower: &Node) -> Result<Option<bool>> {
        let Ok(upper) = upper.open() else {
            return Ok(None);
        };
        let Ok(lower) = lower.open() else {
            return Ok(Some(false));
        };
        match same(&upper, &lower, self.cancel) {
            Ok(same) => Ok(Some(same)),
            Err(_) if self.cancel.is_cancelled() => Err(KavachError::SandboxGone {
                act: "list the changes",
            }),
            Err(_) => Ok(None),
        }
    }

    /// The guest deleted the name. What kavach itself left there is not for the guest to see.
    fn deleted(&mut self, lower: &Lower, born: Option<Moment>) -> Result<Option<Visit>> {
        let before = match lower {
            Lower::None => return Ok(None),
            Lower::Mount => None,
            Lower::Node(node) => Some(node.entry().map_err(self.failed("look at"))?),
        };
        if temporary::is_name(super::path::split(&self.path).1) {
            return Ok(None);
        }
        let is_directory = before
            .as_ref()
            .is_some_and(|b| b.kind == EntryKind::Directory);
        self.note(ChangeKind::Deleted, [before, None], born, false, Vec::new())?;
        Ok(is_directory.then_some(Visit::Deleted))
    }

    fn note(
        &mut self,
        kind: ChangeKind,
        [before, after]: [Option<Entry>; 2],
        born: Option<Moment>,
        unreadable: bool,
        xattrs: Vec<String>,
    ) -> Result<()> {
        let conflict = before
            .as_ref()
            .is_some_and(|entry| self.baseline.is_newer(entry, born));
        // A name of the filesystem is always one.
        let Some(path) = EntryPath::new(&self.path) else {
            return Ok(());
        };
        let targets = [&before, &after].into_iter().flatten();
        let kept: usize = targets
            .filter_map(|entry| entry.target.as_ref().map(Vec::len))
            .chain(xattrs.iter().map(String::len))
            .sum();
        self.budget.keep(kept + self.path.len(), &self.path)?;
        self.found.push(Change {
            path,
            kind,
            before,
            after,
            conflict,
            unreadable,
            xattrs,
        });
        Ok(())
    }
}

/// What happened, as far as type, length and target tell; `None`: content and permissions decide.
fn kind(before: Option<&Entry>, after: &Entry) -> Option<ChangeKind> {
    let same_kind = before.is_some_and(|before| before.kind == after.kind);
    match after.kind {
        kind if kind.is_special() => {
            let same = same_kind && before.is_some_and(|b| b.mode == after.mode);
            (!same).then_some(ChangeKind::Special)
        }
        EntryKind::Symlink => {
            let same = before.is_some_and(|b| same_kind && b.target == after.target);
            (!same).then_some(ChangeKind::Symlink)
        }
        _ => match before {
            None => Some(ChangeKind::Added),
            Some(_) if !same_kind => Some(ChangeKind::TypeChanged),
            Some(before) => (before.size != after.size).then_some(ChangeKind::Changed),
        },
    }
}
