//! What a guest can fill, as descriptors that the supervisor keeps.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::agent::Rehearsal;
use crate::backend::process::watch::Room;
use crate::error::{KavachError, Result};
use crate::plan::{LimitMechanism, Plan, UpperPlan};
use crate::workspace::Layers;

/// What a guest can fill: its scratch directories, the tmpfs mounts to be counted where no cgroup
/// counts them, and a workspace with a quota. Only now can they be opened: the rehearsing process may be looked into,
/// the agent may not.
pub(in crate::backend::process) fn room(
    plan: &Plan,
    rehearsal: &Rehearsal,
    layers: Option<&Layers>,
) -> Result<Room> {
    let failed = |op: &str, path: PathBuf| {
        let op = op.to_owned();
        move |source| KavachError::HostIo { op, path, source }
    };
    let mut room = Room::default();
    let mut upper = None;
    if let (Some((lower, UpperPlan::Tmpfs { .. })), Some(layers)) = (plan.workspace(), layers) {
        let copy = || {
            let copy = layers.upper.try_clone();
            copy.map_err(failed("keep the upper directory of", lower.path.clone()))
        };
        room.workspace = Some(copy()?);
        upper = Some(copy()?);
    }
    let (Some(pid), true) = (rehearsal.rehearsing(), plan.view.private_root) else {
        return Ok(room);
    };
    let open = |inside: &str| -> Result<OwnedFd> {
        let path = format!("/proc/{}/root/{inside}", pid.as_raw_nonzero());
        let op = "open a tmpfs of the sandbox, to look at what is in it";
        let opened = fs::File::open(&path).map_err(failed(op, path.into()))?;
        Ok(OwnedFd::from(opened))
    };
    for inside in ["tmp", "dev/shm"] {
        room.scratch.push((inside, open(inside)?));
    }
    let memory = plan.limits.memory_bytes.map(|limit| limit.mechanism);
    if memory == Some(LimitMechanism::Approximate) {
        for inside in ["", "tmp", "dev/shm"] {
            room.counted.push(open(inside)?);
        }
        room.counted.extend(upper);
    }
    Ok(room)
}
