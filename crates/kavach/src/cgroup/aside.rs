//! A process that is alone in a delegated version 2 group makes room in it.
//!
//! In version 2 a group that holds processes hands no controllers on ("no
//! internal processes", `cgroups(7)`), so whoever is given a group and stands
//! in it can limit nothing before it has stepped into a leaf. systemd starts
//! every service and scope with `Delegate=yes` that way.

use std::io;
use std::path::{Path, PathBuf};

use super::Controller;
use super::error::CgroupError;
use super::files::{ControlFiles, write};
use super::layout::{Layout, Mount};
use super::probe::{Unavailable, probe_layout};

/// The leaf. Not a name of a sandbox's: nothing collects it but the end of
/// the delegated group itself.
const LEAF: &str = "kavach-host";
/// Where systemd notes that it has delegated a group: the first for everyone
/// (since systemd 251), the second for privileged readers.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// Moves the process `pid`, which is this one, into a leaf of its own group
/// if that is what keeps the group from handing controllers on, and only
/// there: it is alone in it, and the group is the top of what was delegated.
/// The leaf, if it went there.
pub(super) fn step_aside(
    io: &dyn ControlFiles,
    layout: &Layout,
    pid: u32,
) -> Result<Option<PathBuf>, CgroupError> {
    let Some(Mount {
        mount,
        own: Some(own),
    }) = &layout.v2
    else {
        return Ok(None);
    };
    if !hinders(io, layout, own) || !is_delegated(io, mount, own) {
        return Ok(None);
    }
    let alone = io
        .read(&own.join("cgroup.procs"))
        .is_ok_and(|procs| procs.trim() == pid.to_string());
    if !alone {
        return Ok(None);
    }
    let leaf = own.join(LEAF);
    match io.make_dir(&leaf) {
        Ok(()) => {}
        // An earlier process of this group made it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(CgroupError::MakeDir { path: leaf, source }),
    }
    write(io, &leaf.join("cgroup.procs"), &pid.to_string())?;
    Ok(Some(leaf))
}

/// Whether the group could hand on a controller if it held no processes, and no better place is
/// at hand within it.
fn hinders(io: &dyn ControlFiles, layout: &Layout, own: &Path) -> bool {
    let bare = Layout {
        v1: layout.v1.clone(),
        v2: layout.v2.clone().map(|mount| Mount {
            // Only the own group is asked: one above may offer more, and is not what was given.
            mount: own.to_owned(),
            ..mount
        }),
    };
    let support = probe_layout(io, &bare);
    let held = |controller| {
        matches!(
            support.get(controller),
            Err(Unavailable::HasProcesses { .. })
        )
    };
    [Controller::Memory, Controller::Pids, Controller::Cpu]
        .into_iter()
        .any(held)
}

/// Whether the group is the top of what its owner was given: so marked by systemd, the root of a
/// container's own hierarchy, or below a group of somebody else.
fn is_delegated(io: &dyn ControlFiles, mount: &Path, own: &Path) -> bool {
    let owner = |path: &Path| io.owner(path).ok();
    let below_another = own.parent().is_some_and(|above| owner(above) != owner(own));
    own == mount || below_another || MARKS.iter().any(|mark| io.has_mark(own, mark))
}
