//! Workspaces and write-through directories: what of the host a guest may change, or believes to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::isolation::Isolation;
use super::settle::Settler;
use super::{HostDirectory, HostIds, Mapping, MountStep, SYSTEM_PATHS, UpperPlan, view};
use crate::backend::Backend;
use crate::config::{Spec, Upper, Workspace};
use crate::control::{Control, Requirement};
use crate::error::{KavachError, Result};
use crate::host::{Directory, DirectoryKind, FileId, HostFacts};

/// Whether guests write to files of the host: then the filter must keep sockets away.
pub(super) fn writes_to_host(spec: &Spec) -> bool {
    let upper = spec.workspace().and_then(Workspace::upper_directory);
    upper.is_some() || !spec.policy.filesystem.write_through.is_empty()
}

/// The view that is asked for, in words.
pub(super) fn view(spec: &Spec) -> String {
    let mut text = "private".to_owned();
    let mut add = |what: &str, path: &Path| text.push_str(&format!("; {what} {}", path.display()));
    if let Some(rootfs) = spec.rootfs() {
        add("root from", rootfs);
    }
    if let Some(workspace) = spec.workspace() {
        add("workspace", workspace.directory());
    }
    for path in &spec.policy.filesystem.write_through {
        add("write-through", path);
    }
    text
}

/// What is asked of the size of a workspace, and what has none; `None` where neither is there.
pub(super) fn quotas(spec: &Spec) -> Option<String> {
    let fs = &spec.policy.filesystem;
    let workspace = spec
        .workspace()
        .map(|workspace| match workspace.get_upper() {
            Upper::Tmpfs => format!(
                "workspace {} MiB and {} inodes",
                fs.workspace_mb, fs.workspace_inodes
            ),
            Upper::Directory(path) => format!("no quota for what goes to {}", path.display()),
        });
    let unlimited = fs.write_through.iter();
    let unlimited = unlimited.map(|path| format!("no quota for write-through {}", path.display()));
    let all: Vec<String> = workspace.into_iter().chain(unlimited).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Refuses what the backend that isolates nothing cannot do.
pub(super) fn check_noop(spec: &Spec) -> Result<()> {
    let asked = [
        ("show a workspace", spec.workspace().is_some()),
        (
            "show a write-through directory",
            !spec.policy.filesystem.write_through.is_empty(),
        ),
        ("show another root", spec.rootfs().is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((act, _)) => Err(KavachError::Unsupported {
            act: act.into(),
            backend: Backend::Noop,
            reason: "its guests have the host's own files".into(),
            hint: Some("use the process backend".into()),
        }),
    }
}

/// Refuses an upper directory on the host without the filter that keeps setuid files, sockets
/// and devices from being made in it. Of write-through directories the policy knows by itself.
pub(super) fn check(spec: &Spec, settler: &Settler<'_>) -> Result<()> {
    let upper = spec.workspace().and_then(Workspace::upper_directory);
    let required = spec.policy.requirement(Control::SyscallFilter) == Requirement::Required;
    if upper.is_none() || (settler.holds(Control::SyscallFilter) && required) {
        return Ok(());
    }
    Err(KavachError::invalid(
        "workspace.upper",
        "without a required system call filter nothing keeps setuid files and sockets from being \
         made in it",
        "syscall_filter.profile = \"basic\" or \"strict\", required",
        "set a profile, or keep the changes in memory",
    ))
}

/// The steps that come after everything else of the view.
pub(super) fn steps(
    spec: &Spec,
    host: &HostFacts,
    isolation: &Isolation,
) -> Result<Vec<MountStep>> {
    let fs = &spec.policy.filesystem;
    let mut seen = Seen::new(host, isolation);
    let mut out = Vec::new();
    for (index, path) in fs.write_through.iter().enumerate() {
        let field = format!("filesystem.write_through[{index}]");
        view::check_place(&field, path)?;
        view::covers_none(&field, path, &SYSTEM_PATHS)?;
        let directory = seen.take(&field, path)?;
        out.push(MountStep::WriteThrough { directory });
    }
    let Some(workspace) = spec.workspace() else {
        return Ok(out);
    };
    if !isolation.namespaces.mount {
        return Err(KavachError::invalid(
            "workspace",
            "an overlay is a mount",
            "a mount namespace of the sandbox's own",
            "ask for it: namespaces.mount = true",
        ));
    }
    if isolation.private_view {
        view::check_place("workspace", workspace.directory())?;
        view::covers_none("workspace", workspace.directory(), &SYSTEM_PATHS)?;
    }
    let upper = match workspace.get_upper() {
        Upper::Tmpfs => UpperPlan::Tmpfs {
            size_bytes: fs.workspace_mb << 20,
            inodes: fs.workspace_inodes,
        },
        Upper::Directory(path) => UpperPlan::Directory(seen.take("workspace.upper", path)?),
    };
    let lower = seen.take("workspace", workspace.directory())?;
    check_whole("workspace", host, &lower.path)?;
    kernel(host, isolation, workspace)?;
    out.push(MountStep::Workspace { lower, upper });
    Ok(out)
}

/// What the kernel must have for an overlay.
fn kernel(host: &HostFacts, isolation: &Isolation, workspace: &Workspace) -> Result<()> {
    let unavailable = |required: &str, found: String, fix: &str| {
        Err(KavachError::ControlUnavailable {
            control: Control::FilesystemView,
            required: required.into(),
            found,
            fix: fix.into(),
        })
    };
    let release = || format!("Linux {}", host.kernel_release);
    if isolation.namespaces.user && !host.has_kernel(5, 11) {
        return unavailable(
            "overlays in user namespaces (Linux 5.11), for the workspace",
            release(),
            "boot a later kernel",
        );
    }
    if is_mapped(isolation) && !host.has_kernel(5, 19) {
        return unavailable(
            "overlays of idmapped mounts (Linux 5.19), for the workspace",
            release(),
            "boot a later kernel, or run kavach as the owner of the workspace",
        );
    }
    if *workspace.get_upper() == Upper::Tmpfs && !host.tmpfs_user_xattr {
        return unavailable(
            "extended attributes of users on tmpfs (Linux 6.6, CONFIG_TMPFS_XATTR), without which \
             an overlay cannot replace a directory that was deleted",
            release(),
            "give the workspace an upper directory on ext4, xfs or btrfs, or boot a later kernel",
        );
    }
    Ok(())
}

/// Refuses a workspace that an overlay could not show whole.
fn check_whole(field: &str, host: &HostFacts, path: &Path) -> Result<()> {
    let Some(DirectoryKind::Directory(found)) = host.directories.get(path) else {
        return Ok(());
    };
    match found.mounts_below.first() {
        None => Ok(()),
        Some(mount) => Err(KavachError::invalid(
            field,
            format!("{mount:?} is mounted below {path:?}, and an overlay shows no mounts"),
            "a directory without mounts below it",
            "unmount it, or name a directory that does not hold it",
        )),
    }
}

/// Whether the guest has other ids than the owners of host files.
fn is_mapped(isolation: &Isolation) -> bool {
    matches!(isolation.mapping, Mapping::Range { .. })
}

/// The directories taken so far, by identity: a bind mount gives one directory two names.
struct Seen<'a> {
    host: &'a HostFacts,
    mapped: bool,
    taken: BTreeMap<(u64, u64), PathBuf>,
}

impl<'a> Seen<'a> {
    fn new(host: &'a HostFacts, isolation: &Isolation) -> Self {
        Self {
            host,
            mapped: is_mapped(isolation),
            taken: BTreeMap::new(),
        }
    }

    fn take(&mut self, field: &str, path: &Path) -> Result<HostDirectory> {
        let found = directory(field, path, self.host)?;
        let FileId { device, inode } = found.id;
        if let Some(other) = self.taken.insert((device, inode), path.to_path_buf()) {
            return Err(KavachError::invalid(
                field,
                format!("{path:?} and {other:?} are the same directory"),
                "directories that are apart",
                "name one of the two",
            ));
        }
        if self.mapped && !self.host.is_privileged() {
            return Err(KavachError::ControlUnavailable {
                control: Control::FilesystemView,
                required: format!("CAP_SYS_ADMIN, to show the owner of {path:?} as the guest"),
                found: "root without it".into(),
                fix: "run kavach as an ordinary user, who needs no idmapped mounts".into(),
            });
        }
        Ok(HostDirectory {
            path: path.to_path_buf(),
            id: found.id,
            owner: self.mapped.then_some(HostIds {
                uid: found.uid,
                gid: found.gid,
            }),
        })
    }
}

/// What was found at a path that must be a directory, and no link on the way to it.
pub(super) fn directory<'h>(
    field: &str,
    path: &Path,
    host: &'h HostFacts,
) -> Result<&'h Directory> {
    let missing = |source: io::Error| KavachError::PathMissing {
        field: field.to_owned(),
        path: path.to_path_buf(),
        source,
    };
    match host.directories.get(path) {
        Some(DirectoryKind::Directory(found)) => Ok(found),
        Some(DirectoryKind::Other) => Err(KavachError::invalid(
            field,
            format!("{path:?} is no directory"),
            "a directory",
            "name the directory that it is in",
        )),
        Some(DirectoryKind::Link(resolved)) => Err(KavachError::invalid(
            field,
            format!("a symbolic link stands on the way to {path:?}"),
            "a path without symbolic links, which nobody can turn elsewhere",
            match resolved {
                Some(resolved) => format!("name {resolved:?}"),
                None => "name the directory by its own path".to_owned(),
            },
        )),
        Some(DirectoryKind::Unreadable(errno)) => {
            Err(missing(io::Error::from_raw_os_error(*errno)))
        }
        None => Err(missing(io::ErrorKind::NotFound.into())),
    }
}
