//! Directories of a group: making them with a way back, walking and removing.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::error::CgroupError;
use super::files::{ControlFiles, read, write};
use super::layout::parse_controllers;
use super::{Controller, Version};

/// Deepest tree below a group. Guests cannot make groups (their view of the
/// cgroup file system is not writable); this bounds the walk all the same.
const DEEPEST: usize = 16;
/// Most directories below a group that one walk visits.
const MOST: usize = 65_536;

/// One directory of a group in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dir {
    pub(super) version: Version,
    pub(super) path: PathBuf,
    /// What this hierarchy is used for.
    pub(super) controllers: Vec<Controller>,
}

impl Dir {
    /// The child `name`.
    pub(super) fn child(&self, name: &str) -> Self {
        Self {
            path: self.path.join(name),
            ..self.clone()
        }
    }

    pub(super) fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }

    /// Whether this hierarchy is of use for its quota alone: it neither counts nor freezes, and
    /// another can list and kill. On version 2 every group that is entered must be a leaf.
    pub(super) fn only_schedules(&self) -> bool {
        self.version == Version::V1 && self.controllers == [Controller::Cpu]
    }
}

/// The file through which a process of one thread enters a group by writing `0`.
///
/// On version 1 that is `tasks`: for one thread that moves itself the kernel
/// does not take the lock that `cgroup.procs` takes, whose first taker in a
/// while waits for an RCU grace period, some 10 ms (`__cgroup1_procs_write`,
/// kernel commit 9a3284fad42f).
pub(super) fn join_fd(dir: &Dir) -> Result<OwnedFd, CgroupError> {
    let path = dir.path.join(match dir.version {
        Version::V1 => "tasks",
        Version::V2 => "cgroup.procs",
    });
    match OpenOptions::new().write(true).open(&path) {
        Ok(file) => Ok(OwnedFd::from(file)),
        Err(source) => Err(CgroupError::Read { path, source }),
    }
}

/// The directory that stands for `controller`.
pub(super) fn find(dirs: &[Dir], controller: Controller) -> Option<&Dir> {
    dirs.iter().find(|dir| dir.has(controller))
}

/// Directories made so far; they are removed again unless kept.
#[derive(Debug)]
pub(super) struct Made {
    io: &'static dyn ControlFiles,
    paths: Vec<PathBuf>,
}

impl Made {
    pub(super) fn new(io: &'static dyn ControlFiles) -> Self {
        Self {
            io,
            paths: Vec::new(),
        }
    }

    pub(super) fn dir(&mut self, path: &Path) -> Result<(), CgroupError> {
        // An existing directory is an error: it is another sandbox's.
        self.io
            .make_dir(path)
            .map_err(|source| CgroupError::MakeDir {
                path: path.to_owned(),
                source,
            })?;
        self.paths.push(path.to_owned());
        Ok(())
    }

    pub(super) fn keep(mut self) {
        self.paths.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // Nothing has entered these groups, so removal cannot be busy; a
            // failure leaves a directory that the garbage collector knows.
            let _ = self.io.remove_dir(path);
        }
    }
}

/// Version 2: hands `controllers` (those that are controllers there) to the
/// children of `path`, and checks that they are.
pub(super) fn enable(
    io: &dyn ControlFiles,
    path: &Path,
    controllers: &[Controller],
) -> Result<(), CgroupError> {
    let file = path.join("cgroup.subtree_control");
    let before = read(io, &file)?;
    let wanted = || {
        controllers
            .iter()
            .filter(|controller| !controller.is_core_in_v2())
    };
    let enabled = parse_controllers(&before);
    // One at a time: the kernel takes all of a line or nothing, and a failure
    // should name the controller.
    for controller in wanted().filter(|controller| !enabled.contains(controller)) {
        write(io, &file, &format!("+{controller}"))?;
    }
    let read = read(io, &file)?;
    let enabled = parse_controllers(&read);
    if let Some(controller) = wanted().find(|controller| !enabled.contains(controller)) {
        return Err(CgroupError::Readback {
            path: file,
            wrote: format!("+{controller}"),
            read,
        });
    }
    Ok(())
}

/// Version 2: counts io below `path` where the parent already hands it down.
/// Only a statistic, so a refusal is no error.
pub(super) fn enable_io(io: &dyn ControlFiles, path: &Path) {
    let offered = io
        .read(&path.join("cgroup.controllers"))
        .unwrap_or_default();
    if offered.split_ascii_whitespace().any(|name| name == "io") {
        let _ = io.write(&path.join("cgroup.subtree_control"), "+io");
    }
}

/// `path` and every group below it, children before parents. What vanishes
/// meanwhile is skipped.
pub(super) fn walk(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![(path.to_owned(), 0)];
    let mut next = 0;
    while let Some((dir, depth)) = found.get(next).cloned() {
        next += 1;
        if depth == DEEPEST || found.len() >= MOST {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        let children = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| (entry.path(), depth + 1));
        found.extend(children.take(MOST));
    }
    found.into_iter().rev().map(|(path, _)| path).collect()
}

/// Removes the groups at and below each of `dirs`. Goes on where one is busy,
/// so that a later call has less to do. What is gone already is no error. Says how many were removed, failed or not.
pub(super) fn remove(io: &dyn ControlFiles, dirs: &[Dir]) -> (usize, Result<(), CgroupError>) {
    let mut removed = 0;
    let mut first = Ok(());
    for path in dirs.iter().flat_map(|dir| walk(&dir.path)) {
        match io.remove_dir(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let busy = matches!(
                    error.kind(),
                    io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
                );
                let error = if busy {
                    CgroupError::Busy { path }
                } else {
                    CgroupError::Remove {
                        path,
                        source: error,
                    }
                };
                first = first.and(Err(error));
            }
        }
    }
    (removed, first)
}

/// Removes `dirs` with the children that are known to be there, without listing them; where that
/// is not all, or something is busy, as [`remove`] does.
pub(super) fn remove_known(
    io: &dyn ControlFiles,
    dirs: &[Dir],
    children: impl Fn(&Dir) -> Vec<PathBuf>,
) -> Result<(), CgroupError> {
    let mut left = Vec::new();
    for dir in dirs {
        let all = children(dir).into_iter().chain([dir.path.clone()]);
        let gone = |path: PathBuf| match io.remove_dir(&path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // Every child is tried, whatever became of the others; the last is the group itself.
        if !all.map(gone).fold(true, |_, last| last) {
            left.push(dir.clone());
        }
    }
    remove(io, &left).1
}

/// Whether the group of a file was removed: before the file was opened, or
/// (`ENODEV`) after.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// The processes at and below `dirs`, each once, in rising order. A process of
/// another pid namespace reads as 0.
pub(super) fn pids(io: &dyn ControlFiles, dirs: &[Dir]) -> Result<Vec<i32>, CgroupError> {
    let mut pids = Vec::new();
    for path in dirs.iter().flat_map(|dir| walk(&dir.path)) {
        let path = path.join("cgroup.procs");
        match io.read(&path) {
            Ok(text) => {
                // A file cut at the read bound ends inside a number.
                let whole = text.rfind('\n').map_or("", |end| &text[..end]);
                pids.extend(whole.lines().filter_map(|line| line.parse::<i32>().ok()));
            }
            Err(error) if is_gone(&error) => {}
            Err(source) => return Err(CgroupError::Read { path, source }),
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}
