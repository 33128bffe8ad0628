//! A directory of the host for a guest to work in, and what must be the same afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use kavach::Workspace;
use kavach::config::{SandboxConfigBuilder, Upper};
use rustix::fs::XattrFlags;

use crate::world::{World, config};

/// Where the changes of a workspace are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Memory,
    Disk,
}

impl Kept {
    pub(crate) const BOTH: [Kept; 2] = [Kept::Memory, Kept::Disk];

    /// What is missing on this host for it.
    pub(crate) fn lacks(self) -> Option<String> {
        match self {
            Kept::Memory => (!kavach::host::probe().tmpfs_user_xattr)
                .then(|| "tmpfs of this kernel keeps no user attributes: Linux 6.6".to_owned()),
            Kept::Disk => (!keeps_attributes(&home()))
                .then(|| "the home's file system keeps no user attributes: ext4, xfs".to_owned()),
        }
    }
}

/// The home of who runs this, by its own path.
fn home() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    home.canonicalize().unwrap()
}

/// Tries it on a file.
fn keeps_attributes(directory: &Path) -> bool {
    let path = directory.join(format!("kavach-attribute-{}", std::process::id()));
    let file = fs::File::create(&path).unwrap();
    let kept = rustix::fs::fsetxattr(&file, "user.kavach", b"y", XattrFlags::CREATE);
    fs::remove_file(path).unwrap();
    kept.is_ok()
}

/// A project of this trial's own in the home of whoever runs it: not below `/tmp`, where the
/// sandbox has a directory of its own. Gone with the value.
pub(crate) struct Project(pub(crate) PathBuf);

impl Project {
    /// With a few files, of which a guest changes some.
    pub(crate) fn new() -> Self {
        let path = home().join(format!("kavach-project-{}", std::process::id()));
        // Of a trial that was killed, and whose number this process has now.
        remove(&path);
        fs::create_dir(&path).unwrap();
        let project = Self(path);
        fs::set_permissions(&project.0, fs::Permissions::from_mode(0o755)).unwrap();
        project.write("file", "below");
        project.write("sub/deep/file", "deep below");
        project
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// The path as an argument of a command.
    pub(crate) fn name(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }

    /// Runs a script in it on the host.
    pub(crate) fn on_the_host(&self, script: &str) {
        let done = Command::new("/bin/bash")
            .args(["-ec", script])
            .current_dir(&self.0)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Everything in it that a guest could have changed, in words.
    pub(crate) fn state(&self) -> Vec<String> {
        let mut out = Vec::new();
        record(&self.0, &mut out);
        out
    }

    /// A sandbox that works in it.
    pub(crate) fn workspace(&self, policy: &str, kept: Kept) -> World {
        World::new(self.config(policy, kept))
    }

    pub(crate) fn config(&self, policy: &str, kept: Kept) -> SandboxConfigBuilder {
        config(policy).workspace(self.shared(kept))
    }

    /// The whole of it, with its changes beside it where they are kept on the disk.
    pub(crate) fn shared(&self, kept: Kept) -> Workspace {
        let workspace = Workspace::new(&self.0);
        if kept == Kept::Memory {
            return workspace;
        }
        let changes = self.changes();
        fs::create_dir_all(&changes).unwrap();
        if rustix::process::geteuid().is_root() {
            let owner = fs::metadata(&self.0).unwrap();
            std::os::unix::fs::chown(&changes, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        workspace.upper(Upper::Directory(changes))
    }

    /// Where those are.
    pub(crate) fn changes(&self) -> PathBuf {
        self.0.with_extension("changes")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        for directory in [self.0.clone(), self.changes()] {
            remove(&directory);
        }
    }
}

/// Removes a directory with the one that overlayfs keeps in it, which nobody may enter.
fn remove(directory: &Path) {
    if fs::remove_dir_all(directory).is_err() && directory.exists() {
        let _ = Command::new("chmod")
            .args(["-R", "u+rwx"])
            .arg(directory)
            .status();
        let _ = fs::remove_dir_all(directory);
    }
}

fn record(path: &Path, out: &mut Vec<String>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let what = if meta.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        for name in &names {
            record(name, out);
        }
        format!("{} entries", names.len())
    } else if meta.is_symlink() {
        format!("to {:?}", fs::read_link(path).unwrap())
    } else if meta.is_file() {
        format!("{:?}", fs::read(path).unwrap())
    } else {
        format!("device {}", meta.rdev())
    };
    out.push(format!(
        "{path:?} {:o} {}:{} {} links, {}.{:09}, {what}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.nlink(),
        meta.mtime(),
        meta.mtime_nsec()
    ));
}
