//! The directories that a guest may fill: one tmpfs, shown in several places.

use std::path::Path;

use super::view::HOME;
use super::{MountStep, Owner};

/// Where the tmpfs stands while the view is built.
pub(crate) const STAGING: &str = "/.scratch";

/// What of the sandbox's own is laid over a root that has it already.
pub(super) struct OwnPlaces {
    /// Whether there is a place for `/var/tmp`.
    pub(super) var_tmp: bool,
    /// Files of `/etc`, by name, with what is in them.
    pub(super) etc: Vec<(&'static str, Vec<u8>)>,
}

impl Default for OwnPlaces {
    fn default() -> Self {
        Self {
            var_tmp: true,
            etc: Vec::new(),
        }
    }
}

/// One tmpfs shown as `/tmp`, `/var/tmp` and the home, so that one quota holds all three.
pub(super) fn steps(size_bytes: u64, inodes: u64, own: &OwnPlaces) -> Vec<MountStep> {
    let parts = [
        ("tmp", "/tmp", 0o1777),
        ("var-tmp", "/var/tmp", 0o1777),
        ("home", HOME, 0o700),
    ];
    let staging = Path::new(STAGING);
    let mut out = vec![MountStep::Tmpfs {
        target: staging.into(),
        size_bytes,
        inodes,
        mode: 0o755,
        noexec: false,
    }];
    for (part, target, mode) in parts {
        if target == "/var/tmp" && !own.var_tmp {
            continue;
        }
        let source = staging.join(part);
        out.push(MountStep::Dir {
            target: source.clone(),
            mode,
            owner: Owner::Guest,
        });
        out.push(MountStep::BindInside {
            source,
            target: target.into(),
        });
    }
    // Repositories shown read-only belong to ids that do not exist inside, and git refuses to
    // read a repository of somebody else's ("dubious ownership"). Whose hooks could be run is
    // no question here: the guest is not trusted to begin with.
    out.push(MountStep::File {
        target: Path::new(HOME).join(".gitconfig"),
        mode: 0o644,
        owner: Owner::Guest,
        contents: b"[safe]\n\tdirectory = *\n".to_vec(),
    });
    for (name, contents) in &own.etc {
        let (source, target) = (staging.join(name), Path::new("/etc").join(name));
        out.push(MountStep::File {
            target: source.clone(),
            mode: 0o644,
            owner: Owner::Root,
            contents: contents.clone(),
        });
        out.push(MountStep::BindInside {
            source,
            target: target.clone(),
        });
        out.push(MountStep::ReadOnlyRemount { target });
    }
    out.push(MountStep::Detach {
        target: staging.into(),
    });
    out
}
