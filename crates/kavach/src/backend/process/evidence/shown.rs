//! What holds of the host directories that a guest works in: the workspace and the
//! write-through directories.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{fstatvfs, statvfs};

use super::{MountLine, Observed, Seen, has_option, seen};
use crate::agent::Rehearsal;
use crate::error::{KavachError, Result};
use crate::host::FileId;
use crate::plan::{MountStep, Plan, UpperPlan};
use crate::workspace::Layers;

/// What was looked at through the root of the rehearsing process.
#[derive(Debug)]
pub(super) struct Shown {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    /// An overlay: its size and inodes, and those of the upper directory that the host holds;
    /// `None` where the writes go to a disk.
    Workspace(Option<[Room; 2]>),
    /// The directory itself: which one it is, which one it should be, and whether its owner
    /// shows as the guest.
    WriteThrough {
        found: FileId,
        planned: FileId,
        mapped: bool,
    },
}

/// Bytes and inodes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    inodes: u64,
}

#[cfg(test)]
impl Shown {
    /// A workspace of this size, and a directory that should have one inode and has another.
    pub(super) fn as_found(
        workspace: &str,
        bytes: u64,
        (through, planned, found): (&str, u64, u64),
    ) -> Vec<Self> {
        let inodes = 65_536;
        let id = |inode| FileId { device: 1, inode };
        vec![
            Self {
                path: workspace.into(),
                what: What::Workspace(Some([Room { bytes, inodes }; 2])),
            },
            Self {
                path: through.into(),
                what: What::WriteThrough {
                    found: id(found),
                    planned: id(planned),
                    mapped: false,
                },
            },
        ]
    }
}

/// Looks at each of the plan's directories from the host's side.
pub(super) fn look(
    plan: &Plan,
    rehearsal: &Rehearsal,
    layers: Option<&Layers>,
) -> Result<Vec<Shown>> {
    let Some(pid) = rehearsal.rehearsing() else {
        return Ok(Vec::new());
    };
    let root = PathBuf::from(format!("/proc/{}/root", pid.as_raw_nonzero()));
    let inside = |path: &Path| {
        let below = path.as_os_str().as_bytes();
        let below = below.strip_prefix(b"/").unwrap_or(below);
        root.join(std::ffi::OsStr::from_bytes(below))
    };
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| KavachError::HostIo {
            op: "look at a directory of the sandbox".into(),
            path,
            source,
        }
    };
    let mut out = Vec::new();
    for step in &plan.view.mounts {
        let (path, what) = match step {
            MountStep::Workspace { lower, upper } => {
                let room = match (upper, layers) {
                    (UpperPlan::Tmpfs { .. }, Some(layers)) => {
                        let there = statvfs(inside(&lower.path));
                        let there = there.map_err(|e| failed(&lower.path)(e.into()))?;
                        let held = fstatvfs(&layers.upper);
                        let held = held.map_err(|e| failed(&lower.path)(e.into()))?;
                        Some([there, held].map(|room| Room {
                            bytes: room.f_blocks.saturating_mul(room.f_frsize),
                            inodes: room.f_files,
                        }))
                    }
                    _ => None,
                };
                (&lower.path, What::Workspace(room))
            }
            MountStep::WriteThrough { directory } => {
                let path = &directory.path;
                let found = fs::metadata(inside(path)).map_err(failed(path))?;
                let what = What::WriteThrough {
                    found: FileId {
                        device: found.dev(),
                        inode: found.ino(),
                    },
                    planned: directory.id,
                    mapped: directory.owner.is_some(),
                };
                (path, what)
            }
            _ => continue,
        };
        out.push(Shown {
            path: path.clone(),
            what,
        });
    }
    Ok(out)
}

impl Observed {
    /// Whether a writable mount of the host is there because the plan says so.
    pub(super) fn is_meant(&self, mount: &MountLine, plan: &Plan) -> bool {
        let target = Path::new(&mount.target);
        let workspace = plan.workspace().map(|(lower, _)| lower.path.as_path());
        // With what is mounted below it.
        let mut through = plan.write_through();
        is_harmless(mount)
            && (workspace == Some(target) || through.any(|d| target.starts_with(&d.path)))
    }

    /// Whether each directory is what it should be, by its mount and by what is seen in it.
    pub(super) fn shown_as_meant(&self) -> Seen {
        let all: Vec<Seen> = self.shown.iter().map(|shown| self.one(shown)).collect();
        let text: Vec<_> = all.iter().map(|one| one.evidence.as_str()).collect();
        seen(all.iter().all(|one| one.holds), text.join("; "))
    }

    fn one(&self, shown: &Shown) -> Seen {
        let path = shown.path.to_string_lossy();
        let Some(mount) = self.mount(&path) else {
            return seen(false, format!("no mount at {path}"));
        };
        let what = match &shown.what {
            What::Workspace(_) => is_workspace(mount),
            What::WriteThrough {
                found,
                planned,
                mapped,
            } => found == planned && has_option(&mount.options, "idmapped") == *mapped,
        };
        let kind = match &shown.what {
            What::Workspace(_) => "workspace",
            What::WriteThrough { .. } => "write-through",
        };
        seen(
            what && is_harmless(mount),
            format!("{kind} {path} is {}, {}", mount.kind, mount.options),
        )
    }

    /// The quotas of everything that the guest can write to and that has one.
    pub(super) fn disk(&self, plan: &Plan) -> Seen {
        let workspace = self.workspace_room(plan);
        if !plan.view.private_root {
            return workspace.unwrap_or_else(|| seen(false, "no workspace is seen"));
        }
        let tmpfs = self.tmpfs_sizes(plan);
        match workspace {
            None => tmpfs,
            Some(workspace) => seen(
                tmpfs.holds && workspace.holds,
                format!("{}, {}", tmpfs.evidence, workspace.evidence),
            ),
        }
    }

    /// The size of the workspace, as the guest sees it and as the host's own descriptor says.
    fn workspace_room(&self, plan: &Plan) -> Option<Seen> {
        let (lower, UpperPlan::Tmpfs { size_bytes, inodes }) = plan.workspace()? else {
            return None;
        };
        let shown = self.shown.iter().find(|shown| shown.path == lower.path)?;
        let What::Workspace(Some([there, held])) = &shown.what else {
            return None;
        };
        // tmpfs rounds up to pages, and the agent adds a few inodes of its own.
        let fits = there.bytes <= size_bytes.saturating_add(MOST_ROUNDING)
            && there.inodes <= inodes.saturating_add(MOST_OWN_INODES);
        Some(seen(
            there == held && fits && there.bytes > 0 && there.inodes > 0,
            format!(
                "{} size={}k,nr_inodes={}",
                lower.path.display(),
                there.bytes / 1024,
                there.inodes
            ),
        ))
    }
}

/// The largest page of an architecture that Linux runs on.
const MOST_ROUNDING: u64 = 64 << 10;
/// More than the agent needs on the stage of an overlay.
const MOST_OWN_INODES: u64 = 64;

/// No setuid bit and no device node works there.
fn is_harmless(mount: &MountLine) -> bool {
    ["nosuid", "nodev"]
        .iter()
        .all(|option| has_option(&mount.options, option))
}

/// An overlay whose layers had the names that only the agent's stage gave them.
fn is_workspace(mount: &MountLine) -> bool {
    let of_super = |option| has_option(&mount.super_options, option);
    let upper = [
        ["upperdir=upper", "workdir=work"],
        ["upperdir=disk/layers/upper", "workdir=disk/layers/work"],
    ];
    mount.kind == "overlay"
        // Overlayfs goes on read-only where it cannot write.
        && of_super("rw")
        && of_super("lowerdir=lower")
        && of_super("userxattr")
        && upper.iter().any(|pair| pair.iter().all(|o| of_super(o)))
}
