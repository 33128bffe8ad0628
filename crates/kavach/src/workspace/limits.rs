//! Bounds of looking at a tree that a guest made.

use super::path::escaped;
use crate::error::{KavachError, Result};

/// How much of a workspace is looked at. A guest can make as many entries as its quota of inodes
/// allows, and nest them as deep as it likes; past one of these bounds [`changes`](super::changes)
/// fails with [`KavachError::WorkspaceLimit`] and nothing can be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries that the guest made, touched or deleted. Default: 500 000. Each that changed takes
    /// about 300 bytes of memory beside its path.
    pub entries: usize,
    /// Names in a path. Default: 1 024.
    pub depth: usize,
    /// Memory for paths and targets of links, in bytes. Default: 128 MiB.
    pub listing_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 500_000,
            depth: 1024,
            listing_bytes: 128 << 20,
        }
    }
}

/// What is left of the limits.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    entries: usize,
    bytes: usize,
}

impl Budget {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: limits.entries,
            bytes: limits.listing_bytes,
        }
    }

    /// Counts one entry that is looked at.
    pub(super) fn entry(&mut self, at: &[u8]) -> Result<()> {
        let limit = self.limits.entries;
        self.entries = self
            .entries
            .checked_sub(1)
            .ok_or_else(|| exceeded("changed entries", limit, at))?;
        Ok(())
    }

    /// Counts memory that is kept.
    pub(super) fn keep(&mut self, bytes: usize, at: &[u8]) -> Result<()> {
        let limit = self.limits.listing_bytes;
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .ok_or_else(|| exceeded("bytes of names", limit, at))?;
        Ok(())
    }

    /// Gives memory back.
    pub(super) const fn give_back(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Checks how many names a path has.
    pub(super) fn depth(&self, names: usize, at: &[u8]) -> Result<()> {
        if names > self.limits.depth {
            return Err(exceeded("levels of directories", self.limits.depth, at));
        }
        Ok(())
    }
}

/// How much of a path an error shows.
const SHOWN: usize = 256;

fn exceeded(what: &'static str, limit: usize, at: &[u8]) -> KavachError {
    let shown = at.get(..SHOWN).unwrap_or(at);
    KavachError::WorkspaceLimit {
        what,
        limit,
        path: escaped(shown),
    }
}
