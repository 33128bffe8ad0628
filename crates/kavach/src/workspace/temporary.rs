//! Temporary names in the workspace, and what a killed apply left of them.
//!
//! A file comes into being under a temporary name in its own directory, so that it inherits what
//! files there inherit, and is then renamed. Who is killed in between leaves the temporary. An
//! apply therefore begins with an empty file of such a name in the workspace itself, and removes
//! it at its end: where one is found, an apply was killed, and only then the whole tree is
//! searched.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;

use super::entry::EntryKind;
use super::node::{Node, is, is_gone, list, names};
use super::overlay::is_denied;
use crate::error::{KavachError, Result};

/// What every temporary name begins with. Sixteen hexadecimal digits follow.
const PREFIX: &str = ".kavach-apply-";
const DIGITS: usize = 16;

/// Whether a name is one of these.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes())
        .is_some_and(|rest| rest.len() == DIGITS && rest.iter().all(u8::is_ascii_hexdigit))
}

/// A name that is very likely free, and that nobody can foresee.
pub(super) fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Seeded anew from the kernel's randomness in each thread, and different at each call.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(NEXT.fetch_add(1, Ordering::Relaxed));
    hasher.write_u32(std::process::id());
    format!("{PREFIX}{:016x}", hasher.finish())
}

/// The right to change a workspace, held by one apply at a time on this host.
#[derive(Debug)]
pub(super) struct Turn {
    /// The lock is on its open file.
    root: OwnedFd,
    marker: Option<String>,
}

impl Turn {
    /// Takes the turn, and removes what a killed apply left.
    pub(super) fn take(lower: impl AsFd) -> Result<Self> {
        // An open file of its own: a lock is the open file's, which `lower` may share.
        let root = list(lower, b"").map_err(failed("open"))?;
        match flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Err(KavachError::WorkspaceBusy),
            Err(e) => return Err(failed("lock")(e.into())),
        }
        let left: Vec<Vec<u8>> = names(&root)
            .map_err(failed("list"))?
            .filter_map(std::result::Result::ok)
            .filter(|name| is_name(name))
            .collect();
        if !left.is_empty() {
            sweep(&root).map_err(failed("remove what a killed apply left in"))?;
        }
        // The last to go: as long as one is there, the tree is searched.
        for name in left {
            remove(&root, &name).map_err(failed("remove what a killed apply left in"))?;
        }
        Ok(Self { root, marker: None })
    }

    /// Notes in the workspace that it is being changed.
    pub(super) fn begin(&mut self) -> Result<()> {
        let marker = name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&self.root, &*marker, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed("write to")(e.into()))?;
        self.marker = Some(marker);
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(marker) = &self.marker
            && let Err(e) = remove(&self.root, marker.as_bytes())
        {
            tracing::warn!(error = %e, "the mark of an apply stays in the workspace");
        }
        // Not by closing it alone: a process that another thread starts at this moment has a copy
        // of the descriptor until it becomes another program.
        let _ = flock(&self.root, FlockOperation::Unlock);
    }
}

fn failed(op: &'static str) -> impl FnOnce(io::Error) -> KavachError {
    move |source| KavachError::HostIo {
        op: op.into(),
        path: "the workspace".into(),
        source,
    }
}

/// Removes an entry of a temporary name: a file or link, or an empty directory. A directory with
/// something in it is none of kavach's.
pub(super) fn remove(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    let done = match unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(&dir, name, AtFlags::REMOVEDIR),
        done => done,
    };
    match done {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Removes everything of a temporary name below the workspace. Does not leave its mount, and
/// follows no link.
fn sweep(root: &OwnedFd) -> io::Result<()> {
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let dir = match list(root, &path) {
            Ok(dir) => dir,
            // Where kavach may not look it has left nothing.
            Err(e) if is_gone(&e) || is_denied(&e) || is(&e, Errno::XDEV) => continue,
            Err(e) => return Err(e),
        };
        for name in names(&dir)? {
            let name = name?;
            if is_name(&name) {
                if !path.is_empty() {
                    remove(&dir, &name)?;
                }
                continue;
            }
            match Node::look(&dir, &name) {
                Ok(node) if node.kind() == EntryKind::Directory => {
                    let mut below = path.clone();
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend_from_slice(&name);
                    waiting.push(below);
                }
                // What is no directory, is gone, or is another mount.
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_told_from_all_others() {
        let one = name();
        assert!(is_name(one.as_bytes()), "{one}");
        assert_ne!(one, name());
        for other in [
            ".kavach-apply-",
            ".kavach-apply-0123456789abcde",
            ".kavach-apply-0123456789abcdef0",
            ".kavach-apply-0123456789abcdeg",
            "x.kavach-apply-0123456789abcdef",
        ] {
            assert!(!is_name(other.as_bytes()), "{other}");
        }
    }
}
