//! What the guest sees of files.

use std::io;
use std::path::{Path, PathBuf};

use super::isolation::Isolation;
use super::scratch::{self, OwnPlaces, STAGING};
use super::{Identity, Mapping, MountStep, Owner, ViewPlan, etc, rootfs, workspace};
use crate::config::Spec;
use crate::control::Control;
use crate::error::{KavachError, Result};
use crate::host::{FileId, HostFacts, PathKind};
use crate::policy::{Links, Network};

/// The guest's home.
pub(super) const HOME: &str = "/home/guest";

/// Directories of the root that hold the system: links into /usr on merged systems, directories
/// on others.
const SYSTEM_LINKS: [&str; 6] = ["/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"];

/// The host paths that every plan of a private view asks about, beside those in `/etc`.
pub const SYSTEM_PATHS: [&str; 7] = [
    "/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin",
];

/// Device nodes that programs cannot do without and that reach nothing of the host's.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// Room for the files of `/etc` and the mount points; the guest's own files belong in scratch.
const ROOT_BYTES: u64 = 4 << 20;
/// A directory for each part of 512 read paths, with room to spare.
const ROOT_INODES: u64 = 16_384;

/// Files of a fresh proc that tell of the host or reach into it. The mount's own `hidepid`
/// covers processes alone.
const MASKED_FILES: [&str; 12] = [
    "/proc/cmdline",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/sched_debug",
    // The same in every sandbox and on the host: an identity of the machine.
    "/proc/sys/kernel/random/boot_id",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
];
/// The same for directories: hardware, and what the host's kernel does.
const MASKED_DIRS: [&str; 3] = ["/proc/acpi", "/proc/scsi", "/proc/driver"];
/// Parts of proc that programs read and nobody inside may write.
const READ_ONLY_PROC: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

/// Plans the view; checks that every read path is there.
pub(super) fn plan(
    spec: &Spec,
    host: &HostFacts,
    isolation: &Isolation,
    identity: &Identity,
) -> Result<ViewPlan> {
    for (index, path) in spec.policy.filesystem.read.iter().enumerate() {
        let field = format!("filesystem.read[{index}]");
        check_present(&field, path, host)?;
        check_links(&field, path, spec.policy.filesystem.read_links, host)?;
    }
    if !isolation.private_view {
        let mut view = self::host(isolation, host);
        view.mounts.extend(workspace::steps(spec, host, isolation)?);
        return Ok(view);
    }
    let fs = &spec.policy.filesystem;
    let network = if isolation.namespaces.network {
        Network::Off
    } else {
        Network::On
    };
    let mut own = OwnPlaces::default();
    let mut mounts = match spec.rootfs() {
        None => {
            let mut mounts = system(host);
            mounts.extend(etc::steps(host, identity, network));
            mounts
        }
        Some(rootfs) => {
            let root = rootfs::plan(rootfs, spec, host, identity, network)?;
            own = root.own;
            root.mounts
        }
    };
    mounts.extend(devices(fs.shm_mb << 20));
    mounts.extend(proc());
    mounts.extend(scratch::steps(fs.tmp_mb << 20, fs.tmp_inodes, &own));
    mounts.extend(reads(spec, host)?);
    mounts.extend(workspace::steps(spec, host, isolation)?);
    Ok(ViewPlan {
        private_root: true,
        root_size_bytes: ROOT_BYTES,
        root_inodes: ROOT_INODES,
        mounts,
        read_only_root: spec.policy.asks_for(Control::ReadOnlyRoot),
    })
}

/// The host's own files, with nothing mounted over them.
pub(super) fn untouched() -> ViewPlan {
    ViewPlan {
        private_root: false,
        root_size_bytes: 0,
        root_inodes: 0,
        mounts: Vec::new(),
        read_only_root: false,
    }
}

/// The host's own files, with what would undo the sandbox taken out: a new proc where the
/// processes are not the host's, and control groups that can only be read. A guest with the
/// caller's id owns their files, and would write itself out of its limits and of the group by
/// which it is killed.
fn host(isolation: &Isolation, host: &HostFacts) -> ViewPlan {
    let mut view = untouched();
    if !isolation.namespaces.mount {
        return view;
    }
    if isolation.namespaces.pid {
        view.mounts.push(MountStep::Proc {
            target: "/proc".into(),
            hidepid: 0,
        });
    }
    let read_only = host.cgroup_mounts.iter().cloned();
    view.mounts
        .extend(read_only.map(|target| MountStep::ReadOnlyRemount { target }));
    view
}

/// Whether the guest cannot write the files of control groups, so that they hold it.
pub(super) fn keeps_cgroups(isolation: &Isolation, host: &HostFacts) -> bool {
    isolation.private_view
        || isolation.namespaces.mount
        // Ids that own nothing on the host.
        || matches!(isolation.mapping, Mapping::Range { .. })
        || host.cgroup_mounts.is_empty()
}

/// Programs and libraries.
fn system(host: &HostFacts) -> Vec<MountStep> {
    let mut out = vec![show("/usr".into(), true, None)];
    for path in SYSTEM_LINKS {
        match host.kind(Path::new(path)) {
            PathKind::Symlink(link) => {
                out.push(MountStep::Symlink {
                    target: path.into(),
                    link: link.clone(),
                });
            }
            PathKind::Directory => out.push(show(path.into(), true, None)),
            _ => {}
        }
    }
    for (target, mode) in [("/run", 0o755), ("/var", 0o755), ("/home", 0o755)] {
        out.push(dir(target, mode, Owner::Root));
    }
    out.push(MountStep::Symlink {
        target: "/var/run".into(),
        link: "/run".into(),
    });
    out
}

/// A minimal `/dev`.
fn devices(shm_bytes: u64) -> Vec<MountStep> {
    let mut out = vec![dir("/dev", 0o755, Owner::Root)];
    for device in DEVICES {
        out.push(MountStep::Bind {
            source: device.into(),
            target: device.into(),
            is_dir: false,
            read_only: false,
            allow_dev: true,
            recursive: false,
            optional: false,
            pinned: None,
        });
    }
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    for (target, link) in links {
        out.push(MountStep::Symlink {
            target: target.into(),
            link: link.into(),
        });
    }
    out.push(MountStep::DevPts {
        target: "/dev/pts".into(),
    });
    out.push(MountStep::Tmpfs {
        target: "/dev/shm".into(),
        size_bytes: shm_bytes,
        inodes: 4096,
        mode: 0o1777,
        noexec: true,
    });
    out
}

/// A proc of the sandbox's own, without what tells of the host.
fn proc() -> Vec<MountStep> {
    let mut out = vec![MountStep::Proc {
        target: "/proc".into(),
        hidepid: 2,
    }];
    out.extend(MASKED_FILES.map(|target| MountStep::MaskFile {
        target: target.into(),
    }));
    out.extend(MASKED_DIRS.map(|target| MountStep::MaskDir {
        target: target.into(),
    }));
    out.extend(READ_ONLY_PROC.map(|target| MountStep::ReadOnlyRemount {
        target: target.into(),
    }));
    out
}

/// The read paths, the shorter before the longer.
fn reads(spec: &Spec, host: &HostFacts) -> Result<Vec<MountStep>> {
    let mut out: Vec<MountStep> = Vec::new();
    let mut shown: Vec<&Path> = Vec::new();
    let mut paths: Vec<(usize, &PathBuf)> =
        spec.policy.filesystem.read.iter().enumerate().collect();
    paths.sort_by_key(|(_, path)| *path);
    for (index, path) in paths {
        check_place(&format!("filesystem.read[{index}]"), path)?;
        // What is below something shown already is shown with it.
        if (spec.rootfs().is_none() && is_system(path, host))
            || shown.iter().any(|above| path.starts_with(above))
        {
            continue;
        }
        out.push(show(
            path.clone(),
            *host.kind(path) == PathKind::Directory,
            host.ids.get(path).copied(),
        ));
        shown.push(path);
    }
    Ok(out)
}

/// Whether a path is in view as part of the system.
pub(super) fn is_system(path: &Path, host: &HostFacts) -> bool {
    SYSTEM_PATHS
        .iter()
        .any(|system| path.starts_with(system) && host.has(Path::new(system)))
}

/// Refuses a path that would cover what is the sandbox's own.
pub(super) fn check_place(field: &str, path: &Path) -> Result<()> {
    let own = ["/etc", "/tmp", "/var/tmp", "/run", HOME, STAGING];
    covers_none(field, path, &own)
}

/// Refuses a path that would cover one of these.
pub(super) fn covers_none(field: &str, path: &Path, own: &[&str]) -> Result<()> {
    let Some(own) = own.iter().find(|own| Path::new(own).starts_with(path)) else {
        return Ok(());
    };
    Err(KavachError::invalid(
        field,
        format!("{path:?} would cover the sandbox's own {own}"),
        "a path that is not at or above one of the sandbox's own directories",
        "name the files or directories below it that are needed",
    ))
}

/// Whether a read path is there and of a kind that can be shown.
fn check_present(field: &str, path: &Path, host: &HostFacts) -> Result<()> {
    let source = match host.kind(path) {
        PathKind::File | PathKind::Directory | PathKind::Symlink(_) => return Ok(()),
        PathKind::Missing => io::Error::from(rustix::io::Errno::NOENT),
        PathKind::Unreadable(errno) => io::Error::from_raw_os_error(*errno),
        PathKind::Special => {
            return Err(KavachError::invalid(
                field,
                format!("{path:?} is a socket, pipe or device"),
                "a file or directory",
                "a socket would lead out of the sandbox: name something else",
            ));
        }
    };
    Err(KavachError::PathMissing {
        field: field.to_owned(),
        path: path.to_path_buf(),
        source,
    })
}

/// Whether a read path leads where its name says, where the policy insists on it.
fn check_links(field: &str, path: &Path, links: Links, host: &HostFacts) -> Result<()> {
    if links == Links::Follow || !host.linked.contains(path) {
        return Ok(());
    }
    Err(KavachError::invalid(
        field,
        format!("{path:?} leads through a symbolic link"),
        "a path without links: filesystem.read_links is \"refuse\", which merging policies of \
         different read paths sets too",
        "name the real path",
    ))
}

fn show(path: PathBuf, is_dir: bool, pinned: Option<FileId>) -> MountStep {
    MountStep::Bind {
        source: path.clone(),
        target: path,
        is_dir,
        read_only: true,
        allow_dev: false,
        recursive: true,
        optional: false,
        pinned,
    }
}

fn dir(target: &str, mode: u32, owner: Owner) -> MountStep {
    MountStep::Dir {
        target: target.into(),
        mode,
        owner,
    }
}
