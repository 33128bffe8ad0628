//! What a program changed in its workspace, and what became of it.

use kavach::workspace::{self as library, ChangeKind, EntryKind};
use serde::Serialize;

use crate::commands::workspace::Outcome;

/// The changes in a workspace.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Workspace {
    /// Each change, in the order of paths.
    changes: Vec<Change>,
    /// What was written back; null where nothing was to be.
    applied: Option<Applied>,
}

/// One change. In paths, targets and names a backslash is `\\`, and `\xHH` is a byte: of what is
/// no UTF-8, of control characters, and of characters that cannot be seen.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Change {
    /// Where, relative to the workspace.
    path: String,
    /// What.
    #[cfg_attr(test, schemars(schema_with = "super::schema::change_kinds"))]
    kind: ChangeKind,
    /// The entry on the host; null where there was none.
    before: Option<Entry>,
    /// The entry as the program left it; null where it is gone.
    after: Option<Entry>,
    /// Whether the host changed it too, since the sandbox began.
    conflict: bool,
    /// Whether kavach may not read what the program left.
    unreadable: bool,
    /// Names of extended attributes that the program set. They are never written back.
    xattrs: Vec<String>,
}

/// One side of a change.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Entry {
    /// What it is.
    #[cfg_attr(test, schemars(schema_with = "super::schema::entry_kinds"))]
    r#type: EntryKind,
    /// The permissions: four octal digits.
    mode: String,
    /// Length in bytes, of a file.
    size: u64,
    /// How many names it has.
    links: u64,
    /// Where a symbolic link points; null for all else.
    target: Option<String>,
}

/// What was written back.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Applied {
    /// Paths of the changes that are on the host now.
    paths: Vec<String>,
    /// The changes that are not.
    refused: Vec<Refused>,
}

/// A change that was not written back.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Refused {
    /// Where.
    path: String,
    /// What.
    #[cfg_attr(test, schemars(schema_with = "super::schema::change_kinds"))]
    kind: ChangeKind,
    /// Why not: a stable name.
    code: &'static str,
    /// Why not, in words.
    message: String,
}

impl From<&Outcome> for Workspace {
    fn from(outcome: &Outcome) -> Self {
        Self {
            changes: outcome.changes.iter().map(Change::from).collect(),
            applied: outcome.applied.as_ref().map(Applied::from),
        }
    }
}

impl From<&library::Change> for Change {
    fn from(change: &library::Change) -> Self {
        Self {
            path: change.path.to_string(),
            kind: change.kind,
            before: change.before.as_ref().map(Entry::from),
            after: change.after.as_ref().map(Entry::from),
            conflict: change.conflict,
            unreadable: change.unreadable,
            xattrs: change.xattrs.clone(),
        }
    }
}

impl From<&library::Entry> for Entry {
    fn from(entry: &library::Entry) -> Self {
        Self {
            r#type: entry.kind,
            mode: format!("{:04o}", entry.mode),
            size: entry.size,
            links: entry.links,
            target: entry.target.as_deref().map(library::escaped),
        }
    }
}

impl From<&library::Applied> for Applied {
    fn from(done: &library::Applied) -> Self {
        let refused = done.refused.iter().map(|refused| Refused {
            path: refused.path.to_string(),
            kind: refused.kind,
            code: refused.reason.code(),
            message: refused.reason.to_string(),
        });
        Self {
            paths: done.applied.iter().map(|a| a.path.to_string()).collect(),
            refused: refused.collect(),
        }
    }
}
