//! Backend `process`: Linux namespaces, a private root, seccomp, Landlock and cgroups on the
//! host's own kernel.
//!
//! What it does not stop: an attack on that kernel itself through a call that the filter allows,
//! and side channels of the hardware. See docs/threat-model.md.

mod describe;
mod evidence;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod ids;
mod instance;
mod layers;
mod privileged;
mod setup;
mod sources;
mod watch;

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fd::OwnedFd;

use crate::agent;
use crate::backend::{Act, Backend, Driver, SandboxName, Started};
use crate::cgroup::gc::{FreezerKind, base_dirs};
use crate::cgroup::group::SandboxGroup;
use crate::cgroup::limits::{CpuQuota, Limits};
use crate::cgroup::name::Owner;
use crate::cgroup::probe::CgroupSupport;
use crate::error::{KavachError, Result};
use crate::host::Host;
use crate::plan::{LimitMechanism, Mapping, Plan};

use instance::ProcessInstance;

/// Starts sandboxes of the process backend.
#[derive(Debug)]
pub(crate) struct ProcessDriver {
    cgroups: Arc<CgroupSupport>,
    uid_map: Vec<crate::host::IdRange>,
}

impl ProcessDriver {
    /// A driver on this host.
    pub(crate) fn new(host: &Host) -> Self {
        Self {
            cgroups: host.cgroups.clone(),
            uid_map: host.facts.uid_map.clone(),
        }
    }

    async fn build(&self, plan: &Plan, name: &SandboxName) -> Result<Started> {
        let range = match plan.mapping {
            Mapping::Range { count } => Some(ids::claim(count, &self.uid_map)?),
            Mapping::SelfSingle { .. } | Mapping::None => None,
        };
        let upper_lock = layers::prepare(plan).await?;
        let setup = setup::encode(plan, range.as_ref())?;
        // The sandbox's first process holds both to its end, however this process ends.
        let range_lock: Option<&OwnedFd> = range.as_ref().and_then(ids::IdRange::lock);
        let locks = range_lock.into_iter().chain(&upper_lock);
        let kept: Vec<_> = locks.map(AsFd::as_fd).collect();
        let mut held = Held { group: None };
        let groups = || {
            held.group = self.group(plan, name)?;
            let entries = held.group.as_ref().map(SandboxGroup::agent_join_fds);
            Ok(entries.transpose()?.unwrap_or_default())
        };
        let describe = |failure: &_| describe::describe(failure, plan);
        let mut rehearsal = agent::start(&title(name), &setup, &kept, groups, describe).await?;
        let guest = Self::guest(plan, range.as_ref());
        let seen = layers::layers(plan, &mut rehearsal, guest).and_then(|layers| {
            let report = evidence::report(plan, &rehearsal, held.group.as_ref(), layers.as_ref())?;
            let room = evidence::room(plan, &rehearsal, layers.as_ref())?;
            Ok((report, room, layers))
        });
        let (report, room, layers) = match seen {
            Ok(seen) => seen,
            Err(e) => {
                rehearsal.abandon();
                return Err(e);
            }
        };
        let agent = rehearsal.finish().await?;
        let host_root = plan.mapping == Mapping::None && rustix::process::geteuid().is_root();
        let group = held.keep();
        let instance = ProcessInstance::new(agent, group, plan, range, room, (layers, upper_lock));
        Ok(Started::new(Arc::new(instance), report, host_root))
    }

    /// The guest's ids, as the host sees them.
    fn guest(plan: &Plan, range: Option<&ids::IdRange>) -> (u32, u32) {
        match range {
            Some(range) => sources::guest_ids(&plan.identity, range),
            None => (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        }
    }

    /// The sandbox's control groups with the limits that a controller holds.
    fn group(&self, plan: &Plan, name: &SandboxName) -> Result<Option<SandboxGroup>> {
        if !self.cgroups.any() {
            return Ok(None);
        }
        let io = |source| KavachError::HostIo {
            op: "read the identity of this process".into(),
            path: "/proc/self".into(),
            source,
        };
        let owner = Owner::current(name.seq, &name.agent_id).map_err(io)?;
        let freezer = |kind| match kind {
            FreezerKind::None => 0,
            FreezerKind::V1 => 1,
            FreezerKind::V2 => 2,
        };
        let bases: Vec<_> = base_dirs(&self.cgroups)
            .into_iter()
            .map(|(path, kind)| (path, freezer(kind)))
            .collect();
        agent::ensure_reaper(&owner.prefix(), &bases)?;
        SandboxGroup::create(&self.cgroups, &owner.to_string(), &limits(plan))
            .map(Some)
            .map_err(KavachError::from)
    }
}

impl Driver for ProcessDriver {
    fn backend(&self) -> Backend {
        Backend::Process
    }

    fn start<'a>(&'a self, plan: &'a Plan, name: &'a SandboxName) -> Act<'a, Result<Started>> {
        Box::pin(self.build(plan, name))
    }
}

/// Groups that are removed again unless the sandbox comes to life.
struct Held {
    group: Option<SandboxGroup>,
}

impl Held {
    fn keep(mut self) -> Option<SandboxGroup> {
        self.group.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            // What was started in it has been killed; it may take a moment to be gone.
            instance::remove_in_background(group);
        }
    }
}

/// What a process list shows.
fn title(name: &SandboxName) -> String {
    if name.agent_id.is_empty() {
        format!("kavach-agent [{}]", name.id)
    } else {
        format!("kavach-agent [{}] {}", name.id, name.agent_id)
    }
}

fn limits(plan: &Plan) -> Limits {
    /// The period of the CPU quota: the kernel's default.
    const PERIOD_US: u64 = 100_000;
    let by_cgroup = |mechanism| matches!(mechanism, LimitMechanism::Cgroup(_));
    let quota = |cpus: f64| CpuQuota {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "validated to lie between 0.01 and 4096"
        )]
        quota_us: ((cpus * 100_000.0).round() as u64).max(1000),
        period_us: PERIOD_US,
    };
    let plan = &plan.limits;
    Limits {
        memory_bytes: plan
            .memory_bytes
            .filter(|l| by_cgroup(l.mechanism))
            .map(|l| l.limit),
        pids_max: plan
            .pids
            .filter(|l| by_cgroup(l.mechanism))
            .map(|l| l.limit.into()),
        cpu_quota: plan
            .cpus
            .filter(|l| by_cgroup(l.mechanism))
            .map(|l| quota(l.limit)),
        deny_swap: true,
    }
}
