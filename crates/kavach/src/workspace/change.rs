//! What a guest did to its workspace, as data.

use std::fmt;

use serde::{Serialize, Serializer};

use super::entry::Entry;
use super::path::EntryPath;

/// Version of the JSON form of [`Changes`].
pub const CHANGES_VERSION: u32 = 1;

/// Everything that differs between the workspace as a guest sees it and the directory on the
/// host, in the order of paths. Content is not part of it.
///
/// JSON: `{"version": 1, "summary": {…}, "changes": […]}` with a [`Summary`] and a [`Change`] for
/// each path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sorted by path, each path once.
    list: Vec<Change>,
}

impl Changes {
    /// From the walk, in whatever order it found them.
    pub(super) fn new(mut list: Vec<Change>) -> Self {
        list.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        // A name can come twice from a directory that changes while it is read.
        list.dedup_by(|a, b| a.path == b.path);
        Self { list }
    }

    /// Each change, in the order of paths: a directory before what is in it.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.list.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The change of this path, if it has one.
    #[must_use]
    pub fn get(&self, path: &EntryPath) -> Option<&Change> {
        let at = self.list.binary_search_by(|c| c.path.cmp(path)).ok()?;
        self.list.get(at)
    }

    /// How many of each kind.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for change in &self.list {
            *match change.kind {
                ChangeKind::Added => &mut summary.added,
                ChangeKind::Changed => &mut summary.changed,
                ChangeKind::ModeChanged => &mut summary.mode_changed,
                ChangeKind::Deleted => &mut summary.deleted,
                ChangeKind::Symlink => &mut summary.symlink,
                ChangeKind::Special => &mut summary.special,
                ChangeKind::TypeChanged => &mut summary.type_changed,
            } += 1;
        }
        summary
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Changes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<'a> {
            version: u32,
            summary: Summary,
            changes: &'a [Change],
        }
        Document {
            version: CHANGES_VERSION,
            summary: self.summary(),
            changes: &self.list,
        }
        .serialize(serializer)
    }
}

/// How many changes there are of each [`ChangeKind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Files and directories that are new.
    pub added: usize,
    /// Files with other content.
    pub changed: usize,
    /// Files and directories with other permissions alone.
    pub mode_changed: usize,
    /// Entries that are gone, those in deleted directories included.
    pub deleted: usize,
    /// Symbolic links that are new or point elsewhere.
    pub symlink: usize,
    /// Sockets, FIFOs and devices.
    pub special: usize,
    /// Files that became directories, and the reverse.
    pub type_changed: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.added, "added"),
            (self.changed, "changed"),
            (self.mode_changed, "with another mode"),
            (self.deleted, "deleted"),
            (self.symlink, "symbolic links"),
            (self.special, "special files"),
            (self.type_changed, "of another type"),
        ];
        let mut parts = counts.into_iter().filter(|(count, _)| *count > 0);
        let Some((count, what)) = parts.next() else {
            return f.write_str("nothing changed");
        };
        write!(f, "{count} {what}")?;
        parts.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// What happened to an entry. Where several are true the later in this list counts, apart from
/// [`ChangeKind::Deleted`], which excludes the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is gone. Each entry of a deleted directory is listed by itself.
    Deleted,
    /// Its permissions are others, its content is the same.
    ModeChanged,
    /// A file with other content, and perhaps other permissions.
    Changed,
    /// A new file or directory.
    Added,
    /// It was something else before, for instance a file that became a directory.
    TypeChanged,
    /// A symbolic link, new or with another target, whatever was there before.
    Symlink,
    /// A socket, FIFO or device, whatever was there before. Never applied.
    Special,
}

impl ChangeKind {
    /// Every kind, in the order above.
    pub const ALL: [ChangeKind; 7] = [
        ChangeKind::Deleted,
        ChangeKind::ModeChanged,
        ChangeKind::Changed,
        ChangeKind::Added,
        ChangeKind::TypeChanged,
        ChangeKind::Symlink,
        ChangeKind::Special,
    ];

    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::ModeChanged => "mode_changed",
            Self::Changed => "changed",
            Self::Added => "added",
            Self::TypeChanged => "type_changed",
            Self::Symlink => "symlink",
            Self::Special => "special",
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Where.
    pub path: EntryPath,
    /// What.
    pub kind: ChangeKind,
    /// The entry on the host; `None` where there is none.
    pub before: Option<Entry>,
    /// The entry as the guest has it; `None` where it is gone.
    pub after: Option<Entry>,
    /// The host's entry was changed after the sandbox began: both sides changed it, and apply
    /// refuses to choose.
    pub conflict: bool,
    /// The caller may not read the guest's entry, so that its content is not known. For an
    /// ordinary user, a file or directory that the guest left without the right to read.
    pub unreadable: bool,
    /// Names of extended attributes that the guest's file has; escaped like paths. They are never
    /// applied.
    pub xattrs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::super::entry::{EntryKind, Stamp};
    use super::*;

    fn change(path: &str, kind: ChangeKind) -> Change {
        Change {
            path: EntryPath::new(path.as_bytes()).unwrap(),
            kind,
            before: None,
            after: Some(Entry {
                kind: EntryKind::Symlink,
                mode: 0o777,
                size: 0,
                links: 1,
                target: Some(b"../x\xff".to_vec()),
                stamp: Stamp::default(),
            }),
            conflict: false,
            unreadable: false,
            xattrs: vec!["user.note".into()],
        }
    }

    #[test]
    fn the_json_form_is_the_documented_one() {
        let changes = Changes::new(vec![
            change("b\n", ChangeKind::Symlink),
            change("a/b", ChangeKind::Added),
            change("a", ChangeKind::Added),
            change("a", ChangeKind::Added),
        ]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&changes).unwrap());
    }

    #[test]
    fn a_summary_names_what_there_is() {
        assert_eq!(Changes::default().summary().to_string(), "nothing changed");
        let changes = Changes::new(vec![
            change("a", ChangeKind::Added),
            change("b", ChangeKind::Deleted),
            change("c", ChangeKind::Deleted),
        ]);
        assert_eq!(changes.summary().to_string(), "1 added, 2 deleted");
    }

    #[test]
    fn a_change_is_found_by_its_path() {
        let changes = Changes::new(vec![
            change("a/b", ChangeKind::Added),
            change("a", ChangeKind::Added),
        ]);
        let path = EntryPath::new(b"a/b").unwrap();
        assert_eq!(changes.get(&path).unwrap().path, path);
        assert_eq!(changes.get(&EntryPath::new(b"b").unwrap()), None);
    }
}
