//! Telling what the host changed from what it did not.

use std::collections::HashMap;
use std::time::SystemTime;

use super::entry::{Entry, EntryKind, Moment};

/// More than a tick of the kernel's clock, in nanoseconds.
const TICK: i64 = 100_000_000;

/// What the guest took for the state of the host: the host's files as they were when the sandbox
/// began, and what was applied since.
///
/// A file of the host whose change time (`st_ctime`) is later counts as changed by the host. Host
/// and guest are then both right, and apply refuses to choose. In an upper directory that is kept
/// from an earlier sandbox, a change counts from the moment when the guest made it.
///
/// What is not seen: a change within one tick of the kernel's clock (up to 10 ms) after the
/// beginning; a file that the host removed while the guest changed it (it comes back); on a
/// network filesystem, whatever a server with another clock says; what the host changes after its
/// clock was set back behind the beginning. What an apply wrote in an
/// earlier sandbox counts as the host's.
#[derive(Debug, Clone)]
pub struct Baseline {
    since: Moment,
    /// The change times of files that are kavach's own doing, by device and inode.
    own: HashMap<(u64, u64), Moment>,
}

impl Baseline {
    /// The host as it is now. To be taken before the guest sees it.
    #[must_use]
    pub fn now() -> Self {
        Self::at(SystemTime::now())
    }

    /// The host as it was at this time.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        Self {
            since: time.into(),
            own: HashMap::new(),
        }
    }

    /// Whether the host changed an entry on its own, after the guest's side of it was `born`.
    /// Directories have no content of their own: their times change with what is in them.
    pub(super) fn is_newer(&self, entry: &Entry, born: Option<Moment>) -> bool {
        let stamp = &entry.stamp;
        // The clock of files runs up to a tick behind the one that `since` is from.
        let since = match born {
            Some(born) if born.later_by(TICK) < self.since => born,
            _ => self.since,
        };
        entry.kind != EntryKind::Directory
            && stamp.changed > since
            && self.own.get(&stamp.file()) != Some(&stamp.changed)
    }

    /// Notes that the last change of an entry was an apply's.
    pub(super) fn own(&mut self, entry: &Entry) {
        self.own.insert(entry.stamp.file(), entry.stamp.changed);
    }
}
