//! Paths of the host, with what lies below them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Amount, Rule, Value};
use crate::policy::validate::{MAX_READ_PATHS, Wrong, check_shown_path};

/// Whether one of `shown` shows `path`, by their names.
fn covers(shown: &[PathBuf], path: &Path) -> bool {
    shown.iter().any(|shown| path.starts_with(shown))
}

/// Host paths that are shown, with what lies below them.
impl Value for Vec<PathBuf> {
    type Written = Vec<PathBuf>;

    fn write(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn read(&mut self, written: Self) {
        *self = written;
    }

    fn check(&self, _: &Rule, wrong: &mut Vec<(String, Wrong)>) {
        if self.len() > MAX_READ_PATHS {
            wrong.push((
                String::new(),
                Wrong::new(
                    format!("{} paths", self.len()),
                    format!("at most {MAX_READ_PATHS}"),
                    "name a directory above them",
                ),
            ));
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, path) in self.iter().enumerate() {
            let place = format!("[{index}]");
            if let Some(bad) = check_shown_path(path) {
                wrong.push((place, bad));
            } else if !seen.insert(path) {
                let problem = format!("{path:?} is named twice");
                let bad = Wrong::new(problem, "each path once", "remove one of the two");
                wrong.push((place, bad));
            }
        }
    }

    /// What both show, by their names, sorted.
    fn stricter(&self, other: &Self) -> Self {
        let mut both: Vec<PathBuf> = Vec::new();
        for (one, paths) in [(self, other), (other, self)] {
            both.extend(one.iter().filter(|path| covers(paths, path)).cloned());
        }
        both.sort();
        both.dedup();
        both
    }

    fn denies_of(&self, other: &Self) -> Option<Amount> {
        let hidden = other.iter().find(|path| !covers(self, path));
        hidden.map(|path| Amount::Path(path.clone()))
    }

    fn permits(&self, amount: &Amount) -> bool {
        matches!(amount, Amount::Path(path) if covers(self, path))
    }

    fn shown(&self, _: &Rule) -> String {
        let paths: Vec<String> = self.iter().map(|path| format!("{path:?}")).collect();
        format!("[{}]", paths.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn paths_in_common_are_the_deeper_ones() {
        let (a, b) = (paths(&["/srv", "/opt/x"]), paths(&["/srv/data", "/opt"]));
        assert_eq!(a.stricter(&b), paths(&["/opt/x", "/srv/data"]));
        assert_eq!(paths(&["/srv"]).stricter(&paths(&["/srv2"])), paths(&[]));
    }
}
