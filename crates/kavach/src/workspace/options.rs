//! What is to be applied, and how.

use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::{Change, Changes};
use super::limits::Limits;
use super::path::EntryPath;
use super::select::PathSet;
use crate::audit::Decision;
use crate::error::{KavachError, Result};

/// Longest file that is applied where nothing else is said: 8 GiB.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// Decides over each change that nothing else refused, just before it takes effect.
pub trait Review: Send + Sync {
    /// Whether this change may be applied.
    ///
    /// `content` is the new content of a file, at its start: the very bytes that will be in the
    /// workspace, in a copy that the guest cannot reach. `None` for all that has no content of its
    /// own: directories, links, permissions, deletions. Called on a thread that may block; who
    /// ends the sandbox meanwhile waits for the answer. A panic counts as a veto.
    fn review(&self, change: &Change, content: Option<&File>) -> Decision;
}

/// How changes are applied. The default applies every change that is not refused.
#[derive(Clone, Default)]
pub struct ApplyOptions {
    changes: Option<Changes>,
    only: Option<Vec<PathBuf>>,
    except: Vec<PathBuf>,
    allow: Vec<PathBuf>,
    overwrite: Vec<PathBuf>,
    all_or_nothing: bool,
    max_file_bytes: Option<u64>,
    limits: Limits,
    review: Option<Arc<dyn Review>>,
}

impl fmt::Debug for ApplyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyOptions")
            .field("changes", &self.changes.as_ref().map(Changes::len))
            .field("only", &self.only)
            .field("except", &self.except)
            .field("allow", &self.allow)
            .field("overwrite", &self.overwrite)
            .field("all_or_nothing", &self.all_or_nothing)
            .field("max_file_bytes", &self.max_file_bytes)
            .field("limits", &self.limits)
            .field("review", &self.review.is_some())
            .finish()
    }
}

impl ApplyOptions {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies what was listed, as it was listed: what the guest changed after that is refused as
    /// [`Refusal::Stale`](super::Refusal::Stale). Without this the changes are listed anew.
    #[must_use]
    pub fn changes(mut self, changes: Changes) -> Self {
        self.changes = Some(changes);
        self
    }

    /// Applies these paths alone, with all that is below them, and the new directories that they
    /// are in. Paths are relative to the workspace.
    #[must_use]
    pub fn only(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let only = self.only.get_or_insert_default();
        only.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Leaves out these paths, with all that is below them.
    #[must_use]
    pub fn except(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.except.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Applies these paths, and what is below them, although programs of the host act on them by
    /// themselves ([`Refusal::Protected`](super::Refusal::Protected)). Weakens the protection of
    /// the host by what is named.
    #[must_use]
    pub fn allow(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.allow.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Applies these paths, and what is below them, although the host changed them too
    /// ([`Refusal::Conflict`](super::Refusal::Conflict)): the guest's side wins, and the host's is
    /// lost. What the host changes after the listing is kept all the same.
    #[must_use]
    pub fn overwrite(mut self, paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        self.overwrite.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Applies nothing if anything that was selected is refused. Everything is checked and copied
    /// before the first change takes effect, so that neither a refusal nor a full disk leaves a
    /// part. What the host itself refuses after that (it changes a file at that moment), or a
    /// kill, still can. Default: refusals do not stop the others.
    #[must_use]
    pub const fn all_or_nothing(mut self, yes: bool) -> Self {
        self.all_or_nothing = yes;
        self
    }

    /// The longest file that is applied, in bytes; holes count. Default: 8 GiB.
    #[must_use]
    pub const fn max_file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = Some(bytes);
        self
    }

    /// Bounds of the listing, where one is made.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Asks this for each change.
    #[must_use]
    pub fn review(mut self, review: Arc<dyn Review>) -> Self {
        self.review = Some(review);
        self
    }

    /// How many changes were listed beforehand.
    pub(crate) fn listed(&self) -> Option<usize> {
        self.changes.as_ref().map(Changes::len)
    }

    /// The paths in the form in which changes have them.
    pub(crate) fn resolve(self) -> Result<Resolved> {
        let only = self.only.map(|only| paths("only", &only)).transpose()?;
        Ok(Resolved {
            changes: self.changes,
            only,
            except: paths("except", &self.except)?,
            allow: paths("allow", &self.allow)?,
            overwrite: paths("overwrite", &self.overwrite)?,
            all_or_nothing: self.all_or_nothing,
            max_file_bytes: self.max_file_bytes.unwrap_or(MAX_FILE_BYTES),
            limits: self.limits,
            review: self.review,
        })
    }
}

/// Options that were checked.
pub(crate) struct Resolved {
    pub(super) changes: Option<Changes>,
    pub(super) only: Option<PathSet>,
    pub(super) except: PathSet,
    pub(super) allow: PathSet,
    pub(super) overwrite: PathSet,
    pub(super) all_or_nothing: bool,
    pub(super) max_file_bytes: u64,
    pub(super) limits: Limits,
    pub(super) review: Option<Arc<dyn Review>>,
}

fn paths(field: &str, paths: &[PathBuf]) -> Result<PathSet> {
    paths.iter().map(|path| relative(field, path)).collect()
}

/// A path as a person writes it: `./a//b/` is `a/b`.
fn relative(field: &str, path: &Path) -> Result<EntryPath> {
    use std::path::Component;
    let mut bytes = Vec::new();
    let mut plain = true;
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                if !bytes.is_empty() {
                    bytes.push(b'/');
                }
                bytes.extend_from_slice(name.as_bytes());
            }
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => plain = false,
        }
    }
    let path_of = plain.then(|| EntryPath::new(&bytes)).flatten();
    path_of.ok_or_else(|| {
        KavachError::invalid(
            format!("apply.{field}"),
            format!("{path:?} names nothing below the workspace"),
            "a relative path without `..`",
            "write it as it is listed",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_people_write_them() {
        let of = |text: &str| relative("only", Path::new(text)).map(|p| p.to_string());
        assert_eq!(of("./a//b/").unwrap(), "a/b");
        assert_eq!(of("a").unwrap(), "a");
        for bad in ["/a", "../a", "a/../b", "", ".", "a\0b"] {
            assert_eq!(of(bad).unwrap_err().code(), "KV-INVALID-CONFIG", "{bad:?}");
        }
    }
}
