//! What a guest can fill, as descriptors that the supervisor keeps.

use std::fs;
use std::path::PathBuf;

use crate::agent::Rehearsal;
use crate::backend::process::watch::Room;
use crate::error::{KavachError, Result};
use crate::plan::{LimitMechanism, Plan, UpperPlan};
use crate::workspace::Layers;

/// What a guest can fill: the tmpfs mounts, to be counted where no cgroup counts them, and a
/// workspace with a quota. Only now can they be opened: the rehearsing process may be looked into,
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
    let memory = plan.limits.memory_bytes.map(|limit| limit.mechanism);
    let (Some(LimitMechanism::Approximate), Some(pid), true) =
        (memory, rehearsal.rehearsing(), plan.view.private_root)
    else {
        return Ok(room);
    };
    for inside in ["", "tmp", "dev/shm"] {
        let path = format!("/proc/{}/root/{inside}", pid.as_raw_nonzero());
        let op = "open a tmpfs of the sandbox, to count what is in it";
        let opened = fs::File::open(&path).map_err(failed(op, path.into()))?;
        room.counted.push(opened.into());
    }
    room.counted.extend(upper);
    Ok(room)
}
