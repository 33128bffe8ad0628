//! The setup payload: a whole sandbox as flat data.
//!
//! The order of the sections is the order of reading; see [`SetupReader`].

use core::ffi::CStr;

#[cfg(feature = "alloc")]
use crate::wire::Sink;
use crate::wire::{Malformed, Reader};

/// Most mount operations of one view.
pub const MAX_MOUNTS: usize = 1024;
const MAX_RULES: usize = 4096;
const MAX_RLIMITS: usize = 16;
const MAX_FILTER: usize = 4096 * 8;

/// Bits of [`SetupReader::flags`].
pub mod flag {
    /// New user namespace.
    pub const NEW_USER: u32 = 1;
    /// New pid namespace; the agent is its init.
    pub const NEW_PID: u32 = 1 << 1;
    /// New mount namespace.
    pub const NEW_MOUNT: u32 = 1 << 2;
    /// New network namespace.
    pub const NEW_NET: u32 = 1 << 3;
    /// New IPC namespace.
    pub const NEW_IPC: u32 = 1 << 4;
    /// New UTS namespace.
    pub const NEW_UTS: u32 = 1 << 5;
    /// New cgroup namespace.
    pub const NEW_CGROUP: u32 = 1 << 6;
    /// Build a private root and pivot into it; otherwise the mounts go over the host's view.
    pub const PRIVATE_ROOT: u32 = 1 << 7;
    /// Make the private root itself read-only at the end.
    pub const READ_ONLY_ROOT: u32 = 1 << 8;
    /// Open mount sources with the host's credentials, before the user namespace: root can
    /// reach paths that the mapped ids cannot.
    pub const SOURCES_BEFORE_USERNS: u32 = 1 << 9;
    /// Empty all capability sets and forbid new privileges.
    pub const DROP_PRIVILEGES: u32 = 1 << 10;
    /// Bring up the loopback interface.
    pub const LOOPBACK: u32 = 1 << 11;
}

/// Attributes of a [`MountOp`].
pub mod attr {
    /// Read-only, with everything mounted below it.
    pub const READ_ONLY: u32 = 1;
    /// Device nodes work.
    pub const DEVICES: u32 = 1 << 1;
    /// Programs cannot be executed from it.
    pub const NO_EXEC: u32 = 1 << 2;
    /// A missing source or target is no error.
    pub const OPTIONAL: u32 = 1 << 3;
    /// What is made belongs to the guest, not to root inside.
    pub const GUEST_OWNED: u32 = 1 << 4;
}

/// What a mount operation makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MountKind {
    /// A directory, with its parents.
    Dir = 1,
    /// A symbolic link to `source`.
    Symlink = 2,
    /// A regular file with `data`.
    File = 3,
    /// `source` of the host, shown at `target`, with its submounts.
    Bind = 4,
    /// A tmpfs of `size` bytes and `inodes` inodes.
    Tmpfs = 5,
    /// The pid namespace's own proc; `mode` is its `hidepid`.
    Proc = 6,
    /// A new devpts instance.
    DevPts = 7,
    /// An inaccessible empty file over `target`.
    MaskFile = 8,
    /// An empty read-only directory over `target`.
    MaskDir = 9,
    /// `target` bound over itself, read-only.
    ReadOnly = 10,
    /// `source`, a path inside the new root, shown at `target` as well.
    BindInside = 11,
    /// The mount at `target` is taken out of sight and its directory removed; what was bound
    /// from it stays.
    Detach = 12,
    /// `source`, a directory of the host, as the lower layer of an overlay at `target`. Writes go
    /// to a tmpfs of `size` bytes and `inodes` inodes that nobody inside can reach, or to the
    /// directory of the [`MountKind::Upper`] before.
    Overlay = 13,
    /// `source`, a directory of the host with the directories `layers/upper` and `layers/work`:
    /// where the next overlay writes.
    Upper = 14,
}

impl MountKind {
    const ALL: [Self; 14] = [
        Self::Dir,
        Self::Symlink,
        Self::File,
        Self::Bind,
        Self::Tmpfs,
        Self::Proc,
        Self::DevPts,
        Self::MaskFile,
        Self::MaskDir,
        Self::ReadOnly,
        Self::BindInside,
        Self::Detach,
        Self::Overlay,
        Self::Upper,
    ];
}

/// One step of building the view.
#[derive(Debug, Clone, Copy)]
pub struct MountOp<'a> {
    /// What is made.
    pub kind: MountKind,
    /// Bits of [`attr`].
    pub attrs: u32,
    /// Permission bits of what is made.
    pub mode: u32,
    /// Bytes of a tmpfs.
    pub size: u64,
    /// Inodes of a tmpfs.
    pub inodes: u64,
    /// Where, absolute in the sandbox.
    pub target: &'a CStr,
    /// From where; empty where the kind has none.
    pub source: &'a CStr,
    /// Contents of a file; what the source must be, see [`crate::Source`].
    pub data: &'a [u8],
}

impl<'a> MountOp<'a> {
    /// Reads one operation.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let byte = r.u8()?;
        let kind = MountKind::ALL
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(Malformed {
                offset: 0,
                expected: "a kind of mount",
            })?;
        Ok(Self {
            kind,
            attrs: r.u32()?,
            mode: r.u32()?,
            size: r.u64()?,
            inodes: r.u64()?,
            target: r.cstr()?,
            source: r.cstr()?,
            data: r.bytes()?,
        })
    }
}

/// How ids inside the user namespace stand for ids outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MapKind {
    /// No user namespace, or nothing to map.
    None = 0,
    /// One id, the caller's own; setgroups is denied, as the kernel demands.
    Single = 1,
    /// A range of ids that belongs to this sandbox alone.
    Range = 2,
}

/// The id maps and the identity to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Which form.
    pub kind: MapKind,
    /// First uid inside.
    pub inside_uid: u32,
    /// First gid inside.
    pub inside_gid: u32,
    /// First uid outside.
    pub outside_uid: u32,
    /// First gid outside.
    pub outside_gid: u32,
    /// How many ids.
    pub count: u32,
    /// The uid that the agent and every command run as, inside.
    pub uid: u32,
    /// The gid, likewise.
    pub gid: u32,
}

/// A resource limit by the kernel's number (setrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// RLIMIT_* number.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// One Landlock rule: these accesses below this path.
#[derive(Debug, Clone, Copy)]
pub struct FilterRule<'a> {
    /// LANDLOCK_ACCESS_FS_* bits.
    pub access: u64,
    /// Path inside the sandbox. A missing path is an error of the setup.
    pub path: &'a CStr,
}

/// A parsed setup. Lists stay in the payload and are read in place.
#[derive(Debug, Clone, Copy)]
pub struct SetupReader<'a> {
    /// Bits of [`flag`].
    pub flags: u32,
    /// Ids.
    pub mapping: Mapping,
    /// Host name inside.
    pub hostname: &'a CStr,
    /// Bytes of the private root's own tmpfs.
    pub root_size: u64,
    /// Inodes of the same.
    pub root_inodes: u64,
    /// How many mount operations.
    pub mount_count: usize,
    mounts: Reader<'a>,
    rlimits: [Rlimit; MAX_RLIMITS],
    rlimit_count: usize,
    /// CPU mask of commands, as sched_setaffinity(2) takes it; empty for no change.
    pub cpus: &'a [u8],
    /// LANDLOCK_ACCESS_FS_* bits that are denied unless a rule allows them; 0 for no Landlock.
    pub landlock_fs: u64,
    /// LANDLOCK_ACCESS_NET_* bits, likewise.
    pub landlock_net: u64,
    /// LANDLOCK_SCOPE_* bits.
    pub landlock_scoped: u64,
    /// How many Landlock rules.
    pub rule_count: usize,
    rules: Reader<'a>,
    /// The seccomp program, eight bytes per instruction; empty for none.
    pub filter: &'a [u8],
}

impl<'a> SetupReader<'a> {
    /// Reads and checks the whole payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let flags = r.u32()?;
        let kind = match r.u8()? {
            0 => MapKind::None,
            1 => MapKind::Single,
            2 => MapKind::Range,
            _ => {
                return Err(Malformed {
                    offset: 4,
                    expected: "a kind of map",
                });
            }
        };
        let mapping = Mapping {
            kind,
            inside_uid: r.u32()?,
            inside_gid: r.u32()?,
            outside_uid: r.u32()?,
            outside_gid: r.u32()?,
            count: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
        };
        let hostname = r.cstr()?;
        let (root_size, root_inodes) = (r.u64()?, r.u64()?);
        let mount_count = r.count(MAX_MOUNTS)?;
        let mounts = r;
        for _ in 0..mount_count {
            MountOp::read(&mut r)?;
        }
        let rlimit_count = r.count(MAX_RLIMITS)?;
        let mut rlimits = [Rlimit {
            resource: 0,
            soft: 0,
            hard: 0,
        }; MAX_RLIMITS];
        for limit in rlimits.iter_mut().take(rlimit_count) {
            *limit = Rlimit {
                resource: r.u32()?,
                soft: r.u64()?,
                hard: r.u64()?,
            };
        }
        let cpus = r.bytes()?;
        let (landlock_fs, landlock_net, landlock_scoped) = (r.u64()?, r.u64()?, r.u64()?);
        let rule_count = r.count(MAX_RULES)?;
        let rules = r;
        for _ in 0..rule_count {
            r.u64()?;
            r.cstr()?;
        }
        let filter = r.bytes()?;
        if filter.len() % 8 != 0 || filter.len() > MAX_FILTER {
            return Err(Malformed {
                offset: 0,
                expected: "a seccomp program",
            });
        }
        r.end()?;
        Ok(Self {
            flags,
            mapping,
            hostname,
            root_size,
            root_inodes,
            mount_count,
            mounts,
            rlimits,
            rlimit_count,
            cpus,
            landlock_fs,
            landlock_net,
            landlock_scoped,
            rule_count,
            rules,
            filter,
        })
    }

    /// Whether a bit of [`flag`] is set.
    pub const fn has(&self, bit: u32) -> bool {
        self.flags & bit != 0
    }

    /// The mount operations, in order.
    pub fn mounts(&self) -> impl Iterator<Item = MountOp<'a>> + use<'a> {
        let mut r = self.mounts;
        (0..self.mount_count).map_while(move |_| MountOp::read(&mut r).ok())
    }

    /// The resource limits of every command.
    pub fn rlimits(&self) -> &[Rlimit] {
        self.rlimits.get(..self.rlimit_count).unwrap_or(&[])
    }

    /// The Landlock rules.
    pub fn rules(&self) -> impl Iterator<Item = FilterRule<'a>> + use<'a> {
        let mut r = self.rules;
        (0..self.rule_count).map_while(move |_| {
            Some(FilterRule {
                access: r.u64().ok()?,
                path: r.cstr().ok()?,
            })
        })
    }
}

/// What [`SetupWriter`] is made from: the host's side of a setup, borrowed.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct SetupWriter {
    out: alloc::vec::Vec<u8>,
}

#[cfg(feature = "alloc")]
impl SetupWriter {
    /// Writes the head. The sections follow in the order of the methods below, each once.
    /// `root` is the size in bytes and the inodes of the private root's own tmpfs.
    pub fn new(flags: u32, m: &Mapping, hostname: &[u8], root: (u64, u64)) -> Self {
        let mut out = alloc::vec::Vec::with_capacity(16 << 10);
        out.u32(flags);
        out.u8(m.kind as u8);
        for v in [
            m.inside_uid,
            m.inside_gid,
            m.outside_uid,
            m.outside_gid,
            m.count,
            m.uid,
            m.gid,
        ] {
            out.u32(v);
        }
        out.cstr(hostname);
        out.u64(root.0);
        out.u64(root.1);
        Self { out }
    }

    /// The mount operations.
    pub fn mounts<'m>(mut self, ops: impl ExactSizeIterator<Item = MountSpec<'m>>) -> Self {
        self.out.u32(ops.len() as u32);
        for op in ops {
            self.out.u8(op.kind as u8);
            self.out.u32(op.attrs);
            self.out.u32(op.mode);
            self.out.u64(op.size);
            self.out.u64(op.inodes);
            self.out.cstr(op.target);
            self.out.cstr(op.source);
            self.out.bytes(op.data);
        }
        self
    }

    /// The limits and the CPU mask.
    pub fn limits(mut self, rlimits: &[Rlimit], cpus: &[u8]) -> Self {
        self.out.u32(rlimits.len() as u32);
        for limit in rlimits {
            self.out.u32(limit.resource);
            self.out.u64(limit.soft);
            self.out.u64(limit.hard);
        }
        self.out.bytes(cpus);
        self
    }

    /// Landlock: handled rights and rules.
    pub fn landlock<'r>(
        mut self,
        handled: (u64, u64, u64),
        rules: impl ExactSizeIterator<Item = (u64, &'r [u8])>,
    ) -> Self {
        self.out.u64(handled.0);
        self.out.u64(handled.1);
        self.out.u64(handled.2);
        self.out.u32(rules.len() as u32);
        for (access, path) in rules {
            self.out.u64(access);
            self.out.cstr(path);
        }
        self
    }

    /// The seccomp program, and the finished payload.
    pub fn filter(mut self, program: &[u8]) -> alloc::vec::Vec<u8> {
        self.out.bytes(program);
        self.out
    }
}

/// One mount operation to be written; see [`MountOp`] for the fields.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy)]
pub struct MountSpec<'a> {
    /// What is made.
    pub kind: MountKind,
    /// Bits of [`attr`].
    pub attrs: u32,
    /// Permission bits.
    pub mode: u32,
    /// Bytes of a tmpfs.
    pub size: u64,
    /// Inodes of a tmpfs.
    pub inodes: u64,
    /// Where.
    pub target: &'a [u8],
    /// From where.
    pub source: &'a [u8],
    /// Contents.
    pub data: &'a [u8],
}
