//! Choosing among changes by their paths.

use std::collections::HashSet;

use super::change::{Change, Changes};
use super::check::Act;
use super::options::Resolved;
use super::path::EntryPath;

/// Paths that stand for themselves and all that is below them.
#[derive(Debug, Default)]
pub(super) struct PathSet {
    paths: HashSet<EntryPath>,
    /// Length of the longest.
    longest: usize,
}

impl PathSet {
    /// Whether a path, or a directory above it, is one of these.
    pub(super) fn covers(&self, path: &EntryPath) -> bool {
        // Longer ones are not even looked up: a guest can make them very long, and many.
        let is_one = |path: &[u8]| path.len() <= self.longest && self.paths.contains(path);
        is_one(path.as_bytes()) || path.ancestors().any(is_one)
    }
}

impl FromIterator<EntryPath> for PathSet {
    fn from_iter<I: IntoIterator<Item = EntryPath>>(paths: I) -> Self {
        let paths: HashSet<EntryPath> = paths.into_iter().collect();
        let longest = paths.iter().map(|path| path.as_bytes().len()).max();
        Self {
            paths,
            longest: longest.unwrap_or(0),
        }
    }
}

/// The directories above some paths.
fn above<'a>(paths: impl Iterator<Item = &'a EntryPath>) -> HashSet<&'a [u8]> {
    let mut above = HashSet::new();
    for path in paths {
        for directory in path.ancestors() {
            if !above.insert(directory) {
                // Those above it are there as well.
                break;
            }
        }
    }
    above
}

/// Which changes are selected.
pub(super) fn selected(changes: &Changes, options: &Resolved) -> Vec<bool> {
    let except = |change: &Change| options.except.covers(&change.path);
    let mut selected: Vec<bool> = changes
        .iter()
        .map(|change| match &options.only {
            Some(only) => only.covers(&change.path) && !except(change),
            None => !except(change),
        })
        .collect();
    if options.only.is_some() {
        // With the new directories that selected entries are in.
        let with_choice = changes.iter().zip(&selected);
        let needed = above(with_choice.filter_map(|(c, yes)| yes.then_some(&c.path)));
        for (change, yes) in changes.iter().zip(&mut selected) {
            let is_new = |change: &Change| Act::of(change) == Act::MakeDirectory;
            *yes |= needed.contains(change.path.as_bytes()) && is_new(change) && !except(change);
        }
    }
    selected
}

/// The selected paths that stand for no change.
pub(super) fn unmatched(options: &Resolved, changes: &[&Change]) -> Vec<EntryPath> {
    let Some(only) = &options.only else {
        return Vec::new();
    };
    let mut seen = above(changes.iter().map(|change| &change.path));
    seen.extend(changes.iter().map(|change| change.path.as_bytes()));
    let missing = only
        .paths
        .iter()
        .filter(|path| !seen.contains(path.as_bytes()));
    let mut missing: Vec<_> = missing.cloned().collect();
    missing.sort_unstable();
    missing
}
