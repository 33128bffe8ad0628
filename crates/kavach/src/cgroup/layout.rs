//! Which hierarchies are mounted and where the calling process stands in each:
//! pure parsers of `/proc/self/cgroup` and `/proc/self/mountinfo`.
//!
//! Both files are written by the kernel, yet parts of them (mount points,
//! cgroup names) are chosen by whoever could mount or make groups, so every
//! length is bounded and no path may climb out of its mount.
//!
//! Sources: `cgroups(7)`, `proc_pid_mountinfo(5)`, `cgroup_namespaces(7)`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::Controller;

/// Largest `/proc/self/cgroup` that is parsed, in bytes.
pub(crate) const LARGEST_CGROUP: usize = 256 * 1024;
/// Largest `/proc/self/mountinfo` that is parsed, in bytes (100 000 mounts is
/// the kernel's default ceiling per mount namespace).
pub(crate) const LARGEST_MOUNTINFO: usize = 32 * 1024 * 1024;

/// A file that is not what the kernel's documentation says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LayoutError {
    /// The file is longer than anything a kernel writes.
    #[error("{file} is longer than {limit} bytes")]
    TooLarge {
        /// Which file.
        file: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A line does not have the documented fields.
    #[error("line {line} of {file} is malformed")]
    Malformed {
        /// Which file.
        file: &'static str,
        /// Line number, from 1.
        line: usize,
    },
}

/// A mounted hierarchy and the caller's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The caller's own group, at or below `mount`; `None` where the mount
    /// does not show it (a cgroup namespace or a bind mount of another part).
    pub(crate) own: Option<PathBuf>,
}

/// Where the controllers of this host are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Version 1 hierarchies by controller, one entry for each controller of
    /// a hierarchy that holds several.
    pub(crate) v1: Vec<(Controller, Mount)>,
    /// The unified hierarchy.
    pub(crate) v2: Option<Mount>,
}

impl Layout {
    /// Parses the two files of `/proc/self`.
    ///
    /// # Errors
    /// [`LayoutError`] where a file is too large or malformed.
    pub(crate) fn parse(cgroup: &[u8], mountinfo: &[u8]) -> Result<Self, LayoutError> {
        let own = parse_own(cgroup)?;
        let mounts = parse_mounts(mountinfo)?;
        let place = |mounts: Vec<&RawMount>, path: Option<&Path>| best(&mounts, path);
        let v1 = Controller::ALL
            .into_iter()
            .filter_map(|controller| {
                let holds = |mount: &&RawMount| {
                    matches!(&mount.kind, Kind::V1(held) if held.contains(&controller))
                };
                let path = own.v1.iter().find(|(held, _)| *held == controller);
                place(mounts.iter().filter(holds).collect(), path.map(|(_, path)| path.as_path()))
                    .map(|mount| (controller, mount))
            })
            .collect();
        let unified = mounts
            .iter()
            .filter(|mount| mount.kind == Kind::V2)
            .collect();
        Ok(Self {
            v1,
            v2: place(unified, own.v2.as_deref()),
        })
    }

    /// The version 1 hierarchy of `controller`.
    pub(crate) fn v1(&self, controller: Controller) -> Option<&Mount> {
        self.v1
            .iter()
            .find(|(held, _)| *held == controller)
            .map(|(_, mount)| mount)
    }
}

/// Every place at which a hierarchy of either version is mounted, each once, whatever part of it
/// is mounted there and with whatever controllers.
///
/// # Errors
/// [`LayoutError`] where the file is too large or malformed.
pub(crate) fn mount_points(mountinfo: &[u8]) -> Result<Vec<PathBuf>, LayoutError> {
    let mounts = parse_mounts(mountinfo)?;
    let mut points: Vec<_> = mounts.into_iter().map(|raw| raw.mount).collect();
    points.sort_unstable();
    points.dedup();
    Ok(points)
}

/// Parses `cgroup.controllers` or `cgroup.subtree_control`; names that kavach
/// does not use are skipped.
pub(crate) fn parse_controllers(text: &str) -> Vec<Controller> {
    let mut controllers: Vec<_> = text
        .split_ascii_whitespace()
        .take(64)
        .filter_map(Controller::from_name)
        .collect();
    controllers.sort_unstable();
    controllers.dedup();
    controllers
}

/// The caller's path in each hierarchy, as `/proc/self/cgroup` has it.
#[derive(Debug, Default)]
struct Own {
    v1: Vec<(Controller, PathBuf)>,
    v2: Option<PathBuf>,
}

fn parse_own(text: &[u8]) -> Result<Own, LayoutError> {
    let file = "/proc/self/cgroup";
    if text.len() > LARGEST_CGROUP {
        return Err(LayoutError::TooLarge {
            file,
            limit: LARGEST_CGROUP,
        });
    }
    let mut own = Own::default();
    for (index, line) in lines(text) {
        // hierarchy-ID:controller-list:cgroup-path; the path may hold colons.
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (Some(id), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(LayoutError::Malformed { file, line: index });
        };
        if id.is_empty() || !id.iter().all(u8::is_ascii_digit) || path.first() != Some(&b'/') {
            return Err(LayoutError::Malformed { file, line: index });
        }
        let path = to_path(path.to_vec());
        if id == b"0" && controllers.is_empty() {
            own.v2 = Some(path);
        } else {
            let named = |controller: &Controller| {
                controllers
                    .split(|byte| *byte == b',')
                    .any(|name| name == controller.name().as_bytes())
            };
            let held = Controller::ALL.into_iter().filter(named);
            own.v1
                .extend(held.map(|controller| (controller, path.clone())));
        }
    }
    Ok(own)
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    V1(Vec<Controller>),
    V2,
}

/// One line of mountinfo that is a cgroup mount.
#[derive(Debug)]
struct RawMount {
    /// The group that is mounted, seen from the reader's cgroup namespace.
    root: PathBuf,
    mount: PathBuf,
    writable: bool,
    kind: Kind,
}

fn parse_mounts(text: &[u8]) -> Result<Vec<RawMount>, LayoutError> {
    let file = "/proc/self/mountinfo";
    if text.len() > LARGEST_MOUNTINFO {
        return Err(LayoutError::TooLarge {
            file,
            limit: LARGEST_MOUNTINFO,
        });
    }
    let mut mounts = Vec::new();
    for (index, line) in lines(text) {
        let mount = parse_mount(line).ok_or(LayoutError::Malformed { file, line: index })?;
        mounts.extend(mount);
    }
    Ok(mounts)
}

/// `Some(None)`: a well-formed line of another file system.
fn parse_mount(line: &[u8]) -> Option<Option<RawMount>> {
    // id parent major:minor root mount-point options optional… - type source super-options
    let mut fields = line.split(|byte| *byte == b' ');
    let root = fields.nth(3)?;
    let mount = fields.next()?;
    let options = fields.next()?;
    fields.by_ref().find(|field| *field == b"-")?;
    let kind = match fields.next()? {
        b"cgroup2" => Kind::V2,
        b"cgroup" => {
            let super_options = fields.nth(1)?;
            let named = |controller: &Controller| {
                super_options
                    .split(|byte| *byte == b',')
                    .any(|o| o == controller.name().as_bytes())
            };
            Kind::V1(Controller::ALL.into_iter().filter(named).collect())
        }
        _ => return Some(None),
    };
    let (root, mount) = (to_path(unescape(root)), to_path(unescape(mount)));
    if !root.is_absolute() || !mount.is_absolute() {
        return None;
    }
    let writable = options
        .split(|byte| *byte == b',')
        .any(|option| option == b"rw");
    Some(Some(RawMount {
        root,
        mount,
        writable,
        kind,
    }))
}

/// The mount to use: one that shows the caller's group before one that does
/// not, then a writable one before a read-only one, then the first.
fn best(mounts: &[&RawMount], path: Option<&Path>) -> Option<Mount> {
    let place = |raw: &RawMount| Mount {
        mount: raw.mount.clone(),
        own: path.and_then(|path| below(raw, path)),
    };
    // min_by_key keeps the first of equals.
    mounts
        .iter()
        .map(|raw| (raw, place(raw)))
        .min_by_key(|(raw, mount)| (mount.own.is_none(), !raw.writable))
        .map(|(_, mount)| mount)
}

/// The directory of group `path` below the mount `raw`.
fn below(raw: &RawMount, path: &Path) -> Option<PathBuf> {
    // `/..` stands for a group outside the reader's cgroup namespace.
    let climbs = |path: &Path| path.components().any(|part| part == Component::ParentDir);
    if climbs(path) || climbs(&raw.root) {
        return None;
    }
    let relative = path.strip_prefix(&raw.root).ok()?;
    // Joining an empty path would add a slash.
    if relative.as_os_str().is_empty() {
        return Some(raw.mount.clone());
    }
    Some(raw.mount.join(relative))
}

/// Non-empty lines with their numbers, from 1.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|byte| *byte == b'\n')
        .zip(1..)
        .map(|(line, n)| (n, line))
        .filter(|(_, l)| !l.is_empty())
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Undoes the kernel's octal escapes (space, tab, newline, backslash, hash).
/// Anything that is no escape stands for itself.
pub(crate) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        if let (
            b'\\',
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ],
        ) = (byte, tail)
        {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    bytes
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
