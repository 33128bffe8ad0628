//! A root that is made of another directory than the host's own: its system directories
//! read-only, and around them what is the sandbox's.

use std::path::Path;

use super::scratch::OwnPlaces;
use super::{Identity, MountStep, Owner, etc, workspace};
use crate::config::{Spec, Workspace};
use crate::error::{KavachError, Result};
use crate::host::{HostFacts, PathKind, RootEntry};
use crate::policy::Network;

/// Entries of a root that the sandbox has of its own.
const OWN: [&str; 6] = ["proc", "dev", "sys", "tmp", "run", "home"];

/// The steps for the system, and what is laid over it later.
pub(super) struct Root {
    pub(super) mounts: Vec<MountStep>,
    pub(super) own: OwnPlaces,
}

/// Shows each entry of the directory by itself: a link stays a link, which leads nowhere but
/// into the sandbox, and nothing that is not a file, a directory or a link is shown.
pub(super) fn plan(
    rootfs: &Path,
    spec: &Spec,
    host: &HostFacts,
    identity: &Identity,
    network: Network,
) -> Result<Root> {
    workspace::directory("rootfs", rootfs, host)?;
    let unusable = |problem: String| {
        KavachError::invalid(
            "rootfs",
            problem,
            "the root directory of a system, with at most 256 entries",
            "name the directory that holds its usr, bin, etc",
        )
    };
    let facts = host.root.as_ref();
    let facts = facts.ok_or_else(|| unusable(format!("{rootfs:?} cannot be listed")))?;
    if facts.truncated || facts.entries.is_empty() {
        let problem = if facts.truncated {
            "too much"
        } else {
            "nothing"
        };
        return Err(unusable(format!("{problem} is in {rootfs:?}")));
    }
    let mut mounts = Vec::new();
    for (name, entry) in &facts.entries {
        if OWN.iter().any(|own| name == own) {
            continue;
        }
        let target = Path::new("/").join(name);
        mounts.extend(show(rootfs, &target, entry, spec));
    }
    for (target, mode) in [("/run", 0o755), ("/home", 0o755)] {
        mounts.push(dir(target, mode));
    }
    let has = |name: &str| facts.entries.contains_key(std::ffi::OsStr::new(name));
    let has_place = |path: &str| facts.places.iter().any(|place| place == Path::new(path));
    let mut own = OwnPlaces {
        var_tmp: has_place("/var/tmp"),
        etc: Vec::new(),
    };
    if !has("var") {
        mounts.push(dir("/var", 0o755));
        own.var_tmp = true;
    }
    let made_up = etc::made_up(identity, network);
    if has("etc") {
        // The image's own, but for what names this sandbox.
        for (name, contents) in made_up {
            let ours = ["hosts", "hostname"].contains(&name);
            if ours && has_place(&format!("/etc/{name}")) {
                own.etc.push((name, contents.into_bytes()));
            }
        }
        if network == Network::On && has_place("/etc/resolv.conf") {
            let resolver = Path::new("/etc/resolv.conf");
            mounts.extend(etc::bind(resolver, &PathKind::File));
        }
    } else {
        mounts.push(dir("/etc", 0o755));
        for (name, contents) in made_up {
            mounts.push(MountStep::File {
                target: Path::new("/etc").join(name),
                mode: 0o644,
                owner: Owner::Root,
                contents: contents.into_bytes(),
            });
        }
    }
    Ok(Root { mounts, own })
}

fn show(rootfs: &Path, target: &Path, entry: &RootEntry, spec: &Spec) -> Option<MountStep> {
    let is_dir = match &entry.kind {
        PathKind::Symlink(link) => {
            return Some(MountStep::Symlink {
                target: target.to_path_buf(),
                link: link.clone(),
            });
        }
        // So that what goes below it has a place.
        PathKind::Directory if entry.is_empty && holds_a_target(target, spec) => {
            return Some(MountStep::Dir {
                target: target.to_path_buf(),
                mode: 0o755,
                owner: Owner::Root,
            });
        }
        PathKind::Directory => true,
        PathKind::File => false,
        _ => return None,
    };
    Some(MountStep::Bind {
        source: rootfs.join(target.file_name()?),
        target: target.to_path_buf(),
        is_dir,
        read_only: true,
        allow_dev: false,
        recursive: true,
        optional: false,
        pinned: Some(entry.id),
    })
}

/// Whether a host path is shown below a directory of the root.
fn holds_a_target(directory: &Path, spec: &Spec) -> bool {
    let fs = &spec.policy.filesystem;
    let shown = fs.read.iter().chain(&fs.write_through);
    let mut shown = shown
        .map(std::path::PathBuf::as_path)
        .chain(spec.workspace().map(Workspace::directory));
    shown.any(|path| path.starts_with(directory))
}

fn dir(target: &str, mode: u32) -> MountStep {
    MountStep::Dir {
        target: target.into(),
        mode,
        owner: Owner::Root,
    }
}
