//! A path of the host with what it must turn out to be: the `data` of a mount operation that
//! shows one.

#[cfg(feature = "alloc")]
use crate::wire::Sink;
use crate::wire::{Malformed, Reader};

/// Longest map of a user namespace: the kernel takes one page (user_namespaces(7)).
const MAX_MAP: usize = 4096;

/// What the source of a mount operation must be, and how its owners show inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its device number (stat(2)). It is not looked at where both numbers are 0.
    pub device: u64,
    /// Its inode number, likewise.
    pub inode: u64,
    /// The `uid_map` of the user namespace of an idmapped mount (mount_setattr(2)); empty for a
    /// mount that shows the owners as they are.
    pub uid_map: &'a [u8],
    /// The `gid_map`, empty where the other is.
    pub gid_map: &'a [u8],
}

impl<'a> Source<'a> {
    /// Whatever is there, with its owners as they are.
    pub const ANY: Self = Self {
        device: 0,
        inode: 0,
        uid_map: &[],
        gid_map: &[],
    };

    /// Reads the `data` of an operation. Empty data is [`Source::ANY`].
    pub fn read(data: &'a [u8]) -> Result<Self, Malformed> {
        if data.is_empty() {
            return Ok(Self::ANY);
        }
        let mut r = Reader::new(data);
        let source = Self {
            device: r.u64()?,
            inode: r.u64()?,
            uid_map: r.bytes()?,
            gid_map: r.bytes()?,
        };
        r.end()?;
        let (uids, gids) = (source.uid_map.len(), source.gid_map.len());
        if uids > MAX_MAP || gids > MAX_MAP || (uids == 0) != (gids == 0) {
            return Err(Malformed {
                offset: 0,
                expected: "two maps of at most a page, or none",
            });
        }
        Ok(source)
    }

    /// As it stands in the `data` of an operation.
    #[cfg(feature = "alloc")]
    pub fn encode(&self) -> alloc::vec::Vec<u8> {
        let mut out = alloc::vec::Vec::new();
        out.u64(self.device);
        out.u64(self.inode);
        out.bytes(self.uid_map);
        out.bytes(self.gid_map);
        out
    }

    /// Whether something of this identity is meant.
    pub const fn is(&self, device: u64, inode: u64) -> bool {
        (self.device == 0 && self.inode == 0) || (self.device == device && self.inode == inode)
    }
}
