//! The parsers of what the kernel says of this process.

use super::{IdRange, probe};

/// A capability set of `/proc/self/status`.
#[must_use]
pub fn capability_set(status: &str, key: &str) -> u64 {
    probe::capability_set(status, key)
}

/// The lines of a `uid_map`.
#[must_use]
pub fn id_ranges(map: &str) -> Vec<IdRange> {
    probe::id_ranges(map)
}
