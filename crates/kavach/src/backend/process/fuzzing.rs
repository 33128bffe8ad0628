//! The parsers of what the kernel says of a sandbox's processes, and of /etc/subuid.

use std::collections::BTreeMap;

use super::{evidence, ids, watch};

/// A line of `/proc/PID/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLine {
    /// Where, unescaped.
    pub target: String,
    /// Options of the mount.
    pub options: String,
    /// The file system.
    pub kind: String,
    /// Options of the file system.
    pub super_options: String,
    /// Whether it propagates.
    pub shared: bool,
}

/// Reads such a line.
#[must_use]
pub fn mount_line(line: &str) -> Option<MountLine> {
    evidence::parse_mount(line).map(|line| MountLine {
        target: line.target,
        options: line.options,
        kind: line.kind,
        super_options: line.super_options,
        shared: line.shared,
    })
}

/// How many CPUs a list names.
#[must_use]
pub fn cpus(list: &str) -> Option<u32> {
    evidence::count_cpus(list)
}

/// The keys of `/proc/PID/status`.
#[must_use]
pub fn status(text: &str) -> BTreeMap<String, String> {
    evidence::parse_status(text)
}

/// Bytes that a field tells, with the page tables.
#[must_use]
pub fn memory(text: &str, field: &str) -> Option<u64> {
    watch::with_page_tables(text, field, text)
}

/// The interfaces of `/proc/PID/net/dev`.
#[must_use]
pub fn interfaces(text: &str) -> Vec<String> {
    evidence::parse_interfaces(text)
}

/// The ranges of `/etc/subuid`.
#[must_use]
pub fn subordinate_ids(text: &str) -> Vec<(u64, u64)> {
    ids::parse_subids(text)
}
