//! The parsers of what the kernel says of control groups.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::files::ControlFiles;
use super::layout::{Layout, mount_points, parse_controllers};
use super::tree::Dir;
use super::{Controller, Version, limits, name, stats};

/// A mounted hierarchy: its version, where it is, and the caller's own group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// 1 or 2.
    pub version: u8,
    /// The mount point.
    pub mount: PathBuf,
    /// The caller's group.
    pub own: Option<PathBuf>,
}

/// What is understood of `/proc/self/cgroup` and `/proc/self/mountinfo`.
///
/// # Errors
/// What is wrong with them.
pub fn layout(cgroup: &[u8], mountinfo: &[u8]) -> Result<Vec<Place>, String> {
    let layout = Layout::parse(cgroup, mountinfo).map_err(|e| e.to_string())?;
    let v1 = layout.v1.into_iter().map(|(_, mount)| (1, mount));
    let v2 = layout.v2.into_iter().map(|mount| (2, mount));
    let places = v1.chain(v2).map(|(version, mount)| Place {
        version,
        mount: mount.mount,
        own: mount.own,
    });
    Ok(places.collect())
}

/// Every mount point of a hierarchy.
///
/// # Errors
/// What is wrong with the file.
pub fn hierarchies(mountinfo: &[u8]) -> Result<Vec<PathBuf>, String> {
    mount_points(mountinfo).map_err(|e| e.to_string())
}

/// The names of the controllers of `cgroup.controllers`.
#[must_use]
pub fn controllers(text: &str) -> Vec<&'static str> {
    parse_controllers(text)
        .into_iter()
        .map(Controller::name)
        .collect()
}

/// A field of mountinfo without the kernel's escapes.
#[must_use]
pub fn unescape(field: &[u8]) -> Vec<u8> {
    super::layout::unescape(field)
}

/// The value of a key in a flat keyed file, and the sum of a key over devices.
#[must_use]
pub fn counters(text: &str, key: &str) -> (Option<u64>, u64) {
    (stats::keyed(text, key), stats::sum_nested(text, key))
}

/// State and start time of `/proc/PID/stat`.
#[must_use]
pub fn process_stat(text: &str) -> Option<(char, u64)> {
    name::parse_stat(text).map(|stat| (stat.state, stat.start_time))
}

/// The name of a group, read and written again.
#[must_use]
pub fn owner(name: &str) -> Option<String> {
    name::Owner::parse(name).map(|owner| owner.to_string())
}

/// Whether a value read back is the one that was written; `None` where it is another.
#[must_use]
pub fn read_back(wrote: &str, read: &str) -> [Option<bool>; 2] {
    [Controller::Memory, Controller::Pids]
        .map(|controller| limits::compare(wrote, read, controller))
}

/// Usage and events of a group of which every file holds this text, on both versions.
#[must_use]
pub fn usage(text: &str) -> String {
    #[derive(Debug)]
    struct Same<'a>(&'a str);
    impl ControlFiles for Same<'_> {
        fn make_dir(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
        fn remove_dir(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
        fn write(&self, _: &Path, _: &str) -> io::Result<()> {
            Ok(())
        }
        fn read(&self, _: &Path) -> io::Result<String> {
            Ok(self.0.to_owned())
        }
        fn writable(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
        fn owner(&self, _: &Path) -> io::Result<u32> {
            Ok(0)
        }
    }
    let mut out = String::new();
    for version in [Version::V1, Version::V2] {
        let dirs = [Dir {
            path: PathBuf::from("/group"),
            version,
            controllers: Controller::ALL.to_vec(),
        }];
        let io = Same(text);
        let events = stats::limit_events(&io, &dirs);
        let since = events.since(events).with_oom_as_hit();
        let _ = fmt::write(
            &mut out,
            format_args!("{:?} {events:?} {since:?}", stats::usage(&io, &dirs)),
        );
    }
    out
}
