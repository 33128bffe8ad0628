//! A range of user and group ids for each live sandbox of root's.
//!
//! Two sandboxes must not share ids: a process of one could signal or trace one of the other
//! wherever namespaces do not keep them apart, and files left behind would belong to the next.
//! A range is claimed by an flock(2) on a file of its own. The lock belongs to the open file
//! description, of which the sandbox's first process holds a copy: it is released by the kernel
//! when both this process and the sandbox are gone, however they went. The file goes with the
//! claim; one that a killed host leaves behind is empty and is used again by a later claim.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::{KavachError, Result};

/// Where the lock files are. Not a temporary directory: only root may write here.
const DIRECTORY: &str = "/run/kavach/uid-ranges";
/// The ids from here to [`END`] are given to no user by any distribution or by systemd's
/// "Users, Groups, UIDs and GIDs on systemd systems".
const FIRST: u32 = 0x7000_0000;
const END: u32 = 0x7fff_0000;

/// A claimed range; released when it and the sandbox's copy of the lock are gone.
#[derive(Debug)]
pub(super) struct IdRange {
    first: u32,
    count: u32,
    /// `None` only while it is being dropped.
    lock: Option<OwnedFd>,
    path: PathBuf,
}

impl IdRange {
    /// The first id outside.
    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    /// How many ids.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// What the sandbox's first process keeps open.
    pub(super) const fn lock(&self) -> Option<&OwnedFd> {
        self.lock.as_ref()
    }
}

impl Drop for IdRange {
    fn drop(&mut self) {
        drop(self.lock.take());
        // Removed only by who holds its lock, so never while a sandbox that is still about to end
        // holds a copy.
        if let Ok(Some(_lock)) = try_lock(&self.path) {
            // If it stays, a later claim uses it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Claims a range of `count` ids that no live sandbox has and no user was given.
///
/// `mapped` is what this process's own user namespace maps (uid_map).
pub(super) fn claim(count: u32, mapped: &[crate::host::IdRange]) -> Result<IdRange> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let failed = |op: &str, path: &Path, source| KavachError::HostIo {
        op: op.into(),
        path: path.into(),
        source,
    };
    let directory = Path::new(DIRECTORY);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| failed("make the directory of uid range locks", directory, e))?;
    let given = [read_subids("/etc/subuid"), read_subids("/etc/subgid")].concat();
    let (lowest, end) = area(mapped, count);
    let slots = (end.saturating_sub(lowest)) / count.max(1);
    // Processes begin at different slots, so that they seldom try a taken one.
    let offset = std::process::id().wrapping_mul(61);
    for _ in 0..slots {
        let slot = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % slots;
        let first = lowest + slot * count;
        if given
            .iter()
            .any(|(start, n)| overlaps((first.into(), count.into()), (*start, *n)))
        {
            continue;
        }
        let path = directory.join(first.to_string());
        if let Some(lock) = try_lock(&path).map_err(|e| failed("lock a uid range", &path, e))? {
            return Ok(IdRange {
                first,
                count,
                lock: Some(lock),
                path,
            });
        }
    }
    Err(KavachError::ControlUnavailable {
        control: crate::Control::UserNamespace,
        required: format!("a free range of {count} uids"),
        found: format!("all {slots} ranges are in use by live sandboxes or given in /etc/subuid"),
        fix: "destroy sandboxes that are not needed".into(),
    })
}

/// Where ranges may lie: the ids that nobody is given, or, in a container that maps fewer, the top
/// of the largest block that is mapped, well above its own users.
fn area(mapped: &[crate::host::IdRange], count: u32) -> (u32, u32) {
    let holds = |range: &crate::host::IdRange, first: u32, end: u32| {
        range.inside <= first && u64::from(range.inside) + u64::from(range.count) >= end.into()
    };
    if mapped.is_empty() || mapped.iter().any(|range| holds(range, FIRST, END)) {
        return (FIRST, END);
    }
    let largest = mapped.iter().max_by_key(|range| range.count);
    largest.map_or((FIRST, FIRST), |range| {
        let end = range.inside.saturating_add(range.count);
        let lowest = range.inside.max(2 * 65_536);
        // Whole ranges, counted from the top.
        let slots = end.saturating_sub(lowest) / count.max(1);
        (end - slots * count, end)
    })
}

/// The lock of the file that is at `path` now; `None` if somebody else has it.
fn try_lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let lock = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    match rustix::io::retry_on_intr(lock) {
        // Its last holder may have removed it between our open and our lock.
        Ok(()) => match (file.metadata()?, fs::symlink_metadata(path)) {
            (ours, Ok(there)) if ours.ino() == there.ino() => Ok(Some(file.into())),
            _ => Ok(None),
        },
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

const fn overlaps(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.0.saturating_add(b.1) && b.0 < a.0.saturating_add(a.1)
}

/// Ranges of subuid(5); a line that cannot be read is skipped, as shadow does.
fn read_subids(path: &str) -> Vec<(u64, u64)> {
    fs::read_to_string(path)
        .map(|text| parse_subids(&text))
        .unwrap_or_default()
}

pub(super) fn parse_subids(text: &str) -> Vec<(u64, u64)> {
    let parse = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((
            fields.next()?.trim().parse().ok()?,
            fields.next()?.trim().parse().ok()?,
        ))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subid_lines_are_parsed_and_nonsense_is_skipped() {
        let text = "alice:100000:65536\n# no\nbob:x:1\nc:1879048192:65536\n:::\n";
        assert_eq!(
            parse_subids(text),
            [(100_000, 65536), (1_879_048_192, 65536)]
        );
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kavach-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_lock_is_had_once_and_its_file_goes_with_the_claim() {
        let path = scratch("range");
        let lock = try_lock(&path).unwrap();
        assert!(lock.is_some());
        assert!(try_lock(&path).unwrap().is_none());
        drop(IdRange {
            first: 0,
            count: 1,
            lock,
            path: path.clone(),
        });
        assert!(!path.exists());
    }

    #[test]
    fn the_file_stays_while_the_sandbox_holds_its_copy() {
        let path = scratch("range-copy");
        let lock = try_lock(&path).unwrap();
        let copy = lock.as_ref().unwrap().try_clone().unwrap();
        drop(IdRange {
            first: 0,
            count: 1,
            lock,
            path: path.clone(),
        });
        assert!(path.exists());
        assert!(try_lock(&path).unwrap().is_none());
        drop(copy);
        assert!(try_lock(&path).unwrap().is_some());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn ranges_lie_in_what_is_mapped() {
        let map = |inside, count| crate::host::IdRange {
            inside,
            outside: 0,
            count,
        };
        assert_eq!(area(&[map(0, u32::MAX)], 65_536), (FIRST, END));
        assert_eq!(
            area(&[map(0, 1_000_000_000)], 65_536),
            (1_000_000_000 - 15_256 * 65_536, 1_000_000_000)
        );
        assert_eq!(area(&[map(0, 65_536)], 65_536), (65_536, 65_536));
    }

    #[test]
    fn ranges_that_touch_do_not_overlap() {
        assert!(!overlaps((0, 10), (10, 10)));
        assert!(overlaps((0, 11), (10, 10)));
        assert!(overlaps((10, 10), (0, u64::MAX)));
    }
}
