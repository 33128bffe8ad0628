//! A process that is alone in its version 2 group makes room in it.
//!
//! In version 2 a group that holds processes hands no controllers on ("no
//! internal processes", `cgroups(7)`), so whoever is given a group and stands
//! in it can limit nothing there before it has stepped into a leaf. systemd
//! starts every service and scope with `Delegate=yes` that way. Whether a group
//! was delegated is not asked: systemd 252 marks only units of the system, and
//! the alternative, a group beside this process's own, is less its own still.

use std::io;
use std::path::{Path, PathBuf};

use super::Controller;
use super::error::CgroupError;
use super::files::{ControlFiles, write};
use super::layout::{Layout, Mount};
use super::probe::{Unavailable, probe_layout};

/// The leaf. Not a name of a sandbox's: nothing collects it but the end of
/// the group itself.
const LEAF: &str = "kavach-host";

/// Moves the process `pid`, which is this one, into a leaf of its own group
/// if that is what keeps the group from handing controllers on, and it is
/// alone in it. The leaf, if it went there.
pub(super) fn step_aside(
    io: &dyn ControlFiles,
    layout: &Layout,
    pid: u32,
) -> Result<Option<PathBuf>, CgroupError> {
    let Some(own) = layout.v2.as_ref().and_then(|mount| mount.own.as_deref()) else {
        return Ok(None);
    };
    let alone = io
        .read(&own.join("cgroup.procs"))
        .is_ok_and(|procs| procs.trim() == pid.to_string());
    if !alone || !hinders(io, layout, own) {
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

/// Whether the group could hand on a controller that no version 1 hierarchy has, if only it held
/// no processes.
fn hinders(io: &dyn ControlFiles, layout: &Layout, own: &Path) -> bool {
    let alone = Layout {
        v1: layout.v1.clone(),
        // Groups above may offer more, and are not this process's own.
        v2: Some(Mount {
            mount: own.to_owned(),
            own: Some(own.to_owned()),
        }),
    };
    let support = probe_layout(io, &alone);
    [Controller::Memory, Controller::Pids, Controller::Cpu]
        .into_iter()
        .any(|controller| {
            matches!(
                support.get(controller),
                Err(Unavailable::HasProcesses { .. })
            )
        })
}
